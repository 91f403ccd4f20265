//! Connections of HTTP/1.1: in a request, or in the pool of their thread.
//!
//! No connection is shared while it is in use. It goes back to the pool only after a whole request has been sent on it
//! and a whole response has been read. An exchange needs no task of its own: the request's writes and reads the socket
//! ([`Exchange`], [`StreamedBody`]), and only a body that outlasts the head of its response goes on beside it ([`upload`]).

mod exchange;
mod head;
mod pool;
mod response;
mod upload;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;

use super::pools::Pools;
use super::slots::Open;
use crate::http1::Input;
use crate::server::ReadinessCache;
pub(super) use exchange::{BodyStart, Exchange};
use head::HeadReader;
pub(super) use pool::Pool;
use pool::Reading;
pub(super) use response::StreamedBody;

/// How much is read at once where answers are long: a client that does not read holds a few such pieces.
const MOST_READ: usize = 256 * 1024;

/// How long an upstream has to take the end of a connection.
const LEAVE: Duration = Duration::from_secs(1);

/// Where so much is read at once, the kernel may keep so much.
const LARGE_READ: usize = 128 * 1024;
const LARGE_KEPT: usize = 512 * 1024;

/// A stream to the upstream.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// From now on the kernel keeps up to about this many bytes of what has not been read.
    fn keep(&self, bytes: usize);

    /// Whether the other side is told of the end by more than the end.
    fn takes_leave(&self) -> bool {
        false
    }
}

impl Stream for TcpStream {
    fn keep(&self, bytes: usize) {
        let _ = socket2::SockRef::from(self).set_recv_buffer_size(bytes);
    }
}

impl Stream for ReadinessCache<TcpStream> {
    fn keep(&self, bytes: usize) {
        self.get_ref().keep(bytes);
    }
}

impl Stream for TlsStream<ReadinessCache<TcpStream>> {
    fn keep(&self, bytes: usize) {
        self.get_ref().0.keep(bytes);
    }

    fn takes_leave(&self) -> bool {
        true
    }
}

/// A connection, in use or idle.
pub(super) struct Connection {
    wire: Rc<RefCell<Wire>>,
    idle_since: Instant,
    /// It comes from the pool: it has carried an exchange, or was made ahead.
    pooled: bool,
    reading: Option<Reading>,
}

/// The socket of a connection, and what has been read from it.
struct Wire {
    stream: Box<dyn Stream>,
    /// Of one response, since a connection with anything behind it is not used again.
    input: Input,
    head: HeadReader,
    /// The kernel has been told to keep much.
    keeps_much: bool,
    /// The request is not known to have been written to its end.
    uploads: bool,
    /// A write has failed. Whoever has been told of a reset by that is told of a plain end when reading.
    broken: bool,
    open: Open,
}

impl Connection {
    pub(super) fn new(stream: impl Stream + 'static, open: Open) -> Self {
        let wire = Wire {
            stream: Box::new(stream),
            input: Input::new(),
            head: HeadReader::default(),
            keeps_much: false,
            uploads: false,
            broken: false,
            open,
        };
        Self { wire: Rc::new(RefCell::new(wire)), idle_since: Instant::now(), pooled: false, reading: None }
    }

    /// Ends a connection that is between two exchanges. Under TLS that is said (RFC 8446 §6.1).
    fn end(self) {
        if !self.wire.borrow().stream.takes_leave() {
            return;
        }
        tokio::task::spawn_local(async move {
            let leave = poll_fn(|cx| Pin::new(&mut *self.wire.borrow_mut().stream).poll_shutdown(cx));
            let _ = timeout(LEAVE, leave).await;
        });
    }

    /// A response has been read to its end: the connection goes back to the pool, unless it was its last or it is not between
    /// two exchanges.
    fn finish(mut self, last: bool, pools: &Pools) {
        self.reading = None;
        let between = {
            let wire = self.wire.borrow();
            !wire.uploads && wire.input.bytes.is_empty()
        };
        match between {
            true if last => self.end(),
            true => pools.h1.put(self),
            false => {}
        }
    }

    /// Whether nothing has come since the last response, as far as the runtime has heard: neither an end, nor bytes that
    /// belong to nobody.
    fn is_quiet(&self) -> bool {
        self.wire.borrow_mut().is_quiet(&mut Context::from_waker(std::task::Waker::noop()))
    }
}

impl Wire {
    /// The same; otherwise the task is woken when something comes. What has come by then belongs to nobody, and the connection
    /// is not used again.
    fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        let mut room = [0; 16];
        // A task that has used up its turn would be told "nothing yet", whatever there is.
        let look = unconstrained(poll_fn(|cx| {
            Pin::new(&mut *self.stream).poll_read(cx, &mut ReadBuf::new(&mut room))
        }));
        let nothing = pin!(look).poll(cx).is_pending();
        nothing && self.input.bytes.is_empty()
    }

    /// Reads once, at most about `room` bytes. None are the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        self.input.poll_read(cx, &mut *self.stream, room)
    }

    /// The same for a body: in larger pieces where that is how it comes, up to `room`.
    fn poll_body(&mut self, cx: &mut Context<'_>, room: usize, pool: &Pool) -> Poll<io::Result<usize>> {
        self.input.reuse(room, || pool.room());
        if self.input.at_once().min(room) >= LARGE_READ && !self.keeps_much {
            self.keeps_much = true;
            self.stream.keep(LARGE_KEPT);
        }
        self.input.poll_body(cx, &mut *self.stream, room, MOST_READ)
    }
}

#[cfg(any(test, fuzzing))]
pub(in crate::proxy) mod testing;
#[cfg(test)]
mod tests;
