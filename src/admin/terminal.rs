//! Interactive logins on the command line: started here, completed by the text that the user
//! pastes.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::logins::{Denial, Initiator, LIFETIME};
use super::operate::json;
use super::{Inner, login, problem};
use crate::credential::{LoginError, LoginSummary};
use crate::oauth::{AuthorizationError, AuthorizationResponse};
use vbc_base::clock::Timestamp;
use vbc_base::secret::Secret;

/// The response of `POST /credentials/{name}/login/answer`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum LoginOutcome {
    /// The tokens are in use.
    LoggedIn {
        /// The user, if the server named one.
        subject: Option<String>,
        /// When the access token expires.
        expires_at: Timestamp,
        /// Whether the tokens are only in memory.
        unsaved: bool,
    },
    /// Another user logged in. Nothing is replaced until the replacement is confirmed.
    OtherUser {
        /// The user of the current tokens.
        expected: String,
        /// The user who logged in, if the server named one.
        found: Option<String>,
        /// The number that confirms the login when it is sent as `confirm`.
        confirm: u64,
    },
}

/// `POST /credentials/{name}/login`: starts a login.
pub(super) async fn begin(State(inner): State<Arc<Inner>>, Path(name): Path<String>) -> Response {
    if inner.find(&name).is_none() {
        return inner.no_such_credential();
    }
    let Some(options) = inner.options.interactive.get(&name) else {
        let names = super::operate::list(inner.options.interactive.keys().map(String::as_str));
        let detail = format!(
            "this credential logs in automatically with its user name and password; credentials with an interactive \
             login: {names}"
        );
        return problem(StatusCode::CONFLICT, "not-for-people", "No interactive login", detail);
    };
    match inner.begin(&name, options, Initiator::CommandLine) {
        Some(started) => json(&serde_json::json!({
            "url": started.url.as_str(),
            "login": started.binding.expose(),
            "expires_in": LIFETIME.as_secs(),
            "redirect_uri": options.redirect_uri,
            "pkce": options.pkce,
        })),
        None => {
            let detail = "the operating system provides no random bytes; try again in a moment";
            problem(StatusCode::SERVICE_UNAVAILABLE, "no-random-bytes", "The login cannot start now", detail)
        }
    }
}

/// The body of [`submit`]. Not `Debug`, because it holds secrets.
#[derive(Deserialize)]
struct LoginSubmission {
    login: String,
    answer: Option<String>,
    confirm: Option<u64>,
}

/// `POST /credentials/{name}/login/answer`: completes a login, or confirms the login of another
/// user.
pub(super) async fn submit(
    State(inner): State<Arc<Inner>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    // A form cannot send this content type, and a script of a foreign page needs a CORS preflight.
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let submission = serde_json::from_slice(&body).ok().filter(|_| is_json);
    let Some(LoginSubmission { login, answer, confirm }) = submission else {
        let detail =
            "send application/json: {\"login\": …, \"answer\": …}, or {\"login\": …, \"confirm\": …}";
        return problem(StatusCode::BAD_REQUEST, "malformed-request", "Malformed request", detail);
    };
    let login = Secret::new(login);
    let now = inner.options.clock.now();
    if let Some(number) = confirm {
        return match inner.logins.confirm_by_command_line(now, &name, &login, number) {
            Ok(key) => outcome(login::confirm(&inner, key, &name, number).await),
            Err(why) => denied(why),
        };
    }
    let AuthorizationResponse { state, outcome: code } =
        AuthorizationResponse::from_pasted(&answer.unwrap_or_default());
    // If there is no code, the wrong text was pasted. The login stays open for another try.
    if code == Err(AuthorizationError::NoCode) {
        let detail = AuthorizationError::NoCode.to_string();
        return problem(StatusCode::BAD_REQUEST, "no-code", "No code", detail);
    }
    let login = match inner.logins.redeem_by_command_line(now, &name, &login, state.as_ref()) {
        Ok(login) => login,
        Err(why) => return denied(why),
    };
    let key = login.key.clone();
    let redeemed = match code {
        Ok(code) => login::redeem(&inner, login, code).await,
        Err(error) => {
            inner.note_refusal(&login, &error);
            let hint = if login::may_be_sso(&error) { format!(". {}", login::NO_SSO) } else { String::new() };
            Err(LoginError::Refused(format!("{error}{hint}")))
        }
    };
    if let Err(LoginError::OtherUser { confirm, .. }) = &redeemed
        && inner.wait(&key, *confirm).is_none()
    {
        return denied(Denial::Unknown);
    }
    outcome(redeemed)
}

fn outcome(outcome: Result<LoginSummary, LoginError>) -> Response {
    let error = match outcome {
        Ok(LoginSummary { subject, expires_at, unsaved }) => {
            return json(&LoginOutcome::LoggedIn { subject, expires_at, unsaved });
        }
        Err(LoginError::OtherUser { expected, found, confirm }) => {
            return json(&LoginOutcome::OtherUser { expected, found, confirm });
        }
        Err(error) => error,
    };
    let (status, kind, title) = match &error {
        LoginError::Unavailable(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "login-unavailable", "The login could not be completed")
        }
        LoginError::NothingToConfirm => (StatusCode::CONFLICT, "nothing-to-confirm", "Nothing to confirm"),
        _ => (StatusCode::BAD_GATEWAY, "login-refused", "The login was not accepted"),
    };
    problem(status, kind, title, error.to_string())
}

fn denied(why: Denial) -> Response {
    // With `other-login` the login stays open, so that the user can paste again.
    let (kind, title) = match why {
        Denial::OtherLogin => ("other-login", "Another login"),
        _ => ("login-not-open", "This login is not open"),
    };
    let detail = match why {
        Denial::Expired => "the login took more than ten minutes; start again",
        Denial::Replaced => "newer logins to this credential replaced this one; start again",
        Denial::Used { .. } => "the login was already used, and works only once; start again",
        Denial::OtherLogin => {
            "the pasted address belongs to another login; paste the final address of the login that you just started, or \
             the code alone"
        }
        Denial::Unknown | Denial::OtherBrowser | Denial::CommandLine => {
            "the login is unknown or too old; start again"
        }
    };
    problem(StatusCode::CONFLICT, kind, title, detail)
}
