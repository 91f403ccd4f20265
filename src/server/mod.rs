//! One way to serve HTTP, for every listener: the proxy, the admin routes, the simulator.
//!
//! A listener is bound ([`bind`], [`bind_unix`]), accepted from ([`accept`]), and each stream is driven by [`connection`]
//! (HTTP/1) or [`open`] (HTTP/1 or HTTP/2, as the client likes), which the caller spawns where it wants it: on its own
//! thread (`spawn_local`) or, HTTP/1 alone, on the shared runtime. Between socket
//! and hyper stands the `guard`: it reads every message head before hyper does, refuses what RFC 9112 does not
//! allow, and keeps the deadlines. What it refuses reaches the [`Handler`] as a [`Refusal`], so that one place
//! writes every answer.

mod admission;
mod body;
pub(crate) mod chunked;
pub mod descriptors;
mod drain;
pub(crate) mod drowsy;
mod flood;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod guard;
mod h2;
mod head;
pub(crate) mod hush;
mod listener;
mod opening;
pub(crate) mod syntax;
mod tls;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

pub use admission::{Admission, Admitted, Over};
pub use body::{BodyError, Incoming};
pub use drain::{Drain, DrainSignal};
use guard::{Guard, State, Tracked};
pub use head::Refusal;
use hush::Hushed;
pub use listener::{Listener, Peer, SocketFile, Stream, UnixSocket, accept, bind, bind_unix};
pub use opening::{open, open_tls};
pub use tls::{ListenTlsError, Reloaded, Tls};

/// Room in hyper's buffers beyond the largest head; with it they are larger than the smallest hyper takes.
const SPARE: usize = 8 * 1024;

/// How much of a body hyper reads at once where bodies are long. The room of a thread is divided by the connections that hyper
/// has when another comes: where there are many, their pieces are smaller.
const LARGE_READ: usize = 512 * 1024;
const LARGE_READS: usize = 32 << 20;

/// How many header lines hyper takes without being told; then it makes no room for each that there may be.
const HYPERS_HEADERS: usize = 100;

/// What a connection may take, in bytes and time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the beginning of a connection to its first byte.
    pub first_byte_timeout: Duration,
    /// From the first byte of a head to its end.
    pub header_timeout: Duration,
    /// How long a connection may stay open without a request. A lazy timer: it ends up to two seconds later.
    pub idle_timeout: Duration,
    /// Between two reads of a request body, and how long a write may make no progress.
    pub body_timeout: Duration,
    /// Request line and header section together.
    pub head_bytes: usize,
    /// Header lines.
    pub headers: usize,
    /// The request target.
    pub target_bytes: usize,
    /// Requests on one connection; 0 is no limit.
    pub requests: u32,
    /// Whether each request of HTTP/1 carries its [`RawHead`].
    pub keep_heads: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_byte_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            head_bytes: 64 * 1024,
            headers: 100,
            target_bytes: 16 * 1024,
            requests: 0,
            keep_heads: false,
        }
    }
}

/// A handler's way to say: end this connection without an answer, by a reset. As the error of an answer's body: in the
/// middle of it.
#[derive(Debug, thiserror::Error)]
#[error("the connection is reset on purpose")]
pub struct Abort;

/// A request's head to the byte, empty line included: among its extensions where [`Limits::keep_heads`] asks for it.
#[derive(Clone, Debug)]
pub struct RawHead(pub Bytes);

/// Marks a request that asks for a websocket, and whose connection can become one: among its extensions.
#[derive(Clone, Copy, Debug)]
pub struct AsksForWebsocket;

