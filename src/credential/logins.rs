//! The brakes of logins, shared by all credentials of a process.
//!
//! It is a user's account that the service locks, and several credentials may log in as the same user, or one of them
//! under several identities over time. So each user has one brake with a record of its own in the store, and one login
//! at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::SignedDuration;
use parking_lot::Mutex;
use tokio::sync::{Mutex as Turns, MutexGuard};
use tokio::time::Instant;

use super::Login;
use super::brake::{self, Permit};
use super::keeper::{Keeper, set_aside};
use crate::clock::{self, Clock, Timestamp};
use crate::random;
use crate::secret::{Secret, fingerprint, hex, salted_fingerprint};
use crate::store::{BrakeRecord, Key, StoreError, TokenStore};

/// A wall clock that fell behind by no more than this was not set back.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// Notices that the wall clock was set back, by comparing it with the one that only moves ahead. A clock that was set
/// ahead cannot be told from a machine that was suspended; there, time has passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockWatch {
    wall: Timestamp,
    monotonic: Instant,
}

impl ClockWatch {
    pub(super) fn new(clock: &Clock) -> Self {
        Self { wall: clock.now(), monotonic: Instant::now() }
    }

    /// By how much the clock was set back since the last look, if it was.
    pub(super) fn set_back(&mut self, clock: &Clock) -> Option<SignedDuration> {
        let now = Self::new(clock);
        let passed = SignedDuration::try_from(now.monotonic - self.monotonic).unwrap_or(SignedDuration::MAX);
        let back = passed.saturating_sub(now.wall.duration_since(self.wall));
        *self = now;
        (back > TOLERANCE).then_some(back)
    }
}

/// What the service appends to a user name; without it, it is the same user.
const SUFFIX: &str = "@vbc.prod";

/// A user name in the one spelling that stands for all: neither case nor suffix make another
/// account.
fn canonical_user(username: &str) -> String {
    let lower = username.to_lowercase();
    format!("{}{SUFFIX}", lower.trim_end_matches(SUFFIX))
}

/// Where the store has what is known of logins as this user.
pub fn login_key(username: &str) -> Key {
    let identity = fingerprint(&["login", &canonical_user(username)]);
    Key { credential: format!("@login-{identity}").into(), identity: identity.into() }
}

/// All brakes of a process, by user.
pub struct Logins {
    records: Arc<Records>,
    by_user: Mutex<HashMap<Arc<str>, Arc<LoginBrake>>>,
}

/// Where the records of all brakes are, and the clock they go by.
struct Records {
    store: Arc<dyn TokenStore>,
    clock: Clock,
}

impl std::fmt::Debug for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logins").field("users", &self.by_user.lock().len()).finish_non_exhaustive()
    }
}

impl Logins {
    /// Brakes whose records are kept in `store`. Nothing is read before the first login.
    pub fn new(store: Arc<dyn TokenStore>, clock: Clock) -> Arc<Self> {
        Arc::new(Self { records: Arc::new(Records { store, clock }), by_user: Mutex::default() })
    }

    /// Makes a login known, so that what is learnt of its password counts for it from the start. Called for every
    /// credential before the first of them may log in.
    pub fn announce(&self, login: &Login) {
        let _ = self.seat(login);
    }

    /// The seat of a credential with this login at its user's brake.
    pub(super) fn seat(&self, login: &Login) -> Seat {
        let user: Arc<str> = canonical_user(&login.username).into();
        let brake = {
            let mut by_user = self.by_user.lock();
            let brake = by_user.entry(Arc::clone(&user)).or_insert_with(|| Arc::new(self.brake(user)));
            Arc::clone(brake)
        };
        let mut members = brake.members.lock();
        members.reserve_exact(1);
        if !members.iter().any(|member| member.fingerprint == login.fingerprint) {
            members.push(Member {
                fingerprint: login.fingerprint.clone(),
                password: login.password.clone(),
                salted: None,
            });
        }
        drop(members);
        Seat { brake, fingerprint: login.fingerprint.clone() }
    }

