//! The first bytes of a connection: which protocol they are of, and how long they may take.
//!
//! HTTP/2 by prior knowledge begins with a preface that no HTTP/1 request can begin with (RFC 9113 §3.4). It is told
//! apart here.

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

use super::readiness_cache::ReadinessCache;
use super::tls::Tls;
use super::{Abort, DrainSignal, Handler, Incoming, Limits, Refusal, Stream, h1, h2};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first read may bring: most heads whole.
const FIRST_READ: usize = 2048;

/// A stream of which some bytes have been read already.
pub(super) struct Begun<S> {
    stream: S,
    /// Read and not given on yet.
    first: BytesMut,
}

impl<S: Stream> Begun<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, first: BytesMut::new() }
    }

    /// What has been read.
    pub(super) fn first(&self) -> &[u8] {
        &self.first
    }

    /// Reads more; `false` at the end. Cancel safe.
    pub(super) async fn read(&mut self) -> io::Result<bool> {
        poll_fn(|cx| self.poll_more(cx)).await
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        // On the stack for this moment only: a silent connection needs no room for what it may send.
        let mut room = [0; FIRST_READ];
        let mut buf = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        self.first.extend_from_slice(buf.filled());
        Poll::Ready(Ok(!buf.filled().is_empty()))
    }
}

impl<S: Stream> Stream for Begun<S> {
    fn reset_on_close(&self) {
        self.stream.reset_on_close();
    }

    fn has_been_reset(&self) -> bool {
        self.stream.has_been_reset()
    }

    fn takes_leave(&self) -> bool {
        self.stream.takes_leave()
    }
}

impl<S: Stream> AsyncRead for Begun<S> {
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

impl<S: Stream> AsyncWrite for Begun<S> {
    crate::write_through!(this => this.stream; poll_write, poll_write_vectored, poll_flush, poll_shutdown);
}

/// What a connection turned out to speak.
enum Spoken {
    Http1,
    Http2,
    /// It began like the preface of HTTP/2 and came no further in time.
    Late,
    /// Nothing: it ended, or was silent for too long.
    Nothing,
}

/// Drives one connection to its end, in whichever version of HTTP the client speaks.
///
/// A silent connection is ended after `first_byte_timeout`, one that stops within the preface after `header_timeout`. Must
/// be called on a local runtime: the streams of HTTP/2 become tasks of it.
pub async fn open<H: Handler>(stream: impl Stream, limits: Limits, mut drain: DrainSignal, handler: H) {
    speak(Begun::new(ReadinessCache::new(stream)), &limits, &mut drain, handler).await;
}

/// What is given by reference is not kept twice, by a connection that says nothing.
async fn speak<H: Handler>(
    mut stream: Begun<impl Stream>,
    limits: &Limits,
    drain: &mut DrainSignal,
    handler: H,
) {
    match spoken(&mut stream, limits, drain).await {
        Spoken::Http1 => {
            let Begun { stream, first } = stream;
            Box::pin(h1::connection(stream, first, limits, drain, &handler)).await;
        }
        // Rare and large; the others should not keep room for it.
        Spoken::Http2 => Box::pin(h2::connection(stream, *limits, drain.clone(), handler)).await,
        Spoken::Late => {
            // It is answered as every late head is; its time is over.
            let limits = Limits { header_timeout: Duration::ZERO, ..*limits };
            let Begun { stream, first } = stream;
            Box::pin(h1::connection(stream, first, &limits, drain, &handler)).await;
        }
        Spoken::Nothing => {}
    }
}

async fn spoken<S: Stream>(stream: &mut Begun<S>, limits: &Limits, drain: &mut DrainSignal) -> Spoken {
    let first = tokio::select! {
        biased;
        read = timeout(limits.first_byte_timeout, stream.read()) => matches!(read, Ok(Ok(true))),
        () = last_look(drain) => {
            let read = poll_fn(|cx| Poll::Ready(stream.poll_more(cx))).await;
            // It is ended as every idle connection is.
            if !matches!(read, Poll::Ready(Ok(true))) { return Spoken::Http1 }
            true
        }
    };
    if !first {
        return Spoken::Nothing;
    }
    let rest = async {
        loop {
            let first = stream.first();
            if first.starts_with(PREFACE) {
                return Spoken::Http2;
            }
            if !PREFACE.starts_with(first) || !matches!(stream.read().await, Ok(true)) {
                return Spoken::Http1;
            }
        }
    };
    timeout(limits.header_timeout, rest).await.unwrap_or(Spoken::Late)
}

/// The drain has begun, and what had arrived by then could be seen.
async fn last_look(drain: &mut DrainSignal) {
    // The one registration of this connection with the drain.
    poll_fn(|cx| drain.poll_begun(cx)).await;
    tokio::task::yield_now().await;
}

/// Drives one connection to a listener that speaks TLS: the handshake under `header_timeout`, then as [`open`].
///
/// Who speaks plain HTTP is told so, by a 400 in plain HTTP.
pub async fn open_tls<H: Handler>(
    stream: impl Stream,
    tls: &Tls,
    limits: Limits,
    mut drain: DrainSignal,
    handler: H,
) {
    /// What a TLS record of a handshake begins with.
    const HANDSHAKE: u8 = 0x16;
    let deadline = Instant::now() + limits.header_timeout;
    let mut stream = Begun::new(ReadinessCache::new(stream));
    tokio::select! {
        biased;
        _ = timeout_at(deadline, stream.read()) => {}
        () = last_look(&mut drain) => {
            let _ = poll_fn(|cx| Poll::Ready(stream.poll_more(cx))).await;
        }
    }
    match stream.first().first() {
        None => return,
        Some(&HANDSHAKE) => {}
        Some(_) => {
            let Begun { stream, first } = stream;
            return Box::pin(h1::connection(stream, first, &limits, &mut drain, &NotTls(handler))).await;
        }
    }
    match timeout_at(deadline, TlsAcceptor::from(tls.config()).accept(stream)).await {
        Ok(Ok(stream)) => speak(Begun::new(stream), &limits, &mut drain, handler).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake did not end in time"),
    }
}

/// Refuses everything: the client speaks plain HTTP where TLS is spoken.
struct NotTls<H>(H);

impl<H: Handler> Handler for NotTls<H> {
    type Body = H::Body;

    const DATE: bool = H::DATE;

    async fn handle(&self, _: Request<Incoming>) -> Result<Response<H::Body>, Abort> {
        let why = "this is plain HTTP, and the listener speaks TLS; use https";
        let mut response = self.0.refuse(Refusal::Malformed(why));
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        Ok(response)
    }

    fn refuse(&self, refusal: Refusal) -> Response<H::Body> {
        self.0.refuse(refusal)
    }
}
