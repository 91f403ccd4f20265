//! Records in a directory: one file a credential identity, written so that a crash leaves the old record or the new
//! one and never a mixture.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::directory::{
    Reserved, failed, lock, move_aside, prepare, probe, probe_or_parent, remove_leftovers, sync,
    sync_directory,
};
use super::seal::{self, Keys, Refusal};
use super::wire::{self, NoRecord, OTHER_IDENTITY};
use super::{Key, Record, Reservation, StoreError, StoreFuture, TokenStore, follows, opening};
use crate::secret;

/// No record comes near it; a file that is larger is not ours.
const MAX_FILE: u64 = 1024 * 1024;
/// What a record usually needs. A buffer that grows leaves copies of a token behind.
const ORDINARY_FILE: usize = 8 * 1024;
/// What is reserved at least for a record that is to come.
const RESERVED: u64 = 16 * 1024;
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
    /// What records are encrypted with, if they are.
    keys: Option<Keys>,
    /// What is known of the records that are there or have been asked for. The lock is held while a file is read or
    /// written, so that writers queue; it is taken on blocking threads only.
    slots: Mutex<HashMap<Key, Slot>>,
    /// What opening has found, until the store is settled. The lock is held for a moment, and never while a file is
    /// written: ten thousand first questions are not to wait behind the writes of those who have their answer.
    ahead: Mutex<Option<Ahead>>,
    /// Held, not read: the operating system's lock ends with it.
    _lock: File,
}

/// What a store knows from its opening. Ten thousand records are read in one go in a fraction of the time that they
/// would take one by one.
#[derive(Debug)]
struct Ahead {
    /// Records that have not been asked for yet.
    records: HashMap<Key, Record>,
    /// Who has been answered, or has written: from then on only the files and the slots know.
    done: HashSet<Key>,
}

impl Ahead {
    /// The answer to the first question for `key`, if no file has to be read for it.
    fn take(&mut self, key: &Key, path: impl FnOnce() -> PathBuf) -> Option<Record> {
        if !self.done.insert(key.clone()) {
            return None;
        }
        self.records.remove(key).or_else(|| {
            // A file that could not be read, or came later, has something to say.
            let found = path().symlink_metadata();
            found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound).then(Record::default)
        })
    }

    fn pass(&mut self, key: &Key) {
        self.records.remove(key);
        self.done.insert(key.clone());
    }
}

