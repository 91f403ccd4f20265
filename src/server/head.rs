//! Reads messages before hyper does, and refuses what RFC 9112 does not allow.
//!
//! hyper is lenient in places where being lenient towards one side and strict towards the other is how requests are
//! smuggled. So every head is read here first, by the letter; what passes is unambiguous, and hyper's own reading
//! of it cannot differ in what matters: where the message ends, where it goes, how long it is. The framing of bodies
//! is followed too, because that is how one knows where the next head begins.

use std::error::Error;
use std::fmt;

use bytes::Bytes;
use memchr::memchr;

use super::Limits;
use super::chunked::{Chunked, Next};
use super::syntax::{decimal, field, good_line, is_token, lists};

/// Why a request was refused before it became one, or in the middle of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not valid RFC 9112; the text says what is wrong, and quotes nothing.
    Malformed(&'static str),
    /// The request target is over the limit.
    TargetTooLong,
    /// The head is over the limit, in bytes or in lines.
    HeadTooLarge,
    /// The head was not complete in time.
    HeadTimeout,
    /// The body stopped arriving.
    BodyTimeout,
    /// There are as many connections as there may be; nothing was read of this one.
    TooManyConnections,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed(what) => what,
            Self::TargetTooLong => "the request target is too long",
            Self::HeadTooLarge => "the request head is too large",
            Self::HeadTimeout => "the request head did not arrive in time",
            Self::BodyTimeout => "the request body stopped arriving",
            Self::TooManyConnections => "there are too many connections; nothing was read from this one",
        })
    }
}

impl Error for Refusal {}

/// Follows the messages on one connection.
#[derive(Debug)]
pub(super) struct Messages {
    limits: Limits,
    phase: Phase,
    /// Heads as they came, where they are kept.
    kept: Vec<Bytes>,
}

#[derive(Debug)]
enum Phase {
    Head(Head),
    /// `Content-Length`: this many bytes are left.
    Sized(u64),
    Chunked(Chunked),
    /// Behind a head that asks for a websocket: what these bytes are, the answer decides.
    Undecided,
}

impl Messages {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, phase: Phase::Head(Head::default()), kept: Vec::new() }
    }

    /// The heads since the last call, where they are kept.
    pub(super) fn kept(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.kept)
    }

    /// Whether the next byte begins a message, or something else.
    pub(super) fn between_messages(&self) -> bool {
        match &self.phase {
            Phase::Head(head) => head.searched == 0,
            Phase::Undecided => true,
            Phase::Sized(_) | Phase::Chunked(_) => false,
        }
    }

    /// Whether the last head asked for a websocket, and [`go_on`](Self::go_on) has not been called.
    pub(super) fn undecided(&self) -> bool {
        matches!(self.phase, Phase::Undecided)
    }

    /// There will be no websocket: the next byte begins a message.
    pub(super) fn go_on(&mut self) {
        self.phase = Phase::Head(Head::default());
    }

    /// Whether a head has begun and is not complete.
    pub(super) fn in_head(&self) -> bool {
        matches!(&self.phase, Phase::Head(head) if head.searched > 0)
    }

    /// Whether a body is under way.
    pub(super) fn in_body(&self) -> bool {
        matches!(self.phase, Phase::Sized(_) | Phase::Chunked(_))
    }

    /// Reads on. `bytes` begins where the last call stopped: at the first byte it did not release.
    ///
    /// Gives how many bytes may be released (whole heads and body bytes) and how many heads are among them. A
    /// refusal concerns what follows the released bytes.
    pub(super) fn read(&mut self, bytes: &[u8]) -> (usize, u32, Result<(), Refusal>) {
        let (mut released, mut heads) = (0, 0);
        while released < bytes.len() {
            let rest = &bytes[released..];
            match &mut self.phase {
                Phase::Head(head) => match head.read(rest, &self.limits) {
                    Err(refusal) => return (released, heads, Err(refusal)),
                    Ok(None) => break,
                    Ok(Some((length, body))) => {
                        released += length;
                        heads += 1;
                        if self.limits.keep_heads {
                            self.kept.push(Bytes::copy_from_slice(&rest[..length]));
                        }
                        self.phase = match body {
                            Body::Sized(0) => Phase::Head(Head::default()),
                            Body::Sized(length) => Phase::Sized(length),
                            Body::Chunked => Phase::Chunked(Chunked::default()),
                            Body::Undecided => Phase::Undecided,
                        };
                    }
                },
                Phase::Sized(left) => {
                    let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    released += taken;
                    *left -= taken as u64;
                    if *left == 0 {
                        self.phase = Phase::Head(Head::default());
                    }
                }
                Phase::Undecided => break,
                Phase::Chunked(chunked) => {
                    match chunked.next(rest, self.limits.head_bytes, self.limits.headers) {
                        Err(refusal) => return (released, heads, Err(refusal)),
                        Ok((framing, next)) => {
                            released += framing;
                            match next {
                                Next::Data(length) => released += length,
                                Next::End => self.phase = Phase::Head(Head::default()),
                                Next::Unknown => {}
                            }
                        }
                    }
                }
            }
        }
        (released, heads, Ok(()))
    }
}

