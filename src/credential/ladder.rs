//! The exchanges: down the ladder from the refresh token to the login to a person.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use super::brake::{self, Permit};
use super::hold::{self, Hold};
use super::logins::{Refusal, Seat, Turn};
use super::refresher::{self, Need, Refresher};
use super::{Login, Unavailable, exchanges, storing};
use crate::clock;
use crate::oauth::{Class, Grant, Issued, Redeem, RedeemError, TokenSet};
use crate::random;
use crate::secret::{Secret, fingerprint};
use crate::store::{BrakeRecord, Issuance, Record};

impl<R: Redeem> Refresher<R> {
    /// Whether an exchange may be made now at all.
    pub(super) fn may_try(&mut self, need: Need) -> Result<(), Unavailable> {
        let now = self.now();
        if let Some(until) = self.backoff.until(now) {
            let detail = self.trouble.clone().unwrap_or_else(|| "the last exchange failed".to_owned());
            return Err(self.unavailable(&detail, Some(clock::until(now, until))));
        }
        self.look_at_hold();
        // A refresh token may have arrived in the store meanwhile; only the login is held.
        let login_alone = self.refresh_token().is_none();
        match &self.hold {
            Some(hold @ Hold::Configuration { until, .. }) if *until > now => Err(self.held(hold, now)),
            // An account that is locked is left alone altogether.
            Some(hold @ Hold::Brake(Permit::LockedUntil(until))) if *until > now => Err(self.held(hold, now)),
            Some(hold @ Hold::Record(_)) => Err(self.held(hold, now)),
            Some(hold @ (Hold::Brake(_) | Hold::Notes(_) | Hold::LoginNeeded)) if login_alone => {
                Err(self.held(hold, now))
            }
            _ if need == Need::Early && !self.may_refresh_early() => {
                let detail = self.no_refresh();
                let detail = detail.as_deref().unwrap_or("there is no refresh token to refresh early with");
                Err(self.unavailable(detail, None))
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn climb(&mut self, need: Need) -> Result<(), Unavailable> {
        if self.refresh(need).await? {
            return Ok(());
        }
        if need == Need::Early && self.alive() {
            // Logging in now could only return the same dying token (reuse mode); at its end it mints.
            let detail = self.no_refresh().unwrap_or_else(|| {
                let name = &self.shared.name;
                match self.parts.seat {
                    Some(_) => "the refresh token is gone; logging in when the token ends".to_owned(),
                    None => format!(
                        "the refresh token is gone: login needed before the token ends; run `vbc-proxy login {name}`"
                    ),
                }
            });
            self.trouble = Some(detail.clone());
            return Err(self.unavailable(&detail, None));
        }
        self.may_go_on()?;
        self.log_in().await
    }

    /// After `close` the exchange under way is finished, and no other begun.
    pub(super) fn may_go_on(&self) -> Result<(), Unavailable> {
        match self.shared.closing.load(Ordering::Relaxed) {
            true => Err(self.shared.shutting_down()),
            false => Ok(()),
        }
    }

    async fn log_in(&mut self) -> Result<(), Unavailable> {
        let now = self.now();
        let (Some(login), Some(seat)) = (self.parts.options.login.clone(), self.parts.seat.clone()) else {
            if !matches!(self.hold, Some(Hold::LoginNeeded)) {
                let name = &self.shared.name;
                tracing::error!(credential = %name, "login needed: run `vbc-proxy login {name}`");
            }
            self.hold = Some(Hold::LoginNeeded);
            self.note_login_needed().await;
            return Err(self.held(&Hold::LoginNeeded, now));
        };
        if let Err(error) = self.reserve().await {
            return Err(self.failed(error).await);
        }
        let mut turn = seat.turn().await;
        // It may have been long.
        self.may_go_on()?;
        // Noted in the store first: a crash between sending and storing must not make the attempt unseen.
        match turn.begin().await {
            // Whatever held it back is over.
            Ok(()) => self.hold = None,
            Err(Refusal::Permit(permit)) => {
                let hold = Hold::Brake(permit);
                self.hold = Some(hold.clone());
                return Err(self.held(&hold, now));
            }
            Err(Refusal::Store(why)) => return Err(self.failed(no_login(&why)).await),
            Err(Refusal::Record(error)) => {
                let hold = Hold::Notes(storing::notes_held(&error.describe(), &self.shared.name).into());
                self.hold = Some(hold.clone());
                return Err(self.held(&hold, now));
            }
        }
        let outcome = self.redeem(&password_grant(&login)).await;
        let class = outcome.as_ref().err().map(|error| error.class);
        judge(&mut turn, class).await;
        drop(turn);
        match outcome {
            Ok(issued) => {
                if self.is_other_user(&issued) {
                    tracing::warn!(
                        credential = %self.shared.name,
                        "the server names another user than before for the configured login"
                    );
                }
                self.adopt(issued, None).await;
                Ok(())
            }
            Err(error) => Err(self.login_failed(&seat, error).await),
        }
    }

    /// Remembers that the stored tokens are dead: a command in another process replaces them without being asked twice.
    async fn note_login_needed(&mut self) {
        let record = &mut self.keeper.record;
        if record.tokens.is_some() && !std::mem::replace(&mut record.login_needed, true) {
            self.save().await;
        }
    }

    /// Whether a login would follow a refresh that failed for `need`.
    pub(super) fn may_log_in(&self, need: Need) -> bool {
        self.parts.seat.is_some() && !(need == Need::Early && self.alive())
    }

    async fn login_failed(&mut self, seat: &Seat, error: RedeemError) -> Unavailable {
        let name = &self.shared.name;
        let permit = seat.permit();
        match error.class {
            Class::Unexplained if !permit.is_final() => {
                tracing::error!(credential = %name, %error, "the login was refused without a readable reason; it is tried once more after 35 minutes");
            }
            Class::Refused | Class::Unexplained => {
                tracing::error!(credential = %name, %error, "the login was refused; it is not tried again until its secret changes");
            }
            Class::Locked => {
                tracing::error!(credential = %name, %error, "the account is locked; no login for 35 minutes");
            }
            _ => return self.failed(error).await,
        }
        let hold = Hold::Brake(permit);
        self.hold = Some(hold.clone());
        self.held(&hold, self.now())
    }

    /// A refresh was answered that the account is locked: no login either, until that is over.
    pub(super) async fn note_lock(&mut self) {
        if let Some(seat) = self.parts.seat.clone() {
            // What cannot be stored holds all the same.
            let _ = seat.turn().await.note(brake::locked).await;
        }
        self.hold = Some(Hold::Brake(Permit::LockedUntil(clock::after(self.now(), brake::LOCK))));
    }

    /// Lifts the brake, and with it whatever else holds exchanges back; says whether anything did.
    pub(super) async fn unlock(&mut self) -> Result<bool, Unavailable> {
        let held = self.hold.is_some() || self.backoff.until(self.now()).is_some();
        self.read_record().await?;
        let mut braked = false;
        if let Some(seat) = self.parts.seat.clone() {
            let mut turn = seat.turn().await;
            if let Err(error) = seat.read().await {
                let reason = error.describe();
                // What it said is the operator's to answer for now.
                let outcome = match error.is_of_record() {
                    true => seat.set_aside(&reason).await,
                    false => Err(error),
                };
                outcome.map_err(|error| self.unavailable(&no_login(&error.describe()).message, None))?;
            }
            braked = seat.permit() != Permit::Allowed;
            let lifted = turn.note(|record, _, _| *record = BrakeRecord::default()).await;
            lifted.map_err(|error| self.unavailable(&no_login(&error.describe()).message, None))?;
            if !turn.is_saved() {
                tracing::warn!(credential = %self.shared.name, "that the brake was lifted could not be stored yet");
            }
        }
        self.backoff.reset();
        self.hold = None;
        self.trouble = None;
        if self.keeper.record.application.take().is_some() {
            self.save().await;
        }
        self.unsupported = None;
        self.report();
        tracing::info!(credential = %self.shared.name, held = held || braked, "an operator lifted the brake");
        Ok(held || braked)
    }

    /// One exchange: the only place that calls [`Redeem::redeem`].
    pub(super) async fn redeem(&mut self, grant: &Grant) -> Result<Issued, RedeemError> {
        self.reserve().await?;
        let started = Instant::now();
        // A wait in vain says something about one exchange alone.
        self.shared.waited_in_vain.store(false, Ordering::Relaxed);
        let outcome = self.parts.endpoint.redeem(grant).await;
        self.shared.waited_in_vain.store(false, Ordering::Relaxed);
        if outcome.is_err() {
            self.keeper.release();
        }
        let class = outcome.as_ref().err().map(|error| error.class);
        self.shared.exchanges.count(grant.name(), class);
        let millis = started.elapsed().as_millis() as u64;
        match &outcome {
            Ok(issued) => tracing::info!(
                credential = %self.shared.name, grant = grant.name(), millis,
                expires_in_seconds = issued.expires_in.as_secs(), "token set received"
            ),
            Err(error) => tracing::warn!(
                credential = %self.shared.name, grant = grant.name(), millis,
                outcome = exchanges::outcome(class), %error, "the exchange failed"
            ),
        }
        outcome
    }

    /// Takes a token set into use: stored first, then published. `presented` is the refresh token it was given for, if
    /// it was one.
    pub(super) async fn adopt(&mut self, issued: Issued, presented: Option<&Secret>) {
        if let (Some(presented), Some(seed)) = (presented, &self.parts.options.seed)
            && presented == seed
        {
            self.keeper.record.spent_seed = Some(fingerprint(&[seed.expose()]));
        }
        self.follow_clock();
        let now = self.now();
        let trusted = self.trusted();
        let record = &mut self.keeper.record;
        let (expires_in, subject) = (issued.expires_in, issued.subject.clone());
        let mut tokens = TokenSet::from_issued(issued, now, presented, record.tokens.as_ref());
        if presented.is_some() {
            // A refresh always mints.
            record.full_lifetime = expires_in.as_secs();
        } else {
            if let Some(seen) = observe(record, &tokens, trusted) {
                record.issuance = Some(seen);
            }
            record.full_lifetime = record.full_lifetime.max(expires_in.as_secs());
            let full = Duration::from_secs(record.full_lifetime);
            let age = SignedDuration::try_from(full.saturating_sub(expires_in)).unwrap_or_default();
            tokens.minted_at = now.saturating_sub(age).unwrap_or(now);
        }
        record.tokens = Some(tokens);
        (record.refresh_pending, record.login_needed, record.other_subject) = (false, false, None);
        self.ends = refresher::ends_in(expires_in);
        let record = &mut self.keeper.record;
        if subject.is_some() {
            record.subject = subject;
        }
        record.application = None;
        self.save().await;
        self.token_revision = self.keeper.record.revision;
        if presented.is_none() {
            self.logged_in = self.token_revision;
        }
        self.backoff.reset();
        self.hold = None;
        self.trouble = None;
        self.publish();
    }

    /// Whether the store has a newer record than ours; if so, it is ours now.
    pub(super) async fn reload_newer(&mut self) -> bool {
        if !self.keeper.reload_newer().await {
            return false;
        }
        self.keeper.set_back_to(self.now());
        self.token_revision = self.keeper.record.revision;
        self.read_ends();
        if self.alive() {
            self.backoff.reset();
            self.hold = None;
            self.publish();
        }
        true
    }

    /// What a failure that is not the brake's means for the next exchange.
    pub(super) async fn failed(&mut self, error: RedeemError) -> Unavailable {
        let now = self.now();
        if matches!(error.class, Class::Configuration | Class::WrongUrl) {
            return self.refuse_application(&error.message).await;
        }
        let until = self.backoff.fail(now, error.retry_after, random::unit());
        self.trouble = Some(error.message.clone());
        self.unavailable(&error.message, Some(clock::until(now, until)))
    }

    /// Leaves the application alone for a while, over restarts.
    async fn refuse_application(&mut self, message: &str) -> Unavailable {
        let (now, configuration) = (self.now(), self.configuration());
        let before = self.keeper.record.application.as_deref();
        let kept = hold::refused_application(before, configuration, message, now);
        let held = Hold::from(&kept);
        tracing::error!(
            credential = %self.shared.name, next_attempt = %format_args!("{:.0}", kept.next_attempt),
            "the application is refused; it is tried again slowly, and at once when its configuration changes"
        );
        self.keeper.record.application = Some(Box::new(kept));
        self.save().await;
        self.trouble = Some(message.to_owned());
        self.hold = Some(held.clone());
        self.held(&held, now)
    }

    /// Fingerprint of everything a refusal of the application may be about.
    fn configuration(&self) -> String {
        let login = self.parts.options.login.as_ref();
        let (secret, scope) = login.map_or(("", ""), |login| (&*login.fingerprint, &*login.scope));
        fingerprint(&[&self.parts.endpoint.fingerprint(), &self.parts.options.identity, secret, scope])
    }

    /// What an earlier life was told of the application holds for this one, where its configuration is the same.
    pub(super) fn recall_application(&mut self) {
        let now = self.now();
        if let Some(kept) = self.keeper.record.application.as_deref() {
            self.hold = hold::still_held(kept, &self.configuration(), now);
        }
    }
}

fn password_grant(login: &Login) -> Grant {
    Grant::Password {
        username: login.username.to_string(),
        password: login.password.clone(),
        scope: login.scope.to_string(),
    }
}

/// What the outcome of a login means for its brake. One whose answer was lost stays begun and unresolved.
async fn judge(turn: &mut Turn<'_>, class: Option<Class>) {
    let recognized = match class {
        None | Some(Class::NotJudged | Class::Unsupported) => Ok(()),
        Some(_) => turn.recognize().await,
    };
    let noted = match class {
        None => turn.note(|record, secret, _| brake::succeeded(record, secret)).await,
        Some(Class::Refused) => turn.note(brake::refused).await,
        Some(Class::Unexplained) => turn.note(brake::unexplained).await,
        Some(Class::Locked) => turn.note(brake::locked).await,
        Some(Class::Configuration | Class::WrongUrl) => turn.misconfigured().await,
        Some(Class::NotJudged | Class::Unsupported) => {
            turn.note(|record, _, _| brake::not_judged(record)).await
        }
        Some(Class::Ambiguous) => Ok(()),
    };
    if let Err(error) = recognized.and(noted) {
        tracing::error!(%error, "the outcome of a login could not be stored; it is known, and storing is tried again");
    }
}

/// What a login that gave `tokens` shows of how the server issues, given what `record` held and whether its access token
/// was still good. Only what cannot have another cause.
fn observe(record: &Record, tokens: &TokenSet, trusted: bool) -> Option<Issuance> {
    let full = Duration::from_secs(record.full_lifetime);
    let left = clock::until(tokens.issued_at, tokens.expires_at);
    let before = record.tokens.as_ref().filter(|_| trusted);
    if before.is_some_and(|before| before.access_token == tokens.access_token) {
        return Some(Issuance::Reuse);
    }
    match before.map(|before| (&before.refresh_token, &tokens.refresh_token)) {
        Some((Some(old), Some(new))) if old == new => Some(Issuance::RenewRevoke),
        Some((Some(_), Some(_))) => Some(Issuance::RenewKeep),
        // Somebody else's, with what is left of it.
        _ if left + Duration::from_secs(5) < full => Some(Issuance::Reuse),
        _ => None,
    }
}

fn no_login(why: &str) -> RedeemError {
    RedeemError {
        class: Class::NotJudged,
        message: format!("no login without a record of it, which keeps the account from being locked: {why}"),
        retry_after: None,
    }
}
