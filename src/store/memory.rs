//! Records that live as long as the process.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::{Key, Record, StoreError, StoreFuture, TokenStore, follows};

/// A store in memory: for tests, for `--simulate`, and for those who would rather log in again than keep a token
/// set on disk.
#[derive(Debug, Default)]
pub struct MemoryStore {
    /// Boxed: a map has up to twice the room it needs.
    records: Mutex<HashMap<Key, Box<Record>>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn replace(&self, key: &Key, expected: u64, record: &Record) -> Result<(), StoreError> {
        follows(expected, record)?;
        let mut records = self.records.lock();
        let found = records.get(key).map_or(0, |stored| stored.revision);
        if found != expected {
            return Err(StoreError::Conflict { expected, found });
        }
        records.insert(key.clone(), Box::new(record.clone()));
        Ok(())
    }
}

impl TokenStore for MemoryStore {
    fn load<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Record> {
        Box::pin(async move {
            Ok(self.records.lock().get(key).map(|record| Record::clone(record)).unwrap_or_default())
        })
    }

    fn swap<'a>(&'a self, key: &'a Key, expected: u64, record: &'a Record) -> StoreFuture<'a, ()> {
        Box::pin(async move { self.replace(key, expected, record) })
    }
}
