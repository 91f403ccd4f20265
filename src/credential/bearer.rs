//! What a request is given: a bearer, a newer one than a refused one, or the reason why there is none.

use std::time::Duration;

use http::HeaderValue;
use thiserror::Error;
use tokio::time::Instant;

use super::forced;
#[cfg(any(test, fuzzing))]
use super::refresher;
use crate::clock::{Timestamp, until};

/// What one request sends.
#[derive(Clone)]
pub struct Bearer {
    /// `Bearer …`, marked sensitive; made once per token.
    pub value: HeaderValue,
    /// The revision of the token set it came with.
    pub revision: u64,
    /// Never sent after this.
    pub expires_at: Timestamp,
    /// The same, by the clock that is never set back.
    pub(super) ends: Instant,
    /// When it was minted, as far as is known.
    pub minted_at: Timestamp,
    /// From here on, reading it asks for the next one.
    pub(super) refresh_at: Timestamp,
    /// From here on every node of the gateway is taken to know it.
    pub(super) known_at: Timestamp,
}

#[cfg(any(test, fuzzing))]
impl Bearer {
    /// One that no credential has.
    pub(crate) fn nobodys() -> Self {
        let value = HeaderValue::from_static("Bearer nobodys");
        let never = Timestamp::MAX;
        let (ends, minted_at) = (refresher::ends_in(Duration::MAX), Timestamp::MIN);
        Self {
            value,
            revision: 0,
            expires_at: never,
            ends,
            minted_at,
            refresh_at: never,
            known_at: minted_at,
        }
    }
}

impl Bearer {
    /// Whether it may be sent at `now`, the wall clock's time. Both clocks must say so: a wall clock
    /// can be set back, and the other stands still while a machine sleeps.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        now < self.expires_at && Instant::now() < self.ends
    }

    /// Whether it was minted no longer than `max_age` before `now`, as far as is known.
    pub fn is_younger(&self, max_age: Duration, now: Timestamp) -> bool {
        until(self.minted_at, now) <= max_age
    }

    /// How long until every node of the gateway is taken to know it; zero for the first token of a
    /// login. However the clock was set, it is at most two seconds.
    pub fn new_for(&self, now: Timestamp) -> Duration {
        until(now, self.known_at).min(forced::KNOWN_AFTER)
    }
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bearer").field("revision", &self.revision).finish_non_exhaustive()
    }
}

/// A bearer newer than a refused one.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// The newer one.
    pub bearer: Bearer,
    /// Minted after the refusal was reported; otherwise it was there already (the 401 was a late one).
    pub fresh: bool,
}

/// There is no usable token.
#[derive(Clone, Debug, Error)]
#[error("no usable token for credential {credential}: {detail}")]
pub struct Unavailable {
    /// Which credential.
    pub credential: String,
    /// Why, and what to do about it; for people, without secrets.
    pub detail: String,
    /// When it makes sense to ask again.
    pub retry_after: Option<Duration>,
}
