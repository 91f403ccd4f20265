//! What is hidden, and where it is found in a text.

use memchr::memmem;

use super::hint::Hint;
use super::labelled::{self, Names};
use super::pseudonyms::pseudonym_at;
use super::redact::target_at;

/// What kind of thing a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A token, a key, a cookie, a password.
    Credential,
    /// A telephone number, as it is written.
    Phone,
    /// An e-mail address, or a login name with its tenant.
    Email,
    /// One word of a name.
    Name,
}

/// Decides what stands in place of what was found.
pub(super) trait Hide {
    /// The replacement; `None` leaves the text as it is.
    fn hide(&mut self, kind: Kind, text: &str) -> Option<String>;
}

/// How many texts a text is within: a URL in a query, a document in a string of one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Depth(u8);

impl Depth {
    /// One more; `None` where it is enough: what is deeper is read as plain text.
    pub(super) fn deeper(self) -> Option<Self> {
        (self.0 < 8).then_some(Self(self.0 + 1))
    }
}

/// A value with what is to be hidden in it replaced; `None` where that is nothing.
pub(super) fn value(text: &str, hint: Hint, depth: Depth, hide: &mut dyn Hide) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    match hint {
        Hint::Credential => hide.hide(Kind::Credential, text),
        Hint::Name if !text.contains('@') && digits(text) < 7 => words(text, hide),
        // A caller's id is a number, or who calls.
        Hint::Phone if text.contains(char::is_alphabetic) && !text.contains('@') && digits(text) < 7 => {
            words(text, hide)
        }
        Hint::Phone if is_number(text) => hide.hide(Kind::Phone, text),
        Hint::Opaque => scan(text, Digits::None, depth, hide),
        Hint::Phone => scan(text, Digits::From(7), depth, hide),
        Hint::Name | Hint::Nothing => scan(text, Digits::From(10), depth, hide),
    }
}

/// Whether it is nothing but a telephone number, in whatever groups a country writes it.
fn is_number(text: &str) -> bool {
    let part = |c: char| c.is_ascii_digit() || " -./()+".contains(c);
    (7..=15).contains(&digits(text)) && text.chars().all(part) && !is_date(text)
}

/// `2026-09-05`, `05/09/2026`.
fn is_date(text: &str) -> bool {
    let mut groups: Vec<usize> = text.split(|c: char| !c.is_ascii_digit()).map(str::len).collect();
    groups.sort_unstable();
    groups == [2, 2, 4]
}

fn digits(text: &str) -> usize {
    text.bytes().filter(u8::is_ascii_digit).count()
}

/// So long a URL's scheme may be.
const LONGEST_SCHEME: usize = 32;

/// From how many digits on a bare number is one to call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Digits {
    None,
    From(usize),
}

/// A text in which pieces are replaced, from left to right. Nothing is copied while nothing changes.
pub(super) struct Edit<'t> {
    pub(super) text: &'t str,
    copied: usize,
    out: Option<String>,
}

impl<'t> Edit<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self { text, copied: 0, out: None }
    }

    pub(super) fn replace(&mut self, from: usize, to: usize, with: &str) {
        let out = self.out.get_or_insert_with(String::new);
        out.push_str(&self.text[self.copied..from]);
        out.push_str(with);
        self.copied = to;
    }

    pub(super) fn finish(self) -> Option<String> {
        let mut out = self.out?;
        out.push_str(&self.text[self.copied..]);
        Some(out)
    }
}

/// Every word of a name by itself, so that a first name is the same with and without the last.
fn words(text: &str, hide: &mut dyn Hide) -> Option<String> {
    let mut edit = Edit::of(text);
    let mut begin = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (begin, c.is_alphanumeric()) {
            (None, true) => begin = Some(at),
            (Some(from), false) => {
                let word = &text[from..at];
                let is_name = word.chars().count() > 1 && word.chars().any(char::is_alphabetic);
                if is_name && let Some(with) = hide.hide(Kind::Name, word) {
                    edit.replace(from, at, &with);
                }
                begin = None;
            }
            _ => {}
        }
    }
    edit.finish()
}

/// Looks for credentials that are named, tokens, e-mail addresses and telephone numbers in a text that is a value.
pub(super) fn scan(text: &str, bare: Digits, depth: Depth, hide: &mut dyn Hide) -> Option<String> {
    search(text, bare, Names::Credentials, depth, hide)
}

/// The same for a text that is a whole document: other named values are what their names say, too.
pub(super) fn prose(text: &str, depth: Depth, hide: &mut dyn Hide) -> Option<String> {
    search(text, Digits::From(10), Names::All, depth, hide)
}

