//! What holds where `proxy.toml` says nothing.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::uri::Authority;
use url::Url;

use super::{
    Admin, Config, Credential, Faults, GrantKind, Listen, ListenAddress, Log, LogFormat, OAuth, Origin,
    Process, Retry, Simulator, Store, Upstream, UpstreamHttp,
};
use crate::credential::RefreshAt;
use crate::secret::Secret;

/// How long VBC's refresh tokens live, by its documentation.
pub(super) const REFRESH_TOKEN_LIFETIME: Duration = Duration::from_secs(7 * 86_400);

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            addresses: vec![ListenAddress::Tcp(loopback(8080))],
            tls: None,
            unix_mode: 0o600,
            workers: 0,
            hosts: BTreeSet::new(),
            origins: BTreeSet::new(),
            public_url: None,
            first_byte_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(10),
            half_close_grace: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(75),
            drain_timeout: Duration::from_secs(30),
            head_size: 64 * 1024,
            head_lines: 100,
            target_size: 16 * 1024,
            max_connections: None,
            max_connections_per_peer: 1000,
            max_requests_in_flight: 10_000,
            max_requests_per_connection: 100_000,
            allow_anonymous: false,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: Some(ListenAddress::Tcp(loopback(8081))) }
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self { tls: true, authority: Authority::from_static("api.vonage.com") }
    }
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            url: Origin::default(),
            ca_file: None,
            http: UpstreamHttp::Auto,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            tunnel_timeout: Duration::from_secs(60 * 60),
            rewrite_links: true,
        }
    }
}

impl Default for OAuth {
    fn default() -> Self {
        Self {
            token_url: constant_url("https://api.vonage.com/token"),
            authorize_url: constant_url("https://api.vonage.com/authorize"),
            userinfo_url: Some(constant_url("https://api.vonage.com/userinfo")),
            timeout: Duration::from_secs(30),
            max_wait: Duration::from_secs(10),
            ca_file: None,
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            memory: 64 * 1024,
            disk: 0,
            disk_total: 1 << 30,
            disk_path: std::env::temp_dir(),
            expect_timeout: Duration::from_secs(1),
            hurry: 1,
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::File { path: PathBuf::from("tokens"), key_file: None }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".into(), access: false }
    }
}

impl Default for Simulator {
    fn default() -> Self {
        Self { address: loopback(8090), control: loopback(8091) }
    }
}

impl Credential {
    /// An identity for the built-in simulator: the demo user for the credential `default`, and for each other one the
    /// user of its name, since credentials of one user would replace each other's tokens. The simulator has to be told
    /// of the others.
    pub fn simulated(name: &str) -> Self {
        let user = match name {
            "default" => "alice",
            // A dot is in no credential's name, so nobody else's user is called that.
            name if name.eq_ignore_ascii_case("alice") => "alice.2",
            name => name,
        };
        Self {
            name: name.to_owned(),
            grant: GrantKind::Password,
            client_id: "sim-client".into(),
            client_secret: Secret::new("sim-secret"),
            username: Some(format!("{user}@vbc.prod").into()),
            password: Some(Secret::new("sim-password")),
            scope: "openid".into(),
            client_auth: None,
            seed: None,
            refresh: RefreshAt::default(),
            refresh_token_lifetime: REFRESH_TOKEN_LIFETIME,
            max_age: Vec::new(),
            redirect_uri: None,
            pkce: false,
        }
    }
}

impl Config {
    /// Defaults with the simulator's identity as the credential `default`, a store in memory, and upstream and token
    /// endpoint where the simulator is by default. A start for tests and for users of the library.
    pub fn simulated() -> Self {
        let mut config = Self::empty();
        config.credentials.push(Credential::simulated("default"));
        config.point_at_simulator();
        config
    }

    /// Nothing but defaults; no credential yet.
    pub(super) fn empty() -> Self {
        Self {
            listen: Listen::default(),
            admin: Admin::default(),
            upstream: Upstream::default(),
            oauth: OAuth::default(),
            retry: Retry::default(),
            store: Store::default(),
            credentials: Vec::new(),
            log: Log::default(),
            process: Process::default(),
            faults: Faults::default(),
            simulator: Simulator::default(),
        }
    }

    /// Memory for a store, the simulator's address for upstream and token endpoint, no trust roots. The caller sets
    /// the URLs again once the simulator is bound.
    pub(super) fn point_at_simulator(&mut self) {
        self.point_at(self.simulator.address);
        self.upstream.ca_file = None;
        self.oauth.ca_file = None;
        self.store = Store::Memory;
    }

    /// Makes the simulator at this address the upstream and the authorization server.
    pub fn point_at(&mut self, simulator: SocketAddr) {
        let url = |path: &str| Url::parse(&format!("http://{simulator}/{path}"));
        if let (Ok(authority), Ok(token_url), Ok(authorize_url), Ok(userinfo_url)) =
            (Authority::try_from(simulator.to_string()), url("token"), url("authorize"), url("userinfo"))
        {
            self.upstream.url = Origin { tls: false, authority };
            self.oauth = OAuth {
                token_url,
                authorize_url,
                userinfo_url: Some(userinfo_url),
                ..std::mem::take(&mut self.oauth)
            };
        }
    }
}

#[expect(clippy::expect_used, reason = "for constants only; a test reads them")]
fn constant_url(text: &'static str) -> Url {
    Url::parse(text).expect("a constant URL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_simulated_credential_is_a_user_of_its_own() {
        let user = |name| Credential::simulated(name).username.unwrap();
        assert_eq!(&*user("default"), "alice@vbc.prod");
        assert_eq!(&*user("crm"), "crm@vbc.prod");
        assert_eq!(&*user("Alice"), "alice.2@vbc.prod");
    }

    #[test]
    fn defaults_are_made_and_the_simulated_configuration_stays_at_home() {
        assert_eq!(OAuth::default().token_url.as_str(), "https://api.vonage.com/token");
        let config = Config::simulated();
        assert_eq!(config.oauth.token_url.as_str(), "http://127.0.0.1:8090/token");
        assert_eq!(config.oauth.authorize_url.as_str(), "http://127.0.0.1:8090/authorize");
        assert_eq!(config.oauth.userinfo_url.unwrap().as_str(), "http://127.0.0.1:8090/userinfo");
        assert_eq!(config.upstream.url.authority, "127.0.0.1:8090");
        assert!(matches!(config.store, Store::Memory));
    }
}
