//! The file of one record: its name, and how it is read and written with or without keys.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use super::directory::failed;
use super::error::{RecordError, StoreError};
use super::record::{Key, Record};
use super::seal::{self, Keys};
use super::wire::{self, OTHER_IDENTITY};
use vbc_base::secret;

/// The largest file that is read. Records are far smaller.
pub(super) const MAX_FILE: u64 = 1024 * 1024;
/// The initial size of the buffer, which fits the usual record. A buffer that grows leaves copies
/// of a token behind.
const USUAL_FILE: usize = 8 * 1024;
/// The longest credential name in a file name. Most file systems allow 255 bytes.
const MAX_NAME: usize = 120;
/// The characters that are percent-encoded in a file name.
const FILE_NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// Reads the record of `key`, or an empty one if there is no file.
///
/// `accept_plain` says whether a record may be plain although there are keys.
pub(super) fn read_record(
    directory: &Path,
    keys: Option<&Keys>,
    key: &Key,
    accept_plain: bool,
) -> Result<Record, StoreError> {
    let path = directory.join(file_name(key));
    let Some(bytes) = read_file(&path)? else { return Ok(Record::default()) };
    let decoded = match seal::open(keys, &bytes) {
        // Opening the store has encrypted all plain records. So another program without the key has
        // added this one since.
        None if keys.is_some() && !accept_plain && wire::owner(&bytes).is_some() => {
            Err(RecordError::Foreign("it is not encrypted, and store.key_file is set".to_owned()))
        }
        None => wire::decode(key, &bytes),
        Some(Ok(plain)) if plain.key == *key => wire::decode(key, &plain.content),
        Some(Ok(_)) => Err(RecordError::Foreign(OTHER_IDENTITY.to_owned())),
        Some(Err(error)) => Err(error),
    };
    decoded.map_err(|error| error.of_file(&path))
}

/// The content of a file, or `None` if there is no file.
pub(super) fn read_file(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("opening", path, error)),
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(USUAL_FILE));
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| failed("reading", path, error))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(RecordError::Damaged("it is larger than 1 MiB".to_owned()).of_file(path));
    }
    Ok(Some(bytes))
}

pub(super) fn encode_record(
    keys: Option<&Keys>,
    key: &Key,
    record: &Record,
    path: &Path,
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let plain = wire::encode(key, record).map_err(|error| failed("encoding", path, error.into()))?;
    match keys {
        None => Ok(plain),
        Some(keys) => seal_content(keys, key, record.revision, &plain, path).map(Zeroizing::new),
    }
}

pub(super) fn seal_content(
    keys: &Keys,
    key: &Key,
    revision: u64,
    plain: &[u8],
    path: &Path,
) -> Result<Vec<u8>, StoreError> {
    let no_nonce = || failed("encrypting", path, io::Error::other("the system has no random bytes"));
    keys.seal(key, revision, plain).ok_or_else(no_nonce)
}

/// `{credential}.{first 8 digits of the identity}.json`.
///
/// Characters that are unsafe in file names are percent-encoded, dots included, so that two
/// credentials never share a name.
pub(super) fn file_name(key: &Key) -> String {
    let mut name = utf8_percent_encode(&key.credential, FILE_NAME).to_string();
    if name.is_empty() || name.len() > MAX_NAME {
        let cut = name.floor_char_boundary(MAX_NAME - 33);
        name = format!("{}~{}", &name[..cut.min(name.len())], secret::fingerprint(&[&key.credential]));
    }
    let short = match key.identity.get(..8) {
        Some(short) if key.identity.bytes().all(|b| b.is_ascii_hexdigit()) => short.to_owned(),
        // An identity that is not a fingerprint is hashed: identities with the same beginning must
        // get different files.
        _ => secret::fingerprint(&[&key.identity])[..8].to_owned(),
    };
    format!("{name}.{short}.json")
}
