//! An upstream that speaks HTTP/2.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::harness::{Client, RawUpstream, World, self_signed, within};

/// A request and the means to answer it. The test decides when.
struct Asked {
    /// Which connection it came on, from 1.
    connection: usize,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
}

/// Both halves of a socket, plain or TLS.
trait Both: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Both for T {}

type Driven = Connection<Box<dyn Both>, Bytes>;

/// What a test does to a connection as a whole.
enum Order {
    /// GOAWAY: nothing above the streams seen so far, which are finished.
    GoAway,
}

struct H2Upstream {
    url: String,
    asked: tokio::sync::Mutex<mpsc::UnboundedReceiver<Asked>>,
    connections: Arc<AtomicUsize>,
    orders: Arc<Mutex<Vec<mpsc::UnboundedSender<Order>>>>,
    certificate: Option<tempfile::NamedTempFile>,
    /// What TLS offers; may be changed between connections.
    speaks: Arc<Mutex<Vec<&'static str>>>,
}

impl H2Upstream {
    /// By prior knowledge, with at most this many streams a connection.
    async fn plain(streams: u32) -> Self {
        Self::start(streams, None).await
    }

    /// By ALPN. A client that takes HTTP/1.1 is answered `h1` on it.
    async fn tls(streams: u32) -> Self {
        let (config, certificate) = self_signed("localhost");
        let mut upstream = Self::start(streams, Some(config)).await;
        upstream.certificate = Some(certificate);
        upstream
    }

    async fn start(streams: u32, tls: Option<rustls::ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (asking, asked) = mpsc::unbounded_channel();
        let upstream = Self {
            url: format!("{scheme}://localhost:{port}"),
            asked: asked.into(),
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
                let (order, ordered) = mpsc::unbounded_channel();
                orders.lock().push(order);
                let tls = tls.clone().map(|mut tls| {
                    tls.alpn_protocols = speaks.lock().iter().map(|name| name.as_bytes().to_vec()).collect();
                    TlsAcceptor::from(Arc::new(tls))
                });
                tokio::spawn(serve(stream, tls, streams, number, asking.clone(), ordered));
            }
        });
        upstream
    }

    async fn world(&self, more: &str) -> World {
        let mut builder = World::builder().upstream(self.url.clone());
        if let Some(certificate) = &self.certificate {
            builder =
                builder.config(&format!("upstream.ca_file = {:?}", certificate.path().to_str().unwrap()));
        } else {
            builder = builder.config("upstream.http = \"h2\"");
        }
        builder.config(more).start().await
    }

    /// The next request.
    async fn asked(&self) -> Asked {
        within(async { self.asked.lock().await.recv().await.unwrap() }).await
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn go_away(&self, connection: usize) {
        self.orders.lock()[connection - 1].send(Order::GoAway).unwrap();
    }
}

async fn serve(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    streams: u32,
    number: usize,
    asking: mpsc::UnboundedSender<Asked>,
    mut ordered: mpsc::UnboundedReceiver<Order>,
) {
    let io: Box<dyn Both> = match tls {
        None => Box::new(stream),
        Some(acceptor) => {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                let mut received = Vec::new();
                while stream.read_buf(&mut received).await.is_ok_and(|read| read > 0) {
                    let asks = received.windows(11).any(|line| line == b"\r\nupgrade: ");
                    if asks && received.ends_with(b"\r\n\r\n") {
                        let switches = "101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket";
                        let answer = format!("HTTP/1.1 {switches}\r\n\r\n");
                        stream.write_all(answer.as_bytes()).await.unwrap();
                        let (mut read, mut write) = tokio::io::split(stream);
                        let _ = tokio::io::copy(&mut read, &mut write).await;
                        write.shutdown().await.unwrap();
                        return;
                    }
                    if received.ends_with(b"\r\n\r\n") {
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh1";
                        stream.write_all(answer).await.unwrap();
                        received.clear();
                    }
                }
                return;
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
                Some(Ok((request, respond))) => {
                    let _ = asking.send(Asked { connection: number, request, respond });
                }
                _ => return,
            },
            Some(Order::GoAway) = ordered.recv() => connection.graceful_shutdown(),
        }
    }
}

