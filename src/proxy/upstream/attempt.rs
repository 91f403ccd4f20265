//! The outcome of one sending, and whether another may follow.

use std::ops::ControlFlow;

use http::Response;

use super::Head;
use super::error::UpstreamError;
use crate::proxy::request_body::{AttemptBody, RequestBody};

/// The outcome of one sending.
pub(super) enum Attempt<B> {
    /// The head of a final response has come.
    Response(Response<B>),
    /// The sending does not count: the pooled connection had been closed before, or the upstream
    /// refused only the expectation. The body is untouched, and is sent again.
    Uncounted(AttemptBody),
    /// The upstream has not processed the request. It is sent once more, whatever its method. The
    /// body is here if nothing of it has been taken.
    Unprocessed(Failure, Option<AttemptBody>),
    /// A reused connection ended before the first byte of a response. The upstream may have
    /// processed the request, so only an idempotent one is sent once more.
    Unanswered(Failure),
    /// There is no response, and the request must not be sent again.
    Failed(UpstreamError),
}

/// Why a sending brought no response, although another may.
pub(super) struct Failure {
    pub(super) error: UpstreamError,
    /// The number of the HTTP/2 connection, which the next sending avoids.
    pub(super) connection: Option<u64>,
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

    /// Continues with the body of the next sending, or breaks with the outcome of this request.
    pub(super) fn after<B>(
        &mut self,
        attempt: Attempt<B>,
        head: &Head,
        body: &RequestBody,
    ) -> ControlFlow<Result<Response<B>, UpstreamError>, AttemptBody> {
        let (failure, next) = match attempt {
            Attempt::Response(response) => return ControlFlow::Break(Ok(response)),
            Attempt::Failed(error) => return ControlFlow::Break(Err(error)),
            Attempt::Uncounted(body) => return ControlFlow::Continue(body),
            Attempt::Unprocessed(failure, _) | Attempt::Unanswered(failure) if self.used => (failure, None),
            Attempt::Unprocessed(failure, untouched) => (failure, untouched.or_else(|| body.attempt())),
            Attempt::Unanswered(failure) if head.is_idempotent() => (failure, body.attempt()),
            Attempt::Unanswered(failure) => (failure, None),
        };
        self.used = true;
        self.avoids = Some(failure.connection.unwrap_or(u64::MAX));
        next.map_or(ControlFlow::Break(Err(failure.error)), ControlFlow::Continue)
    }
}
