//! The secrets that this process knows, and the search for them in texts, in any encoding.
//!
//! If a secret has 16 bytes or more, any 16 consecutive bytes of the secret are found. A secret
//! with 8 to 15 bytes is found as a whole. A shorter one is found only if it is the whole value. A
//! text is searched as it is, and again after decoding percent-encoding, Base64 (at each offset),
//! hexadecimal digits and UTF-16. Up to [`DEEPEST`] levels are decoded. Case is ignored.

mod encodings;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use memchr::memchr;

use self::encodings::{decode16, decode64, decoded_whole, digit64, runs, steps, unescape};
use super::pseudonyms::REMOVED;
use crate::text::{debug_shows_nothing, latin1, replaced};
use vbc_base::secret::Secret;

/// How many consecutive bytes identify a secret.
const ROW: usize = 16;

/// The length of the shortest secret that is found within a text, in bytes.
const SHORTEST: usize = 8;

/// How many tokens are remembered: enough for the current tokens of a large team, and for older
/// tokens.
const TOKENS: usize = 256;

/// How many levels of encodings are decoded.
const DEEPEST: u8 = 3;

/// Known secrets.
///
/// [`add`](Self::add) and [`add_token`](Self::add_token) extend it at any time. The other methods
/// search values and texts.
#[derive(Default)]
pub(crate) struct KnownSecrets {
    /// Passwords and keys of the configuration, which never expire.
    lasting: Vec<Secret>,
    /// Tokens, the newest first.
    tokens: VecDeque<Secret>,
    /// How many secrets contain a row of [`ROW`] bytes, by the row's fingerprint.
    rows: Index<u32>,
    /// Secrets of [`SHORTEST`] bytes or more without such a row, by the fingerprint of their start.
    words: Index<Vec<Secret>>,
    /// Shorter secrets.
    short: Vec<Secret>,
    /// Whether a secret contains a space, which forms encode as a plus sign.
    has_space: bool,
}

/// A map by fingerprints, which need no further hashing.
type Index<V> = HashMap<u64, V, BuildHasherDefault<Identity>>;

#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
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

debug_shows_nothing!(KnownSecrets);

/// The last [`ROW`] bytes before each position in a text, in lower case. The last byte is the
/// lowest.
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

/// A fingerprint of [`ROW`] bytes. Two different rows share one with negligible probability.
fn row(window: u128) -> u64 {
    let (old, new) = ((window >> 64) as u64, window as u64);
    start(old.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ new.rotate_left(29))
}

