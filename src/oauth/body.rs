//! What the body of a token endpoint's response says, in whatever wrapping it comes.
//!
//! Identity and UTF-8 are asked for. Servers and what stands before them send other codings and charsets all the
//! same, and arrays, forms and pages where JSON is expected.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::lenient;
use super::response::MAX_BODY;

/// Codings that are undone, one within the other.
const MOST_CODINGS: usize = 4;

/// Words that refuse a grant, then those that concern the application, then those of a server in trouble. The first
/// that is found in a text of no known form counts: a refusal must never be taken for something harmless.
const KNOWN: &[&str] = &[
    "invalid_grant",
    "invalid_request",
    "access_denied",
    "invalid_token",
    "expired_token",
    "invalid_credentials",
    "login_required",
    "interaction_required",
    "consent_required",
    "mfa_required",
    "invalid_client",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "server_error",
    "temporarily_unavailable",
    "slow_down",
];

/// A body that has been read.
pub(super) struct Body {
    text: String,
    value: Option<Value>,
    /// Why there is no token set in it, where that is known already.
    unusable: Option<&'static str>,
}

impl Body {
    /// Reads up to [`MAX_BODY`] bytes; one more says that there was more.
    pub(super) fn read(headers: &HeaderMap, bytes: &[u8]) -> Self {
        let decoded = decode(headers, bytes);
        let too_long = bytes.len().max(decoded.len()) > MAX_BODY;
        let text = text(headers, &decoded);
        let (value, unusable) = parse(&text);
        Self { value, unusable: if too_long { Some("more than 1 MiB") } else { unusable }, text }
    }

    /// The JSON object, where the body is one and whole, or what is there instead.
    pub(super) fn object(&self) -> Result<&Map<String, Value>, &'static str> {
        match (&self.value, self.unusable) {
            (_, Some(unusable)) => Err(unusable),
            (Some(Value::Object(object)), None) => Ok(object),
            _ => Err("JSON, but not an object"),
        }
    }

    /// The OAuth error, as it is written: of JSON or a form in any shape, or else a known word anywhere in the text.
    pub(super) fn error(&self) -> Option<Cow<'_, str>> {
        let found = || KNOWN.iter().find(|known| has_word(&self.text, known));
        self.structured_error().or_else(|| found().map(|known| Cow::Borrowed(*known)))
    }

    /// The OAuth error of JSON or a form.
    pub(super) fn structured_error(&self) -> Option<Cow<'_, str>> {
        let value = self.value.as_ref();
        if let Some(error) = value.and_then(|value| find(value, "error", &|value| words(value).is_some())) {
            return words(error).map(Cow::Borrowed);
        }
        let known = |value: &Value| words(value).and_then(known_word).is_some();
        if let Some(error) = value.and_then(|value| find(value, "", &known)) {
            return words(error).map(Cow::Borrowed);
        }
        let mut pairs = form(&self.text).filter(|_| value.is_none());
        pairs
            .find(|(name, error)| squeezed(name) == "error" && !error.trim().is_empty())
            .map(|(_, error)| error)
    }

    /// A member of this name at any depth, in any case, fit for `is_fit`.
    pub(super) fn member(&self, name: &str) -> Option<Cow<'_, str>> {
        let name = squeezed(name);
        if let Some(value) = &self.value {
            let fit = |value: &Value| words(value).is_some() || value.is_number();
            return match find(value, &name, &fit)? {
                Value::Number(number) => Some(Cow::Owned(number.to_string())),
                value => words(value).map(Cow::Borrowed),
            };
        }
        form(&self.text)
            .find(|(key, value)| squeezed(key) == name && !value.trim().is_empty())
            .map(|(_, value)| value)
    }

    /// Everything it says in words: to be read, not to be shown.
    pub(super) fn said(&self) -> String {
        let names = ["error", "code", "error_code", "error_description", "description", "message"];
        let members: Vec<_> = names.iter().filter_map(|name| self.member(name)).collect();
        let is_object = matches!(self.value, Some(Value::Object(_)));
        if members.is_empty() && !is_object { self.text.clone() } else { members.join("\n") }
    }
}

/// The value in `text`, and why it holds no token set.
fn parse(text: &str) -> (Option<Value>, Option<&'static str>) {
    let text = text.trim();
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        let whole = value.is_object() || value.is_array();
        return (whole.then_some(value), (!whole).then_some("JSON, but not an object"));
    }
    let read = lenient::read(text);
    let unusable = match &read {
        _ if text.is_empty() => Some("empty"),
        _ if text.starts_with('<') => Some("HTML or XML"),
        Some(read) if text.starts_with('{') && read.complete => None,
        Some(_) if text.starts_with('{') => Some("JSON that is cut off"),
        _ => Some("not JSON"),
    };
    (read.map(|read| read.value), unusable)
}

