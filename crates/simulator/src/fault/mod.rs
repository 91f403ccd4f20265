//! Faults: everything that can be made to go wrong.
//!
//! A fault is an [`Action`] or an [`Effect`]. An action takes effect once and lasts until another
//! action or a reset. An effect applies to matching requests. To add a fault, add a variant to its
//! enum, a line to `specs.rs`, a row to `docs/simulator.md`, and the code that handles it.

mod action;
mod active;
mod advice;
mod edit;
mod json;
mod matching;
mod parameters;
mod specs;
mod spelling;

use std::time::Duration;

use serde_json::Value;

pub use action::Action;
pub(crate) use active::{Backend, EarlyResponse, Fate, Faults, Plan, Substitute};
pub(crate) use advice::{Names, advice, concerned};
pub use edit::Edit;
pub(crate) use edit::MEMBERS;
pub use matching::Match;
pub(crate) use matching::{ENDPOINTS, Subject};
pub(crate) use specs::{FAULTS, FaultSpec};

/// A fault, injected with [`Simulator::inject`](super::Simulator::inject).
#[derive(Clone, Debug)]
pub enum Fault {
    /// Takes effect once, at injection.
    Now(Action),
    /// Applied to matching requests.
    Requests(Effect, Match),
}

/// An effect on a request.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Sends this response; the request is not executed.
    Status(StatusFault),
    /// Sends the gateway's error for too many requests with status 200; the request is not
    /// executed.
    Throttle200,
    /// Redirects to this location with 302; the request is not executed.
    Redirect(String),
    /// Delays the request by this time, then executes it, even if the client has disconnected.
    Delay(Duration),
    /// Holds the request until the fault is removed or ends, then executes the request.
    Hang,
    /// Resets the connection; the request is not executed.
    ResetBeforeHeaders,
    /// Executes the request, then resets the connection.
    LoseResponse,
    /// Sends the suite's own 401, although the gateway admitted the request.
    Backend401,
    /// Sends the 401 of Reports for access tokens older than this.
    TokenAgeLimit(Duration),
    /// Executes the request and alters the response.
    Edit(Edit),
    /// Responds to `Expect: 100-continue` with this response instead of requesting the body.
    RefuseContinue(StatusFault),
    /// Responds before the request's body has been read completely. The rest is not read.
    EarlyResponse {
        /// The response.
        instead: StatusFault,
        /// How many bytes of the body are read first.
        read: u64,
    },
    /// Closes each connection after this many of its requests.
    CloseAfter(u32),
}

/// A response in place of the real one.
#[derive(Clone, Debug, Default)]
pub struct StatusFault {
    /// The status.
    pub status: u16,
    /// The `Retry-After` header.
    pub retry_after: RetryAfter,
    /// The body; `None` means VBC's usual body for the status.
    pub body: Option<String>,
    /// The type of the body; `None` means JSON.
    pub content_type: Option<String>,
}

/// The form of `Retry-After`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetryAfter {
    /// No such header.
    #[default]
    None,
    /// An HTTP date this many seconds ahead.
    Date(u32),
    /// This many seconds.
    Delta(u32),
}

impl From<Action> for Fault {
    fn from(action: Action) -> Self {
        Self::Now(action)
    }
}

impl Fault {
    /// Responds to every request with `status`, until the fault is removed.
    pub fn status(status: u16) -> Self {
        Self::from(Effect::Status(StatusFault { status, ..StatusFault::default() }))
    }

    /// Delays every request, until the fault is removed.
    pub fn delay(by: Duration) -> Self {
        Self::from(Effect::Delay(by))
    }

    /// Holds every request, until the fault is removed.
    pub fn hang() -> Self {
        Self::from(Effect::Hang)
    }

    /// Resets the connection of the next request.
    pub fn reset_before_headers() -> Self {
        Self::from(Effect::ResetBeforeHeaders).times(1)
    }

    /// Executes the next request, then resets the connection without a response.
    pub fn lose_response_after_commit() -> Self {
        Self::from(Effect::LoseResponse).times(1)
    }

    /// Makes backends under `path` respond with their own 401, until the fault is removed.
    pub fn backend_401(path: &str) -> Self {
        Self::from(Effect::Backend401).on(path)
    }

    /// Makes backends under `path` respond with the 401 of Reports to access tokens older than
    /// `age`, until the fault is removed.
    pub fn token_age_limit(path: &str, age: Duration) -> Self {
        Self::from(Effect::TokenAgeLimit(age)).on(path)
    }

