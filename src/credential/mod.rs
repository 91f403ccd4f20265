//! One credential, kept fresh.
//!
//! A [`Credential`] is the proxy's handle. It reads the current bearer from a cache, and requests a
//! new one from the only task that redeems grants (`refresher`). That task owns the exchange: a
//! client that disconnects loses nothing, and a thousand requests share one exchange.

mod bearer;
mod block_reason;
mod clock_watch;
mod code_login;
mod exchanges;
mod forced_refreshes;
mod login_guard;
mod mailbox;
mod message;
mod options;
mod published;
mod reader;
mod record;
mod refresher;
pub mod rejected_prefixes;
mod reset;
mod schedule;
mod shared;
mod snapshot;
mod sync;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::MappedMutexGuard;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::oauth::Redeem;
use crate::store::{Key, Record, StoreError, TokenStore};
pub use bearer::{Bearer, Replacement, Unavailable};
pub use block_reason::{record_finding, unusable_login_history};
pub use code_login::{CodeLogin, LoginError, LoginSummary, is_same_user};
pub use login_guard::{LoginGuards, login_key};
use message::{Message, NewerRequest, RespondTo};
pub use options::{Login, Options};
pub use reader::Reader;
use record::StoredRecord;
use refresher::Refresher;
use rejected_prefixes::{Kind, RejectedPrefixes};
pub use reset::PendingReset;
pub use schedule::RefreshAt;
use shared::Shared;
pub use snapshot::Snapshot;
use vbc_base::clock::{Clock, Timestamp};
use vbc_base::secret::Secret;

/// How long a request waits for an exchange on which another request has already timed out.
const SHORT_WAIT: Duration = Duration::from_millis(800);

/// The handle of a credential. It is cheap to clone. Dropping the last clone ends the refresher.
///
/// [`start`](Self::start) makes a handle, and [`close`](Self::close) ends the credential.
/// Requests use [`reader`](Self::reader), [`bearer`](Self::bearer), [`replace`](Self::replace) and
/// [`younger`](Self::younger), and report what the gateway thought of a bearer with
/// [`trust`](Self::trust) and [`distrust`](Self::distrust). Operators use
/// [`snapshot`](Self::snapshot), [`refresh`](Self::refresh), [`unlock`](Self::unlock),
/// [`redeem_code`](Self::redeem_code) and [`confirm`](Self::confirm). A simulator that is reset
/// uses [`expect_reset`](Self::expect_reset).
#[derive(Clone)]
pub struct Credential {
    shared: Arc<Shared>,
    _handle: Arc<Handle>,
}

/// Held by every clone of a [`Credential`] but not by the refresher. Closes the mailbox when the
/// last clone is dropped.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.mailbox.close();
    }
}

impl Credential {
    /// Loads the stored record and starts the refresher on the current runtime.
    ///
    /// The returned task ends after [`close`](Self::close), or when every handle is dropped. It
    /// finishes and stores the current exchange first.
    ///
    /// A record that cannot be read does not prevent the start. The credential is blocked, and its
    /// snapshot has the reason and the remedy.
    ///
    /// # Errors
    /// None at present; reserved for a store that cannot be used at all.
    pub async fn start<R: Redeem>(
        options: Options,
        endpoint: R,
        store: Arc<dyn TokenStore>,
        guards: &LoginGuards,
        clock: Clock,
    ) -> Result<(Self, JoinHandle<()>), StoreError> {
        let key = Key { credential: Arc::clone(&options.name), identity: Arc::clone(&options.identity) };
        let mut stored = StoredRecord::new(store, key, Record::default());
        let shared = Arc::new(Shared::new(&options, &clock));
        let permit = options.login.as_ref().map(|login| guards.permit(login));
        if let Some(permit) = &permit
            && let Err(error) = permit.read().await
        {
            tracing::error!(
                credential = %options.name, reason = error.describe(),
                "cannot read the record of earlier logins; no login is attempted until it can be read"
            );
        }
        refresher::load_record(&mut stored, &options, permit.as_ref()).await;
        let refresher = Refresher::new(options, endpoint, clock, permit, stored, Arc::clone(&shared));
        let task = tokio::spawn(Box::new(refresher).run());
        Ok((Self { _handle: Arc::new(Handle(Arc::clone(&shared))), shared }, task))
    }

