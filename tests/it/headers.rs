//! Headers in both directions, loops and redirects.

use std::sync::{Arc, OnceLock};

use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{RawUpstream, Received, Response, World};

/// The request that reaches the upstream for this head.
async fn sent(head: &str) -> Received {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let response = world.send(head, b"").await;
    assert_eq!(response.status, 200, "{response:?}");
    upstream.only()
}

/// The response that reaches the client for a 200 with these header lines and no body.
async fn response_with(lines: &str) -> Response {
    let lines = lines.replace('\n', "\r\n");
    let upstream =
        RawUpstream::responding(format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{lines}\r\n\r\n")).await;
    let world = World::with_upstream(&upstream).await;
    world.get("/").await
}

fn names(headers: &[(String, Vec<u8>)]) -> Vec<&str> {
    let mut names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

fn values<'a>(headers: &'a [(String, Vec<u8>)], name: &str) -> Vec<&'a [u8]> {
    headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_slice()).collect()
}

#[tokio::test]
async fn hop_by_hop_headers_do_not_reach_the_upstream() {
    let received = sent(
        "GET / HTTP/1.1\nCONNECTION: Keep-Alive, X-One\nX-one: 1\nConnection: x-two,,X-THREE ,\nx-two: 2\n\
         X-Three: 3\nConnection: proxy-authorization\nKeep-Alive: timeout=5\nProxy-Connection: keep-alive\n\
         Proxy-Authenticate: Basic\nProxy-Authorization: Basic eA==\nTE: gzip;q=0.5\nUpgrade: h2c, websocket\n\
         HTTP2-Settings: AAMAAABk\nConnection: Upgrade, HTTP2-Settings\nX-End: kept",
    )
    .await;
    assert_eq!(names(&received.headers), ["authorization", "host", "via", "x-end"]);
}

#[tokio::test]
async fn hop_by_hop_headers_do_not_reach_the_client() {
    let response = response_with(
        "connection: keep-alive, x-one\nX-One: 1\nConnection: X-TWO\nx-two: 2\nKeep-Alive: timeout=5\n\
         Proxy-Connection: close\nProxy-Authenticate: Basic\nTE: trailers\nUpgrade: h2c\nX-End: kept",
    )
    .await;
    assert_eq!(names(&response.headers), ["content-length", "x-end", "x-request-id"]);
}

#[tokio::test]
async fn te_keeps_trailers_and_nothing_else() {
    let received = sent("GET / HTTP/1.1\nTE: deflate, Trailers\nConnection: TE").await;
    assert_eq!(received.header("te"), Some("trailers"));
    assert_eq!(received.header("connection"), None);
}

#[tokio::test]
async fn a_connection_header_cannot_remove_headers_that_the_proxy_adds() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let head = "POST / HTTP/1.1\nAuthorization: Basic eA==\n\
                Connection: authorization, host, via, content-length, transfer-encoding, x-request-id";
    assert_eq!(world.send(head, b"body").await.status, 200);
    let received = upstream.only();
    assert!(received.header("authorization").unwrap().starts_with("Bearer eyJ"));
    assert_eq!(received.header("host"), Some(upstream.address().to_string().as_str()));
    assert_eq!(received.header("via"), Some("1.1 vbc-proxy"));
    assert_eq!(received.header("content-length"), Some("4"));
    assert_eq!(received.body, b"body");

    let response = response_with("Connection: content-length, x-request-id, close").await;
    assert_eq!(response.header("content-length"), Some("0"));
    assert!(response.header("x-request-id").is_some());
}

#[tokio::test]
async fn exactly_one_authorization_is_sent_regardless_of_the_clients_own() {
    for lines in [
        "",
        "\nAuthorization: Bearer theirs",
        "\nauthorization: Basic dGhlaXJz\nAUTHORIZATION: Digest theirs\nAuthorization:",
        "\nConnection: Authorization\nAuthorization: theirs",
        "\nX-Api-Key: theirs\nx-api-key: theirs",
    ] {
        let received = sent(&format!("GET / HTTP/1.1{lines}")).await;
        let values = received.all("authorization");
        assert!(matches!(values[..], [one] if one.starts_with("Bearer eyJ")), "{values:?}");
        assert!(!received.head.windows(6).any(|part| part == b"theirs"), "{received:?}");
        assert_eq!(received.header("x-api-key"), None);
    }
}

