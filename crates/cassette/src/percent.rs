//! Request targets in one writing: clients and archives differ in which characters they
//! percent-encode.

use std::borrow::Cow;

/// Whether a URI has this byte only percent-encoded (RFC 3986 §2, and `%` aside).
fn is_foreign(byte: u8) -> bool {
    !byte.is_ascii_graphic() || b"\"<>[\\]^`{|}".contains(&byte)
}

/// A target with every character percent-encoded that no URI has.
pub(crate) fn encoded(target: &str) -> Cow<'_, str> {
    if !target.bytes().any(is_foreign) {
        return Cow::Borrowed(target);
    }
    let mut out = String::with_capacity(target.len() + 16);
    for c in target.chars() {
        match c {
            c if c.is_ascii() && !is_foreign(c as u8) => out.push(c),
            c => push_encoded(&mut out, c),
        }
    }
    Cow::Owned(out)
}

fn push_encoded(out: &mut String, c: char) {
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        out.push('%');
        for digit in [byte >> 4, byte & 15] {
            out.extend(char::from_digit(u32::from(digit), 16).map(|digit| digit.to_ascii_uppercase()));
        }
    }
}

/// A target as it is compared: also with `%7b` as `%7B`, and with `%25` for a `%` that begins no
/// escape.
///
/// Nothing is decoded: the gateway tells `%40` from `@`.
pub(crate) fn comparable(target: &str) -> String {
    let target = encoded(target);
    let mut out = String::with_capacity(target.len());
    let mut rest = &*target;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        match escape.get(1..3).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit())) {
            Some(digits) => {
                out.push('%');
                out.push_str(&digits.to_ascii_uppercase());
                rest = &escape[3..];
            }
            None => {
                out.push_str("%25");
                rest = &escape[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_writing_of_a_target_compares_equal() {
        for (raw, coded) in [
            ("/a b/ü", "/a%20b/%c3%bc"),
            ("/a?q={\"x\":[1]}", "/a?q=%7B%22x%22:%5b1%5d%7D"),
            ("/a?p=100%&q=<\\^`|>", "/a?p=100%25&q=%3C%5C%5E%60%7C%3E"),
            ("/a\tb", "/a%09b"),
        ] {
            assert_eq!(comparable(raw), comparable(coded), "{raw}");
            assert_eq!(comparable(&encoded(raw)), comparable(raw), "{raw}");
        }
        for (one, other) in [("/a@b", "/a%40b"), ("/a+b", "/a%20b"), ("/A", "/a"), ("/a%2Fb", "/a/b")] {
            assert_ne!(comparable(one), comparable(other), "{one}");
        }
    }

    #[test]
    fn what_a_client_can_send_stays_as_it_is() {
        let target = "/a@b/%7b?start:gte=x%&to=%2B1&a=(b)'!*,;~";
        assert_eq!(encoded(target), target);
        assert_eq!(encoded("/ü ?{"), "/%C3%BC%20?%7B");
    }
}
