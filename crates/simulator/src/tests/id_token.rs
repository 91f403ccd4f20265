//! ID tokens, what clients need to trust them, and VBC's order of members.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::*;

const ISSUER: &str = "https://apimanager.auth.prod.vonagenetworks.net:443/oauth2/token";

fn decoded(part: &str) -> String {
    String::from_utf8(BASE64.decode(part).unwrap()).unwrap()
}

/// Header and claims of a token as text.
fn parts(token: &str) -> [String; 2] {
    let mut parts = token.split('.');
    [parts.next().unwrap(), parts.next().unwrap()].map(decoded)
}

fn claims(token: &str) -> Value {
    serde_json::from_str(&parts(token)[1]).unwrap()
}

/// The member names of an object in their order.
fn names(object: &str) -> Vec<String> {
    let read: serde_json::Map<String, Value> = serde_json::from_str(object).unwrap();
    let mut names: Vec<String> = read.keys().cloned().collect();
    names.sort_by_key(|name| object.find(&format!("\"{name}\":")).unwrap());
    names
}

/// Logs alice in with a code; `extra` is appended to the query.
async fn by_code(sim: &Simulator, extra: &str) -> TestResponse {
    let response = sim.send("GET", &format!("{AUTHORIZE}&sim_user=alice{extra}"), &[], "").await;
    let location = response.header("location").unwrap().to_owned();
    let code = location.split_once("code=").unwrap().1.split('&').next().unwrap().to_owned();
    let callback = "redirect_uri=http%3A%2F%2Flocalhost%3A8081%2Fcallback";
    sim.token(&format!("grant_type=authorization_code&code={code}&{callback}")).await
}

#[tokio::test]
async fn an_id_token_repeats_the_nonce_of_its_authorization_request() {
    let sim = Simulator::start().await.unwrap();
    let response = by_code(&sim, "&nonce=n-0S6_WzA2Mj%20%C3%BC").await;
    let first = claims(&response.text("id_token"));
    assert_eq!(first["nonce"], "n-0S6_WzA2Mj ü");
    assert!(first["auth_time"].as_i64().unwrap() <= first["iat"].as_i64().unwrap());
    // Another login of the same user gets the same tokens with another nonce.
    let again = by_code(&sim, "&nonce=other").await;
    assert_eq!(again.text("access_token"), response.text("access_token"));
    assert_eq!(claims(&again.text("id_token"))["nonce"], "other");
    for without in
        [by_code(&sim, "").await, sim.log_in().await, sim.refresh(&response.text("refresh_token")).await]
    {
        assert_eq!(claims(&without.text("id_token")).get("nonce"), None, "{}", without.body);
    }
}

#[tokio::test]
async fn an_id_token_names_user_account_client_and_access_token() {
    let sim = Simulator::start().await.unwrap();
    let bob = sim.password("bob@vbc.prod", "bob-password").await;
    let alice = sim.log_in().await;
    for (response, user, account) in [(&bob, "bob@vbc.prod", "23456"), (&alice, "alice@vbc.prod", "12345")] {
        let claims = claims(&response.text("id_token"));
        assert_eq!((&claims["sub"], &claims["eClaims"]["accountNumber"]), (&user.into(), &account.into()));
        assert_eq!((&claims["iss"], &claims["azp"]), (&ISSUER.into(), &"sim-client".into()));
        assert_eq!(claims["aud"], json!(["sim-client"]));
        let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert_eq!(Some(lifetime), response.json()["expires_in"].as_i64());
        let hash = digest(&SHA256, response.text("access_token").as_bytes());
        assert_eq!(claims["at_hash"], BASE64.encode(&hash.as_ref()[..16]));
    }
}

#[tokio::test]
async fn members_are_written_in_the_order_of_the_service() {
    let sim = Simulator::start().await.unwrap();
    let documented = ["access_token", "refresh_token", "scope", "id_token", "token_type", "expires_in"];
    let login = sim.log_in().await;
    let refreshed = sim.refresh(&login.text("refresh_token")).await;
    for response in [&login, &refreshed, &by_code(&sim, "&nonce=n").await] {
        assert_eq!(names(&response.body), documented);
        for token in ["access_token", "id_token"] {
            assert_eq!(names(&parts(&response.text(token))[0]), ["x5t", "kid", "alg"]);
        }
        let claims = names(&parts(&response.text("access_token"))[1]);
        assert_eq!(claims[..8], ["sub", "aud", "azp", "scope", "iss", "exp", "iat", "jti"]);
    }
    let own = sim.token("grant_type=client_credentials").await;
    assert_eq!(names(&own.body), ["access_token", "scope", "token_type", "expires_in"]);
}

#[tokio::test]
async fn the_published_keys_verify_id_tokens_after_the_key_was_replaced_too() {
    let sim = Simulator::start().await.unwrap();
    let keys = async || sim.send("GET", "/t/vbc.prod/oauth2/jwks", &[], "").await.json()["keys"].clone();
    let old = sim.log_in().await.text("id_token");
    sim.fault(json!({ "fault": "rotate_signing_kid" })).await;
    let new = sim.log_in().await.text("id_token");
    let kid = |token: &str| serde_json::from_str::<Value>(&parts(token)[0]).unwrap()["kid"].clone();
    assert_ne!(kid(&old), kid(&new));
    let keys = keys().await;
    for token in [&old, &new] {
        let key = keys.as_array().unwrap().iter().find(|key| key["kid"] == kid(token)).unwrap();
        let [n, e] = ["n", "e"].map(|part| BASE64.decode(key[part].as_str().unwrap()).unwrap());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64.decode(signature).unwrap();
        PublicKeyComponents { n, e }
            .verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature)
            .unwrap();
    }
}

#[tokio::test]
async fn discovery_leads_to_every_endpoint() {
    let sim = Simulator::builder().start().await.unwrap();
    for path in ["/oauth2", "/t/vbc.prod/oauth2"] {
        let path = format!("{path}/token/.well-known/openid-configuration");
        let response = sim.send("GET", &path, &[], "").await;
        assert_eq!((response.status.as_u16(), response.text("issuer").as_str()), (200, ISSUER));
        for (name, status) in [
            ("authorization_endpoint", 302),
            ("token_endpoint", 405),
            ("userinfo_endpoint", 401),
            ("revocation_endpoint", 405),
            ("jwks_uri", 200),
        ] {
            let url = response.text(name);
            let path = url.strip_prefix(&sim.url()).unwrap_or_else(|| panic!("{name}: {url}"));
            assert_eq!(sim.send("GET", path, &[], "").await.status, status, "{name}");
        }
    }
}

#[tokio::test]
async fn a_method_that_an_endpoint_does_not_take_is_told_which_it_does() {
    let sim = Simulator::start().await.unwrap();
    for (path, method, allow) in [
        ("/token", "GET", "POST"),
        ("/t/vbc.prod/oauth2/revoke", "DELETE", "POST"),
        ("/authorize", "PUT", "GET, POST"),
        ("/userinfo", "DELETE", "GET, HEAD, POST"),
        ("/oauth2/jwks", "POST", "GET, HEAD"),
    ] {
        let response = sim.send(method, path, &[], "").await;
        assert_eq!((response.status.as_u16(), response.header("allow")), (405, Some(allow)), "{path}");
    }
}
