//! The tokens that the token endpoint issues.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

use vbc_base::clock::{self, Timestamp};
use vbc_base::secret::Secret;

const SCHEME: &str = "Bearer ";

/// An access token, stored as the value of its `Authorization` field. Clones and header values
/// share one copy, which is zeroed when the last one is dropped. `Debug` prints `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(Arc<Zeroizing<String>>);

impl AccessToken {
    /// Wraps a token.
    pub fn new(token: &str) -> Self {
        let mut value = String::with_capacity(SCHEME.len() + token.len());
        value.push_str(SCHEME);
        value.push_str(token);
        Self(Arc::new(Zeroizing::new(value)))
    }

    /// The token itself. Call it only where the token is stored or compared.
    pub fn expose(&self) -> &str {
        &self.0[SCHEME.len()..]
    }

    /// `Bearer …`, marked sensitive. `None` if the token has a byte that is illegal in a field
    /// value.
    pub fn header_value(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(self.clone())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl AsRef<[u8]> for AccessToken {
    /// The whole field value, scheme included.
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl From<&str> for AccessToken {
    fn from(token: &str) -> Self {
        Self::new(token)
    }
}

/// A successful response of the token endpoint (RFC 6749 §5.1).
#[derive(Clone, Debug)]
pub struct Issued {
    /// The bearer token.
    pub access_token: AccessToken,
    /// The next refresh token. `None`: the old refresh token stays valid.
    pub refresh_token: Option<Secret>,
    /// The remaining lifetime of the access token.
    pub expires_in: Duration,
    /// The granted scope, if the server named it.
    pub scope: Option<String>,
    /// The subject of the ID token; `None` without an ID token. The signature of the ID token is
    /// not checked: the token endpoint sent it over TLS (OpenID Connect Core §3.1.3.7, item 6).
    pub subject: Option<String>,
}

/// Tokens that were issued together, and when they end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSet {
    /// The bearer token.
    pub access_token: AccessToken,
    /// The refresh token of the same family. Single use.
    pub refresh_token: Option<Secret>,
    /// When the set was received.
    pub issued_at: Timestamp,
    /// When the access token was minted, as far as is known. A login may return an older token.
    pub minted_at: Timestamp,
    /// When the access token ends.
    pub expires_at: Timestamp,
    /// When this refresh token was first received. The end of the refresh token is computed from
    /// this time. A server may return the same refresh token with a new access token; the time then
    /// stays.
    pub refresh_issued_at: Timestamp,
    /// The granted scope, if the server named it.
    pub scope: Option<String>,
}

impl TokenSet {
    /// The token set of a response received at `now`.
    ///
    /// `presented` is the refresh token that was redeemed. If the response contains no refresh
    /// token, the presented one stays the latest (RFC 6749 §6). `previous` is the replaced set. An
    /// unchanged refresh token keeps its time from there.
    pub fn from_issued(
        issued: Issued,
        now: Timestamp,
        presented: Option<&Secret>,
        previous: Option<&Self>,
    ) -> Self {
        let refresh_token = issued.refresh_token.or_else(|| presented.cloned());
        let same = previous.filter(|old| refresh_token.is_some() && old.refresh_token == refresh_token);
        Self {
            access_token: issued.access_token,
            refresh_issued_at: same.map_or(now, |old| old.refresh_issued_at),
            refresh_token,
            issued_at: now,
            minted_at: now,
            expires_at: clock::after(now, issued.expires_in),
            scope: issued.scope,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(refresh_token: Option<&str>) -> Issued {
        Issued {
            access_token: "a".into(),
            refresh_token: refresh_token.map(Into::into),
            expires_in: Duration::from_secs(60),
            scope: None,
            subject: None,
        }
    }

    #[test]
    fn an_access_token_is_kept_once_and_shown_to_nobody() {
        let token = AccessToken::new("secret-token");
        let value = token.header_value().unwrap();
        assert_eq!(value, "Bearer secret-token");
        assert!(value.is_sensitive());
        assert!(std::ptr::eq(value.as_bytes().as_ptr(), token.as_ref().as_ptr()));
        assert_eq!(format!("{token:?} {value:?}"), "[redacted] Sensitive");
        assert!(AccessToken::new("line\nbreak").header_value().is_none());
    }

    #[test]
    fn a_refresh_token_given_again_is_no_younger() {
        let start = Timestamp::UNIX_EPOCH;
        let later = clock::after(start, Duration::from_secs(1000));
        let first = TokenSet::from_issued(issued(Some("r1")), start, None, None);
        let presented = first.refresh_token.clone();
        for same in [Some("r1"), None] {
            let again = TokenSet::from_issued(issued(same), later, presented.as_ref(), Some(&first));
            assert_eq!(again.refresh_token, first.refresh_token);
            assert_eq!((again.issued_at, again.refresh_issued_at), (later, start));
        }
        let rotated = TokenSet::from_issued(issued(Some("r2")), later, presented.as_ref(), Some(&first));
        assert_eq!(rotated.refresh_issued_at, later);
    }
}
