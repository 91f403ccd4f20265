//! The doctor: in the running proxy by its admin listener, and in a command while no proxy runs.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use super::{CREDENTIAL_GRACE, StartError, start_credentials, token_tls};
use crate::admin::{Examiner, NoReport};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::credential::Credential;
use crate::doctor::{Check, Doctor, Passing, Report, Suite};
use crate::tls;

/// What came of an examination in this process.
#[derive(Debug)]
pub struct Examined {
    /// What was found; `None` when it was stopped.
    pub report: Option<Report>,
    /// What was not stored when the process was done with it.
    pub lost: Vec<Check>,
}

/// Examines one credential in this process, in the place of a proxy that does not run: with its store, and without an
/// exchange that the examination does not ask for. `stop` ends it early; an exchange under way is finished and stored
/// first in either case.
///
/// # Errors
/// [`StartError`], the store being in use above all; [`StartError::NoCredential`] when there is none of this name.
pub async fn examine(
    mut config: Config,
    name: &str,
    suites: &[Suite],
    clock: Clock,
    stop: impl Future<Output = ()>,
) -> Result<Examined, StartError> {
    // Whoever looks waits for a whole climb down the ladder: an exchange whose end nobody sees helps nobody.
    config.oauth.max_wait = config.oauth.timeout * 3;
    let tls = tls::client_config(config.upstream.ca_file.as_deref())?;
    let token_tls = token_tls(&config, &tls)?;
    // All of them: what is learnt of a login counts for every credential that would send the same.
    let credentials = start_credentials(&config, &tls, &clock, true).await?;
    let handles: Vec<_> = credentials.iter().map(|(credential, _)| credential.clone()).collect();
    let passing = Passing { keeps_tokens: !matches!(config.store, config::Store::Memory) };
    let doctor = Doctor::new(&config, token_tls, tls, &handles, clock).passing(passing);
    let report = tokio::select! {
        report = doctor.examine(name, suites) => Some(report.ok_or(StartError::NoCredential)),
        () = stop => None,
    };
    for credential in &handles {
        credential.close();
    }
    let mut lost = Vec::new();
    for (credential, task) in credentials {
        // It stores what came in before it ends.
        let ended = tokio::time::timeout(config.oauth.timeout + CREDENTIAL_GRACE, task).await.is_ok();
        lost.extend(unsaved(&credential, ended));
    }
    Ok(Examined { report: report.transpose()?, lost })
}

/// What of a credential's tokens is lost with this process.
fn unsaved(credential: &Credential, ended: bool) -> Option<Check> {
    let name = credential.name();
    if !ended {
        let found = format!("an exchange of credential {name} with the token endpoint did not end in time");
        return Some(Check::fail("store", "unfinished", found, "run doctor again: what it brought is lost"));
    }
    let snapshot = credential.snapshot();
    snapshot.unsaved.then(|| {
        let reason = snapshot.store_trouble.unwrap_or_default();
        let found = format!(
            "the new tokens of credential {name} could not be stored, and end with this command: {reason}"
        );
        let remedy = "free space or make store.path writable. The refresh token that is stored may be used up: the \
                      next login shows";
        Check::fail("store", "unsaved", found, remedy)
    })
}

/// The doctor for the admin listener, which is of the same floor and does not know it.
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
