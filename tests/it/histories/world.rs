//! One credential and its surroundings: the simulator without sockets, a store that can fail, two
//! clocks, and lives that end at any moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use jiff::SignedDuration;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use vbc_base::clock::Clock;
use vbc_base::secret::Secret;
use vbc_proxy::TokenStore;
use vbc_proxy::store::{Key, MemoryStore, Record, StoreError, StoreFuture};
use vbc_proxy::testing::admin::{Admin, AdminOptions};
use vbc_proxy::testing::credential::{Bearer, CodeLogin, Credential, Login, LoginGuards, Options};
use vbc_proxy::testing::metrics::Metrics;
use vbc_proxy::testing::oauth::{
    AuthorizationResponse, AuthorizationServer, ClientIdentity, Endpoint, Transport, TransportError,
};
use vbc_simulator::{Mode, OldAccess, Service, SimulatorOptions, TokenFormat};

use super::oracle::{Oracle, TokenRequest};

pub(super) const ALICE: &str = "alice@vbc.prod";
const CALLBACK: &str = "http://localhost:8081/callback";
/// The travel time of a request, and of its response.
const LATENCY: Duration = Duration::from_millis(20);
/// How long a write to the store takes.
const WRITE: Duration = Duration::from_millis(5);
/// How long an exchange may take.
const TIMEOUT: Duration = Duration::from_secs(30);
pub(super) const MAX_WAIT: Duration = Duration::from_secs(10);
const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self";

/// The network between the credential and the simulator.
#[derive(Clone)]
struct Wire {
    service: Service,
    oracle: Arc<Mutex<Oracle>>,
    unreachable: Arc<AtomicBool>,
}

/// Reports an abandoned request to the oracle.
struct UnderWay(Option<Arc<Mutex<Oracle>>>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(oracle) = self.0.take() {
            oracle.lock().dropped();
        }
    }
}

impl Transport for Wire {
    async fn exchange(&self, request: Request<String>) -> Result<Response<Vec<u8>>, TransportError> {
        if self.unreachable.load(Ordering::Relaxed) {
            return Err(TransportError { sent: Some(false), message: "no connection: refused".into() });
        }
        let asked = TokenRequest::read(request.body());
        self.oracle.lock().leaves(&asked, Instant::now());
        let mut under_way = UnderWay(Some(Arc::clone(&self.oracle)));
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, Bytes::from(body));
        // A sent request arrives even if its sender is gone.
        let service = self.service.clone();
        let served = tokio::spawn(async move {
            tokio::time::sleep(LATENCY).await;
            let response = service.respond(request).await;
            tokio::time::sleep(LATENCY).await;
            response
        });
        let response = tokio::time::timeout(TIMEOUT, served).await;
        let response =
            response.ok().and_then(Result::ok).flatten().map(|response| response.map(|body| body.to_vec()));
        under_way.0 = None;
        self.oracle.lock().arrives(&asked, response.as_ref(), Instant::now());
        response.ok_or_else(|| TransportError { sent: Some(true), message: "the response was lost".into() })
    }
}

/// A store whose writes take time, and that can be made to fail.
pub(super) struct Disk {
    inner: MemoryStore,
    failing: AtomicBool,
    /// The credential of these records, to check its published token during a write.
    credential: Mutex<Option<Credential>>,
    oracle: Arc<Mutex<Oracle>>,
}

impl Disk {
    /// Checks that a token set is published only after the store has accepted or refused it.
    fn check_unpublished(&self, key: &Key, record: &Record) {
        let Some(new) = &record.tokens else { return };
        let stored = self.stored(key).and_then(|record| record.tokens);
        if stored.is_some_and(|stored| stored.access_token == new.access_token) {
            return;
        }
        let credential = self.credential.lock().clone();
        let Some(credential) = credential.filter(|credential| !credential.snapshot().unsaved) else { return };
        if credential.reader().cached().map(|bearer| &bearer.value)
            == new.access_token.header_value().as_ref()
        {
            self.oracle.lock().violated("a token set was published before it was stored");
        }
    }

