//! The behaviour of the file store beyond the contract.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::directory::{LOCK, is_record};
use super::super::tests::contract::{full_record, key};
use super::super::wire;
use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn default_key() -> Key {
    key("default", "0123456789abcdef0123456789abcdef")
}

const DEFAULT_FILE: &str = "default.01234567.json";

#[tokio::test]
async fn the_directory_and_the_files_are_for_the_owner_alone() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("state/tokens");
    let store = FileStore::open(&directory).unwrap();
    store.swap(&default_key(), 0, &full_record(1)).await.unwrap();
    assert_eq!(mode(&directory), 0o700);
    let mut names: Vec<_> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [LOCK, DEFAULT_FILE]);
    for name in names {
        assert_eq!(mode(&directory.join(name)), 0o600);
    }
}

#[tokio::test]
async fn a_reopened_store_reads_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    store.swap(&default_key(), 0, &full_record(1)).await.unwrap();
    store.swap(&default_key(), 1, &full_record(2)).await.unwrap();
    drop(store);
    let store = FileStore::open(directory.path()).unwrap();
    // There was no load, so the revision is read from the disk at first use.
    let conflict = store.swap(&default_key(), 1, &full_record(3)).await.unwrap_err();
    assert!(matches!(conflict, StoreError::Conflict { expected: 1, found: 2 }), "{conflict}");
    assert_eq!(store.load(&default_key()).await.unwrap(), full_record(2));
}

#[test]
fn a_second_store_on_the_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = FileStore::open(directory.path()).unwrap();
    let refused = FileStore::open(directory.path()).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    drop(first);
    FileStore::open(directory.path()).unwrap();
}

#[tokio::test]
async fn a_damaged_record_is_reported_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(DEFAULT_FILE);
    let content = r#"{"format": 1, "tokens": {"access_token": "token-precious""#;
    fs::write(&path, content).unwrap();
    let store = FileStore::open(directory.path()).unwrap();

    let loaded = store.load(&default_key()).await.unwrap_err();
    let swapped = store.swap(&default_key(), 0, &full_record(1)).await.unwrap_err();
    for error in [loaded, swapped] {
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(path.to_str().unwrap()) && !text.contains("precious"), "{text}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), content);

    // Once the unreadable record is moved away, the store works without a restart.
    fs::rename(&path, directory.path().join("aside")).unwrap();
    store.swap(&default_key(), 0, &full_record(1)).await.unwrap();
}

#[tokio::test]
async fn a_record_of_another_identity_is_never_used() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    store.swap(&default_key(), 0, &full_record(1)).await.unwrap();
    // The same file name, for another identity.
    let twin = key("default", "01234567ffffffffffffffffffffffff");
    assert!(matches!(store.load(&twin).await, Err(StoreError::Foreign { .. })));
    assert!(matches!(store.swap(&twin, 0, &full_record(1)).await, Err(StoreError::Foreign { .. })));
    assert!(matches!(store.reserve(&twin).await, Err(StoreError::Foreign { .. })));
    assert_eq!(store.load(&default_key()).await.unwrap(), full_record(1));
}

#[tokio::test]
async fn leftovers_of_a_crash_are_removed_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let ours = directory.path().join(".vbc-proxy-AbC123.tmp");
    let others = [directory.path().join("notes.tmp"), directory.path().join(".vbc-proxy-rc")];
    fs::write(&ours, "half a rec").unwrap();
    for other in &others {
        fs::write(other, "").unwrap();
    }
    let store = FileStore::open(directory.path()).unwrap();
    assert!(!ours.exists());
    assert!(others.iter().all(|other| other.exists()));
    assert_eq!(store.load(&default_key()).await.unwrap(), Record::default());
}

#[tokio::test]
async fn a_reader_never_sees_half_a_record() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    store.swap(&default_key(), 0, &full_record(1)).await.unwrap();
    let path = directory.path().join(DEFAULT_FILE);
    let done = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let done = Arc::clone(&done);
        move || {
            let mut newest = 0;
            while !done.load(Ordering::Acquire) {
                let record = wire::decode(&default_key(), &fs::read(&path).unwrap()).unwrap();
                assert!(record.revision >= newest);
                newest = record.revision;
            }
        }
    });
    for revision in 1..40 {
        store.swap(&default_key(), revision, &full_record(revision + 1)).await.unwrap();
    }
    done.store(true, Ordering::Release);
    reader.join().unwrap();
}

