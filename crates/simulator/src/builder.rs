//! Configures a simulator before it starts.

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

/// Configures a simulator before it starts. [`Simulator::builder`] creates a builder;
/// [`start`](Self::start) or [`service`](Self::service) consumes it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use std::time::Duration;
/// use vbc_simulator::{Fault, Mode, Simulator, User};
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
    /// Configures a simulator; [`SimulatorBuilder::start`] starts it.
    pub fn builder() -> SimulatorBuilder {
        SimulatorBuilder::default()
    }
}

impl SimulatorBuilder {
    fn with(mut self, change: impl FnOnce(&mut SimulatorOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Where the API and the token endpoint listen. By default a free port on loopback.
    pub fn listen(self, address: SocketAddr) -> Self {
        self.with(|options| options.address = address)
    }

    /// Where the control plane listens. By default a free port on loopback.
    pub fn control(self, address: SocketAddr) -> Self {
        self.with(|options| options.control = address)
    }

    /// Seeds the world, every probability and all tokens. The same requests at the same times then
    /// get the same responses.
    pub fn seed(self, seed: u64) -> Self {
        self.with(|options| (options.seed, options.deterministic) = (seed, true))
    }

    /// The simulator's clock. [`Clock::tokio`] follows tokio's time, which a test can pause.
    pub fn clock(self, clock: Clock) -> Self {
        self.with(|options| options.clock = clock)
    }

    /// The time at which the clock starts, and to which a reset returns it.
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

    /// Whether a refresh issues a new refresh token, as VBC does (the default).
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

    /// Limits requests per minute for each application and user. VBC's default is 10; the simulator
    /// has no limit by default.
    pub fn quota(self, per_minute: u32) -> Self {
        self.with(|options| options.quota = Some(per_minute).filter(|quota| *quota > 0))
    }

    /// Scales the delays of VBC's own processing: 1 is VBC's pace, 0 is no delay.
    pub fn lag(self, factor: f64) -> Self {
        self.with(|options| options.lag = factor)
    }

    /// How long a placed call rings before it is answered.
    pub fn ringing(self, how_long: Duration) -> Self {
        self.with(|options| options.ringing = how_long)
    }

    /// Where webhooks may be delivered. By default only to this machine.
    pub fn webhooks(self, targets: WebhookTargets) -> Self {
        self.with(|options| options.webhooks = targets)
    }

    /// Makes the simulator follow reports from the field where they contradict VBC's documents:
    /// [`Field::ALL`], or a single report.
    pub fn field(self, field: impl Into<Field>) -> Self {
        let field = field.into();
        self.with(|options| options.field = field)
    }

    /// The base of absolute links in responses. By default the address of the simulator's listener.
    pub fn public_base(mut self, base: &str) -> Self {
        self.has_base = true;
        self.with(|options| options.public_base = base.trim_end_matches('/').to_owned())
    }

    /// Adds an application and a user.
    pub fn identity(self, identity: Identity) -> Self {
        self.with(|options| options.identities.push(identity))
    }

    /// Adds an application.
    pub fn application(self, application: Application) -> Self {
        self.with(|options| options.applications.push(application))
    }

    /// Adds a user.
    pub fn user(self, user: User) -> Self {
        self.with(|options| options.users.push(user))
    }

    /// Injects a fault at the start.
    pub fn fault(self, fault: impl Into<Fault>) -> Self {
        self.at(Duration::ZERO, fault)
    }

    /// Injects a fault this long after the start, by the simulator's clock.
    pub fn at(self, at: Duration, fault: impl Into<Fault>) -> Self {
        let fault = fault.into();
        self.with(|options| options.timeline.push(Step { at, fault }))
    }

    /// How many requests the journal keeps; it drops the oldest.
    pub fn journal(self, requests: usize) -> Self {
        self.with(|options| options.journal = requests)
    }

    /// Applies a scenario on top of the current options.
    ///
    /// # Errors
    /// If an application, a user or a fault of the scenario is invalid, for example because it
    /// names a suite that does not exist.
    pub fn scenario(mut self, scenario: Scenario) -> Result<Self, ScenarioError> {
        self.has_base |= scenario.has_public_base();
        scenario.apply(&mut self.options)?;
        Ok(self)
    }

    /// Returns the options as plain data.
    pub fn options(mut self) -> SimulatorOptions {
        if !self.has_base {
            self.options.public_base = String::new();
        }
        self.options
    }

    /// Starts the simulator in the current tokio runtime.
    ///
    /// # Errors
    /// If an address cannot be bound, or if a user or an application names an unknown suite or
    /// grant.
    pub async fn start(self) -> io::Result<Simulator> {
        Simulator::bind(self.options()).await
    }

    /// Creates the service without sockets.
    pub fn service(self) -> Service {
        Service::new(self.options)
    }
}