/// A record on disk. Its content is not kept: who asked for it has it, and there may be many.
#[derive(Debug)]
struct Slot {
    revision: u64,
    /// The revision that this one replaced, while it is not certain that it has reached the disk: its writer was
    /// told of a failure, believes in the old revision, and may swap from either.
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
    /// Opens the store in `directory`, which is created when it is missing, and holds it until dropped. Its records are
    /// plain; one that is encrypted is not read.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another store, in this process or another, holds the directory;
    /// [`StoreError::NotWritable`] when this user may not write to it; a full disk is no error.
    /// [`StoreError::Io`] when it cannot be used for another reason, or others may write to it.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::open_with(directory.into(), None)
    }

    /// Opens a store whose records are encrypted. Those that are plain, or encrypted with another than the first of
    /// `keys`, are encrypted anew before this returns. Those that no key opens are left as they are, with a warning.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_sealed(directory: impl Into<PathBuf>, keys: Keys) -> Result<Self, StoreError> {
        Self::open_with(directory.into(), Some(keys))
    }

    /// Reads the record of `key` as a store in `directory` would, without opening one: nothing is changed, and another
    /// process may hold it.
    ///
    /// # Errors
    /// Why the record cannot be used.
    pub fn inspect(directory: &Path, keys: Option<&Keys>, key: &Key) -> Result<Record, StoreError> {
        // A plain one is encrypted when the store is opened.
        read_record(directory, keys, key, true)
    }

    /// Whether a store could write to `directory`, or make it: a file is made and removed. A full disk is no error.
    ///
    /// # Errors
    /// [`StoreError::NotWritable`] when this user may not; [`StoreError::Io`] when it could not for
    /// another reason.
    pub fn inspect_directory(directory: &Path) -> Result<(), StoreError> {
        probe_or_parent(directory)
    }

    fn open_with(directory: PathBuf, keys: Option<Keys>) -> Result<Self, StoreError> {
        prepare(&directory)?;
        let lock = lock(&directory)?;
        // Under the lock, so that these are leftovers of a crash and not somebody's write.
        remove_leftovers(&directory)?;
        probe(&directory)?;
        let ahead: HashMap<_, _> = opening::read_all(&directory, keys.as_ref())?.into_iter().collect();
        let slot = |(key, record): (&Key, &Record)| (key.clone(), Slot::of(record.revision));
        let slots = Mutex::new(ahead.iter().map(slot).collect());
        let ahead = Mutex::new(Some(Ahead { records: ahead, done: HashSet::new() }));
        Ok(Self { inner: Arc::new(Inner { directory, keys, slots, ahead, _lock: lock }) })
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
    /// Reads the record. This process is the only writer, so that a file that is gone, or older than what was written
    /// last, is somebody's doing; the next swap brings ours back.
    fn load(&self, key: Key) -> Result<Record, StoreError> {
        let mut slots = self.slots.lock();
        let record = self.read(&key)?;
        let (found, what) = (record.revision, || self.path(&key).display().to_string());
        match slots.get_mut(&key) {
            Some(slot) if slot.revision > found => {
                return Err(StoreError::Meddled { what: what(), written: slot.revision, found });
            }
            Some(slot) if slot.revision == found => {}
            Some(slot) => *slot = Slot::of(found),
            None => drop(slots.insert(key, Slot::of(found))),
        }
        Ok(record)
    }

    /// Uses up `reserved`, if there is any, once nothing but the disk can be in the way.
    fn swap(
        &self,
        key: &Key,
        expected: u64,
        record: &Record,
        reserved: &mut Option<Reserved>,
    ) -> Result<(), StoreError> {
        follows(expected, record)?;
        let mut slots = self.slots.lock();
        let slot = self.slot(&mut slots, key)?;
        if !slot.admits(expected) {
            return Err(StoreError::Conflict { expected, found: slot.revision });
        }
        if let Some(ahead) = self.ahead.lock().as_mut() {
            ahead.pass(key);
        }
        let directory = self.write(key, record, reserved.take())?;
        *slot = Slot { revision: record.revision, unconfirmed_over: Some(expected) };
        sync(&directory, &self.directory)?;
        slot.unconfirmed_over = None;
        Ok(())
    }

    /// What is known of a record, read at the first use. A record that cannot be read is not remembered: it is never
    /// written over, and once it is moved away, the store works again.
    fn slot<'a>(&self, slots: &'a mut HashMap<Key, Slot>, key: &Key) -> Result<&'a mut Slot, StoreError> {
        Ok(match slots.entry(key.clone()) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(vacant) => {
                let revision = self.read(key)?.revision;
                vacant.insert(Slot::of(revision))
            }
        })
    }

    /// The file for the next record. A record may grow to twice its size meanwhile.
    fn reserve(&self, key: &Key) -> Result<Reserved, StoreError> {
        self.slot(&mut self.slots.lock(), key)?;
        let present = self.path(key).metadata().map_or(0, |file| file.len());
        Reserved::new(&self.directory, present.saturating_mul(2).clamp(RESERVED, MAX_FILE))
    }

    fn set_aside(&self, key: &Key) -> Result<Option<String>, StoreError> {
        // Somebody may have put a good one there since.
        let mut slots = self.slots.lock();
        match self.read(key) {
            Ok(_) => Ok(None),
            Err(error) if !error.is_of_record() => Err(error),
            Err(_) => {
                let aside = move_aside(&self.path(key))?;
                // Its revisions went with it.
                slots.remove(key);
                sync_directory(&self.directory)?;
                Ok(Some(aside.display().to_string()))
            }
        }
    }

    fn read(&self, key: &Key) -> Result<Record, StoreError> {
        read_record(&self.directory, self.keys.as_ref(), key, false)
    }

    /// Puts a record in place, through a file of its own or the one that was reserved. The bytes are whole then; whether
    /// they stay is certain after a sync of the handle that this returns.
    fn write(&self, key: &Key, record: &Record, reserved: Option<Reserved>) -> Result<File, StoreError> {
        let path = self.path(key);
        let plain = wire::encode(key, record).map_err(|error| failed("encoding", &path, error.into()))?;
        let sealed = match &self.keys {
            None => None,
            Some(keys) => {
                Some(keys.seal(key, record.revision, &plain).ok_or_else(|| no_random_bytes(&path))?)
            }
        };
        let content = sealed.as_deref().unwrap_or(&plain);
        let put = |mut file: Reserved| file.fill(content).and_then(|()| file.move_to(&path));
        if let Some(file) = reserved
            && let Ok(directory) = put(file)
        {
            return Ok(directory);
        }
        // Somebody may have taken the reserved file away, or the directory.
        put(Reserved::new(&self.directory, content.len() as u64)?)
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.directory.join(file_name(key))
    }
}

