//! Spellings of faults: `status=429(retry_after=date)`, `delay(500)`, `missing expires_in`.

use serde_json::{Map, Value, json};

use super::specs::FAULTS;

/// Alternative names of faults, each with the spelling that it stands for.
const NAMES: &[(&str, &str)] = &[
    ("old_access_alive", "old_access=alive"),
    ("old_access_dead", "old_access=dead"),
    ("mid_body", "reset_mid_body"),
    ("100-continue refuse", "refuse_continue"),
    ("100_continue_refuse", "refuse_continue"),
    ("expires_in", "expires_in_as"),
];

/// Alternative names of parameters.
const PARAMETERS: &[(&str, &str)] = &[("ms", "millis"), ("s", "seconds"), ("bytes/s", "bytes_per_second")];

/// Rewrites a fault with the canonical names from the table of faults.
pub(super) fn canonical(given: &Map<String, Value>) -> Map<String, Value> {
    let mut object = given.clone();
    let Some(spelled) = given.get("fault").and_then(Value::as_str) else { return object };
    let (name, values) = read(spelled);
    for (parameter, value) in values {
        object.entry(parameter).or_insert(value);
    }
    object.insert("fault".into(), name.into());
    for (other, parameter) in PARAMETERS {
        // If both names are given, the alternative one stays and is later rejected as unknown.
        if !object.contains_key(*parameter)
            && let Some(value) = object.remove(*other)
        {
            object.insert((*parameter).to_owned(), value);
        }
    }
    if object["fault"] == "expires_in_as"
        && let Some(word) = object.remove("as")
    {
        object.insert("value".into(), expires_in(word));
    }
    object
}

/// Splits `NAME`, `NAME=VALUE`, `NAME VALUE` or `NAME(VALUE)`, each with optional
/// `(PARAMETER=VALUE, …)`. The value is the fault's first parameter.
fn read(spelled: &str) -> (String, Vec<(String, Value)>) {
    let spelled = spelled.trim();
    let meant = |name: &str| NAMES.iter().find(|(other, _)| *other == name).map(|(_, meant)| *meant);
    if let Some(meant) = meant(spelled) {
        return read(meant);
    }
    if let Some(word) = spelled.strip_prefix("expires_in as ") {
        return ("expires_in_as".into(), vec![("as".into(), value(word))]);
    }
    let Some(end) = spelled.find(['=', ' ', '(']) else { return (spelled.into(), Vec::new()) };
    let (name, rest) = spelled.split_at(end);
    let name = meant(name).unwrap_or(name);
    let Some(known) = FAULTS.iter().find(|known| known.name == name) else {
        return (spelled.into(), Vec::new());
    };
    let takes = known.takes.join(", ");
    let first = takes.split(", ").next().unwrap_or_default().to_owned();
    let (plain, listed) = match rest.strip_suffix(')').and_then(|rest| rest.split_once('(')) {
        Some((plain, listed)) => (plain, listed),
        None => (rest, ""),
    };
    let plain = plain.trim_start_matches(['=', ' ']).trim();
    let mut values = Vec::new();
    if !plain.is_empty() {
        values.push((first.clone(), value(plain)));
    }
    for part in listed.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        values.push(match part.split_once('=') {
            Some((parameter, given)) => (parameter.trim().to_owned(), value(given)),
            None => (first.clone(), value(part)),
        });
    }
    (name.into(), values)
}

fn value(text: &str) -> Value {
    let text = text.trim();
    text.parse::<i64>().map_or_else(|_| text.into(), Value::from)
}

/// The value of `expires_in` that a word stands for. Any other value is used unchanged.
fn expires_in(word: Value) -> Value {
    match word.as_str() {
        Some("string") => json!("86400"),
        Some("negative") => json!(-1),
        Some("huge") => json!(i64::MAX),
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Fault;
    use super::*;

    /// Every documented spelling, with the canonical fault.
    #[test]
    fn faults_may_be_spelled_in_short() {
        for (spelled, meant) in [
            (json!("revoke_all_access"), json!({ "fault": "revoke_all_access" })),
            (json!("old_access_alive"), json!({ "fault": "old_access", "state": "alive" })),
            (json!("mode=renew_keep"), json!({ "fault": "mode", "mode": "renew_keep" })),
            (json!("status=503"), json!({ "fault": "status", "status": 503 })),
            (
                json!("status=429(retry_after=date)"),
                json!({ "fault": "status", "status": 429, "retry_after": "date" }),
            ),
            (json!("missing expires_in"), json!({ "fault": "missing", "field": "expires_in" })),
            (json!("expires_in as string"), json!({ "fault": "expires_in_as", "value": "86400" })),
            (json!("expires_in as 0"), json!({ "fault": "expires_in_as", "value": 0 })),
            (json!("expires_in as negative"), json!({ "fault": "expires_in_as", "value": -1 })),
            (json!("expires_in as huge"), json!({ "fault": "expires_in_as", "value": i64::MAX })),
            (json!("token_type=bearer"), json!({ "fault": "token_type", "value": "bearer" })),
            (json!("expire_in(60)"), json!({ "fault": "expire_in", "seconds": 60 })),
            (json!("delay(500)"), json!({ "fault": "delay", "millis": 500 })),
            (json!("drip(100)"), json!({ "fault": "drip", "bytes_per_second": 100 })),
            (json!("mid_body"), json!({ "fault": "reset_mid_body" })),
            (
                json!("backend_401(/t/vbc.prod/vis)"),
                json!({ "fault": "backend_401", "path": "/t/vbc.prod/vis" }),
            ),
            (
                json!("reports_token_age_limit(300)"),
                json!({ "fault": "reports_token_age_limit", "seconds": 300 }),
            ),
            (json!("100-continue refuse"), json!({ "fault": "refuse_continue" })),
            (json!("close_after_n_requests(3)"), json!({ "fault": "close_after_n_requests", "requests": 3 })),
        ] {
            let given = json!({ "fault": spelled });
            assert_eq!(Value::Object(canonical(given.as_object().unwrap())), meant, "{given}");
            assert!(Fault::from_json(&given).is_ok(), "{given}");
        }
        for (spelled, meant) in [
            (json!({ "fault": "delay", "ms": 5 }), json!({ "fault": "delay", "millis": 5 })),
            (json!({ "fault": "expire_in", "s": 5 }), json!({ "fault": "expire_in", "seconds": 5 })),
            (json!({ "fault": "drip", "bytes/s": 5 }), json!({ "fault": "drip", "bytes_per_second": 5 })),
            (
                json!({ "fault": "expires_in", "as": "huge" }),
                json!({ "fault": "expires_in_as", "value": i64::MAX }),
            ),
            // The value is used unchanged.
            (
                json!({ "fault": "expires_in_as", "value": "huge" }),
                json!({ "fault": "expires_in_as", "value": "huge" }),
            ),
        ] {
            assert_eq!(Value::Object(canonical(spelled.as_object().unwrap())), meant);
            assert!(Fault::from_json(&spelled).is_ok(), "{spelled}");
        }
    }

    #[test]
    fn what_is_no_fault_keeps_its_name() {
        for spelled in ["flood=3", "status 503 503", "", "delay(", "lock_user=x(y=z)", "delay(1)(2)"] {
            assert!(Fault::from_json(&json!({ "fault": spelled })).is_err(), "{spelled}");
        }
        let both = json!({ "fault": "delay", "ms": 1, "millis": 2 });
        assert!(Fault::from_json(&both).unwrap_err().to_string().contains("takes no parameter `ms`"));
    }
}
