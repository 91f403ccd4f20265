//! Counts open connections, and waits until there are none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

use crate::metrics::Load;

/// The open connections of one thread.
///
/// Another thread counts a connection here before it hands it over. Every connection ends on this
/// thread, or with its runtime.
#[derive(Default)]
pub(super) struct OpenConnections {
    here: Load,
    all_threads: Gauge,
    ended: AtomicU64,
    changed: Notify,
}

/// Counts as one open connection until it is dropped.
pub(super) struct OpenGuard(Arc<OpenConnections>);

impl OpenConnections {
    pub(super) fn new(here: Load, all_threads: Gauge) -> Arc<Self> {
        Arc::new(Self { here, all_threads, ..Self::default() })
    }

    pub(super) fn count(self: &Arc<Self>) -> OpenGuard {
        self.here.inc();
        self.all_threads.inc();
        OpenGuard(Arc::clone(self))
    }

    pub(super) fn get(&self) -> i64 {
        self.here.get()
    }

    /// How many have ended since the start.
    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Waits until none is open. Reliable only once no other thread hands over connections.
    pub(super) async fn none(&self) {
        while self.here.get() > 0 {
            self.changed.notified().await;
        }
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.here.dec();
        self.0.all_threads.dec();
        // Relaxed: the number guards no memory.
        self.0.ended.fetch_add(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}
