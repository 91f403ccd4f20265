//! HAR 1.2, the archive format of browsers.
//!
//! [`export`] makes a cassette readable for the network panel of a browser. [`import`] makes a
//! cassette from a recording of a browser or another proxy.

mod archived;
mod charset;
mod entry;
mod fields;
mod form;
mod import;
mod lenient;
mod secrets;

use http::StatusCode;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use thiserror::Error;

use self::entry::{ParsedEntry, PseudonymMark, digest_of};
pub use self::import::import;
use crate::file::{Cassette, CassetteError};
use crate::format::{Content, Fields, PersonalData, Record, RecordedResponse, field};
use crate::text::split_query;

/// Why an archive cannot be imported.
#[derive(Debug, Error)]
pub enum HarError {
    /// The text is not a HAR.
    #[error("not a HAR: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The cassette cannot be used.
    #[error(transparent)]
    Cassette(#[from] CassetteError),
}

/// Counts of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportCounts {
    /// Entries that were imported.
    pub records: usize,
    /// Entries that were left out: without a response, of another protocol, or unreadable.
    pub skipped: usize,
}

/// Converts a cassette to an archive. Each entry is marked as pseudonymised, so that an import
/// replaces nothing twice.
pub fn export(cassette: &Cassette) -> Value {
    // A cassette is ordered by the ends of exchanges, an archive by their starts.
    let mut records: Vec<&Record> = cassette.records.iter().collect();
    records.sort_by_key(|record| record.at);
    let entries: Vec<Value> =
        records.into_iter().map(|record| marked(entry_of(record), cassette.header.personal_data)).collect();
    json!({
        "log": {
            "version": "1.2",
            "creator": { "name": "vbc-proxy", "version": env!("CARGO_PKG_VERSION") },
            "entries": entries,
        }
    })
}

/// Marks an entry as pseudonymised. The mark contains a digest, which no longer matches once the
/// entry is changed.
fn marked(mut entry: Value, personal_data: PersonalData) -> Value {
    if let Some(parsed) = ParsedEntry::parse(entry.clone()) {
        let mark = PseudonymMark { personal_data, sha256: digest_of(&parsed.record) };
        entry["_vbcProxy"]["pseudonymised"] = json!(mark);
    }
    entry
}

fn entry_of(record: &Record) -> Value {
    let (request, response) = (&record.request, &record.response);
    // The request may have had no `Host`.
    let base = if record.base.ends_with("://") { "http://localhost" } else { &record.base };
    let first = response.pieces.first().map_or(record.millis, |(millis, _)| *millis);
    let wait = first.min(record.millis);
    let mut entry = json!({
        "startedDateTime": record.at.to_string(),
        "time": record.millis,
        "request": {
            "method": request.method,
            "url": format!("{base}{}", request.target),
            "httpVersion": request.version,
            "cookies": cookies(&request.headers, "cookie"),
            "headers": pairs(&request.headers),
            "queryString": query(&request.target),
            "headersSize": -1,
            "bodySize": size(&request.body),
        },
        "response": {
            "status": response.status,
            "statusText": response.reason.as_deref().unwrap_or_else(|| usual_reason(response.status)),
            "httpVersion": request.version,
            "cookies": cookies(&response.headers, "set-cookie"),
            "headers": pairs(&response.headers),
            "content": content(response),
            "redirectURL": field(&response.headers, "location").unwrap_or_default(),
            "headersSize": -1,
            "bodySize": size(&response.body),
        },
        "cache": {},
        "timings": { "send": 0, "wait": wait, "receive": record.millis - wait },
        "_vbcProxy": { "record": record.n, "complete": response.complete },
    });
    // The format cannot say why a body is missing.
    for (member, body) in [("requestBody", &request.body), ("responseBody", &response.body)] {
        if body.bytes().is_none() {
            entry["_vbcProxy"][member] = json!(body);
        }
    }
    if let Some(text) = text_of(&request.body) {
        let kind = field(&request.headers, "content-type").unwrap_or_default();
        entry["request"]["postData"] = json!({ "mimeType": kind, "params": [], "text": text });
    }
    entry
}

/// The usual reason phrase of a status code.
fn usual_reason(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default()
}

fn pairs(headers: &Fields) -> Vec<Value> {
    headers.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

fn query(target: &str) -> Vec<Value> {
    let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let query = split_query(target).1.unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        json!({ "name": plain(name), "value": plain(value) })
    });
    pairs.collect()
}

fn cookies(headers: &Fields, name: &str) -> Vec<Value> {
    let lines = headers.iter().filter(|(known, _)| known == name);
    // A `Set-Cookie` has one cookie; its attributes follow.
    let most = if name == "cookie" { usize::MAX } else { 1 };
    let cookies = lines.flat_map(|(_, value)| value.split(';').take(most)).filter_map(|part| {
        let (name, value) = part.trim().split_once('=')?;
        Some(json!({ "name": name, "value": value }))
    });
    cookies.collect()
}

fn size(body: &Content) -> i64 {
    let size = match body {
        Content::Truncated(bytes) => Some(*bytes),
        body => body.bytes().map(|bytes| bytes.len() as u64),
    };
    size.and_then(|size| i64::try_from(size).ok()).unwrap_or(-1)
}

fn text_of(body: &Content) -> Option<String> {
    match body {
        Content::Text(text) => Some(text.clone()),
        // The format cannot say that a request's body is not text.
        Content::Base64(text) => Some(format!("{BASE64_PREFIX}{text}")),
        _ => None,
    }
}

/// Precedes the body of a request that is not text.
const BASE64_PREFIX: &str = "data:;base64,";

fn content(response: &RecordedResponse) -> Value {
    let kind = field(&response.headers, "content-type").unwrap_or("application/octet-stream");
    let mut content = json!({ "size": size(&response.body).max(0), "mimeType": kind });
    match &response.body {
        Content::Text(text) => content["text"] = json!(text),
        Content::Base64(text) => {
            content["text"] = json!(text);
            content["encoding"] = json!("base64");
        }
        Content::Empty => content["text"] = json!(""),
        Content::Truncated(_) | Content::Undecodable(_) | Content::Unread => {
            content["comment"] = json!("the body was not recorded");
        }
    }
    content
}

#[cfg(test)]
mod tests;
