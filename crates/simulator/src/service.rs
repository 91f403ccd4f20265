//! The service without sockets: what every connection is answered by, and what a program may ask directly.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;

use crate::engine::{Arrival, Core};
use crate::fault::{Fault, FaultError};
use crate::journal::Recorded;
use crate::options::SimulatorOptions;
use crate::state::State;
use crate::state::stats::Stats;
use vbc_base::clock::Clock;

/// The service in this process, without sockets; clones share everything.
///
/// A request goes the way of one that came over a connection: journal, faults, counters, identity server and
/// gateway. Delays pass in tokio's time, so that paused time skips them. [`Simulator`](crate::Simulator) serves one
/// over HTTP.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// use vbc_proxy::simulator::{Service, SimulatorOptions};
///
/// let service = Service::new(SimulatorOptions::default());
/// let login = "grant_type=password&username=alice@vbc.prod&password=sim-password\
///              &client_id=sim-client&client_secret=sim-secret";
/// let request = http::Request::post("/token")
///     .header("content-type", "application/x-www-form-urlencoded")
///     .body(login.into())?;
/// let answer = service.answer(request).await.ok_or("the connection was lost")?;
/// assert_eq!(answer.status(), 200);
/// assert_eq!(service.stats().logins.ok, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Service {
    pub(crate) core: Arc<Core>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// A seeded service; its addresses are not used. It is cheap: accounts grow when they are first asked for.
    pub fn new(options: SimulatorOptions) -> Self {
        Self { core: Arc::new(Core::new(options)) }
    }

    /// Answers a request; `None` is a connection that ended without an answer, whether or not the request was
    /// executed before.
    ///
    /// The answer has no `Content-Length` and no `Transfer-Encoding`: those are a connection's. In the journal the
    /// request's connection is 0. Dropped, it is a client that leaves: what had arrived whole and was only delayed
    /// is still executed.
    pub async fn answer(&self, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let answer = self.core.answer(Arrival::default(), request.map(Full::new)).await.ok()?;
        let (head, body) = answer.into_parts();
        Some(Response::from_parts(head, body.into_bytes()?))
    }

    /// The service's clock.
    pub fn clock(&self) -> &Clock {
        &self.core.options.clock
    }

    /// Makes something go wrong; returns the fault's id.
    ///
    /// # Errors
    /// When the fault names a user, an application or a suite that does not exist.
    pub fn inject(&self, fault: impl Into<Fault>) -> Result<u64, FaultError> {
        self.core.inject(fault.into())
    }

    /// Removes a fault on requests; whether there was one of that id. Requests that hang on it are executed.
    pub fn remove_fault(&self, id: u64) -> bool {
        self.core.remove_fault(id)
    }

    /// Removes every fault on requests. What an [`Action`](crate::Action) did stays done.
    pub fn clear_faults(&self) {
        self.core.clear_faults();
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        self.core.state().stats.clone()
    }

    /// What arrived so far, oldest first, as far as the journal remembers.
    pub fn requests(&self) -> Vec<Recorded> {
        self.core.state().journal.entries().cloned().collect()
    }

    /// Back to the start: world, tokens, settings, faults, counters, journal, and the clock as far as it was advanced.
    pub fn reset(&self) {
        self.core.reset(None);
    }

    /// Lets somebody call from outside; gives the call's id.
    ///
    /// `to` is an extension of the account or one of its direct numbers, with or without a plus.
    /// `None` is a number that nobody has. It rings until it is answered or sent away, at most 30
    /// seconds of the service's clock.
    pub fn receive_call(&self, account: u64, from: &str, to: &str) -> Option<String> {
        let now = self.core.options.clock.now();
        let mut state = self.core.state();
        let State { world, random, .. } = &mut *state;
        let call = world.receive(account, from, to, now, random);
        self.core.follow_up(&mut state);
        call
    }
}