    fn stored(&self, key: &Key) -> Option<Record> {
        self.inner.load(key).now_or_never()?.ok()
    }
}

impl TokenStore for Disk {
    fn load<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Record> {
        self.inner.load(key)
    }

    fn swap<'a>(&'a self, key: &'a Key, expected: u64, record: &'a Record) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            self.check_unpublished(key, record);
            tokio::time::sleep(WRITE).await;
            if self.failing.load(Ordering::Relaxed) {
                let source = std::io::Error::other("disk full");
                return Err(StoreError::Io { what: "writing".into(), source });
            }
            self.inner.swap(key, expected, record).await
        })
    }
}

/// How a credential of a history gets its tokens, and how the server issues them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) by_password: bool,
    pub(crate) mode: Mode,
    pub(crate) old_access: OldAccess,
}

struct Life {
    credential: Credential,
    task: JoinHandle<()>,
}

pub(crate) struct World {
    setting: Setting,
    pub(crate) service: Service,
    pub(crate) clock: Clock,
    pub(super) oracle: Arc<Mutex<Oracle>>,
    disk: Arc<Disk>,
    wire: Wire,
    pub(super) password: String,
    life: Option<Life>,
    /// The store has failed in this life.
    store_failed: bool,
    asking: Vec<JoinHandle<()>>,
}

impl World {
    pub(crate) async fn new(setting: Setting) -> Self {
        let service = Service::new(SimulatorOptions {
            clock: Clock::tokio(),
            mode: setting.mode,
            old_access: setting.old_access,
            token_format: TokenFormat::Uuid,
            journal: 0,
            ..SimulatorOptions::default()
        });
        let oracle = Arc::new(Mutex::new(Oracle::default()));
        let disk = Arc::new(Disk {
            inner: MemoryStore::new(),
            failing: AtomicBool::new(false),
            credential: Mutex::new(None),
            oracle: Arc::clone(&oracle),
        });
        let wire = Wire {
            service: service.clone(),
            oracle: Arc::clone(&oracle),
            unreachable: Arc::new(AtomicBool::new(false)),
        };
        let mut world = Self {
            setting,
            service,
            clock: Clock::tokio(),
            oracle,
            disk,
            wire,
            password: "sim-password".into(),
            life: None,
            store_failed: false,
            asking: Vec::new(),
        };
        world.begin_life().await;
        world
    }

    pub(crate) fn credential(&self) -> &Credential {
        &self.life.as_ref().unwrap().credential
    }

    async fn begin_life(&mut self) {
        let login = self.setting.by_password.then(|| {
            let password = Secret::new(self.password.as_str());
            Login::new(ALICE.into(), password, "openid".into(), "sim-client", &"sim-secret".into())
        });
        let options = Options { login, max_wait: MAX_WAIT, ..Options::new("default", "identity") };
        let url = "http://sim/token".parse().unwrap();
        let server = AuthorizationServer::new(self.wire.clone(), &url, None, self.clock.clone()).unwrap();
        let client =
            ClientIdentity { client_id: "sim-client".into(), client_secret: "sim-secret".into(), auth: None };
        let endpoint = Endpoint::new(Arc::new(server), Arc::new(client), None);
        let store: Arc<dyn TokenStore> = Arc::clone(&self.disk) as _;
        let guards = LoginGuards::new(Arc::clone(&store), self.clock.clone());
        let started = Credential::start(options, endpoint, store, &guards, self.clock.clone()).await;
        let (credential, task) = started.unwrap();
        self.store_failed = self.disk.failing.load(Ordering::Relaxed);
        *self.disk.credential.lock() = Some(credential.clone());
        self.life = Some(Life { credential, task });
    }

    /// Ends the life as SIGTERM does, and starts another.
    pub(crate) async fn restart(&mut self) {
        let Life { credential, task } = self.life.take().unwrap();
        credential.close();
        let ended = tokio::time::timeout(4 * TIMEOUT, task).await;
        if ended.is_err() {
            self.oracle.lock().violated("the refresher did not end");
        }
        self.next_life().await;
    }