#[tokio::test]
async fn a_failed_write_says_where_and_can_be_tried_again() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("tokens");
    let store = FileStore::open(&directory).unwrap();
    store.swap(&default_key(), 0, &full_record(1)).await.unwrap();
    // Even root cannot create a file in a directory that is gone.
    fs::rename(&directory, parent.path().join("away")).unwrap();
    let error = store.swap(&default_key(), 1, &full_record(2)).await.unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert!(error.to_string().contains(directory.to_str().unwrap()), "{error}");
    assert!(!format!("{error:?}").contains("token-"), "{error:?}");

    fs::rename(parent.path().join("away"), &directory).unwrap();
    assert_eq!(store.load(&default_key()).await.unwrap(), full_record(1));
    store.swap(&default_key(), 1, &full_record(3)).await.unwrap();
}

#[tokio::test]
async fn a_record_deleted_under_us_comes_back_with_the_next_write() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    store.swap(&default_key(), 0, &full_record(1)).await.unwrap();
    fs::remove_file(directory.path().join(DEFAULT_FILE)).unwrap();
    let gone = store.load(&default_key()).await.unwrap_err();
    assert!(matches!(gone, StoreError::Meddled { written: 1, found: 0, .. }), "{gone}");
    store.swap(&default_key(), 1, &full_record(2)).await.unwrap();
    assert_eq!(store.load(&default_key()).await.unwrap(), full_record(2));
}

#[tokio::test]
async fn an_older_record_put_in_place_under_us_is_noticed_and_a_newer_one_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    let path = directory.path().join(DEFAULT_FILE);
    store.swap(&default_key(), 0, &full_record(4)).await.unwrap();
    let old = fs::read(&path).unwrap();
    store.swap(&default_key(), 4, &full_record(7)).await.unwrap();
    let new = fs::read(&path).unwrap();
    fs::write(&path, old).unwrap();
    let older = store.load(&default_key()).await.unwrap_err();
    assert!(matches!(older, StoreError::Meddled { written: 7, found: 4, .. }), "{older}");
    // The revision in memory still counts.
    assert!(matches!(
        store.swap(&default_key(), 4, &full_record(8)).await,
        Err(StoreError::Conflict { found: 7, .. })
    ));
    fs::write(&path, new.strip_suffix(b"\n").unwrap()).unwrap();
    assert_eq!(store.load(&default_key()).await.unwrap(), full_record(7));
    fs::write(&path, wire::encode(&default_key(), &full_record(9)).unwrap()).unwrap();
    assert_eq!(store.load(&default_key()).await.unwrap(), full_record(9));
    store.swap(&default_key(), 9, &full_record(10)).await.unwrap();
}

#[test]
fn a_write_that_may_not_have_lasted_can_be_repeated_from_either_revision() {
    let mut slot = Slot { revision: 5, unconfirmed_over: Some(4) };
    assert!(slot.admits(4) && slot.admits(5) && !slot.admits(3));
    slot.unconfirmed_over = None;
    assert!(!slot.admits(4) && slot.admits(5));
}

#[test]
fn a_directory_that_others_can_use_is_closed_or_refused() {
    // A directory with only records gets mode 0700.
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(DEFAULT_FILE), "").unwrap();
    set_mode(directory.path(), 0o777);
    drop(FileStore::open(directory.path()).unwrap());
    assert_eq!(mode(directory.path()), 0o700);

    // A directory with other files is not changed. It is refused if other users may write to it.
    fs::write(directory.path().join("proxy.toml"), "").unwrap();
    set_mode(directory.path(), 0o755);
    drop(FileStore::open(directory.path()).unwrap());
    assert_eq!(mode(directory.path()), 0o755);
    set_mode(directory.path(), 0o775);
    let refused = FileStore::open(directory.path()).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Io { source, .. } if source.to_string().contains("0775")),
        "{refused:?}"
    );
    assert_eq!(mode(directory.path()), 0o775);
}

#[test]
fn a_file_in_the_place_of_the_directory_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(FileStore::open(file.path()), Err(StoreError::Io { .. })));
}

#[test]
fn names_of_many_records_differ_and_all_count_as_records() {
    let hex = |n: u32| vbc_base::secret::fingerprint(&[&n.to_string()]);
    let mut names = std::collections::HashSet::new();
    for n in 0..10_000 {
        // Login histories of one identity, and credentials whose identities have the same
        // beginning.
        names.insert(file_name(&key(&format!("@login-{}", hex(n)), &hex(0))));
        names.insert(file_name(&key(&format!("c-{n}"), &format!("01234567{n:08x}"))));
    }
    assert_eq!(names.len(), 20_000);
    for name in names {
        assert!(is_record(name.as_ref()) && name.len() < 100, "{name}");
        assert!(!name.contains('@'), "{name}");
    }
}

#[test]
fn file_names_are_plain() {
    assert_eq!(file_name(&default_key()), DEFAULT_FILE);
    for credential in ["../../etc/passwd", "", &"é".repeat(200)] {
        let name = file_name(&key(credential, "not hexadecimal"));
        assert!(name.len() < 200 && !name.starts_with('.'), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"%-_~.".contains(&b)), "{name}");
    }
}

