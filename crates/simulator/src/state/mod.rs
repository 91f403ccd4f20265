//! The mutable state of a simulation, behind one lock.

mod actions;
mod settings;
pub(crate) mod stats;
mod timeline;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::SignedDuration;

use settings::Settings;
use stats::Stats;
use timeline::Timeline;

use crate::expect::Expectations;
use crate::fault::{Faults, Names};
use crate::field::FieldReport;
use crate::journal::Journal;
use crate::journal::redaction::{KnownSecrets, Secrets};
use crate::names::TENANT;
use crate::options::SimulatorOptions;
use crate::random::Random;
use crate::tokens::{Policy, Tokens};
use crate::world::{Lock, Login, World};
use vbc_base::clock::{Clock, Timestamp};

/// Consecutive failures after which a login is locked.
const FAILURES: u32 = 5;
/// The state. A reset replaces it, but still counts the token requests in progress.
pub(crate) struct State {
    pub(crate) options: Arc<SimulatorOptions>,
    pub(crate) world: World,
    pub(crate) tokens: Tokens,
    pub(crate) codes: HashMap<String, Code>,
    pub(crate) policy: Policy,
    pub(crate) quota: Option<u32>,
    /// Suites whose subscriptions were ended for all applications.
    pub(crate) unsubscribed: BTreeSet<&'static str>,
    /// Whether a refresh token that is used twice gets a server error.
    pub(crate) spent_is_server_error: bool,
    /// Requests in the current minute, by client and user.
    pub(crate) windows: HashMap<Consumer, (i64, u32)>,
    pub(crate) faults: Faults,
    pub(crate) stats: Stats,
    pub(crate) journal: Journal,
    pub(crate) expectations: Expectations,
    pub(crate) random: Random,
    /// The source of ids for responses. Calls use another source, so that their ids do not depend
    /// on the number of other requests.
    pub(crate) response_ids: Random,
    token_requests_now: u64,
    /// Token requests in progress, by identity.
    under_way: HashMap<Consumer, u64>,
    pub(crate) timeline: Timeline,
    /// Secrets to redact, besides tokens.
    pub(crate) secrets: Secrets,
    /// Changes made by actions, which can be shown and reverted.
    pub(crate) settings: Settings,
    /// How far actions have moved the clock.
    pub(crate) advanced: SignedDuration,
    /// How far the clock was moved to reach the start time of the options.
    started: SignedDuration,
}

/// A client and the user it acts for.
pub(crate) type Consumer = (Arc<str>, Option<Arc<str>>);

/// An authorization code.
pub(crate) struct Code {
    pub(crate) client: String,
    pub(crate) user: String,
    pub(crate) redirect_uri: String,
    pub(crate) scopes: String,
    pub(crate) challenge: Option<(String, bool)>,
    /// The nonce of the request, which the ID token repeats.
    pub(crate) nonce: Option<String>,
    /// When the user logged in.
    pub(crate) issued: Timestamp,
    pub(crate) expires: Timestamp,
    /// The row of the tokens that the code was redeemed for. `None` until it is redeemed.
    pub(crate) row: Option<usize>,
}

/// The result of a login attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The password is right.
    Right,
    /// The user name or the password is wrong.
    Wrong,
    /// The login is locked after too many failures.
    Locked,
    /// An administrator has locked the login.
    LockedByAdministrator,
}

impl State {
    /// The state at the start. Sets the clock to the start time of the options.
    pub(crate) fn begin(options: Arc<SimulatorOptions>, epoch: u64) -> Self {
        let clock = options.clock.clone();
        let started = options.start.map_or(SignedDuration::ZERO, |start| clock.set(start));
        Self { started, ..Self::seeded(options, clock.now(), epoch) }
    }

