//! The data plane. Read `forward` first: it handles one request, with every decision in order.
//!
//! Each thread has its own [`Proxy`], and a request stays on its thread. A usual request
//! takes no lock. A changed bearer, a wait for the refresher, and a 401 take short ones.

mod admission;
mod bearer;
mod connection;
mod continue_gate;
mod error;
mod faults;
mod forward;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/proxy.rs"]
pub mod fuzz;
mod gate;
pub mod links;
mod outgoing;
mod page;
mod request_body;
mod response_body;
mod retry;
mod tunnel;
mod upstream;
mod verdict;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::config::{Config, ListenAddress};
use crate::credential::{Credential, Reader};
use crate::metrics::Metrics;
use connection::{AccessLine, request_id};
pub use connection::{Connection, Outgoing};
use error::Error;
pub use forward::Hooks;
use gate::Gate;
use links::Links;
use request_body::Disk;
use tunnel::Patience;
use upstream::Upstream;
use vbc_base::random;
use vbc_http::descriptors::Descriptors;
use vbc_http::headers::Survey;
use vbc_http::{Abort, DrainSignal, Handler, Incoming, Peer, RequestRejection};

/// An error of any kind.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The state that all threads share.
#[derive(Clone)]
pub struct Shared {
    /// The configuration.
    pub config: Arc<Config>,
    /// The addresses that were bound.
    pub listen: Arc<[ListenAddress]>,
    /// The credential whose bearer is sent.
    pub credential: Credential,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The TLS configuration for the upstream, with its trust roots.
    pub tls: Arc<rustls::ClientConfig>,
    /// The number of threads.
    pub workers: usize,
    /// The budget of file descriptors, for connections and for request bodies kept in files.
    pub descriptors: Arc<Descriptors>,
    /// Faults, replay and recording. `None` in production.
    pub hooks: Option<Arc<Hooks>>,
}

/// The data plane of one thread.
pub struct Proxy {
    gate: Gate,
    /// `None` if `upstream.rewrite_links` is off.
    links: Option<Links>,
    upstream: Upstream,
    bearer: RefCell<Reader>,
    credential: Credential,
    /// Path prefixes, each with the token age from which the suites under the prefix refuse a
    /// token.
    max_age: Vec<(String, Duration)>,
    /// Bodies up to this many bytes are kept in memory.
    memory: usize,
    disk: Rc<Disk>,
    access_log: bool,
    /// How long a request waits for a token.
    max_wait: Duration,
    tunnels: Patience,
    /// Whether TCP clients use TLS.
    tls: bool,
    metrics: Arc<Metrics>,
    /// Counters of responses by source and status, each looked up once.
    counters: RefCell<[Vec<Option<Counter>>; 2]>,
    next_id: Cell<u64>,
    /// When this thread last warned that a client logs in by itself.
    warned_of_login: Cell<Option<Instant>>,
    /// The number of requests that this thread is forwarding. A count shared by all threads would
    /// cost each request two cache misses.
    in_flight: Cell<usize>,
    /// This thread's share of `listen.max_requests_in_flight`.
    most_in_flight: usize,
    drain: DrainSignal,
    /// `None` in production.
    hooks: Option<Arc<Hooks>>,
    /// Whether a cassette records the exchanges. If so, the upstream is offered only content
    /// codings that the proxy can decode.
    records: bool,
}

impl Proxy {
    /// The data plane of the current thread. After the drain starts, new requests get 503.
    pub fn new(shared: &Shared, drain: DrainSignal) -> Self {
        let config = &shared.config;
        let open = shared.metrics.upstream_connections.clone();
        let (expect, descriptors) = (config.retry.expect_timeout, &shared.descriptors);
        let upstream = Upstream::new(&config.upstream, expect, &shared.tls, open, descriptors);
        upstream.warm_up();
        Self {
            gate: Gate::new(config, &shared.listen),
            links: Links::new(config, &shared.listen, shared.workers),
            upstream,
            bearer: RefCell::new(shared.credential.reader()),
            credential: shared.credential.clone(),
            max_age: config.max_age(shared.credential.name()),
            memory: config.retry.memory,
            disk: Rc::new(Disk::new(&config.retry, shared.metrics.replay_disk.clone(), descriptors)),
            access_log: config.log.access,
            max_wait: config.oauth.max_wait,
            tunnels: Patience {
                both_open: config.upstream.tunnel_timeout,
                half_closed: config.upstream.idle_timeout.min(config.upstream.tunnel_timeout),
            },
            tls: config.listen.tls.is_some(),
            metrics: Arc::clone(&shared.metrics),
            counters: RefCell::default(),
            warned_of_login: Cell::default(),
            next_id: Cell::new(u64::from_be_bytes(random::bytes())),
            in_flight: Cell::new(0),
            most_in_flight: config.listen.max_requests_in_flight.div_ceil(shared.workers.max(1)),
            drain,
            hooks: shared.hooks.clone(),
            records: shared.hooks.as_ref().is_some_and(|hooks| hooks.records()),
        }
    }

    /// The handler of one connection.
    pub fn handler(self: &Rc<Self>, peer: Peer) -> Connection {
        let scheme = match peer {
            Peer::Tcp(_) if self.tls => "https",
            _ => "http",
        };
        Connection::new(Rc::clone(self), peer, scheme)
    }
}

impl Handler for Connection {
    type Body = Outgoing;

    // A proxy adds no `Date` to a response that it passes on.
    const DATE: bool = false;

    fn handle(&self, request: Request<Incoming>) -> impl Future<Output = Result<Response<Outgoing>, Abort>> {
        let hooks = self.proxy.hooks.as_deref();
        // With hooks, `Connection::handle_with_hooks` begins the access line.
        let line = if hooks.is_some() { None } else { AccessLine::begin(&self.proxy, &request) };
        forward::respond(self, request, line, hooks)
    }

    async fn tunnel(&self, client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<(), Abort> {
        let upstream = self.switched.take().ok_or(Abort)?;
        tunnel::run(*upstream, client, self.proxy.tunnels, &self.proxy.metrics.tunnels).await
    }

    fn idle(&self) {
        self.timer.clear();
    }

    fn reject(&self, rejection: RequestRejection) -> Response<Outgoing> {
        let id = request_id(&self.proxy, &HeaderMap::new(), Survey::default());
        self.fail(&Error::Refused(rejection), &id)
    }
}

/// Judges a 401 by its headers and the start of its body. Returns the verdict's metric label. For
/// benchmarks.
#[doc(hidden)]
pub fn judge(headers: &HeaderMap, body: &[u8]) -> &'static str {
    verdict::judge(headers, body).label()
}
