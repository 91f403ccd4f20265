//! What is to happen when: faults at times after the start, by the simulator's clock.
//!
//! Nothing runs in the background: whoever looks at the state first lets happen what is due, so that a clock that is
//! advanced, or that stands still in a test, is all there is to it.

use std::time::Duration;

use super::State;
use crate::fault::Fault;
use crate::options::Step;
use vbc_base::clock::{Clock, Timestamp, after, until};

/// The steps and how far they are done.
pub(crate) struct Timeline {
    start: Timestamp,
    /// In the order of their times.
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
    /// Lets happen what is due; whether a fault ended by that.
    pub(crate) fn catch_up(&mut self, clock: &Clock) -> bool {
        if self.next_change().is_none() {
            return false;
        }
        // A step may move the clock.
        while let Some(due) = self.timeline.next().filter(|due| *due <= clock.now()) {
            let step = self.timeline.steps.get(self.timeline.done).cloned();
            self.timeline.done += 1;
            let Some(step) = step else { break };
            if let Err(error) = self.inject(step.fault, clock, due) {
                tracing::warn!(%error, "a step of the scenario could not be taken");
            }
        }
        self.faults.expire(clock.now())
    }

    /// When the next thing happens by itself.
    fn next_change(&self) -> Option<Timestamp> {
        [self.timeline.next(), self.faults.next_end()].into_iter().flatten().min()
    }

    /// How long until then.
    pub(crate) fn until_next_change(&self, now: Timestamp) -> Option<Duration> {
        self.next_change().map(|change| until(now, change))
    }

    /// Injects every fault or, where one of them cannot be, none. Returns their ids.
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

    /// Injects a fault, in force since `since`, and returns its id.
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
                let (id, after) = (self.faults.next_id(), action.present(self));
                self.settings.note(id, action, before, after);
                Ok(id)
            }
        }
    }
}
