//! `[store]`: where token sets are stored.

use std::path::PathBuf;

use super::document::Table;
use super::error::not_available;
use super::keys::{KeyFile, key_file};
use super::kind::{Kind, path, settings, text};
use super::page::Page;
use super::section::Reader;
use vbc_base::trusted::Flaw;

/// `[store]`.
#[derive(Clone, Debug)]
pub enum Store {
    /// In memory only. The tokens are lost when the process ends.
    Memory,
    /// A directory with one file for each credential.
    File {
        /// The directory.
        path: PathBuf,
        /// The keys that encrypt the records. `None`: the records are not encrypted.
        key_file: Option<KeyFile>,
    },
}

settings! {
    /// Where token sets are stored, so that a restart needs no login.
    pub(super) struct StoreKeys ["store"] {
        /// `"file"`, or `"memory"`, which loses the tokens when the proxy ends.
        kind: StoreKind = "file", store_kind(), lines [r#"kind = "file""#];
        /// A directory that only you can read, with one file for each credential.
        path: PathBuf = "tokens", path(), lines [r#"path = "tokens""#];
        /// A file with keys that encrypt the token sets (AES-256-GCM). To create it, run
        /// `(umask 077; openssl rand -base64 32 > store.key)`. It has one key per line: the first
        /// encrypts, all decrypt. To change the key, put the new one first and restart. Then remove
        /// the old one.
        key_file: Option<KeyFile>, key_file(), lines [r#"# key_file = "store.key""#];
        later ["url", "url_file"];
    }
}

/// The kinds of stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreKind {
    /// A directory.
    File,
    /// The memory of the process.
    Memory,
}

fn store_kind() -> Kind<StoreKind> {
    const WORDS: &str = "\"file\" or \"memory\"";
    let parse = |text: &str| {
        let remedy = format!("write {WORDS}");
        match text {
            "file" => Ok(StoreKind::File),
            "memory" => Ok(StoreKind::Memory),
            "postgres" => Err(Flaw { remedy, ..not_available("\"postgres\"") }),
            other => Err(Flaw::new(format!("unknown value {other:?}"), remedy)),
        }
    };
    let show = |kind: &StoreKind| if *kind == StoreKind::File { "file".into() } else { "memory".into() };
    text(WORDS, parse, show)
}

impl Store {
    pub(super) fn read(reader: &mut Reader<'_>, root: &mut Table) -> Self {
        let mut section = reader.section(root, &StoreKeys::SHAPE);
        let StoreKeys { kind, mut path, key_file } = StoreKeys::read_keys(&mut section);
        if !section.is_given("path") {
            path = section.reader.resolve(&path);
        }
        let is_given = section.is_given("key_file");
        let location = section.key_location("key_file").unwrap_or_else(|| section.location("key_file"));
        if key_file.as_ref().is_some_and(|keys| keys.path.starts_with(&path)) {
            let message =
                "the key is in the directory that it protects, so a copy of the directory contains both";
            let flaw = Flaw::new(message, "keep it in another directory");
            section.warn_at(location.clone(), "key_file", flaw);
        }
        if kind == StoreKind::Memory && is_given && !section.reader.simulate {
            let message = "a store in memory writes nothing to disk, so the key is not used";
            section.warn_at(location, "key_file", Flaw::new(message, "remove it"));
        }
        match kind {
            StoreKind::File => Self::File { path, key_file },
            StoreKind::Memory => Self::Memory,
        }
    }

    pub(super) fn print(&self, page: &mut Page) {
        match self.clone() {
            Self::Memory => page.text("kind", "memory"),
            Self::File { path, key_file } => StoreKeys { kind: StoreKind::File, path, key_file }.print(page),
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        let StoreKeys { path, key_file, .. } = StoreKeys::default();
        Self::File { path, key_file }
    }
}
