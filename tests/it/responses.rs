//! Responses of an upstream that become a 502.

use crate::harness::{RawUpstream, World};

/// Asserts that each response becomes a 502 with this error, and that its connection is not used
/// again.
async fn assert_refused(responses: &[String], error: &str) {
    for response in responses {
        let upstream = RawUpstream::by_hand().await;
        let world = World::with_upstream(&upstream).await;
        for _ in 0..2 {
            let mut client = world.connect().await;
            client.request("GET /a HTTP/1.1", b"").await;
            let mut connection = upstream.accept().await;
            connection.respond(response).await;
            client.response().await.assert_problem(502, error);
            connection.gone().await;
        }
    }
}

fn with(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\nok")
}

#[tokio::test]
async fn lengths_that_conflict_or_are_not_numbers_are_a_502() {
    let responses = [
        with("Content-Length: 2\r\nContent-Length: 3"),
        with("Content-Length: 2, 3"),
        with("Content-Length: 2, 2"),
        with("Content-Length: +2"),
        with("Content-Length: -2"),
        with("Content-Length: 0x2"),
        with("Content-Length: 2 2"),
        with("Content-Length:"),
        with("Content-Length: two"),
        with("Content-Length: 18446744073709551618"),
    ];
    assert_refused(&responses, "http_protocol_error").await;
}

#[tokio::test]
async fn lengths_are_checked_without_a_body_too() {
    let upstream = RawUpstream::responding(with("Content-Length: 2\r\nContent-Length: 3")).await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.request("HEAD / HTTP/1.1", b"").await;
    client.response_to("HEAD").await.assert_problem(502, "http_protocol_error");
    for status in ["204 No Content", "304 Not Modified"] {
        let lines = "Content-Length: x";
        let upstream = RawUpstream::responding(format!("HTTP/1.1 {status}\r\n{lines}\r\n\r\n")).await;
        let world = World::with_upstream(&upstream).await;
        world.get("/").await.assert_problem(502, "http_protocol_error");
    }
}

#[tokio::test]
async fn ambiguous_framings_are_a_502() {
    let responses = [
        with("Content-Length: 2\r\nTransfer-Encoding: chunked"),
        with("Transfer-Encoding: chunked\r\nContent-Length: 2"),
        with("Transfer-Encoding: gzip, chunked"),
        with("Transfer-Encoding: gzip"),
        with("Transfer-Encoding: identity"),
        with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
    ];
    assert_refused(&responses, "http_protocol_error").await;
}

#[tokio::test]
async fn control_characters_and_broken_lines_are_a_502() {
    let responses = [
        with("X: a\0b"),
        with("X: a\rb"),
        with("X: a\r"),
        with("X\0: a"),
        with("X: a\nSet-Cookie: b"),
        with("X: a\u{7f}"),
        with("X: a\r\n folded"),
        with(" X: a"),
        with("X : a"),
        with("X y: a"),
        with(": a"),
        with("no colon"),
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok".into(),
        "HTTP/1.1 200 a\0b\r\nContent-Length: 2\r\n\r\nok".into(),
        "HTTP/1.1 200 a\rb\r\nContent-Length: 2\r\n\r\nok".into(),
    ];
    assert_refused(&responses, "http_protocol_error").await;
}

#[tokio::test]
async fn another_protocol_is_a_502() {
    let responses = [
        "SSH-2.0-OpenSSH_9.6\r\n".into(),
        "220 smtp.example ESMTP\r\n".into(),
        "\u{15}\u{3}\u{3}\0\u{2}\u{2}\n".into(),
        "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok".into(),
        "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok".into(),
        "HTTP/0.9 200 OK\r\n\r\n".into(),
        "ICY 200 OK\r\n\r\n".into(),
        "http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into(),
        "<html>hello</html>".into(),
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into(),
        "HTTP/1.1 20 OK\r\n\r\n".into(),
        "HTTP/1.1 abc OK\r\n\r\n".into(),
        "HTTP/1.1 2000 OK\r\n\r\n".into(),
        "HTTP/1.1 000 OK\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
    ];
    assert_refused(&responses, "http_protocol_error").await;
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_a_502() {
    let upstream = RawUpstream::responding(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    )
    .await;
    let world = World::with_upstream(&upstream).await;
    for head in [
        "GET / HTTP/1.1",
        "GET / HTTP/1.1\nUpgrade: h2c\nHTTP2-Settings: AAMAAABk\nConnection: Upgrade, HTTP2-Settings",
        "GET / HTTP/1.1\nUpgrade: TLS/1.3\nConnection: Upgrade",
    ] {
        world.send(head, b"").await.assert_problem(502, "http_protocol_error");
    }
    let upgraded = |name| upstream.requests().iter().any(|received| received.header(name).is_some());
    assert!(!upgraded("upgrade") && !upgraded("http2-settings") && !upgraded("connection"));
}

#[tokio::test]
async fn a_head_that_ends_halfway_is_a_502() {
    for response in ["H", "HTTP/1.1", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: a"] {
        let upstream = RawUpstream::scripted(move |mut connection| async move {
            connection.request().await;
            connection.write(response.as_bytes()).await;
        })
        .await;
        let world = World::with_upstream(&upstream).await;
        world.get("/").await.assert_problem(502, "http_protocol_error");
        assert_eq!(upstream.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_head_over_the_limit_is_a_502() {
    let responses = [
        with(&format!("X: {}", "a".repeat(64 * 1024))),
        with("X: a\r\n".repeat(101).trim_end()),
        format!("HTTP/1.1 200 {}", "a".repeat(70 * 1024)),
    ];
    assert_refused(&responses, "http_response_header_section_size").await;
}

#[tokio::test]
async fn a_large_head_under_the_limit_passes_in_any_pieces() {
    let value = "a".repeat(60_000);
    let response = format!(
        "HTTP/1.1 103 Early\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nX: {value}\r\nContent-Length: 2\r\n\r\nok"
    );
    let upstream = RawUpstream::scripted(move |mut connection| {
        let response = response.clone();
        async move {
            while connection.request().await.is_some() {
                for piece in response.as_bytes().chunks(997) {
                    connection.write(piece).await;
                }
            }
        }
    })
    .await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    for _ in 0..3 {
        client.request("GET / HTTP/1.1", b"").await;
        let response = client.response().await;
        assert_eq!((response.text(), response.header("x")), ("ok", Some(value.as_str())));
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn equal_lengths_of_a_response_are_one_length() {
    let upstream = RawUpstream::responding(with("Content-Length: 2\r\ncontent-length: 2")).await;
    let world = World::with_upstream(&upstream).await;
    let response = world.get("/").await;
    assert_eq!((response.header("content-length"), response.text()), (Some("2"), "ok"));
    let mut client = world.connect().await;
    client.request("HEAD / HTTP/1.1", b"").await;
    assert_eq!(client.response_to("HEAD").await.all("content-length"), ["2"]);
}
