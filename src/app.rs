//! The proxy as one thing: bind it, then run it.
//!
//! [`App::bind`] does everything that can fail for a reason the operator must know: trust roots, the token store,
//! the credentials' records, the listeners. After it the addresses are known. [`App::run`] serves until its shutdown
//! future ends, then drains.
//!
//! The data plane has threads of its own, one runtime each; credentials and the admin listener live on the runtime
//! that `bind` was called on, and cannot delay a request.

mod balance;
mod connection;
mod desk;
mod examine;
mod limits;
mod listeners;
mod open;
mod storing;
mod worker;

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::admin::Admin;
use crate::clock::Clock;
use crate::config::{self, Config, GrantKind, ListenAddress};
use crate::credential::{Credential, Login, Logins, Options};
use crate::doctor::Doctor;
use crate::metrics::Metrics;
use crate::oauth::{AuthorizationServer, ClientIdentity, Endpoint, EndpointError, HttpClient};
use crate::proxy::{self, Hooks};
use crate::secret::fingerprint;
use crate::server::{Drain, ListenTlsError, Tls, bind_advice, descriptors, unix_bind_advice};
use crate::store::StoreError;
use crate::tls::{self, TlsError};
use balance::Balance;
use desk::AdminListener;
use limits::Limits;
use listeners::{Listeners, Socket};
use worker::Worker;

pub use desk::{Closed, Desk};
pub use examine::{Examined, examine};
pub use storing::{StoreFindings, examine_store};

/// How long a credential may take to finish an exchange after the drain, on top of the exchange's own timeout.
const CREDENTIAL_GRACE: Duration = Duration::from_secs(5);

/// How many exchanges that nobody asked for may be under way at once.
const UNASKED: usize = 16;

/// Ten thousand credentials that are all due when the process starts come one after the other, within this.
const SPREAD: Duration = Duration::from_secs(5 * 60);
const SPREAD_STEP: Duration = Duration::from_millis(10);

/// Many credentials are of few applications, which they share. So many are compared with before one is kept twice.
const KNOWN_CLIENTS: usize = 16;

/// Why the proxy cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({key}): {source}{}", bind_advice(source, address.port()))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The configuration key it comes from.
        key: &'static str,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A unix socket cannot be made.
    #[error("cannot listen on unix:{} ({key}): {source}{}", path.display(), unix_bind_advice(source))]
    BindUnix {
        /// Where it should be.
        path: PathBuf,
        /// The configuration key it comes from.
        key: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The token store cannot be used.
    #[error("{}{}", source.describe(), store_advice(source))]
    Store {
        /// Why.
        #[from]
        source: StoreError,
    },
    /// TLS cannot be set up.
    #[error("{source}{}", because(source))]
    Tls {
        /// Why.
        #[from]
        source: TlsError,
    },
    /// TLS towards clients cannot be set up.
    #[error("listen.tls: {0}")]
    ListenTls(#[from] ListenTlsError),
    /// The client for the token endpoint cannot be built.
    #[error("the client for the token endpoint cannot be set up: {0}")]
    TokenClient(#[from] EndpointError),
    /// There is nothing to authenticate with.
    #[error("no credential is configured; add [credentials.default]")]
    NoCredential,
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}

/// What to do where the directory of the token store cannot be used.
fn store_advice(error: &StoreError) -> &'static str {
    use std::io::ErrorKind;
    let StoreError::Io { source, .. } = error else { return "" };
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; free space, or change store.path",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory => {
            "; store.path must be a directory that this user may write to"
        }
        _ => " (store.path)",
    }
}

fn because(error: &dyn std::error::Error) -> String {
    error.source().map(|source| format!(": {source}")).unwrap_or_default()
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every request in flight was answered.
    Drained,
    /// `listen.drain_timeout` passed first; some answers were cut short.
    CutShort,
    /// The latest tokens of a credential, or a note of a login, could not be stored; the log names them.
    Unsaved,
}

/// A proxy that is bound and not yet serving.
pub struct App {
    shared: proxy::Shared,
    limits: Limits,
    /// For each thread.
    sockets: Vec<Vec<Socket>>,
    tls: Option<Arc<Tls>>,
    admin: Option<(AdminListener, Admin)>,
    credentials: Vec<(Credential, JoinHandle<()>)>,
}

