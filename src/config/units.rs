//! Durations and sizes as values of keys.

use std::time::Duration;

use vbc_base::trusted::Flaw;
use vbc_base::units::{Quantity, SIZES, TIMES, show_duration, show_size};

/// Reads `"10s"`, `"250ms"`, `"1h30m"`: larger units first, each at most once.
pub(super) fn duration(text: &str) -> Result<Duration, Flaw> {
    let quantity = Quantity::parse(text, TIMES).filter(Quantity::is_descending);
    let millis = quantity.and_then(|quantity| quantity.total());
    millis.map(Duration::from_millis).ok_or_else(|| {
        if is_bare_number(text) {
            let remedy = format!("write, for example, \"{text}s\"; the units are ms, s, m, h and d");
            return Flaw::new("a duration needs a unit", remedy);
        }
        let remedy = "write, for example, \"10s\", \"250ms\" or \"1h30m\"";
        Flaw::new(format!("{text:?} is not a duration"), remedy)
    })
}

pub(super) fn duration_within(text: &str, least: Duration, most: Duration) -> Result<Duration, Flaw> {
    match duration(text)? {
        value if value < least => Err(outside(text, "too short", "least", &show_duration(least))),
        value if value > most => Err(outside(text, "too long", "most", &show_duration(most))),
        value => Ok(value),
    }
}

/// Reads `"64KiB"`, `"1MB"`, `"0B"`.
pub(super) fn size(text: &str) -> Result<u64, Flaw> {
    let quantity = Quantity::parse(text, SIZES).filter(|quantity| quantity.units().count() == 1);
    quantity.and_then(|quantity| quantity.total()).ok_or_else(|| {
        if is_bare_number(text) {
            let units = "the units are B, kB, KiB, MB, MiB, GB, GiB";
            let remedy = format!("write, for example, \"{text}B\" or \"64KiB\"; {units}");
            return Flaw::new("a size needs a unit", remedy);
        }
        Flaw::new(format!("{text:?} is not a size"), "write, for example, \"64KiB\" or \"1MB\"")
    })
}

pub(super) fn size_within(text: &str, least: u64, most: u64) -> Result<u64, Flaw> {
    match size(text)? {
        bytes if bytes < least => Err(outside(text, "too small", "least", &show_size(least))),
        bytes if bytes > most => Err(too_much(text, most)),
        bytes => Ok(bytes),
    }
}

pub(super) fn too_much(text: &str, most: u64) -> Flaw {
    outside(text, "too large", "most", &show_size(most))
}

fn outside(text: &str, what: &str, bound: &str, value: &str) -> Flaw {
    Flaw::new(format!("{text:?} is {what}"), format!("write at {bound} {value}"))
}

fn is_bare_number(text: &str) -> bool {
    text.trim().parse::<f64>().is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use vbc_base::units::{show_duration, show_size};

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
