//! Why a grant was not redeemed, and why an endpoint cannot be used.

use std::time::Duration;

use thiserror::Error;

/// Why a grant could not be redeemed.
///
/// `Display` is for the log. It has the server's error code and description, without user names and
/// secrets.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct TokenError {
    /// Decides what the caller does next.
    pub class: Class,
    /// The reason, for the log and the status page.
    pub message: String,
    /// The server's `Retry-After`, or WSO2's `nextAccessTime`; a day at most.
    pub retry_after: Option<Duration>,
}

/// The classes of failure, judged per grant.
///
/// Each refused login counts towards the account's lock. So [`NotJudged`](Self::NotJudged) is a
/// closed list, and every other response to a login counts as an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The server has not judged the grant: back off and try again.
    ///
    /// One of these happened:
    ///
    /// - The request was not sent, or not completely.
    /// - The response was 408, 425, 429, a redirect, a code 9008xx, or a 503 without an OAuth
    ///   error.
    /// - For a login: the response was a 2xx without a usable token.
    NotJudged,
    /// The server may have judged or spent the grant.
    ///
    /// One of these happened:
    ///
    /// - There was no response, or a 5xx.
    /// - The error was `server_error`, `temporarily_unavailable` or `slow_down`.
    /// - For a refresh: the response was a 2xx without a usable token.
    Ambiguous,
    /// The application is refused: try again slowly, or when the configuration changes. The error
    /// is `invalid_client`. For a login it may also be `unauthorized_client`,
    /// `unsupported_grant_type` or `invalid_scope`.
    Configuration,
    /// 404 or 405: `token_url` is most likely wrong. Try again as slowly as after
    /// [`Class::Configuration`]. This class does not mean that a refresh token is invalid.
    WrongUrl,
    /// Only for a refresh: the application is not allowed to use this grant (`unauthorized_client`,
    /// `unsupported_grant_type`). Another grant may still be redeemed.
    Unsupported,
    /// The grant is refused for good. A refresh token is then dead, regardless of the error code.
    Refused,
    /// Only for a login: a 4xx without a readable error. The response counts as an attempt. The
    /// login is tried once more after the duration of a lock; a second such response counts as
    /// refused.
    Unexplained,
    /// The account is locked (error 17003). Every further attempt extends the lock.
    Locked,
}

/// Why an endpoint could not be created.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// The HTTP client refused its settings.
    #[error("cannot build the HTTP client for the token endpoint")]
    Client(#[source] reqwest::Error),
    /// Not an `http` or `https` URL with a host.
    #[error("the token URL must be an http or https URL")]
    NotHttp,
    /// The URL has `user:password@`, which would be sent as a second client authentication and
    /// logged.
    #[error(
        "the token URL must not contain a user name or password; set client_id and client_secret instead"
    )]
    UserInfo,
}
