//! One credential, kept fresh.
//!
//! A [`Credential`] is what the proxy holds: a cached read of the current bearer, and two questions it can ask the
//! one task that redeems (`refresher`): "I need one" and "this one was refused". Asking never drives the exchange:
//! a client that hangs up loses nothing, and a thousand askers share one exchange.

mod bearer;
mod brake;
mod cell;
mod exchanges;
mod forced;
mod hold;
#[cfg(test)]
mod judge_tests;
mod keeper;
mod ladder;
mod logins;
mod options;
mod person;
mod refresh;
mod refresher;
pub mod refusals;
mod schedule;
mod snapshot;
mod storing;
mod sync;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::{Clock, Timestamp};
use crate::oauth::{Redeem, TokenSet};
use crate::secret::Secret;
use crate::store::{Key, StoreError, TokenStore};
pub use bearer::{Bearer, Replacement, Unavailable};
use cell::{Copy, Mailbox, NotTaken, Published};
use exchanges::Exchanges;
use keeper::Keeper;
pub use logins::{Logins, login_key};
pub use options::{Login, Options};
pub use person::{CodeLogin, LoggedIn, LoginError, is_same_user};
use refresher::{Ask, Refresher};
use refusals::{Kind, Refusals};
pub use schedule::RefreshAt;
pub use snapshot::Snapshot;
pub use storing::{notes_held, record_finding};

/// How long a request waits for an exchange that another request has already waited for in vain.
const SHORT_WAIT: Duration = Duration::from_millis(800);

/// What is wrong while the token has ended and no exchange has failed.
const EXPIRED: &str = "the token has expired; a new one is on its way";

/// Questions that may wait for the refresher. Those who asked may be gone; what they asked is not.
const MAILBOX: usize = 32 * 1024;

/// The handle. Cheap to clone; the last one dropped ends the refresher.
#[derive(Clone)]
pub struct Credential {
    shared: Arc<Shared>,
    _handle: Arc<Handle>,
}

/// Held by every clone of a [`Credential`], and not by the refresher.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.mailbox.close();
    }
}

struct Shared {
    name: Arc<str>,
    clock: Clock,
    max_wait: Duration,
    mailbox: Mailbox<Ask>,
    published: Published<Bearer>,
    /// The refresh token in use, for what has to take it out of recordings.
    refresh_token: Mutex<Option<Secret>>,
    exchanges: Exchanges,
    /// Whether the early refresh of this publication has been asked for.
    nudged: AtomicBool,
    /// A request has waited `max_wait` for the exchange under way, in vain. The next exchange clears it.
    waited_in_vain: AtomicBool,
    closing: AtomicBool,
    /// The gateway refuses tokens up to this revision, and no newer one could be had when it was
    /// needed.
    distrusted: AtomicU64,
    /// The last revision that the gateway has accepted since it last refused a token by name.
    proven: AtomicU64,
    /// Exchanges that have ended and that operators asked for.
    operated: AtomicU64,
    hurry: u32,
    snapshot: Mutex<Snapshot>,
    /// Made at the first 401.
    refusals: Mutex<Option<Box<Refusals>>>,
}

