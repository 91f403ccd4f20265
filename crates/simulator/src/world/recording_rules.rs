//! Which calls are recorded: by a rule, and on request during a call.

use super::account::{Account, Extension, OUTSIDE_NAME};
use super::calls::{Call, Direction, RequestedRecording};
use super::pace::Pace;
use super::recording::Recording;
use vbc_base::clock::Timestamp;

impl RequestedRecording {
    fn runs_at(&self, leg: usize, on_demand: bool) -> bool {
        self.leg == leg && self.on_demand == on_demand && self.end.is_none()
    }
}

impl Call {
    /// Starts a recording of a leg. Returns `false` if one is running already.
    pub(crate) fn start_recording(&mut self, leg: usize, on_demand: bool, at: Timestamp) -> bool {
        let runs = self.taken.iter().any(|taken| taken.runs_at(leg, on_demand));
        if !runs {
            self.taken.push(RequestedRecording { leg, on_demand, start: at, end: None });
        }
        !runs
    }

    /// Stops a recording of a leg. Returns `false` if none is running.
    pub(crate) fn stop_recording(&mut self, leg: usize, on_demand: bool, at: Timestamp) -> bool {
        let taken = self.taken.iter_mut().find(|taken| taken.runs_at(leg, on_demand));
        taken.map(|taken| taken.end = Some(at)).is_some()
    }

    /// Stops the recordings of ended legs.
    pub(crate) fn stop_recordings_of_ended_legs(&mut self, at: Timestamp) {
        let legs = &self.legs;
        let over = |taken: &&mut RequestedRecording| legs.get(taken.leg).is_none_or(|leg| leg.end.is_some());
        for taken in self.taken.iter_mut().filter(over) {
            taken.end.get_or_insert(at);
        }
    }
}

impl Account {
    /// The recordings of an ended call: one by rule, if any, and those requested during the call.
    pub(crate) fn recordings(&self, position: usize, pace: Pace) -> Vec<Recording> {
        let Some(call) = self.calls.get(position) else { return Vec::new() };
        let by_rule = self.recorded_by_rule(call, position, pace);
        let by_hand = call.taken.iter().enumerate().filter_map(|(n, taken)| {
            let party = &call.legs.get(taken.leg)?.party;
            let extension = self.extensions.iter().find(|extension| extension.number == *party)?;
            let user = if taken.on_demand { Some(extension.user?) } else { None };
            let mut recording = self.record(call, position, extension, user, pace)?;
            recording.id = recording.id * 1_000 + 1 + n as u64;
            (recording.start, recording.end) = (taken.start, taken.end?);
            recording.measure(taken.start);
            recording.ready = pace.recorded(recording.end);
            Some(recording)
        });
        by_rule.into_iter().chain(by_hand).collect()
    }

    /// The recording of a call by rule, if any. The company records every third extension. On
    /// the other extensions, every fourth user records the calls on demand.
    fn recorded_by_rule(&self, call: &Call, position: usize, pace: Pace) -> Option<Recording> {
        let rule = |n: usize| match self.extensions.get(n)?.user {
            _ if n.is_multiple_of(3) => Some(None),
            Some(user) if user.is_multiple_of(4) => Some(Some(user)),
            _ => None,
        };
        let mut ours = (0..self.extensions.len()).filter(|n| call.touches(&self.extensions[*n].number));
        let (extension, on_demand) = ours.find_map(|n| Some((&self.extensions[n], rule(n)?)))?;
        self.record(call, position, extension, on_demand, pace)
    }

    /// A recording of a whole call on one of its extensions.
    fn record(
        &self,
        call: &Call,
        position: usize,
        extension: &Extension,
        on_demand: Option<usize>,
        pace: Pace,
    ) -> Option<Recording> {
        let answered = call.answered?;
        let end = call.end?;
        let ours = |party: &str| self.extensions.iter().any(|extension| extension.number == party);
        let direction = match (call.direction, ours(&call.from) && ours(&call.to)) {
            (_, true) => "INTRA_PBX",
            (direction, false) => direction.upper(),
        };
        let inbound = call.direction == Direction::Inbound;
        let mut recording = Recording {
            id: self.id * 100_000 + position as u64,
            on_demand,
            call_id: call.id.clone(),
            direction,
            caller_id: call.from.clone(),
            cnam: if inbound { OUTSIDE_NAME.to_owned() } else { extension.label.to_uppercase() },
            dnis: call.to.clone(),
            extension: extension.number.clone(),
            start: call.start,
            end,
            bytes: 0,
            ready: pace.recorded(end),
        };
        recording.measure(answered);
        Some(recording)
    }
}
