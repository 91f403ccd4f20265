//! Request targets, request lines and `Host`.

use crate::harness::{RawUpstream, World};

/// The request line that reaches the upstream for this target.
async fn forwarded(target: &str) -> String {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let response = world.get(target).await;
    assert_eq!(response.status, 200, "{target}: {response:?}");
    upstream.only().line
}

#[tokio::test]
async fn path_and_query_are_forwarded_byte_for_byte() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    let targets = [
        "/",
        "/?",
        "/a?",
        "/a??b",
        "//a//b/",
        "/a/./b/../c/..",
        "/../a",
        "/a%2Fb%2f%5C%00",
        "/%e4%FF%zz%",
        "/a+b?c+d=%20+%2B",
        "/t/vbc.prod/reports?start:gte=2024-01-01T00:00:00Z&user=a@b.example",
        "/a;b=c,d!$&'()*:@~_-.",
        "/\u{e4}/\u{1f600}?\u{e4}",
        "/a?q=[{\"|\\^}]/?",
        "/a?http://localhost/",
        "/q?f={\"a\":1}",
        "/<a>/\"b\"/`c`?<d>=`e`",
    ];
    for target in targets {
        client.request(&format!("GET {target} HTTP/1.1"), b"").await;
        assert_eq!(client.response().await.status, 200, "{target}");
        assert_eq!(upstream.requests().pop().unwrap().line, format!("GET {target} HTTP/1.1"));
    }
}

/// Tools without percent-encoding send bytes that RFC 3986 does not allow.
#[tokio::test]
async fn eight_bit_bytes_in_a_target_pass_in_every_form() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    for (target, arrives) in [
        (&b"/\xff\xfe?\xe4=<\x80>"[..], &b"/\xff\xfe?\xe4=<\x80>"[..]),
        (b"http://localhost/\xe4?\"", b"/\xe4?\""),
        (b"http://localhost?<\xe4", b"/?<\xe4"),
    ] {
        let mut client = world.connect().await;
        client
            .write(
                &[b"POST ", target, b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi"].concat(),
            )
            .await;
        assert_eq!(client.response().await.status, 200, "{}", target.escape_ascii());
        let received = upstream.requests().pop().unwrap();
        let line = [b"POST ", arrives, b" HTTP/1.1\r\n"].concat();
        assert!(received.head.starts_with(&line), "{}", received.head.escape_ascii());
        assert_eq!(received.body, b"hi");
    }
}

#[tokio::test]
async fn the_simulator_records_such_a_target_unchanged() {
    let world = World::start().await;
    assert_eq!(world.get("/t/vbc.prod/x?f={\"a\":<1>}").await.status, 404);
    let requests = world.sim.requests();
    assert_eq!(requests.last().unwrap().target, "/t/vbc.prod/x?f={\"a\":<1>}");
}

/// `Max-Forwards` (RFC 9110 §7.6.2).
#[tokio::test]
async fn options_without_hops_left_get_their_response_here_and_others_lose_one_hop() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    for head in
        ["/a HTTP/1.1\nMax-Forwards: 0", "* HTTP/1.1\nmax-forwards: 000", "/a HTTP/1.0\nMax-Forwards:0"]
    {
        let response = world.send(&format!("OPTIONS {head}"), b"").await;
        assert_eq!((response.status, response.header("content-length")), (200, Some("0")), "{head}");
        let allow = response.header("allow").unwrap();
        assert!(allow.contains("GET") && !allow.contains("TRACE"), "{allow}");
    }
    let foreign = world.send("OPTIONS / HTTP/1.1\nHost: a.example\nMax-Forwards: 0", b"").await;
    foreign.assert_problem(421, "http_request_denied");
    assert_eq!(upstream.connections(), 0);
    for (method, value, arrives) in [
        ("OPTIONS", "1", "0"),
        ("OPTIONS", "5", "4"),
        ("OPTIONS", "010", "9"),
        ("OPTIONS", "99999999999999999999", "18446744073709551614"),
        // Values that are not numbers have no effect. For other methods, no value has an effect.
        ("OPTIONS", "-1", "-1"),
        ("OPTIONS", "five", "five"),
        ("GET", "0", "0"),
        ("PROPFIND", "5", "5"),
    ] {
        let response = world.send(&format!("{method} /a HTTP/1.1\nMax-Forwards: {value}"), b"").await;
        assert_eq!(response.text(), "ok", "{method} {value}");
        assert_eq!(upstream.requests().pop().unwrap().all("max-forwards"), [arrives], "{method} {value}");
    }
}

