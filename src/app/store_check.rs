//! Inspects the configured token store, for `check`.

use std::path::Path;

use super::credentials::options;
use crate::config::{self, Config};
use crate::credential::{login_key, record_finding, unusable_login_history};
use crate::store::{FileStore, Key, Keys, StoreError};

/// What a start with the configured store would find.
#[derive(Debug, Default)]
pub struct StoreFindings {
    /// The start would fail with this error.
    pub fatal: Option<StoreError>,
    /// A sentence for each credential that would be held, or log in.
    pub records: Vec<String>,
}

/// Inspects the token store without changing it: a proxy may be using it.
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
        let name = &credential.name;
        let options = options(credential, config);
        let key = Key { credential: name.as_str().into(), identity: options.identity };
        if let Err(error) = FileStore::inspect(path, keys, &key) {
            findings.push(format!(
                "credential {name}: {}",
                record_finding(&error, name, options.login.is_some())
            ));
        }
        let user = options.login.map(|login| login.username);
        if let Some(Err(error)) = user.map(|user| FileStore::inspect(path, keys, &login_key(&user))) {
            findings.push(format!("credential {name}: {}", unusable_login_history(&error.describe(), name)));
        }
    }
    findings
}
