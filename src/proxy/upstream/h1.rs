//! Connections of HTTP/1.1: in a request, or in the pool of their thread.
//!
//! No connection is shared while it is in use. It goes back to the pool only after a whole request has been sent on it
//! and a whole answer has been read.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::error::{UpstreamError, classify};
use super::pools::{Open, POOL_TIME, Pools};
use crate::proxy::body::{AttemptBody, RequestBody};
use crate::proxy::timer::LazyTimer;
use crate::proxy::tunnel::Tunnel;
use crate::proxy::wire::{Kept, Watch, Wire};
use crate::server::hush::{Hushed, poll_body};

/// Idle connections kept per thread.
const POOL_SIZE: usize = 512;

/// A connection that has been idle longer is looked at before a request that must not be sent twice.
const FRESH: Duration = Duration::from_millis(50);

/// What a connection reads at once. Larger pieces cost less, but a client that does not read holds a few of them, so
/// where many answers are under way at once the pieces get smaller: together they take about `AHEAD` a thread.
const READ_BUFFER: usize = 256 * 1024;
const LEAST_READ: usize = 8 * 1024;
const AHEAD: usize = 8 * 1024 * 1024;

/// The idle connections of one thread, the most recently used last.
#[derive(Default)]
pub(super) struct Pool {
    idle: RefCell<Vec<Connection>>,
    /// Answers whose body is under way.
    reading: Rc<Cell<usize>>,
}

/// Counts an answer while its body is under way.
struct Reading(Rc<Cell<usize>>);

impl Reading {
    /// How much may be read at once.
    fn room(&self) -> usize {
        (AHEAD / self.0.get().max(1)).clamp(LEAST_READ, READ_BUFFER)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A connection, in use or idle.
pub(super) struct Connection {
    pub(super) sender: SendRequest<AttemptBody>,
    pub(super) watch: Watch,
    pub(super) driver: Driver,
    idle_since: Instant,
    pub(super) reused: bool,
    reading: Option<Reading>,
}

/// The task that drives a connection. Between exchanges it ends by itself, politely; one that is dropped in the
/// middle of an exchange is ended at once, or it would go on sending what nobody waits for.
pub(super) struct Driver {
    task: AbortHandle,
    pub(super) in_exchange: bool,
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.in_exchange {
            self.task.abort();
        }
    }
}

impl Connection {
    pub(super) async fn open<S>(stream: S, open: Open) -> Result<Self, UpstreamError>
    where
        S: AsyncRead + AsyncWrite + Kept + Unpin + 'static,
    {
        let watch = Watch::default();
        let wire = Wire::new(stream, watch.clone());
        let switched = watch.clone();
        let (sender, mut driver) = http1::Builder::new()
            .max_buf_size(READ_BUFFER)
            .handshake(TokioIo::new(wire))
            .await
            .map_err(|error| classify(&error))?;
        let task = tokio::task::spawn_local(async move {
            // Its errors reach whoever waits for an answer.
            let mut hushed = Hushed::default();
            let ended = poll_fn(|cx| hushed.poll(cx, |cx| Pin::new(&mut driver).poll(cx))).await;
            if let Some(taker) = switched.taker().filter(|_| ended.is_ok()) {
                let parts = driver.into_parts();
                let _ = taker.send(Tunnel::new(parts.io.into_inner(), parts.read_buf, open));
            }
        });
        let driver = Driver { task: task.abort_handle(), in_exchange: false };
        Ok(Self { sender, watch, driver, idle_since: Instant::now(), reused: false, reading: None })
    }
}

impl Connection {
    /// Lets the next pieces be as large as there is room for.
    fn make_room(&self) {
        if let Some(reading) = &self.reading {
            self.watch.make_room(reading.room());
        }
    }
}

impl Pool {
    /// What [`checkout`](Self::checkout) gives, if it is the connection used last, and without a wait.
    pub(super) fn ready(&self, idempotent: bool) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        idle.pop_if(|last| {
            let patience = if idempotent { POOL_TIME } else { FRESH };
            last.sender.is_ready() && last.idle_since.elapsed() <= patience
        })
    }

    /// Takes the most recently used live connection out of the pool.
    pub(super) async fn checkout(
        &self,
        idempotent: bool,
        patience: Duration,
        timer: &LazyTimer,
    ) -> Option<Connection> {
        let mut looked = false;
        loop {
            let mut connection = self.idle.borrow_mut().pop()?;
            let idle = connection.idle_since.elapsed();
            if idle > POOL_TIME {
                // All others are older.
                self.idle.borrow_mut().clear();
                return None;
            }
            if !idempotent && idle > FRESH && !looked {
                // Lets the runtime see what has arrived on the pooled connections, a close above all, before a
                // request goes out that cannot be taken back.
                looked = true;
                tokio::task::yield_now().await;
            }
            if connection.sender.is_closed() {
                continue;
            }
            if connection.sender.is_ready() {
                return Some(connection);
            }
            // Its task has to run once more after the last answer.
            let ready = timer.within(patience, connection.sender.ready());
            if let Some(Ok(())) = ready.await {
                return Some(connection);
            }
        }
    }

    fn reading(&self) -> Reading {
        self.reading.set(self.reading.get() + 1);
        Reading(Rc::clone(&self.reading))
    }

    /// Takes a connection that is between two exchanges.
    pub(super) fn put(&self, mut connection: Connection) {
        connection.idle_since = Instant::now();
        let mut idle = self.idle.borrow_mut();
        // After a burst the oldest are never taken out: they go here.
        let now = connection.idle_since;
        if idle.first().is_some_and(|oldest| now - oldest.idle_since > POOL_TIME) {
            idle.retain(|old| now - old.idle_since <= POOL_TIME);
        }
        if idle.len() < POOL_SIZE {
            idle.push(connection);
        }
    }
}

/// The body of an answer. It gives its connection back when it has been read to its end.
pub(super) struct Answer {
    incoming: Incoming,
    connection: Option<Connection>,
    reusable: bool,
    request: RequestBody,
    pools: Rc<Pools>,
}

impl Answer {
    pub(super) fn of(
        response: Response<Incoming>,
        connection: Connection,
        request: RequestBody,
        pools: Rc<Pools>,
    ) -> Response<Self> {
        // hyper would send the next request as HTTP/1.0 too, without its body where that is chunked.
        let reusable = response.version() == Version::HTTP_11;
        response.map(|incoming| {
            let mut answer = Self { incoming, connection: Some(connection), reusable, request, pools };
            if answer.incoming.is_end_stream() {
                answer.finish();
            } else if let Some(connection) = &mut answer.connection {
                connection.reading = Some(answer.pools.h1.reading());
                connection.make_room();
            }
            answer
        })
    }

    fn finish(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        // With a request that is still being sent the connection is not between two exchanges: it ends here, and
        // with it the upload.
        connection.driver.in_exchange = !self.request.sent();
        connection.reading = None;
        if self.request.sent() && self.reusable && !connection.sender.is_closed() {
            connection.reused = true;
            self.pools.h1.put(connection);
        }
    }

    /// Ends the connection.
    pub(super) fn abandon(&mut self) {
        self.connection = None;
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match ready!(poll_body(&mut self.incoming, cx)) {
            None => {
                self.finish();
                Poll::Ready(None)
            }
            Some(Ok(frame)) => {
                // Nobody asks for more behind trailers.
                if frame.is_trailers() || self.incoming.is_end_stream() {
                    self.finish();
                } else if let Some(connection) = &self.connection {
                    connection.make_room();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.abandon();
                Poll::Ready(Some(Err(classify(&error))))
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
