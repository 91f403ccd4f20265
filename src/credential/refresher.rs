//! The one task of a credential that redeems.
//!
//! Everything that changes a credential happens here, one thing at a time: so there is at most one exchange under
//! way, and it is never cancelled, because nothing but this task owns it. A new token set is stored before it is
//! published.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::brake::Permit;
use super::hold::Hold;
use super::keeper::Keeper;
use super::logins::{ClockWatch, Seat};
use super::person::{CodeLogin, HeldLogin, LoggedIn, LoginError};
use super::schedule::{self, Backoff, RefreshAt, Warning};
use super::storing;
use super::waiting::{Newer, Waiting};
use super::{Bearer, Options, Replacement, Shared, Unavailable, forced};
use crate::clock::{self, Clock, Timestamp};
use crate::oauth::Redeem;
use crate::random;

/// The wall clock is looked at again and again: timers stand still while a machine is suspended. Each time after a small
/// part of what is left until something is due, within these: nobody minds if what was due hours ago comes minutes later,
/// and ten thousand credentials must not keep a machine awake.
const SHORTEST_LOOK: Duration = Duration::from_secs(60);
const LONGEST_LOOK: Duration = Duration::from_secs(5 * 60);
const LOOKS: u32 = 64;

/// How soon an unsaved token set is tried again; each time twice as long after, up to a little over a minute.
const SAVE_AGAIN: Duration = Duration::from_secs(5);
const SAVE_DOUBLINGS: u32 = 4;

/// A token that lives longer is replaced after this.
const LONGEST_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);

/// How soon an exchange that nobody asked for looks again whether it is its turn.
const TURN_AGAIN: Duration = Duration::from_secs(1);

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
    /// One that was minted no longer ago than this.
    Younger { max_age: Duration, reply: oneshot::Sender<Result<Bearer, Unavailable>> },
    /// The refresh time has passed.
    Early,
    /// An operator wants a new token set; `asked` is how many had been made for operators by then.
    Refresh { asked: u64, reply: oneshot::Sender<Result<(), Unavailable>> },
    /// An operator lifts whatever holds exchanges back.
    Unlock { reply: oneshot::Sender<Result<bool, Unavailable>> },
    /// A person brings a code.
    Code { login: Box<CodeLogin>, reply: oneshot::Sender<Result<LoggedIn, LoginError>> },
    /// A person confirms the login of another user.
    Confirm { login: u64, reply: oneshot::Sender<Result<LoggedIn, LoginError>> },
}

/// Why an exchange is wanted, which decides how far down the ladder it may go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// The current token still lives: refresh, but do not log in.
    Early,
    /// There is no token, or the upstream refuses it.
    Token,
}

pub(super) struct Parts<R> {
    pub(super) options: Options,
    pub(super) endpoint: R,
    pub(super) clock: Clock,
    /// The place at the brake of its user, where it can log in.
    pub(super) seat: Option<Seat>,
}

pub(super) struct Refresher<R> {
    pub(super) parts: Parts<R>,
    pub(super) shared: Arc<Shared>,
    pub(super) keeper: Keeper,
    /// The revision that the token set came with.
    pub(super) token_revision: u64,
    /// A 401 said by name that tokens up to this revision are refused. Until there is a newer one,
    /// a replacement is due.
    pub(super) distrusted: u64,
    /// The revision that a login of this process gave. The gateway is taken to know such a token at
    /// once.
    pub(super) logged_in: u64,
    pub(super) refresh_at: Timestamp,
    /// When the access token ends by the clock that is never set back.
    pub(super) ends: Instant,
    /// The store says that the refresh token was presented and the outcome is unknown.
    pub(super) noted_pending: bool,
    /// The server lets this application refresh no tokens, with its words. Kept until an operator unlocks or restarts.
    pub(super) unsupported: Option<Box<str>>,
    pub(super) published_at: Option<Instant>,
    pub(super) backoff: Backoff,
    pub(super) hold: Option<Hold>,
    pub(super) trouble: Option<String>,
    /// The login of another user, until somebody confirms it.
    pub(super) held_login: Option<Box<HeldLogin>>,
    /// Who is answered later.
    pub(super) waiting: Option<Box<Waiting>>,
    /// Nothing unasked before this time: other credentials come first.
    not_before: Timestamp,
    warning: Warning,
    watch: ClockWatch,
    /// When to try again to store what could not be stored, and how often that has failed.
    save_at: Instant,
    save_failures: u32,
    /// How often in a row something was due that could not be done.
    idle_rounds: u32,
}

