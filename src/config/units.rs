//! Durations and sizes with units.

use std::time::Duration;

use super::error::Complaint;

const TIMES: &[(&str, u64)] = &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// Reads `"10s"`, `"250ms"`, `"1h30m"`.
pub(super) fn duration(text: &str) -> Result<Duration, Complaint> {
    if is_bare_number(text) {
        let remedy = format!("write for example \"{text}s\"; the units are ms, s, m, h and d");
        return Err(Complaint::new("a duration needs a unit", remedy));
    }
    let complaint = || {
        let remedy = "write for example \"10s\", \"250ms\" or \"1h30m\"";
        Complaint::new(format!("{text:?} is not a duration"), remedy)
    };
    let mut rest = text.trim();
    let mut total: u64 = 0;
    let mut last = u64::MAX;
    while !rest.is_empty() {
        let (number, unit, tail) = piece(rest).ok_or_else(complaint)?;
        let factor = factor(TIMES, unit).filter(|factor| *factor < last).ok_or_else(complaint)?;
        let part = number.checked_mul(factor).ok_or_else(complaint)?;
        total = total.checked_add(part).ok_or_else(complaint)?;
        (last, rest) = (factor, tail);
    }
    if last == u64::MAX { Err(complaint()) } else { Ok(Duration::from_millis(total)) }
}

/// Reads a duration within a range.
pub(super) fn duration_within(text: &str, least: Duration, most: Duration) -> Result<Duration, Complaint> {
    let value = duration(text)?;
    if value < least {
        let message = format!("{text:?} is too short");
        return Err(Complaint::new(message, format!("at least {} makes sense", show_duration(least))));
    }
    if value > most {
        let message = format!("{text:?} is too long");
        return Err(Complaint::new(message, format!("at most {} makes sense", show_duration(most))));
    }
    Ok(value)
}

/// Writes a duration as [`duration`] reads it.
pub(super) fn show_duration(value: Duration) -> String {
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

/// Reads `"64KiB"`, `"1MB"`, `"0B"`.
pub(super) fn size(text: &str) -> Result<u64, Complaint> {
    if is_bare_number(text) {
        let remedy =
            format!("write for example \"{text}B\" or \"64KiB\"; the units are B, kB, KiB, MB, MiB, GB, GiB");
        return Err(Complaint::new("a size needs a unit", remedy));
    }
    let complaint =
        || Complaint::new(format!("{text:?} is not a size"), "write for example \"64KiB\" or \"1MB\"");
    let (number, unit, tail) = piece(text.trim()).ok_or_else(complaint)?;
    let factor = factor(SIZES, unit).filter(|_| tail.is_empty()).ok_or_else(complaint)?;
    number.checked_mul(factor).ok_or_else(complaint)
}

/// Reads a size within a range of bytes.
pub(super) fn size_within(text: &str, least: u64, most: u64) -> Result<u64, Complaint> {
    let bytes = size(text)?;
    if bytes < least {
        let remedy = format!("at least {} makes sense", show_size(least));
        return Err(Complaint::new(format!("{text:?} is too little"), remedy));
    }
    if bytes > most { Err(too_much(text, most)) } else { Ok(bytes) }
}

/// For a size over `most` bytes.
pub(super) fn too_much(text: &str, most: u64) -> Complaint {
    let remedy = format!("at most {} makes sense", show_size(most));
    Complaint::new(format!("{text:?} is too much"), remedy)
}

/// Writes a size as [`size`] reads it.
pub(super) fn show_size(bytes: u64) -> String {
    let largest = SIZES.iter().rev().filter(|(unit, _)| unit.len() != 2);
    for (unit, factor) in largest {
        if bytes >= *factor && bytes.is_multiple_of(*factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes}B")
}

fn is_bare_number(text: &str) -> bool {
    text.trim().parse::<f64>().is_ok_and(f64::is_finite)
}

/// Splits `10s5ms` into 10, `s` and `5ms`; blanks between number and unit are fine.
fn piece(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number = text.get(..digits)?.parse().ok()?;
    let rest = text.get(digits..)?.trim_start();
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, tail) = rest.split_at(letters);
    Some((number, unit, tail.trim_start()))
}

fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_units() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration(" 1h 30 m "), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "s", "10 parsecs", "-1s", "1m1h", "1s1s", "1.5s", "99999999999999999999s", "10s;"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(duration("10").unwrap_err().message, "a duration needs a unit");
        assert!(duration("10").unwrap_err().remedy.contains("\"10s\""));
    }

    #[test]
    fn sizes_carry_units() {
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("0B"), Ok(0));
        assert_eq!(size("1MB"), Ok(1_000_000));
        assert_eq!(size("2 MiB"), Ok(2 << 20));
        for wrong in ["", "B", "64K", "-1B", "1KiB1B", "1kib"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(size("65536").unwrap_err().message, "a size needs a unit");
    }

    #[test]
    fn what_is_shown_reads_back() {
        for millis in [0, 1, 999, 1000, 61_001, 5_400_000, 86_400_000, 604_800_000] {
            let value = Duration::from_millis(millis);
            assert_eq!(duration(&show_duration(value)), Ok(value));
        }
        for bytes in [0, 1, 1000, 1024, 65_536, 1 << 20, 3 << 30, 1_000_001] {
            assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }
        assert_eq!(show_size(65_536), "64KiB");
        assert_eq!(show_duration(Duration::from_secs(5400)), "1h30m");
    }
}
