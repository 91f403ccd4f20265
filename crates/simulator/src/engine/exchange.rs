//! One request from its head to its response: journal, body, faults, execution.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderValue, TRANSFER_ENCODING};

use super::Engine;
use crate::expect::hash_of_json;
use crate::fault::{EarlyResponse, Fate, Plan, Subject, Substitute};
use crate::journal::{self, ConnectionNumber, JournalPosition, RecordedRequest, RecordedResponse};
use crate::names::KNOWN_GRANTS;
use crate::request::{Body, Endpoint, ReceivedRequest};
use crate::response::{Response, date};
use crate::state::{Consumer, State};
use crate::{gateway, oauth};
use vbc_http::{Abort, RawTarget};

impl Engine {
    /// Responds to one request, from its head to its response.
    pub(crate) async fn respond<B>(
        self: &Arc<Self>,
        arrival: Arrival<'_>,
        request: Request<B>,
    ) -> Result<Response, Abort>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let (head, body) = request.into_parts();
        let endpoint = Endpoint::of(head.uri.path());
        let position = self.note(arrival, &head, endpoint);
        let mut in_progress = (endpoint == Some(Endpoint::Token)).then(|| TokenRequest::begin(self));
        let early = self.early(&head, endpoint);
        let limit = early.as_ref().map(|early| early.read);
        let brings_body = head.headers.contains_key(TRANSFER_ENCODING)
            || head.headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
        let body = Body::read(body, endpoint, limit).await.ok_or(Abort)?;
        let request = ReceivedRequest::new(head, endpoint, body);
        if let Some(early) = early {
            let now = self.options.clock.now();
            if let Some(entry) = self.state().journal.entry(position) {
                entry.body_length = request.body.length;
            }
            let response =
                gateway::injected(&mut self.state(), &request, &Substitute::Status(early.instead), now);
            // The unread rest of the body must not be read as a request, so the connection ends.
            return Ok(mark_last(self.send(position, endpoint, response), brings_body));
        }
        if let Some(in_progress) = &mut in_progress {
            in_progress.identify(&request);
        }
        let response = self.meet(request, arrival, position).await?;
        Ok(self.send(position, endpoint, response))
    }

    /// Records a request in the journal when its head has arrived.
    fn note(
        &self,
        arrival: Arrival<'_>,
        head: &http::request::Parts,
        endpoint: Option<Endpoint>,
    ) -> JournalPosition {
        let mut state = self.state();
        let state = &mut *state;
        let authorization = head.headers.get(http::header::AUTHORIZATION);
        let token = authorization.and_then(|value| journal::credentials(value.as_bytes(), &state.tokens).1);
        let target = RawTarget::shown(head);
        let connection = arrival.connection.map_or(0, |connection| state.journal.number(connection));
        let known = state.known_secrets();
        let counted = endpoint.is_none().then(|| journal::target(head.uri.path(), &known));
        let target = journal::target(&target, &known);
        let head_shown = journal::head(head, &known);
        let headers = journal::headers(&head.headers, &known);
        if let Some(path) = counted {
            state.stats.count_request(head.method.as_str(), &path, token.as_deref());
        }
        let position = state.journal.add(|sequence| RecordedRequest {
            sequence,
            time: self.options.clock.now(),
            connection,
            method: head.method.clone(),
            target,
            head: head_shown,
            headers,
            body_length: 0,
            body_sha256: String::new(),
            body_json: None,
            grant: None,
            token,
            status: None,
        });
        self.changed.notify_waiters();
        position
    }

    /// The early response to a request, if a fault responds before the body has arrived.
    fn early(&self, head: &http::request::Parts, endpoint: Option<Endpoint>) -> Option<EarlyResponse> {
        let expectation = head.headers.get(EXPECT).map(|value| value.as_bytes());
        let announced = expectation.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
        let path = head.uri.path();
        let method = head.method.as_str();
        let subject = Subject { path, endpoint: endpoint.map(Endpoint::name), method, grant: None };
        self.state().faults.early(&subject, announced)
    }

    /// Applies the faults to a request, and executes it.
    async fn meet(
        self: &Arc<Self>,
        request: ReceivedRequest,
        arrival: Arrival<'_>,
        position: JournalPosition,
    ) -> Result<Response, Abort> {
        let body_json = hash_of_json(&request.body.data);
        let plan = {
            let mut state = self.state();
            if let Some(entry) = state.journal.entry(position) {
                entry.body_length = request.body.length;
                entry.body_sha256.clone_from(&request.body.sha256);
                entry.body_json = body_json;
                entry.grant = request.grant().map(known_grant);
            }
            if request.body.too_long {
                return Ok(gateway::too_large(&mut state));
            }
            state.faults.plan(&request.subject())
        };
        let Plan { delay, fate, lose, edits, close_after } = plan;
        let last = close_after.is_some_and(|requests| arrival.nth >= requests);
        match fate {
            Fate::Reset => {
                wait(delay).await;
                return Err(Abort);
            }
            Fate::Respond(substitute) => {
                wait(delay).await;
                let now = self.options.clock.now();
                let mut response = gateway::injected(&mut self.state(), &request, &substitute, now);
                edits.iter().for_each(|edit| edit.apply(&mut response));
                return Ok(mark_last(response, last));
            }
            Fate::Hang(fault) => self.hang(fault).await,
            Fate::Execute => {}
        }
        let mut response = if delay.is_zero() {
            self.execute(&request)
        } else {
            execute_later(self, request, delay).await?
        };
        edits.iter().for_each(|edit| edit.apply(&mut response));
        if lose { Err(Abort) } else { Ok(mark_last(response, last)) }
    }

    fn execute(self: &Arc<Self>, request: &ReceivedRequest) -> Response {
        let mut state = self.state();
        let now = self.options.clock.now();
        match request.endpoint {
            Some(endpoint) => oauth::respond(&mut state, request, endpoint, now),
            None => {
                let State { world, random, options, .. } = &mut *state;
                world.settle(now, random);
                let options = Arc::clone(options);
                let response = gateway::respond(&mut state, request, &options, now);
                self.follow_up(&mut state);
                response
            }
        }
    }

    /// Waits until the fault is removed or ends.
    async fn hang(&self, fault: u64) {
        loop {
            let mut released = std::pin::pin!(self.released.notified());
            released.as_mut().enable();
            let wait = {
                let state = self.state();
                if !state.faults.contains(fault) {
                    return;
                }
                state.until_next_change(self.options.clock.now())
            };
            match wait {
                None => released.await,
                // Checks again after the timer: it may fire early, and the clock can be set back.
                Some(wait) => {
                    let wait = wait.max(Duration::from_millis(1));
                    let _ = tokio::time::timeout(wait, released).await;
                }
            }
        }
    }

    /// Dates a response and records it in the journal. Counts the status of an API response.
    fn send(
        &self,
        position: JournalPosition,
        endpoint: Option<Endpoint>,
        mut response: Response,
    ) -> Response {
        date(&mut response, self.options.clock.now());
        let mut state = self.state.lock();
        let status = response.status().as_u16();
        if endpoint.is_none() {
            *state.stats.by_status.entry(status).or_default() += 1;
        }
        state.journal.respond(position, status, RecordedResponse::of(&response));
        drop(state);
        self.changed.notify_waiters();
        response
    }
}

