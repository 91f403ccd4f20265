//! The listeners for clients: each thread has one socket for each address of `listen.address`.

use std::io;
use std::net::TcpListener;

use super::connection::Connection;
use super::start_error::StartError;
use crate::config::{Listen, ListenAddress};
use vbc_http::{DrainSignal, UnixSocket};

/// A bound socket, for clients or for the admin listener.
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

impl Socket {
    /// Binds an address for `count` threads. On TCP, each thread gets a separate socket. A unix
    /// socket is shared, and its file gets `mode`. `key` is the key of the address in the
    /// configuration.
    pub(super) fn bind(
        address: &ListenAddress,
        count: usize,
        mode: u32,
        key: &'static str,
    ) -> Result<Vec<Self>, StartError> {
        match address {
            ListenAddress::Tcp(address) => {
                let sockets = vbc_http::bind(*address, count).map_err(|source| StartError::Bind {
                    address: *address,
                    key,
                    source,
                })?;
                Ok(sockets.into_iter().map(Self::Tcp).collect())
            }
            ListenAddress::Unix(path) => vbc_http::bind_unix(path, mode)
                .and_then(|socket| (0..count).map(|_| socket.share().map(Self::Unix)).collect())
                .map_err(|source| StartError::BindUnix { path: path.clone(), key, source }),
        }
    }

    /// The real address, if the system reports it.
    pub(super) fn address(&self) -> Option<ListenAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(ListenAddress::Tcp),
            Self::Unix(socket) => Some(ListenAddress::Unix(socket.path().to_owned())),
        }
    }

    pub(super) async fn accept(
        self,
        signal: DrainSignal,
        mut begin: impl FnMut(Connection),
    ) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => {
                vbc_http::accept(listener, signal, |stream, peer| begin(Connection::Tcp(stream, peer))).await
            }
            Self::Unix(socket) => {
                vbc_http::accept(socket, signal, |stream, ()| begin(Connection::Unix(stream))).await
            }
        }
    }
}

/// Binds all addresses for clients. Returns the real addresses, in the order of the configuration,
/// and for each thread one socket per address.
pub(super) fn bind(
    listen: &Listen,
    workers: usize,
) -> Result<(Vec<ListenAddress>, Vec<Vec<Socket>>), StartError> {
    let mut addresses = Vec::new();
    let mut bound: Vec<_> = (0..workers).map(|_| Vec::new()).collect();
    for address in &listen.addresses {
        let sockets = Socket::bind(address, workers, listen.unix_mode, "listen.address")?;
        let real = sockets.first().and_then(Socket::address);
        addresses.push(real.unwrap_or_else(|| address.clone()));
        for (worker, socket) in bound.iter_mut().zip(sockets) {
            worker.push(socket);
        }
    }
    Ok((addresses, bound))
}

/// The addresses for messages: `http://127.0.0.1:8080 and unix:/run/vbc-proxy.sock`.
pub(super) fn names(addresses: &[ListenAddress], tls: bool) -> String {
    let name = |address: &ListenAddress| match address {
        ListenAddress::Tcp(address) => format!("{}://{address}", if tls { "https" } else { "http" }),
        ListenAddress::Unix(_) => address.to_string(),
    };
    addresses.iter().map(name).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_addresses_are_named_together() {
        let addresses =
            [ListenAddress::Tcp("127.0.0.1:1".parse().unwrap()), ListenAddress::Unix("/run/x.sock".into())];
        assert_eq!(names(&addresses, false), "http://127.0.0.1:1 and unix:/run/x.sock");
        assert_eq!(names(&addresses[..1], true), "https://127.0.0.1:1");
    }
}
