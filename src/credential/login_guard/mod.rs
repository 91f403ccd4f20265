//! Keeps logins from locking a user's account.
//!
//! The service locks a user's account, and several credentials may log in as the same user. So each
//! user has one guard with its own record in the store, and makes one login at a time. `rules` has
//! the rules; operators know the guard as the login brake.

mod permit;
mod rules;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::clock_watch::{ClockWatch, earlier};
use super::options::Login;
use super::record::StoredRecord;
use crate::store::{Key, LoginHistory, Record, StoreError, TokenStore};
pub(super) use permit::{BeginError, LoginPermit};
pub(super) use rules::{LOCK, LoginDecision};
use vbc_base::clock::{self, Clock, Timestamp};
use vbc_base::secret::{Secret, fingerprint, salted_fingerprint};

/// The tenant that the service appends to a user name. It may be missing.
const SUFFIX: &str = "@vbc.prod";

/// The canonical spelling of a user name. Case and tenant do not distinguish accounts.
fn canonical_user(username: &str) -> String {
    let lower = username.to_lowercase();
    format!("{}{SUFFIX}", lower.trim_end_matches(SUFFIX))
}

/// The store's key for the login history of this user.
pub fn login_key(username: &str) -> Key {
    let identity = fingerprint(&["login", &canonical_user(username)]);
    Key { credential: format!("@login-{identity}").into(), identity: identity.into() }
}

/// The guards of all users.
pub struct LoginGuards {
    store: Arc<dyn TokenStore>,
    clock: Clock,
    by_user: Mutex<HashMap<Arc<str>, Arc<LoginGuard>>>,
}

impl std::fmt::Debug for LoginGuards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginGuards").field("users", &self.by_user.lock().len()).finish_non_exhaustive()
    }
}

impl LoginGuards {
    /// Guards with records in `store`. Nothing is read yet.
    pub fn new(store: Arc<dyn TokenStore>, clock: Clock) -> Arc<Self> {
        Arc::new(Self { store, clock, by_user: Mutex::default() })
    }

    /// Registers a login, so that outcomes of the same password under other credentials count for
    /// this login too. Call it for every credential before the first one may log in.
    pub fn announce(&self, login: &Login) {
        let _ = self.permit(login);
    }

    /// The permit of a credential that has this login.
    pub(super) fn permit(&self, login: &Login) -> LoginPermit {
        let user: Arc<str> = canonical_user(&login.username).into();
        let guard = {
            let mut by_user = self.by_user.lock();
            let guard = by_user.entry(Arc::clone(&user)).or_insert_with(|| Arc::new(self.guard(user)));
            Arc::clone(guard)
        };
        let mut secrets = guard.secrets.lock();
        secrets.reserve_exact(1);
        if !secrets.iter().any(|secret| secret.fingerprint == login.fingerprint) {
            secrets.push(LoginSecret {
                fingerprint: login.fingerprint.clone(),
                password: login.password.clone(),
                salted: None,
            });
        }
        drop(secrets);
        LoginPermit::new(guard, login.fingerprint.clone())
    }

    fn guard(&self, user: Arc<str>) -> LoginGuard {
        let watch = ClockWatch::new(&self.clock);
        LoginGuard {
            user,
            store: Arc::clone(&self.store),
            clock: self.clock.clone(),
            secrets: Mutex::default(),
            memory: Mutex::new(Memory { history: LoginHistory::default(), watch, was_read: false }),
            unsaved: AtomicBool::new(false),
            trouble: Mutex::default(),
            turn: AsyncMutex::new(()),
        }
    }
}

struct LoginGuard {
    user: Arc<str>,
    store: Arc<dyn TokenStore>,
    clock: Clock,
    secrets: Mutex<Vec<LoginSecret>>,
    memory: Mutex<Memory>,
    /// Whether the store lacks the latest history.
    unsaved: AtomicBool,
    /// The store's last failure.
    trouble: Mutex<Option<Trouble>>,
    /// Held during a login.
    turn: AsyncMutex<()>,
}

struct LoginSecret {
    fingerprint: Arc<str>,
    password: Secret,
    /// The salted fingerprint of user name and password. Computed when it is first needed.
    salted: Option<Arc<str>>,
}

/// Why a guard cannot use its stored record.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// The stored record cannot be read. No login is made until an operator unlocks.
    Unreadable(String),
    /// Reading or writing failed. The operation is retried.
    Failed(String),
}

/// The user's login history, as far as it is known without reading the store.
struct Memory {
    history: LoginHistory,
    watch: ClockWatch,
    /// Whether the store's record has been read.
    was_read: bool,
}

impl LoginGuard {
    /// Reads or changes the history. Its times are moved first if the clock was set back.
    fn with_history<T>(&self, access: impl FnOnce(&mut LoginHistory, Timestamp) -> T) -> T {
        let mut memory = self.memory.lock();
        let Memory { history, watch, .. } = &mut *memory;
        if let Some(back) = watch.set_back(&self.clock) {
            let trials = history.trials.iter_mut().map(|trial| &mut trial.at);
            let times = [&mut history.locked_until, &mut history.last_attempt].into_iter().flatten();
            times.chain(trials).for_each(|at| *at = earlier(*at, back));
        }
        access(history, self.clock.now())
    }

