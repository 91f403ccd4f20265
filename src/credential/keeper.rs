//! A credential's record, here and in the store.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::clock::Timestamp;
use crate::store::{Key, Record, StoreError, TokenStore};

/// The record, and how far the store has it.
pub(super) struct Keeper {
    store: Arc<dyn TokenStore>,
    key: Key,
    pub(super) record: Record,
    /// The revision that the store has; behind the record's while that is unsaved.
    stored: u64,
}

impl Keeper {
    /// Reads the record of `key`.
    pub(super) async fn load(store: Arc<dyn TokenStore>, key: Key) -> Result<Self, StoreError> {
        let record = store.load(&key).await?;
        Ok(Self { store, key, stored: record.revision, record })
    }

    /// Writes the record under the next revision. A failure is logged and tried again: a token that cannot be stored
    /// is still better used than thrown away.
    pub(super) async fn save(&mut self) {
        self.record.revision += 1;
        self.write().await;
    }

    /// Writes the record as it is.
    pub(super) async fn write(&mut self) {
        let mut outcome = self.store.swap(&self.key, self.stored, &self.record).await;
        if let Err(error @ StoreError::Conflict { found, .. }) = outcome {
            // Ours is the newer exchange: whatever was stored meanwhile is of an older refresh token.
            tracing::warn!(credential = %self.key.credential, %error, "somebody else wrote to the store");
            self.record.revision = self.record.revision.max(found + 1);
            outcome = self.store.swap(&self.key, found, &self.record).await;
        }
        match outcome {
            Ok(()) => self.stored = self.record.revision,
            Err(error) => tracing::error!(
                credential = %self.key.credential, %error,
                source = std::error::Error::source(&error).map(ToString::to_string),
                "the record could not be stored; it is used, and storing is tried again"
            ),
        }
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
