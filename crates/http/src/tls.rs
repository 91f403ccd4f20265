//! TLS towards clients: a certificate that can be replaced while we serve.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::Stream;
use crate::detect::Begun;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(3);

/// Why TLS towards clients cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ListenTlsError {
    /// The identity cannot be loaded.
    #[error(transparent)]
    Identity(Box<dyn Error + Send + Sync>),
    /// Who vouches for clients cannot be used.
    #[error("client_ca cannot be used: {0}")]
    ClientRoots(#[from] rustls::server::VerifierBuilderError),
    /// The library refused the settings.
    #[error("TLS cannot be set up: {0}")]
    Settings(#[from] rustls::Error),
}

/// What a look at the files came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// They are what they were.
    Unchanged,
    /// New handshakes get the new certificate.
    Replaced,
    /// They cannot be used as they are now; the old certificate stays in use.
    Kept,
}

/// What a listener of TLS shows to clients, and what it asks of them.
pub struct TlsIdentity {
    /// The certificate chain and its private key.
    pub certificate: CertifiedKey,
    /// The roots of client certificates. Clients need no certificate where this is `None`.
    pub client_roots: Option<RootCertStore>,
    /// Differs where the content differs.
    pub fingerprint: [u8; 32],
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsIdentity")
    }
}

/// Loads an identity. It may read files, and so block for a moment.
pub type LoadIdentity = Box<dyn Fn() -> Result<TlsIdentity, Box<dyn Error + Send + Sync>> + Send + Sync>;

/// The certificate that clients see, and who vouches for theirs.
pub struct Tls {
    load: LoadIdentity,
    current: RwLock<Arc<ServerConfig>>,
    seen: Mutex<Seen>,
}

struct Seen {
    used: [u8; 32],
    /// What was wrong at the last look, and whether it was said.
    refused: Option<(String, bool)>,
}

impl Tls {
    /// Loads the identity for the first time. [`reload`](Self::reload) loads it again.
    ///
    /// # Errors
    /// The identity cannot be loaded or used.
    pub fn load(load: LoadIdentity) -> Result<Self, ListenTlsError> {
        let identity = load().map_err(ListenTlsError::Identity)?;
        let seen = Seen { used: identity.fingerprint, refused: None };
        let current = RwLock::new(settings(identity)?);
        Ok(Self { load, current, seen: Mutex::new(seen) })
    }

    /// Looks at the files, and takes what is new. Reads files, so it may block for a moment.
    ///
    /// Certificate and key are replaced one after the other, so what does not fit together is called wrong only at
    /// the second look that finds it so.
    pub fn reload(&self) -> Reloaded {
        let mut seen = self.seen.lock();
        let outcome = match (self.load)() {
            Ok(identity) if identity.fingerprint == seen.used => {
                seen.refused = None;
                return Reloaded::Unchanged;
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
                *seen = Seen { used: fingerprint, refused: None };
                tracing::info!("the certificate of the listener was replaced");
                Reloaded::Replaced
            }
            Err(error) => {
                let why = error.to_string();
                let again = seen.refused.as_ref().filter(|(before, _)| *before == why).map(|(_, said)| *said);
                if again == Some(false) {
                    tracing::warn!(%error, "the new certificate cannot be used; the old one stays");
                }
                seen.refused = Some((why, again.is_some()));
                Reloaded::Kept
            }
        }
    }

    /// Looks at the files every few seconds, without end.
    pub async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let tls = Arc::clone(&self);
            // A file system that hangs must not hold the runtime.
            let _ = tokio::task::spawn_blocking(move || tls.reload()).await;
        }
    }

    /// What the next handshake is made with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read())
    }
}

/// All is made anew with a new certificate, so that no session outlives the trust it was begun on.
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

impl<S: Stream> Stream for TlsStream<Begun<S>> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }

    fn has_been_reset(&self) -> bool {
        self.get_ref().0.has_been_reset()
    }
}
