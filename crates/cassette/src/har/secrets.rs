//! Collects the credentials in an archive, so that every repetition is found.

use serde_json::Value;

use crate::format::{Content, Record, field};
use crate::redact::{KnownSecrets, names_secret, parameter_names_secret};
use crate::text::split_query;
use vbc_base::secret::Secret;

/// The shortest credential that is collected. A shorter value may be an ordinary word.
const SHORTEST: usize = 8;

/// Adds the values of a record whose names call them credentials.
pub(super) fn collect(record: &Record, known: &mut KnownSecrets) {
    form(split_query(&record.request.target).1.unwrap_or_default(), known);
    let messages =
        [(&record.request.headers, &record.request.body), (&record.response.headers, &record.response.body)];
    for (headers, body) in messages {
        for (name, value) in headers {
            header(name, value, known);
        }
        let Content::Text(text) = body else { continue };
        let is_form = field(headers, "content-type").is_some_and(|kind| kind.contains("urlencoded"));
        match serde_json::from_str(text) {
            Ok(value) => json(&value, false, known),
            Err(_) if is_form => form(text, known),
            Err(_) => {}
        }
    }
}

fn add(text: &str, known: &mut KnownSecrets) {
    if text.len() >= SHORTEST {
        known.add(Secret::new(text));
    }
}

fn header(name: &str, value: &str, known: &mut KnownSecrets) {
    match name {
        // Attributes of a cookie are not credentials.
        "set-cookie" => cookie(value.split(';').next().unwrap_or_default(), known),
        "cookie" => value.split(';').for_each(|pair| cookie(pair, known)),
        name if names_secret(name) => {
            let bare = value.split_once(' ').map_or(value, |(_, rest)| rest);
            add(bare.trim(), known);
        }
        _ => {}
    }
}

fn cookie(pair: &str, known: &mut KnownSecrets) {
    add(pair.split_once('=').map_or(pair, |(_, value)| value).trim(), known);
}

fn form(text: &str, known: &mut KnownSecrets) {
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        if parameter_names_secret(&name) {
            add(&value, known);
        }
    }
}

fn json(value: &Value, is_secret: bool, known: &mut KnownSecrets) {
    match value {
        Value::String(text) if is_secret => add(text, known),
        Value::Array(items) => items.iter().for_each(|item| json(item, is_secret, known)),
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| json(value, is_secret || names_secret(name), known));
        }
        _ => {}
    }
}
