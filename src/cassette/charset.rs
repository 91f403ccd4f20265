//! Text in the charset that its `Content-Type` names: an archive has decoded text, and replay sends bytes.

/// The value of a `charset` parameter, without quotes.
pub(super) fn charset(content_type: &str) -> Option<&str> {
    let (_, parameters) = content_type.split_once(';')?;
    let pairs = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    let mut values = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    values.next().map(|(_, value)| value.trim().trim_matches(['"', '\'']))
}

/// A content type that names UTF-8 in place of its charset.
pub(super) fn in_utf8(content_type: &str) -> String {
    let parameters = content_type.split(';').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) if name.trim().eq_ignore_ascii_case("charset") => " charset=utf-8",
        _ => parameter,
    });
    parameters.collect::<Vec<_>>().join(";")
}

/// The bytes of a text; `None` where the charset is not known here or lacks one of the characters.
///
/// Labels mean what they mean to browsers (WHATWG Encoding): Latin-1 and ASCII are windows-1252.
pub(super) fn encode(text: &str, charset: &str) -> Option<Vec<u8>> {
    let units = || text.encode_utf16();
    match charset.to_ascii_lowercase().as_str() {
        "utf-8" | "utf8" | "unicode-1-1-utf-8" => Some(text.as_bytes().to_vec()),
        // Without a byte order mark nobody could tell which of both it is.
        "utf-16" => Some([0xfeff].into_iter().chain(units()).flat_map(u16::to_le_bytes).collect()),
        "utf-16le" => Some(units().flat_map(u16::to_le_bytes).collect()),
        "utf-16be" => Some(units().flat_map(u16::to_be_bytes).collect()),
        "iso-8859-1" | "iso8859-1" | "iso_8859-1" | "iso88591" | "latin1" | "latin-1" | "l1" | "us-ascii"
        | "ascii" | "windows-1252" | "cp1252" | "x-cp1252" => text.chars().map(windows_1252).collect(),
        "iso-8859-15" | "iso8859-15" | "iso_8859-15" | "latin-9" | "l9" => {
            text.chars().map(latin_9).collect()
        }
        // Every other charset that is in use has ASCII in its place.
        _ => text.is_ascii().then(|| text.as_bytes().to_vec()),
    }
}

/// What windows-1252 has at 0x80 to 0x9f; a space where it has nothing.
const FROM_0X80: &str = "€ ‚ƒ„…†‡ˆ‰Š‹Œ Ž  ‘’“”•–—˜™š›œ žŸ";

fn windows_1252(c: char) -> Option<u8> {
    if let Ok(byte) = u8::try_from(u32::from(c)) {
        return Some(byte);
    }
    let at = FROM_0X80.chars().position(|known| known == c)?;
    Some(0x80 + u8::try_from(at).ok()?)
}

fn latin_9(c: char) -> Option<u8> {
    const CHANGED: [(char, u8); 8] = [
        ('€', 0xa4),
        ('Š', 0xa6),
        ('š', 0xa8),
        ('Ž', 0xb4),
        ('ž', 0xb8),
        ('Œ', 0xbc),
        ('œ', 0xbd),
        ('Ÿ', 0xbe),
    ];
    if let Some((_, byte)) = CHANGED.iter().find(|(changed, _)| *changed == c) {
        return Some(*byte);
    }
    let byte = u8::try_from(u32::from(c)).ok()?;
    (!CHANGED.iter().any(|(_, changed)| *changed == byte)).then_some(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_gets_the_bytes_of_its_charset() {
        assert_eq!(FROM_0X80.chars().count(), 32);
        let cases: [(&str, &str, &[u8]); 9] = [
            ("ISO-8859-1", "jané", b"jan\xe9"),
            ("latin1", "5 €", b"5 \x80"),
            ("windows-1252", "“Ÿ”", b"\x93\x9f\x94"),
            ("iso-8859-15", "5 €", b"5 \xa4"),
            ("UTF-8", "é", b"\xc3\xa9"),
            ("utf-16le", "é", b"\xe9\0"),
            ("utf-16be", "é", b"\0\xe9"),
            ("utf-16", "é", b"\xff\xfe\xe9\0"),
            ("koi8-r", "abc", b"abc"),
        ];
        for (charset, text, bytes) in cases {
            assert_eq!(encode(text, charset).as_deref(), Some(bytes), "{charset}");
        }
        for (charset, text) in [("iso-8859-1", "Ł"), ("iso-8859-15", "¤"), ("koi8-r", "é")] {
            assert_eq!(encode(text, charset), None, "{charset}");
        }
    }

    #[test]
    fn a_charset_is_found_among_parameters() {
        assert_eq!(charset("text/html; a=b; Charset=\"ISO-8859-1\""), Some("ISO-8859-1"));
        assert_eq!(charset("text/html"), None);
        assert_eq!(in_utf8("text/html; a=b;charset=koi8-r; c=d"), "text/html; a=b; charset=utf-8; c=d");
    }
}
