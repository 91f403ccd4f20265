//! The format of a cassette: JSON Lines.
//!
//! The first line is a [`Header`]. Every other line is a [`Record`], which can be read without the
//! others.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use vbc_base::clock::Timestamp;

/// The version of the format that this program writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 1;

/// The largest body that is kept, in bytes without content codings. For a larger one only the
/// length is recorded.
pub const LARGEST_BODY: usize = 16 << 20;

/// Header fields or trailers. Names are in lower case; a value has one character (up to U+00FF) per
/// byte.
pub(crate) type Fields = Vec<(String, String)>;

/// The first line of a cassette.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format. The name of this member distinguishes a cassette from other
    /// files.
    pub vbc_proxy_cassette: u32,
    /// The program that created the cassette.
    pub program: String,
    /// When the cassette was created.
    pub created: Timestamp,
    /// Whether phone numbers, names and e-mail addresses are pseudonyms.
    pub personal_data: PersonalData,
    /// The fingerprint of the key under which the pseudonyms were made.
    pub key: String,
}

/// Whether phone numbers, names and e-mail addresses are pseudonyms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PersonalData {
    /// Personal data is replaced by pseudonyms.
    Hidden,
    /// Personal data is kept, as requested by the recording's options.
    Kept,
}

/// One request and its response, as the client sent and received them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The number of the record in the cassette, from 1.
    pub n: u64,
    /// When the request arrived.
    pub at: Timestamp,
    /// Milliseconds from the arrival of the request to the end of the response.
    pub millis: u64,
    /// Scheme and authority under which the client reached the proxy. Links in the response start
    /// with it.
    pub base: String,
    /// The request.
    pub request: RecordedRequest,
    /// The response.
    #[serde(rename = "answer")]
    pub response: RecordedResponse,
}

/// A request in the form of a cassette. A request that a [`Player`](crate::Player) looks up still
/// contains its credentials.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedRequest {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The version of HTTP, such as `HTTP/1.1`.
    pub version: String,
    /// Header fields. Names are in lower case; a value has one character (up to U+00FF) per byte.
    pub headers: Fields,
    /// The body.
    #[serde(default, skip_serializing_if = "Content::is_empty")]
    pub body: Content,
    /// Identifies a body if only its length was recorded: the first 16 bytes of its HMAC-SHA-256
    /// under the cassette's key, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_hash: Option<String>,
}

impl std::fmt::Debug for RecordedRequest {
    /// Shows only the method: the rest may contain credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordedRequest").field("method", &self.method).finish_non_exhaustive()
    }
}

/// A response in the form of a cassette.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedResponse {
    /// The status code.
    pub status: u16,
    /// The reason phrase, unless it was the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Header fields, as in a request.
    pub headers: Fields,
    /// The body, without content codings.
    #[serde(default, skip_serializing_if = "Content::is_empty")]
    pub body: Content,
    /// Identifies a body if only its length was recorded, as in a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_hash: Option<String>,
    /// The trailers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trailers: Fields,
    /// Whether the response ended properly: neither the upstream nor the client broke off.
    pub complete: bool,
    /// When the pieces of the body arrived, if timing was recorded: milliseconds since the request,
    /// and the number of bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pieces: Vec<(u64, usize)>,
}

/// A body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// No bytes.
    #[default]
    Empty,
    /// UTF-8 text.
    Text(String),
    /// Bytes that are not UTF-8.
    Base64(String),
    /// The length in bytes of a body that was not recorded. With a `body_hash`, the body belonged
    /// to no known operation or could not be redacted. Otherwise it was over [`LARGEST_BODY`], or
    /// an imported HAR lacked it.
    Truncated(u64),
    /// A body in a content coding that could not be decoded. Only older versions write this.
    Undecodable(String),
    /// Unknown. The response came before the request was read to its end, or a HAR lacks the body.
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

    /// Whether the body has no bytes. An unknown body does not count as empty.
    pub fn is_empty(&self) -> bool {
        *self == Self::Empty
    }

    /// The bytes. `None` if they were not recorded.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Empty => Some(Vec::new()),
            Self::Text(text) => Some(text.clone().into_bytes()),
            Self::Base64(text) => STANDARD.decode(text).ok(),
            Self::Truncated(_) | Self::Undecodable(_) | Self::Unread => None,
        }
    }
}

/// The first value of a header field.
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
