//! The admin routes: liveness, readiness, metrics and status; operations on credentials; and
//! interactive logins.

mod browser;
mod foreign;
mod login;
mod logins;
mod metrics;
mod operate;
mod page;
mod routes;
mod status;
mod terminal;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{HeaderValue, Request, Response, StatusCode, header};
use url::Url;
use vbc_http::host_guard::HostGuard;

use crate::credential::Credential;
use crate::metrics::Metrics;
use crate::oauth::AuthorizeOptions;
use logins::Logins;
use vbc_base::clock::{Clock, Timestamp};
use vbc_http::codec::kept::read_all;
use vbc_http::problem::Problem;
use vbc_http::{Abort, BodyError, Handler, Incoming, RequestRejection};

pub use login::{credential_path, encode};
pub use logins::{LIFETIME as LOGIN_LIFETIME, LastLogin};
pub use operate::{Examiner, NoReport, Refreshed, Unlocked, list};
pub use status::{CredentialStatus, RecordingStatus, Status};
pub use terminal::LoginOutcome;

/// The admin routes. Clones share their state.
#[derive(Clone)]
pub struct Admin {
    inner: Arc<Inner>,
    router: Router,
}

/// The parts of an [`Admin`].
pub struct AdminOptions {
    /// All credentials.
    pub credentials: Vec<Credential>,
    /// The settings of authorization requests, by the name of the credential. Only credentials with
    /// an interactive login have them.
    pub interactive: BTreeMap<String, AuthorizeOptions>,
    /// The metrics of the proxy.
    pub metrics: Arc<Metrics>,
    /// The clock.
    pub clock: Clock,
    /// The addresses for clients, as the status shows them.
    pub listen: String,
    /// The URL of the upstream.
    pub upstream: String,
    /// The address of the admin listener; `None` on a unix socket.
    pub address: Option<SocketAddr>,
    /// Accepted host names, in addition to loopback names and the hosts of the redirect URIs.
    pub hosts: BTreeSet<String>,
    /// Examines credentials.
    pub examiner: Examiner,
}

struct Inner {
    options: AdminOptions,
    started: Timestamp,
    /// `None` on a unix socket.
    guard: Option<HostGuard>,
    logins: Logins,
    draining: AtomicBool,
}

impl Admin {
    /// Creates the routes.
    pub fn new(options: AdminOptions) -> Self {
        let mut hosts = options.hosts.clone();
        let redirects = options.interactive.values();
        let redirects = redirects.filter_map(|options| Url::parse(&options.redirect_uri).ok());
        hosts.extend(redirects.filter_map(|url| url.host_str().map(str::to_owned)));
        let inner = Arc::new(Inner {
            started: options.clock.now(),
            guard: options.address.map(|address| HostGuard::new(hosts, [address.ip()])),
            options,
            logins: Logins::default(),
            draining: AtomicBool::new(false),
        });
        let router = routes::router(Arc::clone(&inner));
        Self { inner, router }
    }

    /// Makes `/ready` report that the proxy is draining. This cannot be undone.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
    }

    /// Handles a request, from a connection or from this process.
    pub async fn respond(&self, request: Request<Body>) -> Response<Body> {
        let mut response = match foreign::admit(self.inner.guard.as_ref(), &request) {
            Ok(()) => {
                let mut router = self.router.clone();
                let response = tower_service::Service::call(&mut router, request).await;
                response.unwrap_or_else(|never| match never {})
            }
            Err(refusal) => foreign::response(refusal),
        };
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

impl Handler for Admin {
    type Body = Body;

    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Body>, Abort> {
        let (head, body) = request.into_parts();
        // The body is read here, because axum would keep a list of all pieces, even of tiny ones.
        match read_all(body, routes::BODY_BYTES).await {
            Ok(Some(body)) => Ok(self.respond(Request::from_parts(head, body.into())).await),
            Ok(None) => Ok(problem(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "Body too large",
                "the admin listener accepts request bodies of at most 64 KiB",
            )),
            Err(BodyError::Rejected(rejection)) => Ok(self.reject(rejection)),
            Err(_) => Err(Abort),
        }
    }

    fn reject(&self, rejection: RequestRejection) -> Response<Body> {
        let (status, kind, title) = match rejection {
            RequestRejection::HeadTimeout | RequestRejection::BodyTimeout => {
                (StatusCode::REQUEST_TIMEOUT, "request-timeout", "Request not received in time")
            }
            RequestRejection::TooManyConnections => {
                let detail = "the admin listener has reached its connection limit; close some connections";
                let wait = Duration::from_secs(1);
                return retry_later("too-many-connections", "Too many connections", detail, wait);
            }
            _ => (StatusCode::BAD_REQUEST, "malformed-request", "Malformed request"),
        };
        problem(status, kind, title, rejection.to_string())
    }
}

/// A 503 with `Retry-After`.
fn retry_later(
    kind: &'static str,
    title: &'static str,
    detail: impl Into<String>,
    wait: Duration,
) -> Response<Body> {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let detail = detail.into();
    let problem = Problem { status, kind, title, detail, error: None, retry_after: Some(wait) };
    problem.response("admin").map(Body::new)
}

fn problem(
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: impl Into<String>,
) -> Response<Body> {
    let problem = Problem { status, kind, title, detail: detail.into(), error: None, retry_after: None };
    problem.response("admin").map(Body::new)
}