impl Asked {
    fn header(&self, name: &str) -> Vec<&str> {
        self.request.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    fn path(&self) -> &str {
        self.request.uri().path()
    }

    /// Reads the body to its end.
    async fn body(&mut self) -> Result<Vec<u8>, h2::Error> {
        let mut body = Vec::new();
        let stream = self.request.body_mut();
        while let Some(data) = within(stream.data()).await {
            let data = data?;
            let _ = stream.flow_control().release_capacity(data.len());
            body.extend_from_slice(&data);
        }
        Ok(body)
    }

    async fn answer(mut self, status: u16, body: impl Into<Bytes>) {
        let head = Response::builder().status(status).body(()).unwrap();
        let mut stream = self.respond.send_response(head, false).unwrap();
        send(&mut stream, body.into(), true).await;
    }

    async fn ok(self) {
        self.answer(200, "ok").await;
    }

    fn reset(mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }
}

/// Sends no more than there is room for, as a server does.
async fn send(stream: &mut h2::SendStream<Bytes>, mut body: Bytes, last: bool) {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = within(poll_fn(|cx| stream.poll_capacity(cx))).await.unwrap().unwrap();
        let part = body.split_to(room.min(body.len()));
        stream.send_data(part, last && body.is_empty()).unwrap();
    }
}

async fn get(world: &World, target: &str) -> Client {
    let mut client = world.connect().await;
    client.request(&format!("GET {target} HTTP/1.1"), b"").await;
    client
}

#[tokio::test]
async fn a_request_is_written_anew_for_http_2() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = world.connect().await;
    let head = "GET /a//b%2F?start:gte=1&x HTTP/1.1\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n\
                Keep-Alive: 5\r\nAuthorization: Basic eA==\r\nX-Two: a\r\nX-Two: b\r\nCookie: c=1";
    client.request(head, b"").await;
    let asked = upstream.asked().await;
    assert_eq!(asked.request.method(), "GET");
    assert_eq!(asked.request.uri().to_string(), format!("{}/a//b%2F?start:gte=1&x", upstream.url));
    assert_eq!(asked.header("authorization").len(), 1);
    assert!(asked.header("authorization")[0].starts_with("Bearer "));
    assert_eq!(asked.header("x-two"), ["a", "b"]);
    assert_eq!(asked.header("te"), ["trailers"]);
    assert_eq!(asked.header("via"), ["1.1 vbc-proxy"]);
    for name in ["host", "connection", "keep-alive", "x-hop", "transfer-encoding", "content-length"] {
        assert_eq!(asked.header(name), Vec::<&str>::new(), "{name}");
    }
    asked.ok().await;
    let response = client.response().await;
    assert_eq!((response.version.as_str(), response.status, response.text()), ("HTTP/1.1", 200, "ok"));
}

