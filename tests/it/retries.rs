//! Requests that are sent a second time after a connection failed, and those that never are.

use std::sync::Arc;

use tokio::sync::Barrier;

use crate::harness::{Client, RawUpstream, UpstreamConnection, World};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A client and an upstream connection that have had one good exchange.
async fn acquainted(upstream: &RawUpstream, world: &World) -> (Client, UpstreamConnection) {
    let mut client = world.connect().await;
    client.request("GET /first HTTP/1.1", b"").await;
    let mut connection = upstream.accept().await;
    connection.respond(OK).await;
    assert_eq!(client.response().await.text(), "ok");
    (client, connection)
}

#[tokio::test]
async fn an_idempotent_request_on_a_connection_that_turns_out_dead_is_sent_once_more() {
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        for reset in [false, true] {
            let upstream = RawUpstream::by_hand().await;
            let world = World::with_upstream(&upstream).await;
            let (mut client, mut connection) = acquainted(&upstream, &world).await;
            client.request(&format!("{method} /a HTTP/1.1"), b"body").await;
            let first = connection.request().await.unwrap();
            if reset {
                connection.reset()
            } else {
                drop(connection)
            }
            let mut connection = upstream.accept().await;
            let second = connection.respond(OK).await;
            assert_eq!((first.head, first.body), (second.head, second.body));
            assert_eq!(client.response_to(method).await.status, 200);
            assert_eq!(upstream.requests().len(), 3);
        }
    }
}

#[tokio::test]
async fn a_request_that_may_place_a_call_is_never_sent_twice() {
    for method in ["POST", "PATCH", "BREW"] {
        for reset in [false, true] {
            let upstream = RawUpstream::by_hand().await;
            let world = World::with_upstream(&upstream).await;
            let (mut client, mut connection) = acquainted(&upstream, &world).await;
            client.request(&format!("{method} /calls HTTP/1.1"), b"body").await;
            connection.request().await.unwrap();
            if reset {
                connection.reset()
            } else {
                drop(connection)
            }
            client.response().await.assert_problem(502, "connection_terminated");
            assert_eq!((upstream.requests().len(), upstream.connections()), (2, 1));
        }
    }
}

#[tokio::test]
async fn a_connection_closed_while_it_was_idle_is_not_used_even_for_a_post() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let (mut client, connection) = acquainted(&upstream, &world).await;
    drop(connection);
    world.metric("vbc_proxy_upstream_connections_open", 0.0).await;
    client.request("POST /calls HTTP/1.1", b"body").await;
    let received = upstream.accept().await.respond(OK).await;
    assert_eq!(received.body, b"body");
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn an_empty_body_of_unknown_length_is_sent_again_to_its_end() {
    const REVOKED: &str = "HTTP/1.1 401 No\r\nContent-Length: 17\r\n\r\n{\"code\":\"900901\"}";
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.request("PUT /a HTTP/1.1\nTransfer-Encoding: chunked", b"0\r\n\r\n").await;
    let mut connection = upstream.accept().await;
    connection.respond(REVOKED).await;
    let again = connection.respond(OK).await;
    assert_eq!((again.header("transfer-encoding"), &*again.body), (Some("chunked"), &b""[..]));
    assert_eq!(client.response().await.text(), "ok");
    // The next bytes on this connection are a new request.
    client.request("PUT /b HTTP/1.1\nTransfer-Encoding: chunked", b"0\r\n\r\n").await;
    connection.request().await.unwrap();
    drop(connection);
    let mut connection = upstream.accept().await;
    connection.respond(OK).await;
    assert_eq!(client.response().await.text(), "ok");
    client.request("GET /c HTTP/1.1", b"").await;
    connection.respond(OK).await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn an_upstream_that_always_closes_gets_a_request_at_most_twice() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let (mut client, mut connection) = acquainted(&upstream, &world).await;
    client.request("GET /a HTTP/1.1", b"").await;
    connection.request().await.unwrap();
    drop(connection);
    let mut connection = upstream.accept().await;
    connection.request().await.unwrap();
    drop(connection);
    client.response().await.assert_problem(502, "connection_terminated");
    assert_eq!((upstream.requests().len(), upstream.connections()), (3, 2));
}

#[tokio::test]
async fn a_new_connection_that_ends_without_a_response_is_a_502() {
    for method in ["GET", "POST"] {
        let upstream = RawUpstream::scripted(|mut connection| async move {
            connection.request().await;
        })
        .await;
        let world = World::with_upstream(&upstream).await;
        world.send(&format!("{method} / HTTP/1.1"), b"").await.assert_problem(502, "connection_terminated");
        assert!(upstream.requests().len() <= 2);
        assert!(method == "GET" || upstream.requests().len() == 1);
    }
}

#[tokio::test]
async fn nothing_is_sent_again_once_a_response_has_started() {
    for (beginning, error) in
        [("HTTP/1.1 2", "http_protocol_error"), ("HTTP/1.1 103 Early\r\n\r\n", "connection_terminated")]
    {
        let upstream = RawUpstream::by_hand().await;
        let world = World::with_upstream(&upstream).await;
        let (mut client, mut connection) = acquainted(&upstream, &world).await;
        client.request("GET /a HTTP/1.1", b"").await;
        connection.respond(beginning).await;
        drop(connection);
        client.response().await.assert_problem(502, error);
        assert_eq!((upstream.requests().len(), upstream.connections()), (2, 1));
    }
}

#[tokio::test]
async fn the_second_sending_does_not_use_another_dead_connection() {
    // Two connections return to the pool, and both fail at their next request.
    let both = Arc::new(Barrier::new(2));
    let upstream = RawUpstream::scripted(move |mut connection| {
        let both = Arc::clone(&both);
        async move {
            while let Some(received) = connection.request().await {
                if received.line.starts_with("GET /pool") {
                    both.wait().await;
                } else if received.connection < 3 {
                    return;
                }
                connection.write(OK.as_bytes()).await;
            }
        }
    })
    .await;
    let world = World::with_upstream(&upstream).await;
    let (one, other) = tokio::join!(world.get("/pool"), world.get("/pool"));
    assert_eq!((one.status, other.status, upstream.connections()), (200, 200, 2));
    assert_eq!(world.get("/a").await.text(), "ok");
    assert_eq!(upstream.connections(), 3);
}

#[tokio::test]
async fn an_upload_that_cannot_be_sent_again_whole_is_not_sent_again() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::builder().upstream(upstream.url()).config("retry.memory = \"4B\"").start().await;
    let (mut client, mut connection) = acquainted(&upstream, &world).await;
    client.request("PUT /a HTTP/1.1", b"more than is kept").await;
    connection.request().await.unwrap();
    drop(connection);
    client.response().await.assert_problem(502, "connection_terminated");
    assert_eq!(upstream.connections(), 1);
}
