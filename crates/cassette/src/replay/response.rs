//! The answer of a record, as it goes out again.

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
use tokio::time::{Instant, Sleep};

use crate::format::{Content, Record, RecordedRequest};
use crate::redact::headers::{from_latin1, latin1};
use crate::replay::player::{Outcome, Player};
use vbc_http::problem::Problem;

/// Marks what replay says in its own name.
const MARKER: HeaderName = HeaderName::from_static("vbc-proxy-replay");

/// Why a recorded answer ends before its end.
#[derive(Debug, thiserror::Error)]
#[error("it was cut short when it was recorded")]
pub struct CutShort;

/// The body of a recorded answer.
#[derive(Debug)]
pub struct ReplayedBody {
    pieces: VecDeque<(Option<Instant>, Bytes)>,
    trailers: Option<HeaderMap>,
    cut: bool,
    flushed: bool,
    left: Option<u64>,
    waiting: Option<Pin<Box<Sleep>>>,
}

/// A request as it is looked up.
pub fn asked<B>(request: &http::Request<B>, body: Option<Vec<u8>>) -> RecordedRequest {
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

/// The answer to a request: the recorded one, or a problem in our own name, which is logged as well. Links that led to
/// where the recording's client found the proxy lead to `base`. With `timing` pieces come when they came.
pub fn answer(
    player: &Player,
    asked: &RecordedRequest,
    base: &str,
    timing: bool,
    id: &str,
) -> Response<ReplayedBody> {
    match player.play(asked) {
        Outcome::Play(record) => response(record, asked, base, timing),
        Outcome::Unplayable(record, why) => {
            let detail =
                format!("record {}, {} {}: {why}", record.n, record.request.method, record.request.target);
            tracing::warn!(id, %detail, "a record cannot be replayed");
            problem(
                StatusCode::NOT_IMPLEMENTED,
                "record-incomplete",
                "The record has no whole answer",
                detail,
                "incomplete",
                id,
            )
        }
        Outcome::NoMatch { asked, nearest } => {
            tracing::warn!(id, %asked, %nearest, "no record matches a request");
            let detail = format!("no record matches {asked}; {nearest}");
            problem(StatusCode::NOT_FOUND, "no-match", "No record matches", detail, "no-match", id)
        }
    }
}

/// An answer in the name of replay, marked as such.
pub(crate) fn problem(
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    mark: &'static str,
    id: &str,
) -> Response<ReplayedBody> {
    let error = Some("proxy_internal_response");
    let problem = Problem { status, kind, title, detail, error, retry_after: None };
    let mut response = problem.response(id).map(ReplayedBody::own);
    response.headers_mut().insert(MARKER, HeaderValue::from_static(mark));
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

/// The answer of a record. Links that led to where the recording's client found the proxy lead to `base`; with `timing`
/// pieces come when they came.
pub fn response(
    record: &Record,
    asked: &RecordedRequest,
    base: &str,
    timing: bool,
) -> Response<ReplayedBody> {
    let recorded = &record.response;
    let mut headers = fields(&recorded.headers);
    let mut body = recorded.body.bytes().unwrap_or_default();
    let moved = record.base != base;
    if moved {
        for name in [header::LOCATION, header::CONTENT_LOCATION, header::LINK] {
            let values: Vec<HeaderValue> = headers.get_all(&name).iter().cloned().collect();
            headers.remove(&name);
            for value in values {
                let value = with_base(value.as_bytes(), &record.base, base);
                headers.extend(HeaderValue::from_bytes(&value).ok().map(|value| (name.clone(), value)));
            }
        }
        if may_have_links(&headers, &body) {
            body = with_base(&body, &record.base, base);
        }
    }
    let bare = asked.method == Method::HEAD.as_str() || matches!(recorded.status, 204 | 304);
    let announced = headers.get(header::CONTENT_LENGTH).and_then(vbc_http::headers::length);
    // A body that was cut short keeps the length that was announced for it.
    let left = match announced {
        Some(length) if bare || !recorded.complete => Some(length),
        Some(_) => Some(body.len() as u64),
        None => None,
    };
    if let Some(length) = left {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let pieces = if bare { VecDeque::new() } else { pieces(body, &recorded.pieces, timing) };
    let trailers = Some(fields(&recorded.trailers)).filter(|trailers| !trailers.is_empty());
    let mut response = Response::new(ReplayedBody {
        pieces,
        trailers,
        cut: !recorded.complete,
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

/// JSON and events, as the proxy rewrites them. Telephony sends JSON as text.
fn may_have_links(headers: &HeaderMap, body: &[u8]) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = || body.trim_ascii_start().starts_with(b"{") || body.trim_ascii_start().starts_with(b"[");
    match &*essence {
        "text/event-stream" | "application/x-ndjson" | "application/jsonl" => true,
        "" | "text/plain" => is_json(),
        essence => essence == "application/json" || essence.ends_with("+json"),
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

/// Links with another base; not one to an authority that only begins alike.
fn with_base(text: &[u8], old: &str, new: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut from = 0;
    for at in memchr::memmem::find_iter(text, old) {
        let end = at + old.len();
        let ends = text.get(end).is_none_or(|next| !next.is_ascii_alphanumeric() && !b".:-@".contains(next));
        if ends {
            out.extend_from_slice(&text[from..at]);
            out.extend_from_slice(new.as_bytes());
            from = end;
        }
    }
    out.extend_from_slice(&text[from..]);
    out
}

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
    /// One of ours.
    fn own(mut body: Full<Bytes>) -> Self {
        let length = body.size_hint().exact();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let data = match Pin::new(&mut body).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            _ => Bytes::new(),
        };
        let pieces = VecDeque::from([(None, data)]);
        Self { pieces, trailers: None, cut: false, flushed: false, left: length, waiting: None }
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
        if this.cut && !std::mem::replace(&mut this.flushed, true) {
            // An error takes with it what has not been written yet: head and pieces first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if std::mem::take(&mut this.cut) {
            return Poll::Ready(Some(Err(CutShort)));
        }
        Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        // A length without bytes is that of an answer which has none: hyper would not write it for an empty body.
        self.pieces.is_empty()
            && !self.cut
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
