//! Telephony: calls, their legs, and devices. Placing a call is the side effect that must never happen twice.

use serde_json::{Value, json};

use super::{Call as Request, Page, Route, Suite, read_json, without_role};
use crate::clock::Timestamp;
use crate::simulator::answer::{Answer, empty, json as json_answer, text};
use crate::simulator::world::{Account, Call, Device, Leg};

pub(super) static SUITE: Suite = Suite {
    context: "telephony",
    version: "v3",
    routes: &[
        Route { method: "GET", pattern: "cc/accounts/{}/calls", run: calls },
        Route { method: "POST", pattern: "cc/accounts/{}/calls", run: place },
        Route { method: "GET", pattern: "cc/accounts/{}/calls/{}", run: call },
        Route { method: "PUT", pattern: "cc/accounts/{}/calls/{}", run: change_call },
        Route { method: "DELETE", pattern: "cc/accounts/{}/calls/{}", run: end_call },
        Route { method: "GET", pattern: "cc/accounts/{}/calls/{}/legs", run: legs },
        Route { method: "GET", pattern: "cc/accounts/{}/calls/{}/legs/{}", run: leg },
        Route { method: "PUT", pattern: "cc/accounts/{}/calls/{}/legs/{}", run: change_leg },
        Route { method: "DELETE", pattern: "cc/accounts/{}/calls/{}/legs/{}", run: end_leg },
        Route { method: "GET", pattern: "registration/accounts/{}/devices", run: devices },
        Route { method: "GET", pattern: "registration/accounts/{}/devices/{}", run: device },
    ],
    refusal: |state, owner| without_role(state, owner, &SUITE),
    refuse: not_permitted,
};

fn not_permitted() -> Answer {
    error(401, "User is not permitted to make a request against this account")
}

fn error(code: u16, message: &str) -> Answer {
    json_answer(code, &json!({ "code": code, "message": message }))
}

fn calls(mut request: Request<'_>) -> Answer {
    let extension = request.query("extension");
    let [from, to] = ["start_time", "end_time"].map(|name| request.query(name).and_then(|at| moment(&at)));
    let ascending = request.query("order").is_some_and(|order| order.ends_with("ASC"));
    let query = request.query;
    let Some(account) = request.own_account() else { return not_permitted() };
    let id = account.id;
    let fits = |call: &&Call| {
        extension.as_ref().is_none_or(|extension| *extension == call.extension)
            && from.is_none_or(|from| call.start >= from)
            && to.is_none_or(|to| call.start <= to)
    };
    let mut found: Vec<&Call> = account.calls.iter().filter(fits).collect();
    if !ascending {
        found.reverse();
    }
    let page = page(query, found.len());
    let shown = page.of(&found).iter().map(|call| show_call(id, call)).collect();
    list(&request, "calls", &page, ascending, shown)
}

fn place(mut request: Request<'_>) -> Answer {
    let now = request.now;
    let body = read_json(request.body);
    let Some(account) = request.own_account() else { return not_permitted() };
    let Some(body) = body else { return error(400, "Request body is not a valid JSON object") };
    if body["type"] != "click2dial" {
        return error(400, "type must be click2dial");
    }
    let end = |name: &str| body[name]["destination"].as_str().filter(|number| !number.is_empty());
    let (Some(from), Some(to)) = (end("from"), end("to")) else {
        return error(400, "from.destination and to.destination are required");
    };
    let rings = |number: &str| account.extensions.iter().any(|extension| extension.number == number);
    if body["from"]["type"] == "extension" && !rings(from) {
        return error(400, "from.destination is not an extension of this account");
    }
    let (from, to) = (from.to_owned(), to.to_owned());
    let id = account.id;
    let state = request.state;
    let call = Call::started(&mut state.random, "outbound", from.clone(), to, from, now);
    let call_id = call.id.clone();
    if let Some(account) = state.world.account(id) {
        account.place(call);
        state.stats.calls_placed += 1;
    }
    text(200, "text/plain", call_id)
}

fn call(request: Request<'_>) -> Answer {
    with_call(request, |id, call, _| json_answer(200, &show_call(id, call)))
}

fn change_call(request: Request<'_>) -> Answer {
    let Some(body) = read_json(request.body) else {
        return error(400, "Request body is not a valid JSON object");
    };
    with_call(request, |id, call, _| {
        if call.end.is_some() {
            return error(404, "Call not found");
        }
        if let Some(state) = body["state"].as_str() {
            let Some(state) = state_word(state) else { return error(400, "state must be active or held") };
            call.status = state;
        }
        if let Some(to) = destination(&body["to"]) {
            call.to = to;
        }
        json_answer(200, &show_call(id, call))
    })
}

fn end_call(request: Request<'_>) -> Answer {
    with_call(request, |id, call, now| {
        if call.end.is_some() {
            return error(404, "Call not found");
        }
        call.finish(now, "COMPLETED");
        json_answer(200, &show_call(id, call))
    })
}

fn legs(request: Request<'_>) -> Answer {
    with_call(request, |id, call, _| {
        let legs: Vec<Value> = call.legs.iter().map(|leg| show_leg(id, &call.id, leg)).collect();
        json_answer(200, &json!({ "legs": legs }))
    })
}

fn leg(request: Request<'_>) -> Answer {
    with_leg(request, |id, call_id, leg, _| json_answer(200, &show_leg(id, call_id, leg)))
}

fn change_leg(request: Request<'_>) -> Answer {
    let Some(body) = read_json(request.body) else {
        return error(400, "Request body is not a valid JSON object");
    };
    with_leg(request, |id, call_id, leg, _| {
        if leg.end.is_some() {
            return error(409, "Leg has ended");
        }
        let state = body["state"].as_str().map(state_word);
        let to = destination(&body["to"]);
        match (state, to) {
            (Some(Some(state)), _) => leg.status = state,
            (None, Some(to)) => leg.to = to,
            _ => return error(400, "either state (active, held) or to is required"),
        }
        json_answer(200, &show_leg(id, call_id, leg))
    })
}

