//! Encryption at rest (`store.key_file`): AES-256-GCM, one sealed envelope per record.
//!
//! The format, the credential, the identity and the revision are associated data of the ciphertext.
//! So an envelope cannot pass for the envelope of another credential or revision. But a complete
//! older file is accepted if it is put back while no process runs: a file cannot prove that it is
//! the newest.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::{RecordError, StoreError};
use super::record::Key;
use super::wire;
use vbc_base::secret::hex;

/// The format of an envelope. It is not a number, so that a version that knows only plain records
/// does not read an envelope as an empty record.
const FORMAT: &str = "sealed-1";
/// The prefix of the hash input, which separates this use of SHA-256 and the key from others.
const KEY_ID: &[u8] = b"vbc-proxy store key id";
/// The number of hexadecimal digits in a key's id.
const ID_DIGITS: usize = 8;
const TAG_LEN: usize = 16;

/// A key of the store. `Debug` prints `[redacted]`. Clones share one copy, which is zeroed when the
/// last clone is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreKey(Arc<Zeroizing<[u8; StoreKey::BYTES]>>);

impl StoreKey {
    /// The length of an AES-256 key, in bytes.
    pub const BYTES: usize = 32;

    /// Copies a key. `None` unless it has [`BYTES`](Self::BYTES) bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        // Copied into its final place, because a move would leave another copy behind.
        let mut key = Arc::new(Zeroizing::new([0; Self::BYTES]));
        let place = Arc::get_mut(&mut key).filter(|place| place.len() == bytes.len())?;
        place.copy_from_slice(bytes);
        Some(Self(key))
    }

    /// The key itself. Call this only to make a cipher.
    pub fn expose(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The keys of a store. The first key seals, and every key opens. `Debug` shows the ids of the
/// keys. The keys are zeroed on drop.
pub struct Keys(Vec<Sealer>);

/// The cipher of one key. The library zeroes the cipher's copy of the key.
struct Sealer {
    /// Identifies the key without revealing it.
    id: String,
    cipher: RandomizedNonceKey,
}

impl Keys {
    /// Makes a cipher for each key.
    ///
    /// # Errors
    /// [`StoreError::Io`] if `keys` is empty, or if the library rejects a key.
    pub fn new(keys: &[StoreKey]) -> Result<Self, StoreError> {
        let sealer = |key: &StoreKey| {
            let cipher = RandomizedNonceKey::new(&AES_256_GCM, key.expose()).ok()?;
            Some(Sealer { id: key_id(key), cipher })
        };
        let sealers: Option<Vec<_>> = keys.iter().map(sealer).collect();
        sealers.filter(|sealers| !sealers.is_empty()).map(Self).ok_or_else(|| StoreError::Io {
            what: "preparing the encryption keys of the token store".to_owned(),
            source: std::io::ErrorKind::InvalidInput.into(),
        })
    }

    fn is_first(&self, id: &str) -> bool {
        self.0.first().is_some_and(|first| first.id == id)
    }

    /// The file of a record with this content. `None` if the system has no random bytes for a
    /// nonce.
    pub(super) fn seal(&self, key: &Key, revision: u64, content: &[u8]) -> Option<Vec<u8>> {
        let first = self.0.first()?;
        // The buffer has its full size from the start, because a buffer that grows leaves copies
        // behind.
        let mut sealed = Zeroizing::new(Vec::with_capacity(NONCE_LEN + content.len() + TAG_LEN));
        sealed.extend_from_slice(content);
        let data = Aad::from(associated(&key.credential, &key.identity, revision));
        let nonce = first.cipher.seal_in_place_append_tag(data, &mut *sealed).ok()?;
        sealed.splice(0..0, nonce.as_ref().iter().copied());
        let envelope = Envelope {
            format: FORMAT.into(),
            credential: Cow::Borrowed(&key.credential),
            identity: Cow::Borrowed(&key.identity),
            revision,
            key: Cow::Borrowed(&first.id),
            sealed: STANDARD.encode(&*sealed).into(),
        };
        let mut bytes = serde_json::to_vec_pretty(&envelope).ok()?;
        bytes.push(b'\n');
        Some(bytes)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.0.iter().map(|sealer| sealer.id.as_str()).collect();
        f.debug_tuple("Keys").field(&ids).finish()
    }
}

/// The file of a sealed record. All fields except `sealed` are readable without a key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    format: Cow<'a, str>,
    credential: Cow<'a, str>,
    identity: Cow<'a, str>,
    revision: u64,
    /// The id of the key.
    key: Cow<'a, str>,
    /// Nonce, ciphertext and tag, as base64.
    sealed: Cow<'a, str>,
}