#[derive(Clone, Copy)]
enum Body {
    Sized(u64),
    Chunked,
    /// None, and a websocket is asked for.
    Undecided,
}

/// One head, line by line.
#[derive(Debug, Default)]
struct Head {
    /// Bytes already searched for a line end.
    searched: usize,
    line_start: usize,
    lines: usize,
    request_line: Option<RequestLine>,
    hosts: u8,
    content_length: Option<u64>,
    chunked: bool,
    connection: Options,
    upgrade: Upgrade,
}

#[derive(Clone, Copy, Debug)]
struct RequestLine {
    http_11: bool,
    is_get: bool,
}

/// What `Connection` lists.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    upgrade: bool,
    close: bool,
}

/// What `Upgrade` says.
#[derive(Clone, Copy, Debug, Default)]
enum Upgrade {
    #[default]
    Absent,
    /// `websocket`, once and alone.
    Websocket,
    Other,
}

impl Head {
    fn read(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<(usize, Body)>, Refusal> {
        if self.searched == 0 {
            check_first_byte(bytes)?;
        }
        if let Some(end) = self.good_lines(bytes, limits)? {
            return self.complete().map(|body| Some((end, body)));
        }
        while let Some(at) = memchr(b'\n', &bytes[self.searched..]) {
            let line_end = self.searched + at;
            if line_end >= limits.head_bytes {
                return Err(self.too_large(bytes, limits));
            }
            let line = bytes[self.line_start..line_end]
                .strip_suffix(b"\r")
                .ok_or(Refusal::Malformed("a line ends with a bare LF"))?;
            self.searched = line_end + 1;
            self.line_start = self.searched;
            match self.request_line {
                // RFC 9112 §2.2: an empty line before the request line is ignored.
                None if line.is_empty() && line_end == 1 => {}
                None => self.request_line = Some(request_line(line, limits)?),
                Some(_) if line.is_empty() => return self.complete().map(|body| Some((self.searched, body))),
                Some(RequestLine { http_11, .. }) => {
                    let (name, value) = self.count(limits).and(field(line).map_err(Refusal::Malformed))?;
                    self.header(name, value, http_11)?;
                }
            }
            if let Some(end) = self.good_lines(bytes, limits)? {
                return self.complete().map(|body| Some((end, body)));
            }
        }
        self.searched = bytes.len();
        if bytes.len() > limits.head_bytes {
            return Err(self.too_large(bytes, limits));
        }
        Ok(None)
    }

    fn too_large(&self, bytes: &[u8], limits: &Limits) -> Refusal {
        let in_request_line = self.request_line.is_none() && bytes.len() > limits.target_bytes;
        if in_request_line { Refusal::TargetTooLong } else { Refusal::HeadTooLarge }
    }

    /// Reads the field lines that are all there and plainly good: almost always all of them. Gives the end of the head, if
    /// that is reached; what is left is looked at more closely.
    fn good_lines(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        let Some(RequestLine { http_11, .. }) = self.request_line else { return Ok(None) };
        while self.searched == self.line_start {
            let rest = &bytes[self.line_start..];
            if rest.starts_with(b"\r\n") {
                let end = self.line_start + 2;
                return Ok((end <= limits.head_bytes).then_some(end));
            }
            let Some((name, value, length)) = good_line(rest) else { break };
            let end = self.line_start + length;
            if end > limits.head_bytes {
                break;
            }
            (self.searched, self.line_start) = (end, end);
            self.count(limits)?;
            self.header(name, value, http_11)?;
        }
        Ok(None)
    }

    /// Counts a field line.
    fn count(&mut self, limits: &Limits) -> Result<(), Refusal> {
        self.lines += 1;
        if self.lines > limits.headers { Err(Refusal::HeadTooLarge) } else { Ok(()) }
    }

    fn header(&mut self, name: &[u8], value: &[u8], http_11: bool) -> Result<(), Refusal> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.hosts = self.hosts.saturating_add(1);
                if self.hosts > 1 {
                    return Err(Refusal::Malformed("more than one Host"));
                }
                if !valid_host(value) {
                    return Err(Refusal::Malformed("the Host is not a host name with an optional port"));
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = decimal(value)
                    .ok_or(Refusal::Malformed("Content-Length is not one number of decimal digits"))?;
                if self.content_length.is_some_and(|other| other != length) {
                    return Err(Refusal::Malformed("Content-Length lines differ"));
                }
                self.content_length = Some(length);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if !http_11 {
                    return Err(Refusal::Malformed("Transfer-Encoding in HTTP/1.0"));
                }
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::Malformed("Transfer-Encoding is not exactly one chunked"));
                }
                self.chunked = true;
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.connection.upgrade |= lists(value, b"upgrade");
                self.connection.close |= lists(value, b"close");
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                let websocket =
                    matches!(self.upgrade, Upgrade::Absent) && value.eq_ignore_ascii_case(b"websocket");
                self.upgrade = if websocket { Upgrade::Websocket } else { Upgrade::Other };
            }
            _ => {}
        }
        Ok(())
    }

    fn complete(&self) -> Result<Body, Refusal> {
        let http_11 = self.request_line.is_some_and(|line| line.http_11);
        if http_11 && self.hosts == 0 {
            return Err(Refusal::Malformed("an HTTP/1.1 request needs a Host"));
        }
        let body = match (self.content_length, self.chunked) {
            (Some(_), true) => return Err(Refusal::Malformed("both Content-Length and Transfer-Encoding")),
            (None, true) => Body::Chunked,
            (None, false) if self.asks_for_websocket() => Body::Undecided,
            (length, false) => Body::Sized(length.unwrap_or(0)),
        };
        Ok(body)
    }
}

