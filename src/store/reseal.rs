//! What opening an encrypted store does to the files it finds: plain records, and those under an older key, are
//! encrypted with the first key, each in one step. Nothing that cannot be opened is touched.

use std::fs;
use std::path::Path;

use zeroize::Zeroizing;

use super::directory::{LOCK, entries, is_record, replace, sync_directory};
use super::file::{no_random_bytes, read_file, refused};
use super::seal::{self, Keys, Opened};
use super::{Key, StoreError, wire};

/// A record that must be encrypted with the first key.
struct Stale {
    key: Key,
    revision: u64,
    content: Zeroizing<Vec<u8>>,
    was_plain: bool,
}

/// Encrypts every record in the directory with the first of `keys`. A file is taken for a record by its content, so that
/// a copy under another name does not stay readable.
pub(super) fn everything(directory: &Path, keys: &Keys) -> Result<(), StoreError> {
    let (mut plain, mut older) = (0, 0);
    for entry in entries(directory)? {
        let path = entry?.path();
        let is_lock = path.file_name().is_none_or(|name| name == LOCK);
        if is_lock || !fs::metadata(&path).is_ok_and(|file| file.is_file()) {
            continue;
        }
        let stale = match examine(&path, keys) {
            Ok(Some(stale)) => stale,
            Ok(None) => continue,
            Err(error) => {
                let reason = reason(&error);
                tracing::warn!(path = %path.display(), reason, "left a file in the token store as it is");
                continue;
            }
        };
        let sealed = keys.seal(&stale.key, stale.revision, &stale.content);
        let sealed = sealed.ok_or_else(|| no_random_bytes(&path))?;
        replace(directory, &path, &sealed)?;
        *(if stale.was_plain { &mut plain } else { &mut older }) += 1;
    }
    if plain + older > 0 {
        sync_directory(directory)?;
        tracing::info!(plain, older, "token records were encrypted with the first key of store.key_file");
    }
    Ok(())
}

/// What is to be encrypted anew, if it is; an error for a record that cannot be read.
fn examine(path: &Path, keys: &Keys) -> Result<Option<Stale>, StoreError> {
    let damaged = |detail| StoreError::Damaged { what: path.display().to_string(), detail };
    // Other things may lie in the same directory.
    let is_record = path.file_name().is_some_and(is_record);
    let content = match read_file(path) {
        Ok(Some(content)) => content,
        Err(error) if is_record => return Err(error),
        Ok(None) | Err(_) => return Ok(None),
    };
    match seal::open(Some(keys), &content) {
        Some(Ok(opened)) if opened.is_current => return Ok(None),
        Some(Ok(Opened { key, revision, content, .. })) => {
            return Ok(Some(Stale { key, revision, content, was_plain: false }));
        }
        Some(Err(refusal)) => return Err(refused(refusal, path)),
        None => {}
    }
    match wire::owner(&content) {
        Some((key, revision)) => match wire::decode(&key, &content) {
            Ok(_) => Ok(Some(Stale { key, revision, content, was_plain: true })),
            Err(detail) => Err(damaged(format!("{detail}; it may hold a token in the clear"))),
        },
        None if is_record => Err(damaged("it may hold a token in the clear".to_owned())),
        None => Ok(None),
    }
}

fn reason(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