/// The bytes without their codings. What cannot be undone stays as it is.
fn decode<'a>(headers: &HeaderMap, bytes: &'a [u8]) -> Cow<'a, [u8]> {
    let values = headers.get_all(CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let codings: Vec<String> =
        values.flat_map(|value| value.split(',')).map(|coding| coding.trim().to_ascii_lowercase()).collect();
    let mut bytes = Cow::Borrowed(bytes);
    for coding in codings.iter().rev().take(MOST_CODINGS) {
        let undone = match coding.as_str() {
            "gzip" | "x-gzip" => inflated(MultiGzDecoder::new(&bytes[..])),
            "deflate" => {
                let zlib = inflated(ZlibDecoder::new(&bytes[..]));
                zlib.or_else(|| inflated(DeflateDecoder::new(&bytes[..])))
            }
            _ => None,
        };
        if let Some(undone) = undone {
            bytes = Cow::Owned(undone);
        }
    }
    // Compressed, and nothing says so.
    if bytes.starts_with(b"\x1f\x8b")
        && let Some(undone) = inflated(MultiGzDecoder::new(&bytes[..]))
    {
        bytes = Cow::Owned(undone);
    }
    bytes
}

/// What comes out, also where the end is missing; `None` where nothing does.
fn inflated(decoder: impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    // An error leaves what was decoded before it.
    let _ = decoder.take(MAX_BODY as u64 + 1).read_to_end(&mut bytes);
    (!bytes.is_empty()).then_some(bytes)
}

/// What bytes 0x80 to 0x9f are in Windows-1252, the Latin-1 of servers that say so and of most that do not.
const WINDOWS: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// The text of `bytes`: UTF-16 or UTF-32 where it looks so, else UTF-8 with each byte that is none read as
/// Windows-1252. An echoed secret must come out as it is, or it would not be found and hidden.
fn text(headers: &HeaderMap, bytes: &[u8]) -> String {
    let charset = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let charset = charset.to_ascii_lowercase();
    let wide = |low: usize| {
        let units =
            bytes.chunks_exact(2).map(move |pair| u16::from(pair[1 - low]) << 8 | u16::from(pair[low]));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
    };
    // A JSON text begins with two characters of ASCII (RFC 4627 §3).
    let text: String = match bytes {
        [0xff, 0xfe, ..] | [b'{' | b'[' | b'<' | b' ', 0, ..] if !is_utf32(bytes) => wide(0).collect(),
        [0xfe, 0xff, ..] | [0, b'{' | b'[' | b'<' | b' ', ..] => wide(1).collect(),
        _ if charset.contains("utf-16le") && bytes.len() > 1 => wide(0).collect(),
        _ => narrow(bytes),
    };
    // What is left of byte order marks, and of UTF-32 by its zeros.
    text.chars().filter(|c| !matches!(c, '\0' | '\u{feff}')).collect()
}

fn is_utf32(bytes: &[u8]) -> bool {
    matches!(bytes, [_, _, 0, 0, ..] | [0, 0, ..])
}

fn narrow(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        let windows = |byte: &u8| WINDOWS.get(usize::from(byte.wrapping_sub(0x80))).copied();
        text.extend(chunk.invalid().iter().map(|byte| windows(byte).unwrap_or(char::from(*byte))));
    }
    text
}

/// The first member of this name (of any name, where it is empty) that is fit, nearest to the top.
fn find<'a>(value: &'a Value, name: &str, is_fit: &dyn Fn(&Value) -> bool) -> Option<&'a Value> {
    let mut level = vec![value];
    while !level.is_empty() {
        let mut next = Vec::new();
        for value in level {
            match value {
                Value::Object(members) => {
                    let mut named =
                        members.iter().filter(|(key, _)| name.is_empty() || squeezed(key) == name);
                    if let Some((_, value)) = named.find(|(_, value)| is_fit(value)) {
                        return Some(value);
                    }
                    next.extend(members.values());
                }
                Value::Array(elements) => next.extend(elements),
                value if name.is_empty() && is_fit(value) => return Some(value),
                _ => {}
            }
        }
        level = next;
    }
    None
}

/// A text that says something.
fn words(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.trim().is_empty())
}

/// A name without case and separators: `Error-Description` is `error_description`.
fn squeezed(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
}

fn known_word(text: &str) -> Option<&'static str> {
    KNOWN.iter().find(|known| text.trim().eq_ignore_ascii_case(known)).copied()
}

/// The pairs of a form, where `text` is one.
fn form(text: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let text = text.trim().trim_start_matches(['?', '#']);
    let is_form = text.contains('=') && !text.contains(['<', '{', '\n']);
    form_urlencoded::parse(if is_form { text.as_bytes() } else { b"" })
}

fn has_word(text: &str, wanted: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.split(|c| !part(c)).any(|word| word.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
