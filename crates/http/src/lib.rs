//! HTTP servers for `vbc-proxy`: a strict HTTP/1 codec, HTTP/2, listeners, limits and drain.
//!
//! Use it where every ambiguous request must be rejected, idle connections must cost little memory,
//! and one place must write every response. The proxy, the admin routes, the replay and the
//! simulator use it. It has no stable interface for other projects.
//!
//! # Example
//!
//! A server that responds with the path of the request, and a request to it:
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use vbc_http::{Abort, Drain, Handler, Incoming, Limits, RequestRejection};
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     type Body = Full<Bytes>;
//!
//!     async fn handle(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Abort> {
//!         Ok(Response::new(request.uri().path().to_owned().into()))
//!     }
//!
//!     fn reject(&self, rejection: RequestRejection) -> Response<Full<Bytes>> {
//!         let mut response = Response::new(rejection.to_string().into());
//!         *response.status_mut() = StatusCode::BAD_REQUEST;
//!         response
//!     }
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let listener = vbc_http::bind("127.0.0.1:0".parse()?, 1)?.remove(0);
//!     let target = vbc_http::client::Target::Tcp(listener.local_addr()?);
//!
//!     let (drain, signal) = Drain::new();
//!     let serving = tokio::spawn(vbc_http::accept(listener, signal.clone(), move |stream, _peer| {
//!         tokio::spawn(vbc_http::connection(stream, Limits::default(), signal.clone(), Echo));
//!     }));
//!
//!     let request = Request::get("/hello").body(Bytes::new())?;
//!     let response = vbc_http::client::send(&target, request, Duration::from_secs(5)).await?;
//!     assert_eq!(response.body(), "/hello");
//!
//!     drain.begin();
//!     serving.await??;
//!     Ok(())
//! }
//! ```
//!
//! # Main types, in order of use
//!
//! 1. [`bind`] and [`bind_unix`] make a [`Listener`]. [`accept`] passes on its connections until
//!    the [`Drain`] starts.
//! 2. [`Admission`] limits the number of connections. [`turn_away`] rejects one beyond the limit.
//! 3. [`connection`] drives one connection (HTTP/1 only). [`open`] also speaks HTTP/2. [`open_tls`]
//!    speaks both versions over [`Tls`]. Those two functions need a local runtime. [`Limits`] has
//!    the deadlines and sizes.
//! 4. The [`Handler`] responds to each request. [`Incoming`] is the request's body. A request that
//!    RFC 9112 or 9113 does not allow reaches the handler as a [`RequestRejection`].
//! 5. [`host_guard`], [`headers`] and [`problem`] hold the rules that several handlers share.
//! 6. [`client`] sends single requests. [`codec`] reads and writes HTTP/1 without sockets, for
//!    clients that are built elsewhere.
//!
//! # Features
//!
//! `testing` adds the entry points of fuzz targets, and constructors that only tests call. Off by
//! default.
//!
//! # What it does not do
//!
//! It has no routing, middleware, compression, HTTP/3 or upgrade to h2c. It does not pool client
//! connections. It runs on Unix only. It spawns no task for a connection; the caller must.

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
    /// The longest time from the start of the connection to its first byte.
    pub first_byte_timeout: Duration,
    /// The longest time from the first byte of a head to the end of the head.
    pub header_timeout: Duration,
    /// How long the connection may stay open without a request.
    pub idle_timeout: Duration,
    /// Limits two waits: for the next piece of a request body, and for the progress of a write.
    pub body_timeout: Duration,
    /// How long an HTTP/1 connection waits for the next part of the response after the client has
    /// ended its side.
    pub half_close_grace: Duration,
    /// The largest size of the request line and the header section together.
    pub head_bytes: usize,
    /// The most field lines of a head.
    pub headers: usize,
    /// The longest request target.
    pub target_bytes: usize,
    /// The most requests on the connection; 0 means no limit.
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

/// Resets an HTTP/1 connection, or an HTTP/2 stream. A handler returns it instead of a response, or
/// as the error of a response's body.
#[derive(Debug, thiserror::Error)]
#[error("the connection is reset on purpose")]
pub struct Abort;

/// The head of a request byte for byte, including the final empty line. An HTTP/1 request has this
/// extension if [`Limits::keep_heads`] is set.
#[derive(Clone, Debug)]
pub struct RawHead(pub Bytes);

/// Path and query as received. A request has this extension if they contain bytes that `http::Uri`
/// rejects; its URI has those bytes percent-encoded.
#[derive(Clone, Debug)]
pub struct RawTarget(pub Bytes);

impl RawTarget {
    /// The target of a request as received, for display. Invalid UTF-8 is replaced.
    pub fn shown(request: &http::request::Parts) -> Cow<'_, str> {
        match request.extensions.get() {
            Some(Self(raw)) => String::from_utf8_lossy(raw),
            None => request.uri.path_and_query().map_or("", |target| target.as_str()).into(),
        }
    }
}

/// Marks a request that asks for a websocket on a connection that can become one. The request has
/// it as an extension.
#[derive(Clone, Copy, Debug)]
pub struct AsksForWebsocket;

/// Responds to the requests of one connection. HTTP/1 calls [`handle`](Self::handle) for one
/// request after another, HTTP/2 for several at the same time.
pub trait Handler: 'static {
    /// The body of responses.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>> + 'static>
        + Unpin
        + 'static;

    /// Whether responses without `Date` get one. An origin server sets this; a proxy does not.
    const DATE: bool = true;

    /// Responds to a request.
    ///
    /// # Errors
    /// [`Abort`] resets the HTTP/1 connection, or the HTTP/2 stream, instead of responding.
    ///
    /// # Cancellation
    /// The future is dropped when the client goes away. Work that must not be lost belongs in a
    /// task.
    fn handle(&self, request: Request<Incoming>)
    -> impl Future<Output = Result<Response<Self::Body>, Abort>>;

    /// Takes over a connection after [`handle`](Self::handle) has responded with 101. Only a
    /// request that [asks for a websocket](AsksForWebsocket) allows that response. Reading from
    /// `client` starts with the first byte after that request.
    ///
    /// # Errors
    /// [`Abort`] ends the connection by a reset.
    fn tunnel(
        &self,
        client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> impl Future<Output = Result<(), Abort>> {
        let _ = client;
        async { Err(Abort) }
    }

    /// Called when an HTTP/1 connection becomes idle, to free state that only an exchange needs.
    fn idle(&self) {}

    /// Creates the response to a rejected request. An HTTP/1 connection ends after that response.
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
