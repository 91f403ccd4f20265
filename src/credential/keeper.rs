//! A credential's record, here and in the store.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::clock::Timestamp;
use crate::store::{Key, Record, Reservation, StoreError, TokenStore};

/// The record, and how far the store has it.
pub(super) struct Keeper {
    store: Arc<dyn TokenStore>,
    key: Key,
    pub(super) record: Record,
    /// The revision that the store has; behind the record's while that is unsaved.
    stored: u64,
    /// What the store keeps ready for the next record. Boxed, as what follows: a credential at rest has none.
    reservation: Option<Box<Reservation>>,
    failure: Option<Box<Failure>>,
}

/// What the store could not do the last time.
enum Failure {
    /// The stored record cannot be read. Nothing is written then.
    Unreadable(StoreError),
    /// It could not take the latest record, or could reserve nothing for the next.
    Unwritable(String),
}

impl Keeper {
    /// Reads the record of `key`.
    pub(super) async fn load(store: Arc<dyn TokenStore>, key: Key) -> Result<Self, StoreError> {
        let record = store.load(&key).await?;
        Ok(Self::new(store, key, record))
    }

    fn new(store: Arc<dyn TokenStore>, key: Key, record: Record) -> Self {
        Self { store, key, stored: record.revision, record, reservation: None, failure: None }
    }

    /// An empty record over the one of revision `written`, which was this process's own.
    pub(super) fn written(store: Arc<dyn TokenStore>, key: Key, written: u64) -> Self {
        Self::new(store, key, Record { revision: written, ..Record::default() })
    }

    /// A record that is still to be read, by [`read_again`](Self::read_again).
    pub(super) fn unread(store: Arc<dyn TokenStore>, key: Key) -> Self {
        Self::new(store, key, Record::default())
    }

    /// Reads the record from the store. One that cannot be read leaves the record empty, with the reason in
    /// [`unreadable`](Self::unreadable). Where a new token set can be had without a person (`replaceable`), a damaged
    /// record is moved out of the way, whole; says whether one was.
    pub(super) async fn read_again(&mut self, replaceable: bool) -> bool {
        let mut loaded = self.store.load(&self.key).await;
        let mut moved = false;
        if let Err(error @ StoreError::Damaged { .. }) = &loaded
            && replaceable
        {
            match set_aside(&*self.store, &self.key, &error.describe()).await {
                Ok(()) => {
                    moved = true;
                    loaded = self.store.load(&self.key).await;
                }
                Err(error) => loaded = Err(error),
            }
        }
        match loaded {
            Ok(record) => {
                self.stored = record.revision;
                self.record = record;
                self.failure = None;
            }
            Err(error) => {
                tracing::error!(
                    credential = %self.key.credential, reason = error.describe(),
                    "the stored record cannot be read; it is left as it is, and this credential is held"
                );
                self.failure = Some(Box::new(Failure::Unreadable(error)));
            }
        }
        moved
    }

    /// Why the stored record cannot be read, if it cannot.
    pub(super) fn unreadable(&self) -> Option<&StoreError> {
        match self.failure.as_deref()? {
            Failure::Unreadable(error) => Some(error),
            Failure::Unwritable(_) => None,
        }
    }

    /// Why the store could not take the latest record, or could reserve nothing for the next.
    pub(super) fn trouble(&self) -> Option<&str> {
        match self.failure.as_deref()? {
            Failure::Unreadable(_) => None,
            Failure::Unwritable(reason) => Some(reason),
        }
    }

    /// Makes sure that the outcome of an exchange can be stored.
    ///
    /// # Errors
    /// The store cannot keep the next record. The caller must not begin an exchange then.
    pub(super) async fn reserve(&mut self) -> Result<(), StoreError> {
        if self.reservation.is_some() {
            return Ok(());
        }
        match self.store.reserve(&self.key).await {
            Ok(reservation) => {
                self.reservation = (!reservation.is_empty()).then(|| Box::new(reservation));
                // What is known to be unsaved stays so until it is saved.
                if !self.unsaved() && self.unreadable().is_none() {
                    self.failure = None;
                }
                Ok(())
            }
            Err(error) => {
                if self.unreadable().is_none() {
                    self.failure = Some(Box::new(Failure::Unwritable(error.describe())));
                }
                Err(error)
            }
        }
    }

