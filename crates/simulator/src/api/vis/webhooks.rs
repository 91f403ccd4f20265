//! Webhooks: the subscriptions of the token's user to the user's own calls.

use serde_json::Value;

use super::{ApiRequest, Problem, invalid, no_user, not_json, nothing_of_that_id, read_json};
use crate::response::{Response, empty, json as json_response};
use crate::state::State;
use crate::world::webhooks::{Metadata, Subscription};

pub(super) fn create(mut request: ApiRequest<'_>) -> Response {
    let Some(body) = read_json(request.body) else { return not_json() };
    let subscription = match read(&body) {
        Ok(subscription) => subscription,
        Err(wrong) => return invalid(&wrong),
    };
    let now = request.now;
    let Some((account, position)) = request.person() else { return no_user() };
    let (owner, user) = ((account.id, position), account.users.get(position).map_or(0, |user| user.id));
    let State { world, random, .. } = request.state;
    json_response(201, &world.webhooks.create(owner, user, subscription, now, random))
}

/// Reads a subscription, with VBC's defaults.
fn read(body: &Value) -> Result<Subscription, Vec<Problem>> {
    let mut wrong: Vec<Problem> = Vec::new();
    let url = body["url"].as_str().unwrap_or_default();
    let known =
        url::Url::parse(url).is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
    if !known {
        wrong.push(("url", "must be an http or https URL".to_owned()));
    }
    let events: Vec<String> = match &body["events"] {
        Value::Null => vec!["CALL".to_owned()],
        Value::Array(events) => {
            events.iter().map(|event| event.as_str().unwrap_or_default().to_owned()).collect()
        }
        // A snippet in the documentation sends a single event instead of a list.
        Value::String(event) => vec![event.clone()],
        _ => vec![String::new()],
    };
    if !events.iter().all(|event| event == "CALL") {
        wrong.push(("events", "must be a list of CALL".to_owned()));
    }
    let signed = match &body["signingAlgo"] {
        Value::Null => false,
        Value::String(word) if word == "NONE" => false,
        Value::String(word) if word == "HMAC_SHA256" => true,
        _ => {
            wrong.push(("signingAlgo", "must be HMAC_SHA256".to_owned()));
            false
        }
    };
    let metadata = match &body["metadataPolicy"] {
        Value::Null => Some(Metadata::None),
        word => word.as_str().and_then(Metadata::read),
    };
    if metadata.is_none() {
        wrong.push(("metadataPolicy", "must be one of: NONE, HEADER, BODY".to_owned()));
    }
    let key = match &body["signingKey"] {
        Value::Null => "",
        Value::String(key) => key,
        _ => {
            wrong.push(("signingKey", "must be a string".to_owned()));
            ""
        }
    };
    match metadata.filter(|_| wrong.is_empty()) {
        Some(metadata) => Ok(Subscription { url: url.to_owned(), events, key: key.into(), signed, metadata }),
        None => Err(wrong),
    }
}

pub(super) fn list(mut request: ApiRequest<'_>) -> Response {
    let Some((owner, now)) = owner(&mut request) else { return no_user() };
    let shown: Vec<Value> =
        request.state.world.webhooks.of(owner, now).map(|webhook| webhook.show(now)).collect();
    json_response(200, &Value::from(shown))
}

pub(super) fn one(mut request: ApiRequest<'_>) -> Response {
    let Some((owner, now)) = owner(&mut request) else { return no_user() };
    let id = request.parameter(0);
    let found = request.state.world.webhooks.of(owner, now).find(|webhook| webhook.id == id);
    found.map_or_else(|| nothing_of_that_id("Webhook"), |webhook| json_response(200, &webhook.show(now)))
}

pub(super) fn remove(mut request: ApiRequest<'_>) -> Response {
    let Some((owner, _)) = owner(&mut request) else { return no_user() };
    let id = request.parameter(0);
    if request.state.world.webhooks.remove(owner, &id) { empty(204) } else { nothing_of_that_id("Webhook") }
}

pub(super) fn renew(mut request: ApiRequest<'_>) -> Response {
    let Some((owner, now)) = owner(&mut request) else { return no_user() };
    let id = request.parameter(0);
    let Some(webhook) = request.state.world.webhooks.of(owner, now).find(|webhook| webhook.id == id) else {
        return nothing_of_that_id("Webhook");
    };
    webhook.renew(now);
    json_response(200, &webhook.show(now))
}

fn owner(request: &mut ApiRequest<'_>) -> Option<((u64, usize), vbc_base::clock::Timestamp)> {
    let now = request.now;
    let (account, position) = request.person()?;
    Some(((account.id, position), now))
}
