//! `vbc-proxy unlock`.

use clap::Args;

use super::desk::Desk;
use super::{ConfigArgs, Exit, complain, run_to_end, say};
use crate::admin::{Unlocked, credential_path};

/// Allow a running proxy to try logging in again
///
/// The proxy does not repeat a refused login, because that could lock the account. Run this command once the account is in
/// order, for instance after an administrator has unlocked it. A changed secret is tried without it when the proxy starts.
///
/// Exits with 0 when it is done, 69 when no proxy runs.
#[derive(Debug, Args)]
pub(crate) struct Unlock {
    /// The credential; without it the one called `default`, or the only one
    credential: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Unlock {
    pub(crate) fn run(&self) -> Exit {
        let config = match self.config.peek() {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        run_to_end(async {
            let (desk, name) = Desk::of_running(&config, self.credential.as_deref()).await?;
            let unlocked: Unlocked =
                desk.ask("POST", &credential_path(&name, "unlock"), None).await?.read()?;
            let name = unlocked.credential;
            say(match unlocked.was_on {
                true => format!("credential {name}: the brake is lifted; the next login is tried at once"),
                false => format!("credential {name}: nothing was held back"),
            })?;
            if let Some(trouble) = unlocked.store_trouble {
                complain(format_args!("vbc-proxy: {trouble}"));
            }
            Ok(())
        })
    }
}
