//! A record in memory, and its copy in the store.

use std::sync::Arc;

use jiff::SignedDuration;

use super::clock_watch::earlier;
use crate::store::{Key, Record, Reservation, StoreError, TokenStore};
use vbc_base::clock::Timestamp;

/// One record in memory, and the state of its copy in the store.
pub(super) struct StoredRecord {
    store: Arc<dyn TokenStore>,
    key: Key,
    pub(super) record: Record,
    /// The revision in the store. It is below the revision of `record` while the record is unsaved.
    stored_revision: u64,
    /// Space reserved in the store for the next record. Boxed because an idle credential reserves
    /// nothing.
    reservation: Option<Box<Reservation>>,
    failure: Option<Box<Failure>>,
}

/// The store's last failure.
enum Failure {
    /// The stored record cannot be read. It is not overwritten.
    Unreadable(StoreError),
    /// The latest record could not be stored, or no space could be reserved for the next one.
    Unwritable(String),
}

impl StoredRecord {
    pub(super) async fn load(store: Arc<dyn TokenStore>, key: Key) -> Result<Self, StoreError> {
        let record = store.load(&key).await?;
        Ok(Self::new(store, key, record))
    }

    /// A record that counts as stored.
    pub(super) fn new(store: Arc<dyn TokenStore>, key: Key, record: Record) -> Self {
        Self { store, key, stored_revision: record.revision, record, reservation: None, failure: None }
    }

    /// Loads the record. If it cannot be read, [`unreadable`](Self::unreadable) has the reason.
    ///
    /// A damaged record is set aside first if `replaceable`, that is, if a password can replace its
    /// tokens. Returns whether it was set aside.
    pub(super) async fn reload(&mut self, replaceable: bool) -> bool {
        let mut loaded = self.store.load(&self.key).await;
        let mut set_aside = false;
        if let Err(error @ StoreError::Damaged { .. }) = &loaded
            && replaceable
        {
            match set_record_aside(&*self.store, &self.key, &error.describe()).await {
                Ok(()) => {
                    set_aside = true;
                    loaded = self.store.load(&self.key).await;
                }
                Err(error) => loaded = Err(error),
            }
        }
        match loaded {
            Ok(record) => {
                self.replace(record);
                self.failure = None;
            }
            Err(error) => {
                tracing::error!(
                    credential = %self.key.credential, reason = error.describe(),
                    "cannot read the stored record; it is left unchanged, and this credential is blocked"
                );
                self.failure = Some(Box::new(Failure::Unreadable(error)));
            }
        }
        set_aside
    }

    /// Adopts the store's record if it is newer. Returns whether it was adopted.
    pub(super) async fn reload_newer(&mut self) -> bool {
        let Ok(record) = self.store.load(&self.key).await else { return false };
        if record.revision <= self.record.revision {
            return false;
        }
        tracing::info!(
            credential = %self.key.credential, revision = record.revision,
            "adopted a newer stored token set"
        );
        self.replace(record);
        true
    }

    fn replace(&mut self, record: Record) {
        self.stored_revision = record.revision;
        self.record = record;
    }

    pub(super) fn unreadable(&self) -> Option<&StoreError> {
        match self.failure.as_deref()? {
            Failure::Unreadable(error) => Some(error),
            Failure::Unwritable(_) => None,
        }
    }

    /// Why the latest record could not be stored, or no space could be reserved for the next one.
    pub(super) fn unwritable(&self) -> Option<&str> {
        match self.failure.as_deref()? {
            Failure::Unreadable(_) => None,
            Failure::Unwritable(reason) => Some(reason),
        }
    }

    /// Reserves space for the outcome of an exchange. On an error the exchange must not begin.
    pub(super) async fn reserve(&mut self) -> Result<(), StoreError> {
        if self.reservation.is_some() {
            return Ok(());
        }
        let reserved = self.store.reserve(&self.key).await;
        let is_readable = self.unreadable().is_none();
        match &reserved {
            // An unsaved record keeps its failure until it is saved.
            Ok(_) if is_readable && !self.is_unsaved() => self.failure = None,
            Err(error) if is_readable => {
                self.failure = Some(Box::new(Failure::Unwritable(error.describe())));
            }
            _ => {}
        }
        let reservation = reserved?;
        self.reservation = (!reservation.is_empty()).then(|| Box::new(reservation));
        Ok(())
    }

    pub(super) fn release(&mut self) {
        self.reservation = None;
    }

    /// Writes the record under the next revision. A failure is logged, and the caller retries
    /// later. Until then the token set is used from memory.
    pub(super) async fn save(&mut self) {
        self.record.revision += 1;
        self.write().await;
    }

    pub(super) async fn write(&mut self) {
        if self.unreadable().is_some() {
            // A write would destroy the unreadable record, which has no other copy.
            return;
        }
        let mut outcome = self.swap(self.stored_revision).await;
        if let Err(error @ StoreError::Conflict { found, .. }) = outcome {
            // This process made the newer exchange: the other record has an older refresh token.
            tracing::warn!(
                credential = %self.key.credential, %error,
                "another process wrote to the store; overwriting its record with the newer one"
            );
            self.record.revision = self.record.revision.max(found + 1);
            outcome = self.swap(found).await;
        }
        let Err(error) = outcome else {
            self.stored_revision = self.record.revision;
            self.failure = None;
            return;
        };
        let reason = error.describe();
        if self.record.tokens.is_some() {
            tracing::error!(
                credential = %self.key.credential, reason,
                "could not save the new tokens; using them from memory, will retry"
            );
        } else {
            tracing::error!(
                record = %self.key.credential, reason,
                "could not save this record; using it from memory, will retry"
            );
        }
        self.failure = Some(Box::new(Failure::Unwritable(reason)));
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

    pub(super) fn set_back(&mut self, by: SignedDuration) {
        let Some(tokens) = &mut self.record.tokens else { return };
        for at in [
            &mut tokens.issued_at,
            &mut tokens.minted_at,
            &mut tokens.expires_at,
            &mut tokens.refresh_issued_at,
        ] {
            *at = earlier(*at, by);
        }
    }

    /// If the token set was received after `now`, moves its times back, as if it were received at
    /// `now`. Returns whether the times were moved.
    pub(super) fn set_back_to(&mut self, now: Timestamp) -> bool {
        let Some(tokens) = &self.record.tokens else { return false };
        let received = tokens.issued_at.max(tokens.refresh_issued_at);
        let is_ahead = received > now;
        if is_ahead {
            self.set_back(received.duration_since(now));
        }
        is_ahead
    }

    pub(super) fn is_unsaved(&self) -> bool {
        self.stored_revision != self.record.revision
    }

    /// Whether the store has the record of this revision, or a newer one.
    pub(super) fn has_stored(&self, revision: u64) -> bool {
        self.stored_revision >= revision
    }
}

/// Moves an unreadable record out of the way. Nothing is deleted.
pub(super) async fn set_record_aside(
    store: &dyn TokenStore,
    key: &Key,
    reason: &str,
) -> Result<(), StoreError> {
    if let Some(path) = store.set_aside(key).await? {
        tracing::warn!(
            record = %key.credential, reason, path,
            "cannot read the record, so it was moved out of the way; nothing was deleted"
        );
    }
    Ok(())
}
