//! Faults as the control plane takes them.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Map, Value};

use super::{Action, Effect, Fault, FaultError, Match, RetryAfter, StatusFault};

/// Every fault and its parameters; those that befall requests take the matchers too.
pub(in crate::simulator) const KNOWN: &[(&str, &[&str])] = &[
    ("revoke_all_access", &[]),
    ("revoke_all_refresh", &[]),
    ("expire_in", &["seconds", "existing"]),
    ("mode", &["mode"]),
    ("old_access", &["state"]),
    ("lock_user", &["user", "keep_tokens"]),
    ("unlock_user", &["user"]),
    ("change_password", &["user", "password"]),
    ("clock_advance", &["seconds"]),
    ("quota", &["per_minute"]),
    ("unsubscribe", &["suite"]),
    ("status", &["status", "retry_after", "seconds", "body", "content_type", MATCHERS]),
    ("delay", &["millis", "seconds", MATCHERS]),
    ("hang", &[MATCHERS]),
    ("reset_before_headers", &[MATCHERS]),
    ("lose_response_after_commit", &[MATCHERS]),
    ("backend_401", &[MATCHERS]),
];
const MATCHERS: &str = "path, method, grant, count, probability, seed";

impl Fault {
    /// Reads `{"fault": NAME, PARAMETER: …}`.
    ///
    /// # Errors
    /// When the name or a parameter is unknown, or a parameter is missing or of the wrong kind.
    pub fn from_json(value: &Value) -> Result<Self, FaultError> {
        let object = value.as_object().ok_or(FaultError::NotAFault)?;
        let name = object.get("fault").and_then(Value::as_str).ok_or(FaultError::NotAFault)?;
        let takes = KNOWN.iter().find(|(known, _)| *known == name);
        let (_, takes) = takes.ok_or_else(|| FaultError::Unknown(name.to_owned()))?;
        let takes = takes.join(", ");
        let stray = object.keys().find(|key| *key != "fault" && !takes.split(", ").any(|take| take == *key));
        if let Some(parameter) = stray {
            let (fault, parameter) = (name.to_owned(), parameter.clone());
            return Err(FaultError::UnknownParameter { fault, parameter, takes });
        }
        let given = Given { fault: name, object };
        Ok(match name {
            "revoke_all_access" => Action::RevokeAllAccess.into(),
            "revoke_all_refresh" => Action::RevokeAllRefresh.into(),
            "expire_in" => Action::ExpireIn {
                lifetime: Duration::from_secs(given.number("seconds")?),
                existing: given.flag("existing")?,
            }
            .into(),
            "mode" => Action::Mode(given.word("mode")?).into(),
            "old_access" => Action::OldAccess(given.word("state")?).into(),
            "lock_user" => {
                Action::LockUser { user: given.text("user")?, keep_tokens: given.flag("keep_tokens")? }.into()
            }
            "unlock_user" => Action::UnlockUser { user: given.text("user")? }.into(),
            "change_password" => {
                Action::ChangePassword { user: given.text("user")?, password: given.text("password")?.into() }
                    .into()
            }
            "clock_advance" => Action::ClockAdvance(given.signed_seconds()?).into(),
            "quota" => Action::Quota(given.quota()?).into(),
            "unsubscribe" => Action::Unsubscribe { suite: given.text("suite")? }.into(),
            "status" => Self::Requests(Effect::Status(given.status()?), given.matcher(None)?),
            "delay" => Self::Requests(Effect::Delay(given.duration()?), given.matcher(None)?),
            "hang" => Self::Requests(Effect::Hang, given.matcher(None)?),
            "reset_before_headers" => Self::Requests(Effect::ResetBeforeHeaders, given.matcher(Some(1))?),
            "lose_response_after_commit" => Self::Requests(Effect::LoseResponse, given.matcher(Some(1))?),
            "backend_401" => Self::Requests(Effect::Backend401, given.matcher(None)?),
            _ => return Err(FaultError::Unknown(name.to_owned())),
        })
    }
}

/// The parameters of one fault.
struct Given<'a> {
    fault: &'a str,
    object: &'a Map<String, Value>,
}

