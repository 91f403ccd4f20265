//! The framing of chunked bodies (RFC 9112 §7.1), followed to refuse what is ambiguous and to know where the next
//! head begins.

use super::Limits;
use super::head::Refusal;
use super::syntax::{is_field_byte, is_token};

/// How many bytes of chunk extensions and of trailers one body may have: less than hyper's own limits, whose
/// refusals say nothing.
const OVERHEAD: usize = 15 * 1024;

/// Follows a chunked body (RFC 9112 §7.1), byte by byte where it is framing.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    at: At,
    size: u64,
    digits: u8,
    /// Bytes of chunk extensions or trailers so far.
    overhead: usize,
    trailers: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Size,
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
    /// Gives how many bytes belong to the body, and whether it ended.
    pub(super) fn read(&mut self, bytes: &[u8], limits: &Limits) -> Result<(usize, bool), Refusal> {
        let mut taken = 0;
        while taken < bytes.len() {
            if let At::Data(left) = self.at {
                let skipped = (bytes.len() - taken).min(usize::try_from(left).unwrap_or(usize::MAX));
                taken += skipped;
                let left = left - skipped as u64;
                self.at = if left == 0 { At::DataCr } else { At::Data(left) };
                continue;
            }
            let ended = self.step(bytes[taken])?;
            taken += 1;
            if ended {
                return Ok((taken, true));
            }
            if self.overhead > OVERHEAD.min(limits.head_bytes) || self.trailers > limits.headers {
                return Err(Refusal::HeadTooLarge);
            }
        }
        Ok((taken, false))
    }

    fn step(&mut self, byte: u8) -> Result<bool, Refusal> {
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
            (At::Size, b';') => At::Extension,
            (At::Size | At::Extension, b'\r') => At::SizeLf,
            (At::Size, _) => return Err(SIZE),
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
