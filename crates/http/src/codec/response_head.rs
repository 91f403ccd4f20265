//! Heads of responses, and how their bodies are framed (RFC 9112 §4 and §6).

use std::cell::RefCell;

use http::response::Parts;
use http::{HeaderMap, Method, StatusCode, Version, header};
use hyper::ext::ReasonPhrase;
use vbc_base::clock::Clock;

use super::message::{Framing, write_decimal, write_line};
use super::request_head::RequestHead;
use super::syntax::{decimal, lists};

/// The properties of a request that its response depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseContext {
    /// The client speaks HTTP/1.1, not 1.0.
    pub(crate) http_11: bool,
    /// The method is HEAD.
    pub(crate) to_head: bool,
    /// The method is CONNECT.
    pub(crate) to_connect: bool,
    /// The client accepts trailers.
    pub(crate) trailers: bool,
    /// The connection ends with the response.
    pub(crate) last: bool,
}

impl ResponseContext {
    /// The context of the response to a rejected request.
    pub(crate) const REJECTED: Self =
        Self { http_11: true, to_head: false, to_connect: false, trailers: false, last: true };

    pub(crate) fn of(head: &RequestHead) -> Self {
        Self {
            http_11: head.request.version() == Version::HTTP_11,
            to_head: head.request.method() == Method::HEAD,
            to_connect: head.request.method() == Method::CONNECT,
            trailers: head.trailers,
            last: head.last,
        }
    }
}

/// How to write the rest of the message after the head.
pub(crate) struct ResponsePlan {
    pub(crate) framing: Framing,
    /// The body is not sent, even if the handler returned one.
    pub(crate) bodiless: bool,
    /// The connection ends with the response.
    pub(crate) last: bool,
}

/// Facts from the handler's fields on which other fields depend.
struct FieldSummary {
    length: Option<u64>,
    dated: bool,
    closes: bool,
}

/// Writes a head to `out`. `exact` is the length of the body, if known. With `date`, a missing
/// `Date` is added.
pub(crate) fn write_response_head(
    parts: &Parts,
    exact: Option<u64>,
    context: ResponseContext,
    date: bool,
    out: &mut Vec<u8>,
) -> ResponsePlan {
    // The status line shows the client's version of HTTP (RFC 9110 §6.2).
    write_status(parts, context.http_11, out);
    let FieldSummary { length, dated, closes } = write_fields(&parts.headers, out);
    let switches = context.to_connect && parts.status.is_success();
    // RFC 9112 §6.3: these have no body, regardless of their fields.
    let silent = parts.status.is_informational() || parts.status == StatusCode::NO_CONTENT || switches;
    let bodiless = silent || context.to_head || parts.status == StatusCode::NOT_MODIFIED;
    let framing = if bodiless {
        // A response to HEAD and a 304 may state the length that the body would have had.
        let exact = exact.filter(|length| context.to_head && *length > 0);
        if let Some(length) = length.or(exact).filter(|_| !silent) {
            write_length(length, out);
        }
        Framing::Sized(0)
    } else if let Some(length) = exact.or(length) {
        write_length(length, out);
        Framing::Sized(length)
    } else if context.http_11 {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        Framing::Chunked
    } else {
        Framing::UntilClose
    };
    // After a 2xx to CONNECT the connection no longer speaks HTTP.
    let last = context.last || framing == Framing::UntilClose || closes || switches;
    if last && !closes {
        out.extend_from_slice(b"connection: close\r\n");
    } else if !last && !context.http_11 && !parts.headers.contains_key(header::CONNECTION) {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    if date && !dated {
        write_date(out);
    }
    out.extend_from_slice(b"\r\n");
    ResponsePlan { framing, bodiless, last }
}

/// Writes the fields, except those that frame the body.
fn write_fields(headers: &HeaderMap, out: &mut Vec<u8>) -> FieldSummary {
    let mut summary = FieldSummary { length: None, dated: false, closes: false };
    for (name, value) in headers {
        match *name {
            header::CONTENT_LENGTH => {
                summary.length = summary.length.or_else(|| decimal(value.as_bytes()));
                continue;
            }
            header::TRANSFER_ENCODING => continue,
            header::CONNECTION => summary.closes |= lists(value.as_bytes(), b"close"),
            header::DATE => summary.dated = true,
            _ => {}
        }
        write_line(name, value, out);
    }
    summary
}

fn write_status(parts: &Parts, http_11: bool, out: &mut Vec<u8>) {
    let reason = parts.extensions.get::<ReasonPhrase>();
    if parts.status == StatusCode::OK && http_11 && reason.is_none() {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(if http_11 { b"HTTP/1.1 " } else { b"HTTP/1.0 " });
    out.extend_from_slice(parts.status.as_str().as_bytes());
    out.push(b' ');
    match reason {
        Some(reason) => out.extend_from_slice(reason.as_bytes()),
        None => out.extend_from_slice(parts.status.canonical_reason().unwrap_or_default().as_bytes()),
    }
    out.extend_from_slice(b"\r\n");
}

fn write_length(length: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"content-length: ");
    write_decimal(length, out);
    out.extend_from_slice(b"\r\n");
}

/// `Date` (RFC 9110 §6.6.1), formatted once a second.
fn write_date(out: &mut Vec<u8>) {
    thread_local! {
        static CLOCK: Clock = Clock::system();
        static DATE: RefCell<(i64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = CLOCK.with(Clock::now);
    DATE.with_borrow_mut(|(second, date)| {
        if *second != now.as_second() {
            *second = now.as_second();
            *date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        }
        out.extend_from_slice(b"date: ");
        out.extend_from_slice(date.as_bytes());
        out.extend_from_slice(b"\r\n");
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_has_the_format_of_http() {
        let mut line = Vec::new();
        write_date(&mut line);
        let line = String::from_utf8(line).unwrap();
        let date = line.strip_prefix("date: ").and_then(|rest| rest.strip_suffix("\r\n")).unwrap();
        let parsed = jiff::fmt::rfc2822::parse(date).unwrap().timestamp();
        let now = Clock::system().now();
        assert!(date.ends_with(" GMT") && (now.as_second() - parsed.as_second()).abs() <= 1, "{date}");
    }
}
