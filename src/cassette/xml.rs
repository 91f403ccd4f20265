//! XML and HTML with values replaced where they stand. It is read, not checked: what is not well-formed is read as far as it
//! makes sense.

use super::hide::{Depth, Edit, Hide, prose};
use super::hint::{self, Hint, hint, within};
use super::json::string;

/// Elements and attributes that say nothing by themselves: what they are in says it.
const GENERIC: [&str; 5] = ["value", "text", "data", "content", "string"];
/// Attributes that name what `value`, or the text, is.
const NAMING: [&str; 5] = ["name", "key", "id", "field", "property"];
/// An element's end is looked for so far out.
const FAR: usize = 64;

struct Element<'t> {
    name: &'t str,
    hint: Hint,
    /// Whatever is in it is what it is.
    is_whole: bool,
}

/// Whether a text is one, as far as its beginning tells and some tag has an end.
pub(super) fn is_document(text: &str) -> bool {
    let begin = text.trim_start().strip_prefix('<').and_then(|rest| rest.chars().next());
    let is_tag = begin.is_some_and(|first| first.is_alphabetic() || "_?!".contains(first));
    is_tag && (text.contains("</") || text.contains("/>"))
}

/// The document with what is to be hidden replaced; `None` where that is nothing.
pub(super) fn redact(text: &str, depth: Depth, hide: &mut dyn Hide) -> Option<String> {
    let mut edit = Edit::of(text);
    let mut open: Vec<Element<'_>> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let hint = open.last().map_or(Hint::Nothing, |element| element.hint);
        let rest = &text[at..];
        let end = if let Some(inner) = rest.strip_prefix("<![CDATA[") {
            let len = inner.find("]]>").unwrap_or(inner.len());
            content(&mut edit, at + 9, at + 9 + len, hint, depth, hide);
            (at + 9 + len + 3).min(text.len())
        } else if let Some(inner) = rest.strip_prefix("<!--") {
            let len = inner.find("-->").unwrap_or(inner.len());
            content(&mut edit, at + 4, at + 4 + len, Hint::Nothing, depth, hide);
            (at + 4 + len + 3).min(text.len())
        } else if let Some(inner) = rest.strip_prefix("</") {
            let name = name_at(inner);
            let outer = open.iter().rev().take(FAR).position(|element| element.name == name);
            if let Some(outer) = outer {
                open.truncate(open.len() - outer - 1);
            }
            at + rest.find('>').map_or(rest.len(), |end| end + 1)
        } else if rest.starts_with('<') && !name_at(rest[1..].trim_start_matches(['?', '!'])).is_empty() {
            tag(&mut edit, &mut open, at, depth, hide)
        } else {
            let len = rest.bytes().skip(1).position(|byte| byte == b'<').map_or(rest.len(), |end| end + 1);
            content(&mut edit, at, at + len, hint, depth, hide);
            at + len
        };
        at = end;
    }
    edit.finish()
}

/// The name that begins here.
fn name_at(text: &str) -> &str {
    let part = |c: char| c.is_alphanumeric() || "_-.:".contains(c);
    &text[..text.find(|c| !part(c)).unwrap_or(text.len())]
}

/// A name without its namespace.
fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or_default()
}

fn content(edit: &mut Edit<'_>, from: usize, to: usize, hint: Hint, depth: Depth, hide: &mut dyn Hide) {
    let text = &edit.text[from..to];
    let begin = from + text.len() - text.trim_start().len();
    let text = text.trim();
    let new = match hint {
        Hint::Nothing if text.contains(char::is_whitespace) => prose(text, depth, hide),
        _ => string(text, hint, depth, hide),
    };
    if let Some(new) = new {
        edit.replace(begin, begin + text.len(), &new);
    }
}

/// Reads the tag that begins at `at`, and gives where it ends.
fn tag<'t>(
    edit: &mut Edit<'t>,
    open: &mut Vec<Element<'t>>,
    at: usize,
    depth: Depth,
    hide: &mut dyn Hide,
) -> usize {
    let text = edit.text;
    let named = text[at + 1..].trim_start_matches(['?', '!']);
    let (is_element, name) = (named.len() == text.len() - at - 1, name_at(named));
    let (attributes, end) = attributes(text, text.len() - named.len() + name.len());
    let (outer, is_whole) =
        open.last().map_or((Hint::Nothing, false), |element| (element.hint, element.is_whole));
    let own = if is_whole { within(outer, local(name)) } else { hint(local(name)) };
    let is_whole = is_whole || (own == Hint::Credential && hint::is_whole(local(name)));
    let mut inner = if own == Hint::Nothing && is_one_of(&GENERIC, name) { outer } else { own };
    // `<entry key="password">`, `<param name="password" value="…"/>`.
    let names = |attribute: &&Attribute<'t>| {
        is_one_of(&NAMING, attribute.name) && hint(&text[attribute.from..attribute.to]) != Hint::Nothing
    };
    let naming = attributes.iter().find(names).copied();
    let has_value = attributes.iter().any(|attribute| is_one_of(&GENERIC, attribute.name));
    let is_label = |attribute: &Attribute<'_>| {
        naming.is_some_and(|naming| {
            naming.from == attribute.from
                && (has_value || hint(&text[naming.from..naming.to]) == Hint::Credential)
        })
    };
    if let Some(naming) = naming.filter(is_label) {
        inner = hint(&text[naming.from..naming.to]);
    }
    for attribute in &attributes {
        let hint = match hint(local(attribute.name)) {
            _ if is_label(attribute) => continue,
            _ if is_one_of(&GENERIC, attribute.name) => inner,
            // In HTML it names a field.
            Hint::Name if has_value && is_one_of(&NAMING, attribute.name) => continue,
            own => own,
        };
        if let Some(new) = string(&text[attribute.from..attribute.to], hint, depth, hide) {
            edit.replace(attribute.from, attribute.to, &new);
        }
    }
    if is_element && !text[..end].ends_with("/>") {
        open.push(Element { name, hint: inner, is_whole });
    }
    end
}

