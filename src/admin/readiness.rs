//! Whether the proxy should be sent requests, and if not, why.

use serde::Serialize;

use crate::credential::Credential;

/// The answer of `/ready`.
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    /// What has to happen first; empty when ready.
    pub(super) reasons: Vec<String>,
}

/// Ready means: not draining, and every credential has a usable token.
pub(super) fn readiness(credentials: &[Credential], draining: bool) -> Readiness {
    let mut reasons = Vec::new();
    if draining {
        reasons.push("draining: the proxy is shutting down".to_owned());
    }
    for credential in credentials {
        let snapshot = credential.snapshot();
        if !snapshot.usable {
            let why =
                snapshot.trouble.unwrap_or_else(|| "the first token has not been issued yet".to_owned());
            reasons.push(format!("credential {}: {why}", credential.name()));
        }
    }
    Readiness { ready: reasons.is_empty(), reasons }
}
