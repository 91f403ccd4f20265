//! Calls: their parties, and their states from ringing to the end. Each suite has its own names for
//! the states.

use std::time::Duration;

use crate::random::Random;
use vbc_base::clock::{Timestamp, until};

/// How long a call from outside rings before it is missed.
pub(crate) const RINGS: Duration = Duration::from_secs(30);

/// Where a call comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From outside to an extension.
    Inbound,
    /// From an extension.
    Outbound,
}

impl Direction {
    pub(crate) fn lower(self) -> &'static str {
        if self == Self::Inbound { "inbound" } else { "outbound" }
    }

    pub(crate) fn upper(self) -> &'static str {
        if self == Self::Inbound { "INBOUND" } else { "OUTBOUND" }
    }
}

/// A call and its legs. It is ringing until it is answered, and active until it ends.
pub(crate) struct Call {
    pub(crate) id: String,
    /// The direction as the account sees it. A call between two of its extensions is outbound.
    pub(crate) direction: Direction,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) start: Timestamp,
    pub(crate) answered: Option<Timestamp>,
    pub(crate) end: Option<Timestamp>,
    pub(crate) parked: bool,
    pub(crate) voicemail: bool,
    pub(crate) legs: Vec<Leg>,
    /// When and how the ringing ends, unless a request ends it earlier.
    pub(crate) ring: Option<Ring>,
    /// When Reports lists the call. `None` until the call has ended.
    pub(crate) reported: Option<Timestamp>,
    /// Recordings requested during the call.
    pub(crate) taken: Vec<RequestedRecording>,
}

/// One end of a call.
pub(crate) struct Leg {
    pub(crate) id: String,
    /// The number or extension at this end.
    pub(crate) party: String,
    /// Whether this end placed the call, or has replaced the end that did.
    pub(crate) caller: bool,
    pub(crate) start: Timestamp,
    pub(crate) answered: Option<Timestamp>,
    pub(crate) end: Option<Timestamp>,
    pub(crate) held: bool,
    /// Whether the leg was sent to voicemail before it was answered.
    pub(crate) rejected: bool,
    /// The URL of media that is played into the leg.
    pub(crate) stream: Option<String>,
    /// The keys that were dialled into the leg.
    pub(crate) dialled: String,
}

/// A recording that was requested during a call.
pub(crate) struct RequestedRecording {
    /// The position of the recorded leg.
    pub(crate) leg: usize,
    /// Whether it is a user's recording on demand. Otherwise it is one for the company.
    pub(crate) on_demand: bool,
    pub(crate) start: Timestamp,
    pub(crate) end: Option<Timestamp>,
}

/// When ringing ends, and how.
#[derive(Clone, Copy)]
pub(crate) struct Ring {
    pub(crate) until: Timestamp,
    /// Whether the call is answered at that time. Otherwise it is missed.
    pub(crate) picked_up: bool,
}

/// A party's view of a call.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) direction: Direction,
    pub(crate) remote: String,
    pub(crate) state: &'static str,
    pub(crate) start: Timestamp,
    pub(crate) answered: Option<Timestamp>,
    pub(crate) end: Option<Timestamp>,
}

impl View {
    pub(crate) fn ended(&self) -> bool {
        self.end.is_some()
    }

    /// The talking time of an ended call; zero before its end.
    pub(crate) fn duration(&self) -> Duration {
        match (self.answered, self.end) {
            (Some(answered), Some(end)) => until(answered, end),
            _ => Duration::ZERO,
        }
    }
}

impl Leg {
    fn new(random: &mut Random, party: String, caller: bool, start: Timestamp) -> Self {
        Self {
            id: random.uuid(),
            party,
            caller,
            start,
            answered: None,
            end: None,
            held: false,
            rejected: false,
            stream: None,
            dialled: String::new(),
        }
    }

    /// Telephony's status of the leg.
    pub(crate) fn status(&self) -> &'static str {
        status(self.end, self.answered)
    }

    /// The leg's state in the response to a change. Requests use the same names.
    pub(crate) fn state(&self) -> &'static str {
        match (self.end, self.answered) {
            (Some(_), Some(_)) => "ended",
            (None, Some(_)) if self.held => "held",
            (None, Some(_)) => "active",
            (_, None) => self.status(),
        }
    }
}

