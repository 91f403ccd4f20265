//! What the operator asked for: checked, plain data.
//!
//! [`Config`] holds only values that passed every check; nothing that reads it needs to check again.
//! [`Config::load`] reads `proxy.toml` and the environment and either gives a `Config` or all findings at once.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use url::Url;

use crate::credential::RefreshAt;
use crate::oauth::ClientAuth;
use crate::secret::Secret;

mod characters;
mod credential;
mod defaults;
mod document;
mod environment;
mod error;
mod faults;
mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod keys;
mod load;
mod redacted;
mod schema;
mod secrets;
mod section;
#[cfg(test)]
mod tests;
mod tls;
mod trust;
mod units;

pub use error::{Finding, Findings, Place};
pub use faults::{FaultEffect, FaultRule, Faults, Route};
pub use keys::KeyFile;
pub use load::{LoadOptions, Loaded};
pub use tls::{ListenTls, TlsFileError};

/// The `proxy.toml` that ships with the program: every key that works, with its default and what it is for.
pub const EXAMPLE: &str = include_str!("../../proxy.toml");

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[listen]`: where clients connect.
    pub listen: Listen,
    /// `[admin]`: where operators look.
    pub admin: Admin,
    /// `[upstream]`: the API in front of which we stand.
    pub upstream: Upstream,
    /// `[oauth]`: the authorization server.
    pub oauth: OAuth,
    /// `[retry]`: what a replay may cost.
    pub retry: Retry,
    /// `[store]`: where token sets rest.
    pub store: Store,
    /// `[credentials.*]`, in the order of their names.
    pub credentials: Vec<Credential>,
    /// `[log]`.
    pub log: Log,
    /// `[process]`.
    pub process: Process,
    /// `[faults]`: what goes wrong on purpose; only where `serve` was allowed to.
    pub faults: Faults,
    /// `[simulator]`: for `serve --simulate` and `simulate`.
    pub simulator: Simulator,
}

impl Config {
    /// The age limits of the credential of this name.
    pub fn max_age(&self, credential: &str) -> Vec<(String, Duration)> {
        let found = self.credentials.iter().find(|known| known.name == credential);
        found.map(|known| known.max_age.clone()).unwrap_or_default()
    }
}

/// `[listen]`.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Where to listen; at least one.
    pub addresses: Vec<ListenAddress>,
    /// TLS on every TCP address.
    pub tls: Option<ListenTls>,
    /// The permissions of the files of unix sockets.
    pub unix_mode: u32,
    /// Data-plane threads; 0 is one per core.
    pub workers: usize,
    /// Host names clients may use, beyond those that always pass. Lower case, without ports.
    pub hosts: BTreeSet<String>,
    /// Web origins whose pages may call us (`https://app.example`), lower case; none by default.
    pub origins: BTreeSet<String>,
    /// How clients reach us, when the request's Host does not say it.
    pub public_url: Option<Url>,
    /// From the beginning of a connection to its first byte.
    pub first_byte_timeout: Duration,
    /// From the first byte of a head to its end.
    pub header_timeout: Duration,
    /// How long a client that has ended its side is still waited for, while nothing can be written to it.
    pub half_close_grace: Duration,
    /// How long a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// How long requests in flight may take to finish after SIGTERM.
    pub drain_timeout: Duration,
    /// Request line and header section together, in bytes.
    pub head_size: usize,
    /// Header lines of a request.
    pub head_lines: usize,
    /// The request target, in bytes.
    pub target_size: usize,
    /// Connections at once; `None` is as many as the file descriptors allow.
    pub max_connections: Option<usize>,
    /// Connections at once from one address that is not loopback; 0 is no limit.
    pub max_connections_per_peer: usize,
    /// Requests being forwarded at once, over all threads.
    pub max_requests_in_flight: usize,
    /// Requests on one connection; 0 is no limit.
    pub max_requests_per_connection: u32,
    /// Listening beyond loopback without `[[clients]]` was asked for.
    pub allow_anonymous: bool,
}

/// `[admin]`.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where the admin listener is; `None` when it is off.
    pub address: Option<ListenAddress>,
}

/// Where a listener is. That of the operators is for this machine alone, whatever the rest of the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A unix socket: the file's permissions say who may connect.
    Unix(PathBuf),
}

