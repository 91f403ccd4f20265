//! An upstream that speaks HTTP/2. The test decides when and how it responds.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::harness::{World, self_signed, within};

/// A request and the means to respond to it.
pub(super) struct IncomingRequest {
    /// The number of its connection, from 1.
    pub(super) connection: usize,
    pub(super) request: Request<RecvStream>,
    pub(super) sender: SendResponse<Bytes>,
}

/// Both halves of a socket, plain or TLS.
trait Both: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Both for T {}

type Driven = Connection<Box<dyn Both>, Bytes>;

/// What a test tells a connection to do.
enum Order {
    /// Sends GOAWAY and finishes the open streams.
    GoAway,
}

pub(super) struct H2Upstream {
    pub(super) url: String,
    requests: tokio::sync::Mutex<mpsc::UnboundedReceiver<IncomingRequest>>,
    connections: Arc<AtomicUsize>,
    orders: Arc<Mutex<Vec<mpsc::UnboundedSender<Order>>>>,
    pub(super) certificate: Option<tempfile::NamedTempFile>,
    /// The protocols that TLS offers. A change applies to the next connection.
    pub(super) speaks: Arc<Mutex<Vec<&'static str>>>,
}

impl H2Upstream {
    /// Speaks HTTP/2 by prior knowledge, with at most this many streams per connection.
    pub(super) async fn plain(streams: u32) -> Self {
        Self::start(streams, None).await
    }

    /// Negotiates by ALPN. A client that chooses HTTP/1.1 gets `h1` as the body.
    pub(super) async fn tls(streams: u32) -> Self {
        let (config, certificate) = self_signed("localhost");
        let mut upstream = Self::start(streams, Some(config)).await;
        upstream.certificate = Some(certificate);
        upstream
    }

    async fn start(streams: u32, tls: Option<rustls::ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (arrivals, requests) = mpsc::unbounded_channel();
        let upstream = Self {
            url: format!("{scheme}://localhost:{port}"),
            requests: requests.into(),
            connections: Arc::default(),
            orders: Arc::default(),
            certificate: None,
            speaks: Arc::new(Mutex::new(vec!["h2", "http/1.1"])),
        };
        let (connections, orders, speaks) =
            (upstream.connections.clone(), upstream.orders.clone(), upstream.speaks.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = connections.fetch_add(1, Ordering::SeqCst) + 1;
                let (order, orders_of_test) = mpsc::unbounded_channel();
                orders.lock().push(order);
                let tls = tls.clone().map(|mut tls| {
                    tls.alpn_protocols = speaks.lock().iter().map(|name| name.as_bytes().to_vec()).collect();
                    TlsAcceptor::from(Arc::new(tls))
                });
                tokio::spawn(serve(stream, tls, streams, number, arrivals.clone(), orders_of_test));
            }
        });
        upstream
    }

    pub(super) async fn world(&self, more: &str) -> World {
        let mut builder = World::builder().upstream(self.url.clone());
        if let Some(certificate) = &self.certificate {
            builder =
                builder.config(&format!("upstream.ca_file = {:?}", certificate.path().to_str().unwrap()));
        } else {
            builder = builder.config("upstream.http = \"h2\"");
        }
        builder.config(more).start().await
    }

    /// Waits for the next request.
    pub(super) async fn next_request(&self) -> IncomingRequest {
        within(async { self.requests.lock().await.recv().await.unwrap() }).await
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn go_away(&self, connection: usize) {
        self.orders.lock()[connection - 1].send(Order::GoAway).unwrap();
    }
}

async fn serve(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    streams: u32,
    number: usize,
    arrivals: mpsc::UnboundedSender<IncomingRequest>,
    mut orders_of_test: mpsc::UnboundedReceiver<Order>,
) {
    let io: Box<dyn Both> = match tls {
        None => Box::new(stream),
        Some(acceptor) => {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                return serve_h1(stream).await;
            }
            Box::new(stream)
        }
    };
    let mut builder = Builder::new();
    builder.max_concurrent_streams(streams).initial_window_size(1 << 20);
    let Ok(mut connection): Result<Driven, _> = builder.handshake(io).await else { return };
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, sender))) => {
                    let _ = arrivals.send(IncomingRequest { connection: number, request, sender });
                }
                _ => return,
            },
            Some(Order::GoAway) = orders_of_test.recv() => connection.graceful_shutdown(),
        }
    }
}

/// Responds `h1` to each request. After an upgrade it echoes the bytes.
async fn serve_h1(mut stream: TlsStream<TcpStream>) {
    let mut received = Vec::new();
    while stream.read_buf(&mut received).await.is_ok_and(|read| read > 0) {
        let upgrades = received.windows(11).any(|line| line == b"\r\nupgrade: ");
        if upgrades && received.ends_with(b"\r\n\r\n") {
            let switches = "101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket";
            let response = format!("HTTP/1.1 {switches}\r\n\r\n");
            stream.write_all(response.as_bytes()).await.unwrap();
            let (mut read, mut write) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut read, &mut write).await;
            write.shutdown().await.unwrap();
            return;
        }
        if received.ends_with(b"\r\n\r\n") {
            let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh1";
            stream.write_all(response).await.unwrap();
            received.clear();
        }
    }
}

impl IncomingRequest {
    pub(super) fn header(&self, name: &str) -> Vec<&str> {
        self.request.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    pub(super) fn path(&self) -> &str {
        self.request.uri().path()
    }

    /// Reads the body to its end.
    pub(super) async fn body(&mut self) -> Result<Vec<u8>, h2::Error> {
        let mut body = Vec::new();
        let stream = self.request.body_mut();
        while let Some(data) = within(stream.data()).await {
            let data = data?;
            let _ = stream.flow_control().release_capacity(data.len());
            body.extend_from_slice(&data);
        }
        Ok(body)
    }

    pub(super) async fn respond(mut self, status: u16, body: impl Into<Bytes>) {
        let head = Response::builder().status(status).body(()).unwrap();
        let mut stream = self.sender.send_response(head, false).unwrap();
        send(&mut stream, body.into(), true).await;
    }

    pub(super) async fn ok(self) {
        self.respond(200, "ok").await;
    }

    pub(super) fn reset(mut self, reason: Reason) {
        self.sender.send_reset(reason);
    }
}

/// Sends a body within the limits of flow control.
pub(super) async fn send(stream: &mut h2::SendStream<Bytes>, mut body: Bytes, last: bool) {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let capacity = within(poll_fn(|cx| stream.poll_capacity(cx))).await.unwrap().unwrap();
        let part = body.split_to(capacity.min(body.len()));
        stream.send_data(part, last && body.is_empty()).unwrap();
    }
}
