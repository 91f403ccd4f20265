//! When a login may be tried. Pure: the caller passes the history and the time.
//!
//! Every refused login counts towards the account's lock, and an attempt on a locked account starts
//! the lock again (WSO2 error 17003). So a refused secret is never tried twice, and few different
//! secrets are tried. A locked account gets no login until its lock has certainly ended.

use std::time::Duration;

use crate::store::{LoginHistory, Trial, TrialOutcome};
use vbc_base::clock::{self, Timestamp};

/// WSO2 locks for 30 minutes after the last attempt. The proxy waits five minutes longer.
pub(in crate::credential) const LOCK: Duration = Duration::from_secs(35 * 60);

/// After this many attempts of unknown outcome, the next attempt waits.
const UNRESOLVED_FREE: u32 = 3;

/// The most fingerprints and trials remembered. The oldest are forgotten first.
const REMEMBERED: usize = 64;

/// How much longer each further attempt of unknown outcome makes the next one wait.
const UNRESOLVED_STEP: Duration = Duration::from_secs(5 * 60);

/// The most different untested secrets of one user that may be tried within [`LOCK`]. Each secret
/// counts, even if its outcome is unknown.
const UNTESTED: usize = 2;

/// After this many different secrets of one user were refused within [`DAY`], no further secret is
/// tried.
const REFUSED: usize = 3;
const DAY: Duration = Duration::from_secs(86_400);

/// Whether a login may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::credential) enum LoginDecision {
    /// The login may be tried.
    Allowed,
    /// No login: this secret was refused. Only another secret, or an operator's unlock, changes
    /// that.
    Refused,
    /// No login: several secrets of this user were refused within a day. Only an operator changes
    /// that.
    Exhausted,
    /// No login before this time: the account is locked.
    LockedUntil(Timestamp),
    /// No login before this time: too many attempts got no response, and each may have been a
    /// refusal.
    SpacedUntil(Timestamp),
    /// No login before this time: the server refused this secret without a readable reason.
    UnexplainedUntil(Timestamp),
    /// No login before this time: two other secrets of this user were tried within [`LOCK`].
    CrowdedUntil(Timestamp),
}

impl LoginDecision {
    pub(in crate::credential) fn until(mut self) -> Option<Timestamp> {
        self.until_mut().copied()
    }

    pub(in crate::credential) fn until_mut(&mut self) -> Option<&mut Timestamp> {
        match self {
            Self::Allowed | Self::Refused | Self::Exhausted => None,
            Self::LockedUntil(at)
            | Self::SpacedUntil(at)
            | Self::UnexplainedUntil(at)
            | Self::CrowdedUntil(at) => Some(at),
        }
    }

    /// Whether no login is made until an operator acts.
    pub(in crate::credential) fn is_final(self) -> bool {
        matches!(self, Self::Refused | Self::Exhausted)
    }
}

/// Adds missing fingerprints. The oldest are dropped beyond [`REMEMBERED`].
fn add(fingerprints: &mut Vec<String>, more: &[String]) {
    for fingerprint in more {
        if !has(fingerprints, fingerprint) {
            fingerprints.push(fingerprint.clone());
        }
    }
    let surplus = fingerprints.len().saturating_sub(REMEMBERED.max(more.len()));
    fingerprints.drain(..surplus);
}

/// Merges in another history. The restrictions of both apply afterwards.
pub(super) fn absorb(history: &mut LoginHistory, other: &LoginHistory) {
    add(&mut history.refused, &other.refused);
    add(&mut history.attempted, &other.attempted);
    add(&mut history.proven, &other.proven);
    history.locked_until = history.locked_until.max(other.locked_until);
    history.last_attempt = history.last_attempt.max(other.last_attempt);
    history.unresolved = history.unresolved.max(other.unresolved);
    history.exhausted |= other.exhausted;
    for trial in &other.trials {
        if !history.trials.iter().any(|known| is_of(known, &trial.secret)) {
            history.trials.push(trial.clone());
        }
    }
}