    /// Ends the life as `kill -9` does, at this moment, and starts another.
    pub(super) async fn kill(&mut self) {
        let Life { credential, task } = self.life.take().unwrap();
        self.oracle.lock().dying = true;
        task.abort();
        let _ = task.await;
        drop(credential);
        self.oracle.lock().dying = false;
        self.next_life().await;
    }

    async fn next_life(&mut self) {
        let refresh = self.stored().and_then(|record| record.tokens?.refresh_token);
        let stored = refresh.as_ref().map(Secret::expose);
        self.oracle.lock().reborn(stored, self.store_failed, Instant::now());
        self.begin_life().await;
    }

    fn stored(&self) -> Option<Record> {
        self.disk.stored(&Key { credential: "default".into(), identity: "identity".into() })
    }

    pub(super) fn fail_store(&mut self, failing: bool) {
        self.disk.failing.store(failing, Ordering::Relaxed);
        self.store_failed |= failing;
    }

    pub(crate) fn cut_off(&self, unreachable: bool) {
        self.wire.unreachable.store(unreachable, Ordering::Relaxed);
    }

    /// The machine is suspended: time passes, timers do not run.
    pub(crate) fn suspend(&self, by: Duration) {
        let shift = SignedDuration::try_from(by).unwrap();
        self.clock.shift(shift);
        self.service.clock().shift(shift);
        self.oracle.lock().slept(by);
    }

    /// Checks that a bearer was stored before it was published.
    fn check_stored(&self, bearer: &Bearer) {
        let token = bearer.value.to_str().unwrap().trim_start_matches("Bearer ").to_owned();
        let stored = self.stored().and_then(|record| record.tokens);
        let same = stored.is_some_and(|tokens| tokens.access_token.expose() == token);
        let excused = self.store_failed || self.credential().snapshot().revision != bearer.revision;
        if !same && !excused {
            self.oracle.lock().violated("a bearer was handed out before it was stored");
        }
    }

    /// Requests bearers in the background. With `hang_up`, they stop waiting after that time.
    pub(super) fn ask_in_background(&mut self, count: u8, hang_up: Option<Duration>) {
        for _ in 0..count {
            let (credential, oracle) = (self.credential().clone(), Arc::clone(&self.oracle));
            self.asking.push(tokio::spawn(async move {
                let asked = Instant::now();
                let bearer = credential.bearer();
                match hang_up {
                    Some(after) => drop(tokio::time::timeout(after, bearer).await),
                    None => drop(bearer.await),
                }
                if asked.elapsed() > MAX_WAIT + Duration::from_millis(1) {
                    oracle.lock().violated("a request waited past the deadline");
                }
            }));
        }
    }

    /// Waits for a bearer.
    pub(crate) async fn ask(&self) -> Option<Bearer> {
        let asked = Instant::now();
        let bearer = self.credential().bearer().await;
        self.in_time(asked);
        let bearer = bearer.ok()?;
        self.check_stored(&bearer);
        let mut oracle = self.oracle.lock();
        if bearer.expires_at <= self.clock.now() {
            oracle.violated("an expired bearer");
        }
        drop(oracle);
        Some(bearer)
    }

    pub(super) fn in_time(&self, asked: Instant) {
        if asked.elapsed() > MAX_WAIT + Duration::from_millis(1) {
            self.oracle.lock().violated("a request waited past the deadline");
        }
    }

