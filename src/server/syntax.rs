//! The grammar that requests and answers share (RFC 9110 §5, RFC 9112 §5), read by the letter.

/// `field-name ":" OWS field-value OWS` (RFC 9112 §5); gives name and trimmed value.
pub(crate) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let colon = line.iter().position(|byte| !is_token(*byte)).unwrap_or(line.len());
    match line.get(colon) {
        Some(b':') if colon > 0 => {}
        Some(b' ' | b'\t') if colon == 0 => {
            return Err("a header line begins with white space (obsolete line folding)");
        }
        Some(b' ' | b'\t') => return Err("white space before the colon of a header"),
        _ => return Err("a header line is not: name, colon, value"),
    }
    let value = &line[colon + 1..];
    if value.iter().any(|byte| !is_field_byte(*byte)) {
        return Err("a control character in a header value");
    }
    Ok((&line[..colon], value.trim_ascii()))
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

/// A number of decimal digits alone, as `Content-Length` has it.
pub(crate) fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}