/// `[upstream]`.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Scheme and authority of the API; no path.
    pub url: Origin,
    /// Trust roots to use instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Which HTTP is spoken.
    pub http: UpstreamHttp,
    /// DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// From the end of the request to the head of the answer.
    pub response_timeout: Duration,
    /// Between two pieces of a body, in both directions.
    pub idle_timeout: Duration,
    /// How long nothing may pass through a websocket.
    pub tunnel_timeout: Duration,
    /// Whether links to the upstream in its answers are made to point to us.
    pub rewrite_links: bool,
}

/// `upstream.http`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamHttp {
    /// HTTP/2 where TLS negotiates it (ALPN), HTTP/1.1 otherwise.
    Auto,
    /// HTTP/1.1 alone.
    H1,
    /// HTTP/2 alone; without TLS by prior knowledge (RFC 9113 §3.3).
    H2,
}

/// A scheme and an authority: where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Host and, where it is not the scheme's default, port: the `Host` header.
    pub authority: Authority,
}

/// `[oauth]`.
#[derive(Clone, Debug)]
pub struct OAuth {
    /// The token endpoint.
    pub token_url: Url,
    /// Where a person logs in.
    pub authorize_url: Url,
    /// Where one asks whose token it is (OpenID Connect Core §5.3), if anywhere.
    pub userinfo_url: Option<Url>,
    /// How long one exchange may take.
    pub timeout: Duration,
    /// How long a request waits for a token when none is usable and the first exchange is under way.
    pub max_wait: Duration,
    /// Trust roots for the token endpoint; the upstream's when not given.
    pub ca_file: Option<PathBuf>,
}

/// `[retry]`.
#[derive(Clone, Debug)]
pub struct Retry {
    /// Request bodies up to this many bytes are kept in memory for a replay.
    pub memory: usize,
    /// Larger ones up to this many bytes are kept in a file; 0: none is.
    pub disk: u64,
    /// What all such files of the process may take together, in bytes.
    pub disk_total: u64,
    /// The directory of these files, which never have a name.
    pub disk_path: PathBuf,
    /// How long a body over `memory` is held back for the upstream to ask for it; zero: it is not asked.
    pub expect_timeout: Duration,
    /// Divides the times that hold forced refreshes back. No key: 1, but for tests that run in real
    /// time.
    #[doc(hidden)]
    pub hurry: u32,
}

/// `[store]`.
#[derive(Clone, Debug)]
pub enum Store {
    /// Nothing survives the process.
    Memory,
    /// A directory with one file a credential.
    File {
        /// The directory.
        path: PathBuf,
        /// The keys that records are encrypted with; `None` where they are not.
        key_file: Option<KeyFile>,
    },
}

/// `[credentials.NAME]`: one upstream identity to keep fresh.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Its name.
    pub name: String,
    /// How it begins.
    pub grant: GrantKind,
    /// The application's consumer key.
    pub client_id: String,
    /// The application's consumer secret.
    pub client_secret: Secret,
    /// The user name with its suffix; for a code grant the user who is expected to log in, if that was said.
    pub username: Option<Arc<str>>,
    /// The password, for the password grant.
    pub password: Option<Secret>,
    /// The scope asked for.
    pub scope: Arc<str>,
    /// Where id and secret travel, per grant when not said: body for password and refresh, basic for a code.
    pub client_auth: Option<ClientAuth>,
    /// A first refresh token from elsewhere.
    pub seed: Option<Secret>,
    /// When to refresh early.
    pub refresh: RefreshAt,
    /// How long a refresh token that is not used is taken to live.
    pub refresh_token_lifetime: Duration,
    /// How old a bearer may be for paths that begin so; of the prefixes that fit, the longest comes first.
    pub max_age: Vec<(String, Duration)>,
    /// The callback registered for the application, to the letter; `http://localhost:<admin port>/callback` when not
    /// said.
    pub redirect_uri: Option<String>,
    /// Whether a login carries a code challenge (RFC 7636), which VBC does not ask for.
    pub pkce: bool,
}

/// `grant = …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantKind {
    /// Log in with user name and password when nothing better is left.
    Password,
    /// A person logs in; we only refresh.
    AuthorizationCode,
}

/// `[log]`.
#[derive(Clone, Debug)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// A level, or a filter as tracing's `EnvFilter` reads it.
    pub level: String,
    /// One line a request.
    pub access: bool,
}

/// `[process]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// Core dumps may be written, and other processes of the same user may read the memory. Both would hold secrets.
    pub core_dumps: bool,
}

/// `log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[simulator]`.
#[derive(Clone, Debug)]
pub struct Simulator {
    /// Where the simulated VBC listens.
    pub address: SocketAddr,
    /// Where its control plane listens.
    pub control: SocketAddr,
}
