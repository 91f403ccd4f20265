//! HTTP/1.1 connections, each used by one request or idle in its thread's pool.
//!
//! A connection returns to the pool only after a whole request has been sent on it and a whole
//! response has been read. The task of the request writes and reads the socket ([`Exchange`],
//! [`StreamedBody`]). Only an upload that continues after the head of its response has its own task
//! ([`upload`]).

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

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;

use super::slots::Open;
pub(super) use exchange::{BodyStart, Exchange};
use head::HeadReader;
pub(super) use pool::Pool;
use pool::ReadBudget;
pub(super) use response::StreamedBody;
use vbc_http::ReadinessCache;
use vbc_http::codec::Input;

/// The largest read of a long response, in bytes. For a client that does not read, a few pieces of
/// this size stay in memory.
const MOST_READ: usize = 256 * 1024;

/// How long an upstream may take to accept the `close_notify` of a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Once reads reach this many bytes, the kernel may buffer [`LARGE_BUFFER`] bytes.
const LARGE_READ: usize = 128 * 1024;
/// The kernel's receive buffer for large reads, in bytes.
const LARGE_BUFFER: usize = 512 * 1024;

/// A stream to the upstream.
pub(in crate::proxy) trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Limits how many unread bytes the kernel buffers.
    fn set_receive_buffer(&self, bytes: usize);

    /// Whether the stream must be shut down before it is closed (TLS: RFC 8446 §6.1).
    fn sends_close_notify(&self) -> bool {
        false
    }
}

impl Stream for TcpStream {
    fn set_receive_buffer(&self, bytes: usize) {
        let _ = socket2::SockRef::from(self).set_recv_buffer_size(bytes);
    }
}

impl Stream for ReadinessCache<TcpStream> {
    fn set_receive_buffer(&self, bytes: usize) {
        self.get_ref().set_receive_buffer(bytes);
    }
}

impl Stream for TlsStream<ReadinessCache<TcpStream>> {
    fn set_receive_buffer(&self, bytes: usize) {
        self.get_ref().0.set_receive_buffer(bytes);
    }

    fn sends_close_notify(&self) -> bool {
        true
    }
}

/// The connection after a 101, on which HTTP has ended.
pub(in crate::proxy) struct Switched {
    /// The stream.
    pub(in crate::proxy) stream: Box<dyn Stream>,
    /// Bytes that were already read after the head of the 101.
    pub(in crate::proxy) first: Bytes,
    /// Counts the connection until it is dropped.
    pub(in crate::proxy) open: Open,
}

/// A connection, in use or idle.
pub(super) struct Connection {
    wire: Rc<RefCell<Wire>>,
    idle_since: Instant,
    /// Whether the connection comes from the pool: it was used before, or opened ahead of the first
    /// request.
    pooled: bool,
    /// Set while a response body is read.
    reading: Option<ReadBudget>,
}

/// The socket of a connection, and the bytes that were read from it.
struct Wire {
    stream: Box<dyn Stream>,
    /// Bytes of one response only: a connection with any further bytes is not reused.
    input: Input,
    head: HeadReader,
    /// Whether the kernel's buffer has been enlarged.
    has_large_buffer: bool,
    /// Whether part of the request is unwritten. Set when the response begins, and cleared once the
    /// upload succeeds.
    uploads: bool,
    /// Whether a write has failed. The failed write consumed the report of a reset, so a reset now
    /// looks like a clean end to reads.
    broken: bool,
    open: Open,
}

impl Connection {
    pub(super) fn new(stream: impl Stream + 'static, open: Open) -> Self {
        let wire = Wire {
            stream: Box::new(stream),
            input: Input::default(),
            head: HeadReader::default(),
            has_large_buffer: false,
            uploads: false,
            broken: false,
            open,
        };
        Self { wire: Rc::new(RefCell::new(wire)), idle_since: Instant::now(), pooled: false, reading: None }
    }

    /// Closes an idle connection.
    fn end(self) {
        if !self.wire.borrow().stream.sends_close_notify() {
            return;
        }
        tokio::task::spawn_local(async move {
            let shutdown = poll_fn(|cx| Pin::new(&mut *self.wire.borrow_mut().stream).poll_shutdown(cx));
            let _ = timeout(CLOSE_TIMEOUT, shutdown).await;
        });
    }

    /// Ends a response that was read completely. The connection returns to the pool, unless this
    /// response was its `last` or bytes are left to write or read.
    fn finish(mut self, last: bool, pool: &Pool) {
        self.reading = None;
        let is_done = {
            let wire = self.wire.borrow();
            !wire.uploads && wire.input.bytes.is_empty()
        };
        if is_done && last {
            self.end();
        } else if is_done {
            pool.put(self);
        }
    }

    /// Whether neither bytes nor an end of the connection have arrived since the last response, as
    /// far as the runtime has noticed.
    fn is_quiet(&self) -> bool {
        self.wire.borrow_mut().is_quiet(&mut Context::from_waker(std::task::Waker::noop()))
    }
}

impl Wire {
    /// Like [`Connection::is_quiet`]. Also registers the task for reads. A connection that is not
    /// quiet must not be reused.
    fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        let mut buffer = [0; 16];
        // `unconstrained`, because a task that has used up its budget would always get "pending".
        let read = unconstrained(poll_fn(|cx| {
            Pin::new(&mut *self.stream).poll_read(cx, &mut ReadBuf::new(&mut buffer))
        }));
        let is_pending = pin!(read).poll(cx).is_pending();
        is_pending && self.input.bytes.is_empty()
    }

    /// Reads once, at most about `most` bytes. Zero bytes mean the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        self.input.poll_read(cx, &mut *self.stream, most)
    }

    /// Reads once for a body. The pieces grow up to `most` bytes if the body arrives fast enough.
    fn poll_body(&mut self, cx: &mut Context<'_>, most: usize, pool: &Pool) -> Poll<io::Result<usize>> {
        self.input.reuse(most, || pool.buffer());
        if self.input.at_once().min(most) >= LARGE_READ && !self.has_large_buffer {
            self.has_large_buffer = true;
            self.stream.set_receive_buffer(LARGE_BUFFER);
        }
        self.input.poll_body(cx, &mut *self.stream, most, MOST_READ)
    }
}

#[cfg(any(test, fuzzing))]
pub(in crate::proxy) mod testing;
#[cfg(test)]
mod tests;
