//! The state behind one lock, and what every listener does with it.

mod delivery;
mod exchange;

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::fault::{Fault, FaultError};
use crate::options::SimulatorOptions;
use crate::state::State;

pub(crate) use crate::journal::Line;
pub(crate) use exchange::Arrival;

/// What both listeners share.
pub(crate) struct Core {
    /// What it was started with. A scenario may have set in others since: the state's.
    pub(crate) options: Arc<SimulatorOptions>,
    pub(crate) state: Mutex<State>,
    /// Told when faults are removed, so that what hangs can look.
    pub(crate) released: Notify,
    /// Told when a request arrives or is answered, so that whoever waits for one can look.
    pub(crate) changed: Notify,
    /// Requests that a delay holds, which are executed even when their client has left; and deliveries of webhooks.
    pub(crate) delayed: Mutex<JoinSet<()>>,
}

impl Core {
    pub(crate) fn new(options: SimulatorOptions) -> Self {
        let options = Arc::new(options);
        let state = Mutex::new(State::begin(Arc::clone(&options), 0));
        let [released, changed] = [Notify::new(), Notify::new()];
        Self { options, state, released, changed, delayed: Mutex::default() }
    }

    /// The state as it is now.
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

    /// Injects every fault or, where one of them cannot be, none. Returns their ids.
    pub(crate) fn inject_all(&self, faults: Vec<Fault>) -> Result<Vec<u64>, FaultError> {
        let ids = self.state().inject_all(faults, &self.options.clock)?;
        // The clock may have moved.
        drop(self.state());
        self.changed.notify_waiters();
        Ok(ids)
    }

    pub(crate) fn remove_fault(&self, id: u64) -> bool {
        let removed = {
            let mut state = self.state();
            state.faults.remove(id) || state.take_back(id)
        };
        // The clock may have been moved back.
        drop(self.state());
        self.released.notify_waiters();
        self.changed.notify_waiters();
        removed
    }

    pub(crate) fn clear_faults(&self) {
        self.state.lock().faults.clear();
        self.released.notify_waiters();
    }

    /// Back to the start, of other options where there are some.
    pub(crate) fn reset(&self, options: Option<SimulatorOptions>) {
        {
            let mut state = self.state.lock();
            let options = options.map_or_else(|| Arc::clone(&state.options), Arc::new);
            state.reset(options);
        }
        self.released.notify_waiters();
        self.changed.notify_waiters();
    }
}