/// Telephony's status. The documentation lists busy, failed, unanswered, ringing and on-call; held
/// and parked calls are on-call.
///
/// The list has no word for an answered call that has ended. Such a call keeps its last status and
/// has an `end_time`; the list of active calls omits it.
fn status(end: Option<Timestamp>, answered: Option<Timestamp>) -> &'static str {
    match (end, answered) {
        (_, Some(_)) => "on-call",
        (Some(_), None) => "unanswered",
        (None, None) => "ringing",
    }
}

impl Call {
    /// A ringing call.
    pub(crate) fn ringing(
        random: &mut Random,
        direction: Direction,
        from: String,
        to: String,
        start: Timestamp,
        ring: Option<Ring>,
    ) -> Self {
        let legs =
            vec![Leg::new(random, from.clone(), true, start), Leg::new(random, to.clone(), false, start)];
        Self {
            id: random.uuid(),
            direction,
            from,
            to,
            start,
            answered: None,
            end: None,
            parked: false,
            voicemail: false,
            legs,
            ring,
            reported: None,
            taken: Vec::new(),
        }
    }

    /// Telephony's status of the call.
    pub(crate) fn status(&self) -> &'static str {
        status(self.end, self.answered)
    }

    /// The call's state in the response to a change. Requests use the same names.
    pub(crate) fn state(&self) -> &'static str {
        match (self.end, self.answered) {
            (Some(_), Some(_)) => "ended",
            (None, Some(_)) if self.parked => "parked",
            (None, Some(_)) => "active",
            (_, None) => self.status(),
        }
    }

    /// The latest party at the calling end (`caller`), or at the other end.
    pub(crate) fn party(&self, caller: bool) -> &str {
        let last = self.legs.iter().rev().find(|leg| leg.caller == caller);
        last.map_or("", |leg| leg.party.as_str())
    }

    /// Whether the call was ever on this extension.
    pub(crate) fn touches(&self, extension: &str) -> bool {
        self.legs.iter().any(|leg| leg.party == extension)
    }

    pub(crate) fn leg(&self, id: &str) -> Option<usize> {
        self.legs.iter().position(|leg| leg.id == id)
    }

    /// The latest leg on one of these extensions.
    pub(crate) fn own_leg(&self, own: impl Fn(&str) -> bool) -> Option<usize> {
        self.legs.iter().rposition(|leg| own(&leg.party))
    }

    /// The call as the user of these extensions sees it. `None` if it was never on one of them.
    pub(crate) fn seen_by(&self, own: impl Fn(&str) -> bool) -> Option<View> {
        let mine = self.legs.get(self.own_leg(own)?)?;
        let remote = self.legs.iter().rev().find(|leg| leg.caller != mine.caller)?;
        let state = match (mine.end, mine.answered) {
            (Some(_), Some(_)) => "ANSWERED",
            (Some(_), None) if mine.caller => "CANCELLED",
            (Some(_), None) if mine.rejected => "REJECTED",
            (Some(_), None) => "MISSED",
            (None, None) => "RINGING",
            (None, Some(_)) if mine.held || self.parked => "HELD",
            (None, Some(_)) if remote.held && remote.end.is_none() => "REMOTE_HELD",
            (None, Some(_)) => "ACTIVE",
        };
        Some(View {
            direction: if mine.caller { Direction::Outbound } else { Direction::Inbound },
            remote: remote.party.clone(),
            state,
            start: mine.start,
            answered: mine.answered,
            end: mine.end,
        })
    }

    /// Answers the call. Returns whether it was ringing.
    pub(crate) fn answer(&mut self, at: Timestamp) -> bool {
        let rings = self.end.is_none() && self.answered.is_none();
        if rings {
            self.answered = Some(at);
            self.ring = None;
            for leg in self.legs.iter_mut().filter(|leg| leg.end.is_none()) {
                leg.answered = Some(at);
            }
        }
        rings
    }

    /// Ends the call for all parties.
    pub(crate) fn finish(&mut self, at: Timestamp) {
        self.ring = None;
        self.end.get_or_insert(at);
        for leg in self.legs.iter_mut().filter(|leg| leg.end.is_none()) {
            leg.end = Some(at);
        }
        self.stop_recordings_of_ended_legs(at);
    }

    /// Ends the ringing as planned in `ring`.
    pub(crate) fn settle(&mut self) {
        match self.ring.take() {
            Some(Ring { until, picked_up: true }) => {
                self.answer(until);
            }
            Some(Ring { until, picked_up: false }) => self.finish(until),
            None => {}
        }
    }

    /// Ends a leg, and with it the call.
    pub(crate) fn leave(&mut self, leg: usize, at: Timestamp) {
        if let Some(leg) = self.legs.get_mut(leg) {
            leg.end.get_or_insert(at);
        }
        self.finish(at);
    }

    /// Replaces the party of a leg with another one, which answers immediately.
    pub(crate) fn transfer(&mut self, leg: usize, to: String, random: &mut Random, at: Timestamp) {
        let Some(leaving) = self.legs.get_mut(leg) else { return };
        let caller = leaving.caller;
        leaving.end.get_or_insert(at);
        leaving.held = false;
        if caller {
            self.from.clone_from(&to)
        } else {
            self.to.clone_from(&to)
        }
        self.legs.push(Leg::new(random, to, caller, at));
        self.parked = false;
        self.ring = None;
        self.answered.get_or_insert(at);
        for leg in self.legs.iter_mut().filter(|leg| leg.end.is_none()) {
            leg.answered.get_or_insert(at);
            leg.held = false;
        }
        self.stop_recordings_of_ended_legs(at);
    }

    /// Sends the other party to the leg's voicemail. A ringing leg counts as rejected. The call
    /// ends immediately: leaving a message takes no time.
    pub(crate) fn send_to_voicemail(&mut self, leg: usize, at: Timestamp) {
        if let Some(leg) = self.legs.get_mut(leg) {
            leg.rejected = leg.answered.is_none();
        }
        self.voicemail = true;
        self.finish(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn call(direction: Direction) -> (Call, Random) {
        let mut random = Random::new(1);
        let call = Call::ringing(&mut random, direction, "1001".into(), "1002".into(), at(0), None);
        (call, random)
    }

    fn state(call: &Call, who: &str) -> &'static str {
        call.seen_by(|party| party == who).unwrap().state
    }

    #[test]
    fn both_ends_see_a_call_in_their_own_way() {
        let (mut call, _) = call(Direction::Outbound);
        assert_eq!(
            (call.status(), state(&call, "1001"), state(&call, "1002")),
            ("ringing", "RINGING", "RINGING")
        );
        assert!(call.answer(at(3)) && !call.answer(at(4)));
        assert_eq!((call.status(), call.state(), state(&call, "1001")), ("on-call", "active", "ACTIVE"));
        call.legs[1].held = true;
        assert_eq!((call.legs[1].status(), call.legs[1].state()), ("on-call", "held"));
        assert_eq!((state(&call, "1001"), state(&call, "1002")), ("REMOTE_HELD", "HELD"));
        call.finish(at(10));
        assert_eq!(
            (call.status(), call.state()),
            ("on-call", "ended"),
            "the documents have no status for ended calls"
        );
        let view = call.seen_by(|party| party == "1002").unwrap();
        assert_eq!(
            (view.state, view.duration(), view.direction),
            ("ANSWERED", Duration::from_secs(7), Direction::Inbound)
        );
        assert!(call.seen_by(|party| party == "1003").is_none());
    }

    #[test]
    fn what_nobody_answers_is_cancelled_missed_or_rejected() {
        let (mut missed, _) = call(Direction::Outbound);
        missed.ring = Some(Ring { until: at(30), picked_up: false });
        missed.settle();
        assert_eq!(
            (missed.status(), state(&missed, "1001"), state(&missed, "1002")),
            ("unanswered", "CANCELLED", "MISSED")
        );
        assert_eq!(missed.end, Some(at(30)));
        let (mut rejected, _) = call(Direction::Inbound);
        rejected.send_to_voicemail(1, at(2));
        assert_eq!((state(&rejected, "1002"), rejected.voicemail), ("REJECTED", true));
    }

    #[test]
    fn who_transfers_a_call_is_done_with_it() {
        let (mut call, mut random) = call(Direction::Outbound);
        call.answer(at(1));
        call.transfer(0, "1003".into(), &mut random, at(5));
        assert_eq!(
            (state(&call, "1001"), state(&call, "1003"), state(&call, "1002")),
            ("ANSWERED", "ACTIVE", "ACTIVE")
        );
        assert_eq!((call.from.as_str(), call.party(true), call.end), ("1003", "1003", None));
        assert!(call.touches("1001") && call.touches("1003"));
    }
}
