//! The framing of chunked bodies (RFC 9112 §7.1): finds the data and the end of the body, and
//! rejects ambiguous framing.

use super::syntax::{is_field_byte, is_token};
use crate::RequestRejection;

/// The most bytes of chunk extensions and trailers in one body.
const OVERHEAD: usize = 15 * 1024;

/// Follows a chunked body. Framing is read byte by byte, data in bulk.
#[derive(Debug, Default)]
pub struct ChunkedReader {
    state: State,
    size: u64,
    digits: u8,
    /// Bytes of chunk extensions or trailers so far.
    overhead: usize,
    trailers: usize,
    /// The trailer section as received.
    section: Vec<u8>,
    /// Accept white space after a size.
    lenient: bool,
}

/// What follows in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This many bytes of data, counted as read.
    Data(usize),
    /// The body has ended.
    End,
    /// Unknown until more bytes arrive.
    Unknown,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// White space after a size, which some servers send.
    Padding,
    Extension,
    SizeLf,
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
}

impl ChunkedReader {
    /// A reader for response bodies, which accepts the white space that some servers send after a
    /// size. This is safe: the proxy frames the body again for its client.
    pub fn lenient() -> Self {
        Self { lenient: true, ..Self::default() }
    }

    /// The lines of the trailer section, without the final empty line.
    pub fn take_section(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.section)
    }

    /// Reads framing up to the next data, or to the end of the body. Returns the length of the
    /// framing and what follows it. `overhead` limits the bytes of chunk extensions and trailers,
    /// `lines` the number of trailers.
    ///
    /// # Errors
    /// The framing is invalid, or a limit is exceeded.
    pub fn next(
        &mut self,
        bytes: &[u8],
        overhead: usize,
        lines: usize,
    ) -> Result<(usize, Next), RequestRejection> {
        for (at, byte) in bytes.iter().enumerate() {
            if let State::Data(left) = self.state {
                let there = (bytes.len() - at).min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - there as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data(left) };
                return Ok((at, Next::Data(there)));
            }
            if self.step(*byte)? {
                return Ok((at + 1, Next::End));
            }
            if self.overhead > OVERHEAD.min(overhead) || self.trailers > lines {
                return Err(RequestRejection::HeadTooLarge);
            }
        }
        Ok((bytes.len(), Next::Unknown))
    }

    /// The length of the framing that ends the body, if it follows this chunk directly and has no
    /// trailers. With this, a reader can pass on the end together with the last piece.
    pub fn ends(&self, bytes: &[u8]) -> Option<usize> {
        const END: &[u8] = b"\r\n0\r\n\r\n";
        (self.state == State::DataCr && bytes.starts_with(END)).then_some(END.len())
    }

    fn step(&mut self, byte: u8) -> Result<bool, RequestRejection> {
        if matches!(
            self.state,
            State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLf
        ) {
            self.section.push(byte);
        }
        const END: RequestRejection = RequestRejection::Malformed("a chunk does not end with CR LF");
        self.state = match (self.state, byte) {
            (State::Size | State::Padding, byte) => self.size_byte(byte)?,
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, byte) if is_field_byte(byte) => {
                self.overhead += 1;
                State::Extension
            }
            (State::Extension, _) => {
                return Err(RequestRejection::Malformed("a control character in a chunk extension"));
            }
            (State::SizeLf, b'\n') if self.size == 0 => State::TrailerStart,
            (State::SizeLf, b'\n') => State::Data(std::mem::take(&mut self.size)),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.digits = 0;
                State::Size
            }
            (State::SizeLf | State::DataCr | State::DataLf, _) => return Err(END),
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::EndLf, b'\n') => return Ok(true),
            (State::TrailerStart | State::TrailerName, byte) if is_token(byte) => {
                self.overhead += 1;
                State::TrailerName
            }
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerValue, b'\r') => {
                self.trailers += 1;
                // Counts the colon and the line end.
                self.overhead += 3;
                State::TrailerLf
            }
            (State::TrailerValue, byte) if is_field_byte(byte) => {
                self.overhead += 1;
                State::TrailerValue
            }
            (State::TrailerLf, b'\n') => State::TrailerStart,
            // `Data` cannot occur here: `next` handles it.
            _ => {
                return Err(RequestRejection::Malformed(
                    "a trailer line does not have the form `name: value`",
                ));
            }
        };
        Ok(false)
    }

    /// Handles a byte of a chunk size, or the byte after it.
    fn size_byte(&mut self, byte: u8) -> Result<State, RequestRejection> {
        const SIZE: RequestRejection =
            RequestRejection::Malformed("a chunk size is not a hexadecimal number");
        Ok(match byte {
            b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' if self.state == State::Size => {
                self.digits += 1;
                // 15 digits cannot overflow.
                if self.digits > 15 {
                    return Err(RequestRejection::Malformed("a chunk size is too large"));
                }
                self.size = self.size * 16 + u64::from((byte as char).to_digit(16).unwrap_or(0));
                State::Size
            }
            _ if self.digits == 0 => return Err(SIZE),
            b' ' | b'\t' if self.lenient => {
                self.overhead += 1;
                State::Padding
            }
            b';' => State::Extension,
            b'\r' => State::SizeLf,
            _ => return Err(SIZE),
        })
    }
}
