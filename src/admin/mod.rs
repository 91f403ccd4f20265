//! The admin listener: is it alive, is it ready, what does it count, how is it.

mod metrics;
mod readiness;
mod routes;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::clock::{Clock, Timestamp};
use crate::credential::Credential;
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::server::{Abort, Handler, Refusal};

pub use status::{CredentialStatus, Status};

/// What the admin listener shows.
#[derive(Clone)]
pub struct Admin {
    inner: Arc<Inner>,
    router: Router,
}

struct Inner {
    credentials: Vec<Credential>,
    metrics: Arc<Metrics>,
    started: Timestamp,
    listen: SocketAddr,
    upstream: String,
    draining: AtomicBool,
}

impl Admin {
    /// The view on these credentials and metrics of a proxy that listens on `listen`.
    pub fn new(
        credentials: Vec<Credential>,
        metrics: Arc<Metrics>,
        clock: &Clock,
        listen: SocketAddr,
        upstream: String,
    ) -> Self {
        let started = clock.now();
        let draining = AtomicBool::new(false);
        let inner = Arc::new(Inner { credentials, metrics, started, listen, upstream, draining });
        let router = routes::router(Arc::clone(&inner));
        Self { inner, router }
    }

    /// From now on it is not ready.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
    }
}

impl Handler for Admin {
    type Body = Body;

    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Body>, Abort> {
        let mut router = self.router.clone();
        let response = tower_service::Service::call(&mut router, request.map(Body::new)).await;
        Ok(response.unwrap_or_else(|never| match never {}))
    }

    fn refuse(&self, refusal: Refusal) -> Response<Body> {
        let status = match refusal {
            Refusal::HeadTimeout | Refusal::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_REQUEST,
        };
        problem(status, "malformed-request", "Malformed request")
    }
}

fn problem(status: StatusCode, kind: &'static str, title: &'static str) -> Response<Body> {
    let detail = "this listener has /live, /ready, /metrics and /status.json".to_owned();
    let problem = Problem { status, kind, title, detail, error: None, retry_after: None };
    problem.response("admin").map(Body::new)
}
