//! The directory of a file store: creation, permissions, lock, leftovers of a crash, durable
//! writes.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::error::{StoreError, is_full, system_reason};

pub(super) const LOCK: &str = ".lock";
const TEMP_PREFIX: &str = ".vbc-proxy-";
const TEMP_SUFFIX: &str = ".tmp";
/// The suffix of a record that was moved out of the way.
const ASIDE: &str = ".damaged";

/// Creates the directory, or makes sure that no other user can write to an existing directory.
pub(super) fn prepare(directory: &Path) -> Result<(), StoreError> {
    let found = match fs::metadata(directory) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
            return made.map_err(|error| forbidden(directory, "creating the token store", error));
        }
        Err(error) => return Err(failed("reading the token store", directory, error)),
    };
    if !found.is_dir() {
        let source = io::ErrorKind::NotADirectory.into();
        return Err(failed("opening the token store", directory, source));
    }
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    // A directory with other files keeps its mode, because it may be the working directory.
    if holds_only_records(directory)?
        && fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).is_ok()
    {
        tracing::warn!(path = %directory.display(), mode = %format_args!("{mode:04o}"),
            "other users could access the token store; changed its mode to 0700");
        return Ok(());
    }
    if mode & 0o022 != 0 {
        let advice = format!(
            "other users may write to it (mode {mode:04o}); chmod it to 0700, or set store.path to a subdirectory, \
             which is then created with mode 0700"
        );
        let source = io::Error::new(io::ErrorKind::PermissionDenied, advice);
        return Err(failed("opening the token store", directory, source));
    }
    tracing::warn!(path = %directory.display(), mode = %format_args!("{mode:04o}"),
        "other users can list the token store; the records themselves have mode 0600");
    Ok(())
}

fn holds_only_records(directory: &Path) -> Result<bool, StoreError> {
    for entry in entries(directory)? {
        let name = entry?.file_name();
        if name != LOCK && !is_leftover(&name) && !is_record(&name) && !is_aside(&name) {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(|error| {
        if is_forbidden(&error) { not_writable(directory, error) } else { failed("opening", &path, error) }
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: directory.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(failed("locking", &path, error)),
    }
}

pub(super) fn remove_leftovers(directory: &Path) -> Result<(), StoreError> {
    for entry in entries(directory)? {
        let entry = entry?;
        if is_leftover(&entry.file_name()) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|error| failed("removing", &path, error))?;
            tracing::info!(path = %path.display(), "removed an unfinished token record");
        }
    }
    Ok(())
}

pub(super) fn is_record(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        let mut parts = name.rsplit('.');
        parts.next() == Some("json") && parts.next().is_some_and(|short| short.len() == 8)
    })
}

fn is_leftover(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(TEMP_PREFIX) && name.ends_with(TEMP_SUFFIX))
}

fn is_aside(name: &OsStr) -> bool {
    let record = name.to_str().and_then(|name| name.rsplit_once(ASIDE));
    record.is_some_and(|(record, _)| is_record(record.as_ref()))
}

/// Renames a record that cannot be read to the first free name with [`ASIDE`].
pub(super) fn move_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let numbers = std::iter::once(String::new()).chain((2..).map(|number| format!("-{number}")));
    for number in numbers {
        let mut aside = path.as_os_str().to_owned();
        aside.push(ASIDE);
        aside.push(number);
        let aside = PathBuf::from(aside);
        // The store is locked, so no other process takes the name in between.
        if aside.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            fs::rename(path, &aside).map_err(|error| failed("moving away", path, error))?;
            return Ok(aside);
        }
    }
    Err(failed("moving away", path, io::Error::other("all names for it are taken")))
}

/// Writes a file and syncs it, to check at the start that this is possible. A full disk is not an
/// error, because stored tokens can still be used.
pub(super) fn probe(directory: &Path) -> Result<(), StoreError> {
    let written = Reserved::new(directory, 1).and_then(|mut file| file.fill(b"\n"));
    match written {
        Err(StoreError::Io { source, .. }) if is_full(&source) => {
            tracing::warn!(path = %directory.display(), reason = system_reason(&source),
                "cannot write to the token store; using the stored tokens, no new ones are requested until space is free");
            Ok(())
        }
        // `forbidden` distinguishes a lack of permission from other failures, such as a broken
        // disk.
        Err(StoreError::Io { source, .. }) => Err(forbidden(directory, "writing to", source)),
        other => other,
    }
}

