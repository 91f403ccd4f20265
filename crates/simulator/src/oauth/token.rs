//! `/token`: grants, and how clients authenticate.

use std::sync::Arc;

use base64::Engine;

use super::authorize;
use super::error::TokenError;
use super::login::{check_login, normal, scopes};
use super::{Issuance, forbid_caching};
use crate::names::KNOWN_GRANTS;
use crate::request::{Form, ReceivedRequest};
use crate::response::{Response, json as json_response};
use crate::state::{Consumer, State, same};
use crate::tokens::jwt::{IdToken, Members};
use crate::tokens::{Owner, RefreshError};
use vbc_base::clock::Timestamp;

/// Responds to a request to `/token`.
pub(super) fn token(
    state: &mut State,
    request: &ReceivedRequest,
    form: &Form,
    now: Timestamp,
) -> Result<Response, TokenError> {
    let grant = form.value("grant_type").unwrap_or_default().to_owned();
    let redeemed = redeem(state, request, form, &grant, now);
    let outcomes = match grant.as_str() {
        "password" => Some(&mut state.stats.logins),
        "refresh_token" => Some(&mut state.stats.refreshes),
        "authorization_code" => Some(&mut state.stats.codes),
        _ => None,
    };
    if let Some(outcomes) = outcomes {
        outcomes.count(redeemed.is_ok());
    }
    Ok(issued(state, &redeemed?, now))
}

/// Applies the rules in order; the first violated one is the error.
fn redeem(
    state: &mut State,
    request: &ReceivedRequest,
    form: &Form,
    grant: &str,
    now: Timestamp,
) -> Result<Issuance, TokenError> {
    if form.repeats() {
        return Err(TokenError::RepeatedParameters);
    }
    if grant.is_empty() {
        return Err(TokenError::NoGrantType);
    }
    if !KNOWN_GRANTS.contains(&grant) {
        return Err(TokenError::UnknownGrantType);
    }
    let required: &[&str] = match grant {
        "password" => &["username", "password"],
        "refresh_token" => &["refresh_token"],
        "authorization_code" => &["code"],
        _ => &[],
    };
    let missing = form.missing(required);
    if !missing.is_empty() {
        return Err(TokenError::MissingParameters(missing));
    }
    let client = authenticate_client(state, request, form)?;
    let app = state.world.apps.get(&client).ok_or(TokenError::WrongSecret)?;
    if !app.grants.contains(&grant) {
        return Err(TokenError::GrantNotAllowed);
    }
    let with_refresh = app.grants.contains(&"refresh_token");
    match grant {
        "password" => {
            let user = log_in(state, form, now)?;
            let scopes = scopes(form.value("scope"))?;
            let policy = state.policy_for(&client);
            let owner = Owner { client: client.into(), user: Some(user), scopes };
            Ok(state.tokens.issue(owner, with_refresh, policy, now).into())
        }
        "refresh_token" => refresh(state, form, &client, now).map(Issuance::from),
        "authorization_code" => authorize::redeem(state, form, &client, now),
        _ => {
            let policy = state.policy_for(&client);
            let owner = Owner { client: client.into(), user: None, scopes: scopes(form.value("scope"))? };
            Ok(state.tokens.issue(owner, false, policy, now).into())
        }
    }
}

/// The identity that a request is about: client and user of a login, or the owner of the presented
/// token or code. The request may still be rejected: no secret is checked here.
pub(crate) fn identity(state: &State, request: &ReceivedRequest) -> Option<Consumer> {
    let form = request.form.as_ref()?;
    match request.grant()? {
        "password" => {
            let in_header = request.authorization("basic").and_then(basic).map(|(id, _)| id);
            let client = in_header.as_deref().or(form.value("client_id"))?;
            let user = form.value("username")?.to_lowercase();
            Some((client.into(), Some(user.into())))
        }
        "refresh_token" => {
            let owner = state.tokens.owner_of_refresh(form.value("refresh_token")?)?;
            Some((owner.client.clone(), owner.user.as_deref().map(|user| user.to_lowercase().into())))
        }
        "authorization_code" => {
            let code = state.codes.get(form.value("code")?)?;
            Some((code.client.as_str().into(), Some(code.user.to_lowercase().into())))
        }
        _ => None,
    }
}

