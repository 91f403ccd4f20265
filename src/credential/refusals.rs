//! The memory of 401s that a fresh token did not cure. Pure: the time is the caller's.
//!
//! A path that always answers 401 (a user without a role, a suite that is not for this account) would otherwise
//! turn every request into a token rotation. So a forced refresh is for the place, the first three path segments,
//! that asked for it: when a token minted for a place is refused there too, the place is remembered for a minute, or
//! until there is a newer token, and its 401s pass. And refreshes that cured nothing are counted over all places,
//! so that many such places cannot take turns.
//!
//! Each [`Kind`] of 401 has a memory of its own: that a backend refuses a user says nothing about the next time the
//! gateway names the token as the reason.
//!
//! What cures is not counted here. `Forced` counts every forced refresh, whatever came of it.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::forced::Forced;
use crate::clock::{self, Timestamp};

/// How long a place is remembered.
pub const MEMORY: Duration = Duration::from_secs(60);

/// Forced refreshes that have not been seen to cure anything, per kind of 401 and [`MEMORY`].
const UNFRUITFUL: usize = 2;

/// Forced refreshes after which the gateway was content and the backend was not, per [`MEMORY`]. Each was needed,
/// so there may be more of them; an upstream that changes its mind at every request must still not make a storm.
const HALF_FRUITFUL: usize = 10;

/// How often it is logged at most that new tokens are refused.
const WARN_AGAIN: Duration = Duration::from_secs(60);

/// Places remembered at once. Beyond it nothing is forced: so many places are an attack or a mistake.
const PLACES: usize = 1024;

/// What a 401 said, as far as forcing a refresh is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The gateway named the token as the reason.
    Token,
    /// Nothing said why; a fresh token may help.
    Unclear,
}

