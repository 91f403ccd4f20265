//! The active faults on requests, and their effect on each request.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Edit, Effect, Match, StatusFault, Subject};
use crate::random::Random;
use vbc_base::clock::{Timestamp, after};

/// The effect of all faults on one request.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) delay: Duration,
    pub(crate) fate: Fate,
    pub(crate) lose: bool,
    /// The edits of the response, in this order.
    pub(crate) edits: Vec<Edit>,
    /// The connection closes after this many of its requests.
    pub(crate) close_after: Option<u32>,
}

/// What happens to a request.
#[derive(Default)]
pub(crate) enum Fate {
    /// Execute it.
    #[default]
    Execute,
    /// Respond without executing it.
    Respond(Substitute),
    /// Hang until the fault with this id is gone.
    Hang(u64),
    /// Reset the connection.
    Reset,
}

/// The response to a request that is not executed.
pub(crate) enum Substitute {
    /// A status with an optional body.
    Status(StatusFault),
    /// The gateway's error for too many requests, with status 200.
    Throttle200,
    /// A redirect to this location.
    Redirect(String),
}

/// A response before the body has arrived.
pub(crate) struct EarlyResponse {
    pub(crate) instead: StatusFault,
    /// How many bytes of the body are read first.
    pub(crate) read: u64,
}

/// Why a backend rejects a request that the gateway admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// The suite's own 401.
    Refuses,
    /// The 401 of Reports for old tokens.
    TokenTooOld,
}

/// A fault on requests, and how often it will still strike.
struct ActiveFault {
    id: u64,
    effect: Effect,
    on: Match,
    /// How many more matching requests pass before it strikes.
    pass: u64,
    left: Option<u64>,
    until: Option<Timestamp>,
    random: Random,
}

/// The faults on requests, in the order of their injection.
#[derive(Default)]
pub(crate) struct Faults {
    active: Vec<ActiveFault>,
    last: u64,
    seed: u64,
}