/// When something ends that lives for `left` from now, by the clock that is never set back.
pub(super) fn ends_in(left: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(left.min(LONGEST_LIFE)).unwrap_or(now)
}

/// Whatever ends the refresher, nobody waits for it for ever.
struct Abandon(Arc<Shared>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.mailbox.abandon();
    }
}

impl<R: Redeem> Refresher<R> {
    pub(super) fn new(parts: Parts<R>, keeper: Keeper, shared: Arc<Shared>) -> Self {
        let now = parts.clock.now();
        let hold = storing::hold(&keeper, &parts.options);
        let mut refresher = Self {
            token_revision: keeper.record.revision,
            watch: ClockWatch::new(&parts.clock),
            not_before: clock::after(now, parts.options.spread.mul_f64(random::unit())),
            parts,
            shared,
            keeper,
            distrusted: 0,
            logged_in: 0,
            refresh_at: Timestamp::UNIX_EPOCH,
            ends: Instant::now(),
            noted_pending: false,
            unsupported: None,
            published_at: None,
            backoff: Backoff::default(),
            hold,
            trouble: None,
            held_login: None,
            waiting: None,
            warning: Warning::default(),
            save_at: Instant::now(),
            save_failures: 0,
            idle_rounds: 0,
        };
        // A set from the future was stored by a process whose clock was ahead: how old it is, nobody knows.
        let from_the_future = refresher.keeper.set_back_to(now);
        refresher.recall_application();
        refresher.read_ends();
        if refresher.alive() {
            refresher.publish();
            if from_the_future {
                refresher.refresh_at = now;
            }
        }
        refresher.report();
        refresher
    }

    pub(super) async fn run(mut self: Box<Self>) {
        let _abandoned = Abandon(Arc::clone(&self.shared));
        while !self.shared.closing.load(Ordering::Relaxed) {
            let pause = self.pause();
            let look = (pause / LOOKS).clamp(SHORTEST_LOOK, LONGEST_LOOK);
            tokio::select! {
                ask = poll_fn(|cx| self.shared.mailbox.poll_next(cx)) => match ask {
                    None => break,
                    // Boxed: what an exchange needs is a lot more than what a credential at rest should take.
                    Some(ask) => {
                        Box::pin(self.follow_clock_and_save()).await;
                        Box::pin(self.answer(ask)).await;
                        self.serve_waiting_if_any().await;
                    }
                },
                () = tokio::time::sleep(pause.min(look)) => {
                    Box::pin(self.follow_clock_and_save()).await;
                    self.look_at_hold();
                    self.serve_waiting_if_any().await;
                    self.warn_of_login();
                    if self.pause().is_zero() {
                        let before = self.shared.exchanges.total();
                        Box::pin(self.on_time()).await;
                        self.rest_if_idle(before);
                    }
                }
            }
        }
        Box::pin(self.save_at_end()).await;
        // Whoever still waits is told at once instead of at its deadline.
        self.shared.mailbox.close();
        while let Some(ask) = poll_fn(|cx| self.shared.mailbox.poll_next(cx)).await {
            self.answer_from_cache(ask);
        }
    }

    /// Moves everything that is planned or ends at some time along with a wall clock that was set back. Without it a
    /// refresh token could end, by the server's clock, before it is refreshed by ours.
    ///
    /// To be called before anything is written down in the time of the clock as it is now.
    pub(super) fn follow_clock(&mut self) -> bool {
        let Some(back) = self.watch.set_back(&self.parts.clock) else { return false };
        tracing::warn!(credential = %self.shared.name, seconds = back.as_secs(), "the clock was set back");
        let earlier = |at: Timestamp| at.saturating_sub(back).unwrap_or(at);
        self.keeper.set_back(back);
        self.refresh_at = earlier(self.refresh_at);
        self.not_before = earlier(self.not_before);
        self.backoff.set_back(back);
        if let Some(hold) = &mut self.hold {
            hold.set_back(back);
        }
        self.publish_again();
        self.report();
        true
    }

    /// The same; and the store has the times as they are now, so that the next life does not take the set for younger.
    async fn follow_clock_and_save(&mut self) {
        if self.follow_clock() && self.keeper.record.tokens.is_some() {
            self.save().await;
            self.report();
        }
    }

    /// How long until there is something to do unasked.
    fn pause(&self) -> Duration {
        let now = self.now();
        let next = match self.parts.options.passive {
            true => None,
            false => self.next_attempt(now).map(|at| at.max(self.not_before)),
        };
        let next = next.map_or(Duration::MAX, |at| clock::until(now, at)).min(self.waiting_in());
        match self.is_unsaved() {
            true => next.min(self.save_at.saturating_duration_since(Instant::now())),
            false => next,
        }
    }

