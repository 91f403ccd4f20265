//! The exchanges: down the ladder from the refresh token to the login to a person.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::brake::{self, Permit};
use super::hold::Hold;
use super::refresher::{Need, Refresher};
use super::{Login, Unavailable};
use crate::clock;
use crate::oauth::{Class, Grant, Issued, Redeem, RedeemError, TokenSet};
use crate::random;
use crate::secret::{Secret, fingerprint};

impl<R: Redeem> Refresher<R> {
    /// Whether an exchange may be made now at all.
    pub(super) fn may_try(&self, need: Need) -> Result<(), Unavailable> {
        let now = self.now();
        if let Some(until) = self.backoff.until(now) {
            let detail = self.trouble.clone().unwrap_or_else(|| "the last exchange failed".to_owned());
            return Err(self.unavailable(&detail, Some(clock::until(now, until))));
        }
        match &self.hold {
            Some(Hold::Configuration(message)) => Err(self.unavailable(message, None)),
            // An account that is locked is left alone altogether.
            Some(hold @ Hold::Brake(Permit::LockedUntil(until))) if *until > now => Err(self.held(hold, now)),
            // A refresh token may have arrived in the store meanwhile; only the login is held.
            Some(hold @ (Hold::Brake(_) | Hold::LoginNeeded)) if self.refresh_token().is_none() => {
                match self.login_permit(now) {
                    Some(Permit::Allowed) => Ok(()),
                    _ => Err(self.held(hold, now)),
                }
            }
            _ if need == Need::Early && self.refresh_token().is_none() => {
                Err(self.unavailable("there is no refresh token to refresh early with", None))
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn climb(&mut self, need: Need) -> Result<(), Unavailable> {
        // Twice: a refused refresh token may have been rotated by somebody else, whose set the store then has.
        for _ in 0..2 {
            let Some(refresh_token) = self.refresh_token() else { break };
            self.may_go_on()?;
            match self.refresh(&refresh_token).await {
                Ok(issued) => return self.adopt(issued, Some(&refresh_token)).await,
                Err(error) if error.class == Class::Grant => {
                    if self.reload_newer().await {
                        if self.alive() {
                            return Ok(());
                        }
                        continue;
                    }
                    self.drop_refresh_token(&refresh_token).await;
                    break;
                }
                Err(error) => {
                    if error.class == Class::Locked {
                        self.note_lock().await;
                    }
                    return Err(self.failed(error));
                }
            }
        }
        if need == Need::Early && self.alive() {
            // Logging in now could only return the same dying token (reuse mode); at its end it mints.
            return Err(self.unavailable("the refresh token is gone; logging in when the token ends", None));
        }
        self.may_go_on()?;
        self.log_in().await
    }

    /// After `close` the exchange under way is finished, and no other begun.
    fn may_go_on(&self) -> Result<(), Unavailable> {
        match self.shared.closing.load(Ordering::Relaxed) {
            true => Err(self.unavailable("the proxy is shutting down", None)),
            false => Ok(()),
        }
    }

    /// Redeems a refresh token. When the answer is lost the token may or may not be used up: look whether somebody
    /// stored its successor, else present it once more; a server that has seen it says so.
    async fn refresh(&mut self, refresh_token: &Secret) -> Result<Issued, RedeemError> {
        let grant = Grant::RefreshToken { refresh_token: refresh_token.clone() };
        match self.redeem(&grant).await {
            Err(error) if error.class == Class::Ambiguous && self.may_go_on().is_ok() => {
                tracing::warn!(
                    credential = %self.shared.name, %error,
                    "the answer to a refresh was lost; presenting the refresh token once more"
                );
                self.redeem(&grant).await
            }
            outcome => outcome,
        }
    }

    async fn log_in(&mut self) -> Result<(), Unavailable> {
        let now = self.now();
        let Some(login) = self.parts.options.login.clone() else {
            self.hold = Some(Hold::LoginNeeded);
            return Err(self.held(&Hold::LoginNeeded, now));
        };
        match brake::permit(&self.keeper.record.brake, &login.fingerprint, now) {
            // Whatever held it back is over.
            Permit::Allowed => self.hold = None,
            permit => {
                let hold = Hold::Brake(permit);
                self.hold = Some(hold.clone());
                return Err(self.held(&hold, now));
            }
        }
        // Stored first: a crash between sending and storing must not make the attempt unseen.
        brake::begin(&mut self.keeper.record.brake, std::slice::from_ref(&login.fingerprint), now);
        self.keeper.save().await;
        let outcome = self.redeem(&password_grant(&login)).await;
        self.judge_login(&login, outcome).await
    }

    async fn judge_login(
        &mut self,
        login: &Login,
        outcome: Result<Issued, RedeemError>,
    ) -> Result<(), Unavailable> {
        let now = self.now();
        let error = match outcome {
            Ok(issued) => {
                brake::succeeded(&mut self.keeper.record.brake, std::slice::from_ref(&login.fingerprint));
                return self.adopt(issued, None).await;
            }
            Err(error) => error,
        };
        let name = &self.shared.name;
        match error.class {
            Class::Grant => {
                brake::refused(&mut self.keeper.record.brake, std::slice::from_ref(&login.fingerprint));
                tracing::error!(credential = %name, %error, "the login was refused; it is not tried again until its secret changes");
                self.hold = Some(Hold::Brake(Permit::Refused));
            }
            Class::Locked => {
                brake::locked(&mut self.keeper.record.brake, std::slice::from_ref(&login.fingerprint), now);
                tracing::error!(credential = %name, %error, "the account is locked; no login for 35 minutes");
                self.hold = Some(Hold::Brake(Permit::LockedUntil(clock::after(now, brake::LOCK))));
            }
            Class::Transient => brake::not_judged(&mut self.keeper.record.brake),
            Class::Configuration => brake::not_judged(&mut self.keeper.record.brake),
            Class::Ambiguous => {}
        }
        self.keeper.save().await;
        match (error.class, self.hold.clone()) {
            (Class::Grant | Class::Locked, Some(hold)) => Err(self.held(&hold, now)),
            _ => Err(self.failed(error)),
        }
    }

    /// A refresh was answered that the account is locked: no login either, until that is over.
    async fn note_lock(&mut self) {
        let fingerprint = self.parts.options.login.as_ref().map_or("", |login| &login.fingerprint).to_owned();
        let now = self.now();
        brake::locked(&mut self.keeper.record.brake, &[fingerprint], now);
        self.hold = Some(Hold::Brake(Permit::LockedUntil(clock::after(now, brake::LOCK))));
        self.keeper.save().await;
    }

    /// One exchange: the only place that calls [`Redeem::redeem`].
    async fn redeem(&mut self, grant: &Grant) -> Result<Issued, RedeemError> {
        self.exchanges += 1;
        let started = Instant::now();
        let outcome = self.parts.endpoint.redeem(grant).await;
        let label = match &outcome {
            Ok(_) => "issued",
            Err(error) => class_label(error.class),
        };
        self.metrics.refreshes(&self.shared.name, grant.name(), label).inc();
        let millis = started.elapsed().as_millis() as u64;
        match &outcome {
            Ok(_) => self.shared.usual.store(millis.max(1), Ordering::Relaxed),
            Err(error) if matches!(error.class, Class::Transient | Class::Ambiguous) => {
                self.shared.in_trouble.store(true, Ordering::Relaxed);
            }
            Err(_) => {}
        }
        match &outcome {
            Ok(issued) => tracing::info!(
                credential = %self.shared.name, grant = grant.name(), millis,
                expires_in_seconds = issued.expires_in.as_secs(), "token set received"
            ),
            Err(error) => tracing::warn!(
                credential = %self.shared.name, grant = grant.name(), millis, outcome = label, %error,
                "the exchange failed"
            ),
        }
        outcome
    }

    /// Takes a token set into use: stored first, then published.
    async fn adopt(&mut self, issued: Issued, presented: Option<&Secret>) -> Result<(), Unavailable> {
        if let (Some(presented), Some(seed)) = (presented, &self.parts.options.seed)
            && presented == seed
        {
            self.keeper.record.spent_seed = Some(fingerprint(&[seed.expose()]));
        }
        let tokens = TokenSet::from_issued(issued, self.now(), presented, self.keeper.record.tokens.as_ref());
        self.keeper.record.tokens = Some(tokens);
        self.keeper.save().await;
        self.token_revision = self.keeper.record.revision;
        self.backoff.reset();
        self.hold = None;
        self.trouble = None;
        self.publish();
        Ok(())
    }

    /// Whether the store has a newer record than ours; if so, it is ours now.
    async fn reload_newer(&mut self) -> bool {
        if !self.keeper.reload_newer().await {
            return false;
        }
        self.token_revision = self.keeper.record.revision;
        if self.alive() {
            self.backoff.reset();
            self.hold = None;
            self.publish();
        }
        true
    }

    /// The server no longer knows this refresh token.
    async fn drop_refresh_token(&mut self, refresh_token: &Secret) {
        tracing::warn!(credential = %self.shared.name, "the refresh token is no longer good");
        if let Some(tokens) = &mut self.keeper.record.tokens
            && tokens.refresh_token.as_ref() == Some(refresh_token)
        {
            tokens.refresh_token = None;
        }
        if self.parts.options.seed.as_ref() == Some(refresh_token) {
            self.keeper.record.spent_seed = Some(fingerprint(&[refresh_token.expose()]));
        }
        self.keeper.save().await;
    }

    /// The refresh token to present: the stored one, or a seed that has not been used up.
    pub(super) fn refresh_token(&self) -> Option<Secret> {
        let stored = self.keeper.record.tokens.as_ref().and_then(|tokens| tokens.refresh_token.clone());
        stored.or_else(|| {
            let seed = self.parts.options.seed.as_ref()?;
            let spent = self.keeper.record.spent_seed.as_deref();
            (spent != Some(fingerprint(&[seed.expose()]).as_str())).then(|| seed.clone())
        })
    }

    fn failed(&mut self, error: RedeemError) -> Unavailable {
        let now = self.now();
        match error.class {
            Class::Configuration => {
                let message =
                    format!("{}; correct the credential's configuration and restart", error.message);
                self.trouble = Some(message.clone());
                self.hold = Some(Hold::Configuration(message.clone()));
                self.unavailable(&message, None)
            }
            Class::Transient | Class::Ambiguous | Class::Grant | Class::Locked => {
                let until = self.backoff.fail(now, error.retry_after, random::unit());
                self.trouble = Some(error.message.clone());
                self.unavailable(&error.message, Some(clock::until(now, until)))
            }
        }
    }
}

fn password_grant(login: &Login) -> Grant {
    Grant::Password {
        username: login.username.clone(),
        password: login.password.clone(),
        scope: login.scope.clone(),
    }
}

fn class_label(class: Class) -> &'static str {
    match class {
        Class::Transient => "transient",
        Class::Ambiguous => "ambiguous",
        Class::Configuration => "configuration",
        Class::Grant => "refused",
        Class::Locked => "locked",
    }
}
