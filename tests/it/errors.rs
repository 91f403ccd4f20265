//! Error responses of the proxy that no other file covers.

use crate::harness::{RawUpstream, World, closed_port};

#[tokio::test]
async fn a_host_name_that_cannot_be_resolved_is_a_dns_error() {
    // A label of 64 letters never reaches a resolver.
    let world = World::builder().upstream(format!("http://{}.invalid", "a".repeat(64))).start().await;
    world.get("/").await.assert_problem(502, "dns_error");
}

#[tokio::test]
async fn an_upstream_where_nobody_listens_is_connection_refused() {
    let (address, _held) = closed_port();
    let world = World::builder().upstream(format!("http://{address}")).start().await;
    world.get("/").await.assert_problem(502, "connection_refused");
}

#[tokio::test]
async fn an_upstream_that_resets_is_connection_terminated() {
    let upstream = RawUpstream::scripted(|mut connection| async move {
        connection.request().await;
        connection.reset();
    })
    .await;
    let world = World::with_upstream(&upstream).await;
    world.send("POST / HTTP/1.1", b"body").await.assert_problem(502, "connection_terminated");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_head_over_the_limits_is_431() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let large = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "a".repeat(64 * 1024));
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: a\r\n".repeat(100));
    let endless = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "a".repeat(64 * 1024));
    for request in [large, many, endless] {
        world.refused(request.as_bytes()).await.assert_problem(431, "http_request_error");
    }
    assert_eq!(upstream.connections(), 0);
    let most = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: a\r\n".repeat(99));
    let mut client = world.connect().await;
    client.write(most.as_bytes()).await;
    assert_eq!(client.response().await.text(), "ok");
    assert_eq!(upstream.only().all("x").len(), 99);
}

#[tokio::test]
async fn trailers_over_the_limit_are_431() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    for trailers in [format!("X: {}\r\n", "a".repeat(16 * 1024)), "X: a\r\n".repeat(101)] {
        let mut client = world.connect().await;
        client.request("POST / HTTP/1.1\nTransfer-Encoding: chunked", b"2\r\nok\r\n0\r\n").await;
        client.write_all_or_be_closed_upon(format!("{trailers}\r\n").as_bytes()).await;
        client.response().await.assert_problem(431, "http_request_error");
        client.closed().await;
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn a_refused_login_is_a_503_that_says_what_to_do_and_nothing_is_forwarded() {
    let upstream = RawUpstream::ok().await;
    let world = World::builder()
        .upstream(upstream.url())
        .config("credentials.default.password = \"wrong\"")
        .start()
        .await;
    for _ in 0..3 {
        let response = world.get("/").await;
        response.assert_problem(503, "proxy_internal_error");
        assert!(response.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
        assert!(response.text().contains("default"), "{}", response.text());
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_token_endpoint_that_is_down_is_a_503_and_nothing_is_forwarded() {
    let upstream = RawUpstream::ok().await;
    let (gone, _held) = closed_port();
    let world = World::builder()
        .upstream(upstream.url())
        .config(&format!("oauth.token_url = \"http://{gone}/token\""))
        .start()
        .await;
    let response = world.get("/").await;
    response.assert_problem(503, "proxy_internal_error");
    assert!(response.header("retry-after").is_some());
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_problem_as_response_to_head_has_no_body() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    for _ in 0..2 {
        client.request("HEAD / HTTP/1.1\nHost: attacker.example", b"").await;
        let response = client.response_to("HEAD").await;
        response.assert_problem(421, "http_request_denied");
        assert_ne!(response.header("content-length"), Some("0"));
    }
}

#[tokio::test]
async fn problems_are_not_cacheable_and_upstream_errors_pass_unchanged() {
    let upstream = RawUpstream::responding(
        "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Type: application/problem+json\r\nContent-Length: 2\r\n\r\n{}",
    )
    .await;
    let world = World::with_upstream(&upstream).await;
    let response = world.get("/").await;
    assert_eq!((response.status, response.text(), response.header("retry-after")), (503, "{}", Some("7")));
    assert_eq!(response.header("proxy-status"), None);
    let ours = world.send("GET / HTTP/1.1\nHost: attacker.example", b"").await;
    assert_eq!(ours.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_client_that_ends_its_upload_early_gets_at_most_a_400() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.request("POST / HTTP/1.1\nContent-Length: 10", b"hello").await;
    let mut connection = upstream.accept().await;
    connection.head().await.unwrap();
    connection.expect(b"hello").await;
    client.shutdown().await;
    assert_eq!(connection.gone().await, b"");
    let rest = client.read_to_end().await;
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 400 "), "{}", rest.escape_ascii());
}

#[tokio::test]
async fn a_failure_after_the_head_is_only_counted() {
    let upstream = RawUpstream::by_hand().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.request("GET / HTTP/1.1", b"").await;
    let mut connection = upstream.accept().await;
    connection.respond("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
    client.head().await;
    client.expect(b"hello").await;
    drop(connection);
    client.closed().await;
    world.metric("vbc_proxy_aborted_answers_total", 1.0).await;
}
