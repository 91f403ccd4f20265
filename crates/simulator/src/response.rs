//! Responses: bodies with or without a length, and JSON with ordered members.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONTENT_TYPE, DATE, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, Sleep, sleep_until};

use vbc_base::clock::Timestamp;
use vbc_http::Abort;

pub(crate) type Response = http::Response<ResponseBody>;

/// The body of a response. It is sent in chunks where VBC sends chunks.
#[derive(Default)]
pub(crate) struct ResponseBody {
    data: Bytes,
    /// The part after `data`. It is produced while it is sent, because files can be large.
    rest: Option<Rest>,
    chunked: bool,
    /// Whether the gateway also sends a length, as it does for files.
    sized: bool,
    /// How the body is slowed down or cut off. `None` sends it whole, without delay.
    flow: Option<Box<Flow>>,
}

/// The pace and the cut of a body that is slowed down or cut off.
#[derive(Default)]
struct Flow {
    /// Bytes per second.
    pace: Option<u32>,
    /// How many more bytes are sent before the connection is reset.
    cut: Option<usize>,
    /// When the next piece may be sent.
    next: Option<Pin<Box<Sleep>>>,
    /// Whether the body has already waited once, after the last byte before the cut.
    flushed: bool,
}

impl Flow {
    /// Returns the next piece of `data`.
    fn poll(&mut self, data: &mut Bytes, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        if self.cut == Some(0) {
            // Yields to the runtime once, so that the previous piece reaches the socket before the
            // reset.
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
            // Sends ten pieces a second. Below ten bytes a second, a piece is one byte.
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

/// The part of a body that is produced while it is sent.
struct Rest {
    pieces: Box<dyn Iterator<Item = Bytes> + Send>,
    /// Bytes in all remaining pieces.
    length: u64,
}

impl ResponseBody {
    /// The whole body. `None` if the connection would be reset before its end.
    pub(crate) fn into_bytes(mut self) -> Option<Bytes> {
        self.make();
        let cut = self.flow.is_some_and(|flow| flow.cut.is_some());
        (!cut).then_some(self.data)
    }

    /// Produces the rest now.
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

impl Body for ResponseBody {
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

/// Sends the body at this many bytes per second.
pub(crate) fn drip(response: &mut Response, bytes_per_second: u32) {
    let body = response.body_mut();
    body.make();
    body.flow.get_or_insert_default().pace = Some(bytes_per_second.max(1));
}

/// Resets the connection after `behind` bytes of the body, or by default after half the body. The
/// last byte is never sent. An empty body is not changed.
pub(crate) fn cut(response: &mut Response, behind: Option<usize>) {
    let body = response.body_mut();
    body.make();
    let Some(last) = body.data.len().checked_sub(1) else { return };
    body.flow.get_or_insert_default().cut = Some(behind.unwrap_or(body.data.len() / 2).min(last));
}

/// A response without a body.
pub(crate) fn empty(status: u16) -> Response {
    with_body(status, None, Bytes::new())
}

/// A JSON response. Serializing fails only for maps with keys that are not strings, and no response
/// has such a map.
pub(crate) fn json(status: u16, value: &impl Serialize) -> Response {
    with_body(status, Some("application/json"), Bytes::from(serde_json::to_vec(value).unwrap_or_default()))
}

/// A JSON object whose members keep this order, as in VBC's errors.
pub(crate) fn ordered(status: u16, members: &[(&str, &str)]) -> Response {
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
    with_body(status, Some("application/json"), Bytes::from(text))
}

/// A text response.
pub(crate) fn text(status: u16, content_type: &str, text: impl Into<String>) -> Response {
    with_body(status, Some(content_type), Bytes::from(text.into()))
}

fn with_body(status: u16, content_type: Option<&str>, data: Bytes) -> Response {
    let mut response = http::Response::new(ResponseBody { data, ..ResponseBody::default() });
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(value) = content_type {
        set(&mut response, CONTENT_TYPE, value);
    }
    response
}

/// A file, which is sent with its length.
pub(crate) fn sized(status: u16, content_type: &str, data: Bytes) -> Response {
    let mut response = with_body(status, Some(content_type), data);
    response.body_mut().sized = true;
    response
}

/// A file of `length` bytes that is produced while it is sent.
pub(crate) fn made(
    content_type: &str,
    length: u64,
    pieces: impl Iterator<Item = Bytes> + Send + 'static,
) -> Response {
    let mut response = sized(200, content_type, Bytes::new());
    response.body_mut().rest = (length > 0).then(|| Rest { pieces: Box::new(pieces), length });
    response
}

/// Sets a header. An invalid value is ignored.
pub(crate) fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The whole body of a response.
pub(crate) fn body(response: &mut Response) -> Bytes {
    response.body_mut().make();
    response.body().data.clone()
}

/// The body's length, and the body itself unless it is longer than `limit`. A body that is produced
/// while it is sent is not returned either.
pub(crate) fn peek(response: &Response, limit: usize) -> (u64, Option<Bytes>) {
    let body = response.body();
    let whole = body.rest.is_none() && body.data.len() <= limit;
    (body.length(), whole.then(|| body.data.clone()))
}

/// Replaces the body; its type and framing stay.
pub(crate) fn replace(response: &mut Response, data: Bytes) {
    let body = response.body_mut();
    body.chunked &= !data.is_empty();
    body.rest = None;
    body.data = data;
}

/// Sets `Date`, by the simulator's clock.
pub(crate) fn date(response: &mut Response, at: Timestamp) {
    set(response, DATE, &http_date(at));
}

/// Makes the body chunked, as the gateway does. Files and empty bodies keep their length.
pub(crate) fn chunk(response: &mut Response) {
    let body = response.body_mut();
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
        let response = ordered(400, &[("z", "a\"b"), ("a", "1")]);
        assert_eq!(response.body().data, r#"{"z":"a\"b","a":"1"}"#);
    }
}
