//! The upstream: the only client of the API.
//!
//! Each thread has connections of its own ([`pools`]); a request goes out on one of HTTP/1.1 ([`h1`]) that it has for
//! itself, or on a stream of one of HTTP/2 ([`h2`]). Which of the two is settled when a connection is made ([`dial`]).

mod dial;
mod error;
mod h1;
mod h2;
mod pools;
mod slots;
mod stream;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
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
use super::continue_gate::ContinueGate;
use super::timer::LazyTimer;
use super::tunnel::Tunnel;
use crate::config;
use crate::credential::Bearer;
use crate::headers;
use crate::problem;
use crate::server::RawTarget;
use crate::server::descriptors::Descriptors;
use dial::Dialer;
pub(super) use error::UpstreamError;
#[cfg(any(test, fuzzing))]
pub(in crate::proxy) use h1::testing;
use pools::{Link, Pools};
pub(in crate::proxy) use slots::Open;
use slots::Slots;

/// How long an upstream that does not response expectations is not asked again.
const NOT_ASKED: Duration = Duration::from_secs(300);

/// What one thread needs to reach the upstream.
pub(super) struct Upstream {
    origin: config::Origin,
    response_timeout: Duration,
    idle_timeout: Duration,
    /// How long a body waits to be asked for; zero: it does not.
    expect_timeout: Duration,
    /// Until when the upstream is not asked, since it did not response.
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
    /// Path and query as they came, where the URI cannot carry them.
    pub(super) raw_target: Option<Box<RawTarget>>,
    /// The client's, stripped. `Host` and `Authorization` in them do not go out, and our `Via` comes behind.
    pub(super) headers: HeaderMap,
    /// What is sent as `Authorization`.
    pub(super) bearer: Bearer,
    /// What the client spoke.
    pub(super) version: Version,
    /// The client has not begun to send the body: it waits for a 100.
    pub(super) client_waits: bool,
    /// It asks for a websocket.
    pub(super) upgrade: bool,
}

impl Head {
    /// Whether it can go out on HTTP/1.1 alone: what becomes a websocket, and a target that HTTP/2 cannot carry.
    pub(super) fn needs_http1(&self) -> bool {
        self.upgrade || self.raw_target.is_some()
    }
}

/// A sending that brought no response.
pub(super) struct Failed {
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
    /// Once, when the method is idempotent: the connection was dead before a byte of a response.
    Unanswered,
    /// Once: the upstream says that it has not looked at it.
    Unprocessed,
    /// The same, and the body has not been touched.
    Untouched(AttemptBody),
}

/// How often a request has been sent in vain.
#[derive(Default)]
struct Resend {
    /// Not once more.
    used: bool,
    /// It goes out on another connection than the one of HTTP/2 with this number, and on none that was used before.
    another: Option<u64>,
}

impl Resend {
    /// The body for the next sending, if there may be one.
    fn after(
        &mut self,
        failed: Failed,
        head: &Head,
        body: &RequestBody,
    ) -> Result<AttemptBody, UpstreamError> {
        let again = match failed.again {
            Again::Unasked(body) | Again::Stale(body) => return Ok(body),
            Again::Unsent(unsent) | Again::Untouched(unsent) if !self.used => Some(unsent),
            Again::Unanswered if !self.used && is_idempotent(&head.method) => body.attempt(),
            Again::Unprocessed if !self.used => body.attempt(),
            _ => None,
        };
        // The second time nothing is left to chance.
        self.another = Some(failed.on.unwrap_or(u64::MAX));
        self.used = true;
        again.ok_or(failed.error)
    }
}

/// A request that is being asked on a connection of HTTP/1.1.
pub(super) struct Asking<'a> {
    upstream: &'a Upstream,
    exchange: h1::Exchange,
    body: RequestBody,
    hold: Option<ContinueGate>,
    timer: &'a LazyTimer,
    start: Instant,
}

