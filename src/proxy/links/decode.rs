//! Removes content codings, so that the links in a body can be found.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, BufRead, ErrorKind, Read};
use std::rc::Rc;

use bytes::{Buf, Bytes};
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header};

/// The largest output of one step, in bytes, for any input.
const PIECE: usize = 32 * 1024;

/// A coding that can be decoded (RFC 9110 §8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Coding {
    /// `gzip` or `x-gzip`.
    Gzip,
    /// `deflate`, with or without the wrapping of zlib.
    Deflate,
}

impl Coding {
    /// The coding of a body. `Some(None)` means no coding; `None` means an unknown coding or
    /// several.
    pub(super) fn of(headers: &HeaderMap) -> Option<Option<Self>> {
        let mut lines = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(line) = lines.next() else { return Some(None) };
        if lines.next().is_some() {
            return None;
        }
        match line.to_str().ok()?.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(None),
            "gzip" | "x-gzip" => Some(Some(Self::Gzip)),
            "deflate" => Some(Some(Self::Deflate)),
            _ => None,
        }
    }
}

/// One step of a decoder.
pub(super) enum Step {
    /// A piece of output.
    Data(Bytes),
    /// The decoder needs more input.
    Hungry,
    /// The coding has ended.
    End,
}

/// Decodes a body piece by piece, in bounded memory.
///
/// Call [`next`](Self::next) until it is [`Step::Hungry`], then [`push`](Self::push) the next piece
/// or [`finish`](Self::finish).
pub(super) struct Decoder {
    queue: Queue,
    kind: Kind,
    buffer: Box<[u8]>,
}

enum Kind {
    /// `deflate` data should have a zlib wrapper, but some senders omit it. The first byte shows
    /// which.
    Unknown,
    Gzip(MultiGzDecoder<Source>),
    Zlib(ZlibDecoder<Source>),
    Raw(DeflateDecoder<Source>),
}

impl Decoder {
    pub(super) fn new(coding: Coding) -> Self {
        let queue = Queue::default();
        let source = Source { current: Bytes::new(), queue: Rc::clone(&queue) };
        let kind = match coding {
            Coding::Gzip => Kind::Gzip(MultiGzDecoder::new(source)),
            Coding::Deflate => Kind::Unknown,
        };
        Self { queue, kind, buffer: vec![0; PIECE].into_boxed_slice() }
    }

    pub(super) fn push(&self, piece: Bytes) {
        if !piece.is_empty() {
            self.queue.borrow_mut().pieces.push_back(piece);
        }
    }

    /// Notes that there is no more input.
    pub(super) fn finish(&self) {
        self.queue.borrow_mut().ended = true;
    }

    /// The next step.
    ///
    /// # Errors
    /// The input is not valid in this coding, or ends early.
    pub(super) fn next(&mut self) -> io::Result<Step> {
        let buffer = &mut self.buffer;
        let read = match &mut self.kind {
            Kind::Unknown => {
                let source = Source { current: Bytes::new(), queue: Rc::clone(&self.queue) };
                let first = self.queue.borrow().pieces.front().and_then(|piece| piece.first().copied());
                self.kind = match first {
                    Some(first) if first & 0x8f == 0x08 => Kind::Zlib(ZlibDecoder::new(source)),
                    Some(_) => Kind::Raw(DeflateDecoder::new(source)),
                    None if self.queue.borrow().ended => return Ok(Step::End),
                    None => return Ok(Step::Hungry),
                };
                return self.next();
            }
            Kind::Gzip(decoder) => decoder.read(buffer),
            Kind::Zlib(decoder) => decoder.read(buffer),
            Kind::Raw(decoder) => decoder.read(buffer),
        };
        match read {
            Ok(0) => Ok(Step::End),
            Ok(length) => Ok(Step::Data(Bytes::copy_from_slice(&buffer[..length]))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Step::Hungry),
            Err(error) => Err(error),
        }
    }
}

#[derive(Default)]
struct InputQueue {
    pieces: VecDeque<Bytes>,
    ended: bool,
}

type Queue = Rc<RefCell<InputQueue>>;

