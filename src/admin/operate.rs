//! Operations on a credential: refreshing it, releasing its login brake, examining it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};

use super::{Inner, problem, retry_later};
use crate::credential::{Credential, Unavailable};
use vbc_base::clock::Timestamp;

/// The response of `POST /credentials/{name}/refresh`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refreshed {
    /// The name of the credential.
    pub credential: String,
    /// The revision of its new token set.
    pub revision: u64,
    /// When the new access token expires.
    pub expires_at: Option<Timestamp>,
}

/// The response of `POST /credentials/{name}/unlock`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Unlocked {
    /// The name of the credential.
    pub credential: String,
    /// Whether its login brake was on.
    pub was_on: bool,
    /// The error of the token store, if there was one. The brake is then released in this process
    /// only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_trouble: Option<String>,
}

pub(super) async fn refresh(State(inner): State<Arc<Inner>>, Path(name): Path<String>) -> Response {
    let Some(credential) = inner.find(&name) else { return inner.no_such_credential() };
    match credential.refresh().await {
        Ok(()) => {
            tracing::info!(credential = name, "credential refreshed on request");
            let snapshot = credential.snapshot();
            json(&Refreshed {
                credential: name,
                revision: snapshot.revision,
                expires_at: snapshot.expires_at,
            })
        }
        Err(error) => unavailable(error),
    }
}

pub(super) async fn unlock(State(inner): State<Arc<Inner>>, Path(name): Path<String>) -> Response {
    let Some(credential) = inner.find(&name) else { return inner.no_such_credential() };
    match credential.unlock().await {
        Ok(was_on) => {
            let store_trouble = credential.snapshot().store_trouble;
            json(&Unlocked { credential: name, was_on, store_trouble })
        }
        Err(error) => unavailable(error),
    }
}

/// Examines the credential of this name with these suites; an empty list stands for all suites.
/// Returns a report in JSON.
pub type Examiner =
    Arc<dyn Fn(String, Vec<String>) -> BoxFuture<'static, Result<Bytes, NoReport>> + Send + Sync>;

/// Why there is no report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoReport {
    /// There is no credential of this name.
    NoSuchCredential,
    /// The request is wrong. The text states the reason.
    Question(String),
}

/// Accepts `?suite=…`, any number of times. A POST, because the examination may log in.
pub(super) async fn examine(
    State(inner): State<Arc<Inner>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let suites = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "suite")
        .map(|(_, suite)| suite.into_owned());
    match (inner.options.examiner)(name, suites.collect()).await {
        Ok(report) => {
            let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
            (headers, report).into_response()
        }
        Err(NoReport::NoSuchCredential) => inner.no_such_credential(),
        Err(NoReport::Question(detail)) => {
            problem(StatusCode::BAD_REQUEST, "bad-question", "Bad question", detail)
        }
    }
}

impl Inner {
    /// The credential of this name.
    pub(super) fn find(&self, name: &str) -> Option<&Credential> {
        self.options.credentials.iter().find(|credential| credential.name() == name)
    }

    /// The response for an unknown name.
    pub(super) fn no_such_credential(&self) -> Response {
        let known = list(self.options.credentials.iter().map(Credential::name));
        let detail = format!("there is no credential of this name; the credentials are: {known}");
        problem(StatusCode::NOT_FOUND, "no-such-credential", "No such credential", detail)
    }
}

/// The names as part of a sentence: all, the first of many, or `none`.
pub fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 20;
    let names: Vec<_> = names.collect();
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "none".to_owned(),
        count if count > SHOWN => format!("{shown} and {} more", count - SHOWN),
        _ => shown,
    }
}

fn unavailable(error: Unavailable) -> Response {
    // Without a known time, clients retry soon, but not in a busy loop.
    let wait = error.retry_after.unwrap_or(Duration::from_secs(60));
    retry_later("no-usable-token", "No usable token", error.detail, wait)
}

pub(super) fn json(body: &impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_many_names_says_how_many_more_there_are() {
        let names: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
        assert_eq!(list(names.iter().take(2).map(String::as_str)), "0, 1");
        assert!(list(names.iter().map(String::as_str)).ends_with(", 19 and 980 more"));
        assert_eq!(list(std::iter::empty()), "none");
    }
}