    fn brake(&self, user: Arc<str>) -> LoginBrake {
        let watch = ClockWatch::new(&self.records.clock);
        LoginBrake {
            user,
            records: Arc::clone(&self.records),
            members: Mutex::default(),
            known: Mutex::new(Known { record: BrakeRecord::default(), watch, read: false }),
            unsaved: AtomicBool::new(false),
            trouble: Mutex::default(),
            turn: Turns::new(()),
        }
    }
}

/// The brake of one user.
struct LoginBrake {
    user: Arc<str>,
    records: Arc<Records>,
    members: Mutex<Vec<Member>>,
    known: Mutex<Known>,
    /// The store does not have what is known.
    unsaved: AtomicBool,
    /// What is wrong with the record, if anything is.
    trouble: Mutex<Option<Trouble>>,
    /// Whose turn it is to log in.
    turn: Turns<()>,
}

/// A login secret of one of the credentials.
struct Member {
    fingerprint: Arc<str>,
    password: Secret,
    /// The salted fingerprint of user name and password, once it was needed.
    salted: Option<Arc<str>>,
}

/// Why the store does not do its part for a brake.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// The stored record cannot be read, and no login is made until an operator has lifted the brake.
    Unreadable(String),
    /// Reading or writing failed; it is tried again.
    Failed(String),
}

/// What is known without waiting for a turn.
struct Known {
    record: BrakeRecord,
    watch: ClockWatch,
    /// The record in the store has been read.
    read: bool,
}

impl LoginBrake {
    /// Reads or changes what is known, with its times moved along if the clock was set back.
    fn known<T>(&self, look: impl FnOnce(&mut BrakeRecord, Timestamp) -> T) -> T {
        let mut known = self.known.lock();
        let Known { record, watch, .. } = &mut *known;
        if let Some(back) = watch.set_back(&self.records.clock) {
            let trials = record.trials.iter_mut().map(|trial| &mut trial.at);
            let times = [&mut record.locked_until, &mut record.last_attempt].into_iter().flatten();
            for at in times.chain(trials) {
                *at = at.saturating_sub(back).unwrap_or(*at);
            }
        }
        look(record, self.records.clock.now())
    }

    /// Reads the record of the store, the first time; what is known from then on is at least that. Gives what it takes to
    /// write it.
    async fn read(&self) -> Result<Keeper, StoreError> {
        let (store, key) = (Arc::clone(&self.records.store), login_key(&self.user));
        let keeper = match Keeper::load(Arc::clone(&store), key.clone()).await {
            // Somebody deleted the record, or put an older one there. What is known here is newer.
            Err(StoreError::Meddled { written, .. }) if self.known.lock().read => {
                Ok(Keeper::written(store, key, written))
            }
            loaded => loaded,
        };
        let mut trouble = self.trouble.lock();
        match &keeper {
            Err(error) if error.is_of_record() => *trouble = Some(Trouble::Unreadable(error.describe())),
            Err(error) => *trouble = Some(Trouble::Failed(error.describe())),
            Ok(_) if !self.unsaved.load(Ordering::Relaxed) => *trouble = None,
            Ok(_) => {}
        }
        drop(trouble);
        let keeper = keeper?;
        let first = !std::mem::replace(&mut self.known.lock().read, true);
        if first {
            self.known(|record, now| {
                if let Some(stored) = &keeper.record.brake {
                    brake::absorb(record, stored);
                }
                // A clock that was set back between two lives must not stretch a lock; nor may it shorten one.
                let longest = clock::after(now, brake::LOCK);
                record.locked_until = record.locked_until.map(|at| at.min(longest));
                record.last_attempt = record.last_attempt.map(|at| at.min(now));
                record.trials.iter_mut().for_each(|trial| trial.at = trial.at.min(now));
            });
        }
        Ok(keeper)
    }

    /// Writes what is known, unless the store has it.
    async fn save(&self) -> Result<(), StoreError> {
        let mut keeper = self.read().await?;
        let known = self.known(|record, _| record.clone()).into_kept();
        if keeper.record.brake != known {
            keeper.record.brake = known;
            keeper.save().await;
        }
        self.unsaved.store(keeper.unsaved(), Ordering::Relaxed);
        *self.trouble.lock() = keeper.trouble().map(|reason| Trouble::Failed(reason.to_owned()));
        Ok(())
    }

