//! Bodies of responses, on their way to the client.

use crate::harness::{RawUpstream, World};

#[tokio::test]
async fn a_response_keeps_its_framing() {
    let sized = RawUpstream::ok().await;
    let world = World::with_upstream(&sized).await;
    let response = world.get("/").await;
    assert_eq!((response.header("content-length"), response.header("transfer-encoding")), (Some("2"), None));
    assert_eq!(response.text(), "ok");

    let chunked = RawUpstream::responding(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
    )
    .await;
    let world = World::with_upstream(&chunked).await;
    let response = world.get("/").await;
    assert_eq!(
        (response.header("content-length"), response.header("transfer-encoding")),
        (None, Some("chunked"))
    );
    assert_eq!(response.text(), "hello!");
    assert!(response.complete);
}

#[tokio::test]
async fn large_bodies_arrive_as_they_were_sent() {
    let body: Vec<u8> = (0..1 << 20).map(|i: u32| (i % 251) as u8).collect();
    let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    response.extend_from_slice(&body);
    let upstream = RawUpstream::responding(response).await;
    let world = World::with_upstream(&upstream).await;
    let response = world.send("POST / HTTP/1.1", &body).await;
    assert!(response.body == body, "the response differs");
    assert!(upstream.only().body == body, "the upload differs");
}

