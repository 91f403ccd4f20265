//! What a failed redeem means, in the classes its caller decides by.

use std::time::Duration;

use thiserror::Error;

/// Why a grant could not be redeemed.
///
/// `Display` is for the log: it carries the server's error code and description with user names taken out, and no
/// secret.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct TokenError {
    /// What the caller does next depends on this alone.
    pub class: Class,
    /// For the log and the status page.
    pub message: String,
    /// How long the server asked to be left alone (`Retry-After`, or WSO2's `nextAccessTime`); a day at most.
    pub retry_after: Option<Duration>,
}

/// The classes of failure, judged per grant.
///
/// Each refused login counts towards the account's lock. So the harmless class is a list for a login, and every
/// response that the list does not name counts as an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The server has not judged the grant: back off and try again.
    ///
    /// The request was never sent or not fully written, or the response was 408, 425, 429, a redirect, a code 9008xx,
    /// a 503 without an OAuth error, or (for a login) a 2xx without a usable token.
    NotJudged,
    /// The server may have judged the grant, or used it up: a 5xx, no response, `server_error`,
    /// `temporarily_unavailable`, `slow_down`, or (for a refresh) a 2xx without a usable token.
    Ambiguous,
    /// The application is refused (`invalid_client`; for a login also `unauthorized_client`, `unsupported_grant_type`
    /// and `invalid_scope`): try again slowly, or when the configuration changes.
    Configuration,
    /// 404 or 405: `token_url` is most likely wrong. Tried again as slowly as [`Class::Configuration`]. It says
    /// nothing about a refresh token.
    WrongUrl,
    /// Only for a refresh: the application may not use this grant (`unauthorized_client`, `unsupported_grant_type`).
    /// Another grant may still be redeemed.
    Unsupported,
    /// The grant is refused, once and for all. A refresh token is dead then, whatever words said so.
    Refused,
    /// Only for a login: a 4xx without a readable error. It counts as an attempt, is tried once more after the time
    /// of a lock, and is then taken for refused.
    Unexplained,
    /// The account is locked (error 17003): every further attempt makes the lock last longer.
    Locked,
}
