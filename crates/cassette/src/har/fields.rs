//! Header fields of archived messages in the form of a record.

use super::charset;
use crate::format::{Fields, field};
use crate::text::latin1;

/// The fields that are left out: fields of a connection, and fields that do not hold for a decoded
/// body.
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

/// The first value of the field with this name, ignoring case.
pub(super) fn value(headers: &Fields, name: &str) -> Option<String> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
}

pub(super) fn charset_of(headers: &Fields) -> Option<String> {
    charset::charset(field(headers, "content-type")?).map(str::to_owned)
}

pub(super) fn length(headers: &Fields) -> Option<u64> {
    field(headers, "content-length")?.parse().ok()
}

/// Sets an existing `Content-Length` to the length of the decoded body.
pub(super) fn set_length(headers: &mut Fields, length: usize) {
    for (_, value) in headers.iter_mut().filter(|(name, _)| name == "content-length") {
        *value = length.to_string();
    }
}

/// Adds the content type of a body, unless a header has one.
pub(super) fn add_type(headers: &mut Fields, kind: &str) {
    // Chromium writes `x-unknown` if there is no type.
    let is_known = !kind.is_empty() && kind != "x-unknown";
    if is_known && field(headers, "content-type").is_none() {
        headers.push(("content-type".to_owned(), field_value(kind)));
    }
}

/// The fields that do not depend on the connection, with names in lower case.
pub(super) fn headers(fields: Fields) -> Fields {
    // Chromium joins several lines of a field by line feeds.
    let lines = fields.iter().flat_map(|(name, value)| {
        let name = name.to_ascii_lowercase();
        value.split('\n').map(move |value| (name.clone(), field_value(value)))
    });
    lines.filter(|(name, _)| !name.starts_with(':') && !DROPPED.contains(&name.as_str())).collect()
}

/// A value with one character per byte. A value with characters beyond Latin-1 is encoded in UTF-8.
pub(super) fn field_value(value: &str) -> String {
    let value = value.trim_matches([' ', '\t', '\r']);
    let is_latin1 = value.chars().all(|c| u32::from(c) < 0x100);
    if is_latin1 { value.to_owned() } else { latin1(value.as_bytes()) }
}
