//! Bodies of requests, on their way to the upstream.

use crate::harness::{RawUpstream, World};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn an_upload_keeps_its_framing_with_every_method() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    for method in ["POST", "GET", "DELETE", "OPTIONS", "HEAD", "BREW"] {
        let mut client = world.connect().await;
        client.request(&format!("{method} / HTTP/1.1"), b"hello").await;
        client.head().await;
        let received = upstream.requests().pop().unwrap();
        assert_eq!(
            (received.header("content-length"), received.header("transfer-encoding")),
            (Some("5"), None)
        );
        assert_eq!(received.body, b"hello", "{method}");

        let mut client = world.connect().await;
        let head = format!("{method} / HTTP/1.1\nTransfer-Encoding: CHUNKED");
        client.request(&head, b"5;ext=1\r\nhello\r\n00001\r\n!\r\n0\r\n\r\n").await;
        client.head().await;
        let received = upstream.requests().pop().unwrap();
        assert_eq!(
            (received.header("content-length"), received.header("transfer-encoding")),
            (None, Some("chunked"))
        );
        assert_eq!(received.body, b"hello!", "{method}");
    }
}

#[tokio::test]
async fn an_empty_body_is_announced_as_the_client_announced_it() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    for (lines, body, length, coding) in [
        ("\nContent-Length: 0", "", Some("0"), None),
        ("", "", None, None),
        ("\nTransfer-Encoding: chunked", "0\r\n\r\n", None, Some("chunked")),
    ] {
        for method in ["POST", "GET"] {
            let head = format!("{method} / HTTP/1.1{lines}");
            assert_eq!(world.send(&head, body.as_bytes()).await.status, 200);
            let received = upstream.requests().pop().unwrap();
            assert_eq!(
                (received.header("content-length"), received.header("transfer-encoding")),
                (length, coding),
                "{head}"
            );
        }
    }
}

#[tokio::test]
async fn an_upload_is_streamed() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.request("POST / HTTP/1.1\nContent-Length: 10", b"hello").await;
    let mut connection = upstream.accept().await;
    connection.head().await.unwrap();
    connection.expect(b"hello").await;
    client.write(b"world").await;
    connection.expect(b"world").await;
    connection.write(OK.as_bytes()).await;
    assert_eq!(client.response().await.text(), "ok");

    client.request("POST / HTTP/1.1\nTransfer-Encoding: chunked", b"").await;
    connection.head().await.unwrap();
    for _ in 0..3 {
        client.write(b"5\r\nhello\r\n").await;
        connection.expect(b"5\r\nhello\r\n").await;
    }
    client.write(b"0\r\n\r\n").await;
    connection.expect(b"0\r\n\r\n").await;
    connection.write(OK.as_bytes()).await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn an_upload_gets_framing_of_the_proxys_own() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    let body = b"00A;ext=\"1\"\r\nhelloworld\r\n000;last\r\n\r\n";
    client.request("POST / HTTP/1.1\nTransfer-Encoding: Chunked", body).await;
    let mut connection = upstream.accept().await;
    assert_eq!(connection.head().await.unwrap().header("transfer-encoding"), Some("chunked"));
    connection.expect(b"a\r\nhelloworld\r\n0\r\n\r\n").await;
    connection.write(OK.as_bytes()).await;
    assert_eq!(client.response().await.text(), "ok");
    // Equal lengths are merged into one, with or without leading zeros.
    client.request("POST / HTTP/1.1\nContent-Length: 005\nContent-Length: 5", b"hello").await;
    let head = connection.head().await.unwrap();
    assert_eq!(head.header("content-length").and_then(|length| length.parse().ok()), Some(5));
    connection.expect(b"hello").await;
    connection.write(OK.as_bytes()).await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn trailers_of_a_request_pass_without_the_forbidden_ones() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let head = "POST / HTTP/1.1\nTransfer-Encoding: chunked\n\
                Trailer: X-Sum, Authorization, Host, Content-Length, Cookie, X-Forwarded-For, X-Api-Key";
    let body = b"2\r\nok\r\n0\r\nX-Sum: 1\r\nAuthorization: theirs\r\nHost: theirs\r\nContent-Length: 9\r\n\
                 Transfer-Encoding: theirs\r\nCookie: theirs\r\nX-Forwarded-For: theirs\r\nX-Api-Key: theirs\r\n\
                 X-Unannounced: theirs\r\n\r\n";
    assert_eq!(world.send(head, body).await.status, 200);
    let received = upstream.only();
    let passed = [("x-sum".to_owned(), b"1".to_vec()), ("x-unannounced".to_owned(), b"theirs".to_vec())];
    assert_eq!(received.trailers, passed);
    assert_eq!(received.header("x-sum"), None);
    assert_eq!(received.all("authorization").len(), 1);
    assert_eq!(received.body, b"ok");
}