    async fn serve_waiting_if_any(&mut self) {
        if self.waiting.is_some() {
            Box::pin(self.serve_waiting()).await;
        }
    }

    /// Whether the store is behind, for the token set or for the brake of its login.
    fn is_unsaved(&self) -> bool {
        self.keeper.unsaved() || self.parts.seat.as_ref().is_some_and(Seat::is_unsaved)
    }

    /// When the next exchange is due, if any is planned.
    fn next_attempt(&self, now: Timestamp) -> Option<Timestamp> {
        let unheld = match &self.keeper.record.tokens {
            None => now,
            Some(_) if self.trusted() && self.may_refresh_early() => self.refresh_at,
            Some(tokens) if self.trusted() => tokens.expires_at,
            // Refused by the gateway.
            Some(_) if self.alive() => self.forced_at(now),
            // Ended. Tokens of a few seconds must not make a storm of refreshes that nobody needs.
            Some(tokens) => schedule::refresh_at(RefreshAt::Share(0.0), tokens, 0.0),
        };
        // A hold concerns logins and the application; a living token is used until its end.
        let due = match &self.hold {
            // The login alone is held.
            Some(Hold::Notes(_)) if self.refresh_token().is_some() => unheld,
            Some(hold) => unheld.max(hold.until()?),
            None => unheld,
        };
        Some(self.backoff.until(now).map_or(due, |until| until.max(due)))
    }

    async fn on_time(&mut self) {
        self.save_if_unsaved().await;
        let now = self.now();
        let due = self.next_attempt(now).is_some_and(|at| at <= now) && now >= self.not_before;
        if !due || self.parts.options.passive {
            return;
        }
        let unasked = Arc::clone(&self.parts.options.unasked);
        let Ok(_turn) = unasked.try_acquire() else {
            self.not_before = clock::after(now, TURN_AGAIN.mul_f64(0.5 + random::unit()));
            return;
        };
        // The outcome is in the snapshot, the log and the metrics.
        let _ = match (self.trusted(), self.alive()) {
            (true, _) => self.obtain(Need::Early).await,
            (false, true) => self.force().await,
            (false, false) => self.obtain(Need::Token).await,
        };
    }

    /// Whatever is due and cannot be done now must not be looked at again and again.
    fn rest_if_idle(&mut self, exchanges_before: u64) {
        let idle = self.shared.exchanges.total() == exchanges_before && self.pause().is_zero();
        self.idle_rounds = if idle { self.idle_rounds + 1 } else { 0 };
        if idle {
            self.not_before = clock::after(self.now(), TURN_AGAIN);
        }
        // Once may be a clock that was set ahead meanwhile; more than that is a plan that contradicts itself.
        debug_assert!(self.idle_rounds < 5, "due, and not done: {:?}", self.hold);
    }