    /// A function that calls its argument with each token in use. The function does not keep the
    /// credential alive.
    pub fn tokens(&self) -> impl Fn(&mut dyn FnMut(&Secret)) + Send + Sync + 'static {
        let shared = Arc::downgrade(&self.shared);
        move |visit| {
            let Some(shared) = shared.upgrade() else { return };
            if let Some(bearer) = shared.published.latest()
                && let Ok(value) = bearer.value.to_str()
            {
                visit(&Secret::new(value.strip_prefix("Bearer ").unwrap_or(value)));
            }
            let refresh_token = shared.refresh_token.lock().clone();
            refresh_token.iter().for_each(visit);
        }
    }

    /// The credential's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The state that the next request will find: the refresher's last report, completed by what
    /// requests have learnt since.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.shared.snapshot.lock().clone();
        let now = self.shared.clock.now();
        let bearer = self.shared.published.latest();
        let is_alive = bearer.as_ref().is_some_and(|bearer| bearer.is_alive(now));
        snapshot.distrusted = is_alive && bearer.as_ref().is_some_and(|bearer| self.doubts(bearer));
        snapshot.usable = is_alive && !snapshot.distrusted;
        if snapshot.distrusted {
            let refused = "the gateway refuses the current token (401)";
            snapshot.trouble = Some(match &snapshot.trouble {
                Some(trouble) => format!("{refused}, and no newer one is available: {trouble}"),
                None => format!("{refused}, and no newer one is available yet"),
            });
        }
        if let Some(bearer) = bearer
            && !is_alive
        {
            // The refresher's timer may be late: it stands still while the machine is suspended.
            self.shared.nudge(&bearer, Timestamp::MAX);
            let expired = "the token has expired; a new one is on its way";
            snapshot.trouble.get_or_insert_with(|| expired.to_owned());
        }
        if let Some(prefixes) = &*self.shared.rejected_prefixes.lock() {
            snapshot.refused_paths = prefixes.remembered(now);
        }
        snapshot
    }

    /// Grant, outcome and count of this process's exchanges with the token endpoint.
    pub fn exchanges(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        self.shared.exchanges.counts()
    }

    /// The number of refreshes that 401s have forced.
    pub fn forced_refreshes(&self) -> u64 {
        self.shared.rejected_prefixes.lock().as_ref().map_or(0, |prefixes| prefixes.forced.total)
    }

    /// The number of 401s in which the gateway named a token that a refresh had just brought, or
    /// that could not be replaced yet.
    pub fn new_tokens_refused(&self) -> u64 {
        self.shared.rejected_prefixes.lock().as_ref().map_or(0, |prefixes| prefixes.new_refused)
    }

    /// A reader for one thread's requests.
    pub fn reader(&self) -> Reader {
        Reader::new(self.clone())
    }

    /// The memory of 401s that a fresh token did not cure.
    pub fn rejected_prefixes(&self) -> MappedMutexGuard<'_, RejectedPrefixes> {
        self.shared.rejected_prefixes()
    }

    /// The credential's clock.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// A usable bearer: the cached one, or the one that the next exchange brings.
    ///
    /// Cancel safe: the exchange goes on without the caller.
    ///
    /// # Errors
    /// [`Unavailable`]: immediately if no exchange may be made now, else within `oauth.max_wait`.
    pub async fn bearer(&self) -> Result<Bearer, Unavailable> {
        let now = self.shared.clock.now();
        if let Some(bearer) = self.shared.published.latest().filter(|bearer| bearer.is_alive(now)) {
            return Ok(bearer);
        }
        self.ask_within(Duration::ZERO, |respond_to| Message::Usable { respond_to }).await
    }

    /// The current bearer if it is usable and newer than `refused`.
    pub fn newer_than(&self, refused: &Bearer) -> Option<Bearer> {
        let current = self.shared.published.latest()?;
        (current.revision > refused.revision && current.is_alive(self.shared.clock.now())).then_some(current)
    }

    /// Whether the gateway is known to refuse this bearer, and no newer bearer was available.
    pub fn doubts(&self, bearer: &Bearer) -> bool {
        bearer.revision <= self.shared.distrusted.load(Ordering::Relaxed)
    }

    /// Whether [`trust`](Self::trust) would change anything for this bearer. Called for every
    /// response, so it costs only two atomic loads.
    pub fn is_news(&self, bearer: &Bearer) -> bool {
        self.shared.proven.load(Ordering::Relaxed) < bearer.revision || self.doubts(bearer)
    }

    /// Notes that the gateway accepted this bearer.
    pub fn trust(&self, bearer: &Bearer) {
        self.shared.proven.fetch_max(bearer.revision, Ordering::Relaxed);
        self.shared
            .distrusted
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |distrusted| {
                (distrusted >= bearer.revision).then_some(0)
            })
            .ok();
    }

    /// Notes that a 401 named the bearer. Earlier acceptances no longer count.
    pub fn seek_proof(&self) {
        self.shared.proven.store(0, Ordering::Relaxed);
    }

    /// Notes that a 401 named this bearer and was passed to the client.
    ///
    /// A bearer that another path has accepted since is not distrusted: the 401 is about the path.
    pub fn distrust(&self, bearer: &Bearer) {
        if self.shared.proven.load(Ordering::Relaxed) < bearer.revision {
            self.shared.distrust(bearer.revision);
        }
    }

    /// How long until a refresh may be forced; zero if it may be forced now.
    pub fn forced_in(&self) -> Duration {
        self.shared.forced_in()
    }

    /// Counts a 401 that named a token which is new or cannot be replaced yet. Logs a warning at
    /// most once a minute.
    pub fn note_new_refused(&self) {
        if self.rejected_prefixes().note_new_refused(Instant::now()) {
            tracing::warn!(
                credential = %self.shared.name,
                "the gateway refuses new tokens: it returned 401 right after a refresh, or so often that refreshes are \
                 held back; retrying the request with the same token"
            );
        }
    }

    /// A bearer newer than `refused`, which the upstream refused with a 401 of this kind.
    ///
    /// Joins the current exchange. A late 401 gets the newer bearer immediately. While forced
    /// refreshes are held back, all requests wait for the same next one. Cancel safe, like
    /// [`bearer`](Self::bearer).
    ///
    /// # Errors
    /// [`Unavailable`], as for [`bearer`](Self::bearer); immediately if forced refreshes are held
    /// back for longer than `oauth.max_wait`.
    pub async fn replace(&self, refused: &Bearer, kind: Kind) -> Result<Replacement, Unavailable> {
        if let Some(bearer) = self.newer_than(refused) {
            return Ok(Replacement { bearer, fresh: false });
        }
        let refused = refused.revision;
        let is_certain = kind == Kind::Token;
        let held = self.forced_in();
        let outcome = if held > self.shared.max_wait {
            Err(self
                .shared
                .unavailable("the gateway refuses new tokens, so refreshes are held back", Some(held)))
        } else {
            let asked = Instant::now();
            self.ask_within(held, |respond_to| {
                Message::Newer(NewerRequest { refused, is_certain, asked, respond_to })
            })
            .await
        };
        if is_certain && outcome.is_err() {
            // Set immediately, even if the refresher is busy: the next request will get a 401 too.
            self.shared.distrust(refused);
        }
        outcome
    }

    /// A usable bearer that was minted no longer than `max_age` ago. Joins the current exchange.
    /// Cancel safe, like [`bearer`](Self::bearer).
    ///
    /// # Errors
    /// [`Unavailable`], as for [`bearer`](Self::bearer). The current bearer stays in use.
    pub async fn younger(&self, max_age: Duration) -> Result<Bearer, Unavailable> {
        self.ask_within(Duration::ZERO, |respond_to| Message::Younger { max_age, respond_to }).await
    }

    /// Redeems the code of an interactive login. If the user is the same as before, the new tokens
    /// replace the current ones.
    ///
    /// Cancel safe: the exchange goes on without the caller.
    ///
    /// # Errors
    /// [`LoginError`]; the previous tokens stay in use.
    pub async fn redeem_code(&self, login: CodeLogin) -> Result<LoginSummary, LoginError> {
        let login = Box::new(login);
        self.ask(|respond_to| Message::Code { login, respond_to }).await
    }

    /// Starts using the login of another user that [`redeem_code`](Self::redeem_code) held back.
    ///
    /// Cancel safe: the refresher finishes without the caller.
    ///
    /// # Errors
    /// [`LoginError::NothingToConfirm`] if no login with this number is waiting.
    pub async fn confirm(&self, login: u64) -> Result<LoginSummary, LoginError> {
        self.ask(|respond_to| Message::Confirm { login, respond_to }).await
    }

    /// Gets a new token set for an operator.
    ///
    /// Waiting operators share one exchange. At most one exchange begins per second. An exchange is
    /// skipped if every caller has left before it begins.
    ///
    /// # Errors
    /// [`Unavailable`] if no new token set was issued. The login guard applies.
    pub async fn refresh(&self) -> Result<(), Unavailable> {
        let operated = self.shared.operated.load(Ordering::Relaxed);
        self.ask(|respond_to| Message::Refresh { operated, respond_to }).await
    }

    /// Ends every block and pause, so that the next exchange is tried immediately. Returns whether
    /// there was a block or a pause.
    ///
    /// Cancel safe: the refresher finishes without the caller.
    ///
    /// # Errors
    /// [`Unavailable`] if the refresher has ended, or if the stored record or the login history
    /// cannot be read.
    pub async fn unlock(&self) -> Result<bool, Unavailable> {
        self.ask(|respond_to| Message::Unlock { respond_to }).await
    }

    /// Announces that the service will be reset, as a simulator is between two tests.
    ///
    /// Once the reset is confirmed, the credential forgets what it has learned from the service:
    /// tokens, blocks, pauses, 401s, and the logins of its user. Then it gets a new token.
    ///
    /// Requests in flight may still get a 401 for an old token. They then get the new one.
    ///
    /// # Errors
    /// [`Unavailable`] if the refresher has ended.
    pub fn expect_reset(&self) -> Result<PendingReset, Unavailable> {
        let (pending, announced) = reset::announce();
        self.shared.send(Message::Reset(announced))?;
        Ok(pending)
    }

    /// Lets the refresher finish its current exchange and end. Requests are served from the cache
    /// until then.
    pub fn close(&self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        self.shared.mailbox.close();
    }

    /// Sends a message to the refresher and waits for its response, without a time limit.
    async fn ask<T, E: From<Unavailable>>(
        &self,
        message: impl FnOnce(RespondTo<T, E>) -> Message,
    ) -> Result<T, E> {
        let (respond_to, response) = oneshot::channel();
        self.shared.send(message(respond_to))?;
        response.await.unwrap_or_else(|_| Err(self.shared.shutting_down().into()))
    }

    /// Sends a message to the refresher and waits up to `max_wait` for its response. Waits only
    /// [`SHORT_WAIT`] if another request has already timed out on the current exchange.
    ///
    /// `held` is how long the exchange will be held back. A timeout during that time does not
    /// shorten the wait of other requests.
    async fn ask_within<T>(
        &self,
        held: Duration,
        message: impl FnOnce(RespondTo<T>) -> Message,
    ) -> Result<T, Unavailable> {
        let (respond_to, mut response) = oneshot::channel();
        self.shared.send(message(respond_to))?;
        let asked = Instant::now();
        let max_wait = self.shared.max_wait;
        let is_in_vain = || held.is_zero() && self.shared.waited_in_vain.load(Ordering::Relaxed);
        let mut patience = if is_in_vain() { SHORT_WAIT.min(max_wait) } else { max_wait };
        loop {
            match tokio::time::timeout_at(asked + patience, &mut response).await {
                Ok(Ok(outcome)) => return outcome,
                Ok(Err(_)) => return Err(self.shared.shutting_down()),
                // The exchange that timed out has ended, so this wait is for the next one.
                Err(_) if patience < max_wait && !is_in_vain() => patience = max_wait,
                Err(_) => break,
            }
        }
        if held.is_zero() {
            self.shared.waited_in_vain.store(true, Ordering::Relaxed);
        }
        let detail = "the token endpoint has not responded yet; the proxy is still waiting for it";
        Err(self.shared.unavailable(detail, Some(Duration::from_secs(1))))
    }
}
