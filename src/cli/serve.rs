//! `vbc-proxy serve`.

use std::io::ErrorKind;

use clap::Args;

use super::recording::AsideArgs;
use super::signals::Signals;
use super::{ConfigArgs, Exit, complain, logging, refuse, runtime, say, simulate};
use crate::app::{App, Ended, StartError};
use crate::config::Config;
use crate::memory;
use crate::simulator::Identity;
use crate::store::StoreError;

/// Run the proxy
///
/// Prints one line to standard output when it accepts requests; logs go to standard error. SIGTERM and SIGINT drain:
/// requests in flight are answered, then it exits with status 0. A second signal, a second or more after the first, ends
/// it at once.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    config: ConfigArgs,
    /// Start the built-in simulator and serve from it: no VBC account is needed, no secret is read
    #[arg(long)]
    simulate: bool,
    #[command(flatten)]
    aside: AsideArgs,
    #[command(flatten)]
    world: simulate::WorldArgs,
}

impl Serve {
    pub(crate) fn run(&self) -> Exit {
        if let Err(exit) = self.world.needs(self.simulate) {
            return exit;
        }
        let loaded = match self.config.load(self.simulate) {
            Ok(loaded) => loaded,
            Err(exit) => return exit,
        };
        if let Some(findings) = loaded.config.faults.not_allowed().filter(|_| !self.aside.allow_faults) {
            return refuse(&findings);
        }
        let _logging = logging::start(&loaded.config.log);
        tracing::info!(origin = loaded.origin, "configuration loaded");
        say_ignored_proxies();
        // Credentials, admin and, if asked for, the simulator. The data plane brings its own threads.
        match runtime::beside_data_plane() {
            Ok(runtime) => {
                runtime.block_on(serve(loaded.config, self.simulate.then_some(&self.world), &self.aside))
            }
            Err(exit) => exit,
        }
    }
}

async fn serve(mut config: Config, world: Option<&simulate::WorldArgs>, aside: &AsideArgs) -> Exit {
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    if world.is_some()
        && let Err(exit) = check_simulator_reach(&config)
    {
        return exit;
    }
    // Held until the end: dropping it stops it.
    let simulator = match world {
        Some(world) => match simulate::start(&config.simulator, identities(&config), world).await {
            Ok(simulator) => Some(simulator),
            Err(exit) => return exit,
        },
        None => None,
    };
    if let Some((simulator, world)) = simulator.as_ref().zip(world) {
        config.point_at(simulator.address());
        world.make_repeatable(&mut config);
    }
    let beside = match aside.open(&config) {
        Ok(beside) => beside,
        Err(exit) => return exit,
    };
    let app = match App::bind(config).await {
        Ok(app) => beside.join(app),
        Err(error) => {
            complain(format_args!("vbc-proxy: {error}"));
            return exit_of(&error);
        }
    };
    let simulator_announced = simulator.as_ref().map_or(Ok(()), simulate::announce);
    let announced = simulator_announced.and_then(|()| {
        say(format_args!("vbc-proxy listening on {} (admin {})", app.name(), app.admin_name()))
    });
    if let Err(exit) = announced {
        // An exchange under way is still finished and stored.
        let _ = app.run(std::future::ready(())).await;
        return exit;
    }
    if let Err(error) = memory::keep_small() {
        tracing::warn!(%error, "memory is not given back: no thread");
    }
    let ended = app.run(signals.first_of_two()).await;
    beside.finish();
    match ended {
        Ok(Ended::Drained) => Exit::Done,
        Ok(Ended::CutShort | Ended::Unsaved) => Exit::Failed,
        Err(error) => {
            complain(format_args!("vbc-proxy: {error}"));
            Exit::Failed
        }
    }
}

/// What the simulator has to be told of: the users of all credentials. It knows the demo identity.
pub(super) fn identities(config: &Config) -> Vec<Identity> {
    let demo = Identity::demo();
    let users = config.credentials.iter().filter_map(|credential| credential.username.as_deref());
    let others = users.filter(|user| *user != demo.user);
    others.map(|user| Identity { user: user.to_owned(), ..demo.clone() }).collect()
}

