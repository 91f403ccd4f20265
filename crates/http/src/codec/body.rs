//! Reads the body of a message from received bytes.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::chunked::{ChunkedReader, Next};
use super::fields;
use super::message::Framing;
use crate::RequestRejection;

/// The part of a body that has not been read.
pub enum RemainingBody {
    /// This many bytes.
    Sized(u64),
    /// Chunks and trailers, up to the end.
    Chunked(Box<ChunkedReader>),
    /// Everything up to the end of the connection.
    UntilClose,
    /// Unknown: the body was rejected and cannot be read any further.
    Rejected(RequestRejection),
}

/// The next part of a body.
pub enum Step {
    /// A piece of the body.
    Data(Bytes),
    /// The trailers, after which the body has ended.
    Trailers(HeaderMap),
    /// The end of the body.
    End,
    /// Unknown until more bytes arrive.
    More,
}

impl RemainingBody {
    /// Nothing is left.
    pub const NONE: Self = Self::Sized(0);

    /// The body of a request, which never ends with its connection (RFC 9112 §6.3).
    pub fn of_request(framing: Framing) -> Self {
        match framing {
            Framing::UntilClose => Self::NONE,
            Framing::Sized(length) => Self::Sized(length),
            Framing::Chunked => Self::Chunked(Box::default()),
        }
    }

    /// The body of a response.
    pub fn of_response(framing: Framing) -> Self {
        match framing {
            Framing::Sized(length) => Self::Sized(length),
            Framing::Chunked => Self::Chunked(Box::new(ChunkedReader::lenient())),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Whether nothing is left.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::Sized(0))
    }

    /// Takes the next part of the body out of `input`. `take` removes a number of data bytes from
    /// its start. `overhead` (bytes) and `lines` limit chunk extensions and trailers.
    ///
    /// # Errors
    /// If the body is invalid, or exceeds a limit.
    #[inline]
    pub fn step(
        &mut self,
        input: &mut BytesMut,
        (overhead, lines): (usize, usize),
        take: impl FnOnce(&mut BytesMut, usize) -> Bytes,
    ) -> Result<Step, RequestRejection> {
        let chunked = match self {
            Self::Sized(0) => return Ok(Step::End),
            Self::Rejected(rejection) => return Err(*rejection),
            Self::Sized(_) | Self::UntilClose if input.is_empty() => return Ok(Step::More),
            Self::Sized(left) => {
                let length = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= length as u64;
                return Ok(Step::Data(take(input, length)));
            }
            Self::UntilClose => return Ok(Step::Data(take(input, input.len()))),
            Self::Chunked(chunked) => chunked,
        };
        let (framing, next) = chunked.next(input, overhead, lines)?;
        input.advance(framing);
        match next {
            Next::Data(length) => {
                let data = take(input, length);
                if let Some(framing) = chunked.ends(input) {
                    input.advance(framing);
                    *self = Self::NONE;
                }
                Ok(Step::Data(data))
            }
            Next::Unknown => Ok(Step::More),
            Next::End => {
                let trailers = fields::trailers(&chunked.take_section());
                *self = Self::NONE;
                match trailers {
                    None => Err(RequestRejection::Malformed("a trailer's name is too long")),
                    Some(trailers) if trailers.is_empty() => Ok(Step::End),
                    Some(trailers) => Ok(Step::Trailers(trailers)),
                }
            }
        }
    }
}
