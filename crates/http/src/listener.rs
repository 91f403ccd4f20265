//! Where streams come from: TCP sockets and unix sockets.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, Ready};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::unconstrained;

use super::DrainSignal;
use vbc_base::trusted;

/// Connections that the kernel keeps for us while we are busy.
const BACKLOG: i32 = 4096;

/// What the kernel may take of an answer that its client has not read: left alone it takes megabytes for each. Of it no
/// more than `UNSENT` may wait for a client that takes nothing, whatever is on its way to one that is far.
const SEND_BUFFER: usize = 256 * 1024;
const UNSENT: u32 = 64 * 1024;

/// A stream of bytes to a client.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Makes the coming close a reset, where the transport knows such a thing.
    fn reset_on_close(&self);

    /// Whether the other side has reset the connection, or can no longer read. Does not wait, and wakes nobody later.
    fn has_been_reset(&self) -> bool;

    /// Whether an end has to be told, by a shutdown, before the close that tells it by itself.
    fn takes_leave(&self) -> bool {
        true
    }
}

impl Stream for TcpStream {
    fn reset_on_close(&self) {
        // Closing with no linger time makes the kernel send a reset.
        let _ = socket2::SockRef::from(self).set_linger(Some(Duration::ZERO));
    }

    fn has_been_reset(&self) -> bool {
        is_write_closed(self.ready(Interest::WRITABLE))
    }

    fn takes_leave(&self) -> bool {
        false
    }
}

impl Stream for UnixStream {
    fn reset_on_close(&self) {}

    fn has_been_reset(&self) -> bool {
        is_write_closed(self.ready(Interest::WRITABLE))
    }

    fn takes_leave(&self) -> bool {
        false
    }
}

/// Whether the runtime knows already that a socket takes nothing more.
fn is_write_closed(ready: impl Future<Output = io::Result<Ready>>) -> bool {
    let polled = pin!(unconstrained(ready)).poll(&mut Context::from_waker(Waker::noop()));
    matches!(polled, Poll::Ready(Ok(ready)) if ready.is_write_closed())
}

/// Who is at the other side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP: its address.
    Tcp(SocketAddr),
    /// Over a unix socket: somebody whom the file's permissions let in.
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

/// A socket that listens.
pub trait Listener: Sized {
    /// What it accepts.
    type Stream: Stream;
    /// What is known of the other side.
    type Peer;
    /// The same socket in the hands of the runtime.
    type Waiting;

    /// Gives it to the current runtime.
    fn wait(self) -> io::Result<Self::Waiting>;

    /// Waits for a connection. Cancel safe.
    fn next(waiting: &Self::Waiting) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;

    /// Takes it back from the runtime.
    fn stop_waiting(waiting: Self::Waiting) -> io::Result<Self>;

    /// A connection that the kernel has accepted already.
    fn take(&self) -> io::Result<(Self::Stream, Self::Peer)>;
}

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

impl Listener for UnixSocket {
    type Stream = UnixStream;
    type Peer = ();
    type Waiting = (tokio::net::UnixListener, Arc<SocketFile>);

    fn wait(self) -> io::Result<Self::Waiting> {
        Ok((tokio::net::UnixListener::from_std(self.listener)?, self.file))
    }

    async fn next((listener, _): &Self::Waiting) -> io::Result<(UnixStream, ())> {
        // Threads that share the socket take turns, or the first to wake would have a whole burst to itself.
        tokio::task::yield_now().await;
        Ok((listener.accept().await?.0, ()))
    }

    fn stop_waiting((listener, file): Self::Waiting) -> io::Result<Self> {
        Ok(Self { listener: listener.into_std()?, file })
    }

    fn take(&self) -> io::Result<(UnixStream, ())> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        Ok((UnixStream::from_std(stream)?, ()))
    }
}

/// Binds `address` for `listeners` sockets that share its connections (`SO_REUSEPORT`), all of one real port.
///
/// The first socket is bound without sharing, so an address in use is an error even where its owner shares:
/// a second proxy never steals half of the first one's connections.
///
/// # Errors
/// What the operating system says, usually that the address is in use or not ours.
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
    // A restart must not wait for the last connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    // What is accepted inherits these.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    let _ = socket.set_tcp_notsent_lowat(UNSENT);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Ports below this one belong to the system, unless it was told otherwise.
const FIRST_FREE_PORT: u16 = 1024;

/// What to do about an address that [`bind`] could not bind, as it follows the error; empty when there is no advice.
pub fn bind_advice(error: &io::Error, port: u16) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process is using it: stop that process, or choose another port"
        }
        io::ErrorKind::PermissionDenied if port < FIRST_FREE_PORT => {
            "; ports below 1024 need a privilege: choose a higher port, or grant CAP_NET_BIND_SERVICE (setcap, or \
             AmbientCapabilities= in a systemd unit)"
        }
        io::ErrorKind::PermissionDenied => "; a security policy of this system forbids it",
        io::ErrorKind::AddrNotAvailable => {
            "; this machine has no such address: name one of its own, or 0.0.0.0 for all of them"
        }
        _ => "",
    }
}

/// The same for [`bind_unix`], whose own errors say more by themselves.
pub fn unix_bind_advice(error: &io::Error) -> &'static str {
    let of_the_system = error.raw_os_error().is_some();
    match error.kind() {
        io::ErrorKind::NotFound => "; create its directory first",
        io::ErrorKind::PermissionDenied if of_the_system => {
            "; this user must be allowed to create files in its directory"
        }
        io::ErrorKind::AddrInUse if of_the_system => "; another process is using it",
        io::ErrorKind::InvalidInput => "; the path is too long for a socket",
        _ => "",
    }
}

