//! Counts of a credential's exchanges, by grant and outcome.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::oauth::{Class, Grant};

/// The grants as metrics label them, in the order of [`grant_index`].
const GRANTS: [&str; 3] = ["password", "authorization_code", "refresh_token"];
/// The outcomes as metrics and logs label them, in the order of [`outcome_index`].
const OUTCOMES: [&str; 6] = ["issued", "transient", "ambiguous", "configuration", "refused", "locked"];
const ISSUED: usize = 0;

/// The counts of one credential. An array takes less memory than a map, and there may be ten
/// thousand credentials.
#[derive(Default)]
pub(super) struct Exchanges([[AtomicU32; OUTCOMES.len()]; GRANTS.len()]);

/// The label of an outcome. `class` is the failure's class; `None` means that a token set was
/// issued.
pub(super) fn outcome_label(class: Option<Class>) -> &'static str {
    OUTCOMES[outcome_index(class)]
}

fn outcome_index(class: Option<Class>) -> usize {
    match class {
        None => ISSUED,
        Some(Class::NotJudged) => 1,
        Some(Class::Ambiguous) => 2,
        Some(Class::Configuration | Class::WrongUrl) => 3,
        Some(Class::Refused | Class::Unexplained | Class::Unsupported) => 4,
        Some(Class::Locked) => 5,
    }
}

fn grant_index(grant: &Grant) -> usize {
    match grant {
        Grant::Password { .. } => 0,
        Grant::AuthorizationCode { .. } => 1,
        Grant::RefreshToken { .. } => 2,
    }
}

impl Exchanges {
    /// Counts an exchange. `class` is the failure's class; `None` means that a token set was
    /// issued.
    pub(super) fn count(&self, grant: &Grant, class: Option<Class>) {
        self.0[grant_index(grant)][outcome_index(class)].fetch_add(1, Ordering::Relaxed);
    }

    /// Grant, outcome and count, for counts above zero.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        GRANTS.iter().zip(&self.0).flat_map(|(grant, row)| {
            OUTCOMES.iter().zip(row).filter_map(|(outcome, count)| {
                let count = count.load(Ordering::Relaxed);
                (count > 0).then_some((*grant, *outcome, count.into()))
            })
        })
    }

    pub(super) fn issued(&self) -> u64 {
        self.0.iter().map(|row| u64::from(row[ISSUED].load(Ordering::Relaxed))).sum()
    }

    pub(super) fn total(&self) -> u64 {
        self.0.iter().flatten().map(|count| u64::from(count.load(Ordering::Relaxed))).sum()
    }
}
