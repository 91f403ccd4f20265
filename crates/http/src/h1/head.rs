//! Heads of requests, read by the letter (RFC 9112 §3 and §5).
//!
//! Nothing here is lenient: being lenient towards one side and strict towards the other is how requests are smuggled. What
//! passes is unambiguous in what matters: where the message ends, where it goes, how long it is.

use bytes::Bytes;
use http::{Method, Request, Uri, Version};
use memchr::memchr;

use crate::codec::Framing;
use crate::codec::fields::Places;
use crate::codec::syntax::{decimal, field, good_line, is_token, lists};
use crate::{Limits, RawTarget, Refusal};

/// Reads one head after another, each from its first byte on.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    /// Bytes already searched for a line end.
    searched: usize,
    line_start: usize,
    request_line: Option<RequestLine>,
    hosts: u8,
    content_length: Option<u64>,
    chunked: bool,
    expects: bool,
    trailers: bool,
    connection: Options,
    upgrade: Upgrade,
    places: Places,
}

/// A head that is complete.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) request: Request<()>,
    pub(super) framing: Framing,
    /// The connection ends with the answer.
    pub(super) last: bool,
    /// A 100 is waited for.
    pub(super) expects: bool,
    /// Trailers are of use.
    pub(super) trailers: bool,
    /// A websocket is asked for: what follows is not read before that is decided.
    pub(super) asks_for_websocket: bool,
}

#[derive(Clone, Copy, Debug)]
struct RequestLine {
    http_11: bool,
    is_get: bool,
    /// Where it begins, and where its method and its target end.
    start: usize,
    method: usize,
    target: usize,
}

/// What `Connection` lists.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    upgrade: bool,
    close: bool,
    keep_alive: bool,
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

impl HeadReader {
    /// Whether a head has begun and is not complete.
    pub(super) fn has_begun(&self) -> bool {
        self.searched > 0
    }

    /// Reads on in `bytes`, which begin where the head does. Gives its length once it is complete; then
    /// [`take`](Self::take) gives the rest.
    pub(super) fn read(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        if self.searched == 0 {
            check_first_byte(bytes)?;
        }
        if let Some(end) = self.good_lines(bytes, limits)? {
            return self.complete().map(|()| Some(end));
        }
        while let Some(at) = memchr(b'\n', &bytes[self.searched..]) {
            let line_end = self.searched + at;
            if line_end >= limits.head_bytes {
                return Err(self.too_large(bytes, limits));
            }
            let start = self.line_start;
            let line = bytes[start..line_end]
                .strip_suffix(b"\r")
                .ok_or(Refusal::Malformed("a line ends with a bare LF"))?;
            self.searched = line_end + 1;
            self.line_start = self.searched;
            match self.request_line {
                // RFC 9112 §2.2: an empty line before the request line is ignored.
                None if line.is_empty() && line_end == 1 => {}
                None => self.request_line = Some(request_line(start, line, limits)?),
                Some(_) if line.is_empty() => return self.complete().map(|()| Some(self.searched)),
                Some(RequestLine { http_11, .. }) => {
                    self.count(limits)?;
                    let (name, value) = field(line).map_err(Refusal::Malformed)?;
                    self.places.push(start, line, name, value);
                    self.header(name, value, http_11)?;
                }
            }
            if let Some(end) = self.good_lines(bytes, limits)? {
                return self.complete().map(|()| Some(end));
            }
        }
        self.searched = bytes.len();
        if bytes.len() > limits.head_bytes {
            return Err(self.too_large(bytes, limits));
        }
        Ok(None)
    }

    /// The complete head, whose bytes these are. Makes room for the next one.
    pub(super) fn take(&mut self, head: &Bytes) -> Result<Received, Refusal> {
        let Some(line) = self.request_line else { return Err(SHAPE) };
        let asks_for_websocket = self.asks_for_websocket();
        let mut request = Request::new(());
        // The bytes have been checked, but for names longer than the type can hold.
        *request.method_mut() = Method::from_bytes(&head[line.start..line.method]).map_err(|_| SHAPE)?;
        let target = line.method + 1..line.target;
        *request.uri_mut() = match Uri::from_maybe_shared(head.slice(target.clone())) {
            Ok(uri) => uri,
            Err(_) => {
                let (uri, raw) = raw_target(&head.slice(target))?;
                request.extensions_mut().insert(raw);
                uri
            }
        };
        *request.version_mut() = if line.http_11 { Version::HTTP_11 } else { Version::HTTP_10 };
        *request.headers_mut() = self.places.take(head, 0).ok_or(Refusal::HeadTooLarge)?;
        let keeps = if line.http_11 { !self.connection.close } else { self.connection.keep_alive };
        let received = Received {
            request,
            framing: match self.chunked {
                true => Framing::Chunked,
                false => Framing::Sized(self.content_length.unwrap_or(0)),
            },
            last: !keeps,
            expects: self.expects && line.http_11,
            trailers: self.trailers,
            asks_for_websocket,
        };
        self.skip();
        Ok(received)
    }

