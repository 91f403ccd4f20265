//! Finds the upstream's URLs in JSON that arrives in pieces, and replaces them with this proxy's
//! address.
//!
//! A link is a string value that begins with such a URL. A URL inside a longer text stays
//! unchanged, and so does a key.
//!
//! JSON is not parsed. Valid JSON has no backslash outside strings. So a quote with no backslash
//! before it and an `h` after it always begins a string. Invalid JSON is passed on too, but the
//! links in it may stay unchanged.

use std::cell::OnceCell;
use std::rc::Rc;

use bytes::Bytes;
use memchr::memchr2;

use super::Base;
use super::target::{Mismatch, Slash, Target};

/// The scanner waits for at most this many bytes of a string to distinguish a key from a value.
const LONGEST_KEY: usize = 2048;

/// The state between two pieces. It holds back only bytes that may begin a link.
pub(super) struct Scanner {
    target: Rc<Target>,
    /// Replaces the scheme and authority of the upstream.
    base: Base,
    /// The text of `base`, made when the first link is found.
    text: OnceCell<String>,
    held: Vec<u8>,
    /// The last byte that was passed on.
    before: u8,
    found: bool,
}

/// The outcome of scanning a text.
struct Outcome {
    /// The new text, if there was a link.
    changed: Option<Vec<u8>>,
    /// How many bytes of the old text have been scanned.
    done: usize,
}

impl Scanner {
    pub(super) fn new(target: Rc<Target>, base: Base) -> Self {
        Self { target, base, text: OnceCell::new(), held: Vec::new(), before: 0, found: false }
    }

    /// Rewrites a whole text. `None` if there is no link in it.
    pub(super) fn rewrite(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        self.run(text, true).changed
    }

    /// Whether a link has been found so far.
    pub(super) fn found(&self) -> bool {
        self.found
    }

    /// Takes a piece and returns the bytes that can be passed on. A piece without a link is not
    /// copied.
    pub(super) fn feed(&mut self, piece: Bytes) -> Bytes {
        let piece = if self.held.is_empty() {
            piece
        } else {
            let mut whole = std::mem::take(&mut self.held);
            whole.extend_from_slice(&piece);
            Bytes::from(whole)
        };
        let Outcome { changed, done } = self.run(&piece, false);
        self.held.extend_from_slice(&piece[done..]);
        if let Some(last) = piece[..done].last() {
            self.before = *last;
        }
        match changed {
            Some(changed) => Bytes::from(changed),
            None => piece.slice(..done),
        }
    }

    /// Ends the text. Returns the bytes that were held back.
    pub(super) fn finish(&mut self) -> Bytes {
        let held = Bytes::from(std::mem::take(&mut self.held));
        let changed = self.run(&held, true).changed;
        changed.map_or(held, Bytes::from)
    }

    fn run(&mut self, text: &[u8], end: bool) -> Outcome {
        let mut changed: Option<Vec<u8>> = None;
        let (mut copied, mut from) = (0, 0);
        let mut next = Next::new(text);
        let mut done = text.len();
        while let Some(quote) = next.quote(&self.target, from) {
            from = quote + 1;
            if self.is_escaped(text, quote) {
                continue;
            }
            match self.link(&text[from..], end) {
                Err(Mismatch::Other) => {}
                Err(Mismatch::Incomplete) => {
                    done = quote;
                    break;
                }
                Ok((length, slash)) => {
                    let changed = changed.get_or_insert_with(|| Vec::with_capacity(text.len() + 64));
                    changed.extend_from_slice(&text[copied..from]);
                    self.write_base(changed, slash);
                    from += length;
                    copied = from;
                }
            }
        }
        if !end && done == text.len() && text.last() == Some(&b'"') && !self.is_escaped(text, done - 1) {
            done -= 1;
        }
        if let Some(changed) = &mut changed {
            changed.extend_from_slice(&text[copied..done]);
            self.found = true;
        }
        Outcome { changed, done }
    }

    fn is_escaped(&self, text: &[u8], quote: usize) -> bool {
        let before = quote.checked_sub(1).map_or(self.before, |at| text[at]);
        before == b'\\'
    }

    /// The length of the scheme and authority at the beginning of a string, if they are the
    /// upstream's. The name of a member never matches. `end` says that no more text follows.
    fn link(&self, text: &[u8], end: bool) -> Result<(usize, Slash), Mismatch> {
        let (length, slash) = match self.target.in_string(text) {
            Err(Mismatch::Incomplete) if end => return Err(Mismatch::Other),
            found => found?,
        };
        match is_key(&text[length..]) {
            Some(true) => Err(Mismatch::Other),
            None if !end && text.len() < LONGEST_KEY => Err(Mismatch::Incomplete),
            _ => Ok((length, slash)),
        }
    }

    fn write_base(&self, out: &mut Vec<u8>, slash: Slash) {
        for byte in self.text.get_or_init(|| self.base.text()).bytes() {
            match byte {
                b'/' => out.extend_from_slice(slash.text()),
                byte => out.push(byte),
            }
        }
    }
}

/// Whether a string is a key, that is, whether a colon follows it. `rest` is the rest of the string
/// and the text after it. `None` if more bytes are needed.
fn is_key(mut rest: &[u8]) -> Option<bool> {
    loop {
        let at = memchr2(b'"', b'\\', rest)?;
        if rest[at] == b'"' {
            rest = &rest[at + 1..];
            break;
        }
        rest = rest.get(at + 2..)?;
    }
    Some(*rest.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))? == b':')
}

/// Finds the next string that may begin with a URL: one that begins with `h` or `H`. Keeps the next
/// match of each letter, so that no text is searched twice.
struct Next<'a> {
    text: &'a [u8],
    found: [Option<usize>; 2],
    searched: bool,
}

impl<'a> Next<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, found: [None; 2], searched: false }
    }

    fn quote(&mut self, target: &Target, from: usize) -> Option<usize> {
        for (found, finder) in self.found.iter_mut().zip(&target.quoted) {
            if !self.searched || found.is_some_and(|at| at < from) {
                *found = finder.find(&self.text[from..]).map(|at| from + at);
            }
        }
        self.searched = true;
        match self.found {
            [Some(one), Some(other)] => Some(one.min(other)),
            [one, other] => one.or(other),
        }
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
