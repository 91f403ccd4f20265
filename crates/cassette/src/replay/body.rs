//! Compares the bodies of requests.

use std::borrow::Cow;

use crate::coding;
use crate::format::{Content, LARGEST_BODY, RecordedRequest, field};
use crate::media;
use crate::redact::{is_hidden, json, may_be_recorded_as, names_secret};

/// The body of a request, as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct ComparableBody {
    content_type: String,
    /// The bytes without their coding.
    sent: Option<Vec<u8>>,
    /// The bytes as they would be recorded. `None` for a recorded request, or without a key.
    redacted: Option<Vec<u8>>,
    /// The hash of a body, if only its length is recorded.
    hash: Option<String>,
    length: Option<u64>,
}

impl ComparableBody {
    /// The body of a request. `redacted` is the same request as it would be recorded.
    pub(super) fn new(sent: &RecordedRequest, redacted: &RecordedRequest, has_key: bool) -> Self {
        let codings = field(&sent.headers, "content-encoding");
        let bytes = sent.body.bytes().map(|bytes| {
            codings.and_then(|codings| coding::decode(codings, &bytes, LARGEST_BODY)).unwrap_or(bytes)
        });
        let length = match &sent.body {
            Content::Truncated(length) => Some(*length),
            _ => bytes.as_ref().map(|bytes| bytes.len() as u64),
        };
        Self {
            content_type: field(&sent.headers, "content-type").unwrap_or_default().to_owned(),
            redacted: redacted.body.bytes().filter(|_| has_key),
            hash: redacted.body_hash.clone(),
            sent: bytes,
            length,
        }
    }

    /// Whether nothing is known about the body.
    pub(super) fn is_unknown(&self) -> bool {
        self.sent.is_none() && self.hash.is_none()
    }

    /// Whether this body is known and equals the recorded body byte for byte.
    pub(super) fn equals(&self, recorded: &Self) -> bool {
        self.sent.is_some() && self.sent == recorded.sent
    }

    /// The type of a multipart body in lower case.
    pub(super) fn multipart(&self) -> Option<String> {
        media::multipart(&self.content_type).map(str::to_ascii_lowercase)
    }

    /// Whether this body matches the recorded body. If the recorded body has a hash, lengths or
    /// hashes are compared. Otherwise a body whose bytes are unknown matches any body.
    pub(super) fn is_like(&self, recorded: &Self, has_key: bool) -> bool {
        if let (Some(hash), Some(_)) = (&recorded.hash, self.length) {
            return match self.multipart() {
                // Each request has its own boundary, so the hashes differ.
                Some(_) => true,
                None if has_key => self.hash.as_ref() == Some(hash),
                None => self.length == recorded.length,
            };
        }
        let (Some(sent), Some(bytes)) = (&self.sent, &recorded.sent) else { return true };
        let parts = media::with_same_boundary(&recorded.content_type, bytes);
        let is_equal = |body: &Vec<u8>| {
            body == bytes || parts.is_some() && media::with_same_boundary(&self.content_type, body) == parts
        };
        is_equal(sent)
            || self.redacted.as_ref().is_some_and(is_equal)
            || self.has_like_text(sent, bytes, recorded)
    }

    /// Whether each string and number of a document equals the recorded one, as it was sent or as
    /// it would be recorded. Cassettes of earlier versions contain both. In text that is neither
    /// JSON nor a form, only pieces were replaced.
    fn has_like_text(&self, sent: &[u8], bytes: &[u8], recorded: &Self) -> bool {
        let Some(recorded_tokens) = tokens(bytes) else {
            // In a form, whole values were replaced.
            let is_form = recorded.content_type.starts_with("application/x-www-form-urlencoded");
            let texts = std::str::from_utf8(sent).ok().zip(std::str::from_utf8(bytes).ok());
            return !is_form && texts.is_some_and(|(sent, recorded)| may_be_recorded_as(sent, recorded));
        };
        let Some(sent) = tokens(sent) else { return false };
        let redacted = self.redacted.as_deref().and_then(tokens).filter(|tokens| tokens.len() == sent.len());
        let redacted = redacted.unwrap_or_else(|| sent.clone());
        let mut name: Cow<'_, str> = "".into();
        sent.len() == recorded_tokens.len()
            && sent.iter().zip(&redacted).zip(&recorded_tokens).enumerate().all(
                |(at, ((own, redacted), recorded))| {
                    if sent.get(at + 1).is_some_and(|next| next == ":") {
                        name = own.as_str().into();
                    }
                    let is_secret = is_hidden(recorded) && names_secret(&name);
                    redacted == recorded || is_secret || may_be_recorded_as(own, recorded)
                },
            )
    }
}

fn tokens(bytes: &[u8]) -> Option<Vec<String>> {
    std::str::from_utf8(bytes).ok().and_then(json::tokens)
}
