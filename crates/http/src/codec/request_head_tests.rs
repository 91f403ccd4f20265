//! Heads, whole and byte by byte.

use super::*;
use crate::RawTarget;
use crate::codec::chunked::{ChunkedReader, Next};

/// Follows the messages on one connection, as far as heads and framing go.
struct Messages {
    limits: Limits,
    head: HeadReader,
    body: Body,
}

enum Body {
    None,
    Sized(u64),
    Chunked(ChunkedReader),
}

impl Messages {
    /// Returns how many bytes were read (whole heads and bodies), how many heads are among them,
    /// and the error that stopped reading. `bytes` begins where the last call stopped.
    fn read(&mut self, bytes: &[u8]) -> (usize, u32, Result<(), RequestRejection>) {
        let (mut done, mut heads) = (0, 0);
        while done < bytes.len() {
            let rest = &bytes[done..];
            match &mut self.body {
                Body::None => match self.head.read(rest, &self.limits) {
                    Err(refusal) => return (done, heads, Err(refusal)),
                    Ok(None) => break,
                    Ok(Some(length)) => {
                        let received = self.head.take(&Bytes::copy_from_slice(&rest[..length])).unwrap();
                        (done, heads) = (done + length, heads + 1);
                        self.body = match received.framing {
                            Framing::Chunked => Body::Chunked(ChunkedReader::default()),
                            Framing::Sized(length) if length > 0 => Body::Sized(length),
                            _ => Body::None,
                        };
                    }
                },
                Body::Sized(left) => {
                    let taken = rest.len().min(*left as usize);
                    (done, *left) = (done + taken, *left - taken as u64);
                    if *left == 0 {
                        self.body = Body::None;
                    }
                }
                Body::Chunked(chunked) => {
                    match chunked.next(rest, self.limits.head_bytes, self.limits.headers) {
                        Err(broken) => return (done, heads, Err(broken)),
                        Ok((framing, next)) => {
                            done += framing;
                            match next {
                                Next::Data(length) => done += length,
                                Next::End => self.body = Body::None,
                                Next::Unknown => {}
                            }
                        }
                    }
                }
            }
        }
        (done, heads, Ok(()))
    }
}

fn messages() -> Messages {
    let limits = Limits { head_bytes: 2000, headers: 20, target_bytes: 500, ..Limits::default() };
    Messages { limits, head: HeadReader::default(), body: Body::None }
}

fn whole(input: &[u8]) -> (usize, u32, Result<(), RequestRejection>) {
    messages().read(input)
}

/// Feeds byte by byte, as the slowest client would. The result must be the same.
fn dripped(input: &[u8]) -> (usize, u32, Result<(), RequestRejection>) {
    let mut messages = messages();
    let (mut released, mut heads) = (0, 0);
    for end in 1..=input.len() {
        let (r, h, outcome) = messages.read(&input[released..end]);
        released += r;
        heads += h;
        if outcome.is_err() {
            return (released, heads, outcome);
        }
    }
    (released, heads, Ok(()))
}

fn refused(input: &[u8]) -> bool {
    let (a, b) = (whole(input), dripped(input));
    assert_eq!(a.2.is_err(), b.2.is_err(), "{}", input.escape_ascii());
    a.2.is_err()
}

#[test]
fn what_is_valid_passes_whole() {
    for input in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a?b=c:d&e=%20+@ HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nX: \x09a\u{e4}\r\n\r\n",
        "GET /? HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        "GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "FOO-bar /~a/{b}|\" HTTP/1.1\r\nHost: a\r\nEmpty:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n0\r\nT: v\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let expected = (input.len(), input.matches(" HTTP/1.").count() as u32, Ok(()));
        assert_eq!(whole(input.as_bytes()), expected, "{input}");
        assert_eq!(dripped(input.as_bytes()), expected, "{input}");
    }
}

#[test]
fn heads_that_are_ambiguous_or_invalid_are_refused() {
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(500));
    let long_head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(2000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(20));
    for input in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET /\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        &long_target,
        &long_head,
        &many,
    ] {
        assert!(refused(input.as_bytes()), "{}", input.escape_debug());
    }
}

#[test]
fn chunked_bodies_that_are_ambiguous_are_refused() {
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nhello",
        "5;a\x00b\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "0\r\nT\r\n\r\n",
        "0\r\n T: v\r\n\r\n",
        "0\r\nT: v\n\r\n",
        "0\r\nT : v\r\n\r\n",
    ] {
        let input = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        assert!(refused(input.as_bytes()), "{}", body.escape_debug());
    }
}

#[test]
fn a_refused_head_behind_good_messages_does_not_touch_them() {
    let good = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let input = [&good[..], b"GET / HTTP/1.1\nHost: a\r\n\r\n"].concat();
    let (released, heads, outcome) = whole(&input);
    assert_eq!((released, heads), (good.len(), 1));
    assert!(outcome.is_err());
}

/// Reads one whole head.
fn received(head: &str) -> RequestHead {
    let mut reader = HeadReader::default();
    assert_eq!(reader.read(head.as_bytes(), &Limits::default()), Ok(Some(head.len())), "{head}");
    reader.take(&Bytes::copy_from_slice(head.as_bytes())).unwrap()
}

