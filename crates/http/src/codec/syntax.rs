//! The grammar that requests and responses share, parsed strictly (RFC 9110 §5, RFC 9112 §5).

use memchr::memchr;

/// Parses `field-name ":" OWS field-value OWS` (RFC 9112 §5). Returns the name and the trimmed
/// value.
///
/// # Errors
/// Why the line is invalid, without quoting it.
pub fn field(line: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let colon = memchr(b':', line).unwrap_or(0);
    let (name, value) = line.split_at(colon);
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return Err(fault_of(line));
    }
    // The fold has no early exit, so that the compiler checks many bytes together.
    if !value.iter().fold(true, |good, byte| good & is_field_byte(*byte)) {
        return Err("a control character in a header value");
    }
    Ok((name, value[1..].trim_ascii()))
}

/// Parses the field line at the start of `bytes`. Returns its name, its trimmed value, and its
/// length with CR LF. `None` if the line is incomplete, or not plainly valid. Once such a line is
/// complete, [`field`] decides whether it is valid.
pub fn good_line(bytes: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let letters = letters(bytes);
    let colon = letters + bytes[letters..].iter().position(|byte| !is_token(*byte))?;
    if colon == 0 || bytes[colon] != b':' {
        return None;
    }
    let end = colon + 1 + field_bytes(&bytes[colon + 1..]);
    match bytes.get(end..end + 2)? {
        b"\r\n" => Some((&bytes[..colon], trimmed(&bytes[colon + 1..end]), end + 2)),
        _ => None,
    }
}

/// A value without the white space around it.
#[inline]
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

const ONES: u64 = u64::MAX / 255;
const HIGH: u64 = ONES << 7;

/// How many leading bytes are letters or hyphens, as in most names. Checks eight bytes at a time,
/// and stops where fewer are left.
fn letters(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        let small = (word | (ONES * 0x20)) & !HIGH;
        // The high bit of each byte says whether it is at least `a`, and whether it is above `z`.
        let from_a = small + ONES * (0x80 - 0x61);
        let above_z = small + ONES * (0x80 - 0x7b);
        let hyphen = !(((word & !HIGH) ^ (ONES * 0x2d)) + ONES * 0x7f);
        let found = (!((from_a & !above_z) | hyphen) | word) & HIGH;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at
}

/// How many leading bytes are valid in a field value. Checks eight bytes at a time.
fn field_bytes(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        let low = word.wrapping_sub(ONES * 0x20);
        let delete = word ^ (ONES * 0x7f);
        // The lowest set bit marks the first byte that is less than 0x20 or equal to 0x7f. Higher
        // bits may be wrong.
        let found = ((low & !word) | (delete.wrapping_sub(ONES) & !delete)) & HIGH;
        if found == 0 {
            at += 8;
            continue;
        }
        at += found.trailing_zeros() as usize / 8;
        if bytes[at] != b'\t' {
            return at;
        }
        at += 1;
    }
    at + bytes[at..].iter().position(|byte| !is_field_byte(*byte)).unwrap_or(bytes.len() - at)
}

fn fault_of(line: &[u8]) -> &'static str {
    let name = line.iter().position(|byte| !is_token(*byte)).unwrap_or(line.len());
    match line.get(name) {
        Some(b' ' | b'\t') if name == 0 => "a header line begins with white space (obsolete line folding)",
        Some(b' ' | b'\t') => "white space before the colon of a header",
        _ => "a header line does not have the form `name: value`",
    }
}

/// Whether a field value may contain the byte (RFC 9110 §5.5).
pub const fn is_field_byte(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f || byte == b'\t'
}

/// Whether a token may contain the byte (RFC 9110 §5.6.2).
pub const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// `tchar` of RFC 9110 §5.6.2.
const TOKEN: [bool; 256] = {
    const MARKS: &[u8] = b"!#$%&'*+-.^_`|~";
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < MARKS.len() {
        table[MARKS[at] as usize] = true;
        at += 1;
    }
    table
};

/// Whether a list of names contains this one (RFC 9110 §5.6.1), ignoring case.
pub fn lists(value: &[u8], name: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(name))
}

/// Parses a number of at most 18 decimal digits, as in `Content-Length`.
pub fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_hyphens_are_told_from_every_other_byte_at_every_place() {
        for (place, byte) in (0..16).flat_map(|place| (0..=255).map(move |byte| (place, byte))) {
            let mut bytes = *b"Abcd-efgHIJzAZaz";
            bytes[place] = byte;
            let good = byte == b'-' || u8::is_ascii_alphabetic(&byte);
            assert_eq!(letters(&bytes), if good { 16 } else { place }, "{byte:#x} at {place}");
        }
        assert_eq!(letters(b"Host:"), 0);
    }

    proptest::proptest! {
        #[test]
        fn a_good_line_is_what_field_says_it_is(
            name in "[a-zA-Z-]{0,9}[:\\x20]?",
            value in proptest::collection::vec(proptest::prop_oneof![
                8 => 0x20_u8..=0xff,
                1 => proptest::sample::select(vec![b'\t', 0x7f, 0x1f, 0x80, b'\r', b'\n', 0]),
            ], 0..40),
            end in proptest::sample::select(vec!["\r\n", "\n", "\r", ""]),
        ) {
            let line = [name.as_bytes(), &value, end.as_bytes(), b"X: y\r\n"].concat();
            let expected = line.iter().position(|byte| *byte == b'\n').and_then(|at| {
                let (name, value) = field(line[..at].strip_suffix(b"\r")?).ok()?;
                Some((name, value, at + 1))
            });
            proptest::prop_assert_eq!(good_line(&line), expected);
        }

        #[test]
        fn bytes_of_a_field_are_told_from_others_at_every_place(
            mut bytes in proptest::collection::vec(0x20_u8..0x7f, 1..40),
            at: proptest::sample::Index,
            byte: u8,
        ) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let expected = if is_field_byte(byte) { bytes.len() } else { at };
            proptest::prop_assert_eq!(field_bytes(&bytes), expected);
        }
    }
}
