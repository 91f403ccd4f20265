//! Validators of bodies that may be changed (RFC 9110 §8.8).
//!
//! A strong `ETag` promises the upstream's bytes. Where the proxy may change them, `"x"` becomes
//! `W/"x"`. A client that then sends `If-Match: W/"x"` means the upstream's `"x"`. `If-None-Match`
//! compares weakly, and a weak tag in `If-Range` never matches, so both are forwarded unchanged.

use http::header::{self, Entry, HeaderMap, HeaderValue};
use http::{Method, Request};

use vbc_http::headers::Survey;

/// The parts of a request on which its response depends.
pub(super) struct Conditions {
    to_head: bool,
    /// The lines of `If-None-Match`.
    known: Vec<HeaderValue>,
}

impl Conditions {
    /// Notes the conditions of a request. In its `If-Match`, weak tags become the upstream's strong
    /// ones.
    pub(super) fn take<B>(request: &mut Request<B>, survey: Survey) -> Self {
        let to_head = *request.method() == Method::HEAD;
        if !survey.tags {
            return Self { to_head, known: Vec::new() };
        }
        let headers = request.headers_mut();
        strengthen(headers);
        Self { to_head, known: headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect() }
    }

    /// Whether the request is a HEAD.
    pub(super) fn is_head(&self) -> bool {
        self.to_head
    }

    /// Whether a 304 with these headers belongs to a body that may have been changed.
    ///
    /// Most 304s have no `Content-Type`. Then the client's tag decides: the proxy has weakened the
    /// tag of every body that it may change.
    #[cold]
    pub(super) fn owns_304(&self, is_json: bool, headers: &HeaderMap) -> bool {
        if headers.contains_key(header::CONTENT_TYPE) {
            return is_json && super::may_change(headers);
        }
        headers.get(header::ETAG).is_some_and(|tag| self.names_weakly(tag))
    }

    fn names_weakly(&self, strong: &HeaderValue) -> bool {
        let weak = [b"W/", strong.as_bytes()].concat();
        self.known.iter().any(|line| tags(line.as_bytes()).any(|tag| tag == weak))
    }
}

/// The tags in a list, in their written form (RFC 9110 §8.8.3). Anything between them is skipped.
fn tags(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let open = rest.iter().position(|byte| *byte == b'"')?;
        let close = open + 1 + rest[open + 1..].iter().position(|byte| *byte == b'"')?;
        let start = if rest[..open].ends_with(b"W/") { open - 2 } else { open };
        let tag = &rest[start..=close];
        rest = &rest[close + 1..];
        Some(tag)
    })
}

/// Makes a strong `ETag` weak, and stops offering ranges of the body.
pub(super) fn weaken(headers: &mut HeaderMap) {
    headers.remove(header::ACCEPT_RANGES);
    if let Some(tag) = headers.get_mut(header::ETAG)
        && tag.as_bytes().starts_with(b"\"")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        *tag = weak;
    }
}

/// Makes weak tags in `If-Match` strong. A weak tag would never match there.
#[cold]
fn strengthen(headers: &mut HeaderMap) {
    let Entry::Occupied(mut lines) = headers.entry(header::IF_MATCH) else { return };
    for line in lines.iter_mut() {
        if let Ok(strong) = HeaderValue::from_bytes(&strengthened(line.as_bytes())) {
            *line = strong;
        }
    }
}

fn strengthened(line: &[u8]) -> Vec<u8> {
    let (mut out, mut quoted, mut at) = (Vec::with_capacity(line.len()), false, 0);
    while let Some(byte) = line.get(at) {
        if !quoted && line[at..].starts_with(b"W/\"") {
            at += 2;
            continue;
        }
        quoted ^= *byte == b'"';
        out.push(*byte);
        at += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_tags_of_a_list_become_strong_and_what_is_inside_a_tag_stays() {
        for (given, sent) in [
            ("*", "*"),
            (r#"W/"x""#, r#""x""#),
            (r#""x""#, r#""x""#),
            (r#"W/"x", "y" ,W/"z""#, r#""x", "y" ,"z""#),
            (r#""W/", W/"a,W/b""#, r#""W/", "a,W/b""#),
            (r#"W/""#, r#"""#),
            ("w/x", "w/x"),
        ] {
            assert_eq!(String::from_utf8(strengthened(given.as_bytes())).unwrap(), sent, "{given}");
        }
    }

    #[test]
    fn the_tags_of_a_list_are_told_from_each_other() {
        let all = |line: &'static str| tags(line.as_bytes()).collect::<Vec<_>>();
        assert_eq!(all(r#"W/"a,b", "c""#), [&br#"W/"a,b""#[..], br#""c""#]);
        assert!(all("*").is_empty() && all(r#"W/"a"#).is_empty());
    }

    #[test]
    fn a_304_without_a_type_belongs_to_a_changed_body_where_the_client_has_a_weak_tag() {
        for (known, etag, expected) in [
            (r#"W/"x""#, r#""x""#, true),
            (r#""y", W/"x""#, r#""x""#, true),
            (r#""x""#, r#""x""#, false),
            (r#"W/"y""#, r#""x""#, false),
            (r#"W/"x""#, r#"W/"x""#, false),
        ] {
            let conditions = Conditions { to_head: false, known: vec![HeaderValue::from_static(known)] };
            let mut headers = HeaderMap::new();
            headers.insert(header::ETAG, HeaderValue::from_static(etag));
            assert_eq!(conditions.owns_304(false, &headers), expected, "{known}");
        }
    }

    #[test]
    fn the_type_of_a_304_tells_more_than_the_tag_of_its_client() {
        let conditions = Conditions { to_head: false, known: vec![HeaderValue::from_static(r#"W/"x""#)] };
        let owns = |kind: &'static str, is_json, cache: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ETAG, HeaderValue::from_static(r#""x""#));
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
            conditions.owns_304(is_json, &headers)
        };
        assert!(owns("application/json", true, "private"));
        assert!(!owns("application/json", true, "no-transform") && !owns("text/plain", false, "private"));
    }
}
