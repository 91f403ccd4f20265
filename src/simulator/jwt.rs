//! What tokens look like, and the hashes around them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::json;

use super::random::Random;
use super::tokens::{Owner, Pair};
use crate::clock::Timestamp;
use crate::secret::{fingerprint, hex};

/// What looks like an RS256 token; its signature is noise.
pub(super) fn access(owner: &Owner, id: &str, kid: u32, now: Timestamp, expires: Timestamp) -> String {
    let subject = owner.user.as_deref().unwrap_or(&owner.client);
    let claims = json!({
        "sub": subject,
        "aut": if owner.user.is_some() { "APPLICATION_USER" } else { "APPLICATION" },
        "aud": &*owner.client,
        "azp": &*owner.client,
        "scope": &*owner.scopes,
        "iss": "https://apimanager.auth.prod.vonagenetworks.net:443/oauth2/token",
        "exp": expires.as_second(),
        "iat": now.as_second(),
        "nbf": now.as_second(),
        "jti": id,
        "realm": { "signing_tenant": "vbc.prod", "tenant": "vbc.prod" },
        "eAuthStatus": true,
    });
    signed(&claims, id, kid)
}

/// The ID token that comes with `openid`.
pub(super) fn id_token(pair: &Pair<'_>, kid: u32, now: Timestamp) -> String {
    let exp = now.as_second().saturating_add_unsigned(pair.expires_in);
    let claims = json!({
        "sub": pair.owner.user.as_deref().unwrap_or(&pair.owner.client),
        "aud": [&*pair.owner.client],
        "azp": &*pair.owner.client,
        "amr": ["password"],
        "at_hash": &fingerprint(&[pair.access.expose()])[..22],
        "iss": "https://apimanager.auth.prod.vonagenetworks.net:443/oauth2/token",
        "exp": exp,
        "iat": now.as_second(),
    });
    signed(&claims, pair.access.expose(), kid)
}

/// The signature is noise that follows from `id`: uniqueness comes from the claims.
fn signed(claims: &serde_json::Value, id: &str, kid: u32) -> String {
    const KID: &str = "Mzg1NzYyNTMxOGY1NTM1MGQ0OGVlMTg3NWEyYjdiYWQ4MWI1MzhkZg";
    let kid = if kid == 0 { KID.to_owned() } else { BASE64.encode(fingerprint(&[KID, &kid.to_string()])) };
    let header = json!({ "x5t": kid, "kid": format!("{kid}_RS256"), "alg": "RS256" });
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, id.as_bytes());
    let seed = hash.as_ref().first_chunk().copied().map_or(0, u64::from_be_bytes);
    let mut noise = Random::new(seed);
    let signature: Vec<u8> = (0..32).flat_map(|_| noise.next().to_be_bytes()).collect();
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
