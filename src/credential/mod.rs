//! One credential, kept fresh.
//!
//! A [`Credential`] is what the proxy holds: a cached read of the current bearer, and two questions it can ask the
//! one task that redeems (`refresher`): "I need one" and "this one was refused". Asking never drives the exchange:
//! a client that hangs up loses nothing, and a thousand askers share one exchange.

mod brake;
mod hold;
mod keeper;
mod ladder;
mod person;
mod refresher;
pub mod refusals;
mod schedule;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderValue;
use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::{Clock, Timestamp};
use crate::config::RefreshAt;
use crate::metrics::Metrics;
use crate::oauth::{Redeem, TokenSet};
use crate::secret::{Secret, fingerprint};
use crate::store::{Issuance, Key, StoreError, TokenStore};
use keeper::Keeper;
pub use person::{CodeLogin, LoggedIn, LoginError};
use refresher::{Ask, Refresher};
use refusals::{Kind, Refusals};

/// How long a request waits for a token where the endpoint is known to be in trouble, and at least where it is not: the
/// proxy is not what anybody should wait for.
const SHORT_WAIT: Duration = Duration::from_millis(800);

/// Questions that may wait for the refresher. Those who asked may be gone; what they asked is not.
const MAILBOX: usize = 32 * 1024;

/// What a credential is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its name.
    pub name: String,
    /// Fingerprint over token URL, client id, user name and scope: an old token set is never used for another.
    pub identity: String,
    /// User name and password, for the password grant.
    pub login: Option<Login>,
    /// A refresh token from elsewhere, used while the store has none.
    pub seed: Option<Secret>,
    /// When to refresh early.
    pub refresh: RefreshAt,
    /// How long a request waits for the first token.
    pub max_wait: Duration,
}

/// A resource owner's login.
#[derive(Debug, Clone)]
pub struct Login {
    /// The user name as the server knows it.
    pub username: String,
    /// The password.
    pub password: Secret,
    /// The scope asked for.
    pub scope: String,
    /// Fingerprint of everything a refusal may be about. It covers the client secret, so that it cannot be used to
    /// guess a weak password.
    pub fingerprint: String,
}

impl Login {
    /// A login of `username`, for the application with this id and secret.
    pub fn new(
        username: String,
        password: Secret,
        scope: String,
        client_id: &str,
        client_secret: &Secret,
    ) -> Self {
        let parts = [client_id, client_secret.expose(), &username, password.expose()];
        let fingerprint = fingerprint(&parts);
        Self { username, password, scope, fingerprint }
    }
}

/// What one request sends.
#[derive(Clone)]
pub struct Bearer {
    /// `Bearer …`, marked sensitive; made once per token.
    pub value: HeaderValue,
    /// The revision of the token set it came with.
    pub revision: u64,
    /// Never sent after this.
    pub expires_at: Timestamp,
    /// From here on, reading it asks for the next one.
    refresh_at: Timestamp,
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bearer").field("revision", &self.revision).finish_non_exhaustive()
    }
}

/// A bearer newer than a refused one.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// The newer one.
    pub bearer: Bearer,
    /// Minted after the refusal was reported; otherwise it was there already (the 401 was a late one).
    pub fresh: bool,
}

/// There is no usable token.
#[derive(Clone, Debug, Error)]
#[error("no usable token for credential {credential}: {detail}")]
pub struct Unavailable {
    /// Which credential.
    pub credential: String,
    /// Why, and what to do about it; for people, without secrets.
    pub detail: String,
    /// When it makes sense to ask again.
    pub retry_after: Option<Duration>,
}

/// The state of a credential, for the status page and `/ready`.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Whether a token is usable now: it lives, and the gateway does not refuse it.
    pub usable: bool,
    /// Whether the gateway refuses the current token, and no newer one could be had yet.
    pub distrusted: bool,
    /// The revision of the current token set; 0 without one.
    pub revision: u64,
    /// When the current access token was received.
    pub issued_at: Option<Timestamp>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When the next exchange is planned.
    pub next_attempt: Option<Timestamp>,
    /// What is wrong, and what to do; `None` when all is well.
    pub trouble: Option<String>,
    /// Whether the login brake is on.
    pub brake: bool,
    /// Whether a person has to log in.
    pub login_needed: bool,
    /// Whether the latest token set could not be stored.
    pub unsaved: bool,
    /// Exchanges with the token endpoint in this process.
    pub exchanges: u64,
    /// Whose tokens these are, where the server has said so.
    pub subject: Option<String>,
    /// The scope that was granted, where the server has said so.
    pub scope: Option<String>,
    /// When a person has to log in at the latest, if the refresh token is not renewed before; `None` where the proxy can
    /// log in by itself.
    pub login_needed_by: Option<Timestamp>,
    /// How the server issues a second token set, as far as it has been seen.
    pub issuance: Option<Issuance>,
}

