//! The format and signatures of tokens.

use std::sync::LazyLock;

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::random::Random;
use crate::tokens::{Owner, Pair};
use vbc_base::clock::Timestamp;
use vbc_base::secret::fingerprint;

/// The issuer of tokens: VBC's own name, independent of the simulator's address.
pub(crate) const ISSUER: &str = "https://apimanager.auth.prod.vonagenetworks.net:443/oauth2/token";

/// The key that signs ID tokens. It is public and protects nothing.
static KEY: LazyLock<Option<KeyPair>> =
    LazyLock::new(|| KeyPair::from_pkcs8(include_bytes!("id_token_key.der")).ok());

/// A JSON object whose members keep their order.
pub(crate) struct Members<'a>(pub(crate) Vec<(&'a str, Value)>);

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Members<'_> {
    /// Serialization cannot fail: every key is a string.
    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// An access token. Its signature is random: the gateway looks tokens up and does not verify them.
pub(crate) fn access(owner: &Owner, id: &str, kid: u32, now: Timestamp, expires: Timestamp) -> String {
    let subject = owner.user.as_deref().unwrap_or(&owner.client);
    let kind = if owner.user.is_some() { "APPLICATION_USER" } else { "APPLICATION" };
    let claims = Members(vec![
        ("sub", subject.into()),
        ("aud", (*owner.client).into()),
        ("azp", (*owner.client).into()),
        ("scope", (*owner.scopes).into()),
        ("iss", ISSUER.into()),
        ("exp", expires.as_second().into()),
        ("iat", now.as_second().into()),
        ("jti", id.into()),
        ("nbf", now.as_second().into()),
        ("aut", kind.into()),
        ("realm", json!({ "signing_tenant": "vbc.prod", "tenant": "vbc.prod" })),
        ("eAuthStatus", true.into()),
    ]);
    let signed = signing_input(&claims, kid);
    let signature = BASE64.encode(noise(id));
    format!("{signed}.{signature}")
}

/// The claims of an ID token that do not come from the token pair.
pub(crate) struct IdToken<'a> {
    /// The account of the user; `None` for a client's own token.
    pub(crate) account: Option<u64>,
    /// The login at `/authorize`. `None` for grants other than a code.
    pub(crate) login: Option<&'a Login>,
    /// How often the signing key was replaced.
    pub(crate) kid: u32,
}

/// The facts of a login at `/authorize` that an ID token repeats.
pub(crate) struct Login {
    pub(crate) nonce: Option<String>,
    /// When the user logged in.
    pub(crate) at: Timestamp,
}

