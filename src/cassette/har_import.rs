//! A HAR taken in. Programs that write one leave out what they please, so little is insisted on: an entry that cannot be read is
//! left out, and counted.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::file::{Appender, in_file};
use super::format::{Answered, Asked, Content, PersonalData, Record};
use super::har::{HarError, Imported, usual};
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

#[derive(Deserialize)]
struct Archive {
    log: Log,
}

#[derive(Deserialize)]
struct Log {
    entries: Vec<Value>,
}

/// What is `null` is what is not there.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    started_date_time: String,
    #[serde(default, deserialize_with = "or_default")]
    time: f64,
    request: Request,
    response: Response,
    #[serde(rename = "_vbcProxy")]
    ours: Option<Ours>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ours {
    complete: bool,
    /// What became of a body that is not there.
    request_body: Option<Content>,
    response_body: Option<Content>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    method: String,
    url: String,
    #[serde(default, deserialize_with = "or_default")]
    http_version: String,
    #[serde(default, deserialize_with = "or_default")]
    headers: Vec<Pair>,
    post_data: Option<PostData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostData {
    #[serde(default, deserialize_with = "or_default")]
    mime_type: String,
    text: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    params: Vec<Param>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Param {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    value: String,
    file_name: Option<String>,
    content_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    status: u16,
    #[serde(default, deserialize_with = "or_default")]
    status_text: String,
    #[serde(default, deserialize_with = "or_default")]
    headers: Vec<Pair>,
    #[serde(default, deserialize_with = "or_default")]
    content: ArchivedContent,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchivedContent {
    #[serde(default, deserialize_with = "or_default")]
    size: f64,
    #[serde(default, deserialize_with = "or_default")]
    mime_type: String,
    text: Option<String>,
    encoding: Option<String>,
}

#[derive(Deserialize)]
struct Pair {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    value: String,
}

/// Writes the entries of an archive to a cassette, which is begun or added to. Credentials are hidden as in a recording, and
/// personal data too unless they are to be kept.
///
/// # Errors
/// When the text is no archive, or the cassette cannot be written to.
pub fn import(text: &str, path: &Path, keep_personal: bool, clock: &Clock) -> Result<Imported, HarError> {
    // Some begin with a byte order mark.
    let archive: Archive = serde_json::from_str(text.trim_start_matches('\u{feff}'))?;
    let personal = if keep_personal { PersonalData::Kept } else { PersonalData::Hidden };
    let (mut appender, key) = Appender::open(path, personal, clock)?;
    let mut pseudonyms = Pseudonyms::new(&key, !keep_personal);
    let mut imported = Imported::default();
    for entry in archive.log.entries {
        let entry: Option<Entry> = serde_json::from_value(entry).ok();
        match entry.and_then(|entry| record(entry, &mut Cleaner::new(&[], &mut pseudonyms))) {
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
    // A switch of protocols, a request that failed.
    StatusCode::from_u16(response.status).ok().filter(|status| !status.is_informational())?;
    let at: Timestamp = started_date_time.parse().ok()?;
    let (base, target) = split(&request.url)?;
    let target = cleaner.target(&target);
    let (posted, kind) = request.post_data.map(posted).unwrap_or_default();
    let (headers, body) = message(cleaner, request.headers, &kind, posted);
    let missing = |body: Option<&Content>| body.filter(|body| body.bytes().is_none()).cloned();
    let body = missing(ours.as_ref().and_then(|ours| ours.request_body.as_ref())).unwrap_or(body);
    let (method, version) = (request.method, version(&request.http_version));
    let asked = cleaner.asked(Asked { method, target, version, headers, body });
    let mut content = response.content;
    if ours.is_some() {
        // An export has a type where there was none.
        content.mime_type.clear();
    }
    let bytes = match (&content.text, content.encoding.as_deref()) {
        (Some(text), Some("base64")) => STANDARD.decode(text).ok(),
        (Some(text), _) => Some(text.clone().into_bytes()),
        (None, _) => None,
    };
    let is_missing = bytes.is_none() && content.size >= 1.0;
    let (headers, body) = message(cleaner, response.headers, &content.mime_type, bytes.unwrap_or_default());
    let body = if is_missing { Content::Truncated(content.size as u64) } else { body };
    let body = missing(ours.as_ref().and_then(|ours| ours.response_body.as_ref())).unwrap_or(body);
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
    Some(Record { n: 0, at, millis, base, request: asked, answer })
}

/// Scheme and authority of a URL, without the user in it, and the target that was asked for.
fn split(url: &str) -> Option<(String, String)> {
    let url = url.split('#').next()?;
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(&*scheme, "http" | "https") {
        return None;
    }
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let host = authority.rsplit('@').next()?;
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    Some((format!("{scheme}://{host}"), target))
}

/// The body of a request, and its type.
fn posted(data: PostData) -> (Vec<u8>, String) {
    let text = data.text.filter(|text| !text.is_empty());
    let body = match text.as_deref().map(|text| text.strip_prefix("data:;base64,").ok_or(text)) {
        Some(Ok(coded)) => STANDARD.decode(coded).unwrap_or_default(),
        Some(Err(text)) => text.as_bytes().to_vec(),
        None => of_params(&data.mime_type, &data.params),
    };
    (body, data.mime_type)
}

/// A form as it was sent. Of files that were sent there is only the name.
fn of_params(kind: &str, params: &[Param]) -> Vec<u8> {
    let boundary = kind.split_once("boundary=").map(|(_, boundary)| boundary.trim_matches('"'));
    let Some(boundary) = boundary.filter(|_| !params.is_empty()) else {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(params.iter().map(|param| (&param.name, &param.value)));
        return form.finish().into_bytes();
    };
    let part = |param: &Param| {
        let file = param.file_name.as_ref().map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        let kind =
            param.content_type.as_ref().map(|kind| format!("Content-Type: {kind}\r\n")).unwrap_or_default();
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"{file}\r\n{kind}\r\n{}\r\n",
            param.name, param.value
        )
    };
    let parts: String = params.iter().map(part).collect();
    format!("{parts}--{boundary}--\r\n").into_bytes()
}

fn version(text: &str) -> String {
    match text.to_ascii_lowercase().as_str() {
        "h2" | "http/2" | "http/2.0" => "HTTP/2.0".into(),
        "h3" | "http/3" | "http/3.0" => "HTTP/3.0".into(),
        "http/1.0" => "HTTP/1.0".into(),
        _ => "HTTP/1.1".into(),
    }
}

/// A message with what is to be hidden in it hidden; `kind` is the type of the body, where no header has one.
fn message(
    cleaner: &mut Cleaner<'_>,
    headers: Vec<Pair>,
    kind: &str,
    body: Vec<u8>,
) -> (Vec<(String, String)>, Content) {
    // Chromium joins several lines of a name so.
    let lines = headers.iter().flat_map(|pair| {
        let name = pair.name.to_ascii_lowercase();
        pair.value.split('\n').map(move |value| (name.clone(), value.to_owned()))
    });
    let kept = lines.filter(|(name, _)| !name.starts_with(':') && !DROPPED.contains(&name.as_str()));
    let mut kept: Vec<_> = kept.collect();
    // Chromium's word for no type.
    let is_known = !body.is_empty() && !kind.is_empty() && kind != "x-unknown";
    if is_known && !kept.iter().any(|(name, _)| name == "content-type") {
        kept.push(("content-type".to_owned(), kind.to_owned()));
    }
    let mut fields = cleaner.pairs(kept);
    let (body, _) = cleaner.body(&mut fields, body, &[]);
    (fields, body)
}
