//! What can be made to go wrong.
//!
//! A fault is either an [`Action`], done at once and lasting until another one or a reset, or an [`Effect`] on
//! the requests that match. To add one: an arm of its enum, a line in `json.rs`, and the place that acts on it.

mod action;
mod active;
mod edit;
mod json;

use std::time::Duration;

use serde_json::Value;

pub use action::Action;
pub(super) use active::{Backend, Fate, Faults, Instead, Plan, Subject};
pub use edit::Edit;
pub(super) use json::KNOWN;

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

/// Which requests a fault befalls, and how often.
#[derive(Clone, Debug)]
pub struct Match {
    /// A prefix of the raw path. `/token`, `/authorize`, `/revoke` and `/userinfo` match their tenant paths too.
    pub path: Option<String>,
    /// The method.
    pub method: Option<String>,
    /// The grant of a token request.
    pub grant: Option<String>,
    /// How many requests; `None` is every one until the fault is removed.
    pub count: Option<u64>,
    /// With what probability; 1 is always.
    pub probability: f64,
    /// Where that chance starts from.
    pub seed: u64,
}

impl Default for Match {
    fn default() -> Self {
        Self { path: None, method: None, grant: None, count: None, probability: 1.0, seed: 0 }
    }
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

    /// Only requests whose path starts so.
    #[must_use]
    pub fn on(self, path: &str) -> Self {
        self.matching(|on| on.path = Some(path.to_owned()))
    }

    /// Only requests of this method.
    #[must_use]
    pub fn method(self, method: &str) -> Self {
        self.matching(|on| on.method = Some(method.to_owned()))
    }

    /// Only token requests of this grant.
    #[must_use]
    pub fn grant(self, grant: &str) -> Self {
        self.matching(|on| on.grant = Some(grant.to_owned()))
    }

    /// Only so many requests.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        self.matching(|on| on.count = Some(count))
    }

    /// Only by chance.
    #[must_use]
    pub fn probability(self, probability: f64, seed: u64) -> Self {
        self.matching(|on| (on.probability, on.seed) = (probability, seed))
    }

    fn matching(mut self, change: impl FnOnce(&mut Match)) -> Self {
        if let Self::Requests(_, on) = &mut self {
            change(on);
        }
        self
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
    /// No user is called that.
    #[error("no user `{0}`")]
    NoSuchUser(String),
    /// No application has that consumer key.
    #[error("no application `{0}`")]
    NoSuchApplication(String),
    /// No suite is called that.
    #[error("no suite `{0}`")]
    NoSuchSuite(String),
}
