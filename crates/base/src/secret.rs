//! Strings that must not appear in logs, messages or files.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use aws_lc_rs::{digest, pbkdf2};
use zeroize::Zeroizing;

/// A secret. `Debug` prints `[redacted]`; there is no `Display` and no `Serialize`. Clones share
/// one copy, which is zeroed when the last clone is dropped. Equality is not constant time.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(value.into())))
    }

    /// The value itself. Call this only to send or store it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self::new(value)
    }
}

impl From<Zeroizing<String>> for Secret {
    /// Takes the text without copying it.
    fn from(mut value: Zeroizing<String>) -> Self {
        Self::new(std::mem::take(&mut *value))
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self::new(value)
    }
}

/// The first 16 bytes of SHA-256 over `parts`, in hexadecimal. It distinguishes values without
/// revealing them, as long as they are hard to guess. Each part is preceded by its length, so
/// `["ab", "c"]` and `["a", "bc"]` differ.
pub fn fingerprint(parts: &[&str]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    hex(&context.finish().as_ref()[..16])
}

/// Iterations of [`salted_fingerprint`]. All of them take tens of milliseconds.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(100_000).unwrap();

/// PBKDF2-HMAC-SHA256 over `parts`: 16 bytes, in hexadecimal. Blocks for tens of milliseconds. An
/// attacker who guesses at a weak secret needs the same time for each guess.
pub fn salted_fingerprint(salt: &str, parts: &[&str]) -> String {
    let length = parts.iter().map(|part| size_of::<u64>() + part.len()).sum();
    let mut input = Zeroizing::new(Vec::with_capacity(length));
    for part in parts {
        input.extend_from_slice(&(part.len() as u64).to_be_bytes());
        input.extend_from_slice(part.as_bytes());
    }
    let mut derived = [0; 16];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, salt.as_bytes(), &input, &mut derived);
    hex(&derived)
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The sixteen hexadecimal digits of a number.
pub fn hex_digits(number: u64) -> [u8; 16] {
    std::array::from_fn(|place| DIGITS[(number >> (60 - 4 * place)) as usize & 15])
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)] as char, DIGITS[usize::from(b & 15)] as char])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[redacted]");
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some([redacted])");
    }

    #[test]
    fn hexadecimal_is_written_with_the_highest_digit_first() {
        assert_eq!(&hex_digits(0x0123_4567_89ab_cdef), b"0123456789abcdef");
        assert_eq!(hex(&[0x01, 0xef]), "01ef");
    }

    #[test]
    fn fingerprints_tell_parts_apart() {
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
        assert_eq!(fingerprint(&["a"]), fingerprint(&["a"]));
        assert_eq!(fingerprint(&["a"]).len(), 32);
    }

    #[test]
    fn salted_fingerprints_tell_salts_and_parts_apart() {
        let print = salted_fingerprint("1", &["ab", "c"]);
        assert_eq!(print, salted_fingerprint("1", &["ab", "c"]));
        assert_ne!(print, salted_fingerprint("2", &["ab", "c"]));
        assert_ne!(print, salted_fingerprint("1", &["a", "bc"]));
        assert_eq!(print.len(), 32);
    }
}
