//! `vbc-proxy run`.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;

use clap::Args;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use rustix::process::{Pid, Rlimit, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::config_args::{ConfigArgs, refuse_config};
use super::exit::Exit;
use super::logging::{self, Logging};
use super::output::{fail, report};
use super::serve::warn_of_ignored_proxies;
use super::signals::{Signals, StopRequest};
use super::{privacy, recording, runtime, simulate};
use crate::app::App;
use crate::config::{Config, ListenAddress, Log};

/// The statuses that a shell uses for a command that does not exist, and for one that cannot be
/// run.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;

/// The signals that are forwarded to the command.
const FORWARDED: [Signal; 6] =
    [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// Run a command with the proxy alongside
///
/// Starts the proxy on a free port and runs CMD with the proxy's address in VBC_BASE_URL.
/// VBC_ADMIN_URL is the admin listener. With --simulate, VBC_SIMULATOR_URL is the simulator and
/// VBC_CONTROL_URL its control plane.
///
/// Exits with the status of CMD. That is 128 + N if signal N ended it, 127 if there is no such
/// program, and 126 if it cannot be run.
///
/// The log goes to a file. If CMD succeeds, the file is removed. If CMD fails, the path of the log
/// file is printed.
///
/// Signals are forwarded to CMD. A further SIGTERM or SIGINT within one second of the first is
/// ignored.
///
/// CMD does not inherit secrets: VBC_CLIENT_ID, VBC_CLIENT_SECRET, VBC_USERNAME, VBC_PASSWORD,
/// VBC_PROXY_* and every variable that holds a secret of the configuration are removed.
///
/// CMD is a program with its arguments. For a shell command line, run the shell: -- sh -c 'npm ci
/// && npm test'
///
/// For example: vbc-proxy run --simulate -- pytest -q
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    config: ConfigArgs,
    /// Start the built-in simulator and serve from it: no VBC account is needed, no secret is read
    #[arg(long)]
    simulate: bool,
    /// Inject the faults of the [faults] section; affected responses have a vbc-proxy-fault header
    #[arg(long)]
    allow_faults: bool,
    /// Write the log to standard error instead of a file
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    world: simulate::WorldArgs,
    /// The command and its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

impl Run {
    pub(crate) fn run(&self) -> Result<(), Exit> {
        self.world.needs(self.simulate)?;
        let inherited = privacy::core_limit();
        let loaded = self.config.load(self.simulate)?;
        let mut command = self.command(&loaded.secret_variables);
        let mut config = loaded.config;
        if let Some(findings) = config.faults.not_allowed().filter(|_| !self.allow_faults) {
            return Err(refuse_config(&findings));
        }
        take_free_ports(&mut config);
        let log = RunLog::begin(&config.log, self.verbose);
        warn_of_ignored_proxies();
        let ended = runtime::without_data_plane()
            .and_then(|runtime| runtime.block_on(self.run_alongside(config, &mut command, inherited)));
        // If the command was not run, the error is already reported, and the log is not kept.
        log.end(matches!(ended, Ok(Ended::Failed(_)) | Err(Exit::Failed)));
        match ended? {
            Ended::Well => Ok(()),
            Ended::Failed(code) | Ended::NotRun(code) => Err(Exit::Command(code)),
        }
    }

    async fn run_alongside(
        &self,
        mut config: Config,
        command: &mut Command,
        inherited: Rlimit,
    ) -> Result<Ended, Exit> {
        let mut signals = Signals::catch(&FORWARDED)?;
        // Held until the end: dropping the simulator stops it.
        let simulator = if self.simulate {
            Some(simulate::start_for_proxy(&mut config, &self.world).await?)
        } else {
            None
        };
        let hooks = recording::faults(&config, self.allow_faults);
        let bound = App::bind(config).await;
        let mut app = bound.map_err(|error| fail(Exit::of_start(&error), &error))?;
        if !hooks.is_empty() {
            app = app.with_hooks(Arc::new(hooks));
        }
        command.env("VBC_BASE_URL", app.name()).env("VBC_ADMIN_URL", app.admin_name());
        if let Some(simulator) = &simulator {
            command.env("VBC_SIMULATOR_URL", simulator.url());
            command.env("VBC_CONTROL_URL", simulator.control_url());
            simulate::reset_together(simulator, &app);
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let mut proxy = tokio::spawn(app.run(async move {
            let _ = stopped.await;
        }));
        let mut child = match privacy::with_core_limit(inherited, || command.spawn()) {
            Ok(child) => child,
            Err(error) => return Ok(Ended::NotRun(self.report_not_run(&error))),
        };
        let (status, proxy_ended) = tokio::select! {
            status = forward_until_end(&mut signals, &mut child) => (status, false),
            _ = &mut proxy => {
                report("vbc-proxy: the proxy stopped unexpectedly; stopping the command too");
                send(&child, Signal::TERM);
                (forward_until_end(&mut signals, &mut child).await, true)
            }
        };
        drop(stop);
        if !proxy_ended {
            tokio::select! {
                _ = proxy => {}
                () = second_stop(&mut signals) => {
                    tracing::warn!("second signal: exiting immediately");
                    return Err(Exit::Failed);
                }
            }
        }
        match status {
            Ok(_) if proxy_ended => Err(Exit::Failed),
            Ok(status) if status.success() => Ok(Ended::Well),
            Ok(status) => Ok(Ended::Failed(code(status))),
            Err(error) => Err(fail(Exit::Failed, format_args!("cannot wait for {}: {error}", self.name()))),
        }
    }

    /// Reports why the command was not run. Returns the status that a shell uses for this error.
    fn report_not_run(&self, error: &std::io::Error) -> u8 {
        let name = self.name();
        report(format_args!("vbc-proxy: cannot run {name}: {error}"));
        if error.kind() != io::ErrorKind::NotFound {
            return NOT_RUN;
        }
        if let Some(line) = self.shell_line() {
            report(format_args!(
                "vbc-proxy: there is no program `{name}`. To run a shell command line: {line}"
            ));
        }
        NOT_FOUND
    }

    fn name(&self) -> String {
        self.command.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The correct call for a shell command line that was given as one argument.
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
        privacy::without_secrets(command.as_std_mut(), secret_variables);
        command
    }
}

/// Explains an unknown option: it may belong to another subcommand, or be a command that begins
/// with a hyphen.
pub(super) fn explain(error: &mut clap::Error) {
    if error.kind() != ErrorKind::UnknownArgument {
        return;
    }
    if let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) {
        let hint =
            format!("`{option}` is not an option of `run`; a command that begins with `-` goes after `--`");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
    }
}

/// Replaces the configured addresses with free loopback ports, because a run serves only its own
/// command.
fn take_free_ports(config: &mut Config) {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.listen.addresses = vec![ListenAddress::Tcp(free)];
    config.listen.tls = None;
    config.admin.address = Some(ListenAddress::Tcp(free));
    config.simulator.address = free;
    config.simulator.control = free;
}

/// How the command ended.
enum Ended {
    /// With status 0.
    Well,
    /// With another status.
    Failed(u8),
    /// The command was not started. A shell uses this status for the error.
    NotRun(u8),
}

/// The exit status as a shell reports it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// Sends a signal to the child, unless it has ended.
fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, signal);
    }
}

