//! The admin routes in a command, while no proxy is running.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use tokio::task::JoinHandle;

use super::CREDENTIAL_GRACE;
use super::admin_listener::{AdminAdmission, AdminListener, routes};
use super::credentials::start;
use super::examine::{doctor, examiner};
use super::start_error::StartError;
use crate::admin::Admin;
use crate::config::Config;
use crate::credential::Credential;
use crate::metrics::Metrics;
use crate::tls;
use vbc_base::clock::Clock;
use vbc_http::Drain;

/// The maximum number of connections to the listener.
const CONNECTIONS: usize = 64;

/// How an [`OfflineAdmin`] ended.
#[derive(Clone, Debug)]
pub struct Closed {
    /// Whether an exchange under way ended in time.
    pub in_time: bool,
    /// Whether new tokens were received since the start.
    pub renewed: bool,
    /// Whether the new tokens could not be stored and are lost.
    pub unsaved: bool,
    /// The latest error of the token store, unless the store has recovered.
    pub store_trouble: Option<String>,
}

/// One credential and the admin routes, without a data plane. Used for a login while no proxy is
/// running.
///
/// Holds the token store until [`close`](Self::close), so that no proxy can start with that store.
pub struct OfflineAdmin {
    admin: Admin,
    address: Option<SocketAddr>,
    served: Option<JoinHandle<()>>,
    drain: Drain,
    credential: Credential,
    refresher: JoinHandle<()>,
    timeout: Duration,
    /// The revision of the tokens at the start.
    revision: u64,
}

impl OfflineAdmin {
    /// Opens the store for the credential of this name. If `listen` is set, also opens the admin
    /// listener.
    ///
    /// # Errors
    /// [`StartError`]. It contains [`StoreError::InUse`](crate::store::StoreError::InUse) if a
    /// proxy is running.
    pub async fn open(mut config: Config, credential: &str, listen: bool) -> Result<Self, StartError> {
        config.credentials.retain(|configured| configured.name == credential);
        let metrics = Arc::new(Metrics::new());
        let clock = Clock::system();
        let tls = tls::client_config(config.upstream.ca_file.as_deref())?;
        let listener = AdminListener::bind(config.admin.address.as_ref().filter(|_| listen))?;
        let address = listener.as_ref().and_then(AdminListener::address);
        let mut credentials = start(&config, &tls, &clock, true).await?;
        let (credential, refresher) = credentials.pop().ok_or(StartError::NoCredential)?;
        let handles = vec![credential.clone()];
        let examiner = examiner(doctor(&config, &tls, &handles, &clock)?);
        let admin = routes(&config, handles, &metrics, &clock, &config.listen.addresses, address, examiner);
        let (drain, signal) = Drain::new();
        let served = listener.map(|listener| {
            tokio::spawn(listener.serve(admin.clone(), signal, AdminAdmission::new(CONNECTIONS)))
        });
        let timeout = config.oauth.timeout + CREDENTIAL_GRACE;
        let revision = credential.snapshot().revision;
        Ok(Self { admin, address, served, drain, credential, refresher, timeout, revision })
    }

    /// The address of the listener. `None` without a listener.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Handles a request of this process as if the listener had received it.
    pub async fn respond(&self, request: Request<Body>) -> Response<Body> {
        self.admin.respond(request).await
    }

    /// Closes the admin routes. An exchange under way ends first, and its tokens are stored.
    pub async fn close(self) -> Closed {
        self.drain.begin();
        if let Some(served) = self.served {
            let _ = served.await;
        }
        self.credential.close();
        let in_time = tokio::time::timeout(self.timeout, self.refresher).await.is_ok();
        // The snapshot is taken last, because the ending refresher tries to store unsaved tokens.
        let snapshot = self.credential.snapshot();
        Closed {
            in_time,
            renewed: snapshot.revision > self.revision,
            unsaved: snapshot.unsaved,
            store_trouble: snapshot.store_trouble,
        }
    }
}
