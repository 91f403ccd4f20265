//! Why no exchange is made until something outside changes.

use std::time::Duration;

use super::brake::Permit;
use crate::clock::{self, Timestamp};

/// What holds exchanges back.
#[derive(Clone, Debug)]
pub(super) enum Hold {
    /// The application is refused; only another configuration changes that.
    Configuration(String),
    /// The login is refused, locked or spaced.
    Brake(Permit),
    /// A person has to log in.
    LoginNeeded,
}

impl Hold {
    /// What to tell people, and when it makes sense to ask again.
    pub(super) fn describe(&self, now: Timestamp) -> (String, Option<Duration>) {
        let (detail, until) = match self {
            Self::Configuration(message) => (message.clone(), None),
            Self::LoginNeeded => (
                "login needed: the refresh token is missing or no longer good; a person has to log in (vbc-proxy login)"
                    .to_owned(),
                None,
            ),
            Self::Brake(Permit::LockedUntil(until)) => (
                format!(
                    "the account is locked (17003); the next login is tried at {until:.0}, an earlier one would lock \
                     it longer"
                ),
                Some(*until),
            ),
            Self::Brake(Permit::SpacedUntil(until)) => (
                format!(
                    "several logins ended without an answer; the next one is tried at {until:.0}, so as not to lock \
                     the account"
                ),
                Some(*until),
            ),
            Self::Brake(Permit::Refused | Permit::Allowed) => (
                "user name or password was refused; it is not tried again, so as not to lock the account: correct the \
                 secret and restart, or, if it is right by now, vbc-proxy unlock"
                    .to_owned(),
                None,
            ),
        };
        (detail, until.map(|until| clock::until(now, until)))
    }
}
