//! New connections to the upstream: name, TCP, TLS, and which HTTP is spoken.

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
use super::pools::Pools;
use super::slots::{Open, Slots};
use super::{h1, h2};
use crate::config::{self, UpstreamHttp};
use crate::server::ReadinessCache;
use crate::server::descriptors;

/// What the kernel may keep of what has not been read, on each connection: of HTTP/1.1 until a response is read in large
/// pieces, and of HTTP/2, where the window of each stream is the bound.
const RECEIVE_BUFFER: u32 = 128 * 1024;
const RECEIVE_BUFFER_H2: usize = 512 * 1024;

/// What has been dialled.
pub(super) enum NewConnection {
    H1(h1::Connection),
    /// It is in the pool.
    H2,
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
    /// Offers what `upstream.http` allows.
    connector: TlsConnector,
    /// Offers HTTP/1.1 alone.
    h1: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    fn new(config: &config::Upstream, tls: &rustls::ClientConfig) -> Self {
        let host = config.url.authority.host().trim_matches(['[', ']']).to_owned();
        // The configuration has checked the authority; a name that is none fails the handshake.
        let name = ServerName::try_from(host).unwrap_or(ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into()));
        let (h2, h1) = (b"h2".to_vec(), b"http/1.1".to_vec());
        // The sessions to be resumed stay shared by all threads.
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

    /// Whether the first connection has to show which HTTP the upstream speaks, or that is HTTP/2.
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

    /// A new connection, within `upstream.connect_timeout`.
    pub(super) async fn dial(&self, pools: &Rc<Pools>) -> Result<NewConnection, UpstreamError> {
        let dialled = async {
            let (stream, open) = self.reach().await?;
            self.negotiate(stream, open, pools).await
        };
        tokio::time::timeout(self.timeout, dialled).await.unwrap_or(Err(UpstreamError::ConnectTimeout))
    }

    /// A new connection of HTTP/1.1, whatever else the upstream speaks, within `upstream.connect_timeout`.
    pub(super) async fn dial_h1(&self) -> Result<h1::Connection, UpstreamError> {
        let dialled = async {
            let (stream, open) = self.reach().await?;
            match &self.tls {
                None => Ok(h1::Connection::new(stream, open)),
                Some(tls) => {
                    let connected = tls.h1.connect(tls.name.clone(), ReadinessCache::new(stream)).await;
                    connected
                        .map(|stream| h1::Connection::new(stream, open))
                        .map_err(|error| tls_error(&error, false, true))
                }
            }
        };
        tokio::time::timeout(self.timeout, dialled).await.unwrap_or(Err(UpstreamError::ConnectTimeout))
    }

    /// A connection over TCP. Its slot is taken before there is a socket.
    async fn reach(&self) -> Result<(TcpStream, Open), UpstreamError> {
        let slot = self.slots.take().ok_or(UpstreamError::NoDescriptor)?;
        let host = self.origin.authority.host().trim_matches(['[', ']']);
        let port = self.origin.authority.port_u16().unwrap_or(if self.origin.tls { 443 } else { 80 });
        let addresses = tokio::net::lookup_host((host, port)).await.map_err(|_| UpstreamError::Dns)?;
        let addresses: Vec<_> = addresses.collect();
        // One address that swallows everything must not take the others' time.
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

    async fn negotiate(
        &self,
        stream: TcpStream,
        open: Open,
        pools: &Rc<Pools>,
    ) -> Result<NewConnection, UpstreamError> {
        let Some(tls) = &self.tls else {
            return match self.is_pinned_to_h2() {
                true => open_h2(ReadinessCache::new(stream), open, pools).await,
                false => Ok(NewConnection::H1(h1::Connection::new(stream, open))),
            };
        };
        let connected = tls.connector.connect(tls.name.clone(), ReadinessCache::new(stream)).await;
        let stream =
            connected.map_err(|error| tls_error(&error, self.is_pinned_to_h2(), pools.is_wanted()))?;
        match stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            true => open_h2(stream, open, pools).await,
            false if self.is_pinned_to_h2() => Err(UpstreamError::NoHttp2),
            false => Ok(NewConnection::H1(h1::Connection::new(stream, open))),
        }
    }
}

async fn open_h2(
    stream: impl h1::Stream + 'static,
    open: Open,
    pools: &Rc<Pools>,
) -> Result<NewConnection, UpstreamError> {
    stream.keep(RECEIVE_BUFFER_H2);
    h2::Connection::open(stream, open, Rc::clone(pools)).await.map(|()| NewConnection::H2)
}

/// Connects with a bounded buffer: what a client does not read waits at the upstream, and not in our kernel.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.connect(address).await
}
