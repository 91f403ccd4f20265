//! `/authorize`: a login page, or none with `sim_user`; then a code. And the code's redemption.

use http::Method;
use http::header::LOCATION;

use super::answer::{Answer, empty, set, text};
use super::identity::{check_login, login_name, scopes};
use super::jwt;
use super::request::{Arrived, Form};
use super::rows::Row;
use super::state::{Code, State, same};
use super::tokens::Owner;
use crate::clock::{Timestamp, after};

pub(super) fn answer(state: &mut State, arrived: &Arrived, now: Timestamp) -> Answer {
    if arrived.head.method != Method::GET && arrived.head.method != Method::POST {
        return empty(405);
    }
    let query = Form::parse(arrived.query().as_bytes());
    // What cannot be trusted with a redirect gets the server's own error page.
    let redirect_uri = match query.value("client_id").map(|id| (id, state.world.apps.get(id))) {
        None => return error_page("invalid_request", "Missing client_id"),
        Some((id, None)) => {
            let words = format!("A valid OAuth client could not be found for client_id: {id}");
            return error_page("invalid_client", &words);
        }
        Some((_, Some(app))) => match query.value("redirect_uri") {
            Some(uri) if uri == app.callback => uri,
            _ => {
                return error_page(
                    "invalid_callback",
                    "Registered callback does not match with the provided url.",
                );
            }
        },
    };
    let refuse = |error: &str, words: &str| {
        back(redirect_uri, &[("error", error), ("error_description", words)], query.value("state"))
    };
    if query.value("response_type") != Some("code") {
        return refuse("invalid_request", "Invalid response_type parameter value");
    }
    let Ok(scopes) = scopes(query.value("scope")) else { return refuse("invalid_scope", "Invalid Scope!") };
    let user = match (query.value("sim_user"), &arrived.form) {
        (Some(user), _) if state.world.logins.contains_key(&user.to_lowercase()) => login_name(state, user),
        (Some(_), _) => return refuse("access_denied", "User denied the consent"),
        (None, Some(form)) => {
            let (user, password) = (form.value("username"), form.value("password"));
            match check_login(state, user.unwrap_or_default(), password.unwrap_or_default(), now) {
                Ok(user) => user,
                Err(_) => return page("<p>Login failed. Check the user name and password.</p>"),
            }
        }
        (None, None) => return page(""),
    };
    let challenge = query
        .value("code_challenge")
        .map(|challenge| (challenge.to_owned(), query.value("code_challenge_method") == Some("S256")));
    let code = uuid::Uuid::new_v4().to_string();
    let issued = Code {
        client: query.value("client_id").unwrap_or_default().to_owned(),
        user: user.to_string(),
        redirect_uri: redirect_uri.to_owned(),
        scopes: scopes.to_string(),
        challenge,
        expires: after(now, state.policy.lifetimes.code),
        row: None,
    };
    state.codes.insert(code.clone(), issued);
    back(redirect_uri, &[("code", &code)], query.value("state"))
}

/// Redeems a code, once. A second time revokes what the first one got.
pub(super) fn redeem(state: &mut State, form: &Form, client: &str, now: Timestamp) -> Result<usize, Row> {
    let value = form.value("code").unwrap_or_default();
    let code = state.codes.get_mut(value).filter(|code| code.client == client).ok_or(Row::CodeInvalid)?;
    if let Some(row) = code.row {
        state.tokens.revoke_row(row);
        return Err(Row::CodeInactive);
    }
    if code.expires <= now {
        return Err(Row::CodeExpired);
    }
    if form.value("redirect_uri") != Some(code.redirect_uri.as_str()) {
        return Err(Row::CallbackMismatch);
    }
    if let Some((challenge, hashed)) = &code.challenge {
        let verifier = form.value("code_verifier").unwrap_or_default();
        let verifier = if *hashed { jwt::challenge(verifier) } else { verifier.to_owned() };
        if !same(challenge, &verifier) {
            return Err(Row::VerifierMismatch);
        }
    }
    let owner = Owner {
        client: client.into(),
        user: Some(code.user.as_str().into()),
        scopes: code.scopes.as_str().into(),
    };
    let policy = state.policy_for(client);
    let row = state.tokens.issue(owner, true, policy, now);
    if let Some(code) = state.codes.get_mut(value) {
        code.row = Some(row);
    }
    Ok(row)
}

fn back(redirect_uri: &str, members: &[(&str, &str)], state: Option<&str>) -> Answer {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(members);
    if let Some(state) = state {
        query.append_pair("state", state);
    }
    let separator = if redirect_uri.contains('?') { '&' } else { '?' };
    redirect(&format!("{redirect_uri}{separator}{}", query.finish()))
}

fn error_page(code: &str, words: &str) -> Answer {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("oauthErrorCode", code).append_pair("oauthErrorMsg", words);
    redirect(&format!("/authenticationendpoint/oauth2_error.do?{}", query.finish()))
}

fn redirect(to: &str) -> Answer {
    let mut answer = empty(302);
    set(&mut answer, LOCATION, to);
    answer
}

fn page(message: &str) -> Answer {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sign in</title><h1>Sign in</h1>{message}\
         <form method=\"post\"><label>User name <input name=\"username\" autocomplete=\"username\"></label> \
         <label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\"></label> \
         <button>Sign in</button></form></html>"
    );
    text(200, "text/html; charset=utf-8", html)
}
