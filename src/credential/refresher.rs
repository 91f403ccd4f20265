//! The one task of a credential that redeems.
//!
//! Everything that changes a credential happens here, one thing at a time: so there is at most one exchange under
//! way, and it is never cancelled, because nothing but this task owns it. A new token set is stored before it is
//! published.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::brake::{self, Permit};
use super::hold::Hold;
use super::keeper::Keeper;
use super::schedule::{self, Backoff};
use super::{Bearer, Login, Options, Replacement, Shared, Unavailable};
use crate::clock::{self, Clock, Timestamp};
use crate::config::RefreshAt;
use crate::metrics::{CredentialGauges, Metrics};
use crate::oauth::{Class, Grant, Issued, Redeem, RedeemError, TokenSet};
use crate::random;
use crate::secret::{Secret, fingerprint};

/// The wall clock is looked at this often at least: timers stand still while a machine is suspended.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// How soon an unsaved token set is tried again.
const SAVE_AGAIN: Duration = Duration::from_secs(5);

/// What the refresher can be asked.
pub(super) enum Ask {
    /// Any usable bearer.
    Usable { reply: oneshot::Sender<Result<Bearer, Unavailable>> },
    /// One newer than the revision that was refused.
    Newer {
        refused: u64,
        /// The gateway named the token as the reason.
        certain: bool,
        asked: Instant,
        reply: oneshot::Sender<Result<Replacement, Unavailable>>,
    },
    /// The refresh time has passed.
    Early,
    /// Finish and end.
    Close,
}

/// Why an exchange is wanted, which decides how far down the ladder it may go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// The current token still lives: refresh, but do not log in.
    Early,
    /// There is no token, or the upstream refuses it.
    Token,
}

pub(super) struct Parts<R> {
    pub(super) options: Options,
    pub(super) endpoint: R,
    pub(super) clock: Clock,
    pub(super) inbox: mpsc::UnboundedReceiver<Ask>,
}

pub(super) struct Refresher<R> {
    parts: Parts<R>,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    gauges: CredentialGauges,
    keeper: Keeper,
    /// The revision that the token set came with.
    token_revision: u64,
    /// The gateway refuses tokens up to this revision. Until there is a newer one, the current is not counted as
    /// usable, and a replacement is due.
    distrusted: u64,
    refresh_at: Timestamp,
    published_at: Option<Instant>,
    backoff: Backoff,
    hold: Option<Hold>,
    trouble: Option<String>,
    exchanges: u64,
}

impl<R: Redeem> Refresher<R> {
    pub(super) fn new(parts: Parts<R>, keeper: Keeper, shared: Arc<Shared>, metrics: &Arc<Metrics>) -> Self {
        let gauges = metrics.credential(&parts.options.name);
        let mut refresher = Self {
            token_revision: keeper.record.revision,
            parts,
            shared,
            metrics: Arc::clone(metrics),
            gauges,
            keeper,
            distrusted: 0,
            refresh_at: Timestamp::UNIX_EPOCH,
            published_at: None,
            backoff: Backoff::default(),
            hold: None,
            trouble: None,
            exchanges: 0,
        };
        if refresher.alive() {
            refresher.publish();
        } else {
            refresher.report();
        }
        refresher
    }

    pub(super) async fn run(mut self) {
        loop {
            let pause = self.pause();
            tokio::select! {
                ask = self.parts.inbox.recv() => match ask {
                    None | Some(Ask::Close) => break,
                    Some(ask) => self.answer(ask).await,
                },
                () = tokio::time::sleep(pause.min(LONGEST_SLEEP)) => {
                    if pause <= LONGEST_SLEEP {
                        self.on_time().await;
                    }
                }
            }
        }
        self.save_if_unsaved().await;
        // Whoever still waits is told at once instead of at its deadline.
        self.parts.inbox.close();
        while let Ok(ask) = self.parts.inbox.try_recv() {
            self.answer_from_cache(ask);
        }
    }

    /// How long until there is something to do unasked.
    fn pause(&self) -> Duration {
        let now = self.now();
        let mut next = self.next_attempt(now);
        if self.keeper.unsaved() {
            let save = clock::after(now, SAVE_AGAIN);
            next = Some(next.map_or(save, |at| at.min(save)));
        }
        next.map_or(Duration::MAX, |at| clock::until(now, at))
    }

    /// When the next exchange is due, if any is planned.
    fn next_attempt(&self, now: Timestamp) -> Option<Timestamp> {
        let unheld = match &self.keeper.record.tokens {
            None => now,
            Some(_) if self.trusted() && self.refresh_token().is_some() => self.refresh_at,
            Some(tokens) if self.trusted() => tokens.expires_at,
            Some(_) if self.alive() => now,
            // Ended. Tokens of a few seconds must not make a storm of refreshes that nobody needs.
            Some(tokens) => schedule::refresh_at(RefreshAt::Share(0.0), tokens, 0.0),
        };
        // A hold concerns logins and the application; a living token is used until its end.
        let due = match &self.hold {
            Some(Hold::Configuration(_) | Hold::LoginNeeded) => return None,
            Some(Hold::Brake(Permit::LockedUntil(at) | Permit::SpacedUntil(at))) => unheld.max(*at),
            Some(Hold::Brake(_)) => return None,
            None => unheld,
        };
        Some(self.backoff.until(now).map_or(due, |until| until.max(due)))
    }

