//! Answers: bodies with or without a length, JSON with its members in order.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, DATE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, Sleep, sleep_until};

use vbc_base::clock::Timestamp;
use vbc_http::Abort;

pub(crate) type Answer = Response<Payload>;

/// A body; sent in chunks where the service does so.
#[derive(Default)]
pub(crate) struct Payload {
    data: Bytes,
    /// What follows, made when its turn comes: files can be large.
    rest: Option<Rest>,
    chunked: bool,
    /// Its length is told all the same: a file.
    sized: bool,
    /// How it leaves, where it does not leave at once and whole.
    flow: Option<Box<Flow>>,
}

#[derive(Default)]
struct Flow {
    /// Bytes a second.
    pace: Option<u32>,
    /// The connection is reset behind this many bytes.
    cut: Option<usize>,
    /// When the next piece may go.
    next: Option<Pin<Box<Sleep>>>,
    /// The last byte before the cut has been handed over, and should reach the socket.
    flushed: bool,
}

impl Flow {
    /// The next piece of what is left.
    fn poll(&mut self, data: &mut Bytes, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        if self.cut == Some(0) {
            // One turn of the runtime brings what went before to the socket.
            if std::mem::replace(&mut self.flushed, true) {
                return Poll::Ready(Some(Err(Abort)));
            }
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut most = self.cut.unwrap_or(usize::MAX).min(data.len());
        if let Some(pace) = self.pace {
            if let Some(next) = &mut self.next {
                ready!(next.as_mut().poll(cx));
            }
            // Ten pieces a second, or fewer where one would have less than a byte.
            let piece = (pace / 10).max(1);
            most = most.min(piece as usize);
            let wait = Duration::from_secs_f64(f64::from(piece) / f64::from(pace.max(1)));
            self.next = Some(Box::pin(sleep_until(Instant::now() + wait)));
        }
        if most == 0 {
            return Poll::Ready(None);
        }
        if let Some(cut) = &mut self.cut {
            *cut -= most;
        }
        Poll::Ready(Some(Ok(Frame::data(data.split_to(most)))))
    }
}

struct Rest {
    pieces: Box<dyn Iterator<Item = Bytes> + Send>,
    /// Of all pieces that are left.
    length: u64,
}

impl Payload {
    /// All of it; `None` where the connection would end before.
    pub(crate) fn into_bytes(mut self) -> Option<Bytes> {
        self.make();
        let cut = self.flow.is_some_and(|flow| flow.cut.is_some());
        (!cut).then_some(self.data)
    }

    /// Makes all of it now.
    fn make(&mut self) {
        if let Some(rest) = self.rest.take() {
            let mut whole = BytesMut::from(std::mem::take(&mut self.data));
            rest.pieces.for_each(|piece| whole.extend_from_slice(&piece));
            self.data = whole.freeze();
        }
    }

    fn length(&self) -> u64 {
        self.data.len() as u64 + self.rest.as_ref().map_or(0, |rest| rest.length)
    }

