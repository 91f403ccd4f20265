//! What a simulator is started with.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::fault::{Fault, FaultError};
use crate::field::Field;
use crate::identities::{Application, Identity, User};
use crate::names::{GRANTS, SUITES};
use crate::policy::{Lifetimes, Mode, OldAccess, TokenFormat};
use crate::targets::WebhookTargets;
use vbc_base::clock::{Clock, Timestamp};

/// What a simulator is started with. The default is what [`Simulator::start`](crate::Simulator::start) uses.
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
    /// Absolute links in answers start with this; empty, it is where the [`Simulator`](crate::Simulator) listens.
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

/// Something that goes wrong at a time.
#[derive(Clone, Debug)]
pub struct Step {
    /// How long after the start, by the simulator's clock.
    pub at: Duration,
    /// What.
    pub fault: Fault,
}

impl SimulatorOptions {
    /// Whether every suite and grant that is named exists.
    pub(crate) fn check(&self) -> Result<(), FaultError> {
        let without = self.users.iter().flat_map(|user| &user.without);
        let mut suites = self.applications.iter().flat_map(|app| &app.subscriptions).chain(without);
        if let Some(suite) = suites.find(|suite| !SUITES.contains(&suite.as_str())) {
            return Err(FaultError::NoSuchSuite(suite.clone()));
        }
        let mut grants = self.applications.iter().flat_map(|app| &app.grants);
        match grants.find(|grant| !GRANTS.contains(&grant.as_str())) {
            Some(grant) => Err(FaultError::NoSuchGrant(grant.clone())),
            None => Ok(()),
        }
    }
}
