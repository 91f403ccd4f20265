//! Bytes that have been read from a socket and not consumed yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// The size of the first read.
pub const LEAST_READ: usize = 8 * 1024;

/// Buffers of at least this size are reused, since a fresh buffer costs a page fault and zeroing
/// for each page.
const LARGE: usize = 64 * 1024;

/// Bytes that were read and not consumed, and the size of the next read. The size grows while reads
/// fill their buffer, since larger pieces cost less.
///
/// Between two exchanges [`take_buffer`](Self::take_buffer) gives up the buffer.
/// [`reuse`](Self::reuse) puts such a buffer to use again.
#[derive(Debug)]
pub struct Input {
    /// The bytes that were received and not consumed yet.
    pub bytes: BytesMut,
    at_once: usize,
    /// The buffer grew large enough to be worth reusing.
    large: bool,
}

/// An empty input. It has no buffer until it is read into.
impl Default for Input {
    fn default() -> Self {
        Self { bytes: BytesMut::new(), at_once: LEAST_READ, large: false }
    }
}

impl Input {
    /// The size of the next read of a body.
    pub fn at_once(&self) -> usize {
        self.at_once
    }

    /// Reads once, at most `most` bytes. Returns the number of bytes; 0 at the end.
    pub fn poll_read<R: AsyncRead + Unpin + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut R,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        self.bytes.reserve(most.min(LEAST_READ));
        let part = &mut (&mut self.bytes).limit(most);
        poll_read_buf(Pin::new(stream), cx, part)
    }

    /// Reads a piece of a body, up to `budget` bytes. The size of reads grows up to `most`.
    pub fn poll_body<R: AsyncRead + Unpin + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut R,
        budget: usize,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let at_once = self.at_once.min(budget);
        self.bytes.reserve(at_once);
        self.large |= at_once >= LARGE;
        let count = ready!(self.poll_read(cx, stream, at_once))?;
        if count == at_once {
            self.at_once = (2 * at_once).clamp(LEAST_READ, most);
        } else if count < at_once / 4 {
            self.at_once = (at_once / 2).max(LEAST_READ);
        }
        Poll::Ready(Ok(count))
    }

    /// Consumes bytes. An empty buffer is freed: it may be a part of a block that others share.
    pub fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }

    /// Takes over a spare buffer that another connection [gave up](Self::take_buffer), if the next
    /// read is large and this buffer is too small. A spare is not used while pieces in it are still
    /// alive.
    pub fn reuse(&mut self, budget: usize, spare: impl FnOnce() -> Option<BytesMut>) {
        let at_once = self.at_once.min(budget);
        if at_once >= LARGE
            && self.bytes.is_empty()
            && !self.bytes.try_reclaim(at_once)
            && let Some(mut spare) = spare()
            && spare.try_reclaim(at_once)
        {
            self.bytes = spare;
        }
    }

    /// Gives up the buffer between two exchanges. Returns it if it is large enough to be worth
    /// reusing.
    pub fn take_buffer(&mut self) -> Option<BytesMut> {
        // An empty handle may still keep the memory of earlier bytes.
        let buffer = std::mem::take(&mut self.bytes);
        std::mem::take(&mut self.large).then_some(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use bytes::Bytes;

    use super::*;

    const PIECE: usize = 256 * 1024;

    /// Reads a piece of these bytes, with a buffer for reuse.
    fn piece(input: &mut Input, byte: u8, spare: Option<BytesMut>) -> Bytes {
        let cx = &mut Context::from_waker(Waker::noop());
        input.reuse(PIECE, || spare);
        let mut source = std::io::Cursor::new(vec![byte; PIECE]);
        let Poll::Ready(Ok(count)) = input.poll_body(cx, &mut source, PIECE, PIECE) else { panic!() };
        assert_eq!(count, input.bytes.len());
        input.bytes.split().freeze()
    }

    /// An input that has grown to large reads.
    fn large() -> Input {
        let mut input = Input::default();
        while piece(&mut input, 0, None).len() < PIECE {}
        input
    }

    #[test]
    fn a_room_is_read_into_again_once_nobody_has_what_was_read_before() {
        let mut input = large();
        let first = piece(&mut input, 1, None);
        let place = first.as_ptr();
        drop(first);
        // The input's own buffer is preferred to the spare one.
        let second = piece(&mut input, 2, Some(BytesMut::with_capacity(PIECE)));
        assert_eq!(second.as_ptr(), place);
        let buffer = input.take_buffer();
        assert!(
            buffer.is_some() && input.take_buffer().is_none() && Input::default().take_buffer().is_none()
        );
        drop(second);
        let mut next = large();
        next.take_buffer();
        let third = piece(&mut next, 3, buffer);
        assert_eq!((third.as_ptr(), third), (place, Bytes::from(vec![3; PIECE])));
    }

    #[test]
    fn what_somebody_still_has_stays_as_it_is() {
        let mut input = large();
        let first = piece(&mut input, 1, None);
        let second = piece(&mut input, 2, None);
        let mut next = large();
        // A small buffer is kept rather than replaced by one in use.
        next.bytes = BytesMut::with_capacity(10);
        next.reuse(PIECE, || input.take_buffer());
        assert_eq!(next.bytes.capacity(), 10);
        let third = piece(&mut next, 3, None);
        for (piece, byte) in [(first, 1), (second, 2), (third, 3)] {
            assert_eq!(piece, vec![byte; PIECE]);
        }
    }
}
