//! The calls of the token's user: those under way, and all of them as events.

use serde_json::{Value, json};

use super::filter::{Filter, Seen};
use super::{
    Request, error, extension, invalid, is_phone_number, no_user, not_json, nothing_of_that_id, read_json,
};
use crate::random::Random;
use crate::response::{Answer, json as json_answer};
use crate::state::State;
use crate::world::Account;
use crate::world::calls::{Call, View};
use vbc_base::clock::Timestamp;

pub(super) fn place(mut request: Request<'_>) -> Answer {
    let number = match phone_number(&request) {
        Ok(number) => number,
        Err(refusal) => return *refusal,
    };
    let now = request.now;
    let Some((account, user)) = request.person() else { return no_user() };
    let Some(from) = extension(account, user).map(str::to_owned) else {
        return error(422, "NO_EXTENSION", "The user has no extension to call from", &[]);
    };
    let (id, to) = (account.id, account.reached_by(&number));
    let State { world, random, stats, .. } = request.state;
    let Some(position) = world.dial(id, from, to, now, random) else { return no_user() };
    stats.calls_placed += 1;
    let shown = world
        .account(id)
        .and_then(|account| Some(show(account, user, &(position, seen(account, user, position)?))));
    json_answer(201, &json!([shown]))
}

pub(super) fn list(mut request: Request<'_>) -> Answer {
    match Filter::of_active_calls(&request) {
        Ok(filter) => page(&mut request, &filter, false),
        Err(refusal) => *refusal,
    }
}

pub(super) fn events(mut request: Request<'_>) -> Answer {
    match Filter::of_events(&request) {
        Ok(filter) => page(&mut request, &filter, true),
        Err(refusal) => *refusal,
    }
}

pub(super) fn count(mut request: Request<'_>) -> Answer {
    match Filter::of_call_count(&request) {
        Ok(filter) => counted(&mut request, &filter, false),
        Err(refusal) => *refusal,
    }
}

pub(super) fn count_events(mut request: Request<'_>) -> Answer {
    match Filter::of_events(&request) {
        Ok(filter) => counted(&mut request, &filter, true),
        Err(refusal) => *refusal,
    }
}

fn page(request: &mut Request<'_>, filter: &Filter, ended: bool) -> Answer {
    let Some((account, user)) = request.person() else { return no_user() };
    let page = filter.page(own(account, user, filter, ended));
    let shown: Vec<Value> = page.iter().map(|seen| show(account, user, seen)).collect();
    json_answer(200, &Value::from(shown))
}

fn counted(request: &mut Request<'_>, filter: &Filter, ended: bool) -> Answer {
    let Some((account, user)) = request.person() else { return no_user() };
    json_answer(200, &json!({ "count": own(account, user, filter, ended).len() }))
}

/// The user's calls that fit, in the order they began; those that are over where they are wanted.
fn own(account: &Account, user: usize, filter: &Filter, ended: bool) -> Vec<Seen> {
    let all =
        (0..account.calls.len()).filter_map(|position| Some((position, seen(account, user, position)?)));
    all.filter(|(_, view)| (ended || !view.ended()) && filter.takes(view)).collect()
}

fn seen(account: &Account, user: usize, position: usize) -> Option<View> {
    account.calls.get(position)?.seen_by(|party| account.owns(user, party))
}

pub(super) fn one(mut request: Request<'_>) -> Answer {
    shown(&mut request, "Call", false)
}

pub(super) fn event(mut request: Request<'_>) -> Answer {
    shown(&mut request, "Event", true)
}

/// One of them, as a list of one.
fn shown(request: &mut Request<'_>, what: &str, ended: bool) -> Answer {
    match find(request, what) {
        Ok(Found { account, user, position }) => {
            let Some(account) = request.state.world.account(account) else { return no_user() };
            match seen(account, user, position) {
                Some(view) if ended || !view.ended() => {
                    json_answer(200, &json!([show(account, user, &(position, view))]))
                }
                _ => nothing_of_that_id(what),
            }
        }
        Err(refusal) => *refusal,
    }
}

pub(super) fn end(request: Request<'_>) -> Answer {
    change(request, true, |call, own, _, now| {
        call.leave(own, now);
        Ok(())
    })
}

pub(super) fn answer(request: Request<'_>) -> Answer {
    change(request, false, |call, own, _, now| {
        let called = call.legs.get(own).is_some_and(|leg| !leg.caller);
        if called && call.answer(now) { Ok(()) } else { Err("The call is not ringing here") }
    })
}

pub(super) fn hold(request: Request<'_>) -> Answer {
    set_held(request, true)
}

pub(super) fn resume(request: Request<'_>) -> Answer {
    set_held(request, false)
}

fn set_held(request: Request<'_>, held: bool) -> Answer {
    change(request, false, |call, own, _, _| match call.legs.get_mut(own) {
        Some(leg) if leg.answered.is_some() && leg.held != held => {
            leg.held = held;
            Ok(())
        }
        _ => Err(if held { "The call is not active" } else { "The call is not on hold" }),
    })
}

pub(super) fn to_voicemail(request: Request<'_>) -> Answer {
    change(request, false, |call, own, _, now| {
        call.send_to_voicemail(own, now);
        Ok(())
    })
}

pub(super) fn transfer(mut request: Request<'_>) -> Answer {
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

/// The number of a body that asks for a call or a transfer.
fn phone_number(request: &Request<'_>) -> Result<String, Box<Answer>> {
    let Some(body) = read_json(request.body) else { return Err(Box::new(not_json())) };
    let number = body["phoneNumber"].as_str().unwrap_or_default();
    if is_phone_number(number) {
        Ok(number.to_owned())
    } else {
        Err(Box::new(invalid(&[("phoneNumber", "must be a phone number".to_owned())])))
    }
}

/// Where a call of the user is.
struct Found {
    account: u64,
    user: usize,
    position: usize,
}

/// Finds the call or event of the path; `what` names it where there is none.
fn find(request: &mut Request<'_>, what: &str) -> Result<Found, Box<Answer>> {
    let id = request.parameter(0);
    let Some((account, user)) = request.person() else { return Err(Box::new(no_user())) };
    let position = id.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    let position = position.or_else(|| account.call_positions.get(&id).copied());
    let found = position.filter(|position| seen(account, user, *position).is_some());
    match found {
        Some(position) => Ok(Found { account: account.id, user, position }),
        None => Err(Box::new(nothing_of_that_id(what))),
    }
}

/// Does something to a call under way, at the user's own end of it.
fn change(
    mut request: Request<'_>,
    in_a_list: bool,
    act: impl FnOnce(&mut Call, usize, &mut Random, Timestamp) -> Result<(), &'static str>,
) -> Answer {
    let Found { account, user, position } = match find(&mut request, "Call") {
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
            json_answer(200, &if in_a_list { json!([shown]) } else { shown })
        }
        Some(Err(reason)) => error(400, "BAD_REQUEST", reason, &[]),
        None => nothing_of_that_id("Call"),
    }
}

fn show(account: &Account, user: usize, (position, view): &Seen) -> Value {
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
