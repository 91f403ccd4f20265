//! `Expect: 100-continue` towards the upstream: a 401 comes before the upload (RFC 9110 §10.1.1).

use crate::harness::{Client, RawUpstream, UpstreamConnection, World};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const REVOKED: &[u8] = b"HTTP/1.1 401 No\r\nContent-Length: 17\r\n\r\n{\"code\":\"900901\"}";

/// Starts a proxy in front of `upstream`. Bodies over 4 bytes are large, and `hold` is the time to
/// wait for a 100.
async fn world(upstream: &RawUpstream, hold: &str) -> World {
    let builder = World::builder().upstream(upstream.url()).config("retry.memory = \"4B\"");
    builder.config(&format!("retry.expect_timeout = \"{hold}\"")).start().await
}

/// Sends the head of a POST with this framing. Returns the client and the upstream's connection.
async fn announce_upload(world: &World, upstream: &RawUpstream, head: &str) -> (Client, UpstreamConnection) {
    let mut client = world.connect().await;
    client.request(&format!("POST /a HTTP/1.1\n{head}"), b"").await;
    let mut connection = upstream.accept().await;
    assert_eq!(connection.head().await.unwrap().header("expect"), Some("100-continue"));
    (client, connection)
}

#[tokio::test]
async fn a_large_body_is_sent_after_a_100_and_not_after_another_1xx() {
    for (head, body) in [
        ("Content-Length: 5", &b"hello"[..]),
        ("Expect: 100-continue\nContent-Length: 5", b"hello"),
        ("Expect: 100-continue\nTransfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
    ] {
        let upstream = RawUpstream::by_hand().await;
        let world = world(&upstream, "1h").await;
        let (mut client, mut connection) = announce_upload(&world, &upstream, head).await;
        connection.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await;
        connection.write(CONTINUE).await;
        if head.starts_with('E') {
            assert_eq!(client.head().await, "HTTP/1.1 100 Continue");
        }
        client.write(body).await;
        connection.expect(body).await;
        connection.write(OK.as_bytes()).await;
        assert_eq!(client.response().await.text(), "ok");
        assert_eq!(upstream.connections(), 1);
    }
}

#[tokio::test]
async fn a_1xx_other_than_100_does_not_release_the_body() {
    let upstream = RawUpstream::by_hand().await;
    let world = world(&upstream, "1h").await;
    let (mut client, mut connection) = announce_upload(&world, &upstream, "Content-Length: 5").await;
    client.write(b"hello").await;
    connection.write(b"HTTP/1.1 102 Processing\r\n\r\n").await;
    connection.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").await;
    assert_eq!(client.response().await.status, 413);
    assert_eq!(connection.gone().await, b"", "nothing of the body was sent");
}

#[tokio::test]
async fn a_401_before_the_body_is_cured_and_the_body_is_sent_once() {
    for head in ["Content-Length: 5", "Expect: 100-continue\nContent-Length: 5"] {
        let upstream = RawUpstream::by_hand().await;
        let world = world(&upstream, "1h").await;
        let (mut client, mut first) = announce_upload(&world, &upstream, head).await;
        if !head.starts_with('E') {
            client.write(b"hello").await;
        }
        first.write(REVOKED).await;
        assert_eq!(first.gone().await, b"", "announced and not sent, so the connection ends");
        let mut second = upstream.accept().await;
        let again = second.head().await.unwrap();
        assert_eq!(
            (again.header("expect"), again.header("content-length")),
            (Some("100-continue"), Some("5"))
        );
        second.write(CONTINUE).await;
        if head.starts_with('E') {
            // Only now does the client get its 100.
            assert_eq!(client.head().await, "HTTP/1.1 100 Continue");
            client.write(b"hello").await;
        }
        second.expect(b"hello").await;
        second.write(OK.as_bytes()).await;
        assert_eq!(client.response().await.text(), "ok");
        assert_eq!(upstream.connections(), 2);
    }
}

#[tokio::test]
async fn a_final_response_reaches_a_waiting_client_without_its_body() {
    let upstream = RawUpstream::by_hand().await;
    let world = world(&upstream, "1h").await;
    let (mut client, mut connection) =
        announce_upload(&world, &upstream, "Expect: 100-continue\nContent-Length: 5").await;
    connection.write(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno").await;
    assert!(client.head().await.starts_with("HTTP/1.1 403 "));
    assert_eq!(connection.gone().await, b"");
}

#[tokio::test]
async fn a_silent_upstream_gets_the_body_after_the_timeout_and_is_not_asked_again() {
    let upstream = RawUpstream::by_hand().await;
    let world = world(&upstream, "50ms").await;
    let (mut client, mut connection) = announce_upload(&world, &upstream, "Content-Length: 5").await;
    client.write(b"hello").await;
    connection.expect(b"hello").await;
    connection.write(OK.as_bytes()).await;
    assert_eq!(client.response().await.text(), "ok");

    client.request("POST /b HTTP/1.1", b"world").await;
    let second = connection.respond(OK).await;
    assert_eq!((second.header("expect"), second.body.as_slice()), (None, &b"world"[..]));
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn an_upstream_that_refuses_the_expectation_gets_the_request_without_it() {
    let upstream = RawUpstream::by_hand().await;
    let world = world(&upstream, "1h").await;
    let (mut client, mut first) = announce_upload(&world, &upstream, "Content-Length: 5").await;
    client.write(b"hello").await;
    first.write(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n").await;
    let mut second = upstream.accept().await;
    let again = second.respond(OK).await;
    assert_eq!((again.header("expect"), again.body.as_slice()), (None, &b"hello"[..]));
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn small_bodies_and_chunked_ones_without_an_expectation_are_sent_at_once() {
    let upstream = RawUpstream::ok().await;
    let world = world(&upstream, "1h").await;
    for (head, body) in [
        ("POST /a HTTP/1.1", &b"tiny"[..]),
        ("POST /a HTTP/1.1\nTransfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
    ] {
        assert_eq!(world.send(head, body).await.status, 200);
        assert_eq!(upstream.requests().pop().unwrap().header("expect"), None);
    }
}

#[tokio::test]
async fn a_body_that_memory_can_keep_never_waits_even_for_a_client_that_does() {
    let upstream = RawUpstream::ok().await;
    let world = world(&upstream, "1h").await;
    let mut client = world.connect().await;
    client.request("POST /a HTTP/1.1\nExpect: 100-continue\nContent-Length: 4", b"").await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue");
    client.write(b"tiny").await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(upstream.only().header("expect"), None);
}

#[tokio::test]
async fn an_unknown_expectation_is_neither_followed_nor_forwarded() {
    let upstream = RawUpstream::ok().await;
    let world = world(&upstream, "1h").await;
    for expectation in ["coffee", "100-continue, coffee", "coffee=black"] {
        let head = format!("POST /a HTTP/1.1\nExpect: {expectation}\nTransfer-Encoding: chunked");
        assert_eq!(world.send(&head, b"5\r\nhello\r\n0\r\n\r\n").await.status, 200, "{expectation}");
        let request = upstream.requests().pop().unwrap();
        assert_eq!((request.header("expect"), request.body.as_slice()), (None, &b"hello"[..]));
    }
}