    pub(crate) fn seeded(options: Arc<SimulatorOptions>, now: Timestamp, epoch: u64) -> Self {
        let world = World::seeded(&options, now);
        Self {
            secrets: Secrets::of(&world),
            world,
            tokens: Tokens::new(
                options.deterministic.then(|| Random::new(options.seed ^ epoch << 32 ^ 0x70_6b65)),
            ),
            codes: HashMap::new(),
            policy: Policy {
                mode: options.mode,
                old_access: options.old_access,
                rotation: options.refresh_rotation,
                format: options.token_format,
                lifetimes: options.lifetimes,
                openid: true,
                kid: 0,
            },
            quota: options.quota,
            unsubscribed: BTreeSet::new(),
            spent_is_server_error: false,
            windows: HashMap::new(),
            faults: Faults::new(options.seed),
            stats: Stats::default(),
            journal: Journal::new(options.journal, epoch),
            expectations: Expectations::default(),
            random: Random::new(options.seed ^ 0x5eed),
            response_ids: Random::new(options.seed ^ 0xa115),
            token_requests_now: 0,
            under_way: HashMap::new(),
            timeline: Timeline::new(options.timeline.clone(), now),
            settings: Settings::default(),
            advanced: SignedDuration::ZERO,
            started: SignedDuration::ZERO,
            options,
        }
    }

    /// Resets everything to the start: world, tokens, settings, faults, counters, journal and
    /// clock.
    pub(crate) fn reset(&mut self, options: Arc<SimulatorOptions>) {
        let back = SignedDuration::ZERO.saturating_sub(self.advanced).saturating_sub(self.started);
        options.clock.shift(back);
        let fresh = Self::begin(options, self.journal.epoch() + 1);
        let before = std::mem::replace(self, fresh);
        // Token requests in progress survive a reset.
        self.token_requests_now = before.token_requests_now;
        self.under_way = before.under_way;
    }

    pub(crate) fn token_request_arrives(&mut self) {
        self.stats.token_requests += 1;
        self.token_requests_now += 1;
        self.stats.token_concurrency_max = self.stats.token_concurrency_max.max(self.token_requests_now);
    }

    /// Attributes a token request to an identity.
    pub(crate) fn token_request_is_about(&mut self, identity: Consumer) {
        let now = self.under_way.entry(identity).or_default();
        *now += 1;
        self.stats.token_concurrency_max_by_identity = self.stats.token_concurrency_max_by_identity.max(*now);
    }

    pub(crate) fn token_request_leaves(&mut self, identity: Option<&Consumer>) {
        self.token_requests_now = self.token_requests_now.saturating_sub(1);
        let Some(identity) = identity else { return };
        if let Some(now) = self.under_way.get_mut(identity) {
            *now -= 1;
            if *now == 0 {
                self.under_way.remove(identity);
            }
        }
    }

    /// The login of a user name, with or without the tenant.
    pub(crate) fn login(&self, user: &str) -> Option<&Login> {
        let user = user.to_lowercase();
        let logins = &self.world.logins;
        logins.get(&user).or_else(|| logins.get(&format!("{user}{TENANT}")))
    }

    /// Whether a user belongs to the developer portal (`*.api`). According to the documents such a
    /// user gets no tokens.
    pub(crate) fn is_developer(&self, user: &str) -> bool {
        let user = user.to_lowercase();
        let name = user.strip_suffix(TENANT).unwrap_or(&user);
        name.ends_with(".api") && !self.options.field.has(FieldReport::ApiUsers)
    }

