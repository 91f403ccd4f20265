//! Everything that changes, behind one lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::SignedDuration;

use super::expect::Expectations;
use super::fault::{Faults, Settings};
use super::field::FieldReport;
use super::journal::Journal;
use super::options::SimulatorOptions;
use super::private::Secrets;
use super::random::Random;
use super::timeline::Timeline;
use super::tokens::{Policy, Tokens};
use super::world::{Lock, Login, TENANT, World};
use vbc_base::clock::{Clock, Timestamp};

/// Failures in a row after which a login is locked.
const FAILURES: u32 = 5;
/// Paths counted one by one; further ones are counted together.
const COUNTED_PATHS: usize = 10_000;

pub(super) struct State {
    pub(super) options: Arc<SimulatorOptions>,
    pub(super) world: World,
    pub(super) tokens: Tokens,
    pub(super) codes: HashMap<String, Code>,
    pub(super) policy: Policy,
    pub(super) quota: Option<u32>,
    /// Suites that no application may use any more.
    pub(super) unsubscribed: BTreeSet<&'static str>,
    /// Whether a refresh token that was redeemed before is answered by a server error.
    pub(super) spent_is_server_error: bool,
    /// Requests in the current minute, by client and user.
    pub(super) windows: HashMap<Consumer, (i64, u32)>,
    pub(super) faults: Faults,
    pub(super) stats: Stats,
    pub(super) journal: Journal,
    pub(super) expectations: Expectations,
    pub(super) random: Random,
    /// Ids of answers: apart, so that what a call is called does not depend on how much else was asked.
    pub(super) answers: Random,
    token_requests_now: u64,
    /// Token requests under way, by whose tokens they are about.
    under_way: HashMap<Consumer, u64>,
    pub(super) timeline: Timeline,
    /// What must not be shown, besides tokens.
    pub(super) secrets: Secrets,
    /// What actions have changed, to be shown and taken back.
    pub(super) settings: Settings,
    /// How far actions have moved the clock.
    pub(super) advanced: SignedDuration,
    /// How far the clock was moved to where the options have it start.
    begun: SignedDuration,
}

/// A client and the user it acts for.
pub(super) type Consumer = (Arc<str>, Option<Arc<str>>);

/// An authorization code and what became of it.
pub(super) struct Code {
    pub(super) client: String,
    pub(super) user: String,
    pub(super) redirect_uri: String,
    pub(super) scopes: String,
    pub(super) challenge: Option<(String, bool)>,
    /// What the ID token repeats.
    pub(super) nonce: Option<String>,
    /// When the user logged in.
    pub(super) issued: Timestamp,
    pub(super) expires: Timestamp,
    /// The row it was redeemed for.
    pub(super) row: Option<usize>,
}

/// How often something went well and how often not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Answered with tokens.
    pub ok: u64,
    /// Refused.
    pub failed: u64,
}

impl Outcomes {
    pub(super) fn count(&mut self, ok: bool) {
        if ok { self.ok += 1 } else { self.failed += 1 }
    }
}

/// What happened since the start or the last reset.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Password grants that reached the token endpoint's rules.
    pub logins: Outcomes,
    /// Refresh grants.
    pub refreshes: Outcomes,
    /// Authorization-code grants.
    pub codes: Outcomes,
    /// Answered revocation requests.
    pub revokes: u64,
    /// Everything that arrived at the token endpoint, faults included.
    pub token_requests: u64,
    /// The most token requests that were ever under way at once.
    pub token_concurrency_max: u64,
    /// The most token requests that were ever under way at once for one identity: client and user name of a login,
    /// or the owner of the presented refresh token or code.
    pub token_concurrency_max_by_identity: u64,
    /// Presentations of a refresh token that had been redeemed before.
    pub refresh_reuse: u64,
    /// How often a login became locked.
    pub lock_events: u64,
    /// Attempts to log in, with whatever password, where the login was locked already.
    pub logins_while_locked: u64,
    /// Calls placed.
    pub calls_placed: u64,
    /// Requests outside the identity endpoints.
    pub api_requests: u64,
    /// Their answers by status; resets are not among them.
    pub by_status: BTreeMap<u16, u64>,
    /// Method and path, then token (or `none`), then how many requests.
    pub requests_by_token: HashMap<String, HashMap<String, u64>>,
}

impl Stats {
    pub(super) fn count_request(&mut self, method: &str, path: &str, token: Option<&str>) {
        self.api_requests += 1;
        let mut key = format!("{method} {path}");
        if self.requests_by_token.len() >= COUNTED_PATHS && !self.requests_by_token.contains_key(&key) {
            key = "(others)".into();
        }
        let tokens = self.requests_by_token.entry(key).or_default();
        let token = token.unwrap_or("none");
        match tokens.get_mut(token) {
            Some(count) => *count += 1,
            None => {
                tokens.insert(token.to_owned(), 1);
            }
        }
    }
}

