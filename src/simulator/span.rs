//! Lengths of time as people write them.

use std::time::Duration;

use serde_json::Value;

/// What is taken.
pub(super) const EXPECTED: &str = "a time such as \"20s\", \"1m30s\" or a number of seconds";

/// Reads one.
pub(super) fn read(value: &Value) -> Option<Duration> {
    match value {
        Value::String(text) => parse(text),
        number => Duration::try_from_secs_f64(number.as_f64()?).ok(),
    }
}

/// Numbers with units: `250ms`, `20s`, `1m30s`, `2h`, `7d`.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text.trim(), Duration::ZERO);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let millis = match rest.get(..unit)?.trim() {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
        rest = rest.get(unit..)?;
    }
    Some(total)
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
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "20", "s", "20 parsecs", "-1s", "1m30", "99999999999999999d"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(read(&json!(1.5)), Some(Duration::from_millis(1500)));
        assert_eq!(read(&json!(-1)), None);
        assert_eq!(read(&json!(true)), None);
    }
}
