//! The login of a person through the command line: begun here, answered by what the person pastes.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::logins::{Beginner, Denied, LIFETIME};
use super::operate::json;
use super::{Inner, login, problem};
use crate::clock::Timestamp;
use crate::credential::{LoginError, LoginSummary};
use crate::oauth::{AuthorizationError, AuthorizationResponse};
use crate::secret::Secret;

/// The answer of `POST /credentials/{name}/login/answer`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum LoginOutcome {
    /// The tokens are in use.
    LoggedIn {
        /// Whose they are, where the server says so.
        subject: Option<String>,
        /// When the access token ends.
        expires_at: Timestamp,
        /// Whether they are only in memory.
        unsaved: bool,
    },
    /// It is another user's login; nothing is replaced until it is confirmed.
    OtherUser {
        /// Whose tokens the credential has.
        expected: String,
        /// Who logged in, where the server says so.
        found: Option<String>,
        /// To be sent back as `confirm`.
        confirm: u64,
    },
}

impl From<LoginSummary> for LoginOutcome {
    fn from(done: LoginSummary) -> Self {
        let LoginSummary { subject, expires_at, unsaved } = done;
        Self::LoggedIn { subject, expires_at, unsaved }
    }
}

/// `POST /credentials/{name}/login`: begins a login.
pub(super) async fn begin(State(inner): State<Arc<Inner>>, Path(name): Path<String>) -> Response {
    if inner.find(&name).is_none() {
        return inner.no_such_credential();
    }
    let Some(options) = inner.interactive.get(&name) else {
        let names = super::operate::list(inner.interactive.keys().map(String::as_str));
        let detail = format!(
            "this credential logs in by itself, with its user name and password; a person logs in to: {names}"
        );
        return problem(StatusCode::CONFLICT, "not-for-people", "Nobody logs in to this credential", detail);
    };
    match inner.begin(&name, options, Beginner::CommandLine) {
        Some(begun) => json(&serde_json::json!({
            "url": begun.url.as_str(),
            "login": begun.binding.expose(),
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

/// What the command line sends: no `Debug`, it has secrets.
#[derive(Deserialize)]
struct Given {
    login: String,
    answer: Option<String>,
    confirm: Option<u64>,
}

/// `POST /credentials/{name}/login/answer`: brings the answer to a login, or confirms another user's.
pub(super) async fn answer(
    State(inner): State<Arc<Inner>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    // A form cannot be of this type: no page sends one without asking first.
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let given = serde_json::from_slice::<Given>(&body).ok().filter(|_| is_json);
    let Some(Given { login, answer, confirm }) = given else {
        let detail =
            "send application/json: {\"login\": …, \"answer\": …}, or {\"login\": …, \"confirm\": …}";
        return problem(StatusCode::BAD_REQUEST, "malformed-request", "Malformed request", detail);
    };
    let (login, now) = (Secret::new(login), inner.clock.now());
    if let Some(number) = confirm {
        return match inner.logins.confirm_by_command_line(now, &name, &login, number) {
            Ok(key) => outcome(login::confirm(&inner, key, &name, number).await),
            Err(why) => denied(why),
        };
    }
    let AuthorizationResponse { state, outcome: brought } =
        AuthorizationResponse::from_pasted(&answer.unwrap_or_default());
    // What has no code in it was pasted wrong: the login stays open for a second try.
    if brought == Err(AuthorizationError::NoCode) {
        let detail = AuthorizationError::NoCode.to_string();
        return problem(StatusCode::BAD_REQUEST, "no-code", "No code", detail);
    }
    let taken = match inner.logins.take_by_command_line(now, &name, &login, state.as_ref()) {
        Ok(taken) => taken,
        Err(why) => return denied(why),
    };
    let key = taken.key.clone();
    let redeemed = match brought {
        Ok(code) => login::redeem(&inner, taken, code).await,
        Err(error) => {
            inner.note_refusal(&taken, &error);
            let hint = if login::may_be_sso(&error) { format!(". {}", login::NO_SSO) } else { String::new() };
            Err(LoginError::Refused(format!("{error}{hint}")))
        }
    };
    if let Err(LoginError::OtherUser { confirm, .. }) = &redeemed
        && inner.wait(&key, *confirm).is_none()
    {
        return denied(Denied::Unknown);
    }
    outcome(redeemed)
}

fn outcome(outcome: Result<LoginSummary, LoginError>) -> Response {
    let error = match outcome {
        Ok(done) => return json(&LoginOutcome::from(done)),
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

fn denied(why: Denied) -> Response {
    // The login is still open: whoever pasted the wrong answer can paste the right one.
    let (kind, title) = match why {
        Denied::OtherLogin => ("other-login", "The answer to another login"),
        _ => ("login-not-open", "This login is not open"),
    };
    let detail = match why {
        Denied::Expired => "it took more than ten minutes; begin again",
        Denied::Replaced => "several other logins to this credential were begun after it; begin again",
        Denied::Used { .. } => "it was answered already, and works only once; begin again",
        Denied::OtherLogin => {
            "this is the answer to another login: paste the one that the printed address leads to, or the code alone"
        }
        Denied::Unknown | Denied::OtherBrowser | Denied::CommandLine => {
            "it is not known, or not any more; begin again"
        }
    };
    problem(StatusCode::CONFLICT, kind, title, detail)
}
