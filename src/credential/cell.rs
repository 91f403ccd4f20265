//! Where those who need a token and the one task that redeems meet: a mailbox towards it, and what it has published.
//!
//! Together they make a single flight: whoever asks joins the exchange under way, since the refresher answers a question
//! by what is published when its turn comes, and publishes before it answers.
//!
//! The primitives come from `sync`, so that `tests/it/single_flight.rs` can put this very file on loom's and try every
//! order in which threads can meet here.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use super::sync::{AtomicU64, Mutex, Ordering, RwLock};

/// Why a question was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// Too many wait already.
    Full,
    /// Nobody will answer any more.
    Closed,
}

/// Questions to the one task that answers them, in the order they came. Empty it takes a few words.
pub(super) struct Mailbox<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    waiting: VecDeque<T>,
    closed: bool,
    /// Of the one that answers, while it sleeps.
    waker: Option<Waker>,
}

impl<T> Mailbox<T> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { waiting: VecDeque::new(), closed: false, waker: None }) }
    }

    /// Leaves a question, unless `limit` wait already.
    pub(super) fn push(&self, question: T, limit: usize) -> Result<(), NotTaken> {
        let waker = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(NotTaken::Closed);
            }
            if state.waiting.len() >= limit {
                return Err(NotTaken::Full);
            }
            state.waiting.push_back(question);
            state.waker.take()
        };
        // Outside the lock, which whoever is woken takes first.
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// From now on nothing is taken; what waits is still answered.
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

    /// Closes it and throws away what waits, so that whoever asked learns of it.
    pub(super) fn abandon(&self) {
        self.close();
        let abandoned = std::mem::take(&mut self.state.lock().waiting);
        // Outside the lock: dropping an answer wakes who waits for it.
        drop(abandoned);
    }

    /// The next question; `None` once it is closed and empty. For one task only: the last to wait is the one woken.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.state.lock();
        if let Some(question) = state.waiting.pop_front() {
            if state.waiting.is_empty() {
                // A burst may have made it long; a quiet credential keeps nothing.
                state.waiting = VecDeque::new();
            }
            return Poll::Ready(Some(question));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A value that one task publishes and many threads read: each keeps a copy, and sees with one load whether it is still
/// the latest.
pub(super) struct Published<T> {
    value: RwLock<Option<T>>,
    epoch: AtomicU64,
}

/// One thread's copy.
pub(super) struct Copy<T> {
    pub(super) value: Option<T>,
    epoch: u64,
}

impl<T> Copy<T> {
    pub(super) fn new() -> Self {
        Self { value: None, epoch: 0 }
    }
}

impl<T: Clone> Published<T> {
    pub(super) fn new() -> Self {
        Self { value: RwLock::new(None), epoch: AtomicU64::new(0) }
    }

    /// Puts a value in place of the one before.
    pub(super) fn publish(&self, value: T) {
        *self.value.write() = Some(value);
        // After the value: whoever sees the new epoch finds the new value, or a newer one.
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// The latest value.
    pub(super) fn latest(&self) -> Option<T> {
        self.value.read().clone()
    }

    /// Brings a copy up to date, with one load where it is so already.
    pub(super) fn refresh(&self, copy: &mut Copy<T>) {
        // Before the value: a value published in between is copied again the next time, and never missed.
        let epoch = self.epoch.load(Ordering::Acquire);
        if epoch != copy.epoch {
            copy.value = self.latest();
            copy.epoch = epoch;
        }
    }
}
