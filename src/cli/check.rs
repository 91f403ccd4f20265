//! `vbc-proxy check`.

use clap::Args;

use super::config_args::ConfigArgs;
use super::exit::Exit;
use super::output::{fail, print, report};
use crate::app::examine_store;

/// Check the configuration and print the effective settings
///
/// Prints the effective configuration, including defaults and environment variables, with every
/// secret shown as [redacted]. If anything is wrong, reports all problems at once, each with its
/// line, key and remedy, and exits with status 78.
///
/// Reads the files and variables that hold secrets, but connects to nothing. Inspects the token
/// store without changing it. A stored record that cannot be used is a warning; a directory that
/// cannot be written to is an error.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Check {
    /// The output is valid TOML, so that it can be saved as a configuration file.
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
            0 => print("\n# The configuration is valid."),
            1 => print("\n# The configuration is valid, with 1 warning (see standard error)."),
            count => print(format_args!(
                "\n# The configuration is valid, with {count} warnings (see standard error)."
            )),
        }
    }
}