impl Future for Asking<'_> {
    type Output = Result<Result<Response<UpstreamBody>, Failed>, UpstreamError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let (upstream, exchange) = (this.upstream, &mut this.exchange);
        let received = match exchange.poll_head(cx) {
            Poll::Ready(Ok(received)) => received,
            Poll::Ready(Err(error)) => {
                return Poll::Ready(Ok(Err(Failed { error, again: exchange.again(), on: None })));
            }
            Poll::Pending => {
                let starved = this.body.starved() && !exchange.is_writing();
                let hold = this.hold.as_ref();
                let late = upstream.poll_late(cx, &this.body, starved, hold, &mut this.start, this.timer);
                return late.map(Err);
            }
        };
        if received.head.status() == StatusCode::SWITCHING_PROTOCOLS {
            let tunnel = exchange.take_tunnel().map(Box::new);
            return Poll::Ready(Ok(Ok(received.head.map(|()| UpstreamBody(Source::Switched(tunnel))))));
        }
        if let Some(again) = upstream.without_expectation(&received.head, this.hold.as_ref(), &this.body) {
            let again = Again::Unasked(again);
            return Poll::Ready(Ok(Err(Failed { error: UpstreamError::Terminated, again, on: None })));
        }
        let response = exchange.response(received, &upstream.pools)?;
        Poll::Ready(Ok(Ok(response.map(|answered| match answered {
            h1::BodyStart::Whole(bytes) => UpstreamBody(Source::Whole(bytes)),
            h1::BodyStart::Streamed(response) => upstream.streamed(StreamedBody::H1(*response), this.timer),
        }))))
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
            pools: Rc::new(Pools::new(dialer)),
        }
    }

    /// Opens a first connection in the background where that takes a while: to an upstream that speaks TLS.
    pub(super) fn warm_up(&self) {
        self.pools.warm_up();
    }

    /// Whether there can be a connection of HTTP/1.1.
    pub(super) fn has_http1(&self) -> bool {
        !self.pools.dialer.is_pinned_to_h2()
    }

    /// Sends a request and gives the head of the response.
    ///
    /// It is sent once. There are two exceptions. One is the race every pool has: on a reused connection that turns out to
    /// have been closed before a byte of the response came, the request is sent on another when it was never written, or
    /// when its method is idempotent (RFC 9110 §9.2.2) and its body can be sent again. The other is a stream that the
    /// upstream says it has not looked at (RFC 9113 §8.7): whatever the method, once more.
    pub(super) async fn send(
        &self,
        head: &Head,
        body: &RequestBody,
        timer: &LazyTimer,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let Some(attempt) = body.attempt() else { return Err(UpstreamError::Terminated) };
        self.send_attempts(head, body, timer, Resend::default(), attempt).await
    }

    /// The same behind a first sending that brought no response.
    pub(super) async fn send_again(
        &self,
        head: &Head,
        body: &RequestBody,
        timer: &LazyTimer,
        failed: Failed,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let mut resend = Resend::default();
        let attempt = resend.after(failed, head, body)?;
        self.send_attempts(head, body, timer, resend, attempt).await
    }

    async fn send_attempts(
        &self,
        head: &Head,
        body: &RequestBody,
        timer: &LazyTimer,
        mut resend: Resend,
        mut attempt: AttemptBody,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let idempotent = is_idempotent(&head.method);
        loop {
            let now = Instant::now();
            let at_hand = if resend.another.is_none() { self.pools.ready(idempotent, now) } else { None };
            let link = match at_hand {
                Some(connection) => Link::H1(connection),
                None => self.connect(head.needs_http1(), idempotent, resend.another, timer).await?,
            };
            let outcome = match link {
                Link::H1(connection) => {
                    self.ask_h1(connection, head, attempt, body, timer, Instant::now()).await?
                }
                Link::H2(lease) => self.ask_h2(lease, head, attempt, body, timer).await?,
            };
            match outcome {
                Ok(response) => return Ok(response),
                Err(failed) => attempt = resend.after(failed, head, body)?,
            }
        }
    }

    async fn connect(
        &self,
        needs_http1: bool,
        idempotent: bool,
        another: Option<u64>,
        timer: &LazyTimer,
    ) -> Result<Link, UpstreamError> {
        match needs_http1 {
            true => Ok(Link::H1(self.pools.h1(idempotent, another.is_some()).await?)),
            false => self.pools.link(idempotent, another, timer).await,
        }
    }

    /// Asks on a connection that is at hand, if there is one: as most requests do. What follows a failure is
    /// [`send_again`](Self::send_again)'s.
    pub(super) fn ask_at_hand<'a>(
        &'a self,
        head: &Head,
        body: &RequestBody,
        timer: &'a LazyTimer,
    ) -> Option<Asking<'a>> {
        let now = Instant::now();
        let connection = self.pools.ready(is_idempotent(&head.method), now)?;
        Some(self.ask_h1(connection, head, body.attempt()?, body, timer, now))
    }

    fn ask_h1<'a>(
        &'a self,
        connection: h1::Connection,
        head: &Head,
        attempt: AttemptBody,
        body: &RequestBody,
        timer: &'a LazyTimer,
        now: Instant,
    ) -> Asking<'a> {
        let hold = self.asks(head, body).then(ContinueGate::default);
        body.hold(hold.clone());
        let own_lines = &self.own_lines[via_of(head.version)];
        Asking {
            exchange: h1::Exchange::new(connection, head, own_lines, hold.clone(), body.clone(), attempt),
            upstream: self,
            body: body.clone(),
            hold,
            timer,
            start: now,
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
        let mut start = Instant::now();
        let head = poll_fn(|cx| match exchange.poll_head(cx) {
            Poll::Ready(head) => Poll::Ready(Ok(head)),
            Poll::Pending => self.poll_late(cx, body, body.starved(), None, &mut start, timer).map(Err),
        });
        match head.await? {
            Ok(head) => {
                let response = exchange.response(head)?;
                Ok(Ok(response.map(|response| self.streamed(StreamedBody::H2(response), timer))))
            }
            Err(failure) => {
                let (error, again) = exchange.fail(failure);
                Ok(Err(Failed { error, again, on }))
            }
        }
    }

    fn streamed(&self, response: StreamedBody, timer: &LazyTimer) -> UpstreamBody {
        UpstreamBody(Source::Streamed(Box::new(Streamed {
            response,
            idle_timeout: self.idle_timeout,
            waiting_since: None,
            timer: timer.clone(),
        })))
    }

    /// Whether a request goes out with an expectation. It is for HTTP/1.1: a stream can be reset
    /// without harm to the connection.
    fn asks(&self, head: &Head, body: &RequestBody) -> bool {
        !self.expect_timeout.is_zero()
            && body.is_worth_asking(head.client_waits)
            && self.not_asked.get().is_none_or(|until| Instant::now() >= until)
    }

    /// What a final response does to a body that waits: one that wants no body leaves it with the client. Gives the
    /// body for one more sending where the upstream refuses only the expectation.
    fn without_expectation<B>(
        &self,
        response: &Response<B>,
        hold: Option<&ContinueGate>,
        body: &RequestBody,
    ) -> Option<AttemptBody> {
        let hold = hold?;
        let status = response.status();
        if status == StatusCode::EXPECTATION_FAILED {
            self.not_asked.set(Some(Instant::now() + NOT_ASKED));
            return body.attempt();
        }
        if !status.is_client_error() && !status.is_server_error() {
            hold.release();
        }
        None
    }

    /// Whether a head that is not there has been waited for long enough: for a moment while the body waits to be asked for, as
    /// long as the upload moves, then for the response timeout, since `start`. A client that is waited for (`starved`) has a
    /// deadline of its own.
    fn poll_late(
        &self,
        cx: &mut Context<'_>,
        body: &RequestBody,
        starved: bool,
        hold: Option<&ContinueGate>,
        start: &mut Instant,
        timer: &LazyTimer,
    ) -> Poll<UpstreamError> {
        if let Some(hold) = hold.filter(|hold| hold.is_held()) {
            ready!(timer.poll_deadline(cx, *start + self.expect_timeout));
            *start = Instant::now();
            self.not_asked.set(Some(*start + NOT_ASKED));
            hold.release();
        }
        if starved {
            return Poll::Pending;
        }
        let moved = body.progress().map_or(*start, |at| at.max(*start));
        let (after, error) = match body.sent() {
            true => (self.response_timeout, UpstreamError::ResponseTimeout),
            false => (self.idle_timeout, UpstreamError::WriteTimeout),
        };
        timer.poll_deadline(cx, moved + after).map(|()| error)
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

/// A response's body. It is small, and changes hands often.
pub(super) struct UpstreamBody(Source);

enum Source {
    /// What is to come of one that is all there.
    Whole(Bytes),
    Streamed(Box<Streamed>),
    /// A 101: there is no body, but a connection to be used otherwise.
    Switched(Option<Box<Tunnel>>),
}

struct Streamed {
    response: StreamedBody,
    idle_timeout: Duration,
    waiting_since: Option<Instant>,
    timer: LazyTimer,
}

enum StreamedBody {
    H1(h1::StreamedBody),
    H2(stream::StreamedBody),
}

impl UpstreamBody {
    /// All of it, where it is there already.
    pub(super) fn take_whole(&mut self) -> Option<Bytes> {
        match &mut self.0 {
            Source::Whole(bytes) => Some(std::mem::take(bytes)),
            Source::Streamed(streamed) => match &mut streamed.response {
                StreamedBody::H1(response) => response.take_whole(),
                StreamedBody::H2(_) => None,
            },
            Source::Switched(_) => None,
        }
    }

    /// What a 101 has brought.
    pub(super) fn take_tunnel(&mut self) -> Option<Tunnel> {
        match &mut self.0 {
            Source::Switched(tunnel) => tunnel.take().map(|tunnel| *tunnel),
            Source::Whole(_) | Source::Streamed(_) => None,
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
        match &mut self.get_mut().0 {
            Source::Whole(bytes) => {
                let whole = std::mem::take(bytes);
                Poll::Ready((!whole.is_empty()).then(|| Ok(Frame::data(whole))))
            }
            Source::Streamed(streamed) => streamed.poll_frame(cx),
            Source::Switched(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Whole(bytes) => bytes.is_empty(),
            Source::Streamed(streamed) => match &streamed.response {
                StreamedBody::H1(response) => response.is_end_stream(),
                StreamedBody::H2(response) => response.is_end_stream(),
            },
            Source::Switched(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Streamed(streamed) => match &streamed.response {
                StreamedBody::H1(response) => response.size_hint(),
                StreamedBody::H2(response) => response.size_hint(),
            },
            Source::Switched(_) => SizeHint::with_exact(0),
        }
    }
}

impl Streamed {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let polled = match &mut self.response {
            StreamedBody::H1(response) => response.poll_frame(cx),
            StreamedBody::H2(response) => response.poll_frame(cx),
        };
        let Poll::Ready(mut frame) = polled else {
            let since = *self.waiting_since.get_or_insert_with(Instant::now);
            ready!(self.timer.poll_deadline(cx, since + self.idle_timeout));
            match &mut self.response {
                StreamedBody::H1(response) => response.abandon(),
                StreamedBody::H2(response) => response.abandon(),
            }
            return Poll::Ready(Some(Err(UpstreamError::ReadTimeout)));
        };
        self.waiting_since = None;
        if let Some(trailers) = frame.as_mut().and_then(|frame| frame.as_mut().ok()?.trailers_mut()) {
            headers::strip_trailers(trailers);
        }
        Poll::Ready(frame)
    }
}

/// RFC 9110 §9.2.2, and nothing that is not registered there: an unknown method may slot a call.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS)
}
