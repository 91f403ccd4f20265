//! Values in free text that stand behind their names: `password=…`, `Authorization: Bearer …`, `"api_key": "…"`; and
//! private keys, which say themselves what they are.
//!
//! What has been hidden is found again where it was: a text that was recorded is compared with one that is asked.

use memchr::memmem;

use super::hint::{Hint, hint};
use super::pseudonyms::pseudonym_at;

/// A value: where it stands, and what its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) hint: Hint,
}

/// Which names count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Those of credentials.
    Credentials,
    /// All that say something.
    All,
}

/// Words before a credential in a header, and behind `authorization:` anywhere.
const SCHEMES: [&str; 7] = ["bearer", "basic", "digest", "token", "apikey", "oauth", "negotiate"];
/// First words of names of two words; of other words in front of `key` it is not known what they mean.
const FIRST: [&str; 9] =
    ["access", "api", "auth", "client", "encryption", "private", "secret", "signing", "subscription"];
/// Values that are none.
const NOTHING: [&str; 7] = ["null", "nil", "none", "true", "false", "undefined", "required"];
/// A name is looked for in so many bytes before its separator.
const LONGEST_NAME: usize = 64;

const BEGIN: &str = "-----BEGIN ";
/// The line with which a key begins is no longer.
const LONGEST_LABEL: usize = 64;

/// The first named value at or behind `at`.
pub(super) fn next(text: &str, at: usize, names: Names) -> Option<Named> {
    let bytes = text.as_bytes();
    let mut from = at;
    loop {
        let separator = from + memchr::memchr3(b'=', b':', b'-', bytes.get(from..)?)?;
        let found = match bytes[separator] {
            b'-' => private_key(text, separator),
            _ => named(text, at, separator, names),
        };
        if found.is_some() {
            return found;
        }
        from = separator + 1;
    }
}

fn private_key(text: &str, at: usize) -> Option<Named> {
    let rest = &text[at..];
    let label = &rest.as_bytes()[..rest.len().min(LONGEST_LABEL)];
    let kind = label.strip_prefix(BEGIN.as_bytes())?;
    let kind = &kind[..memmem::find(kind, b"-----")?];
    if !kind.ends_with(b"PRIVATE KEY") {
        return None;
    }
    // Without its end it is all the rest.
    let end = rest.find("-----END ").map_or(text.len(), |end| at + end);
    let from = at + BEGIN.len() + kind.len() + "-----".len();
    let (from, to) = trimmed(text, from, end);
    (from < to).then_some(Named { from, to, hint: Hint::Credential })
}

fn named(text: &str, least: usize, separator: usize, names: Names) -> Option<Named> {
    let (begin, end) = name_before(text, least, separator)?;
    let hint = hint_of(text, least, begin, end);
    if hint == Hint::Nothing || (names == Names::Credentials && hint != Hint::Credential) {
        return None;
    }
    let (from, to) = value_behind(text, begin, separator, hint)?;
    let counts = hint != Hint::Credential || !is_placeholder(&text[from..to]);
    counts.then_some(Named { from, to, hint })
}

/// The word before a separator, which may be in quotes.
fn name_before(text: &str, least: usize, separator: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let least = least.max(separator.saturating_sub(LONGEST_NAME));
    let back = |end: usize, is: &dyn Fn(u8) -> bool| {
        end - bytes[least..end].iter().rev().take_while(|byte| is(**byte)).count()
    };
    let end = back(separator, &|byte| byte == b' ' || byte == b'\t');
    let end = back(end, &|byte| b"\"'`\\]".contains(&byte));
    let begin = back(end, &|byte| byte.is_ascii_alphanumeric() || b"_-.$".contains(&byte));
    (begin < end).then_some((begin, end))
}

