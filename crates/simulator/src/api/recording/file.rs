//! A file over HTTP: preconditions (RFC 9110 §13.2.2) and ranges (§14).

use bytes::Bytes;
use http::HeaderMap;
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_RANGE, ETAG, HeaderName, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::response::{Response, empty, http_date, made, set};
use vbc_base::clock::Timestamp;

/// The metadata of a file, known before its content is produced.
pub(super) struct File {
    pub(super) content_type: &'static str,
    pub(super) name: String,
    /// A strong entity tag, with its quotes.
    pub(super) tag: String,
    pub(super) modified: Timestamp,
    pub(super) length: u64,
}

impl File {
    /// Responds to a GET or a HEAD. Ranges do not apply to a HEAD, so it passes `with_ranges` as
    /// false. Only the content that is sent is produced.
    pub(super) fn respond<P>(&self, headers: &HeaderMap, with_ranges: bool, pieces: P) -> Response
    where
        P: Iterator<Item = Bytes> + Send + 'static,
    {
        let mut response = match self.precondition(headers) {
            Some(status) => empty(status),
            None if with_ranges => self.content(self.requested_range(headers), pieces),
            None => self.content(RequestedRange::Whole, pieces),
        };
        set(&mut response, ETAG, &self.tag);
        set(&mut response, LAST_MODIFIED, &http_date(self.modified));
        set(&mut response, ACCEPT_RANGES, "bytes");
        response
    }

    fn content<P>(&self, requested_range: RequestedRange, pieces: P) -> Response
    where
        P: Iterator<Item = Bytes> + Send + 'static,
    {
        let mut response = match requested_range {
            RequestedRange::Whole => made(self.content_type, self.length, pieces),
            RequestedRange::Part(first, last) => {
                let part = Part { pieces, skip: first, left: last - first + 1 };
                let mut response = made(self.content_type, last - first + 1, part);
                *response.status_mut() = http::StatusCode::PARTIAL_CONTENT;
                set(&mut response, CONTENT_RANGE, &format!("bytes {first}-{last}/{}", self.length));
                response
            }
            RequestedRange::Unsatisfiable => {
                let mut none = empty(416);
                set(&mut none, CONTENT_RANGE, &format!("bytes */{}", self.length));
                return none;
            }
        };
        set(&mut response, CONTENT_DISPOSITION, &format!("attachment; filename=\"{}\"", self.name));
        response
    }

    /// The status of the first failed precondition, in the order of RFC 9110.
    fn precondition(&self, headers: &HeaderMap) -> Option<u16> {
        let since = |name| date(headers, name).map(|since| self.modified.as_second() <= since.as_second());
        let matches = tags(headers, IF_MATCH).map(|mut tags| tags.any(|tag| tag == "*" || tag == self.tag));
        if !matches.or_else(|| since(IF_UNMODIFIED_SINCE)).unwrap_or(true) {
            return Some(412);
        }
        let same = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.tag;
        let known = tags(headers, IF_NONE_MATCH).map(|mut tags| tags.any(same));
        known.or_else(|| since(IF_MODIFIED_SINCE)).unwrap_or(false).then_some(304)
    }

    /// The range that a request selects. Several ranges select the whole file, which RFC 9110
    /// allows.
    fn requested_range(&self, headers: &HeaderMap) -> RequestedRange {
        let stale = headers.get(IF_RANGE).is_some_and(|given| {
            let same_date =
                date(headers, IF_RANGE).is_some_and(|date| date.as_second() == self.modified.as_second());
            given.as_bytes() != self.tag.as_bytes() && !same_date
        });
        let range = headers.get(RANGE).filter(|_| !stale).and_then(|range| range.to_str().ok());
        let Some((unit, range)) = range.and_then(|range| range.split_once('=')) else {
            return RequestedRange::Whole;
        };
        let Some((first, last)) = range.trim().split_once('-') else { return RequestedRange::Whole };
        let Some(last_byte) = self.length.checked_sub(1) else { return RequestedRange::Whole };
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return RequestedRange::Whole;
        }
        let part = match (position(first), position(last)) {
            (Some(first), Some(last)) if first <= last => (first, last.min(last_byte)),
            (Some(first), None) if last.is_empty() => (first, last_byte),
            (None, Some(0)) if first.is_empty() => return RequestedRange::Unsatisfiable,
            (None, Some(suffix)) if first.is_empty() => (self.length.saturating_sub(suffix), last_byte),
            _ => return RequestedRange::Whole,
        };
        if part.0 > last_byte { RequestedRange::Unsatisfiable } else { RequestedRange::Part(part.0, part.1) }
    }
}

