//! `vbc-proxy check`.

use clap::Args;

use super::{ConfigArgs, Exit, complain, say};
use crate::app::examine_store;
use crate::config::Loaded;

/// Check the configuration and print the effective settings
///
/// Prints the effective configuration, defaults and environment included, with every secret as [redacted]. If anything
/// is wrong, prints all findings at once, each with its line, its key and a remedy, and exits with status 78. Reads the
/// files and variables that hold secrets, but does not use them: nothing is sent anywhere. Looks into the token store, and
/// changes nothing there: a stored record that cannot be used is a warning, a directory that cannot be written to a finding.
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
    let store = examine_store(&loaded.config);
    for finding in &store.records {
        complain(format_args!("warning: {finding}"));
    }
    if let Some(error) = store.fatal {
        complain(format_args!("vbc-proxy: {}", error.describe()));
        return Err(Exit::Config);
    }
    say(format_args!("# The effective configuration, from {}.\n", loaded.origin))?;
    say(loaded.config.redacted().trim_end())?;
    match loaded.warnings.len() + store.records.len() {
        0 => say("\n# The configuration is good."),
        1 => say("\n# The configuration can be used; standard error has 1 warning."),
        count => say(format_args!("\n# The configuration can be used; standard error has {count} warnings.")),
    }
}