impl IdToken<'_> {
    /// Signs the ID token of a pair with RS256.
    pub(crate) fn sign(&self, pair: &Pair<'_>, now: Timestamp) -> String {
        let mut claims = vec![
            ("sub", Value::from(pair.owner.user.as_deref().unwrap_or(&pair.owner.client))),
            ("aud", json!([&*pair.owner.client])),
            ("azp", (*pair.owner.client).into()),
            ("amr", json!(["password"])),
            ("at_hash", left_half(pair.access.expose()).into()),
            ("iss", ISSUER.into()),
            ("exp", now.as_second().saturating_add_unsigned(pair.expires_in).into()),
            ("iat", now.as_second().into()),
        ];
        if let Some(login) = self.login {
            claims.push(("auth_time", login.at.as_second().into()));
            claims.extend(login.nonce.as_deref().map(|nonce| ("nonce", nonce.into())));
        }
        claims.push(("eAuthStatus", true.into()));
        if let Some(account) = self.account {
            claims.push(("eClaims", json!({ "accountNumber": account.to_string() })));
        }
        let signed = signing_input(&Members(claims), self.kid);
        let signature = BASE64.encode(sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// `at_hash` (OpenID Connect Core §3.1.3.6): the left half of the access token's SHA-256.
fn left_half(access: &str) -> String {
    let hash = digest::digest(&SHA256, access.as_bytes());
    BASE64.encode(&hash.as_ref()[..16])
}

/// The encoded header and claims: the part of a token that is signed.
fn signing_input(claims: &Members<'_>, kid: u32) -> String {
    let kid = key_id(kid);
    let header =
        Members(vec![("x5t", kid.as_str().into()), ("kid", kid.as_str().into()), ("alg", "RS256".into())]);
    let [header, claims] = [header.text(), claims.text()].map(|part| BASE64.encode(part));
    format!("{header}.{claims}")
}

/// The name of the signing key after this many replacements.
fn key_id(replaced: u32) -> String {
    const KID: &str = "Mzg1NzYyNTMxOGY1NTM1MGQ0OGVlMTg3NWEyYjdiYWQ4MWI1MzhkZg";
    if replaced == 0 { KID.to_owned() } else { BASE64.encode(fingerprint(&[KID, &replaced.to_string()])) }
}

/// Derives bytes that look like a signature from `id`. They need not be unique: the claims already
/// make every token unique.
fn noise(id: &str) -> Vec<u8> {
    let hash = digest::digest(&SHA256, id.as_bytes());
    let seed = hash.as_ref().first_chunk().copied().map_or(0, u64::from_be_bytes);
    let mut noise = Random::new(seed);
    (0..32).flat_map(|_| noise.next().to_be_bytes()).collect()
}

/// Signs a text. PKCS #1 v1.5 padding is deterministic, so equal texts have equal signatures.
fn sign(text: &[u8]) -> Vec<u8> {
    let Some(key) = &*KEY else { return Vec::new() };
    let mut signature = vec![0; key.public_modulus_len()];
    match key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature) {
        Ok(()) => signature,
        Err(_) => Vec::new(),
    }
}

/// The key set (RFC 7517): one key under its current name and at most nine earlier names.
pub(crate) fn key_set(replaced: u32) -> Value {
    let Some(key) = &*KEY else { return json!({ "keys": [] }) };
    // PKCS #1 writes two headers and a zero byte (nine bytes), the modulus, then the exponent.
    let public = aws_lc_rs::signature::KeyPair::public_key(key).as_ref();
    let modulus = public.get(9..9 + key.public_modulus_len()).unwrap_or_default();
    let modulus = BASE64.encode(modulus);
    // Tokens older than ten names have usually expired.
    let first = replaced.saturating_sub(9);
    let one = |replaced| {
        let kid = key_id(replaced);
        json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "x5t": kid,
            "n": modulus, "e": "AQAB",
        })
    };
    json!({ "keys": (first..=replaced).rev().map(one).collect::<Vec<_>>() })
}

/// The S256 challenge of a PKCE verifier.
pub(crate) fn challenge(verifier: &str) -> String {
    BASE64.encode(digest::digest(&SHA256, verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_hash_is_what_openid_connect_says() {
        // The example of OpenID Connect Core, appendix A.4.
        let access = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        assert_eq!(left_half(access), "77QmUPtjPfzWtF2AnpK9RQ");
    }

    #[test]
    fn an_id_token_is_signed_with_the_published_key() {
        let set = key_set(0);
        let part = |name: &str| BASE64.decode(set["keys"][0][name].as_str().unwrap()).unwrap();
        let public = aws_lc_rs::rsa::PublicKeyComponents { n: part("n"), e: part("e") };
        let padding = &aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
        public.verify(padding, b"a text", &sign(b"a text")).unwrap();
        assert!(public.verify(padding, b"another text", &sign(b"a text")).is_err());
    }

    #[test]
    fn members_keep_their_order() {
        assert_eq!(Members(vec![("z", 1.into()), ("a", 2.into())]).text(), r#"{"z":1,"a":2}"#);
    }

    #[test]
    fn replaced_keys_stay_in_the_key_set_for_a_while() {
        let names = |replaced| -> Vec<String> {
            let set = key_set(replaced);
            set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().into()).collect()
        };
        assert_eq!(names(0), [key_id(0)]);
        assert_eq!(names(2), [key_id(2), key_id(1), key_id(0)]);
        assert_eq!(names(u32::MAX).len(), 10);
    }
}
