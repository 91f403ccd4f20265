//! Answers: their heads, and how their bodies are framed (RFC 9112 §4 and §6).

use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::response::Parts;
use http::{Method, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::ext::ReasonPhrase;

use super::Next;
use super::head::Received;
use super::wire::Link;
use crate::codec::syntax::lists;
use crate::codec::{Framing, Scratch, Sending, Stopped, fields, write_decimal, write_line};
use crate::headers;
use crate::{Abort, Stream};
use vbc_base::clock::Clock;

/// What an answer has to know of its request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) http_11: bool,
    pub(super) to_head: bool,
    pub(super) to_connect: bool,
    /// The client says that trailers are of use.
    pub(super) trailers: bool,
    /// The connection ends with the answer.
    pub(super) last: bool,
}

impl Asked {
    pub(super) fn of(received: &Received) -> Self {
        let request = &received.request;
        Self {
            http_11: request.version() == Version::HTTP_11,
            to_head: request.method() == Method::HEAD,
            to_connect: request.method() == Method::CONNECT,
            trailers: received.trailers,
            last: received.last,
        }
    }

    /// Nothing that could be understood.
    pub(super) const REFUSED: Self =
        Self { http_11: true, to_head: false, to_connect: false, trailers: false, last: true };
}

/// An answer that is being written.
pub(super) struct Answering<B: Body> {
    sending: Sending<B>,
    /// The connection ends with it.
    pub(super) last: bool,
    /// Its body ends with the connection.
    to_the_end: bool,
}

/// Why an answer was not written to its end.
pub(super) enum Cut<E> {
    /// The client takes no more of it.
    Client(io::Error),
    /// Its body.
    Body(Stopped<E>),
    /// The client is gone, or has ended its side too long ago.
    Left,
}

impl<B: Body<Data = Bytes> + Unpin> Answering<B> {
    /// `front` is what has to be written first. An answer without a `Date` is given one where `date`.
    pub(super) fn new(front: &[u8], response: Response<B>, asked: Asked, date: bool) -> Self {
        let (parts, body) = response.into_parts();
        let status = parts.status;
        let mut last = asked.last;
        // Answers are in the version of their client, as far as that is to be seen (RFC 9110 §6.2).
        let mut out = Scratch::new();
        out.extend_from_slice(front);
        write_status(&parts, asked.http_11, &mut out);
        let (mut length, mut dated, mut closes) = (None, false, false);
        for (name, value) in &parts.headers {
            match *name {
                header::CONTENT_LENGTH => {
                    length = length.or_else(|| headers::length(value));
                    continue;
                }
                // How the body is framed is not up to the handler.
                header::TRANSFER_ENCODING => continue,
                header::CONNECTION => closes |= lists(value.as_bytes(), b"close"),
                header::DATE => dated = true,
                _ => {}
            }
            write_line(name, value, &mut out);
        }
        // RFC 9112 §6.3: what has no body, whatever its fields say.
        let silent = status.is_informational()
            || status == StatusCode::NO_CONTENT
            || asked.to_connect && status.is_success();
        let exact = body.size_hint().exact();
        let bodiless = silent || asked.to_head || status == StatusCode::NOT_MODIFIED;
        let framing = if bodiless {
            // They say how long it would be.
            if !silent
                && let Some(length) = length.or_else(|| exact.filter(|length| asked.to_head && *length > 0))
            {
                write_length(length, &mut out);
            }
            Framing::Sized(0)
        } else if let Some(length) = exact.or(length) {
            write_length(length, &mut out);
            Framing::Sized(length)
        } else if asked.http_11 {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Framing::Chunked
        } else {
            last = true;
            Framing::ToTheEnd
        };
        // Behind a 2xx to it comes what is no HTTP.
        last |= closes || asked.to_connect && status.is_success();
        if last && !closes {
            out.extend_from_slice(b"connection: close\r\n");
        } else if !last && !asked.http_11 && !parts.headers.contains_key(header::CONNECTION) {
            out.extend_from_slice(b"connection: keep-alive\r\n");
        }
        if date && !dated {
            write_date(&mut out);
        }
        out.extend_from_slice(b"\r\n");
        fields::recycle(parts.headers);
        let mut sending = Sending::new(out, framing, body);
        if !asked.trailers {
            sending = sending.without_trailers();
        }
        Self {
            sending: if bodiless { sending.without_body() } else { sending },
            last,
            to_the_end: framing == Framing::ToTheEnd,
        }
    }

    /// How much has been written, where it is the body that is waited for and not the client.
    pub(super) fn waits_for_body(&self) -> Option<u64> {
        (!self.sending.is_blocked()).then(|| self.sending.written())
    }

    /// Writes on until all has been written. What came before a failure of the body goes out first.
    pub(super) fn poll<S: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        link: &Link<S>,
    ) -> Poll<Result<(), Cut<B::Error>>> {
        loop {
            // It may be the body of the request that comes back: the wire is not held.
            let filled = self.sending.poll_fill(cx);
            ready!(link.wire().poll_drain(cx, &mut self.sending)).map_err(Cut::Client)?;
            if let Some(failure) = self.sending.take_failure() {
                return Poll::Ready(Err(Cut::Body(failure)));
            }
            if self.sending.has_ended() {
                return Poll::Ready(Ok(()));
            }
            ready!(filled);
        }
    }
}

impl<B: Body<Error: 'static>> Answering<B> {
    /// How the connection ends with an answer that was not written to its end.
    pub(super) fn cut<S: Stream>(&self, cut: Cut<B::Error>, link: &Link<S>) -> Next {
        match cut {
            Cut::Client(error) => tracing::debug!(%error, "a connection ended"),
            // It may still read, and must not take this end for a good one.
            Cut::Left => link.wire().reset |= self.to_the_end,
            Cut::Body(stopped) => {
                let aborted = matches!(&stopped, Stopped::Failed(error) if (error as &dyn Any).is::<Abort>());
                // To HTTP/1.0 an end of unknown length is the end of the connection, and a cut has to look different from one.
                link.wire().reset |= aborted || self.to_the_end;
            }
        }
        Next::Close { unread: false }
    }
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

/// `Date` (RFC 9110 §6.6.1), formatted anew each second.
fn write_date(out: &mut Vec<u8>) {
    thread_local! {
        static CLOCK: Clock = Clock::system();
        static DATE: RefCell<(i64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = CLOCK.with(Clock::now);
    DATE.with_borrow_mut(|(second, date)| {
        if *second != now.as_second() {
            (*second, *date) = (now.as_second(), now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
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
    fn a_date_is_what_http_calls_one() {
        let mut line = Vec::new();
        write_date(&mut line);
        let line = String::from_utf8(line).unwrap();
        let date = line.strip_prefix("date: ").and_then(|rest| rest.strip_suffix("\r\n")).unwrap();
        let parsed = jiff::fmt::rfc2822::parse(date).unwrap().timestamp();
        let now = Clock::system().now();
        assert!(date.ends_with(" GMT") && (now.as_second() - parsed.as_second()).abs() <= 1, "{date}");
    }
}
