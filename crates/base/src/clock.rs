//! The only wall clock.
//!
//! Code that needs the time holds a [`Clock`]; a clippy lint bans other reads of the system's time.
//! A clock from [`Clock::tokio`] follows tokio's time, which tests can pause. Any clock can be
//! shifted: tests do this, and so does the simulator's fault `clock_advance`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
pub use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// A source of wall-clock time. A clone is one pointer and shares the shift.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    /// Whether `shift` is not zero. Most clocks are never shifted, and are read without the lock.
    shifted: AtomicBool,
    /// How far this clock is ahead of its source. The source is read under this lock, so that no
    /// reading mixes two shifts.
    shift: Mutex<SignedDuration>,
    moved: Notify,
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

    /// A clock that starts at the system's time and advances with tokio's time. While tokio's time
    /// is paused, this clock moves only when a test advances tokio's time.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn tokio() -> Self {
        Self::of(Source::Tokio { origin: tokio::time::Instant::now(), at: system_now() })
    }

    fn of(source: Source) -> Self {
        let shifted = AtomicBool::new(false);
        let shift = Mutex::default();
        let moved = Notify::new();
        Self(Arc::new(Inner { source, shifted, shift, moved }))
    }

    /// The current time. A shifted clock stops at the first and the last moment that a
    /// [`Timestamp`] can represent.
    pub fn now(&self) -> Timestamp {
        if !self.0.shifted.load(Ordering::Acquire) {
            return self.0.source.now();
        }
        let shift = self.0.shift.lock();
        moved(self.0.source.now(), *shift)
    }

    /// Moves this clock and its clones by `by`; negative values move it back.
    pub fn shift(&self, by: SignedDuration) {
        self.change(|_, shift| shift.saturating_add(by));
    }

    /// Sets this clock and its clones to `to`. Returns how far that moved it.
    pub fn set(&self, to: Timestamp) -> SignedDuration {
        let mut by = SignedDuration::ZERO;
        self.change(|source, shift| {
            by = to.duration_since(moved(source, shift));
            to.duration_since(source)
        });
        by
    }

    /// Resolves when this clock has reached `at`, whether time passed or the clock was moved.
    /// Cancel safe.
    pub async fn reaches(&self, at: Timestamp) {
        loop {
            let mut moved = std::pin::pin!(self.0.moved.notified());
            moved.as_mut().enable();
            let left = until(self.now(), at);
            // Ends when the timer has expired, without reading the clock again: the clock may lag
            // slightly behind tokio's time.
            if left.is_zero() || tokio::time::timeout(left, moved).await.is_err() {
                return;
            }
        }
    }

    fn change(&self, to: impl FnOnce(Timestamp, SignedDuration) -> SignedDuration) {
        {
            let mut shift = self.0.shift.lock();
            *shift = to(self.0.source.now(), *shift);
            self.0.shifted.store(!shift.is_zero(), Ordering::Release);
        }
        self.0.moved.notify_waiters();
    }
}

impl Source {
    fn now(&self) -> Timestamp {
        match self {
            Self::System => system_now(),
            Self::Tokio { origin, at } => after(*at, origin.elapsed()),
        }
    }
}

/// The instant `by` after `at`, or before it if `by` is negative. Saturates at the ends of
/// [`Timestamp`].
pub fn moved(at: Timestamp, by: SignedDuration) -> Timestamp {
    let end = if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
    at.checked_add(by).unwrap_or(end)
}

/// The instant `by` after `at`. Saturates at [`Timestamp::MAX`].
pub fn after(at: Timestamp, by: Duration) -> Timestamp {
    moved(at, SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX))
}

/// The time from `from` until `to`; zero if `to` is earlier.
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

    #[tokio::test(start_paused = true)]
    async fn a_shift_is_exact_to_the_nanosecond_in_both_directions() {
        let clock = Clock::tokio();
        let start = clock.now();
        for by in [1, -1, 999_999, -1_000_001, 86_400_000_000_001] {
            clock.shift(SignedDuration::from_nanos(by));
            assert_eq!(clock.now().duration_since(start), SignedDuration::from_nanos(by));
            clock.shift(SignedDuration::from_nanos(-by));
            assert_eq!(clock.now(), start);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_reads_that_time_and_goes_on() {
        let clock = Clock::tokio();
        for text in ["2026-03-01T09:00:00Z", "1970-01-01T00:00:00.000000001Z", "9999-12-30T00:00:00Z"] {
            let to: Timestamp = text.parse().unwrap();
            let before = clock.now();
            assert_eq!(clock.set(to), to.duration_since(before), "{text}");
            assert_eq!(clock.now(), to);
            tokio::time::advance(Duration::from_nanos(1_000_003)).await;
            assert!(until(to, clock.now()) >= Duration::from_millis(1));
        }
    }

    #[test]
    fn a_real_clock_never_reads_less_than_what_it_was_set_to() {
        let clock = Clock::system();
        // The shifts alternate between forward and back.
        for minute in 0..10_000 {
            let day = if minute % 2 == 0 { 1_000_000_020 } else { 4_070_908_800 };
            let to = Timestamp::from_second(day + minute * 60).unwrap();
            clock.set(to);
            assert!(until(to, clock.now()) < Duration::from_secs(60) && clock.now() >= to, "{to}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_a_time_is_told_when_the_clock_is_moved_there() {
        let clock = Clock::tokio();
        let (at, began) = (after(clock.now(), Duration::from_secs(3_600)), tokio::time::Instant::now());
        let waiting = tokio::spawn({
            let clock = clock.clone();
            async move { clock.reaches(at).await }
        });
        tokio::task::yield_now().await;
        clock.shift(SignedDuration::from_secs(3_599));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        waiting.await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 1, "the wait lasts only for the remaining time");
    }

    #[test]
    fn a_clock_is_one_pointer() {
        assert_eq!(size_of::<Clock>(), size_of::<usize>());
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(after(Timestamp::MAX, Duration::MAX), Timestamp::MAX);
        assert_eq!(until(Timestamp::MAX, Timestamp::UNIX_EPOCH), Duration::ZERO);
        assert_eq!(moved(Timestamp::UNIX_EPOCH, SignedDuration::MIN), Timestamp::MIN);
        let clock = Clock::system();
        for _ in 0..3 {
            clock.shift(SignedDuration::MAX);
            assert_eq!(clock.now(), Timestamp::MAX);
        }
        for _ in 0..3 {
            clock.shift(SignedDuration::MIN);
        }
        assert_eq!(clock.now(), Timestamp::MIN);
    }
}