fn end_leg(request: Request<'_>) -> Answer {
    with_leg(request, |_, _, leg, now| {
        if leg.end.is_some() {
            return error(409, "Leg has ended");
        }
        leg.end = Some(now);
        leg.status = "COMPLETED";
        empty(204)
    })
}

fn devices(mut request: Request<'_>) -> Answer {
    let ascending = request.query("order").is_some_and(|order| order.ends_with("ASC"));
    let query = request.query;
    let Some(account) = request.own_account() else { return not_permitted() };
    let id = account.id;
    let page = page(query, account.devices.len());
    let shown = page.of(&account.devices).iter().map(|device| show_device(id, device)).collect();
    list(&request, "devices", &page, ascending, shown)
}

fn device(mut request: Request<'_>) -> Answer {
    let mac = request.parameter(1);
    let Some(account) = request.own_account() else { return not_permitted() };
    let found = account.devices.iter().find(|device| device.mac.eq_ignore_ascii_case(&mac));
    found.map_or_else(
        || error(404, "Device not found"),
        |device| json_answer(200, &show_device(account.id, device)),
    )
}

fn with_call(mut request: Request<'_>, then: impl FnOnce(u64, &mut Call, Timestamp) -> Answer) -> Answer {
    let (call, now) = (request.parameter(1), request.now);
    let Some(Account { id, .. }) = request.own_account() else { return not_permitted() };
    let id = *id;
    match request.own_account().and_then(|account| account.call_mut(&call)) {
        Some(call) => then(id, call, now),
        None => error(404, "Call not found"),
    }
}

fn with_leg(request: Request<'_>, then: impl FnOnce(u64, &str, &mut Leg, Timestamp) -> Answer) -> Answer {
    let wanted = request.parameter(2);
    with_call(request, |id, call, now| {
        let call_id = call.id.clone();
        match call.legs.iter_mut().find(|leg| leg.id == wanted) {
            Some(leg) => then(id, &call_id, leg, now),
            None => error(404, "Leg not found"),
        }
    })
}

fn state_word(word: &str) -> Option<&'static str> {
    ["ACTIVE", "HELD"].into_iter().find(|known| known.eq_ignore_ascii_case(word))
}

/// A number, bare or in an object.
fn destination(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value["destination"].as_str()).map(str::to_owned)
}

/// Seconds since 1970, or microseconds where the number is too large for that.
fn moment(text: &str) -> Option<Timestamp> {
    let number: i64 = text.parse().ok()?;
    if number > 100_000_000_000 {
        Timestamp::from_microsecond(number).ok()
    } else {
        Timestamp::from_second(number).ok()
    }
}

/// Numbers that make no sense count as absent here.
fn page(query: &str, total: usize) -> Page {
    let number = |name: &str, default: usize| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        let given = pairs.find(|(given, _)| given == name).and_then(|(_, value)| value.parse().ok());
        given.filter(|number| *number > 0).unwrap_or(default)
    };
    Page::new(number("page", 1), number("page_size", 10), total)
}

/// Its links leave out the gateway's prefix, and its numbers are strings.
fn list(request: &Request<'_>, name: &str, page: &Page, ascending: bool, shown: Vec<Value>) -> Answer {
    let path = super::suite(request.path).map_or(request.path, |(_, rest)| rest);
    let others = request.query_without(&["page", "page_size"]);
    let uri = |number: usize| {
        let separator = if others.is_empty() { "" } else { "&" };
        format!("/{path}?{others}{separator}page={number}&page_size={}", page.size)
    };
    let next = (page.number < page.pages).then(|| page.number + 1);
    let previous = (page.number > 1).then(|| page.number - 1);
    json_answer(
        200,
        &json!({
            name: shown,
            "current_page": page.number.to_string(),
            "first_page_uri": uri(1),
            "next_page": next.map(|number| number.to_string()),
            "next_page_uri": next.map(uri),
            "previous_page_uri": previous.map(uri),
            "order": if ascending { "start:ASC" } else { "start:DESC" },
            "page_size": page.size.to_string(),
            "pages": page.pages.to_string(),
        }),
    )
}

/// The service writes its times as strings of microseconds.
fn micros(at: Timestamp) -> String {
    at.as_microsecond().to_string()
}

fn show_call(account: u64, call: &Call) -> Value {
    let legs: Vec<Value> = call.legs.iter().map(|leg| show_leg(account, &call.id, leg)).collect();
    json!({
        "account_id": account.to_string(), "call_id": call.id, "direction": call.direction,
        "from": call.from, "to": call.to, "start_time": micros(call.start),
        "end_time": call.end.map(micros), "status": call.status, "legs": legs,
    })
}

fn show_leg(account: u64, call_id: &str, leg: &Leg) -> Value {
    json!({
        "account_id": account.to_string(), "call_id": call_id, "leg_id": leg.id, "direction": leg.direction,
        "from": leg.from, "to": leg.to, "start_time": micros(leg.start),
        "end_time": leg.end.map(micros), "status": leg.status,
    })
}

fn show_device(account: u64, device: &Device) -> Value {
    let (seen, provisioned) = (micros(device.last_seen), micros(device.provisioned));
    json!({
        "account_id": account.to_string(), "device_ip": device.ip, "mac_address": device.mac,
        "last_request": seen, "last_success": seen, "registration": { "last_success": seen },
        "provisioned": { "last_success": provisioned, "last_request": provisioned },
    })
}
