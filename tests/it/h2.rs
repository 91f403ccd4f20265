//! HTTP/2 towards clients, by prior knowledge.

mod strictness;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use vbc_proxy::app::Ended;

use crate::harness::{
    Client, GOAWAY, H2Body, H2Client, PREFACE, RST_STREAM, RawH2, RawUpstream, SETTINGS, World, code, within,
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn request(method: &str, path: &str, body: H2Body) -> Request<H2Body> {
    Request::builder().method(method).uri(format!("http://localhost{path}")).body(body).unwrap()
}

fn none() -> H2Body {
    Empty::new().boxed()
}

fn full(bytes: impl Into<Bytes>) -> H2Body {
    Full::new(bytes.into()).boxed()
}

/// A body of unknown length, followed by trailers.
fn with_trailers(pieces: &[&'static str], trailers: &[(&'static str, &'static str)]) -> H2Body {
    let mut map = HeaderMap::new();
    for (name, value) in trailers {
        map.append(*name, value.parse().unwrap());
    }
    let mut frames: Vec<_> = pieces.iter().map(|piece| Ok(Frame::data(Bytes::from(*piece)))).collect();
    frames.push(Ok(Frame::trailers(map)));
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)))
}

#[tokio::test]
async fn a_request_goes_upstream_as_http11_and_its_response_comes_back_without_hop_by_hop_headers() {
    let response = "HTTP/1.1 200 OK\r\nX-One: 1\r\nConnection: x-two\r\nX-Two: 2\r\nKeep-Alive: timeout=5\r\n\
                  Transfer-Encoding: chunked\r\nX-One: 3\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let upstream = RawUpstream::responding(response).await;
    let world = World::with_upstream(&upstream).await;
    let client = H2Client::connect(world.address).await;
    let mut request = request("GET", "/a%2fb//./../x:y?a=+%20&&b", none());
    for (name, value) in
        [("authorization", "Basic x"), ("x-api-key", "k"), ("te", "trailers"), ("x-e2e", "1")]
    {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let (parts, body, _) = client.whole(request).await;
    assert_eq!((parts.status, &body[..]), (StatusCode::OK, &b"ok"[..]));
    let ones: Vec<_> = parts.headers.get_all("x-one").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(ones, ["1", "3"]);
    for gone in ["connection", "x-two", "keep-alive", "transfer-encoding", "content-length"] {
        assert!(!parts.headers.contains_key(gone), "{gone} in {:?}", parts.headers);
    }
    let received = upstream.only();
    assert_eq!(received.line, "GET /a%2fb//./../x:y?a=+%20&&b HTTP/1.1");
    assert_eq!(received.header("host"), Some(upstream.address().to_string().as_str()));
    assert_eq!(received.header("via"), Some("2 vbc-proxy"));
    assert!(received.header("authorization").unwrap().starts_with("Bearer "));
    assert_eq!(received.header("x-e2e"), Some("1"));
    for gone in ["x-api-key", "transfer-encoding", "content-length", "user-agent", "accept"] {
        assert_eq!(received.header(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn bodies_get_new_framing_and_only_allowed_trailers_pass_both_ways() {
    let response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
                  X-Sum: 1\r\nSet-Cookie: a=b\r\nContent-Length: 3\r\n\r\n";
    let upstream = RawUpstream::responding(response).await;
    let world = World::with_upstream(&upstream).await;
    let client = H2Client::connect(world.address).await;
    let sent = with_trailers(&["ab", "cd"], &[("x-sum", "2"), ("authorization", "x"), ("host", "x")]);
    let mut sent = request("POST", "/chunked", sent);
    sent.headers_mut().insert("trailer", "x-sum, authorization, host".parse().unwrap());
    let (_, body, trailers) = client.whole(sent).await;
    assert_eq!(body, b"ok");
    let trailers = trailers.unwrap();
    assert_eq!((trailers.len(), trailers["x-sum"].as_bytes()), (1, &b"1"[..]));

    client.whole(request("POST", "/sized", full("hello"))).await;
    let mut empty = request("POST", "/empty", none());
    empty.headers_mut().insert("content-length", 0.into());
    client.whole(empty).await;
    client.whole(request("GET", "/none", none())).await;
    client.whole(request("GET", "/with", with_trailers(&["x"], &[]))).await;

    let requests = upstream.requests();
    let seen: Vec<_> = requests
        .iter()
        .map(|received| {
            let framing = (received.header("content-length"), received.header("transfer-encoding"));
            (received.line.split(' ').nth(1).unwrap(), framing, &received.body[..])
        })
        .collect();
    type Framing<'a> = (Option<&'a str>, Option<&'a str>);
    let expected: [(&str, Framing<'_>, &[u8]); 5] = [
        ("/chunked", (None, Some("chunked")), b"abcd"),
        ("/sized", (Some("5"), None), b"hello"),
        ("/empty", (Some("0"), None), b""),
        ("/none", (None, None), b""),
        ("/with", (None, Some("chunked")), b"x"),
    ];
    assert_eq!(seen, expected);
    assert_eq!(requests[0].trailers, [("x-sum".to_owned(), b"2".to_vec())]);
}

#[tokio::test]
async fn responses_without_a_body_keep_their_length_and_end_at_their_head() {
    let upstream = RawUpstream::scripted(|mut connection| async move {
        while let Some(received) = connection.request().await {
            let response: &[u8] = match received.line.split(' ').nth(1).unwrap() {
                "/204" => b"HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: \"a\"\r\n\r\n",
                _ => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            };
            connection.write(response).await;
        }
    })
    .await;
    let world = World::with_upstream(&upstream).await;
    let client = H2Client::connect(world.address).await;
    for (method, path, status, length) in
        [("HEAD", "/", 200, Some("9")), ("GET", "/204", 204, None), ("GET", "/304", 304, Some("7"))]
    {
        let (parts, body, _) = client.whole(request(method, path, none())).await;
        assert_eq!((parts.status.as_u16(), body.len()), (status, 0), "{path}");
        let found = parts.headers.get("content-length").map(|value| value.to_str().unwrap());
        assert_eq!(found, length, "{path}");
    }
    // A problem response has a body, which a HEAD must not get.
    let mut raw = RawH2::connect(world.address).await;
    let foreign = [(":method", "HEAD"), (":scheme", "http"), (":path", "/"), (":authority", "foreign.test")];
    raw.headers(1, &foreign, true).await;
    let response = raw.response(1).await;
    assert_eq!((response.status, response.body.len(), response.complete), (421, 0, true));
}

#[tokio::test]
async fn a_connection_gets_goaway_after_its_maximum_of_requests() {
    let upstream = RawUpstream::ok().await;
    let world = World::builder()
        .config("listen.max_requests_per_connection = 2")
        .upstream(upstream.url())
        .start()
        .await;
    let mut raw = RawH2::connect(world.address).await;
    raw.get(1, "/", &[]).await;
    assert_eq!(raw.response(1).await.body, b"ok");
    raw.get(3, "/", &[]).await;
    let frame = raw.next_of(GOAWAY).await;
    assert_eq!(code(&frame.payload), 0);
    while raw.next().await.is_some() {}
}

#[tokio::test]
async fn cookies_in_pieces_are_joined() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let mut raw = RawH2::connect(world.address).await;
    raw.get(1, "/", &[("cookie", "a=1"), ("x-between", "1"), ("cookie", "b=2"), ("cookie", "c=3")]).await;
    assert_eq!(raw.response(1).await.body, b"ok");
    assert_eq!(upstream.only().header("cookie"), Some("a=1; b=2; c=3"));
}

#[tokio::test]
async fn a_response_cut_short_resets_its_stream_and_no_other() {
    for head in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let upstream = RawUpstream::by_hand().await;
        let world = World::with_upstream(&upstream).await;
        let mut raw = RawH2::connect(world.address).await;
        raw.get(1, "/cut", &[]).await;
        let mut cut = upstream.accept().await;
        let body = if head.starts_with('C') { "hello" } else { "5\r\nhello\r\n" };
        cut.respond(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}")).await;
        raw.get(3, "/whole", &[]).await;
        let mut whole = upstream.accept().await;
        whole.request().await.unwrap();
        drop(cut);
        let response = raw.response(1).await;
        assert_eq!(
            (response.status, &response.body[..], response.complete),
            (200, &b"hello"[..], false),
            "{head}"
        );
        assert!(response.reset.is_some(), "{head}");
        whole.write(OK.as_bytes()).await;
        let response = raw.response(3).await;
        assert_eq!((&response.body[..], response.complete), (&b"ok"[..], true), "{head}");
    }
}

#[tokio::test]
async fn a_client_never_sees_a_401_that_a_new_token_cures() {
    let upstream = RawUpstream::scripted(|mut connection| async move {
        let expired = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: OAuth2 realm=\"x\", error=\"invalid_token\"\r\n\
                       Content-Length: 0\r\n\r\n";
        let mut first = true;
        while connection.request().await.is_some() {
            connection.write(if first { expired } else { OK }.as_bytes()).await;
            first = false;
        }
    })
    .await;
    let world = World::with_upstream(&upstream).await;
    world.ready().await;
    let client = H2Client::connect(world.address).await;
    let (parts, body, _) = client.whole(request("POST", "/", with_trailers(&["ab", "c"], &[]))).await;
    assert_eq!((parts.status, &body[..]), (StatusCode::OK, &b"ok"[..]));
    let [first, second] = &upstream.requests()[..] else { panic!("{:?}", upstream.requests()) };
    assert_eq!((&first.body, &first.line), (&second.body, &second.line));
    assert_ne!(first.header("authorization"), second.header("authorization"));
}

#[tokio::test]
async fn large_bodies_pass_both_ways_unchanged() {
    let upstream = RawUpstream::scripted(|mut connection| async move {
        while let Some(received) = connection.request().await {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", received.body.len());
            connection.write(head.as_bytes()).await;
            connection.write(&received.body).await;
        }
    })
    .await;
    let world = World::with_upstream(&upstream).await;
    let bytes: Vec<u8> =
        (0..4_u32 << 18).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let client = H2Client::connect(world.address).await;
    let (parts, body, _) = client.whole(request("PUT", "/", full(bytes.clone()))).await;
    assert_eq!(parts.status, StatusCode::OK);
    assert!(body == bytes, "{} bytes came back of {}", body.len(), bytes.len());
}

#[tokio::test]
async fn many_streams_get_responses_at_once() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let client = H2Client::connect(world.address).await;
    let responses = (0..100).map(|_| client.whole(request("GET", "/", none())));
    for (parts, body, _) in futures_util::future::join_all(responses).await {
        assert_eq!((parts.status, &body[..]), (StatusCode::OK, &b"ok"[..]));
    }
    assert_eq!(upstream.requests().len(), 100);
}

#[tokio::test]
async fn each_stream_has_its_own_deadlines() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::builder()
        .config("upstream.response_timeout = \"100ms\"")
        .upstream(upstream.url())
        .start()
        .await;
    let client = H2Client::connect(world.address).await;
    let responses = (0..3).map(|_| client.whole(request("GET", "/", none())));
    for (parts, _, _) in futures_util::future::join_all(responses).await {
        assert_eq!(parts.status, StatusCode::GATEWAY_TIMEOUT);
    }
}

#[tokio::test]
async fn a_client_that_resets_its_stream_ends_the_upstream_request() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let mut raw = RawH2::connect(world.address).await;
    raw.get(1, "/", &[]).await;
    let mut connection = upstream.accept().await;
    connection.request().await.unwrap();
    raw.frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()).await;
    assert_eq!(connection.gone().await, b"");
    raw.get(3, "/", &[]).await;
    upstream.accept().await.respond(OK).await;
    assert_eq!(raw.response(3).await.body, b"ok");
}