impl Credential {
    /// Loads what the store knows and starts the refresher on the current runtime.
    ///
    /// The returned task ends after [`close`](Self::close), or when every handle is gone; an exchange under way is
    /// always finished and stored first.
    ///
    /// A stored record that cannot be read does not keep it from starting: it is held then, and says why and what to do.
    ///
    /// # Errors
    /// None today; a store that cannot be used at all is one.
    pub async fn start<R: Redeem>(
        options: Options,
        endpoint: R,
        store: Arc<dyn TokenStore>,
        logins: &Logins,
        clock: Clock,
    ) -> Result<(Self, JoinHandle<()>), StoreError> {
        let key = Key { credential: Arc::clone(&options.name), identity: Arc::clone(&options.identity) };
        let mut keeper = Keeper::unread(store, key);
        let shared = Arc::new(Shared {
            name: Arc::clone(&options.name),
            clock: clock.clone(),
            max_wait: options.max_wait,
            mailbox: Mailbox::new(),
            published: Published::new(),
            refresh_token: Mutex::default(),
            exchanges: Exchanges::default(),
            nudged: AtomicBool::new(false),
            waited_in_vain: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            distrusted: AtomicU64::new(0),
            proven: AtomicU64::new(0),
            operated: AtomicU64::new(0),
            hurry: options.hurry,
            snapshot: Mutex::default(),
            refusals: Mutex::default(),
        });
        let seat = options.login.as_ref().map(|login| logins.seat(login));
        if let Some(seat) = &seat
            && let Err(error) = seat.read().await
        {
            tracing::error!(
                credential = %options.name, reason = error.describe(),
                "the record of earlier logins cannot be read; no login is made until it can"
            );
        }
        storing::read(&mut keeper, &options, seat.as_ref()).await;
        let parts = refresher::Parts { options, endpoint, clock, seat };
        let refresher = Box::new(Refresher::new(parts, keeper, Arc::clone(&shared)));
        let task = tokio::spawn(refresher.run());
        Ok((Self { _handle: Arc::new(Handle(Arc::clone(&shared))), shared }, task))
    }

