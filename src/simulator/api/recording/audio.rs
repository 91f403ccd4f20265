//! What a recording sounds like: silence, in an MP3 of exactly the size that was announced for it.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_RANGE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE};

use super::super::hal::not_found;
use super::Request;
use crate::simulator::answer::{Answer, empty, made, set, sized};
use crate::simulator::random::Random;

/// A longer recording ends here.
const LONGEST: u64 = 16 << 20;
/// MPEG-1 Layer III, 64 kbit/s, 48 kHz, mono, no CRC: 24 ms in 192 bytes.
const FRAME: usize = 192;
const HEADER: [u8; 4] = [0xff, 0xfb, 0x54, 0xc0];
/// Header and side information. All zero, the latter says that there is nothing to be heard, and all that follows in
/// the frame is for anybody.
const SILENCE: usize = HEADER.len() + 17;
/// The header of an ID3v2 tag, which takes what is over from whole frames.
const TAG: usize = 10;

pub(super) fn get(request: Request<'_>) -> Answer {
    answer(request, true)
}

pub(super) fn head(request: Request<'_>) -> Answer {
    answer(request, false)
}

fn answer(request: Request<'_>, with_ranges: bool) -> Answer {
    let id = request.parameter(0);
    let now = request.now;
    let recordings = request.state.world.account(request.account).map(|account| &account.recordings);
    let found = recordings
        .into_iter()
        .flatten()
        .find(|recording| recording.ready <= now && recording.id.to_string() == id);
    let Some(recording) = found else { return not_found("Recording not found") };
    let length = size(recording.bytes);
    let tag = format!("\"{id}-{length}\"");
    let known = request.headers.get(IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    if known.is_some_and(|known| is_known(known, &tag)) {
        let mut unchanged = empty(304);
        set(&mut unchanged, ETAG, &tag);
        return unchanged;
    }
    let range = match with_ranges {
        true => asked(request.headers, &tag, length),
        false => Asked::Whole,
    };
    let seed = recording.id;
    let mut answer = match range {
        Asked::Whole => {
            let whole = std::iter::once_with(move || audio(seed, length));
            made("audio/mpeg", length as u64, whole)
        }
        Asked::Part(first, last) => {
            let mut part = sized(206, "audio/mpeg", audio(seed, length).slice(first..=last));
            set(&mut part, CONTENT_RANGE, &format!("bytes {first}-{last}/{length}"));
            part
        }
        Asked::Nothing => {
            let mut none = empty(416);
            set(&mut none, CONTENT_RANGE, &format!("bytes */{length}"));
            none
        }
    };
    set(&mut answer, CONTENT_DISPOSITION, &format!("attachment; filename=\"{id}.mp3\""));
    set(&mut answer, ETAG, &tag);
    set(&mut answer, ACCEPT_RANGES, "bytes");
    answer
}

/// Whether one of a client's tags is this one; weak ones are too (RFC 9110 §13.1.2).
fn is_known(known: &str, tag: &str) -> bool {
    let mut tags = known.split(',').map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

pub(super) fn size(announced: u64) -> usize {
    usize::try_from(announced.min(LONGEST)).unwrap_or_default()
}

/// What of it is asked for (RFC 9110 §14).
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    /// From the first to the last byte.
    Part(usize, usize),
    Nothing,
}

fn asked(headers: &HeaderMap, tag: &str, length: usize) -> Asked {
    let stale = headers.get(IF_RANGE).is_some_and(|given| given.as_bytes() != tag.as_bytes());
    let range = headers.get(RANGE).and_then(|range| range.to_str().ok()?.strip_prefix("bytes="));
    // Of several ranges the whole is sent, as is allowed.
    let Some((first, last)) = range.filter(|_| !stale).and_then(|range| range.trim().split_once('-')) else {
        return Asked::Whole;
    };
    let last_byte = length.saturating_sub(1);
    let part = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.min(last_byte)),
        (Ok(first), Err(_)) if last.is_empty() => (first, last_byte),
        (Err(_), Ok(suffix)) if first.is_empty() => match suffix {
            0 => return Asked::Nothing,
            _ => (length.saturating_sub(suffix), last_byte),
        },
        _ => return Asked::Whole,
    };
    if part.0 >= length { Asked::Nothing } else { Asked::Part(part.0, part.1) }
}

