//! The client of the upstream. All requests of the data plane go through it.
//!
//! Each thread has its own connections ([`pools`]). A request has its own HTTP/1.1 connection
//! ([`h1`]) or one stream of an HTTP/2 connection ([`h2`]). [`dial`] decides between the two.

mod attempt;
mod body;
mod dial;
mod error;
mod h1;
mod h2;
mod head;
mod pools;
mod slots;
mod upload_task;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, Version};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use super::continue_gate::ContinueGate;
use super::request_body::{AttemptBody, RequestBody};
use crate::config;
use attempt::{FailedAttempt, Failure, Resend};
pub(super) use body::UpstreamBody;
use body::{ConnectionBody, StreamedBody};
use dial::Dialer;
pub(super) use error::UpstreamError;
pub(super) use h1::Switched;
#[cfg(any(test, fuzzing))]
pub(in crate::proxy) use h1::testing;
pub(super) use head::Head;
use pools::{Lease, Link, Pools};
use slots::Slots;
use vbc_http::LazyTimer;
use vbc_http::descriptors::Descriptors;
use vbc_http::problem;

/// How long no `Expect` is sent to an upstream that ignored or refused one.
const EXPECTATION_PAUSE: Duration = Duration::from_secs(300);

/// How long an idle connection is kept: shorter than common servers keep theirs.
const POOL_TIME: Duration = Duration::from_secs(30);

/// One thread's client of the upstream.
pub(super) struct Upstream {
    origin: config::Origin,
    response_timeout: Duration,
    idle_timeout: Duration,
    /// How long a body waits for a 100. Zero: no `Expect` is sent.
    expect_timeout: Duration,
    /// No `Expect` is sent before this time.
    expectations_paused: Cell<Option<Instant>>,
    /// The `Via` values for requests that clients send over HTTP/1.1, HTTP/1.0 and HTTP/2.
    via: [HeaderValue; 3],
    /// The proxy's own lines of an HTTP/1.1 head: `Host`, and `Via` for each client version.
    own_lines: [Vec<u8>; 3],
    pools: Rc<Pools>,
}

/// The index into `via` and `own_lines` for a client's request of this HTTP version.
fn via_of(version: Version) -> usize {
    match version {
        Version::HTTP_10 => 1,
        Version::HTTP_2 => 2,
        _ => 0,
    }
}

impl Upstream {
    pub(super) fn new(
        config: &config::Upstream,
        expect_timeout: Duration,
        tls: &Arc<rustls::ClientConfig>,
        open: Gauge,
        descriptors: &Arc<Descriptors>,
    ) -> Self {
        let dialer = Dialer::new(config, tls, open, Slots::new(Arc::clone(descriptors)));
        let names = ["1.1", "1.0", "2"].map(|version| format!("{version} {}", problem::NAME));
        let authority = &config.url.authority;
        Self {
            own_lines: names
                .each_ref()
                .map(|via| format!("host: {authority}\r\nvia: {via}\r\n").into_bytes()),
            // The fallback is never used: the proxy's name is a legal field value.
            via: names
                .map(|via| HeaderValue::try_from(via).unwrap_or(HeaderValue::from_static(problem::NAME))),
            origin: config.url.clone(),
            response_timeout: config.response_timeout,
            idle_timeout: config.idle_timeout,
            expect_timeout,
            expectations_paused: Cell::default(),
            pools: Rc::new(Pools::new(dialer)),
        }
    }

    /// Opens a first connection in the background if the upstream uses TLS, because the handshake
    /// takes a while.
    pub(super) fn warm_up(&self) {
        self.pools.warm_up();
    }

    /// Whether HTTP/1.1 connections are allowed.
    pub(super) fn has_http1(&self) -> bool {
        !self.pools.dialer.is_pinned_to_h2()
    }

