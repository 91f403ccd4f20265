//! Header fields that the proxy reads, removes or changes.

mod codings;
mod strip;
mod survey;

use std::borrow::Cow;
use std::fmt;

use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};

use crate::codec::syntax::decimal;
pub use codings::narrow_accept_encoding;
pub use strip::{strip_request, strip_response, strip_trailers};
pub use survey::{ResponseSurvey, Survey};

/// Schemes of `Authorization`: registered ones, and others in use.
const SCHEMES: &str = "apikey aws4-hmac-sha256 basic bearer concealed digest dpop gnap hawk hoba jwt mutual \
                       negotiate ntlm oauth oauth2 privatetoken scram-sha-1 scram-sha-256 sharedkey signature \
                       token vapid";

/// Whether a word is the scheme of a credential, rather than a part of the credential.
pub fn is_scheme(word: &str) -> bool {
    SCHEMES.split(' ').any(|scheme| word.eq_ignore_ascii_case(scheme))
}

/// Reduces several equal `Content-Length` lines to one.
pub fn keep_one_length(headers: &mut HeaderMap) {
    // Almost always every name has one line.
    if headers.len() != headers.keys_len()
        && let Entry::Occupied(mut entry) = headers.entry(header::CONTENT_LENGTH)
        && entry.iter().nth(1).is_some()
    {
        let length = entry.get().clone();
        entry.insert(length);
    }
}

/// The number in a `Content-Length`. `None` if it is not one number of at most 18 digits.
pub fn length(value: &HeaderValue) -> Option<u64> {
    decimal(value.as_bytes())
}

/// The value of `Max-Forwards` (RFC 9110 §7.6.2). `None` if it is absent or not one number. Equal
/// lines count as one.
pub fn max_forwards(headers: &HeaderMap) -> Option<u64> {
    let mut lines = headers.get_all(header::MAX_FORWARDS).iter();
    let value = lines.next()?;
    if lines.any(|line| line != value) {
        return None;
    }
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    // A number that is too large for `u64` becomes `u64::MAX`.
    (!digits.is_empty()).then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Joins `Cookie` lines by `; ` (RFC 6265 §5.4). `Cookie` is the one request field whose lines are
/// not joined by commas.
pub fn join_cookies(headers: &mut HeaderMap) {
    let Entry::Occupied(entry) = headers.entry(header::COOKIE) else { return };
    let mut lines = entry.iter();
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else { return };
    let mut joined = [first.as_bytes(), b"; ", second.as_bytes()].concat();
    for line in lines {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(line.as_bytes());
    }
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, value);
    }
}

/// Formats fields for a log: all names, but only those values that cannot carry a secret.
pub struct Redacted<'a>(pub &'a HeaderMap);

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, value)| (name, shown(name, value)))).finish()
    }
}

fn shown<'a>(name: &HeaderName, value: &'a HeaderValue) -> Cow<'a, str> {
    match *name {
        header::CONTENT_TYPE
        | header::CONTENT_LENGTH
        | header::RETRY_AFTER
        | header::DATE
        | header::SERVER => String::from_utf8_lossy(value.as_bytes()),
        _ => "[redacted]".into(),
    }
}

#[cfg(test)]
mod tests;
