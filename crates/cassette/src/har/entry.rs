//! One entry of a HAR as a record, before anything in it is hidden.
//!
//! Programs that write archives leave out what they please, so little is insisted on: a method, a
//! URL and a status.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::coding;
use crate::format::{Content, LARGEST_BODY, PersonalData, Record, RecordedRequest, RecordedResponse, field};
use crate::har::charset;
use crate::har::fields::{Fields, charset_of, field_value, fit, headers, length, value, with_type};
use crate::har::form as har_form;
use crate::har::form::Param;
use crate::har::lenient::{number, or_default, pairs, text};
use crate::har::usual;
use crate::percent as canonical;
use crate::redact::pseudonyms::is_hidden;
use vbc_base::clock::Timestamp;
use vbc_base::secret::hex;

/// Some programs break lines, or leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProxyMembers {
    complete: bool,
    /// What became of a body that is not there.
    request_body: Option<Content>,
    response_body: Option<Content>,
    pseudonymised: Option<PseudonymMark>,
}

/// Says that credentials, and personal data unless they were kept, are pseudonyms already.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PseudonymMark {
    pub(crate) personal_data: PersonalData,
    /// Of the record that the entry is read as: an entry that was changed afterwards has another
    /// one.
    pub(crate) sha256: String,
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
struct PostData {
    #[serde(default, deserialize_with = "or_default")]
    mime_type: String,
    text: Option<String>,
    /// Not of the specification: programs that keep binary bodies write it as they do of a
    /// response.
    encoding: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    params: Vec<Param>,
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
    content: ArchivedContent,
    #[serde(default, rename = "redirectURL", deserialize_with = "text")]
    redirect_url: String,
    #[serde(default, deserialize_with = "number")]
    body_size: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchivedContent {
    #[serde(default, deserialize_with = "number")]
    size: Option<f64>,
    #[serde(default, deserialize_with = "or_default")]
    mime_type: String,
    text: Option<String>,
    encoding: Option<String>,
}

/// An entry, read.
pub(crate) struct ParsedEntry {
    pub(crate) record: Record,
    mark: Option<PseudonymMark>,
}

impl ParsedEntry {
    /// Whether it is as [`crate::har::export`] wrote it, with everything pseudonymised that an
    /// import would pseudonymise.
    pub(crate) fn is_pseudonymised(&self, keep_personal: bool) -> bool {
        self.mark.as_ref().is_some_and(|mark| {
            let is_enough = keep_personal || mark.personal_data == PersonalData::Hidden;
            is_enough && mark.sha256 == digest_of(&self.record)
        })
    }
}

/// A digest of what a record says, its number and times aside.
pub(crate) fn digest_of(record: &Record) -> String {
    let said = (&record.base, &record.request, &record.response);
    let line = serde_json::to_vec(&said).unwrap_or_default();
    hex(digest(&SHA256, &line).as_ref())
}

/// Reads an entry; `None` where there is no request of HTTP in it, or no response.
pub(crate) fn read(entry: Value) -> Option<ParsedEntry> {
    let Entry { started_date_time, time, request, response, ours } = serde_json::from_value(entry).ok()?;
    let (base, target) = split(&request.url)?;
    let mut asked = asked(request, target)?;
    let mut response = answered(response, &asked.method, ours.is_some())?;
    let mut mark = None;
    if let Some(ours) = ours {
        let missing = |body: Option<Content>| body.filter(|body| body.bytes().is_none());
        asked.body = missing(ours.request_body).unwrap_or(asked.body);
        response.body = missing(ours.response_body).unwrap_or(response.body);
        response.complete = ours.complete;
        mark = ours.pseudonymised;
    }
    let millis = time.filter(|time| time.is_finite() && *time > 0.0).unwrap_or_default() as u64;
    let at = instant(&started_date_time);
    Some(ParsedEntry { record: Record { n: 0, at, millis, base, request: asked, response }, mark })
}

/// When it began; the beginning of time where nobody knows, since no replay depends on it.
fn instant(text: &str) -> Timestamp {
    // Some leave the offset out.
    text.parse().or_else(|_| format!("{text}Z").parse()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn asked(request: Request, mut target: String) -> Option<RecordedRequest> {
    let method = match is_hidden(&request.method) {
        true => request.method,
        false => request.method.to_ascii_uppercase(),
    };
    let method = Method::from_bytes(method.as_bytes()).ok()?;
    if !target.contains('?') && !request.query_string.is_empty() {
        let pairs = request.query_string.iter().map(|(name, value)| har_form::query(name, value));
        target = format!("{target}?{}", pairs.collect::<Vec<_>>().join("&"));
    }
    let codings = value(&request.headers, "content-encoding");
    let is_chunked = value(&request.headers, "transfer-encoding").is_some();
    let mut headers = headers(request.headers);
    let length = length(&headers);
    let has_data = request.post_data.is_some();
    let may_have_body = !matches!(method.as_str(), "GET" | "HEAD" | "DELETE" | "OPTIONS" | "TRACE");
    let body = request.post_data.and_then(|data| posted(data, &mut headers, codings.as_deref()));
    let body = match body {
        Some(PostedBody::Bytes(bytes)) => {
            fit(&mut headers, bytes.len());
            Content::of(bytes)
        }
        // It was some body, and nobody knows which.
        Some(PostedBody::Unknown) => Content::Unread,
        None if is_chunked || length.is_some_and(|length| length > 0) => Content::Unread,
        None if request.body_size.is_some_and(|size| size >= 1.0) => Content::Unread,
        None => match request.body_size.filter(|size| *size >= 0.0) {
            None if may_have_body && !has_data && length.is_none() => Content::Unread,
            _ => Content::Empty,
        },
    };
    let version = version(&request.http_version);
    Some(RecordedRequest {
        method: method.to_string(),
        target: canonical::encoded(&target).into_owned(),
        version,
        headers,
        body,
        body_hash: None,
    })
}

enum PostedBody {
    Bytes(Vec<u8>),
    Unknown,
}

/// The body of a request, if there is one; where no header has its type, the archive has it.
fn posted(data: PostData, headers: &mut Fields, codings: Option<&str>) -> Option<PostedBody> {
    let text = data.text.filter(|text| !text.is_empty());
    if text.is_none() && data.params.is_empty() {
        return None;
    }
    with_type(headers, &data.mime_type);
    let Some(text) = text else {
        return Some(
            har_form::body(&data.mime_type, &data.params).map_or(PostedBody::Unknown, PostedBody::Bytes),
        );
    };
    let coded = match text.strip_prefix("data:;base64,") {
        Some(coded) => Some(coded),
        None => is_base64(data.encoding.as_deref()).then_some(text.as_str()),
    };
    let bytes = match coded {
        Some(coded) => from_base64(coded).map(|bytes| without_codings(bytes, codings, headers)),
        None => charset_of(headers)
            .map_or_else(|| Some(text.clone().into_bytes()), |charset| charset::encode(&text, &charset)),
    };
    Some(bytes.map_or(PostedBody::Unknown, PostedBody::Bytes))
}

fn answered(response: Response, method: &str, is_ours: bool) -> Option<RecordedResponse> {
    // A switch of protocols, a request that failed or was broken off.
    let status = response.status.filter(|status| (200.0..1000.0).contains(status))? as u16;
    StatusCode::from_u16(status).ok()?;
    let codings = value(&response.headers, "content-encoding");
    let mut headers = headers(response.headers);
    if field(&headers, "location").is_none() && !response.redirect_url.is_empty() {
        headers.push(("location".into(), canonical::encoded(&response.redirect_url).into_owned()));
    }
    if field(&headers, "set-cookie").is_none() {
        headers.extend(response.cookies.iter().filter_map(har_form::set_cookie));
    }
    let mut content = response.content;
    if is_ours {
        // An export has a type where there was none.
        content.mime_type.clear();
    }
    let is_bare = method == "HEAD" || matches!(status, 204 | 304);
    let bytes = archived_bytes(&content, &mut headers, codings.as_deref(), is_ours);
    let size = content.size.filter(|size| size.is_finite());
    let body = match bytes {
        Some(bytes) if !bytes.is_empty() || size.is_none_or(|size| size < 1.0) => {
            if !bytes.is_empty() {
                with_type(&mut headers, &content.mime_type);
            }
            if !is_bare {
                fit(&mut headers, bytes.len());
            }
            Content::of(bytes)
        }
        _ if is_bare => Content::Empty,
        _ => missing(size, response.body_size, codings.is_some(), &headers),
    };
    // Over HTTP/2 there are none.
    let reason = Some(response.status_text).filter(|text| !text.is_empty() && text != usual(status));
    let reason = reason.map(|reason| field_value(&reason));
    let (complete, trailers, pieces) = (true, Vec::new(), Vec::new());
    Some(RecordedResponse { status, reason, headers, body, body_hash: None, trailers, complete, pieces })
}

/// A body that the archive does not have: nothing only where something says so.
fn missing(size: Option<f64>, sent: Option<f64>, is_coded: bool, headers: &Fields) -> Content {
    let length = length(headers);
    let known = size.filter(|size| *size >= 1.0).map(|size| size as u64);
    // Of nothing in a coding some bytes are sent.
    let sent = sent.filter(|sent| *sent >= 1.0 && !is_coded).map(|sent| sent as u64);
    match known.or(length.filter(|length| *length > 0 && !is_coded)).or(sent) {
        Some(bytes) => Content::Truncated(bytes),
        None if size == Some(0.0) || length == Some(0) => Content::Empty,
        // Of a redirect the body is of no concern.
        None if field(headers, "location").is_some() => Content::Empty,
        None => Content::Unread,
    }
}

/// The bytes of a response's body, where the archive has them.
fn archived_bytes(
    content: &ArchivedContent,
    headers: &mut Fields,
    codings: Option<&str>,
    is_ours: bool,
) -> Option<Vec<u8>> {
    let text = content.text.as_deref()?;
    if is_base64(content.encoding.as_deref()) {
        return from_base64(text).map(|bytes| without_codings(bytes, codings, headers));
    }
    // An export has text as it was: in UTF-8, whatever its type says.
    let kind = charset_of(headers).or_else(|| charset::charset(&content.mime_type).map(str::to_owned));
    let Some(kind) = kind.filter(|_| !is_ours && !text.is_empty()) else {
        return Some(text.as_bytes().to_vec());
    };
    if let Some(bytes) = charset::encode(text, &kind) {
        return Some(bytes);
    }
    with_type(headers, &content.mime_type);
    for (_, value) in headers.iter_mut().filter(|(name, _)| name == "content-type") {
        *value = charset::in_utf8(value);
    }
    Some(text.as_bytes().to_vec())
}

fn is_base64(encoding: Option<&str>) -> bool {
    encoding.is_some_and(|encoding| encoding.trim().eq_ignore_ascii_case("base64"))
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let plain = |byte: u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => byte,
    };
    let letters = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).map(plain);
    BASE64.decode(letters.collect::<Vec<_>>()).ok()
}

/// Most programs take the coding off. A body that still has it loses it; a file that is compressed
/// itself does not.
fn without_codings(bytes: Vec<u8>, codings: Option<&str>, headers: &Fields) -> Vec<u8> {
    let is_file = field(headers, "content-type").is_some_and(|kind| kind.contains("gzip"));
    match codings.filter(|_| !is_file && coding::is_gzip(&bytes)) {
        Some(codings) => coding::decode(codings, &bytes, LARGEST_BODY).unwrap_or(bytes),
        None => bytes,
    }
}

/// Scheme and authority of a URL, without the user in it, and the target that was asked for.
fn split(url: &str) -> Option<(String, String)> {
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

fn version(text: &str) -> String {
    match text.to_ascii_lowercase().as_str() {
        "h2" | "http/2" | "http/2.0" => "HTTP/2.0".into(),
        "h3" | "http/3" | "http/3.0" => "HTTP/3.0".into(),
        "http/1.0" => "HTTP/1.0".into(),
        _ => "HTTP/1.1".into(),
    }
}
