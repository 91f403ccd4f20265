//! Bodies in parts (RFC 2046 §5.1, RFC 7578), each with a name and a type of its own.

use memchr::memmem;

use super::body::{Body, inner, written};
use super::hide::{Depth, Hide};
use super::hint::{Hint, hint};
use super::json::string;
use super::pseudonyms::replaced;
use super::redact::{from_latin1, header, latin1};

/// What stands between the parts: as the content type says and the body has it, or else as the body begins. `None` where it has
/// no parts, whatever is said.
pub(super) fn boundary(content_type: &str, body: &[u8]) -> Option<Vec<u8>> {
    let is_multipart = content_type.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/"));
    let named = parameter(content_type, "boundary").filter(|_| is_multipart);
    let is_there = |boundary: &String| {
        !boundary.is_empty() && delimiters(body, &[b"--", boundary.as_bytes()].concat()).next().is_some()
    };
    if let Some(boundary) = named.filter(is_there) {
        return Some(boundary.into_bytes());
    }
    let rest = body.trim_ascii_start().strip_prefix(b"--")?;
    let line = rest.split(|byte| *byte == b'\n').next()?.trim_ascii_end();
    let head = &rest[line.len()..].trim_ascii_start();
    let is_one = is_multipart || head.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"));
    (is_one && (1..=70).contains(&line.len())).then(|| line.to_vec())
}

/// Where a delimiter begins a line.
fn delimiters<'b>(body: &'b [u8], delimiter: &'b [u8]) -> impl Iterator<Item = usize> {
    memmem::find_iter(body, delimiter).filter(|at| *at == 0 || body[at - 1] == b'\n')
}

/// A content type for comparing: its boundary is another every time.
pub(super) fn without_boundary(content_type: &str) -> &str {
    let kind = content_type.split(';').next().unwrap_or_default();
    if parameter(content_type, "boundary").is_some() { kind } else { content_type }
}

/// A body for comparing.
pub(super) fn with_one_boundary(content_type: Option<&str>, body: Vec<u8>) -> Vec<u8> {
    match boundary(content_type.unwrap_or_default(), &body) {
        Some(boundary) => replaced(&body, &[b"--", &boundary[..]].concat(), b"--boundary"),
        None => body,
    }
}