#[tokio::test]
async fn a_beginning_of_the_preface_ends_at_its_deadline() {
    let upstream = RawUpstream::ok().await;
    let world =
        World::builder().config("listen.header_timeout = \"30ms\"").upstream(upstream.url()).start().await;
    for (length, status) in [(1, 408), (10, 408), (PREFACE.len() - 1, 400)] {
        let response = world.refused(&PREFACE[..length]).await;
        response.assert_problem(status, "http_request_error");
    }
    // A first byte that only looks like the preface is HTTP/1.
    let mut client = world.connect().await;
    client.write(b"P").await;
    client.write(b"OST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn a_connection_without_streams_gets_goaway_after_its_idle_time() {
    let upstream = RawUpstream::ok().await;
    let world = World::builder()
        .config("listen.idle_timeout = \"50ms\"\nlisten.first_byte_timeout = \"50ms\"")
        .upstream(upstream.url())
        .start()
        .await;
    let mut silent = Client::connect(world.address).await;
    silent.closed().await;
    let mut raw = RawH2::connect(world.address).await;
    raw.get(1, "/", &[]).await;
    assert_eq!(raw.response(1).await.body, b"ok");
    let frame = raw.next_of(GOAWAY).await;
    assert_eq!(code(&frame.payload), 0);
    while raw.next().await.is_some() {}
    // A client that neither acknowledges nor closes is disconnected.
    let mut deaf = Client::connect(world.address).await;
    deaf.write(PREFACE).await;
    deaf.write(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    deaf.read_to_end().await;
}

#[tokio::test]
async fn an_upload_that_stops_gets_a_response_and_is_never_completed_upstream() {
    let upstream = RawUpstream::by_hand().await;
    let world =
        World::builder().config("upstream.idle_timeout = \"50ms\"").upstream(upstream.url()).start().await;
    let mut raw = RawH2::connect(world.address).await;
    let post = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "localhost")];
    raw.headers(1, &post, false).await;
    raw.data(1, b"abc", false).await;
    let mut connection = upstream.accept().await;
    connection.head().await.unwrap();
    assert_eq!(connection.gone().await, b"3\r\nabc\r\n");
    assert_eq!(raw.response(1).await.status, 408);
}

