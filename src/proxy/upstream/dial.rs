//! New connections to the upstream: name resolution, TCP, TLS, and the choice of the HTTP version.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::error::{UpstreamError, tls_error};
use super::h1;
use super::slots::{Open, Slots};
use crate::config::{self, UpstreamHttp};
use vbc_http::ReadinessCache;
use vbc_http::descriptors;

/// The kernel's receive buffer of a connection, in bytes. An HTTP/1.1 connection gets a larger
/// buffer once a response is read in large pieces. An HTTP/2 connection has the larger buffer from
/// the start, because the window of each stream is the limit.
const RECEIVE_BUFFER: u32 = 128 * 1024;
const RECEIVE_BUFFER_H2: usize = 512 * 1024;

/// A connection that has been opened.
pub(super) enum NewConnection {
    /// An HTTP/1.1 connection.
    H1(h1::Connection),
    /// A stream for HTTP/2, on which nothing has been sent yet.
    H2(Box<dyn h1::Stream>, Open),
}

/// How the upstream is reached.
pub(super) struct Dialer {
    origin: config::Origin,
    tls: Option<Tls>,
    http: UpstreamHttp,
    pub(super) timeout: Duration,
    pub(super) slots: Rc<Slots>,
    open: Gauge,
}

struct Tls {
    /// Offers the HTTP versions that `upstream.http` allows.
    connector: TlsConnector,
    /// Offers only HTTP/1.1.
    h1: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    fn new(config: &config::Upstream, tls: &rustls::ClientConfig) -> Self {
        let host = config.url.authority.host().trim_matches(['[', ']']).to_owned();
        // The configuration has checked the authority. An invalid name would fail the handshake.
        let name = ServerName::try_from(host).unwrap_or(ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into()));
        let (h2, h1) = (b"h2".to_vec(), b"http/1.1".to_vec());
        // The clones share one cache of TLS sessions, across all threads.
        let offering = |protocols| {
            let mut tls = tls.clone();
            tls.alpn_protocols = protocols;
            TlsConnector::from(Arc::new(tls))
        };
        let alone = offering(vec![h1.clone()]);
        let connector = match config.http {
            UpstreamHttp::Auto => offering(vec![h2, h1]),
            UpstreamHttp::H1 => alone.clone(),
            UpstreamHttp::H2 => offering(vec![h2]),
        };
        Self { connector, h1: alone, name }
    }
}

impl Dialer {
    pub(super) fn new(
        config: &config::Upstream,
        tls: &rustls::ClientConfig,
        open: Gauge,
        slots: Rc<Slots>,
    ) -> Self {
        Self {
            origin: config.url.clone(),
            tls: config.url.tls.then(|| Tls::new(config, tls)),
            http: config.http,
            timeout: config.connect_timeout,
            slots,
            open,
        }
    }

    /// Whether the upstream may speak HTTP/2. The first connection shows whether it does.
    pub(super) fn may_speak_h2(&self) -> bool {
        match self.http {
            UpstreamHttp::Auto => self.tls.is_some(),
            UpstreamHttp::H1 => false,
            UpstreamHttp::H2 => true,
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub(super) fn is_pinned_to_h2(&self) -> bool {
        self.http == UpstreamHttp::H2
    }

    /// Opens a connection. If TLS fails, logs a warning if a request waits for the connection
    /// (`is_wanted`), else a debug message.
    pub(super) async fn dial(&self, is_wanted: impl Fn() -> bool) -> Result<NewConnection, UpstreamError> {
        let (stream, open) = self.reach().await?;
        let Some(tls) = &self.tls else {
            return Ok(if self.is_pinned_to_h2() {
                over_h2(ReadinessCache::new(stream), open)
            } else {
                NewConnection::H1(h1::Connection::new(stream, open))
            });
        };
        let connected = tls.connector.connect(tls.name.clone(), ReadinessCache::new(stream)).await;
        let stream = connected.map_err(|error| tls_error(&error, self.is_pinned_to_h2(), is_wanted()))?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            Ok(over_h2(stream, open))
        } else if self.is_pinned_to_h2() {
            Err(UpstreamError::NoHttp2)
        } else {
            Ok(NewConnection::H1(h1::Connection::new(stream, open)))
        }
    }

    /// Opens an HTTP/1.1 connection, even if the upstream also speaks HTTP/2.
    pub(super) async fn dial_h1(&self) -> Result<h1::Connection, UpstreamError> {
        let (stream, open) = self.reach().await?;
        let Some(tls) = &self.tls else { return Ok(h1::Connection::new(stream, open)) };
        let connected = tls.h1.connect(tls.name.clone(), ReadinessCache::new(stream)).await;
        connected
            .map(|stream| h1::Connection::new(stream, open))
            .map_err(|error| tls_error(&error, false, true))
    }

    /// Opens a TCP connection. Takes a slot before it opens the socket.
    async fn reach(&self) -> Result<(TcpStream, Open), UpstreamError> {
        let slot = self.slots.take().ok_or(UpstreamError::NoDescriptor)?;
        let host = self.origin.authority.host().trim_matches(['[', ']']);
        let port = self.origin.authority.port_u16().unwrap_or(if self.origin.tls { 443 } else { 80 });
        let addresses = tokio::net::lookup_host((host, port)).await.map_err(|_| UpstreamError::Dns)?;
        let addresses: Vec<_> = addresses.collect();
        // The addresses share the connect timeout. Otherwise one address that drops every packet
        // would use up all the time.
        let share = self.timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let mut failure = UpstreamError::Dns;
        for address in addresses {
            let connected = tokio::time::timeout(share, connect(address)).await;
            match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return Ok((stream, Open::new(&self.open, slot)));
                }
                Err(error) => {
                    tracing::debug!(%address, %error, "connecting to the upstream failed");
                    failure = match error.kind() {
                        io::ErrorKind::TimedOut => UpstreamError::ConnectTimeout,
                        _ if descriptors::ran_out(&error) => UpstreamError::NoDescriptor,
                        _ => UpstreamError::Refused,
                    };
                }
            }
        }
        Err(failure)
    }
}

fn over_h2(stream: impl h1::Stream + 'static, open: Open) -> NewConnection {
    stream.set_receive_buffer(RECEIVE_BUFFER_H2);
    NewConnection::H2(Box::new(stream), open)
}

/// Connects with a bounded receive buffer, so that bytes that a client does not read stay at the
/// upstream.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.connect(address).await
}
