//! The shared state of both listeners, and the operations on it.

mod delivery;
mod exchange;

use std::pin::Pin;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use vbc_http::host_guard::HostGuard;

use crate::fault::{Fault, FaultError};
use crate::options::SimulatorOptions;
use crate::state::State;

pub(crate) use crate::journal::ConnectionNumber;
pub(crate) use exchange::Arrival;

/// What an embedding program does around a reset. The future runs before the reset, and its output
/// is called after it.
pub(crate) type ResetHook = Arc<dyn Fn() -> HookFuture<AfterReset> + Send + Sync>;

pub(crate) type AfterReset = Box<dyn FnOnce() -> HookFuture<()> + Send>;

pub(crate) type HookFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The simulation that both listeners share.
pub(crate) struct Engine {
    /// The options at the start. A scenario may have replaced them: the state has the current
    /// options.
    pub(crate) options: Arc<SimulatorOptions>,
    /// Checks the host names in requests to the control plane.
    pub(crate) host_guard: HostGuard,
    pub(crate) state: Mutex<State>,
    /// Notified when faults are removed, so that hanging requests check again.
    pub(crate) released: Notify,
    /// Notified when a request arrives or gets a response, so that waiting callers check again.
    pub(crate) changed: Notify,
    /// Delayed requests, which are executed even if their client disconnects, and deliveries of
    /// webhooks.
    pub(crate) delayed: Mutex<JoinSet<()>>,
    /// Runs around each reset by the control plane.
    pub(crate) on_reset: Mutex<Option<ResetHook>>,
}

impl Engine {
    pub(crate) fn new(options: SimulatorOptions) -> Self {
        let options = Arc::new(options);
        let host_guard = HostGuard::lenient(options.hosts.iter().cloned());
        let state = Mutex::new(State::begin(Arc::clone(&options), 0));
        let [released, changed] = [Notify::new(), Notify::new()];
        let (delayed, on_reset) = Default::default();
        Self { options, host_guard, state, released, changed, delayed, on_reset }
    }

    /// Locks the state, and runs the due steps of the timeline.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        if state.catch_up(&self.options.clock) {
            self.released.notify_waiters();
        }
        state
    }

    /// Injects a fault and returns its id.
    pub(crate) fn inject(&self, fault: Fault) -> Result<u64, FaultError> {
        self.inject_all(vec![fault]).map(|ids| ids.into_iter().next().unwrap_or_default())
    }

    /// Injects all faults, or none if any is invalid. Returns their ids.
    pub(crate) fn inject_all(&self, faults: Vec<Fault>) -> Result<Vec<u64>, FaultError> {
        let ids = self.state().inject_all(faults, &self.options.clock)?;
        // The faults may have moved the clock: runs the steps that became due.
        drop(self.state());
        self.changed.notify_waiters();
        Ok(ids)
    }

    pub(crate) fn remove_fault(&self, id: u64) -> bool {
        let removed = {
            let mut state = self.state();
            state.faults.remove(id) || state.take_back(id)
        };
        // Reverting a change may have moved the clock: runs the steps that became due.
        drop(self.state());
        self.released.notify_waiters();
        self.changed.notify_waiters();
        removed
    }

    pub(crate) fn clear_faults(&self) {
        self.state.lock().faults.clear();
        self.released.notify_waiters();
    }

    /// Resets everything to the start, with new options if they are given.
    pub(crate) fn reset(&self, options: Option<SimulatorOptions>) {
        {
            let mut state = self.state.lock();
            let options = options.map_or_else(|| Arc::clone(&state.options), Arc::new);
            state.reset(options);
        }
        self.released.notify_waiters();
        self.changed.notify_waiters();
    }

    /// Runs the embedding program's hook. Returns its second half, which is called after the reset.
    pub(crate) async fn before_reset(&self) -> Option<AfterReset> {
        let hook = self.on_reset.lock().clone()?;
        Some(hook().await)
    }
}
