//! Cases about header lines, connections, and expectations.

use super::case::{Case, all_pass, passes, refused, refused_with};

/// A GET with these lines and `Connection: close`.
fn with(lines: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET /case-000 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", lines.as_ref(), b"\r\n\r\n"]
        .concat()
}

pub(super) fn cases() -> Vec<Case> {
    [lines(), credentials(), connections()].into_iter().flatten().collect()
}

fn lines() -> Vec<Case> {
    const NO_CONTROLS: &str =
        "RFC 9110 §5.5: no control character in a value; attacks split messages at NUL and CR";
    const FIELD: &str = "RFC 9112 §5: a line is a name, a colon, a value";
    const FOLD: &str = "this proxy refuses obs-fold and does not unfold it";
    vec![
        passes("an empty value", with("X:")),
        passes("no space after the colon", with("X:y")),
        passes("white space around a value", with("X: \t y \t")),
        passes("a tab inside a value", with("X: a\tb")),
        passes("obs-text in a value", with(b"X: \xe4\xf6\xff")),
        passes("UTF-8 in a value", with("X: \u{e4}\u{1f600}")),
        passes("an underscore in a name", with("X_Y: z")),
        passes("odd token characters in a name", with("X!#$%&'*+-.^`|~9: z")),
        passes("a dot in a name", with("X.Y: z")),
        passes("colons in a value", with("X: a:b:c")),
        passes("the same name often", with("X: a\r\nX: b\r\nx: c")),
        passes("50 lines", with("X: a\r\n".repeat(50).trim_end())),
        passes("a value of 4,000 bytes", with(format!("X: {}", "a".repeat(4000)))),
        refused_with("101 lines and more", 431, with("X: a\r\n".repeat(120).trim_end()))
            .because(&["nginx", "Caddy"], "this proxy limits the number of headers"),
        refused_with("a head of 70,000 bytes", 431, with(format!("X: {}", "a".repeat(70_000)))).because(
            &["Caddy", "hyper"],
            "this proxy limits heads; the limits of Caddy and hyper are larger",
        ),
        refused("a space before the colon", with("X : y")),
        refused("a tab before the colon", with("X\t: y")),
        refused("a space in a name", with("X Y: z")),
        refused("a bracket in a name", with("X(Y): z"))
            .because(&["nginx"], "RFC 9110 §5.1: a name is a token; nginx drops the line"),
        refused("obs-text in a name", with(b"X\xe4: z"))
            .because(&["nginx"], "RFC 9110 §5.1: a name is a token; nginx drops the line"),
        refused("no colon", with("no-colon")).because(&["nginx"], FIELD),
        refused("no name", with(": y")).because(
            &["Caddy"],
            "RFC 9112 §5: a name is a token, and nothing stands between it and the colon",
        ),
        refused("a folded line", with("X: a\r\n b")).because(&["HAProxy", "Caddy"], FOLD),
        refused("a line folded by a tab", with("X: a\r\n\tb")).because(&["HAProxy", "Caddy"], FOLD),
        refused("a line of white space", with("X: a\r\n ")).because(&["HAProxy", "Caddy"], FOLD),
        refused("a space before the first line", "GET /case-000 HTTP/1.1\r\n Host: localhost\r\n\r\n"),
        refused("a NUL in a value", with("X: a\0b")).because(&["HAProxy"], NO_CONTROLS),
        refused("a NUL in a name", with("X\0: a")),
        refused("a bare CR in a value", with("X: a\rb")),
        refused("a bare CR at the end of a value", with("X: a\r")).because(&["nginx"], NO_CONTROLS),
        refused("a bare LF in a value", with("X: a\nY: b"))
            .because(&["nginx", "HAProxy", "Caddy", "hyper"], "a bare LF does not end a line"),
        refused("a DEL in a value", with("X: a\x7fb")).because(&["nginx", "HAProxy"], NO_CONTROLS),
        refused("a control character in a value", with("X: a\x01b"))
            .because(&["nginx", "HAProxy"], NO_CONTROLS),
        refused("bare LFs for line ends", "GET /case-000 HTTP/1.1\nHost: localhost\nConnection: close\n\n")
            .because(&["nginx", "HAProxy", "Caddy", "hyper"], "a bare LF does not end a line"),
        refused(
            "a bare LF as the last line end",
            "GET /case-000 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\n",
        )
        .because(&["nginx", "HAProxy", "Caddy", "hyper"], "a bare LF does not end a line"),
        refused(
            "a bare LF after the request line",
            "GET /case-000 HTTP/1.1\nHost: localhost\r\nConnection: close\r\n\r\n",
        )
        .because(&["nginx", "HAProxy", "Caddy", "hyper"], "a bare LF does not end a line"),
        refused("CR CR LF for a line end", with("X: a\r\r\nY: b")).because(&["nginx"], NO_CONTROLS),
    ]
}

