//! Reads how long a server wants the client to wait before the next request.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use jiff::fmt::{rfc2822, strtime};
use jiff::tz::TimeZone;

use vbc_base::clock::{self, Timestamp};

/// The longest wait. A server with a wrong clock must not stop a credential forever.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The `Retry-After` header (RFC 9110 §10.2.3): seconds, or an HTTP-date as WSO2 sends it.
pub(super) fn from_header(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a u64 holds mean the longest wait.
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(LONGEST));
    }
    http_date(value).map(|at| wait(now, at))
}

/// WSO2's `nextAccessTime`, for example `2026-Sep-05 16:00:00+0000 UTC`.
pub(super) fn from_next_access_time(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim().trim_end_matches("UTC").trim_end();
    let at = strtime::parse("%Y-%b-%d %H:%M:%S%z", value).ok()?.to_timestamp().ok()?;
    Some(wait(now, at))
}

/// An HTTP-date in any of the three forms of RFC 9110 §5.6.7, all of which a recipient must read.
fn http_date(value: &str) -> Option<Timestamp> {
    const IMF_FIXDATE: rfc2822::DateTimeParser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    if let Ok(at) = IMF_FIXDATE.parse_timestamp(value) {
        return Some(at);
    }
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"].iter().find_map(|form| {
        let at = strtime::parse(form, value).ok()?.to_datetime().ok()?;
        TimeZone::UTC.to_timestamp(at).ok()
    })
}

fn wait(now: Timestamp, at: Timestamp) -> Duration {
    clock::until(now, at).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn every_form_is_read() {
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
        let after = |value: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(value).unwrap())]);
            from_header(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(after("120"), Some(120));
        assert_eq!(after(" 0 "), Some(0));
        assert_eq!(after("99999999999999999999999"), Some(86_400));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(30));
        assert_eq!(after("Sunday, 06-Nov-94 08:49:37 GMT"), Some(30));
        assert_eq!(after("Sun Nov  6 08:49:37 1994"), Some(30));
        assert_eq!(after("Sun, 06 Nov 1994 08:48:37 GMT"), Some(0));
        assert_eq!(after("Mon, 06 Nov 2094 08:49:37 GMT"), Some(86_400));
        for wrong in ["", "soon", "-1", "1.5", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(after(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn wso2s_own_date_is_read() {
        let now: Timestamp = "2026-09-05T15:59:18Z".parse().unwrap();
        let after = |value| from_next_access_time(value, now).map(|wait| wait.as_secs());
        assert_eq!(after("2026-Sep-05 16:00:00+0000 UTC"), Some(42));
        assert_eq!(after("2026-Sep-05 17:00:00+0100"), Some(42));
        assert_eq!(after("2026-Sep-05 15:00:00+0000 UTC"), Some(0));
        assert_eq!(after("tomorrow"), None);
    }
}
