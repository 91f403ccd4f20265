//! TLS for clients, with a certificate that can be replaced while the listener serves.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};

/// How often the files are checked.
const CHECK: Duration = Duration::from_secs(3);

/// Why TLS for clients cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ListenTlsError {
    /// The identity cannot be loaded.
    #[error(transparent)]
    Identity(Box<dyn Error + Send + Sync>),
    /// The roots of client certificates cannot be used.
    #[error("client_ca cannot be used: {0}")]
    ClientRoots(#[from] rustls::server::VerifierBuilderError),
    /// The library rejects the settings.
    #[error("TLS cannot be set up: {0}")]
    Settings(#[from] rustls::Error),
}

/// The outcome of loading the identity again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// The files have not changed.
    Unchanged,
    /// New handshakes get the new certificate.
    Replaced,
    /// The new files cannot be used; the old certificate stays in use.
    Kept,
}

/// The certificate of a TLS listener, and the certificates that it requires of clients.
pub struct TlsIdentity {
    /// The certificate chain and its private key.
    pub certificate: CertifiedKey,
    /// The roots of client certificates. Clients need no certificate where this is `None`.
    pub client_roots: Option<RootCertStore>,
    /// Identifies the content of the files.
    pub fingerprint: [u8; 32],
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsIdentity")
    }
}

/// Loads an identity. May read files and block for a moment.
pub type LoadIdentity = Box<dyn Fn() -> Result<TlsIdentity, Box<dyn Error + Send + Sync>> + Send + Sync>;

/// The TLS side of a listener.
///
/// [`load`](Self::load) makes it. [`reload`](Self::reload) checks the files once, and
/// [`watch`](Self::watch) does so without end.
pub struct Tls {
    load: LoadIdentity,
    current: RwLock<Arc<ServerConfig>>,
    state: Mutex<ReloadState>,
}

struct ReloadState {
    /// The fingerprint of the identity in use.
    used: [u8; 32],
    /// The error of the last check, if it failed.
    failure: Option<ReloadFailure>,
}

struct ReloadFailure {
    message: String,
    logged: bool,
}

impl Tls {
    /// Loads the identity for the first time. [`reload`](Self::reload) loads it again.
    ///
    /// # Errors
    /// If the identity cannot be loaded or used.
    pub fn load(load: LoadIdentity) -> Result<Self, ListenTlsError> {
        let identity = load().map_err(ListenTlsError::Identity)?;
        let state = ReloadState { used: identity.fingerprint, failure: None };
        let current = RwLock::new(settings(identity)?);
        Ok(Self { load, current, state: Mutex::new(state) })
    }

    /// Loads the identity again, and uses it for new handshakes if it has changed. May block for a
    /// moment.
    ///
    /// Certificate and key files are replaced one after the other. An error is therefore logged
    /// only if two checks in a row find it.
    pub fn reload(&self) -> ReloadOutcome {
        let mut state = self.state.lock();
        let outcome = match (self.load)() {
            Ok(identity) if identity.fingerprint == state.used => {
                state.failure = None;
                return ReloadOutcome::Unchanged;
            }
            Ok(identity) => {
                let fingerprint = identity.fingerprint;
                settings(identity).map(|config| (config, fingerprint))
            }
            Err(error) => Err(ListenTlsError::Identity(error)),
        };
        match outcome {
            Ok((config, fingerprint)) => {
                *self.current.write() = config;
                *state = ReloadState { used: fingerprint, failure: None };
                tracing::info!("replaced the certificate of the listener");
                ReloadOutcome::Replaced
            }
            Err(error) => {
                let message = error.to_string();
                let before = state.failure.take().filter(|failure| failure.message == message);
                if before.as_ref().is_some_and(|failure| !failure.logged) {
                    tracing::warn!(%error, "cannot use the new certificate; the old one stays in use");
                }
                state.failure = Some(ReloadFailure { message, logged: before.is_some() });
                ReloadOutcome::Kept
            }
        }
    }

    /// Reloads every few seconds, without end.
    pub async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(CHECK).await;
            let tls = Arc::clone(&self);
            // A file system that hangs must not block the runtime.
            let _ = tokio::task::spawn_blocking(move || tls.reload()).await;
        }
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read())
    }
}

/// The settings for new handshakes. Session tickets get new keys too, so that no session outlives
/// the certificates under which it was accepted.
fn settings(identity: TlsIdentity) -> Result<Arc<ServerConfig>, ListenTlsError> {
    let provider = Arc::new(default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match identity.client_roots {
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certificate)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = Ticketer::new()?;
    Ok(Arc::new(config))
}