    /// Responds to every request with the gateway's error for too many requests, but with status
    /// 200.
    pub fn throttle_200() -> Self {
        Self::from(Effect::Throttle200)
    }

    /// Redirects every request to `location` with 302.
    pub fn redirect(location: &str) -> Self {
        Self::from(Effect::Redirect(location.to_owned()))
    }

    /// Removes this member from every token response.
    pub fn missing(field: &str) -> Self {
        Self::from(Edit::Missing(field.to_owned()))
    }

    /// Sets `expires_in` of every token response; the lifetime of the token is unchanged.
    pub fn expires_in_as(value: impl Into<Value>) -> Self {
        Self::from(Edit::ExpiresInAs(value.into()))
    }

    /// Sets `token_type` of every token response.
    pub fn token_type(value: &str) -> Self {
        Self::from(Edit::TokenType(value.to_owned()))
    }

    /// Executes every request, and responds with an HTML page.
    pub fn html_body() -> Self {
        Self::from(Edit::HtmlBody)
    }

    /// Executes every request, and omits the second half of the response's body.
    pub fn truncated_json() -> Self {
        Self::from(Edit::TruncatedJson)
    }

    /// Executes every request, and responds without a body.
    pub fn empty_body() -> Self {
        Self::from(Edit::EmptyBody)
    }

    /// Executes every request, and labels the response with this type.
    pub fn wrong_content_type(content_type: &str) -> Self {
        Self::from(Edit::WrongContentType(content_type.to_owned()))
    }

    /// Executes the next request, and resets the connection in the middle of the response's body.
    pub fn reset_mid_body() -> Self {
        Self::from(Edit::ResetMidBody(None)).times(1)
    }

    /// Executes every request, and sends the response's body at this many bytes per second.
    pub fn drip(bytes_per_second: u32) -> Self {
        Self::from(Edit::Drip(bytes_per_second))
    }

    /// Writes every error of the gateway in XML, as older gateways do.
    pub fn xml_fault() -> Self {
        Self::from(Edit::XmlFault)
    }

    /// Wraps every error of the gateway in `fault`, as older gateways do.
    pub fn fault_wrapped_json() -> Self {
        Self::from(Edit::FaultWrappedJson)
    }

    /// Responds with 417 to every request with `Expect: 100-continue`.
    pub fn refuse_continue() -> Self {
        Self::from(Effect::RefuseContinue(StatusFault { status: 417, ..StatusFault::default() }))
    }

    /// Responds to every request with `status` before its body has been read.
    pub fn early_response(status: u16) -> Self {
        let instead = StatusFault { status, ..StatusFault::default() };
        Self::from(Effect::EarlyResponse { instead, read: 0 })
    }

    /// Closes every connection after this many requests, with `Connection: close`.
    pub fn close_after(requests: u32) -> Self {
        Self::from(Effect::CloseAfter(requests))
    }
}

impl From<Edit> for Effect {
    fn from(edit: Edit) -> Self {
        Self::Edit(edit)
    }
}

impl From<Edit> for Fault {
    fn from(edit: Edit) -> Self {
        Self::from(Effect::from(edit))
    }
}

impl From<Effect> for Fault {
    fn from(effect: Effect) -> Self {
        Self::Requests(effect, Match::default())
    }
}

/// Why a fault was not injected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// The JSON is not an object with a `fault`.
    #[error("expected an object with a string `fault`")]
    NotAFault,
    /// No fault has this name.
    #[error("unknown fault `{0}`")]
    Unknown(String),
    /// The fault has no such parameter.
    #[error("`{fault}` takes no parameter `{parameter}`; it takes: {takes}")]
    UnknownParameter {
        /// The fault.
        fault: String,
        /// The given parameter.
        parameter: String,
        /// The parameters that the fault takes.
        takes: String,
    },
    /// A parameter is missing or invalid.
    #[error("`{parameter}` of `{fault}`: expected {expected}")]
    BadParameter {
        /// The fault.
        fault: String,
        /// The parameter.
        parameter: String,
        /// The expected value.
        expected: String,
    },
    /// The clock cannot be set to that time, and was not moved.
    #[error("the clock must stay between 1970-01-01T00:00:00Z and 9999-12-30T00:00:00Z")]
    ClockOutOfRange,
    /// No user has this name.
    #[error("no user `{0}`")]
    NoSuchUser(String),
    /// No application has this consumer key.
    #[error("no application `{0}`")]
    NoSuchApplication(String),
    /// No suite has this name.
    #[error("no suite `{0}`")]
    NoSuchSuite(String),
    /// No grant has this name.
    #[error("no grant `{0}`")]
    NoSuchGrant(String),
}