    /// Forgets what has been read of a head.
    pub(super) fn skip(&mut self) {
        let mut places = std::mem::take(&mut self.places);
        places.clear();
        *self = Self { places, ..Self::default() };
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
            let (start, end) = (self.line_start, self.line_start + length);
            if end > limits.head_bytes {
                break;
            }
            (self.searched, self.line_start) = (end, end);
            self.count(limits)?;
            self.places.push(start, rest, name, value);
            self.header(name, value, http_11)?;
        }
        Ok(None)
    }

    /// Whether there may be one more field line.
    fn count(&self, limits: &Limits) -> Result<(), Refusal> {
        if self.places.len() >= limits.headers { Err(Refusal::HeadTooLarge) } else { Ok(()) }
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
                self.connection.keep_alive |= lists(value, b"keep-alive");
            }
            2 if name.eq_ignore_ascii_case(b"te") => self.trailers |= lists(value, b"trailers"),
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expects |= value.eq_ignore_ascii_case(b"100-continue");
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

    /// Whether the fields, taken together, leave no doubt what comes next.
    fn complete(&self) -> Result<(), Refusal> {
        let http_11 = self.request_line.is_some_and(|line| line.http_11);
        if http_11 && self.hosts == 0 {
            return Err(Refusal::Malformed("an HTTP/1.1 request needs a Host"));
        }
        if self.chunked && self.content_length.is_some() {
            return Err(Refusal::Malformed("both Content-Length and Transfer-Encoding"));
        }
        Ok(())
    }

    /// RFC 6455 §4.1. A connection that is to end after the answer cannot become one, nor one on which a body comes.
    fn asks_for_websocket(&self) -> bool {
        matches!(self.upgrade, Upgrade::Websocket)
            && self.connection.upgrade
            && !self.connection.close
            && !self.chunked
            && self.content_length.unwrap_or(0) == 0
            && self.request_line.is_some_and(|line| line.http_11 && line.is_get)
    }
}

const SHAPE: Refusal = Refusal::Malformed("the request line is not: method, target, version");
const NOT_A_URI: Refusal = Refusal::Malformed("the request target has a byte that a URI cannot have");

/// What cannot be HTTP at all is refused at its first byte, not when a line end fails to come.
fn check_first_byte(bytes: &[u8]) -> Result<(), Refusal> {
    match bytes.first() {
        Some(0x16) => Err(Refusal::Malformed("this is a TLS handshake, and the listener speaks plain HTTP")),
        Some(byte) if is_token(*byte) || matches!(byte, b'\r' | b'\n') => Ok(()),
        Some(_) => Err(Refusal::Malformed("a request begins with a method")),
        None => Ok(()),
    }
}

/// `method SP request-target SP HTTP-version` (RFC 9112 §3), single spaces only. The line begins at `start`.
fn request_line(start: usize, line: &[u8], limits: &Limits) -> Result<RequestLine, Refusal> {
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
    let method_ends = start + method_end;
    Ok(RequestLine {
        http_11,
        is_get: method == b"GET",
        start,
        method: method_ends,
        target: method_ends + 1 + target_end,
    })
}

/// The four forms of RFC 9112 §3.2. Path and query may have bytes that RFC 3986 leaves out.
fn check_target(method: &[u8], target: &[u8]) -> Result<(), Refusal> {
    if target.first() == Some(&b'/') {
        return if is_plain(target) || target.iter().all(is_target_byte) { Ok(()) } else { Err(NOT_A_URI) };
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
    if !target.iter().all(is_target_byte) {
        return Err(NOT_A_URI);
    }
    match Uri::try_from(target) {
        Ok(_) => Ok(()),
        Err(_) => raw_target(&Bytes::copy_from_slice(target)).map(drop),
    }
}

/// What no target has: a control character or a space would end it, and a fragment is never sent (RFC 9112 §3.2).
fn is_target_byte(byte: &u8) -> bool {
    *byte > b' ' && *byte != 0x7f && *byte != b'#'
}

/// A target with bytes that the URI type does not carry: the URI with these percent-encoded, and path and query as they came.
#[cold]
fn raw_target(target: &Bytes) -> Result<(Uri, RawTarget), Refusal> {
    let path = match target.first() {
        Some(b'/') => 0,
        _ => path_of_absolute_form(target).ok_or(NOT_A_URI)?,
    };
    let mut encoded = target[..path].to_vec();
    for byte in &target[path..] {
        match byte {
            b'"' | b'<' | b'>' | b'`' | 0x80.. => {
                encoded.extend_from_slice(format!("%{byte:02X}").as_bytes())
            }
            _ => encoded.push(*byte),
        }
    }
    if encoded.len() > LONGEST_URI {
        return Err(Refusal::TargetTooLong);
    }
    let uri = Uri::try_from(encoded).map_err(|_| NOT_A_URI)?;
    let raw = match target[path] {
        b'/' => target.slice(path..),
        // A query may follow the authority; the origin form has a path.
        _ => Bytes::from([b"/", &target[path..]].concat()),
    };
    Ok((uri, RawTarget(raw)))
}

/// Where path and query of a URL begin, if it has either.
fn path_of_absolute_form(target: &[u8]) -> Option<usize> {
    let authority = target.iter().position(|byte| *byte == b':')? + "://".len();
    let path = target.get(authority..)?.iter().position(|byte| matches!(byte, b'/' | b'?'))?;
    Some(authority + path)
}

/// The URI type takes no longer ones.
const LONGEST_URI: usize = u16::MAX as usize - 1;

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

/// `uri-host [ ":" port ]` (RFC 9110 §7.2), without percent-encoding or user information.
pub(crate) fn valid_host(value: &[u8]) -> bool {
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
#[path = "head_tests.rs"]
mod tests;
