//! HTTP/2 connections. The requests of a thread share them; each request has its own stream.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use tokio::time::{Instant, sleep};

use super::Pools;
use crate::proxy::upstream::POOL_TIME;
use crate::proxy::upstream::error::{UpstreamError, stream_error};
use crate::proxy::upstream::h1::Stream;
use crate::proxy::upstream::slots::Open;

/// The most streams of one connection, even if the upstream allows more.
const STREAMS: usize = 64;

/// How many bytes the upstream may send ahead of a client that does not read. The connection's
/// window covers all its streams: otherwise a few slow clients would stop the others.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS as u32;

/// How many bytes of an upload are buffered while the upstream accepts none.
const SEND_BUFFER: usize = 64 * 1024;

const HEAD_BYTES: u32 = 64 * 1024;

/// Stands for the number of allowed streams until the upstream has sent its settings.
const UNKNOWN: usize = 0x7fff_fffe;

/// How often idle connections are checked and connections in use are pinged. A pong must arrive
/// before the next tick.
const TICK: Duration = Duration::from_secs(15);

/// The connections that take new streams.
#[derive(Default)]
pub(super) struct Pool {
    open: RefCell<Vec<Rc<Connection>>>,
    next_number: Cell<u64>,
    /// How many streams the upstream last allowed on a connection.
    allowed: Cell<Option<usize>>,
}

/// One connection.
pub(super) struct Connection {
    number: u64,
    /// `None` once the idle connection is closing and takes no more streams.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    /// How many streams the upstream allows. `None` until it has sent its settings.
    allowed: Cell<Option<usize>>,
    streams: Cell<usize>,
    idle_since: Cell<Instant>,
    /// Whether the connection has carried a stream.
    served: Cell<bool>,
}

/// The right to one stream.
pub(in crate::proxy::upstream) struct Lease {
    connection: Rc<Connection>,
    pools: Rc<Pools>,
    /// Whether the connection has carried another stream before.
    pub(in crate::proxy::upstream) reused: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get() - 1);
        connection.idle_since.set(Instant::now());
        self.pools.serve_waiting();
    }
}

impl Lease {
    /// The connection's number.
    pub(in crate::proxy::upstream) fn number(&self) -> u64 {
        self.connection.number
    }

    /// Whether the upstream has sent its settings. That proves that it speaks HTTP/2.
    pub(in crate::proxy::upstream) fn is_settled(&self) -> bool {
        self.connection.allowed.get().is_some()
    }

    /// A separate sender, so that no request waits until the stream of another request opens.
    /// `None` if the connection is closing.
    pub(in crate::proxy::upstream) fn sender(&self) -> Option<SendRequest<Bytes>> {
        self.connection.sender.borrow().clone()
    }
}

impl Pool {
    /// A stream on the first connection with spare capacity. Skips the connection with the number
    /// in `avoids`.
    pub(super) fn lease(&self, pools: &Rc<Pools>, avoids: Option<u64>) -> Option<Lease> {
        let open = self.open.borrow();
        open.iter().filter(|one| Some(one.number) != avoids).find_map(|one| one.lease(pools))
    }

    /// How many connections there are, and how many of them wait for the upstream's settings.
    pub(super) fn count(&self) -> (usize, usize) {
        let open = self.open.borrow();
        (open.len(), open.iter().filter(|one| one.allowed.get().is_none()).count())
    }

    /// How many streams a new connection will probably allow.
    pub(super) fn streams_each(&self) -> usize {
        self.allowed.get().filter(|allowed| *allowed > 0).unwrap_or(STREAMS)
    }

    fn remove(&self, connection: &Connection) {
        self.open.borrow_mut().retain(|one| one.number != connection.number);
    }
}

