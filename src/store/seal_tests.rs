//! Encryption of stored records: which parts stay secret, and which files are refused.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::TokenStore;
use super::super::file::FileStore;
use super::super::record::Record;
use super::super::tests::contract::{full_record, key};
use super::*;

const DEFAULT_FILE: &str = "default.01234567.json";

fn default_key() -> Key {
    key("default", "0123456789abcdef0123456789abcdef")
}

fn other_key() -> Key {
    key("other", "0123456789abcdef0123456789abcdef")
}

fn store_key(number: u8) -> StoreKey {
    let bytes: [u8; 32] = std::array::from_fn(|place| number.wrapping_add(place as u8));
    StoreKey::from_bytes(&bytes).unwrap()
}

fn keys(numbers: &[u8]) -> Keys {
    let keys: Vec<_> = numbers.iter().map(|number| store_key(*number)).collect();
    Keys::new(&keys).unwrap()
}

fn open_sealed(directory: &Path, numbers: &[u8]) -> FileStore {
    FileStore::open_sealed(directory, keys(numbers)).unwrap()
}

/// A directory with one record sealed with key 1.
async fn sealed_once() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let store = open_sealed(directory.path(), &[1]);
    store.swap(&default_key(), 0, &full_record(1)).await.unwrap();
    let path = directory.path().join(DEFAULT_FILE);
    (directory, path)
}

/// Every byte of every file, names included.
fn every_byte(directory: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        all.extend_from_slice(entry.file_name().as_encoded_bytes());
        all.extend(fs::read(entry.path()).unwrap());
    }
    all
}

/// Searches for the tokens of a record: plain, in base64 at each of the three offsets, and in
/// hexadecimal.
#[track_caller]
fn assert_no_token(directory: &Path, revisions: impl IntoIterator<Item = u64>) {
    let all = every_byte(directory);
    let lower = all.to_ascii_lowercase();
    for revision in revisions {
        for token in [format!("token-access-{revision}"), format!("token-refresh-{revision}")] {
            let mut forms = vec![token.clone(), hex(token.as_bytes())];
            for pad in 0..3 {
                let encoded = STANDARD.encode(format!("{}{token}", "x".repeat(pad)));
                // The ends of the base64 text are left out, because they depend on the bytes around
                // the token.
                forms.push(encoded[4..encoded.len() - 4].to_owned());
            }
            for form in forms {
                let found = memchr::memmem::find(&all, form.as_bytes()).is_some()
                    || memchr::memmem::find(&lower, form.to_ascii_lowercase().as_bytes()).is_some();
                assert!(!found, "{form} is in the directory");
            }
        }
    }
}

fn is_unusable<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Damaged { .. } | StoreError::Foreign { .. }))
}

#[tokio::test]
async fn no_token_is_readable_whatever_happens() {
    let directory = tempfile::tempdir().unwrap();
    // A run without a key has left a record, a copy of that record, and an unfinished file.
    let store = FileStore::open(directory.path()).unwrap();
    store.swap(&default_key(), 0, &full_record(1)).await.unwrap();
    drop(store);
    fs::copy(directory.path().join(DEFAULT_FILE), directory.path().join("default.bak")).unwrap();
    fs::copy(directory.path().join(DEFAULT_FILE), directory.path().join(".vbc-proxy-AbC123.tmp")).unwrap();
    assert!(memchr::memmem::find(&every_byte(directory.path()), b"token-access-1").is_some());

    let mut revision = 1;
    for numbers in [&[1][..], &[1], &[2, 1], &[3, 2], &[3]] {
        let store = open_sealed(directory.path(), numbers);
        assert_no_token(directory.path(), 1..=revision);
        assert_eq!(store.load(&default_key()).await.unwrap(), full_record(revision));
        for _ in 0..3 {
            store.swap(&default_key(), revision, &full_record(revision + 1)).await.unwrap();
            revision += 1;
        }
        assert_no_token(directory.path(), 1..=revision);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
}

#[tokio::test]
async fn a_plain_record_keeps_all_it_holds_when_it_is_encrypted() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    store.swap(&default_key(), 0, &full_record(7)).await.unwrap();
    store.swap(&other_key(), 0, &full_record(9)).await.unwrap();
    drop(store);
    let store = open_sealed(directory.path(), &[1]);
    assert_no_token(directory.path(), [7, 9]);
    assert_eq!(store.load(&default_key()).await.unwrap(), full_record(7));
    // This swap has no load before it.
    store.swap(&other_key(), 9, &full_record(10)).await.unwrap();
    drop(store);
    let store = open_sealed(directory.path(), &[1]);
    assert_eq!(store.load(&other_key()).await.unwrap(), full_record(10));
}

