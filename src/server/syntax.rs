//! The grammar that requests and answers share (RFC 9110 §5, RFC 9112 §5), read by the letter.

use memchr::memchr;

/// `field-name ":" OWS field-value OWS` (RFC 9112 §5); gives name and trimmed value.
pub(crate) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let colon = memchr(b':', line).unwrap_or(0);
    let (name, value) = line.split_at(colon);
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return Err(what_is_wrong_with(line));
    }
    // Every byte is looked at, wherever the first bad one is: so the compiler looks at many at once.
    if !value.iter().fold(true, |good, byte| good & is_field_byte(*byte)) {
        return Err("a control character in a header value");
    }
    Ok((name, value[1..].trim_ascii()))
}

fn what_is_wrong_with(line: &[u8]) -> &'static str {
    let name = line.iter().position(|byte| !is_token(*byte)).unwrap_or(line.len());
    match line.get(name) {
        Some(b' ' | b'\t') if name == 0 => "a header line begins with white space (obsolete line folding)",
        Some(b' ' | b'\t') => "white space before the colon of a header",
        _ => "a header line is not: name, colon, value",
    }
}

pub(crate) const fn is_field_byte(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f || byte == b'\t'
}

pub(crate) const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// `tchar` of RFC 9110 §5.6.2.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_usize;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric()
            || matches!(
                byte as u8,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};

/// Whether a list of names has this one (RFC 9110 §5.6.1), in any case of letters.
pub(crate) fn lists(value: &[u8], name: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(name))
}

/// A number of decimal digits alone, as `Content-Length` has it.
pub(crate) fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}
