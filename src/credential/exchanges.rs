//! How many exchanges of a credential ended how. A few counters in place, since there may be ten thousand credentials.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::oauth::Class;

const GRANTS: [&str; 3] = ["password", "authorization_code", "refresh_token"];
const OUTCOMES: [&str; 6] = ["issued", "transient", "ambiguous", "configuration", "refused", "locked"];

#[derive(Default)]
pub(super) struct Exchanges([[AtomicU32; OUTCOMES.len()]; GRANTS.len()]);

/// The label of an outcome in metrics and logs.
pub(super) fn outcome(class: Option<Class>) -> &'static str {
    OUTCOMES[index(class)]
}

fn index(class: Option<Class>) -> usize {
    match class {
        None => 0,
        Some(Class::NotJudged) => 1,
        Some(Class::Ambiguous) => 2,
        Some(Class::Configuration | Class::WrongUrl) => 3,
        Some(Class::Refused | Class::Unexplained | Class::Unsupported) => 4,
        Some(Class::Locked) => 5,
    }
}

impl Exchanges {
    /// Counts one of this grant: issued, or failed in this class.
    pub(super) fn count(&self, grant: &'static str, class: Option<Class>) {
        if let Some(row) = GRANTS.iter().position(|known| *known == grant) {
            self.0[row][index(class)].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All that are not zero.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        let cells = GRANTS.iter().zip(&self.0).flat_map(|(grant, row)| {
            OUTCOMES.iter().zip(row).map(|(outcome, count)| (*grant, *outcome, count.load(Ordering::Relaxed)))
        });
        cells.filter(|(_, _, count)| *count > 0).map(|(grant, outcome, count)| (grant, outcome, count.into()))
    }

    /// Those that brought a token set.
    pub(super) fn issued(&self) -> u64 {
        self.counts().filter(|(_, outcome, _)| *outcome == OUTCOMES[0]).map(|(_, _, count)| count).sum()
    }

    /// All of them.
    pub(super) fn total(&self) -> u64 {
        self.counts().map(|(_, _, count)| count).sum()
    }
}
