//! A client that has only closed its sending side still gets the responses to its complete
//! requests.

use crate::harness::{Client, RawUpstream, World};

/// Starts a proxy in front of this upstream, with this `listen.half_close_grace`.
async fn world(upstream: &RawUpstream, grace: &str) -> World {
    let line = format!("listen.half_close_grace = \"{grace}\"");
    World::builder().config(&line).upstream(upstream.url()).start().await
}

#[tokio::test]
async fn a_client_that_ends_its_side_gets_the_response_to_what_it_has_sent() {
    let upstream = RawUpstream::by_hand().await;
    let world = world(&upstream, "1h").await;
    for (head, body) in [
        ("GET / HTTP/1.1\nConnection: close", ""),
        ("GET / HTTP/1.1", ""),
        ("GET / HTTP/1.0", ""),
        ("POST / HTTP/1.1\nContent-Length: 4", "body"),
        ("POST / HTTP/1.1\nTransfer-Encoding: chunked", "4\r\nbody\r\n0\r\n\r\n"),
    ] {
        let mut client = world.connect().await;
        client.request(head, body.as_bytes()).await;
        client.shutdown().await;
        let mut connection = upstream.accept().await;
        let received =
            connection.respond("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\no").await;
        assert_eq!(received.body.is_empty(), body.is_empty(), "{head}");
        connection.write(b"k\r\n0\r\n\r\n").await;
        let response = client.response().await;
        assert_eq!((response.status, response.text(), response.complete), (200, "ok", true), "{head}");
        client.closed().await;
        connection.reset();
    }
}

#[tokio::test]
async fn every_request_received_whole_before_the_half_close_gets_its_response() {
    let upstream = RawUpstream::ok().await;
    let world = world(&upstream, "1h").await;
    for cut in ["", "GET /never HTTP/1.1\r\nHost: loc"] {
        let mut client = world.connect().await;
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let post = "POST /3 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody";
        client.write([&get("/1"), &get("/2"), post, cut].concat().as_bytes()).await;
        client.shutdown().await;
        for _ in 0..3 {
            assert_eq!(client.response().await.text(), "ok", "{cut}");
        }
        client.closed().await;
    }
    let lines: Vec<_> = upstream.requests().into_iter().map(|received| received.line).collect();
    assert!(lines.len() == 6 && lines.iter().all(|line| !line.contains("never")), "{lines:?}");
}

#[tokio::test]
async fn after_the_grace_the_exchange_is_abandoned() {
    let upstream = RawUpstream::by_hand().await;
    let world = world(&upstream, "50ms").await;
    for pipelined in ["", "GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let mut client = world.connect().await;
        client.request("GET / HTTP/1.1", b"").await;
        client.write(pipelined.as_bytes()).await;
        let mut connection = upstream.accept().await;
        connection.request().await.unwrap();
        client.shutdown().await;
        assert_eq!(connection.gone().await, b"");
        client.closed().await;
    }
}

#[tokio::test]
async fn a_response_that_stops_is_abandoned_after_the_grace_and_does_not_look_whole() {
    let upstream = RawUpstream::by_hand().await;
    let world = world(&upstream, "50ms").await;
    for version in ["1.0", "1.1"] {
        let mut client = world.connect().await;
        client.request(&format!("GET / HTTP/{version}"), b"").await;
        let mut connection = upstream.accept().await;
        connection.respond("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
        client.head().await;
        client.shutdown().await;
        assert_eq!(connection.gone().await, b"");
        if version == "1.0" {
            // In HTTP/1.0 a normal close would mark the body as complete.
            client.expect(b"hello").await;
            client.was_reset().await;
        } else {
            client.expect(b"5\r\nhello\r\n").await;
            client.closed().await;
        }
    }
}

#[tokio::test]
async fn a_reset_after_a_half_close_ends_the_request_at_once() {
    let upstream = RawUpstream::by_hand().await;
    // The grace is longer than the test waits.
    let world = world(&upstream, "1h").await;
    for beginning in ["", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"] {
        let mut client = world.connect().await;
        client.request("GET / HTTP/1.1", b"").await;
        let mut connection = upstream.accept().await;
        connection.respond(beginning).await;
        client.shutdown().await;
        client.reset();
        assert_eq!(connection.gone().await, b"");
    }
    world.metric("vbc_proxy_connections_open", 0.0).await;
}

#[tokio::test]
async fn a_websocket_handshake_received_whole_before_the_half_close_gets_its_response() {
    const ASK: &str = "GET /ws HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let upstream = RawUpstream::by_hand().await;
    let world = world(&upstream, "1h").await;
    for switches in [false, true] {
        let mut client = world.connect().await;
        client.request(ASK, b"").await;
        client.shutdown().await;
        let mut connection = upstream.accept().await;
        if switches {
            connection
                .respond("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
                .await;
            assert!(client.head().await.starts_with("HTTP/1.1 101 "));
            // The tunnel is still open in one direction.
            assert_eq!(connection.gone().await, b"");
            connection.write(b"\0last").await;
            client.expect(b"\0last").await;
        } else {
            connection.respond("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
            assert_eq!(client.response().await.status, 403);
        }
        drop(connection);
        client.closed().await;
    }
}

#[tokio::test]
async fn a_reset_is_noticed_regardless_of_pipelined_bytes() {
    let upstream = RawUpstream::by_hand().await;
    let world = world(&upstream, "1h").await;
    for kib in [20, 64] {
        let mut client = world.connect().await;
        let get = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        client.write(get.repeat(kib * 1024 / get.len()).as_bytes()).await;
        let mut connection = upstream.accept().await;
        connection.request().await.unwrap();
        client.reset();
        assert_eq!(connection.gone().await, b"");
    }
    world.metric("vbc_proxy_connections_open", 0.0).await;
}

#[tokio::test]
async fn a_body_that_the_half_close_cuts_short_is_abandoned_at_once() {
    let upstream = RawUpstream::by_hand().await;
    let world = world(&upstream, "1h").await;
    for (head, body) in [("Content-Length: 10", "hello"), ("Transfer-Encoding: chunked", "5\r\nhello\r\n")] {
        let mut client = world.connect().await;
        client.request(&format!("POST / HTTP/1.1\n{head}"), body.as_bytes()).await;
        let mut connection = upstream.accept().await;
        connection.head().await.unwrap();
        connection.expect(body.as_bytes()).await;
        client.shutdown().await;
        assert_eq!(connection.gone().await, b"");
        connection.reset();
        let rest = client.read_to_end().await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{}", rest.escape_ascii());
    }
}

#[tokio::test]
async fn the_admin_listener_and_the_simulator_serve_half_closed_clients_too() {
    let world = World::start().await;
    for (address, path, status) in [(world.admin, "/live", 200), (world.sim.address(), "/t/vbc.prod/x", 404)]
    {
        let mut client = Client::connect(address).await;
        client.request(&format!("GET {path} HTTP/1.1"), b"").await;
        client.shutdown().await;
        assert_eq!(client.response().await.status, status, "{path}");
        client.closed().await;
    }
}

#[tokio::test]
async fn a_connection_without_a_request_ends_with_its_client() {
    let upstream = RawUpstream::ok().await;
    let world = world(&upstream, "1h").await;
    for before in ["", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let mut client = world.connect().await;
        client.write(before.as_bytes()).await;
        if !before.is_empty() {
            assert_eq!(client.response().await.text(), "ok");
        }
        client.shutdown().await;
        client.closed().await;
    }
}
