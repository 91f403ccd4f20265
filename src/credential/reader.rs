//! One thread's view of the current bearer.

use std::time::Duration;

use super::Credential;
use super::bearer::Bearer;
use super::published::Copy;

/// Reads the bearer for one thread. An unchanged bearer costs an atomic load and a clock reading.
pub struct Reader {
    credential: Credential,
    copy: Copy<Bearer>,
}

impl Reader {
    pub(super) fn new(credential: Credential) -> Self {
        Self { credential, copy: Copy::new() }
    }

    /// The credential whose bearer this reader reads.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The current bearer, if it is usable. The first read after the bearer's refresh time also
    /// requests an early refresh, because timers stop while a machine is suspended.
    pub fn cached(&mut self) -> Option<&Bearer> {
        self.cached_within(None).map(|(bearer, _)| bearer)
    }

    /// Like [`cached`](Self::cached). Also returns whether the bearer was minted within `max_age`.
    pub fn cached_within(&mut self, max_age: Option<Duration>) -> Option<(&Bearer, bool)> {
        let shared = &self.credential.shared;
        shared.published.refresh(&mut self.copy);
        let bearer = self.copy.value.as_ref()?;
        let now = shared.clock.now();
        shared.nudge(bearer, now);
        let is_young = max_age.is_none_or(|max_age| bearer.is_younger(max_age, now));
        bearer.is_alive(now).then_some((bearer, is_young))
    }
}
