//! Drain: stop taking new work, finish what is in flight.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::watch;

/// The side that begins a drain.
#[derive(Debug)]
pub struct Drain(watch::Sender<bool>);

/// The side that is told. Each connection holds its own.
pub struct DrainSignal {
    receiver: watch::Receiver<bool>,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl Drain {
    /// A drain that has not begun, and its first signal.
    pub fn new() -> (Self, DrainSignal) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), DrainSignal { receiver, waiting: None })
    }

    /// Begins it; cannot be taken back.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }
}

impl Clone for DrainSignal {
    fn clone(&self) -> Self {
        Self { receiver: self.receiver.clone(), waiting: None }
    }
}

impl DrainSignal {
    /// Whether the drain has begun.
    pub fn has_begun(&self) -> bool {
        *self.receiver.borrow()
    }

    /// Waits for the drain to begin. The other side being gone counts as one: nobody is left to begin it.
    pub async fn begun(&mut self) {
        let _ = self.receiver.wait_for(|begun| *begun).await;
    }

    pub(super) fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let waiting = self.waiting.get_or_insert_with(|| {
            let mut signal = Self { receiver: self.receiver.clone(), waiting: None };
            Box::pin(async move { signal.begun().await })
        });
        waiting.as_mut().poll(cx)
    }
}
