//! `store.key_file`: the keys that encrypt token sets.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::error::remedy_for;
use super::kind::Kind;
use super::section::Section;
use crate::store::StoreKey;
use vbc_base::encoding::{self, NotUtf8};
use vbc_base::trusted::{self, Flaw};

const KEY_BYTES: usize = StoreKey::BYTES;
/// The maximum size of the file. Guards against naming the wrong file.
const MAX_BYTES: usize = 64 * 1024;
const MAKE_ONE: &str = "create a key with `(umask 077; openssl rand -base64 32 > store.key)`";

const STANDARD: GeneralPurpose = lenient(&alphabet::STANDARD);
const URL_SAFE: GeneralPurpose = lenient(&alphabet::URL_SAFE);

const fn lenient(alphabet: &alphabet::Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config)
}

/// `store.key_file` and its keys.
#[derive(Clone, Debug)]
pub struct KeyFile {
    /// The file.
    pub path: PathBuf,
    /// The keys, at least one. The first encrypts, all decrypt.
    pub keys: Vec<StoreKey>,
}

/// A file of keys. It is not read under `--simulate`. Each line that is not a key is a finding with
/// its line number. Lines are never quoted.
pub(super) fn key_file() -> Kind<KeyFile> {
    let read = |section: &mut Section<'_, '_>, key: &str| {
        let path = section.path(key).filter(|_| !section.reader.simulate)?;
        let shown = path.display();
        let file = trusted::read(&path, MAX_BYTES);
        let bytes = file.map(|file| section.checked(key, &path, file, true));
        let bytes = bytes.map_err(|error| match error.kind() {
            ErrorKind::FileTooLarge => {
                Flaw::new(format!("{shown} is too large for a key file"), "correct the path")
            }
            _ => {
                let remedy = format!("{}; {MAKE_ONE}", remedy_for(&error));
                Flaw::new(format!("cannot read {shown}: {error}"), remedy)
            }
        });
        let (keys, flaws) = parse(&section.accept(key, bytes)?, &path);
        let sound = flaws.is_empty();
        for flaw in flaws {
            section.report(key, flaw);
        }
        sound.then_some(KeyFile { path, keys })
    };
    Kind::new("a file with keys", read, |page, key, value| page.text(key, value.path.display()))
}

/// Reads one key per line. A file of exactly 32 bytes that are not text is one key.
fn parse(bytes: &[u8], path: &Path) -> (Vec<StoreKey>, Vec<Flaw>) {
    let shown = path.display();
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    if bytes.len() == KEY_BYTES && !bytes.iter().all(is_text) {
        return match StoreKey::from_bytes(bytes).filter(is_random) {
            Some(key) => (vec![key], Vec::new()),
            None => (
                Vec::new(),
                vec![Flaw::new(format!("{shown} is one repeated byte, not a random key"), MAKE_ONE)],
            ),
        };
    }
    let text = match encoding::decode(bytes) {
        Ok(text) => text,
        Err(error) => {
            let message = match error {
                NotUtf8::Utf16 => error.of(&shown.to_string()),
                NotUtf8::Binary | NotUtf8::Other { .. } => {
                    format!("{shown} is neither text nor exactly {KEY_BYTES} bytes")
                }
            };
            let remedy = format!("{}, or {MAKE_ONE}", error.remedy());
            return (Vec::new(), vec![Flaw::new(message, remedy)]);
        }
    };
    let (mut keys, mut flaws) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        match decode(line) {
            Some(key) if !is_random(&key) => {
                flaws.push(Flaw::new(
                    format!("line {number} of {shown} is one repeated byte, not a random key"),
                    MAKE_ONE,
                ));
            }
            Some(key) if keys.contains(&key) => {}
            Some(key) => keys.push(key),
            None => {
                let message = format!("line {number} of {shown} is not a key");
                let remedy = format!(
                    "write {KEY_BYTES} bytes as base64 or as {} hexadecimal digits; {MAKE_ONE}",
                    2 * KEY_BYTES
                );
                flaws.push(Flaw::new(message, remedy));
            }
        }
    }
    if keys.is_empty() && flaws.is_empty() {
        flaws.push(Flaw::new(format!("{shown} contains no key"), MAKE_ONE));
    }
    (keys, flaws)
}

