//! The routes of the control plane and their handlers.

use serde_json::{Value, json};

use super::requests::requests;
use super::{ControlRequest, Route, openapi, page, refuse};
use crate::expect::Expectation;
use crate::fault::{Action, Fault, FaultError, advice, concerned};
use crate::options::SimulatorOptions;
use crate::response::{Response, empty, json as json_response};
use crate::scenario::Scenario;
use crate::state::State;
use crate::state::stats::{Outcomes, Stats};
use crate::times;

/// The account that is called if the request names none.
const DEMO_ACCOUNT: u64 = 12345;

const WAIT: (&str, &str) = ("wait", "seconds to wait for a request, at most 60");

const fn get(
    path: &'static str,
    summary: &'static str,
    schema: &'static str,
    run: fn(&ControlRequest<'_>) -> Option<Response>,
) -> Route {
    Route {
        method: "GET",
        path,
        summary,
        query: &[],
        takes: None,
        gives: (200, Some(schema)),
        resets: false,
        run,
    }
}

const fn delete(
    path: &'static str,
    summary: &'static str,
    run: fn(&ControlRequest<'_>) -> Option<Response>,
) -> Route {
    Route { method: "DELETE", path, summary, query: &[], takes: None, gives: (204, None), resets: false, run }
}

const fn post(
    path: &'static str,
    summary: &'static str,
    takes: Option<&'static str>,
    gives: &'static str,
    run: fn(&ControlRequest<'_>) -> Option<Response>,
) -> Route {
    Route { method: "POST", path, summary, query: &[], takes, gives: (200, Some(gives)), resets: false, run }
}

/// Every route.
pub(super) const ROUTES: &[Route] = &[
    get("/", "The page that shows requests", "Page", |_| Some(page::page())),
    get("/__sim/", "The page that shows requests", "Page", |_| Some(page::page())),
    get("/__sim/page.js", "The page's script", "Script", |_| Some(page::script())),
    get("/__sim/page.css", "The page's style", "Style", |_| Some(page::style())),
    get("/__sim/openapi.json", "This OpenAPI document", "OpenApi", |_| {
        Some(json_response(200, &openapi::document(ROUTES)))
    }),
    get("/__sim/health", "Whether the simulator is up", "Status", |_| {
        Some(json_response(200, &json!({ "status": "ok" })))
    }),
    get("/__sim/stats", "Counters since the start or the last reset", "Stats", |request| {
        Some(json_response(200, &stats(&request.engine.state().stats)))
    }),
    Route {
        query: &[
            ("since", "only requests after this sequence number"),
            ("path", "only requests whose target starts with this text"),
            ("responses", "true: add the type, length and beginning of each response, without secrets"),
            ("comparable", "true: omit times, and write the simulator's own address as `simulator`"),
            WAIT,
        ],
        ..get("/__sim/requests", "The received requests, oldest first", "Requests", requests)
    },
    get("/__sim/faults", "The active faults on requests, and the changed settings", "Faults", |request| {
        Some(json_response(200, &request.engine.state().in_force()))
    }),
    post("/__sim/faults", "Injects one fault or a list of faults", Some("FaultOrList"), "Injected", inject),
    delete("/__sim/faults", "Removes every fault on requests", |request| {
        request.engine.clear_faults();
        Some(empty(204))
    }),
    delete(
        "/__sim/faults/{id}",
        "Removes one fault on requests, or reverts one changed setting",
        |request| {
            let id = request.id.and_then(|id| id.parse().ok());
            let removed = id.filter(|id| request.engine.remove_fault(*id));
            Some(
                removed.map_or_else(
                    || refuse(404, "no fault and no changed setting has this id"),
                    |_| empty(204),
                ),
            )
        },
    ),
    Route {
        query: &[
            ("fail", "true: respond with 409 if an expectation is not met"),
            ("wait", "seconds to wait until all expectations are met, at most 60"),
        ],
        ..get("/__sim/expect", "The verdict on the expectations", "Verdict", verdict)
    },
    post(
        "/__sim/expect",
        "Declares the requests expected from now on",
        Some("Expectations"),
        "Declared",
        declare,
    ),
    delete("/__sim/expect", "Removes all expectations", |request| {
        request.engine.state().expectations.clear();
        Some(empty(204))
    }),
    get("/__sim/start", "The quota and the clock at the start, which a reset restores", "Start", start),
    get("/__sim/clock", "The simulator's clock", "Clock", |request| Some(clock(request))),
    post("/__sim/clock", "Moves or sets the simulator's clock", Some("ClockChange"), "Clock", |request| {
        Some(set_clock(request).unwrap_or_else(|error| refuse(400, &error)))
    }),
    Route {
        resets: true,
        ..post(
            "/__sim/scenario",
            "Resets everything, then applies a scenario (TOML)",
            Some("Scenario"),
            "Status",
            |request| Some(scenario(request)),
        )
    },
    Route {
        gives: (201, Some("Called")),
        ..post("/__sim/calls", "Starts a call from outside", Some("Call"), "Called", |request| {
            Some(call(request).unwrap_or_else(|error| refuse(400, &error)))
        })
    },
    Route {
        resets: true,
        ..post(
            "/__sim/reset",
            "Resets everything to the start: world, tokens, faults, counters, journal and clock",
            None,
            "Status",
            |request| {
                request.engine.reset(None);
                Some(json_response(200, &json!({ "status": "reset" })))
            },
        )
    },
];

/// Starts a call from outside.
fn call(request: &ControlRequest<'_>) -> Result<Response, String> {
    let given = request.json()?;
    let read = |name: &str, expected: &str| match given.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => number(value).map(Some).ok_or(format!("`{name}`: expected {expected}")),
    };
    let from = read("from", "a phone number, such as \"14155550199\"")?;
    let from = from.unwrap_or_else(|| "14155550199".into());
    let to = read("to", "an extension or a direct number, such as \"1001\"")?;
    let to = to.ok_or("`to` is missing; give an extension or a direct number, such as \"1001\"")?;
    let account = read("account", "an account's number")?;
    let account = account.map_or(Ok(DEMO_ACCOUNT), |account| account.parse());
    let account = account.map_err(|_| "`account`: expected an account's number")?;
    let now = request.engine.options.clock.now();
    let mut state = request.engine.state();
    let State { world, random, .. } = &mut *state;
    if world.account(account).is_none() {
        return Err(format!("there is no account {account}; leave out `account` to use {DEMO_ACCOUNT}"));
    }
    // The number may be formatted, as in +1 (212) 555-0154.
    let digits: String = to.chars().filter(|c| !" ()-.".contains(*c)).collect();
    let call = world.receive(account, &from, &digits, now, random);
    let call = call.ok_or_else(|| {
        format!("no extension of account {account} has the number {to}; `to` takes an extension or a direct number")
    })?;
    Ok(json_response(201, &json!({ "call_id": call })))
}

/// A phone or account number, as a text or as a number.
fn number(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) => number.as_u64().map(|number| number.to_string()),
        _ => None,
    }
}

