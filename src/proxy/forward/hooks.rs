//! Optional steps of a request: injected faults, replay from a cassette, and recording. Without
//! these options there are no hooks.

use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use std::sync::Arc;

use super::respond;
use crate::config::{FaultEffect, Faults};
use crate::credential::Credential;
use crate::metrics::Source;
use crate::proxy::connection::{AccessLine, Connection, Outgoing, X_REQUEST_ID, request_id};
use crate::proxy::faults::{Injector, Plan};
use crate::proxy::response_body::ResponseBody;
use crate::proxy::{gate, page};
use vbc_cassette::{LARGEST_BODY, Outcome, Player, Recorder, Tape};
use vbc_http::headers::Survey;
use vbc_http::problem::Problem;
use vbc_http::{Abort, Incoming};

/// Marks responses that faults have touched. The value has the numbers of the faults' rules.
const FAULT: HeaderName = HeaderName::from_static("vbc-proxy-fault");

/// Marks responses from a cassette. The value is the number of the record.
const RECORD: HeaderName = HeaderName::from_static("vbc-proxy-record");

/// The hooks of all requests.
#[derive(Debug, Default)]
pub struct Hooks {
    faults: Option<Injector>,
    player: Option<Player>,
    recorder: Option<Arc<Recorder>>,
}

impl Hooks {
    /// Makes requests fail as configured.
    #[must_use]
    pub fn with_faults(mut self, faults: &Faults) -> Self {
        self.faults = (!faults.rules.is_empty()).then(|| Injector::new(faults));
        self
    }

    /// Responds from a cassette if a record matches.
    #[must_use]
    pub fn with_player(mut self, player: Player) -> Self {
        self.player = Some(player);
        self
    }

    /// Records exchanges that are not replayed from a cassette.
    #[must_use]
    pub fn with_recorder(mut self, recorder: Arc<Recorder>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Keeps the tokens of a credential out of recordings.
    pub fn watch(&self, credential: &Credential) {
        if let Some(recorder) = &self.recorder {
            recorder.watch(Box::new(credential.tokens()));
        }
    }

    /// Whether there is neither a fault, nor a player, nor a recorder.
    pub fn is_empty(&self) -> bool {
        self.faults.is_none() && self.player.is_none() && self.recorder.is_none()
    }

    /// Whether exchanges are recorded.
    pub(in crate::proxy) fn records(&self) -> bool {
        self.recorder.is_some()
    }

    /// The summary of the replay; `None` without a cassette.
    pub fn summary(&self) -> Option<vbc_cassette::Summary> {
        self.player.as_ref().map(Player::summary)
    }
}

impl Connection {
    /// Responds to a request, with all hooks.
    pub(super) async fn handle_with_hooks(
        &self,
        mut request: Request<Incoming>,
        hooks: &Hooks,
    ) -> Result<Response<Outgoing>, Abort> {
        let survey = Survey::of(request.headers());
        // A replayed response passes only this gate and the drain. A check that must hold for
        // replays, too, belongs in `Gate::admit`.
        let origin = match self.proxy.gate.admit(&request, request.headers().get(header::HOST), survey) {
            Ok(origin) if !self.proxy.drain.has_begun() => origin,
            // A refused request gets the same response as without hooks.
            _ => return self.respond(request).await,
        };
        let base = self.base(&request);
        let is_navigation = survey.browser && page::is_navigation(request.headers());
        if let Some(mut replayed) = self.replay(hooks, &mut request, &base).await {
            if is_navigation {
                page::confine(replayed.status(), replayed.headers_mut());
            }
            gate::allow_page(origin.as_ref(), replayed.headers_mut());
            return Ok(replayed);
        }
        let tape = hooks.recorder.as_ref().map(|recorder| {
            self.hide_bearer(recorder);
            Tape::begin(recorder, &request, base)
        });
        if let Some(tape) = &tape {
            request.extensions_mut().insert(tape.request_tap());
        }
        let mut response = self.inject(hooks, request, origin.as_ref()).await?;
        // A websocket is not recorded.
        if let Some(tape) = tape
            && response.status() != StatusCode::SWITCHING_PROTOCOLS
        {
            if let Some(recorder) = &hooks.recorder {
                self.hide_bearer(recorder);
            }
            let tap = tape.response(&response);
            response.body_mut().tap = Some(Box::new(tap));
        }
        Ok(response)
    }

    async fn respond(&self, request: Request<Incoming>) -> Result<Response<Outgoing>, Abort> {
        let line = AccessLine::begin(&self.proxy, &request);
        respond(self, request, line, None).await
    }

