//! Builds the response of a record for its replay.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::ext::ReasonPhrase;
use memchr::memmem;
use tokio::time::{Instant, Sleep};

use crate::format::{Content, Record, RecordedRequest};
use crate::media;
use crate::text::{from_latin1, latin1, replaced};

/// The recorded response was cut short, so its replay is too.
#[derive(Debug, thiserror::Error)]
#[error("the recorded response was cut short")]
pub struct CutShort;

/// The body of a replayed response, or of a response that the replay generates itself.
#[derive(Debug)]
pub struct ReplayedBody {
    /// The remaining pieces, and when they are due.
    pieces: VecDeque<(Option<Instant>, Bytes)>,
    trailers: Option<HeaderMap>,
    /// The body ends with [`CutShort`].
    is_cut: bool,
    /// The head and all pieces had a chance to be written before [`CutShort`].
    flushed: bool,
    /// How many of the announced bytes remain.
    left: Option<u64>,
    waiting: Option<Pin<Box<Sleep>>>,
}

/// A request in the form that a [`Player`](crate::Player) looks up. A `body` of `None` is unknown.
pub fn recorded_request<B>(request: &http::Request<B>, body: Option<Vec<u8>>) -> RecordedRequest {
    let headers = request.headers().iter();
    RecordedRequest {
        method: request.method().to_string(),
        target: request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        version: String::new(),
        headers: headers.map(|(name, value)| (name.as_str().to_owned(), latin1(value.as_bytes()))).collect(),
        body: body.map_or(Content::Unread, Content::of),
        body_hash: None,
    }
}

/// Builds the response of a record.
///
/// `base` is the scheme and authority under which the client reaches the replay. Links to the
/// recording's base are rewritten to `base`. With `timing`, the pieces of the body arrive at their
/// recorded times.
pub fn response(
    record: &Record,
    request: &RecordedRequest,
    base: &str,
    timing: bool,
) -> Response<ReplayedBody> {
    let recorded = &record.response;
    let mut headers = fields(&recorded.headers);
    let mut body = recorded.body.bytes().unwrap_or_default();
    if record.base != base {
        rewrite_links(&mut headers, &record.base, base);
        if may_have_links(&headers, &body) {
            body = with_base(&body, &record.base, base);
        }
    }
    let has_no_body = request.method == Method::HEAD.as_str() || matches!(recorded.status, 204 | 304);
    let announced = headers.get(header::CONTENT_LENGTH).and_then(vbc_http::headers::length);
    // A body that was cut short keeps its announced length.
    let keeps_length = has_no_body || !recorded.complete;
    let left = announced.map(|length| if keeps_length { length } else { body.len() as u64 });
    if let Some(length) = left {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let mut response = Response::new(ReplayedBody {
        pieces: if has_no_body { VecDeque::new() } else { pieces(body, &recorded.pieces, timing) },
        trailers: Some(fields(&recorded.trailers)).filter(|trailers| !trailers.is_empty()),
        is_cut: !recorded.complete,
        flushed: false,
        left,
        waiting: None,
    });
    *response.status_mut() = StatusCode::from_u16(recorded.status).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = headers;
    if let Some(reason) = recorded.reason.as_deref().map(from_latin1)
        && let Ok(reason) = ReasonPhrase::try_from(reason)
    {
        response.extensions_mut().insert(reason);
    }
    response
}

fn rewrite_links(headers: &mut HeaderMap, old: &str, new: &str) {
    for name in [header::LOCATION, header::CONTENT_LOCATION, header::LINK] {
        let http::header::Entry::Occupied(mut entry) = headers.entry(name) else { continue };
        for value in entry.iter_mut() {
            if let Ok(rewritten) = HeaderValue::from_bytes(&with_base(value.as_bytes(), old, new)) {
                *value = rewritten;
            }
        }
    }
}

/// Whether the proxy rewrites links in a body of this type, as it does in JSON and events.
/// Telephony sends JSON as text.
fn may_have_links(headers: &HeaderMap, body: &[u8]) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match &*media::essence(kind) {
        "text/event-stream" | "application/x-ndjson" | "application/jsonl" => true,
        "" | "text/plain" => matches!(body.trim_ascii_start().first(), Some(b'{' | b'[')),
        essence => media::is_json(essence),
    }
}

