//! Recognises exhausted quotas in responses. The service does not report how much of a quota is
//! left. Pure.

use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Response, StatusCode};
use jiff::fmt::strtime;

use super::error_text::ErrorText;
use super::report::{Check, Quota};
use super::skew;
use vbc_base::clock::{self, Timestamp};

/// The quota that is used up according to a response. Status 429 or a code of the gateway is
/// sufficient, because one deployment throttles with status 200.
pub(super) fn exceeded(response: &Response<Bytes>, text: &ErrorText, now: Timestamp) -> Option<Quota> {
    let code = text.code.filter(|code| (900_800..=900_807).contains(code));
    if response.status() != StatusCode::TOO_MANY_REQUESTS && code.is_none() {
        return None;
    }
    let of = match code {
        Some(900_800) => "API",
        Some(900_801) => "gateway's hard",
        Some(900_802) => "resource",
        Some(900_803) => "application",
        Some(900_804) => "subscription",
        Some(900_805) => "blocked",
        Some(900_806) => "custom",
        Some(900_807) => "burst",
        _ => "request",
    };
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let until = retry_after
        .and_then(|value| moment(value, now))
        .or_else(|| text.next_access.as_deref().and_then(next_access));
    Some(Quota { of: of.into(), code, until })
}

/// ` until 16:00:00 UTC`, or nothing if the time is unknown.
fn until(quota: &Quota) -> String {
    quota.until.map(|until| format!(" until {}", until.strftime("%H:%M:%S UTC"))).unwrap_or_default()
}

/// Whether all suites share the quota, so that further requests would be throttled too.
pub(super) fn is_shared(quota: &Quota) -> bool {
    matches!(quota.code, Some(900_803 | 900_805 | 900_807))
}

/// The check of the quota after `requests`; `None` if there was no request.
pub(super) fn check(exceeded: Option<&Quota>, requests: usize) -> Option<Check> {
    let Some(quota) = exceeded else {
        let these = match requests {
            0 => return None,
            1 => "this request".to_owned(),
            count => format!("these {count} requests"),
        };
        return Some(Check::ok("quota", format!("not exceeded by {these}")));
    };
    let found = format!("{}{}", describe(quota), details(quota));
    Some(if is_block(quota) {
        Check::fail("quota", "blocked", found, "")
    } else {
        Check::warn("quota", "throttled", found, "")
    })
}

/// Whether this is a block and not a quota. The gateway uses codes of the same range for both.
pub(super) fn is_block(quota: &Quota) -> bool {
    quota.code == Some(900_805)
}

/// The finding: `the application quota is used up`.
pub(super) fn describe(quota: &Quota) -> String {
    if is_block(quota) {
        "the service blocks the application or the user".to_owned()
    } else {
        format!("the {} quota is used up", quota.of)
    }
}

/// The end of the finding: the time until which it applies, and the code.
pub(super) fn details(quota: &Quota) -> String {
    let code = quota.code.map(|code| format!(" ({code})")).unwrap_or_default();
    format!("{}{code}", until(quota))
}

/// Parses `Retry-After`: seconds, or an HTTP-date as WSO2 sends it.
fn moment(value: &str, now: Timestamp) -> Option<Timestamp> {
    match value.trim().parse() {
        Ok(seconds) => Some(clock::after(now, Duration::from_secs(seconds))),
        Err(_) => skew::http_date(value),
    }
}

/// Parses WSO2's `nextAccessTime`: `2026-Sep-05 16:00:00+0000 UTC`.
fn next_access(value: &str) -> Option<Timestamp> {
    let value = value.trim().trim_end_matches("UTC").trim_end();
    strtime::parse("%Y-%b-%d %H:%M:%S%z", value).ok()?.to_timestamp().ok()
}
