//! Applications and users beside the seeded ones.

use crate::names::{GRANTS, SUITES};
use vbc_base::secret::Secret;

/// An application and a user beside the seeded ones: every grant, every suite, every role.
///
/// An application or user of that name is replaced; an account that does not exist is made.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The application's consumer key.
    pub client_id: String,
    /// The application's consumer secret.
    pub client_secret: Secret,
    /// Where `/authorize` may redirect to.
    pub callback: String,
    /// The whole user name, with `@vbc.prod`.
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// The account the user belongs to.
    pub account: u64,
}

impl Identity {
    /// The demo identity, which every simulator has: `sim-client`, `alice@vbc.prod`, account 12345.
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

/// An application. One of that name is replaced.
#[derive(Clone, Debug)]
pub struct Application {
    /// The consumer key.
    pub client_id: String,
    /// The consumer secret.
    pub client_secret: Secret,
    /// Where `/authorize` may redirect to.
    pub callback: String,
    /// The grants ticked for it: `password`, `refresh_token`, `authorization_code`, `client_credentials`.
    pub grants: Vec<String>,
    /// The suites it is subscribed to.
    pub subscriptions: Vec<String>,
    /// A quota of its own, in requests a minute for each user; 0 is none, and `None` leaves it to the simulator's.
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

    /// Subscribed to these suites only.
    #[must_use]
    pub fn subscribed(mut self, suites: &[&str]) -> Self {
        self.subscriptions = suites.iter().map(|suite| (*suite).to_owned()).collect();
        self
    }

    /// With a quota of its own, in requests a minute for each user.
    #[must_use]
    pub fn quota(mut self, per_minute: u32) -> Self {
        self.quota = Some(per_minute);
        self
    }
}

/// A user. One of that name is replaced; an account that does not exist is made.
#[derive(Clone, Debug)]
pub struct User {
    /// The user name; `@vbc.prod` is appended unless it ends with it.
    pub name: String,
    /// The password.
    pub password: Secret,
    /// The account the user belongs to.
    pub account: u64,
    /// The suites whose backends do not know the user.
    pub without: Vec<String>,
    /// Whether the user logs in elsewhere, so that no password works.
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

    /// Of that account.
    #[must_use]
    pub fn account(mut self, account: u64) -> Self {
        self.account = account;
        self
    }

    /// Without the role for a suite.
    #[must_use]
    pub fn without(mut self, suite: &str) -> Self {
        self.without.push(suite.to_owned());
        self
    }
}
