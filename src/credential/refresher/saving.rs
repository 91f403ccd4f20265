//! Handles a store that cannot be written to, and a record that cannot be read.

use std::time::Duration;

use tokio::time::Instant;

use super::Refresher;
use crate::credential::bearer::Unavailable;
use crate::credential::block_reason::{
    BlockReason, unusable_login_history, unusable_record, unwritable_store,
};
use crate::credential::login_guard::{LoginPermit, Trouble};
use crate::credential::options::Options;
use crate::credential::record::StoredRecord;
use crate::oauth::{Class, Redeem, TokenError};
use vbc_base::secret::fingerprint;

/// The first pause before storing an unsaved record is retried.
const SAVE_AGAIN: Duration = Duration::from_secs(5);
/// How many times that pause doubles.
const SAVE_DOUBLINGS: u32 = 4;

pub(in crate::credential) async fn load_record(
    stored: &mut StoredRecord,
    options: &Options,
    permit: Option<&LoginPermit>,
) {
    let was_set_aside = stored.reload(options.login.is_some()).await;
    if was_set_aside && let Some(seed) = &options.seed {
        // It is no longer known whether the seed is spent. A login needs no seed, so the seed
        // counts as spent.
        stored.record.spent_seed = Some(fingerprint(&[seed.expose()]));
        stored.save().await;
    }
    if let Some(permit) = permit {
        move_login_history(stored, permit).await;
    }
}

/// Moves the login history into the user's own record. Format 1 of the store kept the history with
/// the credential.
async fn move_login_history(stored: &mut StoredRecord, permit: &LoginPermit) {
    let Some(history) = stored.record.login_history.take() else { return };
    let mut turn = permit.turn().await;
    let absorbed = turn.absorb(&history).await;
    if absorbed.is_ok() && turn.is_saved() {
        stored.save().await;
    } else {
        stored.record.login_history = Some(history);
    }
}

/// The block of a record that cannot be used. A failed read does not block: it is retried.
pub(super) fn record_block(stored: &StoredRecord, options: &Options) -> Option<BlockReason> {
    let error = stored.unreadable().filter(|error| error.is_of_record())?;
    let text = unusable_record(error, &options.name, options.login.is_some());
    Some(BlockReason::Record(text.into()))
}

impl<R: Redeem> Refresher<R> {
    /// Loads the record again if an earlier read failed. Returns true if that was necessary and
    /// succeeded.
    ///
    /// # Errors
    /// The record still cannot be read.
    pub(super) async fn read_record(&mut self) -> Result<bool, Unavailable> {
        if self.stored.unreadable().is_none() {
            return Ok(false);
        }
        load_record(&mut self.stored, &self.options, self.permit.as_ref()).await;
        if let Some(reason) = record_block(&self.stored, &self.options) {
            return Err(self.block(reason));
        }
        if let Some(error) = self.stored.unreadable() {
            let reason = unusable_record(error, &self.options.name, self.options.login.is_some());
            return Err(self.failed(not_started(reason)).await);
        }
        if matches!(self.blocked, Some(BlockReason::Record(_))) {
            self.blocked = None;
        }
        self.trouble = None;
        self.backoff.reset();
        self.adopt_record();
        if self.is_alive() {
            self.publish();
        }
        Ok(true)
    }

    /// Reserves space to store the outcome of an exchange. On an error the exchange must not begin:
    /// a single-use grant would be lost with the process.
    pub(super) async fn reserve(&mut self) -> Result<(), TokenError> {
        self.stored.reserve().await.map_err(|error| {
            let reason = error.describe();
            tracing::error!(
                credential = %self.shared.name, reason,
                "cannot write to the token store, so no new tokens are requested"
            );
            not_started(format!("no new tokens are requested: {}", unwritable_store(&reason)))
        })
    }

    pub(super) async fn save(&mut self) {
        self.stored.save().await;
        self.plan_to_save();
    }

    pub(super) async fn save_if_unsaved(&mut self) {
        if !self.is_unsaved() {
            return;
        }
        if self.stored.is_unsaved() {
            self.stored.write().await;
        }
        if let Some(permit) = self.permit.clone() {
            permit.save_if_unsaved().await;
        }
        self.plan_to_save();
        self.report();
    }

    /// Stores the state that the next run needs.
    pub(super) async fn save_at_end(&mut self) {
        if self.noted_pending && !self.stored.record.refresh_pending {
            self.save().await;
        }
        self.save_if_unsaved().await;
    }

    fn plan_to_save(&mut self) {
        if !self.stored.is_unsaved() {
            self.noted_pending = self.stored.record.refresh_pending;
        }
        self.save_failures = if self.is_unsaved() { self.save_failures.saturating_add(1) } else { 0 };
        let doublings = self.save_failures.saturating_sub(1).min(SAVE_DOUBLINGS);
        self.save_at = Instant::now() + SAVE_AGAIN * (1 << doublings);
    }

    /// Whether the store lacks the record or the login history.
    pub(super) fn is_unsaved(&self) -> bool {
        self.stored.is_unsaved() || self.permit.as_ref().is_some_and(LoginPermit::is_unsaved)
    }

    pub(super) fn store_trouble(&self) -> Option<String> {
        if let Some(error) = self.stored.unreadable() {
            let has_login = self.options.login.is_some();
            return Some(unusable_record(error, &self.options.name, has_login));
        }
        if let Some(reason) = self.stored.unwritable() {
            return Some(unwritable_store(reason));
        }
        match self.permit.as_ref()?.trouble()? {
            Trouble::Unreadable(reason) => Some(unusable_login_history(&reason, &self.shared.name)),
            Trouble::Failed(reason) => Some(format!("the token store failed: {reason}")),
        }
    }
}

pub(super) fn not_started(message: String) -> TokenError {
    TokenError { class: Class::NotJudged, message, retry_after: None }
}
