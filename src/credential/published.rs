//! A value that one task publishes and many threads read. Loom tests check this file, as they check
//! the mailbox.

use super::sync::{AtomicU64, Ordering, RwLock};

/// The latest value. Each thread keeps a [`Copy`], and checks with one load that the copy is
/// current.
pub(super) struct Published<T> {
    value: RwLock<Option<T>>,
    epoch: AtomicU64,
}

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

    pub(super) fn publish(&self, value: T) {
        *self.value.write() = Some(value);
        // The epoch changes after the value, so a reader of the new epoch finds this value or a
        // newer one.
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Takes the value back.
    pub(super) fn withdraw(&self) {
        *self.value.write() = None;
        self.epoch.fetch_add(1, Ordering::Release);
    }

    pub(super) fn latest(&self) -> Option<T> {
        self.value.read().clone()
    }

    /// Updates a copy. It costs one load when the copy is current.
    pub(super) fn refresh(&self, copy: &mut Copy<T>) {
        // The epoch is read before the value. A value that is published in between is then copied
        // again next time, and never missed.
        let epoch = self.epoch.load(Ordering::Acquire);
        if epoch != copy.epoch {
            copy.value = self.latest();
            copy.epoch = epoch;
        }
    }
}
