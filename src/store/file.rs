//! Records in a directory: one file a credential identity, written so that a crash leaves the old record or the new
//! one and never a mixture.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::{Key, Record, StoreError, StoreFuture, TokenStore, follows, wire};
use crate::secret;

const LOCK: &str = ".lock";
const TEMP_PREFIX: &str = ".vbc-proxy-";
const TEMP_SUFFIX: &str = ".tmp";
/// No record comes near it; a file that is larger is not ours.
const MAX_FILE: u64 = 1024 * 1024;
/// The longest credential name that is written out in a file's name (most file systems end at 255 bytes).
const MAX_NAME: usize = 120;

/// A store in a directory that it holds alone.
#[derive(Debug)]
pub struct FileStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    /// What is stored, as far as it has been asked for. The lock is held while a file is read or written, so that
    /// writers queue; it is taken on blocking threads only.
    slots: Mutex<HashMap<Key, Slot>>,
    /// Held, not read: the operating system's lock ends with it.
    _lock: File,
}

#[derive(Debug)]
struct Slot {
    record: Record,
    /// The revision that `record` replaced, while it is not certain that it has reached the disk: its writer was
    /// told of a failure, believes in the old revision, and may swap from either.
    unconfirmed_over: Option<u64>,
}

impl Slot {
    fn admits(&self, expected: u64) -> bool {
        self.record.revision == expected || self.unconfirmed_over == Some(expected)
    }
}

impl FileStore {
    /// Opens the store in `directory`, which is created when it is missing, and holds it until dropped.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another store, in this process or another, holds the directory;
    /// [`StoreError::Io`] when it cannot be used, or others may write to it.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let directory = directory.into();
        prepare(&directory)?;
        let lock = lock(&directory)?;
        // Under the lock, so that these are leftovers of a crash and not somebody's write.
        remove_leftovers(&directory)?;
        Ok(Self { inner: Arc::new(Inner { directory, slots: Mutex::default(), _lock: lock }) })
    }

    /// Runs `work` where blocking is allowed. It runs to its end even when the caller goes away.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.unwrap_or_else(|error| Err(failed("using", &self.inner.directory, io::Error::other(error))))
    }
}

impl TokenStore for FileStore {
    fn load<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Record> {
        let key = key.clone();
        Box::pin(self.blocking(move |inner| inner.load(key)))
    }

    fn swap<'a>(&'a self, key: &'a Key, expected: u64, record: &'a Record) -> StoreFuture<'a, ()> {
        let (key, record) = (key.clone(), record.clone());
        Box::pin(self.blocking(move |inner| inner.swap(key, expected, record)))
    }
}

impl Inner {
    fn load(&self, key: Key) -> Result<Record, StoreError> {
        let mut slots = self.slots.lock();
        self.slot(&mut slots, &key).map(|slot| slot.record.clone())
    }

    fn swap(&self, key: Key, expected: u64, record: Record) -> Result<(), StoreError> {
        follows(expected, &record)?;
        let mut slots = self.slots.lock();
        let slot = self.slot(&mut slots, &key)?;
        if !slot.admits(expected) {
            return Err(StoreError::Conflict { expected, found: slot.record.revision });
        }
        self.write(&key, &record)?;
        slot.record = record;
        slot.unconfirmed_over = Some(expected);
        sync_directory(&self.directory)?;
        slot.unconfirmed_over = None;
        Ok(())
    }

    /// What is stored for `key`: remembered, or read at the first use. This process is the only writer, so what it
    /// wrote last holds even when the file has been taken away meanwhile; the next swap brings it back. A damaged
    /// file is not remembered: once it is moved away, the store works again.
    fn slot<'s>(&self, slots: &'s mut HashMap<Key, Slot>, key: &Key) -> Result<&'s mut Slot, StoreError> {
        if !slots.contains_key(key) {
            let record = self.read(key)?;
            slots.insert(key.clone(), Slot { record, unconfirmed_over: None });
        }
        slots
            .get_mut(key)
            .ok_or_else(|| failed("remembering", &self.path(key), io::Error::other("the record is gone")))
    }

    fn read(&self, key: &Key) -> Result<Record, StoreError> {
        let path = self.path(key);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Record::default()),
            Err(error) => return Err(failed("opening", &path, error)),
        };
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| failed("reading", &path, error))?;
        let damaged = |detail| StoreError::Damaged { what: path.display().to_string(), detail };
        if bytes.len() as u64 > MAX_FILE {
            return Err(damaged("it is far too large".to_owned()));
        }
        wire::decode(key, &bytes).map_err(damaged)
    }

    /// Writes beside the record and moves it into place: a crash leaves one of the two whole.
    fn write(&self, key: &Key, record: &Record) -> Result<(), StoreError> {
        let path = self.path(key);
        let bytes = wire::encode(key, record).map_err(|error| failed("encoding", &path, error.into()))?;
        let mut temp = tempfile::Builder::new()
            .prefix(TEMP_PREFIX)
            .suffix(TEMP_SUFFIX)
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(&self.directory)
            .map_err(|error| failed("creating a file in", &self.directory, error))?;
        temp.write_all(&bytes)
            .and_then(|()| temp.as_file().sync_all())
            .map_err(|error| failed("writing", temp.path(), error))?;
        temp.persist(&path).map_err(|error| failed("moving a file to", &path, error.error))?;
        Ok(())
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.directory.join(file_name(key))
    }
}

/// `{credential}.{first 8 of the identity}.json`. Characters that a file name may not or should not have are
/// percent-encoded, dots included, so that two credentials never share a name.
fn file_name(key: &Key) -> String {
    let mut name = percent_encoding::utf8_percent_encode(&key.credential, FILE_NAME).to_string();
    if name.is_empty() || name.len() > MAX_NAME {
        let cut = name.floor_char_boundary(MAX_NAME - 33);
        name = format!("{}~{}", &name[..cut.min(name.len())], secret::fingerprint(&[&key.credential]));
    }
    let short = match key.identity.get(..8) {
        Some(short) if key.identity.bytes().all(|b| b.is_ascii_hexdigit()) => short.to_owned(),
        // Not a fingerprint; make one, so that identities that begin alike still have files of their own.
        _ => secret::fingerprint(&[&key.identity])[..8].to_owned(),
    };
    format!("{name}.{short}.json")
}

const FILE_NAME: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// Makes the directory, or makes sure that nobody else can write to the one that is there.
fn prepare(directory: &Path) -> Result<(), StoreError> {
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
        let ours = name == LOCK
            || is_leftover(&name)
            || name.to_str().is_some_and(|name| {
                let mut parts = name.rsplit('.');
                parts.next() == Some("json") && parts.next().is_some_and(|short| short.len() == 8)
            });
        if !ours {
            return Ok(false);
        }
    }
    Ok(true)
}

fn lock(directory: &Path) -> Result<File, StoreError> {
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

fn remove_leftovers(directory: &Path) -> Result<(), StoreError> {
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

fn is_leftover(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(TEMP_PREFIX) && name.ends_with(TEMP_SUFFIX))
}

fn entries(
    directory: &Path,
) -> Result<impl Iterator<Item = Result<fs::DirEntry, StoreError>> + '_, StoreError> {
    let entries = fs::read_dir(directory).map_err(|error| failed("listing", directory, error))?;
    Ok(entries.map(move |entry| entry.map_err(|error| failed("listing", directory, error))))
}

/// Makes the move itself durable. File systems that cannot sync a directory say so and need not.
fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Err(failed("syncing", directory, error))
        }
        _ => Ok(()),
    }
}

fn failed(doing: &str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { what: format!("{doing} {}", path.display()), source }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
