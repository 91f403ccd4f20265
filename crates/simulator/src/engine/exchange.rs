//! One request from its head to its answer: journal, body, faults, execution.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderValue, TRANSFER_ENCODING};

use super::Core;
use crate::fault::{Early, Fate, Instead, Plan, Subject};
use crate::journal::{self, Line, Place, Recorded, Responded};
use crate::names::KNOWN_GRANTS;
use crate::request::{Arrived, Body, Endpoint};
use crate::response::{Answer, date};
use crate::state::{Consumer, State};
use crate::{gateway, oauth};
use vbc_http::{Abort, RawTarget};

impl Core {
    /// Answers one request, from its head to its answer.
    pub(crate) async fn answer<B>(
        self: &Arc<Self>,
        arrival: Arrival<'_>,
        request: Request<B>,
    ) -> Result<Answer, Abort>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let (head, body) = request.into_parts();
        let endpoint = Endpoint::of(head.uri.path());
        let place = self.note(arrival, &head, endpoint);
        let mut under_way = (endpoint == Some(Endpoint::Token)).then(|| TokenRequest::begin(self));
        let early = self.early(&head, endpoint);
        let limit = early.as_ref().map(|early| early.read);
        let brings_body = head.headers.contains_key(TRANSFER_ENCODING)
            || head.headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
        let body = Body::read(body, endpoint, limit).await.ok_or(Abort)?;
        let arrived = Arrived::new(head, endpoint, body);
        if let Some(early) = early {
            let now = self.options.clock.now();
            if let Some(entry) = self.state().journal.entry(place) {
                entry.body_length = arrived.body.length;
            }
            let answer = gateway::injected(&mut self.state(), &arrived, &Instead::Status(early.instead), now);
            // What is left of the body is not taken for a request; the connection ends, and it is said.
            return Ok(say_last(self.send(place, endpoint, answer), brings_body));
        }
        if let Some(under_way) = &mut under_way {
            under_way.identify(&arrived);
        }
        let answer = self.meet(arrived, arrival, place).await?;
        Ok(self.send(place, endpoint, answer))
    }

    /// Enters a request into the journal when its head has arrived.
    fn note(&self, arrival: Arrival<'_>, head: &http::request::Parts, endpoint: Option<Endpoint>) -> Place {
        let mut state = self.state();
        let state = &mut *state;
        let authorization = head.headers.get(http::header::AUTHORIZATION);
        let token = authorization.and_then(|value| journal::credentials(value.as_bytes(), &state.tokens).1);
        let target = RawTarget::shown(head);
        let connection = arrival.line.map_or(0, |line| state.journal.number(line));
        let known = state.known_secrets();
        let counted = endpoint.is_none().then(|| journal::target(head.uri.path(), &known));
        let (target, head_shown) = (journal::target(&target, &known), journal::head(head, &known));
        let headers = journal::headers(&head.headers, &known);
        if let Some(path) = counted {
            state.stats.count_request(head.method.as_str(), &path, token.as_deref());
        }
        let place = state.journal.add(|sequence| Recorded {
            sequence,
            time: self.options.clock.now(),
            connection,
            method: head.method.clone(),
            target,
            head: head_shown,
            headers,
            body_length: 0,
            body_sha256: String::new(),
            grant: None,
            token,
            status: None,
        });
        self.changed.notify_waiters();
        place
    }

    /// Whether it is answered before its body has arrived.
    fn early(&self, head: &http::request::Parts, endpoint: Option<Endpoint>) -> Option<Early> {
        let expectation = head.headers.get(EXPECT).map(|value| value.as_bytes());
        let announced = expectation.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
        let (path, method) = (head.uri.path(), head.method.as_str());
        let subject = Subject { path, endpoint: endpoint.map(Endpoint::name), method, grant: None };
        self.state().faults.early(&subject, announced)
    }

    /// What befalls a request: its faults, and its execution.
    async fn meet(
        self: &Arc<Self>,
        arrived: Arrived,
        arrival: Arrival<'_>,
        place: Place,
    ) -> Result<Answer, Abort> {
        let plan = {
            let mut state = self.state();
            if let Some(entry) = state.journal.entry(place) {
                entry.body_length = arrived.body.length;
                entry.body_sha256.clone_from(&arrived.body.sha256);
                entry.grant = arrived.grant().map(known_grant);
            }
            if arrived.body.too_long {
                return Ok(gateway::too_large(&mut state));
            }
            state.faults.plan(&arrived.subject())
        };
        let Plan { delay, fate, lose, edits, close_after } = plan;
        let last = close_after.is_some_and(|requests| arrival.nth >= requests);
        match fate {
            Fate::Reset => {
                wait(delay).await;
                return Err(Abort);
            }
            Fate::Answer(instead) => {
                wait(delay).await;
                let now = self.options.clock.now();
                let mut answer = gateway::injected(&mut self.state(), &arrived, &instead, now);
                edits.iter().for_each(|edit| edit.apply(&mut answer));
                return Ok(say_last(answer, last));
            }
            Fate::Hang(fault) => self.hang(fault).await,
            Fate::Execute => {}
        }
        let mut answer = if delay.is_zero() {
            self.execute(&arrived)
        } else {
            execute_later(self, arrived, delay).await?
        };
        edits.iter().for_each(|edit| edit.apply(&mut answer));
        if lose { Err(Abort) } else { Ok(say_last(answer, last)) }
    }

    fn execute(self: &Arc<Self>, arrived: &Arrived) -> Answer {
        let mut state = self.state();
        let now = self.options.clock.now();
        match arrived.endpoint {
            Some(endpoint) => oauth::answer(&mut state, arrived, endpoint, now),
            None => {
                let State { world, random, options, .. } = &mut *state;
                world.settle(now, random);
                let options = Arc::clone(options);
                let answer = gateway::answer(&mut state, arrived, &options, now);
                self.follow_up(&mut state);
                answer
            }
        }
    }

    /// Waits as long as the fault is there.
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
                // Timers are a little early, and clocks are set.
                Some(wait) => {
                    let wait = wait.max(Duration::from_millis(1));
                    let _ = tokio::time::timeout(wait, released).await;
                }
            }
        }
    }

    /// Dates an answer, counts its status and notes it in the journal.
    fn send(&self, place: Place, endpoint: Option<Endpoint>, mut answer: Answer) -> Answer {
        date(&mut answer, self.options.clock.now());
        let mut state = self.state.lock();
        let status = answer.status().as_u16();
        if endpoint.is_none() {
            *state.stats.by_status.entry(status).or_default() += 1;
        }
        state.journal.respond(place, status, Responded::of(&answer));
        drop(state);
        self.changed.notify_waiters();
        answer
    }
}

