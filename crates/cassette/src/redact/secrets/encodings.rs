//! Encodings in which a text may repeat a secret. Decoding is lenient.

use std::ops::Range;

/// Decodes the start of a text: the bytes consumed, and the byte that they stand for, if any.
pub(super) type Step = fn(&[u8]) -> (usize, Option<u8>);

/// The decoded bytes of a text, each with its position in the text.
pub(super) fn steps(bytes: &[u8], step: Step) -> impl Iterator<Item = (usize, u8)> {
    let mut next = 0;
    std::iter::from_fn(move || {
        while next < bytes.len() {
            let at = next;
            let (length, byte) = step(&bytes[at..]);
            next += length;
            if let Some(byte) = byte {
                return Some((at, byte));
            }
        }
        None
    })
}

/// Decodes percent-encoding.
pub(super) fn unescape(rest: &[u8]) -> (usize, Option<u8>) {
    let escaped = match rest {
        [b'%', high, low, ..] => pair(*high, *low),
        _ => None,
    };
    escaped.map_or_else(|| (1, rest.first().copied()), |byte| (3, Some(byte)))
}

/// Decodes one level of encoding of a short value, in each possible way.
pub(super) fn decoded_whole(value: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    if value.contains(&b'%') {
        all.push(percent_encoding::percent_decode(value).collect());
    }
    if value.contains(&0) {
        all.push(value.iter().copied().filter(|byte| *byte != 0).collect());
    }
    let bare = value.trim_ascii_end();
    let bare = &bare[..bare.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1)];
    if bare.iter().all(|byte| digit64(*byte).is_some()) {
        all.push(decode64(bare));
    }
    if value.len().is_multiple_of(2) && value.iter().all(u8::is_ascii_hexdigit) {
        all.push(decode16(value));
    }
    all.retain(|inner| inner.len() < value.len());
    all
}

/// The runs of digits that are at least `shortest` bytes long.
pub(super) fn runs(bytes: &[u8], is_digit: fn(u8) -> bool, shortest: usize) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = None;
    for (at, is_digit) in bytes.iter().map(|byte| is_digit(*byte)).chain([false]).enumerate() {
        match (start, is_digit) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                if at - from >= shortest {
                    found.push(from..at);
                }
                start = None;
            }
            _ => {}
        }
    }
    found
}

/// The value of a Base64 digit, in the ordinary or the URL alphabet (RFC 4648 §4, §5).
pub(super) fn digit64(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    }))
}

/// Decodes a run of Base64 digits. An incomplete last group gives its whole bytes.
pub(super) fn decode64(digits: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let bits = group.iter().fold(0, |bits, digit| bits << 6 | digit64(*digit).unwrap_or(0));
        let bits = bits << (6 * (4 - group.len()));
        let whole = group.len() * 6 / 8;
        out.extend(bits.to_be_bytes()[1..].iter().take(whole));
    }
    out
}

/// Decodes a run of hexadecimal digits.
pub(super) fn decode16(digits: &[u8]) -> Vec<u8> {
    digits.chunks_exact(2).filter_map(|digits| pair(digits[0], digits[1])).collect()
}

fn pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}
