//! Connections of HTTP/2: shared by the requests of their thread, each on a stream of its own.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep};

use super::error::UpstreamError;
use super::pools::{POOL_TIME, Pools, streams_allowed};
use super::slots::Open;

/// Streams that one connection carries at most.
pub(super) const STREAMS: usize = 64;

/// What the upstream may send ahead of a client that does not read. The connection's window is that of all its streams,
/// or a few slow clients would stop the others.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS as u32;

/// What is kept of an upload that the upstream does not take.
const SEND_BUFFER: usize = 64 * 1024;

const HEAD_BYTES: u32 = 64 * 1024;

/// Stands for the number of streams that the upstream allows until it has said so.
const UNSAID: usize = 0x7fff_fffe;

/// How often an idle connection is looked at and one in use is asked for a sign of life, which has to come before the
/// next time.
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
    /// Gone once the connection is to end.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    /// How many streams the upstream allows; `None` until it has said so.
    allowed: Cell<Option<usize>>,
    streams: Cell<usize>,
    idle_since: Cell<Instant>,
    served: Cell<bool>,
}

/// The right to one stream.
pub(super) struct Lease {
    connection: Rc<Connection>,
    pools: Rc<Pools>,
    /// Whether the connection has carried another stream before.
    pub(super) reused: bool,
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
    pub(super) fn number(&self) -> u64 {
        self.connection.number
    }

    /// Whether the upstream has shown that it speaks HTTP/2 at all.
    pub(super) fn is_settled(&self) -> bool {
        self.connection.allowed.get().is_some()
    }

    /// A sender of its own, so that one request never waits for another's stream to open.
    pub(super) fn sender(&self) -> Option<SendRequest<Bytes>> {
        self.connection.sender.borrow().clone()
    }
}

impl Pool {
    /// A stream on the first connection that has room for it.
    pub(super) fn lease(&self, pools: &Rc<Pools>, another: Option<u64>) -> Option<Lease> {
        let open = self.open.borrow();
        open.iter().filter(|one| Some(one.number) != another).find_map(|one| one.lease(pools))
    }

    /// How many connections there are, and how many of them have not said yet what they allow.
    pub(super) fn count(&self) -> (usize, usize) {
        let open = self.open.borrow();
        (open.len(), open.iter().filter(|one| one.allowed.get().is_none()).count())
    }

    /// How many streams a new connection will probably carry.
    pub(super) fn streams_each(&self) -> usize {
        self.allowed.get().filter(|allowed| *allowed > 0).unwrap_or(STREAMS)
    }

    fn remove(&self, connection: &Connection) {
        self.open.borrow_mut().retain(|one| one.number != connection.number);
    }
}

impl Connection {
    /// Begins to speak HTTP/2 on a stream. The connection is in the pool from then on.
    pub(super) async fn open<S>(stream: S, open: Open, pools: Rc<Pools>) -> Result<(), UpstreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let handshake = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(UNSAID)
            .max_header_list_size(HEAD_BYTES)
            .max_send_buffer_size(SEND_BUFFER)
            .handshake::<_, Bytes>(stream);
        let (sender, driver) = handshake.await.map_err(|error| super::error::stream_error(&error))?;
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

    /// A stream, if there is room for one.
    pub(super) fn lease(self: &Rc<Self>, pools: &Rc<Pools>) -> Option<Lease> {
        // Until the upstream has said what it allows, one is safe.
        let room = self.allowed.get().unwrap_or(1);
        if self.streams.get() >= room || !self.takes_streams() {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        let reused = self.served.replace(true);
        Some(Lease { connection: Rc::clone(self), pools: Rc::clone(pools), reused })
    }

    /// Neither ended nor told to go away.
    fn takes_streams(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut sender = self.sender.borrow_mut();
        sender.as_mut().is_some_and(|sender| !matches!(sender.poll_ready(&mut cx), Poll::Ready(Err(_))))
    }

    /// Drives the connection to its end: no new streams once the upstream wants none, none at all once nobody has
    /// asked for one for a while or the path turns out dead.
    async fn drive<S>(
        self: Rc<Self>,
        mut driver: h2::client::Connection<S, Bytes>,
        open: Open,
        pools: Rc<Pools>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut pulse = Pulse { pings: driver.ping_pong(), awaited: false };
        let mut tick = pin!(sleep(TICK));
        let ended = poll_fn(|cx| {
            pulse.poll_pong(cx);
            while tick.as_mut().poll(cx).is_ready() {
                tick.as_mut().reset(Instant::now() + TICK);
                if self.streams.get() > 0 {
                    if pulse.is_gone() {
                        return Poll::Ready(Ok(()));
                    }
                } else if self.idle_since.get().elapsed() >= POOL_TIME {
                    // h2 takes leave when nobody can ask for a stream any more.
                    self.sender.take();
                }
            }
            let polled = Pin::new(&mut driver).poll(cx);
            self.heed(&pools);
            polled
        })
        .await;
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to the upstream ended");
        }
        pools.h2.remove(&self);
        // Streams that are left fail with it.
        drop((driver, open));
        match self.allowed.get() {
            Some(_) => pools.serve_waiting(),
            // The next would do no better.
            None => pools.give_up(UpstreamError::Terminated),
        }
    }

    /// Takes notice of what the upstream has said about new streams.
    fn heed(&self, pools: &Rc<Pools>) {
        if !self.takes_streams() {
            pools.h2.remove(self);
            return;
        }
        let said = self.sender.borrow().as_ref().map_or(UNSAID, SendRequest::current_max_send_streams);
        let allowed = (said != UNSAID).then(|| streams_allowed(said));
        if allowed != self.allowed.replace(allowed) {
            pools.h2.allowed.set(allowed);
            pools.serve_waiting();
        }
    }
}

/// Asks for signs of life.
struct Pulse {
    pings: Option<PingPong>,
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

    /// Whether the last question has got no response; else asks again.
    fn is_gone(&mut self) -> bool {
        if let Some(pings) = &mut self.pings
            && !self.awaited
        {
            self.awaited = pings.send_ping(Ping::opaque()).is_ok();
            return false;
        }
        self.awaited
    }
}
