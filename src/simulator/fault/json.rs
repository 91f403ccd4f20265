//! Faults as the control plane takes them.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Map, Value};

use super::edit::MEMBERS;
use super::{Action, Edit, Effect, Fault, FaultError, Match, RetryAfter, StatusFault};

/// A fault by its name.
pub(in crate::simulator) struct Known {
    pub(in crate::simulator) name: &'static str,
    /// Its parameters; those that befall requests take the matchers too.
    pub(in crate::simulator) takes: &'static [&'static str],
    read: fn(&Given<'_>) -> Result<Fault, FaultError>,
}

const MATCHERS: &str = "path, method, grant, count, probability, seed";

/// Every fault.
pub(in crate::simulator) const KNOWN: &[Known] = &[
    known("revoke_all_access", &[], |_| Ok(Action::RevokeAllAccess.into())),
    known("revoke_all_refresh", &[], |_| Ok(Action::RevokeAllRefresh.into())),
    known("expire_in", &["seconds", "existing"], |given| {
        let lifetime = Duration::from_secs(given.number("seconds")?);
        Ok(Action::ExpireIn { lifetime, existing: given.flag("existing", false)? }.into())
    }),
    known("mode", &["mode"], |given| Ok(Action::Mode(given.word("mode")?).into())),
    known("old_access", &["state"], |given| Ok(Action::OldAccess(given.word("state")?).into())),
    known("spent_refresh", &["status"], |given| {
        let server_error = given.optional("status", "400 or 500", |value| match value.as_u64()? {
            400 => Some(false),
            500 => Some(true),
            _ => None,
        })?;
        Ok(Action::SpentRefresh { server_error: server_error.unwrap_or(false) }.into())
    }),
    known("lock_user", &["user", "keep_tokens"], |given| {
        let keep_tokens = given.flag("keep_tokens", false)?;
        Ok(Action::LockUser { user: given.text("user")?, keep_tokens }.into())
    }),
    known("unlock_user", &["user"], |given| Ok(Action::UnlockUser { user: given.text("user")? }.into())),
    known("change_password", &["user", "password"], |given| {
        let password = given.text("password")?.into();
        Ok(Action::ChangePassword { user: given.text("user")?, password }.into())
    }),
    known("regenerate_secret", &["client_id", "secret"], |given| {
        let secret = given.text("secret")?.into();
        Ok(Action::RegenerateSecret { client_id: given.text("client_id")?, secret }.into())
    }),
    known("refuse_scope", &["client_id", "allowed"], |given| {
        let client_id = given.optional_text("client_id")?;
        Ok(Action::Openid { client_id, allowed: given.flag("allowed", false)? }.into())
    }),
    known("roles", &["user", "suite", "allowed"], |given| {
        let (user, suite) = (given.text("user")?, given.text("suite")?);
        Ok(Action::Role { user, suite, allowed: given.flag("allowed", false)? }.into())
    }),
    known("clock_advance", &["seconds"], |given| Ok(Action::ClockAdvance(given.signed_seconds()?).into())),
    known("quota", &["per_minute"], |given| Ok(Action::Quota(given.quota()?).into())),
    known("unsubscribe", &["suite"], |given| Ok(Action::Unsubscribe { suite: given.text("suite")? }.into())),
    known("resubscribe", &["suite"], |given| Ok(Action::Resubscribe { suite: given.text("suite")? }.into())),
    known("status", &["status", "retry_after", "seconds", "body", "content_type", MATCHERS], |given| {
        given.befalling(Effect::Status(given.status()?))
    }),
    known("throttle_200", &[MATCHERS], |given| given.befalling(Effect::Throttle200)),
    known("redirect", &["location", MATCHERS], |given| {
        given.befalling(Effect::Redirect(given.text("location")?))
    }),
    known("delay", &["millis", "seconds", MATCHERS], |given| {
        given.befalling(Effect::Delay(given.duration()?))
    }),
    known("hang", &[MATCHERS], |given| given.befalling(Effect::Hang)),
    known("reset_before_headers", &[MATCHERS], |given| given.befalling_once(Effect::ResetBeforeHeaders)),
    known("lose_response_after_commit", &[MATCHERS], |given| given.befalling_once(Effect::LoseResponse)),
    known("missing", &["field", MATCHERS], |given| given.befalling(Edit::Missing(given.field()?))),
    known("expires_in_as", &["value", MATCHERS], |given| {
        let value = given.object.get("value").ok_or_else(|| given.bad("value", "any JSON value"))?;
        given.befalling(Edit::ExpiresInAs(value.clone()))
    }),
    known("token_type", &["value", MATCHERS], |given| given.befalling(Edit::TokenType(given.text("value")?))),
    known("html_body", &[MATCHERS], |given| given.befalling(Edit::HtmlBody)),
    known("truncated_json", &[MATCHERS], |given| given.befalling(Edit::TruncatedJson)),
    known("empty_body", &[MATCHERS], |given| given.befalling(Edit::EmptyBody)),
    known("wrong_content_type", &["content_type", MATCHERS], |given| {
        let content_type = given.optional_text("content_type")?;
        given.befalling(Edit::WrongContentType(content_type.unwrap_or_else(|| "text/html".into())))
    }),
    known("backend_401", &[MATCHERS], |given| given.befalling(Effect::Backend401)),
    known("token_age_limit", &["seconds", MATCHERS], |given| {
        let limit = Duration::from_secs(given.number("seconds")?);
        given.text("path").and_then(|_| given.befalling(Effect::TokenAgeLimit(limit)))
    }),
    known("reports_token_age_limit", &["seconds"], |given| {
        let limit = Duration::from_secs(given.number("seconds")?);
        Ok(Fault::token_age_limit("/t/vbc.prod/reports", limit))
    }),
];

