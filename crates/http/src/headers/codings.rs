//! `Accept-Encoding` (RFC 9110 §12.5.3), narrowed to the codings that can be decoded here.

use std::borrow::Cow;

use http::header::{self, Entry, HeaderMap, HeaderValue};

/// Values that browsers often send, each with its narrowed form. Most values that need narrowing
/// are in this list, and for them no new value has to be built.
const OFTEN: [(&[u8], &str); 3] = [
    (b"gzip, deflate, br", "gzip, deflate"),
    (b"gzip, deflate, br, zstd", "gzip, deflate"),
    (b"gzip, br", "gzip"),
];

/// The codings that `*` stands for, unless they are listed by name.
const KNOWN: [&str; 2] = ["gzip", "deflate"];

/// Removes every coding other than gzip, deflate and identity from `Accept-Encoding`. The upstream
/// then cannot choose a coding that cannot be decoded here.
///
/// An absent field stays absent. A line that needs no change stays byte for byte. When nothing is
/// left, `identity` is sent. A wildcard with a weight of 0 only forbids, so it stays. Any other
/// wildcard is replaced by the unlisted ones of gzip and deflate, which get its weight.
pub fn narrow_accept_encoding(headers: &mut HeaderMap) {
    let Entry::Occupied(mut lines) = headers.entry(header::ACCEPT_ENCODING) else { return };
    if lines.iter().all(|line| members(line).all(stays)) {
        return;
    }
    if lines.iter().nth(1).is_none()
        && let Some((_, left)) = OFTEN.iter().find(|(value, _)| lines.get().as_bytes() == *value)
    {
        lines.insert(HeaderValue::from_static(left));
        return;
    }
    let mut unlisted: Vec<&str> = KNOWN
        .into_iter()
        .filter(|coding| !lines.iter().flat_map(members).any(|one| is(one, coding)))
        .collect();
    let kept: Vec<HeaderValue> = lines.iter().filter_map(|line| narrowed(line, &mut unlisted)).collect();
    let mut kept = kept.into_iter();
    lines.insert(kept.next().unwrap_or(HeaderValue::from_static("identity")));
    kept.for_each(|line| lines.append(line));
}

/// The narrowed line; `None` when no member is left.
fn narrowed(line: &HeaderValue, unlisted: &mut Vec<&str>) -> Option<HeaderValue> {
    if members(line).all(stays) {
        return Some(line.clone());
    }
    let mut left: Vec<Cow<'_, [u8]>> = Vec::new();
    for member in members(line) {
        if stays(member) {
            left.push(member.into());
        } else if name(member) == b"*" {
            let weight = &member[1..];
            left.extend(unlisted.drain(..).map(|coding| [coding.as_bytes(), weight].concat().into()));
        }
    }
    left.retain(|member| !member.is_empty());
    (!left.is_empty()).then(|| HeaderValue::from_bytes(&left.join(&b", "[..])).ok()).flatten()
}

fn members(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Whether a member allows only codings that can be decoded.
fn stays(member: &[u8]) -> bool {
    match name(member) {
        b"" => true,
        b"*" => is_forbidden(member),
        name => ["gzip", "deflate", "identity", "x-gzip"].iter().any(|known| is(name, known)),
    }
}

fn name(member: &[u8]) -> &[u8] {
    member.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end()
}

fn is(member: &[u8], coding: &str) -> bool {
    name(member).eq_ignore_ascii_case(coding.as_bytes())
}

/// Whether the weight of a member is 0.
fn is_forbidden(member: &[u8]) -> bool {
    let mut parameters = member.split(|byte| *byte == b';').skip(1).map(<[u8]>::trim_ascii);
    parameters.any(|parameter| match parameter {
        [b'q' | b'Q', b'=', weight @ ..] => {
            weight.starts_with(b"0") && weight.iter().all(|byte| matches!(byte, b'0' | b'.'))
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrowed_lines(lines: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::try_from(*line).unwrap());
        }
        narrow_accept_encoding(&mut headers);
        let left = headers.get_all(header::ACCEPT_ENCODING).iter();
        left.map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn codings_that_cannot_be_decoded_are_taken_out() {
        for (value, left) in [
            ("gzip, deflate, br", "gzip, deflate"),
            ("gzip, deflate, br, zstd", "gzip, deflate"),
            ("gzip, br", "gzip"),
            ("br;q=1.0, gzip;q=0.8", "gzip;q=0.8"),
            ("gzip;q=1.0, br, *;q=0", "gzip;q=1.0, *;q=0"),
            ("ZSTD , GZip ; q=0.5,dcb", "GZip ; q=0.5"),
            ("compress, br;q=0", "identity"),
            ("br", "identity"),
            ("br,", "identity"),
            ("br, identity;q=0", "identity;q=0"),
            ("x-gzip, x-compress", "x-gzip"),
            ("aws-chunked", "identity"),
        ] {
            assert_eq!(narrowed_lines(&[value]), [left], "{value}");
        }
    }

    #[test]
    fn a_wildcard_becomes_what_can_be_decoded() {
        for (value, left) in [
            ("*", "gzip, deflate"),
            ("*;q=0.5", "gzip;q=0.5, deflate;q=0.5"),
            ("gzip, * ; q=0.1", "gzip, deflate ; q=0.1"),
            ("identity;q=0, *", "identity;q=0, gzip, deflate"),
            ("gzip, deflate;q=0, *;q=0.001", "gzip, deflate;q=0"),
            ("*;q=0.0, br", "*;q=0.0"),
            ("*, *", "gzip, deflate"),
        ] {
            assert_eq!(narrowed_lines(&[value]), [left], "{value}");
        }
    }

    #[test]
    fn a_value_that_needs_no_change_stays_byte_for_byte() {
        for value in
            ["gzip", " gzip ,deflate", "identity;q=0", "*;q=0", "gzip;q=1.0,, *;q=0.000", "", "X-GZIP;q=abc"]
        {
            assert_eq!(narrowed_lines(&[value]), [value]);
        }
        assert!(narrowed_lines(&[]).is_empty());
    }

    #[test]
    fn several_lines_are_one_list() {
        assert_eq!(narrowed_lines(&["br", "gzip ,deflate"]), ["gzip ,deflate"]);
        assert_eq!(narrowed_lines(&["gzip", "br, *"]), ["gzip", "deflate"]);
        assert_eq!(narrowed_lines(&["br", "zstd"]), ["identity"]);
        assert_eq!(narrowed_lines(&["*", "*"]), ["gzip, deflate"]);
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_left_that_cannot_be_decoded(
            lines in proptest::collection::vec("(gzip|br|zstd|\\*|deflate|identity|;q=0|;q=1|,| ){0,8}", 1..3)
        ) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let left = narrowed_lines(&lines);
            for line in &left {
                proptest::prop_assert!(members(&HeaderValue::try_from(line).unwrap()).all(stays), "{left:?}");
            }
            let again: Vec<&str> = left.iter().map(String::as_str).collect();
            proptest::prop_assert_eq!(&narrowed_lines(&again), &left);
        }
    }
}
