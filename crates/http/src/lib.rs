//! Serving HTTP, for every listener: the proxy, the admin routes, the replay and the simulator.
//!
//! A listener is bound ([`bind`], [`bind_unix`]) and accepted from ([`accept`]). Each stream is
//! driven by [`connection`] (HTTP/1) or [`open`] (HTTP/1 or HTTP/2, as the client likes). The
//! caller spawns these where it wants: on its own thread (`spawn_local`) or, for HTTP/1 alone, on
//! the shared runtime. A request that RFC 9112 or 9113 does not allow reaches the [`Handler`] as a
//! [`RequestRejection`], so that one place writes every response.

mod admission;
pub mod client;
pub mod codec;
pub mod descriptors;
mod detect;
mod drain;
#[cfg(any(test, fuzzing, feature = "testing"))]
#[path = "../../../fuzz/targets/http/mod.rs"]
pub mod fuzz;
mod h1;
mod h2;
pub mod headers;
pub mod host_guard;
mod incoming;
mod lazy_timer;
mod linger;
mod listener;
pub mod problem;
mod readiness_cache;
mod rejection;
mod stream;
mod tls;
mod write_through;

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};

pub use admission::{Admission, ConnectionLimit, ConnectionPermit};
pub use detect::{open, open_tls};
pub use drain::{Drain, DrainSignal};
pub use incoming::{BodyError, Incoming};
pub use lazy_timer::LazyTimer;
pub use listener::{
    Listener, SocketFile, UnixSocket, accept, bind, bind_advice, bind_unix, unix_bind_advice,
};
pub use readiness_cache::ReadinessCache;
pub use rejection::RequestRejection;
pub use stream::{Peer, Stream};
pub use tls::{ListenTlsError, LoadIdentity, ReloadOutcome, Tls, TlsIdentity};

/// The limits of a connection, in bytes and time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the beginning of the connection to its first byte.
    pub first_byte_timeout: Duration,
    /// From the first byte of a head to its end.
    pub header_timeout: Duration,
    /// How long the connection may stay open without a request.
    pub idle_timeout: Duration,
    /// Between two reads of a request body, and for a write without progress.
    pub body_timeout: Duration,
    /// How long an HTTP/1 connection stays open after the client has ended its side, while nothing
    /// can be written to it.
    pub half_close_grace: Duration,
    /// Request line and header section together.
    pub head_bytes: usize,
    /// Field lines of a head.
    pub headers: usize,
    /// The request target.
    pub target_bytes: usize,
    /// Requests on the connection; 0 is no limit.
    pub requests: u32,
    /// Whether each HTTP/1 request carries its [`RawHead`].
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

/// Tells a connection to end by a reset: without a response, or as the error of a response's body.
#[derive(Debug, thiserror::Error)]
#[error("the connection is reset on purpose")]
pub struct Abort;

/// The head of a request byte for byte, with the empty line. An extension of requests under
/// [`Limits::keep_heads`].
#[derive(Clone, Debug)]
pub struct RawHead(pub Bytes);

/// Path and query as received, where they have bytes that [`http::Uri`] does not carry. An
/// extension of such requests, whose URI has those bytes percent-encoded.
#[derive(Clone, Debug)]
pub struct RawTarget(pub Bytes);

impl RawTarget {
    /// The target of a request as received, for people to read.
    pub fn shown(request: &http::request::Parts) -> Cow<'_, str> {
        match request.extensions.get() {
            Some(Self(raw)) => String::from_utf8_lossy(raw),
            None => request.uri.path_and_query().map_or("", |target| target.as_str()).into(),
        }
    }
}

/// An extension of requests for a websocket whose connection can become one.
#[derive(Clone, Copy, Debug)]
pub struct AsksForWebsocket;

/// Responds to the requests of one connection. HTTP/1 calls [`handle`](Self::handle) for one
/// request after another, HTTP/2 for several at once.
pub trait Handler: 'static {
    /// The body of responses.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>> + 'static>
        + Unpin
        + 'static;

    /// Whether responses without `Date` get one: from an origin server, not from a proxy.
    const DATE: bool = true;

    /// Responds to a request.
    ///
    /// The future is dropped when the client goes away. Work that must not be lost belongs in a
    /// task.
    fn handle(&self, request: Request<Incoming>)
    -> impl Future<Output = Result<Response<Self::Body>, Abort>>;

    /// Takes over a connection after [`handle`](Self::handle) has responded with 101, which it may
    /// only where the request [asks for a websocket](AsksForWebsocket). Reading begins after that
    /// request.
    ///
    /// # Errors
    /// [`Abort`] where the connection must end by a reset.
    fn tunnel(
        &self,
        client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> impl Future<Output = Result<(), Abort>> {
        let _ = client;
        async { Err(Abort) }
    }

    /// The connection has become idle: frees what only an exchange needs.
    fn idle(&self) {}

    /// The response to a request that was rejected. The connection ends after it.
    fn reject(&self, rejection: RequestRejection) -> Response<Self::Body>;
}

/// Drives one HTTP/1 connection to its end: requests in order, deadlines, rejections, drain.
pub async fn connection<H: Handler>(stream: impl Stream, limits: Limits, mut drain: DrainSignal, handler: H) {
    h1::connection(stream, BytesMut::new(), &limits, &mut drain, &handler).await;
}

/// Rejects a connection over the limit ([`RequestRejection::TooManyConnections`]) without reading
/// from it, and closes it.
pub async fn turn_away<H: Handler>(stream: impl Stream, limits: Limits, handler: H) {
    h1::turn_away(stream, limits, &handler).await;
}