/// How to end when the proxy cannot start.
pub(super) fn exit_of(error: &StartError) -> Exit {
    match error {
        StartError::Store { source: StoreError::InUse { .. } } => Exit::Unavailable,
        StartError::Store { source: StoreError::Io { source, .. } }
        | StartError::Bind { source, .. }
        | StartError::BindUnix { source, .. } => exit_of_system(source),
        // Other faults of a store do not pass by themselves.
        StartError::Store { .. } => Exit::Config,
        StartError::Tls { .. }
        | StartError::ListenTls(_)
        | StartError::TokenClient(_)
        | StartError::NoCredential => Exit::Config,
        StartError::Thread(_) => Exit::Failed,
    }
}

/// How to end when the system refuses an address or a directory. Only a reason that passes by
/// itself is [`Exit::Unavailable`]; every other one, also one that is not known here, wants a
/// change.
pub(super) fn exit_of_system(error: &std::io::Error) -> Exit {
    /// Reasons that the standard library has no kind for.
    const PASSING: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::EIO];
    match error.kind() {
        ErrorKind::AddrInUse
        | ErrorKind::OutOfMemory
        | ErrorKind::StorageFull
        | ErrorKind::QuotaExceeded
        | ErrorKind::Interrupted
        | ErrorKind::WouldBlock
        | ErrorKind::TimedOut
        | ErrorKind::ResourceBusy
        | ErrorKind::StaleNetworkFileHandle
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown => Exit::Unavailable,
        _ if error.raw_os_error().is_some_and(|number| PASSING.contains(&number)) => Exit::Unavailable,
        _ => Exit::Config,
    }
}

/// The simulator of `serve --simulate` is opened to others as the proxy is.
fn check_simulator_reach(config: &Config) -> Result<(), Exit> {
    const REMEDY: &str = "use a loopback address, or set listen.allow_anonymous = true";
    let (allowed, simulator) = (config.listen.allow_anonymous, &config.simulator);
    let addresses = [(simulator.address, "simulator.address"), (simulator.control, "simulator.control")];
    match addresses.iter().all(|(address, key)| simulate::check_reach(*address, key, allowed, REMEDY)) {
        true => Ok(()),
        // The addresses come from the file or from variables.
        false => Err(Exit::Config),
    }
}

/// Going through an egress proxy is a decision for the configuration, not for a variable that happens to be set.
pub(super) fn say_ignored_proxies() {
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        if std::env::var_os(name).is_some() {
            tracing::warn!(
                variable = name,
                "this variable is ignored: upstream and token endpoint are reached directly"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    #[test]
    fn a_fault_of_the_system_that_does_not_pass_by_itself_wants_a_change() {
        let exits = |numbers: &[i32]| -> Vec<_> {
            numbers.iter().map(|number| exit_of_system(&Error::from_raw_os_error(*number))).collect()
        };
        let permanent = [
            libc::EADDRNOTAVAIL,
            libc::EAFNOSUPPORT,
            libc::EPROTONOSUPPORT,
            libc::ELOOP,
            libc::EACCES,
            libc::EPERM,
            libc::ENOENT,
            libc::ENOTDIR,
            libc::EISDIR,
            libc::EROFS,
            libc::ENAMETOOLONG,
            libc::EINVAL,
            libc::ENODEV,
            libc::ENXIO,
            libc::EOPNOTSUPP,
        ];
        assert_eq!(exits(&permanent), [Exit::Config; 15]);
        let passing = [
            libc::EADDRINUSE,
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOMEM,
            libc::ENOSPC,
            libc::EDQUOT,
            libc::EIO,
        ];
        assert_eq!(exits(&passing), [Exit::Unavailable; 7]);
        // Those of a unix socket that is bound have no number.
        assert_eq!(exit_of_system(&ErrorKind::AddrInUse.into()), Exit::Unavailable);
        assert_eq!(exit_of_system(&ErrorKind::AlreadyExists.into()), Exit::Config);
    }
}