#[tokio::test]
async fn end_to_end_headers_reach_the_upstream_with_bytes_duplicates_and_order() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client
        .write(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: \xe4\xf6\xff \"a\\\" , b\r\nAccept: a;q=0.1\r\nx-a:\r\n\
              ACCEPT: b,,c\r\nX-a:  two  spaces\tand a tab \r\nX-!#$%&'*+-.^_`|~9: odd\r\n\r\n",
        )
        .await;
    assert_eq!(client.response().await.status, 200);
    let received = upstream.only();
    let expected: [&[u8]; 3] = [b"\xe4\xf6\xff \"a\\\" , b", b"", b"two  spaces\tand a tab"];
    assert_eq!(values(&received.headers, "x-a"), expected);
    assert_eq!(received.all("accept"), ["a;q=0.1", "b,,c"]);
    assert_eq!(received.header("x-!#$%&'*+-.^_`|~9"), Some("odd"));
}

#[tokio::test]
async fn end_to_end_headers_reach_the_client_with_bytes_duplicates_and_order() {
    let upstream = RawUpstream::responding(
        &b"HTTP/1.1 200 Very Fine\r\nX-A: \xe4\xff\r\nSet-Cookie: a=1; Path=/\r\nx-a: two  spaces\r\n\
           set-cookie: b=2, c\r\nX-a:\r\nContent-Length: 0\r\nDate: then\r\nServer: WSO2\r\n\r\n"[..],
    )
    .await;
    let world = World::with_upstream(&upstream).await;
    let response = world.get("/").await;
    assert!(response.head.starts_with(b"HTTP/1.1 200 Very Fine\r\n"), "{response:?}");
    let expected: [&[u8]; 3] = [b"\xe4\xff", b"two  spaces", b""];
    assert_eq!(values(&response.headers, "x-a"), expected);
    assert_eq!(response.all("set-cookie"), ["a=1; Path=/", "b=2, c"]);
    assert_eq!((response.header("date"), response.header("server")), (Some("then"), Some("WSO2")));
}

#[tokio::test]
async fn no_header_is_invented_for_the_upstream() {
    let received = sent("GET /a HTTP/1.1").await;
    assert_eq!(names(&received.headers), ["authorization", "host", "via"]);
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    world.send("POST /a HTTP/1.1", b"body").await;
    assert_eq!(names(&upstream.only().headers), ["authorization", "content-length", "host", "via"]);
}

#[tokio::test]
async fn only_the_request_id_is_added_to_a_response() {
    let response = response_with("X-A: 1").await;
    assert_eq!(names(&response.headers), ["content-length", "x-a", "x-request-id"]);
    let response = response_with("X-Request-Id: theirs").await;
    assert_eq!(response.all("x-request-id"), ["theirs"]);
}

#[tokio::test]
async fn a_request_id_of_the_client_is_kept_on_responses_of_the_proxy() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let response = world.send("GET / HTTP/1.1\nX-Request-Id: abc-1\nOrigin: http://example.com", b"").await;
    response.assert_problem(403, "http_request_denied");
    assert_eq!(response.header("x-request-id"), Some("abc-1"));
}

#[tokio::test]
async fn the_upstream_learns_nothing_about_the_client() {
    let received = sent(
        "GET / HTTP/1.1\nForwarded: for=192.0.2.1\nX-Forwarded-For: 192.0.2.1\nx-forwarded-host: localhost\n\
         X-Forwarded-Proto: http\nX-FORWARDED-PORT: 80\nX-Real-IP: 192.0.2.1\nX-Forwarded-Client-Cert: a",
    )
    .await;
    assert_eq!(names(&received.headers), ["authorization", "host", "via"]);
}

#[tokio::test]
async fn the_proxy_appends_itself_to_via() {
    let received = sent("GET / HTTP/1.1\nVia: 1.0 fred, 1.1 p.example (vbc-proxy)\nVia: 1.1 other").await;
    assert_eq!(received.all("via"), ["1.0 fred, 1.1 p.example (vbc-proxy)", "1.1 other", "1.1 vbc-proxy"]);
    assert_eq!(sent("GET / HTTP/1.0").await.all("via"), ["1.0 vbc-proxy"]);
}

