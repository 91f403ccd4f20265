//! The OpenAPI document of the control plane, generated from its routes and faults.

use serde_json::{Map, Value, json};

use super::Route;
use super::schemas::{add_faults, reference};
use crate::field::FieldReport;

/// The OpenAPI document.
pub(super) fn document(routes: &[Route]) -> Value {
    let mut paths = Map::new();
    for route in routes {
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        item[route.method.to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Control plane of the VBC simulator",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Injects faults, shows received requests, and checks expectations.",
        },
        "servers": [{ "url": "/" }],
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
            let schema = json!({ "type": query_type(name) });
            json!({ "name": name, "in": "query", "description": says, "schema": schema })
        })
        .collect();
    if route.path.contains("{id}") {
        parameters
            .push(json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "integer" } }));
    }
    let mut response = json!({ "description": route.summary });
    if let Some(schema) = gives {
        response["content"] = content(schema);
    }
    let mut operation = json!({
        "summary": route.summary,
        "operationId": operation_id(route),
        "parameters": parameters,
        "responses": {
            status.to_string(): response,
            "default": { "description": "The error", "content": content("Error") },
        },
    });
    if let Some(schema) = route.takes {
        operation["requestBody"] = json!({ "required": true, "content": content(schema) });
    }
    operation
}

fn query_type(parameter: &str) -> &'static str {
    match parameter {
        "since" => "integer",
        "wait" => "number",
        "fail" | "comparable" | "responses" => "boolean",
        _ => "string",
    }
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

fn text() -> Value {
    json!({ "type": "string" })
}

fn number() -> Value {
    json!({ "type": "integer" })
}

fn truth() -> Value {
    json!({ "type": "boolean" })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn list(of: Value) -> Value {
    json!({ "type": "array", "items": of })
}

/// The schema, or `null`.
fn nullable(mut schema: Value) -> Value {
    schema["type"] = json!([schema["type"], "null"]);
    schema
}

fn schemas() -> Value {
    let mut schemas = Map::new();
    add_faults(&mut schemas);
    add_requests(&mut schemas);
    add_expectations(&mut schemas);
    let others = [
        ("Page", text()),
        ("Script", text()),
        ("Style", text()),
        ("OpenApi", json!({ "type": "object" })),
        ("Scenario", described(text(), &scenario())),
        ("Status", required(&[("status", text())])),
        ("Error", with_optional(&[("error", text())], &[("known", json!({ "type": "object" }))])),
        ("Stats", json!({ "type": "object", "description": "Counters by name" })),
        ("Clock", required(&[("now", time())])),
        (
            "Start",
            required(&[
                ("quota", json!({ "type": ["integer", "null"] })),
                ("clock", json!({ "type": ["string", "null"], "format": "date-time" })),
            ]),
        ),
        ("Call", with_optional(&[("to", text())], &[("from", text()), ("account", number())])),
        ("Called", required(&[("call_id", text())])),
        (
            "ClockChange",
            object(&[
                (
                    "advance",
                    described(text(), "moves the clock by this duration, such as 1h30m or -20s; or use set"),
                ),
                ("set", described(time(), "sets the clock to this time; or use advance")),
            ]),
        ),
        ("FaultOrList", json!({ "oneOf": [reference("Fault"), list(reference("Fault"))] })),
        ("InjectedFault", required(&[("id", number()), ("fault", text())])),
        ("Injected", list(reference("InjectedFault"))),
        ("FaultInForce", in_force()),
        ("Faults", list(reference("FaultInForce"))),
    ];
    schemas.extend(others.map(|(name, schema)| (name.to_owned(), schema)));
    schemas.into()
}

fn in_force() -> Value {
    required(&[
        ("id", number()),
        ("kind", json!({ "type": "string", "enum": ["request", "setting"] })),
        ("fault", text()),
        ("with", described(json!({ "type": "object" }), "its parameters")),
        ("path", nullable(text())),
        ("endpoint", nullable(text())),
        ("method", nullable(text())),
        ("grant", nullable(text())),
        ("passing", number()),
        ("remaining", nullable(number())),
        ("until", nullable(time())),
        ("probability", json!({ "type": "number" })),
    ])
}

fn add_requests(schemas: &mut Map<String, Value>) {
    let always = [
        ("sequence", number()),
        ("connection", number()),
        ("method", text()),
        ("target", text()),
        ("head", text()),
        ("headers", list(list(text()))),
        ("body_length", number()),
        ("body_sha256", text()),
        ("grant", nullable(text())),
        ("token", nullable(text())),
        ("status", nullable(number())),
    ];
    let response = required(&[
        ("content_type", nullable(text())),
        ("length", number()),
        ("beginning", nullable(text())),
    ]);
    let at_times = [
        ("time", described(time(), "absent with comparable=true")),
        ("response", json!({ "oneOf": [reference("Response"), { "type": "null" }] })),
    ];
    schemas.insert(
        "Response".into(),
        described(response, "only with responses=true; null until the response is sent"),
    );
    schemas.insert("Request".into(), with_optional(&always, &at_times));
    schemas.insert("Requests".into(), list(reference("Request")));
}

fn add_expectations(schemas: &mut Map<String, Value>) {
    let texts = || json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let expectation = object(&[
        ("name", text()),
        ("method", text()),
        ("path", text()),
        ("query", texts()),
        ("headers", texts()),
        ("grant", text()),
        ("body", described(json!({}), "a text, or a JSON object or list")),
        ("status", number()),
        ("times", number()),
        ("at_least", number()),
        ("at_most", number()),
    ]);
    let near = required(&[("request", text()), ("differs", list(text()))]);
    let finding = [("id", number()), ("expected", text()), ("met", truth()), ("matched", list(number()))];
    let at_times = [("problem", text()), ("nearest", list(reference("Nearest")))];
    let verdict = required(&[
        ("met", truth()),
        ("summary", text()),
        ("forgotten", number()),
        ("expectations", list(reference("Finding"))),
    ]);
    let several =
        with_optional(&[("expectations", list(reference("Expectation")))], &[("in_order", truth())]);
    let any = [reference("Expectation"), list(reference("Expectation")), reference("ExpectationList")];
    for (name, schema) in [
        ("Expectation", expectation),
        ("ExpectationList", several),
        ("Expectations", json!({ "anyOf": any })),
        ("Declared", required(&[("ids", list(number()))])),
        ("Nearest", near),
        ("Finding", with_optional(&finding, &at_times)),
        ("Verdict", verdict),
    ] {
        schemas.insert(name.into(), schema);
    }
}

/// Describes a scenario and the switches of its `[field]`.
fn scenario() -> String {
    let mut text = "A scenario file (see docs/testing.md). Keys of [field], each true or false:".to_owned();
    for report in FieldReport::ALL {
        text.push_str(&format!("\n- {}: {}", report.name(), report.says()));
    }
    text
}

fn described(mut schema: Value, says: &str) -> Value {
    schema["description"] = says.into();
    schema
}

fn required(members: &[(&str, Value)]) -> Value {
    with_optional(members, &[])
}

fn with_optional(members: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let mut schema = object(&[members, optional].concat());
    schema["required"] = members.iter().map(|(name, _)| *name).collect();
    schema
}

fn object(members: &[(&str, Value)]) -> Value {
    let properties: Map<String, Value> =
        members.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "properties": properties })
}
