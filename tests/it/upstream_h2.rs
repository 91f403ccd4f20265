//! An upstream that speaks HTTP/2.

mod upstream;

use std::future::poll_fn;

use h2::Reason;
use http::{HeaderMap, Response};

use self::upstream::{H2Upstream, send};
use crate::harness::{Client, RawUpstream, World, within};

async fn get(world: &World, target: &str) -> Client {
    let mut client = world.connect().await;
    client.request(&format!("GET {target} HTTP/1.1"), b"").await;
    client
}

#[tokio::test]
async fn a_request_is_translated_to_http_2() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = world.connect().await;
    let head = "GET /a//b%2F?start:gte=1&x HTTP/1.1\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n\
                Keep-Alive: 5\r\nAuthorization: Basic eA==\r\nX-Two: a\r\nX-Two: b\r\nCookie: c=1";
    client.request(head, b"").await;
    let incoming = upstream.next_request().await;
    assert_eq!(incoming.request.method(), "GET");
    assert_eq!(incoming.request.uri().to_string(), format!("{}/a//b%2F?start:gte=1&x", upstream.url));
    assert_eq!(incoming.header("authorization").len(), 1);
    assert!(incoming.header("authorization")[0].starts_with("Bearer "));
    assert_eq!(incoming.header("x-two"), ["a", "b"]);
    assert_eq!(incoming.header("te"), ["trailers"]);
    assert_eq!(incoming.header("via"), ["1.1 vbc-proxy"]);
    for name in ["host", "connection", "keep-alive", "x-hop", "transfer-encoding", "content-length"] {
        assert_eq!(incoming.header(name), Vec::<&str>::new(), "{name}");
    }
    incoming.ok().await;
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
        upstream.next_request().await.ok().await;
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
    let incoming = upstream.next_request().await;
    *upstream.speaks.lock() = vec!["http/1.1"];
    upstream.go_away(incoming.connection);
    incoming.ok().await;
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
    // The same with HTTP/2 by prior knowledge.
    let plain = RawUpstream::scripted(|mut connection| async move {
        connection.write(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        connection.gone().await;
    })
    .await;
    let world = World::builder().upstream(plain.url()).config("upstream.http = \"h2\"").start().await;
    world.get("/").await.assert_problem(502, "http_protocol_error");
}

#[tokio::test]
async fn a_full_connection_is_joined_by_a_second() {
    let upstream = H2Upstream::plain(1).await;
    let world = upstream.world("").await;
    let (mut clients, mut incoming) = (Vec::new(), Vec::new());
    for index in 0..3 {
        clients.push(get(&world, &format!("/{index}")).await);
        incoming.push(upstream.next_request().await);
    }
    let connections: Vec<_> = incoming.iter().map(|incoming| incoming.connection).collect();
    assert_eq!(connections, [1, 2, 3]);
    for incoming in incoming {
        incoming.ok().await;
    }
    for client in &mut clients {
        assert_eq!(client.response().await.text(), "ok");
    }
    // All three are idle, so the next request needs no new connection.
    let _client = get(&world, "/again").await;
    upstream.next_request().await;
    assert_eq!(upstream.connections(), 3);
}

#[tokio::test]
async fn requests_at_a_cold_start_share_a_new_connection() {
    let upstream = H2Upstream::plain(10).await;
    let world = upstream.world("").await;
    world.ready().await;
    let mut clients = Vec::new();
    for index in 0..25 {
        clients.push(get(&world, &format!("/{index}")).await);
    }
    let mut incoming = Vec::new();
    for _ in 0..25 {
        incoming.push(upstream.next_request().await);
    }
    assert_eq!(upstream.connections(), 3);
    for incoming in incoming {
        incoming.ok().await;
    }
    for mut client in clients {
        assert_eq!(client.response().await.text(), "ok");
    }
}

#[tokio::test]
async fn a_refused_stream_is_sent_once_more_with_every_method() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = world.connect().await;
    client.request("POST /call HTTP/1.1", b"number").await;
    let first = upstream.next_request().await;
    let connection = first.connection;
    first.reset(Reason::REFUSED_STREAM);
    let mut second = upstream.next_request().await;
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
    upstream.next_request().await.reset(Reason::REFUSED_STREAM);
    upstream.next_request().await.reset(Reason::REFUSED_STREAM);
    client.response().await.assert_problem(502, "destination_unavailable");
}

