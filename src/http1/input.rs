//! What has been read from a socket, and not taken yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, BytesMut};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// How much is read at once, at first.
pub(crate) const LEAST_READ: usize = 8 * 1024;

/// Bytes that nobody has taken yet, and how much is read at once: more while that is what comes, since larger pieces cost
/// less.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) bytes: BytesMut,
    at_once: usize,
}

impl Input {
    pub(crate) fn new() -> Self {
        Self { bytes: BytesMut::new(), at_once: LEAST_READ }
    }

    /// How much is read of a body at once.
    pub(crate) fn at_once(&self) -> usize {
        self.at_once
    }

    /// Reads once, at most about `room` bytes. None are the end.
    pub(crate) fn poll_read<R: AsyncRead + Unpin + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut R,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        self.bytes.reserve(room.min(LEAST_READ));
        let part = &mut (&mut self.bytes).limit(room);
        poll_read_buf(Pin::new(stream), cx, part)
    }

    /// The same for a body: in larger pieces where that is how it comes, up to `room`.
    pub(crate) fn poll_body<R: AsyncRead + Unpin + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut R,
        room: usize,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let at_once = self.at_once.min(room);
        self.bytes.reserve(at_once);
        let count = ready!(self.poll_read(cx, stream, at_once))?;
        if count == at_once {
            self.at_once = (2 * at_once).clamp(LEAST_READ, most);
        } else if count < at_once / 4 {
            self.at_once = (at_once / 2).max(LEAST_READ);
        }
        Poll::Ready(Ok(count))
    }

    /// Gives the room back, between two exchanges.
    pub(crate) fn rest(&mut self) {
        if self.bytes.capacity() > 0 {
            self.bytes = BytesMut::new();
        }
    }
}