fn is_one_of(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| local(name).eq_ignore_ascii_case(known))
}

#[derive(Clone, Copy)]
struct Attribute<'t> {
    name: &'t str,
    from: usize,
    to: usize,
}

/// The attributes of a tag, and where it ends.
fn attributes(text: &str, mut at: usize) -> (Vec<Attribute<'_>>, usize) {
    let mut found = Vec::new();
    loop {
        let rest = &text[at..];
        at += rest.len() - rest.trim_start().len();
        let rest = &text[at..];
        let name = name_at(rest);
        let Some(next) = rest[name.len()..].chars().next() else { return (found, text.len()) };
        at += name.len();
        match next {
            '>' => return (found, at + 1),
            // The next tag: this one has no end.
            '<' => return (found, at),
            '=' => {
                let blank = text[at + 1..].len() - text[at + 1..].trim_start().len();
                let from = at + 1 + blank;
                let (begin, to) = match text[from..].chars().next() {
                    Some(quote @ ('"' | '\'')) => {
                        let len = text[from + 1..].find(quote).unwrap_or(text.len() - from - 1);
                        (from + 1, from + 1 + len)
                    }
                    _ => {
                        let ends = |c: char| c.is_whitespace() || c == '>' || c == '<';
                        (from, from + text[from..].find(ends).unwrap_or(text.len() - from))
                    }
                };
                if begin < to && !name.is_empty() {
                    found.push(Attribute { name, from: begin, to });
                }
                // Behind the closing quote.
                at = (to + usize::from(begin > from)).min(text.len());
            }
            _ if name.is_empty() => at += next.len_utf8(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cassette::pseudonyms::Shapes;

    fn shown(text: &str) -> String {
        redact(text, Depth::default(), &mut Shapes).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn elements_and_attributes_are_what_their_names_say() {
        for (text, expected) in [
            (
                "<?xml version=\"1.0\"?>\n<login>\n <password>\n  s3 cret </password><x>5</x></login>",
                "<?xml version=\"1.0\"?>\n<login>\n <password>\n  credential </password><x>5</x></login>",
            ),
            ("<w:Password Type='t'>x</w:Password>", "<w:Password Type='t'>credential</w:Password>"),
            ("<a token=\"x>y\" b='1'/>z", "<a token=\"credential\" b='1'/>z"),
            ("<entry key=\"password\">x</entry>", "<entry key=\"password\">credential</entry>"),
            ("<p value='x' name='apiKey'/>", "<p value='credential' name='apiKey'/>"),
            ("<token><![CDATA[x<y]]></token>", "<token><![CDATA[credential]]></token>"),
            ("<token><value>x</value></token>", "<token><value>credential</value></token>"),
            ("<first_name>Jane</first_name> Jane", "<first_name>name</first_name> Jane"),
            ("<to>5551234</to><n>5551234</n>", "<to>phone</to><n>5551234</n>"),
            ("<p>call +1 555 123 4567 or j@x.org</p>", "<p>call phone or email</p>"),
            ("<!-- password=x --><a>b</a>", "<!-- password=credential --><a>b</a>"),
            ("<input name=csrf value=abc><br>", "<input name=csrf value=credential><br>"),
            ("<meta name=\"viewport\" content=\"width\">", "<meta name=\"viewport\" content=\"width\">"),
            ("<user name=\"Jane\"/>", "<user name=\"name\"/>"),
            (
                "<tokens><prod>x</prod><type>y</type></tokens>",
                "<tokens><prod>credential</prod><type>y</type></tokens>",
            ),
            ("<session><id>x</id></session>", "<session><id>x</id></session>"),
            ("<password>s3c", "<password>credential"),
            ("a < b & token=x <", "a < b & token=credential <"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn any_text_is_read_without_end_or_panic() {
        let parts =
            ["<", "</", ">", "/>", "a", "=", "\"", "'", " ", "<!--", "<![CDATA[", "é", "token", "?", "!"];
        let mut seed = 1_usize;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..10 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text += parts[(seed >> 33) % parts.len()];
            }
            let _ = shown(&text);
        }
    }
}
