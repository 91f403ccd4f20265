//! Export jobs, which pack recordings into a zip file as the clock advances.

use std::time::Duration;

use super::pace::Pace;
use super::recording::Recording;
use vbc_base::clock::{Timestamp, after, until};

/// The time before the first file is packed. VBC's own time is unknown.
const PREPARES: Duration = Duration::from_secs(2);
/// The time for each file. VBC's own time is unknown.
const PACKS: Duration = Duration::from_secs(1);
/// How long the result is available.
const VALID: Duration = Duration::from_secs(7 * 86_400);

/// An export of the recordings that existed when it was requested.
pub(crate) struct Job {
    pub(crate) id: String,
    /// The position of the user who requested it.
    pub(crate) user: usize,
    pub(crate) created: Timestamp,
    pub(crate) recordings: Vec<Recording>,
    pub(crate) pace: Pace,
}

impl Job {
    /// How many files are packed by now.
    pub(crate) fn packed(&self, now: Timestamp) -> usize {
        let prepares = self.pace.scaled(PREPARES);
        let packs = self.pace.scaled(PACKS);
        let packing = until(self.created, now).saturating_sub(prepares);
        let all = self.recordings.len();
        match packing.as_nanos().checked_div(packs.as_nanos()) {
            Some(packed) => usize::try_from(packed).unwrap_or(all).min(all),
            None => all,
        }
    }

    /// When all files are or will be packed.
    pub(crate) fn complete(&self) -> Timestamp {
        let files = u32::try_from(self.recordings.len()).unwrap_or(u32::MAX);
        let packs = self.pace.scaled(PACKS).saturating_mul(files);
        after(self.created, self.pace.scaled(PREPARES).saturating_add(packs))
    }

    pub(crate) fn valid_until(&self) -> Timestamp {
        after(self.complete(), VALID)
    }

    /// The status of the job. Only `complete` is known from VBC; the other names are guesses.
    pub(crate) fn status(&self, now: Timestamp) -> &'static str {
        if now >= self.valid_until() {
            "expired"
        } else if now >= self.complete() {
            "complete"
        } else if until(self.created, now) < self.pace.scaled(PREPARES) {
            "pending"
        } else {
            "in_progress"
        }
    }
}
