//! TCP listeners.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::{BACKLOG, Listener};

/// The kernel's buffer for a response that the client has not read. By default it grows to
/// megabytes for each connection.
const SEND_BUFFER: usize = 256 * 1024;

/// How many bytes of the kernel's buffer may be unsent. Sent bytes that the client has not
/// acknowledged do not count.
const UNSENT: u32 = 64 * 1024;

/// Ports below this one need a privilege by default.
const FIRST_FREE_PORT: u16 = 1024;

impl Listener for std::net::TcpListener {
    type Stream = TcpStream;
    type Peer = SocketAddr;
    type Waiting = tokio::net::TcpListener;

    fn wait(self) -> io::Result<Self::Waiting> {
        tokio::net::TcpListener::from_std(self)
    }

    async fn next(waiting: &Self::Waiting) -> io::Result<(TcpStream, SocketAddr)> {
        waiting.accept().await
    }

    fn stop_waiting(waiting: Self::Waiting) -> io::Result<Self> {
        waiting.into_std()
    }

    fn take(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.accept()?;
        stream.set_nonblocking(true)?;
        Ok((TcpStream::from_std(stream)?, peer))
    }
}

/// Binds `listeners` sockets to `address`. They share its connections (`SO_REUSEPORT`) and its
/// port. For port 0 the system chooses one port for all of them.
///
/// The first socket is bound without `SO_REUSEPORT`, so that an address in use is always an error.
/// Otherwise a second proxy could take half of the first one's connections.
///
/// # Errors
/// The operating system's error, usually because the address is in use or does not belong to this
/// machine.
pub fn bind(address: SocketAddr, listeners: usize) -> io::Result<Vec<std::net::TcpListener>> {
    let first = socket(address)?;
    first.bind(&address.into())?;
    if listeners > 1 {
        first.set_reuse_port(true)?;
    }
    let real = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    for _ in 1..listeners {
        let next = socket(real)?;
        next.set_reuse_port(true)?;
        next.bind(&real.into())?;
        sockets.push(next);
    }
    for socket in &sockets {
        socket.listen(BACKLOG)?;
    }
    Ok(sockets.into_iter().map(Into::into).collect())
}

fn socket(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    // A restart must not wait for the TIME_WAIT of the last connections.
    socket.set_reuse_address(true)?;
    // Accepted connections inherit these.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    let _ = socket.set_tcp_notsent_lowat(UNSENT);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Advice to append to an error of [`bind`]. May be empty.
pub fn bind_advice(error: &io::Error, port: u16) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process is using it: stop that process, or choose another port"
        }
        io::ErrorKind::PermissionDenied if port < FIRST_FREE_PORT => {
            "; ports below 1024 need a privilege: choose a higher port, or grant CAP_NET_BIND_SERVICE (setcap, or \
             AmbientCapabilities= in a systemd unit)"
        }
        io::ErrorKind::PermissionDenied => {
            "; a security policy of this system forbids it: change the policy, or choose another port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; this machine has no such address: name one of its own, or 0.0.0.0 for all of them"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_why_an_address_cannot_be_bound_has_its_own_advice() {
        let advice = |kind: io::ErrorKind, port| bind_advice(&kind.into(), port);
        assert!(advice(io::ErrorKind::AddrInUse, 8080).contains("another process"));
        assert!(advice(io::ErrorKind::PermissionDenied, 80).contains("CAP_NET_BIND_SERVICE"));
        let not_ours = bind("192.0.2.1:0".parse().unwrap(), 1).unwrap_err();
        assert!(bind_advice(&not_ours, 0).contains("no such address"), "{not_ours}");
        for other in [io::ErrorKind::PermissionDenied, io::ErrorKind::AddrNotAvailable, io::ErrorKind::Other]
        {
            assert!(!advice(other, 8080).contains("another process"), "{other}");
        }
    }
}
