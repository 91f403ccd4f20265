//! Gives a connection any bytes and compares its requests with the result of an independent
//! reader of RFC 9112.

#![allow(clippy::expect_used, clippy::panic, reason = "a finding is a panic")]

mod reference;

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::LocalOptions;

use super::{Abort, Drain, Handler, Incoming, Limits, RawTarget, RequestRejection, Stream};
use reference::{End, Field, Message};

/// Refusals in which the product is stricter than the grammar on purpose.
const STRICTER: &[&str] = &[
    "the request target has a byte that a URI cannot have",
    "the request target is neither a path nor an http URL",
    "only OPTIONS takes the target *",
    "the Host is not a host name with an optional port",
    "a chunk size is too large",
    "Content-Length is not one number of decimal digits",
];

/// A client whose bytes arrive in pieces. Then it closes its sending side.
struct Script {
    bytes: Bytes,
    /// The lengths of the pieces, used in turn.
    steps: Vec<usize>,
    turn: usize,
    /// The polls between its last byte and its half-close. An earlier half-close would count as a
    /// disconnect.
    patience: usize,
}

impl Stream for Script {
    fn reset_on_close(&self) {}

    fn has_been_reset(&self) -> bool {
        false
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() && self.patience > 0 {
            self.patience -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let step = self.steps[self.turn % self.steps.len()].max(1);
        self.turn += 1;
        let length = step.min(buf.remaining()).min(self.bytes.len());
        buf.put_slice(&self.bytes.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A call of the handler.
#[derive(Debug)]
enum Call {
    Request { seen: Message, whole: bool },
    Refused(RequestRejection),
}

struct Recorder(Rc<RefCell<Vec<Call>>>);

impl Handler for Recorder {
    type Body = Full<Bytes>;

    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Abort> {
        let (parts, body) = request.into_parts();
        let collected = body.collect().await;
        let whole = collected.is_ok();
        let body = collected.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
        let mut fields: Vec<_> = parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect();
        fields.sort();
        let seen = Message {
            method: parts.method.as_str().as_bytes().to_vec(),
            target: match parts.extensions.get() {
                Some(RawTarget(raw)) if parts.uri.authority().is_none() => raw.to_vec(),
                _ => parts.uri.to_string().into_bytes(),
            },
            fields,
            body,
            last: false,
        };
        self.0.borrow_mut().push(Call::Request { seen, whole });
        Ok(Response::new(Full::from("ok")))
    }

    fn reject(&self, rejection: RequestRejection) -> Response<Full<Bytes>> {
        self.0.borrow_mut().push(Call::Refused(rejection));
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response
    }
}

/// The first two bytes are the lengths of the pieces in which the rest arrives.
///
/// # Panics
///
/// When the connection reads requests differently than the grammar says, or accepts
/// ambiguous ones.
pub fn request_head(data: &[u8]) {
    let Some((steps, bytes)) = data.split_first_chunk::<2>() else { return };
    if bytes.starts_with(PREFACE) {
        return;
    }
    let calls = run(*steps, bytes);
    let (messages, end) = reference::read(bytes);
    compare(&calls, &messages, &end);
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first two bytes are the lengths of the pieces in which the input arrives. The rest is HTTP/2
/// frames, which follow a preface.
///
/// # Panics
///
/// When the handler gets a request without a host, or with a target that is not a path.
pub fn h2_frames(data: &[u8]) {
    let Some((steps, frames)) = data.split_first_chunk::<2>() else { return };
    for call in run(*steps, &[PREFACE, frames].concat()) {
        if let Call::Request { seen, .. } = call {
            assert_eq!(seen.fields.iter().filter(|(name, _)| name == b"host").count(), 1, "{seen:?}");
            let is_path = seen.target.starts_with(b"/") || seen.target == b"*" || seen.method == b"CONNECT";
            assert!(is_path, "{seen:?}");
        }
    }
}

/// The calls of the handler for these bytes in these pieces.
fn run(steps: [u8; 2], bytes: &[u8]) -> Vec<Call> {
    let calls = Rc::new(RefCell::new(Vec::new()));
    let (_drain, signal) = Drain::new();
    let steps = steps.map(usize::from).to_vec();
    let script = Script { bytes: Bytes::copy_from_slice(bytes), steps, turn: 0, patience: 20 };
    let connection = super::open(script, Limits::default(), signal, Recorder(Rc::clone(&calls)));
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().build_local(LocalOptions::default()).expect("a runtime");
    runtime.block_on(connection);
    drop(runtime);
    calls.take()
}

fn compare(calls: &[Call], messages: &[Message], end: &End) {
    for (at, call) in calls.iter().enumerate() {
        let expected = messages.get(at);
        match (call, expected) {
            (Call::Request { seen, whole: true }, Some(expected)) => {
                assert_eq!(seen.method, expected.method);
                assert!(
                    same_target(&seen.target, &expected.target),
                    "{:?} for {:?}",
                    seen.target.escape_ascii().to_string(),
                    expected.target.escape_ascii().to_string()
                );
                assert_eq!(without_length(&seen.fields), without_length(&expected.fields));
                assert_eq!(seen.body, expected.body);
                assert!(at == 0 || !messages[at - 1].last, "a request after the last one");
            }
            (Call::Request { whole: true, .. }, None) => panic!("one request too many: {call:?}, {end:?}"),
            (Call::Request { whole: false, .. }, None) => {
                assert!(matches!(end, End::InBody | End::RefusedInBody), "{end:?}");
                assert_eq!(at + 1, calls.len());
            }
            (Call::Refused(refusal), None) => {
                // The product refused the head, while the reference still waits for the body.
                let expected = match end {
                    End::InBody => is_stricter(refusal),
                    end => matches!(end, End::Refused | End::RefusedInBody | End::InHead),
                };
                assert!(expected, "{call:?}, {end:?}");
            }
            (Call::Request { whole: false, .. } | Call::Refused(_), Some(_)) => {
                // Only deliberate strictness may cause a difference, and it must end the
                // connection.
                let stricter = match call {
                    Call::Refused(refusal) => is_stricter(refusal),
                    Call::Request { .. } => true,
                };
                assert!(stricter, "{call:?} for {expected:?}");
                assert_eq!(at + 1, calls.len());
            }
        }
    }
    let Some(missing) = messages.get(calls.len()) else { return };
    let ended = calls.len().checked_sub(1).is_some_and(|last| messages[last].last)
        || matches!(calls.last(), Some(Call::Refused(_) | Call::Request { whole: false, .. }));
    assert!(ended, "not handled: {missing:?}");
}

fn is_stricter(refusal: &RequestRejection) -> bool {
    match refusal {
        RequestRejection::Malformed(why) => STRICTER.contains(why),
        _ => matches!(refusal, RequestRejection::TargetTooLong | RequestRejection::HeadTooLarge),
    }
}

/// Leaves out `Content-Length`: equal lines are merged, and the body itself is compared.
fn without_length(fields: &[Field]) -> Vec<&Field> {
    fields.iter().filter(|(name, _)| name != b"content-length").collect()
}

/// The scheme and host of an absolute-form target may be normalised.
fn same_target(seen: &[u8], expected: &[u8]) -> bool {
    seen == expected || (!expected.starts_with(b"/") && expected != b"*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comparison_notices_an_extra_and_a_missing_request() {
        let (messages, end) = reference::read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let call = || Call::Request { seen: messages[0].clone(), whole: true };
        compare(&[call()], &messages, &end);
        assert!(std::panic::catch_unwind(|| compare(&[call(), call()], &messages, &end)).is_err());
        assert!(std::panic::catch_unwind(|| compare(&[], &messages, &end)).is_err());
        let refused = Call::Refused(RequestRejection::Malformed("more than one Host"));
        assert!(std::panic::catch_unwind(|| compare(&[refused], &messages, &end)).is_err());
    }
}
