//! Ambiguous requests (request smuggling) are refused, never repaired.

use crate::harness::{RawUpstream, World};

/// Asserts that each request gets 400 and ends its connection, alone and after a good one. No part
/// may reach the upstream.
async fn assert_refused(requests: &[String]) {
    for request in requests {
        let upstream = RawUpstream::ok().await;
        let world = World::with_upstream(&upstream).await;
        world.refused(request.as_bytes()).await.assert_problem(400, "http_request_error");
        assert_eq!(upstream.connections(), 0);

        let mut client = world.connect().await;
        let after = format!("GET /first HTTP/1.1\r\nHost: localhost\r\n\r\n{request}");
        client.write(after.as_bytes()).await;
        assert_eq!(client.response().await.text(), "ok");
        client.response().await.assert_problem(400, "http_request_error");
        client.closed().await;
        assert_eq!(upstream.only().line, "GET /first HTTP/1.1");
    }
}

/// A request with these lines, followed by a hidden request as a smuggler sends it.
fn with(lines: &str) -> String {
    format!(
        "POST /a HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
}

#[tokio::test]
async fn a_length_together_with_a_transfer_encoding_is_refused() {
    assert_refused(&[
        with("Content-Length: 5\r\nTransfer-Encoding: chunked"),
        with("Transfer-Encoding: chunked\r\nContent-Length: 5"),
        with("transfer-encoding: chunked\r\nX: y\r\ncontent-length: 0"),
    ])
    .await;
}

#[tokio::test]
async fn lengths_that_differ_or_are_not_plain_numbers_are_refused() {
    assert_refused(&[
        with("Content-Length: 5\r\nContent-Length: 6"),
        with("Content-Length: 5\r\nX: y\r\ncontent-length: 0"),
        with("Content-Length: 5, 5"),
        with("Content-Length: 5, 6"),
        with("Content-Length: +5"),
        with("Content-Length: -5"),
        with("Content-Length: 0x5"),
        with("Content-Length: 5 5"),
        with("Content-Length: 5;a"),
        with("Content-Length: 5.0"),
        with("Content-Length: \"5\""),
        with("Content-Length:"),
        with("Content-Length: \u{b2}"),
        with("Content-Length: 18446744073709551621"),
        with("Content-Length: 99999999999999999999999999"),
    ])
    .await;
}

#[tokio::test]
async fn a_transfer_encoding_that_is_not_exactly_one_chunked_is_refused() {
    assert_refused(&[
        with("Transfer-Encoding: identity"),
        with("Transfer-Encoding: gzip, chunked"),
        with("Transfer-Encoding: chunked, chunked"),
        with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        with("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        with("Transfer-Encoding: xchunked"),
        with("Transfer-Encoding: chunked;a=b"),
        with("Transfer-Encoding: \"chunked\""),
        with("Transfer-Encoding: ,chunked"),
        with("Transfer-Encoding:"),
        with("Transfer-Encoding: \u{b}chunked"),
        with("Transfer-Encoding : chunked"),
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
    ])
    .await;
}

#[tokio::test]
async fn white_space_before_a_colon_or_at_the_start_of_a_line_is_refused() {
    assert_refused(&[
        with("Content-Length : 5"),
        with("Content-Length\t: 5"),
        with("X : y"),
        with("X: a\r\n folded"),
        with("X: a\r\n\tfolded"),
        with("X: a\r\n Content-Length: 5"),
        "GET / HTTP/1.1\r\n Host: localhost\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: localhost\r\n \r\n\r\n".into(),
        " GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
    ])
    .await;
}

#[tokio::test]
async fn nul_and_line_breaks_inside_names_and_values_are_refused() {
    assert_refused(&[
        with("X: a\0b"),
        with("X\0: a"),
        with("X: a\rb"),
        with("X: a\r"),
        with("X: a\nContent-Length: 5"),
        with("X\r: a"),
        with("X\nY: a"),
        with("X: a\u{7f}"),
        with("X: a\u{1}"),
        with("X y: a"),
        with("(X): a"),
        with(": a"),
        with("no colon"),
        "GET /a\0b HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
        "GET /a\rb HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
    ])
    .await;
}

#[tokio::test]
async fn a_bare_line_feed_does_not_end_a_line() {
    assert_refused(&[
        "GET / HTTP/1.1\nHost: localhost\n\n".into(),
        "GET / HTTP/1.1\r\nHost: localhost\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: localhost\r\n\n".into(),
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n".into(),
    ])
    .await;
}

#[tokio::test]
async fn a_request_line_that_is_not_method_target_version_is_refused() {
    assert_refused(&[
        "GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
        "GET / HTTP/1.1 \r\nHost: localhost\r\n\r\n".into(),
        "GET\t/ HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
        "GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
        "GET /a#b HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
        "GET a HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
        "GET ftp://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
        "GET /\r\n\r\n".into(),
        "GET / HTTP/1.2\r\nHost: localhost\r\n\r\n".into(),
        "GET / HTTP/2.0\r\nHost: localhost\r\n\r\n".into(),
        "GET / HTTP/11\r\nHost: localhost\r\n\r\n".into(),
        "GET / http/1.1\r\nHost: localhost\r\n\r\n".into(),
        "G(T / HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
    ])
    .await;
}

#[tokio::test]
async fn bytes_that_cannot_be_http_are_refused_at_the_first_one() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"\0", b"{\"a\":1}", b"\x80"] {
        world.refused(bytes).await.assert_problem(400, "http_request_error");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn chunk_sizes_and_ends_that_can_be_read_in_two_ways_are_refused() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\t;a\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        ";a\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5;a\0b\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        "5\r\nhello\r\n0\r\n X: folded\r\n\r\n",
        "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\r\n\n",
        "5\r\nhello\r\n0\n\r\n",
    ] {
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let head = "POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        let bytes = format!("{head}{body}{smuggled}");
        world.refused(bytes.as_bytes()).await.assert_problem(400, "http_request_error");
        // Sends the same bytes after a good request.
        let mut client = world.connect().await;
        client.write(format!("GET /first HTTP/1.1\r\nHost: localhost\r\n\r\n{bytes}").as_bytes()).await;
        assert_eq!(client.response().await.text(), "ok");
        client.response().await.assert_problem(400, "http_request_error");
        client.closed().await;
    }
    // The upstream records only whole requests.
    assert!(upstream.requests().iter().all(|received| received.line == "GET /first HTTP/1.1"));
}

#[tokio::test]
async fn equal_lengths_are_one_length() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let head = "POST /a HTTP/1.1\nContent-Length: 4\ncontent-length: 4";
    assert_eq!(world.send(head, b"body").await.status, 200);
    let received = upstream.only();
    assert_eq!(received.header("content-length"), Some("4"));
    assert_eq!(received.body, b"body");
}

#[tokio::test]
async fn bytes_after_a_body_are_the_next_request_and_nothing_else() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    let first = "POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nok";
    client.write(format!("{first}XX /b HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(client.response().await.status, 200);
    let lines: Vec<_> = upstream.requests().into_iter().map(|received| received.line).collect();
    assert_eq!(lines, ["POST /a HTTP/1.1", "XX /b HTTP/1.1"]);
}
