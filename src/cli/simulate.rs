//! `vbc-proxy simulate`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::config_args::ConfigArgs;
use super::exit::Exit;
use super::output::{fail, print, report};
use super::signals::Signals;
use super::{logging, runtime};
use crate::app::App;
use crate::config::{self, Config};
use vbc_http::bind_advice;
use vbc_simulator::{Field, FieldReport, Identity, Scenario, Simulator, SimulatorOptions, WebhookTargets};

/// Run the VBC simulator alone
///
/// A faithful stand-in for api.vonage.com: token endpoint, gateway and API suites with generated
/// data. Its control plane, on a separate port, injects faults and lists the received requests; its
/// web page shows both.
///
/// Demo credentials: client id sim-client, client secret sim-secret, user alice@vbc.prod, password
/// sim-password.
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// Where the simulated service listens [default: simulator.address, 127.0.0.1:8090]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where its control plane listens [default: simulator.control, 127.0.0.1:8091]
    #[arg(long, value_name = "ADDRESS")]
    control: Option<SocketAddr>,
    /// The configuration file, for its [simulator] and [log] sections
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Allow an address that other machines can reach; everyone who reaches it can use it
    #[arg(long)]
    allow_anonymous: bool,
    #[command(flatten)]
    world: WorldArgs,
}

pub(super) const ALLOW_ANONYMOUS: &str = "use a loopback address, or add --allow-anonymous";

/// Fails with `exit` unless the address is loopback or other machines are `allowed`.
pub(super) fn check_reach(
    address: SocketAddr,
    key: &str,
    allowed: bool,
    (exit, remedy): (Exit, &str),
) -> Result<(), Exit> {
    if allowed || address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(fail(exit, format_args!("anyone who can reach {address} ({key}) could use it; {remedy}")))
}

/// The options of a simulator.
#[derive(Debug, Default, PartialEq, Args)]
pub(crate) struct WorldArgs {
    /// Scenario file (TOML): data, settings and timed faults of the simulator
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Random seed. The same seed gives the same data, tokens and random choices
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Requests per minute for each application and user; 0 means no limit [default: the
    /// scenario's, or no limit; the real service has 10]
    #[arg(long, value_name = "NUMBER")]
    quota: Option<u32>,
    /// Where webhooks may be sent: loopback, any, or loopback plus these hosts: HOST[,HOST…]
    /// [default: loopback]
    #[arg(long, value_name = "TARGETS")]
    webhooks: Option<WebhookTargets>,
    #[arg(
        long,
        value_name = "NAMES",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "all",
        help = FIELD_HELP,
        long_help = field_help()
    )]
    field: Option<Field>,
    /// Base URL of the simulator's absolute links [default: the address it listens on]
    #[arg(long, value_name = "URL")]
    public_base: Option<String>,
    /// Accept this Host name on the control plane too (needed for names with a dot)
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
}

const FIELD_HELP: &str = "Behave as users report where VBC's documentation differs: all, or NAME[,NAME…]";

/// The long help of `--field`: every report with its name.
fn field_help() -> String {
    let mut help = format!("{FIELD_HELP}\n");
    for report in FieldReport::ALL {
        help.push_str(&format!("\n{}: {}", report.name(), report.says()));
    }
    help
}

impl WorldArgs {
    /// Fails if any of these options is given without a `simulator`.
    pub(super) fn needs(&self, simulator: bool) -> Result<(), Exit> {
        if !simulator && *self != Self::default() {
            let reason = "--scenario, --seed, --quota, --webhooks, --field, --public-base and --host configure the \
                          simulator; add --simulate";
            return Err(fail(Exit::Usage, reason));
        }
        Ok(())
    }

    /// Applies the scenario, then the other options, which take precedence.
    fn apply(&self, options: &mut SimulatorOptions) -> Result<(), Exit> {
        if let Some(file) = &self.scenario {
            let applied = Scenario::read(file).and_then(|scenario| {
                if let Some(limit) = self.quota.filter(|limit| *limit > 0) {
                    scenario.within_quota(limit)?;
                }
                scenario.apply(options)
            });
            applied.map_err(|error| {
                report(error);
                fail(Exit::Config, "the scenario cannot be used")
            })?;
        }
        if let Some(seed) = self.seed {
            (options.seed, options.deterministic) = (seed, true);
        }
        if let Some(quota) = self.quota {
            options.quota = Some(quota).filter(|quota| *quota > 0);
            options.quota_limit = options.quota;
        }
        if let Some(webhooks) = &self.webhooks {
            options.webhooks.clone_from(webhooks);
        }
        options.field = self.field.unwrap_or(options.field);
        if let Some(base) = &self.public_base {
            options.public_base = base.trim_end_matches('/').to_owned();
        }
        options.hosts.extend(self.hosts.iter().map(|host| host.to_ascii_lowercase()));
        Ok(())
    }
}

impl Simulate {
    pub(crate) fn run(&self) -> Result<(), Exit> {
        let args = ConfigArgs { config: self.config.clone() };
        let mut config = args.load(true)?.config;
        let _logging = logging::start(&config.log);
        self.set_addresses(&mut config.simulator)?;
        runtime::without_data_plane()?.block_on(async {
            let mut signals = Signals::new()?;
            let simulator = start(&config.simulator, Vec::new(), &self.world).await?;
            announce(&simulator)?;
            signals.first().await;
            Ok(())
        })
    }

