//! Provisioning: accounts, locations, extensions and users. Read-only, HAL.

use serde::Serialize;
use serde_json::{Value, json};

use super::hal::{Names, is, list, not_found, one, paging, shown, unauthorized, validation};
use super::{ApiRequest, Page, Route, Suite, without_role};
use crate::field::FieldReport;
use crate::response::{Response, json as json_response};
use crate::state::State;
use crate::tokens::Owner;
use crate::world::{Account, AccountUser, Address, Extension, Location};

pub(super) static SUITE: Suite = Suite {
    context: "provisioning",
    version: "v1",
    routes: &[
        Route { method: "GET", pattern: "api/accounts/{}", run: account },
        Route { method: "GET", pattern: "api/accounts/{}/locations", run: locations },
        Route { method: "GET", pattern: "api/accounts/{}/locations/{}", run: location },
        Route { method: "GET", pattern: "api/accounts/{}/extensions", run: extensions },
        Route { method: "GET", pattern: "api/accounts/{}/extensions/{}", run: extension },
        Route { method: "GET", pattern: "api/accounts/{}/users", run: users },
        Route { method: "GET", pattern: "api/accounts/{}/users/{}", run: user },
    ],
    refusal,
    refuse: || json_response(401, &json!({ "msg": "missing user data", "status": 401 })),
};

const NAMES: Names = Names { embedded: "data", pages: &["total_pages"], first: 1 };
/// The names in the list of extensions while [`FieldReport::ExtensionsArray`] holds.
const EXTENSIONS: Names = Names { embedded: "extensions", ..NAMES };

/// The response to a user without the role.
fn refusal(state: &State, owner: &Owner) -> Option<Response> {
    let refused = without_role(state, owner, &SUITE)?;
    Some(if state.options.field.has(FieldReport::MissingUserData) { refused } else { unauthorized() })
}

fn account(mut request: ApiRequest<'_>) -> Response {
    let Some(account) = request.own_account() else { return not_found("Account not found") };
    let data = json!({
        "id": account.id, "name": account.name, "status": "ACTIVE", "address": address(&account.address, false),
    });
    one(&request, data)
}

fn locations(mut request: ApiRequest<'_>) -> Response {
    let listed = request.own_account().map(|account| account.locations.iter().map(show_location).collect());
    list(&request, &NAMES, listed)
}

fn location(mut request: ApiRequest<'_>) -> Response {
    let id = request.parameter(1);
    let found = request.own_account().and_then(|account| {
        account.locations.iter().find(|location| location.id.to_string() == id).map(show_location)
    });
    found.map_or_else(|| not_found("Location not found"), |data| one(&request, data))
}

fn extensions(mut request: ApiRequest<'_>) -> Response {
    let [location, number, login, email] =
        ["location_id", "phone_number", "login_name", "email"].map(|name| request.query(name));
    if location.as_deref().is_some_and(|id| id.parse::<u64>().is_err()) {
        return validation(&request, vec![("location_id", "must be a number".into())]);
    }
    let listed = request.own_account().map(|account| {
        let fits = |extension: &&Extension| {
            let user = extension.user.and_then(|user| account.users.get(user));
            is(location.as_deref(), Some(&extension.location.to_string()))
                && number.as_deref().is_none_or(|number| has_number(extension, number))
                && is(login.as_deref(), user.map(|user| user.login_name.as_str()))
                && is(email.as_deref(), user.map(|user| user.email.as_str()))
        };
        account.extensions.iter().filter(fits).map(|extension| show_extension(account, extension)).collect()
    });
    let names = if request.reported(FieldReport::ExtensionsArray) { &EXTENSIONS } else { &NAMES };
    list(&request, names, listed)
}

fn has_number(extension: &Extension, number: &str) -> bool {
    let bare = number.strip_prefix('+').unwrap_or(number).trim();
    extension.dids.iter().any(|did| did == bare)
}

fn extension(mut request: ApiRequest<'_>) -> Response {
    let id = request.parameter(1);
    let found = request.own_account().and_then(|account| {
        let found = account.extensions.iter().find(|known| known.external_id == id || known.number == id)?;
        Some(show_extension(account, found))
    });
    let Some(mut found) = found else { return not_found("Extension not found") };
    // Only a single extension has this member; the list omits it.
    found["service_type_name"] = "UX".into();
    let href = format!("{}{}", request.base, request.path);
    let body = json!({ "_links": { "self": { "href": href } }, "_embedded": { "extension": found } });
    json_response(200, &body)
}

