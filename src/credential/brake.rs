//! When a login may be tried again. Pure: the record is the store's, the time is the caller's.
//!
//! Every refused login counts towards the account's lock, and each attempt on a locked account starts the lock
//! anew (WSO2 error 17003). So a refused secret is never tried twice, a locked account is left alone for longer
//! than its lock, and both are remembered across restarts.

use std::time::Duration;

use crate::clock::{self, Timestamp};
use crate::store::BrakeRecord;

/// WSO2 locks for 30 minutes from the last attempt; five more make sure that ours is not inside them.
pub(super) const LOCK: Duration = Duration::from_secs(35 * 60);

/// Attempts whose outcome is unknown and that are nevertheless followed by another at once.
const UNRESOLVED_FREE: u32 = 3;

/// How much longer each further one waits.
const UNRESOLVED_STEP: Duration = Duration::from_secs(5 * 60);

/// Whether a login may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    /// Yes.
    Allowed,
    /// No: this secret has been refused. Only another secret changes that.
    Refused,
    /// Not before this time: the account is locked.
    LockedUntil(Timestamp),
    /// Not before this time: too many attempts ended without an answer, and each may have been a refusal.
    SpacedUntil(Timestamp),
}

/// Whether the login secret with this fingerprint may be tried at `now`.
pub(super) fn permit(record: &BrakeRecord, fingerprint: &str, now: Timestamp) -> Permit {
    if record.refused.as_deref() == Some(fingerprint) {
        return Permit::Refused;
    }
    if record.attempted.as_deref() != Some(fingerprint) {
        return Permit::Allowed;
    }
    // A clock that jumped back must not stretch it.
    let in_force = |until: &Timestamp| *until > now && clock::until(now, *until) <= LOCK;
    if let Some(until) = record.locked_until.filter(in_force) {
        return Permit::LockedUntil(until);
    }
    let over = record.unresolved.saturating_sub(UNRESOLVED_FREE - 1);
    if over > 0
        && record.proven.as_deref() != Some(fingerprint)
        && let Some(last) = record.last_attempt
    {
        let until = clock::after(last, (UNRESOLVED_STEP * over).min(LOCK));
        if in_force(&until) {
            return Permit::SpacedUntil(until);
        }
    }
    Permit::Allowed
}

/// Notes that a login is about to be sent; stored before it is, so that a crash cannot hide it.
pub(super) fn begin(record: &mut BrakeRecord, fingerprint: &str, now: Timestamp) {
    if record.attempted.as_deref() != Some(fingerprint) {
        record.unresolved = 0;
        record.locked_until = None;
    }
    record.attempted = Some(fingerprint.to_owned());
    record.last_attempt = Some(now);
    record.unresolved = record.unresolved.saturating_add(1);
}

/// The login succeeded.
pub(super) fn succeeded(record: &mut BrakeRecord, fingerprint: &str) {
    record.refused = None;
    record.locked_until = None;
    record.unresolved = 0;
    record.proven = Some(fingerprint.to_owned());
}

/// The server refused user name or password.
pub(super) fn refused(record: &mut BrakeRecord, fingerprint: &str) {
    record.refused = Some(fingerprint.to_owned());
    record.proven = None;
    record.unresolved = 0;
}

/// The server says that the account is locked.
pub(super) fn locked(record: &mut BrakeRecord, fingerprint: &str, now: Timestamp) {
    record.attempted = Some(fingerprint.to_owned());
    record.locked_until = Some(clock::after(now, LOCK));
    record.unresolved = 0;
}

/// The attempt never reached a password check (connection refused, 5xx, 429).
pub(super) fn not_judged(record: &mut BrakeRecord) {
    record.unresolved = record.unresolved.saturating_sub(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn later(minutes: u64) -> Timestamp {
        clock::after(NOW, Duration::from_secs(minutes * 60))
    }

    #[test]
    fn a_refused_secret_is_never_tried_again_but_a_changed_one_is() {
        let mut record = BrakeRecord::default();
        begin(&mut record, "old", NOW);
        refused(&mut record, "old");
        assert_eq!(permit(&record, "old", later(100_000)), Permit::Refused);
        assert_eq!(permit(&record, "new", NOW), Permit::Allowed);
    }

    #[test]
    fn a_locked_account_is_left_alone_for_35_minutes_then_tried_once() {
        let mut record = BrakeRecord::default();
        begin(&mut record, "s", NOW);
        locked(&mut record, "s", NOW);
        assert_eq!(permit(&record, "s", later(34)), Permit::LockedUntil(later(35)));
        assert_eq!(permit(&record, "s", later(35)), Permit::Allowed);
        begin(&mut record, "s", later(35));
        locked(&mut record, "s", later(35));
        assert_eq!(permit(&record, "s", later(36)), Permit::LockedUntil(later(70)));
    }

    #[test]
    fn a_changed_secret_lifts_the_lock() {
        let mut record = BrakeRecord::default();
        begin(&mut record, "old", NOW);
        locked(&mut record, "old", NOW);
        assert_eq!(permit(&record, "new", NOW), Permit::Allowed);
        begin(&mut record, "new", NOW);
        assert_eq!(record.locked_until, None);
    }

    #[test]
    fn attempts_without_an_answer_are_spaced_from_the_third_on() {
        let mut record = BrakeRecord::default();
        for _ in 0..2 {
            begin(&mut record, "s", NOW);
            assert_eq!(permit(&record, "s", NOW), Permit::Allowed);
        }
        begin(&mut record, "s", NOW);
        assert_eq!(permit(&record, "s", NOW), Permit::SpacedUntil(later(5)));
        begin(&mut record, "s", later(5));
        assert_eq!(permit(&record, "s", later(5)), Permit::SpacedUntil(later(15)));
    }

    #[test]
    fn a_proven_secret_is_not_spaced() {
        let mut record = BrakeRecord::default();
        begin(&mut record, "s", NOW);
        succeeded(&mut record, "s");
        for _ in 0..20 {
            begin(&mut record, "s", NOW);
        }
        assert_eq!(permit(&record, "s", NOW), Permit::Allowed);
    }

    #[test]
    fn an_attempt_that_was_not_judged_does_not_count() {
        let mut record = BrakeRecord::default();
        for _ in 0..20 {
            begin(&mut record, "s", NOW);
            not_judged(&mut record);
        }
        assert_eq!(permit(&record, "s", NOW), Permit::Allowed);
    }
}
