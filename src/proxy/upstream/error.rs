//! Why there is no response of the upstream.

use std::io;

use rustls::AlertDescription;
use thiserror::Error;

/// Why there is no response of the upstream. `Display` is the detail that the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(in crate::proxy) enum UpstreamError {
    #[error("the upstream's host name cannot be resolved; check upstream.url and DNS")]
    Dns,
    #[error("the upstream cannot be reached; check upstream.url, and whether it is up")]
    Refused,
    #[error(
        "no file descriptor is left for a connection to the upstream; raise their limit (`ulimit -Hn`, or \
         LimitNOFILE= in a systemd unit), or lower listen.max_connections"
    )]
    NoDescriptor,
    #[error("the upstream closed the connection before it answered; the request may have been processed")]
    Terminated,
    #[error("the upstream refused the request twice, unprocessed: it is overloaded or shutting down")]
    Refusing,
    #[error("the upstream does not speak HTTP/2; upstream.http = \"auto\" takes what it speaks")]
    NoHttp2,
    #[error("TLS with the upstream failed")]
    TlsProtocol,
    #[error("the upstream's certificate is not trusted; upstream.ca_file names other roots")]
    TlsCertificate,
    #[error("the upstream did not accept a connection within upstream.connect_timeout")]
    ConnectTimeout,
    #[error(
        "the upstream did not answer within upstream.response_timeout; the request may have been processed"
    )]
    ResponseTimeout,
    #[error("the upstream stopped in the middle of its answer for longer than upstream.idle_timeout")]
    ReadTimeout,
    #[error("the upstream did not take the request for longer than upstream.idle_timeout")]
    WriteTimeout,
    #[error("the upstream's answer is not valid HTTP")]
    Protocol,
    #[error("the head of the upstream's answer is too large")]
    HeadTooLarge,
}

/// The error of a TLS handshake, which is only worth a warning if a request `wanted` the
/// connection.
pub(super) fn tls_error(error: &io::Error, pinned_to_h2: bool, wanted: bool) -> UpstreamError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if wanted {
        tracing::warn!(%error, "TLS with the upstream failed");
    } else {
        tracing::debug!(%error, "TLS with the upstream failed, while nobody waited for it");
    }
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => UpstreamError::TlsCertificate,
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) if pinned_to_h2 => {
            UpstreamError::NoHttp2
        }
        Some(_) => UpstreamError::TlsProtocol,
        None => UpstreamError::Terminated,
    }
}

/// The error of a stream. If the peer reset or closed it, it was cut short. If h2 itself refused
/// something, that was not valid HTTP.
pub(super) fn stream_error(error: &h2::Error) -> UpstreamError {
    if error.is_io() || error.is_remote() {
        return UpstreamError::Terminated;
    }
    match error.reason() {
        Some(h2::Reason::CANCEL) => UpstreamError::Terminated,
        _ => UpstreamError::Protocol,
    }
}

/// Whether the peer says that it has not processed the request (RFC 9113 §8.7). A stream fails with
/// a remote GOAWAY only if it is above the last one that the peer processes. When the connection
/// ends, the others fail with an I/O error.
pub(super) fn is_unprocessed(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.is_go_away() || error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
}