#[tokio::test]
async fn a_stream_whose_client_does_not_read_is_reset_while_others_continue() {
    let upstream = RawUpstream::by_hand().await;
    let world =
        World::builder().config("upstream.idle_timeout = \"100ms\"").upstream(upstream.url()).start().await;
    // A window of four bytes for each stream (SETTINGS_INITIAL_WINDOW_SIZE).
    let mut raw = RawH2::with_settings(world.address, &[0, 4, 0, 0, 0, 4]).await;
    raw.get(1, "/", &[]).await;
    let mut connection = upstream.accept().await;
    let large = format!("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(100_000));
    connection.respond(&large).await;
    let response = raw.response(1).await;
    assert_eq!((response.status, &response.body[..], response.complete), (200, &b"xxxx"[..], false));
    assert!(response.reset.is_some());
    raw.get(3, "/", &[]).await;
    upstream.accept().await.respond(OK).await;
    assert_eq!(raw.response(3).await.body, b"ok");
}

#[tokio::test]
async fn a_drain_sends_goaway_and_finishes_what_is_in_flight() {
    let upstream = RawUpstream::by_hand().await;
    let mut world = World::with_upstream(&upstream).await;
    let mut idle = RawH2::connect(world.address).await;
    assert_eq!(idle.next_of(SETTINGS).await.stream, 0);
    let mut raw = RawH2::connect(world.address).await;
    raw.get(1, "/", &[]).await;
    let mut connection = upstream.accept().await;
    connection.request().await.unwrap();
    world.begin_drain();
    assert_eq!(code(&idle.next_of(GOAWAY).await.payload), 0);
    while idle.next().await.is_some() {}
    drop(idle);
    raw.next_of(GOAWAY).await;
    connection.write(OK.as_bytes()).await;
    let response = raw.response(1).await;
    assert_eq!((&response.body[..], response.complete), (&b"ok"[..], true));
    while raw.next().await.is_some() {}
    drop(raw);
    assert_eq!(world.ended().await, Ended::Drained);
}

#[tokio::test]
async fn both_versions_are_spoken_on_one_listener() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let client = H2Client::connect(world.address).await;
    assert_eq!(within(client.whole(request(Method::GET.as_str(), "/", none()))).await.1, b"ok");
    assert_eq!(world.get("/").await.text(), "ok");
    world.metric("vbc_proxy_connections_open", 1.0).await;
}
