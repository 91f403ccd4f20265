//! Schemas of faults: parameters, types and required members.
//!
//! The server accepts more spellings than these (`docs/simulator.md`). Each parameter has one
//! schema, so that a generated client gives it one type.

use serde_json::{Map, Value, json};

use crate::fault::{ENDPOINTS, FAULTS, FaultSpec, MEMBERS};
use crate::names::GRANTS;
use crate::names::SUITES;

/// Adds a schema for each fault, and the schema `Fault`, which is any of them. The `fault` member
/// selects one.
pub(super) fn add_faults(schemas: &mut Map<String, Value>) {
    let mut mapping = Map::new();
    for known in FAULTS {
        let name = schema_name(known.name);
        mapping.insert(known.name.to_owned(), reference(&name)["$ref"].clone());
        schemas.insert(name, fault(known));
    }
    let all: Vec<Value> = FAULTS.iter().map(|known| reference(&schema_name(known.name))).collect();
    schemas.insert(
        "Fault".into(),
        json!({ "oneOf": all, "discriminator": { "propertyName": "fault", "mapping": mapping } }),
    );
}

pub(super) fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// `revoke_all_access` is `RevokeAllAccessFault`.
fn schema_name(fault: &str) -> String {
    let words = fault.split('_').map(|word| {
        let (first, rest) = word.split_at(1.min(word.len()));
        first.to_ascii_uppercase() + rest
    });
    let name: String = words.collect();
    if name.ends_with("Fault") { name } else { name + "Fault" }
}

fn fault(known: &FaultSpec) -> Value {
    let name = json!({ "type": "string", "enum": [known.name], "description": "the name of the fault" });
    let mut properties = Map::from_iter([("fault".to_owned(), name)]);
    for parameter in known.parameters() {
        // `delay` takes `millis` or `seconds`; the schema has only `millis`.
        if (known.name, parameter) != ("delay", "seconds") {
            properties.insert(parameter.to_owned(), schema_of(known.name, parameter));
        }
    }
    let required: Vec<&str> = ["fault"].into_iter().chain(required(known.name).iter().copied()).collect();
    json!({
        "title": schema_name(known.name), "description": known.says, "type": "object", "properties": properties,
        "required": required, "additionalProperties": false,
    })
}

/// The required parameters of a fault.
fn required(fault: &str) -> &'static [&'static str] {
    match fault {
        "expire_in" | "clock_advance" | "reports_token_age_limit" => &["seconds"],
        "mode" => &["mode"],
        "old_access" => &["state"],
        "lock_user" | "unlock_user" | "single_sign_on" => &["user"],
        "change_password" => &["user", "password"],
        "roles" => &["user", "suite"],
        "regenerate_secret" => &["client_id", "secret"],
        "clock_set" => &["time"],
        "quota" => &["per_minute"],
        "unsubscribe" | "resubscribe" => &["suite"],
        "status" | "spent_refresh" => &["status"],
        "redirect" => &["location"],
        "delay" => &["millis"],
        "drip" => &["bytes_per_second"],
        "close_after_n_requests" => &["requests"],
        "missing" => &["field"],
        "expires_in_as" | "token_type" => &["value"],
        "token_age_limit" => &["path", "seconds"],
        _ => &[],
    }
}