fn fields(pairs: &[(String, String)]) -> HeaderMap {
    let field = |(name, value): &(String, String)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(&from_latin1(value)).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in pairs.iter().filter_map(field) {
        headers.append(name, value);
    }
    headers
}

/// Rewrites links to another base. An authority that only starts like the old one is kept.
fn with_base(text: &[u8], old: &str, new: &str) -> Vec<u8> {
    let ranges = memmem::find_iter(text, old).map(|at| at..at + old.len()).filter(|range| {
        let next = text.get(range.end);
        next.is_none_or(|next| !next.is_ascii_alphanumeric() && !b".:-@".contains(next))
    });
    replaced(text, ranges, new.as_bytes())
}

/// Splits a body into its recorded pieces. Together the pieces are always the whole body, even if
/// the recorded lengths do not add up to it.
fn pieces(body: Vec<u8>, times: &[(u64, usize)], timing: bool) -> VecDeque<(Option<Instant>, Bytes)> {
    let mut body = Bytes::from(body);
    let mut pieces = VecDeque::new();
    let now = Instant::now();
    for (millis, length) in times {
        let piece = body.split_to((*length).min(body.len()));
        if !piece.is_empty() {
            pieces.push_back((timing.then(|| now + Duration::from_millis(*millis)), piece));
        }
    }
    if !body.is_empty() {
        pieces.push_back((None, body));
    }
    pieces
}

impl ReplayedBody {
    /// The body of a response that the replay generates itself.
    pub(super) fn own(mut body: Full<Bytes>) -> Self {
        let left = body.size_hint().exact();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let data = match Pin::new(&mut body).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            _ => Bytes::new(),
        };
        let pieces = VecDeque::from([(None, data)]);
        Self { pieces, trailers: None, is_cut: false, flushed: false, left, waiting: None }
    }
}

impl Body for ReplayedBody {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        let this = self.get_mut();
        if let Some((Some(at), _)) = this.pieces.front() {
            let at = *at;
            let waiting = this.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            ready!(waiting.as_mut().poll(cx));
            this.waiting = None;
        }
        if let Some((_, piece)) = this.pieces.pop_front() {
            this.left = this.left.map(|left| left.saturating_sub(piece.len() as u64));
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if this.is_cut && !std::mem::replace(&mut this.flushed, true) {
            // An error discards unwritten output, so the head and the pieces are written first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if std::mem::take(&mut this.is_cut) {
            return Poll::Ready(Some(Err(CutShort)));
        }
        Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        // A response without a body may state a length, as for HEAD. hyper would not write that
        // length for a body that has already ended.
        self.pieces.is_empty()
            && !self.is_cut
            && self.trailers.is_none()
            && self.left.is_none_or(|left| left == 0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_move_with_the_listener_and_others_stay() {
        let moved = with_base(
            br#"{"a":"http://h:1/x","b":"http://h:12/x","c":"http://h:1","d":"see http://h:1?y"}"#,
            "http://h:1",
            "https://new",
        );
        let expected =
            r#"{"a":"https://new/x","b":"http://h:12/x","c":"https://new","d":"see https://new?y"}"#;
        assert_eq!(String::from_utf8(moved).unwrap(), expected);
    }

    #[test]
    fn pieces_cover_the_body_whatever_their_lengths_say() {
        let whole = |times: &[(u64, usize)]| {
            pieces(b"abcdef".to_vec(), times, false).into_iter().map(|(_, piece)| piece).collect::<Vec<_>>()
        };
        assert_eq!(whole(&[]), [&b"abcdef"[..]]);
        assert_eq!(whole(&[(1, 2), (2, 0), (3, 2)]), [&b"ab"[..], b"cd", b"ef"]);
        assert_eq!(whole(&[(1, 20), (2, 2)]), [&b"abcdef"[..]]);
    }
}
