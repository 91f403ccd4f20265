//! Call Recording: what the company's rules recorded, and what users recorded on demand.

use serde_json::{Value, json};

use super::audio;
use super::hal::{Names, Wrong, is, not_found, page, paging, validation};
use super::{Call as Request, Route, Suite, without_role};
use crate::clock::{Timestamp, until};
use crate::simulator::answer::{Answer, empty, json as json_answer, text};
use crate::simulator::world::{Account, Recording};

pub(super) static SUITE: Suite = Suite {
    context: "call_recording",
    version: "v1",
    routes: &[
        Route { method: "GET", pattern: "api/accounts/{}/company_call_recordings", run: company },
        Route { method: "GET", pattern: "api/accounts/{}/company_call_recordings/{}", run: show_company },
        Route {
            method: "DELETE",
            pattern: "api/accounts/{}/company_call_recordings/{}",
            run: delete_company,
        },
        Route { method: "GET", pattern: "api/accounts/{}/users/{}/call_recordings", run: on_demand },
        Route { method: "GET", pattern: "api/accounts/{}/users/{}/call_recordings/{}", run: show_on_demand },
        Route {
            method: "DELETE",
            pattern: "api/accounts/{}/users/{}/call_recordings/{}",
            run: delete_on_demand,
        },
        Route { method: "GET", pattern: "api/audio/recording/{}", run: audio::get },
        Route { method: "HEAD", pattern: "api/audio/recording/{}", run: audio::head },
    ],
    refusal: |state, owner| without_role(state, owner, &SUITE),
    refuse: not_authorized,
};

const NAMES: Names = Names { embedded: "recordings", pages: "total_pages" };
/// Always in UTC.
const TIME: &str = "%Y-%m-%dT%H:%M:%S+0000";

fn not_authorized() -> Answer {
    text(403, "text/plain", "User is not authorized to search CCR recordings for this account")
}

/// Whose recordings a path is about: `None` is the company, otherwise a user's position.
type Whose = Option<usize>;

fn company(request: Request<'_>) -> Answer {
    list(request, None)
}

fn on_demand(mut request: Request<'_>) -> Answer {
    match user(&mut request) {
        Ok(user) => list(request, Some(user)),
        Err(refusal) => *refusal,
    }
}

fn show_company(request: Request<'_>) -> Answer {
    show_one(request, None, 1)
}

fn show_on_demand(mut request: Request<'_>) -> Answer {
    match user(&mut request) {
        Ok(user) => show_one(request, Some(user), 2),
        Err(refusal) => *refusal,
    }
}

fn delete_company(request: Request<'_>) -> Answer {
    delete(request, None, 1)
}

fn delete_on_demand(mut request: Request<'_>) -> Answer {
    match user(&mut request) {
        Ok(user) => delete(request, Some(user), 2),
        Err(refusal) => *refusal,
    }
}

/// The position of the user a path names.
fn user(request: &mut Request<'_>) -> Result<usize, Box<Answer>> {
    let named = request.parameter(1);
    let own = request.own_position();
    let Some(account) = request.own_account() else { return Err(Box::new(not_authorized())) };
    let position = if named == "self" { own } else { account.position(&named) };
    position.ok_or_else(|| Box::new(not_found("User not found")))
}

fn list(mut request: Request<'_>, whose: Whose) -> Answer {
    let (filter, ascending, paging) = match Filter::read(&request) {
        Ok(read) => read,
        Err(wrong) => return validation(wrong),
    };
    let base = request.base;
    let Some(account) = request.own_account() else { return not_authorized() };
    let fits = |recording: &&Recording| recording.on_demand == whose && filter.takes(recording);
    // They are kept in the order they began.
    let mut listed: Vec<Value> =
        account.recordings.iter().filter(fits).map(|recording| show(base, account, recording)).collect();
    if !ascending {
        listed.reverse();
    }
    page(&request, &NAMES, paging, &listed)
}

fn show_one(mut request: Request<'_>, whose: Whose, parameter: usize) -> Answer {
    let (id, base) = (request.parameter(parameter), request.base);
    let Some(account) = request.own_account() else { return not_authorized() };
    match position(account, whose, &id) {
        Some(position) => json_answer(200, &show(base, account, &account.recordings[position])),
        None => not_found("Recording not found"),
    }
}