#[tokio::test]
async fn http_2_is_negotiated_and_one_connection_carries_many_requests() {
    let upstream = H2Upstream::tls(100).await;
    let world = upstream.world("").await;
    world.ready().await;
    let mut clients = Vec::new();
    for index in 0..20 {
        clients.push(get(&world, &format!("/{index}")).await);
    }
    for _ in 0..20 {
        upstream.asked().await.ok().await;
    }
    for mut client in clients {
        assert_eq!(client.response().await.text(), "ok");
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_first_connection_is_opened_before_anybody_asks() {
    let upstream = H2Upstream::tls(100).await;
    let world = upstream.world("").await;
    world.metric("vbc_proxy_upstream_connections_open", 1.0).await;
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn an_upstream_that_changes_what_it_speaks_is_followed() {
    let upstream = H2Upstream::tls(100).await;
    let world = upstream.world("").await;
    let mut client = get(&world, "/1").await;
    let asked = upstream.asked().await;
    *upstream.speaks.lock() = vec!["http/1.1"];
    upstream.go_away(asked.connection);
    asked.ok().await;
    assert_eq!(client.response().await.text(), "ok");
    world.metric("vbc_proxy_upstream_connections_open", 0.0).await;
    client.request("GET /2 HTTP/1.1\r\nX-A: b", b"").await;
    assert_eq!(client.response().await.text(), "h1");
}

#[tokio::test]
async fn http_1_can_be_pinned() {
    let upstream = H2Upstream::tls(100).await;
    let world = upstream.world("upstream.http = \"h1\"").await;
    assert_eq!(world.get("/").await.text(), "h1");
}

#[tokio::test]
async fn http_2_that_is_pinned_and_not_spoken_is_a_502_that_says_so() {
    let upstream = H2Upstream::tls(100).await;
    *upstream.speaks.lock() = vec!["http/1.1"];
    let world = upstream.world("upstream.http = \"h2\"").await;
    let response = world.get("/").await;
    response.assert_problem(502, "http_protocol_error");
    assert!(response.text().contains("upstream.http"), "{}", response.text());
    // By prior knowledge too.
    let plain = RawUpstream::scripted(|mut connection| async move {
        connection.write(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        connection.gone().await;
    })
    .await;
    let world = World::builder().upstream(plain.url()).config("upstream.http = \"h2\"").start().await;
    world.get("/").await.assert_problem(502, "http_protocol_error");
}

#[tokio::test]
async fn a_full_connection_gets_a_second_beside_it() {
    let upstream = H2Upstream::plain(1).await;
    let world = upstream.world("").await;
    let (mut clients, mut asked) = (Vec::new(), Vec::new());
    for index in 0..3 {
        clients.push(get(&world, &format!("/{index}")).await);
        asked.push(upstream.asked().await);
    }
    let connections: Vec<_> = asked.iter().map(|asked| asked.connection).collect();
    assert_eq!(connections, [1, 2, 3]);
    for asked in asked {
        asked.ok().await;
    }
    for client in &mut clients {
        assert_eq!(client.response().await.text(), "ok");
    }
    // All three are idle: nothing is dialled for the next.
    let _client = get(&world, "/again").await;
    upstream.asked().await;
    assert_eq!(upstream.connections(), 3);
}

#[tokio::test]
async fn requests_at_a_cold_start_share_what_is_dialled() {
    let upstream = H2Upstream::plain(10).await;
    let world = upstream.world("").await;
    world.ready().await;
    let mut clients = Vec::new();
    for index in 0..25 {
        clients.push(get(&world, &format!("/{index}")).await);
    }
    let mut asked = Vec::new();
    for _ in 0..25 {
        asked.push(upstream.asked().await);
    }
    assert_eq!(upstream.connections(), 3);
    for asked in asked {
        asked.ok().await;
    }
    for mut client in clients {
        assert_eq!(client.response().await.text(), "ok");
    }
}

#[tokio::test]
async fn a_refused_stream_is_sent_once_more_whatever_the_method() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = world.connect().await;
    client.request("POST /call HTTP/1.1", b"number").await;
    let first = upstream.asked().await;
    let connection = first.connection;
    first.reset(Reason::REFUSED_STREAM);
    let mut second = upstream.asked().await;
    assert_ne!(second.connection, connection);
    assert_eq!(second.body().await.unwrap(), b"number");
    second.ok().await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn a_stream_refused_twice_is_a_502() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = get(&world, "/").await;
    upstream.asked().await.reset(Reason::REFUSED_STREAM);
    upstream.asked().await.reset(Reason::REFUSED_STREAM);
    client.response().await.assert_problem(502, "destination_unavailable");
}

#[tokio::test]
async fn a_post_whose_stream_is_reset_is_not_sent_again() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = world.connect().await;
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::NO_ERROR] {
        client.request("POST /call HTTP/1.1", b"number").await;
        upstream.asked().await.reset(reason);
        client.response().await.assert_problem(502, "connection_terminated");
    }
    client.request("GET /next HTTP/1.1", b"").await;
    let next = upstream.asked().await;
    assert_eq!(next.path(), "/next");
    next.ok().await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn a_goaway_lets_streams_finish_and_sends_the_next_request_elsewhere() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut first = get(&world, "/first").await;
    let asked = upstream.asked().await;
    upstream.go_away(1);
    let mut second = get(&world, "/second").await;
    let next = upstream.asked().await;
    next.ok().await;
    assert_eq!(second.response().await.text(), "ok");
    asked.ok().await;
    assert_eq!(first.response().await.text(), "ok");
}

#[tokio::test]
async fn an_answer_that_is_reset_is_never_passed_off_as_complete() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    for length in [Some("10"), None] {
        for reason in [Reason::CANCEL, Reason::NO_ERROR, Reason::INTERNAL_ERROR] {
            let mut client = get(&world, "/").await;
            let mut asked = upstream.asked().await;
            let mut head = Response::builder();
            if let Some(length) = length {
                head = head.header("content-length", length);
            }
            let mut stream = asked.respond.send_response(head.body(()).unwrap(), false).unwrap();
            send(&mut stream, "part".into(), false).await;
            let head = client.head().await;
            client.expect(if length.is_some() { b"part" } else { b"4\r\npart\r\n" }).await;
            stream.send_reset(reason);
            client.closed().await;
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        }
    }
}

