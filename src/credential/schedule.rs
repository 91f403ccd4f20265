//! When a token is refreshed next, and when a failed exchange is tried again. Pure: the caller
//! passes time and randomness.

use std::time::Duration;

use jiff::SignedDuration;

use crate::oauth::TokenSet;
use vbc_base::clock::{self, Timestamp};

/// The least time between scheduled refreshes. A token that ends sooner is replaced when a request
/// needs it.
const EARLY_FLOOR: Duration = Duration::from_secs(10);

/// The early refresh moves by up to this share of its delay, so that the refreshes of many
/// credentials spread out.
const JITTER: f64 = 0.1;

/// If the refresh token has less than about twice this left after a refresh, the server is assumed
/// not to renew it.
const RENEWABLE: Duration = Duration::from_secs(30 * 60);

/// The least time between warnings that a login will be needed.
const WARN_AGAIN: Duration = Duration::from_secs(86_400);

const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_LAST: Duration = Duration::from_secs(5 * 60);
/// The longest `Retry-After` that is honoured.
const RETRY_AFTER_CAP: Duration = Duration::from_secs(60 * 60);

/// When a token is refreshed ahead of its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RefreshAt {
    /// The token is refreshed after this share of its lifetime, with jitter.
    Share(f64),
    /// The token is refreshed this long before its end.
    Before(Duration),
}

impl Default for RefreshAt {
    fn default() -> Self {
        Self::Share(0.5)
    }
}

/// When to refresh `tokens` early. `random` in `0.0..1.0` places the time within its jitter.
pub(super) fn refresh_at(plan: RefreshAt, tokens: &TokenSet, random: f64) -> Timestamp {
    let lifetime = clock::until(tokens.issued_at, tokens.expires_at);
    let delay = match plan {
        RefreshAt::Share(share) => {
            let share = share * (1.0 + JITTER * (2.0 * random - 1.0));
            lifetime.mul_f64(share.clamp(0.0, 1.0))
        }
        RefreshAt::Before(margin) => lifetime.saturating_sub(margin),
    };
    clock::after(tokens.issued_at, delay.max(EARLY_FLOOR))
}

/// The latest time to refresh `tokens` so that the refresh token does not expire. An unused refresh
/// token lives for `lifetime`. The time is halfway between the issue of the set and the end of the
/// refresh token, moved a little earlier by jitter.
///
/// `None` if almost nothing was left: the server then keeps issuing the same refresh token, and
/// more refreshes would only end access tokens.
pub(super) fn refresh_by(tokens: &TokenSet, lifetime: Duration, random: f64) -> Option<Timestamp> {
    let left = clock::until(tokens.issued_at, clock::after(tokens.refresh_issued_at, lifetime));
    let delay = left.mul_f64(0.5 - 0.5 * JITTER * random);
    (delay >= RENEWABLE.min(lifetime.mul_f64(0.25))).then(|| clock::after(tokens.issued_at, delay))
}

/// When to warn that an interactive login will be needed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Warning {
    last: Option<Timestamp>,
}

impl Warning {
    /// Whether a warning is due at `now`, with `left` until the login is needed. If so, records the
    /// warning. A refresh token that is renewed in time always has about half its lifetime left.
    pub(super) fn is_due(
        &mut self,
        left: Duration,
        lifetime: Duration,
        renewable: bool,
        now: Timestamp,
    ) -> bool {
        let is_late = !renewable || left < lifetime.mul_f64(0.5 - JITTER / 10.0);
        let is_due =
            is_late && self.last.is_none_or(|last| last > now || clock::until(last, now) >= WARN_AGAIN);
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}

/// The pause after failed exchanges: 1 s, doubling up to 5 min. The upper half of each pause is
/// random. No pause is shorter than the server's `Retry-After`, which is capped at an hour.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Timestamp>,
}

