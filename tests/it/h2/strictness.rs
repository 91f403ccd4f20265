//! Requests over HTTP/2, and parts of requests, that must not reach the upstream.

use http::StatusCode;

use super::{none, request};
use crate::harness::{GOAWAY, H2Client, RawH2, RawUpstream, World, code};

const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;

#[tokio::test]
async fn ambiguous_requests_are_refused_and_never_reach_the_upstream() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let mut raw = RawH2::connect(world.address).await;
    let base = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
    let ours = (":authority", "localhost");
    let expected: [(&[(&str, &str)], u16); 10] = [
        (&[ours, ("host", "127.0.0.1")], 400),
        (&[], 400),
        (&[("host", "localhost"), ("host", "localhost")], 400),
        (&[(":authority", "user@localhost")], 400),
        (&[("host", "local host")], 400),
        (&[(":authority", "vbc.internal")], 421),
        (&[ours, ("origin", "https://evil.test")], 403),
        (&[ours, ("sec-fetch-site", "cross-site")], 403),
        (&[ours, ("via", "1.1 vbc-proxy")], 508),
        (&[ours, ("host", "LOCALHOST")], 200),
    ];
    let mut stream = 1;
    for (fields, status) in expected {
        let fields: Vec<_> = base.iter().chain(fields).copied().collect();
        raw.headers(stream, &fields, true).await;
        let response = raw.response(stream).await;
        assert_eq!((response.status, response.complete), (status, true), "{fields:?}");
        stream += 2;
    }
    for (method, path, status) in [("TRACE", "/", 405), ("GET", "*", 400), ("OPTIONS", "*", 200)] {
        let fields = [(":method", method), (":scheme", "http"), (":path", path), ours];
        raw.headers(stream, &fields, true).await;
        assert_eq!(raw.response(stream).await.status, status, "{method} {path}");
        stream += 2;
    }
    raw.headers(stream, &[(":method", "CONNECT"), (":authority", "localhost:80")], false).await;
    assert_eq!(raw.response(stream).await.status, 405);
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn no_pseudo_header_and_no_field_can_write_another_line_of_http1() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let lines = ["\r\nx: y", "\n", "\r", "\0"].map(|bad| format!("a{bad}"));
    let mut heads: Vec<Vec<(&str, &str)>> = Vec::new();
    for bad in lines.iter().map(String::as_str) {
        for place in [":method", ":scheme", ":path", ":authority", "x-field", "cookie"] {
            heads.push(vec![(place, bad)]);
        }
        heads.push(vec![(bad, "a")]);
    }
    for odd in [
        (":method", "GET / HTTP/1.1"),
        (":method", ""),
        (":path", ""),
        (":path", "/a b"),
        (":path", "/ HTTP/1.1"),
        (":path", "a"),
        (":path", "?a"),
        (":path", "#a"),
        (":path", "#"),
        (":path", "**"),
        (":path", "//\u{7f}"),
        (":path", "http://localhost/"),
        (":scheme", "a b"),
        (":scheme", ""),
        (":authority", ""),
        (":authority", "a b"),
        (":authority", "localhost/x"),
        (":unknown", "a"),
        (":status", "200"),
        (":", "a"),
        ("", "a"),
        ("a b", "a"),
        ("a:", "a"),
        ("x-field", " a"),
        ("x-field", "a\t"),
        ("content-length", ""),
        ("proxy-connection", "close"),
    ] {
        heads.push(vec![odd]);
    }
    for twice in [(":method", "GET"), (":path", "/"), (":authority", "localhost"), (":scheme", "http")] {
        heads.push(vec![twice, twice]);
    }
    // A pseudo-header must not follow a field.
    heads.push(vec![("x-field", "a"), (":path", "/")]);
    for odd in &heads {
        let mut raw = RawH2::connect(world.address).await;
        let usual = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "localhost")];
        let mut fields: Vec<_> =
            usual.into_iter().filter(|(name, _)| odd.iter().all(|(given, _)| given != name)).collect();
        fields.extend(odd);
        raw.headers(1, &fields, true).await;
        let response = raw.response(1).await;
        // The outcome is a 400, a reset stream or a closed connection.
        assert!([0, 400].contains(&response.status), "{odd:?}: {response:?}");
        assert_eq!(upstream.connections(), 0, "{odd:?}");
    }
}

/// The URI type removes the fragment before the proxy sees it, so the checked target is the
/// forwarded one.
#[tokio::test]
async fn a_fragment_of_a_path_is_not_forwarded() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let mut raw = RawH2::connect(world.address).await;
    for (stream, path) in [(1, "/a#b"), (3, "/c?d#/../e"), (5, "/f##?g")] {
        raw.get(stream, path, &[]).await;
        assert_eq!(raw.response(stream).await.status, 200);
    }
    let lines: Vec<_> = upstream.requests().into_iter().map(|received| received.line).collect();
    assert_eq!(lines, ["GET /a HTTP/1.1", "GET /c?d HTTP/1.1", "GET /f HTTP/1.1"]);
}

