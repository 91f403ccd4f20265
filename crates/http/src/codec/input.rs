//! What has been read from a socket, and not taken yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// How much is read at once, at first.
pub const LEAST_READ: usize = 8 * 1024;

/// Room for so much is worth to be used again: the system gives it page by page, and clears each.
const LARGE: usize = 64 * 1024;

/// Bytes that nobody has taken yet, and how much is read at once: more while that is what comes, since larger pieces cost
/// less.
#[derive(Debug)]
pub struct Input {
    /// The bytes that were received and not consumed yet.
    pub bytes: BytesMut,
    at_once: usize,
    /// There was room for large pieces.
    large: bool,
}

impl Input {
    /// An empty input. It has no buffer until it is read into.
    pub fn new() -> Self {
        Self { bytes: BytesMut::new(), at_once: LEAST_READ, large: false }
    }

    /// How much is read of a body at once.
    pub fn at_once(&self) -> usize {
        self.at_once
    }

    /// Reads once, at most about `room` bytes. None are the end.
    pub fn poll_read<R: AsyncRead + Unpin + ?Sized>(
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
    pub fn poll_body<R: AsyncRead + Unpin + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut R,
        room: usize,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let at_once = self.at_once.min(room);
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

    /// Passes over what has been taken. Of nothing that is left nothing is kept: it may be a part of a block that others share.
    pub fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }

    /// Reads the next pieces into a room that somebody else [gave up](Self::rest), if they are large and what it has cannot take
    /// them. What was read into that room may still be on its way out: then it is left to that.
    pub fn reuse(&mut self, room: usize, spare: impl FnOnce() -> Option<BytesMut>) {
        let at_once = self.at_once.min(room);
        if at_once >= LARGE
            && self.bytes.is_empty()
            && !self.bytes.try_reclaim(at_once)
            && let Some(mut spare) = spare()
            && spare.try_reclaim(at_once)
        {
            self.bytes = spare;
        }
    }

    /// Gives the room up, between two exchanges; to be used again if it is large.
    pub fn rest(&mut self) -> Option<BytesMut> {
        // Without any left it may still hold on to what it has been.
        let room = std::mem::take(&mut self.bytes);
        std::mem::take(&mut self.large).then_some(room)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use bytes::Bytes;

    use super::*;

    const PIECE: usize = 256 * 1024;

    /// Reads a piece of so many of these bytes, where there is a room to be used again.
    fn piece(input: &mut Input, byte: u8, spare: Option<BytesMut>) -> Bytes {
        let cx = &mut Context::from_waker(Waker::noop());
        input.reuse(PIECE, || spare);
        let mut source = std::io::Cursor::new(vec![byte; PIECE]);
        let Poll::Ready(Ok(count)) = input.poll_body(cx, &mut source, PIECE, PIECE) else { panic!() };
        assert_eq!(count, input.bytes.len());
        input.bytes.split().freeze()
    }

    /// One that has come to read large pieces.
    fn large() -> Input {
        let mut input = Input::new();
        while piece(&mut input, 0, None).len() < PIECE {}
        input
    }

    #[test]
    fn a_room_is_read_into_again_once_nobody_has_what_was_read_before() {
        let mut input = large();
        let first = piece(&mut input, 1, None);
        let place = first.as_ptr();
        drop(first);
        // Its own comes before another one.
        let second = piece(&mut input, 2, Some(BytesMut::with_capacity(PIECE)));
        assert_eq!(second.as_ptr(), place);
        let room = input.rest();
        assert!(room.is_some() && input.rest().is_none() && Input::new().rest().is_none());
        drop(second);
        let mut next = large();
        next.rest();
        let third = piece(&mut next, 3, room);
        assert_eq!((third.as_ptr(), third), (place, Bytes::from(vec![3; PIECE])));
    }

    #[test]
    fn what_somebody_still_has_stays_as_it_is() {
        let mut input = large();
        let first = piece(&mut input, 1, None);
        let second = piece(&mut input, 2, None);
        let mut next = large();
        // It is not given up for one that somebody has, although it is too small for a piece.
        next.bytes = BytesMut::with_capacity(10);
        next.reuse(PIECE, || input.rest());
        assert_eq!(next.bytes.capacity(), 10);
        let third = piece(&mut next, 3, None);
        for (piece, byte) in [(first, 1), (second, 2), (third, 3)] {
            assert_eq!(piece, vec![byte; PIECE]);
        }
    }
}
