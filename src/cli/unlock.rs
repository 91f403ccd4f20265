//! `vbc-proxy unlock`.

use clap::Args;

use super::desk::Desk;
use super::{ConfigArgs, Exit, complain, run_to_end, say};
use crate::admin::{Unlocked, credential_path};

/// Lift the login brake of a running proxy
///
/// The proxy does not try a refused login again, so as not to lock the account. Lift the brake once the account is in order,
/// for instance after it was unlocked or its password was set back. A changed secret lifts it too, when the proxy starts
/// with it.
#[derive(Debug, Args)]
pub(crate) struct Unlock {
    /// The credential
    credential: String,
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
            let Some(desk) = Desk::running(&config).await? else {
                complain(
                    "vbc-proxy: no proxy answers on admin.address, so there is no brake to lift here; start the proxy, \
                     then run this again, or start it with a changed secret, which lifts the brake by itself",
                );
                return Err(Exit::Unavailable);
            };
            let path = credential_path(&self.credential, "unlock");
            let unlocked: Unlocked = desk.ask("POST", &path, None).await?.read()?;
            let name = unlocked.credential;
            say(match unlocked.was_on {
                true => format!("credential {name}: the brake is lifted; the next login is tried at once"),
                false => format!("credential {name}: nothing was held back"),
            });
            Ok(())
        })
    }
}
