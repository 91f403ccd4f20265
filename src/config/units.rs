//! Durations and sizes as values of keys.

use std::time::Duration;

use vbc_base::units::{Quantity, SIZES, TIMES, show_duration, show_size};

use super::error::Complaint;

/// Reads `"10s"`, `"250ms"`, `"1h30m"`: larger units first, each of them once.
pub(super) fn duration(text: &str) -> Result<Duration, Complaint> {
    let quantity = Quantity::parse(text, TIMES).filter(Quantity::is_descending);
    let millis = quantity.and_then(|quantity| quantity.total());
    millis.map(Duration::from_millis).ok_or_else(|| {
        if is_bare_number(text) {
            let remedy = format!("write for example \"{text}s\"; the units are ms, s, m, h and d");
            return Complaint::new("a duration needs a unit", remedy);
        }
        let remedy = "write for example \"10s\", \"250ms\" or \"1h30m\"";
        Complaint::new(format!("{text:?} is not a duration"), remedy)
    })
}

/// Reads a duration within a range.
pub(super) fn duration_within(text: &str, least: Duration, most: Duration) -> Result<Duration, Complaint> {
    let value = duration(text)?;
    if value < least {
        let remedy = format!("at least {} makes sense", show_duration(least));
        return Err(Complaint::new(format!("{text:?} is too short"), remedy));
    }
    if value > most {
        let remedy = format!("at most {} makes sense", show_duration(most));
        return Err(Complaint::new(format!("{text:?} is too long"), remedy));
    }
    Ok(value)
}

/// Reads `"64KiB"`, `"1MB"`, `"0B"`.
pub(super) fn size(text: &str) -> Result<u64, Complaint> {
    let quantity = Quantity::parse(text, SIZES).filter(|quantity| quantity.units().count() == 1);
    quantity.and_then(|quantity| quantity.total()).ok_or_else(|| {
        if is_bare_number(text) {
            let units = "the units are B, kB, KiB, MB, MiB, GB, GiB";
            let remedy = format!("write for example \"{text}B\" or \"64KiB\"; {units}");
            return Complaint::new("a size needs a unit", remedy);
        }
        let remedy = "write for example \"64KiB\" or \"1MB\"";
        Complaint::new(format!("{text:?} is not a size"), remedy)
    })
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
