//! A simulator with two listeners: the service and the control plane.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};

use crate::engine::{AfterReset, HookFuture, ResetHook};
use crate::fault::{Fault, FaultError};
use crate::journal::RecordedRequest;
use crate::listeners::{Control, Front};
use crate::options::SimulatorOptions;
use crate::service::Service;
use crate::state::stats::Stats;
use vbc_http::{Drain, DrainSignal, Limits};

/// A running simulator. Dropping it closes its sockets and aborts every request.
pub struct Simulator {
    pub(crate) service: Service,
    address: SocketAddr,
    control: SocketAddr,
    listeners: [JoinHandle<()>; 2],
    connections: Arc<Mutex<JoinSet<()>>>,
    /// Keeps the drain signal alive. The drain never starts: stopping aborts the connections.
    _drain: Drain,
}

impl std::fmt::Debug for Simulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulator").field("address", &self.address).field("control", &self.control).finish()
    }
}

/// Accepts connections and spawns their handlers.
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
    /// Starts a simulator on free loopback ports, with the demo identity and default options. Must
    /// be called in a tokio runtime.
    ///
    /// # Errors
    /// If no socket can be bound.
    pub async fn start() -> io::Result<Self> {
        Self::bind(SimulatorOptions::default()).await
    }

    /// Starts a simulator in the current tokio runtime.
    ///
    /// # Errors
    /// If an address cannot be bound, or if an option names an unknown suite or grant.
    #[allow(clippy::unused_async, reason = "it needs a runtime, and a later version may wait")]
    pub async fn bind(mut options: SimulatorOptions) -> io::Result<Self> {
        options.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let front = listener(options.address)?;
        let control = listener(options.control)?;
        let address = front.local_addr()?;
        let control_address = control.local_addr()?;
        (options.address, options.control) = (address, control_address);
        if options.public_base.is_empty() {
            options.public_base = format!("http://{address}");
        }
        let service = Service::new(options);
        let (drain, signal) = Drain::new();
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let shared = Arc::clone(&service.engine);
        let drain_of_each = signal.clone();
        let drive_front = move |stream| {
            let front = Front::new(Arc::clone(&shared));
            let limits = Limits { keep_heads: true, ..Limits::default() };
            vbc_http::connection(stream, limits, drain_of_each.clone(), front)
        };
        let shared = Arc::clone(&service.engine);
        let drain_of_each = signal.clone();
        let drive_control = move |stream| {
            let control = Control { engine: Arc::clone(&shared) };
            vbc_http::connection(stream, Limits::default(), drain_of_each.clone(), control)
        };
        let listeners = [
            tokio::spawn(listen(front, signal.clone(), Arc::clone(&connections), drive_front)),
            tokio::spawn(listen(control, signal, Arc::clone(&connections), drive_control)),
        ];
        Ok(Self { service, address, control: control_address, listeners, connections, _drain: drain })
    }

    /// The URL of the service: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URL of the control plane.
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

    /// The service that the sockets serve. It shares their state and outlives them.
    pub fn service(&self) -> Service {
        self.service.clone()
    }

    /// Injects a fault and returns its id.
    ///
    /// # Errors
    /// If the fault names a user, an application or a suite that does not exist, or would move the
    /// clock out of its range.
    pub fn inject(&self, fault: impl Into<Fault>) -> Result<u64, FaultError> {
        self.service.inject(fault)
    }

    /// Removes a fault on requests, and returns whether there was one with this id. Requests that
    /// the fault holds are then executed.
    pub fn remove_fault(&self, id: u64) -> bool {
        self.service.remove_fault(id)
    }

    /// Removes every fault on requests. Changes made by an [`Action`](crate::Action) stay.
    pub fn clear_faults(&self) {
        self.service.clear_faults();
    }

    /// The counters since the start or the last reset.
    pub fn stats(&self) -> Stats {
        self.service.stats()
    }

    /// The requests in the journal, oldest first.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.service.requests()
    }

    /// Resets everything to the start: world, tokens, settings, faults, counters, journal and
    /// clock.
    pub fn reset(&self) {
        self.service.reset();
    }

    /// Registers what to do around a reset by the control plane, that is, around `POST
    /// /__sim/reset` and `POST /__sim/scenario`. A second hook replaces the first.
    ///
    /// `hook` runs before the reset. The function that it returns is called after the reset, or
    /// dropped if the request is rejected. The response waits for both. Use it to reset a client
    /// under test that keeps tokens. [`reset`](Self::reset) does not run the hook.
    pub fn on_reset<B, A, F>(&self, hook: impl Fn() -> B + Send + Sync + 'static)
    where
        B: Future<Output = A> + Send + 'static,
        A: FnOnce() -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let hook: ResetHook = Arc::new(move || {
            let before = hook();
            Box::pin(async move {
                let after = before.await;
                Box::new(move || Box::pin(after()) as HookFuture<()>) as AfterReset
            })
        });
        *self.service.engine.on_reset.lock() = Some(hook);
    }

    /// Starts a call from outside, and returns the call's id.
    ///
    /// `extension` is an extension of the account or one of its direct numbers, with or without a
    /// plus. Returns `None` if the account has no such number. The call rings until it is answered
    /// or rejected. After 30 seconds of the simulator's clock it counts as missed.
    pub fn receive_call(&self, account: u64, from: &str, extension: &str) -> Option<String> {
        self.service.receive_call(account, from, extension)
    }

    /// Stops the simulator, and waits until every socket is closed.
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
        self.service.engine.delayed.lock().abort_all();
    }
}

fn listener(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let mut sockets = vbc_http::bind(address, 1)?;
    sockets.pop().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}
