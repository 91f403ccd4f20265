//! Every route of the control plane, and what each does.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Asked, openapi, page, refuse};
use crate::simulator::answer::{Answer, empty, json as json_answer};
use crate::simulator::expect::Expectation;
use crate::simulator::fault::{Action, Fault, FaultError, Names, advice, concerned};
use crate::simulator::journal::Recorded;
use crate::simulator::options::SimulatorOptions;
use crate::simulator::scenario::Scenario;
use crate::simulator::span;
use crate::simulator::state::{Outcomes, State, Stats};

/// One operation.
pub(super) struct Route {
    pub(super) method: &'static str,
    /// `{id}` takes one segment.
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    /// Query parameters: name and what it does.
    pub(super) query: &'static [(&'static str, &'static str)],
    /// The schema of the body it takes.
    pub(super) takes: Option<&'static str>,
    /// The status when all is well, and the schema of the body then.
    pub(super) gives: (u16, Option<&'static str>),
    /// `None` is: not yet, ask again when something has happened.
    pub(super) run: fn(&Asked<'_>) -> Option<Answer>,
}

impl Route {
    /// Whether a path is its own, and what `{id}` took.
    pub(super) fn fit<'p>(&self, path: &'p str) -> Option<Option<&'p str>> {
        match self.path.strip_suffix("{id}") {
            None => (self.path == path).then_some(None),
            Some(prefix) => {
                path.strip_prefix(prefix).filter(|id| !id.is_empty() && !id.contains('/')).map(Some)
            }
        }
    }
}

/// Whose phone rings where nobody says.
const DEMO_ACCOUNT: u64 = 12345;

const WAIT: (&str, &str) = ("wait", "how many seconds to wait for it, at most 60");