/// Probes the directory, or the nearest existing ancestor in which it would be created. Checking
/// permissions is not enough, because root has all of them.
pub(super) fn probe_or_parent(directory: &Path) -> Result<(), StoreError> {
    let place = directory.ancestors().find(|place| place.as_os_str().is_empty() || place.exists());
    let place = place.filter(|place| !place.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match probe(place) {
        Err(StoreError::NotWritable { source, .. }) => Err(not_writable(directory, source)),
        other => other,
    }
}

/// Whether an error means that this user is not allowed to write there.
fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

fn forbidden(directory: &Path, doing: &str, error: io::Error) -> StoreError {
    if is_forbidden(&error) { not_writable(directory, error) } else { failed(doing, directory, error) }
}

fn not_writable(directory: &Path, source: io::Error) -> StoreError {
    StoreError::NotWritable { path: directory.display().to_string(), source }
}

pub(super) fn entries(
    directory: &Path,
) -> Result<impl Iterator<Item = Result<fs::DirEntry, StoreError>> + '_, StoreError> {
    let entries = fs::read_dir(directory).map_err(|error| failed("listing", directory, error))?;
    Ok(entries.map(move |entry| entry.map_err(|error| failed("listing", directory, error))))
}

/// A file for one record, with reserved space and a handle to sync the directory. Neither a full
/// disk nor a lack of descriptors can then prevent storing the record.
#[derive(Debug)]
pub(super) struct Reserved {
    file: tempfile::NamedTempFile,
    directory: File,
}

impl Reserved {
    pub(super) fn new(directory: &Path, size: u64) -> Result<Self, StoreError> {
        let mut file = tempfile::Builder::new()
            .prefix(TEMP_PREFIX)
            .suffix(TEMP_SUFFIX)
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(directory)
            .map_err(|error| failed("creating a file in", directory, error))?;
        allocate(file.as_file_mut(), size).map_err(|error| failed("reserving space in", directory, error))?;
        let directory = File::open(directory).map_err(|error| failed("opening", directory, error))?;
        Ok(Self { file, directory })
    }

    pub(super) fn fill(&mut self, content: &[u8]) -> Result<(), StoreError> {
        let file = self.file.as_file_mut();
        let written = file.rewind().and_then(|()| file.write_all(content));
        let cut = written.and_then(|()| file.set_len(content.len() as u64));
        cut.and_then(|()| file.sync_all()).map_err(|error| failed("writing", self.file.path(), error))
    }

    /// Moves the file into place. After a crash either the old or the new content is there,
    /// complete. The move is durable after a [`sync`] of the returned handle.
    pub(super) fn move_to(self, path: &Path) -> Result<File, StoreError> {
        self.file.persist(path).map_err(|error| failed("moving a file to", path, error.error))?;
        Ok(self.directory)
    }
}

/// Reserves space. If the file system cannot do that, writes zeros instead.
fn allocate(file: &mut File, size: u64) -> io::Result<()> {
    match fallocate(&*file, FallocateFlags::empty(), 0, size) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let zeros = vec![0; usize::try_from(size).unwrap_or(0)];
            file.write_all(&zeros).and_then(|()| file.sync_all())
        }
        outcome => Ok(outcome?),
    }
}

/// Replaces a file by moving a new one into place. The move is durable after a [`sync`] of the
/// returned handle.
pub(super) fn replace(directory: &Path, path: &Path, content: &[u8]) -> Result<File, StoreError> {
    let mut file = Reserved::new(directory, content.len() as u64)?;
    file.fill(content)?;
    file.move_to(path)
}

/// Makes moves within a directory durable. Ignores the error of file systems that cannot sync a
/// directory.
pub(super) fn sync(directory: &File, path: &Path) -> Result<(), StoreError> {
    match directory.sync_all() {
        Err(error) if !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Err(failed("syncing", path, error))
        }
        _ => Ok(()),
    }
}

/// Like [`sync`], for a directory that is not open.
pub(super) fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    let opened = File::open(directory).map_err(|error| failed("syncing", directory, error))?;
    sync(&opened, directory)
}

pub(super) fn failed(doing: &str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { what: format!("{doing} {}", path.display()), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lack_of_permission_is_mended_by_making_the_store_writable() {
        for errno in [Errno::ACCESS, Errno::PERM, Errno::ROFS] {
            let error = forbidden(Path::new("/store"), "writing", errno.into());
            assert!(matches!(error, StoreError::NotWritable { .. }), "{error:?}");
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::IO, Errno::NOMEM] {
            let error = forbidden(Path::new("/store"), "writing", errno.into());
            assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
            assert!(!error.describe().contains("writable"), "{error:?}");
        }
    }
}