/// A sealed record that was opened.
pub(super) struct PlainRecord {
    /// The record's key.
    pub(super) key: Key,
    /// The plain content.
    pub(super) content: Zeroizing<Vec<u8>>,
    /// Whether the record was sealed with the first key, and not with an older one.
    pub(super) is_current: bool,
}

/// Opens the content of a file. `None` if it is not sealed. It may then be a plain record.
pub(super) fn open(keys: Option<&Keys>, bytes: &[u8]) -> Option<Result<PlainRecord, RecordError>> {
    #[derive(Deserialize)]
    struct Versioned {
        format: serde_json::Value,
    }
    let Versioned { format } = serde_json::from_slice(bytes).ok()?;
    let format = format.as_str()?;
    if format != FORMAT {
        return Some(Err(RecordError::Foreign("this version does not know its format".to_owned())));
    }
    Some(unseal(keys, bytes))
}

fn unseal(keys: Option<&Keys>, bytes: &[u8]) -> Result<PlainRecord, RecordError> {
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(|error| wire::locate(&error))?;
    let id = &*envelope.key;
    if id.len() != ID_DIGITS || !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(damaged("the id of its key is malformed"));
    }
    let mut sealers = keys.iter().flat_map(|keys| &keys.0).filter(|sealer| sealer.id == id).peekable();
    if sealers.peek().is_none() {
        return Err(RecordError::NoKey { key: id.to_owned(), has_keys: keys.is_some() });
    }
    let sealed = STANDARD.decode(&*envelope.sealed).map_err(|_| damaged("its content is not base64"))?;
    let (nonce, sealed) =
        sealed.split_first_chunk::<NONCE_LEN>().ok_or_else(|| damaged("its content is cut off"))?;
    let content = sealers.find_map(|sealer| {
        let data = Aad::from(associated(&envelope.credential, &envelope.identity, envelope.revision));
        let mut content = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = sealer.cipher.open_in_place(nonce, data, &mut content).ok()?.len();
        content.truncate(length);
        Some(content)
    });
    let Some(content) = content else {
        return Err(RecordError::Damaged(format!(
            "it was sealed with key {id}, but was changed since, or copied from another credential or revision"
        )));
    };
    Ok(PlainRecord {
        content,
        is_current: keys.is_some_and(|keys| keys.is_first(id)),
        key: Key { credential: envelope.credential.into(), identity: envelope.identity.into() },
    })
}

fn damaged(detail: &str) -> RecordError {
    RecordError::Damaged(detail.to_owned())
}

/// The associated data. Each part is preceded by its length, so that different parts always give
/// different bytes.
fn associated(credential: &str, identity: &str, revision: u64) -> Vec<u8> {
    let mut data = Vec::with_capacity(64 + credential.len() + identity.len());
    for part in [FORMAT, credential, identity] {
        data.extend_from_slice(&(part.len() as u64).to_be_bytes());
        data.extend_from_slice(part.as_bytes());
    }
    data.extend_from_slice(&revision.to_be_bytes());
    data
}

fn key_id(key: &StoreKey) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(KEY_ID);
    context.update(key.expose());
    let mut id = hex(context.finish().as_ref());
    id.truncate(ID_DIGITS);
    id
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
