//! Strict parsing of request lines (RFC 9112 §3).

use bytes::Bytes;
use http::Uri;
use memchr::memchr;

use super::syntax::is_token;
use crate::{Limits, RawTarget, RequestRejection};

/// A request line that has been checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLine {
    pub(super) http_11: bool,
    pub(super) is_get: bool,
    /// Where the line begins in the head.
    pub(super) start: usize,
    /// Where its method ends.
    pub(super) method: usize,
    /// Where its target ends.
    pub(super) target: usize,
}

pub(super) const SHAPE: RequestRejection =
    RequestRejection::Malformed("the request line does not have the form `method target version`");
const NOT_A_URI: RequestRejection =
    RequestRejection::Malformed("the request target has a byte that a URI cannot have");

/// Rejects input whose first byte shows that it is not HTTP. The end of its first line might never
/// arrive.
pub(super) fn check_first_byte(bytes: &[u8]) -> Result<(), RequestRejection> {
    match bytes.first() {
        Some(0x16) => Err(RequestRejection::Malformed(
            "the client sent a TLS handshake, but this listener speaks plain HTTP; use http",
        )),
        Some(byte) if is_token(*byte) || matches!(byte, b'\r' | b'\n') => Ok(()),
        Some(_) => Err(RequestRejection::Malformed("the request does not begin with a method")),
        None => Ok(()),
    }
}

/// Parses `method SP request-target SP HTTP-version` (RFC 9112 §3), with single spaces only. The
/// line begins at `start` in the head.
pub(super) fn request_line(
    start: usize,
    line: &[u8],
    limits: &Limits,
) -> Result<RequestLine, RequestRejection> {
    let method_end = memchr(b' ', line).ok_or(SHAPE)?;
    let method = &line[..method_end];
    let rest = &line[method_end + 1..];
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err(RequestRejection::Malformed("the method is not a token"));
    }
    let target_end = memchr(b' ', rest).ok_or(SHAPE)?;
    let target = &rest[..target_end];
    let version = &rest[target_end + 1..];
    let http_11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        b"HTTP/2.0" => {
            return Err(RequestRejection::Malformed(
                "HTTP/2 begins with its own preface; a request line must name HTTP/1.1 or HTTP/1.0",
            ));
        }
        _ => return Err(RequestRejection::Malformed("the version is not HTTP/1.1 or HTTP/1.0")),
    };
    if target.len() > limits.target_bytes {
        return Err(RequestRejection::TargetTooLong);
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

/// Checks the four forms of RFC 9112 §3.2. Path and query may contain bytes that RFC 3986 does not
/// allow.
fn check_target(method: &[u8], target: &[u8]) -> Result<(), RequestRejection> {
    if target.first() == Some(&b'/') {
        return if is_plain(target) || target.iter().all(is_target_byte) { Ok(()) } else { Err(NOT_A_URI) };
    }
    match (target, method) {
        (b"*", b"OPTIONS") => return Ok(()),
        (b"*", _) => return Err(RequestRejection::Malformed("only OPTIONS takes the target *")),
        _ => {}
    }
    let absolute = target.len() > 7
        && (target[..7].eq_ignore_ascii_case(b"http://")
            || target.len() > 8 && target[..8].eq_ignore_ascii_case(b"https://"));
    if !absolute && method != b"CONNECT" {
        return Err(RequestRejection::Malformed("the request target is neither a path nor an http URL"));
    }
    if !target.iter().all(is_target_byte) {
        return Err(NOT_A_URI);
    }
    match Uri::try_from(target) {
        Ok(_) => Ok(()),
        Err(_) => raw_target(&Bytes::copy_from_slice(target)).map(drop),
    }
}

/// Excludes control characters, the space, which would end the target, and `#`, since fragments are
/// never sent (RFC 9112 §3.2).
fn is_target_byte(byte: &u8) -> bool {
    *byte > b' ' && *byte != 0x7f && *byte != b'#'
}

/// Handles a target with bytes that [`Uri`] rejects. Returns the URI with these bytes
/// percent-encoded, and path and query as received.
#[cold]
pub(super) fn raw_target(target: &Bytes) -> Result<(Uri, RawTarget), RequestRejection> {
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
        return Err(RequestRejection::TargetTooLong);
    }
    let uri = Uri::try_from(encoded).map_err(|_| NOT_A_URI)?;
    let raw = match target[path] {
        b'/' => target.slice(path..),
        // In a URL a query may follow the authority directly; the origin form needs a path.
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

/// The longest URI that [`Uri`] accepts.
const LONGEST_URI: usize = u16::MAX as usize - 1;

/// Whether every byte is valid in every part of a target, which holds for almost all targets. The
/// check has no branches, so that the compiler checks many bytes together.
fn is_plain(target: &[u8]) -> bool {
    match target.last_chunk() {
        None => target.iter().all(|byte| is_plain_byte(*byte)),
        Some(last) => target.as_chunks().0.iter().all(is_plain_chunk) && is_plain_chunk(last),
    }
}

fn is_plain_chunk(chunk: &[u8; 16]) -> bool {
    chunk.iter().fold(true, |good, byte| good & is_plain_byte(*byte))
}

fn is_plain_byte(byte: u8) -> bool {
    let visible = (byte > b' ') & (byte < 0x7f);
    visible & (byte != b'#') & (byte != b'<') & (byte != b'>') & (byte != b'`') & (byte != b'"')
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2), without percent-encoding or user information.
pub(crate) fn valid_host(value: &[u8]) -> bool {
    let (host_ok, port) = match value {
        [b'[', rest @ ..] => match memchr(b']', rest) {
            Some(end) => {
                let good = rest[..end].iter().all(|byte| is_host_byte(byte) || *byte == b':');
                (end > 0 && good, &rest[end + 1..])
            }
            None => return false,
        },
        _ => {
            let end = value.iter().position(|byte| !is_host_byte(byte)).unwrap_or(value.len());
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

fn is_host_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}