impl Head {
    /// RFC 6455 §4.1. A connection that is to end after the answer cannot become one.
    fn asks_for_websocket(&self) -> bool {
        matches!(self.upgrade, Upgrade::Websocket)
            && self.connection.upgrade
            && !self.connection.close
            && self.request_line.is_some_and(|line| line.http_11 && line.is_get)
    }
}

/// What cannot be HTTP at all is refused at its first byte, not when a line end fails to come.
fn check_first_byte(bytes: &[u8]) -> Result<(), Refusal> {
    match bytes.first() {
        Some(0x16) => Err(Refusal::Malformed("this is a TLS handshake, and the listener speaks plain HTTP")),
        Some(byte) if is_token(*byte) || matches!(byte, b'\r' | b'\n') => Ok(()),
        Some(_) => Err(Refusal::Malformed("a request begins with a method")),
        None => Ok(()),
    }
}

/// `method SP request-target SP HTTP-version` (RFC 9112 §3), single spaces only.
fn request_line(line: &[u8], limits: &Limits) -> Result<RequestLine, Refusal> {
    const SHAPE: Refusal = Refusal::Malformed("the request line is not: method, target, version");
    let method_end = memchr(b' ', line).ok_or(SHAPE)?;
    let (method, rest) = (&line[..method_end], &line[method_end + 1..]);
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err(Refusal::Malformed("the method is not a token"));
    }
    let target_end = memchr(b' ', rest).ok_or(SHAPE)?;
    let (target, version) = (&rest[..target_end], &rest[target_end + 1..]);
    let http_11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        b"HTTP/2.0" => {
            return Err(Refusal::Malformed(
                "HTTP/2 begins with its own preface; a request line is of HTTP/1.1 or HTTP/1.0",
            ));
        }
        _ => return Err(Refusal::Malformed("the version is not HTTP/1.1 or HTTP/1.0")),
    };
    if target.len() > limits.target_bytes {
        return Err(Refusal::TargetTooLong);
    }
    check_target(method, target)?;
    Ok(RequestLine { http_11, is_get: method == b"GET" })
}

/// The four forms of RFC 9112 §3.2, in bytes that our URI type carries unchanged.
fn check_target(method: &[u8], target: &[u8]) -> Result<(), Refusal> {
    const BYTES: Refusal = Refusal::Malformed("the request target has a byte that a URI cannot have");
    if target.first() == Some(&b'/') {
        return if is_plain(target) || is_origin_form(target) { Ok(()) } else { Err(BYTES) };
    }
    if target == b"*" {
        return if method == b"OPTIONS" {
            Ok(())
        } else {
            Err(Refusal::Malformed("only OPTIONS takes the target *"))
        };
    }
    let absolute = target.len() > 7
        && (target[..7].eq_ignore_ascii_case(b"http://")
            || target.len() > 8 && target[..8].eq_ignore_ascii_case(b"https://"));
    if !absolute && method != b"CONNECT" {
        return Err(Refusal::Malformed("the request target is neither a path nor an http URL"));
    }
    let fragment = target.contains(&b'#');
    if fragment || http::Uri::try_from(target).is_err() { Err(BYTES) } else { Ok(()) }
}

/// Whether all bytes are good anywhere in a target, as those of almost every target are: many are looked at at once.
fn is_plain(target: &[u8]) -> bool {
    let plain = |byte: u8| {
        let visible = (byte > b' ') & (byte < 0x7f);
        visible & (byte != b'#') & (byte != b'<') & (byte != b'>') & (byte != b'`') & (byte != b'"')
    };
    let all = |chunk: &[u8; 16]| chunk.iter().fold(true, |good, byte| good & plain(*byte));
    match target.last_chunk() {
        None => target.iter().all(|byte| plain(*byte)),
        Some(last) => target.as_chunks().0.iter().all(all) && all(last),
    }
}