/// The part of a file that a request selects.
#[derive(Debug, PartialEq, Eq)]
enum RequestedRange {
    /// The whole file.
    Whole,
    /// From the first to the last byte.
    Part(u64, u64),
    /// No byte of the file is in the range.
    Unsatisfiable,
}

/// A position in a file. A number that overflows is beyond the end of every file.
fn position(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// The entity tags in all lines of a header. Commas within quotes belong to a tag. `None` if the
/// header is absent.
fn tags(headers: &HeaderMap, name: HeaderName) -> Option<impl Iterator<Item = &str>> {
    headers.contains_key(&name).then(|| {
        let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| {
            let mut quoted = false;
            line.split(move |letter| {
                quoted ^= letter == '"';
                letter == ',' && !quoted
            })
            .map(str::trim)
        })
    })
}

/// The date in a header, in one of the three forms of RFC 9110 §5.6.7. Any other form counts as
/// absent.
fn date(headers: &HeaderMap, name: HeaderName) -> Option<Timestamp> {
    const FORMS: [&str; 3] =
        ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let text = headers.get(name)?.to_str().ok()?.trim();
    let time = FORMS.iter().find_map(|form| DateTime::strptime(form, text).ok())?;
    Some(TimeZone::UTC.to_timestamp(time).unwrap_or(Timestamp::MAX))
}

/// A part of a file that is produced in pieces.
struct Part<P> {
    pieces: P,
    /// Bytes of the file that are still to be skipped before the part.
    skip: u64,
    /// Bytes of the part that are still to be sent.
    left: u64,
}

