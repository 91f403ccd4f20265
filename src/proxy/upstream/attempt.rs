//! Sendings without a response, and whether another may follow.

use super::Head;
use super::error::UpstreamError;
use crate::proxy::request_body::{AttemptBody, RequestBody};

/// A sending that brought no response.
pub(super) enum FailedAttempt {
    /// The sending does not count: the pooled connection had been closed before, or the upstream
    /// refused only the expectation. The body is untouched, and is sent again.
    Uncounted(AttemptBody),
    /// The upstream has not processed the request. It is sent once more, whatever its method. The
    /// body is here if nothing of it has been taken.
    Unprocessed(Failure, Option<AttemptBody>),
    /// A reused connection ended before the first byte of a response. The upstream may have
    /// processed the request, so only an idempotent one is sent once more.
    Unanswered(Failure),
    /// The request must not be sent again.
    Final(UpstreamError),
}

/// Why a sending brought no response, although another may.
pub(super) struct Failure {
    pub(super) error: UpstreamError,
    /// The number of the HTTP/2 connection, which the next sending avoids.
    pub(super) connection: Option<u64>,
}

impl From<UpstreamError> for FailedAttempt {
    fn from(error: UpstreamError) -> Self {
        Self::Final(error)
    }
}

/// The further sending of a request that got no response: one at most.
#[derive(Default)]
pub(super) struct Resend {
    used: bool,
    /// Set with `used`: see [`avoids`](Self::avoids).
    avoids: Option<u64>,
}

impl Resend {
    /// If set, the request goes out on no HTTP/1.1 connection that was used before, and not on the
    /// HTTP/2 connection of this number.
    pub(super) fn avoids(&self) -> Option<u64> {
        self.avoids
    }

    /// The body of the next sending.
    ///
    /// # Errors
    /// There must be none.
    pub(super) fn after(
        &mut self,
        failed: FailedAttempt,
        head: &Head,
        body: &RequestBody,
    ) -> Result<AttemptBody, UpstreamError> {
        let (failure, next) = match failed {
            FailedAttempt::Final(error) => return Err(error),
            FailedAttempt::Uncounted(body) => return Ok(body),
            FailedAttempt::Unprocessed(failure, _) | FailedAttempt::Unanswered(failure) if self.used => {
                (failure, None)
            }
            FailedAttempt::Unprocessed(failure, untouched) => (failure, untouched.or_else(|| body.attempt())),
            FailedAttempt::Unanswered(failure) if head.is_idempotent() => (failure, body.attempt()),
            FailedAttempt::Unanswered(failure) => (failure, None),
        };
        self.used = true;
        self.avoids = Some(failure.connection.unwrap_or(u64::MAX));
        next.ok_or(failure.error)
    }
}
