//! Boundaries of multipart bodies (RFC 2046 §5.1.1): clients make another one for each request.

use memchr::memmem;

/// What stands for every boundary in comparisons.
const SAME: &[u8] = b"boundary";

/// The type of a multipart body, without parameters.
pub(crate) fn multipart(content_type: &str) -> Option<&str> {
    let essence = content_type.split(';').next()?.trim();
    let is_one = ["multipart/form-data", "multipart/mixed", "multipart/related"];
    is_one.iter().any(|one| essence.eq_ignore_ascii_case(one)).then_some(essence)
}

/// A body with one boundary in place of the one that its type names.
pub(crate) fn without(content_type: &str, body: &[u8]) -> Option<Vec<u8>> {
    multipart(content_type)?;
    let parameters = content_type.split(';').filter_map(|parameter| parameter.trim().split_once('='));
    let mut boundaries = parameters.filter(|(name, _)| name.eq_ignore_ascii_case("boundary"));
    let boundary = boundaries.next()?.1.trim_matches('"').as_bytes();
    if boundary.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(body.len());
    let mut from = 0;
    for at in memmem::find_iter(body, boundary) {
        out.extend_from_slice(&body[from..at]);
        out.extend_from_slice(SAME);
        from = at + boundary.len();
    }
    out.extend_from_slice(&body[from..]);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_bodies_that_differ_in_their_boundaries_are_one() {
        let parts = |boundary: &str| format!("--{boundary}\r\n\r\nx\r\n--{boundary}--\r\n");
        let one = without("multipart/form-data; boundary=\"a\"", parts("a").as_bytes()).unwrap();
        assert_eq!(without("Multipart/Form-Data; Boundary=bcd", parts("bcd").as_bytes()).unwrap(), one);
        assert_eq!(without("text/plain; boundary=a", b"a"), None);
        assert_eq!(without("multipart/mixed", b"a"), None);
        assert_eq!(without("multipart/mixed; boundary=", b"a"), None);
    }
}
