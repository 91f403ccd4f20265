//! `/ready` and `/status.json`. `vbc-proxy status` shows the latter.

use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use super::Inner;
use super::logins::LastLogin;
use crate::credential::{Credential, Snapshot};
use crate::store::Issuance;
use vbc_base::clock::Timestamp;
use vbc_cassette::RecordingCounts;

/// The state of a running proxy. Holds no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// Whether requests can be served now: the proxy is not draining, and at least one credential
    /// has a usable token.
    pub ready: bool,
    /// Why the proxy is not ready. Empty if it is.
    pub reasons: Vec<String>,
    /// The credentials whose requests get 503, and why. Empty unless other credentials have a
    /// usable token.
    #[serde(default)]
    pub degraded: Vec<String>,
    /// When the process started to serve.
    pub started: Timestamp,
    /// The addresses for clients.
    pub listen: String,
    /// The URL of the upstream.
    pub upstream: String,
    /// Open client connections.
    pub connections: i64,
    /// Requests that got an injected fault of `[faults]`.
    #[serde(default)]
    pub faults_injected: u64,
    /// The recording. `None` without `--record`.
    #[serde(default)]
    pub recording: Option<RecordingStatus>,
    /// Every credential.
    pub credentials: Vec<CredentialStatus>,
}

/// The state of a recording.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RecordingStatus {
    /// Records written.
    pub written: u64,
    /// Exchanges that were not recorded.
    pub dropped: u64,
    /// Records without their body, because it was too large.
    pub truncated: u64,
}

impl RecordingStatus {
    pub(super) fn of(counts: &RecordingCounts) -> Self {
        Self {
            written: counts.written.load(Relaxed),
            dropped: counts.dropped.load(Relaxed),
            truncated: counts.truncated.load(Relaxed),
        }
    }
}

/// The state of one credential.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CredentialStatus {
    /// Its name.
    pub name: String,
    /// Whether a token is usable now.
    pub usable: bool,
    /// The revision of its token set; 0 without one.
    pub revision: u64,
    /// When the access token was received.
    pub issued_at: Option<Timestamp>,
    /// When the access token expires.
    pub expires_at: Option<Timestamp>,
    /// When the next exchange is planned.
    pub next_attempt: Option<Timestamp>,
    /// Exchanges with the token endpoint since the start.
    pub exchanges: u64,
    /// Whether logins are blocked to protect the account.
    pub brake: bool,
    /// Whether an interactive login is needed now.
    pub login_needed: bool,
    /// Whether logins are interactive. One is needed at first, and whenever the refresh token is
    /// lost.
    #[serde(default)]
    pub by_person: bool,
    /// The login page, if a browser on this machine can complete a login here.
    #[serde(default)]
    pub login_url: Option<String>,
    /// When an interactive login is needed at the latest, unless the refresh token is renewed
    /// before that time.
    #[serde(default)]
    pub login_needed_by: Option<Timestamp>,
    /// How the last interactive login since the start ended.
    #[serde(default)]
    pub last_login: Option<LastLogin>,
    /// The user of the tokens, if the server named one.
    #[serde(default)]
    pub subject: Option<String>,
    /// The other user whose tokens a refresh returned, if it did. Those tokens are not used.
    #[serde(default)]
    pub other_user: Option<String>,
    /// The granted scope, if the server named it.
    #[serde(default)]
    pub scope: Option<String>,
    /// The effect of a second login: `reuse`, `renew_revoke` or `renew_keep`. `None` until it is
    /// known.
    #[serde(default)]
    pub issuance: Option<String>,
    /// Whether the latest token set could not be stored and is only in memory.
    pub unsaved: bool,
    /// Whether the record of a login could not be stored and is only in memory.
    #[serde(default)]
    pub note_unsaved: bool,
    /// The latest error of the token store, unless the store has recovered.
    #[serde(default)]
    pub store_trouble: Option<String>,
    /// The current problem and its remedy.
    pub trouble: Option<String>,
}

impl CredentialStatus {
    pub(super) fn of(credential: &Credential, inner: &Inner) -> Self {
        let snapshot = credential.snapshot();
        Self {
            name: credential.name().to_owned(),
            usable: snapshot.usable,
            revision: snapshot.revision,
            issued_at: snapshot.issued_at,
            expires_at: snapshot.expires_at,
            next_attempt: snapshot.next_attempt,
            exchanges: snapshot.exchanges,
            brake: snapshot.brake,
            login_needed: snapshot.login_needed,
            by_person: inner.options.interactive.contains_key(credential.name()),
            login_url: inner.login_url(credential.name()),
            login_needed_by: snapshot.login_needed_by,
            last_login: inner.logins.last(credential.name()),
            subject: snapshot.subject,
            other_user: snapshot.other_user.map(Into::into),
            scope: snapshot.scope,
            issuance: snapshot.issuance.map(|mode| issuance(mode).to_owned()),
            unsaved: snapshot.unsaved,
            note_unsaved: snapshot.note_unsaved,
            store_trouble: snapshot.store_trouble,
            trouble: snapshot.trouble,
        }
    }
}

fn issuance(mode: Issuance) -> &'static str {
    match mode {
        Issuance::Reuse => "reuse",
        Issuance::RenewRevoke => "renew_revoke",
        Issuance::RenewKeep => "renew_keep",
    }
}

/// The response of `/ready`.
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    /// Why the proxy is not ready. Empty if it is.
    pub(super) reasons: Vec<String>,
    /// The credentials whose requests get 503, and why. Empty unless other credentials have a
    /// usable token.
    pub(super) degraded: Vec<String>,
    /// The credentials that have a token but cannot be refreshed, because a refresh returned
    /// another user's tokens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) warnings: Vec<String>,
}

/// Ready means: not draining, and at least one of these credentials has a usable token. An empty
/// list of credentials is ready too.
pub(super) fn readiness(inner: &Inner, credentials: &[Credential]) -> Readiness {
    let mut unusable = Vec::new();
    let mut warnings = Vec::new();
    for credential in credentials {
        let snapshot = credential.snapshot();
        if !snapshot.usable {
            unusable.push(explain(inner, credential.name(), snapshot));
        } else if snapshot.other_user.is_some() {
            warnings.push(explain(inner, credential.name(), snapshot));
        }
    }
    let draining = inner.draining.load(Relaxed);
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
            _ => "the token has expired, and the next one has not been issued yet",
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