/// The handle. Cheap to clone; the last one dropped ends the refresher.
#[derive(Clone)]
pub struct Credential {
    shared: Arc<Shared>,
    mailbox: mpsc::Sender<Ask>,
}

struct Shared {
    name: String,
    clock: Clock,
    max_wait: Duration,
    published: RwLock<Option<Bearer>>,
    /// Counts publications, so that a reader sees with one load whether its copy is current.
    epoch: AtomicU64,
    /// Whether the early refresh of this publication has been asked for.
    nudged: AtomicBool,
    /// How long a successful exchange last took, in milliseconds; 0 before the first.
    usual: AtomicU64,
    /// Whether an exchange has failed, or a request has waited in vain, since the last token.
    in_trouble: AtomicBool,
    closing: AtomicBool,
    snapshot: Mutex<Snapshot>,
    refusals: Mutex<Refusals>,
}

impl Credential {
    /// Loads what the store knows and starts the refresher on the current runtime.
    ///
    /// The returned task ends after [`close`](Self::close), or when every handle is gone; an exchange under way is
    /// always finished and stored first.
    ///
    /// # Errors
    /// When the store cannot be read; nothing has been changed then.
    pub async fn start<R: Redeem>(
        options: Options,
        endpoint: R,
        store: Arc<dyn TokenStore>,
        clock: Clock,
        metrics: &Arc<Metrics>,
    ) -> Result<(Self, JoinHandle<()>), StoreError> {
        let key = Key { credential: options.name.clone(), identity: options.identity.clone() };
        let keeper = Keeper::load(store, key).await?;
        let shared = Arc::new(Shared {
            name: options.name.clone(),
            clock: clock.clone(),
            max_wait: options.max_wait,
            published: RwLock::new(None),
            epoch: AtomicU64::new(0),
            nudged: AtomicBool::new(false),
            usual: AtomicU64::new(0),
            in_trouble: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            snapshot: Mutex::default(),
            refusals: Mutex::default(),
        });
        let (mailbox, inbox) = mpsc::channel(MAILBOX);
        let parts = refresher::Parts { options, endpoint, clock, inbox };
        let refresher = Refresher::new(parts, keeper, Arc::clone(&shared), metrics);
        let task = tokio::spawn(refresher.run());
        Ok((Self { shared, mailbox }, task))
    }

