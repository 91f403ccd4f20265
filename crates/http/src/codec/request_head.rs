//! Strict parsing of request heads (RFC 9112 §3 and §5).
//!
//! Nothing here is lenient: request smuggling relies on parsers that read the same bytes
//! differently. An accepted head leaves no doubt about where the message goes and where it ends.

use bytes::Bytes;
use http::{Method, Request, Uri, Version};
use memchr::memchr;

use super::fields::FieldPositions;
use super::message::Framing;
use super::request_line::{RequestLine, SHAPE, check_first_byte, raw_target, request_line, valid_host};
use super::syntax::{decimal, field, good_line, lists};
use crate::{Limits, RequestRejection};

/// Reads one head after another, each from its first byte on.
///
/// Call [`read`](Self::read) with all bytes of the head so far, until it returns the length. Then
/// [`take`](Self::take) returns the request, or [`skip`](Self::skip) discards it.
#[derive(Debug, Default)]
pub(crate) struct HeadReader {
    /// Bytes already searched for a line end.
    searched: usize,
    line_start: usize,
    request_line: Option<RequestLine>,
    hosts: u8,
    content_length: Option<u64>,
    chunked: bool,
    expects: bool,
    trailers: bool,
    connection: ConnectionOptions,
    upgrade: Upgrade,
    positions: FieldPositions,
}

/// A complete head.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) request: Request<()>,
    pub(crate) framing: Framing,
    /// The connection ends with the response.
    pub(crate) last: bool,
    /// The client waits for `100 Continue`.
    pub(crate) expects: bool,
    /// The client accepts trailers.
    pub(crate) trailers: bool,
    /// The request asks for a websocket. Bytes after the request are not parsed until the handler
    /// has accepted or declined.
    pub(crate) asks_for_websocket: bool,
}

/// Options that `Connection` lists.
#[derive(Clone, Copy, Debug, Default)]
struct ConnectionOptions {
    upgrade: bool,
    close: bool,
    keep_alive: bool,
}

/// The protocol that `Upgrade` names.
#[derive(Clone, Copy, Debug, Default)]
enum Upgrade {
    /// There is no `Upgrade` header.
    #[default]
    Absent,
    /// `websocket`, once and alone.
    Websocket,
    /// Another protocol, or several.
    Other,
}

impl HeadReader {
    /// Whether a head has been received in part.
    pub(crate) fn has_begun(&self) -> bool {
        self.searched > 0
    }