impl Backoff {
    /// Notes a failure at `now`. Returns the time of the next attempt.
    pub(super) fn fail(&mut self, now: Timestamp, retry_after: Option<Duration>, random: f64) -> Timestamp {
        let ceiling = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_LAST);
        self.failures = self.failures.saturating_add(1);
        let pause = ceiling.mul_f64(0.5 + 0.5 * random);
        let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_CAP);
        let until = clock::after(now, pause.max(asked));
        self.until = Some(until);
        until
    }

    pub(super) fn set_back(&mut self, by: SignedDuration) {
        self.until = self.until.map(|until| until.saturating_sub(by).unwrap_or(until));
    }

    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// The end of the pause; `None` once it is over.
    ///
    /// An end further away than the longest pause is ignored, so that a clock that jumped back does
    /// not extend the pause.
    pub(super) fn until(&self, now: Timestamp) -> Option<Timestamp> {
        self.until.filter(|until| *until > now && clock::until(now, *until) <= RETRY_AFTER_CAP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::{Issued, TokenSet};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn tokens(seconds: u64) -> TokenSet {
        let issued = Issued {
            access_token: "a".into(),
            refresh_token: None,
            expires_in: Duration::from_secs(seconds),
            scope: None,
            subject: None,
        };
        TokenSet::from_issued(issued, NOW, None, None)
    }

    fn seconds_until(at: Timestamp) -> u64 {
        clock::until(NOW, at).as_secs()
    }

    #[test]
    fn a_share_of_the_lifetime_with_jitter() {
        let plan = RefreshAt::Share(0.5);
        assert_eq!(seconds_until(refresh_at(plan, &tokens(86_400), 0.5)), 43_200);
        assert_eq!(seconds_until(refresh_at(plan, &tokens(86_400), 0.0)), 38_880);
        assert!(seconds_until(refresh_at(plan, &tokens(86_400), 0.999)) <= 47_520);
    }

    #[test]
    fn a_fixed_time_before_the_end() {
        let plan = RefreshAt::Before(Duration::from_secs(600));
        assert_eq!(seconds_until(refresh_at(plan, &tokens(86_400), 0.3)), 85_800);
    }

    #[test]
    fn short_lived_tokens_are_not_refreshed_in_a_storm() {
        assert_eq!(seconds_until(refresh_at(RefreshAt::Share(0.5), &tokens(12), 0.5)), 10);
        assert_eq!(seconds_until(refresh_at(RefreshAt::Share(0.5), &tokens(2), 0.5)), 10);
    }

    #[test]
    fn a_refresh_token_is_renewed_at_half_of_its_life_and_one_that_stays_the_same_makes_no_storm() {
        let lifetime = Duration::from_secs(7 * 86_400);
        let mut set = tokens(365 * 86_400);
        let mut refreshes = 0;
        while let Some(at) = refresh_by(&set, lifetime, 0.0) {
            let half = clock::until(set.issued_at, clock::after(set.refresh_issued_at, lifetime)) / 2;
            assert_eq!(clock::until(set.issued_at, at), half);
            // The server keeps the refresh token: only the access token is newer.
            set.issued_at = at;
            refreshes += 1;
        }
        assert!((5..=9).contains(&refreshes), "{refreshes}");
    }

    #[test]
    fn backoff_grows_to_five_minutes_and_makes_at_most_ten_attempts_a_minute() {
        let mut backoff = Backoff::default();
        let (mut now, mut in_first_minute) = (NOW, 1);
        for _ in 0..20 {
            now = backoff.fail(now, None, 0.0);
            in_first_minute += u32::from(seconds_until(now) < 60);
        }
        assert!(in_first_minute <= 10, "{in_first_minute}");
        let last = backoff.fail(now, None, 1.0);
        assert_eq!(clock::until(now, last), BACKOFF_LAST);
    }

    #[test]
    fn backoff_honours_retry_after_within_reason() {
        let mut backoff = Backoff::default();
        let until = backoff.fail(NOW, Some(Duration::from_secs(90)), 0.0);
        assert_eq!(seconds_until(until), 90);
        let until = backoff.fail(NOW, Some(Duration::from_secs(1_000_000)), 0.0);
        assert_eq!(clock::until(NOW, until), RETRY_AFTER_CAP);
    }

    #[test]
    fn a_clock_that_jumps_back_does_not_stretch_the_pause() {
        let mut backoff = Backoff::default();
        backoff.fail(clock::after(NOW, Duration::from_secs(1_000_000)), None, 1.0);
        assert_eq!(backoff.until(NOW), None);
    }
}
