//! The only task of a credential that redeems grants.
//!
//! Everything that changes a credential happens here, one thing at a time. So at most one exchange
//! is under way, and nothing cancels it: only this task owns it. A new token set is stored before
//! it is published.

mod acquire;
mod code_login;
mod exchange;
mod plan;
mod refresh;
mod report;
mod reset;
mod respond;
mod saving;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::bearer::{Bearer, Unavailable, ends_in};
use super::block_reason::BlockReason;
use super::clock_watch::{ClockWatch, earlier};
use super::login_guard::{LoginDecision, LoginPermit, Trouble};
use super::message::Message;
use super::options::Options;
use super::record::StoredRecord;
use super::schedule::{Backoff, Warning};
use super::shared::Shared;
use crate::oauth::Redeem;
use code_login::UnconfirmedLogin;
use respond::WaitingList;
pub(super) use saving::load_record;
use vbc_base::clock::{self, Clock, Timestamp};
use vbc_base::random;

/// Timers stop while a machine is suspended, so the wall clock is checked after 1/`CHECKS` of each
/// pause, within these limits. The lower limit keeps ten thousand credentials from waking the
/// machine too often.
const SHORTEST_CHECK: Duration = Duration::from_secs(60);
const LONGEST_CHECK: Duration = Duration::from_secs(5 * 60);
const CHECKS: u32 = 64;

/// Why an exchange is wanted, which limits the fallbacks it may use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// The current token is still alive: refresh it, but do not log in.
    Early,
    /// There is no token, or the upstream refuses it.
    Token,
}

/// The state of the current access token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TokenState {
    /// The token is missing or has expired.
    Dead,
    /// The token is alive, but the gateway refuses it.
    Distrusted,
    /// The token is alive, and the gateway is not known to refuse it.
    Trusted,
}

/// What wakes the refresher.
enum Event {
    /// A message from a request or an operator.
    Message(Message),
    /// The timer has ended, so something may be due.
    Tick,
    /// Every handle is dropped, or the credential is closed.
    Closed,
}

/// The refresher's state. [`run`](Self::run) is its task and calls everything else.
pub(super) struct Refresher<R> {
    options: Options,
    endpoint: R,
    clock: Clock,
    /// The access to the user's login guard, for a credential that has a password.
    permit: Option<LoginPermit>,
    shared: Arc<Shared>,
    stored: StoredRecord,
    /// The revision with which the token set was stored.
    token_revision: u64,
    /// Tokens up to this revision were named by a 401 that reached the refresher, and a replacement
    /// is due. [`Shared::distrusted`] has the revisions that requests reported themselves.
    distrusted: u64,
    /// The revision of the last login of this process. A login may return a token that is older
    /// than itself, so the gateway is assumed to know it from the start.
    logged_in: u64,
    refresh_at: Timestamp,
    /// When the access token ends by the monotonic clock.
    ends: Instant,
    /// The stored record notes that the refresh token was presented with an unknown outcome.
    noted_pending: bool,
    /// The server's error text, if the server does not refresh tokens for this application. Kept
    /// until unlock or restart.
    unsupported: Option<Box<str>>,
    published_at: Option<Instant>,
    backoff: Backoff,
    blocked: Option<BlockReason>,
    trouble: Option<String>,
    unconfirmed_login: Option<Box<UnconfirmedLogin>>,
    waiting_list: Option<Box<WaitingList>>,
    /// No scheduled exchange begins before this time: exchanges of other credentials go first.
    not_before: Timestamp,
    warning: Warning,
    watch: ClockWatch,
    /// When storing an unsaved record is retried.
    save_at: Instant,
    /// The number of times in a row that storing has failed.
    save_failures: u32,
    /// The number of times in a row that an exchange was due and was not made.
    idle_rounds: u32,
}

/// Drops waiting messages when the refresher ends, so that their senders do not wait.
struct AbandonOnDrop(Arc<Shared>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.mailbox.abandon();
    }
}

