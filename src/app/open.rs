//! How many connections are open, and a way to wait until none is.

use std::cell::Cell;
use std::rc::Rc;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

/// The open connections of one thread.
pub(super) struct Open {
    pub(super) count: Cell<usize>,
    changed: Notify,
    gauge: Gauge,
}

/// One of them.
pub(super) struct Counted(Rc<Open>);

impl Open {
    pub(super) fn new(gauge: Gauge) -> Rc<Self> {
        Rc::new(Self { count: Cell::new(0), changed: Notify::new(), gauge })
    }

    pub(super) fn count(self: &Rc<Self>) -> Counted {
        self.count.set(self.count.get() + 1);
        self.gauge.inc();
        Counted(Rc::clone(self))
    }

    pub(super) async fn none(&self) {
        while self.count.get() > 0 {
            self.changed.notified().await;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        self.0.gauge.dec();
        self.0.changed.notify_one();
    }
}
