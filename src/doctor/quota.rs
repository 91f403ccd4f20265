//! Quotas, as far as the answers show them: nobody publishes what is left of one. Pure.

use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
use jiff::fmt::strtime;

use super::judge::Answer;
use super::report::{Check, Quota};
use super::skew;
use super::words::Words;
use crate::clock::{self, Timestamp};

/// The quota that an answer shows to be used up. One deployment throttles with status 200, so the code counts, too.
pub(super) fn seen(answer: &Answer<'_>, words: &Words, now: Timestamp) -> Option<Quota> {
    let code = words.code.filter(|code| (900_800..=900_807).contains(code));
    if answer.status != StatusCode::TOO_MANY_REQUESTS && code.is_none() {
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
    let retry_after = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let until = retry_after
        .and_then(|value| moment(value, now))
        .or_else(|| words.next_access.as_deref().and_then(next_access));
    Some(Quota { of: of.into(), code, until })
}

/// ` until 16:00:00 UTC`, or nothing where it is not known.
fn until(quota: &Quota) -> String {
    quota.until.map(|until| format!(" until {}", until.strftime("%H:%M:%S UTC"))).unwrap_or_default()
}

/// Whether every suite is behind the same quota, so that asking on would only use up more.
pub(super) fn is_shared(quota: &Quota) -> bool {
    matches!(quota.code, Some(900_803 | 900_805 | 900_807))
}

/// The line about it, after so many requests.
pub(super) fn check(seen: Option<&Quota>, requests: usize) -> Option<Check> {
    let Some(quota) = seen else {
        let these = match requests {
            0 => return None,
            1 => "this request".to_owned(),
            count => format!("these {count} requests"),
        };
        return Some(Check::ok("quota", format!("not exceeded by {these}")));
    };
    let found = format!("{}{}", found(quota), said(quota));
    Some(match is_block(quota) {
        true => Check::fail("quota", "blocked", found, ""),
        false => Check::warn("quota", "throttled", found, ""),
    })
}

/// Whether it is no quota at all: the gateway throttles the blocked with a code of the same kind.
pub(super) fn is_block(quota: &Quota) -> bool {
    quota.code == Some(900_805)
}

/// What it is, as it is said everywhere: `the application quota is used up`.
pub(super) fn found(quota: &Quota) -> String {
    match is_block(quota) {
        true => "the service blocks the application or the user".to_owned(),
        false => format!("the {} quota is used up", quota.of),
    }
}

/// Until when, and by which code.
pub(super) fn said(quota: &Quota) -> String {
    let code = quota.code.map(|code| format!(" ({code})")).unwrap_or_default();
    format!("{}{code}", until(quota))
}

/// `Retry-After`: seconds, or an HTTP-date, which is what WSO2 sends.
fn moment(value: &str, now: Timestamp) -> Option<Timestamp> {
    match value.trim().parse() {
        Ok(seconds) => Some(clock::after(now, Duration::from_secs(seconds))),
        Err(_) => skew::http_date(value),
    }
}

/// WSO2's `nextAccessTime`, as in `2026-Sep-05 16:00:00+0000 UTC`.
fn next_access(value: &str) -> Option<Timestamp> {
    let value = value.trim().trim_end_matches("UTC").trim_end();
    strtime::parse("%Y-%b-%d %H:%M:%S%z", value).ok()?.to_timestamp().ok()
}
