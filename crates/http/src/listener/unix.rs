//! Unix sockets that listen, and their files.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixStream;
use vbc_base::trusted;

use super::{BACKLOG, Listener};

/// A listening unix socket, or one of several handles that share it. Dropping the last handle
/// removes the socket's file.
#[derive(Debug)]
pub struct UnixSocket {
    listener: std::os::unix::net::UnixListener,
    file: Arc<SocketFile>,
}

impl UnixSocket {
    /// Another handle of the socket, for another thread: a unix socket cannot be bound twice.
    ///
    /// # Errors
    /// If no file descriptor is left.
    pub fn share(&self) -> io::Result<Self> {
        Ok(Self { listener: self.listener.try_clone()?, file: Arc::clone(&self.file) })
    }

    /// The path of the socket's file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }
}

/// The file of a unix socket. Removed when this is dropped, unless another file has taken its
/// place.
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

/// Binds a unix socket at `path`. Users with write permission according to `mode` can connect. A
/// socket left behind by a crash is replaced.
///
/// # Errors
/// `AddrInUse` if another process listens on the socket, or is creating a socket in the same
/// directory. `AlreadyExists` if `path` is a file of another kind. `PermissionDenied` if other
/// users could replace files in the directory. Otherwise the operating system's error.
pub fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixSocket> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    check_directory(directory)?;
    // Two processes that start at the same time must not replace each other's unfinished socket.
    let lock = File::open(directory);
    if let Ok(Err(TryLockError::WouldBlock)) = lock.as_ref().map(File::try_lock) {
        let advice = "another process is creating a socket in the same directory; try again";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, advice));
    }
    remove_stale(path)?;
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    let file = Arc::new(SocketFile { path: path.to_owned(), inode: inode(path)? });
    // Clients cannot connect before `listen`, so the permissions apply to all of them.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    Ok(UnixSocket { listener: std::os::fd::OwnedFd::from(socket).into(), file })
}

/// Checks that no other user can replace files in the directory. Such a user could replace the
/// socket and receive its requests.
fn check_directory(directory: &Path) -> io::Result<()> {
    let Some(flaw) = trusted::directory_flaw(directory)? else { return Ok(()) };
    let advice = format!(
        "{}, so other users could replace the socket; {}, or choose a directory that only you can write to",
        flaw.message, flaw.remedy
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, advice))
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            let advice = "a file that is not a socket is already there; move it away, or choose another path";
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
        // A process listens and has a full backlog, or the socket belongs to another user.
        Err(error) => Err(io::Error::new(io::ErrorKind::AddrInUse, error)),
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
        // Lets the threads that share the socket take turns. Otherwise the first to wake would take
        // a whole burst of connections.
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

/// Advice to append to an error of [`bind_unix`]. May be empty.
pub fn unix_bind_advice(error: &io::Error) -> &'static str {
    let is_from_system = error.raw_os_error().is_some();
    match error.kind() {
        io::ErrorKind::NotFound => "; create its directory first",
        io::ErrorKind::PermissionDenied if is_from_system => {
            "; allow this user to create files in its directory"
        }
        io::ErrorKind::AddrInUse if is_from_system => {
            "; another process is using it: stop that process, or choose another path"
        }
        io::ErrorKind::InvalidInput => "; the path is too long for a socket: choose a shorter one",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as Blocking;

    use super::*;

    #[test]
    fn a_directory_that_is_missing_has_its_own_advice() {
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
        // As under umask 002. The group has no other member, so nobody else can write.
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
