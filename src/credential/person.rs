//! What a person brings: an authorization code, and the word that another user may take the place of the stored one.

use thiserror::Error;

use crate::clock::Timestamp;
use crate::secret::Secret;

/// An authorization code, with what it must be redeemed with.
#[derive(Clone, Debug)]
pub struct CodeLogin {
    /// The code.
    pub code: Secret,
    /// The redirect URI of the authorization request, to the letter.
    pub redirect_uri: String,
    /// The verifier, where the request carried a challenge (RFC 7636).
    pub verifier: Option<Secret>,
}

/// A login that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// Whose it is, where the server says so.
    pub subject: Option<String>,
    /// When the access token ends.
    pub expires_at: Timestamp,
    /// Whether it could not be stored yet, and is only in memory.
    pub unsaved: bool,
}

/// Why a login was not taken into use. The tokens there were are still there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoginError {
    /// It is another user's. Nothing is replaced until [`Credential::confirm`](super::Credential::confirm) is called
    /// with this number, within ten minutes and before another login.
    #[error("the login is that of {}, and the credential is {expected}'s", found.as_deref().unwrap_or("an unknown user"))]
    OtherUser {
        /// Whose tokens the credential has, or is configured for.
        expected: String,
        /// Who logged in, where the server says so.
        found: Option<String>,
        /// What to confirm.
        confirm: u64,
    },
    /// The code could not be redeemed; the text says why and what to do.
    #[error("{0}")]
    Refused(String),
    /// There is no login of that number to be confirmed, or not any more.
    #[error("there is no such login to be confirmed; log in again")]
    NothingToConfirm,
    /// The credential does not answer: it is shutting down, or too much is asked of it.
    #[error("{0}")]
    Unavailable(String),
}
