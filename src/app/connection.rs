//! A client's connection, while nothing of it has been read: in the hands of a thread's runtime, or between two.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpStream, UnixStream};

use super::open::Counted;
use crate::server::{Admitted, Peer};

/// A connection in the hands of this thread's runtime.
pub(super) enum Connection {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// One in nobody's. What was set on the socket stays.
pub(super) enum Detached {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

/// What a connection takes until it ends.
pub(super) struct Place {
    /// First, so that its place is free before it is seen to be gone.
    _admitted: Admitted,
    counted: Counted,
}

impl Place {
    pub(super) fn new(admitted: Admitted, counted: Counted) -> Self {
        Self { _admitted: admitted, counted }
    }

    /// Counts it for another thread.
    pub(super) fn move_to(&mut self, counted: Counted) {
        self.counted = counted;
    }
}

/// A connection on its way to the thread that is to serve it, admitted and counted there.
pub(super) struct Handed {
    pub(super) connection: Detached,
    pub(super) place: Place,
}

impl Connection {
    pub(super) fn peer(&self) -> Peer {
        match self {
            Self::Tcp(_, peer) => Peer::Tcp(*peer),
            Self::Unix(_) => Peer::Unix,
        }
    }

    /// Takes it from the runtime.
    pub(super) fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            Self::Tcp(stream, peer) => Detached::Tcp(stream.into_std()?, peer),
            Self::Unix(stream) => Detached::Unix(stream.into_std()?),
        })
    }
}

impl Detached {
    /// Gives it to the current runtime.
    pub(super) fn attach(self) -> io::Result<Connection> {
        Ok(match self {
            Self::Tcp(stream, peer) => Connection::Tcp(TcpStream::from_std(stream)?, peer),
            Self::Unix(stream) => Connection::Unix(UnixStream::from_std(stream)?),
        })
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
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!((attached.join().unwrap(), answer.as_str()), ((true, *b"early"), "late"));
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