/// What answers requests on one connection. Cloned per connection by the caller; `handle` takes requests one
/// after another.
pub trait Handler: 'static {
    /// The answers' body.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>> + 'static>
        + Unpin
        + 'static;

    /// Whether answers without a `Date` are given one: by an origin server, not by a proxy.
    const DATE: bool = true;

    /// Answers a request.
    ///
    /// Dropped when the client goes away, so whatever must not be lost belongs in a task of its own.
    fn handle(&self, request: Request<Incoming>)
    -> impl Future<Output = Result<Response<Self::Body>, Abort>>;

    /// Goes on with a connection after [`handle`](Self::handle) answered one of its requests by a 101, which it may only
    /// where the request [asks for it](AsksForWebsocket). Reading begins behind that request.
    ///
    /// # Errors
    /// [`Abort`] where the client should not take the end for one that was meant.
    fn tunnel(
        &self,
        client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> impl Future<Output = Result<(), Abort>> {
        let _ = client;
        async { Err(Abort) }
    }

    /// The connection is idle: what only an exchange needs may go.
    fn rest(&self) {}

    /// Answers what the guard refused; the connection ends after it.
    fn refuse(&self, refusal: Refusal) -> Response<Self::Body>;
}

/// How far a connection is on its way out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Draining {
    NotYet,
    /// What the client has sent by now is still answered: one turn of the runtime brings it in.
    Looking,
    /// A head that has begun is read to its end.
    Finishing,
    Closing,
}

/// Whether an answer says nothing about the length of its body, and has one.
fn is_open_ended<B: Body>(response: &Response<B>) -> bool {
    !response.body().is_end_stream() && response.body().size_hint().exact().is_none()
}

/// Drives one connection of HTTP/1 to its end: requests in order, deadlines, refusals, drain.
pub async fn connection<H: Handler>(stream: impl Stream, limits: Limits, mut drain: DrainSignal, handler: H) {
    let state = Arc::new(State::new(drain.clone()));
    // It changes hands, and is large.
    let mut guard = Box::new(Guard::new(stream, limits, Arc::clone(&state)));
    let handler = Arc::new(handler);
    while guard.first_head(&mut drain).await {
        guard.wake();
        // hyper's buffers and the handler's future are large: a connection that asks for nothing does not get them, and one
        // that rests gives them back.
        let exchanges = exchanges(guard, Arc::clone(&state), limits, &mut drain, Arc::clone(&handler));
        match Box::pin(exchanges).await {
            Some(resting) => {
                guard = resting;
                handler.rest();
            }
            None => return,
        }
    }
    // Under TLS an end is told.
    let _ = poll_fn(|cx| Pin::new(&mut guard).poll_shutdown(cx)).await;
}

/// Answers a connection that is one too many with [`Refusal::TooManyConnections`], without reading from it, and closes it.
pub async fn turn_away<H: Handler>(stream: impl Stream, limits: Limits, mut drain: DrainSignal, handler: H) {
    let state = Arc::new(State::new(drain.clone()));
    let mut guard = Box::new(Guard::new(stream, limits, Arc::clone(&state)));
    guard.refuse(Refusal::TooManyConnections);
    Box::pin(exchanges(guard, state, limits, &mut drain, Arc::new(handler))).await;
}

/// Counts a connection of the thread it began on while hyper has it. On the shared runtime it may end on another.
struct Active(Arc<AtomicUsize>);

thread_local! {
    static ACTIVE: Arc<AtomicUsize> = Arc::default();
}

impl Active {
    fn begin() -> Self {
        let count = ACTIVE.with(Arc::clone);
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }

