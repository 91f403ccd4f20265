//! An upgrade to `websocket` passes if the client requested it and the upstream agreed.

use vbc_proxy::app::Ended;

use crate::harness::{Client, RawUpstream, UpstreamConnection, World};

const ASK: &str = "GET /ws HTTP/1.1\nConnection: keep-alive, Upgrade\nUpgrade: WebSocket\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13";

const SWITCHES: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A websocket through the proxy: the client and the upstream's side.
async fn websocket(world: &World, upstream: &RawUpstream) -> (Client, UpstreamConnection) {
    let mut client = world.connect().await;
    client.request(ASK, b"").await;
    let mut connection = upstream.accept().await;
    connection.respond(SWITCHES).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    (client, connection)
}

#[tokio::test]
async fn a_websocket_passes_byte_for_byte_both_ways() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.request(ASK, b"").await;
    let mut connection = upstream.accept().await;
    // The first bytes come in one segment with the head. They would be refused as HTTP.
    let asked = connection.respond(&format!("{SWITCHES}\0first\r\n\n")).await;
    assert_eq!((asked.header("connection"), asked.header("upgrade")), (Some("Upgrade"), Some("websocket")));
    assert_eq!(asked.header("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    let token = asked.header("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned();

    let head = client.head().await.to_ascii_lowercase();
    assert_eq!(head.matches("connection: upgrade\r\n").count(), 1, "{head}");
    assert_eq!(head.matches("upgrade: websocket").count(), 1, "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    assert!(!head.contains(&token.to_ascii_lowercase()) && !head.contains("close"), "{head}");
    client.expect(b"\0first\r\n\n").await;

    let every: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for _ in 0..3 {
        client.write(&every).await;
        connection.expect(&every).await;
        connection.write(&every).await;
        client.expect(&every).await;
    }
    world.metric("vbc_proxy_tunnels_open", 1.0).await;
    world.metric("vbc_proxy_requests_total{status=\"101\",source=\"upstream\"}", 1.0).await;
    drop(connection);
    client.closed().await;
    client.shutdown().await;
    world.metric("vbc_proxy_tunnels_open", 0.0).await;
    world.metric("vbc_proxy_connections_open", 0.0).await;
    world.metric("vbc_proxy_upstream_connections_open", 0.0).await;
}

#[tokio::test]
async fn a_length_of_0_does_not_prevent_an_upgrade() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.request(&format!("{ASK}\nContent-Length: 0"), b"").await;
    let mut connection = upstream.accept().await;
    let asked = connection.respond(SWITCHES).await;
    assert_eq!((asked.header("connection"), asked.header("upgrade")), (Some("Upgrade"), Some("websocket")));
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    client.write(b"\0there").await;
    connection.expect(b"\0there").await;
    connection.write(b"\0back").await;
    client.expect(b"\0back").await;
}

#[tokio::test]
async fn bytes_sent_before_the_101_wait_for_the_decision() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client
        .write(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly",
        )
        .await;
    let mut connection = upstream.accept().await;
    connection.request().await.unwrap();
    client.write(b"\0 and more").await;
    // The upstream agrees while the client waits for its head.
    let other = tokio::spawn(async move {
        let mut connection = connection;
        connection.write(SWITCHES.as_bytes()).await;
        connection.expect(b"early\0 and more").await;
        connection
    });
    client.head().await;
    let mut connection = other.await.unwrap();
    connection.write(b"back").await;
    client.expect(b"back").await;
}

#[tokio::test]
async fn a_request_after_a_refused_upgrade_waits_for_the_refusal_and_is_then_served() {
    for response in [
        OK.to_owned(),
        OK.replace("200 OK", "403 Forbidden"),
        OK.replace("200 OK", "426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: upgrade"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_owned(),
    ] {
        let upstream = RawUpstream::by_hand().await;
        let world = World::with_upstream(&upstream).await;
        let mut client = world.connect().await;
        client
            .write(
                b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\
                  POST /next HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody",
            )
            .await;
        let mut connection = upstream.accept().await;
        connection.request().await.unwrap();
        // Only the other client's request is served, not the second request of this one.
        assert_eq!(upstream.requests().len(), 1);
        connection.write(response.as_bytes()).await;
        assert_eq!(client.response().await.text(), "ok");
        let next = connection.respond(OK).await;
        assert_eq!((next.line.as_str(), &next.body[..]), ("POST /next HTTP/1.1", &b"body"[..]));
        assert_eq!(client.response().await.text(), "ok");
        for path in ["/a", "/b"] {
            client.request(&format!("GET {path} HTTP/1.1"), b"").await;
            connection.respond(OK).await;
            assert_eq!(client.response().await.text(), "ok");
        }
        assert_eq!(upstream.connections(), 1);
    }
}

#[tokio::test]
async fn bad_bytes_after_a_refused_upgrade_are_refused_like_any_others() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.request(ASK, b"").await;
    client.write(b"\x81\x05hello").await;
    assert_eq!(client.response().await.text(), "ok");
    client.response().await.assert_problem(400, "http_request_error");
    client.closed().await;
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_pipelined_request_may_ask_for_a_websocket() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.request("GET /before HTTP/1.1", b"").await;
    client.request(ASK, b"").await;
    let mut connection = upstream.accept().await;
    connection.respond(OK).await;
    assert_eq!(client.response().await.text(), "ok");
    connection.respond(SWITCHES).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    client.write(b"to").await;
    connection.expect(b"to").await;
}

