//! One exchange with the token endpoint: redeeming, adopting the token set, and failures.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use super::{BlockReason, Refresher};
use crate::credential::bearer::{Unavailable, ends_in};
use crate::credential::block_reason::block_application;
use crate::credential::exchanges;
use crate::oauth::{Class, Grant, Issued, Redeem, TokenError, TokenSet};
use crate::store::{Issuance, Record};
use vbc_base::clock;
use vbc_base::random;
use vbc_base::secret::{Secret, fingerprint};

impl<R: Redeem> Refresher<R> {
    /// Makes one exchange. Nothing else calls [`Redeem::redeem`].
    pub(super) async fn redeem(&mut self, grant: &Grant) -> Result<Issued, TokenError> {
        self.reserve().await?;
        let started = Instant::now();
        // A request that timed out waited for an earlier exchange, and says nothing about this one.
        self.shared.waited_in_vain.store(false, Ordering::Relaxed);
        let outcome = self.endpoint.redeem(grant).await;
        self.shared.waited_in_vain.store(false, Ordering::Relaxed);
        if outcome.is_err() {
            self.stored.release();
        }
        let class = outcome.as_ref().err().map(|error| error.class);
        self.shared.exchanges.count(grant, class);
        let millis = started.elapsed().as_millis() as u64;
        match &outcome {
            Ok(issued) => tracing::info!(
                credential = %self.shared.name, grant = grant.name(), millis,
                expires_in_seconds = issued.expires_in.as_secs(), "token set received"
            ),
            Err(error) => tracing::warn!(
                credential = %self.shared.name, grant = grant.name(), millis,
                outcome = exchanges::outcome_label(class), %error, "the exchange failed"
            ),
        }
        outcome
    }

    /// Stores a token set, then publishes it. `presented` is the refresh token for which the set
    /// was issued, if any.
    pub(super) async fn adopt(&mut self, issued: Issued, presented: Option<&Secret>) {
        if let Some(presented) = presented {
            self.note_spent_seed(presented);
        }
        self.follow_clock();
        let now = self.now();
        let was_trusted = self.is_trusted();
        let record = &mut self.stored.record;
        let expires_in = issued.expires_in;
        if issued.subject.is_some() {
            record.subject.clone_from(&issued.subject);
        }
        let mut tokens = TokenSet::from_issued(issued, now, presented, record.tokens.as_ref());
        if presented.is_some() {
            // A refresh always mints a new access token.
            record.full_lifetime = expires_in.as_secs();
        } else {
            if let Some(observed) = observe_issuance(record, &tokens, was_trusted) {
                record.issuance = Some(observed);
            }
            record.full_lifetime = record.full_lifetime.max(expires_in.as_secs());
            let full = Duration::from_secs(record.full_lifetime);
            let age = SignedDuration::try_from(full.saturating_sub(expires_in)).unwrap_or_default();
            tokens.minted_at = now.saturating_sub(age).unwrap_or(now);
        }
        record.tokens = Some(tokens);
        record.refresh_pending = false;
        record.login_needed = false;
        record.other_subject = None;
        record.application = None;
        self.ends = ends_in(expires_in);
        self.save().await;
        // Saving may raise the revision, so it is read only now. A bearer with the old revision
        // would count as refused if that one was.
        self.token_revision = self.stored.record.revision;
        if presented.is_none() {
            self.logged_in = self.token_revision;
        }
        self.backoff.reset();
        self.blocked = None;
        self.trouble = None;
        self.publish();
    }

    pub(super) async fn reload_newer(&mut self) -> bool {
        if !self.stored.reload_newer().await {
            return false;
        }
        self.adopt_record();
        if self.is_alive() {
            self.backoff.reset();
            self.blocked = None;
            self.publish();
        }
        true
    }

    /// Plans the next exchange after a failure that the login guard does not handle.
    pub(super) async fn failed(&mut self, error: TokenError) -> Unavailable {
        if matches!(error.class, Class::Configuration | Class::WrongUrl) {
            return self.block_application(&error.message).await;
        }
        let now = self.now();
        let until = self.backoff.fail(now, error.retry_after, random::unit());
        let unavailable = self.unavailable(&error.message, Some(clock::until(now, until)));
        self.trouble = Some(error.message);
        unavailable
    }

    /// Pauses exchanges of a refused application. The pause outlasts a restart.
    async fn block_application(&mut self, message: &str) -> Unavailable {
        let before = self.stored.record.application.as_deref();
        let block = block_application(before, self.configuration(), message, self.now());
        let until = block.next_attempt;
        tracing::error!(
            credential = %self.shared.name, next_attempt = %format_args!("{until:.0}"),
            "the server rejects the application; retrying slowly, or immediately after the \
             configuration changes"
        );
        self.stored.record.application = Some(Box::new(block));
        self.save().await;
        self.trouble = Some(message.to_owned());
        self.block(BlockReason::Configuration { message: message.into(), until })
    }

    /// Restores the block of an application that an earlier run stored, unless the configuration
    /// has changed.
    pub(super) fn restore_application_block(&mut self) {
        let Some(block) = self.stored.record.application.as_deref() else { return };
        self.blocked = None;
        if let Some(reason) = BlockReason::of_application(block, &self.configuration(), self.now()) {
            self.block_without_exchange(reason);
        }
    }

    fn configuration(&self) -> String {
        let login = self.options.login.as_ref();
        let (secret, scope) = login.map_or(("", ""), |login| (&*login.fingerprint, &*login.scope));
        fingerprint(&[&self.endpoint.fingerprint(), &self.options.identity, secret, scope])
    }
}

/// How the server issues token sets, as far as the login that issued `tokens` shows; else `None`.
/// `record` is the record before the login. `was_trusted` says whether the record's access token
/// was alive and not known to be refused.
fn observe_issuance(record: &Record, tokens: &TokenSet, was_trusted: bool) -> Option<Issuance> {
    let before = record.tokens.as_ref().filter(|_| was_trusted);
    if before.is_some_and(|before| before.access_token == tokens.access_token) {
        return Some(Issuance::Reuse);
    }
    let full = Duration::from_secs(record.full_lifetime);
    let left = clock::until(tokens.issued_at, tokens.expires_at);
    match before.map(|before| (&before.refresh_token, &tokens.refresh_token)) {
        Some((Some(old), Some(new))) if old == new => Some(Issuance::RenewRevoke),
        Some((Some(_), Some(_))) => Some(Issuance::RenewKeep),
        // Less than a full lifetime: the token was issued earlier, to another client of the
        // application.
        _ if left + Duration::from_secs(5) < full => Some(Issuance::Reuse),
        _ => None,
    }
}
