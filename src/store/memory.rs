//! Records in memory. They end with the process.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::error::StoreError;
use super::record::{Key, Record};
use super::{StoreFuture, TokenStore, check_revision};

/// A store in memory: for tests, for `--simulate`, and for users who prefer a login to tokens on
/// disk.
#[derive(Debug, Default)]
pub struct MemoryStore {
    /// Boxed, because a map may allocate twice as many entries as it has.
    records: Mutex<HashMap<Key, Box<Record>>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl TokenStore for MemoryStore {
    fn load<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Record> {
        Box::pin(async move {
            Ok(self.records.lock().get(key).map(|record| Record::clone(record)).unwrap_or_default())
        })
    }

    fn swap<'a>(&'a self, key: &'a Key, expected: u64, record: &'a Record) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            check_revision(expected, record)?;
            let mut records = self.records.lock();
            let found = records.get(key).map_or(0, |stored| stored.revision);
            if found != expected {
                return Err(StoreError::Conflict { expected, found });
            }
            records.insert(key.clone(), Box::new(record.clone()));
            Ok(())
        })
    }
}
