//! Trusted files: configuration, secrets, keys and certificates.
//!
//! [`read`] checks the file that it has opened, so the file cannot be swapped between check and
//! use. Symbolic links are followed, because Kubernetes mounts secrets through them. The rules
//! apply to their target.
//!
//! Data files (cassettes, scenarios, HAR files) are not trusted and are not read here.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

mod accounts;

use accounts::Accounts;

/// A size limit in bytes for files of certificates. No bundle of certificates is this large.
pub const PEM_BYTES: usize = 16 << 20;

const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;
const GROUP_READ: u32 = 0o040;
const GROUP_WRITE: u32 = 0o020;
const STICKY: u32 = 0o1000;

/// A fault of a file or of a configuration value, and its remedy. `Display` writes both.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}; {remedy}")]
pub struct Flaw {
    /// The fault. For a file it contains the file's path.
    pub message: String,
    /// The next step for the user, in the imperative.
    pub remedy: String,
}

impl Flaw {
    /// A fault and its remedy.
    pub fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: remedy.into() }
    }
}

/// The content of a file, with the findings about its owner and permissions.
#[derive(Debug)]
pub struct TrustedFile {
    content: Zeroizing<Vec<u8>>,
    /// The findings about owner and permissions.
    pub checks: Checks,
}

/// The findings about the owner and permissions of an opened file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// How another user could have changed the content. If there is a flaw, do not use the content.
    pub flaws: Vec<Flaw>,
    /// Who else can read the content, which matters for a secret. `None` if no other user can.
    pub exposed: Option<Flaw>,
}

impl TrustedFile {
    /// The content, which is zeroed when it is dropped.
    ///
    /// # Errors
    /// The first flaw, if any. Use [`into_parts`](Self::into_parts) to report all of them.
    pub fn trusted(self) -> Result<Zeroizing<Vec<u8>>, Flaw> {
        match self.checks.flaws.into_iter().next() {
            Some(flaw) => Err(flaw),
            None => Ok(self.content),
        }
    }

    /// The content and the findings, for a caller that reports every flaw before it rejects the
    /// file.
    pub fn into_parts(self) -> (Zeroizing<Vec<u8>>, Checks) {
        (self.content, self.checks)
    }
}

/// Opens a file, checks its owner and permissions, and reads it. A pipe of this user is read to its
/// end.
///
/// # Errors
/// If the file cannot be read. [`ErrorKind::FileTooLarge`] if it is larger than `limit` bytes. A
/// pipe or device of another user is an error too: reading it may never end.
pub fn read(path: &Path, limit: usize) -> io::Result<TrustedFile> {
    let file = open(path)?;
    let metadata = file.metadata()?;
    let checks = Facts::of(&metadata).judge(us(), path, Accounts::of_system);
    Ok(TrustedFile { content: read_all(&file, metadata.len(), limit)?, checks })
}

/// Opens a file for reading. Waits for the writer of a pipe only if the pipe belongs to this user
/// or root.
fn open(path: &Path) -> io::Result<File> {
    // O_PATH opens the path and not the file. Opening a pipe like this does not wait for a writer,
    // and a waiting writer does not notice.
    let named = File::options().read(true).custom_flags(libc::O_PATH).open(path)?;
    let found = named.metadata()?;
    if found.is_file() {
        // The path may lead to a pipe by now. Without O_NONBLOCK, opening it could block.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        if file.metadata()?.is_file() {
            return Ok(file);
        }
        return Err(io::Error::other("it was replaced while it was opened"));
    }
    if !found.is_dir() && found.uid() != 0 && found.uid() != us() {
        let owner = Accounts::of_system().user(found.uid());
        let message = format!("it is not a regular file and belongs to user {owner}; use a file of your own");
        return Err(io::Error::new(ErrorKind::InvalidInput, message));
    }
    // Opens the file that was checked. The path may lead to another file by now.
    File::open(format!("/proc/self/fd/{}", named.as_raw_fd()))
}

/// The effective user of this process.
fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Converts the content to text without copying it. A byte order mark stays in the text.
///
/// # Errors
/// [`ErrorKind::InvalidData`] if the content is not UTF-8.
pub fn text(mut content: Zeroizing<Vec<u8>>) -> io::Result<Zeroizing<String>> {
    match String::from_utf8(std::mem::take(&mut *content)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(io::Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))
        }
    }
}