/// The input of the decoders. A read returns `WouldBlock` until more input is pushed.
struct Source {
    current: Bytes,
    queue: Queue,
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.is_empty() {
            let mut queue = self.queue.borrow_mut();
            match queue.pieces.pop_front() {
                Some(piece) => self.current = piece,
                None if queue.ended => {}
                None => return Err(ErrorKind::WouldBlock.into()),
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, amount: usize) {
        self.current.advance(amount);
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let length = ready.len().min(buffer.len());
        buffer[..length].copy_from_slice(&ready[..length]);
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    /// Decodes in pieces of this size. Returns the text, and the size of the largest output piece.
    fn decoded(coding: Coding, encoded: &[u8], size: usize) -> io::Result<(Vec<u8>, usize)> {
        let mut decoder = Decoder::new(coding);
        let mut pieces = encoded.chunks(size);
        let (mut text, mut most) = (Vec::new(), 0);
        loop {
            match decoder.next()? {
                Step::Data(data) => {
                    most = most.max(data.len());
                    text.extend_from_slice(&data);
                }
                Step::Hungry => match pieces.next() {
                    Some(piece) => decoder.push(Bytes::copy_from_slice(piece)),
                    None => decoder.finish(),
                },
                Step::End => return Ok((text, most)),
            }
        }
    }

    fn encoded(coding: Coding, raw: bool, text: &[u8]) -> Vec<u8> {
        let level = Compression::default();
        let mut out = Vec::new();
        match (coding, raw) {
            (Coding::Gzip, _) => GzEncoder::new(&mut out, level).write_all(text).unwrap(),
            (_, true) => DeflateEncoder::new(&mut out, level).write_all(text).unwrap(),
            (_, false) => ZlibEncoder::new(&mut out, level).write_all(text).unwrap(),
        }
        out
    }

    #[test]
    fn every_coding_is_taken_off_in_pieces_of_any_size() {
        let text: Vec<u8> = (0..20_000_u32).flat_map(|n| n.to_string().into_bytes()).collect();
        for (coding, raw) in [(Coding::Gzip, false), (Coding::Deflate, false), (Coding::Deflate, true)] {
            let encoded = encoded(coding, raw, &text);
            for size in [1, 7, 4096, encoded.len()] {
                assert_eq!(decoded(coding, &encoded, size).unwrap().0, text, "{coding:?} {raw} {size}");
            }
        }
        let two = [encoded(Coding::Gzip, false, b"a"), encoded(Coding::Gzip, false, b"b")].concat();
        assert_eq!(decoded(Coding::Gzip, &two, 3).unwrap().0, b"ab");
    }

    #[test]
    fn a_bomb_comes_out_in_small_pieces() {
        let bomb = encoded(Coding::Gzip, false, &vec![0; 20 << 20]);
        let (text, most) = decoded(Coding::Gzip, &bomb, bomb.len()).unwrap();
        assert_eq!(text.len(), 20 << 20);
        assert!(most <= PIECE && bomb.len() < 64 * 1024);
    }

    #[test]
    fn what_is_not_what_it_says_is_an_error() {
        for coding in [Coding::Gzip, Coding::Deflate] {
            assert!(decoded(coding, b"{\"a\":\"this is not encoded at all\"}", 8).is_err(), "{coding:?}");
        }
        let whole = encoded(Coding::Gzip, false, b"some text");
        assert!(decoded(Coding::Gzip, &whole[..whole.len() - 4], 8).is_err());
    }

    #[test]
    fn unknown_and_several_codings_are_left_alone() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, http::HeaderValue::from_static(value));
            }
            Coding::of(&headers)
        };
        assert_eq!(of(&[]), Some(None));
        assert_eq!(of(&["identity"]), Some(None));
        assert_eq!(of(&["GZip"]), Some(Some(Coding::Gzip)));
        for unknown in [&["br"][..], &["zstd"], &["gzip, br"], &["gzip", "gzip"], &["compress"]] {
            assert_eq!(of(unknown), None, "{unknown:?}");
        }
    }
}
