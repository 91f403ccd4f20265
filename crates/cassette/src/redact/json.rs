//! Redacts JSON in place: order, whitespace and the notation of kept values do not change.

use serde::de::IgnoredAny;

use super::kind::Kind;
use super::operations::{Shape, element, member, personal};
use super::target::link;
use super::{Scope, names_secret};

/// A document that is being redacted, from left to right.
struct Walk<'t> {
    text: &'t str,
    out: String,
    /// The end of the text that has been copied or replaced.
    copied: usize,
    scope: Scope<'t>,
    root: Shape,
    /// The open arrays and objects, the outermost first.
    stack: Vec<Frame>,
    /// The shape of the next value.
    shape: Shape,
    /// The next string is the name of a member.
    expects_name: bool,
}

/// An open array or object.
struct Frame {
    is_object: bool,
    /// The shape of the object, or of the array's elements.
    shape: Shape,
}

impl Walk<'_> {
    fn open(&mut self, is_object: bool) {
        let shape = if is_object { self.shape } else { element(self.shape) };
        self.stack.push(Frame { is_object, shape });
        self.shape = shape;
        self.expects_name = is_object;
    }

    fn close(&mut self) {
        self.stack.pop();
        self.shape = self.outer_shape();
        self.expects_name = false;
    }

    fn comma(&mut self) {
        self.shape = self.outer_shape();
        self.expects_name = self.stack.last().is_some_and(|frame| frame.is_object);
    }

    fn outer_shape(&self) -> Shape {
        self.stack.last().map_or(self.root, |frame| frame.shape)
    }

    fn string(&mut self, from: usize, to: usize) {
        let inside = unquoted(&self.text[from..to]);
        let new = if std::mem::take(&mut self.expects_name) {
            let outer = self.stack.last().map_or(Shape::Unlisted, |frame| frame.shape);
            self.shape = self.member_shape(outer, &inside);
            self.new_name(&inside)
        } else {
            self.new_string(&inside)
        };
        if let Some(new) = new {
            let quoted = serde_json::to_string(&new).unwrap_or_else(|_| "\"\"".into());
            self.replace(from, to, &quoted);
        }
    }

    fn number(&mut self, from: usize, to: usize) {
        if let Some(new) = self.new_number(&self.text[from..to]) {
            self.replace(from, to, &new);
        }
    }

    fn replace(&mut self, from: usize, to: usize, with: &str) {
        self.out.push_str(&self.text[self.copied..from]);
        self.out.push_str(with);
        self.copied = to;
    }

    /// The shape of a member. With `keeps_unlisted`, members that no table lists are kept, unless
    /// their names call them secrets or personal data.
    fn member_shape(&self, outer: Shape, name: &str) -> Shape {
        match member(outer, name, self.stack.len() == 1) {
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

    /// Replaces a member's name. `None` if it is kept.
    fn new_name(&self, name: &str) -> Option<String> {
        match self.shape {
            Shape::Unlisted => self.scope.filter.unlisted(name, false),
            // A member's name may itself contain a secret.
            _ if self.scope.keeps_unlisted => self.scope.filter.unlisted(name, true),
            _ => None,
        }
    }

    /// Replaces a string. `None` if it is kept.
    fn new_string(&self, text: &str) -> Option<String> {
        let filter = self.scope.filter;
        match kind_of(self.shape) {
            Some(Kind::Link) if filter.known.is_in(text.as_bytes()) => Some(filter.pseudonyms.opaque(text)),
            Some(Kind::Link) => link(&self.scope, text),
            Some(kind) => filter.value(kind, text),
            None => filter.unlisted(text, matches!(self.shape, Shape::Open)),
        }
    }

    /// Replaces a number. `None` if it is kept.
    fn new_number(&self, text: &str) -> Option<String> {
        let filter = self.scope.filter;
        if matches!(self.shape, Shape::Open) && !filter.known.is_in(text.as_bytes()) {
            return None;
        }
        let new = match kind_of(self.shape) {
            Some(kind) => filter.value(kind, text)?,
            None => String::new(),
        };
        let is_number = !new.is_empty() && new.bytes().all(|byte| byte.is_ascii_digit());
        Some(if is_number { new } else { filter.pseudonyms.number(text) })
    }
}

/// The kind of a single value. If the table expects a list instead, it is the kind of the list's
/// elements.
fn kind_of(shape: Shape) -> Option<Kind> {
    match element(shape) {
        Shape::Value(kind) => Some(kind),
        _ => None,
    }
}

/// Redacts a document. `None` if the text is not JSON.
///
/// A truncated document is redacted up to its end; an unfinished string is removed.
pub(super) fn redact(scope: Scope<'_>, text: &str, root: Shape) -> Option<String> {
    if !is_document(text) {
        return None;
    }
    let bytes = text.as_bytes();
    let out = String::with_capacity(text.len());
    let stack = Vec::new();
    let mut walk = Walk { text, out, copied: 0, scope, root, stack, shape: root, expects_name: false };
    let mut at = 0;
    while at < bytes.len() {
        let mut end = at + 1;
        match bytes[at] {
            b'{' => walk.open(true),
            b'[' => walk.open(false),
            b'}' | b']' => walk.close(),
            b',' => walk.comma(),
            b'"' => {
                let Some(closed) = end_of_string(bytes, at) else {
                    walk.replace(at, text.len(), "");
                    break;
                };
                end = closed;
                walk.string(at, end);
            }
            b'-' | b'0'..=b'9' => {
                end = end_of_word(bytes, at);
                walk.number(at, end);
            }
            _ => {}
        }
        at = end;
    }
    Some(walk.out + &text[walk.copied..])
}

/// The tokens of a document in order: strings without quotes and escapes, numbers, words and signs.
/// `None` if the text is not JSON.
pub(crate) fn tokens(text: &str) -> Option<Vec<String>> {
    if !is_document(text) {
        return None;
    }
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'"' => end_of_string(bytes, at).unwrap_or(bytes.len()),
            byte if is_of_word(byte) => end_of_word(bytes, at),
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

/// Whether a text is JSON: one or several documents, the last of which may be truncated. A lone
/// number or word does not count, since it could just as well be text.
fn is_document(text: &str) -> bool {
    let Some(first @ (b'{' | b'[' | b'"')) = text.trim_start().bytes().next() else { return false };
    let mut documents = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    match documents.find_map(Result::err) {
        None => true,
        Some(error) => error.is_eof() && first != b'"',
    }
}

/// The content of a quoted string. Invalid parts, such as half a surrogate pair, do not make the
/// result empty.
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

/// The end of the string that starts here, after its closing quote.
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

/// The end of the number or word that starts here.
fn end_of_word(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take_while(|byte| is_of_word(**byte)).count()
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-+.".contains(&byte)
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
