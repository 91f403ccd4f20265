//! What can be exchanged for a token set.

use std::sync::Arc;

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
    /// An authorization code (RFC 6749 §4.1.3). Single use: presenting it twice ends what the first time gave.
    AuthorizationCode {
        /// The code, as it came to the redirect URI.
        code: Secret,
        /// The redirect URI of the authorization request, to the letter.
        redirect_uri: String,
        /// The verifier of RFC 7636, where the authorization request carried its challenge.
        verifier: Option<Secret>,
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
            Self::AuthorizationCode { .. } => "authorization_code",
            Self::RefreshToken { .. } => "refresh_token",
        }
    }
}

/// How the application identifies itself to the token endpoint (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// `client_id` and `client_secret` in the form body.
    Body,
    /// HTTP Basic, both parts form-encoded first.
    Basic,
}

/// The application's identity at the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The consumer key.
    pub client_id: Arc<str>,
    /// The consumer secret.
    pub client_secret: Secret,
    /// Where the two travel; `None` is as the service documents it: in the header for a code, in the body otherwise.
    pub auth: Option<ClientAuth>,
}

impl ClientIdentity {
    /// Where the two travel with this grant.
    pub fn auth_for(&self, grant: &Grant) -> ClientAuth {
        self.auth.unwrap_or(match grant {
            Grant::AuthorizationCode { .. } => ClientAuth::Basic,
            Grant::Password { .. } | Grant::RefreshToken { .. } => ClientAuth::Body,
        })
    }
}
