//! The options and the login of a credential.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::schedule::RefreshAt;
use vbc_base::secret::{Secret, fingerprint};

/// The options of a credential.
#[derive(Debug, Clone)]
pub struct Options {
    /// The credential's name.
    pub name: Arc<str>,
    /// Fingerprint of token URL, client id, user name and scope. A token set of one identity is
    /// never used for another.
    pub identity: Arc<str>,
    /// The user whose login is expected, if configured.
    pub username: Option<Arc<str>>,
    /// User name and password, for the password grant.
    pub login: Option<Login>,
    /// A refresh token from elsewhere, used while the store has none.
    pub seed: Option<Secret>,
    /// When to refresh early.
    pub refresh: RefreshAt,
    /// How long an unused refresh token lives. It is renewed well before its end.
    pub refresh_lifetime: Duration,
    /// How long a request waits for a token.
    pub max_wait: Duration,
    /// Exchanges are made on request only, never on schedule. For commands that inspect a
    /// credential.
    pub passive: bool,
    /// Scheduled exchanges that are due at the start are spread over this time. It does not delay
    /// exchanges on request.
    pub spread: Duration,
    /// Limits concurrent scheduled exchanges over all credentials. It does not limit exchanges on
    /// request.
    pub unasked: Arc<Semaphore>,
    /// Divides the delays of forced refreshes: 1, except in tests that run in real time.
    pub hurry: u32,
}

impl Options {
    /// Options without any grant, and defaults for the rest.
    pub fn new(name: impl Into<Arc<str>>, identity: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            identity: identity.into(),
            username: None,
            login: None,
            seed: None,
            refresh: RefreshAt::default(),
            refresh_lifetime: Duration::from_secs(7 * 86_400),
            max_wait: Duration::from_secs(10),
            passive: false,
            spread: Duration::ZERO,
            unasked: Arc::new(Semaphore::new(1)),
            hurry: 1,
        }
    }
}

/// A resource owner's login.
#[derive(Debug, Clone)]
pub struct Login {
    /// The user name as the server knows it.
    pub username: Arc<str>,
    /// The password.
    pub password: Secret,
    /// The requested scope.
    pub scope: Arc<str>,
    /// Fingerprint of client id, client secret, user name and password. The client secret is
    /// included, so that nobody can guess a weak password from the fingerprint.
    pub fingerprint: Arc<str>,
}

impl Login {
    /// A login of `username`, for the application with this id and secret.
    pub fn new(
        username: Arc<str>,
        password: Secret,
        scope: Arc<str>,
        client_id: &str,
        client_secret: &Secret,
    ) -> Self {
        let parts = [client_id, client_secret.expose(), &username, password.expose()];
        let fingerprint = fingerprint(&parts).into();
        Self { username, password, scope, fingerprint }
    }
}
