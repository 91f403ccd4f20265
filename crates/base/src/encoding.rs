//! Decodes the bytes of a file as UTF-8 text, with or without a byte order mark.

use zeroize::Zeroizing;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why bytes are not UTF-8 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotUtf8 {
    /// They are UTF-16.
    Utf16,
    /// They contain a NUL byte, so they are not text.
    Binary,
    /// They may be in an encoding with one byte per character, such as Latin-1.
    Other {
        /// The first line that is not UTF-8, from 1.
        line: usize,
    },
}

impl NotUtf8 {
    /// A message that names the file and says why it is not UTF-8 text. It quotes nothing from the
    /// file.
    pub fn of(self, name: &str) -> String {
        match self {
            Self::Utf16 => format!("{name} is UTF-16, not UTF-8"),
            Self::Binary => format!("{name} is not a text file"),
            Self::Other { .. } => format!("{name} is not UTF-8; it may be Latin-1 (Windows-1252)"),
        }
    }

    /// The next step for the user, in the imperative.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Utf16 => {
                "save it as UTF-8; PowerShell writes UTF-16 with `>`, and UTF-8 with Set-Content -Encoding utf8"
            }
            Self::Binary | Self::Other { .. } => "save it as UTF-8",
        }
    }
}

/// Decodes the bytes, without a byte order mark. The text is zeroed when it is dropped.
///
/// # Errors
/// If the bytes are not UTF-8.
pub fn decode(bytes: &[u8]) -> Result<Zeroizing<String>, NotUtf8> {
    if is_utf_16(bytes) {
        return Err(NotUtf8::Utf16);
    }
    let start = if bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    match std::str::from_utf8(&bytes[start..]) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(error) => {
            let before = &bytes[..start + error.valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            Err(if bytes.contains(&0) { NotUtf8::Binary } else { NotUtf8::Other { line } })
        }
    }
}

/// Whether the bytes are UTF-16: they have its byte order mark, or every other byte at the
/// beginning is 0, as in ASCII text.
fn is_utf_16(bytes: &[u8]) -> bool {
    const LOOKED_AT: usize = 64;
    let pairs = || bytes.chunks_exact(2).take(LOOKED_AT);
    let half_empty = |at: usize| pairs().len() > 0 && pairs().all(|pair| pair[at] == 0 && pair[1 - at] != 0);
    bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || half_empty(0) || half_empty(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_of_utf_8_is_no_part_of_the_text() {
        assert_eq!(**decode(b"\xef\xbb\xbf[log]").unwrap(), *"[log]");
        assert_eq!(**decode("é = 1".as_bytes()).unwrap(), *"é = 1");
        assert_eq!(**decode(b"").unwrap(), *"");
    }

    #[test]
    fn a_file_in_another_encoding_is_named_as_that() {
        let utf_16 = |big: bool| -> Vec<u8> {
            "[log]\n"
                .encode_utf16()
                .flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() })
                .collect()
        };
        for bytes in [
            [&b"\xff\xfe"[..], &utf_16(false)].concat(),
            [&b"\xfe\xff"[..], &utf_16(true)].concat(),
            utf_16(false),
            utf_16(true),
        ] {
            let found = decode(&bytes).unwrap_err();
            assert_eq!(found.of("f"), "f is UTF-16, not UTF-8");
            assert!(found.remedy().contains("PowerShell"));
        }
        let latin = decode(b"[credentials.default]\n# d\xe9faut\n").unwrap_err();
        assert_eq!(latin, NotUtf8::Other { line: 2 });
        assert_eq!(latin.of("f"), "f is not UTF-8; it may be Latin-1 (Windows-1252)");
        let binary = decode(b"\x7fELF\x02\x00\x00\xff\xff").unwrap_err();
        assert_eq!(binary.of("f"), "f is not a text file");
    }
}
