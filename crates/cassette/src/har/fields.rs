//! Header fields of archived messages, as a record has them.

use crate::format::field;
use crate::har::charset;
use crate::redact::headers::latin1;

/// Names in lower case, and values with a character for each byte.
pub(crate) type Fields = Vec<(String, String)>;

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

pub(crate) fn value(headers: &Fields, name: &str) -> Option<String> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
}

pub(crate) fn charset_of(headers: &Fields) -> Option<String> {
    charset::charset(field(headers, "content-type")?).map(str::to_owned)
}

pub(crate) fn length(headers: &Fields) -> Option<u64> {
    field(headers, "content-length")?.parse().ok()
}

/// The length of what is there, in place of what was sent in a coding or in another charset.
pub(crate) fn fit(headers: &mut Fields, length: usize) {
    for (_, value) in headers.iter_mut().filter(|(name, _)| name == "content-length") {
        *value = length.to_string();
    }
}

/// `kind` is the type of a body where no header has one.
pub(crate) fn with_type(headers: &mut Fields, kind: &str) {
    // Chromium's word for no type.
    let is_known = !kind.is_empty() && kind != "x-unknown";
    if is_known && field(headers, "content-type").is_none() {
        headers.push(("content-type".to_owned(), field_value(kind)));
    }
}

/// The fields that a message has whatever carries it.
pub(crate) fn headers(fields: Fields) -> Fields {
    // Chromium joins several lines of a name so.
    let lines = fields.iter().flat_map(|(name, value)| {
        let name = name.to_ascii_lowercase();
        value.split('\n').map(move |value| (name.clone(), field_value(value)))
    });
    lines.filter(|(name, _)| !name.starts_with(':') && !DROPPED.contains(&name.as_str())).collect()
}

/// A value as a record has it, with a character for each byte. What Latin-1 does not have goes out
/// as UTF-8.
pub(crate) fn field_value(value: &str) -> String {
    let value = value.trim_matches([' ', '\t', '\r']);
    match value.chars().all(|c| u32::from(c) < 0x100) {
        true => value.to_owned(),
        false => latin1(value.as_bytes()),
    }
}
