//! Actions: faults that take effect once.

use std::time::Duration;

use jiff::SignedDuration;

use crate::policy::{Mode, OldAccess};
use vbc_base::clock::Timestamp;
use vbc_base::secret::Secret;

/// A change that takes effect immediately. It lasts until another action or a reset.
#[derive(Clone, Debug)]
pub enum Action {
    /// Revokes every access token issued so far; refresh tokens stay valid.
    RevokeAllAccess,
    /// Revokes every refresh token issued so far; access tokens stay valid.
    RevokeAllRefresh,
    /// Sets the lifetime of access tokens issued from now on.
    ExpireIn {
        /// The new lifetime.
        lifetime: Duration,
        /// Whether tokens in use are shortened to it as well.
        existing: bool,
    },
    /// Sets what a second login does.
    Mode(Mode),
    /// Sets what a refresh does to the old access token.
    OldAccess(OldAccess),
    /// Locks a user as an administrator does. As at VBC, the user's tokens are revoked, unless
    /// `keep_tokens` is set.
    LockUser {
        /// The full user name.
        user: String,
        /// Whether the user's tokens stay valid.
        keep_tokens: bool,
    },
    /// Removes any lock of a user.
    UnlockUser {
        /// The full user name.
        user: String,
    },
    /// Changes a password. The user's tokens are revoked, as at VBC.
    ChangePassword {
        /// The full user name.
        user: String,
        /// The new password.
        password: Secret,
    },
    /// Moves the simulator's clock; a negative duration moves it back.
    ClockAdvance(SignedDuration),
    /// Sets the requests per minute for each application and user; `None` removes the limit.
    Quota(Option<u32>),
    /// Ends every application's subscription to a suite.
    Unsubscribe {
        /// `provisioning`, `telephony`, …
        suite: String,
    },
    /// Lets applications use a suite again.
    Resubscribe {
        /// `provisioning`, `telephony`, …
        suite: String,
    },
    /// Sets whether one application may use a suite.
    Subscription {
        /// The application's consumer key.
        client_id: String,
        /// `provisioning`, `telephony`, …
        suite: String,
        /// Whether the application may use the suite.
        allowed: bool,
    },
    /// Sets the requests per minute of one application for each of its users. `None` removes its
    /// limit, even if there is a common one.
    ApplicationQuota {
        /// The application's consumer key.
        client_id: String,
        /// The limit.
        per_minute: Option<u32>,
    },
    /// Removes an application's own limit, so that the common one applies.
    CommonQuota {
        /// The application's consumer key.
        client_id: String,
    },
    /// Sets the simulator's clock.
    ClockSet(Timestamp),
    /// Replaces the name of the signing key; issued tokens stay valid.
    RotateSigningKid,
    /// Sets whether a user logs in through single sign-on, so that no password works.
    SingleSignOn {
        /// The full user name.
        user: String,
        /// Whether the user logs in through single sign-on.
        sso: bool,
    },
    /// Replaces a consumer secret. The application's tokens are revoked, as at VBC.
    RegenerateSecret {
        /// The application's consumer key.
        client_id: String,
        /// The new secret.
        secret: Secret,
    },
    /// Sets whether an application is granted the scope `openid`. If not, its tokens lack the
    /// scope, or have the scope `default`.
    Openid {
        /// The application's consumer key; `None` means every application.
        client_id: Option<String>,
        /// Whether the scope is granted.
        allowed: bool,
    },
    /// Sets how a refresh token that was redeemed before is rejected: as unknown, or with a server
    /// error.
    SpentRefresh {
        /// Whether the response is a server error.
        server_error: bool,
    },
    /// Sets whether a suite's backend knows a user.
    Role {
        /// The full user name.
        user: String,
        /// `provisioning`, `telephony`, …
        suite: String,
        /// Whether the backend knows the user.
        allowed: bool,
    },
}
