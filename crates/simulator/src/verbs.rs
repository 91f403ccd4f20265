//! What a test says to a simulator, in one word each. [`Simulator`] and [`Service`] know the same.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::{Instant, timeout_at};

use crate::expect::{Expectation, Verdict};
use crate::fault::{Action, Fault, FaultError};
use crate::journal::Recorded;
use crate::{Service, Simulator};
use vbc_base::clock::Timestamp;
use vbc_base::secret::Secret;

impl Service {
    /// Makes every access token issued so far refused; refresh tokens stay good.
    pub fn revoke_access_tokens(&self) {
        self.act(Action::RevokeAllAccess);
    }

    /// Makes every refresh token issued so far refused; access tokens stay good.
    pub fn revoke_refresh_tokens(&self) {
        self.act(Action::RevokeAllRefresh);
    }

    /// Moves the simulator's clock ahead; what its timeline has for that time happens. Beyond
    /// 9999-12-30 it does not go: the clock stays as it is, and [`Service::inject`] says so.
    pub fn advance_clock(&self, by: Duration) {
        self.act(Action::ClockAdvance(SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX)));
    }

    /// Sets the simulator's clock, to a time from 1970 to 9999-12-30. It stays as it is for
    /// another, and [`Service::inject`] says so.
    pub fn set_clock(&self, to: Timestamp) {
        self.act(Action::ClockSet(to));
    }

    /// Limits the requests that an application may make for one user in a minute; `None` takes the limit away.
    pub fn set_quota(&self, per_minute: Option<u32>) {
        self.act(Action::Quota(per_minute));
    }

    /// Locks a user by an administrator, and revokes the user's tokens.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn lock_user(&self, user: &str) -> Result<(), FaultError> {
        self.inject(Action::LockUser { user: user.to_owned(), keep_tokens: false }).map(drop)
    }

    /// Lifts any lock of a user.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn unlock_user(&self, user: &str) -> Result<(), FaultError> {
        self.inject(Action::UnlockUser { user: user.to_owned() }).map(drop)
    }

    /// Gives a user a new password, and revokes the user's tokens.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn change_password(&self, user: &str, password: impl Into<Secret>) -> Result<(), FaultError> {
        self.inject(Action::ChangePassword { user: user.to_owned(), password: password.into() }).map(drop)
    }

    /// Answers the next request under `path` (a prefix or, with a `*` in it, a pattern) by `status`; returns the fault's
    /// id.
    pub fn fail_next(&self, path: &str, status: u16) -> u64 {
        self.befall(Fault::status(status).on(path).times(1))
    }

    /// Resets the connection of the next request under `path`; returns the fault's id.
    pub fn reset_next(&self, path: &str) -> u64 {
        self.befall(Fault::reset_before_headers().on(path))
    }

    /// Declares what is expected to arrive from now on, in any order.
    pub fn expect(&self, expectations: impl IntoIterator<Item = Expectation>) {
        self.declare(expectations, false);
    }

    /// Declares what is expected to arrive from now on, each one's requests after those of the one before.
    pub fn expect_in_order(&self, expectations: impl IntoIterator<Item = Expectation>) {
        self.declare(expectations, true);
    }

    /// Forgets what was expected.
    pub fn forget_expectations(&self) {
        self.core.state().expectations.clear();
    }

    /// What came of what is expected, as of now.
    pub fn verdict(&self) -> Verdict {
        let state = self.core.state();
        state.expectations.verdict(&state.journal)
    }

    /// What came of it when it is met, or when `patience` is over. Cancel safe.
    pub async fn verdict_within(&self, patience: Duration) -> Verdict {
        let until = Instant::now() + patience;
        loop {
            let mut changed = std::pin::pin!(self.core.changed.notified());
            changed.as_mut().enable();
            let verdict = self.verdict();
            if verdict.met || Instant::now() >= until {
                return verdict;
            }
            let _ = timeout_at(until, changed).await;
        }
    }

    fn declare(&self, expectations: impl IntoIterator<Item = Expectation>, in_order: bool) {
        let mut state = self.core.state();
        let since = state.journal.latest();
        state.expectations.declare(expectations.into_iter().collect(), in_order, since);
    }

    /// For what names nobody, and so cannot fail.
    fn act(&self, action: Action) {
        let _ = self.inject(action);
        self.core.settle();
    }

    /// A fault on requests names nobody.
    fn befall(&self, fault: Fault) -> u64 {
        self.inject(fault).unwrap_or_default()
    }
}

