//! `vbc-proxy simulate`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::signals::Signals;
use super::{ConfigArgs, Exit, complain, logging, say};
use crate::config;
use crate::simulator::{Identity, Simulator, SimulatorOptions};

/// Run the VBC simulator alone
///
/// A faithful stand-in for api.vonage.com: token endpoint, gateway and API suites with seeded data. Its control plane,
/// on a port of its own, makes things go wrong and tells what arrived. The demo identity is client id sim-client,
/// secret sim-secret, user alice@vbc.prod, password sim-password.
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
}

impl Simulate {
    pub(crate) fn run(&self) -> Exit {
        let args = ConfigArgs::of(self.config.clone());
        let mut config = match args.load(true) {
            Ok(loaded) => loaded.config,
            Err(exit) => return exit,
        };
        let _logging = logging::start(&config.log);
        config.simulator.address = self.listen.unwrap_or(config.simulator.address);
        config.simulator.control = self.control.unwrap_or(config.simulator.control);
        match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
            Ok(runtime) => runtime.block_on(simulate(&config.simulator)),
            Err(error) => {
                complain(format_args!("vbc-proxy: no runtime: {error}"));
                Exit::Failed
            }
        }
    }
}

async fn simulate(config: &config::Simulator) -> Exit {
    let Ok(mut signals) = Signals::new() else { return Exit::Failed };
    let simulator = match start(config, Vec::new()).await {
        Ok(simulator) => simulator,
        Err(exit) => return exit,
    };
    announce(&simulator);
    signals.next().await;
    Exit::Done
}

/// Starts the simulator at the configured addresses; it knows these identities beside its own.
pub(super) async fn start(config: &config::Simulator, identities: Vec<Identity>) -> Result<Simulator, Exit> {
    let (address, control) = (config.address, config.control);
    // Links that are followed must not leave this machine.
    let public_base = String::new();
    let options =
        SimulatorOptions { address, control, identities, public_base, ..SimulatorOptions::default() };
    Simulator::bind(options).await.map_err(|error| {
        complain(format_args!(
            "vbc-proxy: the simulator cannot listen on {address} and {control} (simulator.address, simulator.control): \
             {error}; is another process using them?"
        ));
        Exit::Unavailable
    })
}

/// The line that tells where it is.
pub(super) fn announce(simulator: &Simulator) {
    say(format_args!("vbc-proxy simulator on {} (control {})", simulator.url(), simulator.control_url()));
}