/// `plain`: whether a record that is not encrypted is taken though there are keys.
fn read_record(directory: &Path, keys: Option<&Keys>, key: &Key, plain: bool) -> Result<Record, StoreError> {
    let path = directory.join(file_name(key));
    let Some(bytes) = read_file(&path)? else { return Ok(Record::default()) };
    let no_record = |why| no_record(why, &path);
    match seal::open(keys, &bytes) {
        // Plain records were encrypted at the opening. This one came later, from somebody without
        // the key.
        None if keys.is_some() && !plain && wire::owner(&bytes).is_some() => {
            let detail = "it is not encrypted, and store.key_file is set";
            Err(no_record(NoRecord::Foreign(detail.to_owned())))
        }
        None => wire::decode(key, &bytes).map_err(no_record),
        Some(Ok(opened)) if opened.key == *key => wire::decode(key, &opened.content).map_err(no_record),
        Some(Ok(_)) => Err(no_record(NoRecord::Foreign(OTHER_IDENTITY.to_owned()))),
        Some(Err(refusal)) => Err(refused(refusal, &path)),
    }
}

/// `None` when there is no such file.
pub(super) fn read_file(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("opening", path, error)),
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(ORDINARY_FILE));
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| failed("reading", path, error))?;
    if bytes.len() as u64 > MAX_FILE {
        let detail = "it is far too large".to_owned();
        return Err(StoreError::Damaged { what: path.display().to_string(), detail });
    }
    Ok(Some(bytes))
}

pub(super) fn no_record(why: NoRecord, path: &Path) -> StoreError {
    let what = path.display().to_string();
    match why {
        NoRecord::Damaged(detail) => StoreError::Damaged { what, detail },
        NoRecord::Foreign(detail) => StoreError::Foreign { what, detail },
    }
}

/// For a nonce.
pub(super) fn no_random_bytes(path: &Path) -> StoreError {
    failed("encrypting", path, io::Error::other("there are no random bytes"))
}

pub(super) fn refused(refusal: Refusal, path: &Path) -> StoreError {
    let what = path.display().to_string();
    match refusal {
        Refusal::NoKey(key) => StoreError::NoKey { what, key, has_keys: false },
        Refusal::UnknownKey(key) => StoreError::NoKey { what, key, has_keys: true },
        Refusal::Damaged(detail) => StoreError::Damaged { what, detail },
        Refusal::Foreign(detail) => StoreError::Foreign { what, detail },
    }
}

/// `{credential}.{first 8 of the identity}.json`. Characters that a file name may not or should not have are
/// percent-encoded, dots included, so that two credentials never share a name.
pub(super) fn file_name(key: &Key) -> String {
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