fn users(mut request: ApiRequest<'_>) -> Response {
    let (number, size) = match paging(&request, &NAMES) {
        Ok(paging) => paging,
        Err(wrong) => return validation(&request, wrong),
    };
    let [first, last, login, email] =
        ["first_name", "last_name", "login_name", "email"].map(|name| request.query(name));
    let Some(account) = request.own_account() else { return not_found("Account not found") };
    let fits = |(_, user): &(usize, &AccountUser)| {
        is(first.as_deref(), Some(&user.first_name))
            && is(last.as_deref(), Some(&user.last_name))
            && is(login.as_deref(), Some(&user.login_name))
            && is(email.as_deref(), Some(&user.email))
    };
    let found: Vec<(usize, &AccountUser)> = account.users.iter().enumerate().filter(fits).collect();
    let page = Page::new(number, size, found.len());
    let content: Vec<ShownUser> =
        page.of(&found).iter().map(|(position, user)| show_user(account, *position, user)).collect();
    shown(&request, &NAMES, &page, &content)
}

fn user(mut request: ApiRequest<'_>) -> Response {
    let id = request.parameter(1);
    let own = request.own_position();
    let found = request.own_account().and_then(|account| {
        let position = if id == "self" { own? } else { account.position(&id)? };
        Some(show_user(account, position, account.users.get(position)?))
    });
    found.map_or_else(|| not_found("User not found"), |data| one(&request, data))
}

fn address(address: &Address, time_zone: bool) -> Value {
    let mut shown = json!({
        "address_1": address.street, "address_2": "", "city": address.city, "state": address.state,
        "postal_code": address.postal_code, "country": "US",
    });
    if time_zone {
        shown["time_zone"] = address.time_zone.into();
    }
    shown
}

fn show_location(location: &Location) -> Value {
    json!({ "id": location.id, "name": location.name, "address": address(&location.address, true) })
}

fn show_extension(account: &Account, extension: &Extension) -> Value {
    let user = extension.user.and_then(|user| account.users.get(user)).map(|user| {
        json!({
            "id": user.id, "email": user.email, "login_name": user.login_name,
            "first_name": user.first_name, "last_name": user.last_name,
        })
    });
    let mut shown = json!({
        "extension_number": extension.number,
        "external_id": extension.external_id,
        "location_id": extension.location,
        "vtt_enabled": extension.voicemail_to_text,
        "dnd_enabled": extension.do_not_disturb,
        "caller_id": extension.label,
        "block_caller_id": false,
        "dids": show_dids(extension),
        "extension_handsets": [{ "handset_name": format!("line1-{}", extension.sip_id), "sip_id": extension.sip_id }],
    });
    // Conference rooms and faxes have no user.
    if let Some(user) = user {
        shown["user"] = user;
    }
    shown
}

/// A user in a response. The fields are declared in alphabetical order, because `json!` sorts the
/// members of the other responses.
#[derive(Serialize)]
struct ShownUser {
    contact_numbers: [ContactNumber; 1],
    email: String,
    extensions: Vec<ShownExtension>,
    first_name: String,
    id: u64,
    last_name: String,
    login_name: String,
}

/// A contact number in a response.
#[derive(Serialize)]
struct ContactNumber {
    r#type: &'static str,
    value: String,
}

/// An extension as part of a user.
#[derive(Serialize)]
struct ShownExtension {
    dids: Vec<Did>,
    extension_number: String,
}

/// A direct number in a response.
#[derive(Serialize)]
struct Did {
    custom_tag: String,
    phone_number: String,
}

/// The direct numbers of an extension.
fn show_dids(extension: &Extension) -> Vec<Did> {
    let show = |number: &String| Did { custom_tag: extension.label.clone(), phone_number: number.clone() };
    extension.dids.iter().map(show).collect()
}

fn show_user(account: &Account, position: usize, user: &AccountUser) -> ShownUser {
    let own = account.extensions.iter().filter(|extension| extension.user == Some(position));
    ShownUser {
        contact_numbers: [ContactNumber { r#type: "Mobile", value: user.mobile.clone() }],
        email: user.email.clone(),
        extensions: own
            .map(|extension| ShownExtension {
                dids: show_dids(extension),
                extension_number: extension.number.clone(),
            })
            .collect(),
        first_name: user.first_name.clone(),
        id: user.id,
        last_name: user.last_name.clone(),
        login_name: user.login_name.clone(),
    }
}
