//! `[store]`: the directory, and the keys for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::config::KeyFile;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Loads a configuration with a key file of this content in the same directory.
fn beside(directory: &Path, key: &str, mode: u32, store: &str) -> Result<Loaded, Findings> {
    let path = directory.join("store.key");
    fs::write(&path, key).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    let text = format!("[store]\nkey_file = \"store.key\"\n{store}\n{CREDENTIAL}");
    read(Some(source(&text, directory)), &environment(&[]), Purpose::Serve)
}

#[test]
fn keys_are_read_beside_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let loaded = beside(directory.path(), &format!("# mine\n{KEY}\n"), 0o600, "").unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let page = loaded.config.redacted();
    let Store::File { key_file: Some(KeyFile { path, keys }), .. } = &loaded.config.store else {
        panic!("{:?}", loaded.config.store)
    };
    assert_eq!(*path, directory.path().join("store.key"));
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].expose(), b"0123456789abcdef0123456789abcdef");
    assert!(page.contains(&format!("key_file = \"{}\"", path.display())), "{page}");
    for text in [page, format!("{loaded:?}")] {
        assert!(!text.contains("MDEy") && !text.contains("0123456789abcdef"), "{text}");
    }
}

#[test]
fn a_key_file_that_does_not_work_is_found_by_line_and_never_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("{KEY}\nhunter2\n\n{}\n", &KEY[1..]);
    let found = beside(directory.path(), &text, 0o600, "").unwrap_err();
    let shown = shown(found.iter().as_slice());
    assert_eq!(shown.len(), 2, "{shown:?}");
    for (finding, line) in shown.iter().zip(["line 2 of ", "line 4 of "]) {
        assert!(
            finding.starts_with("proxy.toml:2:12: store.key_file: ") && finding.contains(line),
            "{finding}"
        );
        assert!(finding.contains("`(umask 077; openssl rand -base64 32 > store.key)`"), "{finding}");
    }
    assert!(!format!("{found} {found:?}").contains("hunter2"), "{found}");
    assert!(!format!("{found} {found:?}").contains("DEyM"), "{found}");

    let found = super::found("[store]\nkey_file = \"/nowhere/store.key\"\n");
    assert!(
        found[0].contains("cannot read /nowhere/store.key") && found[0].contains("openssl rand"),
        "{found:?}"
    );
    let empty = beside(directory.path(), "", 0o600, "").unwrap_err().to_string();
    assert!(empty.contains("contains no key"), "{empty}");
}

#[test]
fn a_key_beside_what_it_protects_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let warnings = shown(&beside(directory.path(), KEY, 0o600, "path = \".\"").unwrap().warnings);
    assert!(warnings.len() == 1 && warnings[0].contains("in the directory that it protects"), "{warnings:?}");
}

#[test]
fn a_store_that_writes_nothing_needs_no_key() {
    let directory = tempfile::tempdir().unwrap();
    let loaded = beside(directory.path(), KEY, 0o600, "kind = \"memory\"").unwrap();
    assert!(matches!(loaded.config.store, Store::Memory));
    assert!(shown(&loaded.warnings)[0].contains("a store in memory"), "{:?}", loaded.warnings);
    // Under --simulate the key file is not read, because no key is used.
    let loaded = simulate("[store]\nkey_file = \"/nowhere\"\n", &[]).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn a_variable_can_name_the_keys() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other.key");
    fs::write(&path, KEY).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let loaded = load(CREDENTIAL, &[("VBC_PROXY_STORE_KEY_FILE", path.to_str().unwrap())]).unwrap();
    assert!(matches!(&loaded.config.store, Store::File { key_file: Some(keys), .. } if keys.path == path));
}
