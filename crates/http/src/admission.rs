//! Connection limits across all threads: one in total, and one for each peer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::Peer;
use crate::descriptors::{Descriptor, Descriptors};

/// Peer counts are sharded, so that threads that accept at the same time rarely contend.
const SHARDS: usize = 16;

/// Counts the open connections of all threads.
#[derive(Debug)]
pub struct Admission {
    open: AtomicUsize,
    most: usize,
    most_per_peer: usize,
    /// The pool that each connection takes a descriptor from. `None` if these connections have a
    /// reserve of their own.
    descriptors: Option<Arc<Descriptors>>,
    peers: [Mutex<HashMap<IpAddr, usize>>; SHARDS],
}

/// The right to one connection. The connection counts until this is dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    admission: Arc<Admission>,
    peer: Option<IpAddr>,
    _descriptor: Option<Descriptor>,
}

/// The limit that one more connection would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionLimit {
    /// `listen.max_connections`, or the limit of file descriptors.
    All,
    /// `listen.max_connections_per_peer`.
    Peer,
}

impl Admission {
    /// Allows `most` connections at a time, of which `most_per_peer` may come from one peer. A
    /// `most_per_peer` of 0 means no limit per peer. Loopback and unix sockets never have a limit
    /// per peer.
    pub fn new(most: usize, most_per_peer: usize) -> Arc<Self> {
        Self::sharing(most, most_per_peer, None)
    }

    /// Like [`new`](Self::new). With `descriptors`, each connection also takes one of them.
    pub fn sharing(most: usize, most_per_peer: usize, descriptors: Option<Arc<Descriptors>>) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            most,
            most_per_peer,
            descriptors,
            peers: Default::default(),
        })
    }

    /// Admits a connection from this peer.
    ///
    /// # Errors
    /// The limit that is reached. The rejected connection does not count.
    pub fn admit(self: &Arc<Self>, peer: &Peer) -> Result<ConnectionPermit, ConnectionLimit> {
        self.count(match peer {
            Peer::Tcp(address) => subject(address.ip()),
            Peer::Unix => None,
        })
    }

    fn count(self: &Arc<Self>, peer: Option<IpAddr>) -> Result<ConnectionPermit, ConnectionLimit> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(ConnectionLimit::All);
        }
        // From here on, dropping the permit undoes the count.
        let mut permit = ConnectionPermit { admission: Arc::clone(self), peer: None, _descriptor: None };
        if let Some(peer) = peer.filter(|_| self.most_per_peer > 0) {
            let mut peers = self.shard(peer).lock();
            let count = peers.entry(peer).or_insert(0);
            if *count >= self.most_per_peer {
                return Err(ConnectionLimit::Peer);
            }
            *count += 1;
            permit.peer = Some(peer);
        }
        if let Some(descriptors) = &self.descriptors {
            permit._descriptor = Some(descriptors.take().ok_or(ConnectionLimit::All)?);
        }
        Ok(permit)
    }

    fn shard(&self, peer: IpAddr) -> &Mutex<HashMap<IpAddr, usize>> {
        let last = match peer {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => address.octets()[7],
        };
        &self.peers[usize::from(last) % SHARDS]
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Ordering::Relaxed);
        let Some(peer) = self.peer else { return };
        if let Entry::Occupied(mut entry) = self.admission.shard(peer).lock().entry(peer) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// The address that a peer is counted under; `None` for loopback. An IPv6 peer counts as its /64
/// network, which may belong to a single host.
fn subject(peer: IpAddr) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    match peer {
        _ if peer.is_loopback() => None,
        IpAddr::V4(_) => Some(peer),
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            Some(IpAddr::V6(Ipv6Addr::from(network)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> &'static Peer {
        let address: IpAddr = text.parse().unwrap();
        Box::leak(Box::new(Peer::Tcp((address, 1).into())))
    }

    #[test]
    fn one_too_many_is_refused_and_one_that_ends_makes_room() {
        let admission = Admission::new(2, 0);
        let first = admission.admit(peer("127.0.0.1")).unwrap();
        let _second = admission.admit(peer("192.0.2.1")).unwrap();
        for _ in 0..3 {
            assert_eq!(admission.admit(peer("127.0.0.1")).unwrap_err(), ConnectionLimit::All);
        }
        drop(first);
        let _third = admission.admit(peer("192.0.2.1")).unwrap();
        assert_eq!(admission.admit(peer("192.0.2.1")).unwrap_err(), ConnectionLimit::All);
    }

    #[test]
    fn a_connection_without_a_descriptor_is_refused_and_counted_for_nobody() {
        let descriptors = Descriptors::new(2);
        let upstream = descriptors.take().unwrap();
        let admission = Admission::sharing(9, 9, Some(Arc::clone(&descriptors)));
        let _first = admission.admit(peer("192.0.2.1")).unwrap();
        assert_eq!(admission.admit(peer("192.0.2.1")).unwrap_err(), ConnectionLimit::All);
        assert_eq!(admission.open.load(Ordering::Relaxed), 1);
        drop(upstream);
        admission.admit(peer("192.0.2.1")).unwrap();
    }

    #[test]
    fn a_peer_over_its_limit_takes_nothing_from_others() {
        let admission = Admission::new(4, 2);
        let held: Vec<_> = (0..2).map(|_| admission.admit(peer("192.0.2.1")).unwrap()).collect();
        for _ in 0..9 {
            assert_eq!(admission.admit(peer("192.0.2.1")).unwrap_err(), ConnectionLimit::Peer);
            // The same address, as a socket for both IPv4 and IPv6 reports it.
            assert_eq!(admission.admit(peer("::ffff:192.0.2.1")).unwrap_err(), ConnectionLimit::Peer);
        }
        let _others =
            (admission.admit(peer("192.0.2.2")).unwrap(), admission.admit(peer("192.0.2.3")).unwrap());
        drop(held);
        admission.admit(peer("192.0.2.1")).unwrap();
    }

    #[test]
    fn loopback_and_unix_sockets_have_no_limit_of_their_own() {
        let admission = Admission::new(100, 1);
        for address in ["127.0.0.1", "127.0.0.1", "127.9.9.9", "::1", "::1", "::ffff:127.0.0.1"] {
            std::mem::forget(admission.admit(peer(address)).unwrap());
            std::mem::forget(admission.admit(&Peer::Unix).unwrap());
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer() {
        let admission = Admission::new(100, 1);
        let held = admission.admit(peer("2001:db8::1")).unwrap();
        assert_eq!(admission.admit(peer("2001:db8::ffff:2")).unwrap_err(), ConnectionLimit::Peer);
        let _other = admission.admit(peer("2001:db8:0:1::1")).unwrap();
        drop(held);
        admission.admit(peer("2001:db8::ffff:2")).unwrap();
    }

    #[test]
    fn peers_that_have_gone_are_forgotten() {
        let admission = Admission::new(1000, 1);
        for last in 0..255 {
            drop(admission.admit(&Peer::Tcp(([192, 0, 2, last], 1).into())).unwrap());
        }
        assert!(admission.peers.iter().all(|shard| shard.lock().is_empty()));
        assert_eq!(admission.open.load(Ordering::Relaxed), 0);
    }
}
