//! Cases about the request line and `Host`.

use super::case::{Case, all_pass, passes, refused, refused_with, silent};

/// A GET of this target with `Connection: close`.
fn get(target: &str) -> String {
    line(&format!("GET {target} HTTP/1.1"))
}

/// A request with this request line and `Connection: close`.
fn line(line: &str) -> String {
    format!("{line}\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// A GET with these lines in the place of `Host`, and `Connection: close`.
fn host(lines: &str) -> String {
    format!("GET /case-000 HTTP/1.1\r\n{lines}Connection: close\r\n\r\n")
}

pub(super) fn cases() -> Vec<Case> {
    [targets(), forms(), request_lines(), hosts(), versions()].into_iter().flatten().collect()
}

fn targets() -> Vec<Case> {
    const UNESCAPED: &str = "passed byte for byte; an escaped one would be another target";
    const DELIMITERS: &str =
        "clients send them unescaped and nginx, HAProxy and Caddy pass them; hyper's Uri does not";
    const BYTE_FOR_BYTE: &str =
        "RFC 9110 §4.2.3: only the origin resolves dots, and this proxy matches no paths";
    vec![
        passes("a plain path", get("/case-000")),
        passes("an empty query", get("/case-000?")),
        passes("two question marks", get("/case-000??a?b")),
        passes("a filter of VBC's", get("/case-000?start:gte=2024-01-01T00:00:00Z&user=a@b.example")),
        passes("double slashes", get("//case-000//a//")),
        passes("dot segments", get("/case-000/./b/../c/..")),
        passes("dots above the root", get("/../case-000")).because(&["nginx"], BYTE_FOR_BYTE),
        passes("escaped dots above the root", get("/%2e%2e/case-000")).because(&["nginx"], BYTE_FOR_BYTE),
        passes("an escaped slash", get("/case-000/a%2Fb%2fc%5C")),
        passes("escapes of eight bits", get("/case-000/%e4%FF")),
        passes("an escaped NUL", get("/case-000/%00"))
            .because(&["nginx"], "this proxy decodes no escapes, so none is invalid"),
        passes("an escape that is none", get("/case-000/%zz%"))
            .because(&["nginx", "Caddy"], "this proxy decodes no escapes, so none is invalid"),
        passes("an escaped line break", get("/case-000/%0d%0aX:%20y")),
        passes("a plus, and sub-delimiters", get("/case-000/a+b;c=d,e!$&'()*:@~_-.?f+g")),
        passes("UTF-8 in the path", get("/case-000/\u{e4}\u{1f600}"))
            .because(&["HAProxy"], "passed byte for byte; HAProxy requires escapes"),
        passes("braces and bars", get("/case-000?q=[{|\\^}]")),
        passes("JSON in the query", get("/case-000?f={\"a\":1}")).because(&["hyper"], DELIMITERS),
        passes("quotes and backticks in the path", get("/case-000/\"a\"/`b`"))
            .because(&["hyper"], DELIMITERS),
        passes("angle brackets", get("/case-000/<a>?b=<c>")).because(&["hyper"], DELIMITERS),
        passes("absolute form with quotes", get("http://localhost/case-000?f=\"a\""))
            .because(&["hyper"], DELIMITERS),
        passes("a URL in the query", get("/case-000?u=http://localhost/a")),
        passes("7,000 bytes", get(&format!("/case-000/{}", "a".repeat(7000)))),
        refused_with("20,000 bytes", 414, get(&format!("/case-000/{}", "a".repeat(20_000)))).because(
            &["Caddy", "hyper"],
            "this proxy limits the target; Caddy and hyper limit only the head",
        ),
        refused("a fragment", get("/case-000#a")).because(
            &["nginx", "Caddy", "hyper"],
            "a fragment is never sent (RFC 9112 §3.2); nginx, Caddy and hyper remove it",
        ),
        refused("a space in the target", line("GET /case-000 a HTTP/1.1")),
        refused("a tab in the target", line("GET /case-000\ta HTTP/1.1")),
        refused("a NUL in the target", line("GET /case-000\0a HTTP/1.1")),
        refused("a bare CR in the target", line("GET /case-000\ra HTTP/1.1")),
        refused("a DEL in the target", line("GET /case-000\x7fa HTTP/1.1")),
        passes(
            "no UTF-8 in the path",
            [&b"GET /case-000/\xff\xfe"[..], line(" HTTP/1.1").as_bytes()].concat(),
        )
        .because(&["HAProxy", "hyper"], UNESCAPED),
        passes(
            "no UTF-8 in the query",
            [&b"GET /case-000?\xe4=\xff"[..], line(" HTTP/1.1").as_bytes()].concat(),
        )
        .because(&["HAProxy", "hyper"], UNESCAPED),
    ]
}

fn forms() -> Vec<Case> {
    const CONNECT: &str = "CONNECT and TRACE are 405";
    const USERINFO: &str = "RFC 9110 §4.2.4: userinfo in a target is an error, and a way to mislead";
    vec![
        passes("absolute form", get("http://localhost/case-000?a:b=c")),
        passes("absolute form in capitals", get("HTTP://LOCALHOST/case-000")),
        passes("absolute form with a port", get("http://localhost:8080/case-000")).because(&["HAProxy"], "HAProxy wants the same port in Host; RFC 9112 §3.2.2 lets the target's authority count",
        ),
        passes("absolute form with an IPv6 address", get("http://[::1]:80/case-000")).because(&["HAProxy"], "HAProxy wants the same name in Host; RFC 9112 §3.2.2 lets the target's authority count",
        ),
        passes("absolute form without a path", get("http://localhost?case-000"))
            .because(&["HAProxy"], "RFC 3986 lets a query follow the authority"),
        passes("absolute form, https", get("https://localhost/case-000")),
        refused_with("absolute form, foreign", 421, get("http://example.com/case-000"))
            .because(&["nginx", "Caddy", "hyper"], "a proxy with a credential serves only its own authority and the upstream's"),
        refused_with("absolute form, foreign, with our Host", 421, get("http://example.com/case-000"))
            .because(&["nginx", "Caddy", "hyper"], "RFC 9112 §3.2.2: the target's authority counts, and it is foreign"),
        refused("absolute form with userinfo", get("http://localhost@localhost/case-000")).because(&["HAProxy", "Caddy", "hyper"], USERINFO),
        refused_with(
            "absolute form, our name as userinfo",
            421,
            get("http://localhost@example.com/case-000"),
        ).because(&["Caddy", "hyper"], "the target names another host; Caddy and hyper serve every host"),
        refused("another scheme", get("ftp://localhost/case-000")).because(&["nginx", "HAProxy", "Caddy", "hyper"], "only http URLs are forwarded"),
        refused("a scheme without slashes", get("http:/case-000")).because(&["Caddy"], "RFC 9110 §4.2.1: an http URL without a host is invalid"),
        refused("no authority", get("http:///case-000")).because(&["HAProxy", "Caddy"], "RFC 9110 §4.2.1: an http URL without a host is invalid"),
        refused("a relative target", get("case-000")),
        refused("a question mark alone", get("?case-000")),
        refused(
            "an asterisk with GET",
            "GET * HTTP/1.1\r\nHost: localhost\r\nX: case-000\r\nConnection: close\r\n\r\n",
        ).because(&["HAProxy", "Caddy", "hyper"], "RFC 9112 §3.2.4: only OPTIONS may use the asterisk"),
        passes(
            "an asterisk with OPTIONS",
            "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nX: case-000\r\nConnection: close\r\n\r\n",
        )
        .because(&["nginx"], "RFC 9110 §9.3.7 allows it; nginx does not forward it"),
        refused_with(
            "CONNECT",
            405,
            "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\nX: case-000\r\nConnection: close\r\n\r\n",
        )
        .because(&["HAProxy", "Caddy"], CONNECT),
        refused_with("CONNECT to a path", 405, line("CONNECT /case-000 HTTP/1.1")).because(&["Caddy"], "CONNECT requests a tunnel, and its target is an authority"),
        refused_with("TRACE", 405, line("TRACE /case-000 HTTP/1.1")).because(&["HAProxy", "Caddy", "hyper"], CONNECT),
        passes("an unknown method", line("BREW /case-000 HTTP/1.1")),
        passes("a method in lower case", line("get /case-000 HTTP/1.1"))
            .because(&["nginx"], "method names are case-sensitive: this is not GET"),
        passes("a method with a dash", line("M-SEARCH /case-000 HTTP/1.1")),
        passes("a method of odd token characters", line("X!#$%&'*+.^_`|~9 /case-000 HTTP/1.1"))
            .because(&["nginx"], "every method token passes, unknown ones too"),
        refused("a method with a bracket", line("G(T /case-000 HTTP/1.1")),
        passes("OPTIONS of a path", line("OPTIONS /case-000 HTTP/1.1")),
        passes("HEAD", line("HEAD /case-000 HTTP/1.1")),
    ]
}

fn request_lines() -> Vec<Case> {
    const ONE_SPACE: &str = "RFC 9112 §3: single spaces; a lenient reader may see another target";
    vec![
        refused("two spaces before the target", line("GET  /case-000 HTTP/1.1"))
            .because(&["nginx", "HAProxy"], ONE_SPACE),
        refused("two spaces before the version", line("GET /case-000  HTTP/1.1"))
            .because(&["nginx", "HAProxy"], ONE_SPACE),
        refused("a space after the version", line("GET /case-000 HTTP/1.1 ")).because(&["nginx"], ONE_SPACE),
        refused("a space before the method", line(" GET /case-000 HTTP/1.1")),
        refused("tabs for spaces", line("GET\t/case-000\tHTTP/1.1")).because(&["HAProxy"], ONE_SPACE),
        refused("no version", line("GET /case-000"))
            .because(&["nginx"], "a request line has a version; nginx reads it as HTTP/0.9"),
        refused("no target", line("GET HTTP/1.1")),
        refused("a method alone", line("GET")),
        passes("an empty line before", format!("\r\n{}", get("/case-000")))
            .because(&["Caddy"], "RFC 9112 §2.2: a server ignores one empty line"),
        refused("two empty lines before", format!("\r\n\r\n{}", get("/case-000")))
            .because(&["nginx", "HAProxy", "hyper"], "RFC 9112 §2.2: a server ignores one empty line"),
        refused("a bare LF before", format!("\n{}", get("/case-000")))
            .because(&["nginx", "HAProxy", "hyper"], "a bare LF does not end a line"),
        refused("a TLS handshake", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice()).then_ends(),
        refused("half an HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\n")
            .then_ends()
            .because(&["Caddy"], "RFC 9113 §3.4: only half of a preface; Caddy reads it as a request"),
        refused("a greeting of SSH", "SSH-2.0-OpenSSH_9.6\r\n").then_ends(),
        silent("half a request line", "GET /case-000 HTT").then_ends(),
        silent("half a head", "GET /case-000 HTTP/1.1\r\nHost: loc").then_ends(),
        silent("nothing", "").then_ends(),
    ]
}

fn hosts() -> Vec<Case> {
    const TABS: &str = "RFC 9110 §5.6.3: a tab is white space, too; nginx accepts only spaces";
    const ONE_HOST: &str = "a Host that is not a name with an optional port is 400";
    vec![
        passes("Host", host("Host: localhost\r\n")),
        passes("Host with a port", host("Host: localhost:8080\r\n")),
        passes("Host in capitals", host("HOST: LOCALHOST\r\n")),
        passes("Host with white space around it", host("Host: \t localhost \t\r\n"))
            .because(&["nginx"], TABS),
        passes("Host without a space", host("Host:localhost\r\n")),
        passes("Host, an IPv6 address", host("Host: [::1]:8080\r\n")),
        refused("no Host", host(""))
            .because(&["HAProxy", "hyper"], "RFC 9112 §3.2: 400; HAProxy and hyper do not require a Host"),
        refused("an empty Host", host("Host:\r\n")).because(&["HAProxy", "Caddy", "hyper"], ONE_HOST),
        refused("Host twice", host("Host: localhost\r\nHost: localhost\r\n"))
            .because(&["HAProxy", "hyper"], "RFC 9112 §3.2: 400"),
        refused("Host twice, different", host("Host: localhost\r\nhost: example.com\r\n"))
            .because(&["hyper"], "RFC 9112 §3.2: 400; hyper leaves the check to the application"),
        refused("two names in Host", host("Host: localhost, localhost\r\n"))
            .because(&["HAProxy", "hyper"], ONE_HOST),
        refused("a space in Host", host("Host: local host\r\n")).because(&["HAProxy", "hyper"], ONE_HOST),
        refused("a slash in Host", host("Host: localhost/\r\n")).because(&["HAProxy", "hyper"], ONE_HOST),
        refused("userinfo in Host", host("Host: user@localhost\r\n"))
            .because(&["nginx", "HAProxy", "hyper"], ONE_HOST),
        refused("a port that is no number", host("Host: localhost:x\r\n"))
            .because(&["nginx", "HAProxy", "Caddy", "hyper"], ONE_HOST),
        refused("two ports", host("Host: localhost:80:80\r\n"))
            .because(&["nginx", "HAProxy", "Caddy", "hyper"], ONE_HOST),
        refused("a bracket that stays open", host("Host: [::1\r\n"))
            .because(&["nginx", "HAProxy", "Caddy", "hyper"], ONE_HOST),
        refused("a URL in Host", host("Host: http://localhost\r\n")).because(&["HAProxy", "hyper"], ONE_HOST),
        refused("a space before the colon of Host", host("Host : localhost\r\n")),
        refused("Host folded", host("Host:\r\n localhost\r\n"))
            .because(&["HAProxy", "Caddy"], "obs-fold is refused, not unfolded"),
        refused_with("a foreign Host", 421, host("Host: example.com\r\n")).because(
            &["nginx", "HAProxy", "Caddy", "hyper"],
            "a page of a foreign host could have rebound its name to the proxy",
        ),
        passes("a name on Connection: Host", host("Host: localhost\r\nConnection: host\r\n")),
    ]
}

fn versions() -> Vec<Case> {
    const VERSION: &str = "only HTTP/1.1 and HTTP/1.0 are supported";
    vec![
        passes("HTTP/1.0", "GET /case-000 HTTP/1.0\r\n\r\n"),
        passes("HTTP/1.0 with a Host", "GET /case-000 HTTP/1.0\r\nHost: localhost\r\n\r\n"),
        all_pass(
            "HTTP/1.0, kept alive",
            2,
            "GET /case-000 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /case-000/2 HTTP/1.0\r\n\r\n",
        ),
        passes("HTTP/1.0, not kept alive", "GET /case-000 HTTP/1.0\r\n\r\nGET /case-000/2 HTTP/1.0\r\n\r\n"),
        passes("HTTP/1.0 POST", "POST /case-000 HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello")
            .arrives(b"hello"),
        refused("HTTP/0.9", "GET /case-000\r\n").because(&["nginx"], "a request line has a version"),
        refused("HTTP/0.9 by name", line("GET /case-000 HTTP/0.9")).because(&["HAProxy"], VERSION),
        refused("HTTP/1.2", line("GET /case-000 HTTP/1.2")).because(&["nginx", "HAProxy", "Caddy"], VERSION),
        refused("HTTP/2.0", line("GET /case-000 HTTP/2.0")).because(&["HAProxy"], VERSION),
        refused("HTTP/3", line("GET /case-000 HTTP/3")),
        refused("HTTP/1", line("GET /case-000 HTTP/1")),
        refused("HTTP/1.", line("GET /case-000 HTTP/1.")),
        refused("HTTP/1.10", line("GET /case-000 HTTP/1.10")).because(&["nginx"], VERSION),
        refused("HTTP/01.1", line("GET /case-000 HTTP/01.1")),
        refused("HTTP/1,1", line("GET /case-000 HTTP/1,1")),
        refused("a version in lower case", line("GET /case-000 http/1.1")),
        refused("another protocol's version", line("GET /case-000 ICAP/1.0")),
    ]
}