fn schema_of(fault: &str, parameter: &str) -> Value {
    let one_of = |words: &[&str]| json!({ "type": "string", "enum": words });
    let whole = |least: u64| json!({ "type": "integer", "minimum": least });
    let (mut schema, says) = match (fault, parameter) {
        ("clock_advance", "seconds") => {
            (json!({ "type": "number" }), "a negative number moves the clock back")
        }
        ("status" | "refuse_continue" | "early_response", "seconds") => {
            (whole(0), "the seconds in Retry-After; 30 by default")
        }
        ("spent_refresh", "status") => (json!({ "type": "integer", "enum": [400, 500] }), "400 by default"),
        ("expires_in_as", "value") => (json!({}), "any JSON value"),
        (_, "mode") => (one_of(&["reuse", "renew_revoke", "renew_keep"]), "what a second login does"),
        (_, "state") => (one_of(&["dead", "alive"]), "the state of the old access token after a refresh"),
        (_, "suite") => (one_of(SUITES), "a suite"),
        (_, "field") => (one_of(MEMBERS), "a member of token responses"),
        (_, "endpoint") => (one_of(&[ENDPOINTS, SUITES].concat()), "only requests to this endpoint or suite"),
        (_, "grant") => (one_of(GRANTS), "only token requests with this grant"),
        (_, "retry_after") => (one_of(&["date", "delta", "none"]), "the form of Retry-After"),
        (_, "status") => (json!({ "type": "integer", "minimum": 200, "maximum": 599 }), "the status"),
        (_, "seconds") => (whole(0), "a number of seconds"),
        (_, "millis") => (whole(0), "a number of milliseconds"),
        (_, "per_minute") => (whole(0), "requests per minute; 0 means no limit"),
        (_, "bytes_per_second" | "requests") => (whole(1), "how many"),
        (_, "bytes") => (whole(0), "how many bytes are sent or read first"),
        (_, "after") => (whole(0), "how many matching requests pass first"),
        (_, "count") => (whole(1), "how many requests the fault affects"),
        (_, "seed") => (whole(0), "the seed of the probability"),
        (_, "probability") => (
            json!({ "type": "number", "minimum": 0, "maximum": 1 }),
            "the probability that a matching request is affected",
        ),
        (_, "existing" | "keep_tokens" | "sso" | "allowed") => (json!({ "type": "boolean" }), ""),
        (_, "time") => (json!({ "type": "string", "format": "date-time" }), "the new time of the clock"),
        (_, "lasts") => (json!({ "type": "string" }), "a duration, such as 20s or 1m30s"),
        (_, "path") => (json!({ "type": "string" }), "a prefix, or a pattern with * and **"),
        (_, "user") => (json!({ "type": "string" }), "the full user name, such as alice@vbc.prod"),
        _ => (json!({ "type": "string" }), ""),
    };
    if !says.is_empty() {
        schema["description"] = says.into();
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fault;

    /// A value that is valid for a schema.
    fn example(name: &str, schema: &Value) -> Value {
        if let Some(first) = schema["enum"].as_array().and_then(|words| words.first()) {
            return first.clone();
        }
        match (schema["type"].as_str(), name) {
            (Some("integer"), _) => schema["minimum"].as_u64().unwrap_or(0).max(1).into(),
            (Some("number"), _) => 0.5.into(),
            (Some("boolean"), _) => true.into(),
            (_, "time") => "2026-03-01T09:00:00+00:00".into(),
            (_, "path") => "/token".into(),
            (_, "lasts") => "20s".into(),
            _ => "x".into(),
        }
    }

    #[test]
    fn each_schema_says_what_the_fault_takes_and_what_it_needs() {
        let mut schemas = Map::new();
        add_faults(&mut schemas);
        assert_eq!(schemas.len(), FAULTS.len() + 1);
        for known in FAULTS {
            let schema = &schemas[&schema_name(known.name)];
            let properties = schema["properties"].as_object().unwrap();
            let whole: Map<String, Value> =
                properties.iter().map(|(name, schema)| (name.clone(), example(name, schema))).collect();
            let read = Fault::from_json(&whole.clone().into());
            assert!(read.is_ok(), "{}: {read:?}", known.name);
            let required: Vec<&str> =
                schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
            let least: Map<String, Value> =
                whole.into_iter().filter(|(name, _)| required.contains(&name.as_str())).collect();
            assert_eq!(least.len(), required.len(), "{}: every required member needs a schema", known.name);
            let read = Fault::from_json(&least.clone().into());
            assert!(read.is_ok(), "{} with {required:?}: {read:?}", known.name);
            // The schemas require these parameters, but the server has defaults for them.
            let needless = [("quota", "per_minute"), ("spent_refresh", "status")];
            for name in required.iter().filter(|name| !needless.contains(&(known.name, **name))) {
                let mut less = least.clone();
                less.remove(*name);
                assert!(Fault::from_json(&less.into()).is_err(), "{} without {name}", known.name);
            }
        }
    }
}
