//! From what passed to what is written: codings off, and replaced what is not to be kept.

use http::{HeaderMap, Version};

use crate::coding;
use crate::format::{Content, LARGEST_BODY, Record, RecordedRequest, RecordedResponse, field};
use crate::record::tape::{Exchange, Pieces};
use crate::redact::archive as packed;
use crate::redact::headers as fields;
use crate::redact::headers::latin1;
use crate::redact::json;
use crate::redact::kind::{Kind, is_harmless};
use crate::redact::operations::Shape;
use crate::redact::pseudonyms::REMOVED;
use crate::redact::target as uri;
use crate::redact::{Endpoint, Filter, Scope};

pub(crate) type Fields = Vec<(String, String)>;

/// When pieces of a body came: milliseconds since the request, and bytes.
type Times = Vec<(u64, usize)>;

/// A body as it is written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RedactedBody {
    pub(crate) content: Content,
    /// What identifies a body of which only the length is written.
    pub(crate) hash: Option<String>,
    pub(crate) times: Times,
}

/// The record of an exchange, without its number.
pub(crate) fn transcribe(exchange: &Exchange, filter: &Filter<'_>) -> Record {
    let tape = &exchange.tape;
    let base = without_secrets(filter, &tape.base);
    let method = method(filter, tape.method.as_str());
    let (target, place) = uri::target(filter, tape.method.as_str(), &tape.target);
    let scope = place.scope(filter, &tape.base);
    let request = {
        let pieces = exchange.request();
        let (headers, body) = message(scope, &tape.headers, &pieces, place.request());
        let is_whole = pieces.ended || pieces.is_truncated();
        let (body, hash) = if is_whole { (body.content, body.hash) } else { (Content::Unread, None) };
        let version = version(tape.version).to_owned();
        RecordedRequest { method, target, version, headers, body, body_hash: hash }
    };
    let (mut headers, body) = message(scope, &exchange.headers, &exchange.pieces, place.response());
    // What hyper would add.
    if let (Some(length), None) = (exchange.length, field(&headers, "content-length")) {
        let length = body.content.bytes().map_or(length, |bytes| bytes.len() as u64);
        headers.push(("content-length".into(), length.to_string()));
    }
    let response = RecordedResponse {
        status: exchange.status.as_u16(),
        reason: exchange
            .reason
            .as_deref()
            .map(|reason| filter.unlisted(reason, place.keeps_unlisted).unwrap_or_else(|| reason.to_owned())),
        headers,
        body: body.content,
        body_hash: body.hash,
        trailers: fields(scope, pairs(&exchange.pieces.trailers)),
        complete: exchange.pieces.ended,
        pieces: body.times,
    };
    let millis = tape.begun.elapsed().as_millis() as u64;
    Record { n: 0, at: tape.at, millis, base, request, response }
}

/// The record of what an archive has: `record` with what is not kept replaced.
pub(crate) fn retranscribe(record: Record, filter: &Filter<'_>) -> Record {
    let Record { base, request, response, .. } = record;
    let (target, place) = uri::target(filter, &request.method, &request.target);
    let scope = place.scope(filter, &base);
    let method = method(filter, &request.method);
    let (headers, body, body_hash) = rewritten(scope, request.headers, request.body, place.request());
    let request = RecordedRequest { method, target, headers, body, body_hash, version: request.version };
    let (headers, body, body_hash) = rewritten(scope, response.headers, response.body, place.response());
    let reason =
        response.reason.map(|reason| filter.unlisted(&reason, place.keeps_unlisted).unwrap_or(reason));
    let trailers = fields(scope, response.trailers);
    let response = RecordedResponse { headers, body, body_hash, reason, trailers, ..response };
    let base = without_secrets(filter, &base);
    Record { base, request, response, ..record }
}

fn rewritten(
    scope: Scope<'_>,
    headers: Fields,
    content: Content,
    shape: Option<Shape>,
) -> (Fields, Content, Option<String>) {
    match content.bytes() {
        Some(bytes) => {
            let (headers, written) = body(scope, headers, bytes, &[], shape);
            (headers, written.content, written.hash)
        }
        None => (fields(scope, headers), content, None),
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

fn without_secrets(filter: &Filter<'_>, text: &str) -> String {
    let new = filter.known.without(text.as_bytes());
    new.map_or_else(|| text.to_owned(), |new| String::from_utf8_lossy(&new).into_owned())
}

/// A method that is not one of HTTP's may be any text.
pub(crate) fn method(filter: &Filter<'_>, method: &str) -> String {
    const METHODS: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
    match METHODS.contains(&method) {
        true => method.to_owned(),
        false => filter.pseudonyms.opaque(method),
    }
}

fn pairs(headers: &HeaderMap) -> Fields {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), latin1(value.as_bytes()))).collect()
}

/// Header fields with what is not kept replaced.
fn fields(scope: Scope<'_>, pairs: Fields) -> Fields {
    pairs.iter().map(|(name, value)| fields::field(&scope, name, value)).collect()
}

