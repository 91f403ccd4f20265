//! Drain: stop taking new work, finish what is in flight.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::sync::watch;

/// The side that begins a drain.
#[derive(Debug)]
pub struct Drain(watch::Sender<bool>);

/// The side that is told. Each connection holds its own.
pub struct DrainSignal {
    receiver: watch::Receiver<bool>,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    registered: Option<Waker>,
}

impl Drain {
    /// A drain that has not begun, and its first signal.
    pub fn new() -> (Self, DrainSignal) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), DrainSignal { receiver, waiting: None, registered: None })
    }

    /// Begins it; cannot be taken back.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }
}

impl Clone for DrainSignal {
    fn clone(&self) -> Self {
        Self { receiver: self.receiver.clone(), waiting: None, registered: None }
    }
}

impl DrainSignal {
    /// Whether the drain has begun. Takes no lock, so it may be asked for each request.
    pub fn has_begun(&self) -> bool {
        // The value changes once, from "not begun", and this receiver never takes note of it; the other side being
        // gone counts as begun.
        !matches!(self.receiver.has_changed(), Ok(false))
    }

    /// Waits for the drain to begin. The other side being gone counts as one: nobody is left to begin it.
    pub async fn begun(&self) {
        let _ = self.receiver.clone().wait_for(|begun| *begun).await;
    }

    /// [`begun`](Self::begun), for a connection that asks each time it is polled. Once its waker is registered, a
    /// look at the channel's version is enough.
    pub(super) fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_begun() {
            return Poll::Ready(());
        }
        let registered = self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if registered {
            return Poll::Pending;
        }
        self.registered = Some(cx.waker().clone());
        let waiting = self.waiting.get_or_insert_with(|| {
            let signal = Self { receiver: self.receiver.clone(), waiting: None, registered: None };
            Box::pin(async move { signal.begun().await })
        });
        // At the end of a task's turn it would say "not yet" without having registered anything.
        pin!(tokio::task::unconstrained(waiting.as_mut())).poll(cx)
    }
}
