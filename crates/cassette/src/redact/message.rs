//! Redacts whole requests and responses.

use super::operations::Shape;
use super::pseudonyms::REMOVED;
use super::{Endpoint, Filter, Kind, Scope, archive, headers, is_harmless, json, target};
use crate::format::{Content, Fields, LARGEST_BODY, Record, RecordedRequest, RecordedResponse, field};
use crate::{coding, media};

/// When the pieces of a body arrived: milliseconds since the request, and the number of bytes.
type Pieces = Vec<(u64, usize)>;

/// Header fields and the body that they describe.
#[derive(Default)]
struct Message {
    headers: Fields,
    content: Content,
    /// Identifies a body if only its length is kept.
    hash: Option<String>,
    pieces: Pieces,
}

impl Filter<'_> {
    /// Replaces everything in a record that must not be kept. Bodies lose their content codings.
    pub(crate) fn record(&self, record: Record) -> Record {
        let (request, endpoint) = self.request_at(record.request, &record.base);
        let scope = Scope { filter: self, base: &record.base, keeps_unlisted: endpoint.keeps_unlisted };
        let RecordedResponse { status, reason, headers, body, trailers, complete, pieces, .. } =
            record.response;
        let message = redact_message(scope, headers, body, &pieces, endpoint.response());
        let response = RecordedResponse {
            status,
            reason: reason.map(|reason| self.unlisted(&reason, endpoint.keeps_unlisted).unwrap_or(reason)),
            headers: message.headers,
            body: message.content,
            body_hash: message.hash,
            trailers: redact_fields(scope, &trailers),
            complete,
            pieces: message.pieces,
        };
        let base = match self.known.without(record.base.as_bytes()) {
            Some(rest) => String::from_utf8_lossy(&rest).into_owned(),
            None => record.base,
        };
        Record { base, request, response, ..record }
    }

    /// Replaces everything in a request that must not be kept.
    pub(crate) fn request(&self, request: RecordedRequest) -> RecordedRequest {
        self.request_at(request, "").0
    }

    fn request_at(&self, request: RecordedRequest, base: &str) -> (RecordedRequest, Endpoint) {
        let RecordedRequest { method, target, version, headers, body, .. } = request;
        let (target, endpoint) = target::target(self, &method, &target);
        let scope = Scope { filter: self, base, keeps_unlisted: endpoint.keeps_unlisted };
        let message = redact_message(scope, headers, body, &[], endpoint.request());
        let request = RecordedRequest {
            method: self.method(method),
            target,
            version,
            headers: message.headers,
            body: message.content,
            body_hash: message.hash,
        };
        (request, endpoint)
    }

    /// Hides a method that is not a standard HTTP method, since it may be any text.
    fn method(&self, method: String) -> String {
        const METHODS: [&str; 9] =
            ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
        if METHODS.contains(&&*method) { method } else { self.pseudonyms.opaque(&method) }
    }
}

fn redact_fields(scope: Scope<'_>, fields: &Fields) -> Fields {
    fields.iter().map(|(name, value)| headers::redact_field(&scope, name, value)).collect()
}

/// Redacts fields and body. Without a `shape`, only the length and a hash of the body are kept. The
/// fields are adjusted to the kept body.
fn redact_message(
    scope: Scope<'_>,
    headers: Fields,
    content: Content,
    pieces: &[(u64, usize)],
    shape: Option<Shape>,
) -> Message {
    let mut fields = redact_fields(scope, &headers);
    let Some(bytes) = content.bytes() else {
        return Message { headers: fields, content, ..Message::default() };
    };
    if bytes.is_empty() {
        return Message { headers: fields, ..Message::default() };
    }
    let sent = bytes.len();
    let plain = match field(&headers, "content-encoding") {
        Some(codings) => match coding::decode(codings, &bytes, LARGEST_BODY) {
            Some(plain) => plain,
            None => return hashed(scope, fields, &bytes),
        },
        None => bytes,
    };
    fields.retain(|(name, _)| name != "content-encoding");
    let content_type = field(&headers, "content-type");
    let Some(new) = shape.and_then(|shape| redact_body(scope, content_type, &plain, shape)) else {
        return hashed(scope, fields, &plain);
    };
    let pieces = rescaled(pieces, sent, new.len());
    // If the body was cut short, the announced length is greater than the length that was sent.
    for (_, value) in fields.iter_mut().filter(|(name, _)| name == "content-length") {
        let announced = value.parse().unwrap_or(sent);
        *value = (announced.max(sent) - sent + new.len()).to_string();
    }
    Message { headers: fields, content: Content::of(new), hash: None, pieces }
}

/// A message that keeps only the length and a hash of its body.
fn hashed(scope: Scope<'_>, headers: Fields, bytes: &[u8]) -> Message {
    let hash = Some(scope.filter.pseudonyms.of_body(bytes));
    Message { headers, content: Content::Truncated(bytes.len() as u64), hash, pieces: Vec::new() }
}

/// Redacts a decoded body. `None` if it is not recorded.
fn redact_body(scope: Scope<'_>, content_type: Option<&str>, bytes: &[u8], shape: Shape) -> Option<Vec<u8>> {
    let known = scope.filter.known;
    let text = std::str::from_utf8(bytes).ok();
    let essence = media::essence(content_type.unwrap_or_default());
    let is_form = essence == "application/x-www-form-urlencoded";
    // Telephony sends JSON as text, and many clients send no content type.
    let may_be_json = is_form || matches!(&*essence, "" | "text/plain") || media::is_json(&essence);
    if let Some(text) = text.filter(|_| may_be_json || scope.keeps_unlisted) {
        if let Some(new) = json::redact(scope, text, shape) {
            return Some(new.into_bytes());
        }
        let line = text.trim_end();
        // A single value, such as the identifier of a placed call. Where the table expects no
        // single value, digits could be a PIN.
        let is_value = matches!(shape, Shape::Value(kind) if is_harmless(kind, line));
        let is_listed = is_value || is_harmless(Kind::Phrase, line);
        if essence == "text/plain" && is_listed && !known.is_in(line.as_bytes()) {
            return Some(bytes.to_vec());
        }
    }
    if !scope.keeps_unlisted {
        return None;
    }
    // An import skips this check. It keeps compressed files, except the gzip files that are checked
    // below.
    if !scope.filter.retention.unlisted && archive::may_contain_secret(known, bytes) {
        return None;
    }
    if let Some(text) = text.filter(|_| is_form) {
        let endpoint = Endpoint { operation: None, keeps_unlisted: true };
        return Some(target::redact_query(scope.filter, text, endpoint).into_bytes());
    }
    // A secret cannot be removed from a compressed file.
    if coding::is_gzip(bytes)
        && coding::decode("gzip", bytes, LARGEST_BODY).is_none_or(|plain| known.is_in(&plain))
    {
        return None;
    }
    match known.without(bytes) {
        Some(rest) => Some(rest),
        None if known.is_in(bytes) => Some(REMOVED.into()),
        None => Some(bytes.to_vec()),
    }
}

/// The pieces of a body whose length has changed, with lengths in proportion.
fn rescaled(pieces: &[(u64, usize)], before: usize, after: usize) -> Pieces {
    let mut passed = 0_usize;
    let mut given = 0_usize;
    let mut new = Vec::with_capacity(pieces.len());
    for (index, (millis, length)) in pieces.iter().enumerate() {
        passed += length;
        let is_last = index + 1 == pieces.len();
        let scaled = (passed * after).checked_div(before).unwrap_or(after).min(after);
        let until = if is_last { after } else { scaled };
        new.push((*millis, until.saturating_sub(given)));
        given = until;
    }
    new
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
