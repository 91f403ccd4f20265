//! The parameters of a fault, read one by one.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Map, Value};

use super::edit::MEMBERS;
use super::matching::ENDPOINTS;
use super::{Effect, Fault, FaultError, Match, RetryAfter, StatusFault};
use crate::names::{GRANTS, SUITES};
use crate::times::{self, TIMES};
use vbc_base::clock::Timestamp;

/// The parameters of one fault, with a reader for each type.
pub(super) struct Parameters<'a> {
    pub(super) fault: &'a str,
    pub(super) object: &'a Map<String, Value>,
}

impl Parameters<'_> {
    pub(super) fn bad(&self, parameter: &str, expected: impl Into<String>) -> FaultError {
        let fault = self.fault.to_owned();
        let parameter = parameter.to_owned();
        FaultError::BadParameter { fault, parameter, expected: expected.into() }
    }

    pub(super) fn optional<T>(
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

    pub(super) fn text(&self, name: &str) -> Result<String, FaultError> {
        self.optional_text(name)?.ok_or_else(|| self.bad(name, "a string"))
    }

    pub(super) fn optional_text(&self, name: &str) -> Result<Option<String>, FaultError> {
        self.optional(name, "a string", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn number(&self, name: &str) -> Result<u64, FaultError> {
        let number = self.optional(name, "a whole number", Value::as_u64)?;
        number.ok_or_else(|| self.bad(name, "a whole number"))
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, FaultError> {
        Ok(self.optional(name, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    pub(super) fn field(&self) -> Result<String, FaultError> {
        let known =
            |value: &Value| MEMBERS.contains(&value.as_str()?).then(|| value.as_str().map(str::to_owned))?;
        let expected = format!("one of: {}", MEMBERS.join(", "));
        self.optional("field", &expected, known)?.ok_or_else(|| self.bad("field", expected))
    }

    pub(super) fn word<T: std::str::FromStr<Err: ToString>>(&self, name: &str) -> Result<T, FaultError> {
        self.text(name)?
            .parse()
            .map_err(|error: T::Err| self.bad(name, error.to_string().replace("expected ", "")))
    }

    pub(super) fn is_server_error(&self) -> Result<bool, FaultError> {
        let read = |value: &Value| match value.as_u64()? {
            400 => Some(false),
            500 => Some(true),
            _ => None,
        };
        Ok(self.optional("status", "400 or 500", read)?.unwrap_or(false))
    }

    pub(super) fn signed_seconds(&self) -> Result<SignedDuration, FaultError> {
        let expected = "a number of seconds; a negative one moves the clock back";
        let seconds = self.optional("seconds", expected, |value| match value {
            Value::Number(number) => times::seconds(number),
            _ => None,
        })?;
        seconds.ok_or_else(|| self.bad("seconds", expected))
    }

    pub(super) fn quota(&self) -> Result<Option<u32>, FaultError> {
        let read = |value: &Value| u32::try_from(value.as_u64()?).ok();
        let quota = self.optional("per_minute", "a whole number; 0 or null means no limit", read)?;
        Ok(quota.filter(|quota| *quota > 0))
    }

    pub(super) fn duration(&self) -> Result<Duration, FaultError> {
        let read = |value: &Value| Duration::try_from_secs_f64(value.as_f64()?).ok();
        let millis = self.optional("millis", "a whole number", Value::as_u64)?;
        let seconds = self.optional("seconds", "a number", read)?;
        match (millis, seconds) {
            (Some(millis), None) => Ok(Duration::from_millis(millis)),
            (None, Some(seconds)) => Ok(seconds),
            _ => Err(self.bad("millis", "either `millis` or `seconds`")),
        }
    }

    pub(super) fn status(&self) -> Result<StatusFault, FaultError> {
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

    pub(super) fn value(&self, name: &str) -> Result<Value, FaultError> {
        self.object.get(name).cloned().ok_or_else(|| self.bad(name, "any JSON value"))
    }

    pub(super) fn time(&self, name: &str) -> Result<Timestamp, FaultError> {
        let expected = "a time from 1970 to 9999-12-30 such as \"2026-03-01T09:00:00Z\"";
        let read = |value: &Value| value.as_str()?.parse().ok().filter(|time| TIMES.contains(time));
        self.optional(name, expected, read)?.ok_or_else(|| self.bad(name, expected))
    }

    /// A number of bytes a second.
    pub(super) fn pace(&self) -> Result<u32, FaultError> {
        let read = |value: &Value| u32::try_from(value.as_u64()?).ok().filter(|pace| *pace > 0);
        let expected = "a whole number of bytes, at least 1";
        self.optional("bytes_per_second", expected, read)?
            .ok_or_else(|| self.bad("bytes_per_second", expected))
    }

    pub(super) fn positive(&self, name: &str) -> Result<u32, FaultError> {
        let read = |value: &Value| u32::try_from(value.as_u64()?).ok().filter(|number| *number > 0);
        let expected = "a whole number, at least 1";
        self.optional(name, expected, read)?.ok_or_else(|| self.bad(name, expected))
    }

    pub(super) fn optional_size(&self, name: &str) -> Result<Option<usize>, FaultError> {
        self.optional(name, "a whole number of bytes", |value| usize::try_from(value.as_u64()?).ok())
    }

    /// A status fault whose status has a default.
    pub(super) fn status_or(&self, default: u16) -> Result<StatusFault, FaultError> {
        let mut object = self.object.clone();
        object.entry("status").or_insert_with(|| default.into());
        Parameters { fault: self.fault, object: &object }.status()
    }

    fn endpoint(&self) -> Result<Option<String>, FaultError> {
        let known = || ENDPOINTS.iter().chain(SUITES);
        let read = |value: &Value| {
            let word = value.as_str()?;
            known().any(|known| *known == word).then(|| word.to_owned())
        };
        let words: Vec<&str> = known().copied().collect();
        self.optional("endpoint", &format!("one of: {}", words.join(", ")), read)
    }

    pub(super) fn befalling(&self, effect: impl Into<Effect>) -> Result<Fault, FaultError> {
        Ok(Fault::Requests(effect.into(), self.matcher(None)?))
    }

    pub(super) fn befalling_once(&self, effect: impl Into<Effect>) -> Result<Fault, FaultError> {
        Ok(Fault::Requests(effect.into(), self.matcher(Some(1))?))
    }

    pub(super) fn matcher(&self, count: Option<u64>) -> Result<Match, FaultError> {
        // Rejects a match that can never apply: a test that uses it would pass without testing
        // anything.
        let chance = |value: &Value| value.as_f64().filter(|p| (0.0..=1.0).contains(p));
        let path =
            |value: &Value| value.as_str().filter(|path| path.starts_with(['/', '*'])).map(str::to_owned);
        let grant = |value: &Value| value.as_str().filter(|grant| GRANTS.contains(grant)).map(str::to_owned);
        let times = |value: &Value| value.as_u64().filter(|count| *count > 0);
        Ok(Match {
            path: self.optional("path", "a path that begins with `/` or `*`", path)?,
            endpoint: self.endpoint()?,
            method: self.optional_text("method")?,
            grant: self.optional("grant", &format!("one of {}", GRANTS.join(", ")), grant)?,
            after: self.optional("after", "a whole number", Value::as_u64)?.unwrap_or(0),
            count: self.optional("count", "a whole number, at least 1", times)?.or(count),
            lasts: self.optional("lasts", times::EXPECTED, times::read)?,
            probability: self.optional("probability", "a number from 0 to 1", chance)?.unwrap_or(1.0),
            seed: self.optional("seed", "a whole number", Value::as_u64)?,
        })
    }
}
