//! The framing of chunked bodies (RFC 9112 §7.1), followed to refuse what is ambiguous and to know what is data and where
//! the body ends.

use super::head::Refusal;
use super::syntax::{is_field_byte, is_token};

/// How many bytes of chunk extensions and of trailers one body may have: less than hyper's own limits, whose
/// refusals say nothing.
const OVERHEAD: usize = 15 * 1024;

/// Follows a chunked body (RFC 9112 §7.1), byte by byte where it is framing.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    at: At,
    size: u64,
    digits: u8,
    /// Bytes of chunk extensions or trailers so far.
    overhead: usize,
    trailers: usize,
    /// The trailer section as it came, where it is kept.
    section: Option<Vec<u8>>,
}

/// What the next bytes of a chunked body are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// So many bytes of data.
    Data(usize),
    /// The body has ended.
    End,
    /// They are not there yet.
    Unknown,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Size,
    /// White space behind a size, which some servers send.
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

impl Chunked {
    /// One that keeps the trailer section.
    pub(crate) fn keeping() -> Self {
        Self { section: Some(Vec::new()), ..Self::default() }
    }

    /// The trailer section, where it is kept: its lines, without the empty one.
    pub(crate) fn take_section(&mut self) -> Vec<u8> {
        self.section.take().unwrap_or_default()
    }

    /// Reads framing up to the next data, or to the end of the body. Gives how many bytes that was, and what comes then;
    /// the data it names count as read. `bytes` of overhead and `lines` of trailers are the most there may be.
    pub(crate) fn next(
        &mut self,
        bytes: &[u8],
        overhead: usize,
        lines: usize,
    ) -> Result<(usize, Next), Refusal> {
        for (at, byte) in bytes.iter().enumerate() {
            if let At::Data(left) = self.at {
                let there = (bytes.len() - at).min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - there as u64;
                self.at = if left == 0 { At::DataCr } else { At::Data(left) };
                return Ok((at, Next::Data(there)));
            }
            if self.step(*byte)? {
                return Ok((at + 1, Next::End));
            }
            if self.overhead > OVERHEAD.min(overhead) || self.trailers > lines {
                return Err(Refusal::HeadTooLarge);
            }
        }
        Ok((bytes.len(), Next::Unknown))
    }

    fn step(&mut self, byte: u8) -> Result<bool, Refusal> {
        if let (At::TrailerStart | At::TrailerName | At::TrailerValue | At::TrailerLf, Some(section)) =
            (self.at, &mut self.section)
        {
            section.push(byte);
        }
        const SIZE: Refusal = Refusal::Malformed("a chunk size is not a hexadecimal number");
        const END: Refusal = Refusal::Malformed("a chunk does not end with CR LF");
        self.at = match (self.at, byte) {
            (At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.digits += 1;
                // 15 digits stay clear of every overflow, hyper's included.
                if self.digits > 15 {
                    return Err(Refusal::Malformed("a chunk size is too large"));
                }
                self.size = self.size * 16 + u64::from((byte as char).to_digit(16).unwrap_or(0));
                At::Size
            }
            (At::Size, _) if self.digits == 0 => return Err(SIZE),
            // What keeps the trailer section frames the body anew, so that nobody behind it can read it in another way.
            (At::Size | At::Padding, b' ' | b'\t') if self.section.is_some() => {
                self.overhead += 1;
                At::Padding
            }
            (At::Size | At::Padding, b';') => At::Extension,
            (At::Size | At::Padding | At::Extension, b'\r') => At::SizeLf,
            (At::Size | At::Padding, _) => return Err(SIZE),
            (At::Extension, byte) if is_field_byte(byte) => {
                self.overhead += 1;
                At::Extension
            }
            (At::Extension, _) => return Err(Refusal::Malformed("a control character in a chunk extension")),
            (At::SizeLf, b'\n') if self.size == 0 => At::TrailerStart,
            (At::SizeLf, b'\n') => At::Data(std::mem::take(&mut self.size)),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => {
                self.digits = 0;
                At::Size
            }
            (At::SizeLf | At::DataCr | At::DataLf, _) => return Err(END),
            (At::TrailerStart, b'\r') => At::EndLf,
            (At::EndLf, b'\n') => return Ok(true),
            (At::TrailerStart | At::TrailerName, byte) if is_token(byte) => {
                self.overhead += 1;
                At::TrailerName
            }
            (At::TrailerName, b':') => At::TrailerValue,
            (At::TrailerValue, b'\r') => {
                self.trailers += 1;
                // Colon and line end.
                self.overhead += 3;
                At::TrailerLf
            }
            (At::TrailerValue, byte) if is_field_byte(byte) => {
                self.overhead += 1;
                At::TrailerValue
            }
            (At::TrailerLf, b'\n') => At::TrailerStart,
            // `Data` is skipped in bulk by the caller.
            _ => return Err(Refusal::Malformed("a trailer line is not: name, colon, value")),
        };
        Ok(false)
    }
}