#[tokio::test]
async fn a_post_whose_stream_is_reset_is_not_sent_again() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = world.connect().await;
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::NO_ERROR] {
        client.request("POST /call HTTP/1.1", b"number").await;
        upstream.next_request().await.reset(reason);
        client.response().await.assert_problem(502, "connection_terminated");
    }
    client.request("GET /next HTTP/1.1", b"").await;
    let next = upstream.next_request().await;
    assert_eq!(next.path(), "/next");
    next.ok().await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn a_goaway_lets_streams_finish_and_sends_the_next_request_elsewhere() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut first = get(&world, "/first").await;
    let incoming = upstream.next_request().await;
    upstream.go_away(1);
    let mut second = get(&world, "/second").await;
    let next = upstream.next_request().await;
    next.ok().await;
    assert_eq!(second.response().await.text(), "ok");
    incoming.ok().await;
    assert_eq!(first.response().await.text(), "ok");
}

#[tokio::test]
async fn a_response_that_is_reset_is_never_passed_off_as_complete() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    for length in [Some("10"), None] {
        for reason in [Reason::CANCEL, Reason::NO_ERROR, Reason::INTERNAL_ERROR] {
            let mut client = get(&world, "/").await;
            let mut incoming = upstream.next_request().await;
            let mut head = Response::builder();
            if let Some(length) = length {
                head = head.header("content-length", length);
            }
            let mut stream = incoming.sender.send_response(head.body(()).unwrap(), false).unwrap();
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
async fn trailers_pass_both_ways_without_the_forbidden_ones() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = world.connect().await;
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.write(head.as_bytes()).await;
    client.write(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\nAuthorization: x\r\n\r\n").await;
    let mut incoming = upstream.next_request().await;
    assert_eq!(incoming.body().await.unwrap(), b"abc");
    let trailers = within(incoming.request.body_mut().trailers()).await.unwrap().unwrap();
    assert_eq!(trailers.len(), 1);
    assert_eq!(trailers["x-sum"], "1");
    let head = Response::builder().header("trailer", "x-end").body(()).unwrap();
    let mut stream = incoming.sender.send_response(head, false).unwrap();
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
    let mut incoming = upstream.next_request().await;
    let (mut frames, mut bytes) = (0, 0);
    while let Some(data) = within(incoming.request.body_mut().data()).await {
        let data = data.unwrap();
        let _ = incoming.request.body_mut().flow_control().release_capacity(data.len());
        (frames, bytes) = (frames + 1, bytes + data.len());
    }
    assert_eq!(bytes, 20_000);
    assert!(frames < 2_000, "{frames} frames");
    let trailers = within(incoming.request.body_mut().trailers()).await.unwrap().unwrap();
    assert_eq!(trailers["x-sum"], "1");
    incoming.ok().await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn four_mebibytes_pass_both_ways() {
    let upstream = H2Upstream::tls(100).await;
    let world = upstream.world("").await;
    let large: Vec<u8> = (0..4_u32 << 20).map(|index| (index / 7) as u8).collect();
    let mut client = world.connect().await;
    let echo = async {
        let mut incoming = upstream.next_request().await;
        assert_eq!(incoming.header("content-length"), [large.len().to_string()]);
        let body = incoming.body().await.unwrap();
        incoming.respond(200, body).await;
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
    let mut left = upstream.next_request().await;
    let mut other = get(&world, "/other").await;
    let stays = upstream.next_request().await;
    drop(client);
    let reason = within(poll_fn(|cx| left.sender.poll_reset(cx))).await.unwrap();
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
    let mut incoming = upstream.next_request().await;
    let first = within(incoming.request.body_mut().data()).await.unwrap().unwrap();
    assert_eq!(first, "abc");
    drop(client);
    let error = within(incoming.request.body_mut().data()).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CANCEL));
}

#[tokio::test]
async fn a_response_before_the_end_of_the_upload_passes_at_once_and_ends_the_upload() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = world.connect().await;
    client.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc").await;
    let mut incoming = upstream.next_request().await;
    let head = Response::builder().status(413).header("content-length", "3").body(()).unwrap();
    let mut stream = incoming.sender.send_response(head, false).unwrap();
    send(&mut stream, "big".into(), true).await;
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (413, "big"));
    let ended = within(async {
        loop {
            match incoming.request.body_mut().data().await {
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
    let mut first = upstream.next_request().await;
    assert_eq!(first.body().await.unwrap(), b"payload");
    let bearer = first.header("authorization")[0].to_owned();
    let fault =
        r#"{"fault":{"code":900901,"message":"Invalid Credentials","description":"Access failure for API"}}"#;
    first.respond(401, fault).await;
    let mut second = upstream.next_request().await;
    assert_eq!(second.body().await.unwrap(), b"payload");
    assert_ne!(second.header("authorization"), [bearer]);
    second.ok().await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn a_response_to_head_and_a_304_keep_their_length() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = world.connect().await;
    for (method, status) in [("HEAD", 200), ("GET", 304)] {
        client.request(&format!("{method} / HTTP/1.1"), b"").await;
        let mut incoming = upstream.next_request().await;
        let head = Response::builder().status(status).header("content-length", "7").body(()).unwrap();
        incoming.sender.send_response(head, true).unwrap();
        let response = client.response_to(method).await;
        assert_eq!((response.status, response.header("content-length")), (status, Some("7")));
    }
}

#[tokio::test]
async fn responses_with_two_lengths_or_a_head_over_the_limit_are_502s() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = get(&world, "/").await;
    let mut incoming = upstream.next_request().await;
    let head = Response::builder().header("content-length", "2").header("content-length", "3");
    let mut stream = incoming.sender.send_response(head.body(()).unwrap(), false).unwrap();
    send(&mut stream, "ok".into(), true).await;
    client.response().await.assert_problem(502, "http_protocol_error");

    client.request("GET /large HTTP/1.1", b"").await;
    let mut incoming = upstream.next_request().await;
    let mut head = Response::builder();
    for index in 0..80 {
        head = head.header(format!("x-{index}"), "a".repeat(1000));
    }
    incoming.sender.send_response(head.body(()).unwrap(), true).unwrap();
    client.response().await.assert_problem(502, "http_protocol_error");
}

const WEBSOCKET: &str = "GET /ws HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Key: a";

#[tokio::test]
async fn a_websocket_goes_out_on_http_1_where_the_rest_is_http_2() {
    let upstream = H2Upstream::tls(100).await;
    let world = upstream.world("").await;
    let mut client = get(&world, "/").await;
    upstream.next_request().await.ok().await;
    assert_eq!(client.response().await.text(), "ok");
    for _ in 0..2 {
        let mut socket = world.connect().await;
        socket.request(WEBSOCKET, b"").await;
        assert!(socket.head().await.starts_with("HTTP/1.1 101 "));
        socket.write(b"\0echo").await;
        socket.expect(b"\0echo").await;
        client.request("GET /second HTTP/1.1", b"").await;
        upstream.next_request().await.ok().await;
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
    // Other targets are still sent over HTTP/2.
    client.request("GET /q?f={a|b} HTTP/1.1", b"").await;
    let incoming = upstream.next_request().await;
    assert_eq!(incoming.request.uri().query(), Some("f={a|b}"));
    incoming.ok().await;
    assert_eq!(client.response().await.text(), "ok");

    let world = upstream.world("upstream.http = \"h2\"").await;
    let mut client = get(&world, "/q?f=\"\"").await;
    client.response().await.assert_problem(400, "http_request_error");
    client.request("GET /next HTTP/1.1", b"").await;
    upstream.next_request().await.ok().await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn with_http_2_pinned_no_websocket_is_requested() {
    for upstream in [H2Upstream::plain(100).await, H2Upstream::tls(100).await] {
        let more = if upstream.certificate.is_some() { "upstream.http = \"h2\"" } else { "" };
        let world = upstream.world(more).await;
        let mut client = world.connect().await;
        client.request(WEBSOCKET, b"").await;
        let incoming = upstream.next_request().await;
        assert_eq!((incoming.header("upgrade").len(), incoming.header("sec-websocket-key")), (0, vec!["a"]));
        incoming.ok().await;
        assert_eq!(client.response().await.text(), "ok");
    }
}

#[tokio::test]
async fn interim_responses_are_ignored() {
    let upstream = H2Upstream::plain(100).await;
    let world = upstream.world("").await;
    let mut client = get(&world, "/").await;
    let mut incoming = upstream.next_request().await;
    for _ in 0..3 {
        let early = Response::builder().status(103).body(()).unwrap();
        incoming.sender.send_informational(early).unwrap();
    }
    incoming.ok().await;
    assert_eq!(client.response().await.text(), "ok");
}
