//! Reads an entry of a HAR as a record, before anything in it is replaced.
//!
//! Programs omit members as they please, so only a method, a URL and a status are required.

use aws_lc_rs::digest::{SHA256, digest};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::archived::{PostData, ResponseContent, decoded_content, posted_body};
use super::fields::{add_type, field_value, headers, length, set_length, value};
use super::lenient::{number, or_default, pairs, text};
use super::{form, usual_reason};
use crate::format::{Content, Fields, PersonalData, Record, RecordedRequest, RecordedResponse, field};
use crate::percent;
use crate::redact::is_hidden;
use vbc_base::clock::Timestamp;
use vbc_base::secret::hex;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default, deserialize_with = "text")]
    started_date_time: String,
    #[serde(default, deserialize_with = "number")]
    time: Option<f64>,
    request: Request,
    response: Response,
    #[serde(rename = "_vbcProxy")]
    ours: Option<ProxyMembers>,
}

/// Members that an export adds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProxyMembers {
    complete: bool,
    /// Why the body of the request is missing.
    request_body: Option<Content>,
    /// Why the body of the response is missing.
    response_body: Option<Content>,
    pseudonymised: Option<PseudonymMark>,
}

/// Marks an entry whose credentials are pseudonyms. `personal_data` says whether its personal data
/// is hidden too.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PseudonymMark {
    pub(super) personal_data: PersonalData,
    /// The digest of the record that the entry is read as. It changes with the entry.
    pub(super) sha256: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    method: String,
    url: String,
    #[serde(default, deserialize_with = "or_default")]
    http_version: String,
    #[serde(default, deserialize_with = "pairs")]
    headers: Fields,
    #[serde(default, deserialize_with = "pairs")]
    query_string: Fields,
    #[serde(default, deserialize_with = "number")]
    body_size: Option<f64>,
    post_data: Option<PostData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(deserialize_with = "number")]
    status: Option<f64>,
    #[serde(default, deserialize_with = "or_default")]
    status_text: String,
    #[serde(default, deserialize_with = "pairs")]
    headers: Fields,
    #[serde(default, deserialize_with = "or_default")]
    cookies: Vec<Value>,
    #[serde(default, deserialize_with = "or_default")]
    content: ResponseContent,
    #[serde(default, rename = "redirectURL", deserialize_with = "text")]
    redirect_url: String,
    #[serde(default, deserialize_with = "number")]
    body_size: Option<f64>,
}

/// An entry that has been read.
pub(super) struct ParsedEntry {
    pub(super) record: Record,
    mark: Option<PseudonymMark>,
}

impl ParsedEntry {
    /// Reads an entry. `None` if it has no HTTP request or no response.
    pub(super) fn parse(entry: Value) -> Option<Self> {
        let Entry { started_date_time, time, request, response, ours } =
            serde_json::from_value(entry).ok()?;
        let (base, target) = split_url(&request.url)?;
        let mut request = recorded_request(request, target)?;
        let mut response = recorded_response(response, &request.method, ours.is_some())?;
        let mut mark = None;
        if let Some(ours) = ours {
            let missing = |body: Option<Content>| body.filter(|body| body.bytes().is_none());
            request.body = missing(ours.request_body).unwrap_or(request.body);
            response.body = missing(ours.response_body).unwrap_or(response.body);
            response.complete = ours.complete;
            mark = ours.pseudonymised;
        }
        let millis = time.filter(|time| time.is_finite() && *time > 0.0).unwrap_or_default() as u64;
        let at = timestamp(&started_date_time);
        Some(Self { record: Record { n: 0, at, millis, base, request, response }, mark })
    }

    /// Whether the entry is unchanged since an [`export`](super::export) wrote it, and contains
    /// pseudonyms for everything that an import would replace.
    pub(super) fn is_pseudonymised(&self, keep_personal: bool) -> bool {
        self.mark.as_ref().is_some_and(|mark| {
            let is_enough = keep_personal || mark.personal_data == PersonalData::Hidden;
            is_enough && mark.sha256 == digest_of(&self.record)
        })
    }
}

/// A digest of a record without its number and times.
pub(super) fn digest_of(record: &Record) -> String {
    let content = (&record.base, &record.request, &record.response);
    let line = serde_json::to_vec(&content).unwrap_or_default();
    hex(digest(&SHA256, &line).as_ref())
}