    /// Every fingerprint of the secret with this one: the given one, those under which other
    /// credentials would send the same password, and the salted one, if it is known.
    fn same_secret(&self, fingerprint: &str) -> Vec<String> {
        let members = self.members.lock();
        let own = members.iter().find(|member| *member.fingerprint == *fingerprint);
        let others = members.iter().filter(|member| {
            *member.fingerprint != *fingerprint && own.is_some_and(|own| own.password == member.password)
        });
        let salted = own.and_then(|own| own.salted.as_deref()).map(str::to_owned);
        std::iter::once(fingerprint.to_owned())
            .chain(others.map(|member| member.fingerprint.to_string()))
            .chain(salted)
            .collect()
    }

    /// Makes the salted fingerprint of a secret known. It recognizes a password that another
    /// application sent: one whose credential came later, or whose client secret has changed.
    /// `salt` is for a record that has none.
    async fn salt(&self, fingerprint: &str, salt: Option<String>) {
        let stored = self.known(|record, _| brake::salt(record).map(str::to_owned));
        let (salt, password) = {
            let members = self.members.lock();
            let used = || members.iter().find_map(|member| brake::salt_of(member.salted.as_deref()?));
            let Some(salt) = stored.or_else(|| used().map(str::to_owned)).or(salt) else { return };
            let own = members.iter().find(|member| *member.fingerprint == *fingerprint);
            let Some(Member { password, salted, .. }) = own else { return };
            if salted.as_deref().and_then(brake::salt_of) == Some(&*salt) {
                return;
            }
            (salt, password.clone())
        };
        let (user, secret) = (Arc::clone(&self.user), password.clone());
        let derive = move || brake::salted(&salt, &salted_fingerprint(&salt, &[&user, secret.expose()]));
        // It fails where the runtime ends; then no login follows.
        let Ok(salted) = tokio::task::spawn_blocking(derive).await else { return };
        let salted: Arc<str> = salted.into();
        let mut members = self.members.lock();
        for member in members.iter_mut().filter(|member| member.password == password) {
            member.salted = Some(Arc::clone(&salted));
        }
    }
}

/// A credential's place at its user's brake.
#[derive(Clone)]
pub(super) struct Seat {
    brake: Arc<LoginBrake>,
    fingerprint: Arc<str>,
}

impl Seat {
    /// Whether a login may be tried, as far as is known without asking the store.
    pub(super) fn permit(&self) -> Permit {
        if self.brake.known(|record, _| brake::is_clear(record)) {
            return Permit::Allowed;
        }
        let secret = self.brake.same_secret(&self.fingerprint);
        self.brake.known(|record, now| brake::permit(record, &secret, now))
    }

    /// Reads what the store knows, so that it counts from the start.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) async fn read(&self) -> Result<(), StoreError> {
        self.brake.read().await?;
        if !self.brake.known(|record, _| brake::is_clear(record)) {
            self.brake.salt(&self.fingerprint, None).await;
        }
        Ok(())
    }

    /// What is wrong with the record in the store, if anything is.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.brake.trouble.lock().clone()
    }

    /// Whether the record in the store cannot be read, as far as is known.
    pub(super) fn is_unreadable(&self) -> bool {
        matches!(*self.brake.trouble.lock(), Some(Trouble::Unreadable(_)))
    }

    /// Moves a record that cannot be read out of the way, as an operator asked for who answers for the account.
    ///
    /// # Errors
    /// When it could not be moved.
    pub(super) async fn set_aside(&self, reason: &str) -> Result<(), StoreError> {
        set_aside(&*self.brake.records.store, &login_key(&self.brake.user), reason).await
    }

    /// Whether the store is behind.
    pub(super) fn is_unsaved(&self) -> bool {
        self.brake.unsaved.load(Ordering::Relaxed)
    }

    /// Tries again to write what the store does not have.
    pub(super) async fn save_if_unsaved(&self) {
        if self.is_unsaved() {
            let _turn = self.brake.turn.lock().await;
            let _ = self.brake.save().await;
        }
    }

    /// Waits for the turn: nobody else's login, and no other change of the brake, is under way then.
    pub(super) async fn turn(&self) -> Turn<'_> {
        Turn {
            _turn: self.brake.turn.lock().await,
            brake: &self.brake,
            fingerprint: &self.fingerprint,
            tried_at: None,
        }
    }
}

