//! What a cassette looks like: JSON Lines. The first line is a [`Header`], every other one a [`Record`] that needs no
//! other line to be understood.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use vbc_base::clock::Timestamp;

/// The version of the format that this program writes; it reads no newer one.
pub const VERSION: u32 = 1;

/// Bodies up to this size, in bytes and without their codings, are kept; of a larger one it is only said how large it was.
pub const LARGEST_BODY: usize = 16 << 20;

/// The first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format; also what tells a cassette from another file.
    pub vbc_proxy_cassette: u32,
    /// What wrote it.
    pub program: String,
    /// When it was begun.
    pub created: Timestamp,
    /// Whether phone numbers, names and e-mail addresses are pseudonyms.
    pub personal_data: PersonalData,
    /// Which key the pseudonyms are of: its fingerprint.
    pub key: String,
}

/// What became of phone numbers, names and e-mail addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PersonalData {
    /// Replaced.
    Hidden,
    /// Kept, as was asked for.
    Kept,
}

/// One request and its answer, as the client sent and saw them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number in the cassette, from 1.
    pub n: u64,
    /// When the request arrived.
    pub at: Timestamp,
    /// From then to the end of the answer, in milliseconds.
    pub millis: u64,
    /// Scheme and authority under which the client found the proxy: links in the answer begin with it.
    pub base: String,
    /// What was asked.
    pub request: RecordedRequest,
    /// What was answered.
    #[serde(rename = "answer")]
    pub response: RecordedResponse,
}

/// A request.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedRequest {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Such as `HTTP/1.1`.
    pub version: String,
    /// Names in lower case; a value has one character (up to U+00FF) a byte.
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(default, skip_serializing_if = "Content::is_empty")]
    pub body: Content,
    /// What identifies a body of which only the length was recorded: HMAC-SHA-256 under the
    /// cassette's key, the first 16 bytes in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_hash: Option<String>,
}

impl std::fmt::Debug for RecordedRequest {
    /// One that has not been recorded yet has credentials in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordedRequest").field("method", &self.method).finish_non_exhaustive()
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedResponse {
    /// The status.
    pub status: u16,
    /// The words behind it, where they were not the usual ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// As a request's.
    pub headers: Vec<(String, String)>,
    /// The body, without content codings.
    #[serde(default, skip_serializing_if = "Content::is_empty")]
    pub body: Content,
    /// As a request's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_hash: Option<String>,
    /// Trailers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trailers: Vec<(String, String)>,
    /// Whether it came to its end: neither the upstream nor the client broke off.
    pub complete: bool,
    /// When pieces of the body came, where that was asked for: milliseconds since the request, and bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pieces: Vec<(u64, usize)>,
}

/// A body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// None.
    #[default]
    Empty,
    /// UTF-8.
    Text(String),
    /// Anything else.
    Base64(String),
    /// The length in bytes of a body that was not recorded: one over [`LARGEST_BODY`], or one that
    /// has a `body_hash` since it belongs to no operation that is known.
    Truncated(u64),
    /// In a content coding that could not be taken off, and therefore not looked into.
    Undecodable(String),
    /// Not known: a request was answered before it had been read to its end, or a HAR did not have
    /// it.
    Unread,
}

impl Content {
    /// A body of these bytes.
    pub fn of(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) if text.is_empty() => Self::Empty,
            Ok(text) => Self::Text(text),
            Err(error) => Self::Base64(STANDARD.encode(error.as_bytes())),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::Empty
    }

    /// The bytes; `None` where they were not kept.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Empty => Some(Vec::new()),
            Self::Text(text) => Some(text.clone().into_bytes()),
            Self::Base64(text) => STANDARD.decode(text).ok(),
            Self::Truncated(_) | Self::Undecodable(_) | Self::Unread => None,
        }
    }
}

/// The first value of a header in a list of them.
pub(crate) fn field<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_back() {
        for bytes in [&b""[..], b"text", "jané".as_bytes(), &[0, 255, 1]] {
            let content = Content::of(bytes.to_vec());
            let line = serde_json::to_string(&content).unwrap();
            let read: Content = serde_json::from_str(&line).unwrap();
            assert_eq!(read.bytes().unwrap(), bytes, "{line}");
        }
        assert_eq!(serde_json::to_string(&Content::Truncated(5)).unwrap(), r#"{"truncated":5}"#);
        assert_eq!(Content::Truncated(5).bytes(), None);
    }
}
