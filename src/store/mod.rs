//! Where token sets rest between two lives of the process.
//!
//! A store keeps one [`Record`] a credential identity. It is written before a token set is used, so that the store
//! is never older than what the proxy sends, but for the length of one write.

#[cfg(test)]
mod contract;
mod directory;
mod file;
mod memory;
mod opening;
mod seal;
mod wire;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use thiserror::Error;

use crate::clock::Timestamp;
use crate::oauth::TokenSet;

pub use file::FileStore;
pub use memory::MemoryStore;
pub use seal::{Keys, StoreKey};

/// A future that a store hands out: stores are chosen at run time, so their futures are boxed.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Which record: a credential's name, and the identity behind it. A credential whose identity changed (another
/// user, another application, another scope) has another record, so an old token set is never reused, nor lost.
///
/// Clones share its text: every credential's key is kept here and there for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The credential's name in the configuration.
    pub credential: Arc<str>,
    /// Fingerprint over token URL, client id, user name and scope.
    pub identity: Arc<str>,
}

/// All that is remembered of one credential, or of one login.
///
/// A login (a user name) has a record of its own, which holds only the brake: several credentials, and several
/// identities of one credential over time, may log in as the same user, and it is the user's account that is locked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Order of this record's versions; every write is one higher than the record it replaces. 0 means that nothing has
    /// been stored yet.
    pub revision: u64,
    /// The latest token set, if any lives or may be refreshed.
    pub tokens: Option<TokenSet>,
    /// Whose tokens they are, as the authorization server calls the user.
    pub subject: Option<String>,
    /// Whose tokens a refresh brought instead. They are not used.
    pub other_subject: Option<Box<str>>,
    /// The refresh token was presented while its access token lived, and what came of it is not known.
    pub refresh_pending: bool,
    /// The tokens are dead: an interactive login is needed.
    pub login_needed: bool,
    /// Fingerprint of the seed refresh token that has been used up or refused.
    pub spent_seed: Option<String>,
    /// The longest lifetime an access token was issued with, in seconds; 0 before the first.
    pub full_lifetime: u64,
    /// How the server issues a second token set, as far as it has been seen.
    pub issuance: Option<Issuance>,
    /// What is known about refused logins, if anything is: never [`LoginHistory::default`]. Boxed, since a credential's
    /// record has none.
    pub login_history: Option<Box<LoginHistory>>,
    /// When a refused application is presented again, if it was refused.
    pub application: Option<Box<ApplicationBlock>>,
}

/// That the authorization server refused the application, or that there was no token endpoint.
///
/// It holds until `next_attempt`, over restarts, for the configuration it was said of. It does not say that the
/// configuration is wrong: an application may be unlocked on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationBlock {
    /// Fingerprint of the configuration that was refused.
    pub fingerprint: String,
    /// How often in a row it was refused.
    pub failures: u32,
    /// When it is presented again.
    pub next_attempt: Timestamp,
    /// What the server said, fit to be shown.
    pub reason: String,
}

/// What a second login of the same identity has been seen to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issuance {
    /// The living pair again, with what is left of its lifetime.
    Reuse,
    /// A new access token with the old refresh token; the old access token is revoked.
    RenewRevoke,
    /// A new pair; the old access token stays good.
    RenewKeep,
}

/// What the login brake remembers across restarts. The rules are in `credential::brake`.
///
/// Secrets are told apart by fingerprints. What is known of a secret is noted under each of its
/// fingerprints: one for each application that sends it, and a salted one of user name and password
/// alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginHistory {
    /// Fingerprints of login secrets that the server refused, the oldest first.
    pub refused: Vec<String>,
    /// No login before this time: the account was reported locked.
    pub locked_until: Option<Timestamp>,
    /// Fingerprints of the secrets that were tried since one worked. A lock holds each of them;
    /// another secret has one try in it.
    pub attempted: Vec<String>,
    /// Fingerprints of the login secret that last worked.
    pub proven: Vec<String>,
    /// Login attempts that were begun and whose outcome never became known (a crash between sending and storing,
    /// or an answer that was lost).
    pub unresolved: u32,
    /// When the last login attempt was begun.
    pub last_attempt: Option<Timestamp>,
    /// Secrets that were tried and have not worked, the oldest first; each is kept for a day.
    pub trials: Vec<Trial>,
    /// Several secrets were refused within a day: no untested one is tried until an operator allows it.
    pub exhausted: bool,
}

/// The last attempt to log in with a secret that is not known to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Fingerprints under which the secret is sent.
    pub secret: Vec<String>,
    /// When the attempt was begun.
    pub at: Timestamp,
    /// What came of the attempt.
    pub outcome: TrialOutcome,
}

/// What came of an attempt to log in, as far as the next one depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialOutcome {
    /// Nothing that says whether the secret is right.
    Open,
    /// A refusal without a readable reason.
    Unexplained,
    /// A refusal.
    Refused,
}

