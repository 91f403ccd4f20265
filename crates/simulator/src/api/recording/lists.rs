//! Lists of recordings, and single ones.

use serde_json::{Value, json};

use super::super::hal::{not_found, page, paging, validation};
use super::filter::{Filter, milliseconds, parse};
use super::{ApiRequest, NAMES, TIME, Whose, not_authorized, root, user};
use crate::response::{Response, empty, json as json_response};
use crate::world::{Account, Recording};
use vbc_base::clock::Timestamp;

pub(super) fn company(request: ApiRequest<'_>) -> Response {
    list(request, None)
}

pub(super) fn on_demand(mut request: ApiRequest<'_>) -> Response {
    match user(&mut request) {
        Ok(user) => list(request, Some(user)),
        Err(refusal) => *refusal,
    }
}

pub(super) fn show_company(request: ApiRequest<'_>) -> Response {
    show_one(request, None, 1)
}

pub(super) fn show_on_demand(mut request: ApiRequest<'_>) -> Response {
    match user(&mut request) {
        Ok(user) => show_one(request, Some(user), 2),
        Err(refusal) => *refusal,
    }
}

pub(super) fn delete_company(request: ApiRequest<'_>) -> Response {
    delete(request, None, 1)
}

pub(super) fn delete_on_demand(mut request: ApiRequest<'_>) -> Response {
    match user(&mut request) {
        Ok(user) => delete(request, Some(user), 2),
        Err(refusal) => *refusal,
    }
}

fn list(mut request: ApiRequest<'_>, whose: Whose) -> Response {
    let mut wrong = Vec::new();
    let filter = Filter::read(|name| request.query(name), &mut wrong);
    // The specification has `start:` before the order, and a tutorial omits it.
    let order = |word: &str| match word.to_ascii_lowercase().as_str() {
        "start:asc" | "asc" => Some(true),
        "start:desc" | "desc" => Some(false),
        _ => None,
    };
    let given = request.query("order").filter(|order| !order.is_empty());
    let ascending = parse("order", "must be start:ASC or start:DESC", given, order, &mut wrong);
    let paging = paging(&request, &NAMES).map_err(|reasons| wrong.extend(reasons)).ok();
    let Some(paging) = paging.filter(|_| wrong.is_empty()) else { return validation(&request, wrong) };
    let root = root(&request);
    let now = request.now;
    let Some(account) = request.own_account() else { return not_authorized() };
    let fits = |recording: &&Recording| {
        recording.on_demand == whose && recording.ready <= now && filter.takes(recording)
    };
    // Recordings are kept in the order in which they started.
    let mut listed: Vec<Value> =
        account.recordings.iter().filter(fits).map(|recording| show(&root, account, recording)).collect();
    if ascending != Some(true) {
        listed.reverse();
    }
    page(&request, &NAMES, paging, &listed)
}

fn show_one(mut request: ApiRequest<'_>, whose: Whose, parameter: usize) -> Response {
    let id = request.parameter(parameter);
    let root = root(&request);
    let now = request.now;
    let Some(account) = request.own_account() else { return not_authorized() };
    match position(account, whose, &id, now) {
        Some(position) => json_response(200, &show(&root, account, &account.recordings[position])),
        None => not_found("Recording not found"),
    }
}

fn delete(mut request: ApiRequest<'_>, whose: Whose, parameter: usize) -> Response {
    let id = request.parameter(parameter);
    let now = request.now;
    let Some(account) = request.own_account() else { return not_authorized() };
    match position(account, whose, &id, now) {
        Some(position) => {
            account.recordings.remove(position);
            empty(204)
        }
        None => not_found("Recording not found"),
    }
}

fn position(account: &Account, whose: Whose, id: &str, now: Timestamp) -> Option<usize> {
    account.recordings.iter().position(|recording| {
        recording.on_demand == whose && recording.ready <= now && recording.id.to_string() == id
    })
}

/// The name of a recording's file, also inside a zip file.
pub(super) fn file_name(account: u64, recording: &Recording) -> String {
    format!("{account}.{}.{}.mp3", recording.call_id, recording.start.as_millisecond())
}

fn show(root: &str, account: &Account, recording: &Recording) -> Value {
    let id = recording.id;
    let user = recording.on_demand.and_then(|user| account.users.get(user));
    let own = match user {
        Some(user) => format!("users/{}/call_recordings", user.id),
        None => "company_call_recordings".to_owned(),
    };
    json!({
        "_links": { "self": { "href": format!("{root}/accounts/{}/{own}/{id}", account.id) } },
        "id": id, "call_id": recording.call_id, "call_direction": recording.direction,
        "caller_id": recording.caller_id, "cnam": recording.cnam, "dnis": recording.dnis,
        "download_url": format!("{root}/audio/recording/{id}"),
        "duration": milliseconds(recording),
        "start": recording.start.strftime(TIME).to_string(), "end": recording.end.strftime(TIME).to_string(),
        "extensions": [recording.extension],
        "file_name": file_name(account.id, recording),
        "file_size_in_bytes": recording.bytes,
        "rule_ids": if recording.on_demand.is_none() { vec![account.id * 10] } else { Vec::new() },
    })
}
