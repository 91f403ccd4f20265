//! Applications and users in addition to the seeded ones.

use crate::names::{GRANTS, SUITES};
use vbc_base::secret::Secret;

/// An application and a user in addition to the seeded ones, with every grant, suite and role.
///
/// It replaces an existing application or user of the same name. A missing account is created.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The consumer key of the application.
    pub client_id: String,
    /// The consumer secret of the application.
    pub client_secret: Secret,
    /// The redirect URI that `/authorize` accepts.
    pub callback: String,
    /// The full user name, including `@vbc.prod`.
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// The account the user belongs to.
    pub account: u64,
}

impl Identity {
    /// The demo identity that every simulator has: `sim-client`, `alice@vbc.prod`, account 12345.
    pub fn demo() -> Self {
        Self {
            client_id: "sim-client".into(),
            client_secret: "sim-secret".into(),
            callback: "http://localhost:8081/callback".into(),
            user: "alice@vbc.prod".into(),
            password: "sim-password".into(),
            account: 12345,
        }
    }

    /// Another user of the demo application and account: `<name>@vbc.prod` with the demo password.
    pub fn demo_user(name: &str) -> Self {
        Self { user: format!("{name}@vbc.prod"), ..Self::demo() }
    }
}

/// An application. It replaces an existing one with the same consumer key.
#[derive(Clone, Debug)]
pub struct Application {
    /// The consumer key.
    pub client_id: String,
    /// The consumer secret.
    pub client_secret: Secret,
    /// The redirect URI that `/authorize` accepts.
    pub callback: String,
    /// The grants it may use: `password`, `refresh_token`, `authorization_code`,
    /// `client_credentials`.
    pub grants: Vec<String>,
    /// The suites it is subscribed to.
    pub subscriptions: Vec<String>,
    /// Its own quota, in requests per minute for each user. 0 means no limit; `None` uses the
    /// simulator's quota.
    pub quota: Option<u32>,
}

impl Application {
    /// An application with every grant and every suite.
    pub fn new(client_id: &str, client_secret: &str) -> Self {
        let all = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            client_id: client_id.to_owned(),
            client_secret: client_secret.into(),
            callback: "http://localhost:8081/callback".to_owned(),
            grants: all(GRANTS),
            subscriptions: all(SUITES),
            quota: None,
        }
    }

    /// Subscribes it to these suites only.
    #[must_use]
    pub fn subscribed(mut self, suites: &[&str]) -> Self {
        self.subscriptions = suites.iter().map(|suite| (*suite).to_owned()).collect();
        self
    }

    /// Gives it its own quota, in requests per minute for each user.
    #[must_use]
    pub fn quota(mut self, per_minute: u32) -> Self {
        self.quota = Some(per_minute);
        self
    }
}

/// A user. It replaces an existing user of the same name. A missing account is created.
#[derive(Clone, Debug)]
pub struct User {
    /// The user name; `@vbc.prod` is appended if it is missing.
    pub name: String,
    /// The password.
    pub password: Secret,
    /// The account the user belongs to.
    pub account: u64,
    /// The suites for which the user has no role.
    pub without: Vec<String>,
    /// Whether the user logs in through single sign-on, so that no password works.
    pub sso: bool,
    /// Whether the user is locked by an administrator.
    pub locked: bool,
}

impl User {
    /// A user of the demo account with every role.
    pub fn new(name: &str, password: &str) -> Self {
        Self {
            name: name.to_owned(),
            password: password.into(),
            account: Identity::demo().account,
            without: Vec::new(),
            sso: false,
            locked: false,
        }
    }

    /// Puts the user into another account.
    #[must_use]
    pub fn account(mut self, account: u64) -> Self {
        self.account = account;
        self
    }

    /// Removes the role for a suite.
    #[must_use]
    pub fn without(mut self, suite: &str) -> Self {
        self.without.push(suite.to_owned());
        self
    }
}
