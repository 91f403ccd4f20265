//! Every store keeps the contract.

pub(super) mod contract;

use std::sync::Arc;

use super::*;
use contract::every_store_rule;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_store_keeps_the_rules() {
    every_store_rule(Arc::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_encrypted_file_store_keeps_the_rules() {
    let directory = tempfile::tempdir().unwrap();
    let key = StoreKey::from_bytes(b"0123456789abcdef0123456789abcdef").unwrap();
    let keys = Keys::new(&[key]).unwrap();
    every_store_rule(Arc::new(FileStore::open_sealed(directory.path().join("tokens"), keys).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_store_keeps_the_rules() {
    let directory = tempfile::tempdir().unwrap();
    every_store_rule(Arc::new(FileStore::open(directory.path().join("tokens")).unwrap())).await;
}