/// What came of trying a user name and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Right,
    Wrong,
    Locked,
    LockedByAdministrator,
}

impl State {
    /// The state at the start, with the clock where the options have it.
    pub(super) fn begin(options: Arc<SimulatorOptions>, epoch: u64) -> Self {
        let clock = options.clock.clone();
        let begun = options.start.map_or(SignedDuration::ZERO, |start| clock.set(start));
        Self { begun, ..Self::seeded(options, clock.now(), epoch) }
    }

    pub(super) fn seeded(options: Arc<SimulatorOptions>, now: Timestamp, epoch: u64) -> Self {
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
            answers: Random::new(options.seed ^ 0xa115),
            token_requests_now: 0,
            under_way: HashMap::new(),
            timeline: Timeline::new(options.timeline.clone(), now),
            settings: Settings::default(),
            advanced: SignedDuration::ZERO,
            begun: SignedDuration::ZERO,
            options,
        }
    }

    /// Back to the start: world, tokens, faults, counters, journal and time.
    pub(super) fn reset(&mut self, options: Arc<SimulatorOptions>) {
        let back = SignedDuration::ZERO.saturating_sub(self.advanced).saturating_sub(self.begun);
        options.clock.shift(back);
        let fresh = Self::begin(options, self.journal.epoch() + 1);
        let before = std::mem::replace(self, fresh);
        // What is under way stays under way.
        self.token_requests_now = before.token_requests_now;
        self.under_way = before.under_way;
    }

    pub(super) fn token_request_arrives(&mut self) {
        self.stats.token_requests += 1;
        self.token_requests_now += 1;
        self.stats.token_concurrency_max = self.stats.token_concurrency_max.max(self.token_requests_now);
    }

    /// A token request turned out to be about this identity.
    pub(super) fn token_request_is_about(&mut self, identity: Consumer) {
        let now = self.under_way.entry(identity).or_default();
        *now += 1;
        self.stats.token_concurrency_max_by_identity = self.stats.token_concurrency_max_by_identity.max(*now);
    }

    pub(super) fn token_request_leaves(&mut self, identity: Option<&Consumer>) {
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
    pub(super) fn login(&self, user: &str) -> Option<&Login> {
        let user = user.to_lowercase();
        let logins = &self.world.logins;
        logins.get(&user).or_else(|| logins.get(&format!("{user}{TENANT}")))
    }

    /// Whether a user belongs to the developer portal (`*.api`); by the documents such a user gets
    /// no tokens.
    pub(super) fn is_developer(&self, user: &str) -> bool {
        let user = user.to_lowercase();
        let name = user.strip_suffix(TENANT).unwrap_or(&user);
        name.ends_with(".api") && !self.options.field.has(FieldReport::ApiUsers)
    }

    /// Tries a login: tenant, then lock, then password, as the service does.
    pub(super) fn attempt(&mut self, user: &str, password: &str, now: Timestamp) -> Attempt {
        let Some(login) = self.world.logins.get_mut(&user.to_lowercase()) else { return Attempt::Wrong };
        match login.lock {
            Some(Lock::Administrator) => {
                self.stats.logins_while_locked += 1;
                return Attempt::LockedByAdministrator;
            }
            // Every attempt starts the half hour again, the right password too.
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

    /// How tokens are issued to a client now.
    pub(super) fn policy_for(&self, client: &str) -> Policy {
        let openid = self.world.apps.get(client).is_none_or(|app| app.openid);
        Policy { openid, ..self.policy }
    }

    /// Moves the clock, so that a reset can move it back.
    pub(super) fn advance(&mut self, by: SignedDuration, clock: &Clock) {
        clock.shift(by);
        self.advanced = self.advanced.saturating_add(by);
    }

    /// Sets the clock, so that a reset can move it back.
    pub(super) fn set_clock(&mut self, to: Timestamp, clock: &Clock) {
        self.advanced = self.advanced.saturating_add(clock.set(to));
    }

    /// Moves the clock to where it would be if no action had moved it.
    pub(super) fn restore_clock(&mut self) {
        self.options.clock.shift(SignedDuration::ZERO.saturating_sub(self.advanced));
        self.advanced = SignedDuration::ZERO;
    }
}

/// Compares without telling by its time where the difference is.
pub(super) fn same(one: &str, other: &str) -> bool {
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
        assert_eq!(state.attempt(ALICE, "sim-password", minutes(62)), Attempt::Locked, "it started again");
        assert_eq!(state.attempt(ALICE, "sim-password", minutes(92)), Attempt::Right);
        assert_eq!(state.attempt(ALICE, "wrong", minutes(93)), Attempt::Wrong, "counting from zero");
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
