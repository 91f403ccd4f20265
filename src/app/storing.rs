//! The token store that the configuration names: opened by a proxy, looked into by `check`.

use std::path::Path;
use std::sync::Arc;

use super::options;
use crate::config::{self, Config};
use crate::credential::{Credential, login_key, notes_held, record_finding};
use crate::store::{FileStore, Key, Keys, MemoryStore, SharedStore, StoreError};

/// Opens it.
pub(super) fn open(config: &Config) -> Result<SharedStore, StoreError> {
    Ok(match &config.store {
        config::Store::Memory => Arc::new(MemoryStore::default()),
        config::Store::File { path, key_file: None } => Arc::new(FileStore::open(path)?),
        config::Store::File { path, key_file: Some(file) } => {
            Arc::new(FileStore::open_sealed(path, Keys::new(&file.keys)?)?)
        }
    })
}

/// Whether something of a credential ends with this process, since it could not be stored; says so in the log.
pub(super) fn is_lost(credential: &Credential) -> bool {
    let snapshot = credential.snapshot();
    let reason = snapshot.store_trouble.unwrap_or_default();
    let credential = credential.name();
    if snapshot.unsaved {
        tracing::error!(
            credential,
            reason,
            "the latest token set could not be stored and ends with this process; a refresh token that is stored may be used \
             up, so that a login is needed"
        );
    } else if snapshot.note_unsaved {
        tracing::error!(
            credential,
            reason,
            "a note of a login could not be stored and ends with this process"
        );
    }
    snapshot.unsaved || snapshot.note_unsaved
}

/// What a start on the configured store would meet.
#[derive(Debug, Default)]
pub struct StoreFindings {
    /// It would fail.
    pub fatal: Option<StoreError>,
    /// These credentials would be held, or log in: a sentence each.
    pub records: Vec<String>,
}

/// Looks into the token store, and leaves it as it is: a proxy may be running on it.
pub fn examine_store(config: &Config) -> StoreFindings {
    let config::Store::File { path, key_file } = &config.store else { return StoreFindings::default() };
    let keys = match key_file.as_ref().map(|file| Keys::new(&file.keys)).transpose() {
        Ok(keys) => keys,
        Err(error) => return StoreFindings { fatal: Some(error), records: Vec::new() },
    };
    let fatal = FileStore::inspect_directory(path).err();
    StoreFindings { fatal, records: records(config, path, keys.as_ref()) }
}

fn records(config: &Config, path: &Path, keys: Option<&Keys>) -> Vec<String> {
    let mut findings = Vec::new();
    for credential in &config.credentials {
        let (name, options) = (&credential.name, options(credential, config));
        let key = Key { credential: name.as_str().into(), identity: options.identity };
        if let Err(error) = FileStore::inspect(path, keys, &key) {
            findings.push(format!(
                "credential {name}: {}",
                record_finding(&error, name, options.login.is_some())
            ));
        }
        let user = options.login.map(|login| login.username);
        if let Some(Err(error)) = user.map(|user| FileStore::inspect(path, keys, &login_key(&user))) {
            findings.push(format!("credential {name}: {}", notes_held(&error.describe(), name)));
        }
    }
    findings
}
