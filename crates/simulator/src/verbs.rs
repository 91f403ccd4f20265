//! Shorthands for tests. [`Simulator`] and [`Service`] have the same ones.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::{Instant, timeout_at};

use crate::expect::{Expectation, Verdict};
use crate::fault::{Action, Fault, FaultError};
use crate::journal::RecordedRequest;
use crate::pattern::{fits, is_pattern};
use crate::{Service, Simulator};
use vbc_base::clock::Timestamp;
use vbc_base::secret::Secret;

impl Service {
    /// Revokes every access token issued so far; refresh tokens stay valid.
    pub fn revoke_access_tokens(&self) {
        self.act(Action::RevokeAllAccess);
    }

    /// Revokes every refresh token issued so far; access tokens stay valid.
    pub fn revoke_refresh_tokens(&self) {
        self.act(Action::RevokeAllRefresh);
    }

    /// Advances the simulator's clock, and runs the timeline up to that time. A move beyond
    /// 9999-12-30 is ignored; [`Service::inject`] reports it as an error.
    pub fn advance_clock(&self, by: Duration) {
        self.act(Action::ClockAdvance(SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX)));
    }

    /// Sets the simulator's clock. A time before 1970 or after 9999-12-30 is ignored;
    /// [`Service::inject`] reports it as an error.
    pub fn set_clock(&self, to: Timestamp) {
        self.act(Action::ClockSet(to));
    }

    /// Limits the requests per minute of each application and user; `None` removes the limit.
    pub fn set_quota(&self, per_minute: Option<u32>) {
        self.act(Action::Quota(per_minute));
    }

    /// Locks a user as an administrator does, and revokes the user's tokens.
    ///
    /// # Errors
    /// If there is no such user.
    pub fn lock_user(&self, user: &str) -> Result<(), FaultError> {
        self.inject(Action::LockUser { user: user.to_owned(), keep_tokens: false }).map(drop)
    }

    /// Removes any lock of a user.
    ///
    /// # Errors
    /// If there is no such user.
    pub fn unlock_user(&self, user: &str) -> Result<(), FaultError> {
        self.inject(Action::UnlockUser { user: user.to_owned() }).map(drop)
    }

    /// Changes a user's password, and revokes the user's tokens.
    ///
    /// # Errors
    /// If there is no such user.
    pub fn change_password(&self, user: &str, password: impl Into<Secret>) -> Result<(), FaultError> {
        self.inject(Action::ChangePassword { user: user.to_owned(), password: password.into() }).map(drop)
    }

    /// Responds to the next request under `path` with `status`, and returns the fault's id. `path`
    /// is a prefix or, with a `*`, a pattern.
    pub fn fail_next(&self, path: &str, status: u16) -> u64 {
        self.befall(Fault::status(status).on(path).times(1))
    }

    /// Resets the connection of the next request under `path`, and returns the fault's id.
    pub fn reset_next(&self, path: &str) -> u64 {
        self.befall(Fault::reset_before_headers().on(path))
    }

    /// Declares the requests expected from now on, in any order.
    pub fn expect(&self, expectations: impl IntoIterator<Item = Expectation>) {
        self.declare(expectations, false);
    }

    /// Declares the requests expected from now on, in this order.
    pub fn expect_in_order(&self, expectations: impl IntoIterator<Item = Expectation>) {
        self.declare(expectations, true);
    }

    /// Removes all expectations.
    pub fn forget_expectations(&self) {
        self.engine.state().expectations.clear();
    }

    /// Judges the expectations now.
    pub fn verdict(&self) -> Verdict {
        let state = self.engine.state();
        state.expectations.verdict(&state.journal)
    }

    /// Waits until the expectations are met, at most for `patience`, and judges them. Cancel safe.
    pub async fn verdict_within(&self, patience: Duration) -> Verdict {
        let until = Instant::now() + patience;
        loop {
            let mut changed = std::pin::pin!(self.engine.changed.notified());
            changed.as_mut().enable();
            let verdict = self.verdict();
            if verdict.met || Instant::now() >= until {
                return verdict;
            }
            let _ = timeout_at(until, changed).await;
        }
    }

    fn declare(&self, expectations: impl IntoIterator<Item = Expectation>, in_order: bool) {
        let mut state = self.engine.state();
        let since = state.journal.latest();
        state.expectations.declare(expectations.into_iter().collect(), in_order, since);
    }

    /// Injects an action, and ignores an error. Only an action that moves the clock out of its
    /// range fails here: the callers pass no names that could be unknown.
    fn act(&self, action: Action) {
        let _ = self.inject(action);
        self.engine.settle();
    }

    /// Injects a fault on requests and returns its id. Such a fault cannot fail, because it names
    /// no user, application or suite.
    fn befall(&self, fault: Fault) -> u64 {
        self.inject(fault).unwrap_or_default()
    }
}

/// Gives [`Simulator`] the methods of [`Service`].
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
    /// Revokes every access token issued so far; refresh tokens stay valid.
    revoke_access_tokens() -> ();
    /// Revokes every refresh token issued so far; access tokens stay valid.
    revoke_refresh_tokens() -> ();
    /// Advances the simulator's clock, and runs the timeline up to that time. A move beyond
    /// 9999-12-30 is ignored; [`Simulator::inject`] reports it as an error.
    advance_clock(by: Duration) -> ();
    /// Sets the simulator's clock. A time before 1970 or after 9999-12-30 is ignored;
    /// [`Simulator::inject`] reports it as an error.
    set_clock(to: Timestamp) -> ();
    /// Limits the requests per minute of each application and user; `None` removes the limit.
    set_quota(per_minute: Option<u32>) -> ();
    /// Locks a user as an administrator does, and revokes the user's tokens.
    ///
    /// # Errors
    /// If there is no such user.
    lock_user(user: &str) -> Result<(), FaultError>;
    /// Removes any lock of a user.
    ///
    /// # Errors
    /// If there is no such user.
    unlock_user(user: &str) -> Result<(), FaultError>;
    /// Changes a user's password, and revokes the user's tokens.
    ///
    /// # Errors
    /// If there is no such user.
    change_password(user: &str, password: impl Into<Secret>) -> Result<(), FaultError>;
    /// Responds to the next request under `path` with `status`, and returns the fault's id. `path`
    /// is a prefix or, with a `*`, a pattern.
    fail_next(path: &str, status: u16) -> u64;
    /// Resets the connection of the next request under `path`, and returns the fault's id.
    reset_next(path: &str) -> u64;
    /// Declares the requests expected from now on, in any order.
    expect(expectations: impl IntoIterator<Item = Expectation>) -> ();
    /// Declares the requests expected from now on, in this order.
    expect_in_order(expectations: impl IntoIterator<Item = Expectation>) -> ();
    /// Removes all expectations.
    forget_expectations() -> ();
    /// Judges the expectations now.
    verdict() -> Verdict;
}

impl Simulator {
    /// Waits until the expectations are met, at most for `patience`, and judges them. Cancel safe.
    pub async fn verdict_within(&self, patience: Duration) -> Verdict {
        self.service.verdict_within(patience).await
    }

    /// The recorded requests under `path`, oldest first. `path` is a prefix of the target or, with
    /// a `*`, a pattern for its path.
    pub fn requests_to(&self, path: &str) -> Vec<RecordedRequest> {
        let matches = |request: &RecordedRequest| {
            let of = request.target.split('?').next().unwrap_or_default();
            if is_pattern(path) { fits(path, of) } else { request.target.starts_with(path) }
        };
        self.requests().into_iter().filter(matches).collect()
    }
}

// Method names of earlier versions.
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
