//! Whether the proxy is ready for requests, and if not, why.

use std::sync::atomic::Ordering;

use serde::Serialize;

use super::Inner;
use crate::credential::{Credential, Snapshot};

/// The response of `/ready`.
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    /// Why it is not ready; empty when it is.
    pub(super) reasons: Vec<String>,
    /// The credentials whose requests get 503, and why, while others have a token.
    pub(super) degraded: Vec<String>,
    /// The credentials that have a token but cannot be refreshed: a refresh brought another user's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) warnings: Vec<String>,
}

/// Ready means: not draining, and at least one of these credentials has a usable token. Without any
/// credential, when a cassette is replayed, there is nothing to wait for.
pub(super) fn readiness(inner: &Inner, credentials: &[Credential]) -> Readiness {
    let (mut unusable, mut warnings) = (Vec::new(), Vec::new());
    for credential in credentials {
        let (name, snapshot) = (credential.name(), credential.snapshot());
        if !snapshot.usable {
            unusable.push(explain(inner, name, snapshot));
        } else if snapshot.other_user.is_some() {
            warnings.push(explain(inner, name, snapshot));
        }
    }
    let draining = inner.draining.load(Ordering::Relaxed);
    let none_usable = unusable.len() == credentials.len();
    let (mut reasons, degraded) = if none_usable { (unusable, Vec::new()) } else { (Vec::new(), unusable) };
    if draining {
        reasons.insert(0, "draining: the proxy is shutting down".to_owned());
    }
    Readiness { ready: reasons.is_empty(), reasons, degraded, warnings }
}

/// Why a credential has no usable token, and the remedy.
fn explain(inner: &Inner, name: &str, snapshot: Snapshot) -> String {
    let why = snapshot.trouble.unwrap_or_else(|| {
        let why = match snapshot.revision {
            0 => "the first token has not been issued yet",
            _ => "the token has ended, and the next one has not been issued yet",
        };
        why.to_owned()
    });
    let how = if snapshot.login_needed { how_to_log_in(inner, name) } else { String::new() };
    format!("credential {name}: {why}{how}")
}

fn how_to_log_in(inner: &Inner, name: &str) -> String {
    match inner.login_url(name) {
        Some(url) => format!("; log in at {url}"),
        None if inner.options.interactive.contains_key(name) => {
            format!("; log in with `vbc-proxy login {name} --no-browser`")
        }
        None => String::new(),
    }
}
