//! `vbc-proxy refresh` and `vbc-proxy unlock`: one POST to a running proxy.

use clap::Args;
use serde::de::DeserializeOwned;

use super::admin_client::AdminClient;
use super::config_args::ConfigArgs;
use super::exit::Exit;
use super::output::{print, report};
use super::runtime;
use crate::admin::{Refreshed, Unlocked, credential_path};

/// Make a running proxy refresh its tokens now
///
/// Use it after the application was subscribed to another suite, or got another scope. The current
/// tokens stay in use until the new ones have been saved.
///
/// Exits with 0 if there is a new token, 1 if not, 69 if no proxy is running.
#[derive(Debug, Args)]
pub(crate) struct Refresh {
    #[command(flatten)]
    target: CredentialArgs,
}

/// Allow a running proxy to try logging in again
///
/// The proxy does not repeat a rejected login, because that could lock the account. Run this
/// command when the account is in order, for example after an administrator has unlocked it. This
/// command is not needed after a password change: a restarted proxy tries a changed secret by
/// itself.
///
/// Exits with 0 on success, 69 if no proxy is running.
#[derive(Debug, Args)]
pub(crate) struct Unlock {
    #[command(flatten)]
    target: CredentialArgs,
}

/// A credential of a running proxy.
#[derive(Debug, Args)]
struct CredentialArgs {
    /// Name of the credential [default: the only one, or the one called `default`]
    credential: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Refresh {
    pub(crate) fn run(&self) -> Result<(), Exit> {
        let Refreshed { credential, revision, expires_at } = self.target.post("refresh")?;
        let until = expires_at.map(|at| format!("; the new token is valid until {at:.0}"));
        let until = until.unwrap_or_default();
        print(format_args!("credential {credential}: refreshed (revision {revision}){until}"))
    }
}

impl Unlock {
    pub(crate) fn run(&self) -> Result<(), Exit> {
        let Unlocked { credential, was_on, store_trouble } = self.target.post("unlock")?;
        print(if was_on {
            format!(
                "credential {credential}: logins are allowed again. The next login uses the password that the proxy read at its start; after a change, restart the proxy instead"
            )
        } else {
            format!("credential {credential}: logins were not blocked")
        })?;
        if let Some(trouble) = store_trouble {
            report(format_args!("vbc-proxy: {trouble}"));
        }
        Ok(())
    }
}

impl CredentialArgs {
    /// Makes the running proxy perform `operation` on the credential.
    fn post<T: DeserializeOwned>(&self, operation: &str) -> Result<T, Exit> {
        let config = self.config.find()?.config;
        runtime::run_to_end(async {
            let (client, name) = AdminClient::of_running(&config, self.credential.as_deref()).await?;
            client.send("POST", &credential_path(&name, operation), None).await?.json()
        })
    }
}
