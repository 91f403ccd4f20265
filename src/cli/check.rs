//! `vbc-proxy check`.

use clap::Args;

use super::config_args::ConfigArgs;
use super::exit::Exit;
use super::output::{fail, print, report};
use crate::app::examine_store;

/// Check the configuration and print the effective settings
///
/// Prints the effective configuration, defaults and environment included, with every secret as
/// [redacted]. If anything is wrong, prints all findings at once, each with its line, its key and a
/// remedy, and exits with status 78. Reads the files and variables that hold secrets, but sends
/// nothing anywhere. Inspects the token store without changing it: a stored record that cannot be
/// used is a warning, a directory that cannot be written to a finding.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Check {
    /// Every line of the output is TOML, so that it can be kept as a file.
    pub(crate) fn run(&self) -> Result<(), Exit> {
        let loaded = self.config.load(false)?;
        let store = examine_store(&loaded.config);
        for finding in &store.records {
            report(format_args!("warning: {finding}"));
        }
        if let Some(error) = store.fatal {
            return Err(fail(Exit::Config, error.describe()));
        }
        print(format_args!("# The effective configuration, from {}.\n", loaded.origin))?;
        print(loaded.config.redacted().trim_end())?;
        match loaded.warnings.len() + store.records.len() {
            0 => print("\n# The configuration is good."),
            1 => print("\n# The configuration can be used; standard error has 1 warning."),
            count => {
                print(format_args!("\n# The configuration can be used; standard error has {count} warnings."))
            }
        }
    }
}
