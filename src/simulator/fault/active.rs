//! The faults on requests that are in force, and what they make of each request.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Edit, Effect, Match, StatusFault};
use crate::simulator::random::Random;

/// What a fault looks at.
pub(in crate::simulator) struct Subject<'a> {
    pub(in crate::simulator) path: &'a str,
    /// The identity endpoint behind the path, by its short name.
    pub(in crate::simulator) endpoint: Option<&'static str>,
    pub(in crate::simulator) method: &'a str,
    pub(in crate::simulator) grant: Option<&'a str>,
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
pub(in crate::simulator) struct Plan {
    pub(in crate::simulator) delay: Duration,
    pub(in crate::simulator) fate: Fate,
    pub(in crate::simulator) lose: bool,
    /// What is done to the answer, in this order.
    pub(in crate::simulator) edits: Vec<Edit>,
}

#[derive(Default)]
pub(in crate::simulator) enum Fate {
    #[default]
    Execute,
    Answer(Instead),
    /// Until the fault of this id is gone.
    Hang(u64),
    Reset,
}

/// An answer to a request that is not executed.
pub(in crate::simulator) enum Instead {
    Status(StatusFault),
    Throttle200,
    Redirect(String),
}

/// Why a backend refuses a request that the gateway let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulator) enum Backend {
    Refuses,
    TokenTooOld,
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
pub(in crate::simulator) struct Faults {
    active: Vec<Injected>,
    last: u64,
}

impl Faults {
    pub(in crate::simulator) fn next_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(in crate::simulator) fn add(&mut self, effect: Effect, on: Match) -> u64 {
        let id = self.next_id();
        let (left, random) = (on.count, Random::new(on.seed));
        self.active.push(Injected { id, effect, on, left, random });
        id
    }

    pub(in crate::simulator) fn remove(&mut self, id: u64) -> bool {
        let before = self.active.len();
        self.active.retain(|fault| fault.id != id);
        self.active.len() < before
    }

    pub(in crate::simulator) fn clear(&mut self) {
        self.active.clear();
    }

    pub(in crate::simulator) fn contains(&self, id: u64) -> bool {
        self.active.iter().any(|fault| fault.id == id)
    }

    /// Decides what befalls a request, and counts it. The first fault that ends it wins; delays and edits add up.
    pub(in crate::simulator) fn plan(&mut self, subject: &Subject<'_>) -> Plan {
        let mut plan = Plan::default();
        if self.active.is_empty() {
            return plan;
        }
        for fault in &mut self.active {
            let ended = !matches!(plan.fate, Fate::Execute) || plan.lose;
            let fits = match &fault.effect {
                Effect::Delay(_) => true,
                Effect::Backend401 | Effect::TokenAgeLimit(_) => false,
                Effect::Edit(edit) if edit.is_for_tokens() => !ended && subject.endpoint == Some("/token"),
                _ => !ended,
            };
            if !fits || !fault.strikes(subject) {
                continue;
            }
            match &fault.effect {
                Effect::Status(status) => plan.fate = Fate::Answer(Instead::Status(status.clone())),
                Effect::Throttle200 => plan.fate = Fate::Answer(Instead::Throttle200),
                Effect::Redirect(location) => plan.fate = Fate::Answer(Instead::Redirect(location.clone())),
                Effect::Delay(by) => plan.delay += *by,
                Effect::Hang => plan.fate = Fate::Hang(fault.id),
                Effect::ResetBeforeHeaders => plan.fate = Fate::Reset,
                Effect::LoseResponse => plan.lose = true,
                Effect::Edit(edit) => plan.edits.push(edit.clone()),
                Effect::Backend401 | Effect::TokenAgeLimit(_) => {}
            }
        }
        self.drop_spent();
        plan
    }

    /// Whether the backend refuses a request the gateway let through; `age` is how long ago its token was issued.
    pub(in crate::simulator) fn backend(&mut self, subject: &Subject<'_>, age: Duration) -> Option<Backend> {
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

    /// One that hangs stays: removing it is what lets the request go.
    fn drop_spent(&mut self) {
        self.active.retain(|fault| fault.left != Some(0) || matches!(fault.effect, Effect::Hang));
    }

    /// What `GET /__sim/faults` shows.
    pub(in crate::simulator) fn listed(&self) -> Value {
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
            Self::Throttle200 => "throttle_200",
            Self::Redirect(_) => "redirect",
            Self::Delay(_) => "delay",
            Self::Hang => "hang",
            Self::ResetBeforeHeaders => "reset_before_headers",
            Self::LoseResponse => "lose_response_after_commit",
            Self::Backend401 => "backend_401",
            Self::TokenAgeLimit(_) => "token_age_limit",
            Self::Edit(edit) => edit.name(),
        }
    }
}
