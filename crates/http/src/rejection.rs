//! Why a request is rejected, in any version of HTTP.

use thiserror::Error;

/// Why a request was rejected: before it was complete, or in the middle of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestRejection {
    /// The request is not valid HTTP. The text says why, and quotes nothing from the request.
    #[error("{0}")]
    Malformed(&'static str),
    /// The request target is over the limit.
    #[error("the request target is too long")]
    TargetTooLong,
    /// The head is over the limit, in bytes or in lines.
    #[error("the request head is too large")]
    HeadTooLarge,
    /// The head was not complete in time.
    #[error("the request head did not arrive in time")]
    HeadTimeout,
    /// The body stopped arriving.
    #[error("the request body stopped arriving")]
    BodyTimeout,
    /// The limit of connections is reached; nothing was read from this one.
    #[error("too many connections are open; nothing was read from this one")]
    TooManyConnections,
}