/// What a name says; `api key` is one.
fn hint_of(text: &str, least: usize, begin: usize, end: usize) -> Hint {
    let own = hint(&text[begin..end]);
    if own != Hint::Nothing || !text[begin..end].eq_ignore_ascii_case("key") {
        return own;
    }
    let before = text[least..begin].trim_end_matches(' ');
    let word = before.rsplit(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    if FIRST.iter().any(|first| word.eq_ignore_ascii_case(first)) { Hint::Credential } else { own }
}

/// Where the value behind a separator begins and ends.
fn value_behind(text: &str, name: usize, separator: usize, hint: Hint) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut from = separator + 1;
    if bytes[separator] == b':' && text[from..].starts_with("//") {
        return None;
    }
    // `=>`, `==`, `:=`.
    from += usize::from(matches!(bytes.get(from), Some(b'=' | b'>')));
    from += bytes[from..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let escaped = usize::from(text[from..].starts_with("\\\""));
    let quote = *bytes.get(from + escaped)?;
    let is_quoted = b"\"'`".contains(&quote);
    let mut from = if is_quoted { from + escaped + 1 } else { from };
    let end = is_quoted
        .then(|| closing(bytes, from, quote, escaped == 1).unwrap_or_else(|| end_of_line(bytes, from)));
    if hint == Hint::Credential {
        from += scheme(&text[from..end.unwrap_or(text.len())]);
    }
    if let Some(len) = pseudonym_at(&text[from..]) {
        return Some((from, from + len));
    }
    let to = end.or_else(|| unquoted(text, name, separator, from, hint))?;
    let (from, to) = trimmed(text, from, to);
    (from < to).then_some((from, to))
}

fn end_of_line(bytes: &[u8], from: usize) -> usize {
    memchr::memchr2(b'\n', b'\r', &bytes[from..]).map_or(bytes.len(), |at| from + at)
}

/// The quote that ends a string.
fn closing(bytes: &[u8], from: usize, quote: u8, escaped: bool) -> Option<usize> {
    memchr::memchr_iter(quote, &bytes[from..]).map(|at| from + at).find_map(|at| {
        let slashes = bytes[from..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        match escaped {
            true => (slashes == 1).then(|| at - 1),
            false => (slashes % 2 == 0).then_some(at),
        }
    })
}

/// The length of a scheme and the blanks behind it.
fn scheme(value: &str) -> usize {
    let is = |scheme: &&&str| {
        value.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && value[scheme.len()..].starts_with(' ')
    };
    let Some(scheme) = SCHEMES.iter().find(is) else { return 0 };
    let rest = &value[scheme.len()..];
    value.len() - rest.trim_start_matches(' ').len()
}

/// The end of a value without quotes; `None` where it is the sentence that goes on.
fn unquoted(text: &str, name: usize, separator: usize, from: usize, hint: Hint) -> Option<usize> {
    let is_setting = text.as_bytes()[separator] == b'=';
    if hint != Hint::Opaque && leads(text, name) {
        let line = end_of_line(text.as_bytes(), from);
        if !is_setting || !text[from..line].contains(['=', '&']) {
            return Some(line);
        }
    }
    let rest = &text[from..];
    let ends = |c: char| c.is_whitespace() || "&;,<>\"'`)}]|".contains(c);
    let (word, behind) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
    let goes_on = behind.strip_prefix(' ').is_some_and(|next| next.starts_with(char::is_alphabetic));
    let is_prose = !is_setting && goes_on && word.bytes().all(|byte| byte.is_ascii_lowercase());
    (!is_prose).then_some(from + word.len())
}

/// Whether a name is the first word of its line.
fn leads(text: &str, name: usize) -> bool {
    let before = &text.as_bytes()[name.saturating_sub(LONGEST_NAME)..name];
    let line = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let whole = line.len() < before.len() || before.len() == name;
    let line = line.strip_suffix(b"export ").unwrap_or(line);
    whole && line.iter().all(|byte| byte.is_ascii_whitespace() || b"-*>#\"'".contains(byte))
}

fn trimmed(text: &str, from: usize, to: usize) -> (usize, usize) {
    let value = &text[from..to];
    let from = from + value.len() - value.trim_start().len();
    (from, from + value.trim().len())
}

/// Whether it only says that a credential belongs here: `ACCESS_TOKEN`, `${PASSWORD}`, `<password>`, `***`.
fn is_placeholder(value: &str) -> bool {
    let is_shouted = value.contains('_')
        && value.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        && hint(value) == Hint::Credential;
    let is_starred = value.chars().all(|c| "*•.".contains(c));
    let is_variable = ["${", "{{", "<", "$("].iter().any(|start| value.starts_with(start));
    is_shouted || is_starred || is_variable || NOTHING.contains(&&*value.to_ascii_lowercase())
}

#[cfg(test)]
#[path = "labelled_tests.rs"]
mod tests;