/// The same for the same recording, and no two alike: what nobody hears is seeded.
pub(super) fn audio(seed: u64, length: usize) -> Bytes {
    let mut random = Random::new(seed);
    let mut over = length % FRAME;
    if (1..TAG).contains(&over) && length >= FRAME {
        over += FRAME;
    }
    let mut out = Vec::with_capacity(length);
    if over >= TAG {
        let content = over - TAG;
        // Version 2.4 without a frame, all padding; seven bits to a byte of its size.
        out.extend_from_slice(b"ID3\x04\0\0\0\0");
        out.extend([content >> 7, content & 0x7f].map(|seven| seven as u8));
    }
    out.resize(over, 0);
    while out.len() + FRAME <= length {
        let end = out.len() + FRAME;
        out.extend_from_slice(&HEADER);
        out.resize(end - FRAME + SILENCE, 0);
        while out.len() < end {
            // Nothing here may look like the next frame, or like text.
            let bytes = (random.next() & 0x1f1f_1f1f_1f1f_1f1f).to_le_bytes();
            out.extend_from_slice(&bytes[..bytes.len().min(end - out.len())]);
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn audio_is_whole_frames_behind_a_tag_of_exactly_the_size_asked_for() {
        for length in [0, 3, 192, 193, 200, 8_000, 24_000, 999_999] {
            let audio = audio(7, length);
            assert_eq!(audio.len(), length);
            let tag = match audio.strip_prefix(b"ID3\x04\0\0\0\0") {
                Some(rest) => TAG + usize::from(rest[0]) * 128 + usize::from(rest[1]),
                None => 0,
            };
            if length >= FRAME {
                assert!(audio[tag..].chunks(FRAME).all(|frame| frame.len() == FRAME && frame[..4] == HEADER));
            }
        }
        assert_eq!(audio(1, 8_000), audio(1, 8_000));
        assert_ne!(audio(1, 8_000), audio(2, 8_000));
    }

    #[test]
    fn a_tag_is_known_by_itself_or_among_others() {
        for known in ["\"t\"", "W/\"t\"", "\"s\", \"t\"", "*"] {
            assert!(is_known(known, "\"t\""), "{known}");
        }
        assert!(!is_known("\"s\"", "\"t\"") && !is_known("", "\"t\""));
    }

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let of = |range: &'static str, if_range: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_static(range));
            if let Some(tag) = if_range {
                headers.insert(IF_RANGE, HeaderValue::from_static(tag));
            }
            asked(&headers, "\"t\"", 100)
        };
        assert_eq!(of("bytes=0-9", None), Asked::Part(0, 9));
        assert_eq!(of("bytes=90-200", None), Asked::Part(90, 99));
        assert_eq!(of("bytes=90-", Some("\"t\"")), Asked::Part(90, 99));
        assert_eq!(of("bytes=-10", None), Asked::Part(90, 99));
        assert_eq!(of("bytes=-200", None), Asked::Part(0, 99));
        assert_eq!(of("bytes=100-", None), Asked::Nothing);
        assert_eq!(of("bytes=-0", None), Asked::Nothing);
        for whole in ["bytes=9-0", "bytes=0-1,5-6", "bytes=", "bytes=-", "bytes=a-b", "lines=0-1"] {
            assert_eq!(of(whole, None), Asked::Whole, "{whole}");
        }
        assert_eq!(of("bytes=0-9", Some("\"other\"")), Asked::Whole);
    }
}