    /// Tells the tokens in use to `tell`. What is returned does not keep the credential alive.
    pub fn tokens(&self) -> impl Fn(&mut dyn FnMut(&Secret)) + Send + Sync + 'static {
        let shared = Arc::downgrade(&self.shared);
        move |tell| {
            let Some(shared) = shared.upgrade() else { return };
            if let Some(bearer) = shared.published.latest()
                && let Ok(value) = bearer.value.to_str()
            {
                tell(&Secret::new(value.strip_prefix("Bearer ").unwrap_or(value)));
            }
            let refresh_token = shared.refresh_token.lock().clone();
            refresh_token.iter().for_each(tell);
        }
    }

    /// The credential's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Its state now. It says what the next request will get: what the refresher has put there is
    /// completed by what requests have learnt since.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.shared.snapshot.lock().clone();
        let now = self.shared.clock.now();
        let bearer = self.shared.published.latest();
        let alive = bearer.as_ref().is_some_and(|bearer| bearer.is_alive(now));
        snapshot.distrusted = alive && bearer.as_ref().is_some_and(|bearer| self.doubts(bearer));
        snapshot.usable = alive && !snapshot.distrusted;
        if snapshot.distrusted {
            let refused = "the gateway refuses the current token (401)";
            snapshot.trouble = Some(match &snapshot.trouble {
                Some(trouble) => format!("{refused}, and no newer one can be had: {trouble}"),
                None => format!("{refused}, and no newer one could be had yet"),
            });
        }
        if let Some(bearer) = bearer
            && !alive
        {
            // Timers may have slept through its end.
            self.shared.nudge(&bearer, Timestamp::MAX);
            snapshot.trouble.get_or_insert_with(|| EXPIRED.to_owned());
        }
        if let Some(refusals) = &*self.shared.refusals.lock() {
            snapshot.refused_paths = refusals.remembered(now);
        }
        snapshot
    }

    /// How many exchanges with the token endpoint ended how in this process: grant, outcome, count.
    pub fn exchanges(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        self.shared.exchanges.counts()
    }

    /// How many refreshes 401s have forced.
    pub fn forced_refreshes(&self) -> u64 {
        self.shared.refusals.lock().as_ref().map_or(0, |refusals| refusals.forced.total())
    }

    /// How often the gateway has refused by name a token that a refresh had just brought, or that
    /// could not be replaced yet.
    pub fn new_tokens_refused(&self) -> u64 {
        self.shared.refusals.lock().as_ref().map_or(0, |refusals| refusals.new_refused())
    }

    /// A reader with a copy of its own, for one thread's requests.
    pub fn reader(&self) -> Reader {
        Reader { credential: self.clone(), copy: Copy::new() }
    }

    /// The memory of 401s that a fresh token did not cure.
    pub fn refusals(&self) -> MappedMutexGuard<'_, Refusals> {
        self.shared.refusals()
    }

    /// The clock this credential lives by.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// A usable bearer: the cached one, or the next one that an exchange brings.
    ///
    /// Cancel safe: the exchange does not depend on who waits for it.
    ///
    /// # Errors
    /// [`Unavailable`], at once when no exchange may be made now, else after `oauth.max_wait` at the latest.
    pub async fn bearer(&self) -> Result<Bearer, Unavailable> {
        let now = self.shared.clock.now();
        if let Some(bearer) = self.shared.published.latest().filter(|bearer| bearer.is_alive(now)) {
            return Ok(bearer);
        }
        self.ask(|reply| Ask::Usable { reply }).await
    }

    /// A usable bearer newer than `refused`, if there is one already.
    pub fn newer_than(&self, refused: &Bearer) -> Option<Bearer> {
        let current = self.shared.published.latest()?;
        (current.revision > refused.revision && current.is_alive(self.shared.clock.now())).then_some(current)
    }

    /// Whether the gateway is known to refuse this bearer, with no newer one to be had.
    pub fn doubts(&self, bearer: &Bearer) -> bool {
        bearer.revision <= self.shared.distrusted.load(Ordering::Relaxed)
    }

    /// Whether it is news that the gateway accepted this bearer. Asked after each response: two
    /// atomic loads.
    pub fn is_news(&self, bearer: &Bearer) -> bool {
        self.shared.proven.load(Ordering::Relaxed) < bearer.revision || self.doubts(bearer)
    }

    /// The gateway accepted this bearer.
    pub fn trust(&self, bearer: &Bearer) {
        self.shared.proven.fetch_max(bearer.revision, Ordering::Relaxed);
        self.shared
            .distrusted
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |distrusted| {
                (distrusted >= bearer.revision).then_some(0)
            })
            .ok();
    }

    /// The gateway refused a bearer by name. Whether it accepts tokens elsewhere has to show again
    /// from now on.
    pub fn seek_proof(&self) {
        self.shared.proven.store(0, Ordering::Relaxed);
    }

    /// The gateway refused this bearer by name to the end, and the request was given its 401. A
    /// bearer that was accepted elsewhere meanwhile is not distrusted: then it is the path that is
    /// refused.
    pub fn distrust(&self, bearer: &Bearer) {
        if self.shared.proven.load(Ordering::Relaxed) < bearer.revision {
            self.shared.distrust(bearer.revision);
        }
    }

    /// How long until a refresh may be forced; zero when it may at once.
    pub fn forced_in(&self) -> Duration {
        let refusals = self.shared.refusals.lock();
        refusals.as_ref().map_or(Duration::ZERO, |refusals| refusals.forced.wait(Instant::now()))
    }

    /// The gateway refused by name a token that is new, or that may not be replaced yet.
    pub fn note_new_refused(&self) {
        if self.refusals().note_new_refused(Instant::now()) {
            tracing::warn!(
                credential = %self.shared.name,
                "new tokens are refused: the gateway answered 401 to one that a refresh had just brought, or so often \
                 that refreshes are held back; the request is sent again with the same token"
            );
        }
    }

    /// A bearer newer than `refused`, which the upstream did not accept for a reason of this kind.
    /// Joins an exchange under way; a 401 that comes late gets the newer bearer at once. Where
    /// forced refreshes are held back, all who ask wait for the same next one.
    ///
    /// Cancel safe, as [`bearer`](Self::bearer).
    ///
    /// # Errors
    /// [`Unavailable`], as [`bearer`](Self::bearer); at once where refreshes are held back for
    /// longer than `oauth.max_wait`.
    pub async fn replace(&self, refused: &Bearer, kind: Kind) -> Result<Replacement, Unavailable> {
        if let Some(bearer) = self.newer_than(refused) {
            return Ok(Replacement { bearer, fresh: false });
        }
        let certain = kind == Kind::Token;
        let held = self.forced_in();
        let outcome = match held > self.shared.max_wait {
            true => {
                Err(self.shared.unavailable("new tokens are refused; refreshes are held back", Some(held)))
            }
            false => {
                let (refused, asked) = (refused.revision, Instant::now());
                self.ask_held(held, |reply| Ask::Newer { refused, certain, asked, reply }).await
            }
        };
        if certain && outcome.is_err() {
            // Said at once, also where the refresher is still busy: the next request gets the same.
            self.shared.distrust(refused.revision);
        }
        outcome
    }

    /// A usable bearer that was minted no longer than `max_age` ago, for a suite that refuses older ones. Joins an exchange
    /// under way. Where a younger one cannot be had (there is no refresh token, or the token endpoint is in trouble) the
    /// caller still has the one it has.
    ///
    /// Cancel safe, as [`bearer`](Self::bearer).
    ///
    /// # Errors
    /// [`Unavailable`], as [`bearer`](Self::bearer).
    pub async fn younger(&self, max_age: Duration) -> Result<Bearer, Unavailable> {
        self.ask(|reply| Ask::Younger { max_age, reply }).await
    }

    /// Redeems an authorization code that a person brought, and takes what it gives into use, if it is the same user's as
    /// before.
    ///
    /// Cancel safe: the exchange does not depend on who waits for it.
    ///
    /// # Errors
    /// [`LoginError`]; the tokens there were are still there.
    pub async fn redeem_code(&self, login: CodeLogin) -> Result<LoggedIn, LoginError> {
        let (reply, answer) = oneshot::channel();
        self.put(Ask::Code { login: Box::new(login), reply })?;
        answer.await.unwrap_or_else(|_| Err(self.shared.shutting_down().into()))
    }

    /// Takes the login of another user into use that [`redeem_code`](Self::redeem_code) held back.
    ///
    /// # Errors
    /// [`LoginError::NothingToConfirm`] when there is none of this number, or not any more.
    pub async fn confirm(&self, login: u64) -> Result<LoggedIn, LoginError> {
        let (reply, answer) = oneshot::channel();
        self.put(Ask::Confirm { login, reply })?;
        answer.await.unwrap_or_else(|_| Err(self.shared.shutting_down().into()))
    }

    /// Gets a new token set now, as an operator asked for. All who wait share one exchange, at most
    /// one a second; one that nobody waits for any more is not made.
    ///
    /// # Errors
    /// [`Unavailable`] when none can be had; a login is held back by its brake as ever.
    pub async fn refresh(&self) -> Result<(), Unavailable> {
        let (reply, answer) = oneshot::channel();
        let asked = self.shared.operated.load(Ordering::Relaxed);
        self.put(Ask::Refresh { asked, reply })?;
        answer.await.unwrap_or_else(|_| Err(self.shared.shutting_down()))
    }

    /// Lifts the login brake, and forgets what made an exchange be held back: the next one is tried at once. Says whether
    /// anything was held back.
    ///
    /// # Errors
    /// [`Unavailable`] when the refresher does not answer, or the brake's record cannot be read.
    pub async fn unlock(&self) -> Result<bool, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.put(Ask::Unlock { reply })?;
        answer.await.unwrap_or_else(|_| Err(self.shared.shutting_down()))
    }

    /// Lets the refresher finish what it does and end. Later questions are answered with what is cached.
    pub fn close(&self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        self.shared.mailbox.close();
    }

    fn put(&self, ask: Ask) -> Result<(), Unavailable> {
        self.shared.mailbox.push(ask, MAILBOX).map_err(|why| match why {
            NotTaken::Full => {
                self.shared.unavailable("too many requests wait for a token", Some(Duration::from_secs(1)))
            }
            NotTaken::Closed => self.shared.shutting_down(),
        })
    }

    /// Asks the refresher and waits up to `max_wait`; only briefly for an exchange that another request has
    /// waited for in vain.
    async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<T, Unavailable>>) -> Ask,
    ) -> Result<T, Unavailable> {
        self.ask_held(Duration::ZERO, ask).await
    }

    /// [`ask`](Self::ask) for an exchange that will not begin before `held` has passed. Nobody else
    /// is blamed for that wait.
    async fn ask_held<T>(
        &self,
        held: Duration,
        ask: impl FnOnce(oneshot::Sender<Result<T, Unavailable>>) -> Ask,
    ) -> Result<T, Unavailable> {
        let (reply, mut answer) = oneshot::channel();
        self.put(ask(reply))?;
        let (asked, max_wait) = (Instant::now(), self.shared.max_wait);
        let in_vain = || held.is_zero() && self.shared.waited_in_vain.load(Ordering::Relaxed);
        let mut patience = if in_vain() { SHORT_WAIT.min(max_wait) } else { max_wait };
        loop {
            match tokio::time::timeout_at(asked + patience, &mut answer).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(_)) => return Err(self.shared.shutting_down()),
                // The exchange that was waited for in vain has ended meanwhile: this is another one.
                Err(_) if patience < max_wait && !in_vain() => patience = max_wait,
                Err(_) => break,
            }
        }
        if held.is_zero() {
            self.shared.waited_in_vain.store(true, Ordering::Relaxed);
        }
        let detail = "the token endpoint has not answered yet; the exchange goes on";
        Err(self.shared.unavailable(detail, Some(Duration::from_secs(1))))
    }
}

