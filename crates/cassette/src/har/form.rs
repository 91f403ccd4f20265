//! Rebuilds bodies, queries and cookies that an archive contains only as parts.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use super::lenient::or_default;

/// A field of a form.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FormField {
    name: String,
    value: Option<String>,
    file_name: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    content_type: String,
}

/// A form as it was sent. `None` if it contains a file: archives lack the content of files.
pub(super) fn body(kind: &str, fields: &[FormField]) -> Option<Vec<u8>> {
    let lacks_content =
        |field: &FormField| field.file_name.is_some() && field.value.as_ref().is_none_or(String::is_empty);
    if fields.iter().any(lacks_content) {
        return None;
    }
    let boundary = kind.split_once("boundary=").map(|(_, boundary)| boundary.trim_matches('"'));
    let Some(boundary) = boundary else {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(
            fields.iter().map(|field| (&field.name, field.value.as_deref().unwrap_or_default())),
        );
        return Some(form.finish().into_bytes());
    };
    let parts: String = fields.iter().map(|field| part(boundary, field)).collect();
    Some(format!("{parts}--{boundary}--\r\n").into_bytes())
}

/// A part of a multipart form.
fn part(boundary: &str, field: &FormField) -> String {
    let FormField { name, value, file_name, content_type } = field;
    let file = file_name.as_ref().map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
    let kind =
        if content_type.is_empty() { String::new() } else { format!("Content-Type: {content_type}\r\n") };
    let value = value.as_deref().unwrap_or_default();
    format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n{kind}\r\n{value}\r\n")
}

/// The bytes that are percent-encoded in queries. Existing escapes are kept.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b',')
    .remove(b'@')
    .remove(b'/')
    .remove(b'%');

/// A parameter of a query.
pub(super) fn query(name: &str, value: &str) -> String {
    format!("{}={}", utf8_percent_encode(name, QUERY), utf8_percent_encode(value, QUERY))
}

/// A cookie as a `Set-Cookie` field.
pub(super) fn set_cookie(cookie: &Value) -> Option<(String, String)> {
    let text = |member: &str| cookie.get(member).and_then(Value::as_str).filter(|text| !text.is_empty());
    let is = |member: &str| cookie.get(member).and_then(Value::as_bool).unwrap_or_default();
    let mut line = format!("{}={}", text("name")?, text("value").unwrap_or_default());
    for (member, attribute) in [("path", "Path"), ("domain", "Domain"), ("sameSite", "SameSite")] {
        line.extend(text(member).map(|value| format!("; {attribute}={value}")));
    }
    for (member, attribute) in [("httpOnly", "HttpOnly"), ("secure", "Secure")] {
        line.extend(is(member).then(|| format!("; {attribute}")));
    }
    Some(("set-cookie".to_owned(), line))
}
