//! The memory of 401s that a fresh token did not cure. Pure: the caller passes the time.
//!
//! Some paths always return 401: the user may lack a role, or the account a suite. Without this
//! memory each request to them would rotate the token. So a forced refresh belongs to one path
//! prefix, the first three segments. If the token minted for a prefix is rejected there too, the
//! prefix is remembered for a minute or until a newer token. Meanwhile its 401s are passed on.
//! Refreshes that cured nothing are also counted over all prefixes. Otherwise many prefixes could
//! take turns and rotate the token endlessly.
//!
//! Each [`Kind`] of 401 has its own memory. A backend that refuses a user says nothing about a
//! later 401 in which the gateway names the token.
//!
//! `ForcedRefreshes` limits all forced refreshes, including those that cure.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::forced_refreshes::ForcedRefreshes;
use vbc_base::clock::{self, Timestamp};

/// How long a rejected prefix is remembered.
pub const MEMORY: Duration = Duration::from_secs(60);

/// The most forced refreshes without a known cure within [`MEMORY`], for each kind of 401.
const UNFRUITFUL: usize = 2;

/// The most forced refreshes within [`MEMORY`] that satisfied the gateway but not the backend. Each
/// of them was needed, so more are allowed than [`UNFRUITFUL`]. The limit stops an upstream that
/// changes its mind at every request.
const HALF_FRUITFUL: usize = 10;

/// The least time between warnings about rejected new tokens.
const WARN_AGAIN: Duration = Duration::from_secs(60);

/// The most prefixes remembered at the same time. More prefixes are an attack or a mistake, so no
/// refresh is forced for them.
const MOST_PREFIXES: usize = 1024;

/// What a 401 says about its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The gateway named the token as the reason.
    Token,
    /// The reason is unknown. A fresh token may help.
    Unclear,
}

