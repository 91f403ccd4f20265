//! Makes the proxy forget what it has learned from a simulated service that is reset.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::credential::{Credential, PendingReset};

/// The longest wait for exchanges under way. One may hang on purpose until the service is reset.
const HOLD: Duration = Duration::from_secs(1);

/// The longest wait for new tokens. The token endpoint may hang on purpose after the reset.
const RENEWAL: Duration = Duration::from_secs(5);

/// Makes a running proxy forget what it has learned from a service that is reset.
/// [`App::forgetter`](super::App::forgetter) creates it.
///
/// ```no_run
/// # async fn example(app: &vbc_proxy::App, sim: &vbc_proxy::Simulator) {
/// let forgetter = app.forgetter();
/// // … `app` runs, and a test has ended …
/// let hold = forgetter.hold().await;
/// sim.reset();
/// hold.forget().await;
/// # }
/// ```
#[derive(Clone)]
pub struct Forgetter(Vec<Credential>);

impl Forgetter {
    pub(super) fn new(credentials: Vec<Credential>) -> Self {
        Self(credentials)
    }

    /// Waits for exchanges with the token endpoint that are under way, at most one second. No new
    /// one begins until the hold is used or dropped. Call it before the service is reset.
    pub async fn hold(&self) -> Hold {
        // A credential that has ended has nothing to forget.
        let mut pending: Vec<_> = self.0.iter().filter_map(|one| one.expect_reset().ok()).collect();
        let _ = timeout(HOLD, join_all(pending.iter_mut().map(PendingReset::ready))).await;
        Hold(pending)
    }
}

impl std::fmt::Debug for Forgetter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Forgetter").field(&self.0.len()).finish()
    }
}

/// Credentials that wait for a reset of the service. Dropping it cancels the wait, and nothing is
/// forgotten.
#[must_use]
pub struct Hold(Vec<PendingReset>);

impl Hold {
    /// Forgets all tokens, blocks, pauses, refused passwords and 401s. Then waits until each
    /// credential has a new token or cannot get one, at most five seconds.
    ///
    /// The credentials log in here and not at the next request. So a fault that is injected
    /// afterwards strikes that request, and not the proxy's login.
    pub async fn forget(self) {
        let _ = timeout(RENEWAL, join_all(self.0.into_iter().map(PendingReset::confirm))).await;
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hold").field(&self.0.len()).finish()
    }
}
