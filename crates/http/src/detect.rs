//! Protocol detection: which protocol the first bytes of a connection belong to, and how long they
//! may take.
//!
//! HTTP/2 by prior knowledge begins with a preface that no HTTP/1 request can begin with (RFC 9113
//! §3.4).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderValue, Request, Response, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::readiness_cache::ReadinessCache;
use crate::tls::Tls;
use crate::{Abort, DrainSignal, Handler, Incoming, Limits, RequestRejection, Stream, h1, h2};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The size of the first read: most heads fit.
const FIRST_READ: usize = 2048;

/// A stream whose first bytes have been read already. Reading returns them first.
struct PeekedStream<S> {
    stream: S,
    /// Bytes that were read from the stream and not passed on yet.
    first: BytesMut,
}

impl<S: Stream> PeekedStream<S> {
    fn new(stream: S) -> Self {
        Self { stream, first: BytesMut::new() }
    }

    fn first(&self) -> &[u8] {
        &self.first
    }

    /// Reads more bytes. Returns `false` at the end of the stream. Cancel safe.
    async fn read(&mut self) -> io::Result<bool> {
        poll_fn(|cx| self.poll_more(cx)).await
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        // The buffer is on the stack, so that a silent connection allocates no buffer.
        let mut buffer = [0; FIRST_READ];
        let mut buf = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        self.first.extend_from_slice(buf.filled());
        Poll::Ready(Ok(!buf.filled().is_empty()))
    }
}

impl<S: Stream> Stream for PeekedStream<S> {
    fn reset_on_close(&self) {
        self.stream.reset_on_close();
    }

    fn has_been_reset(&self) -> bool {
        self.stream.has_been_reset()
    }

    fn sends_close_notify(&self) -> bool {
        self.stream.sends_close_notify()
    }
}

impl<S: Stream> AsyncRead for PeekedStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.first.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let fits = this.first.len().min(buf.remaining());
        buf.put_slice(&this.first.split_to(fits));
        if this.first.is_empty() {
            this.first = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for PeekedStream<S> {
    crate::write_through::write_through!(this => this.stream);
}

impl<S: Stream> Stream for TlsStream<PeekedStream<S>> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }

    fn has_been_reset(&self) -> bool {
        self.get_ref().0.has_been_reset()
    }
}

/// The protocol of a connection.
enum Protocol {
    Http1,
    Http2,
    /// Unknown: the client started an HTTP/2 preface and did not complete it in time.
    Late,
    /// No protocol: the client sent nothing in time, or closed the connection.
    None,
}

/// Drives one connection to its end, in the version of HTTP that the client speaks.
///
/// A silent connection ends after `first_byte_timeout`. One that stops within the HTTP/2 preface
/// gets a rejection after `header_timeout`. Must run inside a [`LocalSet`](tokio::task::LocalSet)
/// or local runtime: each HTTP/2 stream is spawned as a local task.
pub async fn open<H: Handler>(stream: impl Stream, limits: Limits, mut drain: DrainSignal, handler: H) {
    serve(PeekedStream::new(ReadinessCache::new(stream)), &limits, &mut drain, handler).await;
}

/// Takes references, so that the future of a silent connection does not store these values twice.
async fn serve<H: Handler>(
    mut stream: PeekedStream<impl Stream>,
    limits: &Limits,
    drain: &mut DrainSignal,
    handler: H,
) {
    match detect(&mut stream, limits, drain).await {
        Protocol::Http1 => {
            Box::pin(h1::connection(stream.stream, stream.first, limits, drain, &handler)).await;
        }
        // Boxed: it is rare and large.
        Protocol::Http2 => Box::pin(h2::connection(stream, *limits, drain.clone(), handler)).await,
        Protocol::Late => {
            // The client gets the response to a late head, because no time is left.
            let limits = Limits { header_timeout: Duration::ZERO, ..*limits };
            Box::pin(h1::connection(stream.stream, stream.first, &limits, drain, &handler)).await;
        }
        Protocol::None => {}
    }
}

async fn detect<S: Stream>(
    stream: &mut PeekedStream<S>,
    limits: &Limits,
    drain: &mut DrainSignal,
) -> Protocol {
    let first = tokio::select! {
        biased;
        read = timeout(limits.first_byte_timeout, stream.read()) => matches!(read, Ok(Ok(true))),
        () = drained(drain) => {
            let read = poll_fn(|cx| Poll::Ready(stream.poll_more(cx))).await;
            // A connection that has sent nothing is closed like any idle connection.
            if !matches!(read, Poll::Ready(Ok(true))) { return Protocol::Http1 }
            true
        }
    };
    if !first {
        return Protocol::None;
    }
    let rest = async {
        loop {
            let first = stream.first();
            if first.starts_with(PREFACE) {
                return Protocol::Http2;
            }
            if !PREFACE.starts_with(first) || !matches!(stream.read().await, Ok(true)) {
                return Protocol::Http1;
            }
        }
    };
    timeout(limits.header_timeout, rest).await.unwrap_or(Protocol::Late)
}

/// Resolves after the drain has started, once requests that arrived earlier can be read.
async fn drained(drain: &mut DrainSignal) {
    // The only registration of this connection with the drain.
    poll_fn(|cx| drain.poll_begun(cx)).await;
    tokio::task::yield_now().await;
}

/// Drives one connection of a TLS listener: first the handshake, within `header_timeout`, then like
/// [`open`].
///
/// A client that speaks plain HTTP gets a 400 in plain HTTP.
pub async fn open_tls<H: Handler>(
    stream: impl Stream,
    tls: &Tls,
    limits: Limits,
    mut drain: DrainSignal,
    handler: H,
) {
    /// The first byte of a TLS record with a handshake.
    const HANDSHAKE: u8 = 0x16;
    let deadline = Instant::now() + limits.header_timeout;
    let mut stream = PeekedStream::new(ReadinessCache::new(stream));
    tokio::select! {
        biased;
        _ = timeout_at(deadline, stream.read()) => {}
        () = drained(&mut drain) => {
            let _ = poll_fn(|cx| Poll::Ready(stream.poll_more(cx))).await;
        }
    }
    match stream.first().first() {
        None => return,
        Some(&HANDSHAKE) => {}
        Some(_) => {
            let PeekedStream { stream, first } = stream;
            return Box::pin(h1::connection(stream, first, &limits, &mut drain, &PlainToTls(handler))).await;
        }
    }
    match timeout_at(deadline, TlsAcceptor::from(tls.config()).accept(stream)).await {
        Ok(Ok(stream)) => serve(PeekedStream::new(stream), &limits, &mut drain, handler).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake did not end in time"),
    }
}

/// Rejects every request: the client speaks plain HTTP to a TLS listener.
struct PlainToTls<H>(H);

impl<H: Handler> Handler for PlainToTls<H> {
    type Body = H::Body;

    const DATE: bool = H::DATE;

    async fn handle(&self, _: Request<Incoming>) -> Result<Response<H::Body>, Abort> {
        let why = "the client sent plain HTTP, but this listener speaks TLS; use https";
        let mut response = self.0.reject(RequestRejection::Malformed(why));
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        Ok(response)
    }

    fn reject(&self, rejection: RequestRejection) -> Response<H::Body> {
        self.0.reject(rejection)
    }
}
