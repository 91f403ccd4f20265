//! One way to serve HTTP, for every listener: the proxy, the admin routes, the simulator.
//!
//! A listener is bound ([`bind`], [`bind_unix`]), accepted from ([`accept`]), and each stream is driven by [`connection`]
//! (HTTP/1) or [`open`] (HTTP/1 or HTTP/2, as the client likes), which the caller spawns where it wants it: on its own
//! thread (`spawn_local`) or, HTTP/1 alone, on the shared runtime. What RFC 9112 or 9113 does not allow reaches the
//! [`Handler`] as a [`Refusal`], so that one place writes every answer.

mod admission;
mod body;
pub mod client;
pub mod codec;
pub mod descriptors;
mod detect;
mod drain;
mod flood;
#[cfg(any(test, fuzzing, feature = "testing"))]
#[path = "../../../fuzz/targets/http/mod.rs"]
pub mod fuzz;
mod h1;
mod h2;
pub mod headers;
pub mod host_guard;
mod lazy_timer;
mod listener;
pub mod problem;
mod readiness_cache;
mod refusal;
mod tls;
mod write_through;

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};

pub use admission::{Admission, Admitted, Over};
pub use body::{BodyError, Incoming};
pub use detect::{open, open_tls};
pub use drain::{Drain, DrainSignal};
pub use lazy_timer::LazyTimer;
pub use listener::{
    Listener, Peer, SocketFile, Stream, UnixSocket, accept, bind, bind_advice, bind_unix, unix_bind_advice,
};
pub use readiness_cache::ReadinessCache;
pub use refusal::Refusal;
pub use tls::{ListenTlsError, LoadIdentity, Reloaded, Tls, TlsIdentity};

/// What a connection may take, in bytes and time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the beginning of a connection to its first byte.
    pub first_byte_timeout: Duration,
    /// From the first byte of a head to its end.
    pub header_timeout: Duration,
    /// How long a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// Between two reads of a request body, and how long a write may make no progress.
    pub body_timeout: Duration,
    /// How long a client of HTTP/1 that has ended its side is still waited for, while nothing can be written to it.
    pub half_close_grace: Duration,
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
            half_close_grace: Duration::from_secs(5),
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

/// Path and query as they came, where they have bytes that [`http::Uri`] does not carry: among a request's extensions. The
/// request's URI has those bytes percent-encoded.
#[derive(Clone, Debug)]
pub struct RawTarget(pub Bytes);

impl RawTarget {
    /// The target of a request as it came, for people to read.
    pub fn shown(request: &http::request::Parts) -> Cow<'_, str> {
        match request.extensions.get() {
            Some(Self(raw)) => String::from_utf8_lossy(raw),
            None => request.uri.path_and_query().map_or("", |target| target.as_str()).into(),
        }
    }
}

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

    /// Answers what was refused; the connection ends after it.
    fn refuse(&self, refusal: Refusal) -> Response<Self::Body>;
}

/// Drives one connection of HTTP/1 to its end: requests in order, deadlines, refusals, drain.
pub async fn connection<H: Handler>(stream: impl Stream, limits: Limits, mut drain: DrainSignal, handler: H) {
    h1::connection(stream, BytesMut::new(), &limits, &mut drain, &handler).await;
}

/// Answers a connection that is one too many with [`Refusal::TooManyConnections`], without reading from it, and closes it.
pub async fn turn_away<H: Handler>(stream: impl Stream, limits: Limits, handler: H) {
    h1::turn_away(stream, limits, &handler).await;
}
