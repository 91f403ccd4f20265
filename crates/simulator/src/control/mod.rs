//! The control plane: `/__sim/*` on a port of its own. To add a route: a line in `routes.rs`.

mod arrived;
mod openapi;
mod page;
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

use crate::engine::Core;
use crate::response::{Answer, json as json_answer, set};

/// The longest that a request may wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request to the control plane.
struct Asked<'a> {
    core: &'a Core,
    /// What the path's `{id}` took.
    id: Option<&'a str>,
    query: &'a str,
    body: &'a [u8],
    /// It may be told later.
    may_wait: bool,
}

impl Asked<'_> {
    /// A query parameter, decoded.
    fn query(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(given, _)| given == name).map(|(_, value)| value.into_owned())
    }

    fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(self.body).map_err(|_| "expected JSON".to_owned())
    }
}

/// One operation.
struct Route {
    method: &'static str,
    /// `{id}` takes one segment.
    path: &'static str,
    summary: &'static str,
    /// Query parameters: name and what it does.
    query: &'static [(&'static str, &'static str)],
    /// The schema of the body it takes.
    takes: Option<&'static str>,
    /// The status when all is well, and the schema of the body then.
    gives: (u16, Option<&'static str>),
    /// `None` is: not yet, ask again when something has happened.
    run: fn(&Asked<'_>) -> Option<Answer>,
}

impl Route {
    /// Whether a path is its own, and what `{id}` took.
    fn fit<'p>(&self, path: &'p str) -> Option<Option<&'p str>> {
        match self.path.strip_suffix("{id}") {
            None => (self.path == path).then_some(None),
            Some(prefix) => {
                path.strip_prefix(prefix).filter(|id| !id.is_empty() && !id.contains('/')).map(Some)
            }
        }
    }
}

/// Answers one request to the control plane.
pub(crate) async fn answer(core: &Arc<Core>, head: &Parts, body: &[u8]) -> Answer {
    let mut answer = match admit(head, &core.options.hosts) {
        Err(Foreign::Host) => refuse(
            421,
            "the control plane does not go by this Host name; use an address, or start it with --host NAME",
        ),
        Err(Foreign::Page) => refuse(403, "a page of another site asked for a change"),
        Ok(()) => route(core, head, body).await,
    };
    set(&mut answer, CACHE_CONTROL, "no-store");
    answer
}

fn admit(head: &Parts, hosts: &[String]) -> Result<(), Foreign> {
    HostGuard::lenient(hosts.iter().cloned()).check_host(&head.uri, &head.headers)?;
    check_page(&head.method, &head.headers)
}

async fn route(core: &Arc<Core>, head: &Parts, body: &[u8]) -> Answer {
    let (method, path) = (head.method.as_str(), head.uri.path());
    let fitting: Vec<_> = ROUTES.iter().filter_map(|route| Some((route, route.fit(path)?))).collect();
    if fitting.is_empty() {
        let known: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
        return json_answer(404, &json!({ "error": "not found", "known": known }));
    }
    let method = if method == "HEAD" { "GET" } else { method };
    let Some((route, id)) = fitting.iter().find(|(route, _)| route.method == method) else {
        let mut answer = refuse(405, "method not allowed");
        let allowed: Vec<&str> = fitting.iter().map(|(route, _)| route.method).collect();
        set(&mut answer, ALLOW, &allowed.join(", "));
        return answer;
    };
    let query = head.uri.query().unwrap_or_default();
    let asked = Asked { core, id: *id, query, body, may_wait: true };
    patiently(route, asked).await
}

/// Asks again whenever something has happened, as long as the request is willing to wait.
async fn patiently(route: &Route, mut asked: Asked<'_>) -> Answer {
    let wait = asked
        .query("wait")
        .map(|wait| wait.parse::<f64>().ok().and_then(|s| Duration::try_from_secs_f64(s).ok()));
    let wait = match wait {
        Some(None) => return refuse(400, "wait must be a number of seconds"),
        wait => wait.flatten().unwrap_or_default().min(PATIENCE),
    };
    let until = Instant::now() + wait;
    loop {
        let mut changed = std::pin::pin!(asked.core.changed.notified());
        changed.as_mut().enable();
        asked.may_wait = Instant::now() < until;
        if let Some(answer) = (route.run)(&asked) {
            return answer;
        }
        let _ = timeout_at(until, changed).await;
    }
}

/// An error.
fn refuse(status: u16, error: &str) -> Answer {
    json_answer(status, &json!({ "error": error }))
}
