//! The past of an account before the start.

use jiff::SignedDuration;

use super::Account;
use super::calls::{Call, Direction};
use super::numbers::Numbers;
use super::pace::Pace;
use crate::random::Random;
use vbc_base::clock::Timestamp;

/// The last call of the past starts at least this many seconds before midnight. By midnight, all
/// calls have ended and Reports lists them.
const QUIET: u64 = 1_800;

impl Account {
    pub(crate) fn remember_calls(
        &mut self,
        calls: usize,
        midnight: Timestamp,
        numbers: &Numbers,
        random: &mut Random,
    ) {
        for n in (0..calls as u64).rev() {
            let start = before(midnight, QUIET + n * 1_700 + random.below(1_500));
            let seconds = i64::try_from(random.below(900)).unwrap_or(0);
            let end = start.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(start);
            let extension =
                self.extensions[random.below(self.extensions.len() as u64) as usize].number.clone();
            let outside = numbers.outside(random);
            let (direction, from, to) = if random.chance(0.6) {
                (Direction::Inbound, outside, extension)
            } else {
                (Direction::Outbound, extension, outside)
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

    pub(crate) fn record_the_past(&mut self) {
        let at_once = Pace { lag: 0.0, ringing: std::time::Duration::ZERO };
        self.recordings = (0..self.calls.len()).flat_map(|call| self.recordings(call, at_once)).collect();
    }
}

pub(crate) fn before(at: Timestamp, seconds: u64) -> Timestamp {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    at.saturating_sub(SignedDuration::from_secs(seconds)).unwrap_or(at)
}