const fn get(
    path: &'static str,
    summary: &'static str,
    schema: &'static str,
    run: fn(&Asked<'_>) -> Option<Answer>,
) -> Route {
    Route { method: "GET", path, summary, query: &[], takes: None, gives: (200, Some(schema)), run }
}

const fn delete(path: &'static str, summary: &'static str, run: fn(&Asked<'_>) -> Option<Answer>) -> Route {
    Route { method: "DELETE", path, summary, query: &[], takes: None, gives: (204, None), run }
}

const fn post(
    path: &'static str,
    summary: &'static str,
    takes: Option<&'static str>,
    gives: &'static str,
    run: fn(&Asked<'_>) -> Option<Answer>,
) -> Route {
    Route { method: "POST", path, summary, query: &[], takes, gives: (200, Some(gives)), run }
}

/// Every route.
pub(super) const ROUTES: &[Route] = &[
    get("/", "The page to watch requests on", "Page", |_| Some(page::page())),
    get("/__sim/", "The page to watch requests on", "Page", |_| Some(page::page())),
    get("/__sim/page.js", "The page's script", "Script", |_| Some(page::script())),
    get("/__sim/page.css", "The page's style", "Style", |_| Some(page::style())),
    get("/__sim/openapi.json", "This description", "OpenApi", |_| {
        Some(json_answer(200, &openapi::document()))
    }),
    get("/__sim/health", "Whether it is up", "Status", |_| {
        Some(json_answer(200, &json!({ "status": "ok" })))
    }),
    get("/__sim/stats", "Counters since the start or the last reset", "Stats", |asked| {
        Some(json_answer(200, &stats(&asked.core.state().stats)))
    }),
    Route {
        query: &[
            ("since", "only those after this sequence number"),
            ("path", "only those whose target starts so"),
            ("comparable", "true: without times, and our own address written as `simulator`"),
            WAIT,
        ],
        ..get("/__sim/requests", "What arrived, oldest first", "Requests", requests)
    },
    get("/__sim/faults", "The faults on requests that are in force", "Faults", |asked| {
        Some(json_answer(200, &asked.core.state().faults.listed()))
    }),
    post(
        "/__sim/faults",
        "Makes something go wrong: one fault or a list",
        Some("FaultOrList"),
        "Injected",
        inject,
    ),
    delete("/__sim/faults", "Removes every fault on requests", |asked| {
        asked.core.clear_faults();
        Some(empty(204))
    }),
    delete("/__sim/faults/{id}", "Removes one fault on requests", |asked| {
        let id = asked.id.and_then(|id| id.parse().ok());
        let removed = id.filter(|id| asked.core.remove_fault(*id));
        Some(removed.map_or_else(|| refuse(404, "no such fault"), |_| empty(204)))
    }),
    Route {
        query: &[
            ("fail", "true: answer 409 where an expectation is not met"),
            ("wait", "how many seconds to wait until all are met, at most 60"),
        ],
        ..get("/__sim/expect", "The verdict over what is expected", "Verdict", verdict)
    },
    post("/__sim/expect", "Declares what is expected from now on", Some("Expectations"), "Declared", declare),
    delete("/__sim/expect", "Forgets what was expected", |asked| {
        asked.core.state().expectations.clear();
        Some(empty(204))
    }),
    get("/__sim/clock", "The simulator's clock", "Clock", |asked| Some(clock(asked))),
    post("/__sim/clock", "Moves or sets the simulator's clock", Some("ClockChange"), "Clock", |asked| {
        Some(set_clock(asked).unwrap_or_else(|error| refuse(400, &error)))
    }),
    post("/__sim/scenario", "Starts again with a scenario (TOML)", Some("Scenario"), "Status", |asked| {
        Some(scenario(asked))
    }),
    Route {
        gives: (201, Some("Called")),
        ..post("/__sim/calls", "Somebody calls from outside", Some("Call"), "Called", |asked| {
            Some(call(asked).unwrap_or_else(|error| refuse(400, &error)))
        })
    },
    post("/__sim/reset", "Back to the seeded start", None, "Status", |asked| {
        asked.core.reset(None);
        Some(json_answer(200, &json!({ "status": "reset" })))
    }),
];

/// Lets a phone ring.
fn call(asked: &Asked<'_>) -> Result<Answer, String> {
    let given = asked.json()?;
    let from = given["from"].as_str().unwrap_or("14155550199");
    let account = given["account"].as_u64().unwrap_or(DEMO_ACCOUNT);
    let now = asked.core.options.clock.now();
    let mut state = asked.core.state();
    let State { world, random, .. } = &mut *state;
    let call = given["to"].as_str().and_then(|to| world.receive(account, from, to, now, random));
    let call = call.ok_or("expected `to`, an extension of `account`")?;
    Ok(json_answer(201, &json!({ "call_id": call })))
}

/// All or, where one cannot be read, none.
fn inject(asked: &Asked<'_>) -> Option<Answer> {
    let Ok(given) = serde_json::from_slice::<Value>(asked.body) else {
        return Some(refuse(400, "expected a JSON object or a list of them"));
    };
    let given = listed(given);
    let faults: Result<Vec<Fault>, FaultError> = given.iter().map(Fault::from_json).collect();
    let names = given.iter().map(|fault| fault["fault"].clone());
    let injected = faults.and_then(|faults| {
        let pairs = faults.into_iter().zip(names);
        pairs.map(|(fault, name)| Ok(json!({ "id": asked.core.inject(fault)?, "fault": name }))).collect()
    });
    Some(match injected {
        Ok(list) => json_answer(200, &Value::Array(list)),
        Err(error) => json_answer(400, &misspelled(asked, &error)),
    })
}

/// What is wrong with a fault, what to do about it, and what the fault takes that was meant.
fn misspelled(asked: &Asked<'_>, error: &FaultError) -> Value {
    let advice = advice(error, &Names::of(&asked.core.state()));
    let said = match error {
        // They say it themselves.
        FaultError::NotAFault | FaultError::BadParameter { .. } => error.to_string(),
        FaultError::UnknownParameter { .. } if !advice.ends_with('?') => error.to_string(),
        _ => format!("{error}; {advice}"),
    };
    let known: serde_json::Map<String, Value> =
        concerned(error).iter().map(|known| (known.name.to_owned(), known.takes.join(", ").into())).collect();
    if known.is_empty() { json!({ "error": said }) } else { json!({ "error": said, "known": known }) }
}

fn listed(given: Value) -> Vec<Value> {
    match given {
        Value::Array(list) => list,
        one => vec![one],
    }
}

/// One expectation, a list, or `{"expectations": […], "in_order": true}`.
fn declare(asked: &Asked<'_>) -> Option<Answer> {
    let mut given = match asked.json() {
        Ok(given) => given,
        Err(error) => return Some(refuse(400, &error)),
    };
    let in_order = given["in_order"].as_bool().unwrap_or(false);
    if let Some(list) = given.get_mut("expectations") {
        given = list.take();
    }
    let read: Result<Vec<Expectation>, String> = listed(given).iter().map(Expectation::from_json).collect();
    Some(match read {
        Err(error) => refuse(400, &error),
        Ok(list) => {
            let mut state = asked.core.state();
            let since = state.journal.latest();
            json_answer(200, &json!({ "ids": state.expectations.declare(list, in_order, since) }))
        }
    })
}

fn verdict(asked: &Asked<'_>) -> Option<Answer> {
    let state = asked.core.state();
    let verdict = state.expectations.verdict(&state.journal);
    if !verdict.met && asked.may_wait {
        return None;
    }
    let fail = asked.query("fail").is_some_and(|fail| fail != "false");
    Some(json_answer(if fail && !verdict.met { 409 } else { 200 }, &verdict.json()))
}

fn clock(asked: &Asked<'_>) -> Answer {
    json_answer(200, &json!({ "now": asked.core.options.clock.now().to_string() }))
}

/// `{"advance": "30s"}` or `{"set": "2026-03-01T09:00:00Z"}`.
fn set_clock(asked: &Asked<'_>) -> Result<Answer, String> {
    let given = asked.json()?;
    let advance = given.get("advance").and_then(span::read).and_then(|by| SignedDuration::try_from(by).ok());
    let set = given.get("set").and_then(Value::as_str).and_then(|time| time.parse().ok());
    let action = match (advance, set) {
        (Some(by), None) => Action::ClockAdvance(by),
        (None, Some(time)) => Action::ClockSet(time),
        _ => {
            let words = "expected {\"advance\": \"30s\"} or {\"set\": \"2026-03-01T09:00:00Z\"}";
            return Err(words.to_owned());
        }
    };
    asked.core.inject(action.into()).map_err(|error| error.to_string())?;
    Ok(clock(asked))
}

/// All findings or, where there is none, a new start.
fn scenario(asked: &Asked<'_>) -> Answer {
    let text = String::from_utf8_lossy(asked.body);
    let mut options = SimulatorOptions::clone(&asked.core.options);
    match Scenario::parse("scenario", &text).and_then(|scenario| scenario.apply(&mut options)) {
        Ok(()) => {
            asked.core.reset(Some(options));
            json_answer(200, &json!({ "status": "reset" }))
        }
        Err(error) => refuse(400, &error.to_string()),
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

fn requests(asked: &Asked<'_>) -> Option<Answer> {
    let since = match asked.query("since").map(|since| since.parse::<u64>()) {
        Some(Err(_)) => return Some(refuse(400, "since must be a sequence number")),
        since => since.and_then(Result::ok).unwrap_or(0),
    };
    let path = asked.query("path").unwrap_or_default();
    let state = asked.core.state();
    // Numbers begin again with a reset.
    let since = if since > state.journal.latest() { 0 } else { since };
    let wanted =
        state.journal.entries().filter(|entry| entry.sequence > since && entry.target.starts_with(&path));
    let mut found: Vec<Value> = wanted.map(show).collect();
    if asked.query("comparable").is_some_and(|comparable| comparable != "false") {
        let own = own_names(&asked.core.options);
        found.iter_mut().for_each(|request| make_comparable(request, &own));
    }
    (!found.is_empty() || !asked.may_wait).then(|| json_answer(200, &Value::Array(found)))
}

/// What clients on this machine call us: the longest names first, as one may begin with another.
fn own_names(options: &SimulatorOptions) -> Vec<String> {
    let SimulatorOptions { address, public_base, .. } = options;
    let base = public_base.split_once("://").map_or(public_base.as_str(), |(_, base)| base);
    let hosts = ["127.0.0.1", "[::1]", "localhost"].map(|host| format!("{host}:{}", address.port()));
    let mut names: Vec<String> = hosts.into_iter().chain([address.to_string(), base.to_owned()]).collect();
    names.retain(|name| !name.is_empty());
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    names.dedup();
    names
}

/// A text with another in place of a name, but not of one that only begins or ends so.
fn renamed(text: &str, name: &str, with: &str) -> String {
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for (at, _) in text.match_indices(name) {
        let end = at + name.len();
        let part = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
        let begins = text[..at].ends_with(part);
        out.push_str(&text[from..at]);
        out.push_str(if begins || text[end..].starts_with(|c: char| c.is_ascii_alphanumeric()) {
            name
        } else {
            with
        });
        from = end;
    }
    out + &text[from..]
}

/// Leaves out what is not the same in a second run.
fn make_comparable(request: &mut Value, own: &[String]) {
    match request {
        Value::Object(members) => {
            members.remove("time");
            members.values_mut().for_each(|value| make_comparable(value, own));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| make_comparable(item, own)),
        Value::String(text) => own.iter().for_each(|name| *text = renamed(text, name, "simulator")),
        _ => {}
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_names_are_replaced_and_longer_ones_are_left() {
        let options = SimulatorOptions {
            address: "0.0.0.0:8090".parse().unwrap(),
            public_base: "https://api.test".into(),
            ..SimulatorOptions::default()
        };
        let own = own_names(&options);
        for (text, expected) in [
            ("http://127.0.0.1:8090/a", "http://simulator/a"),
            ("[::1]:8090 0.0.0.0:8090 localhost:8090", "simulator simulator simulator"),
            ("https://api.test/t", "https://simulator/t"),
            ("127.0.0.1:80901 xlocalhost:8090 my.api.test", "127.0.0.1:80901 xlocalhost:8090 my.api.test"),
        ] {
            let mut shown = json!({"time": 1, "head": [text]});
            make_comparable(&mut shown, &own);
            assert_eq!(shown, json!({"head": [expected]}));
        }
    }
}
