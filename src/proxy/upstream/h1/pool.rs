//! The idle connections of one thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::{Connection, MOST_READ};
use crate::http1::fields;
use crate::http1::input::LEAST_READ;
use crate::proxy::upstream::pools::POOL_TIME;
use crate::proxy::upstream::slots::Slots;

/// Idle connections kept per thread.
const POOL_SIZE: usize = 512;

/// A connection that has been idle longer is looked at before a request that must not be sent twice.
const FRESH: Duration = Duration::from_millis(50);

/// How often idle connections are looked at: one that the upstream has closed, or that nobody has used for long, goes.
pub(super) const SWEEP: Duration = Duration::from_secs(5);

/// How many rooms for large pieces are kept.
pub(super) const ROOMS: usize = 8;

/// Where many answers are under way at once the pieces get smaller: together they take about so much a thread.
const AHEAD: usize = 8 * 1024 * 1024;

/// The idle connections of one thread, the most recently used last.
pub(in crate::proxy::upstream) struct Pool {
    /// Who waits for a connection is told of an idle one.
    slots: Rc<Slots>,
    idle: Rc<RefCell<Vec<Connection>>>,
    /// Somebody sweeps.
    swept: Rc<Cell<bool>>,
    /// Answers whose body is under way.
    reading: Rc<Cell<usize>>,
    /// What large pieces of answers that have ended were read into, the most recently used last. Not kept for longer than a sweep.
    rooms: Rooms,
}

type Rooms = Rc<RefCell<VecDeque<BytesMut>>>;

/// Counts a response while its body is under way.
pub(super) struct Reading(Rc<Cell<usize>>);

impl Reading {
    /// How much may be read at once.
    pub(super) fn room(&self) -> usize {
        (AHEAD / self.0.get().max(1)).clamp(LEAST_READ, MOST_READ)
    }
}

impl Drop for Reading {
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
            rooms: Rooms::default(),
        }
    }

    /// Closes the idle connection that was used longest ago, whose file descriptor another needs; false where none is idle.
    pub(in crate::proxy::upstream) fn close_one(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        !idle.is_empty() && {
            drop(idle.remove(0));
            true
        }
    }

    /// What [`checkout`](Self::checkout) gives, if it is the connection used last, and without a wait or a look: the
    /// exchange itself looks.
    pub(in crate::proxy::upstream) fn ready(&self, idempotent: bool, now: Instant) -> Option<Connection> {
        let patience = if idempotent { POOL_TIME } else { FRESH };
        self.idle.borrow_mut().pop_if(|last| now.saturating_duration_since(last.idle_since) <= patience)
    }

    /// Takes the most recently used live connection out of the pool.
    pub(in crate::proxy::upstream) async fn checkout(&self, idempotent: bool) -> Option<Connection> {
        let mut looked = false;
        loop {
            let connection = self.idle.borrow_mut().pop()?;
            let idle = connection.idle_since.elapsed();
            if idle > POOL_TIME {
                // All others are older, and on their way out.
                connection.end();
                return None;
            }
            if !idempotent && idle > FRESH && !looked {
                // Lets the runtime see what has arrived on the pooled connections, a close above all, before a
                // request goes out that cannot be taken back.
                looked = true;
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
    pub(super) fn rooms(&self) -> usize {
        self.rooms.borrow().len()
    }

    pub(super) fn reading(&self) -> Reading {
        self.reading.set(self.reading.get() + 1);
        Reading(Rc::clone(&self.reading))
    }

    /// Takes a connection that is between two exchanges.
    pub(in crate::proxy::upstream) fn put(&self, mut connection: Connection) {
        connection.idle_since = Instant::now();
        connection.pooled = true;
        // Between two exchanges a connection keeps little.
        if let Some(room) = connection.wire.borrow_mut().input.rest() {
            let mut rooms = self.rooms.borrow_mut();
            if rooms.len() < ROOMS {
                rooms.push_back(room);
            }
        }
        let mut idle = self.idle.borrow_mut();
        match idle.len() < POOL_SIZE {
            true => idle.push(connection),
            false => connection.end(),
        }
        drop(idle);
        self.slots.tell();
        if !self.swept.replace(true) {
            let rooms = Rc::clone(&self.rooms);
            tokio::task::spawn_local(sweep(Rc::downgrade(&self.idle), rooms, Rc::clone(&self.swept)));
        }
    }

    /// A room for large pieces that nobody reads into, if there is one: of the response that ended first, whose last piece has
    /// most likely been written.
    pub(super) fn room(&self) -> Option<BytesMut> {
        self.rooms.borrow_mut().pop_front()
    }
}

/// Closes what nobody uses and what is closed already, until there is nothing left.
async fn sweep(idle: Weak<RefCell<Vec<Connection>>>, rooms: Rooms, swept: Rc<Cell<bool>>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        rooms.take();
        let Some(idle) = idle.upgrade() else { return };
        let mut idle = idle.borrow_mut();
        let stays = |connection: &mut Connection| {
            connection.idle_since.elapsed() <= POOL_TIME && connection.is_quiet()
        };
        idle.extract_if(.., |connection| !stays(connection)).for_each(Connection::end);
        if idle.is_empty() {
            // None has been at rest for a while: most likely nobody asks for anything.
            idle.shrink_to_fit();
            fields::forget();
            swept.set(false);
            return;
        }
    }
}
