//! How many connections are open, and a way to wait until none is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

use crate::metrics::Load;

/// The open connections of one thread. Another thread counts here what it hands over to this one, before it does; all
/// of them end on this one, or with its runtime.
#[derive(Default)]
pub(super) struct Open {
    here: Load,
    /// On all threads together.
    all: Gauge,
    ended: AtomicU64,
    changed: Notify,
}

/// One of them.
pub(super) struct Counted(Arc<Open>);

impl Open {
    pub(super) fn new(here: Load, all: Gauge) -> Arc<Self> {
        Arc::new(Self { here, all, ..Self::default() })
    }

    pub(super) fn count(self: &Arc<Self>) -> Counted {
        self.here.inc();
        self.all.inc();
        Counted(Arc::clone(self))
    }

    pub(super) fn get(&self) -> i64 {
        self.here.get()
    }

    /// How many have ended since the start.
    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Waits until none is open. Sure only once nobody hands anything over any more.
    pub(super) async fn none(&self) {
        while self.here.get() > 0 {
            self.changed.notified().await;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.here.dec();
        self.0.all.dec();
        // A number to decide by, as the others.
        self.0.ended.fetch_add(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}
