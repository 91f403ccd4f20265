//! Reads all records of a directory at once, when a file store is opened.
//!
//! Ten thousand records take a fraction of the time that they would take one by one. Where there
//! are keys, records that are plain or under an older key are encrypted, each in one step. Files
//! that cannot be read are not touched.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::directory::{LOCK, entries, is_record, replace, sync_directory};
use super::error::{RecordError, StoreError, is_full, system_reason};
use super::record::{Key, Record};
use super::record_file::{file_name, read_file, seal_content};
use super::seal::{self, Keys};
use super::wire;

/// Records that were read ahead, each for one load.
#[derive(Debug)]
pub(super) struct ReadAhead {
    records: HashMap<Key, Record>,
    /// Keys that were loaded or written. Only their files and slots are up to date.
    done: HashSet<Key>,
}

impl ReadAhead {
    /// Reads a directory. Records that cannot be read are left out; loading them reports why.
    pub(super) fn read(directory: &Path, keys: Option<&Keys>) -> Result<Self, StoreError> {
        let mut records = HashMap::new();
        let mut plain = 0;
        let mut older = 0;
        for entry in entries(directory)? {
            let path = entry?.path();
            let Some(name) = path.file_name().filter(|name| *name != LOCK) else { continue };
            // With keys every file is read, so that no copy under another name stays readable.
            if !(is_record(name) || keys.is_some() && fs::metadata(&path).is_ok_and(|file| file.is_file())) {
                continue;
            }
            let content = match read(&path, name, keys) {
                Ok(Some(content)) => content,
                Ok(None) => continue,
                Err(error) => {
                    let reason = error.describe();
                    tracing::warn!(path = %path.display(), reason, "left a file in the token store as it is");
                    continue;
                }
            };
            if let (Some(keys), Some(stale)) = (keys, &content.stale) {
                let sealed = seal_content(keys, &content.key, content.record.revision, stale, &path)?;
                match replace(directory, &path, &sealed) {
                    Ok(_) if content.was_plain => plain += 1,
                    Ok(_) => older += 1,
                    Err(StoreError::Io { source, .. }) if is_full(&source) => tracing::warn!(
                        path = %path.display(), reason = system_reason(&source),
                        "a token record could not be encrypted with the first key of store.key_file"
                    ),
                    Err(error) => return Err(error),
                }
            }
            if name == OsStr::new(&file_name(&content.key)) {
                records.insert(content.key, content.record);
            }
        }
        if plain + older > 0 {
            sync_directory(directory)?;
            tracing::info!(plain, older, "token records were encrypted with the first key of store.key_file");
        }
        Ok(Self { records, done: HashSet::new() })
    }

    pub(super) fn revisions(&self) -> impl Iterator<Item = (&Key, u64)> {
        self.records.iter().map(|(key, record)| (key, record.revision))
    }

    /// The result of the first load of `key`, unless its file has to be read. `path` is the file's.
    pub(super) fn take(&mut self, key: &Key, path: impl FnOnce() -> PathBuf) -> Option<Record> {
        if !self.done.insert(key.clone()) {
            return None;
        }
        self.records.remove(key).or_else(|| {
            // A file may have been unreadable, or added later.
            let file = path().symlink_metadata();
            file.is_err_and(|error| error.kind() == io::ErrorKind::NotFound).then(Record::default)
        })
    }

    /// Forgets the record of `key`, which is being written.
    pub(super) fn forget(&mut self, key: &Key) {
        self.records.remove(key);
        self.done.insert(key.clone());
    }
}

struct FileContent {
    key: Key,
    record: Record,
    /// The plain form, if it must be encrypted again.
    stale: Option<Zeroizing<Vec<u8>>>,
    was_plain: bool,
}

/// Reads a file. `None` if it is not a record.
fn read(path: &Path, name: &OsStr, keys: Option<&Keys>) -> Result<Option<FileContent>, StoreError> {
    let bytes = match read_file(path) {
        Ok(Some(bytes)) => bytes,
        Err(error) if is_record(name) => return Err(error),
        // Other things may lie in the same directory.
        Ok(None) | Err(_) => return Ok(None),
    };
    let (key, content, is_current, was_plain) = match seal::open(keys, &bytes) {
        Some(Ok(plain)) => (plain.key, plain.content, plain.is_current, false),
        Some(Err(error)) => return Err(error.of_file(path)),
        None => match wire::owner(&bytes) {
            Some(key) => (key, bytes, keys.is_none(), true),
            None if is_record(name) => {
                let detail = "it may hold a token in the clear".to_owned();
                return Err(RecordError::Damaged(detail).of_file(path));
            }
            None => return Ok(None),
        },
    };
    let record = wire::decode(&key, &content).map_err(|error| error.of_file(path))?;
    Ok(Some(FileContent { key, record, stale: (!is_current).then_some(content), was_plain }))
}