#[tokio::test]
async fn a_first_question_does_not_wait_behind_writes_and_a_second_sees_them() {
    let directory = tempfile::tempdir().unwrap();
    let (stored, fresh) = (default_key(), key("fresh", "0123456789abcdef0123456789abcdef"));
    let store = FileStore::open(directory.path()).unwrap();
    store.swap(&stored, 0, &full_record(1)).await.unwrap();
    drop(store);
    let store = FileStore::open(directory.path()).unwrap();
    {
        let _writing = store.inner.slots.lock();
        for (key, known) in [(&stored, full_record(1)), (&fresh, Record::default())] {
            let answer = futures_util::FutureExt::now_or_never(store.load(key));
            assert_eq!(answer.unwrap().unwrap(), known);
        }
    }
    store.swap(&fresh, 0, &full_record(2)).await.unwrap();
    assert_eq!(store.load(&fresh).await.unwrap(), full_record(2));
}

#[tokio::test]
async fn what_is_reserved_has_its_space_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    let names = || {
        let entries = fs::read_dir(directory.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).filter(|name| name != LOCK).collect::<Vec<_>>()
    };
    let mut reservation = store.reserve(&default_key()).await.unwrap();
    let [reserved] = &names()[..] else { panic!("{:?}", names()) };
    assert_eq!(mode(&directory.path().join(reserved)), 0o600);
    assert!(fs::metadata(directory.path().join(reserved)).unwrap().len() >= LEAST_RESERVED);
    store.swap_reserved(&default_key(), 0, &full_record(1), &mut reservation).await.unwrap();
    assert_eq!(names(), [DEFAULT_FILE]);
    let encoded = wire::encode(&default_key(), &full_record(1)).unwrap();
    assert_eq!(fs::read(directory.path().join(DEFAULT_FILE)).unwrap(), *encoded);

    drop(store.reserve(&default_key()).await.unwrap());
    assert_eq!(names(), [DEFAULT_FILE]);
}

#[tokio::test]
async fn what_was_reserved_in_vain_is_stored_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    let mut reservation = store.reserve(&default_key()).await.unwrap();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != LOCK {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    store.swap_reserved(&default_key(), 0, &full_record(1), &mut reservation).await.unwrap();
    assert_eq!(store.load(&default_key()).await.unwrap(), full_record(1));
}

#[tokio::test]
async fn nothing_is_reserved_where_nothing_could_be_stored() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("tokens");
    let store = FileStore::open(&directory).unwrap();
    fs::rename(&directory, parent.path().join("away")).unwrap();
    let error = store.reserve(&default_key()).await.unwrap_err();
    assert!(error.describe().contains("no such file or directory"), "{}", error.describe());
    fs::rename(parent.path().join("away"), &directory).unwrap();
    store.reserve(&default_key()).await.unwrap();

    fs::write(directory.join(DEFAULT_FILE), "{").unwrap();
    assert!(store.reserve(&default_key()).await.is_ok(), "the revision is known by now");
    let other = FileStore::inspect(&directory, None, &default_key());
    assert!(matches!(other, Err(StoreError::Damaged { .. })), "{other:?}");
}

#[tokio::test]
async fn a_damaged_record_is_moved_aside_whole_and_over_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    let path = directory.path().join(DEFAULT_FILE);
    for (content, aside) in [("one", ".damaged"), ("two", ".damaged-2"), ("three", ".damaged-3")] {
        fs::write(&path, content).unwrap();
        let moved = store.set_aside(&default_key()).await.unwrap().unwrap();
        assert_eq!(moved, format!("{}{aside}", path.display()));
        assert_eq!(fs::read_to_string(&moved).unwrap(), content);
    }
    assert_eq!(store.load(&default_key()).await.unwrap(), Record::default());
    store.swap(&default_key(), 0, &full_record(1)).await.unwrap();
    drop(store);
    // A record that was moved aside does not leave the directory open to others.
    set_mode(directory.path(), 0o755);
    drop(FileStore::open(directory.path()).unwrap());
    assert_eq!(mode(directory.path()), 0o700);
    assert!(directory.path().join(format!("{DEFAULT_FILE}.damaged")).exists());
}

#[test]
fn a_directory_that_takes_no_file_is_named_with_the_reason() {
    // No user can create files there, not even root.
    for directory in ["/sys/kernel", "/sys/kernel/vbc-proxy-tokens"] {
        let refused = FileStore::open(directory).unwrap_err();
        assert!(matches!(refused, StoreError::NotWritable { .. }), "{refused:?}");
        let message = refused.describe();
        assert!(message.starts_with("store.path: ") && message.contains(directory), "{message}");
        assert!(message.contains("denied") || message.contains("not permitted"), "{message}");
    }
}