/// What [`Service`] does.
macro_rules! same_of_simulator {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {
        impl Simulator {
            $($(#[$doc])* pub fn $name(&self, $($argument: $kind),*) -> $result {
                self.service.$name($($argument),*)
            })*
        }
    };
}

same_of_simulator! {
    /// Makes every access token issued so far refused; refresh tokens stay good.
    revoke_access_tokens() -> ();
    /// Makes every refresh token issued so far refused; access tokens stay good.
    revoke_refresh_tokens() -> ();
    /// Moves the simulator's clock ahead; what its timeline has for that time happens.
    advance_clock(by: Duration) -> ();
    /// Sets the simulator's clock.
    set_clock(to: Timestamp) -> ();
    /// Limits the requests that an application may make for one user in a minute; `None` takes the limit away.
    set_quota(per_minute: Option<u32>) -> ();
    /// Locks a user by an administrator, and revokes the user's tokens.
    ///
    /// # Errors
    /// When there is no such user.
    lock_user(user: &str) -> Result<(), FaultError>;
    /// Lifts any lock of a user.
    ///
    /// # Errors
    /// When there is no such user.
    unlock_user(user: &str) -> Result<(), FaultError>;
    /// Gives a user a new password, and revokes the user's tokens.
    ///
    /// # Errors
    /// When there is no such user.
    change_password(user: &str, password: impl Into<Secret>) -> Result<(), FaultError>;
    /// Answers the next request under `path` (a prefix or, with a `*` in it, a pattern) by `status`; returns the fault's
    /// id.
    fail_next(path: &str, status: u16) -> u64;
    /// Resets the connection of the next request under `path`; returns the fault's id.
    reset_next(path: &str) -> u64;
    /// Declares what is expected to arrive from now on, in any order.
    expect(expectations: impl IntoIterator<Item = Expectation>) -> ();
    /// Declares what is expected to arrive from now on, each one's requests after those of the one before.
    expect_in_order(expectations: impl IntoIterator<Item = Expectation>) -> ();
    /// Forgets what was expected.
    forget_expectations() -> ();
    /// What came of what is expected, as of now.
    verdict() -> Verdict;
}

impl Simulator {
    /// What came of what is expected when it is met, or when `patience` is over. Cancel safe.
    pub async fn verdict_within(&self, patience: Duration) -> Verdict {
        self.service.verdict_within(patience).await
    }

    /// What arrived under `path`, oldest first: a prefix of the target or, with a `*` in it, a pattern of its path.
    pub fn requests_to(&self, path: &str) -> Vec<Recorded> {
        let fits = |request: &Recorded| {
            let of = request.target.split('?').next().unwrap_or_default();
            match crate::pattern::is_pattern(path) {
                true => crate::pattern::fits(path, of),
                false => request.target.starts_with(path),
            }
        };
        self.requests().into_iter().filter(fits).collect()
    }
}

// The names of earlier versions.
impl Service {
    #[doc(hidden)]
    pub fn revoke_all_access(&self) {
        self.revoke_access_tokens();
    }

    #[doc(hidden)]
    pub fn revoke_all_refresh(&self) {
        self.revoke_refresh_tokens();
    }

    #[doc(hidden)]
    pub fn advance(&self, by: Duration) {
        self.advance_clock(by);
    }
}

impl Simulator {
    #[doc(hidden)]
    pub fn revoke_all_access(&self) {
        self.revoke_access_tokens();
    }

    #[doc(hidden)]
    pub fn revoke_all_refresh(&self) {
        self.revoke_refresh_tokens();
    }

    #[doc(hidden)]
    pub fn advance(&self, by: Duration) {
        self.advance_clock(by);
    }
}