/// A fingerprint of [`SHORTEST`] bytes.
fn start(bytes: u64) -> u64 {
    (bytes ^ bytes >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// The fingerprint of a secret's first [`SHORTEST`] bytes.
fn start_of(secret: &Secret) -> u64 {
    let first = windows(secret.expose().as_bytes()).nth(SHORTEST - 1);
    first.map_or(0, |(_, window)| start(window as u64))
}

impl KnownSecrets {
    /// Remembers a secret permanently.
    pub(crate) fn add(&mut self, secret: Secret) {
        if !secret.expose().is_empty() && !self.lasting.contains(&secret) {
            self.index(&secret);
            if !secret.expose().is_ascii() {
                // A cassette writes header values with one character per byte, so this form is
                // searched too.
                self.index(&Secret::new(latin1(secret.expose().as_bytes())));
            }
            self.lasting.push(secret);
        }
    }

    /// Remembers a token until [`TOKENS`] newer ones have been added.
    pub(crate) fn add_token(&mut self, token: &Secret) {
        if token.expose().is_empty() || self.tokens.contains(token) {
            return;
        }
        self.index(token);
        self.tokens.push_front(token.clone());
        if self.tokens.len() > TOKENS
            && let Some(oldest) = self.tokens.pop_back()
        {
            self.forget(&oldest);
        }
    }

    fn index(&mut self, secret: &Secret) {
        match secret.expose().len() {
            ROW.. => rows_of(secret).for_each(|row| *self.rows.entry(row).or_default() += 1),
            SHORTEST.. => self.words.entry(start_of(secret)).or_default().push(secret.clone()),
            _ => self.short.push(secret.clone()),
        }
        self.has_space |= secret.expose().contains(' ');
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
        if let Some(words) = self.words.get_mut(&start_of(oldest)) {
            words.retain(|word| word != oldest);
        }
        self.short.retain(|secret| secret != oldest);
    }

    /// Whether a value is a secret or contains a piece of one.
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

    /// A text without the pieces of secrets. `None` if it contains none.
    pub(crate) fn without(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let pieces = self.pieces(bytes, 0);
        (!pieces.is_empty()).then(|| replaced(bytes, pieces, REMOVED.as_bytes()))
    }

    /// The ranges of pieces of secrets, from left to right and without overlaps.
    fn pieces(&self, bytes: &[u8], depth: u8) -> Vec<Range<usize>> {
        if self.lasting.is_empty() && self.tokens.is_empty() {
            return Vec::new();
        }
        let mut found = self.plain(bytes);
        if depth < DEEPEST {
            self.unescaped(bytes, depth, b'%', unescape, &mut found);
            if self.has_space {
                let plus_to_space = |rest: &[u8]| (1, Some(if rest[0] == b'+' { b' ' } else { rest[0] }));
                self.unescaped(bytes, depth, b'+', plus_to_space, &mut found);
            }
            if depth == 0 {
                // ASCII characters in UTF-16 contain a zero byte each.
                let without_zero = |rest: &[u8]| (1, Some(rest[0]).filter(|byte| *byte != 0));
                self.unescaped(bytes, depth, 0, without_zero, &mut found);
            }
            let base64 = runs(bytes, |byte| digit64(byte).is_some(), 4 * SHORTEST / 3);
            self.in_runs(bytes, depth, base64, decode64, 4, &mut found);
            let hexadecimal = runs(bytes, |byte| byte.is_ascii_hexdigit(), 2 * SHORTEST);
            self.in_runs(bytes, depth, hexadecimal, decode16, 2, &mut found);
        }
        merged(found)
    }

    fn plain(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        for (end, window) in windows(bytes).skip(SHORTEST - 1) {
            if end >= ROW && self.rows.contains_key(&row(window)) {
                found.push(end - ROW..end);
            }
            if self.words.is_empty() {
                continue;
            }
            let from = end - SHORTEST;
            for word in self.words.get(&start(window as u64)).into_iter().flatten() {
                let end = from + word.expose().len();
                let text = bytes.get(from..end);
                if text.is_some_and(|text| text.eq_ignore_ascii_case(word.expose().as_bytes())) {
                    found.push(from..end);
                }
            }
        }
        found
    }

    /// Searches a text with an escape decoded by `step`, if it contains the escape's `sign`.
    fn unescaped(
        &self,
        bytes: &[u8],
        depth: u8,
        sign: u8,
        step: encodings::Step,
        found: &mut Vec<Range<usize>>,
    ) {
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
        let starts: Vec<usize> = steps(bytes, step).map(|(at, _)| at).chain([bytes.len()]).collect();
        found.extend(inner.into_iter().map(|piece| starts[piece.start]..starts[piece.end]));
    }

    /// Searches runs of an encoding's digits. A run may start with other characters that look like
    /// digits, so it is decoded from each of the first `offsets`.
    fn in_runs(
        &self,
        bytes: &[u8],
        depth: u8,
        runs: Vec<Range<usize>>,
        decode: fn(&[u8]) -> Vec<u8>,
        offsets: usize,
        found: &mut Vec<Range<usize>>,
    ) {
        found.extend(runs.into_iter().filter(|run| {
            (run.start..run.start + offsets)
                .any(|from| !self.pieces(&decode(&bytes[from..run.end]), depth + 1).is_empty())
        }));
    }
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
