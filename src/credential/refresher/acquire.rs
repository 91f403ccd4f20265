//! Obtains a token, in fallback order: with the refresh token, by a login if the login guard allows
//! it, or by an operator's interactive login.

use std::sync::atomic::Ordering;

use super::saving::not_started;
use super::{BlockReason, Need, Refresher};
use crate::credential::bearer::Unavailable;
use crate::credential::block_reason::unusable_login_history;
use crate::credential::login_guard::{self, BeginError, LoginDecision, LoginPermit};
use crate::oauth::{Class, Grant, Redeem, TokenError};
use vbc_base::clock;

impl<R: Redeem> Refresher<R> {
    pub(super) async fn obtain(&mut self, need: Need) -> Result<(), Unavailable> {
        self.may_try(need)?;
        let outcome = match self.read_record().await {
            // The stored token is usable.
            Ok(true) if self.is_trusted() => Ok(()),
            Ok(_) => self.acquire(need).await,
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            self.stored.release();
        }
        self.report();
        outcome
    }

    async fn acquire(&mut self, need: Need) -> Result<(), Unavailable> {
        if self.refresh(need).await? {
            return Ok(());
        }
        if need == Need::Early && self.is_alive() {
            // A login now could return the same token, which ends soon. After the end of that
            // token, a login mints a new one.
            let detail = self.no_refresh().unwrap_or_else(|| {
                let name = &self.shared.name;
                match self.permit {
                    Some(_) => "the refresh token is gone; the proxy logs in when the token expires".to_owned(),
                    None => format!(
                        "the refresh token is gone: login needed before the token expires. Run `vbc-proxy login {name}`"
                    ),
                }
            });
            self.trouble = Some(detail.clone());
            return Err(self.unavailable(&detail, None));
        }
        self.may_go_on()?;
        self.log_in().await
    }

    pub(super) fn may_try(&mut self, need: Need) -> Result<(), Unavailable> {
        let now = self.now();
        if let Some(until) = self.backoff.until(now) {
            let detail = self.trouble.as_deref().unwrap_or("the last exchange failed");
            return Err(self.unavailable(detail, Some(clock::until(now, until))));
        }
        self.recheck_block();
        if let Some(reason) = self.blocked.as_ref().filter(|reason| self.is_blocked_by(reason)) {
            return Err(self.blocked_by(reason));
        }
        if need == Need::Early && !self.may_refresh_early() {
            let detail = self.no_refresh();
            let detail = detail.as_deref().unwrap_or("no early refresh is possible without a refresh token");
            return Err(self.unavailable(detail, None));
        }
        Ok(())
    }

    fn is_blocked_by(&self, reason: &BlockReason) -> bool {
        match reason {
            BlockReason::Record(_) => true,
            // While the account is locked, not even a refresh token is presented.
            BlockReason::Configuration { until, .. }
            | BlockReason::LoginGuard(LoginDecision::LockedUntil(until))
                if *until > self.now() =>
            {
                true
            }
            BlockReason::Configuration { .. } => false,
            // Only the login is blocked. A refresh token may have arrived in the store meanwhile.
            BlockReason::LoginGuard(_) | BlockReason::LoginHistory(_) | BlockReason::LoginNeeded => {
                self.refresh_token().is_none()
            }
        }
    }

    /// Fails after `close`: the current exchange is finished, and no further one begins.
    pub(super) fn may_go_on(&self) -> Result<(), Unavailable> {
        if self.shared.closing.load(Ordering::Relaxed) { Err(self.shared.shutting_down()) } else { Ok(()) }
    }

    /// Whether a login may follow a failed refresh that was made for `need`.
    pub(super) fn may_log_in(&self, need: Need) -> bool {
        self.permit.is_some() && !(need == Need::Early && self.is_alive())
    }

    async fn log_in(&mut self) -> Result<(), Unavailable> {
        let (Some(login), Some(permit)) = (self.options.login.clone(), self.permit.clone()) else {
            return Err(self.need_login().await);
        };
        if let Err(error) = self.reserve().await {
            return Err(self.failed(error).await);
        }
        let mut turn = permit.turn().await;
        // The credential may have been closed during the wait.
        self.may_go_on()?;
        // The attempt is stored before the login is sent, so that a crash in between cannot hide
        // it.
        match turn.begin().await {
            Ok(()) => self.blocked = None,
            Err(BeginError::Blocked(decision)) => {
                return Err(self.block_without_exchange(BlockReason::LoginGuard(decision)));
            }
            Err(BeginError::Store(reason)) => return Err(self.failed(no_login(&reason)).await),
            Err(BeginError::Record(error)) => {
                let text = unusable_login_history(&error.describe(), &self.shared.name);
                return Err(self.block_without_exchange(BlockReason::LoginHistory(text.into())));
            }
        }
        let grant = Grant::Password {
            username: login.username.to_string(),
            password: login.password,
            scope: login.scope.to_string(),
        };
        let outcome = self.redeem(&grant).await;
        if let Err(error) = turn.finish(outcome.as_ref().err().map(|error| error.class)).await {
            tracing::error!(%error, "could not save the outcome of a login; using it from memory, will retry");
        }
        drop(turn);
        match outcome {
            Ok(issued) => {
                if self.is_other_user(&issued) {
                    tracing::warn!(
                        credential = %self.shared.name,
                        "the configured login now returns tokens of another user than before; using them"
                    );
                }
                self.adopt(issued, None).await;
                Ok(())
            }
            Err(error) => Err(self.login_failed(&permit, error).await),
        }
    }

