//! The fields of a head or of a trailer section as a map.

use std::cell::{Cell, RefCell};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::syntax;

/// The positions of the field lines of a head. [`push`](Self::push) adds a line, and
/// [`take`](Self::take) turns all lines into a map.
#[derive(Debug, Default)]
pub struct FieldPositions(Vec<FieldPosition>);

/// The positions of a field's name and value: start and end, as byte offsets in the head.
#[derive(Debug)]
struct FieldPosition {
    name: (u32, u32),
    value: (u32, u32),
}

/// The longest list that is reused.
const KEPT: usize = 128;

/// How many maps are reused, and the largest capacity of one.
const MAPS: usize = 64;
const LINES: usize = 32;

thread_local! {
    /// An unused list. A connection holds no list between two heads.
    static SPARE: Cell<Vec<FieldPosition>> = const { Cell::new(Vec::new()) };
    /// Unused maps, which are empty.
    static SPARE_MAPS: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
}

/// Takes back a map from [`FieldPositions::take`] for reuse. A fresh map costs more than reading a
/// line.
pub fn recycle(mut headers: HeaderMap) {
    if (1..=LINES).contains(&headers.capacity()) {
        headers.clear();
        SPARE_MAPS.with_borrow_mut(|maps| {
            if maps.len() < MAPS {
                maps.push(headers);
            }
        });
    }
}

/// Frees the maps that [`recycle`] keeps on this thread. Call it when the thread has no traffic.
pub fn forget() {
    SPARE_MAPS.take();
}

impl FieldPositions {
    /// The number of lines.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Adds a line that begins at `start`, below 4 GiB. `name` and `value` are parts of `line`.
    pub fn push(&mut self, start: usize, line: &[u8], name: &[u8], value: &[u8]) {
        if self.0.capacity() == 0 {
            self.0 = SPARE.take();
        }
        // The name begins the line.
        let value_start = value.as_ptr().addr() - line.as_ptr().addr();
        self.0.push(FieldPosition {
            name: position(start, name.len()),
            value: position(start + value_start, value.len()),
        });
    }

    /// Takes the fields of `head`, as a map with capacity for `more` further ones. `None` if a name
    /// is too long for [`HeaderName`].
    pub fn take(&mut self, head: &Bytes, more: usize) -> Option<HeaderMap> {
        let mut headers = SPARE_MAPS.with_borrow_mut(Vec::pop).unwrap_or_default();
        headers.reserve(self.0.len() + more);
        for FieldPosition { name, value } in &self.0 {
            let name = name_of(&head[name.0 as usize..name.1 as usize])?;
            let value = head.slice(value.0 as usize..value.1 as usize);
            headers.append(name, HeaderValue::from_maybe_shared(value).ok()?);
        }
        self.clear();
        Some(headers)
    }

    /// Removes every line.
    pub fn clear(&mut self) {
        let mut positions = std::mem::take(&mut self.0);
        positions.clear();
        if (1..=KEPT).contains(&positions.capacity()) {
            SPARE.set(positions);
        }
    }
}

fn position(start: usize, length: usize) -> (u32, u32) {
    (start as u32, (start + length) as u32)
}

/// Parses a name. The most common names are compared first, in their usual spellings. `None` if the
/// name is invalid or too long.
fn name_of(name: &[u8]) -> Option<HeaderName> {
    Some(match name {
        b"Host" | b"host" => header::HOST,
        b"Date" | b"date" => header::DATE,
        b"Accept" | b"accept" => header::ACCEPT,
        b"Server" | b"server" => header::SERVER,
        b"Connection" | b"connection" => header::CONNECTION,
        b"User-Agent" | b"user-agent" => header::USER_AGENT,
        b"Content-Type" | b"content-type" => header::CONTENT_TYPE,
        b"Cache-Control" | b"cache-control" => header::CACHE_CONTROL,
        b"Content-Length" | b"content-length" => header::CONTENT_LENGTH,
        b"Accept-Encoding" | b"accept-encoding" => header::ACCEPT_ENCODING,
        _ => return HeaderName::from_bytes(name).ok(),
    })
}

/// The fields of a trailer section from a [`ChunkedReader`](super::chunked::ChunkedReader). `None`
/// if a line is invalid.
pub fn trailers(section: &[u8]) -> Option<HeaderMap> {
    let mut trailers = HeaderMap::new();
    for line in section.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let (name, value) = syntax::field(line).ok()?;
        trailers.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
    }
    Some(trailers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_name_is_what_it_is_in_any_other_way_of_writing() {
        for name in ["Host", "date", "ACCEPT", "server", "Connection", "user-agent", "Content-Type", "X-Own"]
        {
            let ways = [name.to_owned(), name.to_lowercase(), name.to_uppercase()];
            assert!(
                ways.iter()
                    .all(|way| name_of(way.as_bytes()) == HeaderName::from_bytes(name.as_bytes()).ok())
            );
        }
        for name in ["Cache-Control", "Content-Length", "Accept-Encoding"] {
            assert_eq!(name_of(name.as_bytes()), HeaderName::from_bytes(name.as_bytes()).ok());
        }
    }

    #[test]
    fn a_map_that_was_used_before_has_nothing_of_what_it_had() {
        let map = |lines: &[&str]| {
            let head = Bytes::from(lines.concat());
            let mut positions = FieldPositions::default();
            let mut start = 0;
            for line in lines {
                let (name, value) = syntax::field(line.trim_end().as_bytes()).unwrap();
                positions.push(start, line.trim_end().as_bytes(), name, value);
                start += line.len();
            }
            positions.take(&head, 2).unwrap()
        };
        let first = map(&["Host: a\r\n", "X: 1\r\n", "x: 2\r\n", "Cookie: secret\r\n"]);
        assert_eq!(first.get_all("x").iter().collect::<Vec<_>>(), ["1", "2"]);
        recycle(first);
        assert_eq!(SPARE_MAPS.with_borrow(Vec::len), 1);
        let second = map(&["Date: b\r\n"]);
        assert_eq!(second.iter().collect::<Vec<_>>(), [(&header::DATE, &HeaderValue::from_static("b"))]);
        recycle(second);
        forget();
        assert_eq!(SPARE_MAPS.with_borrow(Vec::capacity), 0);
    }
}
