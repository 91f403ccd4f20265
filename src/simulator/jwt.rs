//! What tokens look like, and the hashes around them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::json;

use super::tokens::{Owner, Pair};
use crate::clock::Timestamp;
use crate::secret::{fingerprint, hex};

/// What looks like an RS256 token; its signature is noise.
pub(super) fn access(owner: &Owner, now: Timestamp, expires: Timestamp) -> String {
    let subject = owner.user.as_deref().unwrap_or(&owner.client);
    signed(&json!({
        "sub": subject,
        "aut": if owner.user.is_some() { "APPLICATION_USER" } else { "APPLICATION" },
        "aud": &*owner.client,
        "azp": &*owner.client,
        "scope": &*owner.scopes,
        "iss": "https://apimanager.auth.prod.vonagenetworks.net:443/oauth2/token",
        "exp": expires.as_second(),
        "iat": now.as_second(),
        "nbf": now.as_second(),
        "jti": uuid::Uuid::new_v4().to_string(),
        "realm": { "signing_tenant": "vbc.prod", "tenant": "vbc.prod" },
        "eAuthStatus": true,
    }))
}

/// The ID token that comes with `openid`.
pub(super) fn id_token(pair: &Pair<'_>, now: Timestamp) -> String {
    let exp = now.as_second().saturating_add_unsigned(pair.expires_in);
    signed(&json!({
        "sub": pair.owner.user.as_deref().unwrap_or(&pair.owner.client),
        "aud": [&*pair.owner.client],
        "azp": &*pair.owner.client,
        "amr": ["password"],
        "at_hash": &fingerprint(&[pair.access.expose()])[..22],
        "iss": "https://apimanager.auth.prod.vonagenetworks.net:443/oauth2/token",
        "exp": exp,
        "iat": now.as_second(),
    }))
}

fn signed(claims: &serde_json::Value) -> String {
    const KID: &str = "Mzg1NzYyNTMxOGY1NTM1MGQ0OGVlMTg3NWEyYjdiYWQ4MWI1MzhkZg";
    let header = json!({ "x5t": KID, "kid": format!("{KID}_RS256"), "alg": "RS256" });
    let mut signature = [0u8; 256];
    // Noise is all that is needed here: uniqueness comes from the claims.
    let _ = aws_lc_rs::rand::fill(&mut signature);
    let parts = [header.to_string().as_bytes(), claims.to_string().as_bytes(), &signature]
        .map(|part| BASE64.encode(part));
    parts.join(".")
}

/// What the PKCE verifier must hash to.
pub(super) fn challenge(verifier: &str) -> String {
    BASE64.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes()))
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256(context: aws_lc_rs::digest::Context) -> String {
    hex(context.finish().as_ref())
}
