//! The command line: one file a subcommand.
//!
//! To add one: a file with a `clap::Args` struct and a `run` that returns an `Exit`, a variant in `Command`, an arm
//! in `run`. A subcommand takes no secret as an argument, writes what was asked for to standard output and everything
//! else to standard error.

mod browser;
mod cassette;
mod check;
mod desk;
mod doctor;
mod inherit;
mod init;
mod logging;
mod login;
mod output;
mod privacy;
mod recording;
mod refresh;
mod replay;
mod run;
mod run_log;
mod runtime;
mod serve;
mod signals;
mod simulate;
mod status;
mod unlock;

use std::future::Future;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{Config, Finding, Findings, LoadOptions, Loaded};
use output::{complain, print, say, written};
use privacy::Privacy;

/// An authenticating proxy for the Vonage Business Communications (VBC) API.
///
/// Your tools send plain requests to the proxy, without any credentials; it adds an access token that it keeps fresh by
/// itself, forwards to https://api.vonage.com and streams the answer back.
#[derive(Debug, Parser)]
#[command(name = "vbc-proxy", version, max_term_width = WIDEST, after_help = HELP, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const HELP: &str = "\
To try it, run `vbc-proxy serve --simulate`.

To begin, run `vbc-proxy init`, give your credentials, and let `vbc-proxy check` say what is missing.

Exit status: 0 done, 1 failed, 64 wrong usage, 69 something needed is unreachable, 78 configuration.";

/// The widest line of a help text, also on a wider terminal.
const WIDEST: usize = 100;

/// The narrowest line that `COLUMNS` can ask for.
const NARROWEST: usize = 20;

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Check(check::Check),
    Doctor(doctor::Doctor),
    Login(login::Login),
    Status(status::Status),
    Refresh(refresh::Refresh),
    Unlock(unlock::Unlock),
    Simulate(simulate::Simulate),
    Replay(replay::Replay),
    Cassette(cassette::Cassette),
    Run(run::Run),
    Init(init::Init),
}

fn run(command: &Command) -> ExitCode {
    let exit = match command {
        Command::Serve(serve) => serve.run(),
        Command::Check(check) => check.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Login(login) => login.run(),
        Command::Status(status) => status.run(),
        Command::Refresh(refresh) => refresh.run(),
        Command::Unlock(unlock) => unlock.run(),
        Command::Simulate(simulate) => simulate.run(),
        Command::Replay(replay) => replay.run(),
        Command::Cassette(cassette) => cassette.run(),
        Command::Run(run) => return run.run(),
        Command::Init(init) => init.run(),
    };
    exit.into()
}

/// Reads the arguments of the process, does what they ask for and says how it ended.
pub fn main() -> ExitCode {
    match parse() {
        Ok(cli) => run(&cli.command),
        Err(exit) => exit.into(),
    }
}

fn parse() -> Result<Cli, Exit> {
    let command = match help_width(std::env::var("COLUMNS").ok().as_deref()) {
        Some(width) => Cli::command().term_width(width),
        None => Cli::command(),
    };
    let parsed = command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| {
        let shown = error.print().and_then(|()| std::io::stdout().flush());
        match error.use_stderr() {
            // Nothing is left to be done where the terminal is gone.
            true => Exit::Usage,
            false => written(shown).err().unwrap_or(Exit::Done),
        }
    })
}

/// The width that `COLUMNS` asks for. It goes before the terminal's own, as in other programs.
fn help_width(columns: Option<&str>) -> Option<usize> {
    let columns = columns?.trim().parse::<usize>().ok().filter(|columns| *columns > 0)?;
    Some(columns.clamp(NARROWEST, WIDEST))
}

/// How the program ends; scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well.
    Done = 0,
    /// It was tried and failed.
    Failed = 1,
    /// The arguments make no sense (`EX_USAGE`).
    Usage = 64,
    /// Something needed is not to be had: an address, the token store, a running proxy (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// The configuration is not right, or a file that was named is not there (`EX_CONFIG`).
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// How to end when a file cannot be used. One that is missing, or that may not be opened, does not come by waiting.
pub(crate) fn exit_of_file(error: &std::io::Error) -> Exit {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::Interrupted => Exit::Failed,
        _ => Exit::Config,
    }
}

