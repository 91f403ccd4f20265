//! The state of a credential for operators.

use crate::store::Issuance;
use vbc_base::clock::Timestamp;

/// The state of a credential.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// A token is alive, and the gateway is not known to refuse it.
    pub usable: bool,
    /// The gateway refuses the current token, and no newer one is available yet.
    pub distrusted: bool,
    /// The revision of the current token set; 0 without one.
    pub revision: u64,
    /// When the current access token was received.
    pub issued_at: Option<Timestamp>,
    /// When the current access token ends.
    pub expires_at: Option<Timestamp>,
    /// When the next exchange is planned.
    pub next_attempt: Option<Timestamp>,
    /// The problem and its remedy; `None` if there is no problem.
    pub trouble: Option<String>,
    /// Logins are held back to protect the account.
    pub brake: bool,
    /// An interactive login is needed.
    pub login_needed: bool,
    /// The latest token set could not be stored yet. It is in use.
    pub unsaved: bool,
    /// Something other than the token set could not be stored yet.
    pub note_unsaved: bool,
    /// The token store's present failure and its remedy; `None` if the store works.
    pub store_trouble: Option<String>,
    /// The number of exchanges with the token endpoint in this process.
    pub exchanges: u64,
    /// The user of the tokens, if the server has named one.
    pub subject: Option<String>,
    /// Another user whose tokens a refresh brought. Those tokens are not used.
    pub other_user: Option<Box<str>>,
    /// The granted scope, if the server has named it.
    pub scope: Option<String>,
    /// When an interactive login will be needed, unless the refresh token is renewed before then.
    /// `None` if the proxy can log in by itself.
    pub login_needed_by: Option<Timestamp>,
    /// How the server issues a second token set; `None` until that was observed.
    pub issuance: Option<Issuance>,
    /// The number of path prefixes whose 401s are passed on, because a fresh token was refused
    /// there too.
    pub refused_paths: usize,
}