/// Injects all faults, or none if any is invalid.
fn inject(request: &ControlRequest<'_>) -> Option<Response> {
    let Ok(given) = serde_json::from_slice::<Value>(request.body) else {
        return Some(refuse(400, "expected a JSON object, or a list of JSON objects"));
    };
    let given = listed(given);
    let faults: Result<Vec<Fault>, FaultError> = given.iter().map(Fault::from_json).collect();
    let injected = faults.and_then(|faults| request.engine.inject_all(faults));
    Some(match injected {
        Ok(ids) => {
            let pairs = ids.into_iter().zip(&given);
            let list = pairs.map(|(id, fault)| json!({ "id": id, "fault": fault["fault"] })).collect();
            json_response(200, &Value::Array(list))
        }
        Err(error) => json_response(400, &misspelled(request, &error)),
    })
}

/// The error of an invalid fault, its remedy, and the parameters of the faults that may have been
/// meant.
fn misspelled(request: &ControlRequest<'_>, error: &FaultError) -> Value {
    let advice = advice(error, &request.engine.state().names());
    let said = match error {
        // These errors already contain the remedy.
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

/// Reads one expectation, a list, or `{"expectations": […], "in_order": true}`.
fn declare(request: &ControlRequest<'_>) -> Option<Response> {
    let mut given = match request.json() {
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
            let mut state = request.engine.state();
            let since = state.journal.latest();
            json_response(200, &json!({ "ids": state.expectations.declare(list, in_order, since) }))
        }
    })
}

fn verdict(request: &ControlRequest<'_>) -> Option<Response> {
    let state = request.engine.state();
    let verdict = state.expectations.verdict(&state.journal);
    if !verdict.met && request.may_wait {
        return None;
    }
    let fail = request.query("fail").is_some_and(|fail| fail != "false");
    Some(json_response(if fail && !verdict.met { 409 } else { 200 }, &verdict.json()))
}

/// The quota and the clock at the start. A quota of `null` means no limit, and a clock of `null`
/// the real time.
fn start(request: &ControlRequest<'_>) -> Option<Response> {
    let options = std::sync::Arc::clone(&request.engine.state().options);
    let clock = options.start.map(|start| start.to_string());
    Some(json_response(200, &json!({ "quota": options.quota, "clock": clock })))
}

fn clock(request: &ControlRequest<'_>) -> Response {
    json_response(200, &json!({ "now": request.engine.options.clock.now().to_string() }))
}

/// Reads `{"advance": "30s"}` or `{"set": "2026-03-01T09:00:00Z"}`.
fn set_clock(request: &ControlRequest<'_>) -> Result<Response, String> {
    let given = request.json()?;
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
    request.engine.inject(action.into()).map_err(|error| error.to_string())?;
    Ok(clock(request))
}

/// Resets everything and applies a scenario. An invalid scenario changes nothing, and the response
/// lists all its errors.
fn scenario(request: &ControlRequest<'_>) -> Response {
    let text = String::from_utf8_lossy(request.body);
    let mut options = SimulatorOptions::clone(&request.engine.options);
    match Scenario::parse("scenario", &text).and_then(|scenario| {
        scenario.within(&request.engine.options)?;
        scenario.apply(&mut options)
    }) {
        Ok(()) => {
            request.engine.reset(Some(options));
            json_response(200, &json!({ "status": "reset" }))
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