/// Which request of which connection; without a connection, 0 of none.
#[derive(Clone, Copy, Default)]
pub(crate) struct Arrival<'a> {
    line: Option<&'a Line>,
    /// Counts up from 1.
    nth: u32,
}

impl<'a> Arrival<'a> {
    /// The `nth` request of a connection.
    pub(crate) fn on(line: &'a Line, nth: u32) -> Self {
        Self { line: Some(line), nth }
    }
}

/// The connection ends after this answer, and it says so.
fn say_last(mut answer: Answer, last: bool) -> Answer {
    if last {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// Time that does not have to pass needs no timer, and so no runtime.
async fn wait(delay: std::time::Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// Executes after `delay`, whether or not the client is still there by then.
async fn execute_later(
    core: &Arc<Core>,
    arrived: Arrived,
    delay: std::time::Duration,
) -> Result<Answer, Abort> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let executing = Arc::clone(core);
    let later = async move {
        tokio::time::sleep(delay).await;
        let _ = sender.send(executing.execute(&arrived));
    };
    {
        let mut delayed = core.delayed.lock();
        while delayed.try_join_next().is_some() {}
        delayed.spawn(later);
    }
    receiver.await.map_err(|_| Abort)
}

/// The journal must not repeat a secret that was sent as a grant in error.
fn known_grant(grant: &str) -> String {
    let known = KNOWN_GRANTS.contains(&grant);
    if known { grant.to_owned() } else { "[unknown]".to_owned() }
}

/// Counts a token request while it is under way.
struct TokenRequest<'a> {
    core: &'a Core,
    identity: Option<Consumer>,
}

impl<'a> TokenRequest<'a> {
    fn begin(core: &'a Core) -> Self {
        core.state.lock().token_request_arrives();
        Self { core, identity: None }
    }

    /// Its body tells whom it is about.
    fn identify(&mut self, arrived: &Arrived) {
        let mut state = self.core.state.lock();
        self.identity = oauth::identity(&state, arrived);
        if let Some(identity) = &self.identity {
            state.token_request_is_about(identity.clone());
        }
    }
}

impl Drop for TokenRequest<'_> {
    fn drop(&mut self) {
        self.core.state.lock().token_request_leaves(self.identity.as_ref());
    }
}
