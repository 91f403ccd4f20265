//! What can be made to go wrong.
//!
//! A fault is either an [`Action`], done at once and lasting until another one or a reset, or an [`Effect`] on
//! the requests that match. To add one: an arm of its enum, two lines in `json.rs`, and the place that acts on it.

mod json;

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};

pub(in crate::simulator) use json::KNOWN;

use super::options::{Mode, OldAccess};
use super::random::Random;
use crate::secret::Secret;

/// One thing to go wrong; [`Simulator::inject`](super::Simulator::inject) takes it.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Done at once.
    Now(Action),
    /// Befalls matching requests.
    Requests(Effect, Match),
}

/// Something done at once.
#[derive(Clone, Debug)]
pub enum Action {
    /// Every access token is refused from now on; refresh tokens stay good.
    RevokeAllAccess,
    /// Every refresh token is refused from now on; access tokens stay good.
    RevokeAllRefresh,
    /// Access tokens issued from now on live this long; with `existing`, living ones no longer than that either.
    ExpireIn {
        /// How long.
        lifetime: Duration,
        /// Whether living tokens are shortened too.
        existing: bool,
    },
    /// What a second login does.
    Mode(Mode),
    /// What a refresh does to the old access token.
    OldAccess(OldAccess),
    /// Locked by an administrator; the user's tokens are revoked, as the service does, unless kept.
    LockUser {
        /// The whole user name.
        user: String,
        /// Leave the tokens alone.
        keep_tokens: bool,
    },
    /// Lifts any lock.
    UnlockUser {
        /// The whole user name.
        user: String,
    },
    /// A new password; the user's tokens are revoked, as the service does.
    ChangePassword {
        /// The whole user name.
        user: String,
        /// The new password.
        password: Secret,
    },
    /// Moves the simulator's clock.
    ClockAdvance(SignedDuration),
    /// Requests a minute for each application and user; `None` takes the limit away.
    Quota(Option<u32>),
    /// No application may use the suite any more.
    Unsubscribe {
        /// `provisioning`, `telephony`, …
        suite: String,
    },
}

/// Something that befalls a request.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Answered so instead; nothing is executed.
    Status(StatusFault),
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
    /// No suite is called that.
    #[error("no suite `{0}`")]
    NoSuchSuite(String),
}

/// What a fault looks at.
pub(super) struct Subject<'a> {
    pub(super) path: &'a str,
    /// The identity endpoint behind the path, by its short name.
    pub(super) endpoint: Option<&'static str>,
    pub(super) method: &'a str,
    pub(super) grant: Option<&'a str>,
}

impl Match {
    fn takes(&self, subject: &Subject<'_>) -> bool {
        let path = self.path.as_deref().is_none_or(|prefix| {
            subject.path.starts_with(prefix) || subject.endpoint.is_some_and(|name| name.starts_with(prefix))
        });
        path && self.method.as_deref().is_none_or(|method| method.eq_ignore_ascii_case(subject.method))
            && self.grant.as_deref().is_none_or(|grant| subject.grant == Some(grant))
    }
}

/// What befalls one request before and after it is executed.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) delay: Duration,
    pub(super) fate: Fate,
    pub(super) lose: bool,
}

#[derive(Default)]
pub(super) enum Fate {
    #[default]
    Execute,
    Answer(StatusFault),
    /// Until the fault of this id is gone.
    Hang(u64),
    Reset,
}

struct Injected {
    id: u64,
    effect: Effect,
    on: Match,
    left: Option<u64>,
    random: Random,
}

/// The faults on requests, in the order they came.
#[derive(Default)]
pub(super) struct Faults {
    active: Vec<Injected>,
    last: u64,
}

impl Faults {
    pub(super) fn next_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(super) fn add(&mut self, effect: Effect, on: Match) -> u64 {
        let id = self.next_id();
        let (left, random) = (on.count, Random::new(on.seed));
        self.active.push(Injected { id, effect, on, left, random });
        id
    }

    pub(super) fn remove(&mut self, id: u64) -> bool {
        let before = self.active.len();
        self.active.retain(|fault| fault.id != id);
        self.active.len() < before
    }

    pub(super) fn clear(&mut self) {
        self.active.clear();
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.active.iter().any(|fault| fault.id == id)
    }

    /// Decides what befalls a request, and counts it. The first fault that ends it wins; delays add up.
    pub(super) fn plan(&mut self, subject: &Subject<'_>) -> Plan {
        let mut plan = Plan::default();
        for fault in &mut self.active {
            let ended = !matches!(plan.fate, Fate::Execute) || plan.lose;
            let fits = match fault.effect {
                Effect::Delay(_) => true,
                Effect::Backend401 => false,
                _ => !ended,
            };
            if !fits || !fault.strikes(subject) {
                continue;
            }
            match &fault.effect {
                Effect::Status(status) => plan.fate = Fate::Answer(status.clone()),
                Effect::Delay(by) => plan.delay += *by,
                Effect::Hang => plan.fate = Fate::Hang(fault.id),
                Effect::ResetBeforeHeaders => plan.fate = Fate::Reset,
                Effect::LoseResponse => plan.lose = true,
                Effect::Backend401 => {}
            }
        }
        // One that hangs stays: removing it is what lets the request go.
        self.active.retain(|fault| fault.left != Some(0) || matches!(fault.effect, Effect::Hang));
        plan
    }

    /// Whether the backend refuses a request the gateway let through.
    pub(super) fn backend_refuses(&mut self, subject: &Subject<'_>) -> bool {
        let backend = self.active.iter_mut().filter(|fault| matches!(fault.effect, Effect::Backend401));
        let refuses = backend.into_iter().any(|fault| fault.strikes(subject));
        self.active.retain(|fault| fault.left != Some(0) || matches!(fault.effect, Effect::Hang));
        refuses
    }

    /// What `GET /__sim/faults` shows.
    pub(super) fn listed(&self) -> Value {
        let shown = self.active.iter().map(|fault| {
            let on = &fault.on;
            json!({
                "id": fault.id, "fault": fault.effect.name(), "path": on.path, "method": on.method,
                "grant": on.grant, "remaining": fault.left, "probability": on.probability,
            })
        });
        shown.collect()
    }
}

impl Injected {
    fn strikes(&mut self, subject: &Subject<'_>) -> bool {
        if self.left == Some(0) || !self.on.takes(subject) {
            return false;
        }
        if self.on.probability < 1.0 && !self.random.chance(self.on.probability) {
            return false;
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        true
    }
}

impl Effect {
    fn name(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Delay(_) => "delay",
            Self::Hang => "hang",
            Self::ResetBeforeHeaders => "reset_before_headers",
            Self::LoseResponse => "lose_response_after_commit",
            Self::Backend401 => "backend_401",
        }
    }
}
