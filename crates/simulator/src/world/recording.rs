//! A recording of a call.

use vbc_base::clock::{Timestamp, until};

/// A recording of a call, by a rule of the company or on demand.
#[derive(Clone)]
pub(crate) struct Recording {
    pub(crate) id: u64,
    /// The position of the user who recorded; `None` for a rule of the company.
    pub(crate) on_demand: Option<usize>,
    pub(crate) call_id: String,
    /// `INBOUND`, `OUTBOUND` or `INTRA_PBX`.
    pub(crate) direction: &'static str,
    pub(crate) caller_id: String,
    pub(crate) cnam: String,
    pub(crate) dnis: String,
    pub(crate) extension: String,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) bytes: u64,
    /// When the recording is available.
    pub(crate) ready: Timestamp,
}

impl Recording {
    /// Derives the size of the audio from `from` to the end: 64 kbit/s, and at least one frame.
    pub(super) fn measure(&mut self, from: Timestamp) {
        let milliseconds = u64::try_from(until(from, self.end).as_millis()).unwrap_or(u64::MAX);
        self.bytes = milliseconds.saturating_mul(8).max(192);
    }
}
