//! The command line: one file per subcommand.
//!
//! To add a subcommand, add a file with a `clap::Args` struct, whose `run` fails with an `Exit`.
//! Then add a variant to `Command` and an arm to `run`. A subcommand takes no secret as an
//! argument, because other users can see the arguments of a process. It writes its result to
//! standard output, and everything else to standard error.

mod admin_client;
mod cassette;
mod check;
mod config_args;
mod doctor;
mod exit;
mod init;
mod logging;
mod login;
mod operate;
mod output;
mod privacy;
mod recording;
mod replay;
mod run;
mod runtime;
mod serve;
mod signals;
mod simulate;
mod status;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use exit::Exit;

/// An authenticating proxy for the Vonage Business Communications (VBC) API.
///
/// Your tools send plain requests to the proxy, without any credentials. The proxy adds a fresh
/// access token, forwards the request to api.vonage.com and streams the response back.
#[derive(Debug, Parser)]
#[command(name = "vbc-proxy", version, max_term_width = WIDEST, after_help = HELP, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const HELP: &str = "\
To try it, run `vbc-proxy serve --simulate`.

To set it up, run `vbc-proxy init`, add your credentials, and run `vbc-proxy check`.

Exit status: 0 success, 1 failure, 64 wrong usage, 69 unavailable (address in use, no proxy running,
store in use), 78 wrong configuration.";

/// The maximum width of help texts, even on a wider terminal.
const WIDEST: usize = 100;

/// The minimum width of help texts, even if `COLUMNS` is smaller.
const NARROWEST: usize = 20;

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Check(check::Check),
    Doctor(doctor::Doctor),
    Login(login::Login),
    Status(status::Status),
    Refresh(operate::Refresh),
    Unlock(operate::Unlock),
    Simulate(simulate::Simulate),
    Replay(replay::Replay),
    Cassette(cassette::Cassette),
    Run(run::Run),
    Init(init::Init),
}

fn run(command: &Command) -> Result<(), Exit> {
    match command {
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
        Command::Run(run) => run.run(),
        Command::Init(init) => init.run(),
    }
}

/// Reads the arguments of the process, runs the subcommand and returns the exit status.
pub fn main() -> ExitCode {
    let outcome = match parse() {
        Ok(cli) => run(&cli.command),
        Err(outcome) => outcome,
    };
    outcome.map_or_else(ExitCode::from, |()| ExitCode::SUCCESS)
}

/// Parses the arguments. `Err` has the outcome of a command line that only shows a text: the help,
/// the version, or a usage error.
fn parse() -> Result<Cli, Result<(), Exit>> {
    let command = match help_width(std::env::var("COLUMNS").ok().as_deref()) {
        Some(width) => Cli::command().term_width(width),
        None => Cli::command(),
    };
    let parsed = command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|mut error| {
        if std::env::args_os().nth(1).is_some_and(|subcommand| subcommand == "run") {
            run::explain(&mut error);
        }
        let shown = error.print().and_then(|()| std::io::stdout().flush());
        if error.use_stderr() { Err(Exit::Usage) } else { output::printed(shown) }
    })
}

/// The width that `COLUMNS` requests. It takes precedence over the width of the terminal, as in
/// other programs.
fn help_width(columns: Option<&str>) -> Option<usize> {
    let columns = columns?.trim().parse::<usize>().ok().filter(|columns| *columns > 0)?;
    Some(columns.clamp(NARROWEST, WIDEST))
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