fn message(
    scope: Scope<'_>,
    headers: &HeaderMap,
    pieces: &Pieces,
    shape: Option<Shape>,
) -> (Fields, RedactedBody) {
    let pairs = pairs(headers);
    if pieces.is_truncated() {
        let content = Content::Truncated(pieces.length);
        return (fields(scope, pairs), RedactedBody { content, ..RedactedBody::default() });
    }
    body(scope, pairs, pieces.bytes(), &pieces.times, shape)
}

/// The fields and the body of a message. The fields are made to fit what is written of the body,
/// of which only the length is written where it has no `shape`.
pub(crate) fn body(
    scope: Scope<'_>,
    pairs: Fields,
    bytes: Vec<u8>,
    times: &[(u64, usize)],
    shape: Option<Shape>,
) -> (Fields, RedactedBody) {
    let (codings, before) = (field(&pairs, "content-encoding").map(str::to_owned), bytes.len());
    let kind = field(&pairs, "content-type").map(str::to_owned);
    let mut fields = fields(scope, pairs);
    if bytes.is_empty() {
        return (fields, RedactedBody::default());
    }
    let mut bytes = bytes;
    if let Some(codings) = codings {
        let Some(plain) = coding::decode(&codings, &bytes, LARGEST_BODY) else {
            return (fields, hashed(scope.filter, &bytes));
        };
        bytes = plain;
        fields.retain(|(name, _)| name != "content-encoding");
    }
    let new = shape.and_then(|shape| redacted(scope, kind.as_deref(), &bytes, shape));
    let Some(new) = new else { return (fields, hashed(scope.filter, &bytes)) };
    let times = stretched(times, before, new.len());
    // Of a body that was cut short more had been announced.
    for (_, value) in fields.iter_mut().filter(|(name, _)| name == "content-length") {
        let announced = value.parse().unwrap_or(before);
        *value = (announced.max(before) - before + new.len()).to_string();
    }
    (fields, RedactedBody { content: Content::of(new), hash: None, times })
}

/// What is written of a body that is not recorded: its length, and what identifies it.
fn hashed(filter: &Filter<'_>, bytes: &[u8]) -> RedactedBody {
    let content = Content::Truncated(bytes.len() as u64);
    RedactedBody { content, hash: Some(filter.pseudonyms.of_body(bytes)), times: Vec::new() }
}

/// The type alone, without parameters and in lower case.
fn essence(kind: Option<&str>) -> String {
    kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A body with what is not kept replaced; `None` where it is not recorded.
fn redacted(scope: Scope<'_>, kind: Option<&str>, bytes: &[u8], shape: Shape) -> Option<Vec<u8>> {
    let known = scope.filter.known;
    let text = std::str::from_utf8(bytes).ok();
    let essence = essence(kind);
    // Telephony sends JSON as text, and many clients do not say what they send.
    let may_be_json = matches!(&*essence, "" | "text/plain" | "application/x-www-form-urlencoded")
        || essence == "application/json"
        || essence.ends_with("+json");
    if let Some(text) = text.filter(|_| may_be_json || scope.keeps_unlisted) {
        if let Some(new) = json::redact(scope, text, shape) {
            return Some(new.into_bytes());
        }
        let line = text.trim_end();
        // The identifier of a call that was placed. Elsewhere digits could be a PIN.
        let is_value = matches!(shape, Shape::Value(kind) if is_harmless(kind, line));
        let is_known = is_value || is_harmless(Kind::Phrase, line);
        if essence == "text/plain" && is_known && !known.is_in(line.as_bytes()) {
            return Some(bytes.to_vec());
        }
    }
    // An import keeps every body.
    let may_hide = !scope.filter.retention.unlisted && packed::may_hide(known, bytes);
    if !scope.keeps_unlisted || may_hide {
        return None;
    }
    if essence == "application/x-www-form-urlencoded"
        && let Some(text) = text
    {
        let place = Endpoint { operation: None, keeps_unlisted: true };
        return Some(uri::query_of(scope.filter, text, place).into_bytes());
    }
    // Of what is packed no part can be taken out.
    let has_known = || coding::decode("gzip", bytes, LARGEST_BODY).is_none_or(|plain| known.is_in(&plain));
    if coding::is_gzip(bytes) && has_known() {
        return None;
    }
    match known.without(bytes) {
        Some(rest) => Some(rest),
        None if known.is_in(bytes) => Some(REMOVED.into()),
        None => Some(bytes.to_vec()),
    }
}

/// The times of pieces of a body whose length has changed.
fn stretched(times: &[(u64, usize)], before: usize, after: usize) -> Times {
    let (mut passed, mut given) = (0_usize, 0_usize);
    let mut new = Vec::with_capacity(times.len());
    for (index, (millis, length)) in times.iter().enumerate() {
        passed += length;
        let is_last = index + 1 == times.len();
        let until =
            if is_last { after } else { (passed * after).checked_div(before).unwrap_or(after).min(after) };
        new.push((*millis, until.saturating_sub(given)));
        given = until;
    }
    new
}

#[cfg(test)]
#[path = "transcribe_tests.rs"]
mod tests;
