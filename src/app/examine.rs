//! Runs the doctor: in the running proxy through its admin listener, or in a command if no proxy is
//! running.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use rustls::ClientConfig;

use super::CREDENTIAL_GRACE;
use super::credentials::{close, start, token_tls};
use super::start_error::StartError;
use crate::admin::{Examiner, NoReport};
use crate::config::{Config, Store};
use crate::credential::Credential;
use crate::doctor::{Check, Doctor, Report, Suite};
use crate::tls;
use vbc_base::clock::Clock;

/// The outcome of an examination in this process.
#[derive(Debug)]
pub struct Examined {
    /// The report. `None` if the examination was stopped.
    pub report: Option<Report>,
    /// A check for each credential whose tokens were not stored and are lost.
    pub lost: Vec<Check>,
}

/// Examines one credential in this process, with the token store of the proxy, which must not be
/// running. Makes only the exchanges that the examination needs.
///
/// `stop` ends the examination early. In either case an exchange under way is finished and its
/// tokens are stored first.
///
/// # Errors
/// [`StartError`], in particular if the store is in use. [`StartError::NoCredential`] if there is
/// no credential of this name.
pub async fn examine(
    mut config: Config,
    name: &str,
    suites: &[Suite],
    clock: Clock,
    stop: impl Future<Output = ()>,
) -> Result<Examined, StartError> {
    // This wait covers every exchange that a token may need, so that the report has the outcome.
    config.oauth.max_wait = config.oauth.timeout * 3;
    let tls = tls::client_config(config.upstream.ca_file.as_deref())?;
    // Starts all credentials: the outcome of a login applies to each with the same password.
    let credentials = start(&config, &tls, &clock, true).await?;
    let handles: Vec<_> = credentials.iter().map(|(credential, _)| credential.clone()).collect();
    let keeps_tokens = !matches!(config.store, Store::Memory);
    let doctor = doctor(&config, &tls, &handles, &clock)?.in_command(keeps_tokens);
    let report = tokio::select! {
        report = doctor.examine(name, suites) => Some(report.ok_or(StartError::NoCredential)),
        () = stop => None,
    };
    let closed = close(credentials, config.oauth.timeout + CREDENTIAL_GRACE).await;
    let lost = closed.iter().filter_map(|(credential, in_time)| check_lost(credential, *in_time)).collect();
    Ok(Examined { report: report.transpose()?, lost })
}

/// A failed check if tokens of the credential are lost with this process.
fn check_lost(credential: &Credential, ended: bool) -> Option<Check> {
    let name = credential.name();
    if !ended {
        let found = format!("an exchange of credential {name}, or saving its tokens, did not finish in time");
        return Some(Check::fail("store", "unfinished", found, "run doctor again; unsaved tokens are lost"));
    }
    let snapshot = credential.snapshot();
    snapshot.unsaved.then(|| {
        let reason = snapshot.store_trouble.unwrap_or_default();
        let found = format!(
            "could not save the new tokens of credential {name}, so they are lost when this command ends: {reason}"
        );
        let remedy = "free space or make store.path writable, then run doctor again. If the stored refresh token is \
                      already used up, that needs a login";
        Check::fail("store", "unsaved", found, remedy)
    })
}

/// The doctor as a closure for the admin routes, which do not depend on the doctor's module.
pub(super) fn examiner(doctor: Doctor) -> Examiner {
    Arc::new(move |name, suites| {
        let doctor = doctor.clone();
        Box::pin(async move {
            let suites: Result<Vec<Suite>, _> = suites.iter().map(|suite| suite.parse()).collect();
            let mut suites = suites.map_err(|unknown| NoReport::Question(unknown.to_string()))?;
            if suites.is_empty() {
                suites = Suite::ALL.to_vec();
            }
            let report = doctor.examine(&name, &suites).await.ok_or(NoReport::NoSuchCredential)?;
            serde_json::to_vec(&report)
                .map(Bytes::from)
                .map_err(|error| NoReport::Question(error.to_string()))
        })
    })
}

pub(super) fn doctor(
    config: &Config,
    tls: &Arc<ClientConfig>,
    credentials: &[Credential],
    clock: &Clock,
) -> Result<Doctor, StartError> {
    Ok(Doctor::new(config, token_tls(config, tls)?, Arc::clone(tls), credentials, clock.clone()))
}
