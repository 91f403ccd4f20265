//! Detects floods: HTTP/2 frames that only cause work (RFC 9113 §4.1).
//!
//! Some frames carry no request but make the library respond or keep state. SETTINGS and PING need
//! an acknowledgement, RST_STREAM undoes work, CONTINUATION is parsed and thrown away. Every
//! connection has a few of them. Each costs points, points fade with time, and too many points are
//! a flood. Honest clients also send frames in response to data: WINDOW_UPDATE, and PING to measure
//! the path. Some of these are free for every KiB that is sent to the client.

use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

/// The length of a frame header (RFC 9113 §4.1).
const HEADER: usize = 9;

/// The length of the client's preface (RFC 9113 §3.4).
const PREFACE: usize = 24;

/// The largest payload of a client's frame: the default of the protocol.
const LARGEST: u32 = 16_384;

/// A client with more points than this is flooding. The second number is how many points fade in a
/// second.
const MOST_POINTS: u32 = 2000;
const FADE_PER_SECOND: u32 = 200;

/// The most WINDOW_UPDATE and PING frames that can be free at a time. A client may respond late, to
/// many bytes together.
const MOST_PAID: u32 = 20_000;

/// A header block may be this many times as large as the limit for heads. A head slightly over the
/// limit then gets a response, rather than the end of the connection.
const HEAD_FACTOR: usize = 4;

/// A CONTINUATION frame with a smaller payload counts as pointless.
const TINY: u32 = 1024;

/// Why a connection must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Flood {
    /// Too many frames without purpose.
    #[error("too many frames that carry nothing")]
    Frames,
    /// A header block over the limit.
    #[error("a header block that is too long")]
    Headers,
    /// A frame over the limit.
    #[error("a frame that is too long")]
    FrameSize,
}

/// The meter of one connection. [`read`](Self::read) gets every received byte, in order, and
/// [`sent`](Self::sent) every write.
#[derive(Debug)]
pub(super) struct FloodMeter {
    preface_left: usize,
    header: [u8; HEADER],
    header_read: usize,
    payload_left: u32,
    /// Bytes of the current header block, since its HEADERS.
    block: usize,
    most_block: usize,
    points: u32,
    faded_at: Instant,
    /// How many WINDOW_UPDATE and PING frames are still free.
    paid: u32,
}

mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
}

/// On DATA: the last frame of its stream. On SETTINGS and PING: an acknowledgement.
const FLAG_END_STREAM: u8 = 1;
const FLAG_PADDED: u8 = 8;

impl FloodMeter {
    /// Creates the meter of a connection that begins with the preface. Heads may have up to
    /// `head_bytes`.
    pub(super) fn new(head_bytes: usize, now: Instant) -> Self {
        Self {
            preface_left: PREFACE,
            header: [0; HEADER],
            header_read: 0,
            payload_left: 0,
            block: 0,
            most_block: head_bytes.saturating_mul(HEAD_FACTOR),
            points: 0,
            faded_at: now,
            paid: 0,
        }
    }

    /// Records a write of this many bytes to the client. The frames that the client sends in
    /// response are free.
    pub(super) fn sent(&mut self, bytes: usize) {
        // Each frame causes at most two WINDOW_UPDATE and a measuring PING.
        let frames = u32::try_from(bytes / 1024).unwrap_or(u32::MAX).saturating_add(1);
        self.paid = self.paid.saturating_add(frames.saturating_mul(3)).min(MOST_PAID);
    }

    /// Meters the bytes that were read.
    ///
    /// # Errors
    /// When the connection must end.
    pub(super) fn read(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Flood> {
        self.fade(now);
        let preface = self.preface_left.min(bytes.len());
        self.preface_left -= preface;
        bytes = &bytes[preface..];
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let passed = bytes.len().min(self.payload_left as usize);
                // Fits: at most `payload_left`.
                self.payload_left -= passed as u32;
                bytes = &bytes[passed..];
                continue;
            }
            let missing = (HEADER - self.header_read).min(bytes.len());
            self.header[self.header_read..self.header_read + missing].copy_from_slice(&bytes[..missing]);
            self.header_read += missing;
            bytes = &bytes[missing..];
            if self.header_read == HEADER {
                self.header_read = 0;
                self.frame()?;
            }
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<(), Flood> {
        let [a, b, c, kind, flags, ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]);
        if length > LARGEST {
            return Err(Flood::FrameSize);
        }
        self.payload_left = length;
        if kind == kind::HEADERS {
            self.block = 0;
        }
        if matches!(kind, kind::HEADERS | kind::CONTINUATION) {
            self.block = self.block.saturating_add(length as usize);
            if self.block > self.most_block {
                return Err(Flood::Headers);
            }
        }
        self.charge(cost(kind, flags, length), matches!(kind, kind::WINDOW_UPDATE | kind::PING))
    }

