//! The mailbox through which requests and operators reach the refresher.
//!
//! Together with [`published`](super::published), the mailbox provides single flight: requests that
//! wait for a token share one exchange. The refresher publishes a new token before it responds to a
//! message. So the refresher finds the new token when it handles the next message, and starts no
//! second exchange.
//!
//! The primitives come from `sync`, so that `tests/it/single_flight.rs` can build this file on
//! loom's primitives and try every interleaving of threads.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use super::sync::Mutex;

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushError {
    /// The limit of waiting messages is reached.
    Full,
    /// The receiver has ended.
    Closed,
}

/// Messages to one task, in order of arrival. An empty mailbox takes a few words of memory.
pub(super) struct Mailbox<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    waiting: VecDeque<T>,
    closed: bool,
    waker: Option<Waker>,
}

impl<T> Mailbox<T> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { waiting: VecDeque::new(), closed: false, waker: None }) }
    }

    /// Leaves a message, unless `limit` messages wait already.
    pub(super) fn push(&self, message: T, limit: usize) -> Result<(), PushError> {
        let waker = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(PushError::Closed);
            }
            if state.waiting.len() >= limit {
                return Err(PushError::Full);
            }
            state.waiting.push_back(message);
            state.waker.take()
        };
        // The task is woken outside the lock, because its first step is to take the lock.
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Accepts no further messages. Waiting messages are still delivered.
    pub(super) fn close(&self) {
        let waker = {
            let mut state = self.state.lock();
            state.closed = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Closes the mailbox and drops waiting messages, which wakes their senders.
    pub(super) fn abandon(&self) {
        self.close();
        let abandoned = std::mem::take(&mut self.state.lock().waiting);
        // The messages are dropped outside the lock, because that wakes their senders.
        drop(abandoned);
    }

    /// The next message; `None` once the mailbox is closed and empty.
    ///
    /// Only one task may call this: among several, only the last to poll would be woken.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.state.lock();
        if let Some(message) = state.waiting.pop_front() {
            if state.waiting.is_empty() {
                // A burst may have grown the queue; an idle credential keeps no memory for it.
                state.waiting = VecDeque::new();
            }
            return Poll::Ready(Some(message));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