    /// Sends a request and returns the response, whose body may still be streaming.
    ///
    /// The request is sent once, and a second time in these cases:
    ///
    /// - A connection turned out to be closed before the request was written.
    /// - A reused connection ended before the first byte of a response. The method must be
    ///   idempotent (RFC 9110 §9.2.2) and the body replayable.
    /// - The upstream reported that it had not processed the stream (RFC 9113 §8.7).
    ///
    /// Only the wait for the response of a pooled HTTP/1.1 connection is part of this future,
    /// because almost all requests need nothing else. The rest is boxed.
    pub(super) async fn send(
        &self,
        head: &Head,
        body: &RequestBody,
        timer: &Rc<LazyTimer>,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let Some(mut next) = body.attempt() else { return Err(UpstreamError::Terminated) };
        let mut resend = Resend::default();
        loop {
            let now = Instant::now();
            let pooled = match resend.avoids() {
                None => self.pools.ready(head.is_idempotent(), now),
                Some(_) => None,
            };
            let attempt = match pooled {
                Some(connection) => self.ask_h1(connection, head, next, body, timer, now).await,
                None => Box::pin(self.connect_and_ask(head, next, body, timer, resend.avoids())).await,
            };
            match attempt {
                Ok(response) => return Ok(response),
                Err(failed) => next = resend.after(failed, head, body)?,
            }
        }
    }

    async fn connect_and_ask(
        &self,
        head: &Head,
        attempt: AttemptBody,
        body: &RequestBody,
        timer: &Rc<LazyTimer>,
        avoids: Option<u64>,
    ) -> Result<Response<UpstreamBody>, FailedAttempt> {
        let idempotent = head.is_idempotent();
        let link = if head.needs_http1() {
            Link::H1(self.pools.h1(idempotent, avoids.is_some()).await?)
        } else {
            self.pools.link(idempotent, avoids, timer).await?
        };
        match link {
            Link::H1(connection) => self.ask_h1(connection, head, attempt, body, timer, Instant::now()).await,
            Link::H2(lease) => self.ask_h2(lease, head, attempt, body, timer).await,
        }
    }