#[test]
fn what_asks_for_a_websocket_is_told_from_what_does_not() {
    let ask = |more: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{more}\r\n\r\n");
    assert!(received(&ask("Upgrade: WebSocket\r\nConnection: x,\tUPGRADE")).asks_for_websocket);
    let empty = received(&ask("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0"));
    assert!(empty.asks_for_websocket, "a length of 0 is no content");
    for head in [
        ask("Upgrade: websocket"),
        ask("Connection: upgrade"),
        ask("Connection: upgrade\r\nUpgrade: h2c"),
        ask("Connection: upgrade\r\nUpgrade: websocket, h2c"),
        ask("Connection: upgrade\r\nUpgrade: websocket/13"),
        ask("Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket"),
        ask("Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket"),
        ask("Connection: upgrade, close\r\nUpgrade: websocket"),
        ask("Connection: upgrades\r\nUpgrade: websocket"),
        ask("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1"),
        ask("Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked"),
        ask("Connection: upgrade\r\nUpgrade: websocket").replace("1.1", "1.0"),
        ask("Connection: upgrade\r\nUpgrade: websocket").replace("GET", "POST"),
    ] {
        assert!(!received(&head).asks_for_websocket, "{head}");
    }
}

#[test]
fn a_head_says_what_it_says() {
    let head = "POST /a/b?c=%20 HTTP/1.1\r\nHost: a\r\nX-Twice: 1\r\nExpect: 100-Continue\r\n\
                x-twice:\t2 \r\nContent-Length: 3\r\nConnection: close\r\n\r\n";
    let RequestHead { request, framing, last, expects, .. } = received(head);
    assert_eq!((request.method(), request.version()), (&Method::POST, Version::HTTP_11));
    assert_eq!(request.uri(), "/a/b?c=%20");
    let twice: Vec<_> = request.headers().get_all("x-twice").iter().collect();
    assert_eq!(twice, ["1", "2"]);
    assert_eq!((framing, last, expects), (Framing::Sized(3), true, true));
    for (head, last) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false),
        ("\r\nGET / HTTP/1.0\r\n\r\n", true),
        ("GET / HTTP/1.0\r\nConnection: x, Keep-Alive\r\n\r\n", false),
    ] {
        let received = received(head);
        assert_eq!((received.last, received.request.uri().path()), (last, "/"), "{head}");
    }
}

#[test]
fn too_long_targets_and_heads_are_told_apart() {
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(3000));
    assert_eq!(whole(target.as_bytes()).2, Err(RequestRejection::TargetTooLong));
    let unfinished = format!("GET /{}", "a".repeat(3000));
    assert_eq!(whole(unfinished.as_bytes()).2, Err(RequestRejection::TargetTooLong));
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(3000));
    assert_eq!(whole(head.as_bytes()).2, Err(RequestRejection::HeadTooLarge));
}

/// The target of a request as it is sent on, or `None` if it is rejected.
fn goes_out(target: &[u8]) -> Option<Vec<u8>> {
    let head = [b"GET ", target, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    let mut reader = HeadReader::default();
    reader.read(&head, &Limits::default()).ok()?;
    let request = reader.take(&Bytes::from(head)).unwrap().request;
    let raw = request.extensions().get().map(|RawTarget(raw)| raw.to_vec());
    Some(raw.unwrap_or_else(|| request.uri().path_and_query().unwrap().as_str().into()))
}

#[test]
fn every_byte_of_a_target_goes_out_as_it_came_but_those_that_end_one() {
    for byte in 0..=255_u8 {
        let passes = !matches!(byte, 0..=b' ' | b'#' | 0x7f);
        for prefix in ["/", "/?", "/a/b?c=", "//"] {
            let target = [prefix.as_bytes(), &[byte, b'x']].concat();
            assert_eq!(goes_out(&target), passes.then_some(target), "{prefix} {byte:#x}");
        }
        let absolute = [b"http://a/?b=", &[byte][..]].concat();
        assert_eq!(goes_out(&absolute), passes.then_some(absolute[8..].to_vec()), "{byte:#x}");
    }
    assert_eq!(goes_out(b"http://a?<").as_deref(), Some(&b"/?<"[..]));
    for not in ["http://a\"b/", "http://<a>/\"", "http:\"//a/", "http://\"", "http://a\""] {
        assert_eq!(goes_out(not.as_bytes()), None, "{not}");
    }
}

#[test]
fn a_target_that_the_uri_type_cannot_carry_has_a_uri_with_escapes() {
    let request = received("GET http://a/<b>?c=\"\u{e4}\" HTTP/1.1\r\nHost: a\r\n\r\n").request;
    assert_eq!(request.uri(), "http://a/%3Cb%3E?c=%22%C3%A4%22");
    let long = [b"GET /", &b"<".repeat(30_000)[..], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    let limits = Limits { target_bytes: 40_000, ..Limits::default() };
    let mut reader = HeadReader::default();
    assert_eq!(reader.read(&long, &limits), Ok(Some(long.len())));
    assert_eq!(reader.take(&Bytes::from(long)).unwrap_err(), RequestRejection::TargetTooLong);
}

proptest::proptest! {
    #[test]
    fn nothing_panics_and_dripping_changes_nothing(input in proptest::collection::vec(
        proptest::sample::select(b"GET /POST HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nTransfer-Encoding: chunked05;x\0\t".to_vec()),
        0..200,
    )) {
        let (a, b) = (whole(&input), dripped(&input));
        proptest::prop_assert_eq!(a.2, b.2);
        proptest::prop_assert_eq!((a.0, a.1), (b.0, b.1));
    }
}