/// `--config FILE`, for every subcommand that needs a configuration.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The configuration file
    ///
    /// Without it, proxy.toml in the working directory is read, where there is one. With no file at all, the variables
    /// VBC_CLIENT_ID, VBC_CLIENT_SECRET, VBC_USERNAME and VBC_PASSWORD make a credential called `default`. Any key of
    /// the file can be overridden by a variable, such as VBC_PROXY_LISTEN_ADDRESS.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    /// The arguments of a subcommand that words `--config` its own way.
    pub(crate) fn of(config: Option<PathBuf>) -> Self {
        Self { config }
    }

    /// Loads the configuration to look for a running proxy. Secrets are not needed for that, and may not be there where
    /// one asks from; warnings are the proxy's to give.
    pub(crate) fn peek(&self) -> Result<Config, Exit> {
        self.find().map(|loaded| loaded.config)
    }

    /// The same, for a command that takes a secret by itself or starts a child.
    pub(crate) fn find(&self) -> Result<Loaded, Exit> {
        let privacy = Privacy::begin();
        let loaded = Config::find(self.config.as_deref()).map_err(|findings| refuse(&findings))?;
        privacy.settle(loaded.config.process.core_dumps);
        Ok(loaded)
    }

    /// Loads the configuration. Warnings and findings go to standard error.
    pub(crate) fn load(&self, simulate: bool) -> Result<Loaded, Exit> {
        let options = LoadOptions { file: self.config.clone(), simulate };
        // Before a secret is read.
        let privacy = Privacy::begin();
        match Config::load(&options) {
            Ok(loaded) => {
                privacy.settle(loaded.config.process.core_dumps);
                warn(&loaded.warnings);
                Ok(loaded)
            }
            Err(findings) => Err(refuse(&findings)),
        }
    }
}

/// The credential that is meant: the named one, else the only one or the one called `default`.
pub(crate) fn choose(wanted: Option<&str>, names: &[&str]) -> Result<String, Exit> {
    let chosen = match (wanted, names) {
        (Some(wanted), _) => names.iter().find(|name| **name == wanted),
        (None, [only]) => Some(only),
        (None, _) => names.iter().find(|name| **name == "default"),
    };
    chosen.map(|name| (*name).to_owned()).ok_or_else(|| {
        let what = match wanted {
            Some(wanted) => format!("there is no credential {wanted:?}"),
            None => "say which credential".to_owned(),
        };
        let known = crate::admin::list(names.iter().copied());
        complain(format_args!("vbc-proxy: {what}; there is {known}"));
        Exit::Usage
    })
}

/// The same, of the credentials of a configuration.
pub(crate) fn choose_of(wanted: Option<&str>, config: &Config) -> Result<String, Exit> {
    let names: Vec<_> = config.credentials.iter().map(|credential| credential.name.as_str()).collect();
    choose(wanted, &names)
}

/// Runs what a subcommand does on a runtime of its own.
pub(crate) fn run_to_end(work: impl Future<Output = Result<(), Exit>>) -> Exit {
    let runtime = match runtime::alone() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let outcome = runtime.block_on(work);
    // A thread that reads from the terminal cannot be stopped, and is not waited for.
    runtime.shutdown_background();
    outcome.err().unwrap_or(Exit::Done)
}

fn warn(warnings: &[Finding]) {
    for warning in warnings {
        complain(format_args!("warning: {warning}"));
    }
}

fn refuse(findings: &Findings) -> Exit {
    complain(findings);
    let count = findings.iter().count();
    let plural = if count == 1 { "" } else { "s" };
    complain(format_args!("vbc-proxy: {count} finding{plural} in the configuration; it cannot be used"));
    Exit::Config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_is_as_wide_as_columns_says_within_reason() {
        let widths =
            ["60", " 80 ", "500", "3", "0", "-1", "wide", ""].map(|columns| help_width(Some(columns)));
        assert_eq!(widths, [Some(60), Some(80), Some(100), Some(20), None, None, None, None]);
        assert_eq!(help_width(None), None);
    }

    #[test]
    fn help_is_for_standard_output_and_wrong_usage_is_not() {
        let parse = |arguments: &[&str]| Cli::try_parse_from(arguments).unwrap_err().use_stderr();
        assert!(!parse(&["vbc-proxy", "--help"]));
        assert!(!parse(&["vbc-proxy", "check", "--help"]));
        assert!(!parse(&["vbc-proxy", "--version"]));
        assert!(parse(&["vbc-proxy"]));
        assert!(parse(&["vbc-proxy", "chekc"]));
    }
}
