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
    /// Not before this time: two other secrets of this user were tried within [`LOCK`].
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

/// What a salted fingerprint begins with, before the salt.
const SALTED: &str = "pbkdf2:";

/// The salted fingerprint of a secret as a record keeps it.
pub(super) fn salted(salt: &str, fingerprint: &str) -> String {
    format!("{SALTED}{salt}:{fingerprint}")
}

/// The salt of a salted fingerprint; `None` for any other.
pub(super) fn salt_of(fingerprint: &str) -> Option<&str> {
    fingerprint.strip_prefix(SALTED)?.split_once(':').map(|(salt, _)| salt)
}

/// The salt of the record's salted fingerprints, if it has any.
pub(super) fn salt(record: &BrakeRecord) -> Option<&str> {
    let tried = record.trials.iter().flat_map(|trial| &trial.secret);
    let mut all = record.refused.iter().chain(&record.attempted).chain(&record.proven).chain(tried);
    all.find_map(|fingerprint| salt_of(fingerprint))
}

/// Whether the record holds no login back, whatever its secret.
pub(super) fn is_clear(record: &BrakeRecord) -> bool {
    record.refused.is_empty()
        && record.trials.is_empty()
        && record.locked_until.is_none()
        && record.unresolved == 0
        && !record.exhausted
}

/// Whether this secret has worked.
pub(super) fn is_proven(record: &BrakeRecord, secret: &[String]) -> bool {
    has_any(&record.proven, secret)
}

fn has_any(fingerprints: &[String], secret: &[String]) -> bool {
    !fingerprints.is_empty() && secret.iter().any(|fingerprint| has(fingerprints, fingerprint))
}

fn has(fingerprints: &[String], wanted: &str) -> bool {
    fingerprints.iter().any(|fingerprint| fingerprint == wanted)
}

/// Whether `trial` was one of this secret.
fn is_of(trial: &Trial, secret: &[String]) -> bool {
    has_any(secret, &trial.secret)
}

/// Whether a login secret may be tried at `now`.
///
/// `secret` holds every fingerprint of the secret, also those under which other credentials would
/// send it.
pub(super) fn permit(record: &BrakeRecord, secret: &[String], now: Timestamp) -> Permit {
    if has_any(&record.refused, secret) {
        return Permit::Refused;
    }
    // However the clock was set, nothing holds longer than a lock does.
    let in_force = |until: Timestamp| (until > now).then(|| until.min(clock::after(now, LOCK)));
    let proven = is_proven(record, secret);
    if !proven && record.exhausted {
        return Permit::Exhausted;
    }
    if has_any(&record.attempted, secret) {
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
        record.trials.iter().partition(|trial| is_of(trial, secret));
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
/// `secret` is as in [`permit`]: what is learnt under one fingerprint counts for all.
pub(super) fn begin(record: &mut BrakeRecord, secret: &[String], now: Timestamp) {
    // A lock is the account's: another secret has its one try in it, and must not free those that had theirs.
    add(&mut record.attempted, secret);
    record.locked_until = record.locked_until.filter(|until| *until > now);
    record.last_attempt = Some(now);
    record.unresolved = record.unresolved.saturating_add(1);
    if !is_proven(record, secret) {
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

/// The secret of a login that failed is known by more fingerprints now: they belong to what is
/// known of it.
pub(super) fn recognize(record: &mut BrakeRecord, secret: &[String], _now: Timestamp) {
    if let Some(trial) = record.trials.iter_mut().find(|trial| is_of(trial, secret)) {
        add(&mut trial.secret, secret);
    }
    if has_any(&record.attempted, secret) {
        add(&mut record.attempted, secret);
    }
}

/// When this secret was last tried, if that is remembered.
pub(super) fn tried_at(record: &BrakeRecord, secret: &[String]) -> Option<Timestamp> {
    record.trials.iter().find(|trial| is_of(trial, secret)).map(|trial| trial.at)
}

/// The application was refused, or there is no such URL. An earlier trial of the secret keeps its
/// time: the next attempt may follow as soon as the configuration has changed.
pub(super) fn misconfigured(record: &mut BrakeRecord, secret: &[String], tried_at: Option<Timestamp>) {
    not_judged(record);
    let trial = record.trials.iter_mut().find(|trial| is_of(trial, secret));
    if let (Some(trial), Some(at)) = (trial, tried_at) {
        trial.at = at;
    }
}

/// The attempt never reached a password check (never sent, 429, a redirect).
pub(super) fn not_judged(record: &mut BrakeRecord) {
    record.unresolved = record.unresolved.saturating_sub(1);
}

#[cfg(test)]
#[path = "brake_tests.rs"]
mod tests;
