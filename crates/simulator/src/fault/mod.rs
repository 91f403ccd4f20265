//! What can be made to go wrong.
//!
//! A fault is either an [`Action`], done at once and lasting until another one or a reset, or an [`Effect`] on
//! the requests that match. To add one: an arm of its enum, a line in `known.rs`, and the place that acts on it.

mod action;
mod active;
mod advice;
mod edit;
mod json;
mod known;
mod matching;
mod parameters;
mod spelling;

use std::time::Duration;

use serde_json::Value;

pub use action::Action;
pub(crate) use active::{Backend, Early, Fate, Faults, Instead, Plan};
pub(crate) use advice::{Names, advice, concerned};
pub use edit::Edit;
pub(crate) use edit::MEMBERS;
pub(crate) use known::{KNOWN, Known};
pub use matching::Match;
pub(crate) use matching::{ENDPOINTS, Subject};

/// One thing to go wrong; [`Simulator::inject`](super::Simulator::inject) takes it.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Done at once.
    Now(Action),
    /// Befalls matching requests.
    Requests(Effect, Match),
}

/// Something that befalls a request.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Answered so instead; nothing is executed.
    Status(StatusFault),
    /// The gateway's words for too many requests, with status 200; nothing is executed.
    Throttle200,
    /// Sent there instead, by a 302; nothing is executed.
    Redirect(String),
    /// Executed and answered that much later, even when the client has left by then.
    Delay(Duration),
    /// Read, and not answered until the fault is removed; then it is executed.
    Hang,
    /// The connection is reset; nothing is executed.
    ResetBeforeHeaders,
    /// Executed, then the connection is reset.
    LoseResponse,
    /// The suite's own 401, behind a gateway that found nothing wrong.
    Backend401,
    /// The 401 of Reports, for access tokens that were issued longer ago than this.
    TokenAgeLimit(Duration),
    /// Executed, and the answer altered.
    Edit(Edit),
    /// Where the body is announced by `Expect: 100-continue`: answered so, and the body not asked for.
    RefuseContinue(StatusFault),
    /// Answered so when this many bytes of the body have been read; the rest is not.
    EarlyResponse {
        /// The answer.
        instead: StatusFault,
        /// Bytes.
        read: u64,
    },
    /// Executed; from the so-manieth request of a connection on, the answer says that it is the last.
    CloseAfter(u32),
}

/// An answer in place of the real one.
#[derive(Clone, Debug, Default)]
pub struct StatusFault {
    /// The status.
    pub status: u16,
    /// The `Retry-After` header.
    pub retry_after: RetryAfter,
    /// The body; the service's usual one for the status when absent.
    pub body: Option<String>,
    /// The body's type; JSON when absent.
    pub content_type: Option<String>,
}

/// How `Retry-After` is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetryAfter {
    /// Not at all.
    #[default]
    None,
    /// An HTTP date that many seconds ahead.
    Date(u32),
    /// That many seconds.
    Delta(u32),
}

impl From<Action> for Fault {
    fn from(action: Action) -> Self {
        Self::Now(action)
    }
}

impl Fault {
    /// Every request is answered with `status` until the fault is removed.
    pub fn status(status: u16) -> Self {
        Self::from(Effect::Status(StatusFault { status, ..StatusFault::default() }))
    }

    /// Every request waits that long until the fault is removed.
    pub fn delay(by: Duration) -> Self {
        Self::from(Effect::Delay(by))
    }

    /// Every request hangs until the fault is removed.
    pub fn hang() -> Self {
        Self::from(Effect::Hang)
    }

    /// The next request is met by a reset.
    pub fn reset_before_headers() -> Self {
        Self::from(Effect::ResetBeforeHeaders).times(1)
    }

    /// The next request is executed and its answer lost.
    pub fn lose_response_after_commit() -> Self {
        Self::from(Effect::LoseResponse).times(1)
    }

    /// Backends under `path` answer 401 of their own until the fault is removed.
    pub fn backend_401(path: &str) -> Self {
        Self::from(Effect::Backend401).on(path)
    }

    /// Backends under `path` answer the 401 of Reports to access tokens that were issued longer ago than `age`,
    /// until the fault is removed.
    pub fn token_age_limit(path: &str, age: Duration) -> Self {
        Self::from(Effect::TokenAgeLimit(age)).on(path)
    }

