//! When a login may be tried again. Pure: the record is the store's, the time is the caller's.
//!
//! Every refused login counts towards the account's lock, and each attempt on a locked account starts the lock
//! again (WSO2 error 17003). So a refused secret is never tried twice, a locked account is left alone for longer
//! than its lock, few different secrets are tried, and all of it is remembered across restarts.

use std::time::Duration;

use crate::clock::{self, Timestamp};
use crate::store::{BrakeRecord, Trial, TrialOutcome};

/// WSO2 locks for 30 minutes from the last attempt; five more make sure that ours is not inside them.
pub(super) const LOCK: Duration = Duration::from_secs(35 * 60);

/// Attempts whose outcome is unknown and that are nevertheless followed by another at once.
const UNRESOLVED_FREE: u32 = 3;

/// Secrets that are remembered: beyond this many changes of a password the oldest are forgotten.
const REMEMBERED: usize = 64;

/// How much longer each further one waits.
const UNRESOLVED_STEP: Duration = Duration::from_secs(5 * 60);

/// Different untested secrets of one user that may be tried within [`LOCK`], whatever came of them.
const UNTESTED: usize = 2;

/// Different secrets of one user that may be refused within [`DAY`].
const REFUSED: usize = 3;
const DAY: Duration = Duration::from_secs(86_400);

/// Whether a login may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    /// Yes.
    Allowed,
    /// No: this secret has been refused. Only another secret changes that.
    Refused,
    /// No: several secrets of this user have been refused within a day. Only an operator changes that.
    Exhausted,
    /// Not before this time: the account is locked.
    LockedUntil(Timestamp),
    /// Not before this time: too many attempts ended without an answer, and each may have been a refusal.
    SpacedUntil(Timestamp),
    /// Not before this time: the server refused this secret without a word that explains it.
    UnexplainedUntil(Timestamp),
    /// Not before this time: other secrets of this user have just been tried.
    CrowdedUntil(Timestamp),
}

impl Permit {
    /// When it ends by itself.
    pub(super) fn until(self) -> Option<Timestamp> {
        match self {
            Self::Allowed | Self::Refused | Self::Exhausted => None,
            Self::LockedUntil(at)
            | Self::SpacedUntil(at)
            | Self::UnexplainedUntil(at)
            | Self::CrowdedUntil(at) => Some(at),
        }
    }

    /// The time it ends at, to be moved.
    pub(super) fn until_mut(&mut self) -> Option<&mut Timestamp> {
        match self {
            Self::Allowed | Self::Refused | Self::Exhausted => None,
            Self::LockedUntil(at)
            | Self::SpacedUntil(at)
            | Self::UnexplainedUntil(at)
            | Self::CrowdedUntil(at) => Some(at),
        }
    }

    /// Whether no login is made until somebody acts.
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Refused | Self::Exhausted)
    }
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
    record.exhausted |= other.exhausted;
    for trial in &other.trials {
        if !record.trials.iter().any(|known| is_of(known, &trial.secret)) {
            record.trials.push(trial.clone());
        }
    }
}

fn has(fingerprints: &[String], wanted: &str) -> bool {
    fingerprints.iter().any(|fingerprint| fingerprint == wanted)
}

/// Whether `trial` was one of this secret.
fn is_of(trial: &Trial, secret: &[String]) -> bool {
    trial.secret.iter().any(|fingerprint| has(secret, fingerprint))
}

