//! JSON with values replaced where they stand: order, blanks and numbers stay as they were written.

use serde::de::IgnoredAny;

use super::hide::{Depth, Hide, Kind, value};
use super::hint::{self, Hint, hint, within};
use super::redact::target_at;
use super::xml;

/// Fields that say nothing by themselves: what they are in says it.
const GENERIC: [&str; 6] = ["value", "text", "destination", "data", "key", "display"];

/// Fields whose value is the name of what stands in `value`, in lists of parameters or headers.
const NAMING: [&str; 5] = ["name", "key", "field", "header", "parameter"];

struct Frame {
    is_object: bool,
    hint: Hint,
    /// Whatever is in it is what it is.
    is_whole: bool,
    /// The last key was one of [`NAMING`].
    names: bool,
}

struct Walk<'t, 'h> {
    text: &'t str,
    out: String,
    copied: usize,
    changed: bool,
    hide: &'h mut dyn Hide,
}

impl Walk<'_, '_> {
    fn replace(&mut self, from: usize, to: usize, with: &str) {
        self.out.push_str(&self.text[self.copied..from]);
        self.out.push_str(with);
        self.copied = to;
        self.changed = true;
    }
}

/// What the innermost frame says about what is in it.
fn of_frame(stack: &[Frame]) -> (Hint, bool) {
    stack.last().map_or((Hint::Nothing, false), |frame| (frame.hint, frame.is_whole))
}

