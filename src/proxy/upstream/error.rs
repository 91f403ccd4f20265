//! Why the upstream gave no response.

use std::io;

use rustls::AlertDescription;
use thiserror::Error;

/// Why the upstream gave no response. `Display` is the problem detail for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(in crate::proxy) enum UpstreamError {
    #[error("cannot resolve the upstream's host name; check upstream.url and DNS")]
    Dns,
    #[error("cannot connect to the upstream; check upstream.url, and whether the upstream is running")]
    Refused,
    #[error(
        "no file descriptor is left for a connection to the upstream; raise the limit (`ulimit -Hn`, or \
         LimitNOFILE= in a systemd unit), or lower listen.max_connections"
    )]
    NoDescriptor,
    #[error("the upstream closed the connection before it responded; the request may have been processed")]
    Terminated,
    #[error(
        "the upstream refused the request twice without processing it; it is overloaded or shutting down, so \
         send the request again later"
    )]
    Refusing,
    #[error("the upstream does not speak HTTP/2; set upstream.http = \"auto\"")]
    NoHttp2,
    #[error("TLS with the upstream failed; the log of the proxy has the reason")]
    TlsProtocol,
    #[error(
        "the upstream's certificate was rejected; the log of the proxy has the reason. For a private authority, \
         set upstream.ca_file"
    )]
    TlsCertificate,
    #[error("the upstream did not accept a connection within upstream.connect_timeout")]
    ConnectTimeout,
    #[error(
        "the upstream did not respond within upstream.response_timeout; the request may have been processed"
    )]
    ResponseTimeout,
    #[error("the upstream paused in the middle of its response for longer than upstream.idle_timeout")]
    ReadTimeout,
    #[error("the upstream accepted no more of the request for longer than upstream.idle_timeout")]
    WriteTimeout,
    #[error("the upstream's response is not valid HTTP")]
    Protocol,
    #[error("the head of the upstream's response is too large")]
    HeadTooLarge,
}

/// The error of a TLS handshake. Logs a warning if a request `wanted` the connection, else a debug
/// message.
pub(super) fn tls_error(error: &io::Error, pinned_to_h2: bool, wanted: bool) -> UpstreamError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if wanted {
        tracing::warn!(%error, "TLS with the upstream failed");
    } else {
        tracing::debug!(%error, "TLS with the upstream failed; no request was waiting");
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

/// The error for a failed HTTP/2 stream: `Terminated` if the peer reset the stream or the
/// connection ended. An error that h2 itself found means that the peer sent invalid HTTP:
/// `Protocol`.
pub(super) fn stream_error(error: &h2::Error) -> UpstreamError {
    if error.is_io() || error.is_remote() {
        return UpstreamError::Terminated;
    }
    match error.reason() {
        Some(h2::Reason::CANCEL) => UpstreamError::Terminated,
        _ => UpstreamError::Protocol,
    }
}

/// Whether the peer reports that it has not processed the request (RFC 9113 §8.7).
///
/// A stream fails with a remote GOAWAY only if the stream's number is above the last number that
/// the peer will process. Other streams fail with an I/O error when the connection ends.
pub(super) fn is_unprocessed(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.is_go_away() || error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
}