fn search(text: &str, bare: Digits, names: Names, depth: Depth, hide: &mut dyn Hide) -> Option<String> {
    let mut edit = Edit::of(text);
    let mut at = 0;
    let deeper = depth.deeper();
    let mut named = labelled::next(text, at, names);
    let mut url = deeper.and_then(|_| url_at(text, at));
    while let Some((from, to)) = named.map(|named| (named.from, named.to)).into_iter().chain(url).min() {
        between(&mut edit, at, from, bare, hide);
        let is_named = named.is_some_and(|named| named.from == from);
        let new = match (named.filter(|_| is_named), deeper) {
            (Some(named), _) => value(&text[from..to], named.hint, depth, hide),
            (None, Some(deeper)) => target_at(&text[from..to], deeper, hide),
            (None, None) => None,
        };
        if let Some(with) = new {
            edit.replace(from, to, &with);
        }
        at = to;
        // What is farther ahead has not to be looked for again.
        if named.is_some_and(|named| named.from < at) {
            named = labelled::next(text, at, names);
        }
        if url.is_some_and(|(from, _)| from < at) {
            url = url_at(text, at);
        }
    }
    between(&mut edit, at, text.len(), bare, hide);
    edit.finish()
}

/// Where the first URL at or behind `at` begins and ends, of whatever scheme.
fn url_at(text: &str, at: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    memmem::find_iter(&bytes[at..], "://").map(|found| at + found).find_map(|colon| {
        let run = bytes[at..colon].iter().rev().take(LONGEST_SCHEME).take_while(part).count();
        let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'<>`\\{}|^".contains(c);
        let behind = &text[colon + 3..];
        let url =
            behind[..behind.find(ends).unwrap_or(behind.len())].trim_end_matches(|c| ".,;:!?)]".contains(c));
        (run > 0 && !url.is_empty()).then_some((colon - run, colon + 3 + url.len()))
    })
}

/// What nothing names.
fn between(edit: &mut Edit<'_>, from: usize, to: usize, bare: Digits, hide: &mut dyn Hide) {
    let text = edit.text;
    let mut at = from;
    for (sign, _) in text[from..to].match_indices('@') {
        let sign = from + sign;
        if sign < at {
            continue;
        }
        if let Some((begin, end)) = email_around(&text[..to], at, sign) {
            gap(edit, at, begin, bare, hide);
            if let Some(with) = hide.hide(Kind::Email, &text[begin..end]) {
                edit.replace(begin, end, &with);
            }
            at = end;
        }
    }
    gap(edit, at, to, bare, hide);
}

/// The address around the `@` at `sign`, beginning no earlier than `least`.
fn email_around(text: &str, least: usize, sign: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let local = |byte: &u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(byte);
    let from = sign - bytes[least..sign].iter().rev().take_while(|byte| local(byte)).count();
    let domain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
    let run = bytes[sign + 1..].iter().take_while(|byte| domain(byte)).count();
    let host = text[sign + 1..sign + 1 + run].trim_end_matches(['.', '-']);
    let (_, top) = host.rsplit_once('.')?;
    let sound = from < sign && top.len() >= 2 && top.bytes().all(|byte| byte.is_ascii_alphabetic());
    sound.then_some((from, sign + 1 + host.len()))
}

/// The part of a text between addresses.
fn gap(edit: &mut Edit<'_>, from: usize, to: usize, bare: Digits, hide: &mut dyn Hide) {
    let text = edit.text;
    let bytes = text.as_bytes();
    let mut at = from;
    while at < to {
        let fresh = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
        let found = match bytes[at] {
            b'e' | b'B' | b'b' | b'h' if fresh => {
                token_at(&text[at..to]).map(|len| (at, len, Kind::Credential))
            }
            b'+' | b'(' | b'0'..=b'9' if fresh => {
                phone_at(bytes, at, to, bare).map(|len| (at, len, Kind::Phone))
            }
            _ => None,
        };
        match found {
            Some((from, len, kind)) => {
                // The word before a token stays.
                let skip = if kind == Kind::Credential { scheme(&text[from..]) } else { 0 };
                if let Some(with) = hide.hide(kind, &text[from + skip..from + len]) {
                    edit.replace(from + skip, from + len, &with);
                }
                at += len;
            }
            None if bytes[at].is_ascii_digit() => {
                // The rest of a number that is none to call is not looked at again.
                at += bytes[at..to].iter().take_while(|byte| byte.is_ascii_digit()).count();
            }
            None => at += 1,
        }
    }
}

