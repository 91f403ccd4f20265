//! The proxy as a whole: bind it, then run it.
//!
//! [`App::bind`] does everything that can fail for a reason that concerns the operator: trust
//! roots, the token store, the credentials' records, the listeners. Afterwards the addresses are
//! known. [`App::run`] serves until its shutdown future resolves, then drains.
//!
//! The data plane has its own threads, with one runtime each. Credentials and the admin listener
//! run on the runtime that called `bind`, so they cannot delay a request.

mod admin_listener;
mod balance;
mod connection;
mod credentials;
mod examine;
mod forgetter;
mod limits;
mod listeners;
mod offline_admin;
mod start_error;
mod worker;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::admin::Admin;
use crate::config::{self, Config, ListenAddress};
use crate::credential::Credential;
use crate::metrics::Metrics;
use crate::proxy::{self, Hooks};
use crate::tls;
use admin_listener::AdminListener;
use balance::Balance;
use limits::ConnectionLimits;
use listeners::Socket;
use vbc_base::clock::Clock;
use vbc_http::{Drain, Tls, descriptors};
use worker::Worker;

pub use credentials::{StoreFindings, examine_store};
pub use examine::{Examined, examine};
pub use forgetter::{Forgetter, Hold};
pub use offline_admin::{Closed, OfflineAdmin};
pub use start_error::StartError;

/// After the drain, a credential has this long to finish an exchange, in addition to the timeout of
/// the exchange.
const CREDENTIAL_GRACE: Duration = Duration::from_secs(5);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every request in flight got its response.
    Drained,
    /// `listen.drain_timeout` passed first; some responses were cut short.
    CutShort,
    /// The latest tokens of a credential, or the record of a login, could not be stored. The log
    /// names the credential.
    Unsaved,
}

/// A proxy that is bound but not yet serving.
///
/// Constructors: [`bind`](Self::bind) and [`bind_with_clock`](Self::bind_with_clock). Then
/// [`with_hooks`](Self::with_hooks), at most once, and the accessors, in any order.
/// [`run`](Self::run) is last and consumes it.
pub struct App {
    shared: proxy::Shared,
    limits: ConnectionLimits,
    /// The sockets of each thread.
    sockets: Vec<Vec<Socket>>,
    tls: Option<Arc<Tls>>,
    admin: Option<(AdminListener, Admin)>,
    credentials: Vec<(Credential, JoinHandle<()>)>,
}

