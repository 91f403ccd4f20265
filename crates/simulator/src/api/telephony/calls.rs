//! Calls as a whole.

use std::ops::Range;
use std::time::Duration;

use serde_json::Value;

use super::shown::{changed, show};
use super::{
    ApiRequest, CALLED, CALLER, Contact, PARTY, ascending, call_of, error, labelled, listed, media, moment,
    not_permitted, page, read_json,
};
use crate::field::FieldReport;
use crate::response::{Response, json as json_response, text};
use crate::state::State;
use crate::world::calls::Call;
use vbc_base::clock::until;

/// How long an unanswered call stays in the list of active calls after its end, so that clients can
/// read its status.
const LINGERS: Duration = Duration::from_secs(60);
const KINDS: &[&str] = &["click2dial", "click2dialme", "odr", "default"];

/// The active calls. With `start_time` or `end_time`, all calls that started in that time, ended or
/// not.
pub(super) fn list(mut request: ApiRequest<'_>) -> Response {
    let extension = request.query("extension").filter(|extension| !extension.is_empty());
    let [from, to] = ["start_time", "end_time"].map(|name| request.query(name).and_then(|at| moment(&at)));
    let ascending = ascending(&request);
    let query = request.query;
    let now = request.now;
    let by_legs = request.reported(FieldReport::LegsOverPages);
    let Some(account) = request.own_account() else { return not_permitted() };
    let id = account.id;
    let current =
        |call: &Call| call.end.is_none_or(|end| call.answered.is_none() && until(end, now) < LINGERS);
    let fits = |call: &&Call| {
        extension.as_ref().is_none_or(|extension| call.touches(extension))
            && from.is_none_or(|from| call.start >= from)
            && to.is_none_or(|to| call.start <= to)
            && (from.is_some() || to.is_some() || current(call))
    };
    let mut found: Vec<&Call> = account.calls.iter().filter(fits).collect();
    if !ascending {
        found.reverse();
    }
    let rows =
        if by_legs { rows_of_legs(&found) } else { found.iter().map(|call| (*call, whole(call))).collect() };
    let page = page(query, rows.len());
    let shown = joined(page.of(&rows)).into_iter().map(|(call, legs)| show(id, call, legs)).collect();
    listed(&request, "calls", &page, shown)
}

/// A call, and the range of its legs that the page shows.
type Row<'a> = (&'a Call, Range<usize>);

fn whole(call: &Call) -> Range<usize> {
    0..call.legs.len()
}

/// One row for each leg.
fn rows_of_legs<'a>(calls: &[&'a Call]) -> Vec<Row<'a>> {
    calls.iter().flat_map(|&call| whole(call).map(move |leg| (call, leg..leg + 1))).collect()
}

/// Joins consecutive rows of the same call.
fn joined<'a>(rows: &[Row<'a>]) -> Vec<Row<'a>> {
    let mut joined: Vec<Row<'a>> = Vec::new();
    for (call, legs) in rows {
        match joined.last_mut().filter(|(last, _)| last.id == call.id) {
            Some((_, shown)) => shown.end = legs.end,
            None => joined.push((call, legs.clone())),
        }
    }
    joined
}

pub(super) fn place(mut request: ApiRequest<'_>) -> Response {
    let now = request.now;
    let body = read_json(request.body);
    let Some(account) = request.own_account() else { return not_permitted() };
    let Some(body) = body else { return error(400, "Request body is not a valid JSON object") };
    if !body["type"].as_str().is_some_and(|kind| KINDS.contains(&kind)) {
        return error(400, &format!("type must be one of {}", KINDS.join(", ")));
    }
    let (Some(from), Some(to)) = (Contact::read(&body["from"], CALLER), Contact::read(&body["to"], CALLED))
    else {
        return error(400, "from.destination and to.destination are required");
    };
    let (from, to) = match (from.reach(account, "from", CALLER), to.reach(account, "to", CALLED)) {
        (Ok(from), Ok(to)) => (from, to),
        (Err(wrong), _) | (_, Err(wrong)) => return error(400, &wrong),
    };
    let id = account.id;
    let State { world, random, stats, .. } = request.state;
    let Some(position) = world.dial(id, from, to, now, random) else { return not_permitted() };
    stats.calls_placed += 1;
    let call = world.account(id).and_then(|account| Some(account.calls.get(position)?.id.clone()));
    let call = call.unwrap_or_default();
    // The response is plain text unless the client rejects plain text.
    match media(request.headers, "text/plain") {
        Some(0) => json_response(200, &call),
        _ => text(200, "text/plain", call),
    }
}

pub(super) fn one(mut request: ApiRequest<'_>) -> Response {
    let position = match call_of(&mut request) {
        Ok(position) => position,
        Err(refusal) => return *refusal,
    };
    let Some(account) = request.own_account() else { return not_permitted() };
    let id = account.id;
    let call = account.calls.get(position);
    let shown = call.map(|call| show(id, call, whole(call))).unwrap_or_default();
    labelled(&request, &shown)
}

/// Changes a call. The state `active` answers or unparks it, and `parked` parks it. Without a
/// state, the call is transferred from one party to another.
pub(super) fn change(mut request: ApiRequest<'_>) -> Response {
    let Some(body) = read_json(request.body) else {
        return error(400, "Request body is not a valid JSON object");
    };
    let position = match call_of(&mut request) {
        Ok(position) => position,
        Err(refusal) => return *refusal,
    };
    let Some(account) = request.own_account() else { return not_permitted() };
    let [from, to] = ["from", "to"]
        .map(|name| Contact::read(&body[name], PARTY).map(|contact| contact.reach(account, name, PARTY)));
    let (from, to) = match (from.transpose(), to.transpose()) {
        (Ok(from), Ok(to)) => (from, to),
        (Err(wrong), _) | (_, Err(wrong)) => return error(400, &wrong),
    };
    let id = account.id;
    super::change(request, position, |call, random, now| {
        if call.end.is_some() {
            return error(404, "Call not found");
        }
        match (&body["state"], from, to) {
            (Value::String(state), _, _) if state == "active" => {
                if !call.answer(now) {
                    call.parked = false;
                }
            }
            (Value::String(state), _, _) if state == "parked" => call.parked = call.answered.is_some(),
            (Value::Null, Some(from), Some(to)) => {
                let Some(leg) = call.legs.iter().rposition(|leg| leg.end.is_none() && leg.party == from)
                else {
                    return error(400, "from is not on this call");
                };
                call.transfer(leg, to.clone(), random, now);
                let mut shown = changed(id, call);
                shown["destination"] = to.into();
                return json_response(200, &shown);
            }
            (Value::Null, ..) => return error(400, "state, or from and to, are required"),
            _ => return error(400, "state must be active or parked"),
        }
        json_response(200, &changed(id, call))
    })
}

pub(super) fn end(mut request: ApiRequest<'_>) -> Response {
    let position = match call_of(&mut request) {
        Ok(position) => position,
        Err(refusal) => return *refusal,
    };
    let id = request.account;
    super::change(request, position, |call, _, now| {
        if call.end.is_some() {
            return error(404, "Call not found");
        }
        call.finish(now);
        json_response(200, &changed(id, call))
    })
}
