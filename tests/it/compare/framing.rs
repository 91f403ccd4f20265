//! Cases about the end of a request: lengths, codings, chunks, and hidden requests.

use super::case::{Case, all_pass, passes, refused, refused_after, refused_with, silent};

/// The request that a smuggler hides. A server that accepts it then closes the connection.
const HIDDEN: &str = "GET /case-000/hidden HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A POST with these lines and a hidden request where its body should be.
fn hides(lines: &str) -> String {
    format!("POST /case-000 HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n0\r\n\r\n{HIDDEN}")
}

/// A POST with this chunked body and `Connection: close`.
fn chunked(body: &str) -> String {
    format!(
        "POST /case-000 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n{body}"
    )
}

/// A POST with this chunked body, followed by a hidden request on a persistent connection.
fn chunked_hides(body: &str) -> String {
    format!("POST /case-000 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{body}{HIDDEN}")
}

/// A POST with these lines, this body and `Connection: close`.
fn sized(lines: &str, body: &str) -> String {
    format!("POST /case-000 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n\r\n{body}")
}

pub(super) fn cases() -> Vec<Case> {
    [lengths(), codings(), chunks(), trailers(), pipelines()].into_iter().flatten().collect()
}

fn lengths() -> Vec<Case> {
    const NUMBER: &str = "RFC 9110 §8.6: one number of decimal digits";
    vec![
        passes("a length", sized("Content-Length: 5", "hello")).arrives(b"hello"),
        passes("a length of nothing", sized("Content-Length: 0", "")).arrives(b""),
        passes("leading zeros", sized("Content-Length: 0005", "hello")).arrives(b"hello"),
        passes("white space around the length", sized("Content-Length: \t 5 \t", "hello")).arrives(b"hello").because(&["nginx"], "RFC 9110 §5.6.3: a tab is white space, too; nginx accepts only spaces"),
        passes("no space before the length", sized("content-length:5", "hello")).arrives(b"hello"),
        passes("equal lengths", sized("Content-Length: 5\r\nContent-Length: 5", "hello"))
            .arrives(b"hello")
            .because(&["nginx"], "RFC 9112 §6.3 allows equal lengths; the proxy forwards one"),
        passes(
            "GET with a body",
            "GET /case-000 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        )
        .arrives(b"hello"),
        passes("DELETE with a body", sized("Content-Length: 5", "hello").replace("POST", "DELETE")).arrives(b"hello"),
        refused("equal lengths on one line", hides("Content-Length: 5, 5")).because(&["HAProxy"], NUMBER),
        refused("lengths that differ", hides("Content-Length: 5\r\nContent-Length: 6")),
        refused("lengths that differ on one line", hides("Content-Length: 5, 6")),
        refused("lengths 0 and 5", hides("Content-Length: 0\r\nContent-Length: 5")),
        refused("a plus before the length", hides("Content-Length: +5")),
        refused("a minus before the length", hides("Content-Length: -5")),
        refused("a hexadecimal length", hides("Content-Length: 0x5")),
        refused("a length with a point", hides("Content-Length: 5.0")),
        refused("a length in quotes", hides("Content-Length: \"5\"")),
        refused("a length with a space inside", hides("Content-Length: 5 5")),
        refused("a length with a parameter", hides("Content-Length: 5;a")),
        refused("an empty length", hides("Content-Length:")).because(&["Caddy"], "RFC 9112 §6.3: a length that is not a number is an error; Caddy ignores it"),
        refused("a length in words", hides("Content-Length: five")),
        refused("a length above 64 bits", hides("Content-Length: 18446744073709551621")),
        refused("a length of thirty digits", hides("Content-Length: 999999999999999999999999999999")),
        refused("a vertical tab before the length", hides("Content-Length: \x0b5")),
        refused("a space before the colon of a length", hides("Content-Length : 5")),
        refused("a tab before the colon of a length", hides("Content-Length\t: 5")),
        refused("a length on a folded line", hides("X: a\r\n Content-Length: 5")).because(&["HAProxy", "Caddy"], "obs-fold is refused"),
        refused("a folded length", hides("Content-Length:\r\n 5")).because(&["HAProxy", "Caddy"], "obs-fold is refused"),
        refused("a length after a bare LF", hides("X: a\nContent-Length: 5")).because(&["nginx", "HAProxy", "Caddy", "hyper"], "a bare LF does not end a line"),
        refused("a length after a bare CR", hides("X: a\rContent-Length: 5")),
        refused("a length after a NUL", hides("X: a\0Content-Length: 5")).because(&["HAProxy"], "this proxy refuses every NUL; HAProxy passes it on"),
        silent("a body cut short", "POST /case-000 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello")
            .then_ends(),
    ]
}

fn codings() -> Vec<Case> {
    const BOTH: &str =
        "RFC 9112 §6.1 lets a server refuse both framings; one of them is meant for another reader";
    const EXACTLY: &str = "exactly one `chunked`";
    const LAST: &str = "RFC 9112 §6.1: one `chunked`, and no coding that we do not decode; hyper checks the last coding alone";
    vec![
        passes("chunked in capitals", chunked("5\r\nhello\r\n0\r\n\r\n").replace("chunked", "CHUNKED"))
            .arrives(b"hello"),
        refused("a length, then a coding", hides("Content-Length: 5\r\nTransfer-Encoding: chunked")).because(&["HAProxy", "Caddy", "hyper"], BOTH),
        refused("a coding, then a length", hides("Transfer-Encoding: chunked\r\nContent-Length: 5")).because(&["HAProxy", "Caddy", "hyper"], BOTH),
        refused("a coding and a length of nothing", hides("Transfer-Encoding: chunked\r\nContent-Length: 0"))
            .because(&["HAProxy", "Caddy", "hyper"], BOTH),
        refused("a coding and a long length", hides("Transfer-Encoding: chunked\r\nContent-Length: 115"))
            .because(&["HAProxy", "Caddy", "hyper"], BOTH),
        refused("a coding and a bad length", hides("Transfer-Encoding: chunked\r\nContent-Length: x")).because(&["Caddy", "hyper"], "RFC 9112 §6.1: both framings are an attack; Caddy and hyper read only the coding"),
        refused("chunked twice", hides("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")).because(&["hyper"], LAST),
        refused("chunked twice on one line", hides("Transfer-Encoding: chunked, chunked")).because(&["hyper"], LAST),
        refused("chunked and identity", hides("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity")),
        refused("identity and chunked", hides("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked")).because(&["hyper"], LAST),
        refused("identity", hides("Transfer-Encoding: identity")),
        refused("gzip and chunked", hides("Transfer-Encoding: gzip, chunked")).because(&["hyper"], LAST),
        refused("gzip", hides("Transfer-Encoding: gzip")),
        refused("xchunked", hides("Transfer-Encoding: xchunked")),
        refused("chunked with a parameter", hides("Transfer-Encoding: chunked;a=b")),
        refused("chunked in quotes", hides("Transfer-Encoding: \"chunked\"")),
        refused("a comma before chunked", hides("Transfer-Encoding: ,chunked")).because(&["hyper"], EXACTLY),
        refused("a comma after chunked", hides("Transfer-Encoding: chunked,")).because(&["HAProxy"], EXACTLY),
        refused("an empty coding", hides("Transfer-Encoding:")),
        refused("a vertical tab before chunked", hides("Transfer-Encoding: \x0bchunked")),
        refused("a form feed before chunked", hides("Transfer-Encoding: \x0cchunked")),
        refused("a NUL after chunked", hides("Transfer-Encoding: chunked\0")),
        refused("a space before the colon of a coding", hides("Transfer-Encoding : chunked")),
        refused("a folded coding", hides("Transfer-Encoding:\r\n chunked")).because(&["HAProxy", "Caddy"], "obs-fold is refused"),
        refused("a coding on a folded line", hides("X: a\r\n Transfer-Encoding: chunked"))
            .because(&["HAProxy", "Caddy"], "obs-fold is refused"),
        refused("a coding after a bare LF", hides("X: a\nTransfer-Encoding: chunked"))
            .because(&["nginx", "HAProxy", "Caddy", "hyper"], "a bare LF does not end a line"),
        refused("a coding after a space", hides(" Transfer-Encoding: chunked")).because(&["HAProxy"], "obs-fold is refused"),
        passes("a coding with an underscore", sized("Transfer_Encoding: chunked\r\nContent-Length: 5", "hello"))
            .arrives(b"hello"),
        refused(
            "a coding in HTTP/1.0",
            "POST /case-000 HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        )
        .because(&["HAProxy", "Caddy"], "RFC 9112 §6.1: a coding in HTTP/1.0 means that framing is faulty"),
        refused(
            "a coding in HTTP/1.0, kept alive",
            format!("POST /case-000 HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
        )
        .because(&["HAProxy", "Caddy"], "RFC 9112 §6.1: a coding in HTTP/1.0 means that framing is faulty"),
        passes(
            "a length named on Connection",
            sized("Connection: content-length\r\nContent-Length: 5", "hello"),
        )
        .arrives(b"hello"),
        passes(
            "a coding named on Connection",
            chunked("5\r\nhello\r\n0\r\n\r\n").replace("Connection: close", "Connection: close, transfer-encoding"),
        )
        .arrives(b"hello"),
    ]
}

fn chunks() -> Vec<Case> {
    const DIGITS: &str = "RFC 9112 §7.1: a size is hexadecimal digits and nothing else";
    const LINE_END: &str = "RFC 9112 §7.1: chunks end with CR LF, and the TERM.EXT attack uses a bare LF";
    const EXTENSION: &str = "a control character in an extension is refused, as everywhere";
    vec![
        passes("chunks", chunked("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n")).arrives(b"hello!"),
        passes("no chunk but the last", chunked("0\r\n\r\n")).arrives(b""),
        passes("sizes in capitals", chunked("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"))
            .arrives(b"01234567890123456789"),
        passes("sizes with zeros before", chunked("0005\r\nhello\r\n0000\r\n\r\n")).arrives(b"hello"),
        passes("a chunk extension", chunked("5;a=b\r\nhello\r\n0\r\n\r\n")).arrives(b"hello"),
        passes("a quoted chunk extension", chunked("5;a=\"b;c\"\r\nhello\r\n0;d\r\n\r\n")).arrives(b"hello"),
        refused("a space after a size", chunked_hides("5 \r\nhello\r\n0\r\n\r\n"))
            .because(&["nginx", "HAProxy", "Caddy", "hyper"], DIGITS),
        refused("a space before an extension", chunked_hides("5 ;a\r\nhello\r\n0\r\n\r\n"))
            .because(&["nginx", "HAProxy", "hyper"], DIGITS),
        refused("a space before a size", chunked_hides(" 5\r\nhello\r\n0\r\n\r\n")),
        refused("a plus before a size", chunked_hides("+5\r\nhello\r\n0\r\n\r\n")),
        refused("a minus before a size", chunked_hides("-5\r\nhello\r\n0\r\n\r\n")),
        refused("0x before a size", chunked_hides("0x5\r\nhello\r\n0\r\n\r\n")),
        refused("no size", chunked_hides("\r\nhello\r\n0\r\n\r\n")),
        refused("an extension without a size", chunked_hides(";a\r\nhello\r\n0\r\n\r\n")),
        refused("a size that is no number", chunked_hides("five\r\nhello\r\n0\r\n\r\n")),
        refused("a size of 65 bits", chunked_hides("10000000000000005\r\nhello\r\n0\r\n\r\n")),
        refused("a size of 64 bits", chunked_hides("ffffffffffffffff\r\nhello\r\n0\r\n\r\n")),
        refused(
            "a size of 33 digits",
            chunked_hides("100000000000000000000000000000005\r\nhello\r\n0\r\n\r\n"),
        ),
        refused("a bare LF after a size", chunked_hides("5\nhello\r\n0\r\n\r\n"))
            .because(&["nginx", "HAProxy", "Caddy"], LINE_END),
        refused("a bare LF after a chunk", chunked_hides("5\r\nhello\n0\r\n\r\n"))
            .because(&["nginx", "HAProxy"], LINE_END),
        refused("a bare CR after a chunk", chunked_hides("5\r\nhello\r0\r\n\r\n")),
        refused("two other bytes after a chunk", chunked_hides("5\r\nhelloXX0\r\n\r\n")),
        refused("a chunk longer than its size", chunked_hides("5\r\nhello!\r\n0\r\n\r\n")),
        refused("a bare LF after the last size", chunked_hides("5\r\nhello\r\n0\n\r\n"))
            .because(&["nginx", "HAProxy", "Caddy"], LINE_END),
        refused("a bare LF in an extension", chunked_hides("5;a\nhello\r\n0\r\n\r\n"))
            .because(&["nginx", "HAProxy", "Caddy"], LINE_END),
        refused("a bare CR in an extension", chunked_hides("5;a\rb\r\nhello\r\n0\r\n\r\n"))
            .because(&["Caddy"], "RFC 9112 §2.2: a bare CR is no part of a line"),
        refused("a NUL in an extension", chunked_hides("5;a\0b\r\nhello\r\n0\r\n\r\n"))
            .because(&["nginx", "HAProxy", "Caddy", "hyper"], EXTENSION),
        refused_with(
            "an extension of 20,000 bytes",
            431,
            chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(20_000))),
        )
        .because(&["nginx"], "the overhead of a body is limited"),
        silent("chunks cut short", chunked("5\r\nhello\r\n")).then_ends(),
        silent("a chunk cut short", chunked("a\r\nhello")).then_ends(),
    ]
}

fn trailers() -> Vec<Case> {
    const LINES: &str = "a trailer is a field line like every other; some servers do not check it";
    vec![
        passes("a trailer", chunked("5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")).arrives(b"hello"),
        all_pass(
            "trailers that frame and route",
            2,
            chunked_hides("5\r\nhello\r\n0\r\nContent-Length: 99\r\nHost: example.com\r\nTransfer-Encoding: gzip\r\n\r\n"),
        )
        .arrives(b"hello").because(&["HAProxy"], "RFC 9110 §6.5.1: such trailers are dropped and have no effect"),
        refused("a trailer without a colon", chunked_hides("5\r\nhello\r\n0\r\nno colon\r\n\r\n")).because(&["nginx"], LINES),
        refused("a folded trailer", chunked_hides("5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n")).because(&["nginx", "HAProxy", "Caddy"], LINES),
        refused("a space before the colon of a trailer", chunked_hides("5\r\nhello\r\n0\r\nX : a\r\n\r\n"))
            .because(&["nginx", "HAProxy", "Caddy"], LINES),
        refused("a bare LF after a trailer", chunked_hides("5\r\nhello\r\n0\r\nX: a\n\r\n")).because(&["nginx", "HAProxy", "Caddy", "hyper"], LINES),
        refused("a bare LF after the trailers", chunked_hides("5\r\nhello\r\n0\r\nX: a\r\n\n")).because(&["nginx", "HAProxy", "Caddy", "hyper"], LINES),
        refused("a NUL in a trailer", chunked_hides("5\r\nhello\r\n0\r\nX: a\0b\r\n\r\n")).because(&["nginx", "HAProxy", "Caddy"], LINES),
        refused_with(
            "101 trailers",
            431,
            chunked(&format!("5\r\nhello\r\n0\r\n{}\r\n", "X: a\r\n".repeat(101))),
        )
        .because(&["nginx", "Caddy"], "headers and trailers have the same limit"),
    ]
}

fn pipelines() -> Vec<Case> {
    let get = |path: &str| format!("GET /case-000{path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let post = "POST /case-000/p HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello";
    let put = "PUT /case-000/q HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (a, b) = (get("/a"), get("/b"));
    vec![
        all_pass("a pipeline", 3, format!("{a}{b}{HIDDEN}")),
        all_pass("a pipeline with bodies", 4, format!("{post}{put}{post}{HIDDEN}")).arrives(b"hello"),
        all_pass("an empty line between requests", 2, format!("{a}\r\n{HIDDEN}"))
            .because(&["Caddy"], "RFC 9112 §2.2: a server ignores one empty line"),
        all_pass(
            "a body of nothing between requests",
            2,
            format!("{}{HIDDEN}", post.replace(": 5", ": 0").replace("hello", "")),
        ),
        passes("bytes after a request that ends the connection", format!("{HIDDEN}{a}{b}")),
        refused_after(
            "a bad second request: both framings",
            1,
            format!("{a}{}", hides("Content-Length: 5\r\nTransfer-Encoding: chunked")),
        )
        .because(&["HAProxy", "Caddy", "hyper"], "RFC 9112 §6.1 lets a server refuse both framings"),
        refused_after(
            "a bad second request: lengths that differ",
            1,
            format!("{a}{}", hides("Content-Length: 5\r\nContent-Length: 6")),
        ),
        refused_after(
            "a bad second request: a bare LF",
            1,
            format!("{a}GET /case-000 HTTP/1.1\nHost: localhost\nConnection: close\n\n"),
        )
        .because(&["nginx", "HAProxy", "Caddy", "hyper"], "a bare LF does not end a line"),
        refused_after(
            "a bad second request: no Host",
            1,
            format!("{a}GET /case-000 HTTP/1.1\r\nConnection: close\r\n\r\n"),
        )
        .because(&["HAProxy", "hyper"], "RFC 9112 §3.2: 400; HAProxy and hyper do not require a Host"),
        refused_after("a bad third request", 2, format!("{a}{post}GET /case-000\r\nHost: localhost\r\n\r\n"))
            .because(&["nginx"], "a request line has a version; nginx reads it as HTTP/0.9"),
        refused_after("rubbish after a request", 1, format!("{a}\0\0\0\0")),
        refused_after("rubbish after a body", 1, format!("{post} /c HTTP/1.1\r\nHost: localhost\r\n\r\n")),
        refused_after("rubbish after the last chunk", 1, format!("{put}\x01\r\n\r\n")),
        all_pass("a body that continues as a method", 2, format!("{post}GET{}", &HIDDEN[3..])),
        refused_after(
            "a chunked request with a bad chunk after a good request",
            1,
            format!("{a}{}", chunked_hides("zz\r\n")),
        ),
    ]
}
