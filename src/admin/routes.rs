//! What is where.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};

use super::readiness::readiness;
use super::status::{CredentialStatus, Status};
use super::{Inner, problem};

pub(super) fn router(inner: Arc<Inner>) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/status.json", get(status))
        .fallback(async || problem(StatusCode::NOT_FOUND, "no-such-page", "No such page"))
        .with_state(inner)
}

/// The process answers; nothing more is claimed.
async fn live() -> Response {
    no_store("text/plain; charset=utf-8", "live\n".into())
}

async fn ready(State(inner): State<Arc<Inner>>) -> Response {
    let readiness = readiness(&inner.credentials, inner.draining.load(Ordering::Relaxed));
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(readiness)).into_response()
}

async fn metrics(State(inner): State<Arc<Inner>>) -> Response {
    no_store("application/openmetrics-text; version=1.0.0; charset=utf-8", super::metrics::render(&inner))
}

async fn status(State(inner): State<Arc<Inner>>) -> Response {
    let readiness = readiness(&inner.credentials, inner.draining.load(Ordering::Relaxed));
    let status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ready: readiness.ready,
        reasons: readiness.reasons,
        started: inner.started,
        listen: format!("http://{}", inner.listen),
        upstream: inner.upstream.clone(),
        connections: inner.metrics.connections.get(),
        credentials: inner.credentials.iter().map(CredentialStatus::from).collect(),
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(status)).into_response()
}

fn no_store(content_type: &'static str, body: String) -> Response {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")], body).into_response()
}
