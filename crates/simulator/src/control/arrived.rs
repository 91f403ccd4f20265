//! What arrived, as the control plane shows it.

use serde_json::{Value, json};

use super::{Asked, refuse};
use crate::journal::Recorded;
use crate::options::SimulatorOptions;
use crate::response::{Answer, json as json_answer};

/// What arrived, oldest first; `None` where nothing new has, and the request may wait.
pub(super) fn requests(asked: &Asked<'_>) -> Option<Answer> {
    let since = match asked.query("since").map(|since| since.parse::<u64>()) {
        Some(Err(_)) => return Some(refuse(400, "since must be a sequence number")),
        since => since.and_then(Result::ok).unwrap_or(0),
    };
    let path = asked.query("path").unwrap_or_default();
    let state = asked.core.state();
    // Numbers begin again with a reset.
    let since = if since > state.journal.latest() { 0 } else { since };
    let wanted =
        state.journal.entries().filter(|entry| entry.sequence > since && entry.target.starts_with(&path));
    let is_asked = |name: &str| asked.query(name).is_some_and(|said| said != "false");
    let mut found: Vec<Value> = wanted.map(show).collect();
    if is_asked("responses") {
        let known = state.known_secrets();
        for request in &mut found {
            let sequence = request["sequence"].as_u64().unwrap_or_default();
            request["response"] =
                state.journal.response(sequence).map(|response| response.shown(&known)).into();
        }
    }
    if is_asked("comparable") {
        let own = own_names(&asked.core.options);
        found.iter_mut().for_each(|request| make_comparable(request, &own));
    }
    (!found.is_empty() || !asked.may_wait).then(|| json_answer(200, &Value::Array(found)))
}

/// What clients on this machine call us: the longest names first, as one may begin with another.
fn own_names(options: &SimulatorOptions) -> Vec<String> {
    let SimulatorOptions { address, public_base, .. } = options;
    let base = public_base.split_once("://").map_or(public_base.as_str(), |(_, base)| base);
    let hosts = ["127.0.0.1", "[::1]", "localhost"].map(|host| format!("{host}:{}", address.port()));
    let mut names: Vec<String> = hosts.into_iter().chain([address.to_string(), base.to_owned()]).collect();
    names.retain(|name| !name.is_empty());
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    names.dedup();
    names
}

/// A text with another in place of a name, but not of one that only begins or ends so.
fn renamed(text: &str, name: &str, with: &str) -> String {
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for (at, _) in text.match_indices(name) {
        let end = at + name.len();
        let part = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
        let begins = text[..at].ends_with(part);
        out.push_str(&text[from..at]);
        out.push_str(if begins || text[end..].starts_with(|c: char| c.is_ascii_alphanumeric()) {
            name
        } else {
            with
        });
        from = end;
    }
    out + &text[from..]
}

/// Leaves out what is not the same in a second run.
fn make_comparable(request: &mut Value, own: &[String]) {
    match request {
        Value::Object(members) => {
            members.remove("time");
            members.values_mut().for_each(|value| make_comparable(value, own));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| make_comparable(item, own)),
        Value::String(text) => own.iter().for_each(|name| *text = renamed(text, name, "simulator")),
        _ => {}
    }
}

fn show(entry: &Recorded) -> Value {
    json!({
        "sequence": entry.sequence,
        "time": entry.time.to_string(),
        "connection": entry.connection,
        "method": entry.method.as_str(),
        "target": entry.target,
        "head": entry.head,
        "headers": entry.headers,
        "body_length": entry.body_length,
        "body_sha256": entry.body_sha256,
        "grant": entry.grant,
        "token": entry.token,
        "status": entry.status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_names_are_replaced_and_longer_ones_are_left() {
        let options = SimulatorOptions {
            address: "0.0.0.0:8090".parse().unwrap(),
            public_base: "https://api.test".into(),
            ..SimulatorOptions::default()
        };
        let own = own_names(&options);
        for (text, expected) in [
            ("http://127.0.0.1:8090/a", "http://simulator/a"),
            ("[::1]:8090 0.0.0.0:8090 localhost:8090", "simulator simulator simulator"),
            ("https://api.test/t", "https://simulator/t"),
            ("127.0.0.1:80901 xlocalhost:8090 my.api.test", "127.0.0.1:80901 xlocalhost:8090 my.api.test"),
        ] {
            let mut shown = json!({"time": 1, "head": [text]});
            make_comparable(&mut shown, &own);
            assert_eq!(shown, json!({"head": [expected]}));
        }
    }
}
