//! The listeners for clients: every address of `listen.address`, for every thread.

use std::net::TcpListener;

use super::start_error::StartError;
use crate::config::{Listen, ListenAddress};
use crate::server::{self, UnixSocket};

/// A socket that a thread accepts from.
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

/// All listeners, bound and not yet served.
pub(super) struct Listeners {
    /// Their real addresses, in the order of the configuration.
    pub(super) addresses: Vec<ListenAddress>,
    /// For each thread, one socket per address.
    pub(super) workers: Vec<Vec<Socket>>,
}

impl Listeners {
    /// Binds all addresses. Each thread gets its own TCP socket; a unix socket is shared.
    pub(super) fn bind(listen: &Listen, workers: usize) -> Result<Self, StartError> {
        let mut bound = Self { addresses: Vec::new(), workers: (0..workers).map(|_| Vec::new()).collect() };
        for address in &listen.addresses {
            match address {
                ListenAddress::Tcp(address) => {
                    let failed =
                        |source| StartError::Bind { address: *address, key: "listen.address", source };
                    let sockets = server::bind(*address, workers).map_err(failed)?;
                    let real = sockets.first().and_then(|socket| socket.local_addr().ok());
                    bound.addresses.push(ListenAddress::Tcp(real.unwrap_or(*address)));
                    for (worker, socket) in bound.workers.iter_mut().zip(sockets) {
                        worker.push(Socket::Tcp(socket));
                    }
                }
                ListenAddress::Unix(path) => {
                    let failed =
                        |source| StartError::BindUnix { path: path.clone(), key: "listen.address", source };
                    let socket = server::bind_unix(path, listen.unix_mode).map_err(failed)?;
                    for worker in &mut bound.workers {
                        worker.push(Socket::Unix(socket.share().map_err(failed)?));
                    }
                    bound.addresses.push(address.clone());
                }
            }
        }
        Ok(bound)
    }
}

/// The addresses as messages show them: `http://127.0.0.1:8080 and unix:/run/vbc-proxy.sock`.
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