    /// Reports several concurrent refusals of one bearer. They must share one exchange, and a late
    /// refusal must cause no other.
    pub(super) async fn refuse_at_once(&self, count: u8) {
        let Some(bearer) = self.ask().await else { return };
        let (before, requests) = {
            let oracle = self.oracle.lock();
            (oracle.issued, oracle.requests)
        };
        let kind = vbc_proxy::testing::credential::rejected_prefixes::Kind::Token;
        let asked = Instant::now();
        let replacements = (0..count).map(|_| {
            let (credential, bearer) = (self.credential().clone(), bearer.clone());
            tokio::spawn(async move { credential.replace(&bearer, kind).await })
        });
        for replacement in replacements.collect::<Vec<_>>() {
            let replacement = replacement.await.unwrap();
            self.in_time(asked);
            let Ok(newer) = replacement else { continue };
            self.check_stored(&newer.bearer);
            if newer.bearer.revision <= bearer.revision {
                self.oracle.lock().violated("the replacement is not newer");
            }
        }
        let issued = self.oracle.lock().issued - before;
        // One scheduled exchange may happen at the same moment.
        if issued > 1 {
            self.oracle.lock().violated(format!("{count} refusals of one bearer made {issued} token sets"));
        }
        // Allowed are a refresh, its repetition if the response was lost, and a login.
        let requests = self.oracle.lock().requests - requests;
        if requests > 4 {
            self.oracle.lock().violated(format!("{count} refusals of one bearer made {requests} requests"));
        }
        let current = self.credential().snapshot();
        if current.usable && current.revision > bearer.revision {
            let before = self.oracle.lock().requests;
            let late = self.credential().replace(&bearer, kind).await;
            let after = self.oracle.lock().requests;
            let ended = late.is_ok_and(|late| late.fresh) && !current.usable;
            if after != before && !ended {
                self.oracle.lock().violated("a late refusal made a token request");
            }
        }
    }

    /// The status of the gateway's response to a request with this bearer.
    pub(crate) async fn call(&self, bearer: &Bearer) -> Option<u16> {
        let request = Request::get(USERS).header("authorization", bearer.value.clone()).body(Bytes::new());
        Some(self.service.respond(request.unwrap()).await?.status().as_u16())
    }

    /// Whether each surface reports a usable token.
    pub(super) async fn surfaces(&self) -> [(&'static str, bool); 4] {
        let admin = Admin::new(AdminOptions {
            credentials: vec![self.credential().clone()],
            interactive: Default::default(),
            metrics: Arc::new(Metrics::new()),
            clock: self.clock.clone(),
            listen: String::new(),
            upstream: String::new(),
            address: None,
            hosts: Default::default(),
            examiner: Arc::new(|_, _| unreachable!("nobody asks for an examination")),
        });
        let ask = async |target: &str| {
            let request = Request::get(target).header("host", "localhost").body(axum::body::Body::empty());
            let (head, body) = admin.respond(request.unwrap()).await.into_parts();
            (head.status, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
        };
        let (_, status) = ask("/status.json").await;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let (_, metrics) = ask("/metrics").await;
        [
            ("/ready", ask("/ready").await.0 == 200),
            ("status, ready", status["ready"] == true),
            ("status, usable", status["credentials"][0]["usable"] == true),
            ("token_usable", metrics.contains("vbc_proxy_token_usable{credential=\"default\"} 1")),
        ]
    }

    /// Logs in as the resource owner. The code comes from the simulator's login page.
    pub(crate) async fn log_in(&self) -> bool {
        let target = format!(
            "/authorize?response_type=code&client_id=sim-client&scope=openid&sim_user={ALICE}&redirect_uri={CALLBACK}"
        );
        let response = self.service.respond(Request::get(target).body(Bytes::new()).unwrap()).await;
        let Some(location) = response.and_then(|response| response.headers().get("location").cloned()) else {
            return false;
        };
        let Ok(code) = AuthorizationResponse::from_pasted(location.to_str().unwrap()).outcome else {
            return false;
        };
        let login = CodeLogin { code, redirect_uri: CALLBACK.into(), verifier: None };
        self.credential().redeem_code(login).await.is_ok()
    }

    /// Waits for every request in the background.
    pub(super) async fn settle(&mut self) {
        for asking in self.asking.drain(..) {
            let _ = asking.await;
        }
    }
}
