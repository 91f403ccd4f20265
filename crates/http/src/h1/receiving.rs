//! The body of a request, out of the bytes that have been read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Frame;

use crate::codec::chunked::{Chunked, Next};
use crate::codec::input::LEAST_READ;
use crate::codec::{Framing, fields};
use crate::{Limits, Refusal};

/// How much of a body is read at once where bodies are long. The room of a thread is divided by the bodies that are on their
/// way when another piece is read: where there are many, their pieces are smaller.
pub(super) const MOST_READ: usize = 512 * 1024;
const MOST_READS: usize = 32 << 20;

/// What is to come of the body of a request.
pub(super) enum Receiving {
    Done,
    Sized(u64),
    Chunked(Box<Chunked>),
    /// Nothing: it can't be read on.
    Refused(Refusal),
}

impl From<Framing> for Receiving {
    fn from(framing: Framing) -> Self {
        match framing {
            // A request never ends with its connection (RFC 9112 §6.3).
            Framing::Sized(0) | Framing::ToTheEnd => Self::Done,
            Framing::Sized(length) => Self::Sized(length),
            Framing::Chunked => Self::Chunked(Box::default()),
        }
    }
}

impl Receiving {
    /// What the bytes at hand are.
    pub(super) fn step(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Step, Refusal> {
        match self {
            Self::Done => Ok(Step::End),
            Self::Refused(refusal) => Err(*refusal),
            Self::Sized(_) if input.is_empty() => Ok(Step::More),
            Self::Sized(left) => {
                let length = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= length as u64;
                let data = piece(input, length);
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Step::Frame(Frame::data(data)))
            }
            Self::Chunked(chunked) => {
                let (framing, next) = chunked.next(input, limits.head_bytes, limits.headers)?;
                input.advance(framing);
                match next {
                    Next::Data(length) => {
                        let data = piece(input, length);
                        if let Some(framing) = chunked.ends(input) {
                            input.advance(framing);
                            *self = Self::Done;
                        }
                        Ok(Step::Frame(Frame::data(data)))
                    }
                    Next::Unknown => Ok(Step::More),
                    Next::End => {
                        let trailers = fields::trailers(&chunked.take_section());
                        let trailers = trailers.ok_or(Refusal::Malformed("a trailer's name is too long"))?;
                        *self = Self::Done;
                        Ok(match trailers.is_empty() {
                            true => Step::End,
                            false => Step::Frame(Frame::trailers(trailers)),
                        })
                    }
                }
            }
        }
    }
}

/// The first bytes of what was read. They are copied where they are less than a quarter of the
/// buffer. A small piece that is kept would keep all of the buffer otherwise.
fn piece(input: &mut BytesMut, length: usize) -> Bytes {
    if length >= LEAST_READ / 4 && length >= input.capacity() / 4 {
        return input.split_to(length).freeze();
    }
    let piece = Bytes::copy_from_slice(&input[..length]);
    input.advance(length);
    piece
}

/// What the bytes at hand are.
pub(super) enum Step {
    Frame(Frame<Bytes>),
    End,
    /// Not enough to tell.
    More,
}

/// Counts a body of the thread it began on while it is on its way. On the shared runtime it may end on another.
pub(super) struct UnderWay(Arc<AtomicUsize>);

thread_local! {
    static UNDER_WAY: Arc<AtomicUsize> = Arc::default();
}

impl UnderWay {
    pub(super) fn begin() -> Self {
        let count = UNDER_WAY.with(Arc::clone);
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }

    /// How much of one of so many may be read at once.
    pub(super) fn room(&self) -> usize {
        (MOST_READS / self.0.load(Ordering::Relaxed).max(1)).clamp(LEAST_READ, MOST_READ)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_piece_does_not_keep_a_large_buffer() {
        for (length, kept) in [(1, false), (LEAST_READ, false), (MOST_READ / 2, true), (MOST_READ, true)] {
            let mut input = BytesMut::with_capacity(MOST_READ);
            input.resize(length, 1);
            let buffer = input.as_ptr();
            let first = piece(&mut input, length);
            assert_eq!((first.len(), first.as_ptr() == buffer), (length, kept));
        }
    }
}
