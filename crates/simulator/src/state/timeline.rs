//! The timeline: faults at times after the start, by the simulator's clock.
//!
//! Nothing runs in the background. Due steps run when the state is next used, so a test only needs
//! to advance the clock.

use std::time::Duration;

use super::State;
use crate::fault::Fault;
use crate::options::Step;
use vbc_base::clock::{Clock, Timestamp, after, until};

/// The steps, and how many of them are done.
pub(crate) struct Timeline {
    start: Timestamp,
    /// Sorted by time.
    steps: Vec<Step>,
    done: usize,
}

impl Timeline {
    pub(crate) fn new(mut steps: Vec<Step>, start: Timestamp) -> Self {
        steps.sort_by_key(|step| step.at);
        Self { start, steps, done: 0 }
    }

    fn next(&self) -> Option<Timestamp> {
        self.steps.get(self.done).map(|step| after(self.start, step.at))
    }
}

impl State {
    /// Runs the due steps and removes expired faults. Returns whether a fault has expired.
    pub(crate) fn catch_up(&mut self, clock: &Clock) -> bool {
        if self.next_change().is_none() {
            return false;
        }
        // Reads the clock again after each step, because a step may move it.
        while let Some(due) = self.timeline.next().filter(|due| *due <= clock.now()) {
            let step = self.timeline.steps.get(self.timeline.done).cloned();
            self.timeline.done += 1;
            let Some(step) = step else { break };
            if let Err(error) = self.inject(step.fault, clock, due) {
                tracing::warn!(%error, "skipped a step of the timeline: its fault could not be injected");
            }
        }
        self.faults.expire(clock.now())
    }

    /// When the next step is due or the next fault ends.
    fn next_change(&self) -> Option<Timestamp> {
        [self.timeline.next(), self.faults.next_end()].into_iter().flatten().min()
    }

    /// The time until the next change.
    pub(crate) fn until_next_change(&self, now: Timestamp) -> Option<Duration> {
        self.next_change().map(|change| until(now, change))
    }

    /// Injects all faults, or none if any is invalid. Returns their ids.
    pub(crate) fn inject_all(
        &mut self,
        faults: Vec<Fault>,
        clock: &Clock,
    ) -> Result<Vec<u64>, crate::FaultError> {
        let mut at = clock.now();
        for fault in &faults {
            if let Fault::Now(action) = fault {
                at = action.check(self, at)?;
            }
        }
        faults.into_iter().map(|fault| self.inject(fault, clock, clock.now())).collect()
    }

    /// Injects a fault that takes effect at `since`, and returns its id.
    pub(crate) fn inject(
        &mut self,
        fault: Fault,
        clock: &Clock,
        since: Timestamp,
    ) -> Result<u64, crate::FaultError> {
        match fault {
            Fault::Requests(effect, on) => Ok(self.faults.add(effect, on, since)),
            Fault::Now(action) => {
                action.check(self, clock.now())?;
                let before = action.present(self);
                action.act(self, clock)?;
                let id = self.faults.next_id();
                let after = action.present(self);
                self.settings.note(id, action, before, after);
                Ok(id)
            }
        }
    }
}