/// What to do about a 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Get a newer token and try once more. The caller owes one `cured`, `refused` or `abandoned`.
    Refresh,
    /// A newer token is being tried for this path, and nothing is known of it yet: no refresh, but
    /// sending the same again may help. The text says why.
    Wait(&'static str),
    /// Pass the 401 on; the text says why.
    PassOn(&'static str),
}

/// The memory of one credential.
#[derive(Debug)]
pub struct Refusals {
    /// Every refresh that a 401 forced.
    pub(super) forced: Forced,
    places: [HashMap<Box<str>, Place>; 2],
    /// Forced refreshes of the last minute, but for those that have been seen to help: when each was forced, and by a
    /// 401 for which revision. All 401s for one revision force the same refresh.
    unproven: [Vec<(Timestamp, u64)>; 2],
    half_fruitful: Vec<Timestamp>,
    new_refused: u64,
    warned: Option<Instant>,
}

#[derive(Debug)]
enum Place {
    /// Requests that got 401 with `revision`, or an older one, are being tried with a newer one.
    Trying { revision: u64, attempts: u32 },
    /// A token of `revision`, minted for this place, was refused.
    Refused { revision: u64, at: Timestamp },
}

impl Refusals {
    /// An empty memory. The times that hold forced refreshes back are divided by `hurry`.
    pub fn new(hurry: u32) -> Self {
        Self {
            forced: Forced::new(hurry),
            places: Default::default(),
            unproven: Default::default(),
            half_fruitful: Vec::new(),
            new_refused: 0,
            warned: None,
        }
    }

    /// Counts a refusal by name of a token that is new, or that may not be replaced yet. Says
    /// whether a warning is due.
    pub(super) fn note_new_refused(&mut self, now: Instant) -> bool {
        self.new_refused += 1;
        let due = self.warned.is_none_or(|at| now.duration_since(at) >= WARN_AGAIN);
        if due {
            self.warned = Some(now);
        }
        due
    }

    /// How many such refusals there have been.
    pub(super) fn new_refused(&self) -> u64 {
        self.new_refused
    }

    /// Decides about a 401 at `place` for a bearer of `revision`.
    pub fn decide(&mut self, place: &str, revision: u64, kind: Kind, now: Timestamp) -> Decision {
        let places = &mut self.places[kind as usize];
        match places.get_mut(place) {
            Some(Place::Trying { revision: tried, attempts }) if revision <= *tried => {
                *attempts += 1;
                return Decision::Refresh;
            }
            // The gateway names a token as the reason that was good when it was minted: it may have been revoked since,
            // so this is another refresh, within the limits.
            Some(Place::Trying { .. }) if kind == Kind::Token => {}
            Some(Place::Trying { .. }) => {
                return Decision::Wait("a token just minted for this path is being tried");
            }
            Some(Place::Refused { revision: refused, at }) if is_recent(*at, now) && revision <= *refused => {
                return Decision::PassOn("a fresh token was refused here too, less than a minute ago");
            }
            _ => {}
        }
        let forced = &mut self.unproven[kind as usize];
        forced.retain(|(at, _)| is_recent(*at, now));
        let joins = forced.iter().any(|(_, by)| *by == revision);
        if !joins && forced.len() >= UNFRUITFUL {
            return Decision::PassOn("fresh tokens cured nothing twice within a minute");
        }
        self.half_fruitful.retain(|at| is_recent(*at, now));
        if kind == Kind::Token && self.half_fruitful.len() >= HALF_FRUITFUL {
            return Decision::PassOn("the token was refused too often within a minute");
        }
        if places.len() >= PLACES {
            places.retain(|_, place| !matches!(place, Place::Refused { at, .. } if !is_recent(*at, now)));
            if places.len() >= PLACES {
                return Decision::PassOn("too many paths answer 401");
            }
        }
        let under_way = match places.get(place) {
            Some(Place::Trying { attempts, .. }) => *attempts,
            _ => 0,
        };
        places.insert(place.into(), Place::Trying { revision, attempts: under_way + 1 });
        if !joins {
            forced.push((now, revision));
        }
        Decision::Refresh
    }

    /// A later sending of a request, whose bearer of revision `by` was refused, was not refused.
    pub fn cured(&mut self, place: &str, kind: Kind, by: u64) {
        self.end_attempt(place, kind);
        self.helped(kind, by);
    }

    /// A newer token was accepted where the one of revision `by` was refused: that refresh was
    /// worth it. It says nothing about other refreshes.
    pub fn helped(&mut self, kind: Kind, by: u64) {
        self.unproven[kind as usize].retain(|(_, forced)| *forced != by);
    }

    /// The attempt ended without an answer to learn from.
    pub fn abandoned(&mut self, place: &str, kind: Kind) {
        let Some(revision) = self.end_attempt(place, kind) else { return };
        let is_of_it = |place: &Place| matches!(place, Place::Trying { revision: r, .. } if *r == revision);
        if !self.places[kind as usize].values().any(is_of_it) {
            self.helped(kind, revision);
        }
    }

    /// The request cannot be sent again, so whether the refresh it forced helps will not be known. It keeps counting as
    /// one that did not: large uploads to a path that always answers 401 must not rotate tokens without end.
    pub fn unproven(&mut self, place: &str, kind: Kind) {
        self.end_attempt(place, kind);
    }

    /// The sending with `revision`, which was minted after a 401 of kind `first` for the revision
    /// `by`, was refused too, by a 401 of kind `second`.
    pub fn refused(
        &mut self,
        place: &str,
        by: u64,
        revision: u64,
        first: Kind,
        second: Kind,
        now: Timestamp,
    ) {
        // Where the gateway named the old token and does not name the new one, the refresh has helped.
        let half = first == Kind::Token && second == Kind::Unclear;
        let kind = if half { second } else { first };
        if half {
            self.end_attempt(place, first);
            self.helped(first, by);
        }
        let places = &mut self.places[kind as usize];
        if matches!(places.get(place), Some(Place::Refused { revision: r, .. }) if *r >= revision) {
            return;
        }
        places.insert(place.into(), Place::Refused { revision, at: now });
        if half {
            self.half_fruitful.push(now);
        }
    }

    /// How many places are remembered as refused.
    pub fn remembered(&self, now: Timestamp) -> usize {
        let places = self.places.iter().flat_map(HashMap::values);
        places.filter(|place| matches!(place, Place::Refused { at, .. } if is_recent(*at, now))).count()
    }

    /// Ends one attempt; gives the revision that it was for, if it was the last of its place.
    fn end_attempt(&mut self, place: &str, kind: Kind) -> Option<u64> {
        let places = &mut self.places[kind as usize];
        let Some(Place::Trying { revision, attempts }) = places.get_mut(place) else { return None };
        let revision = *revision;
        *attempts = attempts.saturating_sub(1);
        if *attempts > 0 {
            return None;
        }
        places.remove(place);
        Some(revision)
    }
}

/// Whether `at` is within the memory; a time ahead of a clock that jumped back is not.
fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    at <= now && clock::until(at, now) < MEMORY
}

