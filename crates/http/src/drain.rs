//! Drain: no new work is accepted, and work in flight is finished.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::sync::watch;

/// The side that starts a drain.
#[derive(Debug)]
pub struct Drain(watch::Sender<bool>);

/// The side that is notified of a drain. Each connection has its own.
pub struct DrainSignal {
    receiver: watch::Receiver<bool>,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    registered: Option<Waker>,
}

impl Drain {
    /// Creates a drain that has not started, and its first signal.
    pub fn new() -> (Self, DrainSignal) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), DrainSignal { receiver, waiting: None, registered: None })
    }

    /// Starts the drain. It cannot be revoked.
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
    /// Whether the drain has started. Takes no lock, so it is cheap enough for every request.
    pub fn has_begun(&self) -> bool {
        // The value changes once, and this receiver never marks it as seen. An error means that the
        // `Drain` was dropped, which starts the drain too.
        !matches!(self.receiver.has_changed(), Ok(false))
    }

    /// Waits for the drain to start. Dropping the [`Drain`] starts it too. Cancel safe.
    pub async fn started(&self) {
        let _ = self.receiver.clone().wait_for(|started| *started).await;
    }

    /// Polls for the start of the drain, for a connection that checks whenever it is polled. Once
    /// its waker is registered, a check only reads the version of the channel.
    pub(crate) fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<()> {
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
            Box::pin(async move { signal.started().await })
        });
        // This poll ignores tokio's cooperative budget. With the budget used up, it would return
        // `Pending` without registering the waker.
        pin!(tokio::task::unconstrained(waiting.as_mut())).poll(cx)
    }
}
