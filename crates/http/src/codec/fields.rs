//! The fields of a head or of a trailer section, from where they are to a map.

use std::cell::{Cell, RefCell};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::syntax;

/// Where the field lines of a head are.
#[derive(Debug, Default)]
pub struct Places(Vec<Place>);

/// Where the parts of a field line are, in bytes from the beginning of the head.
#[derive(Debug)]
struct Place {
    name: (u32, u32),
    value: (u32, u32),
}

/// The longest list that is kept to be used again.
const KEPT: usize = 128;

/// How many maps are kept to be used again, and how many lines one of them has room for.
const MAPS: usize = 64;
const LINES: usize = 32;

thread_local! {
    /// A list that nobody uses: a connection keeps none between two heads.
    static SPARE: Cell<Vec<Place>> = const { Cell::new(Vec::new()) };
    /// Maps that nobody uses, and that are empty.
    static SPARE_MAPS: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
}

/// Takes back a map of [`Places::take`]: to make one anew costs more than to read a line.
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

/// Lets go of the maps that [`recycle`] has kept on this thread, where there will be no use for them for a while.
pub fn forget() {
    SPARE_MAPS.take();
}

impl Places {
    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a line that begins at `start`; `name` and `value` are parts of `line`, and no head is larger than 4 GiB.
    pub fn push(&mut self, start: usize, line: &[u8], name: &[u8], value: &[u8]) {
        if self.0.capacity() == 0 {
            self.0 = SPARE.take();
        }
        // The name is the beginning of the line.
        let value_start = value.as_ptr().addr() - line.as_ptr().addr();
        let place = |from: usize, length: usize| ((start + from) as u32, (start + from + length) as u32);
        self.0.push(Place { name: place(0, name.len()), value: place(value_start, value.len()) });
    }

    /// The fields of `head`, with room for some more. `None` where a name is longer than the type can hold.
    pub fn take(&mut self, head: &Bytes, more: usize) -> Option<HeaderMap> {
        let mut headers = SPARE_MAPS.with_borrow_mut(Vec::pop).unwrap_or_default();
        headers.reserve(self.0.len() + more);
        for Place { name, value } in &self.0 {
            let name = name_of(&head[name.0 as usize..name.1 as usize])?;
            let value = head.slice(value.0 as usize..value.1 as usize);
            headers.append(name, HeaderValue::from_maybe_shared(value).ok()?);
        }
        self.clear();
        Some(headers)
    }

    /// Forgets every line.
    pub fn clear(&mut self) {
        let mut places = std::mem::take(&mut self.0);
        places.clear();
        if (1..=KEPT).contains(&places.capacity()) {
            SPARE.set(places);
        }
    }
}

/// The name itself: looked for among the most common ones first, as they are most often written.
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

/// The fields of a trailer section, as [`Chunked`](super::chunked::Chunked) keeps it. `None` where it has a line that is
/// none.
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
            let mut places = Places::default();
            let mut start = 0;
            for line in lines {
                let (name, value) = syntax::field(line.trim_end().as_bytes()).unwrap();
                places.push(start, line.trim_end().as_bytes(), name, value);
                start += line.len();
            }
            places.take(&head, 2).unwrap()
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
