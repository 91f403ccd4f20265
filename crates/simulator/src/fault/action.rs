//! What is done at once.

use std::time::Duration;

use jiff::SignedDuration;

use crate::policy::{Mode, OldAccess};
use vbc_base::clock::Timestamp;
use vbc_base::secret::Secret;

/// Something done at once.
#[derive(Clone, Debug)]
pub enum Action {
    /// Every access token is refused from now on; refresh tokens stay good.
    RevokeAllAccess,
    /// Every refresh token is refused from now on; access tokens stay good.
    RevokeAllRefresh,
    /// Access tokens issued from now on live this long; with `existing`, living ones no longer than that either.
    ExpireIn {
        /// How long.
        lifetime: Duration,
        /// Whether living tokens are shortened too.
        existing: bool,
    },
    /// What a second login does.
    Mode(Mode),
    /// What a refresh does to the old access token.
    OldAccess(OldAccess),
    /// Locked by an administrator; the user's tokens are revoked, as the service does, unless kept.
    LockUser {
        /// The whole user name.
        user: String,
        /// Leave the tokens alone.
        keep_tokens: bool,
    },
    /// Lifts any lock.
    UnlockUser {
        /// The whole user name.
        user: String,
    },
    /// A new password; the user's tokens are revoked, as the service does.
    ChangePassword {
        /// The whole user name.
        user: String,
        /// The new password.
        password: Secret,
    },
    /// Moves the simulator's clock.
    ClockAdvance(SignedDuration),
    /// Requests a minute for each application and user; `None` takes the limit away.
    Quota(Option<u32>),
    /// No application may use the suite any more.
    Unsubscribe {
        /// `provisioning`, `telephony`, …
        suite: String,
    },
    /// Applications may use the suite again.
    Resubscribe {
        /// `provisioning`, `telephony`, …
        suite: String,
    },
    /// Whether one application may use a suite.
    Subscription {
        /// The application's consumer key.
        client_id: String,
        /// `provisioning`, `telephony`, …
        suite: String,
        /// Whether it may.
        allowed: bool,
    },
    /// Requests a minute for one application, for each of its users; `None` takes its limit away, whatever holds for
    /// all.
    ApplicationQuota {
        /// The application's consumer key.
        client_id: String,
        /// The limit.
        per_minute: Option<u32>,
    },
    /// One application has no limit of its own any more: what holds for all holds for it.
    CommonQuota {
        /// The application's consumer key.
        client_id: String,
    },
    /// Sets the simulator's clock.
    ClockSet(Timestamp),
    /// Tokens issued from now on name another signing key; those there are stay good.
    RotateSigningKid,
    /// Whether a user logs in elsewhere, so that no password works.
    SingleSignOn {
        /// The whole user name.
        user: String,
        /// Whether that is so.
        sso: bool,
    },
    /// A new consumer secret; the application's tokens are revoked, as the service does.
    RegenerateSecret {
        /// The application's consumer key.
        client_id: String,
        /// The new secret.
        secret: Secret,
    },
    /// Whether an application is given the scope `openid`. Where not, what it asks for is granted without it, or
    /// as `default`.
    Openid {
        /// The application's consumer key; `None` is every application.
        client_id: Option<String>,
        /// Whether it may.
        allowed: bool,
    },
    /// How a refresh token that was redeemed before is refused: as unknown, or by an internal server error.
    SpentRefresh {
        /// Whether it is a server error.
        server_error: bool,
    },
    /// Whether a suite's backend knows a user.
    Role {
        /// The whole user name.
        user: String,
        /// `provisioning`, `telephony`, …
        suite: String,
        /// Whether it does.
        allowed: bool,
    },
}
