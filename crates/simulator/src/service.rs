//! The service without sockets. Every connection uses it, and programs can call it directly.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use crate::engine::{Arrival, Engine};
use crate::fault::{Fault, FaultError};
use crate::journal::RecordedRequest;
use crate::options::SimulatorOptions;
use crate::state::State;
use crate::state::stats::Stats;
use vbc_base::clock::Clock;

/// The service in this process, without sockets. Clones share everything.
///
/// A request passes through the same journal, faults, counters, identity server and gateway as a
/// request over a connection. Delays use tokio's time, so a paused tokio clock skips them.
/// [`Simulator`](crate::Simulator) serves a service over HTTP.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// use vbc_simulator::{Service, SimulatorOptions};
///
/// let service = Service::new(SimulatorOptions::default());
/// let login = "grant_type=password&username=alice@vbc.prod&password=sim-password\
///              &client_id=sim-client&client_secret=sim-secret";
/// let request = http::Request::post("/token")
///     .header("content-type", "application/x-www-form-urlencoded")
///     .body(login.into())?;
/// let response = service.respond(request).await.ok_or("the connection was lost")?;
/// assert_eq!(response.status(), 200);
/// assert_eq!(service.stats().logins.ok, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Service {
    pub(crate) engine: Arc<Engine>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// Creates a seeded service. The addresses in the options are not used. This is cheap: accounts
    /// are created when first requested.
    pub fn new(options: SimulatorOptions) -> Self {
        Self { engine: Arc::new(Engine::new(options)) }
    }

    /// Responds to a request. `None` means that the connection ended without a response, whether or
    /// not the request was executed.
    ///
    /// The response has neither `Content-Length` nor `Transfer-Encoding`, which belong to a
    /// connection. The journal numbers the request's connection 0.
    ///
    /// # Cancellation
    /// Dropping the future acts like a client that disconnects. A delayed request that had arrived
    /// completely is still executed.
    pub async fn respond(&self, request: Request<Bytes>) -> Option<http::Response<Bytes>> {
        let response = self.engine.respond(Arrival::default(), request.map(Full::new)).await.ok()?;
        let (head, body) = response.into_parts();
        Some(http::Response::from_parts(head, body.into_bytes()?))
    }

    /// The service's clock.
    pub fn clock(&self) -> &Clock {
        &self.engine.options.clock
    }

    /// Injects a fault and returns its id.
    ///
    /// # Errors
    /// If the fault names a user, an application or a suite that does not exist, or would move the
    /// clock out of its range.
    pub fn inject(&self, fault: impl Into<Fault>) -> Result<u64, FaultError> {
        self.engine.inject(fault.into())
    }

    /// Removes a fault on requests, and returns whether there was one with this id. Requests that
    /// the fault holds are then executed.
    pub fn remove_fault(&self, id: u64) -> bool {
        self.engine.remove_fault(id)
    }

    /// Removes every fault on requests. Changes made by an [`Action`](crate::Action) stay.
    pub fn clear_faults(&self) {
        self.engine.clear_faults();
    }

    /// The counters since the start or the last reset.
    pub fn stats(&self) -> Stats {
        self.engine.state().stats.clone()
    }

    /// The requests in the journal, oldest first.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.engine.state().journal.entries().cloned().collect()
    }

    /// Resets everything to the start: world, tokens, settings, faults, counters, journal and
    /// clock.
    pub fn reset(&self) {
        self.engine.reset(None);
    }

    /// Starts a call from outside, and returns the call's id.
    ///
    /// `to` is an extension of the account or one of its direct numbers, with or without a plus.
    /// Returns `None` if the account has no such number. The call rings until it is answered or
    /// rejected. After 30 seconds of the service's clock it counts as missed.
    pub fn receive_call(&self, account: u64, from: &str, to: &str) -> Option<String> {
        let now = self.engine.options.clock.now();
        let mut state = self.engine.state();
        let State { world, random, .. } = &mut *state;
        let call = world.receive(account, from, to, now, random);
        self.engine.follow_up(&mut state);
        call
    }
}
