//! Bodies with what is to be hidden in them replaced. What a body is its bytes say more surely than its type: `curl -d` calls
//! everything a form, and the service JSON text.

use std::borrow::Cow;

use super::coding;
use super::format::LARGEST_BODY;
use super::hide::{Depth, Hide, prose};
use super::json;
use super::multipart;
use super::redact::{from_latin1, latin1, query};
use super::xml;

/// A body of which no coding is left.
pub(super) struct Body<'b> {
    /// Its content type.
    pub(super) kind: Option<&'b str>,
    pub(super) bytes: &'b [u8],
}

/// How a body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    /// A document, an event or a record a line.
    Lines,
    Fields,
    Parts,
    Xml,
    Text,
    /// A file that is compressed.
    Gzip,
    /// Not looked into.
    Opaque,
}

/// The type alone, without parameters and in lower case.
fn essence(kind: Option<&str>) -> String {
    kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_xml(kind: &str) -> bool {
    kind == "text/html" || kind.ends_with("/xml") || kind.ends_with("+xml")
}

/// What is heard or seen, and not read.
fn is_media(kind: &str) -> bool {
    ["audio/", "video/", "image/", "font/"].iter().any(|family| kind.starts_with(family)) && !is_xml(kind)
}

/// Bytes as text. In a charset that is none of ours what is looked for is ASCII in nearly all.
fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| Cow::Owned(latin1(bytes)), Cow::Borrowed)
}

fn without_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., 0] = bytes {
        bytes = rest;
    }
    bytes
}

/// Whether it is text: as its type or its beginning says, or because nothing but text is in it.
fn is_readable(kind: &str, text: &str, is_unicode: bool) -> bool {
    let is_said = kind.starts_with("text/")
        || is_xml(kind)
        || ["json", "javascript", "urlencoded"].iter().any(|end| kind.ends_with(end));
    let begins = || text.trim_start().starts_with(['{', '[', '<']);
    let control = |byte: u8| byte.is_ascii_control() && !byte.is_ascii_whitespace() && byte != 0x1b;
    is_said || begins() || (is_unicode && !text.contains('\0')) || !text.bytes().any(control)
}

/// How a body of this type is read.
pub(super) fn form(content_type: Option<&str>, body: &[u8]) -> Form {
    let kind = essence(content_type);
    if is_media(&kind) {
        return Form::Opaque;
    }
    if multipart::boundary(content_type.unwrap_or_default(), body).is_some() {
        return Form::Parts;
    }
    if coding::is_gzip(body) {
        return Form::Gzip;
    }
    if utf16(body).is_some() {
        return Form::Opaque;
    }
    // Some end as strings of C do.
    let text = text_of(without_end(body));
    if !is_readable(&kind, &text, matches!(text, Cow::Borrowed(_))) {
        return Form::Opaque;
    }
    if matches!(&*kind, "text/event-stream" | "application/x-ndjson" | "application/jsonl") {
        return Form::Lines;
    }
    let text = text.trim_start_matches('\u{feff}').trim_ascii();
    if json::is_document(text) {
        Form::Json
    } else if text.starts_with('<') {
        Form::Xml
    } else if is_form(text, kind == "application/x-www-form-urlencoded") {
        Form::Fields
    } else {
        Form::Text
    }
}

/// Fields with their names. curl sends a form as one, other tools without a word; where it is not said, there are no blanks in
/// it.
fn is_form(text: &str, is_said: bool) -> bool {
    let named = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default();
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.%[]".contains(&byte))
    };
    let is_line = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    text.contains('=') && text.split('&').all(named) && (is_line(text) || (is_said && !text.contains('\n')))
}

/// A body with what is to be hidden replaced; `None` where that is nothing.
pub(super) fn body(content_type: Option<&str>, bytes: &[u8], hide: &mut dyn Hide) -> Option<Vec<u8>> {
    redact(&Body { kind: content_type, bytes }, Depth::default(), hide)
}