impl Connection {
    /// Starts HTTP/2 on a stream and adds the connection to the pool.
    pub(super) async fn open(
        stream: Box<dyn Stream>,
        open: Open,
        pools: Rc<Pools>,
    ) -> Result<(), UpstreamError> {
        let handshake = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(UNKNOWN)
            .max_header_list_size(HEAD_BYTES)
            .max_send_buffer_size(SEND_BUFFER)
            .handshake::<_, Bytes>(stream);
        let (sender, driver) = handshake.await.map_err(|error| stream_error(&error))?;
        let number = pools.h2.next_number.get();
        pools.h2.next_number.set(number + 1);
        let connection = Rc::new(Self {
            number,
            sender: RefCell::new(Some(sender)),
            allowed: Cell::new(None),
            streams: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            served: Cell::new(false),
        });
        pools.h2.open.borrow_mut().push(Rc::clone(&connection));
        tokio::task::spawn_local(connection.drive(driver, open, pools));
        Ok(())
    }

    /// A stream, if the connection has capacity for one.
    fn lease(self: &Rc<Self>, pools: &Rc<Pools>) -> Option<Lease> {
        // Until the settings arrive, only one stream is sure to be allowed.
        let capacity = self.allowed.get().unwrap_or(1);
        if self.streams.get() >= capacity || !self.takes_streams() {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        let reused = self.served.replace(true);
        Some(Lease { connection: Rc::clone(self), pools: Rc::clone(pools), reused })
    }

    /// Whether the connection has neither ended nor received a GOAWAY.
    fn takes_streams(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut sender = self.sender.borrow_mut();
        sender.as_mut().is_some_and(|sender| !matches!(sender.poll_ready(&mut cx), Poll::Ready(Err(_))))
    }

    /// Drives the connection until it ends: after it was idle for too long, after a ping without a
    /// pong, or when the upstream ends it.
    async fn drive(
        self: Rc<Self>,
        mut driver: h2::client::Connection<Box<dyn Stream>, Bytes>,
        open: Open,
        pools: Rc<Pools>,
    ) {
        let mut pulse = Pulse { pings: driver.ping_pong(), awaited: false };
        let mut tick = pin!(sleep(TICK));
        let ended = poll_fn(|cx| {
            pulse.poll_pong(cx);
            while tick.as_mut().poll(cx).is_ready() {
                tick.as_mut().reset(Instant::now() + TICK);
                if self.streams.get() > 0 {
                    if pulse.is_dead() {
                        return Poll::Ready(Ok(()));
                    }
                } else if self.idle_since.get().elapsed() >= POOL_TIME {
                    // h2 sends GOAWAY once there is no sender.
                    self.sender.take();
                }
            }
            let polled = Pin::new(&mut driver).poll(cx);
            self.follow_settings(&pools);
            polled
        })
        .await;
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to the upstream ended");
        }
        pools.h2.remove(&self);
        // Dropping the driver fails the streams that are still open.
        drop((driver, open));
        match self.allowed.get() {
            Some(_) => pools.serve_waiting(),
            // The upstream never sent its settings, so the next connection would fail too.
            None => pools.give_up(UpstreamError::Terminated),
        }
    }

    /// Applies the upstream's rules for new streams: a GOAWAY, or the limit in its settings.
    fn follow_settings(&self, pools: &Rc<Pools>) {
        if !self.takes_streams() {
            pools.h2.remove(self);
            return;
        }
        let limit = self.sender.borrow().as_ref().map_or(UNKNOWN, SendRequest::current_max_send_streams);
        let allowed = (limit != UNKNOWN).then(|| limit.min(STREAMS));
        if allowed != self.allowed.replace(allowed) {
            pools.h2.allowed.set(allowed);
            pools.serve_waiting();
        }
    }
}

/// Sends pings, to notice a dead path.
struct Pulse {
    pings: Option<PingPong>,
    /// Whether a pong is still expected.
    awaited: bool,
}

impl Pulse {
    fn poll_pong(&mut self, cx: &mut Context<'_>) {
        if let Some(pings) = &mut self.pings
            && self.awaited
            && pings.poll_pong(cx).is_ready()
        {
            self.awaited = false;
        }
    }

    /// Whether the last ping got no pong. If it got one, sends the next ping.
    fn is_dead(&mut self) -> bool {
        if let Some(pings) = &mut self.pings
            && !self.awaited
        {
            self.awaited = pings.send_ping(Ping::opaque()).is_ok();
            return false;
        }
        self.awaited
    }
}