#[tokio::test]
async fn trailers_pass_both_ways_without_what_is_not_theirs() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = world.connect().await;
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.write(head.as_bytes()).await;
    client.write(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\nAuthorization: x\r\n\r\n").await;
    let mut asked = upstream.asked().await;
    assert_eq!(asked.body().await.unwrap(), b"abc");
    let trailers = within(asked.request.body_mut().trailers()).await.unwrap().unwrap();
    assert_eq!(trailers.len(), 1);
    assert_eq!(trailers["x-sum"], "1");
    let head = Response::builder().header("trailer", "x-end").body(()).unwrap();
    let mut stream = asked.respond.send_response(head, false).unwrap();
    send(&mut stream, "ok".into(), false).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-end", "2".parse().unwrap());
    trailers.insert("authorization", "x".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
    let response = client.response().await;
    assert_eq!(response.text(), "ok");
    assert_eq!(response.trailers, [("x-end".to_owned(), b"2".to_vec())]);
}

#[tokio::test]
async fn an_upload_in_chunks_of_one_byte_goes_out_in_few_frames() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = world.connect().await;
    client.request("POST / HTTP/1.1\nTE: trailers\nTransfer-Encoding: chunked", b"").await;
    client.write(&[&b"1\r\nx\r\n".repeat(20_000)[..], b"0\r\nX-Sum: 1\r\n\r\n"].concat()).await;
    let mut asked = upstream.asked().await;
    let (mut frames, mut bytes) = (0, 0);
    while let Some(data) = within(asked.request.body_mut().data()).await {
        let data = data.unwrap();
        let _ = asked.request.body_mut().flow_control().release_capacity(data.len());
        (frames, bytes) = (frames + 1, bytes + data.len());
    }
    assert_eq!(bytes, 20_000);
    assert!(frames < 2_000, "{frames} frames");
    let trailers = within(asked.request.body_mut().trailers()).await.unwrap().unwrap();
    assert_eq!(trailers["x-sum"], "1");
    asked.ok().await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn four_mebibytes_pass_both_ways() {
    let upstream = H2Upstream::tls(100).await;
    let world = upstream.world("").await;
    let large: Vec<u8> = (0..4_u32 << 20).map(|index| (index / 7) as u8).collect();
    let mut client = world.connect().await;
    let echo = async {
        let mut asked = upstream.asked().await;
        assert_eq!(asked.header("content-length"), [large.len().to_string()]);
        let body = asked.body().await.unwrap();
        asked.answer(200, body).await;
    };
    let ask = async {
        client.request("POST / HTTP/1.1", &large).await;
        client.response().await
    };
    let ((), response) = tokio::join!(echo, ask);
    assert!(response.body == large);
}

#[tokio::test]
async fn a_client_that_leaves_resets_the_stream_and_nothing_else() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let client = get(&world, "/left").await;
    let mut left = upstream.asked().await;
    let mut other = get(&world, "/other").await;
    let stays = upstream.asked().await;
    drop(client);
    let reason = within(poll_fn(|cx| left.respond.poll_reset(cx))).await.unwrap();
    assert_eq!(reason, Reason::CANCEL);
    stays.ok().await;
    assert_eq!(other.response().await.text(), "ok");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn an_upload_that_is_cut_short_is_reset_and_never_completed() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = world.connect().await;
    client
        .write(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await;
    let mut asked = upstream.asked().await;
    let first = within(asked.request.body_mut().data()).await.unwrap().unwrap();
    assert_eq!(first, "abc");
    drop(client);
    let error = within(asked.request.body_mut().data()).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CANCEL));
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_passes_at_once_and_ends_the_upload() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = world.connect().await;
    client.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc").await;
    let mut asked = upstream.asked().await;
    let head = Response::builder().status(413).header("content-length", "3").body(()).unwrap();
    let mut stream = asked.respond.send_response(head, false).unwrap();
    send(&mut stream, "big".into(), true).await;
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (413, "big"));
    let ended = within(async {
        loop {
            match asked.request.body_mut().data().await {
                Some(Ok(_)) => {}
                ended => return ended,
            }
        }
    })
    .await;
    assert!(matches!(ended, Some(Err(_))), "{ended:?}");
}