/// The prefix of a salted fingerprint, before its salt.
const SALTED: &str = "pbkdf2:";

/// The salted fingerprint of a secret, in the form that a history stores.
pub(super) fn salted(salt: &str, fingerprint: &str) -> String {
    format!("{SALTED}{salt}:{fingerprint}")
}

/// The salt of a salted fingerprint; `None` for any other fingerprint.
pub(super) fn salt_of(fingerprint: &str) -> Option<&str> {
    fingerprint.strip_prefix(SALTED)?.split_once(':').map(|(salt, _)| salt)
}

/// The salt of the history's salted fingerprints, if it has any.
pub(super) fn salt(history: &LoginHistory) -> Option<&str> {
    let tried = history.trials.iter().flat_map(|trial| &trial.secret);
    let mut all = history.refused.iter().chain(&history.attempted).chain(&history.proven).chain(tried);
    all.find_map(|fingerprint| salt_of(fingerprint))
}

/// Whether the history allows every login, with any secret.
pub(super) fn is_clear(history: &LoginHistory) -> bool {
    history.refused.is_empty()
        && history.trials.is_empty()
        && history.locked_until.is_none()
        && history.unresolved == 0
        && !history.exhausted
}

pub(super) fn is_proven(history: &LoginHistory, secret: &[String]) -> bool {
    has_any(&history.proven, secret)
}

fn has_any(fingerprints: &[String], secret: &[String]) -> bool {
    !fingerprints.is_empty() && secret.iter().any(|fingerprint| has(fingerprints, fingerprint))
}

fn has(fingerprints: &[String], wanted: &str) -> bool {
    fingerprints.iter().any(|fingerprint| fingerprint == wanted)
}

fn is_of(trial: &Trial, secret: &[String]) -> bool {
    has_any(secret, &trial.secret)
}

/// Whether a secret may be tried at `now`. `secret` lists all fingerprints of the secret, including
/// its fingerprints under other credentials.
pub(super) fn decide(history: &LoginHistory, secret: &[String], now: Timestamp) -> LoginDecision {
    if has_any(&history.refused, secret) {
        return LoginDecision::Refused;
    }
    // A clock that was wrong may have stored a time far ahead. No wait is longer than `LOCK` from
    // now.
    let in_force = |until: Timestamp| (until > now).then(|| until.min(clock::after(now, LOCK)));
    let proven = is_proven(history, secret);
    if !proven && history.exhausted {
        return LoginDecision::Exhausted;
    }
    if has_any(&history.attempted, secret) {
        if let Some(until) = history.locked_until.and_then(in_force) {
            return LoginDecision::LockedUntil(until);
        }
        let over = history.unresolved.saturating_sub(UNRESOLVED_FREE - 1);
        if over > 0
            && !proven
            && let Some(last) = history.last_attempt
            && let Some(until) = in_force(clock::after(last, (UNRESOLVED_STEP * over).min(LOCK)))
        {
            return LoginDecision::SpacedUntil(until);
        }
    }
    let (own, others): (Vec<&Trial>, Vec<&Trial>) =
        history.trials.iter().partition(|trial| is_of(trial, secret));
    let unexplained = own.iter().filter(|trial| trial.outcome == TrialOutcome::Unexplained);
    if let Some(until) = unexplained.filter_map(|trial| in_force(clock::after(trial.at, LOCK))).max() {
        return LoginDecision::UnexplainedUntil(until);
    }
    let mut recent: Vec<Timestamp> =
        others.iter().filter_map(|trial| in_force(clock::after(trial.at, LOCK))).collect();
    recent.sort_unstable();
    // The earliest time at which fewer than [`UNTESTED`] recent trials remain.
    match recent.len().checked_sub(UNTESTED) {
        Some(first) if !proven => LoginDecision::CrowdedUntil(recent[first]),
        _ => LoginDecision::Allowed,
    }
}

