//! Storage of token sets between two runs of the process.
//!
//! A store keeps one [`Record`] for each credential identity. A record is written before its token
//! set is used. If that write fails, the proxy uses the set from memory and retries the write.

mod directory;
mod error;
mod file;
mod memory;
mod read_ahead;
mod record;
mod record_file;
mod seal;
#[cfg(test)]
mod tests;
mod wire;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

pub use error::StoreError;
pub use file::FileStore;
pub use memory::MemoryStore;
pub use record::{ApplicationBlock, Issuance, Key, LoginHistory, Record, Trial, TrialOutcome};
pub use seal::{Keys, StoreKey};

/// A future of a store. It is boxed because stores are chosen at run time.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Space in a store for one record. The record can then be stored even if the disk fills up
/// meanwhile.
///
/// A reservation does not block other writers. Dropping it unused frees the space.
#[derive(Default)]
pub struct Reservation(Option<Box<dyn Any + Send + Sync>>);

impl Reservation {
    /// A reservation that holds a value of its store.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self(Some(Box::new(held)))
    }

    /// Takes out the store's value. `None` if it is used up, or of another type.
    pub fn take<T: Any>(&mut self) -> Option<T> {
        let held = self.0.take()?.downcast().ok()?;
        Some(*held)
    }

    /// Whether the reservation holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("is_empty", &self.is_empty()).finish()
    }
}

/// A store of records.
pub trait TokenStore: Send + Sync + 'static {
    /// Reads the record. Returns an empty one of revision 0 if nothing is stored.
    ///
    /// # Errors
    /// The record cannot be read or used: see [`StoreError`]. Nothing has changed.
    fn load<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Record>;

    /// Replaces the record of revision `expected` with `record` (compare-and-set). The new record
    /// is durable on return.
    ///
    /// Not cancel safe: after the future is dropped, either record may be the stored one.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the stored revision is not `expected`; nothing was written.
    /// After [`StoreError::Io`] the same swap may be tried again, also with a newer record.
    fn swap<'a>(&'a self, key: &'a Key, expected: u64, record: &'a Record) -> StoreFuture<'a, ()>;

    /// Reserves space, so that a record for `key` can be stored later. A grant is redeemed only
    /// after the space is reserved. The default reserves nothing.
    ///
    /// # Errors
    /// The reason why a record could not be stored. Nothing has changed.
    fn reserve<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Reservation> {
        let _ = key;
        Box::pin(std::future::ready(Ok(Reservation::default())))
    }

    /// Like [`swap`](Self::swap), but uses the space reserved for this key. A conflict leaves the
    /// reservation usable.
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

    /// Moves an unreadable record out of the way. Nothing is deleted. Returns its new place, or
    /// `None` if the record can be read or does not exist. The next load then returns an empty
    /// record.
    ///
    /// # Errors
    /// The record could not be moved, and is still in its place.
    fn set_aside<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<String>> {
        let _ = key;
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Drops records that were read ahead. Call it once all credentials have loaded their records.
    fn settle(&self) {}
}

/// A store chosen at run time, shared by all credentials.
pub type SharedStore = Arc<dyn TokenStore>;

/// Refuses a record whose revision is not above `expected`, the revision that it replaces.
/// Otherwise a late writer could pass for a new one.
fn check_revision(expected: u64, record: &Record) -> Result<(), StoreError> {
    if record.revision > expected {
        return Ok(());
    }
    let what = format!("storing revision {} over revision {expected}", record.revision);
    Err(StoreError::Io { what, source: io::ErrorKind::InvalidInput.into() })
}
