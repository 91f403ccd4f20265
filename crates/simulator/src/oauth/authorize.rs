//! `/authorize`: the login page (skipped with `sim_user`), codes, and their redemption.

use std::sync::Arc;

use http::header::LOCATION;

use super::Issuance;
use super::error::TokenError;
use super::login::{check_login, scopes};
use super::login_page::LoginPage;
use crate::request::{Form, ReceivedRequest};
use crate::response::{Response, empty, set};
use crate::state::{Code, State, same};
use crate::tokens::Owner;
use crate::tokens::jwt::{self, Login};
use vbc_base::clock::{Timestamp, after};

/// The message for users who log in through single sign-on.
const SINGLE_SIGN_ON: &str = "Single sign-on accounts are not supported by the service.";
const LOCKED: &str = "17003 User account is locked.";
const DENIED: &str = "User denied the consent";

pub(crate) fn respond(state: &mut State, request: &ReceivedRequest, now: Timestamp) -> Response {
    let query = Form::parse(request.query().as_bytes());
    // A request whose redirect URI cannot be trusted gets the server's own error page.
    let client = query.value("client_id");
    let (client, app) = match client.map(|id| (id, state.world.apps.get(id))) {
        None => return error_page("invalid_request", "Missing client_id"),
        Some((id, None)) => {
            let words = format!("A valid OAuth client could not be found for client_id: {id}");
            return error_page("invalid_client", &words);
        }
        Some((id, Some(app))) => (id, app),
    };
    let Some(redirect_uri) = query.value("redirect_uri").filter(|uri| *uri == app.callback) else {
        let words = "Registered callback does not match with the provided url.";
        return error_page("invalid_callback", words);
    };
    let refuse = |error: &str, words: &str| {
        back(redirect_uri, &[("error", error), ("error_description", words)], query.value("state"))
    };
    if query.value("response_type") != Some("code") {
        return refuse("invalid_request", "Invalid response_type parameter value");
    }
    if !app.grants.contains(&"authorization_code") {
        let words = "The client is not authorized to request an authorization code using this method";
        return refuse("unauthorized_client", words);
    }
    let hashed = match query.value("code_challenge_method") {
        None | Some("plain") => false,
        Some("S256") => true,
        Some(_) => return refuse("invalid_request", "Unsupported PKCE Challenge Method"),
    };
    let Ok(scopes) = scopes(query.value("scope")) else { return refuse("invalid_scope", "Invalid Scope!") };
    let user = match choose(state, client, &query, request.form.as_ref(), now) {
        Ok(user) => user,
        Err(Choice::Denied(words)) => return refuse("access_denied", words),
        Err(Choice::Ask(page)) => return page.response(),
    };
    let code = state.tokens.value();
    let issued = Code {
        client: client.to_owned(),
        user: user.to_string(),
        redirect_uri: redirect_uri.to_owned(),
        scopes: scopes.to_string(),
        challenge: query.value("code_challenge").map(|challenge| (challenge.to_owned(), hashed)),
        nonce: query.value("nonce").map(str::to_owned),
        issued: now,
        expires: after(now, state.policy.lifetimes.code),
        row: None,
    };
    state.codes.insert(code.clone(), issued);
    back(redirect_uri, &[("code", &code)], query.value("state"))
}

/// Why no user has been chosen.
enum Choice<'a> {
    /// Access is denied, with this description.
    Denied(&'static str),
    /// The user has to log in on this page.
    Ask(LoginPage<'a>),
}

/// The user who consents: the user that `sim_user` in the query names, or the user who logs in with
/// the form. Otherwise asks for a login.
fn choose<'a>(
    state: &mut State,
    client: &'a str,
    query: &Form,
    form: Option<&'a Form>,
    now: Timestamp,
) -> Result<Arc<str>, Choice<'a>> {
    if let Some(named) = query.value("sim_user") {
        let login = state.login(named).ok_or(Choice::Denied(DENIED))?;
        return match (login.sso, login.is_locked(now)) {
            _ if state.is_developer(&login.name) => Err(Choice::Denied(DENIED)),
            (true, _) => Err(Choice::Denied(SINGLE_SIGN_ON)),
            (_, true) => Err(Choice::Denied(LOCKED)),
            _ => Ok(login.name.as_str().into()),
        };
    }
    let ask = |user: &'a str, message| Err(Choice::Ask(LoginPage { application: client, user, message }));
    let Some(form) = form else { return ask("", None) };
    if form.value("deny").is_some() {
        return Err(Choice::Denied(DENIED));
    }
    let user = form.value("username").unwrap_or_default();
    if state.login(user).is_some_and(|login| login.sso) {
        return ask(user, Some(SINGLE_SIGN_ON));
    }
    match check_login(state, user, form.value("password").unwrap_or_default(), now) {
        Ok(user) => Ok(user),
        Err(TokenError::Locked(_) | TokenError::LockedByAdministrator(_)) => {
            ask(user, Some("The account is locked."))
        }
        Err(_) => ask(user, Some("Login failed. Check the user name and password.")),
    }
}

/// Redeems a code once. A second attempt revokes the tokens of the first, including those of later
/// refreshes.
pub(crate) fn redeem(
    state: &mut State,
    form: &Form,
    client: &str,
    now: Timestamp,
) -> Result<Issuance, TokenError> {
    let value = form.value("code").unwrap_or_default();
    let code =
        state.codes.get_mut(value).filter(|code| code.client == client).ok_or(TokenError::CodeInvalid)?;
    if let Some(row) = code.row {
        state.tokens.revoke_line(row);
        return Err(TokenError::CodeInactive);
    }
    if code.expires <= now {
        return Err(TokenError::CodeExpired);
    }
    if form.value("redirect_uri") != Some(code.redirect_uri.as_str()) {
        return Err(TokenError::CallbackMismatch);
    }
    if let Some((challenge, hashed)) = &code.challenge {
        let verifier = form.value("code_verifier").unwrap_or_default();
        let verifier = if *hashed { jwt::challenge(verifier) } else { verifier.to_owned() };
        if !same(challenge, &verifier) {
            return Err(TokenError::VerifierMismatch);
        }
    }
    let owner = Owner {
        client: client.into(),
        user: Some(code.user.as_str().into()),
        scopes: code.scopes.as_str().into(),
    };
    let login = Login { nonce: code.nonce.clone(), at: code.issued };
    let policy = state.policy_for(client);
    let row = state.tokens.issue(owner, true, policy, now);
    if let Some(code) = state.codes.get_mut(value) {
        code.row = Some(row);
    }
    Ok(Issuance { row, login: Some(login) })
}

fn back(redirect_uri: &str, members: &[(&str, &str)], state: Option<&str>) -> Response {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(members);
    if let Some(state) = state {
        query.append_pair("state", state);
    }
    let separator = if redirect_uri.contains('?') { '&' } else { '?' };
    redirect(&format!("{redirect_uri}{separator}{}", query.finish()))
}

fn error_page(code: &str, words: &str) -> Response {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("oauthErrorCode", code).append_pair("oauthErrorMsg", words);
    redirect(&format!("/authenticationendpoint/oauth2_error.do?{}", query.finish()))
}

fn redirect(to: &str) -> Response {
    let mut response = empty(302);
    set(&mut response, LOCATION, to);
    response
}