    /// The credential's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Its state now.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.shared.snapshot.lock().clone();
        let now = self.shared.clock.now();
        let alive = self.shared.published.read().as_ref().is_some_and(|bearer| bearer.expires_at > now);
        snapshot.usable = alive && !snapshot.distrusted;
        snapshot
    }

    /// A reader with a copy of its own, for one thread's requests.
    pub fn reader(&self) -> Reader {
        Reader { credential: self.clone(), epoch: 0, bearer: None }
    }

    /// The memory of 401s that a fresh token did not cure.
    pub fn refusals(&self) -> parking_lot::MutexGuard<'_, Refusals> {
        self.shared.refusals.lock()
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
        if let Some(bearer) = self.shared.published.read().clone().filter(|bearer| bearer.expires_at > now) {
            return Ok(bearer);
        }
        // Once the endpoint has answered, a few times what it took.
        let usual = Duration::from_millis(self.shared.usual.load(Ordering::Relaxed));
        let patience = if usual.is_zero() { self.shared.max_wait } else { SHORT_WAIT.max(usual * 3) };
        self.ask(patience, |reply| Ask::Usable { reply }).await
    }

    /// A usable bearer newer than `refused`, if there is one already.
    pub fn newer_than(&self, refused: &Bearer) -> Option<Bearer> {
        let current = self.shared.published.read().clone()?;
        (current.revision > refused.revision && current.expires_at > self.shared.clock.now())
            .then_some(current)
    }

    /// A bearer newer than `refused`, which the upstream did not accept for a reason of this kind. Joins an exchange under way; a 401 that
    /// comes late gets the newer bearer at once.
    ///
    /// Cancel safe, as [`bearer`](Self::bearer).
    ///
    /// # Errors
    /// [`Unavailable`], as [`bearer`](Self::bearer).
    pub async fn replace(&self, refused: &Bearer, kind: Kind) -> Result<Replacement, Unavailable> {
        if let Some(bearer) = self.newer_than(refused) {
            return Ok(Replacement { bearer, fresh: false });
        }
        let (refused, certain, asked) = (refused.revision, kind == Kind::Token, Instant::now());
        self.ask(self.shared.max_wait, |reply| Ask::Newer { refused, certain, asked, reply }).await
    }

    /// Redeems an authorization code that a person brought, and takes what it gives into use, if it is the same user's as
    /// before.
    ///
    /// Cancel safe: the exchange does not depend on who waits for it.
    ///
    /// # Errors
    /// [`LoginError`]; the tokens there were are still there.
    pub async fn redeem_code(&self, login: CodeLogin) -> Result<LoggedIn, LoginError> {
        let _ = login;
        Err(LoginError::Unavailable("not there yet".into()))
    }

    /// Takes the login of another user into use that [`redeem_code`](Self::redeem_code) held back.
    ///
    /// # Errors
    /// [`LoginError::NothingToConfirm`] when there is none of this number, or not any more.
    pub async fn confirm(&self, login: u64) -> Result<LoggedIn, LoginError> {
        let _ = login;
        Err(LoginError::NothingToConfirm)
    }

    /// Gets a new token set now, as an operator asked for. Joins an exchange under way.
    ///
    /// # Errors
    /// [`Unavailable`], as [`bearer`](Self::bearer).
    pub async fn refresh(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    /// Lifts the login brake, and forgets what made an exchange be held back: the next one is tried at once. Says whether
    /// the brake was on.
    ///
    /// # Errors
    /// [`Unavailable`] when the refresher does not answer.
    pub async fn unlock(&self) -> Result<bool, Unavailable> {
        Ok(false)
    }

    /// Lets the refresher finish what it does and end. Later questions are answered with what is cached.
    pub fn close(&self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        // Where the mailbox is full the flag is seen behind the question being answered.
        let _ = self.mailbox.try_send(Ask::Close);
    }

    async fn ask<T>(
        &self,
        patience: Duration,
        ask: impl FnOnce(oneshot::Sender<Result<T, Unavailable>>) -> Ask,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let unavailable = |detail: &str, retry_after| Unavailable {
            credential: self.shared.name.clone(),
            detail: detail.to_owned(),
            retry_after,
        };
        match self.mailbox.try_send(ask(reply)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Err(unavailable("too many requests wait for a token", Some(Duration::from_secs(1))));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                return Err(unavailable("the proxy is shutting down", Some(Duration::from_secs(5))));
            }
        }
        let in_trouble = self.shared.in_trouble.load(Ordering::Relaxed);
        let patience = if in_trouble { SHORT_WAIT } else { patience }.min(self.shared.max_wait);
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(unavailable("the proxy is shutting down", Some(Duration::from_secs(5)))),
            Err(_) => {
                self.shared.in_trouble.store(true, Ordering::Relaxed);
                let detail = "the token endpoint has not answered yet; the exchange goes on";
                Err(unavailable(detail, Some(Duration::from_secs(1))))
            }
        }
    }
}

/// Reads the bearer for one thread: an atomic load and a clock reading while nothing changes.
pub struct Reader {
    credential: Credential,
    epoch: u64,
    bearer: Option<Bearer>,
}

impl Reader {
    /// The credential behind it.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The current bearer, if one is usable. Past its refresh time it also asks for the next one, once, which
    /// makes up for timers that slept through a suspended machine.
    pub fn cached(&mut self) -> Option<&Bearer> {
        let shared = &self.credential.shared;
        let epoch = shared.epoch.load(Ordering::Acquire);
        if epoch != self.epoch {
            self.bearer.clone_from(&shared.published.read());
            self.epoch = epoch;
        }
        let bearer = self.bearer.as_ref()?;
        let now = shared.clock.now();
        if now >= bearer.refresh_at && !shared.nudged.swap(true, Ordering::Relaxed) {
            let _ = self.credential.mailbox.try_send(Ask::Early);
        }
        (now < bearer.expires_at).then_some(bearer)
    }
}

impl Shared {
    fn publish(&self, tokens: &TokenSet, revision: u64, refresh_at: Timestamp) {
        // The endpoint's reader has made sure that the token is a legal field value.
        let Some(value) = tokens.access_token.header_value() else {
            tracing::error!(credential = %self.name, "the access token is not a legal header value");
            return;
        };
        let bearer = Bearer { value, revision, expires_at: tokens.expires_at, refresh_at };
        *self.published.write() = Some(bearer);
        self.nudged.store(false, Ordering::Relaxed);
        self.in_trouble.store(false, Ordering::Relaxed);
        self.epoch.fetch_add(1, Ordering::Release);
    }
}