    /// The prefix that replaces the upstream's origin in the links of the response.
    fn base(&self, request: &Request<Incoming>) -> String {
        let host = request.headers().get(header::HOST);
        let links = self.proxy.links.as_ref();
        if let Some(base) = links.and_then(|links| links.base(request.uri(), host, self.scheme)) {
            return base.text();
        }
        let authority = request.uri().authority().map(|authority| authority.as_str());
        let host = host.and_then(|host| host.to_str().ok());
        format!("{}://{}", self.scheme, authority.or(host).unwrap_or_default())
    }

    /// Reports the bearer to the recorder, which hides the bearer if the upstream repeats it.
    fn hide_bearer(&self, recorder: &Recorder) {
        let mut reader = self.proxy.bearer.borrow_mut();
        if let Some(bearer) = reader.cached().and_then(|bearer| bearer.value.to_str().ok()) {
            recorder.know(bearer.strip_prefix("Bearer ").unwrap_or(bearer));
        }
    }

    /// The response of a matching record, if there is one.
    async fn replay(
        &self,
        hooks: &Hooks,
        request: &mut Request<Incoming>,
        base: &str,
    ) -> Option<Response<Outgoing>> {
        let player = hooks.player.as_ref()?;
        let line = AccessLine::begin(&self.proxy, request);
        let body = request.body_mut().peek(LARGEST_BODY).await.ok()?;
        let recorded = vbc_cassette::recorded_request(request, body.map(|body| body.to_vec()));
        match player.play(&recorded) {
            Outcome::Play(record) => {
                let replayed = vbc_cassette::response(record, &recorded, base, false)
                    .map(|body| ResponseBody::Replayed(Box::new(body)));
                let mut response = self.count(replayed, Source::Proxy, None);
                response.headers_mut().insert(RECORD, HeaderValue::from(record.n));
                // The id of this request, as in the access log, replaces the recorded one.
                let id = request_id(&self.proxy, request.headers(), Survey::of(request.headers()));
                if let Some(line) = line {
                    line.write(self, response.status(), &id, Some("cassette"));
                }
                response.headers_mut().insert(X_REQUEST_ID, id);
                Some(response)
            }
            Outcome::Unplayable(record, why) => {
                tracing::info!(record = record.n, %why, "cannot replay a record; forwarding the request");
                None
            }
            Outcome::NoMatch { request, nearest } => {
                tracing::info!(asked = %request, %nearest, "no record matches a request; forwarding and recording it");
                None
            }
        }
    }

    /// Applies the faults that hit a request. Forwards the request unless a fault resets the
    /// connection or responds.
    async fn inject(
        &self,
        hooks: &Hooks,
        request: Request<Incoming>,
        origin: Option<&HeaderValue>,
    ) -> Result<Response<Outgoing>, Abort> {
        let Some(injector) = &hooks.faults else { return self.respond(request).await };
        let plan = injector.plan(request.method(), request.uri().path());
        let Some((last, effect)) = plan.hits.last().copied() else { return self.respond(request).await };
        let line = AccessLine::begin(&self.proxy, &request);
        for (number, effect) in &plan.hits {
            self.proxy.metrics.count_fault(*number, name(*effect));
        }
        tokio::select! {
            () = tokio::time::sleep(plan.delay) => {}
            // A drain leaves no time for delays.
            () = self.proxy.drain.started() => {}
        }
        let mut response = match effect {
            // The access line began before the delay, so its time includes the delay.
            FaultEffect::Delay => respond(self, request, line, None).await?,
            FaultEffect::Abort => {
                tracing::info!(rule = injector.rule(last), "a configured fault resets a connection");
                return Err(Abort);
            }
            FaultEffect::Status(status, retry_after) => {
                let id = request_id(&self.proxy, request.headers(), Survey::of(request.headers()));
                let problem = Problem {
                    status,
                    kind: "injected-fault",
                    title: "Fault injected",
                    detail: format!("a rule of [faults] injected this response: {}", injector.rule(last)),
                    error: Some("proxy_internal_response"),
                    retry_after,
                };
                let mut response = self.own(problem.response(id.to_str().unwrap_or_default()), &id);
                gate::allow_page(origin, response.headers_mut());
                if let Some(line) = line {
                    line.write(self, status, &id, Some("fault"));
                }
                response
            }
        };
        if let Ok(mark) = HeaderValue::try_from(numbers(&plan)) {
            response.headers_mut().insert(FAULT, mark);
        }
        Ok(response)
    }
}

fn name(effect: FaultEffect) -> &'static str {
    match effect {
        FaultEffect::Delay => "delay",
        FaultEffect::Abort => "abort",
        FaultEffect::Status(..) => "status",
    }
}

fn numbers(plan: &Plan) -> String {
    let numbers: Vec<String> = plan.hits.iter().map(|(number, _)| number.to_string()).collect();
    numbers.join(", ")
}
