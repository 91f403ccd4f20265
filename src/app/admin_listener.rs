//! The admin listener, and the routes it serves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::connection::Connection;
use super::listeners::{Socket, names};
use super::start_error::StartError;
use crate::admin::{Admin, AdminOptions, Examiner};
use crate::config::{Config, GrantKind, ListenAddress};
use crate::credential::Credential;
use crate::metrics::Metrics;
use crate::oauth::AuthorizeOptions;
use vbc_base::clock::Clock;
use vbc_http::{Admission, DrainSignal, Limits, Peer, Stream};

/// The callback port that the documentation tells operators to register.
const USUAL_PORT: u16 = 8081;

/// After the start of the drain, responses under way have this long to complete.
const GRACE: Duration = Duration::from_secs(2);

/// The limits of a connection. Admin requests are small and come from this machine.
fn limits() -> Limits {
    Limits {
        first_byte_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(30),
        head_bytes: 32 * 1024,
        ..Limits::default()
    }
}

/// At most this many connections over the limit get a 503 at the same time; others are closed
/// without a response.
const REJECTED_WITH_RESPONSE: usize = 8;

#[derive(Clone)]
pub(super) struct AdminAdmission {
    clients: Arc<Admission>,
    rejected_with_response: Arc<Admission>,
}

impl AdminAdmission {
    pub(super) fn new(most: usize) -> Self {
        let rejected_with_response = Admission::new(REJECTED_WITH_RESPONSE, 0);
        Self { clients: Admission::new(most, 0), rejected_with_response }
    }
}

/// The admin listener, bound but not yet serving.
pub(super) struct AdminListener(Socket);

impl AdminListener {
    /// Binds the configured address. `None` without an address.
    pub(super) fn bind(address: Option<&ListenAddress>) -> Result<Option<Self>, StartError> {
        let Some(address) = address else { return Ok(None) };
        // Only the owner may connect to a unix socket: there is no other access control.
        let mut sockets = Socket::bind(address, 1, 0o600, "admin.address")?;
        Ok(sockets.pop().map(Self))
    }

    /// Its address; `None` on a unix socket.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self.0.address()? {
            ListenAddress::Tcp(address) => Some(address),
            ListenAddress::Unix(_) => None,
        }
    }

    /// The address for messages: `http://127.0.0.1:8081`, `unix:/run/vbc-proxy/admin.sock`.
    pub(super) fn name(&self) -> String {
        self.0.address().map_or_else(|| "off".to_owned(), |address| names(&[address], false))
    }

    /// Serves until the drain starts, then completes the responses under way, within [`GRACE`].
    pub(super) async fn serve(self, admin: Admin, signal: DrainSignal, admission: AdminAdmission) {
        let (open, mut closed) = mpsc::channel::<()>(1);
        let connector = Connector { signal: signal.clone(), admin, admission, open };
        let accepted = self.0.accept(signal, move |connection| connector.begin(connection)).await;
        if let Err(error) = accepted {
            tracing::error!(%error, "the admin listener failed; restart the proxy to use it again");
        }
        // Waits for the responses under way, such as the page with the outcome of a login.
        let _ = tokio::time::timeout(GRACE, closed.recv()).await;
    }
}

struct Connector {
    signal: DrainSignal,
    admin: Admin,
    admission: AdminAdmission,
    /// Each connection holds a clone. The channel closes with the last of them.
    open: mpsc::Sender<()>,
}

impl Connector {
    fn begin(&self, connection: Connection) {
        let peer = connection.peer();
        match connection {
            Connection::Tcp(stream, _) => self.serve(stream, peer),
            Connection::Unix(stream) => self.serve(stream, peer),
        }
    }

    fn serve(&self, stream: impl Stream, peer: Peer) {
        let open = self.open.clone();
        let admin = self.admin.clone();
        if let Ok(admitted) = self.admission.clients.admit(&peer) {
            let connection = vbc_http::connection(stream, limits(), self.signal.clone(), admin);
            tokio::spawn(async move {
                connection.await;
                drop((admitted, open));
            });
        } else if let Ok(admitted) = self.admission.rejected_with_response.admit(&peer) {
            let rejection = vbc_http::turn_away(stream, limits(), admin);
            tokio::spawn(async move {
                rejection.await;
                drop((admitted, open));
            });
        }
    }
}

/// The admin routes for these credentials. `address` is the TCP address of the listener, if it has
/// one.
pub(super) fn routes(
    config: &Config,
    credentials: Vec<Credential>,
    metrics: &Arc<Metrics>,
    clock: &Clock,
    listen: &[ListenAddress],
    address: Option<SocketAddr>,
    examiner: Examiner,
) -> Admin {
    Admin::new(AdminOptions {
        credentials,
        interactive: interactive(config, address),
        metrics: Arc::clone(metrics),
        clock: clock.clone(),
        listen: names(listen, config.listen.tls.is_some()),
        upstream: config.upstream.url.to_string(),
        address,
        hosts: config.listen.hosts.clone(),
        examiner,
    })
}

/// The settings of authorization requests, by the name of the credential. Only credentials with an
/// interactive login have them.
fn interactive(config: &Config, address: Option<SocketAddr>) -> BTreeMap<String, AuthorizeOptions> {
    let port = address.map(|address| address.port()).or_else(|| match &config.admin.address {
        Some(ListenAddress::Tcp(address)) if address.port() != 0 => Some(address.port()),
        _ => None,
    });
    let callback = format!("http://localhost:{}/callback", port.unwrap_or(USUAL_PORT));
    let mut interactive = BTreeMap::new();
    for credential in &config.credentials {
        if credential.grant == GrantKind::AuthorizationCode {
            let options = AuthorizeOptions {
                authorize_url: config.oauth.authorize_url.clone(),
                client_id: credential.client_id.clone(),
                redirect_uri: credential.redirect_uri.clone().unwrap_or_else(|| callback.clone()),
                scope: Arc::clone(&credential.scope),
                pkce: credential.pkce,
            };
            interactive.insert(credential.name.clone(), options);
        }
    }
    interactive
}
