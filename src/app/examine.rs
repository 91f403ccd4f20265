//! The doctor: in the running proxy by its admin listener, and in a command while no proxy runs.

use std::sync::Arc;

use bytes::Bytes;

use super::{CREDENTIAL_GRACE, StartError, start_credentials, token_tls};
use crate::admin::{Examiner, NoReport};
use crate::clock::Clock;
use crate::config::Config;
use crate::doctor::{Doctor, Report, Suite};
use crate::tls;

/// Examines one credential in this process, in the place of a proxy that does not run: with its store, and without an
/// exchange that the examination does not ask for.
///
/// # Errors
/// [`StartError`], the store being in use above all; [`StartError::NoCredential`] when there is none of this name.
pub async fn examine(
    mut config: Config,
    name: &str,
    suites: &[Suite],
    clock: Clock,
) -> Result<Report, StartError> {
    // Whoever looks waits for a whole climb down the ladder: an exchange whose end nobody sees helps nobody.
    config.oauth.max_wait = config.oauth.timeout * 3;
    let tls = tls::client_config(config.upstream.ca_file.as_deref())?;
    let token_tls = token_tls(&config, &tls)?;
    // All of them: what is learnt of a login counts for every credential that would send the same.
    let credentials = start_credentials(&config, &tls, &clock, true).await?;
    let handles: Vec<_> = credentials.iter().map(|(credential, _)| credential.clone()).collect();
    let report = Doctor::new(&config, token_tls, tls, &handles, clock).examine(name, suites).await;
    for credential in &handles {
        credential.close();
    }
    for (_, task) in credentials {
        // It stores what came in before it ends.
        let _ = tokio::time::timeout(config.oauth.timeout + CREDENTIAL_GRACE, task).await;
    }
    report.ok_or(StartError::NoCredential)
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
