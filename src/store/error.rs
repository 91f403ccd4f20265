//! Why a store fails.

use std::io;
use std::path::Path;

use thiserror::Error;

/// Why a store failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Reading or writing failed.
    #[error("{what}")]
    Io {
        /// The operation, with the path.
        what: String,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// Another process holds the store.
    #[error(
        "the token store {path} is in use by another process; stop it, or give this one its own [store] path"
    )]
    InUse {
        /// The store's directory.
        path: String,
    },
    /// This user may not write to the store.
    #[error(
        "store.path: nothing can be written to {path}; make it writable for this user, or name another directory"
    )]
    NotWritable {
        /// The store's directory.
        path: String,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The content of the stored record is damaged. It is left untouched.
    #[error("{what} is damaged ({detail})")]
    Damaged {
        /// Which record.
        what: String,
        /// What is wrong with it, without quoting it.
        detail: String,
    },
    /// The stored record is whole, but this process may not use it. Its format is newer, its
    /// identity is another, or it is plain where records are encrypted. It is left untouched.
    #[error("{what} cannot be used ({detail})")]
    Foreign {
        /// Which record.
        what: String,
        /// Why not, without quoting it.
        detail: String,
    },
    /// The stored record is encrypted, and there is no key for it. It is left untouched.
    #[error("{what} is encrypted with {}", missing(key, *has_keys))]
    NoKey {
        /// Which record.
        what: String,
        /// The id of the key it needs.
        key: String,
        /// Whether other keys are configured.
        has_keys: bool,
    },
    /// The record was deleted, or replaced by an older one, while this process holds the store.
    #[error(
        "{what} holds revision {found}, and this process has written {written}; the next write replaces it"
    )]
    Meddled {
        /// Which record.
        what: String,
        /// The revision that this process wrote last.
        written: u64,
        /// The revision in the store; 0 without a record.
        found: u64,
    },
    /// Another writer stored a newer revision first.
    #[error("the stored revision is {found}, not {expected}: another writer was faster")]
    Conflict {
        /// The revision the caller had read.
        expected: u64,
        /// The revision in the store.
        found: u64,
    },
}

fn missing(key: &str, has_keys: bool) -> String {
    if has_keys {
        format!("key {key}, which is not in store.key_file")
    } else {
        format!("key {key}, and no key is configured")
    }
}

impl StoreError {
    /// Whether the stored record is the cause. Retrying is then useless until the record changes.
    pub fn is_of_record(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Foreign { .. } | Self::NoKey { .. })
    }

    /// The error with its cause, for operators.
    pub fn describe(&self) -> String {
        match self {
            Self::Io { source, .. } | Self::NotWritable { source, .. } => {
                format!("{self}: {}", system_reason(source))
            }
            _ => self.to_string(),
        }
    }
}

/// The operating system's reason as part of a sentence: `no space left on device (os error 28)`.
pub(super) fn system_reason(error: &io::Error) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => text,
    }
}

/// Whether an error means a lack of space. It may pass without a change to the system.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Why the content of a file is no record that can be used. The texts quote nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RecordError {
    /// It is damaged.
    Damaged(String),
    /// It is whole, but of another version or identity.
    Foreign(String),
    /// None of the keys has this id, if there are any.
    NoKey { key: String, has_keys: bool },
}

impl RecordError {
    pub(super) fn of_file(self, path: &Path) -> StoreError {
        let what = path.display().to_string();
        match self {
            Self::Damaged(detail) => StoreError::Damaged { what, detail },
            Self::Foreign(detail) => StoreError::Foreign { what, detail },
            Self::NoKey { key, has_keys } => StoreError::NoKey { what, key, has_keys },
        }
    }
}