/// Reads the bearer for one thread: an atomic load and a clock reading while nothing changes.
pub struct Reader {
    credential: Credential,
    copy: Copy<Bearer>,
}

impl Reader {
    /// The credential behind it.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The current bearer, if one is usable. Past its refresh time it also asks for the next one, once, which
    /// makes up for timers that slept through a suspended machine.
    pub fn cached(&mut self) -> Option<&Bearer> {
        self.cached_within(None).map(|(bearer, _)| bearer)
    }

    /// [`cached`](Self::cached), and whether the bearer was minted within `max_age`.
    pub fn cached_within(&mut self, max_age: Option<Duration>) -> Option<(&Bearer, bool)> {
        let shared = &self.credential.shared;
        shared.published.refresh(&mut self.copy);
        let bearer = self.copy.value.as_ref()?;
        let now = shared.clock.now();
        shared.nudge(bearer, now);
        let young = max_age.is_none_or(|max_age| bearer.is_younger(max_age, now));
        bearer.is_alive(now).then_some((bearer, young))
    }
}

impl Shared {
    /// Asks for the next token once, if `now` is past this one's refresh time.
    fn nudge(&self, bearer: &Bearer, now: Timestamp) {
        if now >= bearer.refresh_at && !self.nudged.swap(true, Ordering::Relaxed) {
            let _ = self.mailbox.push(Ask::Early, MAILBOX);
        }
    }

