//! Every wait has a deadline, and every deadline has its response. Deadlines are tiny here and the
//! awaited event never happens, so that no test depends on timing.

use crate::harness::{Client, RawUpstream, UpstreamConnection, World};

async fn world(upstream: &RawUpstream, line: &str) -> World {
    World::builder().upstream(upstream.url()).config(line).start().await
}

/// Sends a request and waits until the upstream has it. If the connection is closed as idle before
/// the request arrives, it tries again.
async fn in_flight(world: &World, upstream: &RawUpstream) -> (Client, UpstreamConnection) {
    loop {
        let mut client = world.connect().await;
        client.write_all_or_be_closed_upon(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        tokio::select! {
            connection = upstream.accept() => return (client, connection),
            () = client.closed() => {}
        }
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_a_408() {
    let upstream = RawUpstream::ok().await;
    let world = world(&upstream, "listen.header_timeout = \"20ms\"").await;
    for head in ["G", "GET / HTTP/1.1\r\nHost: localhost\r\nX: a", "GET / HTTP/1.1\r\nHost: localhost\r\n"] {
        world.refused(head.as_bytes()).await.assert_problem(408, "http_request_error");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_without_a_response() {
    let upstream = RawUpstream::by_hand().await;
    let world = world(&upstream, "listen.idle_timeout = \"5ms\"\nlisten.first_byte_timeout = \"5ms\"").await;
    let mut client = world.connect().await;
    client.closed().await;
    let (mut client, mut connection) = in_flight(&world, &upstream).await;
    connection.respond("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(client.response().await.text(), "ok");
    client.closed().await;
}

#[tokio::test]
async fn the_idle_deadline_does_not_run_during_a_request() {
    let upstream = RawUpstream::by_hand().await;
    let world = world(&upstream, "listen.idle_timeout = \"5ms\"\nlisten.first_byte_timeout = \"5ms\"").await;
    let (mut client, mut connection) = in_flight(&world, &upstream).await;
    connection.respond("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").await;
    client.head().await;
    // A connection that was opened later is closed as idle.
    world.connect().await.closed().await;
    connection.write(b"body").await;
    client.expect(b"body").await;
}

#[tokio::test]
async fn an_upload_that_stops_is_a_408_and_never_completed() {
    for (head, begin) in [
        ("Content-Length: 10", &b"hello"[..]),
        ("Transfer-Encoding: chunked", b"5\r\nhello\r\n"),
        ("Content-Length: 10", b""),
    ] {
        let upstream = RawUpstream::ok().await;
        let world = world(&upstream, "upstream.idle_timeout = \"20ms\"").await;
        let mut client = world.connect().await;
        client.request(&format!("POST / HTTP/1.1\n{head}"), begin).await;
        client.response().await.assert_problem(408, "http_request_error");
        client.closed().await;
        // The upstream records only whole requests.
        assert!(upstream.requests().is_empty());
    }
}

#[tokio::test]
async fn an_upstream_that_takes_no_connection_in_time_is_a_504() {
    // This upstream accepts TCP connections and never speaks TLS.
    let upstream = RawUpstream::by_hand().await;
    let url = upstream.url().replace("http://", "https://");
    let world = World::builder().upstream(url).config("upstream.connect_timeout = \"20ms\"").start().await;
    world.get("/").await.assert_problem(504, "connection_timeout");
}

#[tokio::test]
async fn an_upstream_that_does_not_respond_is_a_504() {
    for beginning in ["", "HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"]
    {
        for method in ["GET", "POST"] {
            let upstream = RawUpstream::by_hand().await;
            let world = world(&upstream, "upstream.response_timeout = \"20ms\"").await;
            let mut client = world.connect().await;
            client.request(&format!("{method} / HTTP/1.1"), b"body").await;
            let mut connection = upstream.accept().await;
            connection.respond(beginning).await;
            client.response().await.assert_problem(504, "http_response_timeout");
            // The request is not sent again, and the late response is dropped.
            connection.gone().await;
            assert_eq!(upstream.requests().len(), 1);
        }
    }
}

#[tokio::test]
async fn interim_responses_without_end_do_not_extend_the_deadline() {
    let upstream = RawUpstream::scripted(|mut connection| async move {
        connection.request().await;
        connection.write_forever(b"HTTP/1.1 103 Early\r\n\r\n").await;
    })
    .await;
    let world = world(&upstream, "upstream.response_timeout = \"20ms\"").await;
    world.get("/").await.assert_problem(504, "http_response_timeout");
}

#[tokio::test]
async fn an_upstream_that_stops_in_the_middle_of_its_response_is_cut() {
    let upstream = RawUpstream::by_hand().await;
    let world = world(&upstream, "upstream.idle_timeout = \"20ms\"").await;
    let mut client = world.connect().await;
    client.request("GET / HTTP/1.1", b"").await;
    let mut connection = upstream.accept().await;
    connection.respond("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    client.head().await;
    client.expect(b"5\r\nhello\r\n").await;
    client.closed().await;
    connection.gone().await;
    world.metric("vbc_proxy_aborted_answers_total", 1.0).await;
}

#[tokio::test]
async fn an_upstream_that_stops_in_the_middle_of_a_401_is_a_504() {
    let upstream = RawUpstream::by_hand().await;
    let world = world(&upstream, "upstream.idle_timeout = \"20ms\"").await;
    let mut client = world.connect().await;
    client.request("GET / HTTP/1.1", b"").await;
    let mut connection = upstream.accept().await;
    connection.respond("HTTP/1.1 401 Unauthorized\r\nContent-Length: 100\r\n\r\n{\"code\":").await;
    client.response().await.assert_problem(504, "connection_read_timeout");
}

#[tokio::test]
async fn an_upstream_that_does_not_take_an_upload_is_a_504() {
    let upstream = RawUpstream::by_hand().await;
    let world = world(&upstream, "upstream.idle_timeout = \"50ms\"").await;
    let body = vec![b'a'; 64 << 20];
    loop {
        let mut client = world.connect().await;
        client.request(&format!("POST / HTTP/1.1\nContent-Length: {}", body.len()), b"").await;
        client.write_until_response(&body).await;
        let response = client.response().await;
        // On a busy machine the test itself may be too slow. Then the client's upload has timed out
        // instead.
        if response.status != 408 {
            response.assert_problem(504, "connection_write_timeout");
            break;
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected_and_holds_nothing() {
    let upstream = RawUpstream::by_hand().await;
    let world = world(&upstream, "upstream.idle_timeout = \"50ms\"").await;
    let mut client = world.connect().await;
    client.request("GET / HTTP/1.1", b"").await;
    let mut connection = upstream.accept().await;
    connection.respond("HTTP/1.1 200 OK\r\n\r\n").await;
    connection.write_forever(&[b'a'; 64 * 1024]).await;
    // The proxy resets the connection. Otherwise the kernel would keep the unread bytes and go on
    // probing.
    client.reset_unread().await;
}