#[tokio::test]
async fn a_request_that_has_passed_the_proxy_before_is_a_loop() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    for via in ["1.1 vbc-proxy", "1.0 fred,1.1 VBC-Proxy (comment)", "1.1 fred\nVia: HTTP/1.1 vbc-proxy"] {
        let response = world.send(&format!("GET / HTTP/1.1\nVia: {via}"), b"").await;
        response.assert_problem(508, "proxy_loop_detected");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn the_proxys_own_address_as_upstream_is_a_loop_found_in_its_first_round() {
    // A relay that leads back to the proxy.
    let back = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", back.local_addr().unwrap());
    let world = World::builder().upstream(upstream).start().await;
    let address = Arc::new(OnceLock::from(world.address));
    let relay = tokio::spawn(async move {
        let mut rounds = 0;
        while let Ok((mut near, _)) = back.accept().await {
            rounds += 1;
            assert!(rounds < 3, "the loop goes round");
            let address = Arc::clone(&address);
            tokio::spawn(async move {
                let mut far = TcpStream::connect(address.get().unwrap()).await.unwrap();
                let _ = copy_bidirectional(&mut near, &mut far).await;
                let _ = near.shutdown().await;
            });
        }
    });
    let response = world.get("/").await;
    assert_eq!(response.status, 508);
    relay.abort();
}

#[tokio::test]
async fn interim_responses_are_never_taken_for_the_response() {
    let early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
                 HTTP/1.1 102 Processing\r\nContent-Length: 7\r\n\r\nHTTP/1.1 199 What\r\nX-Early: 1\r\n\r\n";
    let upstream = RawUpstream::responding(format!(
        "{}HTTP/1.1 200 OK\r\nX-Final: 1\r\nContent-Length: 2\r\n\r\nok",
        early.repeat(50)
    ))
    .await;
    let world = World::with_upstream(&upstream).await;
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let mut client = world.connect().await;
        client.request(&format!("GET / {version}"), b"").await;
        // The first head that the client gets is the final one.
        let head = client.head().await;
        assert!(head.contains(" 200 OK\r\n") && head.contains("x-final: 1"), "{head}");
        assert!(!head.contains("link") && !head.contains("x-early"), "{head}");
        client.expect(b"ok").await;
    }
}

#[tokio::test]
async fn content_codings_pass_untouched() {
    let received = sent("GET / HTTP/1.1\nAccept-Encoding: gzip;q=1.0, br, *;q=0").await;
    // Codings that cannot be decoded for link rewriting are removed.
    assert_eq!(received.header("accept-encoding"), Some("gzip;q=1.0, *;q=0"));

    let body = b"\x1f\x8b\x08\0not really\xff\0";
    let mut response =
        format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nETag: \"a\"\r\nContent-Length: {}\r\n\r\n", 16)
            .into_bytes();
    response.extend_from_slice(body);
    let upstream = RawUpstream::responding(response).await;
    let world = World::with_upstream(&upstream).await;
    let response = world.get("/").await;
    assert_eq!(response.header("content-encoding"), Some("gzip"));
    assert_eq!(response.header("etag"), Some("\"a\""));
    assert_eq!(response.body, body);
}

#[tokio::test]
async fn cookie_lines_are_joined() {
    let received = sent("GET / HTTP/1.1\nCookie: a=1\ncookie: b=2; c=3\nCOOKIE: d=4").await;
    assert_eq!(received.all("cookie"), ["a=1; b=2; c=3; d=4"]);
    let received = sent("GET / HTTP/1.1\nCookie: a=1;b=2").await;
    assert_eq!(received.all("cookie"), ["a=1;b=2"]);
}

#[tokio::test]
async fn a_cookie_of_the_load_balancer_is_passed_on_and_not_stored() {
    let response = "HTTP/1.1 200 OK\r\nSet-Cookie: AWSALB=x; Path=/\r\nContent-Length: 0\r\n\r\n";
    let upstream = RawUpstream::responding(response).await;
    let world = World::with_upstream(&upstream).await;
    for _ in 0..2 {
        assert_eq!(world.get("/").await.all("set-cookie"), ["AWSALB=x; Path=/"]);
    }
    assert_eq!(upstream.requests().len(), 2);
    assert!(upstream.requests().iter().all(|received| received.header("cookie").is_none()));
}

#[tokio::test]
async fn a_redirect_is_passed_on_and_never_followed() {
    for status in [301, 302, 303, 307, 308] {
        let upstream = RawUpstream::responding(format!(
            "HTTP/1.1 {status} Elsewhere\r\nLocation: http://other.example/a?b\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
        let world = World::with_upstream(&upstream).await;
        let response = world.get("/a").await;
        assert_eq!(response.status, status);
        assert_eq!(response.header("location"), Some("http://other.example/a?b"));
        assert_eq!(upstream.requests().len(), 1);
    }
}