/// Reads without leaving copies in memory: a growing vector would free its old content without
/// zeroing it.
fn read_all(mut file: &File, length: u64, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // The least size of the first buffer, because the reported length of a pipe is 0.
    const LEAST: usize = 4095;
    let length = usize::try_from(length).unwrap_or(limit);
    let mut bytes = Zeroizing::new(vec![0; length.max(LEAST).min(limit) + 1]);
    let mut filled = 0;
    loop {
        if filled > limit {
            return Err(ErrorKind::FileTooLarge.into());
        }
        if filled == bytes.len() {
            let mut larger = Zeroizing::new(vec![0; (2 * filled).min(limit + 1)]);
            larger[..filled].copy_from_slice(&bytes);
            bytes = larger;
        }
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The owner, group and mode of a file.
#[derive(Clone, Copy, Debug)]
struct Facts {
    owner: u32,
    group: u32,
    mode: u32,
}

impl Facts {
    fn of(metadata: &Metadata) -> Self {
        Self { owner: metadata.uid(), group: metadata.gid(), mode: metadata.permissions().mode() }
    }

    /// Reduces the mode of a directory to the rights to replace files in it. In a sticky directory
    /// like /tmp, nobody can replace the files of others.
    fn of_directory(self) -> Self {
        let replacing = if self.mode & STICKY == 0 { OTHERS_WRITE | GROUP_WRITE } else { 0 };
        Self { mode: self.mode & replacing, ..self }
    }

    /// Applies the rules. `us` is the user that runs this process.
    fn judge(self, us: u32, path: &Path, accounts: impl FnOnce() -> Accounts) -> Checks {
        let Self { owner, group, mode } = self;
        let by_group = mode & (GROUP_READ | GROUP_WRITE) != 0;
        let strange = owner != 0 && owner != us;
        if !strange && !by_group && mode & (OTHERS_READ | OTHERS_WRITE) == 0 {
            return Checks::default();
        }
        let accounts = accounts();
        let shown = path.display();
        let shared = by_group && !accounts.is_own_group(owner, group);
        let mut flaws = Vec::new();
        if strange {
            let owner = accounts.user(owner);
            let us = accounts.user(us);
            flaws.push(Flaw {
                message: format!("{shown} belongs to user {owner}, who can change it"),
                remedy: format!("chown {us} {shown}, or run vbc-proxy as {owner}"),
            });
        }
        let all_write = mode & OTHERS_WRITE != 0;
        let group_write = shared && mode & GROUP_WRITE != 0;
        if all_write {
            let remedy = format!("chmod {}-w {shown}", if group_write { "go" } else { "o" });
            flaws.push(Flaw { message: format!("everyone on this machine can write to {shown}"), remedy });
        } else if group_write {
            let message = format!("members of the group {} can write to {shown}", accounts.group(group));
            flaws.push(Flaw { message, remedy: format!("chmod g-w {shown}") });
        }
        let readers = match (mode & OTHERS_READ != 0, shared && mode & GROUP_READ != 0) {
            // Others may read a file of root: Docker and Kubernetes mount secrets like that, and
            // Debian keeps certificate keys like that.
            _ if owner == 0 => None,
            (true, _) => Some("everyone on this machine".to_owned()),
            (false, true) => Some(format!("members of the group {}", accounts.group(group))),
            (false, false) => None,
        };
        let exposed = readers.map(|readers| Flaw {
            message: format!("{readers} can read {shown}"),
            remedy: format!("chmod 600 {shown}"),
        });
        Checks { flaws, exposed }
    }
}

/// The reason why another user can replace files in a directory. `None` if no other user can. The
/// rules for files apply to the directory; in a sticky directory only the owner matters.
///
/// # Errors
/// If the directory is missing, or a directory above it cannot be entered.
pub fn directory_flaw(directory: &Path) -> io::Result<Option<Flaw>> {
    let facts = Facts::of(&fs::metadata(directory)?).of_directory();
    Ok(facts.judge(us(), directory, Accounts::of_system).flaws.into_iter().next())
}

/// The directories that a file is reached through: the directory of `path`, and the directory of
/// each symbolic link's target. The returned paths contain no links.
pub fn directories(path: &Path) -> Vec<PathBuf> {
    /// Linux follows at most this many links.
    const MOST_LINKS: usize = 40;
    let mut found = Vec::new();
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let parent = parent_of(&path);
        found.extend(fs::canonicalize(parent));
        match fs::read_link(&path) {
            Ok(target) => path = parent.join(target),
            Err(_) => break,
        }
    }
    found
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A warning if every user can replace the file at `path`. That is so if everyone can write to
/// `directory`, which is one of the file's [`directories`], or to a directory above it. Sticky
/// directories and read-only file systems do not count.
///
/// The warning is no reason to reject the file. [`read`] also checks a replacement, which must
/// belong to this user or root.
pub fn replaceable(path: &Path, directory: &Path) -> Option<Flaw> {
    let open = directory.ancestors().find(|directory| is_open(directory))?.display();
    Some(Flaw {
        message: format!(
            "everyone on this machine can replace {}: {open} is writable by everyone",
            path.display()
        ),
        remedy: format!("chmod o-w {open}"),
    })
}

fn is_open(directory: &Path) -> bool {
    let Ok(metadata) = fs::metadata(directory) else { return false };
    let mode = metadata.permissions().mode();
    mode & OTHERS_WRITE != 0 && mode & STICKY == 0 && !is_read_only(directory)
}

fn is_read_only(directory: &Path) -> bool {
    use rustix::fs::{StatVfsMountFlags, statvfs};
    statvfs(directory).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Opens a file for reading and writing. A missing file is created with mode 0600. The last part of
/// the path must be a regular file of this user, and no symbolic link.
///
/// An existing file keeps its content and permissions. The caller restricts the permissions once it
/// knows the content.
///
/// # Errors
/// If the file cannot be opened, is a symbolic link, or is not a regular file of this user.
pub fn open_output(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    // Another user may have put a pipe there. Without O_NONBLOCK, opening the pipe could block.
    let file =
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path).map_err(|error| match error
            .raw_os_error()
        {
            Some(libc::ELOOP) => io::Error::new(error.kind(), IS_LINK),
            _ => error,
        })?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    if metadata.uid() != us() {
        let message = format!("it belongs to user {}", Accounts::of_system().user(metadata.uid()));
        return Err(io::Error::new(ErrorKind::PermissionDenied, message));
    }
    Ok(file)
}

const IS_LINK: &str = "it is a symbolic link, which is not followed here; name the file itself";

/// Writes a file that only its owner can read. An existing regular file is replaced as a whole.
///
/// # Errors
/// If the file cannot be written, or `path` is a link, a directory or another special file.
pub fn write_output(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write;
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => return Err(io::Error::new(ErrorKind::InvalidInput, IS_LINK)),
        Ok(found) if !found.is_file() => {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let directory = parent_of(path);
    // The temporary file has mode 0600. The rename does not follow a link that another user has put
    // at `path` meanwhile.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests;
