//! Export jobs: recordings that are packed into a zip file, as the clock goes on.

use std::time::Duration;

use super::pace::Pace;
use super::recording::Recording;
use vbc_base::clock::{Timestamp, after, until};

/// Before the first file, and for each of them. How long the service takes is not known.
const PREPARES: Duration = Duration::from_secs(2);
const PACKS: Duration = Duration::from_secs(1);
/// How long the result can be had.
const VALID: Duration = Duration::from_secs(7 * 86_400);

/// An export, made of the recordings that were there when it was asked for.
pub(crate) struct Job {
    pub(crate) id: String,
    /// The position of the user who asked for it.
    pub(crate) user: usize,
    pub(crate) created: Timestamp,
    pub(crate) recordings: Vec<Recording>,
    pub(crate) pace: Pace,
}

impl Job {
    /// How many files are packed.
    pub(crate) fn packed(&self, now: Timestamp) -> usize {
        let (prepares, packs) = (self.pace.scaled(PREPARES), self.pace.scaled(PACKS));
        let packing = until(self.created, now).saturating_sub(prepares);
        let all = self.recordings.len();
        match packing.as_nanos().checked_div(packs.as_nanos()) {
            Some(packed) => usize::try_from(packed).unwrap_or(all).min(all),
            None => all,
        }
    }

    /// When all is packed, or will be.
    pub(crate) fn complete(&self) -> Timestamp {
        let files = u32::try_from(self.recordings.len()).unwrap_or(u32::MAX);
        let packs = self.pace.scaled(PACKS).saturating_mul(files);
        after(self.created, self.pace.scaled(PREPARES).saturating_add(packs))
    }

    pub(crate) fn valid_until(&self) -> Timestamp {
        after(self.complete(), VALID)
    }

    /// Of these words only `complete` is known to be the service's.
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