fn is_origin_form(target: &[u8]) -> bool {
    let path = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    let (path, query) = target.split_at(path);
    let good = |bytes: &[u8], part: u8| bytes.iter().all(|byte| TARGET[usize::from(*byte)] & part != 0);
    good(path, PATH) && good(query, QUERY) && std::str::from_utf8(target).is_ok()
}

const PATH: u8 = 1;
const QUERY: u8 = 2;

/// Which bytes the `http` crate's URI accepts in path and query, but for `#`, which it would cut off; a test
/// compares the two.
const TARGET: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0x21_usize;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'#' | 0x7f | b'<' | b'>' => 0,
            b'`' => QUERY,
            b'"' => PATH,
            _ => PATH | QUERY,
        };
        byte += 1;
    }
    table
};

/// `uri-host [ ":" port ]` (RFC 9110 §7.2), without percent-encoding or user information.
pub(super) fn valid_host(value: &[u8]) -> bool {
    let host_byte = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let (host_ok, port) = match value {
        [b'[', rest @ ..] => match memchr(b']', rest) {
            Some(end) => {
                let good = |byte: &u8| host_byte(byte) || *byte == b':';
                (end > 0 && rest[..end].iter().all(good), &rest[end + 1..])
            }
            None => return false,
        },
        _ => {
            let end = value.iter().position(|byte| !host_byte(byte)).unwrap_or(value.len());
            (end > 0, &value[end..])
        }
    };
    let port_ok = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    host_ok && port_ok
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages() -> Messages {
        Messages::new(Limits { head_bytes: 2000, headers: 20, target_bytes: 500, ..Limits::default() })
    }

    fn whole(input: &[u8]) -> (usize, u32, Result<(), Refusal>) {
        messages().read(input)
    }

    /// Feeds byte by byte, as the slowest client would, and must come to the same result.
    fn dripped(input: &[u8]) -> (usize, u32, Result<(), Refusal>) {
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

    #[test]
    fn what_follows_a_request_for_a_websocket_is_not_read_before_it_is_decided() {
        let ask = |more: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{more}\r\n\r\n");
        let bare = ask("Upgrade: WebSocket\r\nConnection: x,\tUPGRADE");
        for behind in ["", "\x01\x05hello", "GET / HTTP/1.1\nbad"] {
            let mut messages = messages();
            assert_eq!(messages.read(format!("{bare}{behind}").as_bytes()), (bare.len(), 1, Ok(())));
            assert_eq!(messages.read(behind.as_bytes()), (0, 0, Ok(())));
            assert!(messages.undecided() && messages.between_messages() && !messages.in_head());
            assert!(!messages.in_body());
            messages.go_on();
            assert_eq!(messages.read(behind.as_bytes()).2.is_err(), !behind.is_empty());
        }
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
            ask("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0"),
            ask("Connection: upgrade\r\nUpgrade: websocket").replace("1.1", "1.0"),
            ask("Connection: upgrade\r\nUpgrade: websocket").replace("GET", "POST"),
        ] {
            let twice = head.repeat(2);
            assert_eq!(whole(twice.as_bytes()), (twice.len(), 2, Ok(())), "{head}");
        }
        let chunked = ask("Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked");
        assert!(refused(format!("{chunked}x").as_bytes()));
    }

    #[test]
    fn too_long_targets_and_heads_are_told_apart() {
        let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(3000));
        assert_eq!(whole(target.as_bytes()).2, Err(Refusal::TargetTooLong));
        let unfinished = format!("GET /{}", "a".repeat(3000));
        assert_eq!(whole(unfinished.as_bytes()).2, Err(Refusal::TargetTooLong));
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(3000));
        assert_eq!(whole(head.as_bytes()).2, Err(Refusal::HeadTooLarge));
    }

    #[test]
    fn the_target_table_is_what_the_uri_type_carries() {
        for byte in 0..=255_u8 {
            for (prefix, class) in [(&b"/"[..], PATH), (b"/?", QUERY)] {
                let mut target = [prefix, &[byte][..]].concat();
                if byte >= 0xc2 {
                    // Make it valid UTF-8: the rule is about bytes of well-formed characters.
                    target = [prefix, "\u{e4}\u{10ffff}".as_bytes()].concat();
                }
                let carried = http::uri::PathAndQuery::try_from(&target[..])
                    .is_ok_and(|parsed| parsed.as_str().as_bytes() == target);
                let ours = check_target(b"GET", &target).is_ok();
                assert_eq!(ours, carried, "{class} {byte:#x}");
            }
        }
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
}
