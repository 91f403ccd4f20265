//! The upstream: the only client of the API.
//!
//! Each thread has connections of its own ([`pools`]); a request goes out on one of HTTP/1.1 ([`h1`]) that it has for
//! itself, or on a stream of one of HTTP/2 ([`h2`]). Which of the two is settled when a connection is made ([`dial`]).

mod dial;
mod error;
mod h1;
mod h2;
mod pools;
mod stream;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, uri};
use http_body::{Body, Frame, SizeHint};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use super::body::{AttemptBody, RequestBody};
use super::hold::Hold;
use super::timer::LazyTimer;
use super::tunnel::Tunnel;
use crate::config;
use crate::credential::Bearer;
use crate::headers;
use crate::problem;
use dial::Dialer;
pub(super) use error::UpstreamError;
#[cfg(any(test, fuzzing))]
pub(in crate::proxy) use h1::lab;
pub(in crate::proxy) use pools::Open;
use pools::{Link, Pools};

/// How long an upstream that does not answer expectations is not asked again.
const NOT_ASKED: Duration = Duration::from_secs(300);

/// What one thread needs to reach the upstream.
pub(super) struct Upstream {
    origin: config::Origin,
    response_timeout: Duration,
    idle_timeout: Duration,
    /// How long a body waits to be asked for; zero: it does not.
    expect_timeout: Duration,
    /// Until when the upstream is not asked, since it did not answer.
    not_asked: Cell<Option<Instant>>,
    /// `Via` for requests of HTTP/1.1, HTTP/1.0 and HTTP/2.
    via: [HeaderValue; 3],
    /// The lines that are ours: `Host` and each `Via`.
    own_lines: [Vec<u8>; 3],
    pools: Rc<Pools>,
}

/// Which `Via` tells of a request of this version.
fn via_of(version: Version) -> usize {
    match version {
        Version::HTTP_10 => 1,
        Version::HTTP_2 => 2,
        _ => 0,
    }
}

/// The head of a request as it goes out, kept for a second attempt.
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) uri: Uri,
    /// The client's, stripped. `Host` and `Authorization` in them do not go out, and our `Via` comes behind.
    pub(super) headers: HeaderMap,
    /// What is sent as `Authorization`.
    pub(super) bearer: Bearer,
    /// What the client spoke.
    pub(super) version: Version,
    /// The client has not begun to send the body: it waits for a 100.
    pub(super) client_waits: bool,
    /// It asks for a websocket, which takes a connection of HTTP/1.1.
    pub(super) upgrade: bool,
}

/// A sending that brought no answer.
struct Failed {
    error: UpstreamError,
    again: Again,
    /// The connection of HTTP/2 it failed on.
    on: Option<u64>,
}

/// Whether a request may be sent once more.
enum Again {
    No,
    /// Without the expectation, which is all that was refused.
    Unasked(AttemptBody),
    /// On any other: the idle connection it was to go out on had been closed before.
    Stale(AttemptBody),
    /// Once: nothing of it has been written.
    Unsent(AttemptBody),
    /// Once, when the method is idempotent: the connection was dead before a byte of an answer.
    Unanswered,
    /// Once: the upstream says that it has not looked at it.
    Unprocessed,
    /// The same, and the body has not been touched.
    Untouched(AttemptBody),
}

impl Upstream {
    pub(super) fn new(
        config: &config::Upstream,
        expect_timeout: Duration,
        tls: &Arc<rustls::ClientConfig>,
        open: Gauge,
    ) -> Self {
        let names = ["1.1", "1.0", "2"].map(|version| format!("{version} {}", problem::NAME));
        let own_line =
            |via: &String| format!("host: {}\r\nvia: {via}\r\n", config.url.authority).into_bytes();
        Self {
            own_lines: names.each_ref().map(own_line),
            // Our name is a legal field value.
            via: names
                .map(|via| HeaderValue::try_from(via).unwrap_or(HeaderValue::from_static(problem::NAME))),
            origin: config.url.clone(),
            response_timeout: config.response_timeout,
            idle_timeout: config.idle_timeout,
            expect_timeout,
            not_asked: Cell::default(),
            pools: Rc::new(Pools::new(Dialer::new(config, tls, open))),
        }
    }

    /// Opens a first connection in the background where that takes a while: to an upstream that speaks TLS.
    pub(super) fn warm_up(&self) {
        self.pools.warm_up();
    }

    /// Whether there can be a connection that becomes a websocket.
    pub(super) fn can_upgrade(&self) -> bool {
        !self.pools.dialer.is_pinned_to_h2()
    }

