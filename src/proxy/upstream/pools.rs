//! Which connection a request goes out on.
//!
//! HTTP/1.1 needs one for each request, and whoever finds none free dials. HTTP/2 shares: requests that find no room
//! wait in order, while no more connections are dialled than the streams they allow make necessary. Until the first
//! connection has shown what the upstream speaks, everybody waits for that one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::dial::{Dialer, NewConnection};
use super::error::UpstreamError;
use super::h2::{Lease, STREAMS};
use super::{h1, h2};
use crate::proxy::timer::LazyTimer;

/// How long an idle connection is kept: less than common servers keep theirs.
pub(in crate::proxy::upstream) const POOL_TIME: Duration = Duration::from_secs(30);

/// Connections of HTTP/2 a thread opens at most; beyond that requests wait for one of the streams.
const H2_CONNECTIONS: usize = 128;

/// How long a request waits for another's connection when no file descriptor is left for its own.
const WAIT: Duration = Duration::from_secs(2);

/// What a request is sent on.
pub(super) enum Link {
    H1(h1::Connection),
    H2(Lease),
}

/// What somebody who waited for a connection is given.
enum Grant {
    Link(Link),
    /// It is HTTP/1.1 that is spoken: to each his own.
    Dial,
    Failed(UpstreamError),
}

/// Somebody who waits for a connection.
struct Waiter {
    /// The connection that it shall not be.
    another: Option<u64>,
    grant: oneshot::Sender<Grant>,
}

/// The connections of one thread.
pub(super) struct Pools {
    pub(super) dialer: Dialer,
    pub(super) h1: h1::Pool,
    pub(super) h2: h2::Pool,
    /// The last connection spoke HTTP/2, or it is not known yet what the upstream speaks.
    shares: Cell<bool>,
    waiting: RefCell<VecDeque<Waiter>>,
    dialling: Cell<usize>,
    /// A connection is being made ahead.
    warming: Cell<bool>,
}

impl Pools {
    pub(super) fn new(dialer: Dialer) -> Self {
        let shares = Cell::new(dialer.may_speak_h2());
        Self {
            h1: h1::Pool::new(Rc::clone(&dialer.slots)),
            dialer,
            h2: h2::Pool::default(),
            shares,
            waiting: RefCell::default(),
            dialling: Cell::new(0),
            warming: Cell::new(false),
        }
    }

