//! Expected bodies. The journal keeps no bodies, because they may contain secrets, so hashes are
//! compared.

use std::hash::{DefaultHasher, Hash, Hasher};

use aws_lc_rs::digest;
use serde_json::Value;
use vbc_base::secret::hex;

use crate::journal::RecordedRequest;

/// JSON over this length is compared byte for byte.
const MOST_JSON: usize = 64 * 1024;
/// How many characters of an expected body a verdict shows.
const BEGINNING: usize = 80;

/// The body that a request must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExpectedBody {
    text: String,
    sha256: String,
    json: Option<u64>,
}

impl ExpectedBody {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), sha256: sha256(text.as_bytes()), json: hash_of_json(text.as_bytes()) }
    }

    pub(super) fn is_of(&self, request: &RecordedRequest) -> bool {
        self.sha256 == request.body_sha256 || self.json.is_some() && self.json == request.body_json
    }

    /// The beginning of the body, for the verdict.
    pub(super) fn beginning(&self) -> String {
        match self.text.char_indices().nth(BEGINNING) {
            Some((end, _)) => format!("{} …", &self.text[..end]),
            None => self.text.clone(),
        }
    }
}

pub(super) fn sha256(body: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, body).as_ref())
}

/// A hash of the values of a JSON object or list, without its spaces and the order of its members.
/// `None` for anything else, and for long bodies.
pub(crate) fn hash_of_json(body: &[u8]) -> Option<u64> {
    let is_json = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
    if !is_json || body.len() > MOST_JSON {
        return None;
    }
    let value: Value = serde_json::from_slice(body).ok()?;
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    Some(hasher.finish())
}
