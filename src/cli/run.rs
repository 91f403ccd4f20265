//! `vbc-proxy run`.

use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;

use clap::Args;
use rustix::process::{Pid, Rlimit, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::oneshot;

use super::run_log::RunLog;
use super::serve::{exit_of, identities, say_ignored_proxies};
use super::signals::{StopRequest, StopRequests, caught, survive_file_size_limit};
use super::{ConfigArgs, Exit, complain, inherit, privacy, recording, refuse, runtime, simulate};
use crate::app::App;
use crate::config::{Config, ListenAddress};
use crate::simulator::Simulator;

/// What a shell says of a command that is not there, and of one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;

/// Run a command with the proxy beside it
///
/// Starts the proxy on a free port, runs CMD with VBC_BASE_URL set to it, and exits with CMD's status (128 + N where
/// signal N ended it, 127 where there is no such command). The log goes to a file that is named
/// where CMD fails, and removed where it succeeds. VBC_ADMIN_URL is the admin listener; with
/// --simulate, VBC_SIMULATOR_URL is the simulator and VBC_CONTROL_URL its control plane. Signals go
/// on to CMD; a SIGTERM or SIGINT within a second of the first is not repeated. CMD does not
/// inherit secrets: VBC_CLIENT_ID, VBC_CLIENT_SECRET, VBC_USERNAME, VBC_PASSWORD, VBC_PROXY_* and
/// every variable that the configuration takes a secret from are removed.
///
/// CMD is a program with its arguments. For a line of the shell, run the shell: -- sh -c 'npm ci &&
/// npm test'
///
/// For example: vbc-proxy run --simulate -- pytest -q
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    config: ConfigArgs,
    /// Start the built-in simulator and serve from it: no VBC account is needed, no secret is read
    #[arg(long)]
    simulate: bool,
    /// Let [faults] of the configuration make requests fail: answers that one has touched have a vbc-proxy-fault header
    #[arg(long)]
    allow_faults: bool,
    /// Show the log on standard error as it comes, instead of keeping it in a file
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    world: simulate::WorldArgs,
    /// The command and its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Run {
    pub(crate) fn run(&self) -> ExitCode {
        if let Err(exit) = self.world.needs(self.simulate) {
            return exit.into();
        }
        let inherited = privacy::core_limit();
        let loaded = match self.config.load(self.simulate) {
            Ok(loaded) => loaded,
            Err(exit) => return exit.into(),
        };
        let mut command = self.command(&loaded.secret_variables);
        let mut config = loaded.config;
        if let Some(findings) = config.faults.not_allowed().filter(|_| !self.allow_faults) {
            return refuse(&findings).into();
        }
        take_free_ports(&mut config);
        let log = RunLog::begin(&config.log, self.verbose);
        say_ignored_proxies();
        let ended = match runtime::alone() {
            Ok(runtime) => runtime.block_on(self.beside(config, &mut command, inherited)),
            Err(exit) => Err(exit),
        };
        // Where nothing was run, what is wrong has been said.
        log.end(matches!(ended, Ok(Ended::Failed(_)) | Err(Exit::Failed)));
        match ended {
            Ok(Ended::Well) => ExitCode::SUCCESS,
            Ok(Ended::Failed(code) | Ended::NotRun(code)) => code.into(),
            Err(exit) => exit.into(),
        }
    }

    async fn beside(
        &self,
        mut config: Config,
        command: &mut Command,
        inherited: Rlimit,
    ) -> Result<Ended, Exit> {
        let mut signals = Forwarded::catch()?;
        // Held until the end: dropping it stops it.
        let simulator = match self.simulate {
            true => Some(simulate::start(&config.simulator, identities(&config), &self.world).await?),
            false => None,
        };
        if let Some(simulator) = &simulator {
            config.point_at(simulator.address());
            self.world.make_repeatable(&mut config);
        }
        let hooks = recording::faults(&config, self.allow_faults);
        let mut app = App::bind(config).await.map_err(|error| {
            complain(format_args!("vbc-proxy: {error}"));
            exit_of(&error)
        })?;
        if !hooks.is_empty() {
            app = app.with_hooks(Arc::new(hooks));
        }
        tell_addresses(command, &app, simulator.as_ref());
        let (stop, stopped) = oneshot::channel::<()>();
        let mut proxy = tokio::spawn(app.run(async move {
            let _ = stopped.await;
        }));
        let mut child = match privacy::with_core_limit(inherited, || command.spawn()) {
            Ok(child) => child,
            Err(error) => {
                complain(format_args!("vbc-proxy: {} cannot be run: {error}", self.name()));
                let is_missing = error.kind() == ErrorKind::NotFound;
                if let Some(line) = self.shell_line().filter(|_| is_missing) {
                    complain(format_args!(
                        "vbc-proxy: there is no program `{}`; to run a line of the shell: {line}",
                        self.name()
                    ));
                }
                return Ok(Ended::NotRun(if is_missing { NOT_FOUND } else { NOT_RUN }));
            }
        };
        let (status, proxy_ended) = tokio::select! {
            status = signals.forward_until_end(&mut child) => (status, false),
            _ = &mut proxy => {
                complain("vbc-proxy: the proxy ended by itself; ending the command too");
                send(&child, Signal::TERM);
                (signals.forward_until_end(&mut child).await, true)
            }
        };
        drop(stop);
        if !proxy_ended {
            tokio::select! {
                _ = proxy => {}
                () = signals.second_stop() => {
                    tracing::warn!("a second signal: ending at once");
                    return Err(Exit::Failed);
                }
            }
        }
        match status {
            Ok(_) if proxy_ended => Err(Exit::Failed),
            Ok(status) if status.success() => Ok(Ended::Well),
            Ok(status) => Ok(Ended::Failed(code(status))),
            Err(error) => {
                complain(format_args!("vbc-proxy: {} cannot be waited for: {error}", self.name()));
                Err(Exit::Failed)
            }
        }
    }

    fn name(&self) -> String {
        self.command.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// How to run a command that was written as one word, as a shell's line is.
    fn shell_line(&self) -> Option<String> {
        let [line] = self.command.as_slice() else { return None };
        let line = line.to_str()?;
        let is_line = line.contains(|c: char| c.is_whitespace() || "|&;<>$`".contains(c));
        let simulate = if self.simulate { "--simulate " } else { "" };
        is_line.then(|| format!("vbc-proxy run {simulate}-- sh -c '{}'", line.replace('\'', "'\\''")))
    }

    /// The command, without any secret in its environment.
    fn command(&self, secret_variables: &[String]) -> Command {
        let mut words = self.command.iter();
        let mut command = Command::new(words.next().cloned().unwrap_or_default());
        command.args(words).kill_on_drop(true);
        inherit::without_secrets(command.as_std_mut(), secret_variables);
        command
    }
}

/// Tells the command where everything is.
fn tell_addresses(command: &mut Command, app: &App, simulator: Option<&Simulator>) {
    command.env("VBC_BASE_URL", app.name()).env("VBC_ADMIN_URL", app.admin_name());
    if let Some(simulator) = simulator {
        command.env("VBC_SIMULATOR_URL", simulator.url()).env("VBC_CONTROL_URL", simulator.control_url());
    }
}

/// Whatever the configuration says of where to listen: a run is for its command alone, and for nobody else.
fn take_free_ports(config: &mut Config) {
    let free = || std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
    config.listen.addresses = vec![ListenAddress::Tcp(free())];
    config.listen.tls = None;
    config.admin.address = Some(ListenAddress::Tcp(free()));
    (config.simulator.address, config.simulator.control) = (free(), free());
}

/// How the command ended.
enum Ended {
    Well,
    /// With this status, which is not 0.
    Failed(u8),
    /// It was not begun.
    NotRun(u8),
}

/// As a shell has it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// It may be gone already.
fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, signal);
    }
}