    /// Continues parsing. `bytes` begins with the first byte of the head. Returns the head's length
    /// once it is complete.
    pub(crate) fn read(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, RequestRejection> {
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
                .ok_or(RequestRejection::Malformed("a line ends with a bare LF"))?;
            self.searched = line_end + 1;
            self.line_start = self.searched;
            match self.request_line {
                // RFC 9112 §2.2: an empty line before the request line is ignored.
                None if line.is_empty() && line_end == 1 => {}
                None => self.request_line = Some(request_line(start, line, limits)?),
                Some(_) if line.is_empty() => return self.complete().map(|()| Some(self.searched)),
                Some(RequestLine { http_11, .. }) => {
                    self.count(limits)?;
                    let (name, value) = field(line).map_err(RequestRejection::Malformed)?;
                    self.positions.push(start, line, name, value);
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

    /// Builds the request from the bytes of a complete head, and resets the reader for the next
    /// head.
    pub(crate) fn take(&mut self, head: &Bytes) -> Result<RequestHead, RequestRejection> {
        let Some(line) = self.request_line else { return Err(SHAPE) };
        let asks_for_websocket = self.asks_for_websocket();
        let mut request = Request::new(());
        // The bytes have been checked, but they may be too long for the types of the `http` crate.
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
        *request.headers_mut() = self.positions.take(head, 0).ok_or(RequestRejection::HeadTooLarge)?;
        let keeps = if line.http_11 { !self.connection.close } else { self.connection.keep_alive };
        let received = RequestHead {
            request,
            framing: if self.chunked {
                Framing::Chunked
            } else {
                Framing::Sized(self.content_length.unwrap_or(0))
            },
            last: !keeps,
            expects: self.expects && line.http_11,
            trailers: self.trailers,
            asks_for_websocket,
        };
        self.skip();
        Ok(received)
    }

    pub(crate) fn skip(&mut self) {
        let mut positions = std::mem::take(&mut self.positions);
        positions.clear();
        *self = Self { positions, ..Self::default() };
    }

    fn too_large(&self, bytes: &[u8], limits: &Limits) -> RequestRejection {
        let in_request_line = self.request_line.is_none() && bytes.len() > limits.target_bytes;
        if in_request_line { RequestRejection::TargetTooLong } else { RequestRejection::HeadTooLarge }
    }

    /// The fast path: reads field lines that are complete and plainly valid, as almost all are.
    /// Returns the end of the head once it is reached. The caller checks other lines more closely.
    fn good_lines(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, RequestRejection> {
        let Some(RequestLine { http_11, .. }) = self.request_line else { return Ok(None) };
        while self.searched == self.line_start {
            let rest = &bytes[self.line_start..];
            if rest.starts_with(b"\r\n") {
                let end = self.line_start + 2;
                return Ok((end <= limits.head_bytes).then_some(end));
            }
            let Some((name, value, length)) = good_line(rest) else { break };
            let start = self.line_start;
            let end = start + length;
            if end > limits.head_bytes {
                break;
            }
            self.searched = end;
            self.line_start = end;
            self.count(limits)?;
            self.positions.push(start, rest, name, value);
            self.header(name, value, http_11)?;
        }
        Ok(None)
    }

    fn count(&self, limits: &Limits) -> Result<(), RequestRejection> {
        if self.positions.count() >= limits.headers { Err(RequestRejection::HeadTooLarge) } else { Ok(()) }
    }

    fn header(&mut self, name: &[u8], value: &[u8], http_11: bool) -> Result<(), RequestRejection> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.hosts = self.hosts.saturating_add(1);
                if self.hosts > 1 {
                    return Err(RequestRejection::Malformed("more than one Host"));
                }
                if !valid_host(value) {
                    return Err(RequestRejection::Malformed(
                        "the Host is not a host name with an optional port",
                    ));
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = decimal(value).ok_or(RequestRejection::Malformed(
                    "Content-Length is not one number of decimal digits",
                ))?;
                if self.content_length.is_some_and(|other| other != length) {
                    return Err(RequestRejection::Malformed("Content-Length lines differ"));
                }
                self.content_length = Some(length);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if !http_11 {
                    return Err(RequestRejection::Malformed("Transfer-Encoding in HTTP/1.0"));
                }
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(RequestRejection::Malformed("Transfer-Encoding is not exactly one chunked"));
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

    /// Checks that the fields together leave no doubt about what follows the head.
    fn complete(&self) -> Result<(), RequestRejection> {
        let http_11 = self.request_line.is_some_and(|line| line.http_11);
        if http_11 && self.hosts == 0 {
            return Err(RequestRejection::Malformed("an HTTP/1.1 request needs a Host"));
        }
        if self.chunked && self.content_length.is_some() {
            return Err(RequestRejection::Malformed("both Content-Length and Transfer-Encoding"));
        }
        Ok(())
    }

    /// Whether the request asks for a websocket (RFC 6455 §4.1). `false` if the connection closes
    /// after the response, or if the request has a body.
    fn asks_for_websocket(&self) -> bool {
        matches!(self.upgrade, Upgrade::Websocket)
            && self.connection.upgrade
            && !self.connection.close
            && !self.chunked
            && self.content_length.unwrap_or(0) == 0
            && self.request_line.is_some_and(|line| line.http_11 && line.is_get)
    }
}

#[cfg(test)]
#[path = "request_head_tests.rs"]
mod tests;
