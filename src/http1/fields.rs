//! The fields of a head or of a trailer section, from where they are to a map.

use std::cell::Cell;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::syntax;

/// Where the field lines of a head are.
#[derive(Debug, Default)]
pub(crate) struct Places(Vec<Place>);

/// Where the parts of a field line are, in bytes from the beginning of the head.
#[derive(Debug)]
struct Place {
    name: (u32, u32),
    value: (u32, u32),
}

/// The longest list that is kept to be used again.
const KEPT: usize = 128;

thread_local! {
    /// A list that nobody uses: a connection keeps none between two heads.
    static SPARE: Cell<Vec<Place>> = const { Cell::new(Vec::new()) };
}

impl Places {
    /// How many lines there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a line that begins at `start`; `name` and `value` are parts of `line`, and no head is larger than 4 GiB.
    pub(crate) fn push(&mut self, start: usize, line: &[u8], name: &[u8], value: &[u8]) {
        if self.0.capacity() == 0 {
            self.0 = SPARE.take();
        }
        // The name is the beginning of the line.
        let value_start = value.as_ptr().addr() - line.as_ptr().addr();
        let place = |from: usize, length: usize| ((start + from) as u32, (start + from + length) as u32);
        self.0.push(Place { name: place(0, name.len()), value: place(value_start, value.len()) });
    }

    /// The fields of `head`, with room for some more. `None` where a name is longer than the type can hold.
    pub(crate) fn take(&mut self, head: &Bytes, more: usize) -> Option<HeaderMap> {
        let mut headers = HeaderMap::with_capacity(self.0.len() + more);
        for Place { name, value } in &self.0 {
            let name = HeaderName::from_bytes(&head[name.0 as usize..name.1 as usize]).ok()?;
            let value = head.slice(value.0 as usize..value.1 as usize);
            headers.append(name, HeaderValue::from_maybe_shared(value).ok()?);
        }
        self.clear();
        Some(headers)
    }

    /// Forgets every line.
    pub(crate) fn clear(&mut self) {
        let mut places = std::mem::take(&mut self.0);
        places.clear();
        if (1..=KEPT).contains(&places.capacity()) {
            SPARE.set(places);
        }
    }
}

/// The fields of a trailer section, as [`Chunked`](super::chunked::Chunked) keeps it. `None` where it has a line that is
/// none.
pub(crate) fn trailers(section: &[u8]) -> Option<HeaderMap> {
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