/// Parses the start of an exchange. An unreadable time becomes the epoch, since no replay depends
/// on it.
fn timestamp(text: &str) -> Timestamp {
    // Some programs omit the offset.
    text.parse().or_else(|_| format!("{text}Z").parse()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn recorded_request(request: Request, mut target: String) -> Option<RecordedRequest> {
    let is_pseudonym = is_hidden(&request.method);
    let method = if is_pseudonym { request.method } else { request.method.to_ascii_uppercase() };
    let method = Method::from_bytes(method.as_bytes()).ok()?;
    if !target.contains('?') && !request.query_string.is_empty() {
        let pairs = request.query_string.iter().map(|(name, value)| form::query(name, value));
        target = format!("{target}?{}", pairs.collect::<Vec<_>>().join("&"));
    }
    let codings = value(&request.headers, "content-encoding");
    let is_chunked = value(&request.headers, "transfer-encoding").is_some();
    let mut headers = headers(request.headers);
    let announced = length(&headers);
    let has_data = request.post_data.is_some();
    let posted = request.post_data.and_then(|data| posted_body(data, &mut headers, codings.as_deref()));
    if let Some(bytes) = posted.as_ref().and_then(Content::bytes) {
        set_length(&mut headers, bytes.len());
    }
    let size = request.body_size.filter(|size| *size >= 0.0);
    let has_some_body =
        is_chunked || announced.is_some_and(|length| length > 0) || size.is_some_and(|size| size >= 1.0);
    let may_have_body = !matches!(method.as_str(), "GET" | "HEAD" | "DELETE" | "OPTIONS" | "TRACE");
    let says_nothing = size.is_none() && !has_data && announced.is_none();
    let body = match posted {
        Some(body) => body,
        None if has_some_body || may_have_body && says_nothing => Content::Unread,
        None => Content::Empty,
    };
    Some(RecordedRequest {
        method: method.to_string(),
        target: percent::encoded(&target).into_owned(),
        version: version(&request.http_version).to_owned(),
        headers,
        body,
        body_hash: None,
    })
}

fn recorded_response(response: Response, method: &str, is_ours: bool) -> Option<RecordedResponse> {
    // A lower status means a switch of protocols or a failed request.
    let status = response.status.filter(|status| (200.0..1000.0).contains(status))? as u16;
    StatusCode::from_u16(status).ok()?;
    let codings = value(&response.headers, "content-encoding");
    let mut headers = headers(response.headers);
    if field(&headers, "location").is_none() && !response.redirect_url.is_empty() {
        headers.push(("location".into(), percent::encoded(&response.redirect_url).into_owned()));
    }
    if field(&headers, "set-cookie").is_none() {
        headers.extend(response.cookies.iter().filter_map(form::set_cookie));
    }
    let mut content = response.content;
    if is_ours {
        // An export writes a type even if there was none.
        content.mime_type.clear();
    }
    let has_no_body = method == "HEAD" || matches!(status, 204 | 304);
    let bytes = decoded_content(&content, &mut headers, codings.as_deref(), is_ours);
    let size = content.size.filter(|size| size.is_finite());
    let body = match bytes {
        Some(bytes) if !bytes.is_empty() || size.is_none_or(|size| size < 1.0) => {
            if !bytes.is_empty() {
                add_type(&mut headers, &content.mime_type);
            }
            if !has_no_body {
                set_length(&mut headers, bytes.len());
            }
            Content::of(bytes)
        }
        _ if has_no_body => Content::Empty,
        _ => missing_body(size, response.body_size, codings.is_some(), &headers),
    };
    // HTTP/2 has no reason phrases.
    let is_usual = response.status_text.is_empty() || response.status_text == usual_reason(status);
    Some(RecordedResponse {
        status,
        reason: (!is_usual).then(|| field_value(&response.status_text)),
        headers,
        body,
        body_hash: None,
        trailers: Vec::new(),
        complete: true,
        pieces: Vec::new(),
    })
}

/// A body that the archive lacks. It is empty only if the archive says so, or if the response is a
/// redirect.
fn missing_body(size: Option<f64>, sent: Option<f64>, is_coded: bool, headers: &Fields) -> Content {
    let announced = length(headers);
    let known = size.filter(|size| *size >= 1.0).map(|size| size as u64);
    // Even an empty body has some bytes in a coding.
    let sent = sent.filter(|sent| *sent >= 1.0 && !is_coded).map(|sent| sent as u64);
    match known.or(announced.filter(|length| *length > 0 && !is_coded)).or(sent) {
        Some(bytes) => Content::Truncated(bytes),
        None if size == Some(0.0) || announced == Some(0) => Content::Empty,
        // The body of a redirect does not matter.
        None if field(headers, "location").is_some() => Content::Empty,
        None => Content::Unread,
    }
}

/// Splits an HTTP URL into its base (scheme, host and port) and its target. Drops user information
/// and the fragment.
fn split_url(url: &str) -> Option<(String, String)> {
    let url = url.trim().split('#').next()?;
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

fn version(text: &str) -> &'static str {
    match text.to_ascii_lowercase().as_str() {
        "h2" | "http/2" | "http/2.0" => "HTTP/2.0",
        "h3" | "http/3" | "http/3.0" => "HTTP/3.0",
        "http/1.0" => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}