#[tokio::test]
async fn a_long_target_under_the_limit_passes_whole() {
    let target = format!("/{}", "a".repeat(16 * 1024 - 1));
    assert_eq!(forwarded(&target).await, format!("GET {target} HTTP/1.1"));
}

#[tokio::test]
async fn an_absolute_form_of_the_proxys_own_authority_goes_out_in_origin_form() {
    for (target, expected) in [
        ("http://localhost/a/../b?c:d=e", "/a/../b?c:d=e"),
        ("http://127.0.0.1:8080/a", "/a"),
        ("HTTP://LOCALHOST:1/a", "/a"),
        ("https://localhost/a", "/a"),
        ("http://localhost", "/"),
        ("http://localhost?a=b", "/?a=b"),
        ("http://[::1]:8080//a", "//a"),
    ] {
        assert_eq!(forwarded(target).await, format!("GET {expected} HTTP/1.1"), "{target}");
    }
}

#[tokio::test]
async fn a_tool_that_uses_the_proxy_as_its_http_proxy_is_served() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let authority = upstream.address();
    let head = format!("GET http://{authority}/a HTTP/1.1\nHost: {authority}\nProxy-Connection: keep-alive");
    assert_eq!(world.send(&head, b"").await.status, 200);
    let received = upstream.only();
    assert_eq!(received.line, "GET /a HTTP/1.1");
    assert_eq!(received.header("host"), Some(authority.to_string().as_str()));
    assert_eq!(received.header("proxy-connection"), None);
}

#[tokio::test]
async fn an_absolute_form_of_a_foreign_authority_is_refused_and_the_bearer_goes_nowhere() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    for target in [
        "http://example.com/a",
        "http://localhost@example.com/",
        "https://example.com:80/",
        "http://localhost.example.com/",
        "http://127.0.0.1.example.com/",
        "http://10.0.0.1/",
    ] {
        world.get(target).await.assert_problem(421, "http_request_denied");
    }
    assert_eq!(upstream.connections(), 0);
}

/// The upstream's name does not resolve, so admitted requests get a 502.
#[tokio::test]
async fn http_and_https_urls_of_the_upstream_are_served_with_its_port_or_a_default_and_no_other() {
    let world = World::builder().upstream("https://api.vonage.invalid").start().await;
    for ours in [
        "http://api.vonage.invalid/a",
        "http://API.vonage.invalid:80/a",
        "https://api.vonage.invalid/a",
        "https://api.vonage.invalid:443/a",
        "http://api.vonage.invalid?a=b",
    ] {
        let response = world.get(ours).await;
        assert_eq!(response.status, 502, "{ours}: {response:?}");
    }
    for foreign in
        ["http://api.vonage.invalid:8080/a", "https://api.vonage.invalid:80/a", "http://vonage.invalid/a"]
    {
        world.get(foreign).await.assert_problem(421, "http_request_denied");
    }
    // `Host` may have the upstream's name with any port, for example behind a port mapping.
    let mapped = world.send("GET /a HTTP/1.1\nHost: api.vonage.invalid:8080", b"").await;
    assert_eq!(mapped.status, 502);
}

#[tokio::test]
async fn a_user_name_in_the_target_is_refused() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let of_the_upstream = format!("http://user:pass@{}/", upstream.address());
    for target in ["http://user@localhost/a", "http://@localhost/", &of_the_upstream] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        world.refused(request.as_bytes()).await.assert_problem(400, "http_request_error");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn headers_for_an_http_proxy_are_not_forwarded() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let authority = upstream.address();
    let head = format!(
        "GET http://{authority}/a HTTP/1.1\nHost: {authority}\nProxy-Authorization: Basic dTpw\nProxy-Connection: close"
    );
    assert_eq!(world.send(&head, b"").await.status, 200);
    let received = upstream.only();
    assert_eq!((received.header("proxy-authorization"), received.header("proxy-connection")), (None, None));
}