/// Why no login may begin.
pub(super) enum Refusal {
    Permit(Permit),
    /// It cannot be read or written what is known of earlier logins, without which none is safe.
    Store(String),
    /// The record of earlier logins is damaged, or no key opens it.
    Record(StoreError),
}

/// One login, or another change of the brake.
pub(super) struct Turn<'a> {
    _turn: MutexGuard<'a, ()>,
    brake: &'a LoginBrake,
    fingerprint: &'a str,
    /// When the secret was tried before the login that was begun.
    tried_at: Option<Timestamp>,
}

impl Turn<'_> {
    /// Notes in the store that a login is about to be sent.
    ///
    /// # Errors
    /// The permit that is not one; or that it could not be noted. A login whose secret has worked before needs no such
    /// note: it does not count towards the lock.
    pub(super) async fn begin(&mut self) -> Result<(), Refusal> {
        let unread = |error: StoreError| match error.is_of_record() {
            true => Refusal::Record(error),
            false => Refusal::Store(error.describe()),
        };
        self.brake.read().await.map_err(unread)?;
        // It takes tens of milliseconds, which a first login need not wait for: nothing is known
        // that it could match.
        if !self.brake.known(|record, _| brake::is_clear(record)) {
            self.salt().await;
        }
        let secret = self.brake.same_secret(self.fingerprint);
        let (before, permit) =
            self.brake.known(|record, now| (record.clone(), brake::permit(record, &secret, now)));
        if permit != Permit::Allowed {
            return Err(Refusal::Permit(permit));
        }
        let proven = brake::is_proven(&before, &secret);
        self.tried_at = brake::tried_at(&before, &secret);
        self.note(brake::begin).await.map_err(unread)?;
        if self.brake.unsaved.load(Ordering::Relaxed) && !proven {
            let why = match self.brake.trouble.lock().clone() {
                Some(Trouble::Failed(reason) | Trouble::Unreadable(reason)) => format!(": {reason}"),
                None => String::new(),
            };
            // It is not made, so there is nothing to be noted.
            self.note(|record, _, _| *record = before).await.map_err(unread)?;
            return Err(Refusal::Store(format!("the attempt cannot be noted in the token store{why}")));
        }
        Ok(())
    }

    /// The login failed, and may have been refused. From now on its password is recognized,
    /// whatever application comes to send it.
    ///
    /// # Errors
    /// As [`note`](Self::note).
    pub(super) async fn recognize(&mut self) -> Result<(), StoreError> {
        self.salt().await;
        self.note(brake::recognize).await
    }

    async fn salt(&self) {
        self.brake.salt(self.fingerprint, Some(hex(&random::bytes::<16>()))).await;
    }

    /// Changes what is known, given the fingerprints under which the same secret would be sent, and stores it.
    ///
    /// # Errors
    /// When the record cannot be read; a failed write is tried again later.
    pub(super) async fn note(
        &mut self,
        change: impl FnOnce(&mut BrakeRecord, &[String], Timestamp),
    ) -> Result<(), StoreError> {
        let secret = self.brake.same_secret(self.fingerprint);
        self.brake.known(|record, now| change(record, &secret, now));
        self.brake.save().await
    }

    /// The application was refused instead of the login, or there is no such URL.
    ///
    /// # Errors
    /// As [`note`](Self::note).
    pub(super) async fn misconfigured(&mut self) -> Result<(), StoreError> {
        let tried_at = self.tried_at;
        self.note(move |record, secret, _| brake::misconfigured(record, secret, tried_at)).await
    }

    /// Whether the store has it.
    pub(super) fn is_saved(&self) -> bool {
        !self.brake.unsaved.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
#[path = "logins_tests.rs"]
mod tests;
