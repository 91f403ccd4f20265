//! The framing of chunked bodies (RFC 9112 §7.1), followed to refuse what is ambiguous and to know what is data and where
//! the body ends.

use super::syntax::{is_field_byte, is_token};

/// How many bytes of chunk extensions and of trailers one body may have.
const OVERHEAD: usize = 15 * 1024;

/// Why a body can't be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It is not chunked by the letter; the text says what is wrong, and quotes nothing.
    #[error("{0}")]
    Malformed(&'static str),
    /// More chunk extensions or trailers than there may be.
    #[error("it has too many chunk extensions or trailers")]
    TooLarge,
}

/// Follows a chunked body (RFC 9112 §7.1), byte by byte where it is framing.
#[derive(Debug, Default)]
pub struct Chunked {
    at: At,
    size: u64,
    digits: u8,
    /// Bytes of chunk extensions or trailers so far.
    overhead: usize,
    trailers: usize,
    /// The trailer section as it came.
    section: Vec<u8>,
    /// White space behind a size passes.
    lenient: bool,
}

/// What the next bytes of a chunked body are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
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
    /// One for the body of an answer: some servers pad the size of a chunk. It is framed anew, so nobody behind can read
    /// that in another way.
    pub fn lenient() -> Self {
        Self { lenient: true, ..Self::default() }
    }

    /// The trailer section: its lines, without the empty one.
    pub fn take_section(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.section)
    }

    /// Reads framing up to the next data, or to the end of the body. Gives how many bytes that was, and what comes then;
    /// the data it names count as read. `bytes` of overhead and `lines` of trailers are the most there may be.
    pub fn next(&mut self, bytes: &[u8], overhead: usize, lines: usize) -> Result<(usize, Next), Broken> {
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
                return Err(Broken::TooLarge);
            }
        }
        Ok((bytes.len(), Next::Unknown))
    }

    /// Whether the body ends here, behind a chunk and without trailers: then so many bytes of framing do it. Answers that are
    /// read to their end with their last piece go out with it.
    pub fn ends(&self, bytes: &[u8]) -> Option<usize> {
        const END: &[u8] = b"\r\n0\r\n\r\n";
        (self.at == At::DataCr && bytes.starts_with(END)).then_some(END.len())
    }

    fn step(&mut self, byte: u8) -> Result<bool, Broken> {
        if matches!(self.at, At::TrailerStart | At::TrailerName | At::TrailerValue | At::TrailerLf) {
            self.section.push(byte);
        }
        const SIZE: Broken = Broken::Malformed("a chunk size is not a hexadecimal number");
        const END: Broken = Broken::Malformed("a chunk does not end with CR LF");
        self.at = match (self.at, byte) {
            (At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.digits += 1;
                // 15 digits stay clear of every overflow.
                if self.digits > 15 {
                    return Err(Broken::Malformed("a chunk size is too large"));
                }
                self.size = self.size * 16 + u64::from((byte as char).to_digit(16).unwrap_or(0));
                At::Size
            }
            (At::Size, _) if self.digits == 0 => return Err(SIZE),
            (At::Size | At::Padding, b' ' | b'\t') if self.lenient => {
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
            (At::Extension, _) => return Err(Broken::Malformed("a control character in a chunk extension")),
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
            _ => return Err(Broken::Malformed("a trailer line is not: name, colon, value")),
        };
        Ok(false)
    }
}
