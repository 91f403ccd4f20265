//! The sound of a recording: silence, as an MP3 of exactly the announced size.

use bytes::Bytes;

use super::super::hal::not_found;
use super::ApiRequest;
use super::file::File;
use crate::random::Random;
use crate::response::Response;

/// The most bytes of a recording's audio. A longer recording is cut off.
const LONGEST: u64 = 16 << 20;
/// The bytes of a frame, which lasts 24 ms: MPEG-1 Layer III, 64 kbit/s, 48 kHz, mono, no CRC.
const FRAME: usize = 192;
const HEADER: [u8; 4] = [0xff, 0xfb, 0x54, 0xc0];
/// The bytes of a frame's header and side information. Side information that is all zero means
/// silence, and leaves the rest of the frame unused.
const SILENCE: usize = HEADER.len() + 17;
/// The bytes of an ID3v2 tag's header. The tag takes up the bytes that do not fill a frame.
const TAG: usize = 10;

pub(super) fn get(request: ApiRequest<'_>) -> Response {
    respond(request, true)
}

pub(super) fn head(request: ApiRequest<'_>) -> Response {
    respond(request, false)
}

fn respond(request: ApiRequest<'_>, with_ranges: bool) -> Response {
    let id = request.parameter(0);
    let now = request.now;
    let recordings = request.state.world.account(request.account).map(|account| &account.recordings);
    let found = recordings
        .into_iter()
        .flatten()
        .find(|recording| recording.ready <= now && recording.id.to_string() == id);
    let Some(recording) = found else { return not_found("Recording not found") };
    let seed = recording.id;
    let length = size(recording.bytes);
    let file = File {
        content_type: "audio/mpeg",
        name: format!("{id}.mp3"),
        tag: format!("\"{id}-{length}\""),
        modified: recording.ready,
        length: length as u64,
    };
    file.respond(request.headers, with_ranges, std::iter::once_with(move || audio(seed, length)))
}

pub(super) fn size(announced: u64) -> usize {
    usize::try_from(announced.min(LONGEST)).unwrap_or_default()
}

/// The audio of a recording. The same seed gives the same bytes, so every recording has its own
/// audio.
pub(super) fn audio(seed: u64, length: usize) -> Bytes {
    let mut random = Random::new(seed);
    let mut over = length % FRAME;
    if (1..TAG).contains(&over) && length >= FRAME {
        over += FRAME;
    }
    let mut out = Vec::with_capacity(length);
    if over >= TAG {
        let content = over - TAG;
        // Version 2.4 with padding only; its size has seven bits per byte.
        out.extend_from_slice(b"ID3\x04\0\0\0\0");
        out.extend([content >> 7, content & 0x7f].map(|seven| seven as u8));
    }
    out.resize(over, 0);
    while out.len() + FRAME <= length {
        let end = out.len() + FRAME;
        out.extend_from_slice(&HEADER);
        out.resize(end - FRAME + SILENCE, 0);
        while out.len() < end {
            // No byte may look like a frame header or like text.
            let bytes = (random.next() & 0x1f1f_1f1f_1f1f_1f1f).to_le_bytes();
            out.extend_from_slice(&bytes[..bytes.len().min(end - out.len())]);
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
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
}