/// The first three segments of a path: `/t/vbc.prod/reports`.
pub fn place(path: &str) -> &str {
    let end = path.match_indices('/').nth(3).map_or(path.len(), |(at, _)| at);
    let end = (0..=end.min(128)).rev().find(|at| path.is_char_boundary(*at)).unwrap_or(0);
    &path[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn later(seconds: u64) -> Timestamp {
        clock::after(NOW, Duration::from_secs(seconds))
    }

    fn passes_on(decision: Decision) -> bool {
        matches!(decision, Decision::PassOn(_) | Decision::Wait(_))
    }

    #[test]
    fn places_are_three_segments() {
        assert_eq!(place("/t/vbc.prod/reports/accounts/1"), "/t/vbc.prod/reports");
        assert_eq!(place("/t/vbc.prod"), "/t/vbc.prod");
        assert_eq!(place("*"), "*");
        assert_eq!(place(&format!("/{}", "é".repeat(100))).len(), 127);
    }

    #[test]
    fn a_token_revoked_a_second_after_it_was_minted_is_replaced() {
        let mut refusals = Refusals::new(1);
        for revision in 1..100 {
            assert_eq!(refusals.decide("/a", revision, Kind::Token, NOW), Decision::Refresh);
            refusals.cured("/a", Kind::Token, revision);
        }
    }

    #[test]
    fn a_refused_place_passes_for_a_minute_or_until_a_newer_token() {
        let mut refusals = Refusals::new(1);
        assert_eq!(refusals.decide("/a", 1, Kind::Unclear, NOW), Decision::Refresh);
        refusals.refused("/a", 1, 2, Kind::Unclear, Kind::Unclear, NOW);
        assert!(passes_on(refusals.decide("/a", 2, Kind::Unclear, later(59))));
        assert_eq!(refusals.decide("/a", 3, Kind::Unclear, later(1)), Decision::Refresh);
        refusals.abandoned("/a", Kind::Unclear);
        refusals.refused("/a", 2, 3, Kind::Unclear, Kind::Unclear, NOW);
        assert_eq!(refusals.decide("/a", 3, Kind::Unclear, later(61)), Decision::Refresh);
    }

    #[test]
    fn concurrent_401s_join_and_a_newer_one_waits_for_the_outcome() {
        let mut refusals = Refusals::new(1);
        for _ in 0..200 {
            assert_eq!(refusals.decide("/a", 1, Kind::Token, NOW), Decision::Refresh);
        }
        assert_eq!(refusals.decide("/a", 2, Kind::Token, NOW), Decision::Refresh, "revoked again meanwhile");
        assert!(passes_on(refusals.decide("/a", 3, Kind::Token, NOW)), "not without end");
        for _ in 0..200 {
            refusals.cured("/a", Kind::Token, 1);
        }
        refusals.cured("/a", Kind::Token, 2);
        assert_eq!(refusals.decide("/a", 3, Kind::Token, NOW), Decision::Refresh);
        assert_eq!(refusals.decide("/b", 1, Kind::Unclear, NOW), Decision::Refresh);
        assert!(passes_on(refusals.decide("/b", 2, Kind::Unclear, NOW)), "it may not be the token at all");
    }

    #[test]
    fn an_abandoned_attempt_leaves_no_memory() {
        let mut refusals = Refusals::new(1);
        assert_eq!(refusals.decide("/a", 1, Kind::Token, NOW), Decision::Refresh);
        refusals.abandoned("/a", Kind::Token);
        assert_eq!(refusals.decide("/a", 2, Kind::Token, NOW), Decision::Refresh);
    }

    #[test]
    fn places_that_take_turns_cannot_make_a_rotation_storm() {
        let mut refusals = Refusals::new(1);
        let mut refreshes = 0;
        for revision in 1..1000 {
            let place = format!("/{}", revision % 7);
            if refusals.decide(&place, revision, Kind::Unclear, NOW) == Decision::Refresh {
                refreshes += 1;
                refusals.refused(&place, revision, revision + 1, Kind::Unclear, Kind::Unclear, NOW);
            }
        }
        assert_eq!(refreshes, UNFRUITFUL);
        assert_eq!(refusals.decide("/good", 5, Kind::Token, NOW), Decision::Refresh);
    }

    #[test]
    fn a_backend_that_refuses_the_user_does_not_keep_a_revoked_token_from_being_replaced() {
        let mut refusals = Refusals::new(1);
        for revision in 1..=HALF_FRUITFUL as u64 {
            assert_eq!(refusals.decide("/a", revision, Kind::Token, NOW), Decision::Refresh);
            refusals.refused("/a", revision, revision + 1, Kind::Token, Kind::Unclear, NOW);
            assert!(passes_on(refusals.decide("/a", revision + 1, Kind::Unclear, NOW)));
        }
        assert!(passes_on(refusals.decide("/b", 100, Kind::Token, NOW)), "not without end");
        assert_eq!(refusals.decide("/b", 100, Kind::Token, later(60)), Decision::Refresh);
    }

    #[test]
    fn a_fresh_token_that_the_gateway_names_too_was_in_vain() {
        let mut refusals = Refusals::new(1);
        for (first, second) in [(Kind::Token, Kind::Token), (Kind::Unclear, Kind::Token)] {
            assert_eq!(refusals.decide("/a", 1, first, NOW), Decision::Refresh);
            refusals.refused("/a", 1, 2, first, second, NOW);
            assert!(passes_on(refusals.decide("/a", 2, first, NOW)));
            assert_eq!(refusals.unproven[first as usize].len(), 1);
        }
    }

    #[test]
    fn refreshes_whose_outcome_is_open_count_too_but_once_for_all_who_share_them() {
        let mut refusals = Refusals::new(1);
        for place in ["/a", "/b", "/c", "/d"] {
            assert_eq!(refusals.decide(place, 1, Kind::Token, NOW), Decision::Refresh);
        }
        assert_eq!(refusals.decide("/e", 2, Kind::Token, NOW), Decision::Refresh);
        assert!(passes_on(refusals.decide("/f", 3, Kind::Token, NOW)));
        // A success is of one refresh alone.
        refusals.helped(Kind::Token, 1);
        assert_eq!(refusals.decide("/f", 3, Kind::Token, NOW), Decision::Refresh);
        assert!(passes_on(refusals.decide("/g", 4, Kind::Token, NOW)));
    }

    #[test]
    fn a_success_elsewhere_does_not_excuse_a_refresh_that_cured_nothing() {
        let mut refusals = Refusals::new(1);
        for revision in [1, 3] {
            assert_eq!(refusals.decide("/bad", revision, Kind::Unclear, NOW), Decision::Refresh);
            refusals.refused("/bad", revision, revision + 1, Kind::Unclear, Kind::Unclear, NOW);
            // Another path, whose late 401 was for another revision, is content with the newer
            // token.
            refusals.helped(Kind::Unclear, revision + 10);
        }
        assert!(passes_on(refusals.decide("/other", 4, Kind::Unclear, NOW)));
    }

    #[test]
    fn a_warning_that_new_tokens_are_refused_is_due_once_a_minute_and_each_is_counted() {
        let mut refusals = Refusals::new(1);
        let start = Instant::now();
        let due = [0, 1, 59, 60, 61].map(|at| refusals.note_new_refused(start + Duration::from_secs(at)));
        assert_eq!((due, refusals.new_refused()), ([true, false, false, true, false], 5));
    }

    #[test]
    fn a_request_that_cannot_be_replayed_counts_as_one_in_vain() {
        let mut refusals = Refusals::new(1);
        for revision in 1..=UNFRUITFUL as u64 {
            assert_eq!(refusals.decide("/a", revision, Kind::Token, NOW), Decision::Refresh);
            refusals.unproven("/a", Kind::Token);
        }
        assert!(passes_on(refusals.decide("/a", 9, Kind::Token, NOW)));
    }
}
