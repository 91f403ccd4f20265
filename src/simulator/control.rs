//! The control plane: `/__sim/*` on a port of its own.

use http::request::Parts;
use serde_json::{Value, json};

use super::answer::{Answer, empty, json as json_answer};
use super::fault::{Fault, FaultError, KNOWN};
use super::journal::Recorded;
use super::serve::Core;
use super::state::{Outcomes, Stats};

/// Answers one request to the control plane.
pub(super) fn answer(core: &Core, head: &Parts, body: &[u8]) -> Answer {
    let path = head.uri.path();
    let query = head.uri.query().unwrap_or_default();
    match (head.method.as_str(), path) {
        ("GET", "/__sim/health") => json_answer(200, &json!({ "status": "ok" })),
        ("GET", "/__sim/stats") => json_answer(200, &stats(&core.state().stats)),
        ("GET", "/__sim/requests") => requests(core, query),
        ("POST", "/__sim/reset") => {
            core.reset();
            json_answer(200, &json!({ "status": "reset" }))
        }
        ("GET", "/__sim/faults") => json_answer(200, &core.state().faults.listed()),
        ("POST", "/__sim/faults") => inject(core, body),
        ("DELETE", "/__sim/faults") => {
            core.clear_faults();
            empty(204)
        }
        ("DELETE", _) => {
            let id = path.strip_prefix("/__sim/faults/").and_then(|id| id.parse().ok());
            match id.filter(|id| core.remove_fault(*id)) {
                Some(_) => empty(204),
                None => json_answer(404, &json!({ "error": "no such fault" })),
            }
        }
        (_, "/__sim/health" | "/__sim/stats" | "/__sim/requests" | "/__sim/reset" | "/__sim/faults") => {
            json_answer(405, &json!({ "error": "method not allowed" }))
        }
        _ => json_answer(
            404,
            &json!({
                "error": "not found",
                "known": ["/__sim/health", "/__sim/stats", "/__sim/requests", "/__sim/reset", "/__sim/faults"],
            }),
        ),
    }
}

impl Core {
    /// Injects a fault and returns its id.
    pub(super) fn inject(&self, fault: Fault) -> Result<u64, FaultError> {
        let clock = &self.options.clock;
        let id = self.state().inject(fault, clock, clock.now())?;
        // The clock may have moved.
        drop(self.state());
        Ok(id)
    }

    pub(super) fn remove_fault(&self, id: u64) -> bool {
        let removed = self.state.lock().faults.remove(id);
        self.released.notify_waiters();
        removed
    }

    pub(super) fn clear_faults(&self) {
        self.state.lock().faults.clear();
        self.released.notify_waiters();
    }

    pub(super) fn reset(&self) {
        self.state.lock().reset(&self.options);
        self.released.notify_waiters();
    }
}

/// All or, where one cannot be read, none.
fn inject(core: &Core, body: &[u8]) -> Answer {
    let Ok(given) = serde_json::from_slice::<Value>(body) else {
        return json_answer(400, &json!({ "error": "expected a JSON object or a list of them" }));
    };
    let given = match given {
        Value::Array(list) => list,
        one => vec![one],
    };
    let faults: Result<Vec<Fault>, FaultError> = given.iter().map(Fault::from_json).collect();
    let names = given.iter().map(|fault| fault["fault"].clone());
    let injected = faults.and_then(|faults| {
        let pairs = faults.into_iter().zip(names);
        pairs.map(|(fault, name)| Ok(json!({ "id": core.inject(fault)?, "fault": name }))).collect()
    });
    match injected {
        Ok(list) => json_answer(200, &Value::Array(list)),
        Err(error) => {
            let known: serde_json::Map<String, Value> =
                KNOWN.iter().map(|known| (known.name.to_owned(), known.takes.join(", ").into())).collect();
            json_answer(400, &json!({ "error": error.to_string(), "known": known }))
        }
    }
}

fn stats(stats: &Stats) -> Value {
    let outcomes = |of: Outcomes| json!({ "ok": of.ok, "failed": of.failed });
    let by_status: serde_json::Map<String, Value> =
        stats.by_status.iter().map(|(status, count)| (status.to_string(), (*count).into())).collect();
    json!({
        "logins": outcomes(stats.logins),
        "refreshes": outcomes(stats.refreshes),
        "codes": outcomes(stats.codes),
        "revokes": stats.revokes,
        "token_requests": stats.token_requests,
        "token_concurrency_max": stats.token_concurrency_max,
        "token_concurrency_max_by_identity": stats.token_concurrency_max_by_identity,
        "refresh_reuse": stats.refresh_reuse,
        "lock_events": stats.lock_events,
        "logins_while_locked": stats.logins_while_locked,
        "calls_placed": stats.calls_placed,
        "api_requests": stats.api_requests,
        "by_status": by_status,
        "requests_by_token": stats.requests_by_token,
    })
}

fn requests(core: &Core, query: &str) -> Answer {
    let parameter = |name: &str| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find(|(given, _)| given == name).map(|(_, value)| value.into_owned())
    };
    let since = match parameter("since").map(|since| since.parse::<u64>()) {
        Some(Err(_)) => return json_answer(400, &json!({ "error": "since must be a sequence number" })),
        since => since.and_then(Result::ok).unwrap_or(0),
    };
    let path = parameter("path").unwrap_or_default();
    let state = core.state();
    let wanted =
        state.journal.entries().filter(|entry| entry.sequence > since && entry.target.starts_with(&path));
    json_answer(200, &wanted.map(show).collect())
}

fn show(entry: &Recorded) -> Value {
    json!({
        "sequence": entry.sequence,
        "time": entry.time.to_string(),
        "connection": entry.connection,
        "method": entry.method.as_str(),
        "target": entry.target,
        "head": entry.head,
        "headers": entry.headers,
        "body_length": entry.body_length,
        "body_sha256": entry.body_sha256,
        "grant": entry.grant,
        "token": entry.token,
        "status": entry.status,
    })
}
