//! The identity server: `/token`, `/authorize`, `/revoke`, `/userinfo`, and OpenID Connect's discovery.

mod authorize;
mod discovery;
mod error;
mod login;
mod login_page;
mod token;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, PRAGMA, WWW_AUTHENTICATE};
use http::{HeaderValue, Method};
use serde_json::json;

use crate::request::{Arrived, Endpoint, Form};
use crate::response::{Answer, empty, json as json_answer, ordered, set};
use crate::state::State;
use crate::tokens::jwt::Login;
use error::Row;
use token::{authenticate_client, token};
use vbc_base::clock::Timestamp;

pub(crate) use token::identity;

/// What a grant was redeemed for.
pub(crate) struct Redeemed {
    pub(crate) row: usize,
    /// The login of a code.
    pub(crate) login: Option<Login>,
}

impl From<usize> for Redeemed {
    fn from(row: usize) -> Self {
        Self { row, login: None }
    }
}

/// Answers a request to an identity endpoint.
pub(crate) fn answer(state: &mut State, arrived: &Arrived, endpoint: Endpoint, now: Timestamp) -> Answer {
    let host = arrived.header(HOST).unwrap_or("localhost").to_owned();
    let allowed = allowed(endpoint);
    let mut answer = match (endpoint, &arrived.form) {
        _ if !allowed.contains(&&arrived.head.method) => not_allowed(allowed),
        (Endpoint::Token | Endpoint::Revoke, None) => empty(415),
        (Endpoint::Token, Some(form)) => {
            token(state, arrived, form, now).unwrap_or_else(|row| row.answer(&host))
        }
        (Endpoint::Revoke, Some(form)) => {
            revoke(state, arrived, form).unwrap_or_else(|row| row.answer(&host))
        }
        (Endpoint::Authorize, _) => authorize::answer(state, arrived, now),
        (Endpoint::UserInfo, _) => user_info(state, arrived, now),
        (Endpoint::Keys, _) => discovery::keys(state),
        (Endpoint::Discovery, _) => discovery::document(&state.options.public_base),
    };
    set(&mut answer, http::header::SERVER, "WSO2 Carbon Server");
    answer
}

/// The methods that an endpoint takes.
fn allowed(endpoint: Endpoint) -> &'static [&'static Method] {
    match endpoint {
        Endpoint::Token | Endpoint::Revoke => &[&Method::POST],
        Endpoint::Authorize => &[&Method::GET, &Method::POST],
        Endpoint::UserInfo => &[&Method::GET, &Method::HEAD, &Method::POST],
        Endpoint::Keys | Endpoint::Discovery => &[&Method::GET, &Method::HEAD],
    }
}

fn not_allowed(allowed: &[&Method]) -> Answer {
    let mut answer = empty(405);
    let names: Vec<&str> = allowed.iter().map(|method| method.as_str()).collect();
    set(&mut answer, ALLOW, &names.join(", "));
    answer
}

/// What the identity server says of each successful answer that is about tokens.
fn forbid_caching(answer: &mut Answer) {
    set(answer, CACHE_CONTROL, "no-store");
    set(answer, PRAGMA, "no-cache");
}

/// Revoking either token kills the pair; an unknown one is answered alike.
fn revoke(state: &mut State, arrived: &Arrived, form: &Form) -> Result<Answer, Row> {
    let token = form.value("token").ok_or(Row::InvalidRevocation)?;
    let client = authenticate_client(state, arrived, form)?;
    let mut answer = empty(200);
    // The service names a type for this empty body.
    set(&mut answer, CONTENT_TYPE, "application/json");
    forbid_caching(&mut answer);
    let revoked = state.tokens.revoke(token, &client).map_err(|_| Row::OtherClient)?;
    if let Some(pair) = revoked {
        // The service puts the raw values here.
        let mut add = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                answer.headers_mut().insert(HeaderName::from_static(name), value);
            }
        };
        add("revokedaccesstoken", pair.access.expose());
        if let Some(refresh) = pair.refresh {
            add("revokedrefreshtoken", refresh.expose());
        }
        add("authorizeduser", pair.owner.user.as_deref().unwrap_or(&pair.owner.client));
    }
    state.stats.revokes += 1;
    Ok(answer)
}

fn user_info(state: &mut State, arrived: &Arrived, now: Timestamp) -> Answer {
    let owner = arrived.authorization("bearer").and_then(|token| state.tokens.accept(token, now));
    let Some(owner) = owner.map(|row| row.owner.clone()) else {
        let mut answer = ordered(
            401,
            &[("error_description", "Access token validation failed"), ("error", "invalid_token")],
        );
        set(&mut answer, WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"");
        return answer;
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
    json_answer(200, &claims)
}
