//! `vbc-proxy refresh`.

use clap::Args;

use super::desk::Desk;
use super::{ConfigArgs, Exit, run_to_end, say};
use crate::admin::{Refreshed, credential_path};

/// Make a running proxy refresh its tokens now
///
/// Use it after the application was subscribed to another suite, or was given another scope. The current tokens stay in use
/// until the new ones have been saved.
///
/// Exits with 0 when there is a new token, 1 when not, 69 when no proxy runs.
#[derive(Debug, Args)]
pub(crate) struct Refresh {
    /// The credential; without it the one called `default`, or the only one
    credential: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Refresh {
    pub(crate) fn run(&self) -> Exit {
        let config = match self.config.peek() {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        run_to_end(async {
            let (desk, name) = Desk::of_running(&config, self.credential.as_deref()).await?;
            let refreshed: Refreshed =
                desk.ask("POST", &credential_path(&name, "refresh"), None).await?.read()?;
            let Refreshed { credential, revision, expires_at } = refreshed;
            let until = expires_at.map(|at| format!("; the new token is valid until {at:.0}"));
            let until = until.unwrap_or_default();
            say(format_args!("credential {credential}: refreshed (revision {revision}){until}"))
        })
    }
}
