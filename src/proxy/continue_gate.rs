//! A body that waits to be asked for (RFC 9110 §10.1.1).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Keeps a body back until the upstream says 100, or has not for too long. Clones are the same hold: the sending
/// waits for it, and whoever reads the response or keeps time releases it.
#[derive(Clone, Default)]
pub(super) struct ContinueGate(Rc<Held>);

#[derive(Default)]
struct Held {
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
