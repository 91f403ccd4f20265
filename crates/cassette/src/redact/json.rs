//! JSON with values replaced where they stand: order, blanks and numbers stay as they were written.

use serde::de::IgnoredAny;

use crate::redact::kind::Kind;
use crate::redact::operations::{Shape, element, member, personal};
use crate::redact::target::link;
use crate::redact::{Scope, names_secret};

struct Frame {
    is_object: bool,
    shape: Shape,
}

struct Walk<'t> {
    text: &'t str,
    out: String,
    copied: usize,
    scope: Scope<'t>,
}

impl Walk<'_> {
    fn replace(&mut self, from: usize, to: usize, with: &str) {
        self.out.push_str(&self.text[self.copied..from]);
        self.out.push_str(with);
        self.copied = to;
    }

    /// What a member may hold. What no table names may hold anything in an open scope, unless its
    /// name says that it is a secret.
    fn member(&self, outer: Shape, name: &str, is_top: bool) -> Shape {
        match member(outer, name, is_top) {
            Shape::Unlisted | Shape::Open if self.scope.keeps_unlisted && names_secret(name) => {
                Shape::Value(Kind::Secret)
            }
            Shape::Unlisted | Shape::Open
                if self.scope.keeps_unlisted && !matches!(outer, Shape::Value(_)) =>
            {
                personal(name).map_or(Shape::Open, Shape::Value)
            }
            shape => shape,
        }
    }

    /// What stands for a member's name at a place.
    fn name(&self, name: &str, shape: Shape) -> Option<String> {
        match shape {
            Shape::Unlisted => self.scope.filter.unlisted(name, false),
            // A name that calls its value a secret may be one itself.
            _ if self.scope.keeps_unlisted => self.scope.filter.unlisted(name, true),
            _ => None,
        }
    }

    /// What stands for a string at a place.
    fn string(&self, text: &str, shape: Shape) -> Option<String> {
        match kind_of(shape) {
            Some(Kind::Link) if self.scope.filter.known.is_in(text.as_bytes()) => {
                Some(self.scope.filter.pseudonyms.opaque(text))
            }
            Some(Kind::Link) => link(&self.scope, text),
            Some(kind) => self.scope.filter.value(kind, text),
            None => self.scope.filter.unlisted(text, matches!(shape, Shape::Open)),
        }
    }

    /// What stands for a number at a place.
    fn number(&self, text: &str, shape: Shape) -> Option<String> {
        if matches!(shape, Shape::Open) && !self.scope.filter.known.is_in(text.as_bytes()) {
            return None;
        }
        let new = match kind_of(shape) {
            Some(kind) => self.scope.filter.value(kind, text)?,
            None => String::new(),
        };
        let is_number = !new.is_empty() && new.bytes().all(|byte| byte.is_ascii_digit());
        Some(if is_number { new } else { self.scope.filter.pseudonyms.number(text) })
    }
}

/// The kind of one value at a place; where a list was specified, that of its elements.
fn kind_of(shape: Shape) -> Option<Kind> {
    match element(shape) {
        Shape::Value(kind) => Some(kind),
        _ => None,
    }
}