#[tokio::test]
async fn a_response_before_the_end_of_the_upload_is_passed_on_and_the_rest_corrupts_nothing() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for head in ["Content-Length: 100000", "Transfer-Encoding: chunked"] {
        let upstream = RawUpstream::by_hand().await;
        let world = World::with_upstream(&upstream).await;
        let mut client = world.connect().await;
        let begin: &[u8] = if head.starts_with("C") { b"hello" } else { b"5\r\nhello\r\n" };
        client.request(&format!("POST /a HTTP/1.1\n{head}"), begin).await;
        let mut connection = upstream.accept().await;
        connection.head().await.unwrap();
        connection.expect(begin).await;
        connection.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").await;
        let response = client.response().await;
        assert_eq!((response.status, response.text()), (413, "no"));
        // The upload is incomplete, so the proxy closes both connections and ignores further bytes
        // from the client.
        connection.gone().await;
        client.write_all_or_be_closed_upon(smuggled.as_bytes()).await;
        client.closed().await;

        let mut client = world.connect().await;
        client.request("GET /next HTTP/1.1", b"").await;
        let mut connection = upstream.accept().await;
        assert_eq!(connection.respond(OK).await.line, "GET /next HTTP/1.1");
        assert_eq!(client.response().await.text(), "ok");
    }
}

#[tokio::test]
async fn an_upload_cut_short_is_never_completed() {
    for head in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        for reset in [false, true] {
            let upstream = RawUpstream::by_hand().await;
            let world = World::with_upstream(&upstream).await;
            let mut client = world.connect().await;
            let begin: &[u8] = if head.starts_with("C") { b"hello" } else { b"5\r\nhello\r\n" };
            client.request(&format!("POST /a HTTP/1.1\n{head}"), begin).await;
            let mut connection = upstream.accept().await;
            connection.head().await.unwrap();
            connection.expect(begin).await;
            if reset {
                client.reset()
            } else {
                drop(client)
            }
            assert_eq!(connection.gone().await, b"");
            assert_eq!(upstream.connections(), 1);
        }
    }
}

#[tokio::test]
async fn a_cut_body_is_not_completed_on_a_replay_either() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.request("POST /a HTTP/1.1\nContent-Length: 10", b"hello").await;
    let mut first = upstream.accept().await;
    let bearer = first.head().await.unwrap().header("authorization").unwrap().to_owned();
    first.expect(b"hello").await;
    let fault = "{\"code\":\"900901\"}";
    first
        .write(format!("HTTP/1.1 401 No\r\nContent-Length: {}\r\n\r\n{fault}", fault.len()).as_bytes())
        .await;
    // The received part is sent again with a newer bearer.
    let mut second = upstream.accept().await;
    let again = second.head().await.unwrap();
    assert_ne!(again.header("authorization"), Some(bearer.as_str()));
    assert_eq!(again.header("content-length"), Some("10"));
    second.expect(b"hello").await;
    drop(client);
    assert_eq!(second.gone().await, b"");
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn a_client_that_waits_for_100_gets_it_and_the_expectation_is_not_forwarded() {
    let upstream = RawUpstream::ok().await;
    // With this timeout the proxy adds no `Expect` of its own. Otherwise it would add one to the
    // chunked body, which may be large.
    let builder = World::builder().upstream(upstream.url());
    let world = builder.config("retry.expect_timeout = \"0s\"").start().await;
    let mut client = world.connect().await;
    for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        client.request(&format!("POST /a HTTP/1.1\nExpect: 100-Continue\n{framing}"), b"").await;
        assert_eq!(client.head().await, "HTTP/1.1 100 Continue");
        client.write(if framing.starts_with("C") { b"hello" } else { b"5\r\nhello\r\n0\r\n\r\n" }).await;
        assert_eq!(client.response().await.text(), "ok");
        let received = upstream.requests().pop().unwrap();
        assert_eq!((received.header("expect"), received.body.as_slice()), (None, &b"hello"[..]));
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_gets_a_refusal_without_sending() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    for head in [
        "POST /a HTTP/1.1\nHost: attacker.example\nExpect: 100-continue\nContent-Length: 5",
        "POST /a HTTP/1.1\nVia: 1.1 vbc-proxy\nExpect: 100-continue\nTransfer-Encoding: chunked",
        "POST /a HTTP/1.1\nOrigin: http://a.example\nExpect: 100-continue\nContent-Length: 5",
    ] {
        let mut client = world.connect().await;
        client.request(head, b"").await;
        let first = client.head().await;
        assert!(first.starts_with("HTTP/1.1 4") || first.starts_with("HTTP/1.1 508"), "{first}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_client_of_http_10_gets_no_100() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.request("POST /a HTTP/1.0\nExpect: 100-continue\nContent-Length: 5", b"hello").await;
    assert!(client.head().await.contains(" 200 OK"));
    assert_eq!(upstream.only().body, b"hello");
}
