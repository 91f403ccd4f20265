//! Encodes text in the charset of its `Content-Type`: an archive has decoded text, a replay sends
//! bytes.

use crate::media;

/// The value of a `charset` parameter, without quotes.
pub(super) fn charset(content_type: &str) -> Option<&str> {
    media::parameter(content_type, "charset").map(|value| value.trim_matches(['"', '\'']))
}

/// A content type with UTF-8 as its charset.
pub(super) fn in_utf8(content_type: &str) -> String {
    let parameters = content_type.split(';').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) if name.trim().eq_ignore_ascii_case("charset") => " charset=utf-8",
        _ => parameter,
    });
    parameters.collect::<Vec<_>>().join(";")
}

/// The bytes of a text. `None` if the charset is unknown or lacks one of the characters.
///
/// Labels mean the same as in browsers (WHATWG Encoding): Latin-1 and ASCII are windows-1252.
pub(super) fn encode(text: &str, charset: &str) -> Option<Vec<u8>> {
    let units = || text.encode_utf16();
    match charset.to_ascii_lowercase().as_str() {
        "utf-8" | "utf8" | "unicode-1-1-utf-8" => Some(text.as_bytes().to_vec()),
        // The byte order mark shows the byte order.
        "utf-16" => Some([0xfeff].into_iter().chain(units()).flat_map(u16::to_le_bytes).collect()),
        "utf-16le" => Some(units().flat_map(u16::to_le_bytes).collect()),
        "utf-16be" => Some(units().flat_map(u16::to_be_bytes).collect()),
        label => match TABLES.iter().find(|(labels, _)| labels.contains(&label)) {
            Some((_, upper)) => text.chars().map(|c| in_table(c, upper)).collect(),
            // All other charsets in use extend ASCII.
            None => text.is_ascii().then(|| text.as_bytes().to_vec()),
        },
    }
}

/// The byte of a character in a charset with these characters from 0x80 on.
fn in_table(c: char, upper: &str) -> Option<u8> {
    if c.is_ascii() {
        return Some(c as u8);
    }
    if let Some(at) = upper.chars().position(|known| known == c && c != NONE) {
        return Some(0x80 + u8::try_from(at).ok()?);
    }
    // Control characters stand for themselves, as in a strict Latin-1.
    u8::try_from(u32::from(c)).ok().filter(|byte| *byte < 0xa0)
}

/// Fills the positions without a character.
const NONE: char = '\u{fffd}';

