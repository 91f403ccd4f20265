//! The Integration Platform: the user behind the token, the user's account, and the user's calls under way.

use serde_json::{Value, json};

use super::{Call as Request, Page, Route, Suite, without_role};
use crate::clock::{Timestamp, until};
use crate::simulator::answer::{Answer, json as json_answer};
use crate::simulator::world::{Account, Call};

pub(super) static SUITE: Suite = Suite {
    context: "vis",
    version: "v1",
    routes: &[
        Route { method: "GET", pattern: "self", run: user },
        Route { method: "GET", pattern: "self/account", run: account },
        Route { method: "GET", pattern: "self/calls", run: calls },
        Route { method: "GET", pattern: "self/calls/count", run: count },
    ],
    refusal: |state, owner| without_role(state, owner, &SUITE),
    refuse: || error(401, "UNAUTHORIZED", "Failed to get claims for token", &[]),
};

fn error(status: u16, code: &str, message: &str, errors: &[(&str, String)]) -> Answer {
    let errors: Vec<Value> =
        errors.iter().map(|(field, message)| json!({ "field": field, "message": message })).collect();
    json_answer(status, &json!({ "errorCode": code, "errorMessage": message, "errors": errors }))
}

fn no_user() -> Answer {
    error(400, "BAD_REQUEST", "User not found", &[])
}

fn uci(id: u64, kind: &str) -> Value {
    json!([{ "id": id, "ucpLabel": "VBC", "health": { "status": "OK", "message": "" }, "type": kind }])
}

fn user(mut request: Request<'_>) -> Answer {
    let Some((account, position)) = request.person() else { return no_user() };
    let Some(user) = account.users.get(position) else { return no_user() };
    json_answer(
        200,
        &json!({
            "id": user.id, "accountId": account.id,
            // Spelt so in the published specification.
            "acountLabel": account.name,
            "firstName": user.first_name, "lastName": user.last_name, "emailAddress": user.email,
            "contactNumber": user.mobile, "status": "ACTIVE", "ucis": uci(user.id, "USER_UCI"),
            "roles": [{ "code": "AU", "name": "Account User" }],
        }),
    )
}

fn account(mut request: Request<'_>) -> Answer {
    let Some((account, _)) = request.person() else { return no_user() };
    let mut ucis = uci(account.id, "ACCOUNT_UCI");
    ucis[0]["ucpAccountId"] = account.id.to_string().into();
    json_answer(
        200,
        &json!({
            "id": account.id, "name": account.name, "org": account.name, "status": "ACTIVE", "ucis": ucis,
        }),
    )
}

fn calls(mut request: Request<'_>) -> Answer {
    let filter = match Filter::read(&request) {
        Ok(filter) => filter,
        Err(refusal) => return *refusal,
    };
    let now = request.now;
    let Some((account, position)) = request.person() else { return no_user() };
    let mut found: Vec<Value> = filter
        .of(account, position)
        .map(|(number, call)| show_call(account, position, number, call, now))
        .collect();
    if filter.descending {
        found.reverse();
    }
    // Its offset counts pages, from 0.
    let page = Page::new(filter.offset.saturating_add(1), filter.size, found.len());
    json_answer(200, &Value::from(page.of(&found)))
}

fn count(mut request: Request<'_>) -> Answer {
    let filter = match Filter::read(&request) {
        Ok(filter) => filter,
        Err(refusal) => return *refusal,
    };
    let Some((account, position)) = request.person() else { return no_user() };
    json_answer(200, &json!({ "count": filter.of(account, position).count() }))
}

/// Which of the calls under way are asked for.
struct Filter {
    directions: Vec<String>,
    states: Vec<String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    offset: usize,
    size: usize,
    descending: bool,
}

impl Filter {
    fn read(request: &Request<'_>) -> Result<Self, Box<Answer>> {
        const STATES: &[&str] = &["INITIALIZING", "RINGING", "ACTIVE", "HELD", "REMOTE_HELD"];
        let mut wrong = Vec::new();
        let mut words = |name: &'static str, known: &[&str], default: &str| {
            let given = request.query(name).unwrap_or_else(|| default.to_owned());
            let words: Vec<String> = given.split(',').map(|word| word.trim().to_ascii_uppercase()).collect();
            if !words.iter().all(|word| known.contains(&word.as_str())) {
                wrong.push((name, format!("must be of: {}", known.join(", "))));
            }
            words
        };
        let directions = words("direction", &["INBOUND", "OUTBOUND"], "INBOUND,OUTBOUND");
        let states = words("states", STATES, "ACTIVE");
        let order = words("order", &["ASC", "DESC"], "ASC");
        let mut number = |name: &'static str| {
            let text = request.query(name)?;
            let number = text.parse::<u64>().ok();
            if number.is_none() {
                wrong.push((name, "must be a number".to_owned()));
            }
            number
        };
        let [from, to] = ["fromDate", "toDate"].map(&mut number);
        let offset = number("offset").map_or(0, |number| usize::try_from(number).unwrap_or(usize::MAX));
        let size = number("size").map_or(20, |number| usize::try_from(number).unwrap_or(usize::MAX));
        if !wrong.is_empty() {
            return Err(Box::new(error(400, "VALIDATION_ERROR", "Invalid request parameters", &wrong)));
        }
        let [from, to] = [from, to].map(|moment| moment.and_then(milliseconds));
        let descending = order.iter().any(|word| word == "DESC");
        Ok(Self { directions, states, from, to, offset, size: size.max(1), descending })
    }

    /// The user's calls under way, with their numbers, in the order they began.
    fn of<'a>(&'a self, account: &'a Account, user: usize) -> impl Iterator<Item = (usize, &'a Call)> {
        let own = move |call: &Call| {
            let mut extensions = account.extensions.iter();
            extensions.any(|extension| extension.user == Some(user) && extension.number == call.extension)
        };
        account.calls.iter().enumerate().filter(move |(_, call)| {
            call.end.is_none()
                && own(call)
                && self.directions.iter().any(|direction| direction.eq_ignore_ascii_case(call.direction))
                && self.states.iter().any(|state| state == call.status)
                && self.from.is_none_or(|from| call.start >= from)
                && self.to.is_none_or(|to| call.start <= to)
        })
    }
}

/// Moments are milliseconds since 1970.
fn milliseconds(number: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(number).ok()?).ok()
}

fn show_call(account: &Account, user: usize, number: usize, call: &Call, now: Timestamp) -> Value {
    let user = account.users.get(user).map_or(0, |user| user.id);
    let remote = if call.direction == "inbound" { &call.from } else { &call.to };
    let start = call.start.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    json!({
        "id": number + 1, "externalId": call.id, "type": "CALL", "accountId": account.id, "userId": user,
        "uciId": user, "direction": call.direction.to_ascii_uppercase(), "callerId": remote,
        "phoneNumber": remote, "duration": u64::try_from(until(call.start, now).as_millis()).unwrap_or(0),
        "state": call.status, "startTime": start, "answerTime": start, "endTime": null,
    })
}