    /// Overrides the configured addresses with the options. An address that other machines can
    /// reach is a usage error if it comes from an option, otherwise a configuration error.
    fn set_addresses(&self, config: &mut config::Simulator) -> Result<(), Exit> {
        let addresses = [
            (&mut config.address, self.listen, "--listen", "simulator.address"),
            (&mut config.control, self.control, "--control", "simulator.control"),
        ];
        for (address, option, name, key) in addresses {
            let (origin, exit) = if option.is_some() { (name, Exit::Usage) } else { (key, Exit::Config) };
            *address = option.unwrap_or(*address);
            check_reach(*address, origin, self.allow_anonymous, (exit, ALLOW_ANONYMOUS))?;
        }
        Ok(())
    }
}

/// Starts the simulator with the users of all credentials, and makes it the proxy's upstream.
pub(super) async fn start_for_proxy(config: &mut Config, world: &WorldArgs) -> Result<Simulator, Exit> {
    let demo = Identity::demo();
    let users = config.credentials.iter().filter_map(|credential| credential.username.as_deref());
    let others = users.filter(|user| *user != demo.user);
    let others = others.map(|user| Identity { user: user.to_owned(), ..demo.clone() }).collect();
    let simulator = start(&config.simulator, others, world).await?;
    config.point_at(simulator.address());
    // One thread makes a run repeatable. With more, the kernel chooses the thread of a client's
    // connection, and each thread has its own connections to the simulator.
    let is_repeatable = world.seed.is_some() || world.scenario.is_some();
    if is_repeatable && config.listen.workers == 0 {
        config.listen.workers = 1;
    }
    Ok(simulator)
}

/// Makes each reset of the simulator reset what the proxy has learned from it. Otherwise the first
/// request of the next test would send a token that the simulator no longer knows.
pub(super) fn reset_together(simulator: &Simulator, app: &App) {
    let forgetter = app.forgetter();
    simulator.on_reset(move || {
        let forgetter = forgetter.clone();
        async move {
            let hold = forgetter.hold().await;
            move || hold.forget()
        }
    });
}

/// Starts the simulator on the configured addresses, with `identities` in addition to its own.
async fn start(
    config: &config::Simulator,
    identities: Vec<Identity>,
    world: &WorldArgs,
) -> Result<Simulator, Exit> {
    let config::Simulator { address, control, .. } = *config;
    // With an empty base, links lead to the simulator itself and not away from this machine.
    let public_base = String::new();
    let mut options =
        SimulatorOptions { address, control, identities, public_base, ..SimulatorOptions::default() };
    world.apply(&mut options)?;
    Simulator::bind(options).await.map_err(|error| {
        let advice = bind_advice(&error, address.port().min(control.port()));
        let reason = format!(
            "the simulator cannot listen on {address} and {control} (simulator.address, simulator.control): \
             {error}{advice}"
        );
        fail(Exit::of_system(&error), reason)
    })
}

pub(super) fn announce(simulator: &Simulator) -> Result<(), Exit> {
    print(format_args!("vbc-proxy simulator on {} (control {})", simulator.url(), simulator.control_url()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        world: WorldArgs,
    }

    fn options(arguments: &[&str]) -> SimulatorOptions {
        let line = Line::try_parse_from([&["simulate"], arguments].concat()).unwrap();
        let mut options = SimulatorOptions::default();
        line.world.apply(&mut options).unwrap();
        options
    }

    #[test]
    fn an_address_that_others_can_reach_wants_to_be_allowed() {
        let check = |address: &str, allowed| {
            check_reach(address.parse().unwrap(), "--listen", allowed, (Exit::Usage, "")).is_ok()
        };
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(check(address, false), "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[2001:db8::1]:1"] {
            assert!(!check(address, false), "{address}");
            assert!(check(address, true), "{address}");
        }
    }

    #[test]
    fn what_is_said_on_the_command_line_goes_before_the_scenario() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("day.toml");
        std::fs::write(&file, "seed = 3\nquota = 10\nwebhooks = \"hooks.test\"\n").unwrap();
        let scenario = ["--scenario", file.to_str().unwrap()];
        let read = options(&scenario);
        assert_eq!((read.seed, read.quota, read.webhooks), (3, Some(10), "hooks.test".parse().unwrap()));
        let said = options(&[&scenario[..], &["--seed", "4", "--quota", "0", "--webhooks", "any"]].concat());
        assert_eq!((said.seed, said.quota, said.webhooks), (4, None, WebhookTargets::Anywhere));
        assert_eq!(options(&[]).webhooks, WebhookTargets::Loopback);
    }

    #[test]
    fn the_field_is_switched_on_whole_or_by_name() {
        assert_eq!(options(&[]).field, Field::default());
        assert_eq!(options(&["--field", "--seed", "4"]).field, Field::ALL);
        let two = Field::from(FieldReport::ApiUsers).with(FieldReport::ReportsSelf, true);
        assert_eq!(options(&["--field=reports_self,api-users"]).field, two);
        let error = Line::try_parse_from(["simulate", "--field=api_user"]).unwrap_err().to_string();
        assert!(error.contains("did you mean `api_users`?"), "{error}");
    }

    #[test]
    fn the_help_names_every_report_of_the_field() {
        let help = <Line as clap::CommandFactory>::command().render_long_help().to_string();
        for report in FieldReport::ALL {
            assert!(help.contains(&format!("{}: ", report.name())), "{}", report.name());
        }
    }
}