impl Faults {
    /// No faults. `seed` is used for the probability of faults that have no seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(crate) fn add(&mut self, effect: Effect, on: Match, now: Timestamp) -> u64 {
        let id = self.next_id();
        let seed = on.seed.unwrap_or_else(|| Random::new(self.seed ^ id).next());
        let until = on.lasts.map(|lasts| after(now, lasts));
        let pass = on.after;
        let left = on.count;
        self.active.push(ActiveFault { id, effect, on, pass, left, until, random: Random::new(seed) });
        id
    }

    /// Removes expired faults, and returns whether there were any.
    pub(crate) fn expire(&mut self, now: Timestamp) -> bool {
        let before = self.active.len();
        self.active.retain(|fault| fault.until.is_none_or(|until| until > now));
        self.active.len() < before
    }

    /// When the first fault expires.
    pub(crate) fn next_end(&self) -> Option<Timestamp> {
        self.active.iter().filter_map(|fault| fault.until).min()
    }

    pub(crate) fn remove(&mut self, id: u64) -> bool {
        let before = self.active.len();
        self.active.retain(|fault| fault.id != id);
        self.active.len() < before
    }

    pub(crate) fn clear(&mut self) {
        self.active.clear();
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.active.iter().any(|fault| fault.id == id)
    }

    /// Decides the fate of a request, and counts the request for every fault that strikes it.
    ///
    /// The first fault that decides the fate wins. Delays and edits add up. Edits also alter a
    /// response that another fault sends.
    pub(crate) fn plan(&mut self, subject: &Subject<'_>) -> Plan {
        let mut plan = Plan::default();
        if self.active.is_empty() {
            return plan;
        }
        for fault in &mut self.active {
            let ended = !matches!(plan.fate, Fate::Execute) || plan.lose;
            let answered = matches!(plan.fate, Fate::Execute | Fate::Respond(_)) && !plan.lose;
            let fits = match &fault.effect {
                Effect::Delay(_) => true,
                Effect::Backend401
                | Effect::TokenAgeLimit(_)
                | Effect::RefuseContinue(_)
                | Effect::EarlyResponse { .. } => false,
                Effect::Edit(edit) if edit.is_for_tokens() => !ended && subject.endpoint == Some("/token"),
                Effect::Edit(_) => answered,
                _ => !ended,
            };
            if !fits || !fault.strikes(subject) {
                continue;
            }
            match &fault.effect {
                Effect::Status(status) => plan.fate = Fate::Respond(Substitute::Status(status.clone())),
                Effect::Throttle200 => plan.fate = Fate::Respond(Substitute::Throttle200),
                Effect::Redirect(location) => {
                    plan.fate = Fate::Respond(Substitute::Redirect(location.clone()))
                }
                Effect::Delay(by) => plan.delay += *by,
                Effect::Hang => plan.fate = Fate::Hang(fault.id),
                Effect::ResetBeforeHeaders => plan.fate = Fate::Reset,
                Effect::LoseResponse => plan.lose = true,
                Effect::Edit(edit) => plan.edits.push(edit.clone()),
                Effect::CloseAfter(requests) => {
                    plan.close_after =
                        Some(plan.close_after.map_or(*requests, |before| before.min(*requests)));
                }
                Effect::Backend401
                | Effect::TokenAgeLimit(_)
                | Effect::RefuseContinue(_)
                | Effect::EarlyResponse { .. } => {}
            }
        }
        self.drop_spent();
        plan
    }

    /// Decides whether a request gets a response before its body has arrived. If so, counts the
    /// request for that fault. `announced` means that the request has `Expect: 100-continue`.
    pub(crate) fn early(&mut self, subject: &Subject<'_>, announced: bool) -> Option<EarlyResponse> {
        let early = self.active.iter_mut().find_map(|fault| {
            let early = match &fault.effect {
                Effect::RefuseContinue(instead) if announced => {
                    EarlyResponse { instead: instead.clone(), read: 0 }
                }
                Effect::EarlyResponse { instead, read } => {
                    EarlyResponse { instead: instead.clone(), read: *read }
                }
                _ => return None,
            };
            fault.strikes(subject).then_some(early)
        });
        if early.is_some() {
            self.drop_spent();
        }
        early
    }

    /// Decides whether a backend rejects a request that the gateway admitted. `age` is the time
    /// since its token was issued.
    pub(crate) fn backend(&mut self, subject: &Subject<'_>, age: Duration) -> Option<Backend> {
        let refusal = self.active.iter_mut().find_map(|fault| {
            let refusal = match fault.effect {
                Effect::Backend401 => Backend::Refuses,
                Effect::TokenAgeLimit(limit) if age > limit => Backend::TokenTooOld,
                _ => return None,
            };
            fault.strikes(subject).then_some(refusal)
        });
        if refusal.is_some() {
            self.drop_spent();
        }
        refusal
    }

    /// Removes faults that have struck all their requests. A fault that holds requests stays,
    /// because removing it would release them.
    fn drop_spent(&mut self) {
        self.active.retain(|fault| fault.left != Some(0) || matches!(fault.effect, Effect::Hang));
    }

    /// The faults as `GET /__sim/faults` shows them.
    pub(crate) fn listed(&self) -> Vec<Value> {
        let shown = self.active.iter().map(|fault| {
            let on = &fault.on;
            json!({
                "id": fault.id, "kind": "request", "fault": fault.effect.name(), "with": fault.effect.parameters(), "path": on.path, "endpoint": on.endpoint,
                "method": on.method, "grant": on.grant, "passing": fault.pass, "remaining": fault.left,
                "until": fault.until.map(|until| until.to_string()), "probability": on.probability,
            })
        });
        shown.collect()
    }
}

impl ActiveFault {
    fn strikes(&mut self, subject: &Subject<'_>) -> bool {
        if self.left == Some(0) || !self.on.takes(subject) {
            return false;
        }
        if self.pass > 0 {
            self.pass -= 1;
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
    /// The parameters of the effect. The parameters of the match are shown separately.
    fn parameters(&self) -> Value {
        match self {
            Self::Status(instead) | Self::RefuseContinue(instead) => json!({ "status": instead.status }),
            Self::EarlyResponse { instead, read } => json!({ "status": instead.status, "bytes": read }),
            Self::Redirect(location) => json!({ "location": location }),
            Self::Delay(by) => json!({ "millis": u64::try_from(by.as_millis()).unwrap_or(u64::MAX) }),
            Self::TokenAgeLimit(limit) => json!({ "seconds": limit.as_secs() }),
            Self::CloseAfter(requests) => json!({ "requests": requests }),
            Self::Edit(edit) => edit.parameters(),
            _ => json!({}),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Throttle200 => "throttle_200",
            Self::Redirect(_) => "redirect",
            Self::Delay(_) => "delay",
            Self::Hang => "hang",
            Self::ResetBeforeHeaders => "reset_before_headers",
            Self::LoseResponse => "lose_response_after_commit",
            Self::Backend401 => "backend_401",
            Self::TokenAgeLimit(_) => "token_age_limit",
            Self::Edit(edit) => edit.name(),
            Self::RefuseContinue(_) => "refuse_continue",
            Self::EarlyResponse { .. } => "early_response",
            Self::CloseAfter(_) => "close_after_n_requests",
        }
    }
}
