//! How tokens are issued: repeated logins, refreshes, the format and the lifetimes.

use std::str::FromStr;
use std::time::Duration;

/// What a second login with the same client, user and scope does. VBC has been observed doing all
/// three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Returns the current pair again. Its lifetime does not start again.
    #[default]
    Reuse,
    /// Issues a new access token with the old refresh token, and revokes the old access token.
    RenewRevoke,
    /// Issues a new pair; the old access token stays valid.
    RenewKeep,
}

/// What happens to the old access token when its refresh token is redeemed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OldAccess {
    /// It is rejected immediately.
    #[default]
    Dead,
    /// It is accepted until it expires.
    Alive,
}

/// How access tokens look. Refresh tokens are always UUIDs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenFormat {
    /// A JSON Web Token of about a kilobyte.
    #[default]
    Jwt,
    /// A UUID.
    Uuid,
}

/// The text does not name a [`Mode`], [`OldAccess`] or [`TokenFormat`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of: {0}")]
pub struct UnknownWord(&'static str);

impl Mode {
    /// Its name in JSON and TOML.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Reuse => "reuse",
            Self::RenewRevoke => "renew_revoke",
            Self::RenewKeep => "renew_keep",
        }
    }
}

impl OldAccess {
    /// Its name in JSON and TOML.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Alive => "alive",
        }
    }
}

impl FromStr for Mode {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "reuse" => Ok(Self::Reuse),
            "renew_revoke" => Ok(Self::RenewRevoke),
            "renew_keep" => Ok(Self::RenewKeep),
            _ => Err(UnknownWord("reuse, renew_revoke, renew_keep")),
        }
    }
}

impl FromStr for OldAccess {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "dead" => Ok(Self::Dead),
            "alive" => Ok(Self::Alive),
            _ => Err(UnknownWord("dead, alive")),
        }
    }
}

impl FromStr for TokenFormat {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "jwt" => Ok(Self::Jwt),
            "uuid" => Ok(Self::Uuid),
            _ => Err(UnknownWord("jwt, uuid")),
        }
    }
}

/// How long tokens and codes live.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// Access tokens; a day by default.
    pub access: Duration,
    /// Refresh tokens; seven days by default.
    pub refresh: Duration,
    /// Authorization codes; five minutes by default.
    pub code: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            access: Duration::from_secs(86_400),
            refresh: Duration::from_secs(604_800),
            code: Duration::from_secs(300),
        }
    }
}
