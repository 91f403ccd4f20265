//! The calls of the token's user: active calls, and all calls as events.

use serde_json::{Value, json};

use super::filter::{Filter, UserCall};
use super::{
    ApiRequest, error, extension, invalid, is_phone_number, no_user, not_json, nothing_of_that_id, read_json,
};
use crate::random::Random;
use crate::response::{Response, json as json_response};
use crate::state::State;
use crate::world::Account;
use crate::world::calls::{Call, View};
use vbc_base::clock::Timestamp;

pub(super) fn place(mut request: ApiRequest<'_>) -> Response {
    let number = match phone_number(&request) {
        Ok(number) => number,
        Err(refusal) => return *refusal,
    };
    let now = request.now;
    let Some((account, user)) = request.person() else { return no_user() };
    let Some(from) = extension(account, user).map(str::to_owned) else {
        return error(422, "NO_EXTENSION", "The user has no extension to call from", &[]);
    };
    let id = account.id;
    let to = account.reached_by(&number);
    let State { world, random, stats, .. } = request.state;
    let Some(position) = world.dial(id, from, to, now, random) else { return no_user() };
    stats.calls_placed += 1;
    let shown = world
        .account(id)
        .and_then(|account| Some(show(account, user, &(position, seen(account, user, position)?))));
    json_response(201, &json!([shown]))
}

pub(super) fn list(mut request: ApiRequest<'_>) -> Response {
    match Filter::of_active_calls(&request) {
        Ok(filter) => page(&mut request, &filter, false),
        Err(refusal) => *refusal,
    }
}

pub(super) fn events(mut request: ApiRequest<'_>) -> Response {
    match Filter::of_events(&request) {
        Ok(filter) => page(&mut request, &filter, true),
        Err(refusal) => *refusal,
    }
}

pub(super) fn count(mut request: ApiRequest<'_>) -> Response {
    match Filter::of_call_count(&request) {
        Ok(filter) => counted(&mut request, &filter, false),
        Err(refusal) => *refusal,
    }
}

pub(super) fn count_events(mut request: ApiRequest<'_>) -> Response {
    match Filter::of_events(&request) {
        Ok(filter) => counted(&mut request, &filter, true),
        Err(refusal) => *refusal,
    }
}

fn page(request: &mut ApiRequest<'_>, filter: &Filter, ended: bool) -> Response {
    let Some((account, user)) = request.person() else { return no_user() };
    let page = filter.page(own(account, user, filter, ended));
    let shown: Vec<Value> = page.iter().map(|seen| show(account, user, seen)).collect();
    json_response(200, &Value::from(shown))
}

fn counted(request: &mut ApiRequest<'_>, filter: &Filter, ended: bool) -> Response {
    let Some((account, user)) = request.person() else { return no_user() };
    json_response(200, &json!({ "count": own(account, user, filter, ended).len() }))
}

/// The user's calls that match the filter, in the order in which they started. Ended calls are
/// included only if `ended` is set.
fn own(account: &Account, user: usize, filter: &Filter, ended: bool) -> Vec<UserCall> {
    let all =
        (0..account.calls.len()).filter_map(|position| Some((position, seen(account, user, position)?)));
    all.filter(|(_, view)| (ended || !view.ended()) && filter.takes(view)).collect()
}

fn seen(account: &Account, user: usize, position: usize) -> Option<View> {
    account.calls.get(position)?.seen_by(|party| account.owns(user, party))
}

pub(super) fn one(mut request: ApiRequest<'_>) -> Response {
    shown(&mut request, "Call", false)
}

pub(super) fn event(mut request: ApiRequest<'_>) -> Response {
    shown(&mut request, "Event", true)
}

/// A single call or event, as a list with one item.
fn shown(request: &mut ApiRequest<'_>, what: &str, ended: bool) -> Response {
    match find(request, what) {
        Ok(CallPosition { account, user, position }) => {
            let Some(account) = request.state.world.account(account) else { return no_user() };
            match seen(account, user, position) {
                Some(view) if ended || !view.ended() => {
                    json_response(200, &json!([show(account, user, &(position, view))]))
                }
                _ => nothing_of_that_id(what),
            }
        }
        Err(refusal) => *refusal,
    }
}

pub(super) fn end(request: ApiRequest<'_>) -> Response {
    change(request, true, |call, own, _, now| {
        call.leave(own, now);
        Ok(())
    })
}

pub(super) fn answer(request: ApiRequest<'_>) -> Response {
    change(request, false, |call, own, _, now| {
        let called = call.legs.get(own).is_some_and(|leg| !leg.caller);
        if called && call.answer(now) { Ok(()) } else { Err("The call is not ringing here") }
    })
}

