//! Reading faults from JSON.

use serde_json::Value;

use super::parameters::Parameters;
use super::specs::FAULTS;
use super::{Fault, FaultError, spelling};

impl Fault {
    /// Reads `{"fault": NAME, PARAMETER: …}`. The name may include the first parameter, as in
    /// `status=503` and `delay(500)`.
    ///
    /// # Errors
    /// If the name or a parameter is unknown, or if a parameter is missing or of the wrong kind.
    pub fn from_json(value: &Value) -> Result<Self, FaultError> {
        let object = &spelling::canonical(value.as_object().ok_or(FaultError::NotAFault)?);
        let name = object.get("fault").and_then(Value::as_str).ok_or(FaultError::NotAFault)?;
        let known = FAULTS.iter().find(|known| known.name == name);
        let known = known.ok_or_else(|| FaultError::Unknown(name.to_owned()))?;
        let takes = known.takes.join(", ");
        let stray = object.keys().find(|key| *key != "fault" && !takes.split(", ").any(|take| take == *key));
        if let Some(parameter) = stray {
            let fault = name.to_owned();
            let parameter = parameter.clone();
            return Err(FaultError::UnknownParameter { fault, parameter, takes });
        }
        (known.read)(&Parameters { fault: name, object })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::FaultSpec;
    use super::*;

    #[test]
    fn every_known_fault_can_be_read() {
        let all = json!({
            "seconds": 1, "mode": "reuse", "state": "dead", "user": "u", "password": "p", "per_minute": 1,
            "suite": "reports", "status": 500, "count": 2, "path": "/token", "client_id": "c", "secret": "s",
            "location": "http://elsewhere", "field": "expires_in", "value": "v", "allowed": true,
            "time": "2026-03-01T09:00:00Z", "bytes_per_second": 10, "requests": 3, "bytes": 1, "sso": true,
            "endpoint": "reports", "after": 1, "lasts": "20s", "probability": 0.5, "seed": 7, "method": "GET",
            "grant": "password", "retry_after": "date", "body": "x", "content_type": "text/plain",
        });
        for FaultSpec { name, takes, says, .. } in FAULTS {
            let takes = takes.join(", ");
            let mut object = serde_json::Map::from_iter([("fault".to_owned(), json!(name))]);
            for take in takes.split(", ") {
                if let Some(value) = all.get(take) {
                    object.insert(take.to_owned(), value.clone());
                }
            }
            let read = Fault::from_json(&Value::Object(object));
            assert!(read.is_ok(), "{name}: {read:?}");
            assert!(!says.is_empty() && !says.ends_with('.'), "{name}: {says}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (given, reason) in [
            (json!("status"), "expected an object with a string `fault`"),
            (json!({ "fault": "flood" }), "unknown fault `flood`"),
            (
                json!({ "fault": "status", "status": 503, "grant": "pasword" }),
                "`grant` of `status`: expected one of password, refresh_token, authorization_code, client_credentials",
            ),
            (
                json!({ "fault": "status", "status": 503, "path": "token" }),
                "`path` of `status`: expected a path that begins with `/` or `*`",
            ),
            (
                json!({ "fault": "status", "status": 503, "count": 0 }),
                "`count` of `status`: expected a whole number, at least 1",
            ),
            (
                json!({ "fault": "revoke_all_access", "count": 1 }),
                "`revoke_all_access` takes no parameter `count`; it takes: ",
            ),
            (
                json!({ "fault": "mode", "mode": "new" }),
                "`mode` of `mode`: expected one of: reuse, renew_revoke, renew_keep",
            ),
            (
                json!({ "fault": "hang", "endpoint": "tokens" }),
                "`endpoint` of `hang`: expected one of: token, authorize, revoke, userinfo, api, provisioning, \
                 telephony, reports, call_recording, call_recording_india, vis",
            ),
            (
                json!({ "fault": "hang", "lasts": "soon" }),
                "`lasts` of `hang`: expected a time such as \"20s\", \"1m30s\" or a number of seconds",
            ),
            (
                json!({ "fault": "drip", "bytes_per_second": 0 }),
                "`bytes_per_second` of `drip`: expected a whole number of bytes, at least 1",
            ),
            (
                json!({ "fault": "clock_set", "time": "noon" }),
                "`time` of `clock_set`: expected a time from 1970 to 9999-12-30 such as \"2026-03-01T09:00:00Z\"",
            ),
            (json!({ "fault": "delay" }), "`millis` of `delay`: expected either `millis` or `seconds`"),
            (
                json!({ "fault": "status", "status": 99 }),
                "`status` of `status`: expected a status from 200 to 599",
            ),
            (
                json!({ "fault": "missing", "field": "x" }),
                "`field` of `missing`: expected one of: expires_in, refresh_token, access_token, token_type, \
                 scope, id_token",
            ),
            (
                json!({ "fault": "spent_refresh", "status": 503 }),
                "`status` of `spent_refresh`: expected 400 or 500",
            ),
            (json!({ "fault": "expires_in_as" }), "`value` of `expires_in_as`: expected any JSON value"),
            (
                json!({ "fault": "token_age_limit", "seconds": 1 }),
                "`path` of `token_age_limit`: expected a string",
            ),
            (
                json!({ "fault": "hang", "probability": 2 }),
                "`probability` of `hang`: expected a number from 0 to 1",
            ),
        ] {
            assert_eq!(Fault::from_json(&given).unwrap_err().to_string(), reason);
        }
    }

    #[test]
    fn what_is_read_shows_no_secret() {
        for given in [
            json!({ "fault": "change_password", "user": "u", "password": "hunter2" }),
            json!({ "fault": "regenerate_secret", "client_id": "c", "secret": "hunter2" }),
        ] {
            assert!(!format!("{:?}", Fault::from_json(&given).unwrap()).contains("hunter2"));
        }
    }
}