/// The connection of a request, and the request's number on that connection. The default is for a
/// request without a connection.
#[derive(Clone, Copy, Default)]
pub(crate) struct Arrival<'a> {
    connection: Option<&'a ConnectionNumber>,
    /// Counts from 1.
    nth: u32,
}

impl<'a> Arrival<'a> {
    /// The `nth` request of a connection.
    pub(crate) fn on(connection: &'a ConnectionNumber, nth: u32) -> Self {
        Self { connection: Some(connection), nth }
    }
}

/// Marks the response as the last one of its connection.
fn mark_last(mut response: Response, last: bool) -> Response {
    if last {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Waits for `delay`. A zero delay uses no timer, so it needs no runtime.
async fn wait(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// Executes the request after `delay`, even if the client disconnects meanwhile.
async fn execute_later(
    engine: &Arc<Engine>,
    request: ReceivedRequest,
    delay: Duration,
) -> Result<Response, Abort> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let executing = Arc::clone(engine);
    let later = async move {
        tokio::time::sleep(delay).await;
        let _ = sender.send(executing.execute(&request));
    };
    {
        let mut delayed = engine.delayed.lock();
        while delayed.try_join_next().is_some() {}
        delayed.spawn(later);
    }
    receiver.await.map_err(|_| Abort)
}

/// The grant as the journal shows it. An unknown grant is not repeated: a client may have sent a
/// secret there by mistake.
fn known_grant(grant: &str) -> String {
    let known = KNOWN_GRANTS.contains(&grant);
    if known { grant.to_owned() } else { "[unknown]".to_owned() }
}

/// Counts a token request while it is in progress.
struct TokenRequest<'a> {
    engine: &'a Engine,
    identity: Option<Consumer>,
}

impl<'a> TokenRequest<'a> {
    fn begin(engine: &'a Engine) -> Self {
        engine.state.lock().token_request_arrives();
        Self { engine, identity: None }
    }

    /// Attributes the request to the identity in its body.
    fn identify(&mut self, request: &ReceivedRequest) {
        let mut state = self.engine.state.lock();
        self.identity = oauth::identity(&state, request);
        if let Some(identity) = &self.identity {
            state.token_request_is_about(identity.clone());
        }
    }
}

impl Drop for TokenRequest<'_> {
    fn drop(&mut self) {
        self.engine.state.lock().token_request_leaves(self.identity.as_ref());
    }
}
