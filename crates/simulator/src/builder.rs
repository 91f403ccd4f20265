//! What a simulator is to be like, said step by step.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::fault::Fault;
use crate::field::Field;
use crate::identities::{Application, Identity, User};
use crate::options::SimulatorOptions;
use crate::options::Step;
use crate::policy::{Lifetimes, Mode, OldAccess, TokenFormat};
use crate::scenario::{Scenario, ScenarioError};
use crate::service::Service;
use crate::simulator::Simulator;
use crate::targets::WebhookTargets;
use vbc_base::clock::{Clock, Timestamp};

/// What a simulator is to be like. [`Simulator::builder`] makes one.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use std::time::Duration;
/// use vbc_proxy::simulator::{Fault, Mode, Simulator, User};
///
/// let sim = Simulator::builder()
///     .seed(7)
///     .mode(Mode::RenewKeep)
///     .quota(10)
///     .user(User::new("dora", "dora-password").without("reports"))
///     .at(Duration::from_secs(60), Fault::status(503).on("/token").lasts(Duration::from_secs(20)))
///     .start()
///     .await?;
/// assert!(sim.url().starts_with("http://127.0.0.1:"));
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct SimulatorBuilder {
    options: SimulatorOptions,
    has_base: bool,
}

impl Simulator {
    /// Says what a simulator is to be like; [`SimulatorBuilder::start`] starts it.
    pub fn builder() -> SimulatorBuilder {
        SimulatorBuilder::default()
    }
}

impl SimulatorBuilder {
    fn with(mut self, change: impl FnOnce(&mut SimulatorOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Where the API and the token endpoint listen; by default a free port of the loopback address.
    pub fn listen(self, address: SocketAddr) -> Self {
        self.with(|options| options.address = address)
    }

    /// Where the control plane listens; by default a free port of the loopback address.
    pub fn control(self, address: SocketAddr) -> Self {
        self.with(|options| options.control = address)
    }

    /// What the world and all chances grow from, and tokens too: the same requests at the same time are answered alike.
    pub fn seed(self, seed: u64) -> Self {
        self.with(|options| (options.seed, options.deterministic) = (seed, true))
    }

    /// The simulator's time; [`Clock::tokio`] follows paused time.
    pub fn clock(self, clock: Clock) -> Self {
        self.with(|options| options.clock = clock)
    }

    /// Where the clock starts, and is set back to by a reset.
    pub fn start_at(self, time: Timestamp) -> Self {
        self.with(|options| options.start = Some(time))
    }

    /// What a second login does.
    pub fn mode(self, mode: Mode) -> Self {
        self.with(|options| options.mode = mode)
    }

    /// What a refresh does to the old access token.
    pub fn old_access(self, old_access: OldAccess) -> Self {
        self.with(|options| options.old_access = old_access)
    }

    /// Whether a refresh gives a new refresh token, as at VBC.
    pub fn refresh_rotation(self, rotation: bool) -> Self {
        self.with(|options| options.refresh_rotation = rotation)
    }

    /// How access tokens look.
    pub fn token_format(self, format: TokenFormat) -> Self {
        self.with(|options| options.token_format = format)
    }

    /// How long tokens and codes live.
    pub fn lifetimes(self, lifetimes: Lifetimes) -> Self {
        self.with(|options| options.lifetimes = lifetimes)
    }

    /// Requests a minute for each application and user. The service's default is 10, the simulator's is none.
    pub fn quota(self, per_minute: u32) -> Self {
        self.with(|options| options.quota = Some(per_minute).filter(|quota| *quota > 0))
    }

    /// How long takes what VBC takes its time for: 1 is as long as there, 0 is at once.
    pub fn lag(self, factor: f64) -> Self {
        self.with(|options| options.lag = factor)
    }

    /// How long a call that was placed rings before it is answered.
    pub fn ringing(self, how_long: Duration) -> Self {
        self.with(|options| options.ringing = how_long)
    }

    /// Which targets webhooks are delivered to; by default this machine alone.
    pub fn webhooks(self, targets: WebhookTargets) -> Self {
        self.with(|options| options.webhooks = targets)
    }

    /// What users report of the service holds instead of its documents: [`Field::ALL`], or one
    /// report.
    pub fn field(self, field: impl Into<Field>) -> Self {
        let field = field.into();
        self.with(|options| options.field = field)
    }

    /// What absolute links in answers start with; by default where the simulator listens.
    pub fn public_base(mut self, base: &str) -> Self {
        self.has_base = true;
        self.with(|options| options.public_base = base.trim_end_matches('/').to_owned())
    }

    /// One more application with a user.
    pub fn identity(self, identity: Identity) -> Self {
        self.with(|options| options.identities.push(identity))
    }

    /// One more application.
    pub fn application(self, application: Application) -> Self {
        self.with(|options| options.applications.push(application))
    }

    /// One more user.
    pub fn user(self, user: User) -> Self {
        self.with(|options| options.users.push(user))
    }

    /// Something wrong from the start.
    pub fn fault(self, fault: impl Into<Fault>) -> Self {
        self.at(Duration::ZERO, fault)
    }

    /// Something that goes wrong so long after the start, by the simulator's clock.
    pub fn at(self, at: Duration, fault: impl Into<Fault>) -> Self {
        let fault = fault.into();
        self.with(|options| options.timeline.push(Step { at, fault }))
    }

    /// How many requests the journal remembers.
    pub fn journal(self, requests: usize) -> Self {
        self.with(|options| options.journal = requests)
    }

    /// What a scenario says, over what was said before.
    ///
    /// # Errors
    /// When one of its faults names a user, an application or a suite that does not exist.
    pub fn scenario(mut self, scenario: Scenario) -> Result<Self, ScenarioError> {
        self.has_base |= scenario.has_public_base();
        scenario.apply(&mut self.options)?;
        Ok(self)
    }

    /// The same as plain data.
    pub fn options(mut self) -> SimulatorOptions {
        if !self.has_base {
            self.options.public_base = String::new();
        }
        self.options
    }

    /// Starts it, in the current tokio runtime.
    ///
    /// # Errors
    /// When an address cannot be bound, or a user, an application or the timeline names what does not exist.
    pub async fn start(self) -> io::Result<Simulator> {
        Simulator::bind(self.options()).await
    }

    /// The service without sockets.
    pub fn service(self) -> Service {
        Service::new(self.options)
    }
}