fn delete(mut request: Request<'_>, whose: Whose, parameter: usize) -> Answer {
    let id = request.parameter(parameter);
    let Some(account) = request.own_account() else { return not_authorized() };
    match position(account, whose, &id) {
        Some(position) => {
            account.recordings.remove(position);
            empty(204)
        }
        None => not_found("Recording not found"),
    }
}

fn position(account: &Account, whose: Whose, id: &str) -> Option<usize> {
    account
        .recordings
        .iter()
        .position(|recording| recording.on_demand == whose && recording.id.to_string() == id)
}

/// Which recordings are asked for.
struct Filter {
    /// Direction, call, caller, name and number called.
    words: [Option<String>; 5],
    extension: Option<String>,
    /// In milliseconds.
    shortest: Option<u64>,
    longest: Option<u64>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl Filter {
    /// The filter, whether the oldest come first, and the page.
    fn read(request: &Request<'_>) -> Result<(Self, bool, (usize, usize)), Vec<Wrong>> {
        let mut wrong = Vec::new();
        let read = |name: &'static str, expected: &str| {
            let given = request.query(name);
            given.filter(|text| !text.is_empty()).map(|text| (text, name, expected.to_owned()))
        };
        let milliseconds = ["duration:gte", "duration:lte"].map(|name| read(name, "must be a number"));
        let times = ["start:gte", "start:lte"].map(|name| read(name, "must be an ISO 8601 date and time"));
        let order = read("order", "must be start:ASC or start:DESC");
        let [shortest, longest] =
            milliseconds.map(|given| parse(given, |text| text.parse().ok(), &mut wrong));
        let [from, to] = times.map(|given| parse(given, time, &mut wrong));
        let ascending = parse(
            order,
            |order| match order {
                "start:ASC" => Some(true),
                "start:DESC" => Some(false),
                _ => None,
            },
            &mut wrong,
        );
        let paging = paging(request, 0).map_err(|reasons| wrong.extend(reasons)).ok();
        let words =
            ["call_direction", "call_id", "caller_id", "cnam", "dnis"].map(|name| request.query(name));
        let extension = request.query("extension");
        let filter = Self { words, extension, shortest, longest, from, to };
        match paging.filter(|_| wrong.is_empty()) {
            Some(paging) => Ok((filter, ascending.unwrap_or(false), paging)),
            None => Err(wrong),
        }
    }

    fn takes(&self, recording: &Recording) -> bool {
        let words =
            [recording.direction, &recording.call_id, &recording.caller_id, &recording.cnam, &recording.dnis];
        let milliseconds = milliseconds(recording);
        self.words.iter().zip(words).all(|(wanted, word)| is(wanted.as_deref(), Some(word)))
            && is(self.extension.as_deref(), Some(&recording.extension))
            && self.shortest.is_none_or(|shortest| milliseconds >= shortest)
            && self.longest.is_none_or(|longest| milliseconds <= longest)
            && self.from.is_none_or(|from| recording.start >= from)
            && self.to.is_none_or(|to| recording.start <= to)
    }
}

fn parse<T>(
    given: Option<(String, &'static str, String)>,
    read: impl FnOnce(&str) -> Option<T>,
    wrong: &mut Vec<Wrong>,
) -> Option<T> {
    let (text, name, expected) = given?;
    let read = read(&text);
    if read.is_none() {
        wrong.push((name, expected));
    }
    read
}

/// An offset's plus that was not percent-encoded arrives as a space.
fn time(text: &str) -> Option<Timestamp> {
    let text = text.replace(' ', "+");
    Timestamp::strptime("%Y-%m-%dT%H:%M:%S%z", &text).ok().or_else(|| text.parse().ok())
}

fn milliseconds(recording: &Recording) -> u64 {
    until(recording.start, recording.end).as_millis().try_into().unwrap_or(u64::MAX)
}

fn show(base: &str, account: &Account, recording: &Recording) -> Value {
    let (root, id) = (format!("{base}/t/vbc.prod/call_recording/api"), recording.id);
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
        "file_name": format!("{}.{}.{}.mp3", account.id, recording.call_id, recording.start.as_millisecond()),
        "file_size_in_bytes": recording.bytes,
        "rule_ids": if recording.on_demand.is_none() { vec![account.id * 10] } else { Vec::new() },
    })
}
