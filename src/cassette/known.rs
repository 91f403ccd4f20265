//! The secrets that this process knows, and where a text repeats one in any encoding.
//!
//! A secret of 16 characters or more is found by any 16 of its characters in a row; one of 8 to 15
//! as a whole; a shorter one only where it is a whole value. A text is searched as it is, and with
//! percent-encoding, Base64 (at each offset) and hexadecimal digits taken off, one within another.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use memchr::memmem;

use crate::secret::Secret;

/// What stands for a piece of a known secret.
pub(super) const HIDDEN: &str = "hidden-bearer";

/// Characters in a row that give a secret away.
const ROW: usize = 16;

/// The shortest secret that is found within a text.
const SHORTEST: usize = 8;

/// Tokens that are remembered: those in use by the credentials of a large team, and older ones.
const TOKENS: usize = 256;

/// Encodings that are taken off, one within another.
const DEEPEST: u8 = 3;

/// The known secrets.
#[derive(Default)]
pub(super) struct Known {
    /// Those that never end: passwords and keys of the configuration.
    lasting: Vec<Secret>,
    /// Tokens, the newest first.
    tokens: VecDeque<Secret>,
    /// How many secrets have a row of [`ROW`] bytes with this fingerprint.
    rows: HashMap<u64, u32>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").finish_non_exhaustive()
    }
}

fn rows_of(secret: &Secret) -> impl Iterator<Item = u64> {
    secret.expose().as_bytes().windows(ROW).map(row)
}