/// Notes a login before it is sent. An entry under one fingerprint of `secret` counts for all of
/// them.
pub(super) fn begin(history: &mut LoginHistory, secret: &[String], now: Timestamp) {
    // A lock applies to the account. Another secret gets one try during the lock, which does not
    // free the secrets that were tried before.
    add(&mut history.attempted, secret);
    history.locked_until = history.locked_until.filter(|until| *until > now);
    history.last_attempt = Some(now);
    history.unresolved = history.unresolved.saturating_add(1);
    if !is_proven(history, secret) {
        trial(history, secret, now).at = now;
    }
    history
        .trials
        .retain(|trial| trial.outcome == TrialOutcome::Unexplained || clock::after(trial.at, DAY) > now);
}

/// The trial of this secret, which is added if it is missing.
fn trial<'a>(history: &'a mut LoginHistory, secret: &[String], now: Timestamp) -> &'a mut Trial {
    let trials = &mut history.trials;
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

pub(super) fn succeeded(history: &mut LoginHistory, secret: &[String]) {
    // Another password of the same user stays refused: this success does not make that password
    // right.
    history.refused.retain(|refused| !has(secret, refused));
    history.trials.retain(|trial| !is_of(trial, secret));
    history.locked_until = None;
    history.unresolved = 0;
    history.attempted = secret.to_vec();
    history.proven = secret.to_vec();
}

pub(super) fn refused(history: &mut LoginHistory, secret: &[String], now: Timestamp) {
    add(&mut history.refused, secret);
    history.proven.retain(|proven| !has(secret, proven));
    history.unresolved = 0;
    trial(history, secret, now).outcome = TrialOutcome::Refused;
    let recent = history
        .trials
        .iter()
        .filter(|trial| trial.outcome == TrialOutcome::Refused && clock::after(trial.at, DAY) > now);
    history.exhausted |= recent.count() >= REFUSED;
}

/// Notes that the server refused without a readable reason. The second time counts as a refusal of
/// the secret.
pub(super) fn unexplained(history: &mut LoginHistory, secret: &[String], now: Timestamp) {
    let trial = trial(history, secret, now);
    match trial.outcome {
        TrialOutcome::Open => trial.outcome = TrialOutcome::Unexplained,
        TrialOutcome::Unexplained | TrialOutcome::Refused => refused(history, secret, now),
    }
}

pub(super) fn locked(history: &mut LoginHistory, secret: &[String], now: Timestamp) {
    add(&mut history.attempted, secret);
    history.locked_until = Some(clock::after(now, LOCK));
    history.unresolved = 0;
}

/// Adds all fingerprints of a secret to its entries in the history.
pub(super) fn recognize(history: &mut LoginHistory, secret: &[String], _now: Timestamp) {
    if let Some(trial) = history.trials.iter_mut().find(|trial| is_of(trial, secret)) {
        add(&mut trial.secret, secret);
    }
    if has_any(&history.attempted, secret) {
        add(&mut history.attempted, secret);
    }
}

pub(super) fn tried_at(history: &LoginHistory, secret: &[String]) -> Option<Timestamp> {
    history.trials.iter().find(|trial| is_of(trial, secret)).map(|trial| trial.at)
}

/// Notes that the application was refused, or that the URL is wrong. An earlier trial of the secret
/// keeps its time, so that the next attempt may follow as soon as the configuration has changed.
pub(super) fn misconfigured(history: &mut LoginHistory, secret: &[String], tried_at: Option<Timestamp>) {
    not_judged(history);
    let trial = history.trials.iter_mut().find(|trial| is_of(trial, secret));
    if let (Some(trial), Some(at)) = (trial, tried_at) {
        trial.at = at;
    }
}

/// Notes that the attempt reached no password check: it was not sent, or got 429 or a redirect.
pub(super) fn not_judged(history: &mut LoginHistory) {
    history.unresolved = history.unresolved.saturating_sub(1);
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