    async fn on_time(&mut self) {
        self.save_if_unsaved().await;
        let now = self.now();
        if self.next_attempt(now).is_some_and(|at| at <= now) {
            let need = if self.trusted() { Need::Early } else { Need::Token };
            // The outcome is in the snapshot, the log and the metrics.
            let _ = self.obtain(need).await;
        } else {
            self.report();
        }
    }

    async fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Usable { reply } => {
                if !self.alive() && !reply.is_closed() {
                    let outcome = self.obtain(Need::Token).await;
                    let _ = reply.send(outcome.and_then(|()| self.current()));
                } else {
                    let _ = reply.send(self.current());
                }
            }
            Ask::Newer { refused, certain, asked, reply } => {
                if certain {
                    self.distrusted = self.distrusted.max(refused);
                }
                let outcome = match self.token_revision > refused && self.alive() {
                    true => Ok(()),
                    false => self.obtain(Need::Token).await,
                };
                let fresh = self.published_at.is_some_and(|at| at >= asked);
                let answer = outcome.and_then(|()| self.current());
                let _ = reply.send(answer.map(|bearer| Replacement { bearer, fresh }));
            }
            Ask::Early => self.on_time().await,
            Ask::Close => {}
        }
    }

    fn answer_from_cache(&self, ask: Ask) {
        match ask {
            Ask::Usable { reply } => drop(reply.send(self.current())),
            Ask::Newer { refused, reply, .. } => {
                let newer = self.current().ok().filter(|bearer| bearer.revision > refused);
                let answer = newer.map(|bearer| Replacement { bearer, fresh: false });
                let _ =
                    reply.send(answer.ok_or_else(|| self.unavailable("the proxy is shutting down", None)));
            }
            Ask::Early | Ask::Close => {}
        }
    }

    /// Walks the ladder: the refresh token, then the login behind its brake, then a person.
    async fn obtain(&mut self, need: Need) -> Result<(), Unavailable> {
        self.may_try(need)?;
        let outcome = self.climb(need).await;
        self.shared.experienced.store(true, Ordering::Relaxed);
        self.report();
        outcome
    }

    /// Whether an exchange may be made now at all.
    fn may_try(&self, need: Need) -> Result<(), Unavailable> {
        let now = self.now();
        if let Some(until) = self.backoff.until(now) {
            let detail = self.trouble.clone().unwrap_or_else(|| "the last exchange failed".to_owned());
            return Err(self.unavailable(&detail, Some(clock::until(now, until))));
        }
        match &self.hold {
            Some(Hold::Configuration(message)) => Err(self.unavailable(message, None)),
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

    async fn climb(&mut self, need: Need) -> Result<(), Unavailable> {
        // Twice: a refused refresh token may have been rotated by somebody else, whose set the store then has.
        for _ in 0..2 {
            let Some(refresh_token) = self.refresh_token() else { break };
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
        self.log_in().await
    }

    /// Redeems a refresh token. When the answer is lost the token may or may not be used up: look whether somebody
    /// stored its successor, else present it once more; a server that has seen it says so.
    async fn refresh(&mut self, refresh_token: &Secret) -> Result<Issued, RedeemError> {
        let grant = Grant::RefreshToken { refresh_token: refresh_token.clone() };
        match self.redeem(&grant).await {
            Err(error) if error.class == Class::Ambiguous => {
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
            Permit::Allowed => {}
            permit => {
                let hold = Hold::Brake(permit);
                self.hold = Some(hold.clone());
                return Err(self.held(&hold, now));
            }
        }
        // Stored first: a crash between sending and storing must not make the attempt unseen.
        brake::begin(&mut self.keeper.record.brake, &login.fingerprint, now);
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
                brake::succeeded(&mut self.keeper.record.brake, &login.fingerprint);
                return self.adopt(issued, None).await;
            }
            Err(error) => error,
        };
        let name = &self.shared.name;
        match error.class {
            Class::Grant => {
                brake::refused(&mut self.keeper.record.brake, &login.fingerprint);
                tracing::error!(credential = %name, %error, "the login was refused; it is not tried again until its secret changes");
                self.hold = Some(Hold::Brake(Permit::Refused));
            }
            Class::Locked => {
                brake::locked(&mut self.keeper.record.brake, &login.fingerprint, now);
                tracing::error!(credential = %name, %error, "the account is locked; no login for 35 minutes");
                self.hold = Some(Hold::Brake(Permit::LockedUntil(clock::after(now, brake::LOCK))));
            }
            Class::Transient => brake::not_judged(&mut self.keeper.record.brake),
            Class::Configuration => brake::not_judged(&mut self.keeper.record.brake),
            Class::Ambiguous => {}
        }
        self.keeper.save().await;
        match self.hold.clone() {
            Some(hold @ Hold::Brake(_)) => Err(self.held(&hold, now)),
            _ => Err(self.failed(error)),
        }
    }

    /// A refresh was answered that the account is locked: no login either, until that is over.
    async fn note_lock(&mut self) {
        let fingerprint = self.parts.options.login.as_ref().map_or("", |login| &login.fingerprint).to_owned();
        let now = self.now();
        brake::locked(&mut self.keeper.record.brake, &fingerprint, now);
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
            self.keeper.record.brake.spent_seed = Some(fingerprint(&[seed.expose()]));
        }
        let tokens = TokenSet::from_issued(issued, self.now(), presented);
        self.keeper.record.tokens = Some(tokens);
        self.keeper.save().await;
        self.token_revision = self.keeper.record.revision;
        self.backoff.reset();
        self.hold = None;
        self.trouble = None;
        self.publish();
        Ok(())
    }

    async fn save_if_unsaved(&mut self) {
        if self.keeper.unsaved() {
            self.keeper.write().await;
            self.report();
        }
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
            self.keeper.record.brake.spent_seed = Some(fingerprint(&[refresh_token.expose()]));
        }
        self.keeper.save().await;
    }

    /// The refresh token to present: the stored one, or a seed that has not been used up.
    fn refresh_token(&self) -> Option<Secret> {
        let stored = self.keeper.record.tokens.as_ref().and_then(|tokens| tokens.refresh_token.clone());
        stored.or_else(|| {
            let seed = self.parts.options.seed.as_ref()?;
            let spent = self.keeper.record.brake.spent_seed.as_deref();
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

    fn held(&self, hold: &Hold, now: Timestamp) -> Unavailable {
        let (detail, retry_after) = hold.describe(now);
        self.unavailable(&detail, retry_after)
    }

    fn login_permit(&self, now: Timestamp) -> Option<Permit> {
        let login = self.parts.options.login.as_ref()?;
        Some(brake::permit(&self.keeper.record.brake, &login.fingerprint, now))
    }

    fn unavailable(&self, detail: &str, retry_after: Option<Duration>) -> Unavailable {
        Unavailable { credential: self.shared.name.clone(), detail: detail.to_owned(), retry_after }
    }

    fn current(&self) -> Result<Bearer, Unavailable> {
        let now = self.now();
        let current = self.shared.published.read().clone();
        current.filter(|bearer| bearer.expires_at > now).ok_or_else(|| match &self.hold {
            Some(hold) => self.held(hold, now),
            None => {
                self.unavailable("the token ended the moment it was issued", Some(Duration::from_secs(1)))
            }
        })
    }

    fn alive(&self) -> bool {
        self.keeper.record.tokens.as_ref().is_some_and(|tokens| tokens.expires_at > self.now())
    }

    /// Alive, and not refused by the gateway.
    fn trusted(&self) -> bool {
        self.alive() && self.token_revision > self.distrusted
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    fn publish(&mut self) {
        if let Some(tokens) = &self.keeper.record.tokens {
            self.refresh_at = schedule::refresh_at(self.parts.options.refresh, tokens, random::unit());
            let lazily = if self.refresh_token().is_some() { self.refresh_at } else { Timestamp::MAX };
            self.shared.publish(tokens, self.token_revision, lazily);
            self.published_at = Some(Instant::now());
        }
        self.report();
    }

    /// Puts the state where others can see it.
    fn report(&self) {
        let now = self.now();
        let tokens = self.keeper.record.tokens.as_ref();
        let mut snapshot = self.shared.snapshot.lock();
        snapshot.revision = tokens.map_or(0, |_| self.token_revision);
        snapshot.issued_at = tokens.map(|tokens| tokens.issued_at);
        snapshot.expires_at = tokens.map(|tokens| tokens.expires_at);
        snapshot.next_attempt = self.next_attempt(now);
        snapshot.brake = matches!(self.hold, Some(Hold::Brake(_)));
        snapshot.login_needed = matches!(self.hold, Some(Hold::LoginNeeded));
        snapshot.distrusted = self.alive() && !self.trusted();
        snapshot.unsaved = self.keeper.unsaved();
        snapshot.exchanges = self.exchanges;
        snapshot.trouble = match &self.hold {
            Some(hold) => Some(hold.describe(now).0),
            None => self.trouble.clone(),
        };
        self.gauges.expiry.set(tokens.map_or(0.0, |tokens| tokens.expires_at.as_second() as f64));
        self.gauges.brake.set(i64::from(snapshot.brake));
        self.gauges.unsaved.set(i64::from(snapshot.unsaved));
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