/// The length of `Bearer ` or `Basic `, in any case.
fn scheme(text: &str) -> usize {
    let is = |word: &str| {
        text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)) as usize * word.len()
    };
    is("bearer ") + is("basic ")
}

/// The length of a token that begins here: a JSON web token, or what stands behind `Bearer`.
fn token_at(text: &str) -> Option<usize> {
    if let Some(len) = pseudonym_at(text) {
        return Some(len);
    }
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(byte);
    let skip = scheme(text);
    let is_jwt = text[skip..].starts_with("eyJ");
    if !is_jwt && skip == 0 {
        return None;
    }
    let len = text.as_bytes()[skip..].iter().take_while(|byte| part(byte)).count();
    // Half of one is too much as well.
    ((is_jwt && len >= 20) || (skip > 0 && len >= 16)).then_some(skip + len)
}

/// The length of a telephone number that begins here.
fn phone_at(bytes: &[u8], at: usize, to: usize, bare: Digits) -> Option<usize> {
    let rest = &bytes[at..to];
    let follows = |len: usize| bytes.get(at + len).copied().unwrap_or(b' ');
    let ends = |len: usize| !follows(len).is_ascii_alphanumeric();
    if rest[0] == b'+' {
        return international(rest).filter(|len| ends(*len));
    }
    if bare == Digits::None || is_in_uuid(bytes, at) {
        return None;
    }
    if let Some(len) = north_american(rest).or_else(|| national(rest)).filter(|len| ends(*len)) {
        return Some(len);
    }
    let run = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let decimal = |dot: u8, digit: Option<&u8>| dot == b'.' && digit.is_some_and(u8::is_ascii_digit);
    let is_decimal = decimal(follows(run), bytes.get(at + run + 1))
        || (at >= 2 && decimal(bytes[at - 1], bytes.get(at - 2)));
    let Digits::From(least) = bare else { return None };
    ((least..=15).contains(&run) && ends(run) && !is_decimal).then_some(run)
}

/// `+1 (555) 123-4567`: 7 to 15 digits behind a plus.
fn international(rest: &[u8]) -> Option<usize> {
    let (mut digits, mut end) = (0, 0);
    for (index, byte) in rest.iter().enumerate().skip(1) {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                end = index + 1;
            }
            // One separator, or a parenthesis beside one.
            b' ' | b'-' | b'.' | b'(' | b')' if index - end < 2 && digits > 0 => {}
            _ => break,
        }
    }
    (7..=15).contains(&digits).then_some(end)
}

/// `(555) 123-4567`, `555-123-4567`, `1-555-123-4567`, with blanks or dots as well.
fn north_american(rest: &[u8]) -> Option<usize> {
    let at = |index: usize| rest.get(index).copied().unwrap_or(0);
    let run = |from: usize, count: usize| (from..from + count).all(|index| at(index).is_ascii_digit());
    let separator = |index: usize| matches!(at(index), b'-' | b'.' | b' ') as usize;
    let mut next = 0;
    if at(0) == b'1' && separator(1) == 1 {
        next = 2;
    }
    next = match at(next) {
        b'(' if run(next + 1, 3) && at(next + 4) == b')' => next + 5 + separator(next + 5),
        _ if run(next, 3) && separator(next + 3) == 1 => next + 4,
        _ => return None,
    };
    (run(next, 3) && separator(next + 3) == 1 && run(next + 4, 4)).then_some(next + 8)
}

/// `020 7946 0958`, `0800-123-4567`: 9 to 12 digits behind a trunk prefix, in three or four groups.
fn national(rest: &[u8]) -> Option<usize> {
    let run = |from: usize| rest[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let first = run(0);
    if rest[0] != b'0' || !(3..=5).contains(&first) {
        return None;
    }
    let (mut end, mut digits, mut groups) = (first, first, 1);
    while groups < 4 && matches!(rest.get(end), Some(b' ' | b'-')) && (2..=8).contains(&run(end + 1)) {
        digits += run(end + 1);
        end += 1 + run(end + 1);
        groups += 1;
    }
    (groups > 2 && (9..=12).contains(&digits)).then_some(end)
}

/// Whether the digits here are part of a UUID.
fn is_in_uuid(bytes: &[u8], at: usize) -> bool {
    let part = |byte: &&u8| byte.is_ascii_hexdigit() || **byte == b'-';
    let before = bytes[..at].iter().rev().take(36).take_while(part).count();
    let after = bytes[at..].iter().take(37).take_while(part).count();
    before + after == 36 && bytes[at - before..at + after].iter().filter(|byte| **byte == b'-').count() == 4
}

#[cfg(test)]
#[path = "hide_tests.rs"]
mod tests;
