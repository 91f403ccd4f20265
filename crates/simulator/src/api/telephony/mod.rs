//! Telephony: calls, their legs, and devices. Placing a call is the side effect that must never
//! happen twice.

mod calls;
mod devices;
mod legs;
mod shown;

use serde_json::{Value, json};

use super::accept::media;
use super::{ApiRequest, Page, Route, Suite, is_phone_number, read_json, seconds, without_role};
use crate::field::FieldReport;
use crate::random::Random;
use crate::response::{Response, json as json_response, set, text};
use crate::state::State;
use crate::tokens::Owner;
use crate::world::Account;
use crate::world::calls::Call;
use vbc_base::clock::Timestamp;

pub(super) static SUITE: Suite = Suite {
    context: "telephony",
    version: "v3",
    routes: &[
        Route { method: "GET", pattern: CALLS, run: calls::list },
        Route { method: "POST", pattern: CALLS, run: calls::place },
        Route { method: "GET", pattern: CALL, run: calls::one },
        Route { method: "PUT", pattern: CALL, run: calls::change },
        Route { method: "DELETE", pattern: CALL, run: calls::end },
        Route { method: "GET", pattern: "cc/accounts/{}/calls/{}/legs", run: legs::list },
        Route { method: "GET", pattern: LEG, run: legs::one },
        Route { method: "PUT", pattern: LEG, run: legs::change },
        Route { method: "DELETE", pattern: LEG, run: legs::end },
        Route { method: "GET", pattern: "registration/accounts/{}/devices", run: devices::list },
        Route { method: "GET", pattern: "registration/accounts/{}/devices/{}", run: devices::one },
    ],
    refusal,
    refuse: not_permitted,
};

const CALLS: &str = "cc/accounts/{}/calls";
const CALL: &str = "cc/accounts/{}/calls/{}";
const LEG: &str = "cc/accounts/{}/calls/{}/legs/{}";

/// The response to users without the role, and to an application's own token.
fn refusal(state: &State, owner: &Owner) -> Option<Response> {
    if owner.user.is_none() && state.options.field.has(FieldReport::ApplicationToken) {
        return Some(text(202, "text/plain", ""));
    }
    without_role(state, owner, &SUITE)
}

fn not_permitted() -> Response {
    let message = "User is not permitted to make a request against this account";
    json_response(401, &json!({ "code": 401, "message": message }))
}

/// An error response. In all errors except 401, `code` is a string.
fn error(code: u16, message: &str) -> Response {
    json_response(code, &json!({ "code": code.to_string(), "message": message }))
}

/// A JSON response, labelled as plain text if the client prefers that.
fn labelled(request: &ApiRequest<'_>, value: &Value) -> Response {
    let mut response = json_response(200, value);
    if wants_text(request) {
        set(&mut response, http::header::CONTENT_TYPE, "text/plain");
    }
    response
}

fn wants_text(request: &ApiRequest<'_>) -> bool {
    media(request.headers, "text/plain") > media(request.headers, "application/json")
}

/// The position of the call in the path.
fn call_of(request: &mut ApiRequest<'_>) -> Result<usize, Box<Response>> {
    let id = request.parameter(1);
    let Some(account) = request.own_account() else { return Err(Box::new(not_permitted())) };
    account.call_positions.get(&id).copied().ok_or_else(|| Box::new(error(404, "Call not found")))
}

/// Changes a call of the caller's account.
fn change(
    request: ApiRequest<'_>,
    position: usize,
    act: impl FnOnce(&mut Call, &mut Random, Timestamp) -> Response,
) -> Response {
    let account = request.account;
    let now = request.now;
    let State { world, random, .. } = request.state;
    world
        .change(account, position, now, random, |call, random| act(call, random, now))
        .unwrap_or_else(|| error(404, "Call not found"))
}

/// A party in a request: one that calls, is called, or is on a call.
struct Contact {
    kind: String,
    destination: String,
}

/// The types of contacts that may place a call.
const CALLER: &[&str] = &["extension", "device", "feature_code"];
/// The types of contacts that may be called.
const CALLED: &[&str] = &["pstn", "device", "extension", "feature_code"];
/// The types of contacts that may join or leave a call.
const PARTY: &[&str] = &["pstn", "device", "extension"];

