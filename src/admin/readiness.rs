//! Whether the proxy should be sent requests, and if not, why.

use std::sync::atomic::Ordering;

use serde::Serialize;

use super::Inner;

/// The answer of `/ready`.
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    /// What has to happen first; empty when ready.
    pub(super) reasons: Vec<String>,
}

/// Ready means: not draining, and every credential has a usable token.
pub(super) fn readiness(inner: &Inner) -> Readiness {
    let mut reasons = Vec::new();
    if inner.draining.load(Ordering::Relaxed) {
        reasons.push("draining: the proxy is shutting down".to_owned());
    }
    for credential in &inner.credentials {
        let snapshot = credential.snapshot();
        if snapshot.usable {
            continue;
        }
        let name = credential.name();
        let why = snapshot.trouble.unwrap_or_else(|| "the first token has not been issued yet".to_owned());
        let how = if snapshot.login_needed { how_to_log_in(inner, name) } else { String::new() };
        reasons.push(format!("credential {name}: {why}{how}"));
    }
    Readiness { ready: reasons.is_empty(), reasons }
}

fn how_to_log_in(inner: &Inner, name: &str) -> String {
    match inner.login_url(name) {
        Some(url) => format!("; log in at {url}"),
        None if inner.people.contains_key(name) => {
            format!("; log in with `vbc-proxy login {name} --no-browser`")
        }
        None => String::new(),
    }
}
