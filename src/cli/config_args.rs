//! The arguments that several subcommands share: the configuration file and the credential.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::output::{fail, report};
use super::privacy::Privacy;
use crate::config::{Config, Findings, LoadOptions, Loaded};

/// `--config FILE`, for every subcommand that needs a configuration.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The configuration file
    ///
    /// Without it, proxy.toml in the working directory is read, if there is one. With no file at
    /// all, the variables VBC_CLIENT_ID, VBC_CLIENT_SECRET, VBC_USERNAME and VBC_PASSWORD make a
    /// credential called `default`. Any key of the file can be overridden by a variable, such as
    /// VBC_PROXY_LISTEN_ADDRESS.
    #[arg(long, short, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl ConfigArgs {
    /// Loads the configuration without its secrets, to find a running proxy. They may not be
    /// readable from this shell. Warnings are left to the proxy.
    pub(super) fn find(&self) -> Result<Loaded, Exit> {
        let privacy = Privacy::begin();
        let loaded = Config::find(self.config.as_deref()).map_err(|findings| refuse_config(&findings))?;
        privacy.settle(loaded.config.process.core_dumps);
        Ok(loaded)
    }

    /// Loads the configuration. Warnings and findings go to standard error.
    pub(super) fn load(&self, simulate: bool) -> Result<Loaded, Exit> {
        let loaded = self.read(simulate).map_err(|findings| refuse_config(&findings))?;
        for warning in &loaded.warnings {
            report(format_args!("warning: {warning}"));
        }
        Ok(loaded)
    }

    /// Loads the configuration and reports nothing.
    pub(super) fn read(&self, simulate: bool) -> Result<Loaded, Findings> {
        let privacy = Privacy::begin();
        let loaded = Config::load(&LoadOptions { file: self.config.clone(), simulate });
        privacy.settle(loaded.as_ref().is_ok_and(|loaded| loaded.config.process.core_dumps));
        loaded
    }
}

pub(super) fn refuse_config(findings: &Findings) -> Exit {
    report(findings);
    let count = findings.iter().count();
    let plural = if count == 1 { "" } else { "s" };
    fail(Exit::Config, format_args!("{count} finding{plural} in the configuration; it cannot be used"))
}

/// The wanted credential; without one, the only one or the one called `default`.
pub(super) fn choose<'a>(wanted: Option<&str>, names: impl Iterator<Item = &'a str>) -> Result<String, Exit> {
    let names: Vec<_> = names.collect();
    let chosen = match (wanted, names.as_slice()) {
        (Some(wanted), _) => names.iter().find(|name| **name == wanted),
        (None, [only]) => Some(only),
        (None, _) => names.iter().find(|name| **name == "default"),
    };
    if let Some(name) = chosen {
        return Ok((*name).to_owned());
    }
    let what = match wanted {
        Some(wanted) => format!("there is no credential {wanted:?}"),
        None => "say which credential".to_owned(),
    };
    let known = crate::admin::list(names.into_iter());
    Err(fail(Exit::Usage, format_args!("{what}; there is {known}")))
}

pub(super) fn choose_of(wanted: Option<&str>, config: &Config) -> Result<String, Exit> {
    choose(wanted, config.credentials.iter().map(|credential| credential.name.as_str()))
}
