//! The data plane. `forward` is one request; read it first.
//!
//! Each thread has a [`Proxy`] of its own: nothing of a request leaves its thread, and nothing is locked but the
//! memory of 401s, which only a 401 touches.

mod aside;
mod body;
mod error;
mod faults;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gate;
mod hold;
pub mod links;
mod retry;
mod timer;
mod tunnel;
mod upstream;
mod verdict;

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header, uri};
use http_body::{Body, Frame, SizeHint};
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::cassette::AnswerTap;
use crate::config::{Config, ListenAddress};
use crate::credential::{Bearer, Credential, Reader, Unavailable};
use crate::headers::{self, AnswerSurvey, Survey};
use crate::metrics::{Metrics, Source};
use crate::random;
use crate::secret;
use crate::server::{Abort, AsksForWebsocket, DrainSignal, Handler, Incoming, Peer, Refusal};
pub use aside::Aside;
use body::{AnswerBody, Disk, RequestBody};
use error::Error;
use gate::Gate;
use links::Links;
use retry::{Next, Refused};
use timer::LazyTimer;
use tunnel::{Patience, Tunnel};
use upstream::{Head, Upstream, UpstreamBody, UpstreamError};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

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
    /// What requests meet beside being forwarded.
    pub aside: Option<Arc<Aside>>,
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
    aside: Option<Arc<Aside>>,
}

impl Proxy {
    /// The data plane for the thread it is called on. Once the drain has begun, new requests are answered 503.
    pub fn new(shared: &Shared, drain: DrainSignal) -> Self {
        let config = &shared.config;
        let open = shared.metrics.upstream_connections.clone();
        let upstream = Upstream::new(&config.upstream, config.retry.expect_timeout, &shared.tls, open);
        upstream.warm_up();
        Self {
            gate: Gate::new(config, &shared.listen),
            links: Links::new(config, &shared.listen, shared.workers),
            upstream,
            bearer: RefCell::new(shared.credential.reader()),
            credential: shared.credential.clone(),
            max_age: config.max_age(shared.credential.name()),
            memory: config.retry.memory,
            disk: Rc::new(Disk::new(&config.retry, shared.metrics.replay_disk.clone())),
            access_log: config.log.access,
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
            aside: shared.aside.clone(),
        }
    }

    /// The handler of one connection.
    pub fn handler(self: &Rc<Self>, peer: Peer) -> Connection {
        let scheme = match peer {
            Peer::Tcp(_) if self.tls => "https",
            _ => "http",
        };
        Connection {
            proxy: Rc::clone(self),
            peer,
            scheme,
            timer: LazyTimer::default(),
            tunnel: Cell::default(),
        }
    }
}

/// What answers the requests of one connection.
pub struct Connection {
    proxy: Rc<Proxy>,
    peer: Peer,
    /// What the client's URLs for us begin with.
    scheme: &'static str,
    timer: LazyTimer,
    /// The upstream's side of what this connection is about to become.
    tunnel: Cell<Option<Tunnel>>,
}

/// One request, all decisions in order.
async fn forward(
    proxy: &Proxy,
    timer: &LazyTimer,
    request: Request<Incoming>,
    survey: Survey,
) -> Result<Response<AnswerBody>, Error> {
    let (parts, body) = request.into_parts();
    let body = RequestBody::new(body, proxy.memory, &proxy.disk);
    if proxy.aside.is_some() {
        body.tap(parts.extensions.get());
    }
    let bearer = match proxy.bearer_at_hand(parts.uri.path()) {
        Some(bearer) => bearer,
        // Rare and large: a request should not keep room for it. So it is with what follows a 401.
        None => Box::pin(proxy.bearer(parts.uri.path())).await?,
    };
    let head = proxy.outgoing(parts, survey, bearer);
    let answer = proxy.upstream.send(&head, &body, timer).await.map_err(|error| failed(error, &body))?;
    if answer.status() != StatusCode::UNAUTHORIZED {
        body.keep_no_more();
        return Ok(answer.map(AnswerBody::streamed));
    }
    Box::pin(refused(proxy, timer, head, body, answer)).await
}

/// Why a sending failed: the upstream's connection ends too because the client's upload did.
fn failed(error: UpstreamError, body: &RequestBody) -> Error {
    body.take_failure().unwrap_or(Error::Upstream(error))
}

/// What becomes of a request that got a 401.
async fn refused(
    proxy: &Proxy,
    timer: &LazyTimer,
    mut head: Head,
    body: RequestBody,
    answer: Response<UpstreamBody>,
) -> Result<Response<AnswerBody>, Error> {
    let refused = Refused::read(answer).await?;
    let attempt = match proxy.replacement(&refused, &head, &body).await? {
        Next::Replay(attempt) => attempt,
        Next::PassOn(why) => {
            body.keep_no_more();
            return Ok(refused.pass_on(why));
        }
    };
    head.bearer = attempt.bearer.clone();
    let answer = proxy.upstream.send(&head, &body, timer).await.map_err(|error| failed(error, &body))?;
    body.keep_no_more();
    attempt.conclude(answer).await
}

