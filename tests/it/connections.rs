//! Connections: keep-alive, order, and connections that must not be reused.

use crate::harness::{RawUpstream, World};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An upstream that responds with the requested path.
async fn echo() -> RawUpstream {
    RawUpstream::scripted(|mut connection| async move {
        while let Some(received) = connection.request().await {
            let path = received.line.split(' ').nth(1).unwrap().to_owned();
            let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len());
            connection.write(response.as_bytes()).await;
        }
    })
    .await
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let upstream = echo().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    for i in 0..20 {
        let (method, body) = if i % 2 == 0 { ("GET", "") } else { ("POST", "body") };
        client.request(&format!("{method} /{i} HTTP/1.1"), body.as_bytes()).await;
        let response = client.response().await;
        assert_eq!((response.text(), response.header("connection")), (format!("/{i}").as_str(), None));
    }
    assert_eq!(upstream.connections(), 1);
    // A request of another client uses the same upstream connection.
    assert_eq!(world.get("/other").await.text(), "/other");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_connection_whose_response_ended_in_trailers_is_kept() {
    let upstream = RawUpstream::responding(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
    )
    .await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    for _ in 0..3 {
        client.request("GET / HTTP/1.1", b"").await;
        assert_eq!(client.response().await.text(), "ok");
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn connection_close_of_a_client_does_not_close_the_upstream_connection() {
    let upstream = echo().await;
    let world = World::with_upstream(&upstream).await;
    for _ in 0..2 {
        let mut client = world.connect().await;
        client.request("GET /a HTTP/1.1\nConnection: x, Close", b"").await;
        let response = client.response().await;
        assert_eq!((response.text(), response.header("connection")), ("/a", Some("close")));
        client.closed().await;
    }
    assert_eq!(upstream.connections(), 1);
    assert!(upstream.requests().iter().all(|received| received.header("connection").is_none()));
}

#[tokio::test]
async fn an_upstream_that_closes_does_not_close_the_client_connection() {
    let upstream = RawUpstream::scripted(|mut connection| async move {
        connection.respond("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
        connection.gone().await;
    })
    .await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    for i in 1..4 {
        client.request("POST /a HTTP/1.1", b"body").await;
        let response = client.response().await;
        assert_eq!((response.text(), response.header("connection")), ("ok", None));
        assert_eq!(upstream.connections(), i);
    }
}

#[tokio::test]
async fn a_connection_of_http_10_is_closed_unless_the_client_asks_to_keep_it() {
    let upstream = echo().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.write(b"GET /a HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.response().await.text(), "/a");
    client.closed().await;

    let mut client = world.connect().await;
    for i in 0..3 {
        client.write(format!("GET /{i} HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").as_bytes()).await;
        let response = client.response().await;
        assert_eq!(
            (response.text(), response.header("connection")),
            (format!("/{i}").as_str(), Some("keep-alive"))
        );
        assert_eq!(response.header("content-length"), Some("2"));
    }
    assert!(upstream.requests().iter().all(|received| received.line.ends_with(" HTTP/1.1")));
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn our_own_responses_keep_an_http_10_client_too() {
    let upstream = echo().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    for _ in 0..2 {
        client.request("GET / HTTP/1.0\nHost: attacker.example\nConnection: keep-alive", b"").await;
        client.response().await.assert_problem(421, "http_request_denied");
    }
}

#[tokio::test]
async fn pipelined_requests_get_their_responses_in_order() {
    let upstream = echo().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    let mut bytes = Vec::new();
    for i in 0..10 {
        let request = match i % 3 {
            0 => format!("GET /{i} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            1 => format!("POST /{i} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody"),
            _ => format!(
                "PUT /{i} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
            ),
        };
        bytes.extend_from_slice(request.as_bytes());
    }
    client.write(&bytes).await;
    for i in 0..10 {
        assert_eq!(client.response().await.text(), format!("/{i}"));
    }
    let arrived: Vec<_> = upstream.requests().into_iter().map(|received| received.line).collect();
    assert!(arrived.iter().enumerate().all(|(i, line)| line.contains(&format!("/{i} "))), "{arrived:?}");
}

#[tokio::test]
async fn an_error_of_the_proxy_in_a_pipeline_keeps_its_place() {
    let upstream = echo().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client
        .write(
            b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\nGET /b HTTP/1.1\r\nHost: attacker.example\r\n\r\n\
              GET /c HTTP/1.1\r\nHost: localhost\r\n\r\n",
        )
        .await;
    assert_eq!(client.response().await.text(), "/a");
    client.response().await.assert_problem(421, "http_request_denied");
    assert_eq!(client.response().await.text(), "/c");
}

#[tokio::test]
async fn an_empty_line_before_a_request_is_ignored() {
    let upstream = echo().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    for _ in 0..2 {
        client.write(b"\r\nGET /a HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert_eq!(client.response().await.text(), "/a");
    }
}

#[tokio::test]
async fn a_request_that_drips_in_byte_by_byte_is_the_same_request() {
    let upstream = echo().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    let request =
        b"POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    for byte in request {
        client.write(&[*byte]).await;
    }
    assert_eq!(client.response().await.text(), "/a");
    assert_eq!(upstream.only().body, b"body");
}

#[tokio::test]
async fn a_pooled_connection_with_stray_bytes_is_thrown_away() {
    // The stray bytes come together with the response, as a smuggler would send them, or later.
    for together in [true, false] {
        let upstream = RawUpstream::by_hand().await;
        let world = World::with_upstream(&upstream).await;
        let mut client = world.connect().await;
        client.request("GET /a HTTP/1.1", b"").await;
        let mut first = upstream.accept().await;
        let stray = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray";
        if together {
            first.respond(&format!("{OK}{stray}")).await;
        } else {
            first.respond(OK).await;
        }
        assert_eq!(client.response().await.text(), "ok");
        if !together {
            first.write(stray.as_bytes()).await;
        }
        assert_eq!(first.gone().await, b"");

        client.request("GET /b HTTP/1.1", b"").await;
        let mut second = upstream.accept().await;
        second.respond(OK).await;
        assert_eq!(client.response().await.text(), "ok");
        // The good connection is kept.
        client.request("GET /c HTTP/1.1", b"").await;
        second.respond(OK).await;
        assert_eq!(client.response().await.text(), "ok");
    }
}

#[tokio::test]
async fn bytes_after_a_response_without_a_body_are_stray_too() {
    for (method, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5"),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5"),
        ("GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked"),
    ] {
        let upstream = RawUpstream::by_hand().await;
        let world = World::with_upstream(&upstream).await;
        let mut client = world.connect().await;
        client.request(&format!("{method} /a HTTP/1.1"), b"").await;
        let mut first = upstream.accept().await;
        first.respond(&format!("{head}\r\n\r\nhello")).await;
        assert!(client.response_to(method).await.body.is_empty());
        first.gone().await;
        client.request("GET /b HTTP/1.1", b"").await;
        upstream.accept().await.respond(OK).await;
        assert_eq!(client.response().await.text(), "ok");
    }
}

#[tokio::test]
async fn a_connection_with_a_half_read_response_is_thrown_away() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.request("GET /a HTTP/1.1", b"").await;
    let mut first = upstream.accept().await;
    first.respond("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
    client.head().await;
    client.expect(b"hello").await;
    client.reset();
    first.gone().await;
    let mut client = world.connect().await;
    client.request("GET /b HTTP/1.1", b"").await;
    upstream.accept().await.respond(OK).await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn an_upstream_of_http_10_gets_every_request_whole_and_as_http_11() {
    let upstream = RawUpstream::scripted(|mut connection| async move {
        let response = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok";
        while connection.request().await.is_some() {
            connection.write(response.as_bytes()).await;
        }
    })
    .await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    for _ in 0..3 {
        client.request("POST / HTTP/1.1\nTransfer-Encoding: chunked", b"4\r\nbody\r\n0\r\n\r\n").await;
        let response = client.response().await;
        assert_eq!((response.version.as_str(), response.text()), ("HTTP/1.1", "ok"));
        let received = upstream.requests().pop().unwrap();
        assert_eq!((received.line.as_str(), received.body.as_slice()), ("POST / HTTP/1.1", &b"body"[..]));
        assert_eq!(received.header("connection"), None);
    }
}