    fn charge(&mut self, points: u32, is_response: bool) -> Result<(), Flood> {
        if points == 0 {
            return Ok(());
        }
        if is_response && self.paid > 0 {
            self.paid -= 1;
            return Ok(());
        }
        self.points += points;
        if self.points > MOST_POINTS { Err(Flood::Frames) } else { Ok(()) }
    }

    fn fade(&mut self, now: Instant) {
        if self.points == 0 {
            self.faded_at = now;
            return;
        }
        let passed = now.saturating_duration_since(self.faded_at);
        let faded = passed.as_millis().saturating_mul(FADE_PER_SECOND.into()) / 1000;
        if faded > 0 {
            // A fraction of a point counts later: `faded_at` advances by whole points.
            let whole = Duration::from_millis((faded * 1000 / u128::from(FADE_PER_SECOND)) as u64);
            self.faded_at += whole;
            self.points = self.points.saturating_sub(u32::try_from(faded).unwrap_or(u32::MAX));
        }
    }
}

/// The points of a frame: none if it carries a request, more if it causes work.
fn cost(kind: u8, flags: u8, length: u32) -> u32 {
    let ended = flags & FLAG_END_STREAM != 0;
    match kind {
        kind::HEADERS => 0,
        kind::DATA if ended || length > u32::from(flags & FLAG_PADDED != 0) => 0,
        // No client has a reason for an empty frame that does not end its stream.
        kind::DATA => 20,
        // Allows a burst of 400, as when a client cancels all its requests, and then 40 a second.
        kind::RST_STREAM => 5,
        kind::SETTINGS if !ended => 10,
        kind::CONTINUATION if length < TINY => 20,
        kind::CONTINUATION => 2,
        // Acknowledgements, priorities, and unknown frames, which the library skips.
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIORITY: u8 = 2;
    const PRIORITY_UPDATE: u8 = 16;

    fn frame(kind: u8, flags: u8, length: u32) -> Vec<u8> {
        let [_, a, b, c] = length.to_be_bytes();
        let mut bytes = vec![a, b, c, kind, flags, 0, 0, 0, 1];
        bytes.resize(HEADER + length as usize, 7);
        bytes
    }

    fn started(now: Instant) -> FloodMeter {
        let mut meter = FloodMeter::new(64 * 1024, now);
        meter.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", now).unwrap();
        meter.read(&frame(kind::SETTINGS, 0, 18), now).unwrap();
        meter
    }

    /// How many repetitions of these frames pass in one instant, up to a hundred thousand.
    fn passed(frames: &[Vec<u8>]) -> usize {
        let now = Instant::now();
        let mut meter = started(now);
        let bytes = frames.concat();
        (0..100_000).take_while(|_| meter.read(&bytes, now).is_ok()).count()
    }

    #[test]
    fn each_flood_is_ended_early() {
        let reset = [frame(kind::HEADERS, 5, 40), frame(kind::RST_STREAM, 0, 4)];
        assert!((300..=400).contains(&passed(&reset)), "rapid reset: {}", passed(&reset));
        for (what, flood, most) in [
            ("settings", frame(kind::SETTINGS, 0, 6), 200),
            ("settings without a setting", frame(kind::SETTINGS, 0, 0), 200),
            ("acknowledgements", frame(kind::SETTINGS, 1, 0), 2000),
            ("ping", frame(kind::PING, 0, 8), 2000),
            ("pong", frame(kind::PING, 1, 8), 2000),
            ("priority", frame(PRIORITY, 0, 5), 2000),
            ("updates", frame(kind::WINDOW_UPDATE, 0, 4), 2000),
            ("empty data", frame(kind::DATA, 0, 0), 100),
            ("padded empty data", frame(kind::DATA, FLAG_PADDED, 1), 100),
            ("empty continuation", frame(kind::CONTINUATION, 0, 0), 100),
            ("unknown", frame(99, 0, 0), 2000),
        ] {
            let count = passed(&[flood]);
            assert!((most / 2..=most).contains(&count), "{what}: {count}");
        }
    }

    #[test]
    fn a_header_block_has_an_end() {
        let now = Instant::now();
        let mut meter = started(now);
        meter.read(&frame(kind::HEADERS, 0, LARGEST), now).unwrap();
        let block = frame(kind::CONTINUATION, 0, LARGEST);
        let count = (0..100).take_while(|_| meter.read(&block, now).is_ok()).count();
        assert_eq!(count, 15, "with the first 256 KiB");
        assert_eq!(started(now).read(&frame(kind::CONTINUATION, 0, LARGEST), now), Ok(()));
        // Each header block counts from zero.
        let mut meter = started(now);
        for _ in 0..100 {
            meter.read(&frame(kind::HEADERS, 4, LARGEST), now).unwrap();
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_seen_by_its_header() {
        let now = Instant::now();
        let header = &frame(kind::DATA, 0, LARGEST + 1)[..HEADER];
        assert_eq!(started(now).read(header, now), Err(Flood::FrameSize));
        assert_eq!(started(now).read(&frame(kind::DATA, 0, LARGEST), now), Ok(()));
    }

    #[test]
    fn honest_clients_are_not_ended() {
        let mut now = Instant::now();
        // Firefox: five priorities, then requests with an update each. Leaving the page resets all.
        let mut meter = started(now);
        let page = [
            vec![frame(kind::WINDOW_UPDATE, 0, 4)],
            vec![frame(PRIORITY, 0, 5); 5],
            vec![[frame(kind::HEADERS, 0x25, 200), frame(PRIORITY_UPDATE, 0, 9)].concat(); 100],
            vec![frame(kind::RST_STREAM, 0, 4); 100],
        ];
        for _ in 0..20 {
            meter.read(&page.concat().concat(), now).unwrap();
            now += Duration::from_secs(4);
        }
        // A download: two updates and a measuring PING for each frame of data.
        let mut meter = started(now);
        let responses =
            [frame(kind::WINDOW_UPDATE, 0, 4), frame(kind::WINDOW_UPDATE, 0, 4), frame(kind::PING, 0, 8)];
        for _ in 0..100_000 {
            meter.sent(100);
            meter.read(&responses.concat(), now).unwrap();
        }
        // All the updates come late, after a thousand large writes.
        for _ in 0..1000 {
            meter.sent(16_393);
        }
        for _ in 0..3000 {
            meter.read(&frame(kind::WINDOW_UPDATE, 0, 4), now).unwrap();
        }
        // An upload of small messages, from a client that sends a PING every ten milliseconds.
        let mut meter = started(now);
        for _ in 0..100_000 {
            meter.read(&[frame(kind::DATA, 0, 1), frame(kind::PING, 0, 8)].concat(), now).unwrap();
            now += Duration::from_millis(10);
        }
    }

    #[test]
    fn what_fades_fades_however_often_one_looks() {
        let start = Instant::now();
        let mut meter = started(start);
        for _ in 0..100 {
            meter.read(&frame(kind::SETTINGS, 0, 0), start).unwrap();
        }
        let points = meter.points;
        for step in 1..=1000 {
            meter.read(&[], start + Duration::from_millis(step)).unwrap();
        }
        assert_eq!(meter.points, points - FADE_PER_SECOND);
    }

    proptest::proptest! {
        #[test]
        fn the_pieces_in_which_bytes_come_change_nothing(
            frames in proptest::collection::vec((0..12_u8, 0..16_u8, 0..40_u32), 0..300),
            cuts in proptest::collection::vec(1..60_usize, 1..40),
        ) {
            let now = Instant::now();
            let bytes = frames.iter().flat_map(|(kind, flags, length)| frame(*kind, *flags, *length));
            let bytes: Vec<u8> = (0..PREFACE as u8).chain(bytes).collect();
            let mut whole = FloodMeter::new(1024, now);
            let expected = whole.read(&bytes, now);
            let (mut pieces, mut rest) = (FloodMeter::new(1024, now), &bytes[..]);
            let mut outcome = Ok(());
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                rest = after;
                outcome = pieces.read(piece, now);
                if outcome.is_err() || rest.is_empty() {
                    break;
                }
            }
            proptest::prop_assert_eq!(outcome, expected);
            if expected.is_ok() {
                proptest::prop_assert_eq!(pieces.points, whole.points);
                proptest::prop_assert_eq!(pieces.payload_left, whole.payload_left);
            }
        }
    }
}