    /// Whether the history allows every login, with any secret.
    fn is_clear(&self) -> bool {
        self.with_history(|history, _| rules::is_clear(history))
    }

    /// Loads the record, and merges it into the history the first time.
    async fn read(&self) -> Result<StoredRecord, StoreError> {
        let (store, key) = (Arc::clone(&self.store), login_key(&self.user));
        let stored = match StoredRecord::load(Arc::clone(&store), key.clone()).await {
            // The record was deleted, or replaced by an older one. The memory is newer.
            Err(StoreError::Meddled { written, .. }) if self.memory.lock().was_read => {
                Ok(StoredRecord::new(store, key, Record { revision: written, ..Record::default() }))
            }
            loaded => loaded,
        };
        let mut trouble = self.trouble.lock();
        match &stored {
            Err(error) if error.is_of_record() => *trouble = Some(Trouble::Unreadable(error.describe())),
            Err(error) => *trouble = Some(Trouble::Failed(error.describe())),
            Ok(_) if !self.unsaved.load(Ordering::Relaxed) => *trouble = None,
            Ok(_) => {}
        }
        drop(trouble);
        let stored = stored?;
        let was_read = std::mem::replace(&mut self.memory.lock().was_read, true);
        if !was_read {
            self.with_history(|history, now| {
                if let Some(known) = &stored.record.login_history {
                    rules::absorb(history, known);
                }
                // A clock that was set back between two runs neither extends a lock nor shortens
                // it.
                let longest = clock::after(now, LOCK);
                history.locked_until = history.locked_until.map(|at| at.min(longest));
                history.last_attempt = history.last_attempt.map(|at| at.min(now));
                history.trials.iter_mut().for_each(|trial| trial.at = trial.at.min(now));
            });
        }
        Ok(stored)
    }

    /// Writes the history, unless the store has it.
    async fn save(&self) -> Result<(), StoreError> {
        let mut stored = self.read().await?;
        let history = self.with_history(|history, _| history.clone()).into_kept();
        if stored.record.login_history != history {
            stored.record.login_history = history;
            stored.save().await;
        }
        self.unsaved.store(stored.is_unsaved(), Ordering::Relaxed);
        *self.trouble.lock() = stored.unwritable().map(|reason| Trouble::Failed(reason.to_owned()));
        Ok(())
    }

    /// All fingerprints of the secret with this fingerprint. Under another credential the same
    /// password has another fingerprint. The salted fingerprint is included if it is known.
    fn fingerprints(&self, fingerprint: &str) -> Vec<String> {
        let secrets = self.secrets.lock();
        let own = secrets.iter().find(|secret| *secret.fingerprint == *fingerprint);
        let mut all = vec![fingerprint.to_owned()];
        if let Some(own) = own {
            let same = secrets
                .iter()
                .filter(|secret| *secret.fingerprint != *fingerprint && secret.password == own.password);
            all.extend(same.map(|secret| secret.fingerprint.to_string()));
            all.extend(own.salted.as_deref().map(str::to_owned));
        }
        all
    }

    /// Computes the salted fingerprint of a secret. The salted fingerprint covers only user name
    /// and password. So a password is recognized if another application sent it or if the client
    /// secret has changed. `new_salt` is used if the history has no salt.
    async fn add_salted_fingerprint(&self, fingerprint: &str, new_salt: Option<String>) {
        let stored = self.with_history(|history, _| rules::salt(history).map(str::to_owned));
        let (salt, password) = {
            let secrets = self.secrets.lock();
            let used = || secrets.iter().find_map(|secret| rules::salt_of(secret.salted.as_deref()?));
            let salt = stored.or_else(|| used().map(str::to_owned)).or(new_salt);
            let own = secrets.iter().find(|secret| *secret.fingerprint == *fingerprint);
            let (Some(salt), Some(LoginSecret { password, salted, .. })) = (salt, own) else { return };
            if salted.as_deref().and_then(rules::salt_of) == Some(&*salt) {
                return;
            }
            (salt, password.clone())
        };
        let (user, secret) = (Arc::clone(&self.user), password.clone());
        let derive = move || rules::salted(&salt, &salted_fingerprint(&salt, &[&user, secret.expose()]));
        // Fails only while the runtime shuts down. No login follows then.
        let Ok(salted) = tokio::task::spawn_blocking(derive).await else { return };
        let salted: Arc<str> = salted.into();
        let mut secrets = self.secrets.lock();
        for secret in secrets.iter_mut().filter(|secret| secret.password == password) {
            secret.salted = Some(Arc::clone(&salted));
        }
    }
}

#[cfg(test)]
mod tests;
