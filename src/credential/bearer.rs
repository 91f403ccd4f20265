//! What a request gets from the refresher: a bearer, a replacement for a refused one, or an error.

use std::time::Duration;

use http::HeaderValue;
use thiserror::Error;
use tokio::time::Instant;

use super::forced_refreshes;
use vbc_base::clock::{Timestamp, until};

/// The token that a request sends.
#[derive(Clone)]
pub struct Bearer {
    /// `Bearer …`, marked sensitive; made once per token.
    pub value: HeaderValue,
    /// The revision of the token set that the bearer belongs to.
    pub revision: u64,
    /// The end of the token by the wall clock. The token is never sent after this time.
    pub expires_at: Timestamp,
    /// The end of the token by the monotonic clock.
    pub(super) ends: Instant,
    /// When the token was minted, as far as is known.
    pub minted_at: Timestamp,
    /// From this time on, a read requests an early refresh.
    pub(super) refresh_at: Timestamp,
    /// From this time on, every node of the gateway is assumed to know the token.
    pub(super) known_at: Timestamp,
}

#[cfg(any(test, fuzzing))]
impl Bearer {
    /// A bearer that belongs to no credential.
    pub(crate) fn detached() -> Self {
        let value = HeaderValue::from_static("Bearer nobodys");
        Self {
            value,
            revision: 0,
            expires_at: Timestamp::MAX,
            ends: ends_in(Duration::MAX),
            minted_at: Timestamp::MIN,
            refresh_at: Timestamp::MAX,
            known_at: Timestamp::MIN,
        }
    }
}

impl Bearer {
    /// Whether the bearer may be sent at `now`, the wall clock's time. Both clocks must agree: the
    /// wall clock can be set back, and the monotonic one stops while a machine sleeps.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        now < self.expires_at && Instant::now() < self.ends
    }

    /// Whether the token was minted no longer than `max_age` before `now`, as far as is known.
    pub fn is_younger(&self, max_age: Duration, now: Timestamp) -> bool {
        until(self.minted_at, now) <= max_age
    }

    /// How long until every node of the gateway is assumed to know the token; zero for the first
    /// token of a login. At most two seconds, even if the wall clock is wrong.
    pub fn new_for(&self, now: Timestamp) -> Duration {
        until(now, self.known_at).min(forced_refreshes::KNOWN_AFTER)
    }
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bearer").field("revision", &self.revision).finish_non_exhaustive()
    }
}

/// The longest token lifetime that is honoured.
const LONGEST_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);

/// When a token with `left` to live ends, by the monotonic clock.
pub(super) fn ends_in(left: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(left.min(LONGEST_LIFE)).unwrap_or(now)
}

/// A bearer newer than a refused one.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// The newer bearer.
    pub bearer: Bearer,
    /// Whether the newer bearer was minted after the refusal was reported. If not, the 401 was a
    /// late one: the refused token had already been replaced.
    pub fresh: bool,
}

/// There is no usable token.
#[derive(Clone, Debug, Error)]
#[error("no usable token for credential {credential}: {detail}")]
pub struct Unavailable {
    /// The credential's name.
    pub credential: String,
    /// The reason and the remedy, for operators. Contains no secrets.
    pub detail: String,
    /// How long to wait before the next request; `None` if unknown.
    pub retry_after: Option<Duration>,
}
