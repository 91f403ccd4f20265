//! Durations and sizes in configuration files and options: `1h30m`, `64KiB`.

use std::time::Duration;

/// The name of a unit, and its value in the smallest unit.
pub type Unit = (&'static str, u64);

/// The units of durations, in milliseconds, in ascending order.
pub const TIMES: &[Unit] = &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The units of sizes, in bytes, in ascending order.
pub const SIZES: &[Unit] = &[
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// A text split into numbers with units.
///
/// Blanks are allowed between a number and its unit, and between the parts. Units may be in any
/// order; [`is_descending`](Self::is_descending) checks the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity {
    parts: Vec<(u64, u64)>,
}

impl Quantity {
    /// Parses a text. `None` if it is empty, or not a sequence of numbers with these units.
    pub fn parse(text: &str, units: &[Unit]) -> Option<Self> {
        let mut rest = text.trim();
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let number = rest.get(..digits)?.parse().ok()?;
            rest = rest.get(digits..)?.trim_start();
            let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let (unit, tail) = rest.split_at(letters);
            let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
            parts.push((number, *factor));
            rest = tail.trim_start();
        }
        (!parts.is_empty()).then_some(Self { parts })
    }

    /// The value of each part's unit in the smallest unit.
    pub fn units(&self) -> impl Iterator<Item = u64> {
        self.parts.iter().map(|(_, factor)| *factor)
    }

    /// Whether larger units come first, and none is repeated.
    pub fn is_descending(&self) -> bool {
        self.parts.is_sorted_by(|(_, before), (_, after)| before > after)
    }

    /// The sum in the smallest unit. `None` if it is too large.
    pub fn total(&self) -> Option<u64> {
        self.parts
            .iter()
            .try_fold(0_u64, |total, (number, factor)| total.checked_add(number.checked_mul(*factor)?))
    }
}

/// Parses a duration with units in any order. `None` if it is not a duration, or too long.
pub fn duration(text: &str) -> Option<Duration> {
    Quantity::parse(text, TIMES)?.total().map(Duration::from_millis)
}

/// Formats a duration with millisecond precision: `1h30m`.
pub fn show_duration(value: Duration) -> String {
    let mut rest = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (unit, factor) in TIMES.iter().rev() {
        if rest >= *factor {
            text.push_str(&format!("{}{unit}", rest / factor));
            rest %= factor;
        }
    }
    text
}

/// Formats a size in the largest unit that divides it: `64KiB`.
pub fn show_size(bytes: u64) -> String {
    let largest = SIZES.iter().rev().filter(|(unit, _)| unit.len() != 2);
    for (unit, factor) in largest {
        if bytes >= *factor && bytes.is_multiple_of(*factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, millis) in [
            ("250ms", 250),
            ("20s", 20_000),
            ("1m30s", 90_000),
            (" 1h 30 m ", 5_400_000),
            ("30s1m", 90_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "20", "s", "20 parsecs", "-1s", "1m30", "1s;", "1.5s", "99999999999999999d"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_quantity_tells_its_units_and_its_sum() {
        let units = |text| Quantity::parse(text, SIZES).map(|size| size.units().collect::<Vec<_>>());
        assert_eq!(units("2 MiB"), Some(vec![1 << 20]));
        assert_eq!(units("1KiB1B"), Some(vec![1024, 1]));
        assert_eq!(units("1kib"), None);
        let is_descending = |text| Quantity::parse(text, TIMES).unwrap().is_descending();
        assert!(is_descending("1h30m5s") && !is_descending("1m1h") && !is_descending("1s1s"));
        assert_eq!(Quantity::parse("2 MiB", SIZES).unwrap().total(), Some(2 << 20));
        assert_eq!(Quantity::parse("99999999999999999GiB", SIZES).unwrap().total(), None);
    }
}
