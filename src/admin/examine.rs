//! `POST /credentials/{name}/doctor`: an examination by the injected [`Examiner`].

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{StatusCode, header};

use super::{Inner, problem};

/// Examines the credential of this name with these suites, or with all if there are none. Returns a
/// report in JSON.
pub type Examiner =
    Arc<dyn Fn(String, Vec<String>) -> BoxFuture<'static, Result<Bytes, NoReport>> + Send + Sync>;

/// Why there is no report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoReport {
    /// There is no credential of this name.
    NoSuchCredential,
    /// The request is wrong; the text says why.
    Question(String),
}

/// Takes `?suite=…`, any number of times. A POST, because it may log in.
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
