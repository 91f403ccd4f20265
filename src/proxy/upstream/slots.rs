//! Slots: the right to open a connection to the upstream. Each slot takes a file descriptor.
//!
//! Connections to clients and to the upstream share the descriptors of the process. Each thread
//! also has a few reserved slots, so that other threads' idle connections cannot cut it off.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use vbc_http::descriptors::{Descriptor, Descriptors, OWN};

/// How often a waiting request checks whether another thread has returned a descriptor.
const CHECK: Duration = Duration::from_millis(50);

/// The slots of one thread.
pub(super) struct Slots {
    shared: Arc<Descriptors>,
    own: Cell<usize>,
    waiting: Cell<usize>,
    freed: Notify,
}

/// One slot. Dropping it returns the slot to the thread or the process. It must be dropped after
/// its connection.
pub(super) struct Slot {
    slots: Rc<Slots>,
    /// `None` if the slot is one of the thread's reserved ones.
    shared: Option<Descriptor>,
}

impl Slots {
    pub(super) fn new(shared: Arc<Descriptors>) -> Rc<Self> {
        Rc::new(Self { shared, own: Cell::new(OWN), waiting: Cell::new(0), freed: Notify::new() })
    }

    /// A slot; `None` when no descriptor is left.
    pub(super) fn take(self: &Rc<Self>) -> Option<Slot> {
        let slots = Rc::clone(self);
        if let Some(shared) = self.shared.take() {
            return Some(Slot { slots, shared: Some(shared) });
        }
        let own = self.own.get().checked_sub(1)?;
        self.own.set(own);
        Some(Slot { slots, shared: None })
    }

    /// Wakes one waiter, because a connection has ended or become idle.
    pub(super) fn notify(&self) {
        if self.waiting.get() > 0 {
            self.freed.notify_one();
        }
    }

    /// Waits until a connection or a slot may be free, or `end` comes, and returns true. Returns
    /// false, without a wait, if `end` has already passed.
    pub(super) async fn changed(&self, end: Instant) -> bool {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        self.waiting.set(self.waiting.get() + 1);
        let _waiter = Waiter(&self.waiting);
        let _checked_anyway = timeout(left.min(CHECK), self.freed.notified()).await;
        true
    }
}

struct Waiter<'a>(&'a Cell<usize>);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.shared.take().is_none() {
            self.slots.own.set(self.slots.own.get() + 1);
        }
        self.slots.notify();
    }
}

/// Counts a connection while it is open, and holds its slot.
pub(in crate::proxy) struct Open {
    gauge: Gauge,
    _slot: Option<Slot>,
}

impl Open {
    pub(super) fn new(gauge: &Gauge, slot: Slot) -> Self {
        gauge.inc();
        Self { gauge: gauge.clone(), _slot: Some(slot) }
    }

    /// A counted connection without a slot, for tests.
    #[cfg(any(test, fuzzing))]
    pub(super) fn counted(gauge: &Gauge) -> Self {
        gauge.inc();
        Self { gauge: gauge.clone(), _slot: None }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_places_of_its_own_when_the_shared_ones_are_used_up() {
        let shared = Descriptors::new(1);
        let (one, other) = (Slots::new(Arc::clone(&shared)), Slots::new(Arc::clone(&shared)));
        let first = one.take().unwrap();
        let own: Vec<Slot> = (0..OWN).map(|_| other.take().unwrap()).collect();
        assert!(other.take().is_none());
        drop(first);
        let from_shared = other.take().unwrap();
        drop(own);
        drop(from_shared);
        assert!(shared.take().is_some() && other.own.get() == OWN);
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_waits_is_told_at_once_when_a_place_is_free() {
        let slots = Slots::new(Descriptors::new(0));
        let taken: Vec<Slot> = (0..OWN).map(|_| slots.take().unwrap()).collect();
        let begin = Instant::now();
        let end = begin + Duration::from_secs(1);
        let (waited, ()) = tokio::join!(slots.changed(end), async { drop(taken) });
        assert!(waited && begin.elapsed() < CHECK && slots.waiting.get() == 0);
        // Nothing is freed any more, so the wait lasts until `end`.
        while slots.changed(end).await {}
        assert_eq!(begin.elapsed(), Duration::from_secs(1));
    }
}
