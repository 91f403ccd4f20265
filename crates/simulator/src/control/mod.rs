//! The control plane: `/__sim/*` on its own port. To add a route, add a line to `routes.rs`.

mod openapi;
mod page;
mod requests;
mod routes;
mod schemas;

use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL};
use http::request::Parts;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use vbc_http::host_guard::{Foreign, HostGuard, check_page};

use routes::ROUTES;

use crate::engine::Engine;
use crate::response::{Response, json as json_response, set};

/// The longest time that a request may wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request to the control plane.
struct ControlRequest<'a> {
    engine: &'a Engine,
    /// The segment that `{id}` matched.
    id: Option<&'a str>,
    query: &'a str,
    body: &'a [u8],
    /// Whether the response may be delayed until something happens.
    may_wait: bool,
}

impl ControlRequest<'_> {
    /// A query parameter, decoded.
    fn query(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(given, _)| given == name).map(|(_, value)| value.into_owned())
    }

    fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(self.body).map_err(|_| "the body is not valid JSON".to_owned())
    }
}

/// One operation.
struct Route {
    method: &'static str,
    /// `{id}` matches one segment.
    path: &'static str,
    summary: &'static str,
    /// Query parameters, each with its description.
    query: &'static [(&'static str, &'static str)],
    /// The schema of the request body.
    takes: Option<&'static str>,
    /// The status of a successful response, and the schema of its body.
    gives: (u16, Option<&'static str>),
    /// Whether a successful response means that the simulator was reset.
    resets: bool,
    /// Creates the response. `None` means: run it again after the next change.
    run: fn(&ControlRequest<'_>) -> Option<Response>,
}

impl Route {
    /// Whether a path matches, and the segment that `{id}` matched.
    fn fit<'p>(&self, path: &'p str) -> Option<Option<&'p str>> {
        match self.path.strip_suffix("{id}") {
            None => (self.path == path).then_some(None),
            Some(prefix) => {
                path.strip_prefix(prefix).filter(|id| !id.is_empty() && !id.contains('/')).map(Some)
            }
        }
    }
}

/// Responds to a request to the control plane.
pub(crate) async fn respond(engine: &Arc<Engine>, head: &Parts, body: &[u8]) -> Response {
    let mut response = match admit(head, &engine.host_guard) {
        Err(Foreign::Host) => {
            refuse(421, "unknown Host name; use an IP address, or start the simulator with --host NAME")
        }
        Err(Foreign::Page) => refuse(
            403,
            "rejected: a page of another site requested this change; make it from a program or the command line",
        ),
        Ok(()) => route(engine, head, body).await,
    };
    set(&mut response, CACHE_CONTROL, "no-store");
    response
}

fn admit(head: &Parts, guard: &HostGuard) -> Result<(), Foreign> {
    guard.check_host(&head.uri, &head.headers)?;
    check_page(&head.method, &head.headers)
}

async fn route(engine: &Arc<Engine>, head: &Parts, body: &[u8]) -> Response {
    let method = head.method.as_str();
    let path = head.uri.path();
    let fitting: Vec<_> = ROUTES.iter().filter_map(|route| Some((route, route.fit(path)?))).collect();
    if fitting.is_empty() {
        let known: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
        return json_response(404, &json!({ "error": "not found", "known": known }));
    }
    let method = if method == "HEAD" { "GET" } else { method };
    let Some((route, id)) = fitting.iter().find(|(route, _)| route.method == method) else {
        let mut response = refuse(405, "method not allowed");
        let allowed: Vec<&str> = fitting.iter().map(|(route, _)| route.method).collect();
        set(&mut response, ALLOW, &allowed.join(", "));
        return response;
    };
    let query = head.uri.query().unwrap_or_default();
    let request = ControlRequest { engine, id: *id, query, body, may_wait: true };
    let after_reset = if route.resets { engine.before_reset().await } else { None };
    let response = patiently(route, request).await;
    if let Some(after_reset) = after_reset
        && response.status().is_success()
    {
        // A task, so that it runs to its end even if the client leaves.
        let _ = tokio::spawn(after_reset()).await;
    }
    response
}

/// Runs the route, again after every change, until it responds or the request has waited long
/// enough.
async fn patiently(route: &Route, mut request: ControlRequest<'_>) -> Response {
    let wait = request
        .query("wait")
        .map(|wait| wait.parse::<f64>().ok().and_then(|s| Duration::try_from_secs_f64(s).ok()));
    let wait = match wait {
        Some(None) => return refuse(400, "wait must be a number of seconds"),
        wait => wait.flatten().unwrap_or_default().min(PATIENCE),
    };
    let until = Instant::now() + wait;
    loop {
        let mut changed = std::pin::pin!(request.engine.changed.notified());
        changed.as_mut().enable();
        request.may_wait = Instant::now() < until;
        if let Some(response) = (route.run)(&request) {
            return response;
        }
        let _ = timeout_at(until, changed).await;
    }
}

/// An error response.
fn refuse(status: u16, error: &str) -> Response {
    json_response(status, &json!({ "error": error }))
}