impl Contact {
    /// Reads an object with type and destination, or only a number. The first of `kinds` is the
    /// default type.
    fn read(value: &Value, kinds: &[&str]) -> Option<Self> {
        let usual = kinds.first().copied().unwrap_or_default();
        if let Some(number) = value.as_str() {
            return (!number.is_empty())
                .then(|| Self { kind: usual.to_owned(), destination: number.to_owned() });
        }
        let text = |name: &str| match &value[name] {
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let kind = text("type").unwrap_or_else(|| usual.to_owned());
        Some(Self { kind, destination: text("destination")? })
    }

    /// The party that the contact reaches: an extension of the account, or the number itself.
    ///
    /// # Errors
    /// The problem with the contact, which is the member `name` of the request.
    fn reach(&self, account: &Account, name: &str, kinds: &[&str]) -> Result<String, String> {
        if !kinds.contains(&self.kind.as_str()) {
            return Err(format!("{name}.type must be one of {}", kinds.join(", ")));
        }
        let reached = account.reached_by(&self.destination);
        let ours = account.extensions.iter().any(|extension| extension.number == reached);
        match self.kind.as_str() {
            "extension" if !ours => Err(format!("{name}.destination is not an extension of this account")),
            "device" if !ours => {
                let device = account
                    .devices
                    .iter()
                    .position(|device| device.mac.eq_ignore_ascii_case(&self.destination));
                let holder = device.and_then(|device| account.extensions.get(device));
                holder
                    .map(|extension| extension.number.clone())
                    .ok_or_else(|| format!("{name}.destination is not a device of this account"))
            }
            "pstn" if !is_phone_number(&self.destination) => {
                Err(format!("{name}.destination must be a phone number"))
            }
            "feature_code" if !self.destination.bytes().all(|key| b"0123456789*#".contains(&key)) => {
                Err(format!("{name}.destination must be of 0-9 * #"))
            }
            _ => Ok(reached),
        }
    }
}

/// The last second of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// Reads seconds since 1970. A number beyond the year 9999 counts as microseconds.
fn moment(text: &str) -> Option<Timestamp> {
    let number: i64 = text.parse().ok()?;
    Some(seconds(if number > LAST_SECOND { number / 1_000_000 } else { number }))
}

/// Whether the oldest calls come first: `order` is `asc` or `desc`, with or without `start:` before
/// it.
fn ascending(request: &ApiRequest<'_>) -> bool {
    request.query("order").is_some_and(|order| order.to_ascii_lowercase().ends_with("asc"))
}

/// The requested page. Invalid numbers count as absent.
fn page(query: &str, total: usize) -> Page {
    let number = |name: &str, default: usize| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        let given = pairs.find(|(given, _)| given == name).and_then(|(_, value)| value.parse().ok());
        given.filter(|number| *number > 0).unwrap_or(default)
    };
    Page::new(number("page", 1), number("page_size", 100), total)
}

/// A page of a list. Its links omit the suite's prefix, and its numbers are strings.
fn listed(request: &ApiRequest<'_>, name: &str, page: &Page, shown: Vec<Value>) -> Response {
    let path = super::suite(request.path).map_or(request.path, |(_, rest)| rest);
    let others = request.query_without(&["page", "page_size"]);
    let uri = |number: usize| {
        let separator = if others.is_empty() { "" } else { "&" };
        format!("/{path}?{others}{separator}page={number}&page_size={}", page.size)
    };
    let next = (page.number < page.pages).then(|| page.number + 1);
    let previous = (page.number > 1).then(|| page.number - 1);
    let mut list = json!({
        name: shown,
        "current_page": page.number.to_string(),
        "first_page_uri": uri(1),
        "order": if ascending(request) { "asc" } else { "desc" },
        "page_size": page.size.to_string(),
        "pages": page.pages.to_string(),
    });
    if let Some(next) = next {
        list["next_page"] = next.to_string().into();
        list["next_page_uri"] = uri(next).into();
    }
    if let Some(previous) = previous {
        list["previous_page_uri"] = uri(previous).into();
    }
    labelled(request, &list)
}

/// Seconds since 1970 as a string, as in the documentation's examples.
fn epoch(at: Timestamp) -> String {
    at.as_second().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_up_to_the_end_of_the_year_9999() {
        let second = |text: &str| moment(text).map(Timestamp::as_second);
        assert_eq!(second("1595955770"), Some(1_595_955_770));
        assert_eq!(second("1595955770000000"), Some(1_595_955_770), "microseconds");
        let last = Timestamp::MAX.as_second();
        for far in ["253402300799", "253402300799000000", "9223372036854775807"] {
            assert_eq!(second(far), Some(last), "{far}");
        }
        assert_eq!(second("-9223372036854775808"), Some(Timestamp::MIN.as_second()));
        assert_eq!(second("soon"), None);
    }
}
