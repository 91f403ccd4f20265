//! Finds the upstream's URLs in JSON that comes in pieces, and puts our own address in their place.
//!
//! Only a string that begins with one is a link; text that mentions one stays as it is, and so does a key. No JSON
//! is parsed: outside of strings there are no backslashes, so a quote that none precedes, and that `h` follows,
//! begins a string in every valid text. What is not valid passes, changed or not, and nothing fails.

use std::cell::OnceCell;
use std::rc::Rc;

use bytes::Bytes;
use memchr::memchr2;

use super::Base;
use super::target::{No, Slash, Target};

/// How much of a string is waited for to tell a key from a value. No key is longer.
const LONGEST_KEY: usize = 2048;

/// The state between two pieces. It holds back what may be a link and is not all there, and nothing else.
pub(super) struct Scanner {
    target: Rc<Target>,
    /// Scheme and authority that take the place of the upstream's, and their text, which few answers need.
    base: Base,
    text: OnceCell<String>,
    held: Vec<u8>,
    /// The last byte that was passed on.
    before: u8,
    found: bool,
}

/// What became of a text: what it is now, if it was changed, and how much of it that covers.
struct Outcome {
    changed: Option<Vec<u8>>,
    done: usize,
}

impl Scanner {
    pub(super) fn new(target: Rc<Target>, base: Base) -> Self {
        Self { target, base, text: OnceCell::new(), held: Vec::new(), before: 0, found: false }
    }

    /// A text that is all there, rewritten, if there is a link in it.
    pub(super) fn rewrite(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        self.run(text, true).changed
    }

    /// Whether anything has been changed.
    pub(super) fn found(&self) -> bool {
        self.found
    }

    /// Takes a piece; gives what can be passed on. A piece without a link is not copied.
    pub(super) fn feed(&mut self, piece: Bytes) -> Bytes {
        let piece = match self.held.is_empty() {
            true => piece,
            false => {
                let mut whole = std::mem::take(&mut self.held);
                whole.extend_from_slice(&piece);
                Bytes::from(whole)
            }
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

    /// Gives what was held back, at the end of the text.
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
                Err(No::Other) => {}
                Err(No::Yet) => {
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

    /// Whether a string begins with a URL of the upstream and is no key.
    fn link(&self, text: &[u8], end: bool) -> Result<(usize, Slash), No> {
        let (length, slash) = match self.target.in_string(text) {
            Err(No::Yet) if end => return Err(No::Other),
            found => found?,
        };
        match is_key(&text[length..]) {
            Some(true) => Err(No::Other),
            None if !end && text.len() < LONGEST_KEY => Err(No::Yet),
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

/// Whether a colon follows the string whose rest this is; `None` where that cannot be told yet.
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

/// The next place where a string may begin with a URL, in either case, each looked for once.
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
