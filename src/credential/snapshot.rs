//! The state of a credential, as every surface shows it.

use crate::clock::Timestamp;
use crate::store::Issuance;

/// The state of a credential, for the status page and `/ready`.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Whether a token is usable now: it lives, and the gateway does not refuse it.
    pub usable: bool,
    /// Whether the gateway refuses the current token, and no newer one could be had yet.
    pub distrusted: bool,
    /// The revision of the current token set; 0 without one.
    pub revision: u64,
    /// When the current access token was received.
    pub issued_at: Option<Timestamp>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When the next exchange is planned.
    pub next_attempt: Option<Timestamp>,
    /// What is wrong, and what to do; `None` when all is well.
    pub trouble: Option<String>,
    /// Whether the login brake is on.
    pub brake: bool,
    /// Whether a person has to log in.
    pub login_needed: bool,
    /// Whether the latest token set could not be stored.
    pub unsaved: bool,
    /// Whether a note of a login, or that a token set is gone, could not be stored.
    pub note_unsaved: bool,
    /// What the token store could not do; `None` when all is well.
    pub store_trouble: Option<String>,
    /// Exchanges with the token endpoint in this process.
    pub exchanges: u64,
    /// Whose tokens these are, where the server has said so.
    pub subject: Option<String>,
    /// Whose tokens a refresh brought instead. They are not used.
    pub other_user: Option<Box<str>>,
    /// The scope that was granted, where the server has said so.
    pub scope: Option<String>,
    /// When a person has to log in at the latest, if the refresh token is not renewed before; `None` where the proxy can
    /// log in by itself.
    pub login_needed_by: Option<Timestamp>,
    /// How the server issues a second token set, as far as it has been seen.
    pub issuance: Option<Issuance>,
    /// Paths whose 401s pass, since a fresh token was refused there too.
    pub refused_paths: usize,
}
