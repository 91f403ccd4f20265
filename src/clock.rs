//! The only wall clock.
//!
//! Everything that asks what time it is holds a [`Clock`]; nothing else reads the system's time (clippy refuses
//! it). A clock made by [`Clock::tokio`] follows tokio's time, paused time included, and any clock can be shifted,
//! which is how the simulator's `clock_advance` and the tests travel.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
pub use jiff::Timestamp;

/// A source of wall-clock time. Clones are one pointer each, and share their shift.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    shift_ms: AtomicI64,
}

#[derive(Debug)]
enum Source {
    System,
    Tokio { origin: tokio::time::Instant, at: Timestamp },
}

impl Clock {
    /// The system's wall clock.
    pub fn system() -> Self {
        Self::of(Source::System)
    }

    /// A clock that starts at the system's time and advances with tokio's, so that paused time moves it.
    ///
    /// Must be called inside a tokio runtime.
    pub fn tokio() -> Self {
        Self::of(Source::Tokio { origin: tokio::time::Instant::now(), at: system_now() })
    }

    fn of(source: Source) -> Self {
        Self(Arc::new(Inner { source, shift_ms: AtomicI64::new(0) }))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        let base = match &self.0.source {
            Source::System => system_now(),
            Source::Tokio { origin, at } => after(*at, origin.elapsed()),
        };
        match self.0.shift_ms.load(Ordering::Relaxed) {
            0 => base,
            shift => base.saturating_add(SignedDuration::from_millis(shift)).unwrap_or(base),
        }
    }

    /// Moves this clock and its clones by `by`; negative values move it back.
    pub fn shift(&self, by: SignedDuration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.0.shift_ms.fetch_add(millis, Ordering::Relaxed);
    }
}

/// The instant `by` after `at`, held at the end of time instead of overflowing.
pub fn after(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// How long from `from` until `to`; zero when `to` has passed.
pub fn until(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[allow(clippy::disallowed_methods)]
fn system_now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_tokio_clock_follows_paused_time() {
        let clock = Clock::tokio();
        let start = clock.now();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(until(start, clock.now()), Duration::from_secs(3600));
    }

    #[test]
    fn a_shift_moves_every_clone() {
        let clock = Clock::system();
        let clone = clock.clone();
        let start = clone.now();
        clock.shift(SignedDuration::from_hours(24));
        assert!(until(start, clone.now()) >= Duration::from_secs(86_400));
    }

    #[test]
    fn a_clock_is_one_pointer() {
        assert_eq!(size_of::<Clock>(), size_of::<usize>());
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(after(Timestamp::MAX, Duration::MAX), Timestamp::MAX);
        assert_eq!(until(Timestamp::MAX, Timestamp::UNIX_EPOCH), Duration::ZERO);
    }
}
