//! Compares this machine's clock with another machine's, by the `Date` of a response. Pure.

use std::time::Duration;

use jiff::SignedDuration;
use jiff::fmt::rfc2822;

use super::report::{Check, Verdict};
use vbc_base::clock::Timestamp;

/// A larger difference is reported.
const NOTABLE: SignedDuration = SignedDuration::from_secs(60);

/// The service accepts tokens whose times differ by this much.
const TOLERATED: SignedDuration = SignedDuration::from_secs(300);

/// Parses an HTTP-date in the form that senders must generate (RFC 9110 §5.6.7).
pub(super) fn http_date(value: &str) -> Option<Timestamp> {
    const IMF_FIXDATE: rfc2822::DateTimeParser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    IMF_FIXDATE.parse_timestamp(value.trim()).ok()
}

/// How far this machine's clock is ahead of the clock that wrote `date`. The request was sent at
/// `sent`, and its response arrived after `took`.
///
/// Assumes that the date was written in the middle of this round trip. Adds half a second to the
/// date, because an HTTP-date has whole seconds.
pub(super) fn ahead(date: Timestamp, sent: Timestamp, took: Duration) -> SignedDuration {
    let half = SignedDuration::try_from(took / 2).unwrap_or_default();
    let middle = sent.saturating_add(half).unwrap_or(sent);
    middle.duration_since(date) - SignedDuration::from_millis(500)
}

/// The check of the clocks. Each item of `clocks` is a host, and how far this machine's clock is
/// ahead of the host's clock.
pub(super) fn check(name: &'static str, clocks: &[(&str, SignedDuration)]) -> Check {
    let Some((whose, ahead)) = clocks.iter().max_by_key(|(_, ahead)| ahead.abs()) else {
        return Check::skipped(name, "no response had a date to compare with");
    };
    let off = ahead.abs();
    if off <= NOTABLE {
        let of = clocks.iter().map(|(whose, _)| format!("the {whose}'s")).collect::<Vec<_>>().join(" and ");
        return Check::ok(name, format!("within {} of {of}", rounded(off)));
    }
    let direction = if ahead.is_positive() { "ahead of" } else { "behind" };
    let mut found = format!("this machine's clock is {} {direction} the {whose}'s", rounded(off));
    // If the hosts disagree, the clock of this machine may be the correct one.
    let others: Vec<&str> =
        clocks.iter().filter(|(_, ahead)| ahead.abs() <= NOTABLE).map(|(whose, _)| *whose).collect();
    let remedy = match others.as_slice() {
        [] => "set this machine's clock, and keep it correct with NTP",
        [other, ..] => {
            found.push_str(&format!(", but agrees with the {other}'s"));
            "report to Vonage that the clocks of the service disagree; this machine's clock agrees with one of them"
        }
    };
    let mut check = Check::warn(name, "clock-skew", found, remedy);
    // Another host's wrong clock does not affect the tokens.
    if off > TOLERATED && others.is_empty() {
        check.verdict = Verdict::Fail;
        check.found.push_str("; the service tolerates 5 min");
    }
    check
}

/// `12 s`, `2 min 5 s`, `3 h 20 min`, `400 days`.
pub(super) fn rounded(span: SignedDuration) -> String {
    let seconds = span.as_secs().unsigned_abs();
    match seconds {
        0 => "1 s".to_owned(),
        1..60 => format!("{seconds} s"),
        60..3600 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..172_800 if seconds % 3600 < 60 => format!("{} h", seconds / 3600),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000_000 + seconds).unwrap()
    }

    fn off(seconds: i64) -> Check {
        check("clock", &[("token host", SignedDuration::from_secs(seconds))])
    }

    #[test]
    fn half_of_the_round_trip_is_not_taken_for_skew() {
        assert_eq!(ahead(at(2), at(0), Duration::from_secs(5)), SignedDuration::ZERO);
        assert_eq!(ahead(at(-90), at(0), Duration::ZERO), SignedDuration::from_millis(89_500));
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), "1994-11-06T08:49:37Z".parse().ok());
        assert_eq!(http_date("yesterday"), None);
    }

    #[test]
    fn a_minute_is_said_and_five_fail() {
        assert_eq!((off(60).verdict, off(-60).verdict), (Verdict::Ok, Verdict::Ok));
        assert_eq!((off(61).verdict, off(-300).verdict), (Verdict::Warn, Verdict::Warn));
        assert_eq!((off(301).verdict, off(-301).verdict), (Verdict::Fail, Verdict::Fail));
        assert_eq!(check("clock", &[]).verdict, Verdict::Skipped);
    }

    #[test]
    fn direction_and_amount_are_said_with_what_to_do() {
        assert_eq!(off(125).found, "this machine's clock is 2 min 5 s ahead of the token host's");
        let late = "this machine's clock is 2 h behind the token host's; the service tolerates 5 min";
        assert_eq!(off(-7200).found, late);
        assert!(off(125).remedy.unwrap().contains("NTP"));
        assert_eq!(off(3).found, "within 3 s of the token host's");
    }

    #[test]
    fn where_the_others_disagree_ours_is_not_blamed() {
        let seconds = SignedDuration::from_secs;
        let check = check("clock", &[("token host", seconds(1)), ("upstream", seconds(-100))]);
        assert_eq!(check.verdict, Verdict::Warn);
        assert_eq!(
            check.found,
            "this machine's clock is 1 min 40 s behind the upstream's, but agrees with the token host's"
        );
        assert!(!check.remedy.unwrap().contains("NTP"));
        let check = super::check("clock", &[("token host", seconds(1)), ("upstream", seconds(-4000))]);
        assert_eq!(check.verdict, Verdict::Warn, "it is not ours");
    }
}
