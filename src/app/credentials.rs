//! Starts and closes the configured credentials. Inspects their token store for `check`.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::start_error::StartError;
use crate::config::{self, Config, GrantKind};
use crate::credential::{
    Credential, Login, LoginGuards, Options, login_key, record_finding, unusable_login_history,
};
use crate::oauth::{AuthorizationServer, ClientIdentity, Endpoint, HttpClient};
use crate::store::{FileStore, Key, Keys, MemoryStore, SharedStore, StoreError};
use crate::tls;
use vbc_base::clock::Clock;
use vbc_base::secret::fingerprint;

/// At most this many exchanges without a waiting request are under way at the same time.
const UNREQUESTED_EXCHANGES: usize = 16;

/// Credentials that are due at the start make their exchanges one after the other, `SPREAD_STEP`
/// apart but all within `SPREAD`.
const SPREAD: Duration = Duration::from_secs(5 * 60);
const SPREAD_STEP: Duration = Duration::from_millis(10);

/// Many credentials share few applications, so equal applications share their memory. An
/// application is compared with this many recent ones.
const KNOWN_CLIENTS: usize = 16;

/// The TLS settings for the token endpoint. Without `oauth.ca_file`, they are the upstream's.
pub(super) fn token_tls(
    config: &Config,
    upstream_tls: &Arc<ClientConfig>,
) -> Result<Arc<ClientConfig>, StartError> {
    Ok(match &config.oauth.ca_file {
        Some(path) => tls::client_config(Some(path))?,
        None => Arc::clone(upstream_tls),
    })
}

/// Starts all credentials. If `passive`, they make only requested exchanges.
pub(super) async fn start(
    config: &Config,
    upstream_tls: &Arc<ClientConfig>,
    clock: &Clock,
    passive: bool,
) -> Result<Vec<(Credential, JoinHandle<()>)>, StartError> {
    let tls = token_tls(config, upstream_tls)?;
    let http = HttpClient::new((*tls).clone(), config.oauth.timeout)?;
    let store = open_store(config)?;
    let userinfo_url = config.oauth.userinfo_url.as_ref();
    let server = AuthorizationServer::new(http, &config.oauth.token_url, userinfo_url, clock.clone())?;
    let server = Arc::new(server);
    let guards = LoginGuards::new(Arc::clone(&store), clock.clone());
    let options: Vec<Options> = config.credentials.iter().map(|known| options(known, config)).collect();
    // All logins are announced before the first one is tried, because the outcome for a password
    // applies to every credential that has this password.
    options.iter().filter_map(|options| options.login.as_ref()).for_each(|login| guards.announce(login));
    let unasked = Arc::new(Semaphore::new(UNREQUESTED_EXCHANGES));
    let spread = SPREAD_STEP.saturating_mul(config.credentials.len().saturating_sub(1) as u32).min(SPREAD);
    let mut clients = VecDeque::new();
    let mut credentials = Vec::with_capacity(config.credentials.len());
    for (credential, options) in config.credentials.iter().zip(options) {
        let client = client_identity(credential, &mut clients);
        let endpoint = Endpoint::new(Arc::clone(&server), client, options.username.clone());
        let options = Options { spread, unasked: Arc::clone(&unasked), passive, ..options };
        let store = Arc::clone(&store);
        credentials.push(Credential::start(options, endpoint, store, &guards, clock.clone()).await?);
    }
    store.settle();
    Ok(credentials)
}

/// The application of this credential. Shares one of the last [`KNOWN_CLIENTS`] if it is equal.
fn client_identity(
    credential: &config::Credential,
    known: &mut VecDeque<Arc<ClientIdentity>>,
) -> Arc<ClientIdentity> {
    let client = ClientIdentity {
        client_id: credential.client_id.as_str().into(),
        client_secret: credential.client_secret.clone(),
        auth: credential.client_auth,
    };
    if let Some(same) = known.iter().find(|known| ***known == client) {
        return Arc::clone(same);
    }
    let client = Arc::new(client);
    known.truncate(KNOWN_CLIENTS - 1);
    known.push_front(Arc::clone(&client));
    client
}

fn options(credential: &config::Credential, config: &Config) -> Options {
    let user = credential.username.clone().unwrap_or_default();
    let login = match (credential.grant, &credential.password) {
        (GrantKind::Password, Some(password)) => Some(Login::new(
            Arc::clone(&user),
            password.clone(),
            Arc::clone(&credential.scope),
            &credential.client_id,
            &credential.client_secret,
        )),
        _ => None,
    };
    let identity = [config.oauth.token_url.as_str(), &credential.client_id, &user, &credential.scope];
    Options {
        username: credential.username.clone(),
        login,
        seed: credential.seed.clone(),
        refresh: credential.refresh,
        refresh_lifetime: credential.refresh_token_lifetime,
        max_wait: config.oauth.max_wait,
        hurry: config.retry.hurry,
        ..Options::new(credential.name.as_str(), fingerprint(&identity))
    }
}

fn open_store(config: &Config) -> Result<SharedStore, StoreError> {
    Ok(match &config.store {
        config::Store::Memory => Arc::new(MemoryStore::default()),
        config::Store::File { path, key_file: None } => Arc::new(FileStore::open(path)?),
        config::Store::File { path, key_file: Some(file) } => {
            Arc::new(FileStore::open_sealed(path, Keys::new(&file.keys)?)?)
        }
    })
}

/// Closes the credentials. Each finishes an exchange under way and stores its tokens. Returns
/// whether each ended within `timeout`.
pub(super) async fn close(
    credentials: Vec<(Credential, JoinHandle<()>)>,
    timeout: Duration,
) -> Vec<(Credential, bool)> {
    for (credential, _) in &credentials {
        credential.close();
    }
    let mut closed = Vec::with_capacity(credentials.len());
    for (credential, task) in credentials {
        // A task that has been awaited to its end must not be awaited again.
        let in_time = task.is_finished() || tokio::time::timeout(timeout, task).await.is_ok();
        closed.push((credential, in_time));
    }
    closed
}

/// Whether tokens or the record of a login are lost when this process ends. If so, logs an error.
pub(super) fn is_lost(credential: &Credential) -> bool {
    let snapshot = credential.snapshot();
    let reason = snapshot.store_trouble.unwrap_or_default();
    let credential = credential.name();
    if snapshot.unsaved {
        tracing::error!(
            credential,
            reason,
            "could not save the latest token set, so it is lost when this process ends; if the stored refresh token is \
             already used up, a login is needed"
        );
    } else if snapshot.note_unsaved {
        tracing::error!(
            credential,
            reason,
            "could not save the record of a login, so it is lost when this process ends"
        );
    }
    snapshot.unsaved || snapshot.note_unsaved
}

/// The problems of the configured token store.
#[derive(Debug, Default)]
pub struct StoreFindings {
    /// The error with which a start would fail.
    pub fatal: Option<StoreError>,
    /// One sentence for each unusable record: its credential could not be used, or would log in.
    pub records: Vec<String>,
}

/// Inspects the token store without changing it, because a proxy may be using it.
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
