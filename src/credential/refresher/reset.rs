//! Starts again after the service was reset, as between two tests with a simulator.

use tokio::time::Instant;

use super::{Need, Refresher, Warning};
use crate::credential::reset::AnnouncedReset;
use crate::oauth::Redeem;
use crate::store::Record;
use vbc_base::clock::Timestamp;

impl<R: Redeem> Refresher<R> {
    /// Waits for the reset, returns to the state of a first start, and gets a new token.
    ///
    /// No exchange is under way during the reset. Otherwise the service could execute it after the
    /// reset, and its token would be forgotten.
    pub(super) async fn reset(&mut self, reset: AnnouncedReset) {
        let _ = reset.ready.send(());
        if reset.confirmed.await.is_err() {
            return;
        }
        tracing::info!(
            credential = %self.shared.name,
            "the service was reset; forgetting its tokens and everything learned from it"
        );
        self.forget().await;
        // The snapshot, the log and the metrics have the outcome.
        let _ = self.obtain(Need::Token).await;
        let _ = reset.renewed.send(());
    }

    /// The revision rises, so that a late 401 for an old token is not taken for one of a new token.
    async fn forget(&mut self) {
        if let Some(permit) = self.permit.clone()
            && let Err(error) = self.clear_login_history(&permit).await
        {
            tracing::warn!(credential = %self.shared.name, %error, "cannot forget earlier logins");
        }
        let revision = self.stored.record.revision;
        self.stored.record = Record { revision, ..Record::default() };
        self.save().await;
        self.token_revision = self.stored.record.revision;
        (self.distrusted, self.logged_in) = (0, 0);
        (self.refresh_at, self.not_before) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        self.ends = Instant::now();
        self.backoff.reset();
        self.warning = Warning::default();
        (self.unsupported, self.published_at) = (None, None);
        (self.blocked, self.trouble, self.unconfirmed_login) = (None, None, None);
        self.shared.forget();
        self.report();
    }
}