impl App {
    /// Binds all listeners and starts to fetch tokens. Must be called on a tokio runtime, which
    /// then also runs the credentials and the admin listener.
    ///
    /// # Errors
    /// [`StartError`]. An unreachable token endpoint or upstream is not an error.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        Self::bind_with_clock(config, Clock::system()).await
    }

    /// [`bind`](Self::bind) with a clock that tests can move.
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
        // Listeners come first, so that a second proxy on the same address fails before it touches
        // the store.
        let (addresses, sockets) = listeners::bind(&config.listen, workers(&config.listen, limit))?;
        let admin = AdminListener::bind(config.admin.address.as_ref())?;
        let credentials = credentials::start(&config, &tls, &clock, false).await?;
        let handles: Vec<_> = credentials.iter().map(|(credential, _)| credential.clone()).collect();
        let admin = match admin {
            Some(listener) => {
                let examiner = examine::examiner(examine::doctor(&config, &tls, &handles, &clock)?);
                let handles = handles.clone();
                let address = listener.address();
                let routes =
                    admin_listener::routes(&config, handles, &metrics, &clock, &addresses, address, examiner);
                Some((listener, routes))
            }
            None => None,
        };
        // The configuration has at least one credential. If there are several, one is `default`.
        let default = handles.iter().find(|credential| credential.name() == "default");
        let credential = default.or(handles.first()).cloned().ok_or(StartError::NoCredential)?;
        // The configuration of the other credentials is not used again: they have been started.
        config.credentials.retain(|configured| configured.name == credential.name());
        config.credentials.shrink_to_fit();
        let workers = sockets.len();
        let limits = ConnectionLimits::new(&config, limit, workers);
        let shared = proxy::Shared {
            config: Arc::new(config),
            listen: addresses.into(),
            credential,
            metrics,
            tls,
            workers,
            descriptors: Arc::clone(&limits.descriptors),
            hooks: None,
        };
        Ok(Self { shared, limits, sockets, tls: listen_tls, admin, credentials })
    }

    /// Adds hooks for requests: a recorder, a cassette, faults.
    #[must_use]
    pub fn with_hooks(mut self, hooks: Arc<Hooks>) -> Self {
        for (credential, _) in &self.credentials {
            hooks.watch(credential);
        }
        self.shared.hooks = Some(hooks);
        self
    }

    /// The addresses for clients, in the order of the configuration.
    pub fn addresses(&self) -> &[ListenAddress] {
        &self.shared.listen
    }

    /// The first TCP address for clients, if there is one.
    pub fn address(&self) -> Option<SocketAddr> {
        self.addresses().iter().find_map(|address| match address {
            ListenAddress::Tcp(address) => Some(*address),
            ListenAddress::Unix(_) => None,
        })
    }

    /// The addresses for messages: `http://127.0.0.1:8080 and unix:/run/vbc-proxy.sock`.
    pub fn name(&self) -> String {
        listeners::names(self.addresses(), self.tls.is_some())
    }

    /// The certificate of the listeners. `None` without TLS.
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// The address of the admin listener. `None` if it is off or a unix socket.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|(listener, _)| listener.address())
    }

    /// The admin listener for messages: its URL, `unix:` and its path, or `off`.
    pub fn admin_name(&self) -> String {
        self.admin.as_ref().map_or_else(|| "off".to_owned(), |(listener, _)| listener.name())
    }

    /// The metrics that `/metrics` shows.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.shared.metrics)
    }

    /// The credential whose tokens are sent to the upstream.
    pub fn credential(&self) -> Credential {
        self.shared.credential.clone()
    }

    /// Makes the running proxy forget what it has learned from the service. For tests whose
    /// simulator is reset.
    pub fn forgetter(&self) -> Forgetter {
        Forgetter::new(self.credentials.iter().map(|(credential, _)| credential.clone()).collect())
    }

    /// Serves until `shutdown` resolves, then drains: it accepts no new connections and completes
    /// the requests in flight. It finishes an exchange with the token endpoint and stores its
    /// tokens.
    ///
    /// Not cancel safe: dropping the future skips the drain.
    ///
    /// # Errors
    /// [`StartError::Thread`] if the threads of the data plane cannot be started.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<Ended, StartError> {
        let (drain, signal) = Drain::new();
        let mut threads = Vec::new();
        let balance = Balance::new(self.sockets.len(), &self.shared.metrics);
        for (index, (sockets, (balance, inbox))) in self.sockets.into_iter().zip(balance).enumerate() {
            let worker = Worker {
                sockets,
                tls: self.tls.clone(),
                shared: self.shared.clone(),
                admission: Arc::clone(&self.limits.clients),
                signal: signal.clone(),
                balance,
                inbox,
            };
            threads.push(worker.start(index)?);
        }
        let certificate_watch = self.tls.map(|tls| tokio::spawn(tls.watch()));
        let (admin_drain, admin_signal) = Drain::new();
        let admin_limit = self.limits.admin.clone();
        let admin = self.admin.map(|(listener, admin)| {
            (tokio::spawn(listener.serve(admin.clone(), admin_signal, admin_limit)), admin)
        });

        let mut failed = false;
        tokio::select! {
            () = shutdown => {}
            // A thread ends before the drain only if it failed. The whole proxy then stops, so that
            // the failure is noticed.
            _ = select_all(&mut threads) => tracing::error!("a worker thread failed; the proxy stops"),
            // Without its refresher, the tokens of a credential are no longer kept fresh.
            _ = select_all(self.credentials.iter_mut().map(|(_, task)| task)) => {
                tracing::error!("the refresher of a credential failed; the proxy stops");
                failed = true;
            }
        }
        tracing::info!("draining");
        if let Some((_, admin)) = &admin {
            admin.drain();
        }
        drain.begin();
        let drained = join(threads).await && !failed;
        let timeout = self.shared.config.oauth.timeout + CREDENTIAL_GRACE;
        let mut ended = if drained { Ended::Drained } else { Ended::CutShort };
        for (credential, in_time) in credentials::close(self.credentials, timeout).await {
            if !in_time {
                tracing::error!(
                    credential = credential.name(),
                    "an exchange with the token endpoint, or saving its tokens, did not finish in time; unsaved tokens are lost"
                );
                ended = Ended::CutShort;
            }
            if credentials::is_lost(&credential) {
                ended = Ended::Unsaved;
            }
        }
        if let Some(watch) = certificate_watch {
            watch.abort();
        }
        admin_drain.begin();
        if let Some((served, _)) = admin {
            let _ = served.await;
        }
        tracing::info!(?ended, "ended");
        Ok(ended)
    }
}

/// Waits for the threads of the data plane. Returns whether all of them drained.
async fn join(threads: Vec<oneshot::Receiver<Ended>>) -> bool {
    let mut drained = true;
    for thread in threads {
        // A thread that panicked did not complete its responses.
        drained &= !thread.is_terminated() && thread.await == Ok(Ended::Drained);
    }
    drained
}

/// The number of threads that serve connections, given the limit of file descriptors.
fn workers(listen: &config::Listen, limit: u64) -> usize {
    match listen.workers {
        0 => {
            let cores = thread::available_parallelism().map_or(1, usize::from);
            descriptors::default_workers(limit, cores, listen.addresses.len())
        }
        workers => workers,
    }
}