impl App {
    /// Binds everything and begins to fetch tokens. Must be called on a tokio runtime, which then also carries the
    /// credentials and the admin listener.
    ///
    /// # Errors
    /// [`StartError`]; a token endpoint or an upstream that cannot be reached is none.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        Self::bind_with_clock(config, Clock::system()).await
    }

    /// [`bind`](Self::bind) with a clock of one's own, which tests can move.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub async fn bind_with_clock(mut config: Config, clock: Clock) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new());
        let tls = tls::client_config(config.upstream.ca_file.as_deref())?;
        let listen_tls =
            config.listen.tls.clone().map(|files| Tls::load(Box::new(move || Ok(files.load()?))));
        let listen_tls = listen_tls.transpose()?.map(Arc::new);
        let limit = descriptors::raise();
        // The listeners first: a second proxy on the same address fails before it touches the first one's store.
        let Listeners { addresses: listen, workers: sockets } =
            Listeners::bind(&config.listen, workers(&config.listen, limit))?;
        let admin = config.admin.address.as_ref().map(AdminListener::bind).transpose()?;
        let token_tls = token_tls(&config, &tls)?;
        let credentials = start_credentials(&config, &tls, &clock, false).await?;
        let handles: Vec<_> = credentials.iter().map(|(credential, _)| credential.clone()).collect();
        let admin = admin.map(|listener| {
            let address = listener.address();
            let doctor = Doctor::new(&config, token_tls, Arc::clone(&tls), &handles, clock.clone());
            let admin = desk::admin(&config, handles.clone(), &metrics, &clock, &listen, address, doctor);
            (listener, admin)
        });
        // The configuration has at least one, and one called `default` where there are several.
        let chosen = handles.iter().find(|credential| credential.name() == "default").or(handles.first());
        let Some(credential) = chosen.cloned() else {
            return Err(StartError::NoCredential);
        };
        // The others have been started, and what is configured for them is not asked for again.
        config.credentials.retain(|configured| configured.name == credential.name());
        config.credentials.shrink_to_fit();
        let workers = sockets.len();
        let limits = Limits::of(&config, limit, workers);
        let listen = listen.into();
        let shared = proxy::Shared {
            config: Arc::new(config),
            listen,
            credential,
            metrics,
            tls,
            workers,
            descriptors: Arc::clone(&limits.descriptors),
            hooks: None,
        };
        Ok(Self { shared, limits, sockets, tls: listen_tls, admin, credentials })
    }

    /// Lets requests meet something beside being forwarded: a recorder, a cassette, faults.
    #[must_use]
    pub fn with_hooks(mut self, hooks: Arc<Hooks>) -> Self {
        for (credential, _) in &self.credentials {
            hooks.watch(credential);
        }
        self.shared.hooks = Some(hooks);
        self
    }

    /// Where clients connect, in the order of the configuration.
    pub fn addresses(&self) -> &[ListenAddress] {
        &self.shared.listen
    }

    /// The first address where clients connect over TCP, if there is one.
    pub fn address(&self) -> Option<SocketAddr> {
        self.addresses().iter().find_map(|address| match address {
            ListenAddress::Tcp(address) => Some(*address),
            ListenAddress::Unix(_) => None,
        })
    }

    /// Where clients connect, for people to read: `http://127.0.0.1:8080 and unix:/run/vbc-proxy.sock`.
    pub fn name(&self) -> String {
        listeners::names(self.addresses(), self.tls.is_some())
    }

    /// The certificate that clients see, where they are spoken to by TLS.
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// Where the admin listener is, unless it is off or on a unix socket.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|(listener, _)| listener.address())
    }

    /// The admin listener's URL, or `unix:` and its path, or `off`: for people to read.
    pub fn admin_name(&self) -> String {
        self.admin.as_ref().map_or_else(|| "off".to_owned(), |(listener, _)| listener.name())
    }

    /// The metrics, as `/metrics` shows them.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.shared.metrics)
    }

    /// The credential whose bearer is sent.
    pub fn credential(&self) -> Credential {
        self.shared.credential.clone()
    }

    /// Serves until `shutdown` ends, then drains: no new connections, requests in flight are answered, an exchange
    /// with the token endpoint under way is finished and stored.
    ///
    /// # Errors
    /// When the threads of the data plane cannot be started.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<Ended, StartError> {
        let (drain, signal) = Drain::new();
        let mut threads = Vec::new();
        let balance = Balance::new(self.sockets.len(), &self.shared.metrics);
        for (index, (sockets, (balance, inbox))) in self.sockets.into_iter().zip(balance).enumerate() {
            let (shared, admission) = (self.shared.clone(), Arc::clone(&self.limits.clients));
            let (tls, signal) = (self.tls.clone(), signal.clone());
            let worker = Worker { sockets, tls, shared, admission, signal, balance, inbox };
            threads.push(worker.start(index)?);
        }
        let watching = self.tls.map(|tls| tokio::spawn(tls.watch()));
        let ((admin_drain, admin_signal), most) = (Drain::new(), self.limits.admin.clone());
        let admin = self.admin.map(|(listener, admin)| {
            (tokio::spawn(listener.serve(admin.clone(), admin_signal, most)), admin)
        });

        let mut failed = false;
        tokio::select! {
            () = shutdown => {}
            // A thread that ends by itself has failed; half a data plane is not left running unnoticed.
            _ = futures_util::future::select_all(&mut threads) => tracing::error!("a worker thread ended"),
            // Nor is a proxy whose tokens nobody keeps fresh any more.
            _ = futures_util::future::select_all(self.credentials.iter_mut().map(|(_, task)| task)) => {
                tracing::error!("the refresher of a credential ended");
                failed = true;
            }
        }
        tracing::info!("draining");
        if let Some((_, admin)) = &admin {
            admin.drain();
        }
        drain.begin();
        let mut ended = if failed { Ended::CutShort } else { Ended::Drained };
        for thread in threads {
            // A thread that panicked has cut its answers short.
            if thread.is_terminated() || thread.await != Ok(Ended::Drained) {
                ended = Ended::CutShort;
            }
        }
        let patience = self.shared.config.oauth.timeout + CREDENTIAL_GRACE;
        for (credential, _) in &self.credentials {
            credential.close();
        }
        for (credential, task) in self.credentials {
            if !task.is_finished() && tokio::time::timeout(patience, task).await.is_err() {
                tracing::error!(credential = credential.name(), "an exchange did not end in time");
                ended = Ended::CutShort;
            }
            if storing::is_lost(&credential) {
                ended = Ended::Unsaved;
            }
        }
        if let Some(watching) = watching {
            watching.abort();
        }
        admin_drain.begin();
        if let Some((served, _)) = admin {
            let _ = served.await;
        }
        tracing::info!(?ended, "ended");
        Ok(ended)
    }
}

