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
    /// Without this option, proxy.toml in the working directory is used if it exists. Without any
    /// file, VBC_CLIENT_ID, VBC_CLIENT_SECRET, VBC_USERNAME and VBC_PASSWORD define one credential,
    /// called `default`. An environment variable overrides each key of the file: for example,
    /// VBC_PROXY_LISTEN_ADDRESS overrides listen.address.
    #[arg(long, short, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl ConfigArgs {
    /// Loads the configuration without its secrets, to find a running proxy. This shell may be
    /// unable to read the secrets. Warnings are not reported: the running proxy reports them.
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
    let problems = if count == 1 { "the problem".to_owned() } else { format!("the {count} problems") };
    fail(Exit::Config, format_args!("the configuration cannot be used; fix {problems} above"))
}

/// The wanted credential. Without one: the only credential, or the one called `default`.
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
    let known = crate::admin::list(names.into_iter());
    let reason = match wanted {
        Some(wanted) => format!("there is no credential {wanted:?}; the credentials are: {known}"),
        None => format!("no credential was named; name one of: {known}"),
    };
    Err(fail(Exit::Usage, reason))
}

pub(super) fn choose_of(wanted: Option<&str>, config: &Config) -> Result<String, Exit> {
    choose(wanted, config.credentials.iter().map(|credential| credential.name.as_str()))
}
