//! The identity server: `/token`, `/authorize`, `/revoke`, `/userinfo`, and OpenID Connect
//! Discovery.

mod authorize;
mod discovery;
mod error;
mod login;
mod login_page;
mod token;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, PRAGMA, WWW_AUTHENTICATE};
use http::{HeaderValue, Method};
use serde_json::json;

use crate::request::{Endpoint, Form, ReceivedRequest};
use crate::response::{Response, empty, json as json_response, ordered, set};
use crate::state::State;
use crate::tokens::jwt::Login;
use error::TokenError;
use token::{authenticate_client, token};
use vbc_base::clock::Timestamp;

pub(crate) use token::identity;

/// The result of a grant.
pub(crate) struct Issuance {
    pub(crate) row: usize,
    /// The login at `/authorize`. `None` for grants other than a code.
    pub(crate) login: Option<Login>,
}

impl From<usize> for Issuance {
    fn from(row: usize) -> Self {
        Self { row, login: None }
    }
}

/// Responds to a request to an identity endpoint.
pub(crate) fn respond(
    state: &mut State,
    request: &ReceivedRequest,
    endpoint: Endpoint,
    now: Timestamp,
) -> Response {
    let host = request.header(HOST).unwrap_or("localhost").to_owned();
    let allowed = allowed(endpoint);
    let mut response = match (endpoint, &request.form) {
        _ if !allowed.contains(&&request.head.method) => not_allowed(allowed),
        (Endpoint::Token | Endpoint::Revoke, None) => empty(415),
        (Endpoint::Token, Some(form)) => {
            token(state, request, form, now).unwrap_or_else(|error| error.response(&host))
        }
        (Endpoint::Revoke, Some(form)) => {
            revoke(state, request, form).unwrap_or_else(|error| error.response(&host))
        }
        (Endpoint::Authorize, _) => authorize::respond(state, request, now),
        (Endpoint::UserInfo, _) => user_info(state, request, now),
        (Endpoint::Keys, _) => discovery::keys(state),
        (Endpoint::Discovery, _) => discovery::document(&state.options.public_base),
    };
    set(&mut response, http::header::SERVER, "WSO2 Carbon Server");
    response
}

/// The methods that an endpoint accepts.
fn allowed(endpoint: Endpoint) -> &'static [&'static Method] {
    match endpoint {
        Endpoint::Token | Endpoint::Revoke => &[&Method::POST],
        Endpoint::Authorize => &[&Method::GET, &Method::POST],
        Endpoint::UserInfo => &[&Method::GET, &Method::HEAD, &Method::POST],
        Endpoint::Keys | Endpoint::Discovery => &[&Method::GET, &Method::HEAD],
    }
}

fn not_allowed(allowed: &[&Method]) -> Response {
    let mut response = empty(405);
    let names: Vec<&str> = allowed.iter().map(|method| method.as_str()).collect();
    set(&mut response, ALLOW, &names.join(", "));
    response
}

/// Adds headers that forbid caching. Successful responses of `/token` and `/revoke` have them.
fn forbid_caching(response: &mut Response) {
    set(response, CACHE_CONTROL, "no-store");
    set(response, PRAGMA, "no-cache");
}

/// Revokes an access token together with its refresh token; the request names either of them. An
/// unknown token gets a successful response too.
fn revoke(state: &mut State, request: &ReceivedRequest, form: &Form) -> Result<Response, TokenError> {
    let token = form.value("token").ok_or(TokenError::InvalidRevocation)?;
    let client = authenticate_client(state, request, form)?;
    let mut response = empty(200);
    // VBC sends a content type although the body is empty.
    set(&mut response, CONTENT_TYPE, "application/json");
    forbid_caching(&mut response);
    let revoked = state.tokens.revoke(token, &client).map_err(|_| TokenError::OtherClient)?;
    if let Some(pair) = revoked {
        // VBC puts the token values into these headers.
        let mut add = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        };
        add("revokedaccesstoken", pair.access.expose());
        if let Some(refresh) = pair.refresh {
            add("revokedrefreshtoken", refresh.expose());
        }
        add("authorizeduser", pair.owner.user.as_deref().unwrap_or(&pair.owner.client));
    }
    state.stats.revokes += 1;
    Ok(response)
}

fn user_info(state: &mut State, request: &ReceivedRequest, now: Timestamp) -> Response {
    let owner = request.authorization("bearer").and_then(|token| state.tokens.accept(token, now));
    let Some(owner) = owner.map(|row| row.owner.clone()) else {
        let mut response = ordered(
            401,
            &[("error_description", "Access token validation failed"), ("error", "invalid_token")],
        );
        set(&mut response, WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"");
        return response;
    };
    if !owner.scopes.split(' ').any(|scope| scope == "openid") {
        let words = "Access token does not have the openid scope";
        return ordered(403, &[("error_description", words), ("error", "insufficient_scope")]);
    }
    let subject = owner.user.as_deref().unwrap_or(&owner.client);
    let mut claims = json!({ "sub": subject });
    let login = owner.user.clone();
    if let Some((account, position)) = login.as_deref().and_then(|login| state.world.person(login))
        && let Some(user) = account.users.get(position)
    {
        claims["email"] = user.email.as_str().into();
        claims["given_name"] = user.first_name.as_str().into();
        claims["family_name"] = user.last_name.as_str().into();
        claims["preferred_username"] = login.as_deref().into();
    }
    json_response(200, &claims)
}
