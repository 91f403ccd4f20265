//! Records in a directory, one file for each credential identity. A crash leaves the old record or
//! the new one, never a mixture.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::directory::{
    Reserved, failed, lock, move_aside, prepare, probe, probe_or_parent, remove_leftovers, sync,
    sync_directory,
};
use super::error::StoreError;
use super::read_ahead::ReadAhead;
use super::record::{Key, Record};
use super::record_file::{MAX_FILE, encode_record, file_name, read_record};
use super::seal::Keys;
use super::{Reservation, StoreFuture, TokenStore, check_revision};

/// The least space that is reserved for the next record.
const LEAST_RESERVED: u64 = 16 * 1024;

/// A store in a directory that it holds exclusively.
#[derive(Debug)]
pub struct FileStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    /// The keys that encrypt records; `None` for plain records.
    keys: Option<Keys>,
    /// Records that exist or were loaded. The lock is held while a file is read or written, so that
    /// writers queue. It is taken on blocking threads only.
    slots: Mutex<HashMap<Key, Slot>>,
    /// Records that were read when the store was opened, until `settle` is called. The lock is
    /// never held while a file is written: ten thousand first loads must not wait for writes.
    ahead: Mutex<Option<ReadAhead>>,
    /// Holds the operating system's lock until it is dropped.
    _lock: File,
}

/// A record on disk. Its content is not kept in memory: the caller has it, and there may be many
/// records.
#[derive(Debug)]
struct Slot {
    revision: u64,
    /// The replaced revision, from the rename until the sync of the directory. If the sync fails,
    /// the writer cannot know which revision is on disk, so a swap from either is allowed.
    unconfirmed_over: Option<u64>,
}

impl Slot {
    fn of(revision: u64) -> Self {
        Self { revision, unconfirmed_over: None }
    }

    fn admits(&self, expected: u64) -> bool {
        self.revision == expected || self.unconfirmed_over == Some(expected)
    }
}

impl FileStore {
    /// Opens a store of plain records in `directory`, which is created if missing. Holds the
    /// directory until dropped. Encrypted records are not read.
    ///
    /// # Errors
    /// - [`StoreError::InUse`] if another store, in this process or another, holds the directory.
    /// - [`StoreError::NotWritable`] if this user cannot write to it. A full disk is not an error.
    /// - [`StoreError::Io`] if it cannot be used for another reason, or if other users may write to
    ///   it.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::open_with(directory.into(), None)
    }

    /// Opens a store of encrypted records. Records that are plain or encrypted with an older key
    /// are encrypted with the first of `keys`. Records that no key opens are left unchanged, with a
    /// warning.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub fn open_sealed(directory: impl Into<PathBuf>, keys: Keys) -> Result<Self, StoreError> {
        Self::open_with(directory.into(), Some(keys))
    }

    /// Reads the record of `key` without opening a store. Nothing is changed, and another process
    /// may hold the directory.
    ///
    /// # Errors
    /// The reason why the record cannot be used.
    pub fn inspect(directory: &Path, keys: Option<&Keys>, key: &Key) -> Result<Record, StoreError> {
        // A plain record is accepted, because opening the store would encrypt it.
        read_record(directory, keys, key, true)
    }

    /// Checks that a store could write to `directory`, or create it. Creates a file and removes it.
    /// A full disk is not an error.
    ///
    /// # Errors
    /// [`StoreError::NotWritable`] if this user cannot write; [`StoreError::Io`] for another
    /// reason.
    pub fn inspect_directory(directory: &Path) -> Result<(), StoreError> {
        probe_or_parent(directory)
    }

    fn open_with(directory: PathBuf, keys: Option<Keys>) -> Result<Self, StoreError> {
        prepare(&directory)?;
        let lock = lock(&directory)?;
        // While the lock is held, temporary files are leftovers of a crash, not writes of another
        // process.
        remove_leftovers(&directory)?;
        probe(&directory)?;
        let ahead = ReadAhead::read(&directory, keys.as_ref())?;
        let slots = ahead.revisions().map(|(key, revision)| (key.clone(), Slot::of(revision))).collect();
        let (slots, ahead) = (Mutex::new(slots), Mutex::new(Some(ahead)));
        Ok(Self { inner: Arc::new(Inner { directory, keys, slots, ahead, _lock: lock }) })
    }

    /// Runs `work` on a blocking thread. The work continues even if the future is dropped.
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
        let inner = &self.inner;
        let known = inner.ahead.lock().as_mut().and_then(|ahead| ahead.take(key, || inner.path(key)));
        if let Some(record) = known {
            return Box::pin(std::future::ready(Ok(record)));
        }
        let key = key.clone();
        Box::pin(self.blocking(move |inner| inner.load(key)))
    }

    fn settle(&self) {
        *self.inner.ahead.lock() = None;
    }

    fn swap<'a>(&'a self, key: &'a Key, expected: u64, record: &'a Record) -> StoreFuture<'a, ()> {
        let (key, record) = (key.clone(), record.clone());
        Box::pin(self.blocking(move |inner| inner.swap(&key, expected, &record, &mut None)))
    }

    fn reserve<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Reservation> {
        let key = key.clone();
        Box::pin(self.blocking(move |inner| inner.reserve(&key).map(Reservation::new)))
    }

    fn swap_reserved<'a>(
        &'a self,
        key: &'a Key,
        expected: u64,
        record: &'a Record,
        reservation: &'a mut Reservation,
    ) -> StoreFuture<'a, ()> {
        let mut reserved = reservation.take::<Reserved>();
        let (key, record) = (key.clone(), record.clone());
        Box::pin(async move {
            let work = move |inner: &Inner| {
                let outcome = inner.swap(&key, expected, &record, &mut reserved);
                Ok((outcome, reserved))
            };
            let (outcome, left) = self.blocking(work).await?;
            *reservation = left.map(Reservation::new).unwrap_or_default();
            outcome
        })
    }

    fn set_aside<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<String>> {
        let key = key.clone();
        Box::pin(self.blocking(move |inner| inner.set_aside(&key)))
    }
}

