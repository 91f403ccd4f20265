//! Notices a wall clock that was set back.

use jiff::SignedDuration;
use tokio::time::Instant;

use vbc_base::clock::{Clock, Timestamp};

/// If the wall clock lags by no more than this, it does not count as set back.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// Compares the wall clock with the monotonic one.
///
/// A clock that was set ahead looks the same as a suspended machine and is not detected.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockWatch {
    wall: Timestamp,
    monotonic: Instant,
}

impl ClockWatch {
    pub(super) fn new(clock: &Clock) -> Self {
        Self { wall: clock.now(), monotonic: Instant::now() }
    }

    /// How far the clock was set back since the last call; `None` if it was not.
    pub(super) fn set_back(&mut self, clock: &Clock) -> Option<SignedDuration> {
        let now = Self::new(clock);
        let passed = SignedDuration::try_from(now.monotonic - self.monotonic).unwrap_or(SignedDuration::MAX);
        let back = passed.saturating_sub(now.wall.duration_since(self.wall));
        *self = now;
        (back > TOLERANCE).then_some(back)
    }
}

/// The time `at`, moved back along with a clock that was set back by `by`.
pub(super) fn earlier(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_sub(by).unwrap_or(at)
}
