//! The idle HTTP/1.1 connections of one thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::{Connection, MOST_READ};
use crate::proxy::upstream::POOL_TIME;
use crate::proxy::upstream::slots::Slots;
use vbc_http::codec::fields;
use vbc_http::codec::input::LEAST_READ;

/// The most idle connections kept per thread.
const POOL_SIZE: usize = 512;

/// A connection that has been idle for longer is checked before it carries a request that is not
/// idempotent.
const FRESH: Duration = Duration::from_millis(50);

/// How often the sweeper drops closed and long unused connections.
pub(super) const SWEEP: Duration = Duration::from_secs(5);

/// The most buffers kept for large reads.
pub(super) const BUFFERS: usize = 8;

/// All responses of a thread together read about this many bytes ahead. More responses mean smaller
/// reads.
const READ_AHEAD: usize = 8 * 1024 * 1024;

/// The idle connections of one thread, the most recently used last.
pub(in crate::proxy::upstream) struct Pool {
    /// Notified when a connection becomes idle, for requests that wait for one.
    slots: Rc<Slots>,
    idle: Rc<RefCell<Vec<Connection>>>,
    /// Whether a sweeper runs.
    swept: Rc<Cell<bool>>,
    /// The number of response bodies being read.
    reading: Rc<Cell<usize>>,
    /// Buffers of large reads, the most recently used last. Each sweep frees them.
    buffers: Buffers,
}

type Buffers = Rc<RefCell<VecDeque<BytesMut>>>;

/// Counts a response body while it is being read, and limits the size of each read.
pub(super) struct ReadBudget(Rc<Cell<usize>>);

impl ReadBudget {
    /// The most bytes of one read.
    pub(super) fn bytes(&self) -> usize {
        (READ_AHEAD / self.0.get().max(1)).clamp(LEAST_READ, MOST_READ)
    }
}

impl Drop for ReadBudget {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Pool {
    pub(in crate::proxy::upstream) fn new(slots: Rc<Slots>) -> Self {
        Self {
            slots,
            idle: Rc::default(),
            swept: Rc::default(),
            reading: Rc::default(),
            buffers: Buffers::default(),
        }
    }

    /// Closes the idle connection that was used longest ago, to free its file descriptor. Returns
    /// false if none is idle.
    pub(in crate::proxy::upstream) fn close_one(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        !idle.is_empty() && {
            drop(idle.remove(0));
            true
        }
    }

    /// The most recently used connection, if the runtime need not check it before this request. The
    /// exchange itself checks the connection before its first write.
    pub(in crate::proxy::upstream) fn ready(&self, idempotent: bool, now: Instant) -> Option<Connection> {
        let patience = if idempotent { POOL_TIME } else { FRESH };
        self.idle.borrow_mut().pop_if(|last| now.saturating_duration_since(last.idle_since) <= patience)
    }

    /// Takes the most recently used live connection out of the pool. Checks it first if necessary.
    pub(in crate::proxy::upstream) async fn checkout(&self, idempotent: bool) -> Option<Connection> {
        let mut checked = false;
        loop {
            let connection = self.idle.borrow_mut().pop()?;
            let idle = connection.idle_since.elapsed();
            if idle > POOL_TIME {
                // All other connections have been idle even longer. The sweeper closes them.
                connection.end();
                return None;
            }
            if !idempotent && idle > FRESH && !checked {
                // Lets the runtime notice what has arrived on pooled connections, usually a close,
                // before a request is sent that must not be repeated.
                checked = true;
                tokio::task::yield_now().await;
            }
            if connection.is_quiet() {
                return Some(connection);
            }
        }
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn idle(&self) -> usize {
        self.idle.borrow().len()
    }

    #[cfg(test)]
    pub(super) fn buffers(&self) -> usize {
        self.buffers.borrow().len()
    }

    /// Counts one more body until the budget is dropped.
    pub(super) fn begin_reading(&self) -> ReadBudget {
        self.reading.set(self.reading.get() + 1);
        ReadBudget(Rc::clone(&self.reading))
    }

    /// Adds a connection whose exchange has ended.
    pub(in crate::proxy::upstream) fn put(&self, mut connection: Connection) {
        connection.idle_since = Instant::now();
        connection.pooled = true;
        // An idle connection keeps no large buffer.
        if let Some(buffer) = connection.wire.borrow_mut().input.take_buffer() {
            let mut buffers = self.buffers.borrow_mut();
            if buffers.len() < BUFFERS {
                buffers.push_back(buffer);
            }
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < POOL_SIZE {
            idle.push(connection);
        } else {
            connection.end();
        }
        drop(idle);
        self.slots.notify();
        if !self.swept.replace(true) {
            let (idle, buffers) = (Rc::downgrade(&self.idle), Rc::clone(&self.buffers));
            tokio::task::spawn_local(sweep(idle, buffers, Rc::clone(&self.swept)));
        }
    }

    /// A spare buffer for large reads. Takes the buffer that was returned first: its last piece has
    /// most likely been written to the client.
    pub(super) fn buffer(&self) -> Option<BytesMut> {
        self.buffers.borrow_mut().pop_front()
    }
}

/// Drops long unused and closed connections. Ends when the pool is empty.
async fn sweep(idle: Weak<RefCell<Vec<Connection>>>, buffers: Buffers, swept: Rc<Cell<bool>>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        buffers.take();
        let Some(idle) = idle.upgrade() else { return };
        let mut idle = idle.borrow_mut();
        let stays = |connection: &mut Connection| {
            connection.idle_since.elapsed() <= POOL_TIME && connection.is_quiet()
        };
        idle.extract_if(.., |connection| !stays(connection)).for_each(Connection::end);
        if idle.is_empty() {
            // No connection has been idle long; traffic has probably stopped.
            idle.shrink_to_fit();
            fields::forget();
            swept.set(false);
            return;
        }
    }
}
