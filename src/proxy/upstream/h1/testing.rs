//! Exchanges with an upstream that follows a script: for tests and the fuzzer.

#![allow(clippy::expect_used, reason = "a failure here fails a test")]

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, Uri, Version};
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{BodyStart, Connection, Exchange, Pool, Stream};
use crate::credential::Bearer;
use crate::proxy::request_body::RequestBody;
use crate::proxy::upstream::slots::{Open, Slots};
use crate::proxy::upstream::{Head, UpstreamError};
use vbc_http::descriptors::Descriptors;

/// An upstream that takes any request, and then sends its bytes in pieces of one size.
pub(in crate::proxy) struct ScriptedUpstream {
    bytes: Bytes,
    step: usize,
    asked: bool,
}

impl ScriptedUpstream {
    pub(in crate::proxy) fn new(bytes: &[u8], step: usize) -> Self {
        Self { bytes: Bytes::copy_from_slice(bytes), step, asked: false }
    }
}

impl Stream for ScriptedUpstream {
    fn set_receive_buffer(&self, _: usize) {}
}

impl AsyncRead for ScriptedUpstream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.asked {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let length = self.step.max(1).min(buf.remaining()).min(self.bytes.len());
        buf.put_slice(&self.bytes.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ScriptedUpstream {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.asked = true;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The outcome of reading a response.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::proxy) struct ReadResponse {
    pub(in crate::proxy) head: Result<(u16, HeaderMap), UpstreamError>,
    pub(in crate::proxy) data: Vec<u8>,
    pub(in crate::proxy) trailers: Option<HeaderMap>,
    /// Why the body was cut short.
    pub(in crate::proxy) error: Option<UpstreamError>,
    /// Whether the connection may be used again.
    pub(in crate::proxy) kept: bool,
    /// Whether the response was a 101 and the connection was handed out.
    pub(in crate::proxy) switched: bool,
}

impl ReadResponse {
    /// The outcome without `kept`, which depends on the size of the pieces: bytes after a response
    /// may come later.
    pub(in crate::proxy) fn without_kept(self) -> Self {
        Self { kept: false, ..self }
    }

    fn failed(error: UpstreamError) -> Self {
        Self { head: Err(error), data: vec![], trailers: None, error: None, kept: false, switched: false }
    }
}

/// A pooled connection that the upstream has closed.
#[cfg(test)]
pub(in crate::proxy::upstream) fn stale_connection() -> Connection {
    let closed = ScriptedUpstream { asked: true, ..ScriptedUpstream::new(b"", 1) };
    let mut connection = Connection::new(closed, Open::counted(&Gauge::default()));
    connection.pooled = true;
    connection
}

/// A request without a body.
pub(in crate::proxy) fn request(method: Method, upgrade: bool) -> Head {
    Head {
        method,
        uri: Uri::from_static("/x?y"),
        raw_target: None,
        headers: HeaderMap::new(),
        bearer: Bearer::detached(),
        version: Version::HTTP_11,
        client_waits: false,
        upgrade,
    }
}

/// A pool without connections.
pub(super) fn pool() -> Rc<Pool> {
    Rc::new(Pool::new(Slots::new(Descriptors::new(1000))))
}

/// Reads `bytes` as the response to a request, in pieces of this size.
pub(in crate::proxy) async fn read_response(bytes: &[u8], step: usize, head: &Head) -> ReadResponse {
    let (stream, pool) = (ScriptedUpstream::new(bytes, step), &pool());
    let connection = Connection::new(stream, Open::counted(&Gauge::default()));
    let request = RequestBody::empty();
    let attempt = request.attempt().expect("an empty body can be sent");
    let mut exchange = Exchange::new(connection, head, b"", None, request, attempt);
    let received = match poll_fn(|cx| exchange.poll_head(cx)).await {
        Ok(received) => received,
        Err(error) => return ReadResponse::failed(error),
    };
    let switched = received.head.status() == 101;
    let head = Ok((received.head.status().as_u16(), received.head.headers().clone()));
    if switched {
        let switched = exchange.take_switched().is_some();
        return ReadResponse { head, data: vec![], trailers: None, error: None, kept: false, switched };
    }
    match exchange.take_response(received, pool) {
        Ok(response) => read(head, response, pool).await,
        Err(error) => ReadResponse::failed(error),
    }
}

async fn read(
    head: Result<(u16, HeaderMap), UpstreamError>,
    response: Response<BodyStart>,
    pool: &Pool,
) -> ReadResponse {
    let mut read =
        ReadResponse { head, data: vec![], trailers: None, error: None, kept: false, switched: false };
    let mut body = match response.into_body() {
        BodyStart::Whole(bytes) => {
            read.data.extend_from_slice(&bytes);
            read.kept = pool.idle() > 0;
            return read;
        }
        BodyStart::Streamed(body) => body,
    };
    while let Some(frame) = poll_fn(|cx| body.poll_frame(cx)).await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => read.data.extend_from_slice(&data),
            Ok(Err(frame)) => read.trailers = frame.into_trailers().ok(),
            Err(error) => {
                read.error = Some(error);
                break;
            }
        }
    }
    read.kept = pool.idle() > 0;
    read
}
