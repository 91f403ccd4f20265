//! The secrets that this process knows, and where a text repeats one in any encoding.
//!
//! A secret of 16 characters or more is found by any 16 of its characters in a row; one of 8 to 15
//! as a whole; a shorter one only where it is a whole value. A text is searched as it is, and with
//! percent-encoding, Base64 (at each offset), hexadecimal digits and UTF-16 taken off, one within
//! another. The case of letters does not count.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use memchr::memchr;

use crate::redact::headers::latin1;
use crate::redact::pseudonyms::REMOVED;
use vbc_base::secret::Secret;

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
pub(crate) struct KnownSecrets {
    /// Those that never end: passwords and keys of the configuration.
    lasting: Vec<Secret>,
    /// Tokens, the newest first.
    tokens: VecDeque<Secret>,
    /// How many secrets have a row of [`ROW`] bytes with this fingerprint.
    rows: Index<u32>,
    /// Secrets of [`SHORTEST`] bytes or more that have no such row, by what they begin with.
    words: Index<Vec<Secret>>,
    /// Shorter ones.
    short: Vec<Secret>,
    /// Whether a secret has a blank, which forms write as a plus.
    has_blank: bool,
}

/// By fingerprints, which need no other hash.
type Index<V> = HashMap<u64, V, BuildHasherDefault<AsIs>>;

#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0 << 8 | u64::from(*byte));
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }
}

impl std::fmt::Debug for KnownSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KnownSecrets").finish_non_exhaustive()
    }
}

/// The last [`ROW`] bytes before each end of a text, in lower case; the newest is the lowest.
fn windows(bytes: &[u8]) -> impl Iterator<Item = (usize, u128)> {
    let mut window = 0_u128;
    bytes.iter().zip(1..).map(move |(byte, end)| {
        window = window << 8 | u128::from(byte.to_ascii_lowercase());
        (end, window)
    })
}

fn rows_of(secret: &Secret) -> impl Iterator<Item = u64> {
    windows(secret.expose().as_bytes()).filter(|(end, _)| *end >= ROW).map(|(_, window)| row(window))
}

/// A fingerprint of [`ROW`] bytes. Two rows that differ share one with negligible probability.
fn row(window: u128) -> u64 {
    let (old, new) = ((window >> 64) as u64, window as u64);
    begin(old.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ new.rotate_left(29))
}