/// Decodes hexadecimal, or base64 of either alphabet with or without padding.
fn decode(line: &str) -> Option<StoreKey> {
    let mut bytes = Zeroizing::new([0_u8; 2 * KEY_BYTES]);
    if line.len() == 2 * KEY_BYTES {
        let mut digits = line.bytes().map(|digit| char::from(digit).to_digit(16));
        for byte in bytes.iter_mut().take(KEY_BYTES) {
            let (high, low) = (digits.next()??, digits.next()??);
            *byte = u8::try_from(16 * high + low).ok()?;
        }
        return StoreKey::from_bytes(bytes.get(..KEY_BYTES)?);
    }
    let length = STANDARD
        .decode_slice(line, bytes.as_mut_slice())
        .or_else(|_| URL_SAFE.decode_slice(line, bytes.as_mut_slice()))
        .ok()?;
    StoreKey::from_bytes(bytes.get(..length)?)
}

/// Whether a key can be random. One repeated byte is not random: `/dev/zero` would give such a key.
fn is_random(key: &StoreKey) -> bool {
    let bytes = key.expose();
    bytes.iter().any(|byte| *byte != bytes[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> [u8; KEY_BYTES] {
        std::array::from_fn(|place| number.wrapping_mul(17).wrapping_add(place as u8))
    }

    fn keys(text: impl AsRef<[u8]>) -> Vec<[u8; KEY_BYTES]> {
        let (keys, flaws) = parse(text.as_ref(), Path::new("store.key"));
        assert_eq!(flaws, []);
        keys.iter().map(|key| *key.expose()).collect()
    }

    fn flaws(text: impl AsRef<[u8]>) -> Vec<String> {
        let (_, flaws) = parse(text.as_ref(), Path::new("store.key"));
        flaws.into_iter().map(|flaw| flaw.message).collect()
    }

    #[test]
    fn keys_are_base64_or_hexadecimal_one_a_line() {
        let (one, two, three) = (key(1), key(200), key(3));
        let text = format!(
            "# new\n{}\r\n\n  {}  # old\n{}\n{}\n",
            STANDARD.encode(one),
            vbc_base::secret::hex(&two).to_uppercase(),
            URL_SAFE.encode(three).trim_end_matches('='),
            STANDARD.encode(one),
        );
        assert_eq!(keys(text), [one, two, three]);
    }

    #[test]
    fn a_file_of_exactly_32_bytes_is_a_key() {
        assert_eq!(keys(key(11)), [key(11)]);
        // Text of 32 hexadecimal digits is half a key.
        assert_eq!(flaws("0123456789abcdef0123456789abcdef"), ["line 1 of store.key is not a key"]);
        assert_eq!(flaws([0x80; 33]), ["store.key is neither text nor exactly 32 bytes"]);
        let text = format!("\u{feff}{}", STANDARD.encode(key(1)));
        let utf_16 = text.encode_utf16().flat_map(u16::to_le_bytes);
        assert_eq!(flaws(utf_16.collect::<Vec<_>>()), ["store.key is UTF-16, not UTF-8"]);
        assert_eq!(flaws([0; 32]), ["store.key is one repeated byte, not a random key"]);
    }

    #[test]
    fn broken_lines_are_numbered_and_not_quoted() {
        let text = format!("hunter2\n{}\n\n{}=\n{}", STANDARD.encode(key(1)), "A".repeat(40), "0".repeat(64));
        let found = flaws(text);
        assert_eq!(
            found,
            [
                "line 1 of store.key is not a key",
                "line 4 of store.key is not a key",
                "line 5 of store.key is one repeated byte, not a random key",
            ]
        );
        assert_eq!(flaws("# nothing\n\n"), ["store.key contains no key"]);
        assert_eq!(flaws(""), ["store.key contains no key"]);
    }
}
