//! TLS to other hosts: the trusted certificate authorities.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

use vbc_base::trusted::{self, Flaw, PEM_BYTES};

/// Why trust roots could not be loaded.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file cannot be read as PEM.
    #[error("{path} is not a PEM file with certificates")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// Other users can change the file.
    #[error(transparent)]
    Untrusted(#[from] Flaw),
    /// The file has no usable certificate.
    #[error("{0} contains no certificate")]
    Empty(PathBuf),
    /// The library refused the settings.
    #[error("cannot set up TLS")]
    Settings(#[from] rustls::Error),
}

/// A client configuration that trusts only the certificates in `ca_file`. Without a `ca_file`, the
/// configuration trusts the system's roots. If the system has no roots, as in minimal containers,
/// it trusts the bundled ones.
///
/// # Errors
/// When `ca_file` cannot be used.
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match ca_file {
        Some(path) => from_file(path)?,
        None => from_system(),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn from_file(path: &Path) -> Result<RootCertStore, TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let file = trusted::read(path, PEM_BYTES);
    let pem = file.map_err(|source| TlsError::File { path: path.to_owned(), source })?.trusted()?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.map_err(unreadable)?)?;
    }
    if roots.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(roots) }
}

fn from_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        tracing::info!("the system has no trust roots; using the bundled ones");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_a_certificate_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = client_config(Some(file.path())).unwrap_err();
        assert!(error.to_string().contains(file.path().to_str().unwrap()), "{error}");
        assert!(client_config(Some(Path::new("/nonexistent"))).is_err());
    }

    #[test]
    fn roots_that_everyone_can_write_to_are_not_trusted() {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(file.path(), certificate.cert.pem()).unwrap();
        client_config(Some(file.path())).unwrap();
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o602)).unwrap();
        let error = client_config(Some(file.path())).unwrap_err();
        assert!(matches!(error, TlsError::Untrusted(_)), "{error}");
    }

    #[test]
    fn there_are_always_roots() {
        client_config(None).unwrap();
    }
}
