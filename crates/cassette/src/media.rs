//! Media types, and the boundaries of multipart bodies.

use memchr::memmem;

use crate::text::replaced;

/// Stands for every boundary in comparisons.
const SAME: &[u8] = b"boundary";

/// The media type of a `Content-Type` without parameters, in lower case.
pub(crate) fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a media type without parameters is JSON.
pub(crate) fn is_json(essence: &str) -> bool {
    essence == "application/json" || essence.ends_with("+json")
}

/// The value of a parameter of a `Content-Type`, with its quotes.
pub(crate) fn parameter<'c>(content_type: &'c str, name: &str) -> Option<&'c str> {
    let (_, parameters) = content_type.split_once(';')?;
    let mut pairs = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    let (_, value) = pairs.find(|(known, _)| known.trim().eq_ignore_ascii_case(name))?;
    Some(value.trim())
}

/// The media type of a multipart body, as written and without parameters.
pub(crate) fn multipart(content_type: &str) -> Option<&str> {
    let essence = content_type.split(';').next()?.trim();
    let types = ["multipart/form-data", "multipart/mixed", "multipart/related"];
    types.iter().any(|known| essence.eq_ignore_ascii_case(known)).then_some(essence)
}

/// A multipart body with [`SAME`] as its boundary.
///
/// Clients choose a new boundary (RFC 2046 §5.1.1) for each request.
pub(crate) fn with_same_boundary(content_type: &str, body: &[u8]) -> Option<Vec<u8>> {
    multipart(content_type)?;
    let boundary = parameter(content_type, "boundary")?.trim_matches('"').as_bytes();
    if boundary.is_empty() {
        return None;
    }
    let ranges = memmem::find_iter(body, boundary).map(|at| at..at + boundary.len());
    Some(replaced(body, ranges, SAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_bodies_that_differ_in_their_boundaries_are_one() {
        let parts = |boundary: &str| format!("--{boundary}\r\n\r\nx\r\n--{boundary}--\r\n");
        let one = with_same_boundary("multipart/form-data; boundary=\"a\"", parts("a").as_bytes()).unwrap();
        assert_eq!(
            with_same_boundary("Multipart/Form-Data; Boundary=bcd", parts("bcd").as_bytes()).unwrap(),
            one
        );
        assert_eq!(with_same_boundary("text/plain; boundary=a", b"a"), None);
        assert_eq!(with_same_boundary("multipart/mixed", b"a"), None);
        assert_eq!(with_same_boundary("multipart/mixed; boundary=", b"a"), None);
    }
}