/// What to do about a 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Get a newer token and try once more. The caller then reports the attempt's end with one of
    /// `cured`, `rejected`, `abandoned` and `unproven`.
    Refresh,
    /// No refresh, because a newer token is being tried for this prefix. Sending the request again
    /// may help. The text has the reason.
    Wait(&'static str),
    /// Pass the 401 on. The text has the reason.
    PassOn(&'static str),
}

/// The memory of one credential.
#[derive(Debug)]
pub struct RejectedPrefixes {
    /// Every refresh that a 401 forced.
    pub(super) forced: ForcedRefreshes,
    prefixes: [HashMap<Box<str>, PrefixState>; 2],
    /// Forced refreshes of the last minute that are not known to have helped: the time, and the
    /// revision that got the 401. 401s for one revision share a
    /// refresh, so each revision is listed once.
    unproven: [Vec<(Timestamp, u64)>; 2],
    half_fruitful: Vec<Timestamp>,
    pub(super) new_refused: u64,
    warned: Option<Instant>,
}

#[derive(Debug)]
enum PrefixState {
    /// Requests with a bearer of `revision` or older got 401 and are tried with a newer one.
    Trying { revision: u64, attempts: u32 },
    /// A token of `revision`, minted for this prefix, was rejected.
    Rejected { revision: u64, at: Timestamp },
}

impl RejectedPrefixes {
    /// An empty memory. `hurry` divides the delays of forced refreshes.
    pub fn new(hurry: u32) -> Self {
        Self {
            forced: ForcedRefreshes::new(hurry),
            prefixes: Default::default(),
            unproven: Default::default(),
            half_fruitful: Vec::new(),
            new_refused: 0,
            warned: None,
        }
    }

    /// Forgets everything except the totals that metrics show.
    pub(super) fn forget(&mut self) {
        self.forced.forget();
        self.prefixes = Default::default();
        self.unproven = Default::default();
        self.half_fruitful.clear();
        self.warned = None;
    }

    /// Counts a refused new token. Returns whether a warning is due.
    pub(super) fn note_new_refused(&mut self, now: Instant) -> bool {
        self.new_refused += 1;
        let is_due = self.warned.is_none_or(|at| now.duration_since(at) >= WARN_AGAIN);
        if is_due {
            self.warned = Some(now);
        }
        is_due
    }

    /// Decides about a 401 at `prefix` for a bearer of `revision`.
    pub fn decide(&mut self, prefix: &str, revision: u64, kind: Kind, now: Timestamp) -> Decision {
        let prefixes = &mut self.prefixes[kind as usize];
        match prefixes.get_mut(prefix) {
            Some(PrefixState::Trying { revision: tried, attempts }) if revision <= *tried => {
                *attempts += 1;
                return Decision::Refresh;
            }
            // The gateway names the newer token too. That token may have been revoked since it was
            // minted, so another refresh is forced, within the limits.
            Some(PrefixState::Trying { .. }) if kind == Kind::Token => {}
            Some(PrefixState::Trying { .. }) => {
                return Decision::Wait("a new token for this path is being tried");
            }
            Some(PrefixState::Rejected { revision: rejected, at })
                if is_recent(*at, now) && revision <= *rejected =>
            {
                return Decision::PassOn("a fresh token was refused here too, less than a minute ago");
            }
            _ => {}
        }
        let forced = &mut self.unproven[kind as usize];
        forced.retain(|(at, _)| is_recent(*at, now));
        let joins = forced.iter().any(|(_, by)| *by == revision);
        if !joins && forced.len() >= UNFRUITFUL {
            return Decision::PassOn("two fresh tokens within a minute did not help");
        }
        self.half_fruitful.retain(|at| is_recent(*at, now));
        if kind == Kind::Token && self.half_fruitful.len() >= HALF_FRUITFUL {
            return Decision::PassOn("the token was refused too often within a minute");
        }
        if prefixes.len() >= MOST_PREFIXES {
            prefixes.retain(
                |_, state| !matches!(state, PrefixState::Rejected { at, .. } if !is_recent(*at, now)),
            );
            if prefixes.len() >= MOST_PREFIXES {
                return Decision::PassOn("too many paths return 401");
            }
        }
        let attempts = match prefixes.get(prefix) {
            Some(PrefixState::Trying { attempts, .. }) => attempts + 1,
            _ => 1,
        };
        prefixes.insert(prefix.into(), PrefixState::Trying { revision, attempts });
        if !joins {
            forced.push((now, revision));
        }
        Decision::Refresh
    }

    /// A retry was accepted, after the bearer of revision `by` had been rejected.
    pub fn cured(&mut self, prefix: &str, kind: Kind, by: u64) {
        self.end_attempt(prefix, kind);
        self.helped(kind, by);
    }

    /// A newer token was accepted where a token of revision `by` had been rejected, so the refresh
    /// between the two has helped. The success says nothing about other refreshes.
    pub fn helped(&mut self, kind: Kind, by: u64) {
        self.unproven[kind as usize].retain(|(_, forced)| *forced != by);
    }

    /// The attempt ended without a response to learn from.
    pub fn abandoned(&mut self, prefix: &str, kind: Kind) {
        let Some(revision) = self.end_attempt(prefix, kind) else { return };
        let is_tried = self.prefixes[kind as usize]
            .values()
            .any(|state| matches!(state, PrefixState::Trying { revision: tried, .. } if *tried == revision));
        if !is_tried {
            self.helped(kind, revision);
        }
    }

    /// The request cannot be retried, so it stays unknown whether the refresh helped. The refresh
    /// counts as one that did not help. Otherwise uploads to a path that always gets 401 would
    /// rotate tokens endlessly.
    pub fn unproven(&mut self, prefix: &str, kind: Kind) {
        self.end_attempt(prefix, kind);
    }

    /// A token of `revision`, minted after a 401 of kind `first` for revision `by`, got a 401 of
    /// kind `second`.
    pub fn rejected(
        &mut self,
        prefix: &str,
        by: u64,
        revision: u64,
        first: Kind,
        second: Kind,
        now: Timestamp,
    ) {
        // The gateway named the old token and does not name the new one: the refresh has helped.
        let has_helped = first == Kind::Token && second == Kind::Unclear;
        let kind = if has_helped { second } else { first };
        if has_helped {
            self.end_attempt(prefix, first);
            self.helped(first, by);
        }
        let prefixes = &mut self.prefixes[kind as usize];
        if matches!(prefixes.get(prefix), Some(PrefixState::Rejected { revision: r, .. }) if *r >= revision) {
            return;
        }
        prefixes.insert(prefix.into(), PrefixState::Rejected { revision, at: now });
        if has_helped {
            self.half_fruitful.push(now);
        }
    }

    /// The number of prefixes that are remembered as rejected.
    pub fn remembered(&self, now: Timestamp) -> usize {
        let states = self.prefixes.iter().flat_map(HashMap::values);
        states
            .filter(|state| matches!(state, PrefixState::Rejected { at, .. } if is_recent(*at, now)))
            .count()
    }

    /// Ends one attempt. Returns the attempt's revision if no other attempt is open for the prefix.
    fn end_attempt(&mut self, prefix: &str, kind: Kind) -> Option<u64> {
        let prefixes = &mut self.prefixes[kind as usize];
        let Some(PrefixState::Trying { revision, attempts }) = prefixes.get_mut(prefix) else { return None };
        let revision = *revision;
        *attempts = attempts.saturating_sub(1);
        if *attempts > 0 {
            return None;
        }
        prefixes.remove(prefix);
        Some(revision)
    }
}

/// Whether `at` is within [`MEMORY`] before `now`. A time in the future is not recent: a clock that
/// jumped back leaves such times behind.
fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    at <= now && clock::until(at, now) < MEMORY
}