/// Whether the login secret with this fingerprint may be tried at `now`.
pub(super) fn permit(record: &BrakeRecord, fingerprint: &str, now: Timestamp) -> Permit {
    if has(&record.refused, fingerprint) {
        return Permit::Refused;
    }
    // However the clock was set, nothing holds longer than a lock does.
    let in_force = |until: Timestamp| (until > now).then(|| until.min(clock::after(now, LOCK)));
    let proven = has(&record.proven, fingerprint);
    if !proven && record.exhausted {
        return Permit::Exhausted;
    }
    if has(&record.attempted, fingerprint) {
        if let Some(until) = record.locked_until.and_then(in_force) {
            return Permit::LockedUntil(until);
        }
        let over = record.unresolved.saturating_sub(UNRESOLVED_FREE - 1);
        if over > 0
            && !proven
            && let Some(last) = record.last_attempt
            && let Some(until) = in_force(clock::after(last, (UNRESOLVED_STEP * over).min(LOCK)))
        {
            return Permit::SpacedUntil(until);
        }
    }
    let (own, others): (Vec<&Trial>, Vec<&Trial>) =
        record.trials.iter().partition(|trial| has(&trial.secret, fingerprint));
    let unexplained = own.iter().filter(|trial| trial.outcome == TrialOutcome::Unexplained);
    if let Some(until) = unexplained.filter_map(|trial| in_force(clock::after(trial.at, LOCK))).max() {
        return Permit::UnexplainedUntil(until);
    }
    let mut recent: Vec<Timestamp> =
        others.iter().filter_map(|trial| in_force(clock::after(trial.at, LOCK))).collect();
    recent.sort_unstable();
    // The earliest end after which fewer than the limit are left.
    match recent.len().checked_sub(UNTESTED) {
        Some(first) if !proven => Permit::CrowdedUntil(recent[first]),
        _ => Permit::Allowed,
    }
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
    if !secret.iter().any(|fingerprint| has(&record.proven, fingerprint)) {
        trial(record, secret, now).at = now;
    }
    record
        .trials
        .retain(|trial| trial.outcome == TrialOutcome::Unexplained || clock::after(trial.at, DAY) > now);
}

/// The trial of this secret, which is made where there is none.
fn trial<'a>(record: &'a mut BrakeRecord, secret: &[String], now: Timestamp) -> &'a mut Trial {
    let trials = &mut record.trials;
    let at = trials.iter().position(|trial| is_of(trial, secret)).unwrap_or_else(|| {
        let surplus = (trials.len() + 1).saturating_sub(REMEMBERED);
        trials.drain(..surplus);
        trials.push(Trial { secret: Vec::new(), at: now, outcome: TrialOutcome::Open });
        trials.len() - 1
    });
    let trial = &mut trials[at];
    add(&mut trial.secret, secret);
    trial
}

/// The login succeeded.
pub(super) fn succeeded(record: &mut BrakeRecord, secret: &[String]) {
    // Another password of the same user stays refused: a success of this one does not make it right.
    record.refused.retain(|refused| !has(secret, refused));
    record.trials.retain(|trial| !is_of(trial, secret));
    record.locked_until = None;
    record.unresolved = 0;
    record.attempted = secret.to_vec();
    record.proven = secret.to_vec();
}

/// The server refused user name or password.
pub(super) fn refused(record: &mut BrakeRecord, secret: &[String], now: Timestamp) {
    add(&mut record.refused, secret);
    record.proven.retain(|proven| !has(secret, proven));
    record.unresolved = 0;
    trial(record, secret, now).outcome = TrialOutcome::Refused;
    let recent = record
        .trials
        .iter()
        .filter(|trial| trial.outcome == TrialOutcome::Refused && clock::after(trial.at, DAY) > now);
    record.exhausted |= recent.count() >= REFUSED;
}

/// The server refused, and nothing says what. The second time it is taken for a refusal of the secret.
pub(super) fn unexplained(record: &mut BrakeRecord, secret: &[String], now: Timestamp) {
    let trial = trial(record, secret, now);
    match trial.outcome {
        TrialOutcome::Open => trial.outcome = TrialOutcome::Unexplained,
        TrialOutcome::Unexplained | TrialOutcome::Refused => refused(record, secret, now),
    }
}

