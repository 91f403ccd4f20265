//! `vbc-proxy check`.

use clap::Args;

use super::{ConfigArgs, Exit, say};
use crate::config::Loaded;

/// Check the configuration and print the effective settings
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
            Ok(loaded) => show(&loaded).err().unwrap_or(Exit::Done),
            Err(exit) => exit,
        }
    }
}

/// Every line is TOML, so the output can be kept as a file.
fn show(loaded: &Loaded) -> Result<(), Exit> {
    say(format_args!("# The effective configuration, from {}.\n", loaded.origin))?;
    say(loaded.config.redacted().trim_end())?;
    match loaded.warnings.len() {
        0 => say("\n# The configuration is good."),
        1 => say("\n# The configuration can be used; standard error has 1 warning."),
        count => say(format_args!("\n# The configuration can be used; standard error has {count} warnings.")),
    }
}