#[tokio::test]
async fn nothing_but_a_proper_request_for_a_websocket_is_an_upgrade() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let heads = [
        "GET / HTTP/1.1\nConnection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABk",
        "GET / HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket, h2c",
        "GET / HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket\nUpgrade: h2c",
        "GET / HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket\nUpgrade: websocket",
        "GET / HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket/13",
        "GET / HTTP/1.1\nConnection: Upgrade\nUpgrade:",
        "GET / HTTP/1.1\nUpgrade: websocket",
        "GET / HTTP/1.1\nConnection: keep-alive\nUpgrade: websocket",
        "GET / HTTP/1.0\nConnection: Upgrade, keep-alive\nUpgrade: websocket",
        "POST / HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket",
        "GET / HTTP/1.1\nConnection: Upgrade, close\nUpgrade: websocket",
    ];
    for head in heads {
        assert_eq!(world.send(head, b"").await.status, 200, "{head}");
    }
    assert_eq!(world.send(ASK, b"body").await.status, 200);
    let mut client = world.connect().await;
    client.request(&format!("{ASK}\nTransfer-Encoding: chunked"), b"4\r\nGET \r\n0\r\n\r\n").await;
    client.request("GET /next HTTP/1.1", b"").await;
    for _ in 0..2 {
        assert_eq!(client.response().await.status, 200);
    }
    client.request(&ASK.replace("GET", "HEAD"), b"").await;
    assert_eq!(client.response_to("HEAD").await.status, 200);
    for received in upstream.requests() {
        for name in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(received.all(name), Vec::<&str>::new(), "{received:?}");
        }
    }
    assert_eq!(upstream.requests().len(), heads.len() + 4);
}

#[tokio::test]
async fn a_101_of_another_kind_is_a_502() {
    for response in [
        "Upgrade: h2c\r\nConnection: Upgrade",
        "Upgrade: websocket, h2c\r\nConnection: Upgrade",
        "Upgrade: websocket\r\nUpgrade: h2c\r\nConnection: Upgrade",
        "Upgrade: websocket",
        "Upgrade: websocket\r\nConnection: keep-alive",
        "Connection: Upgrade",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nTransfer-Encoding: chunked",
        "X: y",
    ] {
        let upstream =
            RawUpstream::responding(format!("HTTP/1.1 101 Switching Protocols\r\n{response}\r\n\r\nxy"))
                .await;
        let world = World::with_upstream(&upstream).await;
        let mut client = world.connect().await;
        client.request(ASK, b"").await;
        client.response().await.assert_problem(502, "http_protocol_error");
        client.request("GET /next HTTP/1.1", b"").await;
        client.response().await.assert_problem(502, "http_protocol_error");
    }
    let upstream = RawUpstream::responding(SWITCHES.replace("HTTP/1.1", "HTTP/1.0")).await;
    let world = World::with_upstream(&upstream).await;
    world.send(ASK, b"").await.assert_problem(502, "http_protocol_error");
    // An upgrade of the first request does not apply to the next one.
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.request(ASK, b"").await;
    let mut connection = upstream.accept().await;
    connection.respond(OK).await;
    assert_eq!(client.response().await.text(), "ok");
    client.request("POST /plain HTTP/1.1", b"body").await;
    connection.respond(SWITCHES).await;
    client.response().await.assert_problem(502, "http_protocol_error");
}

#[tokio::test]
async fn a_401_in_place_of_the_101_is_cured() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.request(ASK, b"").await;
    let mut connection = upstream.accept().await;
    let first = connection
        .respond(
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: OAuth2 realm=\"x\", error=\"invalid_token\"\r\n\
             Content-Length: 0\r\n\r\n",
        )
        .await;
    let second = connection.respond(SWITCHES).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    assert_ne!(first.header("authorization"), second.header("authorization"));
    assert_eq!(second.header("upgrade"), Some("websocket"));
    client.write(b"hello").await;
    connection.expect(b"hello").await;
}

