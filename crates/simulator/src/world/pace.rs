//! VBC's processing times.

use std::time::Duration;

use crate::random::Random;
use vbc_base::clock::{Timestamp, after};

/// VBC's processing times, scaled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// 1 is VBC's pace, 0 is no delay.
    pub(crate) lag: f64,
    /// How long a placed call rings before it is answered.
    pub(crate) ringing: Duration,
}

impl Pace {
    pub(crate) fn scaled(self, by: Duration) -> Duration {
        let seconds = (by.as_secs_f64() * self.lag).max(0.0);
        Duration::try_from_secs_f64(seconds).unwrap_or(if seconds > 0.0 {
            Duration::MAX
        } else {
            Duration::ZERO
        })
    }

    /// When Reports lists an ended call. At VBC's pace the delay is 5 to 13 minutes; the median is
    /// 8, the 90th percentile 10.
    pub(crate) fn reported(self, call: &str, end: Timestamp) -> Timestamp {
        let hash = call.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let place = Random::new(hash).below(1_000);
        let seconds = match place {
            0..500 => 300 + place * 180 / 500,
            500..900 => 480 + (place - 500) * 120 / 400,
            _ => 600 + (place - 900) * 180 / 100,
        };
        after(end, self.scaled(Duration::from_secs(seconds)))
    }

    /// When a recording is available. VBC's own time is unknown.
    pub(crate) fn recorded(self, end: Timestamp) -> Timestamp {
        after(end, self.scaled(Duration::from_secs(60)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vbc_base::clock::until;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn reports_lags_as_measured_and_as_scaled() {
        let pace = |lag| Pace { lag, ringing: Duration::ZERO };
        let mut lags: Vec<u64> = (0..2_000)
            .map(|n| until(at(0), pace(1.0).reported(&format!("call-{n}"), at(0))).as_secs())
            .collect();
        lags.sort_unstable();
        assert!(lags[0] >= 300 && lags[1_999] <= 780);
        assert!(
            (450..510).contains(&lags[1_000]) && (590..620).contains(&lags[1_800]),
            "{} {}",
            lags[1_000],
            lags[1_800]
        );
        assert_eq!(pace(0.0).reported("x", at(9)), at(9));
        assert_eq!(pace(f64::INFINITY).scaled(Duration::from_secs(1)), Duration::MAX);
        assert_eq!(pace(-1.0).scaled(Duration::from_secs(1)), Duration::ZERO);
    }
}
