//! When the refresher acts on its own schedule.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{BlockReason, Need, Refresher, TokenState};
use crate::credential::schedule::{self, RefreshAt};
use crate::oauth::Redeem;
use vbc_base::clock::{self, Timestamp};
use vbc_base::random;

/// How long a due exchange waits, on average, if the exchange of another credential goes first.
/// Also how long the refresher pauses after a round in which nothing could be done.
const TURN_AGAIN: Duration = Duration::from_secs(1);

impl<R: Redeem> Refresher<R> {
    pub(super) fn pause(&self) -> Duration {
        let now = self.now();
        let mut pause = self.waiting_in();
        if !self.options.passive
            && let Some(at) = self.next_attempt(now)
        {
            pause = pause.min(clock::until(now, at.max(self.not_before)));
        }
        if self.is_unsaved() {
            pause = pause.min(self.save_at.saturating_duration_since(Instant::now()));
        }
        pause
    }

    pub(super) fn next_attempt(&self, now: Timestamp) -> Option<Timestamp> {
        let planned = match &self.stored.record.tokens {
            None => now,
            Some(tokens) => match self.token_state() {
                TokenState::Trusted if self.may_refresh_early() => self.refresh_at,
                TokenState::Trusted => tokens.expires_at,
                TokenState::Distrusted => clock::after(now, self.shared.forced_in()),
                // Tokens with a lifetime of seconds must not cause a storm of refreshes.
                TokenState::Dead => schedule::refresh_at(RefreshAt::Share(0.0), tokens, 0.0),
            },
        };
        let due = match &self.blocked {
            // Only the login is blocked.
            Some(BlockReason::LoginHistory(_)) if self.refresh_token().is_some() => planned,
            Some(reason) => planned.max(reason.until()?),
            None => planned,
        };
        Some(self.backoff.until(now).map_or(due, |until| until.max(due)))
    }

    /// Makes the exchange that is due, if one is.
    pub(super) async fn act_on_schedule(&mut self) {
        self.save_if_unsaved().await;
        let now = self.now();
        let is_due = self.next_attempt(now).is_some_and(|at| at <= now) && now >= self.not_before;
        if !is_due || self.options.passive {
            return;
        }
        let unasked = Arc::clone(&self.options.unasked);
        let Ok(_turn) = unasked.try_acquire() else {
            self.not_before = clock::after(now, TURN_AGAIN.mul_f64(0.5 + random::unit()));
            return;
        };
        // The result is ignored: the snapshot, the log and the metrics have the outcome.
        let _ = match self.token_state() {
            TokenState::Trusted => self.obtain(Need::Early).await,
            TokenState::Distrusted => self.force().await,
            TokenState::Dead => self.obtain(Need::Token).await,
        };
    }

    /// Backs off when nothing could be done, to avoid a busy loop.
    pub(super) fn rest_if_idle(&mut self, exchanges_before: u64) {
        let is_idle = self.shared.exchanges.total() == exchanges_before && self.pause().is_zero();
        self.idle_rounds = if is_idle { self.idle_rounds + 1 } else { 0 };
        if is_idle {
            self.not_before = clock::after(self.now(), TURN_AGAIN);
        }
        // A clock that was set ahead explains one idle round. More idle rounds mean that the plan
        // contradicts itself.
        debug_assert!(self.idle_rounds < 5, "due, and not done: {:?}", self.blocked);
    }
}
