//! The body of a request, out of the bytes that have been read.

use bytes::{Buf, Bytes, BytesMut};
use http_body::Frame;

use super::chunked::{ChunkedReader, Next};
use super::fields;
use super::input::LEAST_READ;
use super::message::Framing;
use crate::{Limits, RequestRejection};

/// The part of a request's body that has not been read.
pub(crate) enum RemainingBody {
    /// Nothing is left.
    None,
    /// This many bytes.
    Sized(u64),
    /// Chunks, up to the last one.
    Chunked(Box<ChunkedReader>),
    /// Unknown: the body was rejected and cannot be read on.
    Rejected(RequestRejection),
}

/// What the next bytes of a body are.
pub(crate) enum Step {
    /// Data or trailers.
    Frame(Frame<Bytes>),
    /// The end of the body.
    End,
    /// Unknown until more bytes arrive.
    More,
}

impl From<Framing> for RemainingBody {
    fn from(framing: Framing) -> Self {
        match framing {
            // A request never ends with its connection (RFC 9112 §6.3).
            Framing::Sized(0) | Framing::UntilClose => Self::None,
            Framing::Sized(length) => Self::Sized(length),
            Framing::Chunked => Self::Chunked(Box::default()),
        }
    }
}

impl RemainingBody {
    /// Takes the next frame out of `input`.
    pub(crate) fn step(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Step, RequestRejection> {
        match self {
            Self::None => Ok(Step::End),
            Self::Rejected(rejection) => Err(*rejection),
            Self::Sized(_) if input.is_empty() => Ok(Step::More),
            Self::Sized(left) => {
                let length = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= length as u64;
                let data = piece(input, length);
                if *left == 0 {
                    *self = Self::None;
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
                            *self = Self::None;
                        }
                        Ok(Step::Frame(Frame::data(data)))
                    }
                    Next::Unknown => Ok(Step::More),
                    Next::End => {
                        let trailers = fields::trailers(&chunked.take_section());
                        *self = Self::None;
                        match trailers {
                            None => Err(RequestRejection::Malformed("a trailer's name is too long")),
                            Some(trailers) if trailers.is_empty() => Ok(Step::End),
                            Some(trailers) => Ok(Step::Frame(Frame::trailers(trailers))),
                        }
                    }
                }
            }
        }
    }
}

/// Takes the first bytes of `input`. Pieces below a quarter of the buffer are copied: a small piece
/// that is kept would otherwise keep the whole buffer.
fn piece(input: &mut BytesMut, length: usize) -> Bytes {
    if length >= LEAST_READ / 4 && length >= input.capacity() / 4 {
        return input.split_to(length).freeze();
    }
    let piece = Bytes::copy_from_slice(&input[..length]);
    input.advance(length);
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUFFER: usize = 512 * 1024;

    #[test]
    fn a_small_piece_does_not_keep_a_large_buffer() {
        for (length, kept) in [(1, false), (LEAST_READ, false), (BUFFER / 2, true), (BUFFER, true)] {
            let mut input = BytesMut::with_capacity(BUFFER);
            input.resize(length, 1);
            let buffer = input.as_ptr();
            let first = piece(&mut input, length);
            assert_eq!((first.len(), first.as_ptr() == buffer), (length, kept));
        }
    }
}
