//! What can be exchanged for a token set.

use crate::config::ClientAuth;
use crate::secret::Secret;

/// An authorization grant (RFC 6749 §1.3), ready to be redeemed.
#[derive(Clone, Debug)]
pub enum Grant {
    /// Resource owner password credentials (RFC 6749 §4.3). A refused one counts towards the account's lock.
    Password {
        /// The user name as the server knows it, suffix included.
        username: String,
        /// The password.
        password: Secret,
        /// The scope asked for.
        scope: String,
    },
    /// A refresh token (RFC 6749 §6). Single use: redeeming it ends it.
    RefreshToken {
        /// The latest refresh token of its line.
        refresh_token: Secret,
    },
}

impl Grant {
    /// The `grant_type` on the wire, which is also the label in metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Password { .. } => "password",
            Self::RefreshToken { .. } => "refresh_token",
        }
    }
}

/// The application's identity at the token endpoint.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    /// The consumer key.
    pub client_id: String,
    /// The consumer secret.
    pub client_secret: Secret,
    /// Where the two travel.
    pub auth: ClientAuth,
}
