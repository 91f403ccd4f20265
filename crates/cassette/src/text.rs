//! Helpers for texts and bytes.

use std::ops::Range;

/// Replaces ranges of a text with `with`. The ranges must be sorted and must not overlap.
pub(crate) fn replaced(text: &[u8], ranges: impl IntoIterator<Item = Range<usize>>, with: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut from = 0;
    for range in ranges {
        out.extend_from_slice(&text[from..range.start]);
        out.extend_from_slice(with);
        from = range.end;
    }
    out.extend_from_slice(&text[from..]);
    out
}

/// Whether a text is exactly this many hexadecimal digits.
pub(crate) fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The bytes of a header value as text: one character per byte, so that no byte is lost.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The inverse of [`latin1`]. A character after U+00FF becomes `?`.
pub(crate) fn from_latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

/// Splits a target into path and query. The query is `None` if there is no question mark.
pub(crate) fn split_query(target: &str) -> (&str, Option<&str>) {
    target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)))
}

/// Implements `Debug` so that only the names of types are shown: their contents may be secret.
macro_rules! debug_shows_nothing {
    ($($name:ident),+) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )+};
}

pub(crate) use debug_shows_nothing;
