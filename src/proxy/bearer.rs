//! Picks the bearer for a request: one that is young enough for the request's path.

use std::time::Duration;

use http::StatusCode;

use super::Proxy;
use crate::credential::{Bearer, Unavailable};

impl Proxy {
    /// The cached bearer, if it is young enough for this path.
    pub(super) fn cached_bearer(&self, path: &str) -> Option<Bearer> {
        let mut reader = self.bearer.borrow_mut();
        match reader.cached_within(self.max_age(path)) {
            Some((bearer, true)) => Some(bearer.clone()),
            _ => None,
        }
    }

    /// The bearer for this path, for when [`cached_bearer`](Self::cached_bearer) returned `None`.
    /// Waits for the token endpoint if necessary.
    ///
    /// # Errors
    /// There is no usable token.
    pub(super) async fn bearer(&self, path: &str) -> Result<Bearer, Unavailable> {
        let cached = self.bearer.borrow_mut().cached().cloned();
        let old = match cached {
            Some(bearer) => bearer,
            // Even a token that a login just returned may be too old for this path.
            None => self.credential.bearer().await?,
        };
        match self.max_age(path) {
            Some(max_age) if !old.is_younger(max_age, self.credential.clock().now()) => {
                match self.credential.younger(max_age).await {
                    Ok(young) => Ok(young),
                    // A bearer that is too old for this path may still work. Read it again: it may
                    // have changed.
                    Err(_) => self.credential.bearer().await,
                }
            }
            _ => Ok(old),
        }
    }

    /// Notes that the upstream accepted this bearer, unless the status is an error. Reports it to
    /// the credential once per revision, and again if the credential had marked the revision as
    /// refused.
    pub(super) fn note_accepted(&self, bearer: &Bearer, status: StatusCode) {
        if self.credential.is_news(bearer) && !status.is_client_error() && !status.is_server_error() {
            self.credential.trust(bearer);
        }
    }

    /// The age limit for tokens on this path. Prefixes end at slashes; the longest one applies.
    fn max_age(&self, path: &str) -> Option<Duration> {
        let (_, age) = self.max_age.iter().find(|(prefix, _)| {
            let rest = path.strip_prefix(prefix.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })?;
        Some(*age)
    }
}
