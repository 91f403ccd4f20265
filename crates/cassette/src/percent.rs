//! Percent-encoding of request targets, which clients and archives apply differently.

use std::borrow::Cow;

use crate::text::is_hex;

/// Whether this byte must be percent-encoded in a URI (RFC 3986 §2). `%` is not checked.
fn must_be_encoded(byte: u8) -> bool {
    !byte.is_ascii_graphic() || b"\"<>[\\]^`{|}".contains(&byte)
}

/// Percent-encodes the characters of a target that a URI must not contain.
pub(crate) fn encoded(target: &str) -> Cow<'_, str> {
    if !target.bytes().any(must_be_encoded) {
        return Cow::Borrowed(target);
    }
    let mut out = String::with_capacity(target.len() + 16);
    for byte in target.bytes() {
        if must_be_encoded(byte) {
            out.push_str(percent_encoding::percent_encode_byte(byte));
        } else {
            out.push(char::from(byte));
        }
    }
    Cow::Owned(out)
}

/// A target in its form for comparison: encoded, with upper-case escapes, and with `%25` for a `%`
/// that starts no escape.
///
/// Nothing is decoded: the gateway distinguishes `%40` from `@`.
pub(crate) fn comparable(target: &str) -> String {
    let target = encoded(target);
    let mut out = String::with_capacity(target.len());
    let mut rest = &*target;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        match escape.get(1..3).filter(|digits| is_hex(digits, 2)) {
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