/// The library resets streams whose target the URI type cannot hold: a quote in a query, or angle
/// brackets.
#[tokio::test]
async fn a_target_passes_byte_for_byte_or_not_at_all() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let mut raw = RawH2::connect(world.address).await;
    for (number, path, passes) in [
        (1, "/a\"b\"{c}|\\^?d={e}|\\^`", true),
        (3, "/q?f={\"a\":1}", false),
        (5, "/<a>", false),
        (7, "/last", true),
    ] {
        raw.get(number, path, &[]).await;
        let response = raw.response(number).await;
        assert_eq!(response.reset.is_none(), passes, "{path}: {response:?}");
        assert_eq!(response.status, if passes { 200 } else { 0 }, "{path}");
    }
    let lines: Vec<_> = upstream.requests().into_iter().map(|received| received.line).collect();
    assert_eq!(lines, ["GET /a\"b\"{c}|\\^?d={e}|\\^` HTTP/1.1", "GET /last HTTP/1.1"]);
}

/// For some of these trailers the h2 library resets the stream. It drops the others.
#[tokio::test]
async fn trailers_with_pseudo_headers_framing_or_line_ends_are_never_forwarded() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let post = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "localhost"),
        ("trailer", "path, transfer-encoding, connection, content-length, x"),
    ];
    for trailer in [
        (":path", "/admin"),
        ("transfer-encoding", "chunked"),
        ("connection", "x"),
        ("content-length", "9"),
        ("x", "a\r\nb"),
    ] {
        let mut raw = RawH2::connect(world.address).await;
        raw.headers(1, &post, false).await;
        raw.data(1, b"abc", false).await;
        raw.headers(1, &[trailer], true).await;
        let response = raw.response(1).await;
        assert!([0, 200].contains(&response.status), "{trailer:?}: {response:?}");
    }
    for received in upstream.requests() {
        assert_eq!((received.line.as_str(), &received.body[..]), ("POST / HTTP/1.1", &b"abc"[..]));
        assert_eq!(received.trailers, []);
    }
}

#[tokio::test]
async fn a_header_list_over_the_limit_is_not_forwarded() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let mut raw = RawH2::connect(world.address).await;
    // An entry of the dynamic table and 2,000 references to it: 4 KB on the wire, 200 KB of
    // headers.
    let mut block = vec![0x82, 0x86, 0x84, 0x41, 9];
    block.extend_from_slice(b"localhost");
    block.extend_from_slice(&[0x40, 1, b'x', 100]);
    block.extend_from_slice(&[b'a'; 100]);
    block.extend_from_slice(&[0xbe; 2000]);
    raw.frame(1, 5, 1, &block).await;
    assert_eq!(code(&raw.next_of(GOAWAY).await.payload[..8]), ENHANCE_YOUR_CALM);
    // A list that is slightly too long gets a response.
    let mut raw = RawH2::connect(world.address).await;
    let most = [&block[..block.len() - 2000], &[0xbe; 600]].concat();
    raw.frame(1, 5, 1, &most).await;
    assert_eq!(raw.response(1).await.status, 431);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn connection_headers_and_bodies_of_another_length_reset_their_stream() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let resets: [&[(&str, &str)]; 8] = [
        &[("connection", "close")],
        &[("transfer-encoding", "chunked")],
        &[("upgrade", "h2c")],
        &[("keep-alive", "1")],
        &[("te", "gzip")],
        &[("content-length", "5")],
        &[("content-length", "0"), ("content-length", "1")],
        &[("content-length", "+0")],
    ];
    for fields in resets {
        let mut raw = RawH2::connect(world.address).await;
        raw.get(1, "/", fields).await;
        let response = raw.response(1).await;
        assert_eq!((response.status, response.reset), (0, Some(PROTOCOL_ERROR)), "{fields:?}");
    }
    // A name with upper-case letters ends the connection.
    let mut raw = RawH2::connect(world.address).await;
    raw.get(1, "/", &[("X-Upper", "1")]).await;
    assert_ne!(code(&raw.next_of(GOAWAY).await.payload), 0);
    assert_eq!(upstream.connections(), 0);

    let post = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "localhost"),
        ("content-length", "5"),
    ];
    for (data, end) in [("too long", false), ("abc", true)] {
        let mut raw = RawH2::connect(world.address).await;
        raw.headers(1, &post, false).await;
        let mut connection = upstream.accept().await;
        assert_eq!(connection.head().await.unwrap().header("content-length"), Some("5"));
        raw.data(1, data.as_bytes(), end).await;
        assert_eq!(raw.response(1).await.reset, Some(PROTOCOL_ERROR), "{data}");
        // The upstream request is never completed.
        assert!(connection.gone().await.len() < 5, "{data}");
    }
}

#[tokio::test]
async fn a_head_over_the_limits_is_refused() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let client = H2Client::connect(world.address).await;
    let response = client.send(request("GET", &format!("/{}", "a".repeat(17_000)), none())).await.unwrap();
    assert_eq!(response.status(), StatusCode::URI_TOO_LONG);
    let mut many = request("GET", "/", none());
    for _ in 0..101 {
        many.headers_mut().append("x-many", "1".parse().unwrap());
    }
    let response = client.send(many).await.unwrap();
    assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(upstream.connections(), 0);
}