pub(super) fn hold(request: ApiRequest<'_>) -> Response {
    set_held(request, true)
}

pub(super) fn resume(request: ApiRequest<'_>) -> Response {
    set_held(request, false)
}

fn set_held(request: ApiRequest<'_>, held: bool) -> Response {
    change(request, false, |call, own, _, _| match call.legs.get_mut(own) {
        Some(leg) if leg.answered.is_some() && leg.held != held => {
            leg.held = held;
            Ok(())
        }
        _ => Err(if held { "The call is not active" } else { "The call is not on hold" }),
    })
}

pub(super) fn to_voicemail(request: ApiRequest<'_>) -> Response {
    change(request, false, |call, own, _, now| {
        call.send_to_voicemail(own, now);
        Ok(())
    })
}

pub(super) fn transfer(mut request: ApiRequest<'_>) -> Response {
    let number = match phone_number(&request) {
        Ok(number) => number,
        Err(refusal) => return *refusal,
    };
    let Some((account, _)) = request.person() else { return no_user() };
    let to = account.reached_by(&number);
    change(request, false, |call, own, random, now| {
        if call.answered.is_none() {
            return Err("The call is not active");
        }
        call.transfer(own, to, random, now);
        Ok(())
    })
}

/// The number in the body of a call or a transfer.
fn phone_number(request: &ApiRequest<'_>) -> Result<String, Box<Response>> {
    let Some(body) = read_json(request.body) else { return Err(Box::new(not_json())) };
    let number = body["phoneNumber"].as_str().unwrap_or_default();
    if is_phone_number(number) {
        Ok(number.to_owned())
    } else {
        Err(Box::new(invalid(&[("phoneNumber", "must be a phone number".to_owned())])))
    }
}

/// The positions of a call and of the token's user in their account.
struct CallPosition {
    account: u64,
    user: usize,
    position: usize,
}

/// Finds the call or event in the path; `what` names it in the error.
fn find(request: &mut ApiRequest<'_>, what: &str) -> Result<CallPosition, Box<Response>> {
    let id = request.parameter(0);
    let Some((account, user)) = request.person() else { return Err(Box::new(no_user())) };
    let position = id.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    let position = position.or_else(|| account.call_positions.get(&id).copied());
    let found = position.filter(|position| seen(account, user, *position).is_some());
    match found {
        Some(position) => Ok(CallPosition { account: account.id, user, position }),
        None => Err(Box::new(nothing_of_that_id(what))),
    }
}

/// Changes a call that has not ended, at the user's own end.
fn change(
    mut request: ApiRequest<'_>,
    in_a_list: bool,
    act: impl FnOnce(&mut Call, usize, &mut Random, Timestamp) -> Result<(), &'static str>,
) -> Response {
    let CallPosition { account, user, position } = match find(&mut request, "Call") {
        Ok(found) => found,
        Err(refusal) => return *refusal,
    };
    let now = request.now;
    let State { world, random, .. } = request.state;
    let Some(of) = world.account(account) else { return no_user() };
    let own = of.calls.get(position).and_then(|call| call.own_leg(|party| of.owns(user, party)));
    let under_way = seen(of, user, position).is_some_and(|view| !view.ended());
    let Some(own) = own.filter(|_| under_way) else { return nothing_of_that_id("Call") };
    let done = world.change(account, position, now, random, |call, random| act(call, own, random, now));
    match done {
        Some(Ok(())) => {
            let Some(of) = world.account(account) else { return no_user() };
            let shown = seen(of, user, position).map(|view| show(of, user, &(position, view)));
            let shown = shown.unwrap_or_default();
            json_response(200, &if in_a_list { json!([shown]) } else { shown })
        }
        Some(Err(reason)) => error(400, "BAD_REQUEST", reason, &[]),
        None => nothing_of_that_id("Call"),
    }
}

fn show(account: &Account, user: usize, (position, view): &UserCall) -> Value {
    let time = |at: Timestamp| Value::from(at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
    let id = account.users.get(user).map_or(0, |user| user.id);
    let call = account.calls.get(*position);
    let mut shown = json!({
        "id": position + 1, "externalId": call.map_or("", |call| &call.id), "type": "CALL",
        "accountId": account.id, "userId": id, "uciId": id, "direction": view.direction.upper(),
        "phoneNumber": view.remote, "state": view.state,
        "duration": u64::try_from(view.duration().as_millis()).unwrap_or(u64::MAX),
        "startTime": time(view.start),
    });
    if let Some(name) = account.remote_name(view) {
        shown["callerId"] = name.into();
    }
    for (name, at) in [("answerTime", view.answered), ("endTime", view.end)] {
        if let Some(at) = at {
            shown[name] = time(at);
        }
    }
    shown
}
