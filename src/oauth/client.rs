//! The application, as it identifies itself to the token endpoint.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use super::grant::Grant;
use vbc_base::secret::Secret;

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
    /// How id and secret are sent. `None` follows the service's documentation: in the header for a
    /// code, in the body for other grants.
    pub auth: Option<ClientAuth>,
}

impl ClientIdentity {
    /// How id and secret are sent with this grant.
    pub fn auth_for(&self, grant: &Grant) -> ClientAuth {
        self.auth.unwrap_or(match grant {
            Grant::AuthorizationCode { .. } => ClientAuth::Basic,
            Grant::Password { .. } | Grant::RefreshToken { .. } => ClientAuth::Body,
        })
    }

    /// The credentials of HTTP Basic. Both parts are form-encoded first (RFC 6749 §2.3.1). That
    /// also keeps a colon in the id from being read as the separator.
    pub(super) fn basic_credentials(&self) -> Zeroizing<String> {
        let (id, secret) = (form_encoded(&self.client_id), form_encoded(self.client_secret.expose()));
        let pair = Zeroizing::new([id.as_str(), ":", &secret].concat());
        Zeroizing::new(STANDARD.encode(pair.as_bytes()))
    }
}

fn form_encoded(part: &str) -> Zeroizing<String> {
    // The buffer has its full size from the start, because a buffer that grows leaves copies of
    // secrets behind. Form encoding turns one byte into at most three.
    let mut encoded = Zeroizing::new(String::with_capacity(3 * part.len()));
    encoded.extend(byte_serialize(part.as_bytes()));
    encoded
}
