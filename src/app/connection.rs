//! A client's connection before any byte is read: owned by the runtime of a thread, or moving from
//! one thread to another. Also counts the connections of a thread.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;

use crate::metrics::Load;
use vbc_http::{ConnectionPermit, Peer};

/// A connection that this thread's runtime owns.
pub(super) enum Connection {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// A connection that no runtime owns. It keeps the options of its socket.
pub(super) enum DetachedConnection {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

/// The resources that a connection holds until it ends.
pub(super) struct Slot {
    /// Dropped first, so that the permit is free before the connection counts as ended.
    _permit: ConnectionPermit,
    open: OpenGuard,
}

impl Slot {
    pub(super) fn new(permit: ConnectionPermit, open: OpenGuard) -> Self {
        Self { _permit: permit, open }
    }

    pub(super) fn move_to(&mut self, open: OpenGuard) {
        self.open = open;
    }
}

/// An admitted connection on its way to the thread that will serve it. That thread's count already
/// includes the connection.
pub(super) struct Handover {
    pub(super) connection: DetachedConnection,
    pub(super) slot: Slot,
}

impl Connection {
    pub(super) fn peer(&self) -> Peer {
        match self {
            Self::Tcp(_, peer) => Peer::Tcp(*peer),
            Self::Unix(_) => Peer::Unix,
        }
    }

    pub(super) fn detach(self) -> io::Result<DetachedConnection> {
        Ok(match self {
            Self::Tcp(stream, peer) => DetachedConnection::Tcp(stream.into_std()?, peer),
            Self::Unix(stream) => DetachedConnection::Unix(stream.into_std()?),
        })
    }
}

impl DetachedConnection {
    pub(super) fn attach(self) -> io::Result<Connection> {
        Ok(match self {
            Self::Tcp(stream, peer) => Connection::Tcp(TcpStream::from_std(stream)?, peer),
            Self::Unix(stream) => Connection::Unix(UnixStream::from_std(stream)?),
        })
    }
}

/// The open connections of one thread.
///
/// Another thread counts a connection here before it hands the connection over. Every counted
/// connection ends on this thread, or with this thread's runtime.
#[derive(Default)]
pub(super) struct OpenConnections {
    here: Load,
    all_threads: Gauge,
    ended: AtomicU64,
    changed: Notify,
}

/// Counts as one open connection until it is dropped.
pub(super) struct OpenGuard(Arc<OpenConnections>);

impl OpenConnections {
    pub(super) fn new(here: Load, all_threads: Gauge) -> Arc<Self> {
        Arc::new(Self { here, all_threads, ..Self::default() })
    }

    pub(super) fn count(self: &Arc<Self>) -> OpenGuard {
        self.here.inc();
        self.all_threads.inc();
        OpenGuard(Arc::clone(self))
    }

    pub(super) fn get(&self) -> i64 {
        self.here.get()
    }

    /// The number of connections that have ended since the start.
    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Waits until no connection is open. Reliable only after all other threads have stopped
    /// handing over connections.
    pub(super) async fn none(&self) {
        while self.here.get() > 0 {
            self.changed.notified().await;
        }
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.here.dec();
        self.0.all_threads.dec();
        // Relaxed: the number guards no memory.
        self.0.ended.fetch_add(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    #[tokio::test]
    async fn what_was_set_and_sent_stays_on_the_way() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        client.write_all(b"early").await.unwrap();
        let detached = Connection::Tcp(stream, peer).detach().unwrap();
        let attached = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let attached = detached.attach().unwrap();
                assert_eq!(attached.peer(), Peer::Tcp(peer));
                let Connection::Tcp(mut stream, _) = attached else { panic!("it came over TCP") };
                let mut read = [0; 5];
                stream.read_exact(&mut read).await.unwrap();
                stream.write_all(b"late").await.unwrap();
                (stream.nodelay().unwrap(), read)
            })
        });
        let mut received = String::new();
        client.read_to_string(&mut received).await.unwrap();
        assert_eq!((attached.join().unwrap(), received.as_str()), ((true, *b"early"), "late"));
    }

    #[tokio::test]
    async fn a_unix_socket_stays_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxy.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let mut client = UnixStream::connect(&path).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let attached = Connection::Unix(stream).detach().unwrap().attach().unwrap();
        assert_eq!(attached.peer(), Peer::Unix);
        let Connection::Unix(mut stream) = attached else { panic!("it came over a unix socket") };
        stream.write_all(b"here").await.unwrap();
        let mut read = [0; 4];
        client.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"here");
    }
}