#[tokio::test]
async fn a_key_is_replaced_by_putting_the_new_one_first() {
    let (directory, path) = sealed_once().await;
    let under_one = fs::read(&path).unwrap();
    drop(open_sealed(directory.path(), &[1]));
    assert_eq!(fs::read(&path).unwrap(), under_one, "nothing is written without need");

    drop(open_sealed(directory.path(), &[2, 1]));
    assert_ne!(fs::read(&path).unwrap(), under_one);
    // The old key is no longer needed, and opens no record.
    let store = open_sealed(directory.path(), &[2]);
    assert_eq!(store.load(&default_key()).await.unwrap(), full_record(1));
    drop(store);
    let store = open_sealed(directory.path(), &[1]);
    assert!(matches!(store.load(&default_key()).await, Err(StoreError::NoKey { has_keys: true, .. })));
}

#[tokio::test]
async fn a_wrong_or_missing_key_is_named_and_overwrites_nothing() {
    let (directory, path) = sealed_once().await;
    let before = fs::read(&path).unwrap();
    let id = key_id(&store_key(1));
    assert!(String::from_utf8_lossy(&before).contains(&format!("\"key\": \"{id}\"")));

    let wrong = open_sealed(directory.path(), &[2]);
    let loaded = wrong.load(&default_key()).await.unwrap_err().to_string();
    assert!(loaded.contains(&format!("with key {id}, which is not in store.key_file")), "{loaded}");
    assert!(loaded.contains(path.to_str().unwrap()), "{loaded}");
    for expected in [0, 1] {
        let swapped = wrong.swap(&default_key(), expected, &full_record(5)).await;
        assert!(matches!(swapped, Err(StoreError::NoKey { has_keys: true, .. })), "{swapped:?}");
    }
    drop(wrong);

    let missing = FileStore::open(directory.path()).unwrap();
    let loaded = missing.load(&default_key()).await.unwrap_err().to_string();
    assert!(loaded.contains(&format!("with key {id}, and no key is configured")), "{loaded}");
    for expected in [0, 1] {
        let swapped = missing.swap(&default_key(), expected, &full_record(5)).await;
        assert!(matches!(swapped, Err(StoreError::NoKey { has_keys: false, .. })), "{swapped:?}");
    }
    drop(missing);
    assert_eq!(fs::read(&path).unwrap(), before);
    let right = open_sealed(directory.path(), &[1]);
    assert_eq!(right.load(&default_key()).await.unwrap(), full_record(1));
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_noticed() {
    let (directory, path) = sealed_once().await;
    let (all, good) = (keys(&[1, 2]), fs::read(&path).unwrap());
    let read = |bytes: &[u8]| match open(Some(&all), bytes) {
        None => wire::decode(&default_key(), bytes).is_ok(),
        Some(opened) => opened.is_ok_and(|opened| opened.key == default_key()),
    };
    assert!(read(&good));
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert!(!read(&bad), "byte {at}, bit {bit}");
        }
    }
    for end in 0..good.len() - 2 {
        assert!(!read(&good[..end]), "cut at {end}");
    }

    // The store reports the damage, and the file stays.
    let mut bad = good.clone();
    let middle = good.len() - 100;
    bad[middle] ^= 1;
    fs::write(&path, &bad).unwrap();
    let store = open_sealed(directory.path(), &[1]);
    let loaded = store.load(&default_key()).await;
    assert!(is_unusable(&loaded), "{loaded:?}");
    assert!(is_unusable(&store.swap(&default_key(), 0, &full_record(2)).await));
    assert_eq!(fs::read(&path).unwrap(), bad);
}

#[tokio::test]
async fn records_of_two_credentials_cannot_be_exchanged() {
    let (directory, path) = sealed_once().await;
    let store = open_sealed(directory.path(), &[1]);
    store.swap(&other_key(), 0, &full_record(2)).await.unwrap();
    drop(store);
    let other = directory.path().join("other.01234567.json");
    let (first, second) = (fs::read_to_string(&path).unwrap(), fs::read_to_string(&other).unwrap());
    fs::write(&path, &second).unwrap();
    fs::write(&other, &first).unwrap();
    let store = open_sealed(directory.path(), &[1]);
    assert!(is_unusable(&store.load(&default_key()).await) && is_unusable(&store.load(&other_key()).await));
    drop(store);
    // An envelope with the right name does not help either.
    fs::write(&path, second.replace("\"other\"", "\"default\"")).unwrap();
    let store = open_sealed(directory.path(), &[1]);
    let loaded = store.load(&default_key()).await.unwrap_err().to_string();
    assert!(loaded.contains("copied from another credential"), "{loaded}");
}