    /// A connection for one request. With `another` it is not one of HTTP/1.1 that was used before, nor the one of
    /// HTTP/2 whose number that is.
    pub(super) async fn link(
        self: &Rc<Self>,
        idempotent: bool,
        another: Option<u64>,
        timer: &LazyTimer,
    ) -> Result<Link, UpstreamError> {
        let mut end = None;
        loop {
            if self.shares.get() {
                match self.shared(another, timer).await? {
                    Grant::Link(link) => return Ok(link),
                    Grant::Failed(error) => return Err(error),
                    Grant::Dial => {}
                }
            }
            if another.is_none()
                && let Some(connection) = self.h1.checkout(idempotent).await
            {
                return Ok(Link::H1(connection));
            }
            match self.dialer.dial(self).await {
                Ok(NewConnection::H1(connection)) => return Ok(Link::H1(connection)),
                Ok(NewConnection::H2) => self.shares.set(true),
                Err(UpstreamError::NoDescriptor) => Box::pin(self.make_place(&mut end)).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until a connection is idle, or there may be a slot for one; closes an idle one that was not taken.
    async fn make_place(&self, end: &mut Option<Instant>) -> Result<(), UpstreamError> {
        if self.h1.close_one() {
            return Ok(());
        }
        let wait = WAIT.min(self.dialer.timeout);
        let end = *end.get_or_insert_with(|| Instant::now() + wait);
        match self.dialer.slots.changed(end).await {
            true => Ok(()),
            false => Err(UpstreamError::NoDescriptor),
        }
    }

    /// What [`link`](Self::link) gives most requests: an idle connection of HTTP/1.1 that nothing has to be waited for.
    pub(super) fn ready(&self, idempotent: bool, now: Instant) -> Option<h1::Connection> {
        if self.shares.get() { None } else { self.h1.ready(idempotent, now) }
    }

    /// A connection of HTTP/1.1 for one request; a new one where it shall be another than was used before.
    pub(super) async fn h1(&self, idempotent: bool, another: bool) -> Result<h1::Connection, UpstreamError> {
        let mut end = None;
        loop {
            if !another && let Some(connection) = self.h1.checkout(idempotent).await {
                return Ok(connection);
            }
            match self.dialer.dial_h1().await {
                Err(UpstreamError::NoDescriptor) => self.make_place(&mut end).await?,
                dialled => return dialled,
            }
        }
    }

    async fn shared(
        self: &Rc<Self>,
        another: Option<u64>,
        timer: &LazyTimer,
    ) -> Result<Grant, UpstreamError> {
        // Nobody is overtaken.
        if self.waiting.borrow().is_empty()
            && let Some(lease) = self.h2.lease(self, another)
        {
            return Ok(Grant::Link(Link::H2(lease)));
        }
        let (grant, granted) = oneshot::channel();
        self.waiting.borrow_mut().push_back(Waiter { another, grant });
        self.dial_as_needed();
        match timer.within(self.dialer.timeout, granted).await {
            Some(Ok(grant)) => Ok(grant),
            Some(Err(_)) => Err(UpstreamError::Terminated),
            None => Err(UpstreamError::ConnectTimeout),
        }
    }

    /// Opens a connection before anybody asks for one, where that takes a while.
    pub(super) fn warm_up(self: &Rc<Self>) {
        if self.dialer.is_tls() {
            self.warming.set(true);
            self.spawn_dial();
        }
    }

    /// Whether somebody waits for the connection that is being made.
    pub(super) fn is_wanted(&self) -> bool {
        !self.warming.get() || !self.waiting.borrow().is_empty()
    }

    /// Gives those who wait what has become free. Called whenever that may be so.
    pub(super) fn serve_waiting(self: &Rc<Self>) {
        loop {
            let Some(another) = self.waiting.borrow().front().map(|next| next.another) else { return };
            let Some(lease) = self.h2.lease(self, another) else { break };
            let Some(next) = self.next_waiting() else { return };
            // One who left gives it back, which comes here again.
            let _ = next.send(Grant::Link(Link::H2(lease)));
        }
        self.dial_as_needed();
    }

    fn next_waiting(&self) -> Option<oneshot::Sender<Grant>> {
        let mut waiting = self.waiting.borrow_mut();
        loop {
            let next = waiting.pop_front()?;
            if !next.grant.is_closed() {
                return Some(next.grant);
            }
        }
    }

    fn dial_as_needed(self: &Rc<Self>) {
        let waiting = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.retain(|one| !one.grant.is_closed());
            waiting.len()
        };
        let (open, opening) = self.h2.count();
        let needed = waiting.div_ceil(self.h2.streams_each()).saturating_sub(opening);
        let room = H2_CONNECTIONS.saturating_sub(open);
        while self.dialling.get() < needed.min(room) {
            self.spawn_dial();
        }
    }

    /// Dials in a task of its own: whoever began it may leave, others wait for it too.
    fn spawn_dial(self: &Rc<Self>) {
        self.dialling.set(self.dialling.get() + 1);
        let pools = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let dialled = pools.dialer.dial(&pools).await;
            pools.dialling.set(pools.dialling.get() - 1);
            pools.warming.set(false);
            match dialled {
                Ok(NewConnection::H2) => {
                    pools.shares.set(true);
                    pools.serve_waiting();
                }
                Ok(NewConnection::H1(connection)) => pools.spread(connection),
                Err(error) => pools.give_up(error),
            }
        });
    }

    /// The upstream speaks HTTP/1.1: one gets this connection, the others dial.
    fn spread(&self, connection: h1::Connection) {
        self.shares.set(false);
        match self.next_waiting() {
            None => self.h1.put(connection),
            Some(first) => {
                if let Err(Grant::Link(Link::H1(connection))) = first.send(Grant::Link(Link::H1(connection)))
                {
                    self.h1.put(connection);
                }
            }
        }
        while let Some(next) = self.next_waiting() {
            let _ = next.send(Grant::Dial);
        }
    }

    /// Nobody is left waiting for a connection that will not come; where others are open, a stream of theirs will.
    pub(super) fn give_up(&self, error: UpstreamError) {
        tracing::debug!(%error, "no connection to the upstream");
        if self.h2.count().0 > 0 {
            return;
        }
        while let Some(next) = self.next_waiting() {
            let _ = next.send(Grant::Failed(error));
        }
    }
}

/// The most streams a connection is asked to carry, whatever the upstream allows.
pub(super) fn streams_allowed(by_upstream: usize) -> usize {
    by_upstream.min(STREAMS)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpListener;

    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn a_request_that_needs_http_1_and_cannot_be_repeated_gets_no_connection_that_was_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pools = h1::testing::pools_to(listener.local_addr().unwrap().to_string().parse().unwrap());
        let test = async {
            pools.h1.put(pools.h1(false, true).await.unwrap());
            let (upstream, _) = listener.accept().unwrap();
            tokio::time::pause();
            tokio::time::advance(POOL_TIME / 2).await;
            tokio::time::resume();
            // The runtime has not seen this yet.
            drop(upstream);
            let _connection = pools.h1(false, false).await.unwrap();
            listener.set_nonblocking(true).unwrap();
            let dialled = listener.accept().map(|_| ()).map_err(|error| error.kind());
            assert_ne!(dialled, Err(ErrorKind::WouldBlock), "the closed connection was used");
        };
        LocalSet::new().run_until(test).await;
    }
}
