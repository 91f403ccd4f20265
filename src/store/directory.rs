//! The directory of a file store: made or closed to others, locked, rid of what a crash has left.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::StoreError;

pub(super) const LOCK: &str = ".lock";
const TEMP_PREFIX: &str = ".vbc-proxy-";
const TEMP_SUFFIX: &str = ".tmp";

/// Makes the directory, or makes sure that nobody else can write to the one that is there.
pub(super) fn prepare(directory: &Path) -> Result<(), StoreError> {
    let found = match fs::metadata(directory) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
            return made.map_err(|error| failed("creating the token store", directory, error));
        }
        Err(error) => return Err(failed("looking at the token store", directory, error)),
    };
    if !found.is_dir() {
        let source = io::ErrorKind::NotADirectory.into();
        return Err(failed("opening the token store", directory, source));
    }
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    // A directory that holds other things is not ours to close: it may be the working directory, or worse.
    if holds_only_records(directory)?
        && fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).is_ok()
    {
        tracing::warn!(path = %directory.display(), mode = %format_args!("{mode:04o}"),
            "token store was open to others, now it is 0700");
        return Ok(());
    }
    if mode & 0o022 != 0 {
        let advice = format!(
            "others may write to it (mode {mode:04o}): chmod it 0700, or name a subdirectory, which is then made so"
        );
        let source = io::Error::new(io::ErrorKind::PermissionDenied, advice);
        return Err(failed("opening the token store", directory, source));
    }
    tracing::warn!(path = %directory.display(), mode = %format_args!("{mode:04o}"),
        "token store can be listed by others; the records themselves are 0600");
    Ok(())
}

fn holds_only_records(directory: &Path) -> Result<bool, StoreError> {
    for entry in entries(directory)? {
        let name = entry?.file_name();
        if name != LOCK && !is_leftover(&name) && !is_record(&name) {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| failed("opening", &path, error))?;
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

/// Whether a file is a record, by its name.
pub(super) fn is_record(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        let mut parts = name.rsplit('.');
        parts.next() == Some("json") && parts.next().is_some_and(|short| short.len() == 8)
    })
}

fn is_leftover(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(TEMP_PREFIX) && name.ends_with(TEMP_SUFFIX))
}

pub(super) fn entries(
    directory: &Path,
) -> Result<impl Iterator<Item = Result<fs::DirEntry, StoreError>> + '_, StoreError> {
    let entries = fs::read_dir(directory).map_err(|error| failed("listing", directory, error))?;
    Ok(entries.map(move |entry| entry.map_err(|error| failed("listing", directory, error))))
}

/// Writes beside the file and moves it into place: a crash leaves the old content or the new one, whole. The move is
/// durable after [`sync_directory`].
pub(super) fn replace(directory: &Path, path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let mut temp = tempfile::Builder::new()
        .prefix(TEMP_PREFIX)
        .suffix(TEMP_SUFFIX)
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(directory)
        .map_err(|error| failed("creating a file in", directory, error))?;
    temp.write_all(content)
        .and_then(|()| temp.as_file().sync_all())
        .map_err(|error| failed("writing", temp.path(), error))?;
    temp.persist(path).map_err(|error| failed("moving a file to", path, error.error))?;
    Ok(())
}

/// Makes the move itself durable. File systems that cannot sync a directory say so and need not.
pub(super) fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Err(failed("syncing", directory, error))
        }
        _ => Ok(()),
    }
}

pub(super) fn failed(doing: &str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { what: format!("{doing} {}", path.display()), source }
}
