//! What others see of a credential: its bearer, its state, and warnings in the log.

use std::sync::atomic::Ordering;

use super::{BlockReason, Refresher};
use crate::credential::bearer::Bearer;
use crate::credential::forced_refreshes;
use crate::credential::login_guard::LoginPermit;
use crate::credential::schedule::{self, Warning};
use crate::oauth::Redeem;
use vbc_base::clock::{self, Timestamp};
use vbc_base::random;

impl<R: Redeem> Refresher<R> {
    /// Publishes the token set, and plans its refresh.
    pub(super) fn publish(&mut self) {
        if let Some(tokens) = &self.stored.record.tokens {
            let by_access = schedule::refresh_at(self.options.refresh, tokens, random::unit());
            let by_refresh = schedule::refresh_by(tokens, self.options.refresh_lifetime, random::unit());
            self.refresh_at = by_refresh.map_or(by_access, |by| by.min(by_access));
            self.published_at = Some(tokio::time::Instant::now());
            self.publish_again();
        }
        self.warning = Warning::default();
        self.report();
    }

    /// Publishes the token set with its current times.
    pub(super) fn publish_again(&self) {
        let Some(tokens) = &self.stored.record.tokens else { return };
        // The reader of token responses has checked that the token is a legal field value.
        let Some(value) = tokens.access_token.header_value() else {
            tracing::error!(
                credential = %self.shared.name,
                "the access token is not a legal header value and cannot be sent"
            );
            return;
        };
        let nudges = self.may_refresh_early() && !self.options.passive;
        let known_at = if self.token_revision == self.logged_in {
            Timestamp::MIN
        } else {
            clock::after(tokens.issued_at, forced_refreshes::KNOWN_AFTER / self.shared.hurry.max(1))
        };
        self.shared.nudged.store(false, Ordering::Relaxed);
        self.shared.refresh_token.lock().clone_from(&tokens.refresh_token);
        self.shared.published.publish(Bearer {
            value,
            revision: self.token_revision,
            expires_at: tokens.expires_at,
            ends: self.ends,
            minted_at: tokens.minted_at,
            refresh_at: if nudges { self.refresh_at } else { Timestamp::MAX },
            known_at,
        });
    }

    /// When an interactive login will be needed; `None` if the proxy can log in by itself.
    fn login_needed_by(&self) -> Option<Timestamp> {
        if self.permit.as_ref().is_some_and(|permit| !permit.decision().is_final()) {
            return None;
        }
        let tokens = self.stored.record.tokens.as_ref()?;
        match self.refresh_token() {
            Some(_) => Some(clock::after(tokens.refresh_issued_at, self.options.refresh_lifetime)),
            // Without a refresh token, the current access token is the last one.
            None => Some(tokens.expires_at),
        }
    }

    pub(super) fn warn_of_login(&mut self) {
        let Some(by) = self.login_needed_by() else { return };
        let now = self.now();
        let left = clock::until(now, by);
        let is_renewable = self.refresh_token().is_some();
        if !left.is_zero() && self.warning.is_due(left, self.options.refresh_lifetime, is_renewable, now) {
            tracing::warn!(
                credential = %self.shared.name, login_needed_by = %format_args!("{by:.0}"),
                trouble = self.trouble.as_deref().unwrap_or_default(),
                "the refresh token is not being renewed; before login_needed_by, run `vbc-proxy login {}`",
                self.shared.name
            );
        }
    }

    pub(super) fn report(&self) {
        let now = self.now();
        let record = &self.stored.record;
        let tokens = record.tokens.as_ref();
        let login_needed_by = self.login_needed_by();
        let store_trouble = self.store_trouble();
        let trouble = match &self.blocked {
            Some(reason) => Some(self.describe(reason, now).0),
            None => self.trouble.clone().or_else(|| self.no_refresh()),
        };
        let history_unsaved = self.permit.as_ref().is_some_and(LoginPermit::is_unsaved);
        let mut snapshot = self.shared.snapshot.lock();
        snapshot.revision = tokens.map_or(0, |_| self.token_revision);
        snapshot.issued_at = tokens.map(|tokens| tokens.issued_at);
        snapshot.expires_at = tokens.map(|tokens| tokens.expires_at);
        snapshot.scope = tokens.and_then(|tokens| tokens.scope.clone());
        snapshot.subject.clone_from(&record.subject);
        snapshot.other_user.clone_from(&record.other_subject);
        snapshot.issuance = record.issuance;
        snapshot.next_attempt = if self.options.passive { None } else { self.next_attempt(now) };
        snapshot.brake =
            matches!(self.blocked, Some(BlockReason::LoginGuard(_) | BlockReason::LoginHistory(_)));
        snapshot.login_needed = matches!(self.blocked, Some(BlockReason::LoginNeeded));
        snapshot.login_needed_by = login_needed_by;
        snapshot.unsaved = tokens.is_some() && !self.stored.has_stored(self.token_revision);
        snapshot.note_unsaved = history_unsaved || self.stored.is_unsaved() && !snapshot.unsaved;
        snapshot.exchanges = self.shared.exchanges.total();
        snapshot.trouble = join(trouble, store_trouble.as_deref());
        snapshot.store_trouble = store_trouble;
    }
}

fn join(trouble: Option<String>, store_trouble: Option<&str>) -> Option<String> {
    match (trouble, store_trouble) {
        (Some(trouble), Some(store)) if !trouble.contains(store) => Some(format!("{trouble}; {store}")),
        (trouble, store) => trouble.or_else(|| store.map(str::to_owned)),
    }
}