impl<R: Redeem> Refresher<R> {
    pub(super) fn new(
        options: Options,
        endpoint: R,
        clock: Clock,
        permit: Option<LoginPermit>,
        stored: StoredRecord,
        shared: Arc<Shared>,
    ) -> Self {
        let now = clock.now();
        let mut refresher = Self {
            token_revision: stored.record.revision,
            blocked: saving::record_block(&stored, &options),
            watch: ClockWatch::new(&clock),
            not_before: clock::after(now, options.spread.mul_f64(random::unit())),
            options,
            endpoint,
            clock,
            permit,
            shared,
            stored,
            distrusted: 0,
            logged_in: 0,
            refresh_at: Timestamp::UNIX_EPOCH,
            ends: Instant::now(),
            noted_pending: false,
            unsupported: None,
            published_at: None,
            backoff: Backoff::default(),
            trouble: None,
            unconfirmed_login: None,
            waiting_list: None,
            warning: Warning::default(),
            save_at: Instant::now(),
            save_failures: 0,
            idle_rounds: 0,
        };
        refresher.restore_application_block();
        // A set from the future was stored under a clock that was ahead, so its age is unknown.
        let is_from_the_future = refresher.adopt_record();
        if refresher.is_alive() {
            refresher.publish();
            if is_from_the_future {
                refresher.refresh_at = now;
            }
        }
        refresher.report();
        refresher
    }

    /// Serves messages and the schedule until the credential is closed.
    pub(super) async fn run(mut self: Box<Self>) {
        let _abandon = AbandonOnDrop(Arc::clone(&self.shared));
        while !self.shared.closing.load(Ordering::Relaxed) {
            // Boxed: an exchange needs far more memory than an idle credential may take.
            match self.next_event().await {
                Event::Message(message) => Box::pin(self.handle(message)).await,
                Event::Tick => Box::pin(self.tick()).await,
                Event::Closed => break,
            }
        }
        Box::pin(self.save_at_end()).await;
        self.shared.mailbox.close();
        while let Some(message) = poll_fn(|cx| self.shared.mailbox.poll_next(cx)).await {
            self.respond_at_end(message);
        }
    }

    async fn next_event(&self) -> Event {
        let pause = self.pause();
        let check = (pause / CHECKS).clamp(SHORTEST_CHECK, LONGEST_CHECK);
        tokio::select! {
            message = poll_fn(|cx| self.shared.mailbox.poll_next(cx)) => {
                message.map_or(Event::Closed, Event::Message)
            }
            () = tokio::time::sleep(pause.min(check)) => Event::Tick,
        }
    }

    async fn handle(&mut self, message: Message) {
        self.follow_clock_and_save().await;
        self.respond(message).await;
        self.serve_waiting().await;
    }

    async fn tick(&mut self) {
        self.follow_clock_and_save().await;
        self.recheck_block();
        self.serve_waiting().await;
        self.warn_of_login();
        if self.pause().is_zero() {
            let exchanges = self.shared.exchanges.total();
            self.act_on_schedule().await;
            self.rest_if_idle(exchanges);
        }
    }

    /// Moves all planned times along with a wall clock that was set back. Otherwise the refresh
    /// token could expire on the server before the proxy's clock reaches its refresh. Must be
    /// called before a time of the changed clock is stored anywhere. Returns whether the clock was
    /// set back.
    fn follow_clock(&mut self) -> bool {
        let Some(back) = self.watch.set_back(&self.clock) else { return false };
        tracing::warn!(
            credential = %self.shared.name, seconds = back.as_secs(),
            "the clock was set back; moving all planned times back too"
        );
        self.stored.set_back(back);
        self.refresh_at = earlier(self.refresh_at, back);
        self.not_before = earlier(self.not_before, back);
        self.backoff.set_back(back);
        if let Some(reason) = &mut self.blocked {
            reason.set_back(back);
        }
        self.publish_again();
        self.report();
        true
    }

    /// Like [`follow_clock`](Self::follow_clock), but also persists the moved times. Otherwise a
    /// restart would treat the tokens as fresher than they are.
    async fn follow_clock_and_save(&mut self) {
        if self.follow_clock() && self.stored.record.tokens.is_some() {
            self.save().await;
            self.report();
        }
    }