/// Charsets with one byte per character: their labels, and the characters from 0x80 to 0xff.
const TABLES: [(&[&str], &str); 10] = [
    (
        &["windows-1250", "cp1250", "x-cp1250"],
        "€�‚�„…†‡�‰Š‹ŚŤŽŹ�‘’“”•–—�™š›śťžź\u{a0}ˇ˘Ł¤Ą¦§¨©Ş«¬\u{ad}®Ż°±˛ł´µ¶·¸ąş»Ľ˝ľż\
         ŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙",
    ),
    (
        &["windows-1251", "cp1251", "x-cp1251"],
        "ЂЃ‚ѓ„…†‡€‰Љ‹ЊЌЋЏђ‘’“”•–—�™љ›њќћџ\u{a0}ЎўЈ¤Ґ¦§Ё©Є«¬\u{ad}®Ї°±Ііґµ¶·ё№є»јЅѕї\
         АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя",
    ),
    (
        &[
            "windows-1252",
            "cp1252",
            "x-cp1252",
            "iso-8859-1",
            "iso8859-1",
            "iso_8859-1",
            "iso88591",
            "latin1",
            "latin-1",
            "l1",
            "us-ascii",
            "ascii",
        ],
        "€�‚ƒ„…†‡ˆ‰Š‹Œ�Ž��‘’“”•–—˜™š›œ�žŸ\u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿\
         ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ",
    ),
    (
        &["windows-1253", "cp1253", "x-cp1253"],
        "€�‚ƒ„…†‡�‰�‹�����‘’“”•–—�™�›����\u{a0}΅Ά£¤¥¦§¨©�«¬\u{ad}®―°±²³΄µ¶·ΈΉΊ»Ό½ΎΏ\
         ΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡ�ΣΤΥΦΧΨΩΪΫάέήίΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώ�",
    ),
    (
        &["windows-1254", "cp1254", "x-cp1254", "iso-8859-9", "iso8859-9", "latin5", "l5"],
        "€�‚ƒ„…†‡ˆ‰Š‹Œ����‘’“”•–—˜™š›œ��Ÿ\u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿\
         ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏĞÑÒÓÔÕÖ×ØÙÚÛÜİŞßàáâãäåæçèéêëìíîïğñòóôõö÷øùúûüışÿ",
    ),
    (
        &["iso-8859-2", "iso8859-2", "iso_8859-2", "latin2", "l2"],
        "��������������������������������\u{a0}Ą˘Ł¤ĽŚ§¨ŠŞŤŹ\u{ad}ŽŻ°ą˛ł´ľśˇ¸šşťź˝žż\
         ŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙",
    ),
    (
        &["iso-8859-5", "iso8859-5", "iso_8859-5", "cyrillic"],
        "��������������������������������\u{a0}ЁЂЃЄЅІЇЈЉЊЋЌ\u{ad}ЎЏАБВГДЕЖЗИЙКЛМНОП\
         РСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя№ёђѓєѕіїјљњћќ§ўџ",
    ),
    (
        &["iso-8859-7", "iso8859-7", "iso_8859-7", "greek"],
        "��������������������������������\u{a0}‘’£€₯¦§¨©ͺ«¬\u{ad}�―°±²³΄΅Ά·ΈΉΊ»Ό½ΎΏ\
         ΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡ�ΣΤΥΦΧΨΩΪΫάέήίΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώ�",
    ),
    (
        &["iso-8859-15", "iso8859-15", "iso_8859-15", "latin-9", "l9"],
        "��������������������������������\u{a0}¡¢£€¥Š§š©ª«¬\u{ad}®¯°±²³Žµ¶·ž¹º»ŒœŸ¿\
         ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ",
    ),
    (
        &["koi8-r", "koi8", "koi"],
        "─│┌┐└┘├┤┬┴┼▀▄█▌▐░▒▓⌠■∙√≈≤≥\u{a0}⌡°²·÷═║╒ё╓╔╕╖╗╘╙╚╛╜╝╞╟╠╡Ё╢╣╤╥╦╧╨╩╪╫╬©\
         юабцдефгхийклмнопярстужвьызшэщчъЮАБЦДЕФГХИЙКЛМНОПЯРСТУЖВЬЫЗШЭЩЧЪ",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_gets_the_bytes_of_its_charset() {
        assert!(TABLES.iter().all(|(_, upper)| upper.chars().count() == 128));
        let cases: [(&str, &str, &[u8]); 14] = [
            ("ISO-8859-1", "jané", b"jan\xe9"),
            ("latin1", "5 €", b"5 \x80"),
            ("windows-1252", "“Ÿ”", b"\x93\x9f\x94"),
            ("iso-8859-15", "5 €", b"5 \xa4"),
            ("UTF-8", "é", b"\xc3\xa9"),
            ("utf-16le", "é", b"\xe9\0"),
            ("utf-16be", "é", b"\0\xe9"),
            ("utf-16", "é", b"\xff\xfe\xe9\0"),
            ("gb18030", "abc", b"abc"),
            ("koi8-r", "Да", b"\xe4\xc1"),
            ("windows-1251", "Да", b"\xc4\xe0"),
            ("iso-8859-2", "Łódź", b"\xa3\xf3d\xbc"),
            ("iso-8859-7", "Ω", b"\xd9"),
            ("windows-1252", "\u{81}\u{85}\u{a0}", b"\x81\x85\xa0"),
        ];
        for (charset, text, bytes) in cases {
            assert_eq!(encode(text, charset).as_deref(), Some(bytes), "{charset}");
        }
        for (charset, text) in [("iso-8859-1", "Ł"), ("iso-8859-15", "¤"), ("koi8-r", "é"), ("big5", "é")]
        {
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