/// A parameter of a header's value.
fn parameter(value: &str, name: &str) -> Option<String> {
    let mut is_quoted = false;
    let ends = |c: char| {
        is_quoted ^= c == '"';
        c == ';' && !is_quoted
    };
    value.split(ends).skip(1).find_map(|parameter| {
        let (found, value) = parameter.split_once('=')?;
        let is_it = found.trim().eq_ignore_ascii_case(name);
        is_it.then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// The body with what is to be hidden replaced; `None` where that is nothing.
pub(super) fn parts(body: &[u8], boundary: &[u8], depth: Depth, hide: &mut dyn Hide) -> Option<Vec<u8>> {
    let delimiter = [b"--", boundary].concat();
    let ends: Vec<usize> = delimiters(body, &delimiter).chain([body.len()]).collect();
    let preamble = &body[..ends[0]];
    let new = inner(&Body { kind: None, bytes: preamble }, depth, hide);
    let mut changed = new.is_some();
    let mut out = new.unwrap_or_else(|| preamble.to_vec());
    for pair in ends.windows(2) {
        let (from, to) = (pair[0] + delimiter.len(), pair[1]);
        out.extend_from_slice(&delimiter);
        match part(&body[from..to], to == body.len(), depth, hide) {
            Some(new) => {
                changed = true;
                out.extend_from_slice(&new);
            }
            None => out.extend_from_slice(&body[from..to]),
        }
    }
    changed.then_some(out)
}

/// What follows a delimiter, up to the next one.
fn part(text: &[u8], is_last: bool, depth: Depth, hide: &mut dyn Hide) -> Option<Vec<u8>> {
    let Some(head_len) = head_of(text) else {
        // No part, or what is behind the last one.
        return inner(&Body { kind: None, bytes: text }, depth, hide);
    };
    let (head, content) = text.split_at(head_len);
    // The line's end before the next delimiter is not of the content.
    let end = match content {
        _ if is_last => content.len(),
        [.., b'\r', b'\n'] => content.len() - 2,
        [.., b'\n'] => content.len() - 1,
        _ => content.len(),
    };
    let (content, line_end) = content.split_at(end);
    let (mut kind, mut name) = (None, String::new());
    let mut head_changed = false;
    let mut new_head = String::new();
    for line in latin1(head).split_inclusive('\n') {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let trimmed = value.trim();
        let field_name = field.trim().to_ascii_lowercase();
        match &*field_name {
            "content-type" => kind = Some(trimmed.to_owned()),
            "content-disposition" => name = parameter(trimmed, "name").unwrap_or_default(),
            _ => {}
        }
        match header(&field_name, trimmed, hide).filter(|_| !trimmed.is_empty()) {
            Some(new) => {
                head_changed = true;
                new_head += &line.replacen(trimmed, &new, 1);
            }
            None => new_head += line,
        }
    }
    let new_content = content_of(content, kind.as_deref(), hint(&name), depth, hide);
    if !head_changed && new_content.is_none() {
        return None;
    }
    let new_content = new_content.as_deref().unwrap_or(content);
    Some([&from_latin1(&new_head)[..], new_content, line_end].concat())
}

/// The length of a part's head: up to an empty line, or where none is there as far as lines are fields.
fn head_of(text: &[u8]) -> Option<usize> {
    let ends = [&b"\r\n\r\n"[..], b"\n\n"];
    let whole = ends.iter().filter_map(|end| Some(memmem::find(text, end)? + end.len())).min();
    whole.or_else(|| {
        let begin = memchr::memchr(b'\n', text)? + 1;
        let is_field =
            |line: &&[u8]| line.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"));
        let fields = text[begin..].split_inclusive(|byte| *byte == b'\n').take_while(is_field);
        let len: usize = fields.map(<[u8]>::len).sum();
        (len > 0).then_some(begin + len)
    })
}

fn content_of(
    content: &[u8],
    kind: Option<&str>,
    hint: Hint,
    depth: Depth,
    hide: &mut dyn Hide,
) -> Option<Vec<u8>> {
    let is_plain = kind.is_none_or(|kind| kind.starts_with("text/plain"));
    match hint {
        // Whatever its bytes are.
        Hint::Credential => written(content, |text| string(text, hint, depth, hide)),
        Hint::Name | Hint::Phone | Hint::Opaque if is_plain && std::str::from_utf8(content).is_ok() => {
            written(content, |text| string(text, hint, depth, hide))
        }
        _ => inner(&Body { kind, bytes: content }, depth, hide),
    }
}

#[cfg(test)]
mod tests {
    use crate::cassette::body::body;
    use crate::cassette::pseudonyms::Shapes;
    use crate::cassette::redact::{from_latin1, latin1};

    #[test]
    fn each_part_is_what_its_name_and_its_type_say() {
        let text = "preamble\r\n--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\ns3cret\r\n--b\r\n\
                    Content-Disposition: form-data; filename=\"15551234567.mp3\"; name=\"a\"\r\n\
                    Content-Type: audio/mpeg\r\n\r\n\u{1}15551234567\r\n--b\r\n\
                    content-disposition: form-data; name=first_name\r\n\r\nJane\r\n--b\r\n\
                    Content-Type: application/json\r\n\r\n{\"token\":\"x\"}\r\n--b--\r\n";
        let expected = "preamble\r\n--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\ncredential\r\n--b\r\n\
                    Content-Disposition: form-data; filename=\"phone.mp3\"; name=\"a\"\r\n\
                    Content-Type: audio/mpeg\r\n\r\n\u{1}15551234567\r\n--b\r\n\
                    content-disposition: form-data; name=first_name\r\n\r\nname\r\n--b\r\n\
                    Content-Type: application/json\r\n\r\n{\"token\":\"credential\"}\r\n--b--\r\n";
        let shown = |kind: Option<&str>, text: &str| {
            let new = body(kind, text.as_bytes(), &mut Shapes);
            String::from_utf8(new.unwrap_or_else(|| text.as_bytes().to_vec())).unwrap()
        };
        assert_eq!(shown(Some("multipart/form-data; boundary=b"), text), expected);
        assert_eq!(shown(Some("Multipart/mixed; x=\"a;b\"; boundary=\"b\""), text), expected);
        // Without the type the body says it.
        let (text, expected) =
            (text.trim_start_matches("preamble\r\n"), expected.trim_start_matches("preamble\r\n"));
        assert_eq!(shown(None, text), expected);
        assert_eq!(shown(Some("application/octet-stream"), text), expected);
        assert_eq!(shown(Some("multipart/form-data"), text), expected);
        // Cut short.
        for end in 0..text.len() {
            let _ = shown(Some("multipart/form-data; boundary=b"), &text[..end]);
        }
        let cut = "--b\r\nContent-Disposition: form-data; name=\"pin\"\r\n\r\n12";
        assert!(shown(None, cut).ends_with("\r\n\r\ncredential"));
    }

    #[test]
    fn what_is_no_part_and_what_is_no_text_is_read_too() {
        let head = "Content-Disposition: form-data; name=\"password\"\r\n";
        for (text, expected) in [
            (
                format!("pin=1\r\n--b\r\n{head}\r\nx\r\n--b--\r\npassword=x"),
                format!("pin=credential\r\n--b\r\n{head}\r\ncredential\r\n--b--\r\npassword=credential"),
            ),
            (
                format!("--b\r\n{head}\r\ns3cr\u{e9}\0t\r\n--b--"),
                format!("--b\r\n{head}\r\ncredential\r\n--b--"),
            ),
            // Without the empty line.
            (
                format!("--b\r\n{head}s3cret\r\n--b\r\npassword: x\r\n--b--"),
                format!("--b\r\n{head}credential\r\n--b\r\npassword: credential\r\n--b--"),
            ),
            // Another boundary than it is said.
            (format!("\r\n--c\r\n{head}\r\nx\r\n--c--"), format!("\r\n--c\r\n{head}\r\ncredential\r\n--c--")),
            ("{\"token\":\"x\"}".to_owned(), "{\"token\":\"credential\"}".to_owned()),
        ] {
            let new =
                body(Some("multipart/form-data; boundary=b"), &from_latin1(&text), &mut Shapes).unwrap();
            assert_eq!(latin1(&new), expected);
        }
    }

    #[test]
    fn parts_within_parts_are_read_a_few_levels_deep() {
        let mut text = "Content-Disposition: form-data; name=pin\r\n\r\n1".to_owned();
        for level in 0..3 {
            text = format!(
                "Content-Type: multipart/mixed; boundary={level}\r\n\r\n--{level}\r\n{text}\r\n--{level}--"
            );
        }
        let kind = "multipart/mixed; boundary=top";
        let whole = format!("--top\r\n{text}\r\n--top--");
        let new = body(Some(kind), whole.as_bytes(), &mut Shapes).unwrap();
        assert!(String::from_utf8(new).unwrap().contains("credential"));
        for level in 0..1000 {
            text = format!(
                "Content-Type: multipart/mixed; boundary=x{level}\r\n\r\n--x{level}\r\n{text}\r\n--x{level}--"
            );
        }
        let _ = body(Some(kind), format!("--top\r\n{text}\r\n--top--").as_bytes(), &mut Shapes);
    }
}
