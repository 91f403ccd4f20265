//! Questions that the refresher answers later: forced refreshes that are held back, and those that
//! operators ask for. All who wait share the next exchange, and one that has left is skipped.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::refresher::{Need, Refresher};
use super::{Replacement, Unavailable};
use crate::clock::{self, Timestamp};
use crate::oauth::Redeem;

/// The least time between two exchanges that operators ask for.
const OPERATORS_SPACING: Duration = Duration::from_secs(1);

/// Who waits, and what was last done for operators.
#[derive(Default)]
pub(super) struct Waiting {
    forced: Vec<Newer>,
    operators: Vec<oneshot::Sender<Result<(), Unavailable>>>,
    operated: Option<Operated>,
}

/// Somebody whose bearer was refused.
pub(super) struct Newer {
    pub(super) refused: u64,
    /// The gateway named the token as the reason.
    pub(super) certain: bool,
    pub(super) asked: Instant,
    pub(super) reply: oneshot::Sender<Result<Replacement, Unavailable>>,
}

/// The last exchange that an operator asked for.
struct Operated {
    began: Instant,
    outcome: Result<(), Unavailable>,
}

impl<R: Redeem> Refresher<R> {
    /// A newer bearer for one that was refused: the current one, or that of a forced refresh, now
    /// or when it may be made.
    pub(super) async fn answer_newer(&mut self, newer: Newer) {
        if self.is_newer_than(newer.refused) {
            return self.reply_newer(newer, Ok(()));
        }
        if newer.certain {
            self.distrusted = self.distrusted.max(newer.refused);
        }
        let allowed = self.may_try(Need::Token).and_then(|()| self.may_replace());
        if let Err(unavailable) = allowed {
            return self.reply_newer(newer, Err(unavailable));
        }
        if self.alive() && !self.forced_in().is_zero() {
            self.waiting.get_or_insert_default().forced.push(newer);
            return;
        }
        let outcome = self.force().await;
        self.reply_newer(newer, outcome);
    }

    fn reply_newer(&mut self, newer: Newer, outcome: Result<(), Unavailable>) {
        if outcome.is_err() && newer.certain {
            // The next request will be refused as well: that is said before this one is answered.
            self.shared.distrust(newer.refused);
            self.report();
        }
        let fresh = self.published_at.is_some_and(|at| at >= newer.asked);
        let answer = outcome.and_then(|()| self.current());
        let _ = newer.reply.send(answer.map(|bearer| Replacement { bearer, fresh }));
    }

    /// Whether a 401 that does not name the token may cost the present one.
    ///
    /// After a lost response the refresh token may be spent, and a server that detects reuse would
    /// end a token that the gateway still accepts. Without a password nothing could replace it.
    fn may_replace(&self) -> Result<(), Unavailable> {
        let uncertain = self.keeper.record.refresh_pending && self.trusted();
        match self.no_refresh().filter(|_| uncertain && self.parts.seat.is_none()) {
            Some(why) => Err(self.unavailable(&why, None)),
            None => Ok(()),
        }
    }

    /// One refresh that a 401 forced. It counts when it was one: adopting a stored set is none.
    pub(super) async fn force(&mut self) -> Result<(), Unavailable> {
        let began = Instant::now();
        let counts = |refresher: &Self| {
            let exchanges = &refresher.shared.exchanges;
            (exchanges.total(), exchanges.issued(), refresher.token_revision)
        };
        let (asked, issued, revision) = counts(self);
        let outcome = self.obtain(Need::Token).await;
        let (asked_now, issued_now, revision_now) = counts(self);
        let adopted = revision_now > revision && issued_now == issued;
        if asked_now > asked && !adopted {
            self.shared.refusals().forced.note(began);
        }
        outcome
    }

    /// How long until a refresh may be forced.
    fn forced_in(&self) -> Duration {
        let refusals = self.shared.refusals.lock();
        refusals.as_ref().map_or(Duration::ZERO, |refusals| refusals.forced.wait(Instant::now()))
    }

    /// When a refresh may be forced, not before `now`.
    pub(super) fn forced_at(&self, now: Timestamp) -> Timestamp {
        clock::after(now, self.forced_in())
    }

    /// A new token set for an operator. An exchange that ended after the operator asked serves too.
    pub(super) fn answer_operator(&mut self, asked: u64, reply: oneshot::Sender<Result<(), Unavailable>>) {
        let operated = self.shared.operated.load(Ordering::Relaxed);
        let waiting = self.waiting.get_or_insert_default();
        match &waiting.operated {
            Some(done) if operated > asked => drop(reply.send(done.outcome.clone())),
            _ => waiting.operators.push(reply),
        }
    }

    /// Does what somebody waits for, as far as it may be done by now.
    pub(super) async fn serve_waiting(&mut self) {
        self.serve_operators().await;
        self.serve_forced().await;
    }

    async fn serve_operators(&mut self) {
        let Some(waiting) = &mut self.waiting else { return };
        waiting.operators.retain(|reply| !reply.is_closed());
        let spacing = OPERATORS_SPACING / self.shared.hurry.max(1);
        if waiting.operators.is_empty() || !waiting.operators_in(spacing).is_zero() {
            return;
        }
        let began = Instant::now();
        self.backoff.reset();
        let outcome = self.obtain(Need::Token).await;
        self.shared.operated.fetch_add(1, Ordering::Relaxed);
        let Some(waiting) = &mut self.waiting else { return };
        for reply in waiting.operators.drain(..) {
            let _ = reply.send(outcome.clone());
        }
        waiting.operated = Some(Operated { began, outcome });
    }

    async fn serve_forced(&mut self) {
        let Some(waiting) = &mut self.waiting else { return };
        waiting.forced.retain(|newer| !newer.reply.is_closed());
        if waiting.forced.is_empty() {
            return;
        }
        // An early refresh, or an operator's, may have come first.
        let (served, rest) = std::mem::take(&mut waiting.forced)
            .into_iter()
            .partition(|newer| self.is_newer_than(newer.refused));
        self.reply_all(served, &Ok(()));
        let due = !self.alive() || self.forced_in().is_zero();
        if rest.is_empty() || !due {
            self.waiting.get_or_insert_default().forced = rest;
            return;
        }
        let outcome = match self.may_replace() {
            Ok(()) => self.force().await,
            refused => refused,
        };
        self.reply_all(rest, &outcome);
    }

    fn reply_all(&mut self, all: Vec<Newer>, outcome: &Result<(), Unavailable>) {
        for newer in all {
            self.reply_newer(newer, outcome.clone());
        }
    }

    fn is_newer_than(&self, refused: u64) -> bool {
        self.token_revision > refused && self.alive()
    }

    /// How long until something can be done for those who wait; for ever when nobody does.
    pub(super) fn waiting_in(&self) -> Duration {
        let Some(waiting) = &self.waiting else { return Duration::MAX };
        let forced = if waiting.forced.is_empty() { Duration::MAX } else { self.forced_in() };
        let operators = match waiting.operators.is_empty() {
            true => Duration::MAX,
            false => waiting.operators_in(OPERATORS_SPACING / self.shared.hurry.max(1)),
        };
        forced.min(operators)
    }
}

impl Waiting {
    fn operators_in(&self, spacing: Duration) -> Duration {
        let next = self.operated.as_ref().map(|done| done.began + spacing);
        next.map_or(Duration::ZERO, |next| next.saturating_duration_since(Instant::now()))
    }
}
