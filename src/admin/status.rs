//! `/status.json`: what a person asks first. Also read by `vbc-proxy status`.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::credential::Credential;

/// The state of a running proxy. Holds no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// Whether requests can be served now.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// When the process began to serve.
    pub started: Timestamp,
    /// Where clients connect.
    pub listen: String,
    /// The API behind.
    pub upstream: String,
    /// Client connections that are open now.
    pub connections: i64,
    /// Every credential.
    pub credentials: Vec<CredentialStatus>,
}

/// The state of one credential.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CredentialStatus {
    /// Its name.
    pub name: String,
    /// Whether a token is usable now.
    pub usable: bool,
    /// Order of its token sets; 0 without one.
    pub revision: u64,
    /// When the access token was received.
    pub issued_at: Option<Timestamp>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When the next exchange is planned.
    pub next_attempt: Option<Timestamp>,
    /// Exchanges with the token endpoint since the start.
    pub exchanges: u64,
    /// Whether logins are held back to protect the account.
    pub brake: bool,
    /// Whether a person has to log in.
    pub login_needed: bool,
    /// Whether the latest token set could not be stored.
    pub unsaved: bool,
    /// What is wrong, and what to do.
    pub trouble: Option<String>,
}

impl From<&Credential> for CredentialStatus {
    fn from(credential: &Credential) -> Self {
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
            unsaved: snapshot.unsaved,
            trouble: snapshot.trouble,
        }
    }
}
