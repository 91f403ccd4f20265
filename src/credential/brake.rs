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

/// Secrets that are remembered: beyond so many changes of a password the oldest are forgotten.
const REMEMBERED: usize = 64;

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

/// Adds what is missing; the oldest go where there are too many.
fn add(fingerprints: &mut Vec<String>, more: &[String]) {
    for fingerprint in more {
        if !has(fingerprints, fingerprint) {
            fingerprints.push(fingerprint.clone());
        }
    }
    let surplus = fingerprints.len().saturating_sub(REMEMBERED.max(more.len()));
    fingerprints.drain(..surplus);
}

/// Takes over what another record knows: the brake of a login was once kept with each of its credentials.
pub(super) fn absorb(record: &mut BrakeRecord, other: &BrakeRecord) {
    add(&mut record.refused, &other.refused);
    add(&mut record.attempted, &other.attempted);
    add(&mut record.proven, &other.proven);
    record.locked_until = record.locked_until.max(other.locked_until);
    record.last_attempt = record.last_attempt.max(other.last_attempt);
    record.unresolved = record.unresolved.max(other.unresolved);
}

fn has(fingerprints: &[String], wanted: &str) -> bool {
    fingerprints.iter().any(|fingerprint| fingerprint == wanted)
}

/// Whether the login secret with this fingerprint may be tried at `now`.
pub(super) fn permit(record: &BrakeRecord, fingerprint: &str, now: Timestamp) -> Permit {
    if has(&record.refused, fingerprint) {
        return Permit::Refused;
    }
    if !has(&record.attempted, fingerprint) {
        return Permit::Allowed;
    }
    // However the clock was set, nothing holds longer than a lock does.
    let in_force = |until: Timestamp| (until > now).then(|| until.min(clock::after(now, LOCK)));
    if let Some(until) = record.locked_until.and_then(in_force) {
        return Permit::LockedUntil(until);
    }
    let over = record.unresolved.saturating_sub(UNRESOLVED_FREE - 1);
    if over > 0
        && !has(&record.proven, fingerprint)
        && let Some(last) = record.last_attempt
    {
        let until = clock::after(last, (UNRESOLVED_STEP * over).min(LOCK));
        if let Some(until) = in_force(until) {
            return Permit::SpacedUntil(until);
        }
    }
    Permit::Allowed
}

/// Notes that a login is about to be sent; stored before it is, so that a crash cannot hide it.
///
/// `secret` holds the fingerprints of every credential that would send the same user name and password: what is learnt
/// of one counts for all.
pub(super) fn begin(record: &mut BrakeRecord, secret: &[String], now: Timestamp) {
    // A lock is the account's: another secret has its one try in it, and must not free those that had theirs.
    add(&mut record.attempted, secret);
    record.locked_until = record.locked_until.filter(|until| *until > now);
    record.last_attempt = Some(now);
    record.unresolved = record.unresolved.saturating_add(1);
}

/// The login succeeded.
pub(super) fn succeeded(record: &mut BrakeRecord, secret: &[String]) {
    // Another password of the same user stays refused: a success of this one does not make it right.
    record.refused.retain(|refused| !has(secret, refused));
    record.locked_until = None;
    record.unresolved = 0;
    record.attempted = secret.to_vec();
    record.proven = secret.to_vec();
}

/// The server refused user name or password.
pub(super) fn refused(record: &mut BrakeRecord, secret: &[String]) {
    add(&mut record.refused, secret);
    record.proven.retain(|proven| !has(secret, proven));
    record.unresolved = 0;
}

/// The server says that the account is locked.
pub(super) fn locked(record: &mut BrakeRecord, secret: &[String], now: Timestamp) {
    add(&mut record.attempted, secret);
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

    fn secret(fingerprint: &str) -> [String; 1] {
        [fingerprint.to_owned()]
    }

    fn later(minutes: u64) -> Timestamp {
        clock::after(NOW, Duration::from_secs(minutes * 60))
    }

    #[test]
    fn a_refused_secret_is_never_tried_again_but_a_changed_one_is() {
        let mut record = BrakeRecord::default();
        begin(&mut record, &secret("old"), NOW);
        refused(&mut record, &secret("old"));
        assert_eq!(permit(&record, "old", later(100_000)), Permit::Refused);
        assert_eq!(permit(&record, "new", NOW), Permit::Allowed);
    }

    #[test]
    fn a_locked_account_is_left_alone_for_35_minutes_then_tried_once() {
        let mut record = BrakeRecord::default();
        begin(&mut record, &secret("s"), NOW);
        locked(&mut record, &secret("s"), NOW);
        assert_eq!(permit(&record, "s", later(34)), Permit::LockedUntil(later(35)));
        assert_eq!(permit(&record, "s", later(35)), Permit::Allowed);
        begin(&mut record, &secret("s"), later(35));
        locked(&mut record, &secret("s"), later(35));
        assert_eq!(permit(&record, "s", later(36)), Permit::LockedUntil(later(70)));
    }

    #[test]
    fn a_changed_secret_has_one_try_in_a_lock_and_frees_no_other() {
        let mut record = BrakeRecord::default();
        begin(&mut record, &secret("old"), NOW);
        locked(&mut record, &secret("old"), NOW);
        assert_eq!(permit(&record, "new", later(20)), Permit::Allowed);
        begin(&mut record, &secret("new"), later(20));
        assert_eq!(permit(&record, "old", later(20)), Permit::LockedUntil(later(35)));
        locked(&mut record, &secret("new"), later(20));
        for fingerprint in ["old", "new"] {
            assert_eq!(permit(&record, fingerprint, later(54)), Permit::LockedUntil(later(55)));
        }
        assert_eq!(permit(&record, "new", later(55)), Permit::Allowed);
        // And the right one ends it.
        begin(&mut record, &secret("new"), later(55));
        succeeded(&mut record, &secret("new"));
        assert_eq!(permit(&record, "new", later(56)), Permit::Allowed);
    }

    #[test]
    fn attempts_without_an_answer_are_spaced_from_the_third_on() {
        let mut record = BrakeRecord::default();
        for _ in 0..2 {
            begin(&mut record, &secret("s"), NOW);
            assert_eq!(permit(&record, "s", NOW), Permit::Allowed);
        }
        begin(&mut record, &secret("s"), NOW);
        assert_eq!(permit(&record, "s", NOW), Permit::SpacedUntil(later(5)));
        begin(&mut record, &secret("s"), later(5));
        assert_eq!(permit(&record, "s", later(5)), Permit::SpacedUntil(later(15)));
    }

    #[test]
    fn a_proven_secret_is_not_spaced() {
        let mut record = BrakeRecord::default();
        begin(&mut record, &secret("s"), NOW);
        succeeded(&mut record, &secret("s"));
        for _ in 0..20 {
            begin(&mut record, &secret("s"), NOW);
        }
        assert_eq!(permit(&record, "s", NOW), Permit::Allowed);
    }

    #[test]
    fn an_attempt_that_was_not_judged_does_not_count() {
        let mut record = BrakeRecord::default();
        for _ in 0..20 {
            begin(&mut record, &secret("s"), NOW);
            not_judged(&mut record);
        }
        assert_eq!(permit(&record, "s", NOW), Permit::Allowed);
    }
}
