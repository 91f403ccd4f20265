//! How often a 401 may force a refresh. Pure: the caller passes the time.
//!
//! Every forced refresh counts, whether it succeeds or fails. If success reset the limiter, nothing
//! would limit a gateway where each refresh succeeds and the next request gets 401 again.

use std::time::Duration;

use tokio::time::Instant;

/// The age at which every node of the gateway is assumed to know a bearer. A 401 that names a
/// younger bearer may only mean that a node does not know that bearer yet.
pub(super) const KNOWN_AFTER: Duration = Duration::from_secs(2);

/// The least time between two forced refreshes.
const SPACING: Duration = Duration::from_secs(2);

/// The longest spacing.
const LONGEST: Duration = Duration::from_secs(30);

/// Forced refreshes are counted over this window. A whole window without a forced refresh resets
/// the spacing.
const WINDOW: Duration = Duration::from_secs(60);

/// The forced refresh of this number within [`WINDOW`] doubles the spacing, and so does each
/// further one.
const EASY: usize = 5;

/// At most this many forced refreshes begin within [`WINDOW`].
const MOST: usize = 10;

/// The forced refreshes of one credential.
#[derive(Debug)]
pub(super) struct ForcedRefreshes {
    /// Divides all times: 1, except in tests that run in real time.
    hurry: u32,
    /// When the latest forced refreshes began, oldest first. At most [`MOST`].
    at: Vec<Instant>,
    spacing: Duration,
    pub(super) total: u64,
}

impl ForcedRefreshes {
    pub(super) fn new(hurry: u32) -> Self {
        let hurry = hurry.max(1);
        Self { hurry, at: Vec::new(), spacing: SPACING / hurry, total: 0 }
    }

    /// How long until the next forced refresh may begin; zero if it may begin now.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let Some(last) = self.at.last() else { return Duration::ZERO };
        let spaced = *last + self.spacing;
        let next = match self.at.len() {
            MOST => spaced.max(self.at[0] + WINDOW / self.hurry),
            _ => spaced,
        };
        next.saturating_duration_since(now)
    }

    /// Forgets all forced refreshes except their total.
    pub(super) fn forget(&mut self) {
        self.at.clear();
        self.spacing = SPACING / self.hurry;
    }

    pub(super) fn note(&mut self, now: Instant) {
        let window = WINDOW / self.hurry;
        if self.at.last().is_none_or(|last| now.duration_since(*last) >= window) {
            self.spacing = SPACING / self.hurry;
        }
        self.at.retain(|at| now.duration_since(*at) < window);
        if self.at.len() == MOST {
            self.at.remove(0);
        }
        self.at.push(now);
        self.total += 1;
        if self.at.len() >= EASY {
            self.spacing = (self.spacing * 2).min(LONGEST / self.hurry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Forces a refresh whenever possible, for `seconds`. Returns the second at which each began.
    fn greedy(forced: &mut ForcedRefreshes, start: Instant, seconds: u64) -> Vec<u64> {
        let mut started = Vec::new();
        let mut now = start;
        let end = start + Duration::from_secs(seconds);
        loop {
            now += forced.wait(now);
            if now >= end {
                return started;
            }
            forced.note(now);
            started.push(now.duration_since(start).as_secs());
        }
    }

    #[test]
    fn forced_refreshes_are_two_seconds_apart_and_from_the_sixth_on_ever_further() {
        let started = greedy(&mut ForcedRefreshes::new(1), Instant::now(), 200);
        assert_eq!(started, [0, 2, 4, 6, 8, 12, 20, 36, 66, 96, 126, 156, 186]);
    }

    #[test]
    fn no_minute_has_more_than_ten_however_the_asking_is_spread() {
        for pause in [0, 1, 3, 5, 7, 11] {
            let (mut forced, start) = (ForcedRefreshes::new(1), Instant::now());
            let (mut now, mut started) = (start, Vec::new());
            for _ in 0..200 {
                now += forced.wait(now) + Duration::from_secs(pause);
                forced.note(now);
                started.push(now);
            }
            for (index, at) in started.iter().enumerate() {
                let within = started[index..].iter().filter(|later| **later - *at < WINDOW).count();
                assert!(within <= MOST, "{within} within a minute at a pause of {pause} s");
            }
        }
    }

    #[test]
    fn a_minute_without_one_ends_the_doubling_and_less_does_not() {
        let (mut forced, start) = (ForcedRefreshes::new(1), Instant::now());
        let started = greedy(&mut forced, start, 100);
        let last = start + Duration::from_secs(*started.last().unwrap());
        let soon = last + Duration::from_secs(59);
        forced.note(soon);
        assert_eq!(forced.wait(soon), LONGEST);
        let late = soon + WINDOW;
        forced.note(late);
        assert_eq!(forced.wait(late), SPACING);
    }

    #[test]
    fn a_test_in_a_hurry_sees_the_same_in_less_time() {
        let started = greedy(&mut ForcedRefreshes::new(2), Instant::now(), 34);
        assert_eq!(started, [0, 1, 2, 3, 4, 6, 10, 18, 33]);
    }
}