    /// Brings what is held back by the brake up to date: the brake is the user's, so somebody else's login, or an
    /// operator, may have changed it; and locks end.
    pub(super) fn look_at_hold(&mut self) {
        self.look_at_notes();
        let Some(Hold::Brake(held)) = self.hold else { return };
        let ended = held.until().is_some_and(|until| until <= self.now());
        // Without a login of its own, it only knows what it was told itself.
        let now = self.login_permit().unwrap_or(if ended { Permit::Allowed } else { held });
        if now != held {
            self.hold = (now != Permit::Allowed).then_some(Hold::Brake(now));
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
                self.answer_newer(Newer { refused, certain, asked, reply }).await;
            }
            Ask::Younger { max_age, reply } => {
                let outcome = match self.is_younger(max_age) {
                    true => Ok(()),
                    false => self.obtain(if self.alive() { Need::Early } else { Need::Token }).await,
                };
                let _ = reply.send(outcome.and_then(|()| self.current()));
            }
            Ask::Early => self.on_time().await,
            Ask::Refresh { asked, reply } => self.answer_operator(asked, reply),
            Ask::Unlock { reply } => {
                let outcome = self.unlock().await;
                let _ = reply.send(outcome);
            }
            Ask::Code { login, reply } => {
                let outcome = self.redeem_code(*login).await;
                self.report();
                let _ = reply.send(outcome);
            }
            Ask::Confirm { login, reply } => {
                let outcome = self.confirm(login).await;
                self.report();
                let _ = reply.send(outcome);
            }
        }
    }

    fn answer_from_cache(&self, ask: Ask) {
        let ended = || self.shared.shutting_down();
        match ask {
            Ask::Usable { reply } => drop(reply.send(self.current())),
            Ask::Younger { reply, .. } => drop(reply.send(self.current())),
            Ask::Newer { refused, reply, .. } => {
                let newer = self.current().ok().filter(|bearer| bearer.revision > refused);
                let answer = newer.map(|bearer| Replacement { bearer, fresh: false });
                let _ = reply.send(answer.ok_or_else(ended));
            }
            Ask::Early => {}
            Ask::Refresh { reply, .. } => drop(reply.send(Err(ended()))),
            Ask::Unlock { reply } => drop(reply.send(Err(ended()))),
            Ask::Code { reply, .. } | Ask::Confirm { reply, .. } => drop(reply.send(Err(ended().into()))),
        }
    }

    /// Walks the ladder: the refresh token, then the login behind its brake, then a person.
    pub(super) async fn obtain(&mut self, need: Need) -> Result<(), Unavailable> {
        self.may_try(need)?;
        let outcome = match self.read_record().await {
            // What is stored is good.
            Ok(true) if self.trusted() => Ok(()),
            Ok(_) => self.climb(need).await,
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            self.keeper.release();
        }
        self.report();
        outcome
    }

    /// What the next life should know.
    async fn save_at_end(&mut self) {
        if self.noted_pending && !self.keeper.record.refresh_pending {
            self.save().await;
        }
        self.save_if_unsaved().await;
    }

    async fn save_if_unsaved(&mut self) {
        if !self.is_unsaved() {
            return;
        }
        if self.keeper.unsaved() {
            self.keeper.write().await;
        }
        if let Some(seat) = self.parts.seat.clone() {
            seat.save_if_unsaved().await;
        }
        self.plan_to_save();
        self.report();
    }

    /// Writes the record; if that fails, plans to try again.
    pub(super) async fn save(&mut self) {
        self.keeper.save().await;
        self.plan_to_save();
    }

    /// When what could not be stored is tried again.
    fn plan_to_save(&mut self) {
        if !self.keeper.unsaved() {
            self.noted_pending = self.keeper.record.refresh_pending;
        }
        self.save_failures = if self.is_unsaved() { self.save_failures.saturating_add(1) } else { 0 };
        let doublings = self.save_failures.saturating_sub(1).min(SAVE_DOUBLINGS);
        self.save_at = Instant::now() + SAVE_AGAIN * (1 << doublings);
    }

    pub(super) fn held(&self, hold: &Hold, now: Timestamp) -> Unavailable {
        let (detail, retry_after) = self.describe(hold, now);
        self.unavailable(&detail, retry_after)
    }

    /// What holds exchanges back, and what led there.
    fn describe(&self, hold: &Hold, now: Timestamp) -> (String, Option<Duration>) {
        let (detail, retry_after) = hold.describe(&self.shared.name, now);
        match self.why_not_refreshed() {
            Some(why) => (format!("{why}; {detail}"), retry_after),
            None => (detail, retry_after),
        }
    }

    pub(super) fn login_permit(&self) -> Option<Permit> {
        self.parts.seat.as_ref().map(Seat::permit)
    }

    pub(super) fn unavailable(&self, detail: &str, retry_after: Option<Duration>) -> Unavailable {
        self.shared.unavailable(detail, retry_after)
    }

    pub(super) fn current(&self) -> Result<Bearer, Unavailable> {
        let now = self.now();
        let current = self.shared.published.latest();
        current.filter(|bearer| bearer.is_alive(now)).ok_or_else(|| match &self.hold {
            Some(hold) => self.held(hold, now),
            None => {
                self.unavailable("the token ended the moment it was issued", Some(Duration::from_secs(1)))
            }
        })
    }

    pub(super) fn alive(&self) -> bool {
        let tokens = self.keeper.record.tokens.as_ref();
        tokens.is_some_and(|tokens| tokens.expires_at > self.now() && Instant::now() < self.ends)
    }

    /// Reckons from a stored set when its access token ends, and what it says about its refresh token.
    pub(super) fn read_ends(&mut self) {
        let record = &self.keeper.record;
        let left = record.tokens.as_ref().map(|tokens| clock::until(self.now(), tokens.expires_at));
        self.noted_pending = record.refresh_pending;
        self.ends = ends_in(left.unwrap_or_default());
    }

    /// Alive, and not refused by the gateway.
    pub(super) fn trusted(&self) -> bool {
        self.alive()
            && self.token_revision > self.distrusted.max(self.shared.distrusted.load(Ordering::Relaxed))
    }

    /// Alive, and minted no longer ago than this.
    fn is_younger(&self, max_age: Duration) -> bool {
        let tokens = self.keeper.record.tokens.as_ref().filter(|_| self.alive());
        tokens.is_some_and(|tokens| clock::until(tokens.minted_at, self.now()) <= max_age)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    pub(super) fn publish(&mut self) {
        if let Some(tokens) = &self.keeper.record.tokens {
            let options = &self.parts.options;
            let by_access = schedule::refresh_at(options.refresh, tokens, random::unit());
            let by_refresh = schedule::refresh_by(tokens, options.refresh_lifetime, random::unit());
            self.refresh_at = by_refresh.map_or(by_access, |by| by.min(by_access));
            self.published_at = Some(Instant::now());
            self.publish_again();
        }
        self.warning = Warning::default();
        self.report();
    }

    /// Publishes the set there is, with its times as they are now.
    fn publish_again(&self) {
        if let Some(tokens) = &self.keeper.record.tokens {
            let lazily = self.may_refresh_early() && !self.parts.options.passive;
            let nudge_at = if lazily { self.refresh_at } else { Timestamp::MAX };
            let known_at = match self.token_revision == self.logged_in {
                true => Timestamp::MIN,
                false => clock::after(tokens.issued_at, forced::KNOWN_AFTER / self.shared.hurry.max(1)),
            };
            self.shared.publish(tokens, self.token_revision, self.ends, nudge_at, known_at);
        }
    }

    /// When a person has to log in at the latest, if nothing changes; `None` where we can log in ourselves.
    fn login_needed_by(&self) -> Option<Timestamp> {
        if self.login_permit().is_some_and(|permit| !permit.is_final()) {
            return None;
        }
        let tokens = self.keeper.record.tokens.as_ref()?;
        match self.refresh_token() {
            Some(_) => Some(clock::after(tokens.refresh_issued_at, self.parts.options.refresh_lifetime)),
            // With the refresh token gone, or none accepted, the access token is the last one.
            None => Some(tokens.expires_at),
        }
    }

    fn warn_of_login(&mut self) {
        let Some(by) = self.login_needed_by() else { return };
        let now = self.now();
        let left = clock::until(now, by);
        let lifetime = self.parts.options.refresh_lifetime;
        let renewable = self.refresh_token().is_some();
        if !left.is_zero() && self.warning.is_due(left, lifetime, renewable, now) {
            tracing::warn!(
                credential = %self.shared.name, login_needed_by = %format_args!("{by:.0}"),
                trouble = self.trouble.as_deref().unwrap_or_default(),
                "the refresh token is not being renewed; before that time, run `vbc-proxy login {}`",
                self.shared.name
            );
        }
    }

    /// Puts the state where others can see it.
    pub(super) fn report(&self) {
        let now = self.now();
        let record = &self.keeper.record;
        let tokens = record.tokens.as_ref();
        let login_needed_by = self.login_needed_by();
        let mut snapshot = self.shared.snapshot.lock();
        snapshot.revision = tokens.map_or(0, |_| self.token_revision);
        snapshot.issued_at = tokens.map(|tokens| tokens.issued_at);
        snapshot.expires_at = tokens.map(|tokens| tokens.expires_at);
        snapshot.scope = tokens.and_then(|tokens| tokens.scope.clone());
        snapshot.subject.clone_from(&record.subject);
        snapshot.other_user.clone_from(&record.other_subject);
        snapshot.issuance = record.issuance;
        snapshot.next_attempt = if self.parts.options.passive { None } else { self.next_attempt(now) };
        snapshot.brake = matches!(self.hold, Some(Hold::Brake(_) | Hold::Notes(_)));
        snapshot.login_needed = matches!(self.hold, Some(Hold::LoginNeeded));
        snapshot.login_needed_by = login_needed_by;
        let notes_unsaved = self.parts.seat.as_ref().is_some_and(Seat::is_unsaved);
        snapshot.unsaved = tokens.is_some() && !self.keeper.has_stored(self.token_revision);
        snapshot.note_unsaved = notes_unsaved || self.keeper.unsaved() && !snapshot.unsaved;
        snapshot.exchanges = self.shared.exchanges.total();
        let trouble = match &self.hold {
            Some(hold) => Some(self.describe(hold, now).0),
            None => self.trouble.clone().or_else(|| self.no_refresh()),
        };
        snapshot.store_trouble = self.store_trouble();
        snapshot.trouble = storing::together(trouble, snapshot.store_trouble.as_deref());
    }
}
