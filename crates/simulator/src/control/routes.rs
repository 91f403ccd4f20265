//! Every route of the control plane, and what each does.

use serde_json::{Value, json};

use super::arrived::requests;
use super::{Asked, Route, openapi, page, refuse};
use crate::expect::Expectation;
use crate::fault::{Action, Fault, FaultError, advice, concerned};
use crate::options::SimulatorOptions;
use crate::response::{Answer, empty, json as json_answer};
use crate::scenario::Scenario;
use crate::state::State;
use crate::state::stats::{Outcomes, Stats};
use crate::times;

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
        Some(json_answer(200, &openapi::document(ROUTES)))
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
            ("responses", "true: with type, length and beginning of each response, without secrets"),
            ("comparable", "true: without times, and our own address written as `simulator`"),
            WAIT,
        ],
        ..get("/__sim/requests", "What arrived, oldest first", "Requests", requests)
    },
    get("/__sim/faults", "What is in force: faults on requests, and changed settings", "Faults", |asked| {
        Some(json_answer(200, &asked.core.state().in_force()))
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
    delete("/__sim/faults/{id}", "Removes one fault on requests, or takes one change back", |asked| {
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
    get("/__sim/start", "The quota and the clock of the start, which a reset brings back", "Start", start),
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
    let read = |name: &str, expected: &str| match given.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => number(value).map(Some).ok_or(format!("`{name}`: expected {expected}")),
    };
    let from = read("from", "a phone number, such as \"14155550199\"")?;
    let from = from.unwrap_or_else(|| "14155550199".into());
    let to = read("to", "an extension or a direct number, such as \"1001\"")?;
    let to = to.ok_or("`to` is missing: name an extension or a direct number, such as \"1001\"")?;
    let account = read("account", "an account's number")?;
    let account = account.map_or(Ok(DEMO_ACCOUNT), |account| account.parse());
    let account = account.map_err(|_| "`account`: expected an account's number")?;
    let now = asked.core.options.clock.now();
    let mut state = asked.core.state();
    let State { world, random, .. } = &mut *state;
    if world.account(account).is_none() {
        return Err(format!("there is no account {account}"));
    }
    // As people write it: +1 (212) 555-0154.
    let digits: String = to.chars().filter(|c| !" ()-.".contains(*c)).collect();
    let call = world.receive(account, &from, &digits, now, random);
    let call = call.ok_or_else(|| {
        format!("no extension of account {account} has the number {to}; `to` takes an extension or a direct number")
    })?;
    Ok(json_answer(201, &json!({ "call_id": call })))
}

/// A number for a phone or an account, as a text or as a number.
fn number(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) => number.as_u64().map(|number| number.to_string()),
        _ => None,
    }
}

/// All or, where one cannot be injected, none.
fn inject(asked: &Asked<'_>) -> Option<Answer> {
    let Ok(given) = serde_json::from_slice::<Value>(asked.body) else {
        return Some(refuse(400, "expected a JSON object or a list of them"));
    };
    let given = listed(given);
    let faults: Result<Vec<Fault>, FaultError> = given.iter().map(Fault::from_json).collect();
    let injected = faults.and_then(|faults| asked.core.inject_all(faults));
    Some(match injected {
        Ok(ids) => {
            let pairs = ids.into_iter().zip(&given);
            let list = pairs.map(|(id, fault)| json!({ "id": id, "fault": fault["fault"] })).collect();
            json_answer(200, &Value::Array(list))
        }
        Err(error) => json_answer(400, &misspelled(asked, &error)),
    })
}

/// What is wrong with a fault, what to do about it, and what the fault takes that was meant.
fn misspelled(asked: &Asked<'_>, error: &FaultError) -> Value {
    let advice = advice(error, &asked.core.state().names());
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

/// `null` is no limit, and the real time.
fn start(asked: &Asked<'_>) -> Option<Answer> {
    let options = std::sync::Arc::clone(&asked.core.state().options);
    let clock = options.start.map(|start| start.to_string());
    Some(json_answer(200, &json!({ "quota": options.quota, "clock": clock })))
}

fn clock(asked: &Asked<'_>) -> Answer {
    json_answer(200, &json!({ "now": asked.core.options.clock.now().to_string() }))
}

/// `{"advance": "30s"}` or `{"set": "2026-03-01T09:00:00Z"}`.
fn set_clock(asked: &Asked<'_>) -> Result<Answer, String> {
    let given = asked.json()?;
    let words =
        "expected {\"advance\": \"30s\"} (negative to go back) or {\"set\": \"2026-03-01T09:00:00Z\"}";
    let action = match (given.get("advance"), given.get("set")) {
        (Some(by), None | Some(Value::Null)) => times::read_signed(by).map(Action::ClockAdvance),
        (None | Some(Value::Null), Some(time)) => {
            time.as_str().and_then(|time| time.parse().ok()).map(Action::ClockSet)
        }
        _ => None,
    };
    let action = action.ok_or(words)?;
    asked.core.inject(action.into()).map_err(|error| error.to_string())?;
    Ok(clock(asked))
}

/// All findings or, where there is none, a new start.
fn scenario(asked: &Asked<'_>) -> Answer {
    let text = String::from_utf8_lossy(asked.body);
    let mut options = SimulatorOptions::clone(&asked.core.options);
    match Scenario::parse("scenario", &text).and_then(|scenario| {
        scenario.within(&asked.core.options)?;
        scenario.apply(&mut options)
    }) {
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
