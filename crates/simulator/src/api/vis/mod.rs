//! The Integration Platform: the token's user, the user's calls and events, and webhooks.

mod calls;
mod filter;
mod webhooks;

use serde_json::{Value, json};

use super::{ApiRequest, Route, Suite, is_phone_number, read_json, without_role};
use crate::response::{Response, json as json_response};
use crate::world::Account;

pub(super) static SUITE: Suite = Suite {
    context: "vis",
    version: "v1",
    routes: &[
        Route { method: "GET", pattern: "self", run: user },
        Route { method: "GET", pattern: "self/account", run: account },
        Route { method: "POST", pattern: "self/calls", run: calls::place },
        Route { method: "GET", pattern: "self/calls", run: calls::list },
        Route { method: "GET", pattern: "self/calls/count", run: calls::count },
        Route { method: "GET", pattern: "self/calls/{}", run: calls::one },
        Route { method: "DELETE", pattern: "self/calls/{}", run: calls::end },
        Route { method: "PUT", pattern: "self/calls/{}/answer", run: calls::answer },
        Route { method: "PUT", pattern: "self/calls/{}/hold", run: calls::hold },
        Route { method: "DELETE", pattern: "self/calls/{}/hold", run: calls::resume },
        Route { method: "PUT", pattern: "self/calls/{}/vmtransfer", run: calls::to_voicemail },
        Route { method: "POST", pattern: "self/calls/{}/transfer", run: calls::transfer },
        Route { method: "GET", pattern: "self/events", run: calls::events },
        Route { method: "GET", pattern: "self/events/count", run: calls::count_events },
        Route { method: "GET", pattern: "self/events/{}", run: calls::event },
        Route { method: "POST", pattern: "self/webhooks", run: webhooks::create },
        Route { method: "GET", pattern: "self/webhooks", run: webhooks::list },
        Route { method: "GET", pattern: "self/webhooks/{}", run: webhooks::one },
        Route { method: "DELETE", pattern: "self/webhooks/{}", run: webhooks::remove },
        Route { method: "PUT", pattern: "self/webhooks/{}/renew", run: webhooks::renew },
    ],
    refusal: |state, owner| without_role(state, owner, &SUITE),
    refuse: || error(401, "UNAUTHORIZED", "Failed to get claims for token", &[]),
};

/// A member or parameter and its problem.
type Problem = (&'static str, String);

fn error(status: u16, code: &str, message: &str, errors: &[Problem]) -> Response {
    let errors: Vec<Value> =
        errors.iter().map(|(field, message)| json!({ "field": field, "message": message })).collect();
    json_response(status, &json!({ "errorCode": code, "errorMessage": message, "errors": errors }))
}

fn no_user() -> Response {
    error(400, "BAD_REQUEST", "User not found", &[])
}

/// The response for an unknown id. It is a 400, because this suite documents no 404.
fn nothing_of_that_id(what: &str) -> Response {
    error(400, "BAD_REQUEST", &format!("{what} not found"), &[])
}

/// The response to a well-formed body with invalid members.
fn invalid(wrong: &[Problem]) -> Response {
    error(422, "VALIDATION_ERROR", "Invalid request", wrong)
}

fn not_json() -> Response {
    error(400, "BAD_REQUEST", "Request body is not a valid JSON object", &[])
}

fn uci(id: u64, kind: &str) -> Value {
    json!([{ "id": id, "ucpLabel": "VBC", "health": { "status": "OK", "message": "" }, "type": kind }])
}

fn user(mut request: ApiRequest<'_>) -> Response {
    let Some((account, position)) = request.person() else { return no_user() };
    let Some(user) = account.users.get(position) else { return no_user() };
    json_response(
        200,
        &json!({
            "id": user.id, "accountId": account.id,
            // The published specification has this spelling.
            "acountLabel": account.name,
            "firstName": user.first_name, "lastName": user.last_name, "emailAddress": user.email,
            "contactNumber": user.mobile, "status": "ACTIVE", "ucis": uci(user.id, "USER_UCI"),
            "roles": [{ "code": "AU", "name": "Account User" }],
        }),
    )
}

fn account(mut request: ApiRequest<'_>) -> Response {
    let Some((account, _)) = request.person() else { return no_user() };
    let mut ucis = uci(account.id, "ACCOUNT_UCI");
    ucis[0]["ucpAccountId"] = account.id.to_string().into();
    json_response(
        200,
        &json!({
            "id": account.id, "name": account.name, "org": account.name, "status": "ACTIVE", "ucis": ucis,
        }),
    )
}

/// The extension from which a user calls.
fn extension(account: &Account, user: usize) -> Option<&str> {
    account.extensions.iter().find(|own| own.user == Some(user)).map(|own| own.number.as_str())
}
