//! What opening a store does with the files it finds: it reads every record once, and, where there are keys, encrypts
//! those that are plain or under an older key, each in one step. What cannot be read is not touched.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use zeroize::Zeroizing;

use super::directory::{LOCK, entries, is_record, replace, sync_directory};
use super::file::{file_name, no_random_bytes, no_record, read_file, refused};
use super::seal::{self, Keys, Opened};
use super::wire::{self, NoRecord};
use super::{Key, Record, StoreError, is_full, system_reason};

/// A record as it was found.
struct Found {
    key: Key,
    record: Record,
    /// Its plain form, where it must be encrypted anew.
    stale: Option<Zeroizing<Vec<u8>>>,
    was_plain: bool,
}

/// Reads the directory. A record that cannot be read is left out; asking for it will say why.
pub(super) fn read_all(directory: &Path, keys: Option<&Keys>) -> Result<Vec<(Key, Record)>, StoreError> {
    let (mut records, mut plain, mut older) = (Vec::new(), 0, 0);
    for entry in entries(directory)? {
        let path = entry?.path();
        let Some(name) = path.file_name().filter(|name| *name != LOCK) else { continue };
        // With keys every file is looked at, so that a copy under another name does not stay readable.
        if !(is_record(name) || keys.is_some() && fs::metadata(&path).is_ok_and(|file| file.is_file())) {
            continue;
        }
        let found = match examine(&path, name, keys) {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            Err(error) => {
                let reason = error.describe();
                tracing::warn!(path = %path.display(), reason, "left a file in the token store as it is");
                continue;
            }
        };
        if let (Some(keys), Some(content)) = (keys, &found.stale) {
            let sealed = keys.seal(&found.key, found.record.revision, content);
            match replace(directory, &path, &sealed.ok_or_else(|| no_random_bytes(&path))?) {
                Ok(_) => *(if found.was_plain { &mut plain } else { &mut older }) += 1,
                Err(StoreError::Io { source, .. }) if is_full(&source) => tracing::warn!(
                    path = %path.display(), reason = system_reason(&source),
                    "a token record could not be encrypted with the first key of store.key_file"
                ),
                Err(error) => return Err(error),
            }
        }
        if name == OsStr::new(&file_name(&found.key)) {
            records.push((found.key, found.record));
        }
    }
    if plain + older > 0 {
        sync_directory(directory)?;
        tracing::info!(plain, older, "token records were encrypted with the first key of store.key_file");
    }
    Ok(records)
}

/// The record in a file, if there is one; an error for one that cannot be read.
fn examine(path: &Path, name: &OsStr, keys: Option<&Keys>) -> Result<Option<Found>, StoreError> {
    let damaged = |detail: &str| no_record(NoRecord::Damaged(detail.to_owned()), path);
    let content = match read_file(path) {
        Ok(Some(content)) => content,
        Err(error) if is_record(name) => return Err(error),
        // Other things may lie in the same directory.
        Ok(None) | Err(_) => return Ok(None),
    };
    let (key, content, is_current, was_plain) = match seal::open(keys, &content) {
        Some(Ok(Opened { key, content, is_current, .. })) => (key, content, is_current, false),
        Some(Err(refusal)) => return Err(refused(refusal, path)),
        None => match wire::owner(&content) {
            Some(key) => (key, content, keys.is_none(), true),
            None if is_record(name) => return Err(damaged("it may hold a token in the clear")),
            None => return Ok(None),
        },
    };
    let record = wire::decode(&key, &content).map_err(|why| no_record(why, path))?;
    Ok(Some(Found { key, record, stale: (!is_current).then_some(content), was_plain }))
}