/// The threads that serve connections, under this limit of file descriptors.
fn workers(listen: &config::Listen, limit: u64) -> usize {
    match listen.workers {
        0 => {
            let cores = thread::available_parallelism().map_or(1, usize::from);
            descriptors::default_workers(limit, cores, listen.addresses.len())
        }
        workers => workers,
    }
}

/// Whom the token endpoint is trusted by.
fn token_tls(
    config: &Config,
    upstream_tls: &Arc<rustls::ClientConfig>,
) -> Result<Arc<rustls::ClientConfig>, StartError> {
    Ok(match &config.oauth.ca_file {
        Some(path) => tls::client_config(Some(path))?,
        None => Arc::clone(upstream_tls),
    })
}

/// Starts all credentials; `passive` ones make no exchange that nobody asks for.
async fn start_credentials(
    config: &Config,
    upstream_tls: &Arc<rustls::ClientConfig>,
    clock: &Clock,
    passive: bool,
) -> Result<Vec<(Credential, JoinHandle<()>)>, StartError> {
    let tls = token_tls(config, upstream_tls)?;
    let http = HttpClient::new((*tls).clone(), config.oauth.timeout)?;
    let store = storing::open(config)?;
    let (token_url, userinfo_url) = (&config.oauth.token_url, config.oauth.userinfo_url.as_ref());
    let server = Arc::new(AuthorizationServer::new(http, token_url, userinfo_url, clock.clone())?);
    let mut clients = VecDeque::new();
    let logins = Logins::new(Arc::clone(&store), clock.clone());
    let options: Vec<Options> = config.credentials.iter().map(|known| options(known, config)).collect();
    // Before the first of them may log in: what is learnt of a password counts for all that have it.
    options.iter().filter_map(|options| options.login.as_ref()).for_each(|login| logins.announce(login));
    let unasked = Arc::new(Semaphore::new(UNASKED));
    let spread = SPREAD_STEP.saturating_mul(config.credentials.len().saturating_sub(1) as u32).min(SPREAD);
    let mut credentials = Vec::with_capacity(config.credentials.len());
    for (credential, options) in config.credentials.iter().zip(options) {
        let client = client_identity(credential, &mut clients);
        let endpoint = Endpoint::at(Arc::clone(&server), client, options.username.clone());
        let unasked = Arc::clone(&unasked);
        let options = Options { spread, unasked, passive, ..options };
        let store = Arc::clone(&store);
        credentials.push(Credential::start(options, endpoint, store, &logins, clock.clone()).await?);
    }
    store.settle();
    Ok(credentials)
}

/// The application of this credential: the one of the last few that is the same, or a new one.
fn client_identity(
    credential: &config::Credential,
    known: &mut VecDeque<Arc<ClientIdentity>>,
) -> Arc<ClientIdentity> {
    let client = ClientIdentity {
        client_id: credential.client_id.as_str().into(),
        client_secret: credential.client_secret.clone(),
        auth: credential.client_auth,
    };
    if let Some(same) = known.iter().find(|known| ***known == client) {
        return Arc::clone(same);
    }
    let client = Arc::new(client);
    known.truncate(KNOWN_CLIENTS - 1);
    known.push_front(Arc::clone(&client));
    client
}

fn options(credential: &config::Credential, config: &Config) -> Options {
    let user = credential.username.clone().unwrap_or_default();
    let login = match (credential.grant, &credential.password) {
        (GrantKind::Password, Some(password)) => Some(Login::new(
            Arc::clone(&user),
            password.clone(),
            Arc::clone(&credential.scope),
            &credential.client_id,
            &credential.client_secret,
        )),
        _ => None,
    };
    let identity = [config.oauth.token_url.as_str(), &credential.client_id, &user, &credential.scope];
    Options {
        username: credential.username.clone(),
        login,
        seed: credential.seed.clone(),
        refresh: credential.refresh,
        refresh_lifetime: credential.refresh_token_lifetime,
        max_wait: config.oauth.max_wait,
        hurry: config.retry.hurry,
        ..Options::new(credential.name.as_str(), fingerprint(&identity))
    }
}
