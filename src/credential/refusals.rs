//! The memory of 401s that a fresh token did not cure. Pure: the time is the caller's.
//!
//! A path that always answers 401 (a user without a role, a suite that is not for this account) would otherwise
//! turn every request into a token rotation. So a forced refresh is for the place, the first three path segments,
//! that asked for it: when a token minted for a place is refused there too, the place is remembered for a minute, or
//! until there is a newer token, and its 401s pass. And refreshes that cured nothing are counted over all places,
//! so that many such places cannot take turns.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::{self, Timestamp};

/// How long a place is remembered.
pub const MEMORY: Duration = Duration::from_secs(60);

/// Forced refreshes that cured nothing, per kind of 401 and [`MEMORY`].
const UNFRUITFUL: usize = 2;

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
    /// Pass the 401 on; the text says why.
    PassOn(&'static str),
}

/// The memory of one credential.
#[derive(Debug, Default)]
pub struct Refusals {
    places: HashMap<Box<str>, Place>,
    unfruitful: [Vec<Timestamp>; 2],
}

#[derive(Debug)]
enum Place {
    /// Requests that got 401 with `revision`, or an older one, are being tried with a newer one.
    Trying { revision: u64, attempts: u32 },
    /// A token of `revision`, minted for this place, was refused.
    Refused { revision: u64, until: Timestamp },
}

impl Refusals {
    /// Decides about a 401 at `place` for a bearer of `revision`.
    pub fn decide(&mut self, place: &str, revision: u64, kind: Kind, now: Timestamp) -> Decision {
        match self.places.get_mut(place) {
            Some(Place::Trying { revision: tried, attempts }) if revision <= *tried => {
                *attempts += 1;
                return Decision::Refresh;
            }
            Some(Place::Trying { .. }) => {
                return Decision::PassOn("a token just minted for this path is being tried");
            }
            Some(Place::Refused { revision: refused, until }) if *until > now && revision <= *refused => {
                return Decision::PassOn("a fresh token was refused here too, less than a minute ago");
            }
            _ => {}
        }
        let recent = &mut self.unfruitful[kind as usize];
        recent.retain(|at| clock::until(*at, now) < MEMORY);
        if recent.len() >= UNFRUITFUL {
            return Decision::PassOn("fresh tokens cured nothing twice within a minute");
        }
        if self.places.len() >= PLACES {
            self.places.retain(|_, place| !matches!(place, Place::Refused { until, .. } if *until <= now));
            if self.places.len() >= PLACES {
                return Decision::PassOn("too many paths answer 401");
            }
        }
        self.places.insert(place.into(), Place::Trying { revision, attempts: 1 });
        Decision::Refresh
    }

    /// The replay was not refused.
    pub fn cured(&mut self, place: &str) {
        self.end_attempt(place);
    }

    /// The attempt ended without an answer to learn from.
    pub fn abandoned(&mut self, place: &str) {
        self.end_attempt(place);
    }

    /// The request cannot be sent again, so whether the refresh it forced helps will not be known. It counts as one
    /// that did not: large uploads to a path that always answers 401 must not rotate tokens without end.
    pub fn unproven(&mut self, place: &str, kind: Kind, now: Timestamp) {
        self.end_attempt(place);
        if !self.places.contains_key(place) {
            self.unfruitful[kind as usize].push(now);
        }
    }

    /// The replay with `revision`, which was minted after the first 401, was refused too.
    pub fn refused(&mut self, place: &str, revision: u64, kind: Kind, now: Timestamp) {
        let known =
            matches!(self.places.get(place), Some(Place::Refused { revision: r, .. }) if *r >= revision);
        if known {
            return;
        }
        self.unfruitful[kind as usize].push(now);
        let refused = Place::Refused { revision, until: clock::after(now, MEMORY) };
        self.places.insert(place.into(), refused);
    }

    fn end_attempt(&mut self, place: &str) {
        if let Some(Place::Trying { attempts, .. }) = self.places.get_mut(place) {
            *attempts = attempts.saturating_sub(1);
            if *attempts == 0 {
                self.places.remove(place);
            }
        }
    }
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
        matches!(decision, Decision::PassOn(_))
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
        let mut refusals = Refusals::default();
        for revision in 1..100 {
            assert_eq!(refusals.decide("/a", revision, Kind::Token, NOW), Decision::Refresh);
            refusals.cured("/a");
        }
    }

    #[test]
    fn a_refused_place_passes_for_a_minute_or_until_a_newer_token() {
        let mut refusals = Refusals::default();
        assert_eq!(refusals.decide("/a", 1, Kind::Unclear, NOW), Decision::Refresh);
        refusals.refused("/a", 2, Kind::Unclear, NOW);
        assert!(passes_on(refusals.decide("/a", 2, Kind::Unclear, later(59))));
        assert_eq!(refusals.decide("/a", 3, Kind::Unclear, later(1)), Decision::Refresh);
        refusals.abandoned("/a");
        refusals.refused("/a", 3, Kind::Unclear, NOW);
        assert_eq!(refusals.decide("/a", 3, Kind::Unclear, later(61)), Decision::Refresh);
    }

    #[test]
    fn concurrent_401s_join_and_a_newer_one_waits_for_the_outcome() {
        let mut refusals = Refusals::default();
        for _ in 0..200 {
            assert_eq!(refusals.decide("/a", 1, Kind::Token, NOW), Decision::Refresh);
        }
        assert!(passes_on(refusals.decide("/a", 2, Kind::Token, NOW)));
        for _ in 0..200 {
            refusals.cured("/a");
        }
        assert_eq!(refusals.decide("/a", 2, Kind::Token, NOW), Decision::Refresh);
    }

    #[test]
    fn an_abandoned_attempt_leaves_no_memory() {
        let mut refusals = Refusals::default();
        assert_eq!(refusals.decide("/a", 1, Kind::Token, NOW), Decision::Refresh);
        refusals.abandoned("/a");
        assert_eq!(refusals.decide("/a", 2, Kind::Token, NOW), Decision::Refresh);
    }

    #[test]
    fn places_that_take_turns_cannot_make_a_rotation_storm() {
        let mut refusals = Refusals::default();
        let mut refreshes = 0;
        for revision in 1..1000 {
            let place = format!("/{}", revision % 7);
            if refusals.decide(&place, revision, Kind::Unclear, NOW) == Decision::Refresh {
                refreshes += 1;
                refusals.refused(&place, revision + 1, Kind::Unclear, NOW);
            }
        }
        assert_eq!(refreshes, UNFRUITFUL);
        assert_eq!(refusals.decide("/good", 5, Kind::Token, NOW), Decision::Refresh);
    }
}