/// The document with what is to be hidden replaced; `None` where that is nothing. A document that was cut short is
/// read as far as it goes; a string without its end is taken away.
pub(super) fn redact(text: &str, depth: Depth, hide: &mut dyn Hide) -> Option<String> {
    let bytes = text.as_bytes();
    let mut walk = Walk { text, out: String::new(), copied: 0, changed: false, hide };
    let mut stack: Vec<Frame> = Vec::new();
    let (mut at, mut wants_key) = (0, false);
    let (mut current, mut is_whole) = (Hint::Nothing, false);
    while at < bytes.len() {
        match bytes[at] {
            open @ (b'{' | b'[') => {
                stack.push(Frame { is_object: open == b'{', hint: current, is_whole, names: false });
                wants_key = open == b'{';
                at += 1;
            }
            b'}' | b']' => {
                stack.pop();
                (current, is_whole) = of_frame(&stack);
                wants_key = false;
                at += 1;
            }
            b',' => {
                wants_key = stack.last().is_some_and(|frame| frame.is_object);
                if !wants_key {
                    (current, is_whole) = of_frame(&stack);
                }
                at += 1;
            }
            b'"' => {
                let Some(end) = end_of_string(bytes, at) else {
                    walk.replace(at, text.len(), "");
                    break;
                };
                let inside = unquoted(&text[at..end]);
                let names_next = !wants_key && stack.last().is_some_and(|frame| frame.names);
                let is_label = names_next && hint(&inside) == Hint::Credential;
                if is_label && let Some(frame) = stack.last_mut() {
                    frame.hint = Hint::Credential;
                }
                let hint_here = if wants_key || is_label { Hint::Nothing } else { current };
                let new = string(&inside, hint_here, depth, walk.hide);
                if wants_key {
                    let (outer, outer_is_whole) = of_frame(&stack);
                    let own = if outer_is_whole { within(outer, &inside) } else { hint(&inside) };
                    is_whole = outer_is_whole || (own == Hint::Credential && hint::is_whole(&inside));
                    let generic = GENERIC.contains(&inside.to_ascii_lowercase().as_str());
                    if let Some(frame) = stack.last_mut() {
                        frame.names = NAMING.contains(&inside.to_ascii_lowercase().as_str());
                    }
                    current = if generic && outer != Hint::Nothing { outer } else { own };
                    wants_key = false;
                }
                if let Some(new) = new {
                    let quoted = serde_json::to_string(&new).unwrap_or_else(|_| "\"\"".into());
                    walk.replace(at, end, &quoted);
                }
                at = end;
            }
            b'-' | b'0'..=b'9' => {
                let part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                let end = at + bytes[at..].iter().take_while(part).count();
                if let Some(new) = number(&text[at..end], current, walk.hide) {
                    walk.replace(at, end, &new);
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    let Walk { text, mut out, copied, changed, .. } = walk;
    out.push_str(&text[copied..]);
    changed.then_some(out)
}

/// Whether a text is JSON: one document or several, of which the last may be cut short. A lone number or word is no more
/// JSON than it is text.
pub(super) fn is_document(text: &str) -> bool {
    let Some(first @ (b'{' | b'[' | b'"')) = text.trim_start().bytes().next() else { return false };
    let mut found = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    match found.find_map(Result::err) {
        None => true,
        Some(error) => error.is_eof() && first != b'"',
    }
}

/// Whether a text is JSON or XML, which stand within other texts.
pub(super) fn is_structured(text: &str) -> bool {
    is_document(text) || xml::is_document(text)
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

/// Behind the closing quote of the string that begins here.
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

/// A string in a document, in a form or of a header: a URL, a document of its own, or a value.
pub(super) fn string(text: &str, hint: Hint, depth: Depth, hide: &mut dyn Hide) -> Option<String> {
    let Some(deeper) = depth.deeper().filter(|_| hint != Hint::Credential) else {
        return value(text, hint, depth, hide);
    };
    let is_url = ["http://", "https://", "/"].iter().any(|start| text.starts_with(start));
    if is_url && !text.contains(char::is_whitespace) {
        return target_at(text, deeper, hide);
    }
    if is_document(text) {
        return redact(text, deeper, hide);
    }
    if xml::is_document(text) {
        return xml::redact(text, deeper, hide);
    }
    value(text, hint, depth, hide)
}

fn number(text: &str, hint: Hint, hide: &mut dyn Hide) -> Option<String> {
    match hint {
        Hint::Phone if (7..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            let new = hide.hide(Kind::Phone, text)?;
            // It has to stay one.
            new.bytes().all(|byte| byte.is_ascii_digit()).then_some(new)
        }
        Hint::Credential => hide.hide(Kind::Credential, text).map(|_| "0".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cassette::pseudonyms::{Pseudonyms, Shapes};

    fn shown(text: &str) -> String {
        redact(text, Depth::default(), &mut Shapes).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn values_are_replaced_where_they_stand() {
        assert_eq!(
            shown("{ \"z\" : 1.50 ,\n \"first_name\":\"J\\u0061ne\", \"a\":[\"x\",null] }"),
            "{ \"z\" : 1.50 ,\n \"first_name\":\"name\", \"a\":[\"x\",null] }"
        );
        assert_eq!(
            shown(r#"{"contact_numbers":[{"type":"home","value":"5551234"}]}"#),
            r#"{"contact_numbers":[{"type":"home","value":"phone"}]}"#
        );
        assert_eq!(
            shown(r#"{"from":{"type":"pstn","destination":"5551234"},"n":"5551234"}"#),
            r#"{"from":{"type":"pstn","destination":"phone"},"n":"5551234"}"#
        );
        assert_eq!(
            shown(r#"{"dids":["5551234","5551235"],"id":"5551234"}"#),
            r#"{"dids":["phone","phone"],"id":"5551234"}"#
        );
        assert_eq!(
            shown(r#"{"access_token":"abc","token_type":"Bearer","pin":1234}"#),
            r#"{"access_token":"credential","token_type":"Bearer","pin":0}"#
        );
        assert_eq!(
            shown(r#"{"href":"http://h/users/jane?page=1"}"#),
            r#"{"href":"http://h/users/name?page=1"}"#
        );
        assert_eq!(shown(r#"{"payload":"{\"name\":\"Jane\"}"}"#), r#"{"payload":"{\"name\":\"name\"}"}"#);
        assert_eq!(
            shown(r#"[{"name":"X-Api-Key","value":"abc"},{"name":"page","value":"2"}]"#),
            r#"[{"name":"X-Api-Key","value":"credential"},{"name":"name","value":"2"}]"#
        );
        assert_eq!(
            shown(r#"{"log":"login with password=s3cret failed","a":" {\"token\":\"x\"}"}"#),
            r#"{"log":"login with password=credential failed","a":" {\"token\":\"credential\"}"}"#
        );
        // What is within a credential is one.
        assert_eq!(
            shown(
                r#"{"password":{"old":"x","is_old":true},"tokens":[{"prod":"x","id":7,"type":"y"}],"cookies":{"sid":{"a":"x"}}}"#
            ),
            r#"{"password":{"old":"credential","is_old":true},"tokens":[{"prod":"credential","id":0,"type":"y"}],"cookies":{"sid":{"a":"credential"}}}"#
        );
        assert_eq!(
            shown(r#"{"session":{"id":"5","value":"x","data":{"n":1},"user":{"name":"Jane"}},"a":"b"}"#),
            r#"{"session":{"id":"5","value":"credential","data":{"n":1},"user":{"name":"name"}},"a":"b"}"#
        );
        // Half of a pair is no reason not to look.
        assert_eq!(
            shown(r#"{"password":"s3cret\ud83d","a":"x\ud83d\ude00\u0070in=1\n\ude00","t\ud83doken":"x"}"#),
            r#"{"password":"credential","a":"x😀pin=credential\n\ufffd","t\ud83doken":"credential"}"#
                .replace(r"\ufffd", "\u{fffd}")
        );
        assert_eq!(shown(r#"{"a\"b":"x\\","to":"+15551234567"}"#), r#"{"a\"b":"x\\","to":"phone"}"#);
    }

    #[test]
    fn what_comes_behind_a_nested_value_is_not_taken_for_part_of_it() {
        assert_eq!(
            shown(r#"{"to":[{"a":[]}, "5551234"],"b":"5551234"}"#),
            r#"{"to":[{"a":[]}, "phone"],"b":"5551234"}"#
        );
        assert_eq!(shown(r#"[{"name":"Jane"},"Jane"]"#), r#"[{"name":"name"},"Jane"]"#);
    }

    #[test]
    fn a_number_stays_a_number() {
        let mut hide = Pseudonyms::new(&[1; 32], true);
        let new = redact(r#"{"phone_number":15551234567,"count":15551234567}"#, Depth::default(), &mut hide)
            .unwrap();
        let value: serde_json::Value = serde_json::from_str(&new).unwrap();
        assert!(value["phone_number"].as_u64().is_some_and(|number| number != 15_551_234_567), "{new}");
        assert_eq!(value["count"], 15_551_234_567_u64);
    }

    #[test]
    fn a_document_that_was_cut_short_gives_nothing_away() {
        assert_eq!(shown(r#"{"first_name":"Jane","last_name":"Do"#), r#"{"first_name":"name","last_name":"#);
        assert_eq!(shown(r#"{"a":"\"#), r#"{"a":"#);
        for end in 0..40 {
            let text = r#"{"first_name":"Jané","x":[{"to":1555123"#;
            if let Some(cut) = text.get(..end) {
                let _ = shown(cut);
            }
        }
    }
}