    /// Sends a request and gives the head of the answer.
    ///
    /// It is sent once. There are two exceptions. One is the race every pool has: on a reused connection that turns out to
    /// have been closed before a byte of the answer came, the request is sent on another when it was never written, or
    /// when its method is idempotent (RFC 9110 §9.2.2) and its body can be sent again. The other is a stream that the
    /// upstream says it has not looked at (RFC 9113 §8.7): whatever the method, once more.
    pub(super) async fn send(
        &self,
        head: &Head,
        body: &RequestBody,
        timer: &LazyTimer,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let idempotent = is_idempotent(&head.method);
        let Some(mut attempt) = body.attempt() else { return Err(UpstreamError::Terminated) };
        let mut resend = true;
        let mut another = None;
        loop {
            let at_hand = if another.is_none() { self.pools.ready(idempotent) } else { None };
            let link = match at_hand {
                Some(connection) => Link::H1(connection),
                // Rare and large, as are the other futures in boxes: a request should not keep room for them.
                None => Box::pin(self.connect(head.upgrade, idempotent, another, timer)).await?,
            };
            let outcome = match link {
                Link::H1(connection) => self.ask_h1(connection, head, attempt, body, timer).await?,
                Link::H2(lease) => Box::pin(self.ask_h2(lease, head, attempt, body, timer)).await?,
            };
            let failed = match outcome {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let again = match failed.again {
                Again::Unasked(body) | Again::Stale(body) => {
                    attempt = body;
                    continue;
                }
                Again::Unsent(unsent) | Again::Untouched(unsent) if resend => Some(unsent),
                Again::Unanswered if resend && idempotent => body.attempt(),
                Again::Unprocessed if resend => body.attempt(),
                _ => None,
            };
            let Some(again) = again else { return Err(failed.error) };
            attempt = again;
            // The second time nothing is left to chance.
            another = Some(failed.on.unwrap_or(u64::MAX));
            resend = false;
        }
    }

    async fn connect(
        &self,
        upgrade: bool,
        idempotent: bool,
        another: Option<u64>,
        timer: &LazyTimer,
    ) -> Result<Link, UpstreamError> {
        match upgrade {
            true => Ok(Link::H1(self.pools.h1(another.is_some()).await?)),
            false => self.pools.link(idempotent, another, timer).await,
        }
    }

    async fn ask_h1(
        &self,
        connection: h1::Connection,
        head: &Head,
        attempt: AttemptBody,
        body: &RequestBody,
        timer: &LazyTimer,
    ) -> Result<Result<Response<UpstreamBody>, Failed>, UpstreamError> {
        let hold = self.asks(head, body).then(Hold::default);
        body.hold(hold.clone());
        let own_lines = &self.own_lines[via_of(head.version)];
        let mut exchange =
            h1::Exchange::new(connection, head, own_lines, hold.clone(), body.clone(), attempt);
        let sent = poll_fn(|cx| exchange.poll_head(cx));
        match self.await_head(sent, body, hold.as_ref(), timer).await? {
            Ok(received) if received.head.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let source = Source::Switched(exchange.into_tunnel());
                Ok(Ok(received.head.map(|()| self.body(source, timer))))
            }
            Ok(received) => {
                if let Some(again) = self.without_expectation(&received.head, hold.as_ref(), body) {
                    let again = Again::Unasked(again);
                    return Ok(Err(Failed { error: UpstreamError::Terminated, again, on: None }));
                }
                let answer = exchange.answer(received, &self.pools);
                Ok(Ok(answer.map(|answer| self.body(Source::H1(answer), timer))))
            }
            Err(error) => Ok(Err(Failed { error, again: exchange.again(), on: None })),
        }
    }

    async fn ask_h2(
        &self,
        lease: h2::Lease,
        head: &Head,
        attempt: AttemptBody,
        body: &RequestBody,
        timer: &LazyTimer,
    ) -> Result<Result<Response<UpstreamBody>, Failed>, UpstreamError> {
        let on = Some(lease.number());
        body.hold(None);
        let mut exchange = match stream::Exchange::begin(
            lease,
            head.stream_request(&self.origin, &self.via[via_of(head.version)]),
            attempt,
        ) {
            Ok(exchange) => exchange,
            Err(unsent) => {
                return Ok(Err(Failed {
                    error: UpstreamError::Terminated,
                    again: Again::Unsent(*unsent),
                    on,
                }));
            }
        };
        match self.await_head(poll_fn(|cx| exchange.poll_head(cx)), body, None, timer).await? {
            Ok(head) => {
                let answer = exchange.answer(head)?;
                Ok(Ok(answer.map(|answer| self.body(Source::H2(answer), timer))))
            }
            Err(failure) => {
                let (error, again) = exchange.fail(failure);
                Ok(Err(Failed { error, again, on }))
            }
        }
    }

    fn body(&self, source: Source, timer: &LazyTimer) -> UpstreamBody {
        UpstreamBody { source, idle_timeout: self.idle_timeout, waiting_since: None, timer: timer.clone() }
    }

    /// Whether a request goes out with an expectation. It is for HTTP/1.1: a stream can be reset
    /// without harm to the connection.
    fn asks(&self, head: &Head, body: &RequestBody) -> bool {
        !self.expect_timeout.is_zero()
            && body.is_worth_asking(head.client_waits)
            && self.not_asked.get().is_none_or(|until| Instant::now() >= until)
    }

