//! Interactive logins with an authorization code (RFC 6749 §4.1).

use thiserror::Error;

use super::bearer::Unavailable;
use vbc_base::clock::Timestamp;
use vbc_base::secret::Secret;

/// An authorization code, and the parameters needed to redeem it.
#[derive(Clone, Debug)]
pub struct CodeLogin {
    /// The code.
    pub code: Secret,
    /// The redirect URI of the authorization request, byte for byte.
    pub redirect_uri: String,
    /// The verifier, if the request carried a challenge (RFC 7636).
    pub verifier: Option<Secret>,
}

/// A login whose tokens are in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginSummary {
    /// The user who logged in, if the server named one.
    pub subject: Option<String>,
    /// When the access token ends.
    pub expires_at: Timestamp,
    /// Whether the token set is only in memory, because it could not be stored yet.
    pub unsaved: bool,
}

/// Why the tokens of a login are not used. The previous tokens stay in use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoginError {
    /// Another user logged in. Nothing is replaced until
    /// [`Credential::confirm`](super::Credential::confirm) is called with this number, within ten
    /// minutes and before another login.
    #[error("{} logged in, but the credential belongs to {expected}", found.as_deref().unwrap_or("an unknown user"))]
    OtherUser {
        /// The user of the current tokens, or of the configuration.
        expected: String,
        /// The user who logged in, if the server named one.
        found: Option<String>,
        /// The number to pass to [`Credential::confirm`](super::Credential::confirm).
        confirm: u64,
    },
    /// The code could not be redeemed. The text has the reason and the remedy.
    #[error("{0}")]
    Refused(String),
    /// No login with that number is waiting for confirmation. It may have expired.
    #[error("no login is waiting for this confirmation; log in again")]
    NothingToConfirm,
    /// The credential is shutting down or overloaded.
    #[error("{0}")]
    Unavailable(String),
}

impl From<Unavailable> for LoginError {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable.detail)
    }
}

/// Whether `found`, the user of an interactive login, is the expected user. False if `found` is
/// unknown. Ignores case, and the tenant suffix that the service may leave out.
pub fn is_same_user(expected: &str, found: Option<&str>) -> bool {
    let bare = |name: &str| name.to_lowercase().trim_end_matches("@vbc.prod").to_owned();
    found.is_some_and(|found| bare(found) == bare(expected))
}

/// Whether a refresh names the same user as before. A `sub` is case sensitive (OpenID Connect Core
/// §2), so only a missing tenant suffix is ignored.
pub(super) fn is_same_subject(expected: &str, found: &str) -> bool {
    let bare = |subject| str::strip_suffix(subject, "@vbc.prod").unwrap_or(subject);
    bare(found) == bare(expected)
}
