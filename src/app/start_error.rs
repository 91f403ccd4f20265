//! The errors of a start.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use crate::oauth::EndpointError;
use crate::store::StoreError;
use crate::tls::TlsError;
use vbc_http::{ListenTlsError, bind_advice, unix_bind_advice};

/// Why the proxy cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The proxy cannot listen on an address.
    #[error("cannot listen on {address} ({key}): {source}{}", bind_advice(source, address.port()))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The key of the address in the configuration.
        key: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The proxy cannot create a unix socket.
    #[error("cannot listen on unix:{} ({key}): {source}{}", path.display(), unix_bind_advice(source))]
    BindUnix {
        /// Its path.
        path: PathBuf,
        /// The key of the path in the configuration.
        key: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The token store cannot be used.
    #[error("{}{}", source.describe(), store_advice(source))]
    Store {
        /// The reason.
        #[from]
        source: StoreError,
    },
    /// TLS to the upstream or the token endpoint cannot be set up.
    #[error("{source}{}", because(source))]
    Tls {
        /// The reason.
        #[from]
        source: TlsError,
    },
    /// TLS towards clients cannot be set up.
    #[error("listen.tls: {0}")]
    ListenTls(#[from] ListenTlsError),
    /// The client for the token endpoint cannot be built.
    #[error("cannot set up the client for the token endpoint: {0}")]
    TokenClient(#[from] EndpointError),
    /// No credential is configured.
    #[error("no credential is configured; add [credentials.default]")]
    NoCredential,
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// The remedy if the directory of the token store cannot be used.
fn store_advice(error: &StoreError) -> &'static str {
    let StoreError::Io { source, .. } = error else { return "" };
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; free space, or change store.path",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory => {
            "; store.path must be a directory that this user can write to"
        }
        _ => " (store.path)",
    }
}

fn because(error: &dyn std::error::Error) -> String {
    error.source().map(|source| format!(": {source}")).unwrap_or_default()
}