    /// The exchange brought nothing to be stored.
    pub(super) fn release(&mut self) {
        self.reservation = None;
    }

    /// Writes the record under the next revision. A failure is logged and tried again: a token that cannot be stored
    /// is still better used than thrown away.
    pub(super) async fn save(&mut self) {
        self.record.revision += 1;
        self.write().await;
    }

    /// Writes the record as it is.
    pub(super) async fn write(&mut self) {
        if self.unreadable().is_some() {
            // The record there is the only one.
            return;
        }
        let mut outcome = self.swap(self.stored).await;
        if let Err(error @ StoreError::Conflict { found, .. }) = outcome {
            // Ours is the newer exchange: whatever was stored meanwhile is of an older refresh token.
            tracing::warn!(credential = %self.key.credential, %error, "somebody else wrote to the store");
            self.record.revision = self.record.revision.max(found + 1);
            outcome = self.swap(found).await;
        }
        match outcome {
            Ok(()) => {
                self.stored = self.record.revision;
                self.failure = None;
            }
            Err(error) => {
                let reason = error.describe();
                match self.record.tokens.is_some() {
                    true => tracing::error!(
                        credential = %self.key.credential, reason,
                        "the token set could not be stored; it is used, and storing is tried again"
                    ),
                    false => tracing::error!(
                        record = %self.key.credential, reason,
                        "a note could not be stored; storing is tried again"
                    ),
                }
                self.failure = Some(Box::new(Failure::Unwritable(reason)));
            }
        }
    }

    async fn swap(&mut self, expected: u64) -> Result<(), StoreError> {
        let Self { store, key, record, reservation, .. } = self;
        let Some(reserved) = reservation else { return store.swap(key, expected, record).await };
        let outcome = store.swap_reserved(key, expected, record, reserved).await;
        if reserved.is_empty() {
            *reservation = None;
        }
        outcome
    }

    /// Moves the token set's times to where they are by a clock that was set back.
    pub(super) fn set_back(&mut self, by: SignedDuration) {
        let Some(tokens) = &mut self.record.tokens else { return };
        for at in [
            &mut tokens.issued_at,
            &mut tokens.minted_at,
            &mut tokens.expires_at,
            &mut tokens.refresh_issued_at,
        ] {
            *at = at.saturating_sub(by).unwrap_or(*at);
        }
    }

    /// Takes a set that was received after `now` for one received at `now`; says whether it was.
    pub(super) fn set_back_to(&mut self, now: Timestamp) -> bool {
        let received =
            self.record.tokens.as_ref().map(|tokens| tokens.issued_at.max(tokens.refresh_issued_at));
        let Some(received) = received.filter(|received| *received > now) else { return false };
        self.set_back(received.duration_since(now));
        true
    }

    /// Whether the store is behind.
    pub(super) fn unsaved(&self) -> bool {
        self.stored != self.record.revision
    }

    /// Whether the store has the record of this revision, or a newer one.
    pub(super) fn has_stored(&self, revision: u64) -> bool {
        self.stored >= revision
    }

    /// Takes over the store's record where it is newer than ours; says whether it was.
    pub(super) async fn reload_newer(&mut self) -> bool {
        let Ok(record) = self.store.load(&self.key).await else { return false };
        if record.revision <= self.record.revision {
            return false;
        }
        tracing::info!(
            credential = %self.key.credential, revision = record.revision,
            "adopted a newer stored token set"
        );
        self.stored = record.revision;
        self.record = record;
        true
    }
}

/// Moves a record that cannot be read out of the way, whole.
pub(super) async fn set_aside(store: &dyn TokenStore, key: &Key, reason: &str) -> Result<(), StoreError> {
    if let Some(path) = store.set_aside(key).await? {
        tracing::warn!(
            record = %key.credential, reason, path,
            "the record cannot be read; it was moved out of the way, and nothing of it was deleted"
        );
    }
    Ok(())
}
