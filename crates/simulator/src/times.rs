//! Durations in scenarios and requests, and the range of the clock.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Number, Value};

use vbc_base::clock::Timestamp;
use vbc_base::units::duration;

/// The times to which the clock can be set. Every suite and HTTP can represent them.
pub(crate) const TIMES: RangeInclusive<Timestamp> = Timestamp::UNIX_EPOCH..=LATEST;
const LATEST: Timestamp = Timestamp::constant(253_402_128_000, 0);

/// Describes the values that [`read`] accepts.
pub(crate) const EXPECTED: &str = "a time such as \"20s\", \"1m30s\" or a number of seconds";

/// Reads a duration.
pub(crate) fn read(value: &Value) -> Option<Duration> {
    Duration::try_from(read_signed(value)?).ok()
}

/// Reads a duration that may be negative: `"-30s"`, `-30`.
pub(crate) fn read_signed(value: &Value) -> Option<SignedDuration> {
    match value {
        Value::String(text) => match text.trim().strip_prefix('-') {
            Some(rest) => SignedDuration::try_from(duration(rest)?).ok()?.checked_neg(),
            None => SignedDuration::try_from(duration(text)?).ok(),
        },
        Value::Number(number) => seconds(number),
        _ => None,
    }
}

/// Converts seconds by their decimal form, to the nanosecond: 0.1 is exactly 100 ms.
pub(crate) fn seconds(number: &Number) -> Option<SignedDuration> {
    if let Some(whole) = number.as_i64() {
        return Some(SignedDuration::from_secs(whole));
    }
    // Writes nine digits after the point and no exponent.
    let written = format!("{:.9}", number.as_f64()?);
    let (whole, fraction) = written.split_once('.')?;
    let (whole, fraction): (i64, i32) = (whole.parse().ok()?, fraction.parse().ok()?);
    let fraction = if written.starts_with('-') { -fraction } else { fraction };
    Some(SignedDuration::new(whole, fraction))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_numbers_with_units_or_seconds() {
        for (text, millis) in
            [("250ms", 250), ("20s", 20_000), ("1m30s", 90_000), ("2h", 7_200_000), ("7d", 604_800_000)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "20", "s", "20 parsecs", "-1s", "1m30", "99999999999999999d"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(read(&json!(1.5)), Some(Duration::from_millis(1500)));
        assert_eq!(read(&json!(-1)), None);
        for (value, nanos) in [
            (json!(0.1), 100_000_000),
            (json!(-0.000_000_001), -1),
            (json!(1_000_000.123_456_789), 1_000_000_123_456_789),
            (json!("-1m30s"), -90_000_000_000),
            (json!(-5), -5_000_000_000),
        ] {
            assert_eq!(read_signed(&value), Some(SignedDuration::from_nanos(nanos)), "{value}");
        }
        for value in [json!(1e300), json!(-1e300), json!(u64::MAX), json!("--1s"), json!("-"), json!("NaN")] {
            assert_eq!(read_signed(&value), None, "{value}");
        }
        assert_eq!(read(&json!(true)), None);
    }
}