    /// Every request is answered with status 200 and the gateway's words for too many requests.
    pub fn throttle_200() -> Self {
        Self::from(Effect::Throttle200)
    }

    /// Every request is sent to `location`.
    pub fn redirect(location: &str) -> Self {
        Self::from(Effect::Redirect(location.to_owned()))
    }

    /// Every token answer lacks this member.
    pub fn missing(field: &str) -> Self {
        Self::from(Edit::Missing(field.to_owned()))
    }

    /// Every token answer has this as its `expires_in`; the token lives as long as ever.
    pub fn expires_in_as(value: impl Into<Value>) -> Self {
        Self::from(Edit::ExpiresInAs(value.into()))
    }

    /// Every token answer has this as its `token_type`.
    pub fn token_type(value: &str) -> Self {
        Self::from(Edit::TokenType(value.to_owned()))
    }

    /// Every request is executed and answered with a page.
    pub fn html_body() -> Self {
        Self::from(Edit::HtmlBody)
    }

    /// Every request is executed, and the second half of its answer's body is missing.
    pub fn truncated_json() -> Self {
        Self::from(Edit::TruncatedJson)
    }

    /// Every request is executed and answered without a body.
    pub fn empty_body() -> Self {
        Self::from(Edit::EmptyBody)
    }

    /// Every request is executed, and its answer said to be of this type.
    pub fn wrong_content_type(content_type: &str) -> Self {
        Self::from(Edit::WrongContentType(content_type.to_owned()))
    }

    /// The next request is executed, and the connection reset in the middle of its answer's body.
    pub fn reset_mid_body() -> Self {
        Self::from(Edit::ResetMidBody(None)).times(1)
    }

    /// Every request is executed, and its answer's body sent at this many bytes a second.
    pub fn drip(bytes_per_second: u32) -> Self {
        Self::from(Edit::Drip(bytes_per_second))
    }

    /// Every error of the gateway is written as older gateways do: in XML.
    pub fn xml_fault() -> Self {
        Self::from(Edit::XmlFault)
    }

    /// Every error of the gateway is written as older gateways do: within a `fault`.
    pub fn fault_wrapped_json() -> Self {
        Self::from(Edit::FaultWrappedJson)
    }

    /// Every request that announces its body by `Expect: 100-continue` is answered 417 instead of being asked for it.
    pub fn refuse_continue() -> Self {
        Self::from(Effect::RefuseContinue(StatusFault { status: 417, ..StatusFault::default() }))
    }

    /// Every request is answered with `status` before its body has been read.
    pub fn early_response(status: u16) -> Self {
        let instead = StatusFault { status, ..StatusFault::default() };
        Self::from(Effect::EarlyResponse { instead, read: 0 })
    }

    /// Every connection is closed, with notice, after so many requests.
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
    /// Not a JSON object with a `fault`.
    #[error("expected an object with a string `fault`")]
    NotAFault,
    /// No fault is called that.
    #[error("unknown fault `{0}`")]
    Unknown(String),
    /// The fault takes no such parameter.
    #[error("`{fault}` takes no parameter `{parameter}`; it takes: {takes}")]
    UnknownParameter {
        /// The fault.
        fault: String,
        /// The parameter it was given.
        parameter: String,
        /// Those it takes.
        takes: String,
    },
    /// A parameter is missing or of the wrong kind.
    #[error("`{parameter}` of `{fault}`: expected {expected}")]
    BadParameter {
        /// The fault.
        fault: String,
        /// The parameter.
        parameter: String,
        /// What it should be.
        expected: String,
    },
    /// The clock would be set to a time that it cannot have. It was not moved.
    #[error("the clock stays between 1970-01-01T00:00:00Z and 9999-12-30T00:00:00Z")]
    ClockOutOfRange,
    /// No user is called that.
    #[error("no user `{0}`")]
    NoSuchUser(String),
    /// No application has that consumer key.
    #[error("no application `{0}`")]
    NoSuchApplication(String),
    /// No suite is called that.
    #[error("no suite `{0}`")]
    NoSuchSuite(String),
    /// No grant is called that.
    #[error("no grant `{0}`")]
    NoSuchGrant(String),
}
