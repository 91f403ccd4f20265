//! Strict reading of response heads (RFC 9112 §4 and §5).
//!
//! A head is refused if two readers could disagree on where the response ends. Otherwise the next
//! request on the connection could get the wrong response. Such a head has `Transfer-Encoding`
//! together with `Content-Length`, a coding other than `chunked`, a bare LF, or lengths that
//! differ.

use bytes::Bytes;
use http::{Response, StatusCode, Version};
use hyper::ext::ReasonPhrase;
use memchr::memchr;

use super::super::error::UpstreamError;
use vbc_http::codec::fields::FieldPositions;
use vbc_http::codec::{Framing, syntax};

/// The largest head of a response, in bytes.
pub(super) const HEAD_BYTES: usize = 64 * 1024;
/// The most field lines of a response's head.
pub(super) const HEAD_LINES: usize = 100;

/// Reads one head after another.
///
/// Call [`read`](Self::read) with more bytes until the head is complete. Then call
/// [`take`](Self::take) to get it, or [`skip`](Self::skip) to drop it.
#[derive(Default)]
pub(super) struct HeadReader {
    /// How many bytes have been searched for a line end.
    searched: usize,
    line_start: usize,
    status: Option<Status>,
    content_length: Option<u64>,
    chunked: bool,
    /// `Connection` lists `upgrade`.
    upgrades: bool,
    /// `Connection` lists `close`.
    closes: bool,
    /// The number of `Upgrade` lines.
    protocols: usize,
    /// An `Upgrade` line is not `websocket`.
    foreign: bool,
    positions: FieldPositions,
}

#[derive(Clone, Copy)]
struct Status {
    http_11: bool,
    code: u16,
    /// The range of the reason phrase.
    reason: (usize, usize),
}

/// The kind of a response, by its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// 100: the request body may be sent.
    Continue,
    /// Another 1xx.
    Interim,
    /// 101: no HTTP follows.
    Switches,
    /// The response to the request.
    Final,
}

