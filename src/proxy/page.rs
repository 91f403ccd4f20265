//! Restricts responses that a browser shows as a page. Such pages come from the upstream, but the
//! browser gives them the proxy's origin.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Whether a browser will show the response in a window or a frame (Fetch Metadata,
/// `Sec-Fetch-Mode` and `Sec-Fetch-Dest`).
pub(super) fn is_navigation(headers: &HeaderMap) -> bool {
    let is = |name: &HeaderName, words: &[&[u8]]| {
        let value = headers.get(name).map(|value| value.as_bytes().trim_ascii());
        value.is_some_and(|value| words.iter().any(|word| value.eq_ignore_ascii_case(word)))
    };
    is(&MODE, &[b"navigate"])
        || is(&DEST, &[b"document", b"iframe", b"frame", b"fencedframe", b"embed", b"object"])
}

/// Keeps a page from running scripts or sending forms, and the browser from guessing its type.
/// Other responses stay unchanged.
pub(super) fn confine(status: StatusCode, headers: &mut HeaderMap) {
    if !is_page(status, headers.get(header::CONTENT_TYPE)) {
        return;
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // The upstream's own policies stay: a browser enforces all policies.
    headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
}

/// Whether a browser may run scripts in the response: HTML, XML, or an unknown type that the
/// browser may take for HTML.
fn is_page(status: StatusCode, content_type: Option<&HeaderValue>) -> bool {
    let Some(content_type) = content_type else {
        // A browser follows a redirection instead of showing it. The fields of a 304 apply to the
        // stored page.
        return !status.is_redirection() || status == StatusCode::NOT_MODIFIED;
    };
    let essence = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii().to_ascii_lowercase();
    matches!(essence.as_slice(), b"text/html" | b"text/xml" | b"application/xml")
        || essence.ends_with(b"+xml")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_navigation_is_told_from_what_a_page_fetches() {
        for (name, value) in [
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
            ("sec-fetch-dest", "iframe"),
            ("sec-fetch-dest", "frame"),
            ("sec-fetch-dest", "embed"),
            ("sec-fetch-dest", "object"),
        ] {
            assert!(is_navigation(&map(&[(name, value)])), "{value}");
        }
        for (name, value) in
            [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty"), ("sec-fetch-site", "navigate")]
        {
            assert!(!is_navigation(&map(&[(name, value)])), "{value}");
        }
    }

    #[test]
    fn whatever_a_browser_may_run_is_confined_and_nothing_else() {
        let confined = |status, lines: &[(&'static str, &'static str)]| {
            let mut headers = map(lines);
            confine(status, &mut headers);
            headers.contains_key(header::CONTENT_SECURITY_POLICY)
        };
        for kind in
            ["text/html", "Text/HTML; charset=utf-8", "application/xhtml+xml", "image/svg+xml", "text/xml"]
        {
            assert!(confined(StatusCode::OK, &[("content-type", kind)]), "{kind}");
        }
        for kind in ["application/json", "text/plain", "audio/mpeg", "image/png"] {
            assert!(!confined(StatusCode::OK, &[("content-type", kind)]), "{kind}");
        }
        for (status, expected) in [
            (StatusCode::OK, true),
            (StatusCode::NOT_FOUND, true),
            (StatusCode::NOT_MODIFIED, true),
            (StatusCode::FOUND, false),
        ] {
            assert_eq!(confined(status, &[]), expected, "{status}");
        }
    }

    #[test]
    fn a_policy_of_the_upstream_holds_too() {
        let mut headers =
            map(&[("content-type", "text/html"), ("content-security-policy", "img-src 'none'")]);
        confine(StatusCode::OK, &mut headers);
        let policies: Vec<_> = headers.get_all(header::CONTENT_SECURITY_POLICY).iter().collect();
        assert_eq!(policies, ["img-src 'none'", "sandbox"]);
    }
}
