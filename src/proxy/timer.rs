//! Deadlines that cost nothing while nothing is late.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::server::drowsy::Timer;

/// One timer for all the waits of a connection, one after another.
///
/// Registering and removing a timer for every wait would cost more than the wait: so the timer of an earlier wait
/// is left running, and only when it fires is it set to the deadline that counts by then.
#[derive(Clone, Default)]
pub(super) struct LazyTimer(Rc<RefCell<Option<Timer>>>);

impl LazyTimer {
    /// Ready once `deadline` has passed. The waker is registered, so an earlier timer of ours wakes too; callers
    /// just poll again.
    pub(super) fn poll_deadline(&self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let mut slot = self.0.borrow_mut();
        let sleep = slot.get_or_insert_with(|| Timer::until(deadline));
        if sleep.deadline() > deadline {
            sleep.reset(deadline);
        }
        loop {
            if sleep.poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.reset(deadline);
        }
    }

    /// Gives the timer up, where nothing is waited for.
    pub(super) fn clear(&self) {
        self.0.take();
    }

    /// Drives `future` until it ends or `after` has passed.
    pub(super) async fn within<F: Future>(&self, after: Duration, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        let deadline = Instant::now() + after;
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            self.poll_deadline(cx, deadline).map(|()| None)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