    fn next(&mut self) -> Option<Bytes> {
        if !self.data.is_empty() {
            return Some(std::mem::take(&mut self.data));
        }
        let rest = self.rest.as_mut()?;
        let piece = rest.pieces.next();
        rest.length = rest.length.saturating_sub(piece.as_ref().map_or(0, |piece| piece.len() as u64));
        if rest.length == 0 {
            self.rest = None;
        }
        piece
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        let this = &mut *self;
        match &mut this.flow {
            Some(flow) => flow.poll(&mut this.data, cx),
            None => Poll::Ready(this.next().map(|data| Ok(Frame::data(data)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length() == 0
    }

    fn size_hint(&self) -> SizeHint {
        if self.chunked { SizeHint::default() } else { SizeHint::with_exact(self.length()) }
    }
}

/// Lets a body leave at this many bytes a second.
pub(crate) fn drip(answer: &mut Answer, bytes_per_second: u32) {
    let body = answer.body_mut();
    body.make();
    body.flow.get_or_insert_default().pace = Some(bytes_per_second.max(1));
}

/// Resets the connection in the middle of the body, at the latest before its last byte; an empty body stays as it is.
pub(crate) fn cut(answer: &mut Answer, behind: Option<usize>) {
    let body = answer.body_mut();
    body.make();
    let Some(last) = body.data.len().checked_sub(1) else { return };
    body.flow.get_or_insert_default().cut = Some(behind.unwrap_or(body.data.len() / 2).min(last));
}

/// An answer without a body.
pub(crate) fn empty(status: u16) -> Answer {
    answer(status, None, Bytes::new())
}

/// A JSON answer. What is written here has no map whose keys are no texts, which is all that could fail.
pub(crate) fn json(status: u16, value: &impl Serialize) -> Answer {
    answer(status, Some("application/json"), Bytes::from(serde_json::to_vec(value).unwrap_or_default()))
}

/// A JSON object whose members keep this order, as the service writes its errors.
pub(crate) fn ordered(status: u16, members: &[(&str, &str)]) -> Answer {
    let mut text = String::from("{");
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&Value::from(*name).to_string());
        text.push(':');
        text.push_str(&Value::from(*value).to_string());
    }
    text.push('}');
    answer(status, Some("application/json"), Bytes::from(text))
}

/// A plain text answer.
pub(crate) fn text(status: u16, content_type: &str, text: impl Into<String>) -> Answer {
    answer(status, Some(content_type), Bytes::from(text.into()))
}

fn answer(status: u16, content_type: Option<&str>, data: Bytes) -> Answer {
    let mut answer = Response::new(Payload { data, ..Payload::default() });
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(value) = content_type {
        set(&mut answer, CONTENT_TYPE, value);
    }
    answer
}

/// A file, whose length is told.
pub(crate) fn sized(status: u16, content_type: &str, data: Bytes) -> Answer {
    let mut answer = answer(status, Some(content_type), data);
    answer.body_mut().sized = true;
    answer
}

/// A file that is made while it is sent, of as many bytes as `length` says.
pub(crate) fn made(
    content_type: &str,
    length: u64,
    pieces: impl Iterator<Item = Bytes> + Send + 'static,
) -> Answer {
    let mut answer = sized(200, content_type, Bytes::new());
    answer.body_mut().rest = (length > 0).then(|| Rest { pieces: Box::new(pieces), length });
    answer
}

/// Sets a header; a value that cannot be one is left out.
pub(crate) fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// The body of an answer.
pub(crate) fn body(answer: &mut Answer) -> Bytes {
    answer.body_mut().make();
    answer.body().data.clone()
}

/// How long the body is, and the body itself where it is no longer than `limit`. Nothing is made
/// for that.
pub(crate) fn peek(answer: &Answer, limit: usize) -> (u64, Option<Bytes>) {
    let body = answer.body();
    let whole = body.rest.is_none() && body.data.len() <= limit;
    (body.length(), whole.then(|| body.data.clone()))
}

/// Gives an answer another body, of the type and framing it had.
pub(crate) fn replace(answer: &mut Answer, data: Bytes) {
    let body = answer.body_mut();
    body.chunked &= !data.is_empty();
    body.rest = None;
    body.data = data;
}

/// Says when the answer was made, by the service's own clock.
pub(crate) fn date(answer: &mut Answer, at: Timestamp) {
    set(answer, DATE, &http_date(at));
}

/// Sends a body without its length, as the gateway does.
pub(crate) fn chunk(answer: &mut Answer) {
    let body = answer.body_mut();
    body.chunked = body.length() > 0 && !body.sized;
}

/// An HTTP date (RFC 9110, IMF-fixdate).
pub(crate) fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_imf_fixdates() {
        let at: Timestamp = "2026-09-05T16:00:00Z".parse().unwrap();
        assert_eq!(http_date(at), "Sat, 05 Sep 2026 16:00:00 GMT");
    }

    #[test]
    fn members_keep_their_order_and_are_escaped() {
        let answer = ordered(400, &[("z", "a\"b"), ("a", "1")]);
        assert_eq!(answer.body().data, r#"{"z":"a\"b","a":"1"}"#);
    }
}
