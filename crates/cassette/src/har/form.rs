//! Bodies, queries and cookies that an archive has in parts alone.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use crate::har::lenient::or_default;

/// A field of a form.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Param {
    name: String,
    value: Option<String>,
    file_name: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    content_type: String,
}

/// A form as it was sent; `None` where it has a file, of which an archive has the name alone.
pub(crate) fn body(kind: &str, params: &[Param]) -> Option<Vec<u8>> {
    if params
        .iter()
        .any(|param| param.file_name.is_some() && param.value.as_ref().is_none_or(String::is_empty))
    {
        return None;
    }
    let value = |param: &Param| param.value.clone().unwrap_or_default();
    let boundary = kind.split_once("boundary=").map(|(_, boundary)| boundary.trim_matches('"'));
    let Some(boundary) = boundary else {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(params.iter().map(|param| (&param.name, value(param))));
        return Some(form.finish().into_bytes());
    };
    let part = |param: &Param| {
        let file = param.file_name.as_ref().map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        let kind = match param.content_type.as_str() {
            "" => String::new(),
            kind => format!("Content-Type: {kind}\r\n"),
        };
        let (name, value) = (&param.name, value(param));
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n{kind}\r\n{value}\r\n"
        )
    };
    let parts: String = params.iter().map(part).collect();
    Some(format!("{parts}--{boundary}--\r\n").into_bytes())
}

/// Unreserved, and what stands for itself within a value of a query. An escape stays one.
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
pub(crate) fn query(name: &str, value: &str) -> String {
    format!("{}={}", utf8_percent_encode(name, QUERY), utf8_percent_encode(value, QUERY))
}

/// The `Set-Cookie` of a cookie.
pub(crate) fn set_cookie(cookie: &Value) -> Option<(String, String)> {
    let text = |member: &str| cookie.get(member).and_then(Value::as_str).filter(|text| !text.is_empty());
    let is = |member: &str| cookie.get(member).and_then(Value::as_bool).unwrap_or_default();
    let mut line = format!("{}={}", text("name")?, text("value").unwrap_or_default());
    for (member, attribute) in [("path", "Path"), ("domain", "Domain"), ("sameSite", "SameSite")] {
        if let Some(value) = text(member) {
            line.push_str(&format!("; {attribute}={value}"));
        }
    }
    for (member, attribute) in [("httpOnly", "HttpOnly"), ("secure", "Secure")] {
        if is(member) {
            line.push_str(&format!("; {attribute}"));
        }
    }
    Some(("set-cookie".to_owned(), line))
}