/// The first three segments of a path, such as `/t/vbc.prod/reports`. At most 128 bytes.
pub fn path_prefix(path: &str) -> &str {
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
    fn prefixes_are_three_segments() {
        assert_eq!(path_prefix("/t/vbc.prod/reports/accounts/1"), "/t/vbc.prod/reports");
        assert_eq!(path_prefix("/t/vbc.prod"), "/t/vbc.prod");
        assert_eq!(path_prefix("*"), "*");
        assert_eq!(path_prefix(&format!("/{}", "é".repeat(100))).len(), 127);
    }

    #[test]
    fn a_token_revoked_a_second_after_it_was_minted_is_replaced() {
        let mut memory = RejectedPrefixes::new(1);
        for revision in 1..100 {
            assert_eq!(memory.decide("/a", revision, Kind::Token, NOW), Decision::Refresh);
            memory.cured("/a", Kind::Token, revision);
        }
    }

    #[test]
    fn a_rejected_prefix_passes_for_a_minute_or_until_a_newer_token() {
        let mut memory = RejectedPrefixes::new(1);
        assert_eq!(memory.decide("/a", 1, Kind::Unclear, NOW), Decision::Refresh);
        memory.rejected("/a", 1, 2, Kind::Unclear, Kind::Unclear, NOW);
        assert!(passes_on(memory.decide("/a", 2, Kind::Unclear, later(59))));
        assert_eq!(memory.decide("/a", 3, Kind::Unclear, later(1)), Decision::Refresh);
        memory.abandoned("/a", Kind::Unclear);
        memory.rejected("/a", 2, 3, Kind::Unclear, Kind::Unclear, NOW);
        assert_eq!(memory.decide("/a", 3, Kind::Unclear, later(61)), Decision::Refresh);
    }

    #[test]
    fn concurrent_401s_join_and_a_newer_one_waits_for_the_outcome() {
        let mut memory = RejectedPrefixes::new(1);
        for _ in 0..200 {
            assert_eq!(memory.decide("/a", 1, Kind::Token, NOW), Decision::Refresh);
        }
        assert_eq!(memory.decide("/a", 2, Kind::Token, NOW), Decision::Refresh, "revoked again meanwhile");
        assert!(passes_on(memory.decide("/a", 3, Kind::Token, NOW)), "not without end");
        for _ in 0..200 {
            memory.cured("/a", Kind::Token, 1);
        }
        memory.cured("/a", Kind::Token, 2);
        assert_eq!(memory.decide("/a", 3, Kind::Token, NOW), Decision::Refresh);
        assert_eq!(memory.decide("/b", 1, Kind::Unclear, NOW), Decision::Refresh);
        assert!(passes_on(memory.decide("/b", 2, Kind::Unclear, NOW)), "it may not be the token at all");
    }

    #[test]
    fn an_abandoned_attempt_leaves_no_memory() {
        let mut memory = RejectedPrefixes::new(1);
        assert_eq!(memory.decide("/a", 1, Kind::Token, NOW), Decision::Refresh);
        memory.abandoned("/a", Kind::Token);
        assert_eq!(memory.decide("/a", 2, Kind::Token, NOW), Decision::Refresh);
    }

    #[test]
    fn prefixes_that_take_turns_cannot_make_a_rotation_storm() {
        let mut memory = RejectedPrefixes::new(1);
        let mut refreshes = 0;
        for revision in 1..1000 {
            let prefix = format!("/{}", revision % 7);
            if memory.decide(&prefix, revision, Kind::Unclear, NOW) == Decision::Refresh {
                refreshes += 1;
                memory.rejected(&prefix, revision, revision + 1, Kind::Unclear, Kind::Unclear, NOW);
            }
        }
        assert_eq!(refreshes, UNFRUITFUL);
        assert_eq!(memory.decide("/good", 5, Kind::Token, NOW), Decision::Refresh);
    }

    #[test]
    fn a_backend_that_refuses_the_user_does_not_keep_a_revoked_token_from_being_replaced() {
        let mut memory = RejectedPrefixes::new(1);
        for revision in 1..=HALF_FRUITFUL as u64 {
            assert_eq!(memory.decide("/a", revision, Kind::Token, NOW), Decision::Refresh);
            memory.rejected("/a", revision, revision + 1, Kind::Token, Kind::Unclear, NOW);
            assert!(passes_on(memory.decide("/a", revision + 1, Kind::Unclear, NOW)));
        }
        assert!(passes_on(memory.decide("/b", 100, Kind::Token, NOW)), "not without end");
        assert_eq!(memory.decide("/b", 100, Kind::Token, later(60)), Decision::Refresh);
    }

    #[test]
    fn a_fresh_token_that_the_gateway_names_too_was_in_vain() {
        let mut memory = RejectedPrefixes::new(1);
        for (first, second) in [(Kind::Token, Kind::Token), (Kind::Unclear, Kind::Token)] {
            assert_eq!(memory.decide("/a", 1, first, NOW), Decision::Refresh);
            memory.rejected("/a", 1, 2, first, second, NOW);
            assert!(passes_on(memory.decide("/a", 2, first, NOW)));
            assert_eq!(memory.unproven[first as usize].len(), 1);
        }
    }

    #[test]
    fn refreshes_whose_outcome_is_open_count_too_but_once_for_all_who_share_them() {
        let mut memory = RejectedPrefixes::new(1);
        for prefix in ["/a", "/b", "/c", "/d"] {
            assert_eq!(memory.decide(prefix, 1, Kind::Token, NOW), Decision::Refresh);
        }
        assert_eq!(memory.decide("/e", 2, Kind::Token, NOW), Decision::Refresh);
        assert!(passes_on(memory.decide("/f", 3, Kind::Token, NOW)));
        // A success is credited to one refresh only.
        memory.helped(Kind::Token, 1);
        assert_eq!(memory.decide("/f", 3, Kind::Token, NOW), Decision::Refresh);
        assert!(passes_on(memory.decide("/g", 4, Kind::Token, NOW)));
    }

    #[test]
    fn a_success_elsewhere_does_not_excuse_a_refresh_that_cured_nothing() {
        let mut memory = RejectedPrefixes::new(1);
        for revision in [1, 3] {
            assert_eq!(memory.decide("/bad", revision, Kind::Unclear, NOW), Decision::Refresh);
            memory.rejected("/bad", revision, revision + 1, Kind::Unclear, Kind::Unclear, NOW);
            // Another path accepts the newer token after a late 401. That 401 was for another
            // revision.
            memory.helped(Kind::Unclear, revision + 10);
        }
        assert!(passes_on(memory.decide("/other", 4, Kind::Unclear, NOW)));
    }

    #[test]
    fn a_warning_that_new_tokens_are_refused_is_due_once_a_minute_and_each_is_counted() {
        let mut memory = RejectedPrefixes::new(1);
        let start = Instant::now();
        let due = [0, 1, 59, 60, 61].map(|at| memory.note_new_refused(start + Duration::from_secs(at)));
        assert_eq!((due, memory.new_refused), ([true, false, false, true, false], 5));
    }

    #[test]
    fn a_request_that_cannot_be_replayed_counts_as_one_in_vain() {
        let mut memory = RejectedPrefixes::new(1);
        for revision in 1..=UNFRUITFUL as u64 {
            assert_eq!(memory.decide("/a", revision, Kind::Token, NOW), Decision::Refresh);
            memory.unproven("/a", Kind::Token);
        }
        assert!(passes_on(memory.decide("/a", 9, Kind::Token, NOW)));
    }
}