impl HeadReader {
    /// Continues to read `bytes`, which start with the head. Returns the head's length and kind, or
    /// `None` while the head is incomplete.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<(usize, Kind)>, UpstreamError> {
        if let Some(done) = self.good_lines(bytes)? {
            return Ok(Some(done));
        }
        while let Some(at) = memchr(b'\n', &bytes[self.searched..]) {
            let end = self.searched + at;
            if end >= HEAD_BYTES {
                return Err(UpstreamError::HeadTooLarge);
            }
            let start = self.line_start;
            let line = bytes[start..end].strip_suffix(b"\r").ok_or(UpstreamError::Protocol)?;
            self.searched = end + 1;
            self.line_start = self.searched;
            match self.status {
                None => self.status = Some(status_line(line)?),
                Some(status) if line.is_empty() => return self.complete(self.searched, status).map(Some),
                Some(status) => {
                    let (name, value) = syntax::field(line).map_err(refused)?;
                    self.field(start, line, name, value, status)?;
                }
            }
            if let Some(done) = self.good_lines(bytes)? {
                return Ok(Some(done));
            }
        }
        self.searched = bytes.len();
        // Bytes that cannot become a response are refused immediately.
        let compared = bytes.len().min(PREFIX.len());
        if self.status.is_none() && bytes[..compared] != PREFIX[..compared] {
            return Err(UpstreamError::Protocol);
        }
        if bytes.len() > HEAD_BYTES { Err(UpstreamError::HeadTooLarge) } else { Ok(None) }
    }

    /// The fast path for complete lines that are obviously valid, as almost all are. Returns the
    /// same as [`read`](Self::read) at the end of the head. Leaves other lines to `read`.
    fn good_lines(&mut self, bytes: &[u8]) -> Result<Option<(usize, Kind)>, UpstreamError> {
        let Some(status) = self.status else { return Ok(None) };
        while self.searched == self.line_start {
            let start = self.line_start;
            let rest = &bytes[start..];
            if rest.starts_with(b"\r\n") {
                let end = start + 2;
                return if end <= HEAD_BYTES { self.complete(end, status).map(Some) } else { Ok(None) };
            }
            let Some((name, value, length)) = syntax::good_line(rest) else { break };
            let end = start + length;
            if end > HEAD_BYTES {
                break;
            }
            (self.searched, self.line_start) = (end, end);
            self.field(start, rest, name, value, status)?;
        }
        Ok(None)
    }

    fn complete(&self, end: usize, status: Status) -> Result<(usize, Kind), UpstreamError> {
        let kind = status.kind();
        if self.is_sound(status, kind) { Ok((end, kind)) } else { Err(UpstreamError::Protocol) }
    }

    /// Whether the fields, taken together, are unambiguous.
    fn is_sound(&self, status: Status, kind: Kind) -> bool {
        if kind == Kind::Switches {
            let framed = self.chunked || self.content_length.is_some();
            return status.http_11 && self.upgrades && self.protocols == 1 && !self.foreign && !framed;
        }
        !(self.chunked && self.content_length.is_some())
    }

    /// Notes a field, in the line that begins at `start`.
    fn field(
        &mut self,
        start: usize,
        line: &[u8],
        name: &[u8],
        value: &[u8],
        status: Status,
    ) -> Result<(), UpstreamError> {
        if self.positions.count() >= HEAD_LINES {
            return Err(UpstreamError::HeadTooLarge);
        }
        self.positions.push(start, line, name, value);
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = syntax::decimal(value).ok_or(UpstreamError::Protocol)?;
                if self.content_length.is_some_and(|other| other != length) {
                    return Err(UpstreamError::Protocol);
                }
                self.content_length = Some(length);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || !status.http_11 || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(UpstreamError::Protocol);
                }
                self.chunked = true;
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.upgrades |= syntax::lists(value, b"upgrade");
                self.closes |= syntax::lists(value, b"close");
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.protocols += 1;
                self.foreign |= !value.eq_ignore_ascii_case(b"websocket");
            }
            _ => {}
        }
        Ok(())
    }

    /// The framing of the body, if the request and the status permit one (RFC 9112 §6.3).
    pub(super) fn framing(&self) -> Framing {
        match (self.chunked, self.content_length) {
            (true, _) => Framing::Chunked,
            (false, Some(length)) => Framing::Sized(length),
            (false, None) => Framing::UntilClose,
        }
    }

    /// Whether the connection ends with this response. HTTP/1.0 connections are used once, because
    /// their persistence is ambiguous.
    pub(super) fn is_last(&self) -> bool {
        self.closes || !self.status.is_some_and(|status| status.http_11)
    }

    /// Drops the head, so that the next one can be read.
    pub(super) fn skip(&mut self) {
        let mut positions = std::mem::take(&mut self.positions);
        positions.clear();
        *self = Self { positions, ..Self::default() };
    }

    /// The complete head, whose bytes are `head`. Afterwards the next head can be read.
    pub(super) fn take(&mut self, head: &Bytes) -> Result<Response<()>, UpstreamError> {
        let Some(status) = self.status else { return Err(UpstreamError::Protocol) };
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status.code).map_err(|_| UpstreamError::Protocol)?;
        *response.version_mut() = if status.http_11 { Version::HTTP_11 } else { Version::HTTP_10 };
        // The 2 reserves capacity for lines that the proxy adds. The lines have been checked, so
        // only a name that is too long for `HeaderName` can fail.
        *response.headers_mut() = self.positions.take(head, 2).ok_or(UpstreamError::Protocol)?;
        let reason = &head[status.reason.0..status.reason.1];
        if response.status().canonical_reason().is_none_or(|usual| usual.as_bytes() != reason)
            && let Ok(reason) = ReasonPhrase::try_from(reason)
        {
            response.extensions_mut().insert(reason);
        }
        self.skip();
        Ok(response)
    }
}

impl Status {
    fn kind(self) -> Kind {
        match self.code {
            100 => Kind::Continue,
            101 => Kind::Switches,
            ..200 => Kind::Interim,
            _ => Kind::Final,
        }
    }
}

const PREFIX: &[u8] = b"HTTP/1.";

/// Where the reason phrase begins: after `HTTP/1.1 200 `.
const REASON: usize = 13;

/// `HTTP-version SP status-code SP [reason]` (RFC 9112 §4). Many servers omit the last space, which
/// is harmless.
fn status_line(line: &[u8]) -> Result<Status, UpstreamError> {
    let rest = line.strip_prefix(PREFIX).ok_or(UpstreamError::Protocol)?;
    let (http_11, code, reason) = match rest {
        [b'1', b' ', a, b, c, reason @ ..] => (true, [*a, *b, *c], reason),
        [b'0', b' ', a, b, c, reason @ ..] => (false, [*a, *b, *c], reason),
        _ => return Err(UpstreamError::Protocol),
    };
    let is_code = matches!(code[0], b'1'..=b'5') && code.iter().all(u8::is_ascii_digit);
    let is_reason = matches!(reason.first(), None | Some(b' '));
    if !is_code || !is_reason || !reason.iter().all(|byte| syntax::is_field_byte(*byte)) {
        return Err(UpstreamError::Protocol);
    }
    let code = code.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    Ok(Status { http_11, code, reason: (REASON.min(line.len()), line.len()) })
}

fn refused(why: &'static str) -> UpstreamError {
    tracing::debug!(why, "refused the upstream's response");
    UpstreamError::Protocol
}
