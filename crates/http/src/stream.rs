//! Streams of bytes to clients.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, Ready};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::unconstrained;

/// A stream of bytes to a client.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Makes the next close send a reset, if the transport has resets.
    fn reset_on_close(&self);

    /// Whether the client is known to have reset the connection, or to read no more. Registers no
    /// waker.
    fn has_been_reset(&self) -> bool;

    /// Whether the end must be announced before the close, as TLS does (`close_notify`). Otherwise
    /// the close announces it.
    fn sends_close_notify(&self) -> bool {
        true
    }
}

impl Stream for TcpStream {
    fn reset_on_close(&self) {
        // Closing without linger time makes the kernel send a reset.
        let _ = socket2::SockRef::from(self).set_linger(Some(Duration::ZERO));
    }

    fn has_been_reset(&self) -> bool {
        is_write_closed(self.ready(Interest::WRITABLE))
    }

    fn sends_close_notify(&self) -> bool {
        false
    }
}

impl Stream for UnixStream {
    fn reset_on_close(&self) {}

    fn has_been_reset(&self) -> bool {
        is_write_closed(self.ready(Interest::WRITABLE))
    }

    fn sends_close_notify(&self) -> bool {
        false
    }
}

/// Whether the runtime knows that the socket can no longer be written to.
fn is_write_closed(ready: impl Future<Output = io::Result<Ready>>) -> bool {
    let polled = pin!(unconstrained(ready)).poll(&mut Context::from_waker(Waker::noop()));
    matches!(polled, Poll::Ready(Ok(ready)) if ready.is_write_closed())
}

/// The other side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP client with this address.
    Tcp(SocketAddr),
    /// A client of a unix socket. The permissions of the socket's file decide who can connect.
    Unix,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}
