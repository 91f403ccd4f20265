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

mod answer;
mod api;
mod authorize;
mod builder;
mod calls;
mod control;
mod delivery;
mod discovery;
mod expect;
mod exports;
mod fault;
mod field;
mod gateway;
mod identities;
mod identity;
mod journal;
mod jwt;
mod login_page;
mod numbers;
mod options;
mod pace;
mod past;
mod pattern;
mod people;
mod private;
mod random;
mod recorded;
mod request;
mod rows;
mod scenario;
mod seed;
mod serve;
mod service;
mod span;
mod state;
mod targets;
mod timeline;
mod tokens;
mod traffic;
mod verbs;
mod webhooks;
mod world;
mod zip;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};

pub use builder::SimulatorBuilder;
pub use expect::{Expectation, Finding, Verdict};
pub use fault::{Action, Edit, Effect, Fault, FaultError, Match, RetryAfter, StatusFault};
pub use field::{Field, FieldReport, UnknownReport};
pub use identities::{Application, Identity, User};
pub use journal::Recorded;
pub use options::{Lifetimes, Mode, OldAccess, SimulatorOptions, TokenFormat, UnknownWord};
pub use scenario::{Finding as ScenarioFinding, Scenario, ScenarioError};
use serve::{Control, Front};
pub use service::Service;
pub use state::{Outcomes, Stats};
pub use targets::{NoTarget, WebhookTargets};
pub use timeline::Step;

use vbc_http::{Drain, DrainSignal, Limits};

/// A running simulator. Dropped, it stops: its sockets close, whatever was under way is broken off.
pub struct Simulator {
    service: Service,
    address: SocketAddr,
    control: SocketAddr,
    listeners: [JoinHandle<()>; 2],
    connections: Arc<Mutex<JoinSet<()>>>,
    /// Never begun; connections end by being aborted.
    _drain: Drain,
}

impl std::fmt::Debug for Simulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulator").field("address", &self.address).field("control", &self.control).finish()
    }
}

/// Accepts connections and spawns what drives each.
async fn listen<F: Future<Output = ()> + Send + 'static>(
    listener: std::net::TcpListener,
    drain: DrainSignal,
    connections: Arc<Mutex<JoinSet<()>>>,
    drive: impl Fn(TcpStream) -> F,
) {
    let accepted = vbc_http::accept(listener, drain, |stream, _| {
        let mut connections = connections.lock();
        while connections.try_join_next().is_some() {}
        connections.spawn(drive(stream));
    });
    if let Err(error) = accepted.await {
        tracing::error!(%error, "the simulator's listener failed");
    }
}

impl Simulator {
    /// Says what a simulator is to be like; [`SimulatorBuilder::start`] starts it.
    pub fn builder() -> SimulatorBuilder {
        SimulatorBuilder::default()
    }

    /// Starts one on free loopback ports, with the demo identity and defaults throughout.
    ///
    /// # Errors
    /// When no socket can be bound.
    pub async fn start() -> io::Result<Self> {
        Self::bind(SimulatorOptions::default()).await
    }

    /// Starts one as asked, in the current tokio runtime.
    ///
    /// # Errors
    /// When an address cannot be bound.
    #[allow(clippy::unused_async, reason = "it must be called in a runtime, and may come to wait")]
    pub async fn bind(mut options: SimulatorOptions) -> io::Result<Self> {
        options.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let front = listener(options.address)?;
        let control = listener(options.control)?;
        let (address, control_address) = (front.local_addr()?, control.local_addr()?);
        (options.address, options.control) = (address, control_address);
        if options.public_base.is_empty() {
            options.public_base = format!("http://{address}");
        }
        let service = Service::new(options);
        let (drain, signal) = Drain::new();
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let (shared, drain_of_each) = (Arc::clone(&service.core), signal.clone());
        let drive_front = move |stream| {
            let front = Front::new(Arc::clone(&shared));
            let limits = Limits { keep_heads: true, ..Limits::default() };
            vbc_http::connection(stream, limits, drain_of_each.clone(), front)
        };
        let (shared, drain_of_each) = (Arc::clone(&service.core), signal.clone());
        let drive_control = move |stream| {
            let control = Control { core: Arc::clone(&shared) };
            vbc_http::connection(stream, Limits::default(), drain_of_each.clone(), control)
        };
        let listeners = [
            tokio::spawn(listen(front, signal.clone(), Arc::clone(&connections), drive_front)),
            tokio::spawn(listen(control, signal, Arc::clone(&connections), drive_control)),
        ];
        Ok(Self { service, address, control: control_address, listeners, connections, _drain: drain })
    }

    /// Where the API, the token endpoint and the rest of the service are: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where the control plane is.
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control)
    }

    /// The service's socket address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The control plane's socket address.
    pub fn control_address(&self) -> SocketAddr {
        self.control
    }

    /// What is served, to be asked without a socket; it shares everything with the sockets, and outlives them.
    pub fn service(&self) -> Service {
        self.service.clone()
    }

    /// Makes something go wrong; returns the fault's id.
    ///
    /// # Errors
    /// When the fault names a user, an application or a suite that does not exist.
    pub fn inject(&self, fault: impl Into<Fault>) -> Result<u64, FaultError> {
        self.service.inject(fault)
    }

    /// Removes a fault on requests; whether there was one of that id. Requests that hang on it are executed.
    pub fn remove_fault(&self, id: u64) -> bool {
        self.service.remove_fault(id)
    }

    /// Removes every fault on requests. What an [`Action`] did stays done.
    pub fn clear_faults(&self) {
        self.service.clear_faults();
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        self.service.stats()
    }

    /// What arrived so far, oldest first, as far as the journal remembers.
    pub fn requests(&self) -> Vec<Recorded> {
        self.service.requests()
    }

    /// Back to the start: world, tokens, settings, faults, counters, journal, and the clock as far as it was advanced.
    pub fn reset(&self) {
        self.service.reset();
    }

    /// Lets somebody call an extension of an account from outside; gives the call's id, or `None` where there is no
    /// such extension. It rings until it is answered or sent away, at most 30 seconds of the simulator's clock.
    pub fn receive_call(&self, account: u64, from: &str, extension: &str) -> Option<String> {
        self.service.receive_call(account, from, extension)
    }

    /// Stops, and waits until every socket is closed.
    pub async fn stop(mut self) {
        for listener in &mut self.listeners {
            listener.abort();
            let _ = listener.await;
        }
        let mut connections = std::mem::take(&mut *self.connections.lock());
        connections.shutdown().await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
        self.connections.lock().abort_all();
        self.service.core.delayed.lock().abort_all();
    }
}

fn listener(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let mut sockets = vbc_http::bind(address, 1)?;
    sockets.pop().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

#[cfg(test)]
mod tests;