/// A fingerprint of [`SHORTEST`] bytes.
fn begin(bytes: u64) -> u64 {
    (bytes ^ bytes >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// The fingerprint of what a secret begins with.
fn begin_of(secret: &Secret) -> u64 {
    let begins = windows(secret.expose().as_bytes()).nth(SHORTEST - 1);
    begins.map_or(0, |(_, window)| begin(window as u64))
}

impl KnownSecrets {
    /// Remembers a secret for good.
    pub(crate) fn add(&mut self, secret: Secret) {
        if !secret.expose().is_empty() && !self.lasting.contains(&secret) {
            self.count(&secret);
            if !secret.expose().is_ascii() {
                // As a header's value is written, with a character for each byte.
                self.count(&Secret::new(latin1(secret.expose().as_bytes())));
            }
            self.lasting.push(secret);
        }
    }

    /// Remembers a token until many newer ones have come.
    pub(crate) fn add_token(&mut self, token: &Secret) {
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
        self.words.get_mut(&begin_of(oldest)).into_iter().for_each(|words| words.retain(|one| one != oldest));
        self.short.retain(|one| one != oldest);
    }

    fn count(&mut self, secret: &Secret) {
        match secret.expose().len() {
            ROW.. => rows_of(secret).for_each(|row| *self.rows.entry(row).or_default() += 1),
            SHORTEST.. => self.words.entry(begin_of(secret)).or_default().push(secret.clone()),
            _ => self.short.push(secret.clone()),
        }
        self.has_blank |= secret.expose().contains(' ');
    }

    /// Whether a whole value is a secret, or a text has a piece of one.
    pub(crate) fn is_in(&self, value: &[u8]) -> bool {
        !self.pieces(value, 0).is_empty() || self.is_whole(value, 0)
    }

    fn is_whole(&self, value: &[u8], depth: u8) -> bool {
        if value.is_empty() || value.len() > 6 * SHORTEST {
            return false;
        }
        self.short.iter().any(|secret| value.eq_ignore_ascii_case(secret.expose().as_bytes()))
            || depth < DEEPEST && decoded_whole(value).iter().any(|inner| self.is_whole(inner, depth + 1))
    }

    /// A text without the pieces of secrets; `None` where it has none.
    pub(crate) fn without(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let pieces = self.pieces(bytes, 0);
        if pieces.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(bytes.len());
        let mut from = 0;
        for piece in pieces {
            out.extend_from_slice(&bytes[from..piece.start]);
            out.extend_from_slice(REMOVED.as_bytes());
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
            self.unescaped(bytes, depth, b'%', unescape, &mut found);
            if self.has_blank {
                let blank = |rest: &[u8]| (1, Some(if rest[0] == b'+' { b' ' } else { rest[0] }));
                self.unescaped(bytes, depth, b'+', blank, &mut found);
            }
            if depth == 0 {
                // What of UTF-16 is ASCII.
                let without_zero = |rest: &[u8]| (1, Some(rest[0]).filter(|byte| *byte != 0));
                self.unescaped(bytes, depth, 0, without_zero, &mut found);
            }
            self.base64(bytes, depth, &mut found);
            self.hex(bytes, depth, &mut found);
        }
        merged(found)
    }

    fn plain(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        for (end, window) in windows(bytes).skip(SHORTEST - 1) {
            if end >= ROW && self.rows.contains_key(&row(window)) {
                found.push(end - ROW..end);
            }
            if !self.words.is_empty()
                && let Some(words) = self.words.get(&begin(window as u64))
            {
                let from = end - SHORTEST;
                let ends = words.iter().map(|word| (word, from + word.expose().len()));
                let is_there = |(word, end): &(&Secret, usize)| {
                    bytes
                        .get(from..*end)
                        .is_some_and(|text| text.eq_ignore_ascii_case(word.expose().as_bytes()))
                };
                found.extend(ends.filter(is_there).map(|(_, end)| from..end));
            }
        }
        found
    }

    /// Searches a text in which `step` has taken an escape off, where it has the `sign` of one.
    fn unescaped(&self, bytes: &[u8], depth: u8, sign: u8, step: Step, found: &mut Vec<Range<usize>>) {
        if memchr(sign, bytes).is_none() {
            return;
        }
        let decoded: Vec<u8> = steps(bytes, step).map(|(_, byte)| byte).collect();
        if decoded == bytes {
            return;
        }
        let inner = self.pieces(&decoded, depth + 1);
        if inner.is_empty() {
            return;
        }
        let begins: Vec<usize> = steps(bytes, step).map(|(at, _)| at).chain([bytes.len()]).collect();
        found.extend(inner.into_iter().map(|piece| begins[piece.start]..begins[piece.end]));
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

/// How many of the first bytes of a text stand for one, or for none; and which.
type Step = fn(&[u8]) -> (usize, Option<u8>);

/// What a text stands for: where each byte begins, and the byte.
fn steps(bytes: &[u8], step: Step) -> impl Iterator<Item = (usize, u8)> {
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

fn unescape(rest: &[u8]) -> (usize, Option<u8>) {
    let escaped = match rest {
        [b'%', high, low, ..] => pair(*high, *low),
        _ => None,
    };
    escaped.map_or_else(|| (1, rest.first().copied()), |byte| (3, Some(byte)))
}

/// A short value with one encoding taken off, in each way that it can be read.
fn decoded_whole(value: &[u8]) -> Vec<Vec<u8>> {
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
#[path = "secrets_tests.rs"]
mod tests;
