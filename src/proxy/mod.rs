//! The data plane. `connection` has the requests of a client, `forward` is one of them on its way: read that first.
//!
//! Each thread has a [`Proxy`] of its own: nothing of a request leaves its thread, and nothing is locked but the
//! memory of 401s, which only a 401 touches.

mod body;
mod connection;
mod continue_gate;
mod error;
mod faults;
mod forward;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gate;
mod hooks;
pub mod links;
mod page;
mod retry;
mod timer;
mod tunnel;
mod upstream;
mod verdict;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header, uri};
use prometheus_client::metrics::counter::Counter;

use crate::config::{Config, ListenAddress};
use crate::credential::{Bearer, Credential, Reader, Unavailable};
use crate::headers::{self, Survey};
use crate::http1::block;
use crate::metrics::{Metrics, Source};
use crate::random;
use crate::secret;
use crate::server::descriptors::Descriptors;
use crate::server::{AsksForWebsocket, DrainSignal, Peer, RawTarget};
use body::Disk;
use connection::X_REQUEST_ID;
pub use connection::{Connection, Outgoing};
use gate::Gate;
pub use hooks::Hooks;
use links::Links;
use tunnel::Patience;
use upstream::{Head, Upstream};

/// What the threads share.
#[derive(Clone)]
pub struct Shared {
    /// The configuration.
    pub config: Arc<Config>,
    /// Where we really listen.
    pub listen: Arc<[ListenAddress]>,
    /// The credential whose bearer is sent.
    pub credential: Credential,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Trust roots and everything else TLS with the upstream needs.
    pub tls: Arc<rustls::ClientConfig>,
    /// How many threads there are.
    pub workers: usize,
    /// What connections and bodies in files take file descriptors from.
    pub descriptors: Arc<Descriptors>,
    /// What requests meet beside being forwarded.
    pub hooks: Option<Arc<Hooks>>,
}

/// The data plane of one thread.
pub struct Proxy {
    gate: Gate,
    /// `None` where links stay as they are.
    links: Option<Links>,
    upstream: Upstream,
    bearer: RefCell<Reader>,
    credential: Credential,
    /// Path prefixes whose suites refuse tokens older than this.
    max_age: Vec<(String, Duration)>,
    /// Bodies up to this many bytes are kept in memory.
    memory: usize,
    disk: Rc<Disk>,
    access_log: bool,
    /// How long a request waits for a token.
    max_wait: Duration,
    tunnels: Patience,
    /// Clients on TCP speak TLS with us.
    tls: bool,
    metrics: Arc<Metrics>,
    /// Counters of answers by status, the upstream's and ours, looked up once.
    counters: RefCell<[Vec<Option<Counter>>; 2]>,
    next_id: Cell<u64>,
    /// Requests of this thread that are being forwarded, and how many may be: its share of the limit. A count that all
    /// threads share would be a cache line that each request takes from another core, twice.
    in_flight: Cell<usize>,
    most_in_flight: usize,
    drain: DrainSignal,
    /// `None` in production: nothing but this is looked at then.
    hooks: Option<Arc<Hooks>>,
    /// A recorder takes part, which decodes bodies.
    records: bool,
}

