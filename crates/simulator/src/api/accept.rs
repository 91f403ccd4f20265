//! Content negotiation (RFC 9110 §12.5).

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, HeaderName};

/// The weight of a media type in thousandths, from the most specific range. Zero rejects the type.
/// `None` means that the header does not mention it.
pub(crate) fn media(headers: &HeaderMap, wanted: &str) -> Option<u16> {
    let kind = wanted.split('/').next().unwrap_or_default();
    let precision = |range: &str| match range.strip_suffix("/*") {
        _ if range.eq_ignore_ascii_case(wanted) => Some(2),
        Some("*") => Some(0),
        Some(group) if group.eq_ignore_ascii_case(kind) => Some(1),
        _ => None,
    };
    weight(headers, ACCEPT, precision)
}

/// Whether the client rejects a body without a content coding. The simulator has no other body.
pub(crate) fn refuses_identity(headers: &HeaderMap) -> bool {
    let precision = |coding: &str| match coding {
        "*" => Some(0),
        coding => coding.eq_ignore_ascii_case("identity").then_some(1),
    };
    weight(headers, ACCEPT_ENCODING, precision) == Some(0)
}

/// The weight of the most precise member that matches. `None` if no member matches.
fn weight(headers: &HeaderMap, name: HeaderName, precision: impl Fn(&str) -> Option<u8>) -> Option<u16> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    let members = lines.flat_map(|line| line.split(',')).filter_map(|member| {
        let mut parts = member.split(';').map(str::trim);
        let precision = precision(parts.next()?)?;
        let given = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some((precision, given.map_or(1_000, thousandths)))
    });
    members.max().map(|(_, weight)| weight)
}

/// Reads a weight; invalid text counts as 1.
fn thousandths(text: &str) -> u16 {
    let number: f64 = text.trim().parse().unwrap_or(1.0);
    if (0.0..=1.0).contains(&number) { (number * 1_000.0) as u16 } else { 1_000 }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn the_most_precise_range_decides() {
        for (accept, json, text) in [
            ("*/*", Some(1_000), Some(1_000)),
            ("text/plain", None, Some(1_000)),
            ("text/*;q=0.5, */*;q=0.1", Some(100), Some(500)),
            ("application/json;q=0, text/plain", Some(0), Some(1_000)),
            ("Application/JSON; q=0.000 , */*", Some(0), Some(1_000)),
            ("application/json;charset=utf-8;q=0", Some(0), None),
            ("text/plain;q=x", None, Some(1_000)),
        ] {
            let headers = headers(ACCEPT, accept);
            assert_eq!((media(&headers, "application/json"), media(&headers, "text/plain")), (json, text));
        }
        assert_eq!(media(&HeaderMap::new(), "text/plain"), None);
    }

    #[test]
    fn a_body_without_a_coding_can_be_refused() {
        for (given, refused) in [
            ("identity;q=0", true),
            ("gzip, *;q=0", true),
            ("identity, *;q=0", false),
            ("gzip;q=0", false),
            ("gzip", false),
            ("", false),
        ] {
            assert_eq!(refuses_identity(&headers(ACCEPT_ENCODING, given)), refused, "{given}");
        }
    }
}
