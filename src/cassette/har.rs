//! HAR 1.2, the archive format of browsers: a cassette can be looked at in the network panel of one, and what a browser
//! or another proxy has recorded can be replayed.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

use super::file::{Appender, Cassette, CassetteError, in_file};
use super::format::{Answered, Asked, Content, PersonalData, Record, field};
use super::pseudonyms::Pseudonyms;
use super::transcribe::Cleaner;
use crate::clock::{Clock, Timestamp};

/// Headers of a connection, and what no longer holds of a body whose coding is off.
const DROPPED: [&str; 8] = [
    "connection",
    "content-encoding",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

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
pub struct Imported {
    /// Entries that are records now.
    pub records: usize,
    /// Entries without an answer, or whose time or URL cannot be read.
    pub skipped: usize,
}

/// The archive of a cassette.
pub fn export(cassette: &Cassette) -> Value {
    json!({
        "log": {
            "version": "1.2",
            "creator": { "name": "vbc-proxy", "version": env!("CARGO_PKG_VERSION") },
            "entries": cassette.records.iter().map(entry).collect::<Vec<_>>(),
        }
    })
}

fn entry(record: &Record) -> Value {
    let (asked, answered) = (&record.request, &record.answer);
    let wait = answered.pieces.first().map_or(record.millis, |(millis, _)| *millis).min(record.millis);
    let mut entry = json!({
        "startedDateTime": record.at.to_string(),
        "time": record.millis,
        "request": {
            "method": asked.method,
            "url": format!("{}{}", record.base, asked.target),
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
    if let Some(text) = text_of(&asked.body) {
        let kind = field(&asked.headers, "content-type").unwrap_or_default();
        entry["request"]["postData"] = json!({ "mimeType": kind, "params": [], "text": text });
    }
    entry
}

fn usual(status: u16) -> &'static str {
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

fn content(answered: &Answered) -> Value {
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

#[derive(Deserialize)]
struct Archive {
    log: Log,
}

#[derive(Deserialize)]
struct Log {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    started_date_time: String,
    #[serde(default)]
    time: f64,
    request: Request,
    response: Response,
    #[serde(rename = "_vbcProxy")]
    ours: Option<Ours>,
}

#[derive(Deserialize)]
struct Ours {
    complete: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    method: String,
    url: String,
    #[serde(default)]
    http_version: String,
    headers: Vec<Pair>,
    post_data: Option<PostData>,
}

#[derive(Deserialize)]
struct PostData {
    text: Option<String>,
    #[serde(default)]
    params: Vec<Pair>,
}

#[derive(Deserialize)]
struct Response {
    status: u16,
    #[serde(default)]
    status_text: String,
    headers: Vec<Pair>,
    content: ArchivedContent,
}

#[derive(Deserialize)]
struct ArchivedContent {
    #[serde(default)]
    size: i64,
    text: Option<String>,
    encoding: Option<String>,
}

#[derive(Deserialize)]
struct Pair {
    name: String,
    #[serde(default)]
    value: String,
}

/// Writes the entries of an archive to a cassette, which is begun or added to. Credentials are hidden as in a recording, and
/// personal data too unless they are to be kept.
///
/// # Errors
/// When the text is no archive, or the cassette cannot be written to.
pub fn import(text: &str, path: &Path, keep_personal: bool, clock: &Clock) -> Result<Imported, HarError> {
    let archive: Archive = serde_json::from_str(text)?;
    let personal = if keep_personal { PersonalData::Kept } else { PersonalData::Hidden };
    let (mut appender, key) = Appender::open(path, personal, clock)?;
    let mut pseudonyms = Pseudonyms::new(&key, !keep_personal);
    let mut cleaner = Cleaner { tokens: &[], hide: &mut pseudonyms };
    let mut imported = Imported::default();
    for entry in archive.log.entries {
        match record(entry, &mut cleaner) {
            Some(record) => {
                appender.add(record).map_err(|source| in_file(path, source))?;
                imported.records += 1;
            }
            None => imported.skipped += 1,
        }
    }
    appender.sync().map_err(|source| in_file(path, source))?;
    Ok(imported)
}

fn record(entry: Entry, cleaner: &mut Cleaner<'_>) -> Option<Record> {
    let Entry { started_date_time, time, request, response, ours } = entry;
    StatusCode::from_u16(response.status).ok()?;
    let at: Timestamp = started_date_time.parse().ok()?;
    let authority = request.url.find("://")? + 3;
    let path = request.url[authority..].find(['/', '?', '#']).map_or(request.url.len(), |at| authority + at);
    let (base, target) = request.url.split_at(path);
    let target = target.split('#').next().unwrap_or_default();
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    let asked = request.post_data.and_then(|data| {
        let params = data.params.iter().map(|Pair { name, value }| format!("{name}={value}"));
        data.text.or_else(|| Some(params.collect::<Vec<_>>().join("&"))).filter(|text| !text.is_empty())
    });
    let asked = match asked.as_deref().and_then(|text| text.strip_prefix("data:;base64,")) {
        Some(text) => STANDARD.decode(text).ok(),
        None => asked.map(String::into_bytes),
    };
    let (headers, body) = message(cleaner, request.headers, asked.unwrap_or_default());
    let target = cleaner.target(&target);
    let asked =
        Asked { method: request.method, target, version: version(&request.http_version), headers, body };
    let content = response.content;
    let bytes = match (&content.text, content.encoding.as_deref()) {
        (Some(text), Some("base64")) => STANDARD.decode(text).ok(),
        (Some(text), _) => Some(text.clone().into_bytes()),
        (None, _) => None,
    };
    let missing = u64::try_from(content.size).unwrap_or(0);
    let (headers, body) = match bytes {
        None if missing > 0 => {
            let (headers, _) = message(cleaner, response.headers, Vec::new());
            (headers, Content::Truncated(missing))
        }
        bytes => message(cleaner, response.headers, bytes.unwrap_or_default()),
    };
    // Over HTTP/2 there are none.
    let reason = Some(response.status_text).filter(|text| !text.is_empty() && text != usual(response.status));
    let complete = ours.is_none_or(|ours| ours.complete);
    let answer = Answered {
        status: response.status,
        reason,
        headers,
        body,
        trailers: Vec::new(),
        complete,
        pieces: Vec::new(),
    };
    let millis = if time.is_finite() && time > 0.0 { time as u64 } else { 0 };
    Some(Record { n: 0, at, millis, base: base.to_owned(), request: asked, answer })
}

fn version(text: &str) -> String {
    match text.to_ascii_lowercase().as_str() {
        "h2" | "http/2" | "http/2.0" => "HTTP/2.0".into(),
        "http/1.0" => "HTTP/1.0".into(),
        _ => "HTTP/1.1".into(),
    }
}

fn message(cleaner: &mut Cleaner<'_>, headers: Vec<Pair>, body: Vec<u8>) -> (Vec<(String, String)>, Content) {
    let kept = headers.into_iter().map(|Pair { name, value }| (name.to_ascii_lowercase(), value));
    let kept = kept.filter(|(name, _)| !name.starts_with(':') && !DROPPED.contains(&name.as_str()));
    let mut fields = cleaner.pairs(kept.collect());
    let (body, _) = cleaner.body(&mut fields, body, &[]);
    (fields, body)
}

#[cfg(test)]
#[path = "har_tests.rs"]
mod tests;
