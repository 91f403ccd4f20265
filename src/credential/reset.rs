//! A reset of the service, as between two tests with a simulator.

use tokio::sync::oneshot;

/// A reset that is announced to a credential. The refresher makes no exchange until the reset is
/// confirmed, or cancelled by dropping this.
pub struct PendingReset {
    ready: oneshot::Receiver<()>,
    confirm: oneshot::Sender<()>,
    renewed: oneshot::Receiver<()>,
}

/// The refresher's side of a [`PendingReset`].
pub(super) struct AnnouncedReset {
    pub(super) ready: oneshot::Sender<()>,
    pub(super) confirmed: oneshot::Receiver<()>,
    pub(super) renewed: oneshot::Sender<()>,
}

/// Announces a reset: the caller's side, and the refresher's.
pub(super) fn announce() -> (PendingReset, AnnouncedReset) {
    let (ready, is_ready) = oneshot::channel();
    let (confirm, confirmed) = oneshot::channel();
    let (renewed, is_renewed) = oneshot::channel();
    (
        PendingReset { ready: is_ready, confirm, renewed: is_renewed },
        AnnouncedReset { ready, confirmed, renewed },
    )
}

impl PendingReset {
    /// Waits until no exchange is under way, or the refresher has ended.
    pub async fn ready(&mut self) {
        let _ = (&mut self.ready).await;
    }

    /// Says that the service was reset. Waits until the credential has a new token or cannot get
    /// one.
    ///
    /// Cancel safe: the refresher finishes without the caller.
    pub async fn confirm(self) {
        // If the refresher has ended, nothing is left to forget.
        if self.confirm.send(()).is_ok() {
            let _ = self.renewed.await;
        }
    }
}