impl Proxy {
    /// The head of the request to the upstream: stripped of what is not its business.
    fn outgoing(&self, parts: http::request::Parts, survey: Survey, bearer: Bearer) -> Head {
        let http::request::Parts { method, uri, version, mut headers, extensions, .. } = parts;
        if survey.strip {
            headers::strip_request(&mut headers);
        }
        if survey.cookie {
            headers::join_cookies(&mut headers);
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
            // Said openly, or hyper sends a GET without its body.
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let upgrade = extensions.get::<AsksForWebsocket>().is_some() && self.upstream.can_upgrade();
        if upgrade {
            to_websocket(&mut headers);
        }
        let client_waits = asks && version != Version::HTTP_10;
        Head { method, uri: origin_form(uri), headers, bearer, version, client_waits, upgrade }
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
        // Hexadecimal digits are a legal field value.
        HeaderValue::from_bytes(&secret::hex_digits(id)).unwrap_or(HeaderValue::from_static("0"))
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

impl Connection {
    /// Admission, then the request itself; an error becomes an answer here and nowhere else.
    async fn answer(
        &self,
        request: Request<Incoming>,
        survey: Survey,
        id: &HeaderValue,
    ) -> Response<Outgoing> {
        let proxy = &*self.proxy;
        let host = request.headers().get(header::HOST);
        let admitted = match proxy.drain.has_begun() {
            true => Err(Error::Draining),
            false => proxy.gate.admit(&request, host, survey),
        };
        let base = proxy
            .links
            .as_ref()
            .and_then(|links| Some((links, links.base(request.uri(), host, self.scheme)?)));
        let page = match admitted {
            Ok(Some(origin)) if gate::is_preflight(&request) => {
                let answer = gate::preflight(&origin, request.headers());
                return self.own(answer.map(AnswerBody::own), id);
            }
            Ok(page) => page,
            Err(error) => return self.fail(&error, id),
        };
        let Some(in_flight) = InFlight::begin(&self.proxy) else {
            return allowing(page, self.fail(&Error::Overloaded, id));
        };
        // The connection's timer wakes one waiter; requests of HTTP/2 wait beside each other.
        let own = (request.version() == Version::HTTP_2).then(LazyTimer::default);
        let timer = own.as_ref().unwrap_or(&self.timer);
        let response = match forward(proxy, timer, request, survey).await {
            Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                drop(in_flight);
                self.switch(answer, id)
            }
            Ok(mut answer) => {
                let found = AnswerSurvey::of(answer.headers());
                if let Some((links, base)) = base
                    && let Some(coding) = links.rewrite_head(&base, found, &mut answer)
                {
                    let done = coding.is_none() && links.rewrite_at_hand(&base, &mut answer);
                    if !done {
                        answer = Box::pin(links.rewrite_body(&base, coding, answer)).await;
                    }
                }
                self.pass(answer, found, id, Some(in_flight))
            }
            Err(error) => self.fail(&error, id),
        };
        allowing(page, response)
    }

    /// The upstream's answer on its way to the client.
    fn pass(
        &self,
        mut answer: Response<AnswerBody>,
        found: AnswerSurvey,
        id: &HeaderValue,
        in_flight: Option<InFlight>,
    ) -> Response<Outgoing> {
        *answer.version_mut() = Version::HTTP_11;
        let headers = answer.headers_mut();
        if found.strip {
            headers::strip_response(headers);
        }
        headers::keep_one_length(headers);
        if !found.request_id || found.strip && !headers.contains_key(X_REQUEST_ID) {
            headers.insert(X_REQUEST_ID, id.clone());
        }
        if answer.status() == StatusCode::NOT_MODIFIED {
            let length = answer.headers().get(header::CONTENT_LENGTH).and_then(headers::length);
            if let Some(length) = length {
                // Without a body it keeps the length that one would have.
                *answer.body_mut() = AnswerBody::Absent(length);
            }
        }
        self.finish(answer, Source::upstream, in_flight)
    }

    fn fail(&self, error: &Error, id: &HeaderValue) -> Response<Outgoing> {
        log_failure(error, id);
        self.own(error.answer(id.to_str().unwrap_or_default()), id)
    }

    /// The upstream's 101: once it has been sent, [`tunnel`](Handler::tunnel) goes on.
    fn switch(&self, mut answer: Response<AnswerBody>, id: &HeaderValue) -> Response<Outgoing> {
        self.tunnel.set(answer.body_mut().take_tunnel());
        let found = AnswerSurvey::of(answer.headers());
        let mut response = self.pass(answer, found, id, None);
        to_websocket(response.headers_mut());
        response
    }

    fn own(&self, mut answer: Response<AnswerBody>, id: &HeaderValue) -> Response<Outgoing> {
        answer.headers_mut().insert(X_REQUEST_ID, id.clone());
        self.finish(answer, Source::proxy, None)
    }

    fn finish(
        &self,
        answer: Response<AnswerBody>,
        source: Source,
        in_flight: Option<InFlight>,
    ) -> Response<Outgoing> {
        self.proxy.count(answer.status(), source);
        answer.map(|body| Outgoing { body, proxy: Rc::clone(&self.proxy), _in_flight: in_flight, tap: None })
    }
}

/// Lets the page that asked read the answer, where one did that may.
fn allowing(page: Option<HeaderValue>, mut response: Response<Outgoing>) -> Response<Outgoing> {
    if let Some(origin) = page {
        gate::allow_page(&origin, response.headers_mut());
    }
    response
}

impl Handler for Connection {
    type Body = Outgoing;

    // An answer is passed on without a date of ours.
    const DATE: bool = false;

    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Outgoing>, Abort> {
        if let Some(aside) = &self.proxy.aside {
            return Box::pin(self.handle_beside(request, aside)).await;
        }
        self.respond(request).await
    }

    async fn tunnel(&self, client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<(), Abort> {
        let tunnel = self.tunnel.take().ok_or(Abort)?;
        tunnel.run(client, self.proxy.tunnels, &self.proxy.metrics.tunnels).await
    }

    fn refuse(&self, refusal: Refusal) -> Response<Outgoing> {
        let id = self.proxy.request_id(&HeaderMap::new(), Survey::default());
        self.fail(&Error::Refused(refusal), &id)
    }
}

impl Connection {
    /// Answers a request, and writes its line.
    fn respond(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Outgoing>, Abort>> + use<'_> {
        let line = self.proxy.access_log.then(|| AccessLine::begin(&request));
        self.respond_in(request, line)
    }

    /// The same in a line that has begun.
    async fn respond_in(
        &self,
        request: Request<Incoming>,
        line: Option<AccessLine>,
    ) -> Result<Response<Outgoing>, Abort> {
        let survey = Survey::of(request.headers());
        let id = self.proxy.request_id(request.headers(), survey);
        let response = self.answer(request, survey, &id).await;
        if let Some(line) = line {
            line.write(self, response.status(), &id, None);
        }
        Ok(response)
    }
}

/// What the access log says of a request.
struct AccessLine {
    method: http::Method,
    path: String,
    started: Instant,
}

impl AccessLine {
    fn begin<B>(request: &Request<B>) -> Self {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        Self { method, path, started: Instant::now() }
    }

    /// `source` is what has answered, where that is neither the upstream nor what is always there.
    fn write(self, connection: &Connection, status: StatusCode, id: &HeaderValue, source: Option<&str>) {
        let Self { method, path, started } = self;
        tracing::info!(
            target: "access", peer = %connection.peer, %method, path, status = status.as_u16(),
            millis = started.elapsed().as_millis() as u64, id = id.to_str().unwrap_or_default(), source, "request"
        );
    }
}

/// What the upstream does is worth a warning; what clients do wrong is not, and why a token is missing has been
/// logged by the refresher.
fn log_failure(error: &Error, id: &HeaderValue) {
    let id = id.to_str().unwrap_or_default();
    match error {
        Error::Upstream(_) => tracing::warn!(id, %error, "answered in our own name"),
        _ => tracing::debug!(id, %error, "answered in our own name"),
    }
}

/// What a 401 with this head and beginning of a body means, as metrics call it: for benchmarks.
#[doc(hidden)]
pub fn judge(headers: &HeaderMap, body: &[u8]) -> &'static str {
    verdict::judge(headers, body).label()
}

/// The body of whatever the data plane answers.
pub struct Outgoing {
    body: AnswerBody,
    proxy: Rc<Proxy>,
    _in_flight: Option<InFlight>,
    tap: Option<Box<AnswerTap>>,
}

/// A request that is being forwarded, until its answer has been sent.
struct InFlight(Rc<Proxy>);

impl InFlight {
    /// `None` when there are as many as may be.
    fn begin(proxy: &Rc<Proxy>) -> Option<Self> {
        let others = proxy.in_flight.get();
        if others >= proxy.most_in_flight {
            return None;
        }
        proxy.in_flight.set(others + 1);
        Some(Self(Rc::clone(proxy)))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = body::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::BoxError>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(Some(Err(error))) = &frame {
            // The head is out, so there is nothing left to answer: the connection is cut.
            this.proxy.metrics.aborted.inc();
            tracing::warn!(%error, "an answer was cut short");
        }
        if let Some(tap) = &mut this.tap {
            aside::note(tap, &frame, this.body.is_end_stream());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
