//! What the token endpoint issues.

use std::time::Duration;

use crate::clock::{self, Timestamp};
use crate::secret::Secret;

/// A successful answer of the token endpoint (RFC 6749 §5.1), before it has a place in a credential's history.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The bearer token.
    pub access_token: Secret,
    /// The next refresh token; `None` when the answer carried none, in which case the old one stays good.
    pub refresh_token: Option<Secret>,
    /// Remaining lifetime of the access token.
    pub expires_in: Duration,
    /// The scope granted, when said.
    pub scope: Option<String>,
}

/// Tokens that were issued together, and when they end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSet {
    /// The bearer token.
    pub access_token: Secret,
    /// The refresh token of the same line, single use.
    pub refresh_token: Option<Secret>,
    /// When the set was received.
    pub issued_at: Timestamp,
    /// When the access token ends.
    pub expires_at: Timestamp,
    /// The scope granted, when said.
    pub scope: Option<String>,
}

impl TokenSet {
    /// Places an answer received at `now` in a credential's history: a missing refresh token means that
    /// `previous` one is still the latest (RFC 6749 §6).
    pub fn from_issued(issued: Issued, now: Timestamp, previous: Option<&Secret>) -> Self {
        Self {
            access_token: issued.access_token,
            refresh_token: issued.refresh_token.or_else(|| previous.cloned()),
            issued_at: now,
            expires_at: clock::after(now, issued.expires_in),
            scope: issued.scope,
        }
    }
}
