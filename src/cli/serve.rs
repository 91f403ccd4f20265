//! `vbc-proxy serve`.

use clap::Args;

use super::config_args::{ConfigArgs, refuse_config};
use super::exit::Exit;
use super::output::{fail, print};
use super::recording::HookArgs;
use super::signals::Signals;
use super::{logging, runtime, simulate};
use crate::app::{App, Ended};
use crate::config::Config;
use crate::memory;

/// Run the proxy
///
/// Prints one line to standard output when it accepts requests. Logs go to standard error.
///
/// On SIGTERM or SIGINT it finishes running requests, then exits with status 0. A second signal, at
/// least one second later, makes it exit immediately.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    config: ConfigArgs,
    /// Start the built-in simulator and serve from it: no VBC account is needed, no secret is read
    #[arg(long)]
    simulate: bool,
    #[command(flatten)]
    hooks: HookArgs,
    #[command(flatten)]
    world: simulate::WorldArgs,
}

impl Serve {
    pub(crate) fn run(&self) -> Result<(), Exit> {
        self.world.needs(self.simulate)?;
        let loaded = self.config.load(self.simulate)?;
        if let Some(findings) = loaded.config.faults.not_allowed().filter(|_| !self.hooks.allow_faults) {
            return Err(refuse_config(&findings));
        }
        let _logging = logging::start(&loaded.config.log);
        tracing::info!(origin = loaded.origin, "configuration loaded");
        warn_of_ignored_proxies();
        runtime::alongside_data_plane()?.block_on(self.serve(loaded.config))
    }

    async fn serve(&self, mut config: Config) -> Result<(), Exit> {
        let signals = Signals::new()?;
        // Held until the end: dropping the simulator stops it.
        let simulator = if self.simulate {
            check_simulator_reach(&config)?;
            Some(simulate::start_for_proxy(&mut config, &self.world).await?)
        } else {
            None
        };
        let hooks = self.hooks.open(&config)?;
        let bound = App::bind(config).await;
        let app = hooks.join(bound.map_err(|error| fail(Exit::of_start(&error), &error))?);
        if let Some(simulator) = &simulator {
            simulate::reset_together(simulator, &app);
        }
        let announced = simulator.as_ref().map_or(Ok(()), simulate::announce).and_then(|()| {
            print(format_args!("vbc-proxy listening on {} (admin {})", app.name(), app.admin_name()))
        });
        if let Err(exit) = announced {
            // Drains: a token exchange under way is finished and its tokens are stored.
            let _ = app.run(std::future::ready(())).await;
            return Err(exit);
        }
        if let Err(error) = memory::spawn_heap_trimmer() {
            tracing::warn!(%error, "cannot start the heap trimmer; freed memory is not returned to the system");
        }
        let ended = app.run(signals.first_of_two()).await;
        hooks.finish();
        match ended {
            Ok(Ended::Drained) => Ok(()),
            Ok(Ended::CutShort | Ended::Unsaved) => Err(Exit::Failed),
            Err(error) => Err(fail(Exit::Failed, error)),
        }
    }
}

/// Fails unless the simulator's addresses are loopback. `listen.allow_anonymous` allows other
/// addresses for the simulator too.
fn check_simulator_reach(config: &Config) -> Result<(), Exit> {
    // A configuration error, because the addresses come from the file or from variables.
    let otherwise = (Exit::Config, "use a loopback address, or set listen.allow_anonymous = true");
    let allowed = config.listen.allow_anonymous;
    simulate::check_reach(config.simulator.address, "simulator.address", allowed, otherwise)?;
    simulate::check_reach(config.simulator.control, "simulator.control", allowed, otherwise)
}

/// Logs a warning for each proxy variable that is set. They are ignored: an egress proxy must be
/// configured, not depend on a variable that happens to be set.
pub(super) fn warn_of_ignored_proxies() {
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        if std::env::var_os(name).is_some() {
            tracing::warn!(
                variable = name,
                "ignored this variable: the proxy connects to upstream and token endpoint directly"
            );
        }
    }
}
