//! The size of one read of a body. All bodies that a thread receives share one budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::codec::input::LEAST_READ;

/// The largest read of one body.
pub(super) const MOST_READ: usize = 512 * 1024;

/// The total for the buffers of all bodies of a thread. The more bodies, the smaller their reads.
const THREAD_BUDGET: usize = 32 << 20;

thread_local! {
    static BODIES: Arc<AtomicUsize> = Arc::default();
}

/// Counts a body for the thread on which it started, until this is dropped. On a runtime with
/// several threads, the drop may happen on another thread.
pub(super) struct BodyShare(Arc<AtomicUsize>);

impl BodyShare {
    pub(super) fn new() -> Self {
        let bodies = BODIES.with(Arc::clone);
        bodies.fetch_add(1, Ordering::Relaxed);
        Self(bodies)
    }

    pub(super) fn read_size(&self) -> usize {
        (THREAD_BUDGET / self.0.load(Ordering::Relaxed).max(1)).clamp(LEAST_READ, MOST_READ)
    }
}

impl Drop for BodyShare {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
