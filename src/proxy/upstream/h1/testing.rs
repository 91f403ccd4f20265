//! Exchanges with an upstream that says what it is told to: for tests and for the fuzzer.

#![allow(clippy::expect_used, reason = "what fails here is a test")]

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, Method, Response, Uri, Version};
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{BodyStart, Connection, Exchange, Stream};
use crate::config;
use crate::credential::Bearer;
use crate::proxy::body::RequestBody;
use crate::proxy::upstream::dial::Dialer;
use crate::proxy::upstream::pools::Pools;
use crate::proxy::upstream::slots::{Open, Slots};
use crate::proxy::upstream::{Head, UpstreamError};
use crate::server::descriptors::Descriptors;

const PATIENCE: Duration = Duration::from_secs(1);

/// An upstream that takes everything, and answers with bytes that come in pieces of this size once it was asked.
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
    fn keep(&self, _: usize) {}
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

/// What a response came to.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::proxy) struct Read {
    pub(in crate::proxy) head: Result<(u16, HeaderMap), UpstreamError>,
    pub(in crate::proxy) data: Vec<u8>,
    pub(in crate::proxy) trailers: Option<HeaderMap>,
    /// Why it was cut short.
    pub(in crate::proxy) error: Option<UpstreamError>,
    /// Whether the connection may be used again.
    pub(in crate::proxy) kept: bool,
    /// What follows a 101.
    pub(in crate::proxy) switched: bool,
}

impl Read {
    /// What does not depend on when the bytes come: what follows a response is there, or comes later.
    pub(in crate::proxy) fn without_kept(self) -> Self {
        Self { kept: false, ..self }
    }

    fn failed(error: UpstreamError) -> Self {
        Self { head: Err(error), data: vec![], trailers: None, error: None, kept: false, switched: false }
    }
}

/// A request without a body, to nowhere in particular.
pub(in crate::proxy) fn request(method: Method, upgrade: bool) -> Head {
    Head {
        method,
        uri: Uri::from_static("/x?y"),
        raw_target: None,
        headers: HeaderMap::new(),
        bearer: Bearer::nobodys(),
        version: Version::HTTP_11,
        client_waits: false,
        upgrade,
    }
}

/// The pools of a thread whose upstream nobody reaches.
pub(super) fn pools() -> Rc<Pools> {
    pools_to(Authority::from_static("localhost:1"))
}

/// The pools of a thread whose upstream is here.
pub(in crate::proxy::upstream) fn pools_to(authority: Authority) -> Rc<Pools> {
    let config = config::Upstream {
        url: config::Origin { tls: false, authority },
        ca_file: None,
        http: config::UpstreamHttp::H1,
        connect_timeout: PATIENCE,
        response_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        tunnel_timeout: PATIENCE,
        rewrite_links: true,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider's own versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let slots = Slots::new(Descriptors::new(1000));
    Rc::new(Pools::new(Dialer::new(&config, &tls, Gauge::default(), slots)))
}

/// What `bytes` come to as the response to a request, read in pieces of this size.
pub(in crate::proxy) async fn answered(bytes: &[u8], step: usize, head: &Head) -> Read {
    let (stream, pools) = (ScriptedUpstream::new(bytes, step), &pools());
    let connection = Connection::new(stream, Open::counted(&Gauge::default()));
    let request = RequestBody::empty();
    let attempt = request.attempt().expect("a body that is not there can be sent");
    let mut exchange = Exchange::new(connection, head, b"", None, request, attempt);
    let received = match poll_fn(|cx| exchange.poll_head(cx)).await {
        Ok(received) => received,
        Err(error) => return Read::failed(error),
    };
    let switched = received.head.status() == 101;
    let head = Ok((received.head.status().as_u16(), received.head.headers().clone()));
    if switched {
        let switched = exchange.take_tunnel().is_some();
        return Read { head, data: vec![], trailers: None, error: None, kept: false, switched };
    }
    match exchange.response(received, pools) {
        Ok(response) => read(head, response, pools).await,
        Err(error) => Read::failed(error),
    }
}

async fn read(
    head: Result<(u16, HeaderMap), UpstreamError>,
    response: Response<BodyStart>,
    pools: &Rc<Pools>,
) -> Read {
    let mut read = Read { head, data: vec![], trailers: None, error: None, kept: false, switched: false };
    let mut body = match response.into_body() {
        BodyStart::Whole(bytes) => {
            read.data.extend_from_slice(&bytes);
            read.kept = pools.h1.idle() > 0;
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
    read.kept = pools.h1.idle() > 0;
    read
}
