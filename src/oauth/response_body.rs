//! The body of a token endpoint's response, as text and JSON.
//!
//! Requests accept only identity coding and JSON. Servers and intermediaries may still send other
//! codings and charsets, and arrays, forms or HTML pages instead of a JSON object.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::{Map, Value};

use super::error_body::ErrorBody;
use super::lenient;

/// The largest body that is read. A token set is a few KB.
pub(super) const MAX_BODY: usize = 1024 * 1024;

/// The largest number of nested content codings that are decoded.
const MOST_CODINGS: usize = 4;

/// A decoded body.
pub(super) struct ResponseBody {
    /// The body, read as an error. A response of any status may carry an error.
    pub(super) error: ErrorBody<'static>,
    /// Why the body cannot be a token set, if that is already known.
    unusable: Option<&'static str>,
}

impl ResponseBody {
    /// Decodes a body. With more than [`MAX_BODY`] bytes, encoded or decoded, it is unusable as a
    /// token set.
    pub(super) fn read(headers: &HeaderMap, bytes: &[u8]) -> Self {
        let decoded = decode(headers, bytes);
        let is_too_long = bytes.len().max(decoded.len()) > MAX_BODY;
        let text = text(headers, &decoded);
        let (value, unusable) = parse(&text);
        let unusable = if is_too_long { Some("more than 1 MiB") } else { unusable };
        Self { error: ErrorBody::from_parts(text, value), unusable }
    }

    /// The JSON object; otherwise a description of the body.
    pub(super) fn object(&self) -> Result<&Map<String, Value>, &'static str> {
        match (self.error.json(), self.unusable) {
            (_, Some(unusable)) => Err(unusable),
            (Some(Value::Object(object)), None) => Ok(object),
            _ => Err("JSON, but not an object"),
        }
    }
}

/// The JSON in `text`, and why it cannot be a token set.
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

/// The bytes without their content codings. Unknown codings are ignored.
fn decode<'a>(headers: &HeaderMap, bytes: &'a [u8]) -> Cow<'a, [u8]> {
    let values = headers.get_all(CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let codings: Vec<String> =
        values.flat_map(|value| value.split(',')).map(|coding| coding.trim().to_ascii_lowercase()).collect();
    let mut bytes = Cow::Borrowed(bytes);
    for coding in codings.iter().rev().take(MOST_CODINGS) {
        let decoded = match coding.as_str() {
            "gzip" | "x-gzip" => inflated(MultiGzDecoder::new(&bytes[..])),
            "deflate" => {
                let zlib = inflated(ZlibDecoder::new(&bytes[..]));
                zlib.or_else(|| inflated(DeflateDecoder::new(&bytes[..])))
            }
            _ => None,
        };
        if let Some(decoded) = decoded {
            bytes = Cow::Owned(decoded);
        }
    }
    // Some servers compress without a Content-Encoding.
    if bytes.starts_with(b"\x1f\x8b")
        && let Some(decoded) = inflated(MultiGzDecoder::new(&bytes[..]))
    {
        bytes = Cow::Owned(decoded);
    }
    bytes
}

/// The decompressed bytes, even if the end is missing. `None` if nothing could be decompressed.
fn inflated(decoder: impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    // An error leaves the bytes that were decoded before it.
    let _ = decoder.take(MAX_BODY as u64 + 1).read_to_end(&mut bytes);
    (!bytes.is_empty()).then_some(bytes)
}

/// Bytes 0x80 to 0x9f in Windows-1252. Most servers that declare Latin-1 send Windows-1252.
const WINDOWS: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// The text of `bytes`: as UTF-16 or UTF-32 if they look like that, else as UTF-8. Bytes that are
/// invalid in UTF-8 are read as Windows-1252.
///
/// An echoed secret must be decoded exactly. Otherwise it would not be found and hidden.
fn text(headers: &HeaderMap, bytes: &[u8]) -> String {
    let charset = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let charset = charset.to_ascii_lowercase();
    let wide = |low: usize| {
        let units =
            bytes.chunks_exact(2).map(move |pair| u16::from(pair[1 - low]) << 8 | u16::from(pair[low]));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
    };
    // A JSON text begins with two ASCII characters (RFC 4627 §3).
    let text: String = match bytes {
        [0xff, 0xfe, ..] | [b'{' | b'[' | b'<' | b' ', 0, ..] if !is_utf32(bytes) => wide(0).collect(),
        [0xfe, 0xff, ..] | [0, b'{' | b'[' | b'<' | b' ', ..] => wide(1).collect(),
        _ if charset.contains("utf-16le") && bytes.len() > 1 => wide(0).collect(),
        _ => narrow(bytes),
    };
    // Removes byte order marks, and the zeros of UTF-32.
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

#[cfg(test)]
#[path = "response_body_tests.rs"]
mod tests;
