//! Cases about responses of an upstream.

use super::case::{Becomes, Response};

const OK: Becomes = Becomes::Whole { status: 200, body: "ok" };

fn passes(name: &'static str, bytes: impl AsRef<[u8]>) -> Response {
    Response::new(name, bytes, OK)
}

fn becomes(name: &'static str, status: u16, body: &'static str, bytes: impl AsRef<[u8]>) -> Response {
    Response::new(name, bytes, Becomes::Whole { status, body })
}

fn bad(name: &'static str, bytes: impl AsRef<[u8]>) -> Response {
    Response::new(name, bytes, Becomes::BadGateway)
}

/// A response that the upstream cuts short by closing the connection.
fn cut(name: &'static str, bytes: impl AsRef<[u8]>) -> Response {
    Response::new(name, bytes, Becomes::Cut).then_ends()
}

/// A 200 with these lines and this body.
fn with(lines: &str, rest: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n{rest}")
}

/// A 200 with this line and a correct length.
fn lined(line: &str) -> String {
    with(&format!("{line}\r\nContent-Length: 2"), "ok")
}

pub(super) fn cases() -> Vec<Response> {
    [plain(), interim(), bodiless(), lengths(), chunks(), heads(), ends()].into_iter().flatten().collect()
}

fn plain() -> Vec<Response> {
    let chunked = with("Transfer-Encoding: chunked", "2\r\nok\r\n0\r\n\r\n");
    vec![
        passes("a length", with("Content-Length: 2", "ok")),
        passes("chunks", &chunked),
        passes(
            "chunks with extensions",
            with("Transfer-Encoding: chunked", "1;a=b\r\no\r\n01\r\nk\r\n000;c\r\n\r\n"),
        ),
        passes("chunked in capitals", chunked.replace("chunked", "CHUNKED")),
        passes("a length of leading zeros", with("Content-Length: 0002", "ok")),
        passes("equal lengths", with("Content-Length: 2\r\nContent-Length: 2", "ok")),
        passes("to the end of the connection", with("X: y", "ok")).then_ends(),
        passes("no reason", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"),
        passes("no reason and no space", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
        passes("a reason of obs-text", b"HTTP/1.1 200 \xe4\xff\r\nContent-Length: 2\r\n\r\nok".as_slice()),
        passes(
            "obs-text in a value",
            b"HTTP/1.1 200 OK\r\nX: \xe4\xff\r\nContent-Length: 2\r\n\r\nok".as_slice(),
        ),
        passes("an empty value", lined("X:")),
        passes("an underscore in a name", lined("X_Y: z")),
        passes("hop-by-hop lines", lined("Connection: x-one\r\nX-One: 1\r\nKeep-Alive: timeout=5")),
        passes("Connection: close", lined("Connection: close")).then_ends(),
        passes("HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok").then_ends(),
        passes(
            "HTTP/1.0, kept alive",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        ),
        passes("HTTP/1.0 to the end", "HTTP/1.0 200 OK\r\n\r\nok").then_ends(),
        passes("a length to an HTTP/1.0 client", with("Content-Length: 2", "ok")).to("GET", "1.0"),
        passes("chunks to an HTTP/1.0 client", &chunked).to("GET", "1.0"),
        passes("to the end, to an HTTP/1.0 client", with("X: y", "ok")).to("GET", "1.0").then_ends(),
        becomes("a 404", 404, "no", "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"),
        becomes("a status of no class", 599, "no", "HTTP/1.1 599 Odd\r\nContent-Length: 2\r\n\r\nno"),
        becomes(
            "a redirect",
            302,
            "",
            "HTTP/1.1 302 Found\r\nLocation: http://a.example/\r\nContent-Length: 0\r\n\r\n",
        ),
    ]
}

fn interim() -> Vec<Response> {
    let ok = with("Content-Length: 2", "ok");
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    vec![
        passes("100 before", format!("HTTP/1.1 100 Continue\r\n\r\n{ok}")),
        passes("103 before", format!("{early}{ok}")),
        passes("five of them before", format!("{}{ok}", early.repeat(5))),
        passes("102 with a length", format!("HTTP/1.1 102 Processing\r\nContent-Length: 2\r\n\r\n{ok}")),
        passes("103 to an HTTP/1.0 client", format!("{early}{ok}")).to("GET", "1.0"),
        bad(
            "an unrequested 101",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        )
        .then_ends()
        .because(&["Caddy"], "RFC 9110 §7.8: a switch that nobody requested; Caddy turns it into a 200"),
        bad("1xx and no more", early).then_ends(),
    ]
}

fn bodiless() -> Vec<Response> {
    vec![
        becomes("HEAD with a length", 200, "", with("Content-Length: 2", "")).to("HEAD", "1.1"),
        becomes("HEAD, chunked", 200, "", with("Transfer-Encoding: chunked", "")).to("HEAD", "1.1"),
        becomes("HEAD with a body", 200, "", with("Content-Length: 2", "ok")).to("HEAD", "1.1"),
        becomes("204", 204, "", "HTTP/1.1 204 No Content\r\n\r\n"),
        becomes("204 with a length of 0", 204, "", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
        becomes("204 with a body", 204, "", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"),
        becomes("304", 304, "", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n"),
        becomes("304 with a length", 304, "", "HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\n\r\n"),
        becomes("304 with a body", 304, "", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok"),
        passes(
            "another response after the response",
            with("Content-Length: 2", "okHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON"),
        ),
        passes(
            "another response after the chunks",
            with(
                "Transfer-Encoding: chunked",
                "2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON",
            ),
        ),
    ]
}

fn lengths() -> Vec<Response> {
    const NUMBER: &str = "RFC 9110 §8.6: one number of decimal digits; otherwise the end would be a guess";
    const BOTH: &str = "this proxy never chooses between two framings";
    vec![
        bad("lengths that differ", with("Content-Length: 2\r\nContent-Length: 3", "ok!"))
            .because(&["nginx"], NUMBER),
        bad("equal lengths on one line", with("Content-Length: 2, 2", "ok"))
            .because(&["HAProxy", "hyper"], NUMBER),
        bad("a plus before the length", with("Content-Length: +2", "ok")),
        bad("a minus before the length", with("Content-Length: -2", "ok")),
        bad("a hexadecimal length", with("Content-Length: 0x2", "ok")),
        bad("an empty length", with("Content-Length:", "ok")),
        bad("a length above 64 bits", with("Content-Length: 18446744073709551618", "ok"))
            .because(&["HAProxy"], NUMBER),
        bad("both framings", with("Content-Length: 2\r\nTransfer-Encoding: chunked", "2\r\nok\r\n0\r\n\r\n"))
            .because(&["nginx", "HAProxy", "Caddy", "hyper"], BOTH),
        bad(
            "both framings, the other way",
            with("Transfer-Encoding: chunked\r\nContent-Length: 2", "2\r\nok\r\n0\r\n\r\n"),
        )
        .because(&["nginx", "HAProxy", "Caddy", "hyper"], BOTH),
        bad(
            "chunked twice",
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "2\r\nok\r\n0\r\n\r\n"),
        )
        .because(&["nginx", "hyper"], "exactly one `chunked`"),
        bad("gzip and chunked", with("Transfer-Encoding: gzip, chunked", "2\r\nok\r\n0\r\n\r\n"))
            .because(&["nginx", "hyper"], "a coding that the proxy neither decodes nor may pass on"),
        bad("identity", with("Transfer-Encoding: identity", "ok"))
            .then_ends()
            .because(&["nginx", "hyper"], "exactly one `chunked`"),
        bad(
            "chunks in HTTP/1.0",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        )
        .then_ends()
        .because(&["nginx", "HAProxy", "Caddy"], "RFC 9112 §6.1: framing is faulty"),
        bad(
            "a space before the colon of a coding",
            with("Transfer-Encoding : chunked", "2\r\nok\r\n0\r\n\r\n"),
        )
        .then_ends()
        .because(&["Caddy"], "RFC 9112 §5.1: such responses are framed differently by different readers"),
    ]
}

fn chunks() -> Vec<Response> {
    let chunked = |body: &str| with("Transfer-Encoding: chunked", body);
    vec![
        cut("a size that is no number", chunked("2\r\nok\r\nXX\r\n")),
        cut("a minus before a size", chunked("2\r\nok\r\n-1\r\n")),
        cut("a size above 64 bits", chunked("2\r\nok\r\n10000000000000002\r\nok")),
        cut("other bytes after a chunk", chunked("2\r\nokXX0\r\n\r\n")),
        cut("no last chunk", chunked("2\r\nok\r\n")),
        cut("half a chunk", chunked("2\r\nok\r\na\r\nhello")),
        cut("half the end", chunked("2\r\nok\r\n0\r\n")),
        cut("a length cut short", with("Content-Length: 10", "hello")),
    ]
}

fn heads() -> Vec<Response> {
    const CONTROL: &str = "NUL and bare CR are a 502; the client may split there";
    const FOLD: &str = "obs-fold is invalid in RFC 9112, and never repaired";
    const LINE: &str = "RFC 9112 §4: a status line has one form";
    vec![
        bad("no colon", lined("no colon")),
        bad("no name", lined(": a")).because(
            &["Caddy"],
            "RFC 9112 §5: a name is a token, and nothing stands between it and the colon",
        ),
        bad("a space before the colon", lined("X : a")).because(
            &["Caddy"],
            "RFC 9112 §5: a name is a token, and nothing stands between it and the colon",
        ),
        bad("a space in a name", lined("X Y: a")).because(
            &["Caddy"],
            "RFC 9112 §5: a name is a token, and nothing stands between it and the colon",
        ),
        bad("a folded line", lined("X: a\r\n b")).because(&["HAProxy", "Caddy"], FOLD),
        bad("a NUL in a value", lined("X: a\0b")).because(&["HAProxy", "Caddy"], CONTROL),
        bad("a bare CR in a value", lined("X: a\rb"))
            .because(&["Caddy"], "RFC 9110 §5.5: a value with a CR is invalid and dangerous"),
        bad("a bare LF in a value", lined("X: a\nSet-Cookie: b"))
            .because(&["nginx", "HAProxy", "Caddy", "hyper"], "a bare LF does not end a line"),
        bad("bare LFs for line ends", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok")
            .because(&["nginx", "HAProxy", "Caddy", "hyper"], "a bare LF does not end a line"),
        bad("70,000 bytes", lined(&format!("X: {}", "a".repeat(70_000)))).because(
            &["Caddy", "hyper"],
            "this proxy limits heads; the limits of Caddy and hyper are larger",
        ),
        bad("120 lines", lined("X: a\r\n".repeat(120).trim_end()))
            .because(&["nginx", "Caddy"], "this proxy limits the number of headers"),
        bad("HTTP/2", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .because(&["nginx", "HAProxy", "Caddy"], LINE),
        bad("HTTP/1.2", "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .because(&["nginx", "HAProxy", "Caddy"], LINE),
        bad("a version in lower case", "http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .then_ends()
            .because(&["nginx"], LINE),
        bad("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok")
            .then_ends()
            .because(&["nginx", "HAProxy"], LINE),
        bad("a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok")
            .then_ends()
            .because(&["nginx", "HAProxy"], LINE),
        bad("a status of letters", "HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok")
            .then_ends()
            .because(&["nginx"], LINE),
        bad("a status of 000", "HTTP/1.1 000 OK\r\nContent-Length: 2\r\n\r\nok")
            .then_ends()
            .because(&["nginx", "HAProxy"], LINE),
        bad("a status of 600 and more", "HTTP/1.1 666 OK\r\nContent-Length: 2\r\n\r\nok").because(
            &["nginx", "HAProxy", "Caddy", "hyper"],
            "RFC 9110 §15: outside of 100 to 599 a status is invalid",
        ),
        bad("two spaces before the status", "HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok")
            .because(&["nginx", "HAProxy", "Caddy"], LINE),
        bad("an empty line before", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .then_ends()
            .because(&["nginx", "HAProxy", "hyper"], LINE),
        bad("HTML alone", "<html>hello</html>")
            .then_ends()
            .because(&["nginx"], "HTTP/0.9 is not supported; any bytes could be such a response"),
        bad("a greeting of SSH", "SSH-2.0-OpenSSH_9.6\r\n")
            .then_ends()
            .because(&["nginx"], "HTTP/0.9 is not supported"),
        bad("a greeting of ICY", "ICY 200 OK\r\n\r\nok").then_ends().because(&["nginx"], LINE),
    ]
}

fn ends() -> Vec<Response> {
    vec![
        bad("no byte", "").then_ends(),
        bad("one byte", "H").then_ends(),
        bad("half a status line", "HTTP/1.1 20").then_ends(),
        bad("a status line", "HTTP/1.1 200 OK\r\n").then_ends(),
        bad("half a line", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a").then_ends(),
    ]
}
