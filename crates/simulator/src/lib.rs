//! A faithful, scriptable simulator of the VBC service: its identity server, its gateway and its API suites.
//!
//! [`Simulator::start`] serves a seeded world on a free loopback port, in the current tokio runtime and without
//! threads of its own; dropping it ends it. It keeps the service's rules, down to its error bodies, in the order
//! the service applies them; what is unknown of the service can be switched ([`SimulatorOptions`]), and what can
//! go wrong can be made to ([`Fault`]). What arrived is remembered ([`Recorded`], [`Stats`]) without a secret.
//!
//! A second port is the control plane, described by its `/__sim/openapi.json`: faults, clock, scenarios, what arrived,
//! and verdicts over what was expected. [`Service`] is the same without sockets, for tests that ask a hundred thousand
//! times.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use vbc_proxy::simulator::{Expectation, Fault, Simulator};
//!
//! let sim = Simulator::start().await?;
//! println!("the service is at {}, its switches at {}", sim.url(), sim.control_url());
//! sim.revoke_access_tokens();
//! sim.fail_next("/t/vbc.prod/reports/**", 503);
//! let _ = sim.inject(Fault::status(503).on("/token").times(2));
//! sim.expect([Expectation::new("POST", "/token").grant("refresh_token").times(1)]);
//! // … the code under test …
//! assert!(sim.verdict().met, "{}", sim.verdict());
//! # Ok(())
//! # }
//! ```
//!
//! It imports nothing of the proxy it is there to test.

mod api;
mod builder;
mod control;
mod engine;
mod expect;
mod fault;
mod field;
mod gateway;
mod identities;
mod journal;
mod listeners;
mod names;
mod oauth;
mod options;
mod pattern;
mod policy;
mod random;
mod request;
mod response;
mod scenario;
mod service;
mod simulator;
mod state;
mod suggestion;
mod targets;
mod times;
mod tokens;
mod verbs;
mod world;

pub use builder::SimulatorBuilder;
pub use expect::{Expectation, Finding, Verdict};
pub use fault::{Action, Edit, Effect, Fault, FaultError, Match, RetryAfter, StatusFault};
pub use field::{Field, FieldReport, UnknownReport};
pub use identities::{Application, Identity, User};
pub use journal::Recorded;
pub use options::{SimulatorOptions, Step};
pub use policy::{Lifetimes, Mode, OldAccess, TokenFormat, UnknownWord};
pub use scenario::{Finding as ScenarioFinding, Scenario, ScenarioError};
pub use service::Service;
pub use simulator::Simulator;
pub use state::stats::{Outcomes, Stats};
pub use targets::{NoTarget, WebhookTargets};

#[cfg(test)]
mod tests;