    /// The future that sends the request. Nothing is written before it is polled.
    fn ask_h1<'a>(
        &'a self,
        connection: h1::Connection,
        head: &Head,
        attempt: AttemptBody,
        body: &'a RequestBody,
        timer: &'a Rc<LazyTimer>,
        now: Instant,
    ) -> AskH1<'a> {
        let gate = self.expects(head, body).then(ContinueGate::default);
        // Replaces the gate of an earlier attempt, which may still hold the body back.
        body.hold_back(gate.clone());
        let own_lines = &self.own_lines[via_of(head.version)];
        AskH1 {
            upstream: self,
            exchange: h1::Exchange::new(connection, head, own_lines, gate.clone(), body.clone(), attempt),
            body,
            gate,
            timer,
            start: now,
        }
    }

    async fn ask_h2(
        &self,
        lease: Lease,
        head: &Head,
        attempt: AttemptBody,
        body: &RequestBody,
        timer: &Rc<LazyTimer>,
    ) -> Result<Response<UpstreamBody>, FailedAttempt> {
        body.hold_back(None);
        let connection = Some(lease.number());
        let request = head.to_http2(&self.origin, &self.via[via_of(head.version)]);
        let mut exchange = h2::Exchange::begin(lease, request, attempt).map_err(|unsent| {
            let failure = Failure { error: UpstreamError::Terminated, connection };
            FailedAttempt::Unprocessed(failure, Some(*unsent))
        })?;
        let mut start = Instant::now();
        let received = poll_fn(|cx| match exchange.poll_head(cx) {
            Poll::Ready(received) => Poll::Ready(Ok(received)),
            Poll::Pending => self.poll_late(cx, body, body.is_starved(), None, &mut start, timer).map(Err),
        });
        match received.await? {
            Ok(received) => {
                let response = exchange.into_response(received)?;
                Ok(response.map(|body| self.streamed(ConnectionBody::H2(body), timer)))
            }
            Err(stopped) => Err(exchange.failure(stopped)),
        }
    }

    fn streamed(&self, body: ConnectionBody, timer: &Rc<LazyTimer>) -> UpstreamBody {
        let (idle_timeout, timer) = (self.idle_timeout, timer.clone());
        let streamed = StreamedBody { connection: body, idle_timeout, waiting_since: None, timer };
        UpstreamBody::Streamed(Box::new(streamed))
    }

    /// Whether a request is sent with `Expect: 100-continue`. Only HTTP/1.1 needs it: an HTTP/2
    /// stream can be reset without ending its connection.
    fn expects(&self, head: &Head, body: &RequestBody) -> bool {
        !self.expect_timeout.is_zero()
            && body.is_worth_asking(head.client_waits)
            && self.expectations_paused.get().is_none_or(|until| Instant::now() >= until)
    }

    /// Releases a held body, unless the final response is an error. Returns the body for one more
    /// attempt if the upstream refused only the expectation.
    fn judge_expectation(
        &self,
        status: StatusCode,
        gate: &ContinueGate,
        body: &RequestBody,
    ) -> Option<AttemptBody> {
        if status == StatusCode::EXPECTATION_FAILED {
            self.expectations_paused.set(Some(Instant::now() + EXPECTATION_PAUSE));
            return body.attempt();
        }
        if !status.is_client_error() && !status.is_server_error() {
            gate.release();
        }
        None
    }

    /// Ready with an error once a deadline has passed before the head of the response.
    ///
    /// A held body is released after `retry.expect_timeout`. Each step of the upload may take
    /// `upstream.idle_timeout`. After the upload, the response may take
    /// `upstream.response_timeout`. Both count from `start`, or from the upload's last progress if
    /// that is later. While the upload waits for bytes from the client (`starved`), the deadline of
    /// the client's connection applies instead.
    fn poll_late(
        &self,
        cx: &mut Context<'_>,
        body: &RequestBody,
        starved: bool,
        gate: Option<&ContinueGate>,
        start: &mut Instant,
        timer: &Rc<LazyTimer>,
    ) -> Poll<UpstreamError> {
        if let Some(gate) = gate.filter(|gate| gate.is_held()) {
            ready!(timer.poll_deadline(cx, *start + self.expect_timeout));
            *start = Instant::now();
            self.expectations_paused.set(Some(*start + EXPECTATION_PAUSE));
            gate.release();
        }
        if starved {
            return Poll::Pending;
        }
        let moved = body.progress().map_or(*start, |at| at.max(*start));
        let (after, error) = if body.is_sent() {
            (self.response_timeout, UpstreamError::ResponseTimeout)
        } else {
            (self.idle_timeout, UpstreamError::WriteTimeout)
        };
        timer.poll_deadline(cx, moved + after).map(|()| error)
    }
}

/// The wait for the response on an HTTP/1.1 connection.
///
/// Hand-written, because almost every request waits here: an `async fn` costs 150 more instructions
/// per request.
struct AskH1<'a> {
    upstream: &'a Upstream,
    exchange: h1::Exchange,
    body: &'a RequestBody,
    gate: Option<ContinueGate>,
    timer: &'a Rc<LazyTimer>,
    start: Instant,
}

impl Future for AskH1<'_> {
    type Output = Result<Response<UpstreamBody>, FailedAttempt>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { upstream, exchange, body, gate, timer, start } = self.get_mut();
        let received = match exchange.poll_head(cx) {
            Poll::Ready(Ok(received)) => received,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(exchange.failure(error))),
            Poll::Pending => {
                let starved = body.is_starved() && !exchange.is_writing();
                let late = upstream.poll_late(cx, body, starved, gate.as_ref(), start, timer);
                return late.map(|error| Err(error.into()));
            }
        };
        let status = received.head.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let switched = exchange.take_switched().map(Box::new);
            return Poll::Ready(Ok(received.head.map(|()| UpstreamBody::Switched(switched))));
        }
        if let Some(gate) = gate
            && let Some(again) = upstream.judge_expectation(status, gate, body)
        {
            return Poll::Ready(Err(FailedAttempt::Uncounted(again)));
        }
        let response = exchange.take_response(received, &upstream.pools.h1)?;
        Poll::Ready(Ok(response.map(|start| match start {
            h1::BodyStart::Whole(bytes) => UpstreamBody::Whole(bytes),
            h1::BodyStart::Streamed(body) => upstream.streamed(ConnectionBody::H1(body), timer),
        })))
    }
}

#[cfg(test)]
mod tests;
