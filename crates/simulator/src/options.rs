//! The options of a simulator.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::fault::{Fault, FaultError};
use crate::field::Field;
use crate::identities::{Application, Identity, User};
use crate::names::{GRANTS, SUITES};
use crate::policy::{Lifetimes, Mode, OldAccess, TokenFormat};
use crate::targets::WebhookTargets;
use vbc_base::clock::{Clock, Timestamp};

/// The options of a simulator. [`Simulator::start`](crate::Simulator::start) uses the default.
#[derive(Clone, Debug)]
pub struct SimulatorOptions {
    /// Where the API and the token endpoint listen. Port 0 chooses a free port.
    pub address: SocketAddr,
    /// Where the control plane listens. Port 0 chooses a free port.
    pub control: SocketAddr,
    /// Seeds the world. The same seed on the same day gives the same world.
    pub seed: u64,
    /// The simulator's clock. `clock_advance` also moves every clone of this clock.
    pub clock: Clock,
    /// What a second login does.
    pub mode: Mode,
    /// What a refresh does to the old access token.
    pub old_access: OldAccess,
    /// Whether a refresh issues a new refresh token, as VBC does; otherwise the old one stays valid
    /// until it expires.
    pub refresh_rotation: bool,
    /// How access tokens look.
    pub token_format: TokenFormat,
    /// How long tokens and codes live.
    pub lifetimes: Lifetimes,
    /// Requests per minute for each application and user. `None` means no limit. VBC's default is
    /// 10.
    pub quota: Option<u32>,
    /// The base of absolute links in responses. If empty, the address of the
    /// [`Simulator`](crate::Simulator).
    pub public_base: String,
    /// Scales the delays of VBC's own processing: 1 is VBC's pace, 0 is no delay.
    ///
    /// It applies to call logs, recordings, exports, and the pause between delivery attempts of a
    /// webhook. At VBC's pace, Reports lists a call about 8 minutes after its end, at most 13.
    /// Negative values count as 0.
    pub lag: f64,
    /// How long a placed call rings before it is answered. Calls from outside ring until they are
    /// answered, rejected or missed, at most 30 seconds.
    pub ringing: Duration,
    /// Where webhooks may be delivered. A scenario sent to the control plane can only narrow this.
    pub webhooks: WebhookTargets,
    /// The highest quota that a scenario sent to the control plane may set. `None` allows any
    /// quota, or no limit.
    pub quota_limit: Option<u32>,
    /// The reports from the field that the simulator follows where VBC's documents differ.
    pub field: Field,
    /// Additional identities.
    pub identities: Vec<Identity>,
    /// Additional applications.
    pub applications: Vec<Application>,
    /// Additional users.
    pub users: Vec<User>,
    /// How many requests the journal keeps; it drops the oldest.
    pub journal: usize,
    /// The time at which the clock starts, and to which a reset returns it. `None` does not set the
    /// clock.
    pub start: Option<Timestamp>,
    /// Whether tokens and codes are derived from the seed. The same requests at the same times then
    /// get the same responses. The tokens are not secret: the seed reveals them.
    pub deterministic: bool,
    /// The faults of the timeline.
    pub timeline: Vec<Step>,
    /// Additional host names of the control plane for browsers. Addresses and names without a dot
    /// need no entry.
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

/// A fault of the timeline.
#[derive(Clone, Debug)]
pub struct Step {
    /// The time of the injection, counted from the start by the simulator's clock.
    pub at: Duration,
    /// The fault.
    pub fault: Fault,
}

impl SimulatorOptions {
    /// Checks that every suite and grant in the additional applications and users exists.
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
