//! The table of routes.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{StatusCode, header};

use super::status::{CredentialStatus, RecordingStatus, Status, readiness};
use super::{Inner, browser, operate, problem, terminal};
use crate::credential::Credential;

/// The size limit of a request body, in bytes. Every form or JSON that these routes expect is
/// smaller.
pub(super) const BODY_BYTES: usize = 64 * 1024;

const PAGES: &str = "GET /live, /ready, /metrics, /status.json, /login/CREDENTIAL; POST /credentials/NAME/refresh, \
                     /credentials/NAME/unlock, /credentials/NAME/doctor";

pub(super) fn router(inner: Arc<Inner>) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/status.json", get(status))
        .route("/login", get(browser::choose))
        .route("/login/", get(browser::choose))
        .route("/login/{credential}", get(browser::login))
        .route("/login/{credential}/confirm", post(browser::confirm))
        .route("/callback", get(browser::callback))
        .route("/credentials/{name}/refresh", post(operate::refresh))
        .route("/credentials/{name}/unlock", post(operate::unlock))
        .route("/credentials/{name}/doctor", post(operate::examine))
        .route("/credentials/{name}/login", post(terminal::begin))
        .route("/credentials/{name}/login/answer", post(terminal::submit))
        .fallback(async || problem(StatusCode::NOT_FOUND, "no-such-page", "No such page", PAGES))
        .method_not_allowed_fallback(async || {
            problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", PAGES)
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(inner)
}

/// Reports that the process responds. This implies neither a token nor a reachable upstream.
async fn live() -> Response {
    no_store("text/plain; charset=utf-8", "live\n".into())
}

async fn ready(State(inner): State<Arc<Inner>>, RawQuery(query): RawQuery) -> Response {
    let Some(credentials) = selected(&inner, query) else { return inner.no_such_credential() };
    let readiness = readiness(&inner, credentials);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(readiness)).into_response()
}

async fn metrics(State(inner): State<Arc<Inner>>) -> Response {
    no_store("application/openmetrics-text; version=1.0.0; charset=utf-8", super::metrics::render(&inner))
}

async fn status(State(inner): State<Arc<Inner>>, RawQuery(query): RawQuery) -> Response {
    let Some(credentials) = selected(&inner, query) else { return inner.no_such_credential() };
    let readiness = readiness(&inner, credentials);
    let status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ready: readiness.ready,
        reasons: readiness.reasons,
        degraded: readiness.degraded,
        started: inner.started,
        listen: inner.options.listen.clone(),
        upstream: inner.options.upstream.clone(),
        connections: inner.options.metrics.connections.get(),
        faults_injected: inner.options.metrics.faults_injected.get(),
        recording: inner.options.metrics.recording.get().map(|counts| RecordingStatus::of(counts)),
        credentials: credentials.iter().map(|credential| CredentialStatus::of(credential, &inner)).collect(),
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(status)).into_response()
}

/// The credentials that a query selects: all, or the one named by `?credential=NAME`. `None` if
/// there is no such credential.
fn selected(inner: &Inner, query: Option<String>) -> Option<&[Credential]> {
    let query = query.unwrap_or_default();
    let wanted = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "credential");
    match wanted {
        None => Some(&inner.options.credentials),
        Some((_, name)) => inner.find(&name).map(std::slice::from_ref),
    }
}

fn no_store(content_type: &'static str, body: String) -> Response {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")], body).into_response()
}
