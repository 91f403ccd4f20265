//! The journal as the control plane shows it.

use serde_json::{Value, json};

use super::{ControlRequest, refuse};
use crate::journal::RecordedRequest;
use crate::options::SimulatorOptions;
use crate::response::{Response, json as json_response};

/// The recorded requests that match, oldest first. `None` if none matches and the request may wait.
pub(super) fn requests(request: &ControlRequest<'_>) -> Option<Response> {
    let since = match request.query("since").map(|since| since.parse::<u64>()) {
        Some(Err(_)) => return Some(refuse(400, "since must be a sequence number")),
        since => since.and_then(Result::ok).unwrap_or(0),
    };
    let path = request.query("path").unwrap_or_default();
    let state = request.engine.state();
    // After a reset, sequence numbers start again: a higher `since` is from before the reset.
    let since = if since > state.journal.latest() { 0 } else { since };
    let wanted =
        state.journal.entries().filter(|entry| entry.sequence > since && entry.target.starts_with(&path));
    let is_asked = |name: &str| request.query(name).is_some_and(|said| said != "false");
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
        let own = own_names(&request.engine.options);
        found.iter_mut().for_each(|request| make_comparable(request, &own));
    }
    (!found.is_empty() || !request.may_wait).then(|| json_response(200, &Value::Array(found)))
}

/// The addresses that clients on this machine may use for the simulator. Longer addresses come
/// first, because a shorter one may be part of them.
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

/// Replaces a name in a text, but not where it is part of a longer name.
fn renamed(text: &str, name: &str, with: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
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

/// Removes the times and replaces the simulator's own addresses, which differ between two runs.
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

fn show(entry: &RecordedRequest) -> Value {
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