impl LoginHistory {
    /// As a [`Record`] keeps it: `None` when nothing is known.
    pub fn into_kept(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// Why a store could not do what was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Reading or writing failed.
    #[error("{what}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// The operating system's answer.
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
    /// The stored record is whole, and not one that this process may use: of a newer format, of another identity, or plain
    /// where records are encrypted. It is left untouched.
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
        /// Whether there are keys, of which it is none.
        has_keys: bool,
    },
    /// The record was taken away, or an older one put in its place, while this process holds the store.
    #[error(
        "{what} holds revision {found}, and this process has written {written}; the next write replaces it"
    )]
    Meddled {
        /// Which record.
        what: String,
        /// The revision that was written last.
        written: u64,
        /// The revision that is there; 0 when there is none.
        found: u64,
    },
    /// Somebody stored a newer revision first.
    #[error("the stored revision is {found}, not {expected}: another writer was faster")]
    Conflict {
        /// The revision the caller had read.
        expected: u64,
        /// The revision that is there.
        found: u64,
    },
}

fn missing(key: &str, has_keys: bool) -> String {
    match has_keys {
        true => format!("key {key}, which is not in store.key_file"),
        false => format!("key {key}, and no key is configured"),
    }
}

impl StoreError {
    /// Whether a stored record is the cause, so that trying again is in vain until somebody changes it.
    pub fn is_of_record(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Foreign { .. } | Self::NoKey { .. })
    }

    /// The error with its cause, for people.
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
fn system_reason(error: &io::Error) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => text,
    }
}

/// Whether an error means that there is no space, which passes without a change to the system.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// What a store keeps ready for one record, so that it can be stored whatever happens meanwhile. It blocks nobody else.
/// Dropped unused, it leaves nothing behind.
#[derive(Default)]
pub struct Reservation(Option<Box<dyn Any + Send + Sync>>);

impl Reservation {
    /// A reservation that holds what its store needs.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self(Some(Box::new(held)))
    }

    /// Takes out what the store put in; `None` when it is used up, or another store's.
    pub fn take<T: Any>(&mut self) -> Option<T> {
        let held = self.0.take()?.downcast().ok()?;
        Some(*held)
    }

    /// Whether it holds anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("is_empty", &self.is_empty()).finish()
    }
}

/// A place for records.
pub trait TokenStore: Send + Sync + 'static {
    /// Reads the record, or an empty one of revision 0.
    fn load<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Record>;

    /// Replaces the record of revision `expected` by `record` (compare-and-set); durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the stored revision is not `expected`; then nothing was written. After
    /// [`StoreError::Io`] the same swap may be tried again, also with a newer record.
    fn swap<'a>(&'a self, key: &'a Key, expected: u64, record: &'a Record) -> StoreFuture<'a, ()>;

    /// Makes sure that a record for `key` can be stored later, as far as that can be known. A grant is redeemed only
    /// after this: what cannot be stored is not begun. A store that needs nothing reserves nothing.
    ///
    /// # Errors
    /// Why a record could not be stored; nothing has been changed.
    fn reserve<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Reservation> {
        let _ = key;
        Box::pin(std::future::ready(Ok(Reservation::default())))
    }

    /// [`swap`](Self::swap) with what was reserved for this key. After a conflict the reservation is still good.
    ///
    /// # Errors
    /// As [`swap`](Self::swap).
    fn swap_reserved<'a>(
        &'a self,
        key: &'a Key,
        expected: u64,
        record: &'a Record,
        reservation: &'a mut Reservation,
    ) -> StoreFuture<'a, ()> {
        let _ = reservation;
        self.swap(key, expected, record)
    }

    /// Moves a record that cannot be read out of the way, whole, and says where it is now; `None` when it can be read
    /// after all, or there is none. The next load finds an empty record then.
    ///
    /// # Errors
    /// When it could not be moved; it is where it was.
    fn set_aside<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<String>> {
        let _ = key;
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Every record that is needed from the start has been asked for: what was read ahead can be dropped.
    fn settle(&self) {}
}

/// A store chosen at run time, shared by all credentials.
pub type SharedStore = Arc<dyn TokenStore>;

/// Refuses a record whose revision is not above the one it replaces: it would let a late writer pass for a new one.
fn follows(expected: u64, record: &Record) -> Result<(), StoreError> {
    if record.revision > expected {
        return Ok(());
    }
    let what = format!("storing revision {} over revision {expected}", record.revision);
    Err(StoreError::Io { what, source: io::ErrorKind::InvalidInput.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_each_credential_is_small() {
        let words = |size: usize| size / size_of::<usize>();
        assert!(words(size_of::<Key>()) <= 4, "Key: {}", size_of::<Key>());
        assert!(size_of::<Record>() <= 208, "Record: {}", size_of::<Record>());
        assert!(size_of::<TokenSet>() <= 104, "TokenSet: {}", size_of::<TokenSet>());
    }
}
