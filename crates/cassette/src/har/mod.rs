//! HAR 1.2, the archive format of browsers: a cassette can be looked at in the network panel of one, and what a browser
//! or another proxy has recorded can be replayed.

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

use crate::file::{Cassette, CassetteError};
use crate::format::{Content, PersonalData, Record, RecordedResponse, field};
use crate::har::entry as har_entry;
use crate::har::entry::PseudonymMark;

pub use crate::har::import::import;

/// Why an archive cannot be taken in.
#[derive(Debug, Error)]
pub enum HarError {
    /// It is no archive of version 1.
    #[error("not a HAR: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The cassette it was to be written to.
    #[error(transparent)]
    Cassette(#[from] CassetteError),
}

/// What was taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportCounts {
    /// Entries that are records now.
    pub records: usize,
    /// Entries without an answer, of another protocol than HTTP, or that cannot be read.
    pub skipped: usize,
}

/// The archive of a cassette. Each entry is marked as pseudonymised, so that taking it in hides
/// nothing twice.
pub fn export(cassette: &Cassette) -> Value {
    // A cassette has them as they ended, an archive as they began.
    let mut records: Vec<&Record> = cassette.records.iter().collect();
    records.sort_by_key(|record| record.at);
    let entries: Vec<Value> =
        records.into_iter().map(|record| marked(entry(record), cassette.header.personal_data)).collect();
    json!({
        "log": {
            "version": "1.2",
            "creator": { "name": "vbc-proxy", "version": env!("CARGO_PKG_VERSION") },
            "entries": entries,
        }
    })
}

/// An entry that says what is pseudonymised in it, with a digest that no longer fits once somebody
/// has changed it.
fn marked(mut entry: Value, personal_data: PersonalData) -> Value {
    if let Some(read) = har_entry::read(entry.clone()) {
        let mark = PseudonymMark { personal_data, sha256: har_entry::digest_of(&read.record) };
        entry["_vbcProxy"]["pseudonymised"] = json!(mark);
    }
    entry
}

fn entry(record: &Record) -> Value {
    let (asked, answered) = (&record.request, &record.response);
    // Asked without a `Host`.
    let base = if record.base.ends_with("://") { "http://localhost" } else { &record.base };
    let wait = answered.pieces.first().map_or(record.millis, |(millis, _)| *millis).min(record.millis);
    let mut entry = json!({
        "startedDateTime": record.at.to_string(),
        "time": record.millis,
        "request": {
            "method": asked.method,
            "url": format!("{base}{}", asked.target),
            "httpVersion": asked.version,
            "cookies": cookies(&asked.headers, "cookie"),
            "headers": pairs(&asked.headers),
            "queryString": query(&asked.target),
            "headersSize": -1,
            "bodySize": size(&asked.body),
        },
        "response": {
            "status": answered.status,
            "statusText": answered.reason.as_deref().unwrap_or_else(|| usual(answered.status)),
            "httpVersion": asked.version,
            "cookies": cookies(&answered.headers, "set-cookie"),
            "headers": pairs(&answered.headers),
            "content": content(answered),
            "redirectURL": field(&answered.headers, "location").unwrap_or_default(),
            "headersSize": -1,
            "bodySize": size(&answered.body),
        },
        "cache": {},
        "timings": { "send": 0, "wait": wait, "receive": record.millis - wait },
        "_vbcProxy": { "record": record.n, "complete": answered.complete },
    });
    // The format has no word for why a body is not there.
    for (member, body) in [("requestBody", &asked.body), ("responseBody", &answered.body)] {
        if body.bytes().is_none() {
            entry["_vbcProxy"][member] = json!(body);
        }
    }
    if let Some(text) = text_of(&asked.body) {
        let kind = field(&asked.headers, "content-type").unwrap_or_default();
        entry["request"]["postData"] = json!({ "mimeType": kind, "params": [], "text": text });
    }
    entry
}

pub(crate) fn usual(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default()
}

fn pairs(headers: &[(String, String)]) -> Vec<Value> {
    headers.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

fn query(target: &str) -> Vec<Value> {
    let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let Some((_, query)) = target.split_once('?') else { return Vec::new() };
    let parts = query.split('&').filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        json!({ "name": plain(name), "value": plain(value) })
    };
    parts.map(pair).collect()
}

fn cookies(headers: &[(String, String)], name: &str) -> Vec<Value> {
    let lines = headers.iter().filter(|(known, _)| known == name);
    // A `Set-Cookie` is of one cookie; what follows it are its attributes.
    let most = if name == "cookie" { usize::MAX } else { 1 };
    let parts = lines.flat_map(|(_, value)| value.split(';').take(most));
    let pair = |part: &str| {
        let (name, value) = part.trim().split_once('=')?;
        Some(json!({ "name": name, "value": value }))
    };
    parts.filter_map(pair).collect()
}

fn size(body: &Content) -> i64 {
    match body {
        Content::Truncated(bytes) => i64::try_from(*bytes).unwrap_or(-1),
        body => body.bytes().map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(-1)),
    }
}

fn text_of(body: &Content) -> Option<String> {
    match body {
        Content::Text(text) => Some(text.clone()),
        // The format has no word for a request's body that is no text.
        Content::Base64(text) => Some(format!("data:;base64,{text}")),
        _ => None,
    }
}

fn content(answered: &RecordedResponse) -> Value {
    let kind = field(&answered.headers, "content-type").unwrap_or("application/octet-stream");
    let mut content = json!({ "size": size(&answered.body).max(0), "mimeType": kind });
    match &answered.body {
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
#[path = "tests.rs"]
mod tests;
