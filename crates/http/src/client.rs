//! A small HTTP client for the command line: one request, one connection.
//!
//! The client reaches listeners on this machine and, for diagnosis, other hosts. Its errors
//! distinguish the causes that a user would check. It keeps no connections and follows no
//! redirects. The data plane has a pooled client of its own, and token requests go through reqwest.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// The largest response body that is read.
const RESPONSE_BYTES: usize = 64 << 20;

/// Where a request goes.
#[derive(Clone, Debug)]
pub enum Target {
    /// A listener on this machine. An unspecified address (`0.0.0.0`, `[::]`) is reached through
    /// loopback.
    Tcp(SocketAddr),
    /// A listener on a unix socket.
    Unix(PathBuf),
    /// Another host.
    Origin {
        /// TLS settings; `None` for plain HTTP.
        tls: Option<Arc<rustls::ClientConfig>>,
        /// A name or an address; an IPv6 address with or without brackets.
        host: String,
        /// The TCP port.
        port: u16,
    },
}

/// Why there is no response.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The host name could not be resolved, or has no address.
    #[error("cannot resolve the host name {host}: {source}")]
    Lookup {
        /// The name.
        host: String,
        /// The error of the resolver.
        source: io::Error,
    },
    /// Nothing listens at the target. For a unix socket, its file may be missing.
    #[error("nothing is listening: {0}")]
    Refused(#[source] io::Error),
    /// Connecting failed for another reason.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// The server's certificate was rejected.
    #[error("the server's certificate was rejected: {0}")]
    Certificate(#[source] rustls::Error),
    /// The TLS handshake failed for another reason.
    #[error("the TLS handshake failed: {0}")]
    Tls(#[source] io::Error),
    /// The response was not complete in time.
    #[error("no response within {0:?}")]
    Timeout(Duration),
    /// The response is not valid HTTP/1, or it broke off.
    #[error("the response is not valid HTTP, or broke off: {0}")]
    Protocol(#[source] hyper::Error),
    /// The response's body is longer than 64 MiB.
    #[error("the response is longer than {} MiB", RESPONSE_BYTES >> 20)]
    TooLong,
}

/// Sends a request and reads the whole response, within `patience`.
///
/// Only the path and query of the URI are used. A missing `Host` is filled in from the target.
/// Dropping the future closes the connection.
///
/// # Errors
/// [`ClientError`] if no complete response arrives. A response with an error status is `Ok`.
pub async fn send(
    target: &Target,
    request: Request<Bytes>,
    patience: Duration,
) -> Result<Response<Bytes>, ClientError> {
    let exchange = async {
        match target {
            Target::Tcp(address) => {
                let address = reachable(*address);
                exchange(connect(&[address]).await?, request, &address.to_string()).await
            }
            Target::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(connecting)?;
                check_peer(&stream).map_err(ClientError::Connect)?;
                exchange(stream, request, "localhost").await
            }
            Target::Origin { tls, host, port } => {
                let host = host.trim_matches(['[', ']']);
                let stream = connect(&look_up(host, *port).await?).await?;
                let authority = authority(host, *port, tls.is_some());
                match tls {
                    None => exchange(stream, request, &authority).await,
                    Some(config) => exchange(secure(stream, config, host).await?, request, &authority).await,
                }
            }
        }
    };
    tokio::time::timeout(patience, exchange).await.map_err(|_| ClientError::Timeout(patience))?
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Bytes>,
    host: &str,
) -> Result<Response<Bytes>, ClientError> {
    let (mut parts, body) = request.into_parts();
    parts.uri = parts.uri.path_and_query().map_or_else(|| Uri::from_static("/"), |path| path.clone().into());
    if !parts.headers.contains_key(header::HOST)
        && let Ok(host) = HeaderValue::try_from(host)
    {
        parts.headers.insert(header::HOST, host);
    }
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(ClientError::Protocol)?;
    let driver = tokio::spawn(connection);
    let response = async {
        let response = sender
            .send_request(Request::from_parts(parts, Full::new(body)))
            .await
            .map_err(ClientError::Protocol)?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, RESPONSE_BYTES).collect().await.map_err(reading)?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    };
    // Closes the connection even if this future is dropped.
    let _driver = AbortOnDrop(driver.abort_handle());
    response.await
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Checks that the listener of a unix socket runs as this user or root. A socket that another user
/// planted there must not receive the request.
fn check_peer(stream: &UnixStream) -> io::Result<()> {
    // A socket pair belongs to the user of this process.
    let (ourselves, _other) = UnixStream::pair()?;
    let peer = stream.peer_cred()?.uid();
    let own = ourselves.peer_cred()?.uid();
    if peer == own || peer == 0 {
        return Ok(());
    }
    let found = format!("the socket belongs to user {peer}, not to user {own} or root; no request was sent");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, found))
}

