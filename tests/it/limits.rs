//! Limits of connections, requests, heads and frames. Excess is refused immediately, and the proxy
//! recovers.

use crate::harness::{RawUpstream, World};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn world(upstream: &RawUpstream, lines: &str) -> World {
    World::builder().upstream(upstream.url()).config(lines).start().await
}

#[tokio::test]
async fn a_connection_over_the_limit_gets_503_at_once_and_one_that_ends_makes_room() {
    let upstream = RawUpstream::ok().await;
    let world = world(&upstream, "listen.max_connections = 2").await;
    let mut first = world.connect().await;
    assert_eq!(first.try_get("/").await.unwrap().status, 200);
    let mut second = world.connect().await;
    assert_eq!(second.try_get("/").await.unwrap().status, 200);
    for _ in 0..3 {
        // This client has sent no request yet.
        let mut third = world.connect().await;
        let response = third.response().await;
        response.assert_problem(503, "http_request_denied");
        assert_eq!(response.header("retry-after"), Some("1"));
        assert_eq!(response.header("connection"), Some("close"));
        third.closed().await;
    }
    world.metric("vbc_proxy_connections_turned_away_total", 3.0).await;
    assert_eq!(first.try_get("/").await.unwrap().status, 200);
    drop(second);
    world.metric("vbc_proxy_connections_open", 1.0).await;
    assert_eq!(world.get("/").await.status, 200);
}

#[tokio::test]
async fn a_request_sent_before_that_503_gets_it_too() {
    let upstream = RawUpstream::ok().await;
    let world = world(&upstream, "listen.max_connections = 1").await;
    let mut first = world.connect().await;
    assert_eq!(first.try_get("/").await.unwrap().status, 200);
    let body = [b'a'; 100_000];
    let mut second = world.connect().await;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    second.write_all_or_be_closed_upon(head.as_bytes()).await;
    second.write_all_or_be_closed_upon(&body).await;
    second.response().await.assert_problem(503, "http_request_denied");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_request_over_the_limit_gets_503_and_the_connection_is_kept() {
    let upstream = RawUpstream::by_hand().await;
    let world = world(&upstream, "listen.max_requests_in_flight = 1").await;
    let mut busy = world.connect().await;
    busy.request("GET /busy HTTP/1.1", b"").await;
    let mut connection = upstream.accept().await;
    connection.respond("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbo").await;
    busy.head().await;
    // The body counts as part of the request.
    let mut other = world.connect().await;
    for _ in 0..2 {
        let response = other.try_get("/").await.unwrap();
        response.assert_problem(503, "http_request_denied");
        assert_eq!(response.header("retry-after"), Some("1"));
    }
    connection.write(b"dy").await;
    busy.expect(b"body").await;
    other.request("GET /next HTTP/1.1", b"").await;
    connection.respond(OK).await;
    assert_eq!(other.response().await.text(), "ok");
}

#[tokio::test]
async fn a_client_that_disconnects_makes_room() {
    let upstream = RawUpstream::by_hand().await;
    let world = world(&upstream, "listen.max_requests_in_flight = 1").await;
    let mut leaving = world.connect().await;
    leaving.request("GET / HTTP/1.1", b"").await;
    let mut connection = upstream.accept().await;
    connection.request().await.unwrap();
    leaving.reset();
    connection.gone().await;
    let mut next = world.connect().await;
    next.request("GET / HTTP/1.1", b"").await;
    upstream.accept().await.respond(OK).await;
    assert_eq!(next.response().await.text(), "ok");
}

#[tokio::test]
async fn a_connection_ends_after_its_maximum_of_requests() {
    let upstream = RawUpstream::ok().await;
    let world = world(&upstream, "listen.max_requests_per_connection = 2").await;
    let mut client = world.connect().await;
    assert_eq!(client.try_get("/").await.unwrap().header("connection"), None);
    assert_eq!(client.try_get("/").await.unwrap().header("connection"), Some("close"));
    client.closed().await;
    assert_eq!(world.get("/").await.status, 200);
}

#[tokio::test]
async fn heads_lines_and_targets_have_the_limits_of_the_configuration() {
    let upstream = RawUpstream::ok().await;
    let lines = "listen.head_size = \"4KiB\"\nlisten.head_lines = 10\nlisten.target_size = \"1KiB\"";
    let world = world(&upstream, lines).await;
    let get =
        |target: &str, headers: &str| format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    let (long, short) = (format!("/{}", "a".repeat(1024)), format!("/{}", "a".repeat(1023)));
    world.refused(get(&long, "").as_bytes()).await.assert_problem(414, "http_request_error");
    assert_eq!(world.get(&short).await.status, 200);
    let large = format!("X: {}\r\n", "a".repeat(4096));
    world.refused(get("/", &large).as_bytes()).await.assert_problem(431, "http_request_error");
    world
        .refused(get("/", &"X: a\r\n".repeat(10)).as_bytes())
        .await
        .assert_problem(431, "http_request_error");
    let mut client = world.connect().await;
    client.write(get("/", &"X: a\r\n".repeat(9)).as_bytes()).await;
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn a_silent_connection_is_closed_after_the_time_for_its_first_byte() {
    let upstream = RawUpstream::ok().await;
    let world = world(&upstream, "listen.first_byte_timeout = \"20ms\"").await;
    world.connect().await.closed().await;
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
    bytes.extend_from_slice(payload);
    bytes
}

/// Sends these frames repeatedly over HTTP/2 by prior knowledge until the connection ends.
async fn flood(world: &World, frames: &[u8]) {
    let mut client = world.connect().await;
    client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.write(&frame(4, 0, 0, &[])).await;
    for _ in 0..100 {
        client.write_all_or_be_closed_upon(&frames.repeat(100)).await;
    }
    client.read_to_end().await;
}

#[tokio::test]
async fn a_flood_of_frames_ends_its_own_connection_only() {
    let upstream = RawUpstream::ok().await;
    let world = world(&upstream, "").await;
    let mut honest = world.connect().await;
    // GET / in HPACK: :method, :scheme, :path from the static table, :authority literal
    // "localhost".
    let head = [&[0x82, 0x86, 0x84, 0x41, 9][..], b"localhost"].concat();
    let reset: Vec<u8> = (0..100_u8)
        .flat_map(|n| [frame(1, 5, 2 * n + 1, &head), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])].concat())
        .collect();
    let unfinished = frame(1, 0, 1, &head);
    for flooding in [
        reset,
        frame(4, 0, 0, &[]),
        frame(4, 1, 0, &[]),
        frame(6, 0, 0, &[7; 8]),
        frame(6, 1, 0, &[7; 8]),
        frame(8, 0, 0, &[0, 0, 0, 1]),
        frame(2, 0, 1, &[0, 0, 0, 0, 1]),
        [unfinished, frame(9, 0, 1, &[]).repeat(300)].concat(),
        [frame(1, 4, 1, &head), frame(0, 0, 1, &[]).repeat(300)].concat(),
        frame(99, 0, 0, &[]),
    ] {
        flood(&world, &flooding).await;
        assert_eq!(honest.try_get("/").await.unwrap().status, 200);
    }
    world.metric("vbc_proxy_connections_open", 1.0).await;
}
