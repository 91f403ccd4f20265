//! The grants that can be exchanged for a token set.

use vbc_base::secret::Secret;

/// An authorization grant (RFC 6749 §1.3), ready to be redeemed.
#[derive(Clone, Debug)]
pub enum Grant {
    /// Resource owner password credentials (RFC 6749 §4.3). A refusal counts towards the account's
    /// lock.
    Password {
        /// The user name as the server knows it, suffix included.
        username: String,
        /// The password.
        password: Secret,
        /// The requested scope.
        scope: String,
    },
    /// An authorization code (RFC 6749 §4.1.3). Single use: presenting it again revokes its tokens.
    AuthorizationCode {
        /// The code that the redirect URI received.
        code: Secret,
        /// The redirect URI of the authorization request, byte for byte.
        redirect_uri: String,
        /// The verifier of RFC 7636, if the authorization request carried its challenge.
        verifier: Option<Secret>,
    },
    /// A refresh token (RFC 6749 §6). Single use: redeeming it invalidates it.
    RefreshToken {
        /// The latest refresh token of its family.
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

    pub(super) fn is_refresh(&self) -> bool {
        matches!(self, Self::RefreshToken { .. })
    }

    /// The parameters of the token request, without `grant_type`.
    pub(super) fn parameters(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Password { username, password, scope } => {
                let mut parameters = vec![("username", &**username), ("password", password.expose())];
                // An empty scope is not sent: a scope has at least one token (RFC 6749 §3.3).
                if !scope.is_empty() {
                    parameters.push(("scope", scope));
                }
                parameters
            }
            Self::AuthorizationCode { code, redirect_uri, verifier } => {
                let mut parameters = vec![("code", code.expose()), ("redirect_uri", redirect_uri)];
                parameters.extend(verifier.iter().map(|verifier| ("code_verifier", verifier.expose())));
                parameters
            }
            // Without a scope, the server grants the previous scope again (RFC 6749 §6).
            Self::RefreshToken { refresh_token } => vec![("refresh_token", refresh_token.expose())],
        }
    }
}