#[tokio::test]
async fn a_request_for_a_tunnel_gets_advice_to_use_http_urls() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let response = world.send("CONNECT api.vonage.com:443 HTTP/1.1", b"").await;
    response.assert_problem(405, "http_request_denied");
    assert!(response.json()["detail"].as_str().unwrap().contains("http:// URLs"), "{response:?}");
}

#[tokio::test]
async fn the_authority_of_an_absolute_form_overrides_the_host() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let ours = world.send("GET http://localhost/ HTTP/1.1\nHost: example.com", b"").await;
    assert_eq!(ours.status, 200);
    let foreign = world.send("GET http://example.com/ HTTP/1.1\nHost: localhost", b"").await;
    foreign.assert_problem(421, "http_request_denied");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn connect_and_trace_are_refused_and_the_response_says_what_is_allowed() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    for line in ["CONNECT api.vonage.com:443", "CONNECT localhost:1", "TRACE /", "TRACE http://localhost/"] {
        let response = world.send(&format!("{line} HTTP/1.1"), b"").await;
        response.assert_problem(405, "http_request_denied");
        let allow = response.header("allow").unwrap();
        assert!(allow.contains("GET") && !allow.contains("TRACE") && !allow.contains("CONNECT"), "{allow}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn options_for_the_whole_server_is_forwarded_as_it_is() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    assert_eq!(world.send("OPTIONS * HTTP/1.1", b"").await.status, 200);
    assert_eq!(upstream.only().line, "OPTIONS * HTTP/1.1");
}

#[tokio::test]
async fn an_asterisk_with_another_method_is_refused() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    for method in ["GET", "POST", "options"] {
        let request = format!("{method} * HTTP/1.1\r\nHost: localhost\r\n\r\n");
        world.refused(request.as_bytes()).await.assert_problem(400, "http_request_error");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn every_method_token_passes_known_or_unknown() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let methods = [
        "GET",
        "PUT",
        "POST",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "PROPFIND",
        "get",
        "M-SEARCH",
        "X!#$%&'*+.^_`|~9",
    ];
    for method in methods {
        assert_eq!(world.send(&format!("{method} /a HTTP/1.1"), b"").await.status, 200, "{method}");
        assert_eq!(upstream.requests().pop().unwrap().line, format!("{method} /a HTTP/1.1"));
    }
}

#[tokio::test]
async fn a_target_over_the_limit_is_414() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let request = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(16 * 1024));
    world.refused(request.as_bytes()).await.assert_problem(414, "http_request_error");
    // An endless target is not read to its end.
    let endless = format!("GET /{}", "a".repeat(70 * 1024));
    world.refused(endless.as_bytes()).await.assert_problem(414, "http_request_error");
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn the_host_towards_the_upstream_is_its_authority() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    for head in ["GET / HTTP/1.1\nHost: localhost:1", "GET / HTTP/1.1\nHost: LocalHost\nConnection: host"] {
        assert_eq!(world.send(head, b"").await.status, 200);
        let received = upstream.requests().pop().unwrap();
        assert_eq!(received.header("host"), Some(upstream.address().to_string().as_str()));
    }
}

#[tokio::test]
async fn a_missing_doubled_or_invalid_host_is_refused() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    for host in [
        "",
        "Host: localhost\r\nHost: localhost\r\n",
        "Host: localhost\r\nhost: example.com\r\n",
        "Host:\r\n",
        "Host: local host\r\n",
        "Host: localhost, localhost\r\n",
        "Host: localhost:x\r\n",
        "Host: user@localhost\r\n",
        "Host: localhost/\r\n",
        "Host: [::1\r\n",
        "Host: http://localhost\r\n",
    ] {
        let request = format!("GET / HTTP/1.1\r\n{host}\r\n");
        world.refused(request.as_bytes()).await.assert_problem(400, "http_request_error");
    }
    assert_eq!(upstream.connections(), 0);
}
