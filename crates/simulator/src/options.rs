//! What a simulator is started with.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use super::field::Field;
use super::identities::{Application, Identity, User};
use super::targets::WebhookTargets;
use super::timeline::Step;
use vbc_base::clock::{Clock, Timestamp};

/// What a second login with the same client, user and scope does. The service has been seen doing all three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The living pair again, with what is left of its lifetime.
    #[default]
    Reuse,
    /// A new access token with the old refresh token; the old access token is revoked.
    RenewRevoke,
    /// A new pair; the old access token stays good.
    RenewKeep,
}

/// What happens to the old access token when its refresh token is redeemed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OldAccess {
    /// Refused at once.
    #[default]
    Dead,
    /// Accepted until it expires.
    Alive,
}

/// How access tokens look. Refresh tokens are always UUIDs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenFormat {
    /// Three parts, about a kilobyte.
    #[default]
    Jwt,
    /// A UUID.
    Uuid,
}

/// A word that names no [`Mode`], [`OldAccess`] or [`TokenFormat`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of: {0}")]
pub struct UnknownWord(&'static str);

impl Mode {
    /// What it is called in JSON and TOML.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Reuse => "reuse",
            Self::RenewRevoke => "renew_revoke",
            Self::RenewKeep => "renew_keep",
        }
    }
}

impl OldAccess {
    /// What it is called in JSON and TOML.
    pub(super) fn word(self) -> &'static str {
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

/// How long things live.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// Access tokens: a day.
    pub access: Duration,
    /// Refresh tokens: seven days.
    pub refresh: Duration,
    /// Authorization codes: five minutes.
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

/// What a simulator is started with. The default is what [`Simulator::start`](super::Simulator::start) uses.
#[derive(Clone, Debug)]
pub struct SimulatorOptions {
    /// Where the API and the token endpoint listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// Where the control plane listens; port 0 takes a free one.
    pub control: SocketAddr,
    /// The world grows from this; the same seed on the same day gives the same world.
    pub seed: u64,
    /// The simulator's time. `clock_advance` moves it together with every clone of it.
    pub clock: Clock,
    /// What a second login does.
    pub mode: Mode,
    /// What a refresh does to the old access token.
    pub old_access: OldAccess,
    /// Whether a refresh gives a new refresh token, as at VBC; otherwise the old one stays good until it expires.
    pub refresh_rotation: bool,
    /// How access tokens look.
    pub token_format: TokenFormat,
    /// How long things live.
    pub lifetimes: Lifetimes,
    /// Requests a minute an application may make for one user; `None` is no limit. The service's default is 10.
    pub quota: Option<u32>,
    /// Absolute links in answers start with this; empty, it is where the [`Simulator`](super::Simulator) listens.
    pub public_base: String,
    /// How long takes what VBC takes its time for: 1 is as long as there, 0 is at once. It applies to when Reports
    /// knows of a call (8 minutes after its end, 13 at worst), to recordings and exports, and to the pause before a
    /// webhook is tried again. Negative values count as 0.
    pub lag: f64,
    /// How long a call that was placed rings before it is answered. Calls from outside ring until somebody does
    /// something about them, at most 30 seconds.
    pub ringing: Duration,
    /// Which targets webhooks are delivered to. A scenario sent to the control plane can only
    /// narrow this.
    pub webhooks: WebhookTargets,
    /// The highest quota that a scenario sent to the control plane may set; `None` is any, or none
    /// at all.
    pub quota_limit: Option<u32>,
    /// What users report of the service holds instead of its documents, as far as it is switched on
    /// here.
    pub field: Field,
    /// Further identities.
    pub identities: Vec<Identity>,
    /// Further applications.
    pub applications: Vec<Application>,
    /// Further users.
    pub users: Vec<User>,
    /// How many requests the journal remembers.
    pub journal: usize,
    /// Where the clock starts, and is set back to by a reset; `None` leaves it alone.
    pub start: Option<Timestamp>,
    /// Whether tokens and codes come from the seed too. Then the same requests at the same time are answered alike, and
    /// whoever knows the seed knows the tokens.
    pub deterministic: bool,
    /// What goes wrong when.
    pub timeline: Vec<Step>,
    /// Further names by which browsers may call the control plane, beside addresses and names without a dot.
    pub hosts: Vec<String>,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            control: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 1,
            clock: Clock::system(),
            mode: Mode::default(),
            old_access: OldAccess::default(),
            refresh_rotation: true,
            token_format: TokenFormat::default(),
            lifetimes: Lifetimes::default(),
            quota: None,
            public_base: "https://api.vonage.com".into(),
            lag: 1.0,
            ringing: Duration::ZERO,
            webhooks: WebhookTargets::default(),
            quota_limit: None,
            field: Field::default(),
            identities: Vec::new(),
            applications: Vec::new(),
            users: Vec::new(),
            journal: 10_000,
            start: None,
            deterministic: false,
            timeline: Vec::new(),
            hosts: Vec::new(),
        }
    }
}
