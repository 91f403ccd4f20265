//! Interactive logins on the command line: started here, finished by what the user pastes.

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
        /// When the access token ends.
        expires_at: Timestamp,
        /// Whether they are only in memory.
        unsaved: bool,
    },
    /// Another user logged in; nothing is replaced until that is confirmed.
    OtherUser {
        /// The user of the current tokens.
        expected: String,
        /// The user who logged in, if the server named one.
        found: Option<String>,
        /// The number that confirms the login, as `confirm`.
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
            "this credential logs in by itself, with its user name and password; a person logs in to: {names}"
        );
        return problem(StatusCode::CONFLICT, "not-for-people", "Nobody logs in to this credential", detail);
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
            let detail = "the operating system gives no random bytes; try again in a moment";
            problem(StatusCode::SERVICE_UNAVAILABLE, "no-random-bytes", "No login can begin now", detail)
        }
    }
}

/// The body of [`submit`]. It has secrets, so it is not `Debug`.
#[derive(Deserialize)]
struct LoginSubmission {
    login: String,
    answer: Option<String>,
    confirm: Option<u64>,
}

/// `POST /credentials/{name}/login/answer`: finishes a login, or confirms another user's.
pub(super) async fn submit(
    State(inner): State<Arc<Inner>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    // A form cannot have this type, so that a foreign page cannot send one without a CORS
    // preflight.
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
    // Without a code, something else was pasted: the login stays open for a second try.
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
        Denial::OtherLogin => ("other-login", "The answer to another login"),
        _ => ("login-not-open", "This login is not open"),
    };
    let detail = match why {
        Denial::Expired => "it took more than ten minutes; begin again",
        Denial::Replaced => "several other logins to this credential were begun after it; begin again",
        Denial::Used { .. } => "it was answered already, and works only once; begin again",
        Denial::OtherLogin => {
            "this is the answer to another login: paste the one that the printed address leads to, or the code alone"
        }
        Denial::Unknown | Denial::OtherBrowser | Denial::CommandLine => {
            "it is not known, or not any more; begin again"
        }
    };
    problem(StatusCode::CONFLICT, kind, title, detail)
}
