//! OpenID Connect Discovery: the metadata, and the keys of ID tokens.

use serde_json::{Value, json};

use crate::names::GRANTS;
use crate::response::{Response, json as json_response};
use crate::state::State;
use crate::tokens::jwt::{ISSUER, Members, key_set};

/// The public keys of ID tokens.
pub(crate) fn keys(state: &State) -> Response {
    json_response(200, &key_set(state.policy.kid))
}

/// The metadata as WSO2 serves it for a tenant; `base` is the address of this server.
pub(crate) fn document(base: &str) -> Response {
    let at = |path: &str| Value::from(format!("{base}/t/vbc.prod/oauth2/{path}"));
    let members = vec![
        ("issuer", ISSUER.into()),
        ("authorization_endpoint", at("authorize")),
        ("token_endpoint", at("token")),
        ("userinfo_endpoint", at("userinfo")),
        ("revocation_endpoint", at("revoke")),
        ("jwks_uri", at("jwks")),
        ("response_types_supported", json!(["code"])),
        ("response_modes_supported", json!(["query"])),
        ("grant_types_supported", json!(GRANTS)),
        ("scopes_supported", json!(["openid", "profile", "email", "phone", "address"])),
        ("subject_types_supported", json!(["public"])),
        ("id_token_signing_alg_values_supported", json!(["RS256"])),
        ("code_challenge_methods_supported", json!(["S256", "plain"])),
        ("token_endpoint_auth_methods_supported", json!(["client_secret_basic", "client_secret_post"])),
        (
            "claims_supported",
            json!([
                "sub",
                "iss",
                "aud",
                "exp",
                "iat",
                "nonce",
                "auth_time",
                "at_hash",
                "email",
                "given_name",
                "family_name",
                "preferred_username",
            ]),
        ),
    ];
    json_response(200, &Members(members))
}
