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
use super::{Bearer, Options, Replacement, Shared, Unavailable};
use crate::clock::{self, Clock, Timestamp};
use crate::config::RefreshAt;
use crate::metrics::{CredentialGauges, Metrics};
use crate::oauth::Redeem;
use crate::random;

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
    pub(super) inbox: mpsc::Receiver<Ask>,
}

pub(super) struct Refresher<R> {
    pub(super) parts: Parts<R>,
    pub(super) shared: Arc<Shared>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) gauges: CredentialGauges,
    pub(super) keeper: Keeper,
    /// The revision that the token set came with.
    pub(super) token_revision: u64,
    /// The gateway refuses tokens up to this revision. Until there is a newer one, the current is not counted as
    /// usable, and a replacement is due.
    pub(super) distrusted: u64,
    pub(super) refresh_at: Timestamp,
    pub(super) published_at: Option<Instant>,
    pub(super) backoff: Backoff,
    pub(super) hold: Option<Hold>,
    pub(super) trouble: Option<String>,
    pub(super) exchanges: u64,
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
        while !self.shared.closing.load(Ordering::Relaxed) {
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
        self.report();
        outcome
    }

    async fn save_if_unsaved(&mut self) {
        if self.keeper.unsaved() {
            self.keeper.write().await;
            self.report();
        }
    }

    pub(super) fn held(&self, hold: &Hold, now: Timestamp) -> Unavailable {
        let (detail, retry_after) = hold.describe(now);
        self.unavailable(&detail, retry_after)
    }

    pub(super) fn login_permit(&self, now: Timestamp) -> Option<Permit> {
        let login = self.parts.options.login.as_ref()?;
        Some(brake::permit(&self.keeper.record.brake, &login.fingerprint, now))
    }

    pub(super) fn unavailable(&self, detail: &str, retry_after: Option<Duration>) -> Unavailable {
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

    pub(super) fn alive(&self) -> bool {
        self.keeper.record.tokens.as_ref().is_some_and(|tokens| tokens.expires_at > self.now())
    }

    /// Alive, and not refused by the gateway.
    pub(super) fn trusted(&self) -> bool {
        self.alive() && self.token_revision > self.distrusted
    }

    pub(super) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    pub(super) fn publish(&mut self) {
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
