//! An independent OAuth client against the simulator. A misreading of RFC 6749 would be the same in
//! the proxy and the simulator, so they cannot test each other.

use std::collections::HashMap;

use oauth2::basic::{BasicClient, BasicErrorResponseType, BasicRequestTokenError, BasicTokenType};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError,
    ResourceOwnerPassword, ResourceOwnerUsername, RevocationUrl, Scope, StandardRevocableToken,
    TokenResponse, TokenUrl,
};
use serde_json::Value;
use url::Url;
use vbc_proxy::Simulator;

use crate::harness::{carry, within};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";
const CALLBACK: &str = "http://localhost:8081/callback";
const BOTH_WAYS: [AuthType; 2] = [AuthType::RequestBody, AuthType::BasicAuth];

type Client = BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointSet, EndpointSet>;

/// The client and its simulator. By default it is the client of the demo identity.
struct Try {
    sim: Simulator,
    id: &'static str,
    secret: &'static str,
    auth: AuthType,
}

impl Try {
    async fn start() -> Self {
        let sim = Simulator::start().await.unwrap();
        Self { sim, id: "sim-client", secret: "sim-secret", auth: AuthType::RequestBody }
    }

    async fn by(auth: AuthType) -> Self {
        Self { auth, ..Self::start().await }
    }

    fn client(&self) -> Client {
        let url = self.sim.url();
        // The library revokes over https only. `carry` uses only the authority of the URL.
        let revoke = format!("https://{}/revoke", self.sim.address());
        BasicClient::new(ClientId::new(self.id.to_owned()))
            .set_client_secret(ClientSecret::new(self.secret.to_owned()))
            .set_auth_type(self.auth.clone())
            .set_auth_uri(AuthUrl::new(format!("{url}/authorize")).unwrap())
            .set_token_uri(TokenUrl::new(format!("{url}/token")).unwrap())
            .set_revocation_url(RevocationUrl::new(revoke).unwrap())
            .set_redirect_uri(RedirectUrl::new(CALLBACK.to_owned()).unwrap())
    }

    async fn log_in(&self, password: &str, scope: &str) -> Result<Tokens, Refusal> {
        let (user, password) = ("alice@vbc.prod".to_owned(), password.to_owned());
        let (user, password) = (ResourceOwnerUsername::new(user), ResourceOwnerPassword::new(password));
        let client = self.client();
        let request = client.exchange_password(&user, &password).add_scope(Scope::new(scope.to_owned()));
        within(request.request_async(&carry)).await.map(|response| Tokens::read(&response))
    }

    async fn refresh(&self, tokens: &Tokens) -> Result<Tokens, Refusal> {
        let refresh = RefreshToken::new(tokens.refresh.clone());
        let client = self.client();
        within(client.exchange_refresh_token(&refresh).request_async(&carry))
            .await
            .map(|response| Tokens::read(&response))
    }

    /// The query of the redirect that `/authorize` sends for this user, with the state and the
    /// verifier.
    async fn authorize(&self, user: &str) -> (HashMap<String, String>, CsrfToken, PkceCodeVerifier) {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let client = self.client();
        let request = client.authorize_url(CsrfToken::new_random);
        let request = request.add_scope(Scope::new("openid".to_owned())).set_pkce_challenge(challenge);
        let (url, state) = request.add_extra_param("sim_user", user).url();
        let request = http::Request::get(url.as_str()).body(Vec::new()).unwrap();
        let response = within(carry(request)).await.unwrap();
        assert_eq!(response.status(), 302);
        let location = Url::parse(response.headers()["location"].to_str().unwrap()).unwrap();
        assert!(location.as_str().starts_with(&format!("{CALLBACK}?")), "{location}");
        (location.query_pairs().into_owned().collect(), state, verifier)
    }

    async fn redeem(&self, code: &str, verifier: PkceCodeVerifier) -> Result<Tokens, Refusal> {
        let client = self.client();
        let request =
            client.exchange_code(AuthorizationCode::new(code.to_owned())).set_pkce_verifier(verifier);
        within(request.request_async(&carry)).await.map(|response| Tokens::read(&response))
    }

    async fn revoke(&self, token: StandardRevocableToken) {
        let client = self.client();
        within(client.revoke_token(token).unwrap().request_async(&carry)).await.unwrap();
    }

    /// The status of an API request with this access token.
    async fn api(&self, tokens: &Tokens) -> u16 {
        self.get(USERS, tokens).await.status().as_u16()
    }

    /// The user of this token, from `/userinfo`.
    async fn user(&self, tokens: &Tokens) -> Value {
        let response = self.get("/userinfo", tokens).await;
        serde_json::from_slice::<Value>(response.body()).unwrap()["sub"].take()
    }

    async fn get(&self, target: &str, tokens: &Tokens) -> HttpResponse {
        let request = http::Request::get(format!("{}{target}", self.sim.url()));
        let request = request.header("authorization", format!("Bearer {}", tokens.access));
        within(carry(request.body(Vec::new()).unwrap())).await.unwrap()
    }
}

type Refusal = BasicRequestTokenError<hyper::Error>;

/// The issued tokens.
#[derive(Debug, PartialEq, Eq)]
struct Tokens {
    access: String,
    refresh: String,
}

impl Tokens {
    fn read(response: &oauth2::basic::BasicTokenResponse) -> Self {
        assert_eq!(response.token_type(), &BasicTokenType::Bearer);
        assert_eq!(response.expires_in().map(|lifetime| lifetime.as_secs()), Some(86_400));
        let scopes: Vec<&str> = response.scopes().unwrap().iter().map(|scope| scope.as_str()).collect();
        assert_eq!(scopes, ["openid"]);
        let refresh = response.refresh_token().expect("a refresh token").secret().clone();
        Self { access: response.access_token().secret().clone(), refresh }
    }
}

