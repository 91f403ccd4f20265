//! A credential's access to its user's guard, and the turns in which it logs in.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::MutexGuard;

use super::rules::{self, LoginDecision};
use super::{LoginGuard, Trouble, login_key};
use crate::credential::record::set_record_aside;
use crate::oauth::Class;
use crate::store::{LoginHistory, StoreError};
use vbc_base::clock::Timestamp;
use vbc_base::random;
use vbc_base::secret::hex;

/// A credential's access to its user's guard.
#[derive(Clone)]
pub(in crate::credential) struct LoginPermit {
    guard: Arc<LoginGuard>,
    fingerprint: Arc<str>,
}

impl LoginPermit {
    pub(super) fn new(guard: Arc<LoginGuard>, fingerprint: Arc<str>) -> Self {
        Self { guard, fingerprint }
    }

    /// Whether a login may be tried, as far as is known without reading the store.
    pub(in crate::credential) fn decision(&self) -> LoginDecision {
        if self.guard.is_clear() {
            return LoginDecision::Allowed;
        }
        let secret = self.guard.fingerprints(&self.fingerprint);
        self.guard.with_history(|history, now| rules::decide(history, &secret, now))
    }

    /// Reads the stored record, so that it counts before the first login.
    pub(in crate::credential) async fn read(&self) -> Result<(), StoreError> {
        self.guard.read().await?;
        if !self.guard.is_clear() {
            self.guard.add_salted_fingerprint(&self.fingerprint, None).await;
        }
        Ok(())
    }

    pub(in crate::credential) fn trouble(&self) -> Option<Trouble> {
        self.guard.trouble.lock().clone()
    }

    /// Moves an unreadable record out of the way. The operator who unlocks accepts that earlier
    /// attempts are then forgotten.
    pub(in crate::credential) async fn set_aside(&self, reason: &str) -> Result<(), StoreError> {
        set_record_aside(&*self.guard.store, &login_key(&self.guard.user), reason).await
    }

    pub(in crate::credential) fn is_unsaved(&self) -> bool {
        self.guard.unsaved.load(Ordering::Relaxed)
    }

    pub(in crate::credential) async fn save_if_unsaved(&self) {
        if self.is_unsaved() {
            let _turn = self.guard.turn.lock().await;
            let _ = self.guard.save().await;
        }
    }

    /// Waits until no other login of the user, and no other change of the user's history, is under
    /// way.
    pub(in crate::credential) async fn turn(&self) -> LoginTurn<'_> {
        LoginTurn {
            _turn: self.guard.turn.lock().await,
            guard: &self.guard,
            fingerprint: &self.fingerprint,
            tried_at: None,
        }
    }
}

/// Why a login cannot begin.
pub(in crate::credential) enum BeginError {
    /// A rule forbids the login.
    Blocked(LoginDecision),
    /// The history cannot be read or written, and no login is safe without it.
    Store(String),
    /// The record of the history is damaged, or no key opens it.
    Record(StoreError),
}

impl From<StoreError> for BeginError {
    fn from(error: StoreError) -> Self {
        if error.is_of_record() {
            Self::Record(error)
        } else {
            Self::Store(format!("cannot use the token store ({})", error.describe()))
        }
    }
}

/// The exclusive right to log in as the user, or to change its history.
///
/// A login calls [`begin`](Self::begin) before it is sent, and [`finish`](Self::finish) once its
/// outcome is known. The other methods change the history outside a login. Except for `begin`, they
/// fail only if the stored record cannot be read: a failed write is retried later.
pub(in crate::credential) struct LoginTurn<'a> {
    _turn: MutexGuard<'a, ()>,
    guard: &'a LoginGuard,
    fingerprint: &'a str,
    /// When the secret was last tried before this login. `None` if no trial is known.
    tried_at: Option<Timestamp>,
}

