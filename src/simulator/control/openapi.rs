//! The description of the control plane, made of its routes and faults.

use serde_json::{Map, Value, json};

use super::routes::{ROUTES, Route};
use crate::simulator::fault::{KNOWN, MATCHERS};
use crate::simulator::field::FieldReport;

/// The OpenAPI document.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        item[route.method.to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Control plane of the VBC simulator",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Makes things go wrong, tells what arrived, and judges what was expected.",
        },
        "paths": paths,
        "components": { "schemas": schemas() },
    })
}

fn operation(route: &Route) -> Value {
    let (status, gives) = route.gives;
    let mut parameters: Vec<Value> = route
        .query
        .iter()
        .map(|(name, says)| {
            json!({ "name": name, "in": "query", "description": says, "schema": { "type": "string" } })
        })
        .collect();
    if route.path.contains("{id}") {
        parameters
            .push(json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "integer" } }));
    }
    let mut answer = json!({ "description": route.summary });
    if let Some(schema) = gives {
        answer["content"] = content(schema);
    }
    let mut operation = json!({
        "summary": route.summary,
        "operationId": operation_id(route),
        "parameters": parameters,
        "responses": {
            status.to_string(): answer,
            "default": { "description": "What is wrong", "content": content("Error") },
        },
    });
    if let Some(schema) = route.takes {
        operation["requestBody"] = json!({ "required": true, "content": content(schema) });
    }
    operation
}

fn operation_id(route: &Route) -> String {
    let words = route.path.trim_matches('/').replace("__sim", "sim").replace(['/', '.', '{', '}'], "_");
    let words = words.trim_matches('_').replace("__", "_");
    let root = if route.path == "/" { "root" } else { "" };
    format!("{}_{root}{words}", route.method.to_ascii_lowercase())
}

fn content(schema: &str) -> Value {
    let media_type = match schema {
        "Page" => "text/html",
        "Script" => "text/javascript",
        "Style" => "text/css",
        "Scenario" => "application/toml",
        _ => "application/json",
    };
    json!({ media_type: { "schema": { "$ref": format!("#/components/schemas/{schema}") } } })
}

fn schemas() -> Value {
    let text = || json!({ "type": "string" });
    let number = || json!({ "type": "integer" });
    let list =
        |of: &str| json!({ "type": "array", "items": { "$ref": format!("#/components/schemas/{of}") } });
    json!({
        "Page": text(), "Script": text(), "Style": text(),
        "OpenApi": { "type": "object" },
        "Scenario": { "type": "string", "description": scenario() },
        "Status": object(&[("status", text())]),
        "Error": object(&[("error", text()), ("known", json!({}))]),
        "Stats": { "type": "object", "description": "Counters by name" },
        "Clock": object(&[("now", json!({ "type": "string", "format": "date-time" }))]),
        "Call": object(&[("to", text()), ("from", text()), ("account", number())]),
        "Called": object(&[("call_id", text())]),
        "ClockChange": object(&[
            ("advance", json!({ "description": "a length of time, or seconds", "type": ["string", "number"] })),
            ("set", json!({ "type": "string", "format": "date-time" })),
        ]),
        "Fault": fault(),
        "FaultOrList": { "oneOf": [{ "$ref": "#/components/schemas/Fault" }, list("Fault")] },
        "Injected": { "type": "array", "items": object(&[("id", number()), ("fault", text())]) },
        "Faults": { "type": "array", "items": object(&[
            ("id", number()), ("fault", text()), ("with", json!({ "type": "object" })), ("remaining", json!({ "type": ["integer", "null"] })),
        ]) },
        "Requests": list("Request"),
        "Request": object(&[
            ("sequence", number()), ("time", json!({ "type": "string", "format": "date-time" })),
            ("connection", number()), ("method", text()), ("target", text()), ("head", text()),
            ("headers", json!({ "type": "array", "items": { "type": "array", "items": text() } })),
            ("body_length", number()), ("body_sha256", text()),
            ("grant", json!({ "type": ["string", "null"] })), ("token", json!({ "type": ["string", "null"] })),
            ("status", json!({ "type": ["integer", "null"] })),
        ]),
        "Expectation": object(&[
            ("name", text()), ("method", text()), ("path", text()),
            ("query", json!({ "type": "object" })), ("headers", json!({ "type": "object" })),
            ("grant", text()), ("status", number()),
            ("times", number()), ("at_least", number()), ("at_most", number()),
        ]),
        "Expectations": { "oneOf": [
            { "$ref": "#/components/schemas/Expectation" },
            list("Expectation"),
            object(&[("expectations", list("Expectation")), ("in_order", json!({ "type": "boolean" }))]),
        ] },
        "Declared": object(&[("ids", json!({ "type": "array", "items": number() }))]),
        "Verdict": object(&[
            ("met", json!({ "type": "boolean" })), ("summary", text()), ("forgotten", number()),
            ("expectations", json!({ "type": "array", "items": object(&[
                ("id", number()), ("expected", text()), ("met", json!({ "type": "boolean" })),
                ("matched", json!({ "type": "array", "items": number() })), ("problem", text()),
                ("nearest", json!({ "type": "array", "items": object(&[
                    ("request", text()), ("differs", json!({ "type": "array", "items": text() })),
                ]) })),
            ]) })),
        ]),
    })
}

/// What a scenario is, and the switches of its `[field]`.
fn scenario() -> String {
    let mut text = "A scenario file: docs/testing.md. Keys of [field], each true or false:".to_owned();
    for report in FieldReport::ALL {
        text.push_str(&format!("\n- {}: {}", report.name(), report.says()));
    }
    text
}

fn object(members: &[(&str, Value)]) -> Value {
    let properties: Map<String, Value> =
        members.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "properties": properties })
}

/// One schema for each fault: which parameters it takes.
fn fault() -> Value {
    let one = |known: &crate::simulator::fault::Known| {
        let takes = known.takes.join(", ");
        let mut properties = Map::from_iter([("fault".to_owned(), json!({ "const": known.name }))]);
        for parameter in takes.split(", ").filter(|parameter| !parameter.is_empty()) {
            properties.insert(parameter.to_owned(), json!({}));
        }
        json!({
            "title": known.name, "description": known.says, "type": "object", "properties": properties,
            "required": ["fault"], "additionalProperties": false,
        })
    };
    let all: Vec<Value> = KNOWN.iter().map(one).collect();
    json!({ "oneOf": all, "description": format!("Faults on requests take: {MATCHERS}") })
}
