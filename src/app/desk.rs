//! Where operators are served: the admin listener, and, while no proxy runs, its routes alone.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::examine::examiner;
use super::listeners::names;
use super::{CREDENTIAL_GRACE, StartError, start_credentials, token_tls};
use crate::admin::{Admin, AdminOptions};
use crate::clock::Clock;
use crate::config::{Config, GrantKind, ListenAddress};
use crate::credential::Credential;
use crate::doctor::Doctor;
use crate::metrics::Metrics;
use crate::oauth::AuthorizeOptions;
use crate::server::{self, Admission, Drain, DrainSignal, Limits, Peer, Stream, UnixSocket};
use crate::tls;

/// The port of the callback that people register when they follow the documentation.
const USUAL_PORT: u16 = 8081;

/// How long the admin listener finishes what it has begun to answer.
const GRACE: Duration = Duration::from_secs(2);

/// What a connection of the admin listener may take. Its requests are small, and those who send them are near.
fn limits() -> Limits {
    Limits {
        first_byte_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(30),
        head_bytes: 32 * 1024,
        ..Limits::default()
    }
}

/// Connections while no proxy runs.
const CONNECTIONS: usize = 64;

/// How many connections over the limit are told so at the same time; more are closed without a word.
const TOLD_WHY: usize = 8;

/// How many connections the admin listener takes.
#[derive(Clone)]
pub(super) struct AdminAdmission {
    clients: Arc<Admission>,
    told_why: Arc<Admission>,
}

impl AdminAdmission {
    pub(super) fn new(most: usize) -> Self {
        Self { clients: Admission::new(most, 0), told_why: Admission::new(TOLD_WHY, 0) }
    }
}

/// The admin listener, bound and not yet served.
pub(super) enum AdminListener {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

impl AdminListener {
    pub(super) fn bind(address: &ListenAddress) -> Result<Self, StartError> {
        match address {
            ListenAddress::Tcp(address) => {
                let failed = |source| StartError::Bind { address: *address, key: "admin.address", source };
                let bound = server::bind(*address, 1).map_err(failed)?.pop();
                // One was asked for, so one came.
                bound.map(Self::Tcp).ok_or_else(|| failed(std::io::ErrorKind::AddrNotAvailable.into()))
            }
            ListenAddress::Unix(path) => {
                let failed =
                    |source| StartError::BindUnix { path: path.clone(), key: "admin.address", source };
                // Its owner alone: no other access control is there.
                server::bind_unix(path, 0o600).map(Self::Unix).map_err(failed)
            }
        }
    }

    /// Its address; `None` on a unix socket.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// How it is named to people: `http://127.0.0.1:8081`, `unix:/run/vbc-proxy/admin.sock`.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| "off".to_owned(), |address| format!("http://{address}"))
            }
            Self::Unix(socket) => format!("unix:{}", socket.path().display()),
        }
    }

    /// Serves until the drain begins, then finishes the answers under way, for a moment at most.
    pub(super) async fn serve(self, admin: Admin, signal: DrainSignal, admission: AdminAdmission) {
        let (open, mut closed) = mpsc::channel::<()>(1);
        let (connections, held) = (signal.clone(), open.clone());
        let accepted = match self {
            Self::Tcp(listener) => {
                let spawn = move |stream, peer| {
                    connect(stream, Peer::Tcp(peer), &connections, &admin, &admission, &held)
                };
                server::accept(listener, signal, spawn).await
            }
            Self::Unix(socket) => {
                let spawn =
                    move |stream, ()| connect(stream, Peer::Unix, &connections, &admin, &admission, &held);
                server::accept(socket, signal, spawn).await
            }
        };
        if let Err(error) = accepted {
            tracing::error!(%error, "the admin listener ended");
        }
        drop(open);
        // The page that says how a login ended, for one.
        let _ = tokio::time::timeout(GRACE, closed.recv()).await;
    }
}

fn connect(
    stream: impl Stream,
    peer: Peer,
    signal: &DrainSignal,
    admin: &Admin,
    admission: &AdminAdmission,
    open: &mpsc::Sender<()>,
) {
    let open = open.clone();
    if let Ok(admitted) = admission.clients.admit(&peer) {
        let connection = server::connection(stream, limits(), signal.clone(), admin.clone());
        tokio::spawn(async move {
            connection.await;
            drop((admitted, open));
        });
    } else if let Ok(admitted) = admission.told_why.admit(&peer) {
        let told = server::turn_away(stream, limits(), admin.clone());
        tokio::spawn(async move {
            told.await;
            drop((admitted, open));
        });
    }
}