impl LoginTurn<'_> {
    /// Notes the login in the store. Call it before the login is sent.
    ///
    /// # Errors
    /// A rule forbids the login, or the login could not be noted. A secret that has worked before
    /// may log in without a note: its login does not count towards the lock.
    pub(in crate::credential) async fn begin(&mut self) -> Result<(), BeginError> {
        self.guard.read().await?;
        // Salting takes tens of milliseconds. A first login does not wait for that: the history has
        // nothing that the password could match.
        if !self.guard.is_clear() {
            self.add_salted_fingerprint().await;
        }
        let secret = self.guard.fingerprints(self.fingerprint);
        let (before, decision) =
            self.guard.with_history(|history, now| (history.clone(), rules::decide(history, &secret, now)));
        if decision != LoginDecision::Allowed {
            return Err(BeginError::Blocked(decision));
        }
        let is_proven = rules::is_proven(&before, &secret);
        self.tried_at = rules::tried_at(&before, &secret);
        self.note(rules::begin).await?;
        if is_proven || self.is_saved() {
            return Ok(());
        }
        let reason = match self.guard.trouble.lock().clone() {
            Some(Trouble::Failed(reason) | Trouble::Unreadable(reason)) => format!(" ({reason})"),
            None => String::new(),
        };
        // The login is not made, so its note is removed.
        self.note(|history, _, _| *history = before).await?;
        Err(BeginError::Store(format!("cannot write to the token store{reason}")))
    }

    /// Notes the outcome of the login: success, or a failure of this class.
    /// A login with an ambiguous outcome stays unresolved.
    pub(in crate::credential) async fn finish(&mut self, failure: Option<Class>) -> Result<(), StoreError> {
        let recognized = match failure {
            None | Some(Class::NotJudged | Class::Unsupported) => Ok(()),
            Some(_) => self.recognize().await,
        };
        let noted = match failure {
            None => self.note(|history, secret, _| rules::succeeded(history, secret)).await,
            Some(Class::Refused) => self.note(rules::refused).await,
            Some(Class::Unexplained) => self.note(rules::unexplained).await,
            Some(Class::Locked) => self.note_lock().await,
            Some(Class::Configuration | Class::WrongUrl) => self.misconfigured().await,
            Some(Class::NotJudged | Class::Unsupported) => {
                self.note(|history, _, _| rules::not_judged(history)).await
            }
            Some(Class::Ambiguous) => Ok(()),
        };
        recognized.and(noted)
    }

    /// Makes the password of a failed login recognizable, no matter which application sends it
    /// next.
    pub(super) async fn recognize(&mut self) -> Result<(), StoreError> {
        self.add_salted_fingerprint().await;
        self.note(rules::recognize).await
    }

    async fn add_salted_fingerprint(&self) {
        self.guard.add_salted_fingerprint(self.fingerprint, Some(hex(&random::bytes::<16>()))).await;
    }

    /// Notes that the server reported the account as locked.
    pub(in crate::credential) async fn note_lock(&mut self) -> Result<(), StoreError> {
        self.note(rules::locked).await
    }

    /// Notes that the application was refused instead of the login, or that the URL is wrong.
    pub(super) async fn misconfigured(&mut self) -> Result<(), StoreError> {
        let tried_at = self.tried_at;
        self.note(move |history, secret, _| rules::misconfigured(history, secret, tried_at)).await
    }

    /// Merges in a history that an older version kept elsewhere.
    pub(in crate::credential) async fn absorb(&mut self, other: &LoginHistory) -> Result<(), StoreError> {
        self.note(|history, _, _| rules::absorb(history, other)).await
    }

    /// Forgets the history, for an operator's unlock.
    pub(in crate::credential) async fn clear(&mut self) -> Result<(), StoreError> {
        self.note(|history, _, _| *history = LoginHistory::default()).await
    }

    /// Changes the history and stores it. `change` gets all fingerprints of the secret.
    pub(super) async fn note(
        &mut self,
        change: impl FnOnce(&mut LoginHistory, &[String], Timestamp),
    ) -> Result<(), StoreError> {
        let secret = self.guard.fingerprints(self.fingerprint);
        self.guard.with_history(|history, now| change(history, &secret, now));
        self.guard.save().await
    }

    pub(in crate::credential) fn is_saved(&self) -> bool {
        !self.guard.unsaved.load(Ordering::Relaxed)
    }
}
