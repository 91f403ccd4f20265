//! Holds a request body back until the upstream sends a 100 (RFC 9110 §10.1.1).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Holds a request body back until the upstream sends a 100, or until the wait for the 100 ends.
///
/// Clones share one gate. The upload waits until the gate opens
/// ([`poll_released`](Self::poll_released)). The reader of the response opens the gate, and so does
/// the deadline of the wait ([`release`](Self::release)).
#[derive(Clone, Default)]
pub(super) struct ContinueGate(Rc<State>);

#[derive(Default)]
struct State {
    released: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl ContinueGate {
    pub(super) fn release(&self) {
        self.0.released.set(true);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn is_held(&self) -> bool {
        !self.0.released.get()
    }

    pub(super) fn poll_released(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.released.get() {
            return Poll::Ready(());
        }
        *self.0.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}