/// The same for one that stands within something else.
pub(super) fn redact(body: &Body<'_>, depth: Depth, hide: &mut dyn Hide) -> Option<Vec<u8>> {
    let Body { kind, bytes } = *body;
    let form = form(kind, bytes);
    match form {
        Form::Opaque if is_media(&essence(kind)) => None,
        Form::Opaque => {
            let (text, unit) = utf16(bytes)?;
            let new = inner(&Body { kind, bytes: text.as_bytes() }, depth, hide)?;
            Some(String::from_utf8(new).ok()?.encode_utf16().flat_map(unit).collect())
        }
        Form::Parts => {
            let boundary = multipart::boundary(kind.unwrap_or_default(), bytes)?;
            multipart::parts(bytes, &boundary, depth, hide)
        }
        Form::Gzip => {
            // What cannot be looked into does not stay.
            let Some(plain) = coding::decode("gzip", bytes, LARGEST_BODY) else { return Some(Vec::new()) };
            let new = inner(&Body { kind: None, bytes: &plain }, depth, hide)?;
            coding::gzip(&new).ok()
        }
        _ => written(bytes, |text| of_text(text, form, depth, hide)),
    }
}

/// The same for a body within another. Those that are too deep are plain text.
pub(super) fn inner(body: &Body<'_>, depth: Depth, hide: &mut dyn Hide) -> Option<Vec<u8>> {
    match depth.deeper() {
        Some(deeper) => redact(body, deeper, hide),
        None => written(body.bytes, |text| prose(text, depth, hide)),
    }
}

/// What becomes of bytes that are taken for text.
pub(super) fn written(bytes: &[u8], change: impl FnOnce(&str) -> Option<String>) -> Option<Vec<u8>> {
    let text = text_of(bytes);
    let new = change(&text)?;
    Some(if matches!(text, Cow::Borrowed(_)) { new.into_bytes() } else { from_latin1(&new) })
}

/// Writes a unit of UTF-16.
type WriteUnit = fn(u16) -> [u8; 2];

/// A text in UTF-16, as its first two bytes show, and how its units are written.
fn utf16(bytes: &[u8]) -> Option<(String, WriteUnit)> {
    type Order = (fn([u8; 2]) -> u16, WriteUnit);
    let (read, write): Order = match bytes.get(..2)? {
        [0xff, 0xfe] => (u16::from_le_bytes, u16::to_le_bytes),
        [0xfe, 0xff] => (u16::from_be_bytes, u16::to_be_bytes),
        [1..=0x7f, 0] => (u16::from_le_bytes, u16::to_le_bytes),
        [0, 1..=0x7f] => (u16::from_be_bytes, u16::to_be_bytes),
        _ => return None,
    };
    let units = bytes.chunks_exact(2).map(|unit| read([unit[0], unit[1]]));
    let text: String = char::decode_utf16(units).collect::<Result<_, _>>().ok()?;
    (bytes.len().is_multiple_of(2) && !text.contains('\0')).then_some((text, write))
}

fn of_text(text: &str, form: Form, depth: Depth, hide: &mut dyn Hide) -> Option<String> {
    match form {
        Form::Json => json::redact(text, depth, hide),
        Form::Xml => xml::redact(text, depth, hide),
        Form::Lines => lines(text, depth, hide),
        Form::Fields => {
            let fields = text.trim_ascii();
            let new = query(fields, depth, hide)?;
            Some(text.replacen(fields, &new, 1))
        }
        Form::Text | Form::Parts | Form::Gzip | Form::Opaque => prose(text, depth, hide),
    }
}

/// `data: {…}`, or a document a line.
fn lines(text: &str, depth: Depth, hide: &mut dyn Hide) -> Option<String> {
    let mut changed = false;
    let new: String = text
        .split_inclusive('\n')
        .map(|line| {
            let content = line.trim_end_matches(['\r', '\n']);
            let at = if content.starts_with("data:") { 5 } else { 0 };
            let (field, rest) = content.split_at(at);
            let redacted = match form(None, rest.as_bytes()) {
                Form::Json => json::redact(rest, depth, hide),
                Form::Xml => xml::redact(rest, depth, hide),
                _ => prose(rest, depth, hide),
            };
            match redacted {
                Some(redacted) => {
                    changed = true;
                    format!("{field}{redacted}{}", &line[content.len()..])
                }
                None => line.to_owned(),
            }
        })
        .collect();
    changed.then_some(new)
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