async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, ClientError> {
    let failed = |source| ClientError::Lookup { host: host.to_owned(), source };
    let found: Vec<_> = tokio::net::lookup_host((host, port)).await.map_err(failed)?.collect();
    if found.is_empty() { Err(failed(io::Error::other("no address found"))) } else { Ok(found) }
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, ClientError> {
    TcpStream::connect(addresses).await.map_err(connecting)
}

fn connecting(error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ClientError::Refused(error),
        _ => ClientError::Connect(error),
    }
}

async fn secure(
    stream: TcpStream,
    config: &Arc<rustls::ClientConfig>,
    host: &str,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ClientError> {
    let name =
        ServerName::try_from(host.to_owned()).map_err(|error| ClientError::Tls(io::Error::other(error)))?;
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(|error| {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(tls @ rustls::Error::InvalidCertificate(_)) => ClientError::Certificate(tls.clone()),
            _ => ClientError::Tls(error),
        }
    })
}

fn reading(error: Box<dyn std::error::Error + Send + Sync>) -> ClientError {
    match error.downcast::<hyper::Error>() {
        Ok(error) => ClientError::Protocol(*error),
        Err(error) => {
            debug_assert!(error.is::<LengthLimitError>());
            ClientError::TooLong
        }
    }
}

/// The `Host` of an origin, without the default port of its scheme.
fn authority(host: &str, port: u16, tls: bool) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    if port == if tls { 443 } else { 80 } { host } else { format!("{host}:{port}") }
}

fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn get(uri: &str) -> Request<Bytes> {
        Request::get(uri).body(Bytes::new()).unwrap()
    }

    /// Sends these bytes as the response to a request. Returns the request.
    async fn respond(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> String {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut request).await.unwrap();
        }
        stream.write_all(bytes).await.unwrap();
        String::from_utf8(request).unwrap()
    }

    #[tokio::test]
    async fn a_response_is_read_whole_whatever_its_status() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            respond(listener.accept().await.unwrap().0, b"HTTP/1.1 503 No\r\ncontent-length: 3\r\n\r\nnot")
                .await
        });
        let response = send(&Target::Tcp(address), get("http://elsewhere/a?b=c"), PATIENCE).await.unwrap();
        assert_eq!((response.status().as_u16(), &response.body()[..]), (503, &b"not"[..]));
        let request = server.await.unwrap();
        assert!(request.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("host: {address}\r\n")), "{request}");
    }

    #[tokio::test]
    async fn a_unix_socket_is_asked_as_an_address_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let target = Target::Unix(path.clone());
        let refused = send(&target, get("/"), PATIENCE).await.unwrap_err();
        assert!(matches!(refused, ClientError::Refused(_)), "{refused:?}");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            respond(listener.accept().await.unwrap().0, b"HTTP/1.1 200 OK\r\n\r\nuntil the end").await
        });
        let response = send(&target, get("/"), PATIENCE).await.unwrap();
        assert_eq!(response.body(), "until the end");
    }

    #[tokio::test]
    async fn errors_tell_what_to_look_at() {
        let origin = |tls, host: &str, port| Target::Origin { tls, host: host.into(), port };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let tls = Some(Arc::new(
            builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth(),
        ));
        let error = send(&origin(None, "no-such-host.invalid", 80), get("/"), PATIENCE).await.unwrap_err();
        assert!(matches!(error, ClientError::Lookup { .. }), "{error:?}");

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            for bytes in [&b"220 this is mail\r\n"[..], b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"]
            {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(bytes).await;
            }
            // A TLS handshake gets a response in plain text, the next connection none.
            let (mut plain, _) = listener.accept().await.unwrap();
            let _ = plain.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            listener.accept().await.unwrap()
        });
        for _ in 0..2 {
            let error = send(&Target::Tcp(address), get("/"), PATIENCE).await.unwrap_err();
            assert!(matches!(error, ClientError::Protocol(_)), "{error:?}");
        }
        let error = send(&origin(tls, "127.0.0.1", address.port()), get("/"), PATIENCE).await.unwrap_err();
        assert!(matches!(error, ClientError::Tls(_)), "{error:?}");
        let error = send(&Target::Tcp(address), get("/"), Duration::from_millis(20)).await.unwrap_err();
        assert!(matches!(error, ClientError::Timeout(_)), "{error:?}");
        drop(server.await.unwrap());
        let error = send(&Target::Tcp(address), get("/"), PATIENCE).await.unwrap_err();
        assert!(matches!(error, ClientError::Refused(_)), "{error:?}");
    }

    #[test]
    fn the_host_of_an_origin_has_no_port_that_goes_without_saying() {
        assert_eq!(authority("api.example", 443, true), "api.example");
        assert_eq!(authority("api.example", 443, false), "api.example:443");
        assert_eq!(authority("::1", 8081, false), "[::1]:8081");
    }
}