    /// How much one of so many may read at once.
    fn room(&self) -> usize {
        (LARGE_READS / self.0.load(Ordering::Relaxed).max(1)).min(LARGE_READ)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The requests of a connection whose first head is there. The connection itself when it rests: it has been idle for a
/// while, and waits for another head.
async fn exchanges<S: Stream, H: Handler>(
    guard: Box<Guard<S>>,
    state: Arc<State>,
    limits: Limits,
    drain: &mut DrainSignal,
    handler: Arc<H>,
) -> Option<Box<Guard<S>>> {
    let io = TokioIo::new(guard);
    let (seen, tunnels) = (Arc::clone(&state), Arc::clone(&handler));
    let service = hyper::service::service_fn(move |mut request: Request<hyper::body::Incoming>| {
        let (state, handler) = (Arc::clone(&state), Arc::clone(&handler));
        // Before the future is first polled: hyper reads ahead between the two.
        let in_flight = state.begin();
        let refusal = state.refusal_of_this_request();
        if limits.keep_heads
            && refusal.is_none()
            && let Some(head) = state.head_of_this_request()
        {
            request.extensions_mut().insert(RawHead(head));
        }
        let decides = state.is_to_decide();
        if decides {
            request.extensions_mut().insert(AsksForWebsocket);
        }
        async move {
            let version = request.version();
            let answer = match refusal {
                Some(refusal) => Ok(handler.refuse(refusal)),
                None => handler.handle(request.map(|body| Incoming::new(body, None))).await,
            };
            let switches =
                matches!(&answer, Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS);
            if decides {
                state.decide(switches);
                // The guard has something to read now, which no socket will tell.
                poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    Poll::Ready(())
                })
                .await;
            }
            match answer {
                Ok(response) if switches => {
                    // hyper would announce it, and wait for ever.
                    if !decides {
                        return Err(Abort);
                    }
                    Ok(response.map(|body| Tracked::new(body, in_flight, false)))
                }
                Ok(mut response) => {
                    // To HTTP/1.0 an end of unknown length is the end of the connection, and a cut has to look
                    // different from one.
                    let ends_by_close = version == Version::HTTP_10 && is_open_ended(&response);
                    if ends_by_close || state.is_spent(limits.requests) || state.drain.has_begun() {
                        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                    }
                    Ok(response.map(|body| Tracked::new(body, in_flight, ends_by_close)))
                }
                Err(abort) => {
                    state.reset_on_close();
                    Err(abort)
                }
            }
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    let active = Active::begin();
    // The guard has checked the head; hyper's own limits must never be the narrower ones: its answers are bare.
    builder.max_buf_size(active.room().max(limits.head_bytes + SPARE)).auto_date_header(H::DATE);
    if limits.headers > HYPERS_HEADERS {
        builder.max_headers(limits.headers);
    }
    let mut connection = builder.serve_connection(io, service);
    let mut draining = Draining::NotYet;
    let mut hushed = Hushed::default();
    let mut turn = pin!(tokio::task::yield_now());
    let ended = poll_fn(|cx| {
        if draining == Draining::NotYet && drain.poll_begun(cx).is_ready() {
            draining = Draining::Looking;
        }
        if draining == Draining::Looking && turn.as_mut().poll(cx).is_ready() {
            draining = Draining::Finishing;
        }
        let outcome = hushed.poll(cx, |cx| Pin::new(&mut connection).poll(cx));
        if outcome.is_pending() && seen.rests() {
            return Poll::Ready(Ok(()));
        }
        if outcome.is_pending()
            && draining == Draining::Finishing
            && !seen.in_head()
            // It would be told to the client on a 101 too.
            && !seen.is_undecided()
        {
            draining = Draining::Closing;
            Pin::new(&mut connection).graceful_shutdown();
            return hushed.poll(cx, |cx| Pin::new(&mut connection).poll(cx));
        }
        // Once a request had an `Upgrade`, hyper leaves the end of the connection to others; asked again, it does not.
        if matches!(outcome, Poll::Ready(Ok(()))) && !seen.has_switched() && !seen.is_closing() {
            return hushed.poll(cx, |cx| Pin::new(&mut connection).poll(cx));
        }
        outcome
    })
    .await;
    drop(active);
    match ended {
        Ok(()) if seen.has_switched() => {
            let mut guard = connection.into_parts().io.into_inner();
            guard.become_tunnel();
            if let Err(Abort) = Box::pin(tunnels.tunnel(&mut guard)).await {
                seen.reset_on_close();
            }
        }
        Ok(()) if seen.rests() => return Some(connection.into_parts().io.into_inner()),
        Ok(()) => {}
        Err(error) => tracing::debug!(%error, "connection ended"),
    }
    None
}