    /// Updates a block that came from the login guard. Credentials of one user share the guard, so
    /// another credential or an operator may have changed its decision. Locks also end with time.
    fn recheck_block(&mut self) {
        let is_unreadable = self
            .permit
            .as_ref()
            .is_some_and(|permit| matches!(permit.trouble(), Some(Trouble::Unreadable(_))));
        if !is_unreadable && matches!(self.blocked, Some(BlockReason::LoginHistory(_))) {
            self.blocked = None;
            self.report();
        }
        let Some(BlockReason::LoginGuard(before)) = self.blocked else { return };
        let now = match &self.permit {
            Some(permit) => permit.decision(),
            // Without a password, the credential knows only the lock that a refresh reported.
            None if before.until().is_some_and(|until| until <= self.now()) => LoginDecision::Allowed,
            None => before,
        };
        if now != before {
            self.blocked = (now != LoginDecision::Allowed).then_some(BlockReason::LoginGuard(now));
            self.report();
        }
    }

    fn block(&mut self, reason: BlockReason) -> Unavailable {
        let unavailable = self.blocked_by(&reason);
        self.blocked = Some(reason);
        unavailable
    }

    /// Blocks the credential because of earlier logins. Logs the reason, because no failed exchange
    /// in this log explains the block: the failures may be from before a restart.
    fn block_without_exchange(&mut self, reason: BlockReason) -> Unavailable {
        let is_news = self.blocked.is_none();
        let unavailable = self.block(reason);
        if is_news {
            tracing::error!(credential = %self.shared.name, reason = unavailable.detail, "no login is tried");
        }
        unavailable
    }

    fn blocked_by(&self, reason: &BlockReason) -> Unavailable {
        let (detail, retry_after) = self.describe(reason, self.now());
        self.unavailable(&detail, retry_after)
    }

    /// The text of a block, preceded by the reason why the refresh token was not used, if any.
    fn describe(&self, reason: &BlockReason, now: Timestamp) -> (String, Option<Duration>) {
        let (detail, retry_after) = reason.describe(&self.shared.name, now);
        match self.why_not_refreshed() {
            Some(why) => (format!("{why}; {detail}"), retry_after),
            None => (detail, retry_after),
        }
    }

    fn unavailable(&self, detail: &str, retry_after: Option<Duration>) -> Unavailable {
        self.shared.unavailable(detail, retry_after)
    }

    fn current(&self) -> Result<Bearer, Unavailable> {
        let now = self.now();
        let current = self.shared.published.latest();
        current.filter(|bearer| bearer.is_alive(now)).ok_or_else(|| match &self.blocked {
            Some(reason) => self.blocked_by(reason),
            None => self.unavailable(
                "the new token had expired already when it was issued",
                Some(Duration::from_secs(1)),
            ),
        })
    }

    /// Takes over a record that was just loaded. Returns whether its token set is from the future.
    fn adopt_record(&mut self) -> bool {
        let now = self.now();
        let is_from_the_future = self.stored.set_back_to(now);
        let record = &self.stored.record;
        self.token_revision = record.revision;
        self.noted_pending = record.refresh_pending;
        let left = record.tokens.as_ref().map(|tokens| clock::until(now, tokens.expires_at));
        self.ends = ends_in(left.unwrap_or_default());
        is_from_the_future
    }

    fn token_state(&self) -> TokenState {
        let distrusted = self.distrusted.max(self.shared.distrusted.load(Ordering::Relaxed));
        if !self.is_alive() {
            TokenState::Dead
        } else if self.token_revision > distrusted {
            TokenState::Trusted
        } else {
            TokenState::Distrusted
        }
    }

    fn is_trusted(&self) -> bool {
        self.token_state() == TokenState::Trusted
    }

    fn is_alive(&self) -> bool {
        let tokens = self.stored.record.tokens.as_ref();
        tokens.is_some_and(|tokens| tokens.expires_at > self.now() && Instant::now() < self.ends)
    }

    /// Whether the token lives and was minted no longer than `max_age` ago.
    fn is_younger(&self, max_age: Duration) -> bool {
        let tokens = self.stored.record.tokens.as_ref().filter(|_| self.is_alive());
        tokens.is_some_and(|tokens| clock::until(tokens.minted_at, self.now()) <= max_age)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