/// The admin routes over these credentials; `address` is where they are served over TCP.
pub(super) fn admin(
    config: &Config,
    credentials: Vec<Credential>,
    metrics: &Arc<Metrics>,
    clock: &Clock,
    listen: &[ListenAddress],
    address: Option<SocketAddr>,
    doctor: Doctor,
) -> Admin {
    Admin::new(AdminOptions {
        credentials,
        people: people(config, address),
        metrics: Arc::clone(metrics),
        clock: clock.clone(),
        listen: names(listen, config.listen.tls.is_some()),
        upstream: config.upstream.url.to_string(),
        address,
        hosts: config.listen.hosts.clone(),
        examiner: examiner(doctor),
    })
}

/// How a person logs in, for the credentials where one does.
fn people(config: &Config, address: Option<SocketAddr>) -> BTreeMap<String, AuthorizeOptions> {
    let port = address.map(|address| address.port()).or_else(|| match &config.admin.address {
        Some(ListenAddress::Tcp(address)) if address.port() != 0 => Some(address.port()),
        _ => None,
    });
    let callback = format!("http://localhost:{}/callback", port.unwrap_or(USUAL_PORT));
    let by_person = config.credentials.iter().filter(|one| one.grant == GrantKind::AuthorizationCode);
    let options = by_person.map(|credential| {
        let options = AuthorizeOptions {
            authorize_url: config.oauth.authorize_url.clone(),
            client_id: credential.client_id.clone(),
            redirect_uri: credential.redirect_uri.clone().unwrap_or_else(|| callback.clone()),
            scope: Arc::clone(&credential.scope),
            pkce: credential.pkce,
        };
        (credential.name.clone(), options)
    });
    options.collect()
}

/// How a [`Desk`] ended.
#[derive(Clone, Debug)]
pub struct Closed {
    /// Whether an exchange under way ended in time.
    pub in_time: bool,
    /// Whether new tokens came in meanwhile.
    pub renewed: bool,
    /// Whether they could not be stored, and are lost.
    pub unsaved: bool,
    /// What the token store could not do.
    pub store_trouble: Option<String>,
}

/// One credential and the admin routes, without a data plane: where a person logs in while no proxy runs.
///
/// It holds the token store, so that no proxy can start on it meanwhile.
pub struct Desk {
    admin: Admin,
    address: Option<SocketAddr>,
    served: Option<JoinHandle<()>>,
    drain: Drain,
    credential: Credential,
    refresher: JoinHandle<()>,
    patience: Duration,
    /// The revision of the tokens there were.
    revision: u64,
}

impl Desk {
    /// Opens the store and, if asked to `listen`, the admin listener, for the credential of this name.
    ///
    /// # Errors
    /// [`StartError`]; [`StoreError::InUse`](crate::store::StoreError::InUse) in it when a proxy runs.
    pub async fn open(mut config: Config, credential: &str, listen: bool) -> Result<Self, StartError> {
        config.credentials.retain(|one| one.name == credential);
        let (metrics, clock) = (Arc::new(Metrics::new()), Clock::system());
        let tls = tls::client_config(config.upstream.ca_file.as_deref())?;
        let listener = match &config.admin.address {
            Some(address) if listen => Some(AdminListener::bind(address)?),
            _ => None,
        };
        let address = listener.as_ref().and_then(AdminListener::address);
        let mut credentials = start_credentials(&config, &tls, &clock, true).await?;
        let Some((credential, refresher)) = credentials.pop() else { return Err(StartError::NoCredential) };
        let handles = vec![credential.clone()];
        let doctor = Doctor::new(&config, token_tls(&config, &tls)?, tls, &handles, clock.clone());
        let admin = admin(&config, handles, &metrics, &clock, &config.listen.addresses, address, doctor);
        let (drain, signal) = Drain::new();
        let served = listener.map(|listener| {
            tokio::spawn(listener.serve(admin.clone(), signal, AdminAdmission::new(CONNECTIONS)))
        });
        let patience = config.oauth.timeout + CREDENTIAL_GRACE;
        let revision = credential.snapshot().revision;
        Ok(Self { admin, address, served, drain, credential, refresher, patience, revision })
    }

    /// Where a browser is served, if one is.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Answers a request of this process, as the listener would.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        self.admin.answer(request).await
    }

    /// Ends it; an exchange under way is finished and stored first.
    pub async fn close(self) -> Closed {
        self.drain.begin();
        if let Some(served) = self.served {
            let _ = served.await;
        }
        self.credential.close();
        let in_time = tokio::time::timeout(self.patience, self.refresher).await.is_ok();
        // Only now: the refresher tries once more to store what is not stored.
        let snapshot = self.credential.snapshot();
        Closed {
            in_time,
            renewed: snapshot.revision > self.revision,
            unsaved: snapshot.unsaved,
            store_trouble: snapshot.store_trouble,
        }
    }
}
