//! Decodes the bodies in a HAR to bytes.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::fields::{add_type, charset_of};
use super::form::{self, FormField};
use super::lenient::{number, or_default};
use super::{BASE64_PREFIX, charset};
use crate::coding;
use crate::format::{Content, Fields, LARGEST_BODY, field};

/// Some programs omit the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The body of a request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PostData {
    #[serde(default, deserialize_with = "or_default")]
    mime_type: String,
    text: Option<String>,
    /// The encoding of `text`. The specification has no such member, but programs that keep binary
    /// bodies write it.
    encoding: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    params: Vec<FormField>,
}

/// The body of a response.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResponseContent {
    #[serde(default, deserialize_with = "number")]
    pub(super) size: Option<f64>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) mime_type: String,
    text: Option<String>,
    encoding: Option<String>,
}

/// The body of a request; [`Content::Unread`] if it cannot be decoded. `None` if the entry has no
/// body. Adds the content type if no header has it.
pub(super) fn posted_body(data: PostData, headers: &mut Fields, codings: Option<&str>) -> Option<Content> {
    let text = data.text.filter(|text| !text.is_empty());
    if text.is_none() && data.params.is_empty() {
        return None;
    }
    add_type(headers, &data.mime_type);
    let bytes = match text {
        None => form::body(&data.mime_type, &data.params),
        Some(text) => {
            let is_base64 = is_base64(data.encoding.as_deref());
            match text.strip_prefix(BASE64_PREFIX).or(is_base64.then_some(text.as_str())) {
                Some(coded) => from_base64(coded).map(|bytes| without_codings(bytes, codings, headers)),
                None => match charset_of(headers) {
                    Some(charset) => charset::encode(&text, &charset),
                    None => Some(text.into_bytes()),
                },
            }
        }
    };
    Some(bytes.map_or(Content::Unread, Content::of))
}

/// The bytes of a response's body. `None` if the archive lacks them. If the charset of the content
/// type cannot encode the text, the charset becomes UTF-8.
pub(super) fn decoded_content(
    content: &ResponseContent,
    headers: &mut Fields,
    codings: Option<&str>,
    is_ours: bool,
) -> Option<Vec<u8>> {
    let text = content.text.as_deref()?;
    if is_base64(content.encoding.as_deref()) {
        return from_base64(text).map(|bytes| without_codings(bytes, codings, headers));
    }
    // An export contains text in UTF-8, regardless of its content type.
    let charset = charset_of(headers).or_else(|| charset::charset(&content.mime_type).map(str::to_owned));
    let Some(charset) = charset.filter(|_| !is_ours && !text.is_empty()) else {
        return Some(text.as_bytes().to_vec());
    };
    if let Some(bytes) = charset::encode(text, &charset) {
        return Some(bytes);
    }
    add_type(headers, &content.mime_type);
    for (_, value) in headers.iter_mut().filter(|(name, _)| name == "content-type") {
        *value = charset::in_utf8(value);
    }
    Some(text.as_bytes().to_vec())
}

fn is_base64(encoding: Option<&str>) -> bool {
    encoding.is_some_and(|encoding| encoding.trim().eq_ignore_ascii_case("base64"))
}

/// Decodes Base64 in the ordinary or the URL alphabet, with line breaks.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let letters = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => byte,
    });
    BASE64.decode(letters.collect::<Vec<_>>()).ok()
}

/// Removes the codings of a body that is still in gzip, unless its content type is gzip. Most
/// programs have already decoded the body.
fn without_codings(bytes: Vec<u8>, codings: Option<&str>, headers: &Fields) -> Vec<u8> {
    let is_file = field(headers, "content-type").is_some_and(|kind| kind.contains("gzip"));
    match codings.filter(|_| !is_file && coding::is_gzip(&bytes)) {
        Some(codings) => coding::decode(codings, &bytes, LARGEST_BODY).unwrap_or(bytes),
        None => bytes,
    }
}
