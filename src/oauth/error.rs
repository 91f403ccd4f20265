//! What a failed redeem means, in the classes its caller decides by.

use std::time::Duration;

use thiserror::Error;

/// Why a grant could not be redeemed.
///
/// `Display` is for the log: it carries the server's error code and description with user names taken out, and no
/// secret.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct RedeemError {
    /// What the caller does next depends on this alone.
    pub class: Class,
    /// For the log and the status page.
    pub message: String,
    /// How long the server asked to be left alone (`Retry-After`, or WSO2's `nextAccessTime`); a day at most.
    pub retry_after: Option<Duration>,
}

/// The classes of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The request never reached the server, or the server said it cannot answer now (connection refused, 5xx,
    /// 429, an answer that is not an OAuth answer): back off and try again.
    Transient,
    /// The request was sent and its answer lost (reset, timeout, truncated body), or it cannot tell what became of a
    /// refresh (an unusable 200, a `server_error` with 500 or 502): the grant may or may not have been used up.
    Ambiguous,
    /// The application is refused (`invalid_client`, `unauthorized_client`, `invalid_scope`, `invalid_request`):
    /// nothing changes until the configuration does.
    Configuration,
    /// The grant is refused (`invalid_grant`).
    Grant,
    /// The account is locked (error 17003): every further attempt makes the lock last longer.
    Locked,
}
