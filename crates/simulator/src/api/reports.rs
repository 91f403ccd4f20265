//! Reports: the call logs.

use std::collections::HashSet;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::hal::{Names, Problem, is, not_found, page, paging, unauthorized, validation};
use super::{ApiRequest, Route, Suite, without_role};
use crate::field::FieldReport;
use crate::response::{Response, empty, json as json_response};
use crate::state::State;
use crate::tokens::Owner;
use crate::world::calls::{Call, Direction};
use crate::world::{Account, Extension};
use vbc_base::clock::{Timestamp, until};

pub(super) static SUITE: Suite = Suite {
    context: "reports",
    version: "v1",
    routes: &[Route { method: "GET", pattern: "accounts/{}/call-logs", run: call_logs }],
    refusal,
    refuse: problem_with_token,
};

const NAMES: Names = Names { embedded: "call_logs", pages: &["total_page", "total_pages"], first: 0 };
/// The format of times, which are always in UTC.
const TIME: &str = "%Y-%m-%d %H:%M:%S";

/// The response that users have observed: to users without the role, and to tokens that are too old
/// for Reports.
pub(crate) fn problem_with_token() -> Response {
    json_response(401, &json!({ "title": "Problem with provided token" }))
}

/// The response to a user without the role. A token without the scope `openid` gets a 401 without a
/// body.
fn refusal(state: &State, owner: &Owner) -> Option<Response> {
    if !owner.scopes.split(' ').any(|scope| scope == "openid") {
        return Some(empty(401));
    }
    let refused = without_role(state, owner, &SUITE)?;
    Some(if state.options.field.has(FieldReport::ReportsToken) { refused } else { unauthorized() })
}

fn call_logs(mut request: ApiRequest<'_>) -> Response {
    let mut wrong = Vec::new();
    let mut moment = |name: &'static str, required: bool| match time(request.query(name), name, required) {
        Ok(moment) => moment,
        Err(reason) => {
            wrong.push(reason);
            None
        }
    };
    let [start_from, start_to] = ["start:gte", "start:lte"].map(|name| moment(name, true));
    let [end_from, end_to] = ["end:gte", "end:lte"].map(|name| moment(name, false));
    let paging = paging(&request, &NAMES).map_err(|reasons| wrong.extend(reasons)).ok();
    // The parameter `order` is not in the specification; only a use case in the documentation has
    // it.
    let descending = request.query("order").is_some_and(|order| order.to_ascii_lowercase().ends_with("desc"));
    let direction = request.query("direction");
    if direction.as_deref().is_some_and(|word| !["Inbound", "Outbound"].contains(&word)) {
        wrong.push(("direction", "must be one of [Inbound, Outbound]".into()));
    }
    let Some(paging) = paging.filter(|_| wrong.is_empty()) else { return validation(&request, wrong) };
    let filters = ["from", "to", "source_user", "destination_user"].map(|name| request.query(name));
    let now = request.now;
    if request.parameter(0) == "self" && request.reported(FieldReport::ReportsSelf) {
        return not_found("Account not found");
    }
    let Some(account) = request.own_account() else { return not_found("Account not found") };
    let recorded: HashSet<&str> =
        account.recordings.iter().map(|recording| recording.call_id.as_str()).collect();
    let within = |at, from: Option<Timestamp>, to: Option<Timestamp>| {
        from.is_none_or(|from| at >= from) && to.is_none_or(|to| at <= to)
    };
    let logs = account.calls.iter().filter_map(|call| {
        let end = call.end.filter(|_| call.reported.is_some_and(|at| at <= now))?;
        let fits = within(call.start, start_from, start_to) && within(end, end_from, end_to);
        let log = fits.then(|| show(account, call, end, recorded.contains(call.id.as_str())))?;
        let given = [&log["from"], &log["to"], &log["source_user"], &log["destination_user"]];
        let fits = filters.iter().zip(given).all(|(filter, value)| is(filter.as_deref(), value.as_str()))
            && is(direction.as_deref(), log["direction"].as_str());
        fits.then_some(log)
    });
    let mut logs: Vec<Value> = logs.collect();
    if descending {
        logs.reverse();
    }
    page(&request, &NAMES, paging, &logs)
}

fn time(given: Option<String>, name: &'static str, required: bool) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = given.filter(|text| !text.is_empty()) else {
        return if required { Err((name, "is required".into())) } else { Ok(None) };
    };
    match DateTime::strptime(TIME, &text) {
        // The last hours of the year 9999 are beyond the range of timestamps, and count as its end.
        Ok(time) => Ok(Some(TimeZone::UTC.to_timestamp(time).unwrap_or(Timestamp::MAX))),
        Err(_) => Err((name, "must match the format YYYY-MM-DD HH:mm:ss".into())),
    }
}

fn show(account: &Account, call: &Call, end: Timestamp, recorded: bool) -> Value {
    let of = |number: &str| account.extensions.iter().find(|extension| extension.number == number);
    let [source, destination] = [true, false].map(|caller| of(call.party(caller)));
    let result = match call.answered {
        _ if call.voicemail => "Voicemail",
        Some(_) => "Answered",
        None => "Missed",
    };
    let mut log = json!({
        "id": call.id, "in_network": source.is_some() && destination.is_some(), "international": false,
        "from": call.from, "to": call.to,
        "direction": if call.direction == Direction::Inbound { "Inbound" } else { "Outbound" },
        "length": call.answered.map_or(0, |answered| until(answered, end).as_secs()),
        "start": call.start.strftime(TIME).to_string(), "end": end.strftime(TIME).to_string(),
        "charge": 0, "rate": 0, "recorded": recorded, "result": result,
    });
    let tag = destination.filter(|called| call.direction == Direction::Inbound && !called.dids.is_empty());
    if let Some(called) = tag {
        log["custom_tag"] = called.label.as_str().into();
    }
    for (side, extension) in [("source", source), ("destination", destination)] {
        // Nothing is known about a party outside the account.
        if let Some(extension) = extension {
            tell_of(&mut log, side, account, extension);
        }
    }
    log
}

fn tell_of(log: &mut Value, side: &str, account: &Account, extension: &Extension) {
    let mut set = |name: &str, value: Value| log[format!("{side}_{name}")] = value;
    set("device_name", extension.label.as_str().into());
    set("sip_id", extension.sip_id.as_str().into());
    if let Ok(number) = extension.number.parse::<u64>() {
        set("extension", number.into());
    }
    if let Some(user) = extension.user.and_then(|user| account.users.get(user)) {
        set("user_full_name", format!("{} {}", user.first_name, user.last_name).into());
        set("user", user.login_name.as_str().into());
    }
}
