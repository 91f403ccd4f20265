//! TLS towards clients: a certificate that can be replaced while we serve.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use thiserror::Error;
use tokio_rustls::server::TlsStream;

use super::{Stream, opening::Begun};
use crate::config::{ListenTls, TlsFileError, TlsFiles, tls_provider};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(3);

/// Why TLS towards clients cannot be set up.
#[derive(Debug, Error)]
pub enum ListenTlsError {
    /// The files cannot be used.
    #[error(transparent)]
    Files(#[from] TlsFileError),
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

/// The certificate that clients see, and who vouches for theirs.
pub struct Tls {
    files: ListenTls,
    current: RwLock<Arc<ServerConfig>>,
    seen: Mutex<Seen>,
}

struct Seen {
    used: [u8; 32],
    /// What was wrong at the last look, and whether it was said.
    refused: Option<(String, bool)>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn load(files: ListenTls) -> Result<Self, ListenTlsError> {
        let content = files.load()?;
        let seen = Seen { used: content.fingerprint, refused: None };
        let current = RwLock::new(settings(content)?);
        Ok(Self { files, current, seen: Mutex::new(seen) })
    }

    /// Looks at the files, and takes what is new. Reads files, so it may block for a moment.
    ///
    /// Certificate and key are replaced one after the other, so what does not fit together is called wrong only at
    /// the second look that finds it so.
    pub fn reload(&self) -> Reloaded {
        let mut seen = self.seen.lock();
        let outcome = match self.files.load() {
            Ok(files) if files.fingerprint == seen.used => {
                seen.refused = None;
                return Reloaded::Unchanged;
            }
            Ok(files) => {
                let fingerprint = files.fingerprint;
                settings(files).map(|config| (config, fingerprint))
            }
            Err(error) => Err(error.into()),
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
fn settings(files: TlsFiles) -> Result<Arc<ServerConfig>, ListenTlsError> {
    let provider = tls_provider();
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match files.client_roots {
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(files.identity)));
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