    fn refusals(&self) -> MappedMutexGuard<'_, Refusals> {
        let hurry = self.hurry;
        MutexGuard::map(self.refusals.lock(), |refusals| {
            &mut **refusals.get_or_insert_with(|| Box::new(Refusals::new(hurry)))
        })
    }

    fn distrust(&self, revision: u64) {
        self.distrusted.fetch_max(revision, Ordering::Relaxed);
    }

    /// `known_at` as in [`Bearer`].
    fn publish(
        &self,
        tokens: &TokenSet,
        revision: u64,
        ends: Instant,
        refresh_at: Timestamp,
        known_at: Timestamp,
    ) {
        // The endpoint's reader has made sure that the token is a legal field value.
        let Some(value) = tokens.access_token.header_value() else {
            tracing::error!(credential = %self.name, "the access token is not a legal header value");
            return;
        };
        let (expires_at, minted_at) = (tokens.expires_at, tokens.minted_at);
        self.nudged.store(false, Ordering::Relaxed);
        let bearer = Bearer { value, revision, expires_at, ends, minted_at, refresh_at, known_at };
        self.refresh_token.lock().clone_from(&tokens.refresh_token);
        self.published.publish(bearer);
    }

    fn unavailable(&self, detail: &str, retry_after: Option<Duration>) -> Unavailable {
        Unavailable { credential: self.name.to_string(), detail: detail.to_owned(), retry_after }
    }

    fn shutting_down(&self) -> Unavailable {
        self.unavailable("the proxy is shutting down", Some(Duration::from_secs(5)))
    }
}
