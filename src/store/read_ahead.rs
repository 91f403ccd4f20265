//! Reads all records of a directory in one pass, when a file store is opened.
//!
//! For ten thousand records this is much faster than reading them one by one. If there are keys,
//! records that are plain or encrypted with an older key are encrypted with the first key. Each
//! such file is replaced atomically. Unreadable files are not touched.

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

/// Records that were read ahead. Each serves one load.
#[derive(Debug)]
pub(super) struct ReadAhead {
    records: HashMap<Key, Record>,
    /// Keys that were loaded or written. Further loads read the file of the key again.
    done: HashSet<Key>,
}

impl ReadAhead {
    /// Reads a directory. Unreadable records are left out; loading one reports why.
    pub(super) fn read(directory: &Path, keys: Option<&Keys>) -> Result<Self, StoreError> {
        let mut records = HashMap::new();
        let mut plain = 0;
        let mut older = 0;
        for entry in entries(directory)? {
            let path = entry?.path();
            let Some(name) = path.file_name().filter(|name| *name != LOCK) else { continue };
            // With keys every file is read, so that no plain copy stays under another name.
            if !(is_record(name) || keys.is_some() && fs::metadata(&path).is_ok_and(|file| file.is_file())) {
                continue;
            }
            let content = match read(&path, name, keys) {
                Ok(Some(content)) => content,
                Ok(None) => continue,
                Err(error) => {
                    let reason = error.describe();
                    tracing::warn!(path = %path.display(), reason, "cannot use a file in the token store");
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
                        "cannot encrypt a token record with the first key of store.key_file; left it unchanged"
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
            tracing::info!(plain, older, "encrypted token records with the first key of store.key_file");
        }
        Ok(Self { records, done: HashSet::new() })
    }

    pub(super) fn revisions(&self) -> impl Iterator<Item = (&Key, u64)> {
        self.records.iter().map(|(key, record)| (key, record.revision))
    }

    /// The result of the first load of `key`. `None` if its file must be read. `path` returns the
    /// file's path.
    pub(super) fn take(&mut self, key: &Key, path: impl FnOnce() -> PathBuf) -> Option<Record> {
        if !self.done.insert(key.clone()) {
            return None;
        }
        self.records.remove(key).or_else(|| {
            // Only a missing file means an empty record: a file may have been unreadable, or added
            // later.
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
    /// The plain content, if the file must be encrypted with the first key.
    stale: Option<Zeroizing<Vec<u8>>>,
    was_plain: bool,
}

/// Reads a file. `None` if it is not a record.
fn read(path: &Path, name: &OsStr, keys: Option<&Keys>) -> Result<Option<FileContent>, StoreError> {
    let bytes = match read_file(path) {
        Ok(Some(bytes)) => bytes,
        Err(error) if is_record(name) => return Err(error),
        // The directory may contain other files.
        Ok(None) | Err(_) => return Ok(None),
    };
    let (key, content, is_current, was_plain) = match seal::open(keys, &bytes) {
        Some(Ok(plain)) => (plain.key, plain.content, plain.is_current, false),
        Some(Err(error)) => return Err(error.of_file(path)),
        None => match wire::owner(&bytes) {
            Some(key) => (key, bytes, keys.is_none(), true),
            None if is_record(name) => {
                let detail = "it may contain an unencrypted token".to_owned();
                return Err(RecordError::Damaged(detail).of_file(path));
            }
            None => return Ok(None),
        },
    };
    let record = wire::decode(&key, &content).map_err(|error| error.of_file(path))?;
    Ok(Some(FileContent { key, record, stale: (!is_current).then_some(content), was_plain }))
}
