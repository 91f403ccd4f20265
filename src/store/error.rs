//! The errors of a store.

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
        "the token store {path} is in use by another process; stop that process, or set another store.path"
    )]
    InUse {
        /// The store's directory.
        path: String,
    },
    /// This user is not allowed to write to the store.
    #[error(
        "store.path: cannot write to {path}; make this user its owner (chown -R), or set another directory"
    )]
    NotWritable {
        /// The store's directory.
        path: String,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The content of the stored record is damaged. The record is left untouched.
    #[error("{what} is damaged ({detail})")]
    Damaged {
        /// The record's file or name.
        what: String,
        /// The kind of damage, without quoting the content.
        detail: String,
    },
    /// The stored record is complete, but this process must not use it. Its format is newer, it
    /// belongs to another identity, or it is plain although records are encrypted. The record is
    /// left untouched.
    #[error("{what} cannot be used ({detail})")]
    Foreign {
        /// The record's file or name.
        what: String,
        /// The reason, without quoting the content.
        detail: String,
    },
    /// The stored record is encrypted, and there is no key for it. The record is left untouched.
    #[error("{what} is encrypted with {}", missing(key, *has_keys))]
    NoKey {
        /// The record's file or name.
        what: String,
        /// The id of the key that the record needs.
        key: String,
        /// Whether other keys are configured.
        has_keys: bool,
    },
    /// The record was deleted, or replaced by an older one, while this process holds the store.
    #[error(
        "another program changed {what}: it has revision {found}, but this process wrote {written}; the next write \
         replaces it"
    )]
    Meddled {
        /// The record's file or name.
        what: String,
        /// The revision that this process wrote last.
        written: u64,
        /// The revision in the store; 0 without a record.
        found: u64,
    },
    /// Another writer stored a newer revision first.
    #[error("the stored revision is {found}, not {expected}: another process wrote first")]
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
    /// Whether the stored record is the cause. If so, a retry fails until the record or the keys
    /// change.
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

/// Whether an error means a lack of space, which may end by itself.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Why the content of a file is not a usable record. The texts quote nothing from the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RecordError {
    /// The content is damaged.
    Damaged(String),
    /// The content is complete, but of another version or identity.
    Foreign(String),
    /// No configured key has this id. `has_keys` says whether any key is configured.
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