impl Proxy {
    /// The data plane for the thread it is called on. Once the drain has begun, new requests are answered 503.
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

impl Proxy {
    /// The head of the request to the upstream: stripped of what is not its business.
    fn outgoing(&self, parts: http::request::Parts, survey: Survey, bearer: Bearer) -> Head {
        let http::request::Parts { method, uri, version, mut headers, extensions, .. } = parts;
        if survey.strip {
            headers::strip_request(&mut headers);
        }
        if survey.accept_encoding {
            headers::narrow_accept_encoding(&mut headers);
        }
        match survey.cookie {
            // Cookies are per host and not per port: those that a browser has for this host are other servers'.
            true if survey.browser => drop(headers.remove(header::COOKIE)),
            true => headers::join_cookies(&mut headers),
            false => {}
        }
        if survey.max_forwards
            && method == Method::OPTIONS
            && let Some(left) = headers::max_forwards(&headers)
        {
            headers.insert(header::MAX_FORWARDS, left.saturating_sub(1).into());
        }
        if survey.content_length {
            headers::keep_one_length(&mut headers);
        }
        // It has been answered: 100 is sent when the body is first read. Nobody knows another expectation, so it goes
        // unheeded, as with nginx (RFC 9110 §10.1.1 leaves 417 to us).
        let asks = survey.expect
            && headers
                .remove(header::EXPECT)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        if survey.transfer_encoding {
            // Said openly: it was stripped, and a GET has a body too.
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let upgrade = extensions.get::<AsksForWebsocket>().is_some() && self.upstream.has_http1();
        let raw_target = extensions.get::<RawTarget>().map(|raw| Box::new(raw.clone()));
        if upgrade {
            to_websocket(&mut headers);
        }
        let client_waits = asks && version != Version::HTTP_10;
        Head { method, uri: origin_form(uri), raw_target, headers, bearer, version, client_waits, upgrade }
    }

    /// The cached bearer, where it is good for this path.
    fn bearer_at_hand(&self, path: &str) -> Option<Bearer> {
        let mut reader = self.bearer.borrow_mut();
        match reader.cached_within(self.max_age(path)) {
            Some((bearer, true)) => Some(bearer.clone()),
            _ => None,
        }
    }

    /// The bearer for a path whose suite wants a younger one than there is, or while there is none.
    async fn bearer(&self, path: &str) -> Result<Bearer, Unavailable> {
        let max_age = self.max_age(path);
        let cached = {
            let mut reader = self.bearer.borrow_mut();
            reader.cached_within(max_age).map(|(bearer, young)| (bearer.clone(), young))
        };
        let old = match cached {
            Some((bearer, true)) => return Ok(bearer),
            Some((bearer, false)) => bearer,
            // A login may give one that has been about for a while.
            None => self.credential.bearer().await?,
        };
        match max_age {
            Some(max_age) if !old.is_younger(max_age, self.credential.clock().now()) => {
                match self.credential.younger(max_age).await {
                    Ok(young) => Ok(young),
                    // One that lives, too old for this suite, is still better than none. It may have changed meanwhile.
                    Err(_) => self.credential.bearer().await,
                }
            }
            _ => Ok(old),
        }
    }

    /// The upstream took this bearer. That is news once for each revision, and where it was known
    /// to be refused.
    fn note_accepted(&self, bearer: &Bearer, status: StatusCode) {
        if self.credential.is_news(bearer) && !status.is_client_error() && !status.is_server_error() {
            self.credential.trust(bearer);
        }
    }

    /// How old a token may be that is sent to this path. Prefixes end where segments do; the longest come first.
    fn max_age(&self, path: &str) -> Option<Duration> {
        let (_, age) = self.max_age.iter().find(|(prefix, _)| {
            let rest = path.strip_prefix(prefix.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })?;
        Some(*age)
    }

    /// The client's own id where it has a sensible one, else the next of this thread.
    fn request_id(&self, headers: &HeaderMap, survey: Survey) -> HeaderValue {
        let sensible = |id: &&HeaderValue| {
            (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        if survey.request_id
            && let Some(id) = headers.get(X_REQUEST_ID).filter(sensible)
        {
            return id.clone();
        }
        let id = self.next_id.get();
        self.next_id.set(id.wrapping_add(1));
        let digits = block::keep(&secret::hex_digits(id));
        // Hexadecimal digits are a legal field value.
        HeaderValue::from_maybe_shared(digits).unwrap_or(HeaderValue::from_static("0"))
    }

    fn count(&self, status: StatusCode, source: Source) {
        let index = usize::from(status.as_u16()).saturating_sub(100).min(899);
        let mut counters = self.counters.borrow_mut();
        let slots = &mut counters[source as usize];
        if slots.len() <= index {
            slots.resize(index + 1, None);
        }
        slots[index].get_or_insert_with(|| self.metrics.requests(status.as_u16(), source)).inc();
    }
}

/// Says what strip took away, of a request for a websocket or its 101.
fn to_websocket(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// The target as it goes out: the bytes of path and query as they came.
fn origin_form(uri: Uri) -> Uri {
    if uri.authority().is_none() {
        return uri;
    }
    let mut parts = uri::Parts::default();
    parts.path_and_query = uri.into_parts().path_and_query;
    Uri::from_parts(parts).unwrap_or(Uri::from_static("/"))
}

/// What a 401 with this head and beginning of a body means, as metrics call it: for benchmarks.
#[doc(hidden)]
pub fn judge(headers: &HeaderMap, body: &[u8]) -> &'static str {
    verdict::judge(headers, body).label()
}