#[tokio::test]
async fn an_older_record_cannot_pass_for_a_newer_revision() {
    let (directory, path) = sealed_once().await;
    let old = fs::read_to_string(&path).unwrap();
    let store = open_sealed(directory.path(), &[1]);
    store.swap(&default_key(), 1, &full_record(2)).await.unwrap();
    // While the store is held, an older file is detected.
    fs::write(&path, &old).unwrap();
    let loaded = store.load(&default_key()).await.unwrap_err();
    assert!(matches!(loaded, StoreError::Meddled { written: 2, found: 1, .. }), "{loaded}");
    drop(store);
    fs::write(&path, old.replace("\"revision\": 1", "\"revision\": 2")).unwrap();
    let store = open_sealed(directory.path(), &[1]);
    assert!(is_unusable(&store.load(&default_key()).await));
    drop(store);
    // A complete older file that is put back between two runs cannot be detected.
    fs::write(&path, &old).unwrap();
    let store = open_sealed(directory.path(), &[1]);
    assert_eq!(store.load(&default_key()).await.unwrap(), full_record(1));
}

#[tokio::test]
async fn what_no_key_opens_is_left_byte_for_byte() {
    let (directory, path) = sealed_once().await;
    let foreign = fs::read(&path).unwrap();
    let files: [(&str, &[u8]); 5] = [
        (DEFAULT_FILE, &foreign),
        ("damaged.01234567.json", b"{\"format\": 2, \"tokens\": {\"access"),
        ("newer.01234567.json", b"{\"format\": \"sealed-2\", \"sealed\": \"x\"}"),
        ("proxy.toml", b"[listen]\n"),
        ("numbers", &[0xff; 2_000_000]),
    ];
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let store = open_sealed(directory.path(), &[2, 3]);
    for (name, content) in files {
        assert_eq!(fs::read(directory.path().join(name)).unwrap(), content, "{name}");
    }
    let newer = key("newer", "01234567");
    assert!(
        is_unusable(&store.load(&newer).await) && is_unusable(&store.swap(&newer, 0, &full_record(1)).await)
    );
    assert_eq!(store.load(&key("new", "01234567")).await.unwrap(), Record::default());
}

#[tokio::test]
async fn what_was_read_ahead_is_handed_over_once_and_never_after_a_newer_one() {
    let (directory, path) = sealed_once().await;
    let store = open_sealed(directory.path(), &[1]);
    store.swap(&default_key(), 1, &full_record(2)).await.unwrap();
    assert_eq!(store.load(&default_key()).await.unwrap(), full_record(2));
    drop(store);
    let store = open_sealed(directory.path(), &[1]);
    fs::remove_file(&path).unwrap();
    assert_eq!(store.load(&default_key()).await.unwrap(), full_record(2));
    assert!(store.load(&default_key()).await.is_err(), "the second load reads the disk");
    store.swap(&default_key(), 2, &full_record(3)).await.unwrap();
    drop(store);
    let store = open_sealed(directory.path(), &[1]);
    store.settle();
    assert_eq!(store.load(&default_key()).await.unwrap(), full_record(3));
}

#[test]
fn the_same_record_is_never_the_same_bytes() {
    let keys = keys(&[1]);
    let seal = || keys.seal(&default_key(), 1, b"content").unwrap();
    assert_ne!(seal(), seal());
    let opened = open(Some(&keys), &seal()).unwrap().unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert_eq!((&opened.content[..], opened.is_current), (&b"content"[..], true));
}

#[test]
fn keys_show_their_ids_and_no_more() {
    let shown = format!("{:?}", keys(&[1, 2]));
    assert_eq!(shown, format!("Keys([{:?}, {:?}])", key_id(&store_key(1)), key_id(&store_key(2))));
    assert_eq!(key_id(&store_key(1)).len(), 8);
    assert!(Keys::new(&[]).is_err());
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(format!("{:?}", store_key(1)), "[redacted]");
}