/// The server says that the account is locked.
pub(super) fn locked(record: &mut BrakeRecord, secret: &[String], now: Timestamp) {
    add(&mut record.attempted, secret);
    record.locked_until = Some(clock::after(now, LOCK));
    record.unresolved = 0;
}

/// The attempt never reached a password check (never sent, 429, a redirect).
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
        refused(&mut record, &secret("old"), NOW);
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

    #[test]
    fn an_unexplained_refusal_is_followed_by_one_more_try_after_35_minutes() {
        let mut record = BrakeRecord::default();
        begin(&mut record, &secret("s"), NOW);
        unexplained(&mut record, &secret("s"), NOW);
        assert_eq!(permit(&record, "s", later(34)), Permit::UnexplainedUntil(later(35)));
        assert_eq!(permit(&record, "s", later(35)), Permit::Allowed);
        begin(&mut record, &secret("s"), later(35));
        unexplained(&mut record, &secret("s"), later(35));
        assert_eq!(permit(&record, "s", later(100_000)), Permit::Refused);
    }

    #[test]
    fn a_secret_that_worked_before_has_the_same_two_tries() {
        let mut record = BrakeRecord::default();
        begin(&mut record, &secret("s"), NOW);
        succeeded(&mut record, &secret("s"));
        for minutes in [1000, 1035] {
            assert_eq!(permit(&record, "s", later(minutes)), Permit::Allowed);
            begin(&mut record, &secret("s"), later(minutes));
            unexplained(&mut record, &secret("s"), later(minutes));
        }
        assert_eq!(permit(&record, "s", later(9999)), Permit::Refused);
    }

    #[test]
    fn two_untested_secrets_are_tried_in_35_minutes_whatever_came_of_them() {
        type Outcome = fn(&mut BrakeRecord, &[String], Timestamp);
        let outcomes: [Outcome; 5] = [
            |_, _, _| {},
            |record, _, _| not_judged(record),
            |record, secret, now| refused(record, secret, now),
            unexplained,
            |record, secret, now| locked(record, secret, now),
        ];
        for outcome in outcomes {
            let mut record = BrakeRecord::default();
            for (name, at) in [("a", 0), ("b", 10)] {
                assert_eq!(permit(&record, name, later(at)), Permit::Allowed);
                begin(&mut record, &secret(name), later(at));
                outcome(&mut record, &secret(name), later(at));
            }
            assert_eq!(permit(&record, "c", later(34)), Permit::CrowdedUntil(later(35)));
            assert_eq!(permit(&record, "c", later(35)), Permit::Allowed);
        }
    }

    #[test]
    fn a_secret_that_works_makes_room_for_itself_and_is_never_crowded_out() {
        let mut record = BrakeRecord::default();
        begin(&mut record, &secret("right"), NOW);
        succeeded(&mut record, &secret("right"));
        for name in ["a", "b"] {
            begin(&mut record, &secret(name), NOW);
        }
        assert_eq!(permit(&record, "right", NOW), Permit::Allowed);
        assert_eq!(permit(&record, "c", NOW), Permit::CrowdedUntil(later(35)));
    }

    #[test]
    fn after_three_refusals_in_a_day_only_an_operator_helps() {
        let mut record = BrakeRecord::default();
        for (name, at) in [("a", 0), ("b", 600), ("c", 1200)] {
            assert_eq!(permit(&record, name, later(at)), Permit::Allowed, "{name}");
            begin(&mut record, &secret(name), later(at));
            refused(&mut record, &secret(name), later(at));
        }
        assert_eq!(permit(&record, "d", later(100_000)), Permit::Exhausted);
        // Three in more than a day are not.
        let mut record = BrakeRecord::default();
        for (name, at) in [("a", 0), ("b", 600), ("c", 1441)] {
            begin(&mut record, &secret(name), later(at));
            refused(&mut record, &secret(name), later(at));
        }
        assert_eq!(permit(&record, "d", later(1500)), Permit::Allowed);
    }
}