fn credentials() -> Vec<Case> {
    vec![
        passes("Authorization", with("Authorization: Basic eA==")),
        passes("Authorization often", with("Authorization: a\r\nAUTHORIZATION: b\r\nauthorization:"))
            .because(&["nginx"], "all of them are dropped; only the proxy's own is sent"),
        passes("Authorization named on Connection", with("Authorization: a\r\nConnection: authorization")),
        passes(
            "everything named on Connection",
            with("Connection: host, via, authorization, content-length, x-request-id"),
        ),
        passes("keys", with("X-Api-Key: a\r\nApiKey: b\r\nInternal-Key: c")),
        passes(
            "where the client is",
            with("Forwarded: for=192.0.2.1\r\nX-Forwarded-For: 192.0.2.1\r\nX-Real-IP: 192.0.2.1"),
        ),
        passes("Proxy-Authorization", with("Proxy-Authorization: Basic eA==")),
        passes("a cookie on two lines", with("Cookie: a=1\r\nCookie: b=2")),
        refused_with("our own Via", 508, with("Via: 1.1 vbc-proxy"))
            .because(&["nginx", "HAProxy", "Caddy", "hyper"], "the request has already passed this proxy"),
        refused_with("a foreign Origin", 403, with("Origin: http://example.com"))
            .because(&["nginx", "HAProxy", "Caddy", "hyper"], "a page of another site sent the request"),
    ]
}

fn connections() -> Vec<Case> {
    let kept = |line: &str| {
        format!(
            "GET /case-000 HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\nGET /case-000/2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
    };
    let expects = |line: &str| {
        format!(
            "POST /case-000 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 5\r\n{line}\r\n\r\nhello"
        )
    };
    vec![
        all_pass("Connection: keep-alive", 2, kept("Connection: keep-alive")),
        all_pass("an empty Connection", 2, kept("Connection:")),
        all_pass("commas alone on Connection", 2, kept("Connection: ,, ,")),
        all_pass("Proxy-Connection: keep-alive", 2, kept("Proxy-Connection: keep-alive")),
        all_pass("Keep-Alive", 2, kept("Keep-Alive: timeout=5, max=100")),
        passes("Connection: Close in capitals", kept("CONNECTION: CLOSE")),
        passes("close after another option", kept("Connection: x-y, close")),
        passes("close on a second line", kept("Connection: x-y\r\nConnection: close")),
        all_pass(
            "an upgrade to h2c",
            2,
            kept("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nConnection: Upgrade, HTTP2-Settings"),
        ),
        all_pass("TE: trailers", 2, kept("TE: trailers\r\nConnection: TE")),
        all_pass("TE: gzip", 2, kept("TE: gzip;q=0.5")),
        passes("Expect: 100-continue", expects("Expect: 100-continue")).arrives(b"hello"),
        passes("Expect in capitals", expects("EXPECT: 100-Continue")).arrives(b"hello"),
        passes("Max-Forwards", with("Max-Forwards: 0")),
        passes("Range", with("Range: bytes=0-1")),
        passes("If-None-Match", with("If-None-Match: \"a\"")),
        passes("an override of the method", with("X-HTTP-Method-Override: DELETE")),
    ]
}
