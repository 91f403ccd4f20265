//! Deadlines that cost nothing while nothing is late.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// One timer for many waits, one after another.
///
/// Registering and removing a timer for every wait costs more than the wait. A timer that was set
/// for an earlier wait therefore keeps running. It is reset only when it fires, or would fire after
/// the deadline.
///
/// [`poll_deadline`](Self::poll_deadline) and [`within`](Self::within) wait for a given instant.
/// [`poll_after`](Self::poll_after) waits for a duration from its first call after
/// [`clear`](Self::clear). Only one task at a time is woken.
#[derive(Default)]
pub struct LazyTimer(Cell<Option<Timer>>);

impl LazyTimer {
    /// Ready once `deadline` has passed. The task may be woken earlier; it then polls again.
    pub fn poll_deadline(&self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        self.with(|slot| {
            let timer = slot.get_or_insert_with(|| Timer::until(deadline));
            if timer.sleep.deadline() > deadline {
                timer.reset(deadline);
            }
            loop {
                if timer.poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if Instant::now() >= deadline {
                    return Poll::Ready(());
                }
                timer.reset(deadline);
            }
        })
    }

    /// Ready once `after` has passed since the first call after the last [`clear`](Self::clear).
    pub fn poll_after(&self, cx: &mut Context<'_>, after: Duration) -> Poll<()> {
        self.with(|slot| slot.get_or_insert_with(|| Timer::until(Instant::now() + after)).poll(cx))
    }

    /// Drops the timer, which then wakes no task.
    pub fn clear(&self) {
        self.0.take();
    }

    /// Whether there is a timer. It may have elapsed already.
    pub fn is_set(&self) -> bool {
        self.with(|slot| slot.is_some())
    }

    /// Drives `future` until it ends or `after` has passed. In the second case returns `None`.
    pub async fn within<F: Future>(&self, after: Duration, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let deadline = Instant::now() + after;
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            self.poll_deadline(cx, deadline).map(|()| None)
        })
        .await
    }

    fn with<R>(&self, use_slot: impl FnOnce(&mut Option<Timer>) -> R) -> R {
        let mut slot = self.0.take();
        let result = use_slot(&mut slot);
        self.0.set(slot);
        result
    }
}

impl fmt::Debug for LazyTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyTimer").field("is_set", &self.is_set()).finish()
    }
}

/// A sleep that is polled only when it has fired or another task waits.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// The task that the sleep wakes; `None` while it is not registered.
    task: Option<Waker>,
}

impl Timer {
    fn until(deadline: Instant) -> Self {
        Self { sleep: Box::pin(sleep_until(deadline)), task: None }
    }

    fn reset(&mut self, deadline: Instant) {
        self.task = None;
        self.sleep.as_mut().reset(deadline);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let registered = self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker()));
        if registered && !self.sleep.is_elapsed() {
            return Poll::Pending;
        }
        // This poll ignores tokio's cooperative budget. With the budget used up, the sleep would
        // return `Pending` without registering. Waits often start with the budget used up.
        let polled = pin!(unconstrained(self.sleep.as_mut())).poll(cx);
        if polled.is_pending() && !registered {
            self.task = Some(cx.waker().clone());
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_begins_at_the_end_of_a_turn_ends() {
        let timer = LazyTimer::default();
        let mut works = true;
        let waiting = poll_fn(|cx| {
            // The first poll uses up tokio's cooperative budget. Later polls only wait.
            while std::mem::take(&mut works) {
                works = pin!(tokio::task::coop::consume_budget()).poll(cx).is_ready();
            }
            timer.poll_after(cx, Duration::from_secs(1))
        });
        tokio::time::timeout(Duration::from_secs(2), waiting).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_in_time_however_often_it_is_polled() {
        let start = Instant::now();
        let timer = LazyTimer::default();
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            if polls < 5 {
                cx.waker().wake_by_ref();
            }
            timer.poll_after(cx, Duration::from_secs(5))
        })
        .await;
        assert_eq!(start.elapsed().as_secs(), 5);
        timer.clear();
        poll_fn(|cx| timer.poll_after(cx, Duration::from_secs(55))).await;
        assert_eq!(start.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_wait_does_not_shorten_a_later_one() {
        let timer = LazyTimer::default();
        assert_eq!(timer.within(Duration::from_secs(5), async { 1 }).await, Some(1));
        let pending = || std::future::pending::<()>();
        assert_eq!(timer.within(Duration::from_secs(5), pending()).await, None);
        let start = Instant::now();
        assert_eq!(timer.within(Duration::from_secs(60), pending()).await, None);
        assert_eq!(start.elapsed().as_secs(), 60);
        let start = Instant::now();
        assert_eq!(timer.within(Duration::from_secs(1), pending()).await, None);
        assert_eq!(start.elapsed().as_secs(), 1);
    }
}