#[tokio::test]
async fn a_401_is_cured_over_http_2() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = world.connect().await;
    client.request("POST /t/vbc.prod/x/y HTTP/1.1", b"payload").await;
    let mut first = upstream.asked().await;
    assert_eq!(first.body().await.unwrap(), b"payload");
    let bearer = first.header("authorization")[0].to_owned();
    let fault =
        r#"{"fault":{"code":900901,"message":"Invalid Credentials","description":"Access failure for API"}}"#;
    first.answer(401, fault).await;
    let mut second = upstream.asked().await;
    assert_eq!(second.body().await.unwrap(), b"payload");
    assert_ne!(second.header("authorization"), [bearer]);
    second.ok().await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn an_answer_to_head_and_a_304_keep_their_length() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = world.connect().await;
    for (method, status) in [("HEAD", 200), ("GET", 304)] {
        client.request(&format!("{method} / HTTP/1.1"), b"").await;
        let mut asked = upstream.asked().await;
        let head = Response::builder().status(status).header("content-length", "7").body(()).unwrap();
        asked.respond.send_response(head, true).unwrap();
        let response = client.response_to(method).await;
        assert_eq!((response.status, response.header("content-length")), (status, Some("7")));
    }
}

#[tokio::test]
async fn answers_with_two_lengths_or_a_head_over_the_limit_are_502s() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = get(&world, "/").await;
    let mut asked = upstream.asked().await;
    let head = Response::builder().header("content-length", "2").header("content-length", "3");
    let mut stream = asked.respond.send_response(head.body(()).unwrap(), false).unwrap();
    send(&mut stream, "ok".into(), true).await;
    client.response().await.assert_problem(502, "http_protocol_error");

    client.request("GET /large HTTP/1.1", b"").await;
    let mut asked = upstream.asked().await;
    let mut head = Response::builder();
    for index in 0..80 {
        head = head.header(format!("x-{index}"), "a".repeat(1000));
    }
    asked.respond.send_response(head.body(()).unwrap(), true).unwrap();
    client.response().await.assert_problem(502, "http_protocol_error");
}

const WEBSOCKET: &str = "GET /ws HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Key: a";

#[tokio::test]
async fn a_websocket_goes_out_on_http_1_where_the_rest_is_http_2() {
    let upstream = H2Upstream::tls(100).await;
    let world = upstream.world("").await;
    let mut client = get(&world, "/").await;
    upstream.asked().await.ok().await;
    assert_eq!(client.response().await.text(), "ok");
    for _ in 0..2 {
        let mut socket = world.connect().await;
        socket.request(WEBSOCKET, b"").await;
        assert!(socket.head().await.starts_with("HTTP/1.1 101 "));
        socket.write(b"\0echo").await;
        socket.expect(b"\0echo").await;
        client.request("GET /beside HTTP/1.1", b"").await;
        upstream.asked().await.ok().await;
        assert_eq!(client.response().await.text(), "ok");
        socket.shutdown().await;
        socket.closed().await;
    }
    assert_eq!(upstream.connections(), 3);
}

#[tokio::test]
async fn a_target_that_http_2_cannot_carry_goes_out_on_http_1_or_is_refused_where_there_is_none() {
    let upstream = H2Upstream::tls(100).await;
    let world = upstream.world("").await;
    let mut client = get(&world, "/q?f={\"a\":1}").await;
    assert_eq!(client.response().await.text(), "h1");
    // What it can carry, it carries.
    client.request("GET /q?f={a|b} HTTP/1.1", b"").await;
    let asked = upstream.asked().await;
    assert_eq!(asked.request.uri().query(), Some("f={a|b}"));
    asked.ok().await;
    assert_eq!(client.response().await.text(), "ok");

    let world = upstream.world("upstream.http = \"h2\"").await;
    let mut client = get(&world, "/q?f=\"\"").await;
    client.response().await.assert_problem(400, "http_request_error");
    client.request("GET /next HTTP/1.1", b"").await;
    upstream.asked().await.ok().await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn with_http_2_pinned_a_websocket_is_not_asked_for() {
    for upstream in [H2Upstream::plain(100).await, H2Upstream::tls(100).await] {
        let more = if upstream.certificate.is_some() { "upstream.http = \"h2\"" } else { "" };
        let world = upstream.world(more).await;
        let mut client = world.connect().await;
        client.request(WEBSOCKET, b"").await;
        let asked = upstream.asked().await;
        assert_eq!((asked.header("upgrade").len(), asked.header("sec-websocket-key")), (0, vec!["a"]));
        asked.ok().await;
        assert_eq!(client.response().await.text(), "ok");
    }
}

#[tokio::test]
async fn interim_answers_do_not_disturb() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = get(&world, "/").await;
    let mut asked = upstream.asked().await;
    for _ in 0..3 {
        let early = Response::builder().status(103).body(()).unwrap();
        asked.respond.send_informational(early).unwrap();
    }
    asked.ok().await;
    assert_eq!(client.response().await.text(), "ok");
}