    /// What a final answer does to a body that waits: one that wants no body leaves it with the client. Gives the
    /// body for one more sending where the upstream refuses only the expectation.
    fn without_expectation<B>(
        &self,
        answer: &Response<B>,
        hold: Option<&Hold>,
        body: &RequestBody,
    ) -> Option<AttemptBody> {
        let hold = hold?;
        let status = answer.status();
        if status == StatusCode::EXPECTATION_FAILED {
            self.not_asked.set(Some(Instant::now() + NOT_ASKED));
            return body.attempt();
        }
        if !status.is_client_error() && !status.is_server_error() {
            hold.release();
        }
        None
    }

    /// Waits for the head: for a moment while the body waits to be asked for, as long as the upload moves, then for
    /// the response timeout.
    async fn await_head<T>(
        &self,
        sent: impl Future<Output = T>,
        body: &RequestBody,
        hold: Option<&Hold>,
        timer: &LazyTimer,
    ) -> Result<T, UpstreamError> {
        let mut sent = pin!(sent);
        let mut start = Instant::now();
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = sent.as_mut().poll(cx) {
                return Poll::Ready(Ok(outcome));
            }
            if let Some(hold) = hold.filter(|hold| hold.is_held()) {
                ready!(timer.poll_deadline(cx, start + self.expect_timeout));
                start = Instant::now();
                self.not_asked.set(Some(start + NOT_ASKED));
                hold.release();
            }
            if body.starved() {
                return Poll::Pending;
            }
            let moved = body.progress().map_or(start, |at| at.max(start));
            let (after, error) = match body.sent() {
                true => (self.response_timeout, UpstreamError::ResponseTimeout),
                false => (self.idle_timeout, UpstreamError::WriteTimeout),
            };
            timer.poll_deadline(cx, moved + after).map(|()| Err(error))
        })
        .await
    }
}

impl Head {
    /// As it is on HTTP/2: no `Host` but `:authority`, and no framing but the frames'.
    fn stream_request(&self, origin: &config::Origin, via: &HeaderValue) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        let mut uri = uri::Parts::default();
        uri.scheme = Some(if origin.tls { uri::Scheme::HTTPS } else { uri::Scheme::HTTP });
        uri.authority = Some(origin.authority.clone());
        uri.path_and_query = self.uri.path_and_query().cloned();
        // Whole by construction.
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *request.version_mut() = Version::HTTP_2;
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        headers.remove(header::HOST);
        headers.remove(header::TRANSFER_ENCODING);
        headers.append(header::VIA, via.clone());
        headers.insert(header::AUTHORIZATION, self.bearer.value.clone());
        request
    }
}

/// An answer's body.
pub(super) struct UpstreamBody {
    source: Source,
    idle_timeout: Duration,
    waiting_since: Option<Instant>,
    timer: LazyTimer,
}

enum Source {
    H1(h1::Answer),
    H2(stream::Answer),
    /// A 101: there is no body, but a connection to be used otherwise.
    Switched(Option<Tunnel>),
}

impl UpstreamBody {
    /// All of it, where it is there already.
    pub(super) fn take_whole(&mut self) -> Option<Bytes> {
        match &mut self.source {
            Source::H1(answer) => answer.take_whole(),
            Source::H2(_) | Source::Switched(_) => None,
        }
    }

    /// What a 101 has brought.
    pub(super) fn take_tunnel(&mut self) -> Option<Tunnel> {
        match &mut self.source {
            Source::Switched(tunnel) => tunnel.take(),
            Source::H1(_) | Source::H2(_) => None,
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let this = self.get_mut();
        let polled = match &mut this.source {
            Source::H1(answer) => answer.poll_frame(cx),
            Source::H2(answer) => answer.poll_frame(cx),
            Source::Switched(_) => return Poll::Ready(None),
        };
        let Poll::Ready(mut frame) = polled else {
            let since = *this.waiting_since.get_or_insert_with(Instant::now);
            ready!(this.timer.poll_deadline(cx, since + this.idle_timeout));
            match &mut this.source {
                Source::H1(answer) => answer.abandon(),
                Source::H2(answer) => answer.abandon(),
                Source::Switched(_) => {}
            }
            return Poll::Ready(Some(Err(UpstreamError::ReadTimeout)));
        };
        this.waiting_since = None;
        if let Some(trailers) = frame.as_mut().and_then(|frame| frame.as_mut().ok()?.trailers_mut()) {
            headers::strip_trailers(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::H1(answer) => answer.is_end_stream(),
            Source::H2(answer) => answer.is_end_stream(),
            Source::Switched(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::H1(answer) => answer.size_hint(),
            Source::H2(answer) => answer.size_hint(),
            Source::Switched(_) => SizeHint::with_exact(0),
        }
    }
}

/// RFC 9110 §9.2.2, and nothing that is not registered there: an unknown method may place a call.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS)
}
