//! Records in a directory: one file a credential identity, written so that a crash leaves the old record or the new
//! one and never a mixture.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::directory::{failed, lock, prepare, remove_leftovers, replace, sync_directory};
use super::{Key, Record, StoreError, StoreFuture, TokenStore, follows, wire};
use crate::secret;

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

    fn write(&self, key: &Key, record: &Record) -> Result<(), StoreError> {
        let path = self.path(key);
        let bytes = wire::encode(key, record).map_err(|error| failed("encoding", &path, error.into()))?;
        replace(&self.directory, &path, &bytes)
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

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