#[track_caller]
fn assert_refused(outcome: Result<Tokens, Refusal>, expected: &BasicErrorResponseType) {
    match outcome {
        Err(RequestTokenError::ServerResponse(refusal)) => {
            assert_eq!(refusal.error(), expected);
            assert!(refusal.error_description().is_some_and(|words| !words.is_empty()), "{refusal:?}");
        }
        other => panic!("expected {expected}, got {other:?}"),
    }
}

#[tokio::test]
async fn a_login_returns_tokens_that_the_api_accepts() {
    for auth in BOTH_WAYS {
        let client = Try::by(auth).await;
        let tokens = client.log_in("sim-password", "openid").await.unwrap();
        assert_eq!(client.api(&tokens).await, 200);
        assert_eq!(client.user(&tokens).await, "alice@vbc.prod");
    }
}

#[tokio::test]
async fn a_code_is_redeemed_only_with_its_verifier() {
    for auth in BOTH_WAYS {
        let client = Try::by(auth).await;
        let (query, state, verifier) = client.authorize("alice@vbc.prod").await;
        assert_eq!(query.get("state"), Some(state.secret()));
        let tokens = client.redeem(&query["code"], verifier).await.unwrap();
        assert_eq!(client.api(&tokens).await, 200);
        assert_eq!(client.user(&tokens).await, "alice@vbc.prod");

        let (query, _, _) = client.authorize("alice@vbc.prod").await;
        let (_, another) = PkceCodeChallenge::new_random_sha256();
        let outcome = client.redeem(&query["code"], another).await;
        assert_refused(outcome, &BasicErrorResponseType::InvalidGrant);
    }
}

#[tokio::test]
async fn a_code_that_is_used_twice_revokes_its_tokens() {
    let client = Try::start().await;
    let (query, _, verifier) = client.authorize("alice@vbc.prod").await;
    let again = PkceCodeVerifier::new(verifier.secret().clone());
    let tokens = client.redeem(&query["code"], verifier).await.unwrap();
    assert_refused(client.redeem(&query["code"], again).await, &BasicErrorResponseType::InvalidGrant);
    assert_eq!(client.api(&tokens).await, 401);
}

#[tokio::test]
async fn a_user_who_denies_yields_no_code() {
    let client = Try::start().await;
    let (query, state, _) = client.authorize("nobody@vbc.prod").await;
    assert_eq!(query.get("error").map(String::as_str), Some("access_denied"));
    assert_eq!(query.get("state"), Some(state.secret()));
    assert_eq!(query.get("code"), None);
}

#[tokio::test]
async fn a_refresh_token_works_once() {
    for auth in BOTH_WAYS {
        let client = Try::by(auth).await;
        let first = client.log_in("sim-password", "openid").await.unwrap();
        let second = client.refresh(&first).await.unwrap();
        assert!(second.access != first.access && second.refresh != first.refresh);
        assert_eq!((client.api(&first).await, client.api(&second).await), (401, 200));
        assert_refused(client.refresh(&first).await, &BasicErrorResponseType::InvalidGrant);
        assert_eq!(client.sim.stats().refresh_reuse, 1);
        let third = client.refresh(&second).await.unwrap();
        assert_eq!(client.api(&third).await, 200);
    }
}

#[tokio::test]
async fn revoked_tokens_are_refused() {
    for auth in BOTH_WAYS {
        let client = Try::by(auth).await;
        let tokens = client.log_in("sim-password", "openid").await.unwrap();
        let access = oauth2::AccessToken::new(tokens.access.clone());
        client.revoke(StandardRevocableToken::AccessToken(access)).await;
        assert_eq!(client.api(&tokens).await, 401);
        assert_refused(client.refresh(&tokens).await, &BasicErrorResponseType::InvalidGrant);

        let tokens = client.log_in("sim-password", "openid").await.unwrap();
        let refresh = RefreshToken::new(tokens.refresh.clone());
        client.revoke(StandardRevocableToken::RefreshToken(refresh)).await;
        assert_eq!(client.api(&tokens).await, 401);
        // Revoking the token again succeeds, although it is unknown now (RFC 7009 §2.2).
        client.revoke(StandardRevocableToken::RefreshToken(RefreshToken::new(tokens.refresh))).await;
        assert_eq!(client.sim.stats().revokes, 3);
    }
}

#[tokio::test]
async fn refusals_have_their_standard_names() {
    use BasicErrorResponseType as Type;
    for auth in BOTH_WAYS {
        let mut client = Try::by(auth).await;
        assert_refused(client.log_in("wrong", "openid").await, &Type::InvalidGrant);
        assert_refused(client.log_in("sim-password", "openid everything").await, &Type::InvalidScope);
        let unknown = Tokens { access: String::new(), refresh: "unknown".into() };
        assert_refused(client.refresh(&unknown).await, &Type::InvalidGrant);
        let (_, verifier) = PkceCodeChallenge::new_random_sha256();
        assert_refused(client.redeem("unknown", verifier).await, &Type::InvalidGrant);

        client.secret = "wrong";
        assert_refused(client.log_in("sim-password", "openid").await, &Type::InvalidClient);
        client.id = "unknown";
        assert_refused(client.log_in("sim-password", "openid").await, &Type::InvalidClient);
        assert_eq!(client.sim.stats().logins.ok, 0);
    }
}

#[tokio::test]
async fn client_credentials_yield_no_refresh_token() {
    for auth in BOTH_WAYS {
        let client = Try::by(auth).await;
        let oauth = client.client();
        let response = within(oauth.exchange_client_credentials().request_async(&carry)).await.unwrap();
        assert!(response.refresh_token().is_none() && !response.access_token().secret().is_empty());
    }
}