    /// Blocks until an interactive login, and stores that the tokens are dead: the `login` command
    /// of another process then replaces them without a confirmation.
    async fn need_login(&mut self) -> Unavailable {
        if !matches!(self.blocked, Some(BlockReason::LoginNeeded)) {
            let name = &self.shared.name;
            tracing::error!(credential = %name, run = format!("`vbc-proxy login {name}`"), "login needed");
        }
        let unavailable = self.block(BlockReason::LoginNeeded);
        let record = &mut self.stored.record;
        if record.tokens.is_some() && !std::mem::replace(&mut record.login_needed, true) {
            self.save().await;
        }
        unavailable
    }

    async fn login_failed(&mut self, permit: &LoginPermit, error: TokenError) -> Unavailable {
        let name = &self.shared.name;
        let decision = permit.decision();
        match error.class {
            Class::Unexplained if !decision.is_final() => {
                tracing::error!(
                    credential = %name, %error,
                    "the login was rejected without a readable reason; the proxy tries once more after 35 minutes"
                );
            }
            Class::Refused | Class::Unexplained => {
                tracing::error!(
                    credential = %name, %error,
                    "the login was rejected; the proxy will not try again until the password changes or an operator \
                     unlocks it"
                );
            }
            Class::Locked => {
                tracing::error!(credential = %name, %error, "the account is locked; no login for 35 minutes");
            }
            _ => return self.failed(error).await,
        }
        self.block(BlockReason::LoginGuard(decision))
    }

    /// Notes that a refresh found the account locked, which blocks logins as well.
    pub(super) async fn note_lock(&mut self) {
        if let Some(permit) = self.permit.clone() {
            // The lock holds even if it cannot be stored.
            let _ = permit.turn().await.note_lock().await;
        }
        let until = clock::after(self.now(), login_guard::LOCK);
        self.blocked = Some(BlockReason::LoginGuard(LoginDecision::LockedUntil(until)));
    }

    /// Ends all blocks and pauses, for an operator. Returns whether there were any.
    pub(super) async fn unlock(&mut self) -> Result<bool, Unavailable> {
        let was_blocked = self.blocked.is_some() || self.backoff.until(self.now()).is_some();
        self.read_record().await?;
        let was_guarded = match self.permit.clone() {
            Some(permit) => self.clear_login_history(&permit).await?,
            None => false,
        };
        self.backoff.reset();
        self.blocked = None;
        self.trouble = None;
        if self.stored.record.application.take().is_some() {
            self.save().await;
        }
        self.unsupported = None;
        self.report();
        let held = was_blocked || was_guarded;
        tracing::info!(credential = %self.shared.name, held, "an operator released the login brake");
        Ok(held)
    }

    pub(super) async fn clear_login_history(&self, permit: &LoginPermit) -> Result<bool, Unavailable> {
        let mut turn = permit.turn().await;
        let mut outcome = permit.read().await;
        if let Err(error) = &outcome
            && error.is_of_record()
        {
            // By unlocking, the operator accepts that the history is lost.
            outcome = permit.set_aside(&error.describe()).await;
        }
        let held = permit.decision() != LoginDecision::Allowed;
        if outcome.is_ok() {
            outcome = turn.clear().await;
        }
        outcome.map_err(|error| {
            let reason = error.describe();
            let detail = format!(
                "cannot use the record of earlier logins ({reason}), so the login brake was not released"
            );
            self.unavailable(&detail, None)
        })?;
        if !turn.is_saved() {
            tracing::warn!(
                credential = %self.shared.name,
                "could not save that the login brake was released; will retry"
            );
        }
        Ok(held)
    }
}

fn no_login(reason: &str) -> TokenError {
    not_started(format!(
        "{reason}, so no login was attempted: unrecorded attempts could lock the account. Free space or make \
         store.path writable"
    ))
}