/// A listening unix socket. Its file goes when the last of those that share it does.
#[derive(Debug)]
pub struct UnixSocket {
    listener: std::os::unix::net::UnixListener,
    file: Arc<SocketFile>,
}

impl UnixSocket {
    /// The same socket once more, for another thread to accept from: a unix socket cannot be bound twice.
    ///
    /// # Errors
    /// When descriptors have run out.
    pub fn share(&self) -> io::Result<Self> {
        Ok(Self { listener: self.listener.try_clone()?, file: Arc::clone(&self.file) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.file.path
    }
}

/// The file of a unix socket, removed when this is dropped, unless somebody else's has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Binds a unix socket at `path` with these permissions: whoever may write to it can connect. A socket that is there
/// already is replaced when nobody answers on it: it was left behind by a crash.
///
/// # Errors
/// `AddrInUse` when somebody answers on it; `AlreadyExists` when something else is in its place; `PermissionDenied` when
/// anybody could replace files in its directory; otherwise what the operating system says.
pub fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixSocket> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    check_directory(directory)?;
    // Two that start at once do not take each other's half-made socket for one left behind.
    let lock = File::open(directory);
    if let Ok(Err(TryLockError::WouldBlock)) = lock.as_ref().map(File::try_lock) {
        let advice = "another process makes a socket in its directory at this moment; try again";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, advice));
    }
    remove_stale(path)?;
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    let file = Arc::new(SocketFile { path: path.to_owned(), inode: inode(path)? });
    // Before anybody can connect, which is from `listen` on.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    Ok(UnixSocket { listener: std::os::fd::OwnedFd::from(socket).into(), file })
}

/// Somebody else who can replace files in the directory can take the socket's place, and gets what
/// is meant for us.
fn check_directory(directory: &Path) -> io::Result<()> {
    let Some(flaw) = trusted::directory_flaw(directory)? else { return Ok(()) };
    let advice = format!(
        "others may replace files in {}: {flaw}, or name a directory that only you can write to",
        directory.display()
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, advice))
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            let advice = "a file that is not a socket is in its place; move it away, or choose another path";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, advice));
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process is using it; stop that process, or choose another path",
        )),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Somebody is there, and busy (a full backlog), or it is not ours to judge.
        Err(error) => Err(io::Error::new(io::ErrorKind::AddrInUse, error)),
    }
}

/// Accepts until the drain begins, then takes what the kernel had already accepted and closes the listener.
///
/// `spawn` gets every stream with the peer's address. It must not block.
///
/// # Errors
/// When the listener cannot be given to the runtime, or taken back.
pub async fn accept<L: Listener>(
    listener: L,
    drain: DrainSignal,
    mut spawn: impl FnMut(L::Stream, L::Peer),
) -> io::Result<()> {
    let waiting = listener.wait()?;
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.begun() => break,
            accepted = L::next(&waiting) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => spawn(stream, peer),
            // The peer gave up, or descriptors ran out: neither is a reason to stop listening. Out of
            // descriptors, a short rest keeps the loop from spinning.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // Asked of the kernel itself: the runtime may not have heard of the latest yet.
    let listener = L::stop_waiting(waiting)?;
    while let Ok((stream, peer)) = listener.take() {
        spawn(stream, peer);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as Blocking;

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
        let directory = tempfile::tempdir().unwrap();
        let nowhere = bind_unix(&directory.path().join("nowhere/admin.sock"), 0o600).unwrap_err();
        assert!(unix_bind_advice(&nowhere).contains("directory"), "{nowhere}");
    }

    #[test]
    fn a_socket_is_for_its_owner_and_goes_when_it_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let socket = bind_unix(&path, 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        Blocking::connect(&path).unwrap();
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_shared_socket_keeps_its_file_until_the_last_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shared.sock");
        let first = bind_unix(&path, 0o660).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let second = first.share().unwrap();
        drop(first);
        Blocking::connect(&path).unwrap();
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "as a crash leaves it");
        let first = bind_unix(&path, 0o600).unwrap();
        assert_eq!(bind_unix(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        Blocking::connect(&path).unwrap();
        drop(first);
    }

    #[test]
    fn what_is_not_a_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes");
        fs::write(&path, "mine").unwrap();
        assert_eq!(bind_unix(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn a_socket_that_took_its_place_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let first = bind_unix(&path, 0o600).unwrap();
        fs::rename(&path, directory.path().join("aside")).unwrap();
        let second = bind_unix(&path, 0o600).unwrap();
        drop(first);
        Blocking::connect(&path).unwrap();
        drop(second);
    }

    #[test]
    fn a_directory_of_a_group_is_refused_where_the_group_is_shared() {
        // Only root may give a directory to another group.
        if fs::metadata("/proc/self").unwrap().uid() != 0 {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        // As a clone under umask 002 makes it: the group has no other member.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o775)).unwrap();
        bind_unix(&path, 0o600).unwrap();
        std::os::unix::fs::chown(directory.path(), None, Some(54_321)).unwrap();
        let error = bind_unix(&path, 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("members of the group 54321 can write to"), "{error}");
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused_unless_it_is_sticky() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let open = |mode| fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
        open(0o777);
        let error = bind_unix(&path, 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("everyone on this machine can write to"), "{error}");
        for mode in [0o1777, 0o750] {
            open(mode);
            bind_unix(&path, 0o600).unwrap();
        }
    }
}
