//! A simulator of the Vonage Business Communications (VBC) API, for tests.
//!
//! Use it to test a client of VBC without an account: with faults, revoked tokens, locked users and
//! a movable clock. It simulates the identity server, the gateway and the API suites, with their
//! rules, the order of their checks and their error bodies. It needs no network except loopback.
//! It shares no code with a proxy or client that it tests, apart from `vbc-http` and `vbc-base`.
//!
//! # Example
//!
//! A fault rejects the first login, and the second one succeeds:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use vbc_simulator::{Fault, Simulator};
//!
//! let sim = Simulator::start().await?;
//! sim.inject(Fault::status(503).on("/token").times(1))?;
//!
//! // Your client would get `sim.url()`. Here the service is called without a socket.
//! let login = "grant_type=password&username=alice@vbc.prod&password=sim-password\
//!              &client_id=sim-client&client_secret=sim-secret";
//! for expected in [503, 200] {
//!     let request = http::Request::post("/token").body(login.into())?;
//!     let response = sim.service().respond(request).await.ok_or("the connection was reset")?;
//!     assert_eq!(response.status(), expected);
//! }
//! assert_eq!(sim.stats().logins.ok, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Main types, in order of use
//!
//! 1. [`Simulator`] runs the service and its control plane on two ports. [`Simulator::builder`]
//!    returns a [`SimulatorBuilder`] for everything that can be configured.
//! 2. [`Identity`], [`Application`] and [`User`] describe who may log in.
//! 3. [`Fault`] and [`Action`] make something go wrong. A [`Scenario`] is a file of them.
//! 4. [`RecordedRequest`], [`Stats`], [`Expectation`] and [`Verdict`] show what the client did.
//! 5. [`Clock`] is the simulator's time.
//! 6. [`Service`] is the same simulation without sockets.
//!
//! # Start
//!
//! [`Simulator::start`] serves a seeded world on two free loopback ports: the service at
//! [`Simulator::url`], and the control plane at [`Simulator::control_url`]. Dropping the simulator
//! closes both. [`Identity::demo`] can log in immediately; [`Simulator::builder`] adds others.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! use vbc_simulator::{Mode, Simulator, User};
//!
//! let sim = Simulator::builder()
//!     .seed(7)
//!     .mode(Mode::RenewKeep)
//!     .quota(10)
//!     .user(User::new("dora", "dora-password").without("reports"))
//!     .start()
//!     .await?;
//! println!("give your client {} as its base URL", sim.url());
//! # Ok(())
//! # }
//! ```
//!
//! # Faults
//!
//! [`Simulator::inject`] makes something go wrong: a [`Fault`] on matching requests, or an
//! [`Action`] that changes the world once. Frequent faults and actions have methods of their
//! own.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use vbc_simulator::{Fault, Simulator};
//! # let sim = Simulator::start().await?;
//! sim.inject(Fault::status(503).on("/token").times(2))?;
//! sim.fail_next("/t/vbc.prod/reports/**", 500);
//! sim.revoke_access_tokens();
//! sim.lock_user("alice@vbc.prod")?;
//! # Ok(())
//! # }
//! ```
//!
//! # Scenarios
//!
//! A [`Scenario`] is a TOML file with options, users and a timeline of faults. With a seed or a
//! scenario, the same requests at the same times get the same responses.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use vbc_simulator::{Scenario, Simulator};
//!
//! let text = "
//! seed = 7
//!
//! [[timeline]]
//! at = '30s'
//! fault = 'status'
//! status = 503
//! path = '/token'
//! lasts = '20s'
//! ";
//! let scenario = Scenario::parse("outage.toml", text)?;
//! let sim = Simulator::builder().scenario(scenario)?.start().await?;
//! sim.advance_clock(Duration::from_secs(30));
//! # Ok(())
//! # }
//! ```
//!
//! # Journal and expectations
//!
//! The journal records every request without its secrets: [`Simulator::requests`] returns
//! [`RecordedRequest`]s, [`Simulator::stats`] counters. Expectations are declared before the code
//! under test runs. For each one that is not met, the [`Verdict`] names the nearest requests.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! # use vbc_simulator::{Expectation, Simulator};
//! # let sim = Simulator::start().await?;
//! sim.expect([Expectation::new("POST", "/token").grant("password").times(1)]);
//! // … the code under test …
//! let verdict = sim.verdict();
//! assert!(!verdict.met, "no code under test has run here: {verdict}");
//! # Ok(())
//! # }
//! ```
//!
//! # Clock
//!
//! Tokens, locks, quotas and timelines follow the simulator's [`Clock`].
//! [`Simulator::advance_clock`] and [`Simulator::set_clock`] move it; [`Clock::tokio`] follows
//! tokio's paused time.
//!
//! # Without sockets
//!
//! [`Service`] is the same simulation without sockets: it takes an `http::Request` and returns an
//! `http::Response`. It suits tests that send a hundred thousand requests.
//!
//! # Control plane
//!
//! Programs in other languages use the control plane, which `/__sim/openapi.json` describes. Its
//! page in a browser shows the requests and injects faults.
//!
//! # Features
//!
//! None.
//!
//! # What it does not do
//!
//! It makes no real calls, and its recordings are silent. It does not simulate transcriptions of
//! recordings: they have no public specification, and requests for them get 404. It delivers
//! webhooks only to this machine unless [`WebhookTargets`] allows more. It starts no threads of its
//! own.

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
pub use journal::RecordedRequest;
pub use options::{SimulatorOptions, Step};
pub use policy::{Lifetimes, Mode, OldAccess, TokenFormat, UnknownWord};
pub use scenario::{Finding as ScenarioFinding, Scenario, ScenarioError};
pub use service::Service;
pub use simulator::Simulator;
pub use state::stats::{Outcomes, Stats};
pub use targets::{NoTarget, WebhookTargets};
pub use vbc_base::clock::{Clock, Timestamp};
pub use vbc_base::secret::Secret;

#[cfg(test)]
mod tests;