/// A fingerprint of [`ROW`] bytes, whatever their case. Two rows that differ share one with
/// negligible probability.
fn row(bytes: &[u8]) -> u64 {
    let mut halves = [0_u64; 2];
    for (at, byte) in bytes.iter().enumerate().take(ROW) {
        halves[at / 8] = halves[at / 8] << 8 | u64::from(byte.to_ascii_lowercase());
    }
    let mixed = halves[0].wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ halves[1].rotate_left(29);
    (mixed ^ mixed >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

impl Known {
    /// Remembers a secret for good.
    pub(super) fn add(&mut self, secret: Secret) {
        if !secret.expose().is_empty() && !self.lasting.contains(&secret) {
            self.count(&secret);
            self.lasting.push(secret);
        }
    }

    /// Remembers a token until many newer ones have come.
    pub(super) fn add_token(&mut self, token: &Secret) {
        if token.expose().is_empty() || self.tokens.contains(token) {
            return;
        }
        self.count(token);
        self.tokens.push_front(token.clone());
        if self.tokens.len() > TOKENS
            && let Some(oldest) = self.tokens.pop_back()
        {
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, oldest: &Secret) {
        for row in rows_of(oldest) {
            if let Some(count) = self.rows.get_mut(&row) {
                *count -= 1;
                if *count == 0 {
                    self.rows.remove(&row);
                }
            }
        }
    }

    fn count(&mut self, secret: &Secret) {
        for row in rows_of(secret) {
            *self.rows.entry(row).or_default() += 1;
        }
    }

    fn all(&self) -> impl Iterator<Item = &[u8]> {
        self.lasting.iter().chain(&self.tokens).map(|secret| secret.expose().as_bytes())
    }

    /// Whether a whole value is a secret, or a text has a piece of one.
    pub(super) fn is_in(&self, value: &[u8]) -> bool {
        !self.pieces(value, 0).is_empty() || self.is_whole(value, 0)
    }

    fn is_whole(&self, value: &[u8], depth: u8) -> bool {
        if value.is_empty() || value.len() > 6 * SHORTEST {
            return false;
        }
        self.all().any(|secret| secret == value)
            || depth < DEEPEST && decoded_whole(value).iter().any(|inner| self.is_whole(inner, depth + 1))
    }

    /// A text without the pieces of secrets; `None` where it has none.
    pub(super) fn without(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let pieces = self.pieces(bytes, 0);
        if pieces.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(bytes.len());
        let mut from = 0;
        for piece in pieces {
            out.extend_from_slice(&bytes[from..piece.start]);
            out.extend_from_slice(HIDDEN.as_bytes());
            from = piece.end;
        }
        out.extend_from_slice(&bytes[from..]);
        Some(out)
    }

    /// Where pieces of secrets are, from left to right and apart from each other.
    fn pieces(&self, bytes: &[u8], depth: u8) -> Vec<Range<usize>> {
        if self.lasting.is_empty() && self.tokens.is_empty() {
            return Vec::new();
        }
        let mut found = self.plain(bytes);
        if depth < DEEPEST {
            self.percent(bytes, depth, &mut found);
            self.base64(bytes, depth, &mut found);
            self.hex(bytes, depth, &mut found);
        }
        merged(found)
    }

    fn plain(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        if !self.rows.is_empty() {
            let rows = bytes.windows(ROW).enumerate();
            found.extend(
                rows.filter(|(_, bytes)| self.rows.contains_key(&row(bytes))).map(|(at, _)| at..at + ROW),
            );
        }
        for secret in self.all().filter(|secret| (SHORTEST..ROW).contains(&secret.len())) {
            found.extend(memmem::find_iter(bytes, secret).map(|at| at..at + secret.len()));
        }
        found
    }

    fn percent(&self, bytes: &[u8], depth: u8, found: &mut Vec<Range<usize>>) {
        if !bytes.contains(&b'%') {
            return;
        }
        // Where each decoded byte begins, and where the last one ends.
        let (mut decoded, mut begins, mut at) = (Vec::with_capacity(bytes.len()), Vec::new(), 0);
        while at < bytes.len() {
            begins.push(at);
            let escaped = bytes.get(at..at + 3).filter(|escape| escape[0] == b'%');
            match escaped.and_then(|escape| pair(escape[1], escape[2])) {
                Some(byte) => {
                    decoded.push(byte);
                    at += 3;
                }
                None => {
                    decoded.push(bytes[at]);
                    at += 1;
                }
            }
        }
        begins.push(at);
        if decoded.len() < bytes.len() {
            let inner = self.pieces(&decoded, depth + 1);
            found.extend(inner.into_iter().map(|piece| begins[piece.start]..begins[piece.end]));
        }
    }

    fn base64(&self, bytes: &[u8], depth: u8, found: &mut Vec<Range<usize>>) {
        for run in runs(bytes, |byte| digit64(byte).is_some(), 4 * SHORTEST / 3) {
            // A run may begin with characters that are not of the encoding.
            for offset in 0..4 {
                let inner = decode64(&bytes[run.start + offset..run.end]);
                if !self.pieces(&inner, depth + 1).is_empty() {
                    found.push(run.clone());
                    break;
                }
            }
        }
    }

    fn hex(&self, bytes: &[u8], depth: u8, found: &mut Vec<Range<usize>>) {
        for run in runs(bytes, |byte| byte.is_ascii_hexdigit(), 2 * SHORTEST) {
            for offset in 0..2 {
                let inner = decode16(&bytes[run.start + offset..run.end]);
                if !self.pieces(&inner, depth + 1).is_empty() {
                    found.push(run.clone());
                    break;
                }
            }
        }
    }
}

/// A short value with one encoding taken off, in each way that it can be read.
fn decoded_whole(value: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    if value.contains(&b'%') {
        all.push(percent_encoding::percent_decode(value).collect());
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

/// The longest stretches of such bytes, where they are at least of a length.
fn runs(bytes: &[u8], is: fn(u8) -> bool, shortest: usize) -> Vec<Range<usize>> {
    let (mut found, mut begin) = (Vec::new(), None);
    for (at, holds) in bytes.iter().map(|byte| is(*byte)).chain([false]).enumerate() {
        match (begin, holds) {
            (None, true) => begin = Some(at),
            (Some(from), false) => {
                if at - from >= shortest {
                    found.push(from..at);
                }
                begin = None;
            }
            _ => {}
        }
    }
    found
}

/// The value of a digit of Base64, in the ordinary alphabet or in that of URLs (RFC 4648 §4, §5).
fn digit64(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    }))
}

/// Decodes a run of digits of Base64 as far as it goes.
fn decode64(digits: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let bits = group.iter().fold(0, |bits, digit| bits << 6 | digit64(*digit).unwrap_or(0));
        let bits = bits << (6 * (4 - group.len()));
        let whole = group.len() * 6 / 8;
        out.extend(bits.to_be_bytes()[1..].iter().take(whole));
    }
    out
}

fn decode16(digits: &[u8]) -> Vec<u8> {
    digits.chunks_exact(2).filter_map(|digits| pair(digits[0], digits[1])).collect()
}

fn pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut apart: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match apart.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => apart.push(range),
        }
    }
    apart
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    use super::*;
    use crate::secret::hex;

    const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJqYW5lIn0.c2lnbmF0dXJl";

    fn known() -> Known {
        let mut known = Known::default();
        known.add_token(&Secret::new(TOKEN));
        known.add(Secret::new("pass+w0rd/12"));
        known.add(Secret::new("4711"));
        known
    }

    fn every_byte_as_percent(text: &str) -> String {
        text.bytes().map(|byte| format!("%{byte:02x}")).collect()
    }

    #[test]
    fn a_secret_is_found_in_every_encoding_at_every_offset() {
        let known = known();
        for secret in [TOKEN, &TOKEN[..20], &TOKEN[20..36], "pass+w0rd/12"] {
            let mut encoded = vec![
                secret.to_owned(),
                utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
                every_byte_as_percent(secret),
                every_byte_as_percent(&every_byte_as_percent(secret)),
                hex(secret.as_bytes()),
                hex(secret.as_bytes()).to_uppercase(),
                STANDARD.encode(STANDARD.encode(secret)),
                STANDARD.encode(hex(secret.as_bytes())),
                every_byte_as_percent(&STANDARD.encode(secret)),
            ];
            for before in ["", "a", "ab", "abc", "user:"] {
                let text = format!("{before}{secret}tail");
                encoded.extend([STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)]);
            }
            for text in encoded {
                for around in [("", ""), ("a=", "&b"), ("x", "y"), ("\"", "\""), ("xyz/", "")] {
                    let text = format!("{}{text}{}", around.0, around.1);
                    assert!(known.is_in(text.as_bytes()), "{text}");
                    let cleaned = known.without(text.as_bytes()).unwrap();
                    assert!(!known.is_in(&cleaned), "{text}");
                }
            }
        }
    }

    #[test]
    fn a_short_secret_is_found_as_a_whole_value_alone() {
        let known = known();
        for whole in ["4711", "%34711", "%34%37%31%31", "NDcxMQ==", "NDcxMQ", "34373131"] {
            assert!(known.is_in(whole.as_bytes()), "{whole}");
        }
        for other in ["47110", "a4711", "", "4712"] {
            assert!(!known.is_in(other.as_bytes()), "{other}");
        }
        assert_eq!(known.without(b"it is 4711"), None);
    }

    #[test]
    fn what_is_no_secret_stays_byte_for_byte() {
        let known = known();
        let text = format!("before {} after", &TOKEN[..ROW - 1]);
        assert_eq!(known.without(text.as_bytes()), None);
        let text = format!("before {TOKEN} after");
        assert_eq!(known.without(text.as_bytes()).unwrap(), b"before hidden-bearer after");
    }

    #[test]
    fn old_tokens_are_forgotten_and_passwords_are_not() {
        let mut known = known();
        for n in 0..TOKENS {
            known.add_token(&Secret::new(format!("another-token-of-some-length-{n}")));
        }
        assert!(!known.is_in(TOKEN.as_bytes()) && known.is_in(b"pass+w0rd/12"));
        // What tokens share is forgotten with the last of them.
        assert!(known.is_in(b"another-token-of-some-length-"));
        for n in 0..TOKENS {
            known.add_token(&Secret::new(format!("{n}")));
        }
        assert!(known.rows.is_empty() && !known.is_in(b"another-token-of-some-length-"));
    }
}