const fn known(
    name: &'static str,
    takes: &'static [&'static str],
    read: fn(&Given<'_>) -> Result<Fault, FaultError>,
) -> Known {
    Known { name, takes, read }
}

impl Fault {
    /// Reads `{"fault": NAME, PARAMETER: …}`.
    ///
    /// # Errors
    /// When the name or a parameter is unknown, or a parameter is missing or of the wrong kind.
    pub fn from_json(value: &Value) -> Result<Self, FaultError> {
        let object = value.as_object().ok_or(FaultError::NotAFault)?;
        let name = object.get("fault").and_then(Value::as_str).ok_or(FaultError::NotAFault)?;
        let known = KNOWN.iter().find(|known| known.name == name);
        let known = known.ok_or_else(|| FaultError::Unknown(name.to_owned()))?;
        let takes = known.takes.join(", ");
        let stray = object.keys().find(|key| *key != "fault" && !takes.split(", ").any(|take| take == *key));
        if let Some(parameter) = stray {
            let (fault, parameter) = (name.to_owned(), parameter.clone());
            return Err(FaultError::UnknownParameter { fault, parameter, takes });
        }
        (known.read)(&Given { fault: name, object })
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

    fn flag(&self, name: &str, default: bool) -> Result<bool, FaultError> {
        Ok(self.optional(name, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    fn field(&self) -> Result<String, FaultError> {
        let known =
            |value: &Value| MEMBERS.contains(&value.as_str()?).then(|| value.as_str().map(str::to_owned))?;
        let expected = format!("one of: {}", MEMBERS.join(", "));
        self.optional("field", &expected, known)?.ok_or_else(|| self.bad("field", expected))
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

    fn befalling(&self, effect: impl Into<Effect>) -> Result<Fault, FaultError> {
        Ok(Fault::Requests(effect.into(), self.matcher(None)?))
    }

    fn befalling_once(&self, effect: Effect) -> Result<Fault, FaultError> {
        Ok(Fault::Requests(effect, self.matcher(Some(1))?))
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
            "suite": "reports", "status": 500, "count": 2, "path": "/token", "client_id": "c", "secret": "s",
            "location": "http://elsewhere", "field": "expires_in", "value": "v", "allowed": true,
        });
        for Known { name, takes, .. } in KNOWN {
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