impl Given<'_> {
    fn bad(&self, parameter: &str, expected: impl Into<String>) -> FaultError {
        let (fault, parameter) = (self.fault.to_owned(), parameter.to_owned());
        FaultError::BadParameter { fault, parameter, expected: expected.into() }
    }

    fn optional<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, FaultError> {
        match self.object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.bad(name, expected)),
        }
    }

    fn text(&self, name: &str) -> Result<String, FaultError> {
        self.optional_text(name)?.ok_or_else(|| self.bad(name, "a string"))
    }

    fn optional_text(&self, name: &str) -> Result<Option<String>, FaultError> {
        self.optional(name, "a string", |value| value.as_str().map(str::to_owned))
    }

    fn number(&self, name: &str) -> Result<u64, FaultError> {
        let number = self.optional(name, "a whole number", Value::as_u64)?;
        number.ok_or_else(|| self.bad(name, "a whole number"))
    }

    fn flag(&self, name: &str) -> Result<bool, FaultError> {
        Ok(self.optional(name, "true or false", Value::as_bool)?.unwrap_or_default())
    }

    fn word<T: std::str::FromStr<Err: ToString>>(&self, name: &str) -> Result<T, FaultError> {
        self.text(name)?
            .parse()
            .map_err(|error: T::Err| self.bad(name, error.to_string().replace("expected ", "")))
    }

    fn signed_seconds(&self) -> Result<SignedDuration, FaultError> {
        let seconds = self.optional("seconds", "a whole number", Value::as_i64)?;
        seconds.map(SignedDuration::from_secs).ok_or_else(|| self.bad("seconds", "a whole number"))
    }

    fn quota(&self) -> Result<Option<u32>, FaultError> {
        let read = |value: &Value| u32::try_from(value.as_u64()?).ok();
        let quota = self.optional("per_minute", "a whole number; 0 or null is no limit", read)?;
        Ok(quota.filter(|quota| *quota > 0))
    }

    fn duration(&self) -> Result<Duration, FaultError> {
        let read = |value: &Value| Duration::try_from_secs_f64(value.as_f64()?).ok();
        let millis = self.optional("millis", "a whole number", Value::as_u64)?;
        let seconds = self.optional("seconds", "a number", read)?;
        match (millis, seconds) {
            (Some(millis), None) => Ok(Duration::from_millis(millis)),
            (None, Some(seconds)) => Ok(seconds),
            _ => Err(self.bad("millis", "either `millis` or `seconds`")),
        }
    }

    fn status(&self) -> Result<StatusFault, FaultError> {
        let expected = "a status from 200 to 599";
        let status = u16::try_from(self.number("status")?).ok().filter(|status| (200..600).contains(status));
        let expected_wait = "\"date\", \"delta\", \"none\" or a number of seconds";
        let seconds = self.optional("seconds", "a whole number", |v| u32::try_from(v.as_u64()?).ok())?;
        let ahead = seconds.unwrap_or(30);
        let wait = |value: &Value| match value {
            Value::String(word) if word == "date" => Some(RetryAfter::Date(ahead)),
            Value::String(word) if word == "delta" => Some(RetryAfter::Delta(ahead)),
            Value::String(word) if word == "none" => Some(RetryAfter::None),
            number => u32::try_from(number.as_u64()?).ok().map(RetryAfter::Delta),
        };
        let body = self.object.get("body").filter(|body| !body.is_null());
        Ok(StatusFault {
            status: status.ok_or_else(|| self.bad("status", expected))?,
            retry_after: self.optional("retry_after", expected_wait, wait)?.unwrap_or_default(),
            body: body.map(|body| body.as_str().map_or_else(|| body.to_string(), str::to_owned)),
            content_type: self.optional_text("content_type")?,
        })
    }

    fn matcher(&self, count: Option<u64>) -> Result<Match, FaultError> {
        let chance = |value: &Value| value.as_f64().filter(|p| (0.0..=1.0).contains(p));
        Ok(Match {
            path: self.optional_text("path")?,
            method: self.optional_text("method")?,
            grant: self.optional_text("grant")?,
            count: self.optional("count", "a whole number", Value::as_u64)?.or(count),
            probability: self.optional("probability", "a number from 0 to 1", chance)?.unwrap_or(1.0),
            seed: self.optional("seed", "a whole number", Value::as_u64)?.unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_known_fault_can_be_read() {
        let all = json!({
            "seconds": 1, "mode": "reuse", "state": "dead", "user": "u", "password": "p", "per_minute": 1,
            "suite": "reports", "status": 503, "count": 2, "path": "/token",
        });
        for (name, takes) in KNOWN {
            let takes = takes.join(", ");
            let mut object = serde_json::Map::from_iter([("fault".to_owned(), json!(name))]);
            for take in takes.split(", ") {
                if let Some(value) = all.get(take) {
                    object.insert(take.to_owned(), value.clone());
                }
            }
            let read = Fault::from_json(&Value::Object(object));
            assert!(read.is_ok(), "{name}: {read:?}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (given, reason) in [
            (json!("status"), "expected an object with a string `fault`"),
            (json!({ "fault": "flood" }), "unknown fault `flood`"),
            (
                json!({ "fault": "revoke_all_access", "count": 1 }),
                "`revoke_all_access` takes no parameter `count`; it takes: ",
            ),
            (
                json!({ "fault": "mode", "mode": "new" }),
                "`mode` of `mode`: expected one of: reuse, renew_revoke, renew_keep",
            ),
            (json!({ "fault": "delay" }), "`millis` of `delay`: expected either `millis` or `seconds`"),
            (
                json!({ "fault": "status", "status": 99 }),
                "`status` of `status`: expected a status from 200 to 599",
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
    fn what_is_read_shows_no_password() {
        let given = json!({ "fault": "change_password", "user": "u", "password": "hunter2" });
        assert!(!format!("{:?}", Fault::from_json(&given).unwrap()).contains("hunter2"));
    }
}