    /// Attempts a login, and counts failures. Like VBC, checks the lock before the password.
    pub(crate) fn attempt(&mut self, user: &str, password: &str, now: Timestamp) -> Attempt {
        let Some(login) = self.world.logins.get_mut(&user.to_lowercase()) else { return Attempt::Wrong };
        match login.lock {
            Some(Lock::Administrator) => {
                self.stats.logins_while_locked += 1;
                return Attempt::LockedByAdministrator;
            }
            // Every attempt restarts the half hour of the lock, even with the right password.
            Some(Lock::Failures(_)) if login.is_locked(now) => {
                login.lock = Some(Lock::Failures(now));
                self.stats.logins_while_locked += 1;
                return Attempt::Locked;
            }
            Some(Lock::Failures(_)) => {
                login.lock = None;
                login.failures = 0;
            }
            None => {}
        }
        if !login.sso && same(login.password.expose(), password) {
            login.failures = 0;
            return Attempt::Right;
        }
        login.failures += 1;
        if login.failures >= FAILURES {
            login.lock = Some(Lock::Failures(now));
            self.stats.lock_events += 1;
            let name = login.name.clone();
            self.tokens.revoke_user(&name);
        }
        Attempt::Wrong
    }

    /// The current policy for a client's tokens.
    pub(crate) fn policy_for(&self, client: &str) -> Policy {
        let openid = self.world.apps.get(client).is_none_or(|app| app.openid);
        Policy { openid, ..self.policy }
    }

    /// The names that a fault may refer to.
    pub(crate) fn names(&self) -> Names {
        let users = self.world.logins.values().map(|login| login.name.clone()).collect();
        Names::new(users, self.world.apps.keys().cloned().collect())
    }

    /// The secrets to redact.
    pub(crate) fn known_secrets(&self) -> KnownSecrets<'_> {
        KnownSecrets::new(&self.tokens, &self.secrets)
    }

    /// Moves the clock; a reset moves it back.
    pub(crate) fn advance(&mut self, by: SignedDuration, clock: &Clock) {
        clock.shift(by);
        self.advanced = self.advanced.saturating_add(by);
    }

    /// Sets the clock; a reset moves it back.
    pub(crate) fn set_clock(&mut self, to: Timestamp, clock: &Clock) {
        self.advanced = self.advanced.saturating_add(clock.set(to));
    }

    /// Reverts all moves of the clock by actions.
    pub(crate) fn restore_clock(&mut self) {
        self.options.clock.shift(SignedDuration::ZERO.saturating_sub(self.advanced));
        self.advanced = SignedDuration::ZERO;
    }
}

/// Compares in constant time.
pub(crate) fn same(one: &str, other: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use vbc_base::clock::after;

    fn state() -> State {
        State::seeded(Arc::default(), Timestamp::UNIX_EPOCH, 0)
    }

    const ALICE: &str = "alice@vbc.prod";

    #[test]
    fn five_failures_lock_for_half_an_hour_from_the_last_attempt() {
        let mut state = state();
        let minutes = |n: u64| after(Timestamp::UNIX_EPOCH, Duration::from_secs(60 * n));
        for n in 0..5 {
            assert_eq!(state.attempt(ALICE, "wrong", minutes(n)), Attempt::Wrong);
        }
        assert_eq!(state.stats.lock_events, 1);
        assert_eq!(state.attempt(ALICE, "sim-password", minutes(33)), Attempt::Locked);
        assert_eq!(
            state.attempt(ALICE, "sim-password", minutes(62)),
            Attempt::Locked,
            "the lock started again"
        );
        assert_eq!(state.attempt(ALICE, "sim-password", minutes(92)), Attempt::Right);
        assert_eq!(state.attempt(ALICE, "wrong", minutes(93)), Attempt::Wrong, "the count starts from zero");
    }

    #[test]
    fn a_success_forgets_the_failures() {
        let mut state = state();
        for _ in 0..3 {
            for _ in 0..4 {
                assert_eq!(state.attempt(ALICE, "wrong", Timestamp::UNIX_EPOCH), Attempt::Wrong);
            }
            assert_eq!(state.attempt(ALICE, "sim-password", Timestamp::UNIX_EPOCH), Attempt::Right);
        }
        assert_eq!(state.attempt("sam@vbc.prod", "sam-password", Timestamp::UNIX_EPOCH), Attempt::Wrong);
    }
}