/// Forwards signals to the command until it ends.
async fn forward_until_end(signals: &mut Signals, child: &mut Child) -> std::io::Result<ExitStatus> {
    // The terminal itself sends the signals of Ctrl-C and Ctrl-\ to the command.
    let at_terminal = std::io::stdin().is_terminal();
    loop {
        let signal = tokio::select! {
            status = child.wait() => return status,
            signal = signals.next() => signal,
        };
        let is_repeat = is_stop(signal) && signals.stop_requested() == StopRequest::Repeat;
        let by_key = matches!(signal, Signal::INT | Signal::QUIT);
        let has_arrived = is_repeat || (by_key && at_terminal);
        if !has_arrived {
            send(child, signal);
        }
    }
}

/// Waits for a signal to stop that arrives at least one second after the first.
async fn second_stop(signals: &mut Signals) {
    loop {
        let signal = signals.next().await;
        if is_stop(signal) && signals.stop_requested() == StopRequest::Second {
            return;
        }
    }
}

fn is_stop(signal: Signal) -> bool {
    matches!(signal, Signal::TERM | Signal::INT)
}

/// The log of one run. A file, so that the terminal shows only the output of the command.
struct RunLog {
    logging: Logging,
    /// `None` if the log goes to standard error.
    path: Option<PathBuf>,
}

impl RunLog {
    /// Starts the log: in a file or, if `verbose`, on standard error.
    fn begin(log: &Log, verbose: bool) -> Self {
        if verbose {
            return Self { logging: logging::start(log), path: None };
        }
        match create() {
            Ok((file, path)) => Self { logging: logging::start_in(log, file), path: Some(path) },
            Err(error) => {
                let folder = std::env::temp_dir();
                report(format_args!(
                    "vbc-proxy: cannot create a log file in {}: {error}; logging to standard error instead (set TMPDIR \
                     to use another directory)",
                    folder.display()
                ));
                Self { logging: logging::start(log), path: None }
            }
        }
    }

    /// Ends the log. If `failed`, keeps the file and reports its name.
    fn end(self, failed: bool) {
        // Dropping the log writes its last lines.
        drop(self.logging);
        let Some(path) = self.path else { return };
        let is_empty = path.metadata().is_ok_and(|file| file.len() == 0);
        if !failed || is_empty {
            let _ = std::fs::remove_file(&path);
            return;
        }
        report(format_args!(
            "vbc-proxy: the command failed; the log of the proxy is in {} (use --verbose to see it live)",
            path.display()
        ));
    }
}

/// Creates a new file, readable by its owner only.
fn create() -> std::io::Result<(File, PathBuf)> {
    let number = u64::from_be_bytes(vbc_base::random::bytes());
    let path = std::env::temp_dir().join(format!("vbc-proxy-run-{number:016x}.log"));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    Ok((file, path))
}