/// The signals that go on to the command.
struct Forwarded {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
    quit: unix::Signal,
    user_1: unix::Signal,
    user_2: unix::Signal,
    /// What a key of the terminal sends, the command gets from the terminal.
    at_terminal: bool,
    requests: StopRequests,
}

impl Forwarded {
    fn catch() -> Result<Self, Exit> {
        survive_file_size_limit()?;
        Ok(Self {
            terminate: caught(SignalKind::terminate())?,
            interrupt: caught(SignalKind::interrupt())?,
            hangup: caught(SignalKind::hangup())?,
            quit: caught(SignalKind::quit())?,
            user_1: caught(SignalKind::user_defined1())?,
            user_2: caught(SignalKind::user_defined2())?,
            at_terminal: std::io::stdin().is_terminal(),
            requests: StopRequests::default(),
        })
    }

    async fn forward_until_end(&mut self, child: &mut Child) -> std::io::Result<ExitStatus> {
        loop {
            let (signal, by_key) = tokio::select! {
                status = child.wait() => return status,
                _ = self.terminate.recv() => (Signal::TERM, false),
                _ = self.interrupt.recv() => (Signal::INT, true),
                _ = self.hangup.recv() => (Signal::HUP, false),
                _ = self.quit.recv() => (Signal::QUIT, true),
                _ = self.user_1.recv() => (Signal::USR1, false),
                _ = self.user_2.recv() => (Signal::USR2, false),
            };
            let stops = matches!(signal, Signal::TERM | Signal::INT);
            let is_repeat = stops && self.requests.arrived() == StopRequest::Repeat;
            let has_it = is_repeat || (by_key && self.at_terminal);
            if !has_it {
                send(child, signal);
            }
        }
    }

    /// Waits for a signal to stop that comes a second or more after the first.
    async fn second_stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            if self.requests.arrived() == StopRequest::Second {
                return;
            }
        }
    }
}
