//! What happened on an account before the simulator was started: calls, and what was recorded of them.

use jiff::SignedDuration;

use super::calls::{Call, Direction};
use super::pace::Pace;
use super::random::Random;
use super::seed::{before, phone};
use super::world::{Account, Recording};
use crate::clock::{Timestamp, until};

/// Nothing began later than this before midnight, so that at midnight all is over and reported.
const QUIET: u64 = 1_800;

impl Account {
    pub(super) fn remember_calls(&mut self, calls: usize, midnight: Timestamp, random: &mut Random) {
        for n in (0..calls as u64).rev() {
            let start = before(midnight, QUIET + n * 1_700 + random.below(1_500));
            let seconds = i64::try_from(random.below(900)).unwrap_or(0);
            let end = start.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(start);
            let extension =
                self.extensions[random.below(self.extensions.len() as u64) as usize].number.clone();
            let outside = phone(random);
            let inbound = random.chance(0.6);
            let (direction, from, to) = match inbound {
                true => (Direction::Inbound, outside, extension),
                false => (Direction::Outbound, extension, outside),
            };
            let mut call = Call::ringing(random, direction, from, to, start, None);
            if seconds > 0 {
                call.answer(start);
            }
            call.finish(end);
            call.reported = Some(end);
            self.place(call);
        }
    }

    pub(super) fn record_the_past(&mut self) {
        let at_once = Pace { lag: 0.0, ringing: std::time::Duration::ZERO };
        self.recordings = (0..self.calls.len()).filter_map(|call| self.recording(call, at_once)).collect();
    }

    /// What was recorded of a call that is over. The company's rule is about every third extension; of the others,
    /// every fourth user records on demand.
    pub(super) fn recording(&self, position: usize, pace: Pace) -> Option<Recording> {
        let call = self.calls.get(position)?;
        let (answered, end) = (call.answered?, call.end?);
        let rule = |n: usize| match self.extensions.get(n)?.user {
            _ if n.is_multiple_of(3) => Some(None),
            Some(user) if user.is_multiple_of(4) => Some(Some(user)),
            _ => None,
        };
        let mut ours = (0..self.extensions.len()).filter(|n| call.touches(&self.extensions[*n].number));
        let (extension, on_demand) = ours.find_map(|n| Some((&self.extensions[n], rule(n)?)))?;
        let ours = |party: &str| self.extensions.iter().any(|extension| extension.number == party);
        let direction = match (call.direction, ours(&call.from) && ours(&call.to)) {
            (_, true) => "INTRA_PBX",
            (direction, false) => direction.upper(),
        };
        let inbound = call.direction == Direction::Inbound;
        let cnam = if inbound { "WIRELESS CALLER".to_owned() } else { extension.label.to_uppercase() };
        let milliseconds = u64::try_from(until(answered, end).as_millis()).unwrap_or(u64::MAX);
        Some(Recording {
            id: self.id * 100_000 + position as u64,
            on_demand,
            call_id: call.id.clone(),
            direction,
            caller_id: call.from.clone(),
            cnam,
            dnis: call.to.clone(),
            extension: extension.number.clone(),
            start: call.start,
            end,
            // 64 kbit/s; something is always heard.
            bytes: milliseconds.saturating_mul(8).max(192),
            ready: pace.recorded(end),
        })
    }
}
