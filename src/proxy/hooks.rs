//! What a request meets beside being forwarded: faults on purpose, recorded answers, a recorder. In production there is
//! none of it.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;

use super::body::{BoxError, ResponseBody};
use super::connection::{AccessLine, Connection, Outgoing, X_REQUEST_ID};
use super::faults::{Injector, Plan};
use super::{gate, links, page};
use crate::cassette::{self, AnswerTap, LARGEST_BODY, Outcome, Player, Recorder, Tape};
use crate::config::{FaultEffect, Faults};
use crate::credential::Credential;
use crate::headers::Survey;
use crate::metrics::Source;
use crate::problem::Problem;
use crate::server::{Abort, Incoming};

/// Marks answers that a fault has touched: the number of its rule, or several.
const FAULT: HeaderName = HeaderName::from_static("vbc-proxy-fault");

/// Marks answers from a cassette: the number of the record.
const RECORD: HeaderName = HeaderName::from_static("vbc-proxy-record");

/// What requests meet.
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

    /// Answers requests from a cassette where a record matches.
    #[must_use]
    pub fn with_player(mut self, player: Player) -> Self {
        self.player = Some(player);
        self
    }

    /// Records what is not answered from a cassette.
    #[must_use]
    pub fn with_recorder(mut self, recorder: Arc<Recorder>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Keeps the tokens of a credential out of what is recorded.
    pub fn watch(&self, credential: &Credential) {
        if let Some(recorder) = &self.recorder {
            recorder.watch(Box::new(credential.tokens()));
        }
    }

    /// Whether there is anything to be met.
    pub fn is_empty(&self) -> bool {
        self.faults.is_none() && self.player.is_none() && self.recorder.is_none()
    }

    /// Whether exchanges are recorded.
    pub(super) fn records(&self) -> bool {
        self.recorder.is_some()
    }

    /// What has been played, where there is a cassette.
    pub fn summary(&self) -> Option<cassette::Summary> {
        self.player.as_ref().map(Player::summary)
    }
}

impl Connection {
    /// Answers a request with all that it meets.
    pub(super) async fn handle_with_hooks(
        &self,
        mut request: Request<Incoming>,
        hooks: &Hooks,
    ) -> Result<Response<Outgoing>, Abort> {
        let survey = Survey::of(request.headers());
        let page = match self.proxy.gate.admit(&request, request.headers().get(header::HOST), survey) {
            Ok(page) if !self.proxy.drain.has_begun() => page,
            // What we refuse by ourselves is refused as ever.
            _ => return self.respond(request, None).await,
        };
        let base = self.base(&request);
        let navigates = survey.browser && page::is_navigation(request.headers());
        if let Some(mut played) = self.play(hooks, &mut request, &base).await {
            if navigates {
                page::confine(played.status(), played.headers_mut());
            }
            allow(page.as_ref(), &mut played);
            return Ok(played);
        }
        let tape = hooks.recorder.as_ref().map(|recorder| {
            self.know(Some(recorder));
            Tape::begin(recorder, &request, base)
        });
        if let Some(tape) = &tape {
            request.extensions_mut().insert(tape.request_tap());
        }
        let mut response = self.meet(hooks, request, page.as_ref()).await?;
        // A websocket is not recorded.
        if let Some(tape) = tape.filter(|_| response.status() != StatusCode::SWITCHING_PROTOCOLS) {
            self.know(hooks.recorder.as_ref());
            let tap = tape.answer(&response);
            response.body_mut().tap = Some(Box::new(tap));
        }
        Ok(response)
    }

    /// What links of a response begin with.
    fn base(&self, request: &Request<Incoming>) -> String {
        let links =
            self.proxy.links.as_ref().and_then(|links| {
                links.base(request.uri(), request.headers().get(header::HOST), self.scheme)
            });
        links.as_ref().map(links::Base::text).unwrap_or_else(|| {
            let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
            let authority = request.uri().authority().map(|authority| authority.as_str());
            format!("{}://{}", self.scheme, authority.or(host).unwrap_or_default())
        })
    }

