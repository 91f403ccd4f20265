//! Requests from browsers: foreign hosts, foreign pages, cookies and CORS.

use crate::harness::{RawUpstream, World};

/// An upstream whose CORS headers let every page read its responses.
async fn permissive() -> RawUpstream {
    RawUpstream::responding(
        "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\
         access-control-expose-headers: X-A\r\nAccess-Control-Max-Age: 1\r\nVary: Accept\r\n\
         Content-Length: 2\r\n\r\nok",
    )
    .await
}

#[tokio::test]
async fn a_foreign_host_is_refused_so_that_dns_rebinding_does_not_work() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let port = world.address.port();
    for host in [
        "attacker.example".to_owned(),
        format!("attacker.example:{port}"),
        "localhost.attacker.example".into(),
        "127.0.0.1.attacker.example".into(),
        "xlocalhost".into(),
        "localhostx".into(),
        "192.168.0.1".into(),
        "0.0.0.0".into(),
        "169.254.169.254".into(),
        "[2001:db8::1]:8080".into(),
        "2130706433".into(),
        "api.vonage.com".into(),
    ] {
        let response = world.send(&format!("GET / HTTP/1.1\nHost: {host}"), b"").await;
        response.assert_problem(421, "http_request_denied");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn loopback_names_configured_hosts_and_the_upstreams_name_are_accepted() {
    let upstream = RawUpstream::ok().await;
    let world = World::builder()
        .upstream(upstream.url())
        .config("listen.hosts = [\"vbc.internal\"]")
        .config("listen.public_url = \"http://calls.example\"")
        .start()
        .await;
    let port = world.address.port();
    for host in [
        "localhost".to_owned(),
        "LOCALHOST:1".into(),
        "localhost.".into(),
        "app.localhost".into(),
        format!("127.0.0.1:{port}"),
        "127.8.8.8".into(),
        "[::1]:80".into(),
        "vbc.internal".into(),
        "VBC.internal:8080".into(),
        "calls.example".into(),
        upstream.address().to_string(),
    ] {
        let response = world.send(&format!("GET / HTTP/1.1\nHost: {host}"), b"").await;
        assert_eq!(response.status, 200, "{host}");
    }
}

#[tokio::test]
async fn a_good_host_does_not_excuse_the_next_request() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    for (host, status) in [("localhost", 200), ("attacker.example", 421), ("localhost", 200)] {
        client.request(&format!("GET / HTTP/1.1\nHost: {host}"), b"").await;
        assert_eq!(client.response().await.status, status);
    }
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused() {
    let upstream = permissive().await;
    let world = World::with_upstream(&upstream).await;
    for origin in [
        "http://attacker.example",
        "https://localhost.attacker.example",
        "null",
        "file://",
        "http://localhost:1",
        "",
        "http://localhost, http://attacker.example",
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            let response = world.send(&format!("{method} / HTTP/1.1\nOrigin: {origin}"), b"").await;
            response.assert_problem(403, "http_request_denied");
            assert_eq!(response.header("access-control-allow-origin"), None);
        }
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn requests_that_a_browser_marks_as_cross_site_are_refused() {
    let upstream = permissive().await;
    let world = World::with_upstream(&upstream).await;
    for site in ["cross-site", "same-site", "", "what"] {
        let response = world.send(&format!("GET / HTTP/1.1\nSec-Fetch-Site: {site}"), b"").await;
        response.assert_problem(403, "http_request_denied");
    }
    assert_eq!(upstream.connections(), 0);
    for site in ["none", "same-origin"] {
        let response = world.send(&format!("GET / HTTP/1.1\nSec-Fetch-Site: {site}"), b"").await;
        assert_eq!(response.status, 200);
    }
}

#[tokio::test]
async fn a_preflight_of_a_foreign_page_is_refused_and_not_forwarded() {
    let upstream = permissive().await;
    let world = World::with_upstream(&upstream).await;
    let head =
        "OPTIONS /calls HTTP/1.1\nOrigin: http://attacker.example\nAccess-Control-Request-Method: POST";
    world.send(head, b"").await.assert_problem(403, "http_request_denied");
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn the_upstreams_own_cors_headers_are_stripped() {
    let upstream = permissive().await;
    let world = World::with_upstream(&upstream).await;
    let response = world.get("/").await;
    assert_eq!(response.text(), "ok");
    assert!(!response.headers.iter().any(|(name, _)| name.starts_with("access-control-")), "{response:?}");
    assert_eq!(response.all("vary"), ["Accept"]);
}

/// These headers would make a browser apply policies of the upstream's host to the proxy's host.
#[tokio::test]
async fn the_upstreams_policies_for_its_own_host_are_stripped() {
    let upstream = RawUpstream::responding(
        "HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=31536000; includeSubDomains\r\n\
         Alt-Svc: h3=\":443\"\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    let world = World::with_upstream(&upstream).await;
    for more in ["", "\nSec-Fetch-Mode: navigate"] {
        let response = world.send(&format!("GET / HTTP/1.1{more}"), b"").await;
        assert_eq!(response.text(), "ok");
        assert_eq!((response.header("strict-transport-security"), response.header("alt-svc")), (None, None));
    }
}

/// A browser sends the cookies of every server on this host, on any port.
#[tokio::test]
async fn cookies_of_browsers_are_dropped_and_those_of_tools_pass() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    for sign in [
        "Origin: http://localhost",
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Site: none",
        "Sec-Fetch-Mode: navigate",
        "sec-fetch-dest: document",
        "Sec-Fetch-User: ?1",
        "Sec-Fetch-Storage-Access: active",
    ] {
        let head = format!("GET / HTTP/1.1\nCookie: a=b\n{sign}\nCookie: c=d");
        assert_eq!(world.send(&head, b"").await.status, 200, "{sign}");
        let received = upstream.requests().pop().unwrap();
        assert!(received.all("cookie").is_empty(), "{sign}: {received:?}");
    }
    world.send("GET / HTTP/1.1\nCookie: a=b\nCookie: c=d", b"").await;
    assert_eq!(upstream.requests().pop().unwrap().all("cookie"), ["a=b; c=d"]);
}

#[tokio::test]
async fn a_page_of_the_upstream_cannot_act_as_a_page_of_this_host() {
    let page = |kind: &str| format!("HTTP/1.1 200 OK\r\n{kind}Content-Length: 2\r\n\r\nok");
    for (kind, is_page) in [
        ("Content-Type: text/html; charset=utf-8\r\n", true),
        ("Content-Type: image/svg+xml\r\n", true),
        ("", true),
        ("Content-Type: application/json\r\n", false),
        ("Content-Type: audio/mpeg\r\n", false),
    ] {
        let upstream = RawUpstream::responding(page(kind)).await;
        let world = World::with_upstream(&upstream).await;
        for (sign, navigates) in [
            ("Sec-Fetch-Mode: navigate", true),
            ("Sec-Fetch-Dest: document", true),
            ("Sec-Fetch-Dest: iframe", true),
            ("Sec-Fetch-Mode: cors\nSec-Fetch-Dest: empty", false),
            ("Accept: text/html", false),
        ] {
            let response = world.send(&format!("GET / HTTP/1.1\n{sign}"), b"").await;
            let policy =
                (response.header("content-security-policy"), response.header("x-content-type-options"));
            let expected =
                if is_page && navigates { (Some("sandbox"), Some("nosniff")) } else { (None, None) };
            assert_eq!(policy, expected, "{kind} {sign}");
        }
    }
}

#[tokio::test]
async fn a_page_of_the_called_host_itself_is_same_origin() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let head =
        "GET / HTTP/1.1\nHost: localhost:8080\nOrigin: http://localhost:8080\nSec-Fetch-Site: same-origin";
    assert_eq!(world.send(head, b"").await.status, 200);
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_call_and_read() {
    let upstream = permissive().await;
    let world = World::builder()
        .upstream(upstream.url())
        .config("listen.origins = [\"https://app.example\", \"http://localhost:3000\"]")
        .start()
        .await;
    for origin in ["https://app.example", "http://localhost:3000", "HTTPS://App.Example"] {
        let head = format!("POST / HTTP/1.1\nOrigin: {origin}\nSec-Fetch-Site: cross-site");
        let response = world.send(&head, b"body").await;
        assert_eq!(response.status, 200);
        // Only the proxy's header is present, not the upstream's.
        assert_eq!(response.all("access-control-allow-origin"), [origin]);
        assert_eq!(response.header("access-control-allow-credentials"), None);
        assert_eq!(response.all("vary"), ["Accept", "origin"]);
    }
    for origin in ["https://app.example:444", "http://app.example", "https://app.example.attacker.example"] {
        let response = world.send(&format!("GET / HTTP/1.1\nOrigin: {origin}"), b"").await;
        response.assert_problem(403, "http_request_denied");
    }
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_can_read_our_own_errors_too() {
    let upstream = RawUpstream::responding("nonsense").await;
    let world = World::builder()
        .upstream(upstream.url())
        .config("listen.origins = [\"https://app.example\"]")
        .start()
        .await;
    let response = world.send("GET / HTTP/1.1\nOrigin: https://app.example", b"").await;
    response.assert_problem(502, "http_protocol_error");
    assert_eq!(response.header("access-control-allow-origin"), Some("https://app.example"));
}

#[tokio::test]
async fn the_proxy_responds_to_a_preflight_of_an_allowed_origin() {
    let upstream = permissive().await;
    let world = World::builder()
        .upstream(upstream.url())
        .config("listen.origins = [\"https://app.example\"]")
        .start()
        .await;
    let mut client = world.connect().await;
    client
        .request(
            "OPTIONS /calls HTTP/1.1\nOrigin: https://app.example\nSec-Fetch-Site: cross-site\n\
             Access-Control-Request-Method: POST\nAccess-Control-Request-Headers: content-type, x-a",
            b"",
        )
        .await;
    let response = client.response().await;
    assert_eq!(response.status, 204);
    assert_eq!(response.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(response.header("access-control-allow-methods"), Some("POST"));
    assert_eq!(response.header("access-control-allow-headers"), Some("content-type, x-a"));
    assert_eq!(response.header("vary"), Some("origin"));
    assert_eq!(upstream.connections(), 0);
    // An OPTIONS that is not a preflight is forwarded.
    client.request("OPTIONS /calls HTTP/1.1\nOrigin: https://app.example", b"").await;
    assert_eq!(client.response().await.text(), "ok");
}
