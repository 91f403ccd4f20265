//! `vbc-proxy check`.

use clap::Args;

use super::{ConfigArgs, Exit, say};

/// Validate the configuration and print what it comes to
///
/// Prints the effective configuration, defaults and environment included, with every secret as [redacted]. If anything
/// is wrong, prints all findings at once, each with its line, its key and a remedy, and exits with status 78. Reads the
/// files and variables that hold secrets, but does not use them: nothing is sent anywhere.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Check {
    pub(crate) fn run(&self) -> Exit {
        match self.config.load(false) {
            Ok(loaded) => {
                say(format_args!("# The effective configuration, from {}.\n", loaded.origin));
                say(loaded.config.redacted().trim_end());
                Exit::Done
            }
            Err(exit) => exit,
        }
    }
}