    /// Tells the recorder which token is sent, in case the upstream repeats it.
    fn know(&self, recorder: Option<&Arc<Recorder>>) {
        let mut reader = self.proxy.bearer.borrow_mut();
        let bearer = reader.cached().and_then(|bearer| bearer.value.to_str().ok());
        if let Some((recorder, bearer)) = recorder.zip(bearer) {
            recorder.know(bearer.strip_prefix("Bearer ").unwrap_or(bearer));
        }
    }

    async fn play(
        &self,
        hooks: &Hooks,
        request: &mut Request<Incoming>,
        base: &str,
    ) -> Option<Response<Outgoing>> {
        let player = hooks.player.as_ref()?;
        let line = self.proxy.access_log.then(|| AccessLine::begin(request));
        let body = request.body_mut().peek(LARGEST_BODY).await.ok()?;
        let asked = cassette::asked(request, body.map(|body| body.to_vec()));
        match player.play(&asked) {
            Outcome::Play(record) => {
                let played = cassette::response(record, &asked, base, false);
                let mut response =
                    self.finish(played.map(|body| ResponseBody::Played(Box::new(body))), Source::Proxy, None);
                response.headers_mut().insert(RECORD, HeaderValue::from(record.n));
                // Its own and not the recorded one's: what the log calls it.
                let id = self.proxy.request_id(request.headers(), Survey::of(request.headers()));
                if let Some(line) = line {
                    line.write(self, response.status(), &id, Some("cassette"));
                }
                response.headers_mut().insert(X_REQUEST_ID, id);
                Some(response)
            }
            Outcome::Unplayable(record, why) => {
                tracing::info!(record = record.n, %why, "a record cannot be replayed; the request is forwarded");
                None
            }
            Outcome::NoMatch { asked, nearest } => {
                tracing::info!(%asked, %nearest, "no record matches a request; it is forwarded and recorded");
                None
            }
        }
    }

    /// Faults, then the request itself.
    async fn meet(
        &self,
        hooks: &Hooks,
        request: Request<Incoming>,
        page: Option<&HeaderValue>,
    ) -> Result<Response<Outgoing>, Abort> {
        let Some(injector) = &hooks.faults else { return self.respond(request, None).await };
        let plan = injector.plan(request.method(), request.uri().path());
        let Some((last, effect)) = plan.hits.last().copied() else {
            return self.respond(request, None).await;
        };
        let line = self.proxy.access_log.then(|| AccessLine::begin(&request));
        for (number, effect) in &plan.hits {
            self.proxy.metrics.count_fault(*number, name(*effect));
        }
        tokio::select! {
            () = tokio::time::sleep(plan.delay) => {}
            // It is answered while there is time.
            () = self.proxy.drain.begun() => {}
        }
        let mut response = match effect {
            // The delay is of the time it took.
            FaultEffect::Delay => self.respond_in(request, line, None).await?,
            FaultEffect::Abort => {
                tracing::info!(rule = injector.rule(last), "a connection is reset by a configured fault");
                return Err(Abort);
            }
            FaultEffect::Status(status, retry_after) => {
                let id = self.proxy.request_id(request.headers(), Survey::of(request.headers()));
                let problem = Problem {
                    status,
                    kind: "injected-fault",
                    title: "Fault injected",
                    detail: format!("a fault of [faults] was met: {}", injector.rule(last)),
                    error: Some("proxy_internal_response"),
                    retry_after,
                };
                let response = problem.response(id.to_str().unwrap_or_default());
                let mut response = self.own(response.map(ResponseBody::own), &id);
                allow(page, &mut response);
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

fn allow(page: Option<&HeaderValue>, response: &mut Response<Outgoing>) {
    if let Some(origin) = page {
        gate::allow_page(origin, response.headers_mut());
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

/// Takes note of a piece of a response.
pub(super) fn note(tap: &mut AnswerTap, frame: &Poll<Option<Result<Frame<Bytes>, BoxError>>>, is_end: bool) {
    match frame {
        Poll::Ready(Some(Ok(frame))) => {
            if let Some(data) = frame.data_ref() {
                tap.data(data);
            }
            if let Some(trailers) = frame.trailers_ref() {
                tap.trailers(trailers);
            }
            if is_end {
                tap.end();
            }
        }
        Poll::Ready(None) => tap.end(),
        Poll::Ready(Some(Err(_))) | Poll::Pending => {}
    }
}
