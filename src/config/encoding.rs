//! The bytes of a configuration file as text: UTF-8, with or without a byte order mark.

use zeroize::Zeroizing;

use super::error::Complaint;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads the bytes as text. A complaint names the encoding where it is a known one; it quotes nothing.
pub(super) fn decode(bytes: &[u8]) -> Result<Zeroizing<String>, Complaint> {
    const SAVE: &str = "save it as UTF-8";
    if is_utf_16(bytes) {
        let remedy =
            format!("{SAVE}; PowerShell writes UTF-16 with `>`, and UTF-8 with Set-Content -Encoding utf8");
        return Err(Complaint::new("the file is UTF-16, not UTF-8", remedy));
    }
    let start = if bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    match std::str::from_utf8(&bytes[start..]) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(error) => {
            let before = &bytes[..start + error.valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let message = if bytes.contains(&0) {
                "this is not a text file".to_owned()
            } else {
                format!("line {line} is not UTF-8; the file may be Latin-1 (Windows-1252)")
            };
            Err(Complaint::new(message, SAVE))
        }
    }
}

/// A mark says so, or every other byte of the beginning is 0, as in ASCII text.
fn is_utf_16(bytes: &[u8]) -> bool {
    const LOOKED_AT: usize = 64;
    let pairs = || bytes.chunks_exact(2).take(LOOKED_AT);
    let half_empty = |at: usize| pairs().len() > 0 && pairs().all(|pair| pair[at] == 0 && pair[1 - at] != 0);
    bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || half_empty(0) || half_empty(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(bytes: &[u8]) -> String {
        decode(bytes).unwrap_err().message
    }

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
            assert_eq!(complaint(&bytes), "the file is UTF-16, not UTF-8");
        }
        let latin = complaint(b"[credentials.default]\n# d\xe9faut\n");
        assert_eq!(latin, "line 2 is not UTF-8; the file may be Latin-1 (Windows-1252)");
        assert_eq!(complaint(b"\x7fELF\x02\x00\x00\xff\xff"), "this is not a text file");
    }
}