#[tokio::test]
async fn each_side_may_end_its_half_first() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let (mut client, mut connection) = websocket(&world, &upstream).await;
    client.write(b"last").await;
    client.shutdown().await;
    assert_eq!(connection.gone().await, b"last");
    connection.write(b"still").await;
    client.expect(b"still").await;
    drop(connection);
    client.closed().await;

    let (mut client, mut connection) = websocket(&world, &upstream).await;
    connection.write(b"last").await;
    connection.shutdown().await;
    assert_eq!(client.read_to_end().await, b"last");
    client.write(b"still").await;
    connection.expect(b"still").await;
    drop(client);
    assert!(connection.gone().await.is_empty());
}

#[tokio::test]
async fn a_side_that_disconnects_ends_the_other_side() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let (client, mut connection) = websocket(&world, &upstream).await;
    client.reset();
    assert!(connection.gone().await.is_empty());
    let (mut client, connection) = websocket(&world, &upstream).await;
    connection.reset();
    client.was_reset().await;
    world.metric("vbc_proxy_tunnels_open", 0.0).await;
}

#[tokio::test]
async fn a_client_that_disconnects_before_the_response_is_noticed_upstream() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.request(ASK, b"").await;
    let mut connection = upstream.accept().await;
    connection.request().await.unwrap();
    drop(client);
    assert!(connection.gone().await.is_empty());
    world.metric("vbc_proxy_connections_open", 0.0).await;
}

#[tokio::test]
async fn a_silent_tunnel_ends() {
    let upstream = RawUpstream::by_hand().await;
    let config =
        "listen.idle_timeout = \"5ms\"\nlisten.header_timeout = \"5ms\"\nupstream.tunnel_timeout = \"50ms\"";
    let world = World::builder().config(config).upstream(upstream.url()).start().await;
    let (mut client, mut connection) = websocket(&world, &upstream).await;
    client.closed().await;
    assert!(connection.gone().await.is_empty());
    world.metric("vbc_proxy_tunnels_open", 0.0).await;
}

#[tokio::test]
async fn a_silent_half_of_a_tunnel_has_the_deadline_of_a_body() {
    let upstream = RawUpstream::by_hand().await;
    let world =
        World::builder().config("upstream.idle_timeout = \"50ms\"").upstream(upstream.url()).start().await;
    let (mut client, mut connection) = websocket(&world, &upstream).await;
    client.shutdown().await;
    assert!(connection.gone().await.is_empty());
    client.closed().await;
    world.metric("vbc_proxy_tunnels_open", 0.0).await;
}

#[tokio::test]
async fn a_drain_leaves_tunnels_open_until_its_deadline() {
    for (timeout, ended) in [("200ms", Ended::CutShort), ("20s", Ended::Drained)] {
        let upstream = RawUpstream::by_hand().await;
        let config = format!("listen.drain_timeout = \"{timeout}\"");
        let mut world = World::builder().config(&config).upstream(upstream.url()).start().await;
        let mut witness = world.connect().await;
        let (mut client, mut connection) = websocket(&world, &upstream).await;
        world.begin_drain();
        witness.closed().await;
        client.write(b"still").await;
        connection.expect(b"still").await;
        if ended == Ended::Drained {
            drop(connection);
        }
        client.closed().await;
        drop(client);
        assert_eq!(world.ended().await, ended);
    }
}

#[tokio::test]
async fn an_upgrade_that_is_under_way_when_the_drain_begins_is_finished() {
    for (response, status) in [(SWITCHES, "101"), (OK, "200")] {
        let upstream = RawUpstream::by_hand().await;
        let mut world = World::with_upstream(&upstream).await;
        let mut witness = world.connect().await;
        let mut client = world.connect().await;
        client.request(ASK, b"").await;
        let mut connection = upstream.accept().await;
        connection.request().await.unwrap();
        world.begin_drain();
        witness.closed().await;
        connection.write(response.as_bytes()).await;
        let head = client.head().await.to_ascii_lowercase();
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
        assert_eq!(head.contains("connection: close"), status == "200", "{head}");
        if status == "101" {
            client.write(b"hello").await;
            connection.expect(b"hello").await;
            drop(connection);
            client.closed().await;
        } else {
            client.expect(b"ok").await;
            client.closed().await;
        }
        drop(client);
        assert_eq!(world.ended().await, Ended::Drained);
    }
}

#[tokio::test]
async fn a_connection_that_asked_for_another_protocol_is_closed_as_any_other() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    for _ in 0..3 {
        let mut client = world.connect().await;
        client.request("GET / HTTP/1.1\nConnection: Upgrade, close\nUpgrade: h2c", b"").await;
        // The proxy does not read these bytes. They must not cause a reset before the response.
        client.write(&[b'x'; 5000]).await;
        let response = client.response().await;
        assert_eq!((response.text(), response.header("connection")), ("ok", Some("close")));
        client.closed().await;
    }
}