impl<P: Iterator<Item = Bytes>> Iterator for Part<P> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        while self.left > 0 {
            let piece = self.pieces.next()?;
            let length = piece.len() as u64;
            let from = self.skip.min(length);
            self.skip -= from;
            let to = length.min(from.saturating_add(self.left));
            if from < to {
                self.left -= to - from;
                return Some(piece.slice(from as usize..to as usize));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn file(length: u64) -> File {
        File {
            content_type: "audio/mpeg",
            name: "f.mp3".into(),
            tag: "\"t\"".into(),
            modified: "2026-09-05T16:00:00.7Z".parse().unwrap(),
            length,
        }
    }

    fn headers(given: &[(HeaderName, &'static str)]) -> HeaderMap {
        given.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    const WRITTEN: &str = "Sat, 05 Sep 2026 16:00:00 GMT";
    const BEFORE: &str = "Saturday, 05-Sep-26 15:59:59 GMT";
    const AFTER: &str = "Sat Sep  5 16:00:01 2026";

    #[test]
    fn preconditions_are_judged_in_their_order() {
        for (given, status) in [
            (&[][..], None),
            (&[(IF_MATCH, "\"t\"")], None),
            (&[(IF_MATCH, "\"s\", \"t\"")], None),
            (&[(IF_MATCH, "*")], None),
            (&[(IF_MATCH, "\"s\"")], Some(412)),
            (&[(IF_MATCH, "W/\"t\"")], Some(412)),
            (&[(IF_MATCH, "\"t\""), (IF_UNMODIFIED_SINCE, BEFORE)], None),
            (&[(IF_UNMODIFIED_SINCE, BEFORE)], Some(412)),
            (&[(IF_UNMODIFIED_SINCE, WRITTEN)], None),
            (&[(IF_NONE_MATCH, "\"t\"")], Some(304)),
            (&[(IF_NONE_MATCH, "W/\"t\"")], Some(304)),
            (&[(IF_NONE_MATCH, "\"a,b\" , W/\"t\"")], Some(304)),
            (&[(IF_NONE_MATCH, "*")], Some(304)),
            (&[(IF_NONE_MATCH, "\"a,\"t\"\"")], None),
            (&[(IF_NONE_MATCH, "\"s\""), (IF_MODIFIED_SINCE, AFTER)], None),
            (&[(IF_MODIFIED_SINCE, WRITTEN)], Some(304)),
            (&[(IF_MODIFIED_SINCE, AFTER)], Some(304)),
            (&[(IF_MODIFIED_SINCE, BEFORE)], None),
            (&[(IF_MODIFIED_SINCE, "yesterday")], None),
            (&[(IF_MATCH, "\"s\""), (IF_NONE_MATCH, "\"t\"")], Some(412)),
        ] {
            assert_eq!(file(100).precondition(&headers(given)), status, "{given:?}");
        }
        let mut lines = headers(&[(IF_NONE_MATCH, "\"s\"")]);
        lines.append(IF_NONE_MATCH, HeaderValue::from_static("\"t\""));
        assert_eq!(file(100).precondition(&lines), Some(304), "the list is on several lines");
    }

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let of = |range: &'static str| file(100).requested_range(&headers(&[(RANGE, range)]));
        for (range, part) in [
            ("bytes=0-9", (0, 9)),
            ("Bytes=0-0", (0, 0)),
            ("bytes= 90-200", (90, 99)),
            ("bytes=90-", (90, 99)),
            ("bytes=0-99999999999999999999999", (0, 99)),
            ("bytes=-10", (90, 99)),
            ("bytes=-200", (0, 99)),
            ("bytes=-99999999999999999999999", (0, 99)),
        ] {
            assert_eq!(of(range), RequestedRange::Part(part.0, part.1), "{range}");
        }
        for none in ["bytes=100-", "bytes=-0", "bytes=100-200", "bytes=99999999999999999999999-"] {
            assert_eq!(of(none), RequestedRange::Unsatisfiable, "{none}");
        }
        for whole in
            ["bytes=9-0", "bytes=0-1,5-6", "bytes=", "bytes=-", "bytes=a-b", "bytes=+1-5", "lines=0-1", "0-1"]
        {
            assert_eq!(of(whole), RequestedRange::Whole, "{whole}");
        }
        let range = |of: &'static str| headers(&[(RANGE, "bytes=0-9"), (IF_RANGE, of)]);
        for same in ["\"t\"", WRITTEN] {
            assert_eq!(file(100).requested_range(&range(same)), RequestedRange::Part(0, 9), "{same}");
        }
        for other in ["\"other\"", "W/\"t\"", BEFORE, AFTER] {
            assert_eq!(file(100).requested_range(&range(other)), RequestedRange::Whole, "{other}");
        }
        assert_eq!(
            file(0).requested_range(&headers(&[(RANGE, "bytes=0-9")])),
            RequestedRange::Whole,
            "an empty file has no part"
        );
    }

    #[test]
    fn a_part_is_cut_out_of_the_pieces() {
        let whole: Vec<u8> = (0..20).collect();
        for (first, last) in [(0, 19), (0, 0), (3, 4), (4, 5), (5, 14), (19, 19)] {
            let pieces: Vec<Bytes> = whole.chunks(5).map(Bytes::copy_from_slice).collect();
            let part = Part { pieces: pieces.into_iter(), skip: first, left: last - first + 1 };
            let part: Vec<u8> = part.flat_map(|piece| piece.to_vec()).collect();
            assert_eq!(part, whole[first as usize..=last as usize], "{first}-{last}");
        }
    }
}