impl Inner {
    /// Reads the record.
    ///
    /// This process is the only writer. If the file is missing or older than the last write,
    /// another program has changed it. The next swap restores this process's record.
    fn load(&self, key: Key) -> Result<Record, StoreError> {
        let mut slots = self.slots.lock();
        let record = self.read(&key)?;
        let found = record.revision;
        match slots.get_mut(&key) {
            Some(slot) if slot.revision > found => {
                let what = self.path(&key).display().to_string();
                return Err(StoreError::Meddled { what, written: slot.revision, found });
            }
            Some(slot) if slot.revision == found => {}
            Some(slot) => *slot = Slot::of(found),
            None => drop(slots.insert(key, Slot::of(found))),
        }
        Ok(record)
    }

    /// Replaces a record. Uses up `reserved`, if any, only after all checks have passed.
    fn swap(
        &self,
        key: &Key,
        expected: u64,
        record: &Record,
        reserved: &mut Option<Reserved>,
    ) -> Result<(), StoreError> {
        check_revision(expected, record)?;
        let mut slots = self.slots.lock();
        let slot = self.slot(&mut slots, key)?;
        if !slot.admits(expected) {
            return Err(StoreError::Conflict { expected, found: slot.revision });
        }
        if let Some(ahead) = self.ahead.lock().as_mut() {
            ahead.forget(key);
        }
        let directory = self.write(key, record, reserved.take())?;
        *slot = Slot { revision: record.revision, unconfirmed_over: Some(expected) };
        sync(&directory, &self.directory)?;
        slot.unconfirmed_over = None;
        Ok(())
    }

    /// The slot of a record. The first use reads the record.
    ///
    /// An unreadable record gets no slot. So it is not overwritten, and the store works again once
    /// the record is moved away.
    fn slot<'a>(&self, slots: &'a mut HashMap<Key, Slot>, key: &Key) -> Result<&'a mut Slot, StoreError> {
        Ok(match slots.entry(key.clone()) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(vacant) => {
                let revision = self.read(key)?.revision;
                vacant.insert(Slot::of(revision))
            }
        })
    }

    /// Reserves space for the next record, which may be twice as large as the current one.
    fn reserve(&self, key: &Key) -> Result<Reserved, StoreError> {
        self.slot(&mut self.slots.lock(), key)?;
        let present = self.path(key).metadata().map_or(0, |file| file.len());
        Reserved::new(&self.directory, present.saturating_mul(2).clamp(LEAST_RESERVED, MAX_FILE))
    }

    fn set_aside(&self, key: &Key) -> Result<Option<String>, StoreError> {
        let mut slots = self.slots.lock();
        match self.read(key) {
            // A readable record may have replaced the unreadable one meanwhile.
            Ok(_) => Ok(None),
            Err(error) if !error.is_of_record() => Err(error),
            Err(_) => {
                let aside = move_aside(&self.path(key))?;
                // The next record starts again at revision 0.
                slots.remove(key);
                sync_directory(&self.directory)?;
                Ok(Some(aside.display().to_string()))
            }
        }
    }

    fn read(&self, key: &Key) -> Result<Record, StoreError> {
        read_record(&self.directory, self.keys.as_ref(), key, false)
    }

    /// Writes a record to the reserved file or a new one, and moves that into place. The record is
    /// durable after a [`sync`] of the returned handle.
    fn write(&self, key: &Key, record: &Record, reserved: Option<Reserved>) -> Result<File, StoreError> {
        let path = self.path(key);
        let content = encode_record(self.keys.as_ref(), key, record, &path)?;
        let put = |mut file: Reserved| file.fill(&content).and_then(|()| file.move_to(&path));
        if let Some(file) = reserved
            && let Ok(directory) = put(file)
        {
            return Ok(directory);
        }
        // The reserved file or its directory may have been removed, so a new file is tried.
        put(Reserved::new(&self.directory, content.len() as u64)?)
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.directory.join(file_name(key))
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