/// Authenticates with the Basic header or with both body parameters, but not with both methods.
pub(super) fn authenticate_client(
    state: &State,
    request: &ReceivedRequest,
    form: &Form,
) -> Result<String, TokenError> {
    let in_body = form.value("client_id").zip(form.value("client_secret"));
    let in_header = request.authorization("basic");
    let (id, secret) = match (in_header, in_body) {
        (Some(header), _) => basic(header).ok_or(TokenError::WrongSecret)?,
        (None, Some((id, secret))) => (id.to_owned(), secret.to_owned()),
        (None, None) => return Err(TokenError::NoClientAuthentication),
    };
    match state.world.apps.get(&id) {
        None => return Err(TokenError::UnknownClient(id)),
        Some(app) if !same(app.secret.expose(), &secret) => return Err(TokenError::WrongSecret),
        Some(_) => {}
    }
    if in_header.is_some() && in_body.is_some() {
        return Err(TokenError::HeaderAndBody);
    }
    if form.value("client_assertion").is_some() {
        return Err(TokenError::TwoMethods);
    }
    Ok(id)
}

/// Reads the credentials of a Basic header. Like VBC, it requires exactly one colon after decoding
/// Base64, and does not decode the id and the secret as form values.
fn basic(header: &str) -> Option<(String, String)> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(header).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (id, secret) = text.split_once(':')?;
    (!secret.contains(':')).then(|| (id.to_owned(), secret.to_owned()))
}

fn log_in(state: &mut State, form: &Form, now: Timestamp) -> Result<Arc<str>, TokenError> {
    let user = form.value("username").unwrap_or_default();
    check_login(state, user, form.value("password").unwrap_or_default(), now)
}

fn refresh(state: &mut State, form: &Form, client: &str, now: Timestamp) -> Result<usize, TokenError> {
    let scopes = form.value("scope").map(normal);
    let value = form.value("refresh_token").unwrap_or_default();
    let policy = state.policy_for(client);
    state.tokens.redeem(value, client, scopes.as_deref(), policy, now).map_err(|refused| match refused {
        RefreshError::Unknown => TokenError::RefreshUnknown,
        RefreshError::Spent => {
            state.stats.refresh_reuse += 1;
            if state.spent_is_server_error { TokenError::ServerError } else { TokenError::RefreshUnknown }
        }
        RefreshError::Revoked => TokenError::RefreshInactive,
        RefreshError::NotLatest => TokenError::RefreshNotLatest,
        RefreshError::Expired => TokenError::RefreshExpired,
        RefreshError::Scope => TokenError::Scope,
    })
}

fn issued(state: &State, redeemed: &Issuance, now: Timestamp) -> Response {
    let pair = state.tokens.pair(redeemed.row, now);
    let mut members = vec![("access_token", pair.access.expose().into())];
    members.extend(pair.refresh.map(|refresh| ("refresh_token", refresh.expose().into())));
    members.push(("scope", (*pair.owner.scopes).into()));
    if pair.owner.scopes.split(' ').any(|scope| scope == "openid") {
        let user = pair.owner.user.as_deref();
        let account = user.and_then(|user| state.login(user)).map(|login| login.account);
        let token = IdToken { account, login: redeemed.login.as_ref(), kid: state.policy.kid };
        members.push(("id_token", token.sign(&pair, now).into()));
    }
    members.push(("token_type", "Bearer".into()));
    members.push(("expires_in", pair.expires_in.into()));
    let mut response = json_response(200, &Members(members));
    forbid_caching(&mut response);
    response
}
