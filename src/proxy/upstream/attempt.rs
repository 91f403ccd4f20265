//! Attempts that got no response, and whether another attempt may follow.

use super::Head;
use super::error::UpstreamError;
use crate::proxy::request_body::{AttemptBody, RequestBody};

/// An attempt that brought no response.
pub(super) enum FailedAttempt {
    /// The attempt does not count: the pooled connection was already closed, or the upstream
    /// refused only the expectation. The body is untouched and is sent again.
    Uncounted(AttemptBody),
    /// The upstream has not processed the request, so even a request that is not idempotent is sent
    /// once more. Contains the body if nothing has been read from it.
    Unprocessed(Failure, Option<AttemptBody>),
    /// A reused connection ended before the first byte of a response. The upstream may have
    /// processed the request, so only an idempotent request is sent once more.
    Unanswered(Failure),
    /// The request must not be sent again.
    Final(UpstreamError),
}

/// The failure of an attempt that another attempt may follow.
pub(super) struct Failure {
    pub(super) error: UpstreamError,
    /// The number of the HTTP/2 connection, which the next attempt avoids.
    pub(super) connection: Option<u64>,
}

impl From<UpstreamError> for FailedAttempt {
    fn from(error: UpstreamError) -> Self {
        Self::Final(error)
    }
}

/// Allows at most one more attempt for a request that got no response.
#[derive(Default)]
pub(super) struct Resend {
    used: bool,
    /// Set with `used`: see [`avoids`](Self::avoids).
    avoids: Option<u64>,
}

impl Resend {
    /// If set, the next attempt uses neither a pooled HTTP/1.1 connection nor the HTTP/2 connection
    /// with this number.
    pub(super) fn avoids(&self) -> Option<u64> {
        self.avoids
    }

    /// The body of the next attempt.
    ///
    /// # Errors
    /// The error for the client if no further attempt is allowed.
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