#[tokio::test]
async fn a_response_to_head_has_no_body_and_keeps_its_length() {
    let upstream = RawUpstream::scripted(|mut connection| async move {
        while let Some(received) = connection.request().await {
            let lines = match received.line.as_str() {
                "HEAD /sized HTTP/1.1" => "Content-Length: 1234\r\n",
                "HEAD /empty HTTP/1.1" => "Content-Length: 0\r\n",
                "HEAD /chunked HTTP/1.1" => "Transfer-Encoding: chunked\r\n",
                _ => "",
            };
            connection.write(format!("HTTP/1.1 200 OK\r\n{lines}\r\n").as_bytes()).await;
        }
    })
    .await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    for (path, length) in
        [("/sized", Some("1234")), ("/empty", Some("0")), ("/chunked", None), ("/none", None)]
    {
        client.request(&format!("HEAD {path} HTTP/1.1"), b"").await;
        let response = client.response_to("HEAD").await;
        assert_eq!((response.status, response.header("content-length")), (200, length), "{path}");
    }
    // No bytes were mistaken for a body: one connection on each side served all requests.
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_304_has_no_body_and_keeps_its_length() {
    let upstream =
        RawUpstream::responding("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 1234\r\n\r\n")
            .await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    for version in ["1.1", "1.1", "1.0\nConnection: keep-alive", "1.0"] {
        client.request(&format!("GET / HTTP/{version}"), b"").await;
        let response = client.response().await;
        assert_eq!((response.status, response.header("content-length")), (304, Some("1234")));
        assert_eq!((response.header("etag"), response.header("transfer-encoding")), (Some("\"a\""), None));
    }
    client.closed().await;
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_204_has_no_body_and_no_length() {
    // RFC 9110 §8.6: a server must not send a length in a 204; nginx and Envoy drop it too.
    let upstream =
        RawUpstream::responding("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nX: y\r\n\r\n").await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    for _ in 0..2 {
        client.request("DELETE / HTTP/1.1", b"").await;
        let response = client.response().await;
        assert_eq!((response.status, response.header("x")), (204, Some("y")));
        assert_eq!((response.header("content-length"), response.header("transfer-encoding")), (None, None));
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn the_first_byte_of_a_response_is_passed_on_at_once() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.request("GET /events HTTP/1.1", b"").await;
    let mut connection = upstream.accept().await;
    connection
        .respond("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    // The head arrives first, then event by event.
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK"));
    for _ in 0..3 {
        connection.write(b"9\r\ndata: 1\n\n\r\n").await;
        client.expect(b"9\r\ndata: 1\n\n\r\n").await;
    }
    connection.write(b"0\r\n\r\n").await;
    client.expect(b"0\r\n\r\n").await;

    client.request("GET /slow HTTP/1.1", b"").await;
    connection.respond("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").await;
    client.head().await;
    for byte in [b"o", b"k"] {
        connection.write(byte).await;
        client.expect(byte).await;
    }
}

#[tokio::test]
async fn a_response_cut_short_is_never_passed_off_as_complete() {
    for (head, body) in [
        ("Content-Length: 10", "hello"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n6\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\nX: y\r\n"),
        // These bodies are malformed, not cut short.
        ("Transfer-Encoding: chunked", "5\r\nhello\r\nXX\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n-1\r\n"),
    ] {
        for reset in [false, true] {
            let upstream = RawUpstream::by_hand().await;
            let world = World::with_upstream(&upstream).await;
            let mut client = world.connect().await;
            client.request("GET / HTTP/1.1\nTE: trailers", b"").await;
            let mut connection = upstream.accept().await;
            connection.respond(&format!("HTTP/1.1 200 OK\r\nTrailer: X\r\n{head}\r\n\r\n{body}")).await;
            client.head().await;
            client.expect(if head.starts_with("Content") { b"hello" } else { b"5\r\nhello\r\n" }).await;
            if reset {
                connection.reset()
            } else {
                drop(connection)
            }
            client.closed().await;
            world.metric("vbc_proxy_aborted_answers_total", 1.0).await;
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_reset_if_it_is_cut_short() {
    for head in ["Transfer-Encoding: chunked", "X: y"] {
        let upstream = RawUpstream::by_hand().await;
        let world = World::with_upstream(&upstream).await;
        let mut client = world.connect().await;
        client.request("GET / HTTP/1.0", b"").await;
        let mut connection = upstream.accept().await;
        connection.respond(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n")).await;
        connection.write(if head == "X: y" { b"hello" } else { b"5\r\nhello\r\n" }).await;
        client.head().await;
        client.expect(b"hello").await;
        connection.reset();
        client.was_reset().await;
    }
}

#[tokio::test]
async fn a_body_that_ends_by_close_is_complete_for_old_and_new_clients() {
    let upstream = RawUpstream::scripted(|mut connection| async move {
        connection.request().await;
        connection.write(b"HTTP/1.1 200 OK\r\n\r\nto the end").await;
    })
    .await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.request("GET / HTTP/1.1", b"").await;
    let response = client.response().await;
    assert_eq!((response.text(), response.complete), ("to the end", true));
    assert_eq!(response.header("transfer-encoding"), Some("chunked"));

    for lines in ["", "\nConnection: keep-alive"] {
        let mut client = world.connect().await;
        client.request(&format!("GET / HTTP/1.0{lines}"), b"").await;
        let response = client.response().await;
        assert_eq!((response.text(), response.complete), ("to the end", true));
        assert_eq!(response.header("transfer-encoding"), None);
        assert_ne!(response.header("connection"), Some("keep-alive"));
    }
}

#[tokio::test]
async fn a_client_of_http_10_never_gets_a_chunked_body() {
    let upstream = RawUpstream::responding(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    )
    .await;
    let world = World::with_upstream(&upstream).await;
    for lines in ["", "\nConnection: keep-alive", "\nTE: trailers"] {
        let mut client = world.connect().await;
        client.request(&format!("GET / HTTP/1.0{lines}"), b"").await;
        let response = client.response().await;
        assert_eq!((response.text(), response.header("transfer-encoding")), ("hello", None));
        client.closed().await;
    }
}

#[tokio::test]
async fn trailers_reach_a_client_that_asks_for_them_without_the_forbidden_ones() {
    let upstream = RawUpstream::responding(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Sum, Content-Length, Set-Cookie, Transfer-Encoding, Access-Control-Allow-Origin, X-Api-Key\r\n\
         \r\n2\r\nok\r\n0\r\nX-Sum: \t1 \r\nContent-Length: 9\r\nSet-Cookie: a=b\r\nTransfer-Encoding: gzip\r\n\
         Authorization: a\r\nHost: a\r\nConnection: x-sum\r\nAccess-Control-Allow-Origin: *\r\n\
         X-Api-Key: a\r\n\r\n",
    )
    .await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.request("GET / HTTP/1.1\nTE: trailers\nConnection: TE", b"").await;
    let response = client.response().await;
    assert_eq!((response.text(), response.header("x-sum")), ("ok", None));
    assert!(response.trailers.iter().all(|(name, _)| name == "x-sum"), "{response:?}");
    assert_eq!(upstream.only().header("te"), Some("trailers"));

    client.request("GET / HTTP/1.1", b"").await;
    let response = client.response().await;
    assert_eq!((response.text(), response.complete), ("ok", true));
    assert!(response.trailers.is_empty(), "{response:?}");
}

#[tokio::test]
async fn announced_trailers_pass_and_never_join_the_head() {
    let upstream = RawUpstream::responding(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         2\r\nok\r\n0\r\nX-Sum: \u{e4}\r\nX-Sum: 2\r\n\r\n",
    )
    .await;
    let world = World::with_upstream(&upstream).await;
    let response = world.send("GET / HTTP/1.1\nTE: trailers", b"").await;
    assert_eq!(response.all("x-sum"), Vec::<&str>::new());
    let names: Vec<_> = response.trailers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x-sum", "x-sum"]);
}

#[tokio::test]
async fn unannounced_trailers_reach_a_client_that_asks_for_them() {
    let upstream = RawUpstream::responding(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
    )
    .await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    for _ in 0..2 {
        client.request("GET / HTTP/1.1\nTE: trailers", b"").await;
        client.head().await;
        client.expect(b"2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n").await;
        client.request("GET / HTTP/1.1", b"").await;
        client.head().await;
        client.expect(b"2\r\nok\r\n0\r\n\r\n").await;
    }
}

#[tokio::test]
async fn a_response_gets_framing_of_the_proxys_own() {
    let upstream = RawUpstream::responding(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n00A;ext=\"1\"\r\nhelloworld\r\n000;last\r\n\r\n",
    )
    .await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    for _ in 0..2 {
        client.request("GET / HTTP/1.1", b"").await;
        assert!(client.head().await.contains("\r\ntransfer-encoding: chunked"));
        client.expect(b"a\r\nhelloworld\r\n0\r\n\r\n").await;
    }
}

#[tokio::test]
async fn a_client_that_disconnects_ends_its_request_at_the_upstream() {
    let upstream = RawUpstream::by_hand().await;
    let world =
        World::builder().config("listen.half_close_grace = \"50ms\"").upstream(upstream.url()).start().await;

    // The client disconnects before the response.
    let mut client = world.connect().await;
    client.request("GET /a HTTP/1.1", b"").await;
    let mut connection = upstream.accept().await;
    connection.request().await;
    drop(client);
    connection.gone().await;

    // The client disconnects in the middle of the response, by a reset and by a normal close.
    for reset in [true, false] {
        let mut client = world.connect().await;
        client.request("GET /b HTTP/1.1", b"").await;
        let mut connection = upstream.accept().await;
        connection.respond("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
        client.head().await;
        client.expect(b"5\r\nhello\r\n").await;
        if reset {
            client.reset()
        } else {
            drop(client)
        }
        connection.gone().await;
    }
}
