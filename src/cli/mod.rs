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
mod init;
mod logging;
mod login;
mod recording;
mod replay;
mod run;
mod runtime;
mod serve;
mod signals;
mod simulate;
mod status;
mod unlock;

use std::fmt::Display;
use std::future::Future;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Finding, Findings, LoadOptions, Loaded};

/// An authenticating proxy for the Vonage Business Communications (VBC) API.
///
/// Your tools send plain requests to the proxy, without any credentials; it adds an access token that it keeps fresh by
/// itself, forwards to https://api.vonage.com and streams the answer back.
#[derive(Debug, Parser)]
#[command(name = "vbc-proxy", version, max_term_width = 100, after_help = HELP, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const HELP: &str = "\
To try it:    vbc-proxy serve --simulate
To begin:     run `vbc-proxy init`, give your credentials, and let `vbc-proxy check` say what is missing

Exit status:  0 done, 1 failed, 64 wrong usage, 69 something needed is unreachable, 78 configuration";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Check(check::Check),
    Doctor(doctor::Doctor),
    Login(login::Login),
    Status(status::Status),
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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to be done where the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    run(&cli.command)
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
    /// The configuration is not right (`EX_CONFIG`).
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
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
        let options = LoadOptions { file: self.config.clone(), simulate: true };
        Config::load(&options).map(|loaded| loaded.config).map_err(|findings| refuse(&findings))
    }

    /// Loads the configuration. Warnings and findings go to standard error.
    pub(crate) fn load(&self, simulate: bool) -> Result<Loaded, Exit> {
        let options = LoadOptions { file: self.config.clone(), simulate };
        match Config::load(&options) {
            Ok(loaded) => {
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
    complain(format_args!("vbc-proxy: {count} finding{plural} in the configuration"));
    Exit::Config
}

/// Writes a line to standard output. A reader that went away is no error.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Writes a line to standard error. A reader that went away is no error.
pub(crate) fn complain(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
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
