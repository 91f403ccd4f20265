//! Starts the configured credentials.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::start_error::StartError;
use crate::clock::Clock;
use crate::config::{self, Config, GrantKind};
use crate::credential::{Credential, Login, LoginGuards, Options};
use crate::oauth::{AuthorizationServer, ClientIdentity, Endpoint, HttpClient};
use crate::secret::fingerprint;
use crate::store::{FileStore, Keys, MemoryStore, SharedStore, StoreError};
use crate::tls;

/// At most this many exchanges that no request waits for are under way at once.
const UNREQUESTED_EXCHANGES: usize = 16;

/// Credentials that are all due at the start begin one after the other, `SPREAD_STEP` apart but
/// all within `SPREAD`.
const SPREAD: Duration = Duration::from_secs(5 * 60);
const SPREAD_STEP: Duration = Duration::from_millis(10);

/// Many credentials share few applications. An application is compared with this many others
/// before it is stored once more.
const KNOWN_CLIENTS: usize = 16;

/// The TLS settings for the token endpoint: with `oauth.ca_file`, or the upstream's.
pub(super) fn token_tls(
    config: &Config,
    upstream_tls: &Arc<ClientConfig>,
) -> Result<Arc<ClientConfig>, StartError> {
    Ok(match &config.oauth.ca_file {
        Some(path) => tls::client_config(Some(path))?,
        None => Arc::clone(upstream_tls),
    })
}

/// Starts all credentials. `passive` ones make only the exchanges that are requested.
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
    // Before the first login: what is learnt of a password counts for all credentials that have it.
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

/// The application of this credential, shared with one of the last [`KNOWN_CLIENTS`] if they are
/// equal.
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

/// The options of a configured credential.
pub(super) fn options(credential: &config::Credential, config: &Config) -> Options {
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

/// Opens the configured token store.
fn open_store(config: &Config) -> Result<SharedStore, StoreError> {
    Ok(match &config.store {
        config::Store::Memory => Arc::new(MemoryStore::default()),
        config::Store::File { path, key_file: None } => Arc::new(FileStore::open(path)?),
        config::Store::File { path, key_file: Some(file) } => {
            Arc::new(FileStore::open_sealed(path, Keys::new(&file.keys)?)?)
        }
    })
}

/// Whether something of a credential was not stored and ends with this process. Logs an error then.
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