/// The document with what is not kept replaced; `None` where the text is no JSON. A document that
/// was cut short is read as far as it goes; a string without its end is taken away.
pub(crate) fn redact(scope: Scope<'_>, text: &str, root: Shape) -> Option<String> {
    if !is_document(text) {
        return None;
    }
    let bytes = text.as_bytes();
    let mut walk = Walk { text, out: String::with_capacity(text.len()), copied: 0, scope };
    let mut stack: Vec<Frame> = Vec::new();
    let (mut at, mut wants_key, mut current) = (0, false, root);
    while at < bytes.len() {
        match bytes[at] {
            open @ (b'{' | b'[') => {
                let is_object = open == b'{';
                let shape = if is_object { current } else { element(current) };
                stack.push(Frame { is_object, shape });
                (wants_key, current) = (is_object, shape);
                at += 1;
            }
            b'}' | b']' => {
                stack.pop();
                current = stack.last().map_or(root, |frame| frame.shape);
                wants_key = false;
                at += 1;
            }
            b',' => {
                wants_key = stack.last().is_some_and(|frame| frame.is_object);
                current = stack.last().map_or(root, |frame| frame.shape);
                at += 1;
            }
            b'"' => {
                let Some(end) = end_of_string(bytes, at) else {
                    walk.replace(at, text.len(), "");
                    break;
                };
                let inside = unquoted(&text[at..end]);
                let new = if wants_key {
                    let outer = stack.last().map_or(Shape::Unlisted, |frame| frame.shape);
                    current = walk.member(outer, &inside, stack.len() == 1);
                    wants_key = false;
                    walk.name(&inside, current)
                } else {
                    walk.string(&inside, current)
                };
                if let Some(new) = new {
                    let quoted = serde_json::to_string(&new).unwrap_or_else(|_| "\"\"".into());
                    walk.replace(at, end, &quoted);
                }
                at = end;
            }
            b'-' | b'0'..=b'9' => {
                let part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                let end = at + bytes[at..].iter().take_while(part).count();
                if let Some(new) = walk.number(&text[at..end], current) {
                    walk.replace(at, end, &new);
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    let Walk { text, mut out, copied, .. } = walk;
    out.push_str(&text[copied..]);
    Some(out)
}

/// The strings (without quotes and escapes), numbers, words and signs of a document in their order;
/// `None` where the text is no JSON.
pub(crate) fn tokens(text: &str) -> Option<Vec<String>> {
    if !is_document(text) {
        return None;
    }
    let (bytes, mut found, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let end = match bytes[at] {
            b'"' => end_of_string(bytes, at).unwrap_or(bytes.len()),
            byte if byte.is_ascii_alphanumeric() || b"-+.".contains(&byte) => {
                let part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"-+.".contains(byte);
                at + bytes[at..].iter().take_while(part).count()
            }
            _ => at + 1,
        };
        let token = text.get(at..end).unwrap_or_default();
        match bytes[at] {
            b'"' => found.push(unquoted(token)),
            byte if byte.is_ascii_whitespace() => {}
            _ => found.push(token.to_owned()),
        }
        at = end;
    }
    Some(found)
}

/// Whether a text is JSON: one document or several, of which the last may be cut short. A lone
/// number or word is no more JSON than it is text.
fn is_document(text: &str) -> bool {
    let Some(first @ (b'{' | b'[' | b'"')) = text.trim_start().bytes().next() else { return false };
    let mut found = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    match found.find_map(Result::err) {
        None => true,
        Some(error) => error.is_eof() && first != b'"',
    }
}

/// What a string says. What is no Unicode in it, such as half of a pair, is not taken for nothing.
fn unquoted(quoted: &str) -> String {
    if let Ok(text) = serde_json::from_str(quoted) {
        return text;
    }
    let inside = quoted.strip_prefix('"').unwrap_or(quoted);
    let mut chars = inside.strip_suffix('"').unwrap_or(inside).chars();
    let mut units: Vec<u16> = Vec::with_capacity(quoted.len());
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        let c = match escaped {
            Some('u') => {
                let unit = chars.as_str().get(..4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
                if let Some(unit) = unit {
                    units.push(unit);
                    chars.nth(3);
                    continue;
                }
                'u'
            }
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some(other) => other,
            None => c,
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16_lossy(&units)
}

/// Where the string that begins here ends, with its closing quote.
fn end_of_string(bytes: &[u8], at: usize) -> Option<usize> {
    let mut next = at + 1;
    loop {
        match bytes.get(next)? {
            b'"' => return Some(next + 1),
            b'\\' => next += 2,
            _ => next += 1,
        }
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
