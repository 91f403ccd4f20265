//! Delivery of webhooks over the network: 3 seconds to connect, 2 seconds to respond, and five
//! retries.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, LOCATION};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use crate::engine::Engine;
use crate::state::State;
use crate::targets::{WebhookTargets, is_same};
use crate::world::webhooks::{Attempt, Reason};
use vbc_base::clock::after;

const CONNECTS_WITHIN: Duration = Duration::from_secs(3);
const RESPONDS_WITHIN: Duration = Duration::from_secs(2);
const RETRIES: u32 = 5;
/// The pause between two attempts, by the service's clock.
const PAUSE: Duration = Duration::from_secs(10);
/// The most characters of a response's body that are shown.
const SHOWN: usize = 200;
/// About the most bytes of a response's body that are read.
const READ: usize = 64 * 1024;
const REDIRECTS: usize = 5;

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("this is not an http or https URL")]
    Url,
    #[error("{0} is not this machine; start the simulator with --webhooks to allow other receivers")]
    NotAllowed(String),
    #[error("{0} is this simulator's own control port, which accepts no webhooks")]
    Control(String),
    #[error("no connection within 3 seconds")]
    ConnectTimeout,
    #[error("no response within 2 seconds")]
    ResponseTimeout,
    #[error("the receiver responded with {}", .0.status.as_u16())]
    Status(Box<FailedResponse>),
    #[error("more than 5 redirects")]
    Redirects,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error(transparent)]
    Request(#[from] http::Error),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// A response that is not a success.
#[derive(Debug)]
struct FailedResponse {
    status: StatusCode,
    /// The reason phrase.
    reason: String,
    /// The part of the body that was read.
    body: Bytes,
}

impl FailedResponse {
    fn new(response: &http::Response<Incoming>, body: Bytes) -> Box<Self> {
        let status = response.status();
        let given = response.extensions().get::<ReasonPhrase>();
        let reason = given.map_or(status.canonical_reason().unwrap_or_default().into(), |reason| {
            String::from_utf8_lossy(reason.as_bytes())
        });
        Box::new(Self { status, reason: reason.into_owned(), body })
    }

    /// The status as VBC writes it: `500 INTERNAL_SERVER_ERROR`.
    fn code(&self) -> String {
        let words = self.status.canonical_reason().unwrap_or_default().to_ascii_uppercase();
        let words = words.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
        format!("{} {words}", self.status.as_u16()).trim_end().to_owned()
    }

    /// The status line and the first 200 characters of the body.
    fn message(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        let shown = match body.char_indices().nth(SHOWN) {
            _ if body.is_empty() => "no body".to_owned(),
            Some((end, _)) => format!("{}... ({} bytes)", &body[..end], self.body.len()),
            None => body.into_owned(),
        };
        format!("{} {}: [{shown}]", self.status.as_u16(), self.reason)
    }
}

impl From<Failure> for Reason {
    fn from(failure: Failure) -> Self {
        let words = failure.to_string();
        let (http_code, message) = match &failure {
            Failure::Status(refused) => (Some(refused.code()), refused.message()),
            _ => (None, words.clone()),
        };
        Self { words, http_code, message }
    }
}

impl Failure {
    /// Whether every retry would fail for the same reason.
    fn is_final(&self) -> bool {
        matches!(self, Self::Url | Self::NotAllowed(_) | Self::Control(_))
    }
}

impl Engine {
    /// Spawns tasks that deliver queued notices and end ringing calls.
    ///
    /// Without queued notices or ringing calls it spawns nothing. A service that has neither
    /// therefore needs no runtime.
    pub(crate) fn follow_up(self: &Arc<Self>, state: &mut State) {
        for webhook in state.world.webhooks.idle() {
            self.delayed.lock().spawn(deliver_all(Arc::clone(self), webhook));
        }
        let Some(next) = state.world.next_ring else { return };
        if state.world.awaited_ring.replace(next) == Some(next) {
            return;
        }
        let engine = Arc::clone(self);
        self.delayed.lock().spawn(async move {
            engine.options.clock.reaches(next).await;
            engine.state.lock().world.awaited_ring = None;
            engine.settle();
        });
    }

    /// Ends the ringing that is due, and starts the delivery of queued notices.
    pub(crate) fn settle(self: &Arc<Self>) {
        let now = self.options.clock.now();
        let mut state = self.state.lock();
        let State { world, random, .. } = &mut *state;
        world.settle(now, random);
        self.follow_up(&mut state);
    }
}

/// Delivers the queued notices of a webhook in order, until none is left.
async fn deliver_all(engine: Arc<Engine>, webhook: String) {
    loop {
        let notice = engine.state.lock().world.webhooks.next(&webhook);
        let Some(notice) = notice else { return };
        let mut number = 1;
        let outcome = loop {
            let (attempt, targets) = {
                let state = engine.state.lock();
                // A scenario may have changed the allowed targets.
                (state.world.webhooks.attempt(&webhook, &notice, number), state.options.webhooks.clone())
            };
            let Some(attempt) = attempt else { return };
            match try_once(&attempt, &targets, engine.options.control).await {
                Ok(()) => break Ok(()),
                Err(failure) if number > RETRIES || failure.is_final() => {
                    tracing::warn!(webhook, %failure, "could not deliver a webhook; it gets nothing more until it is renewed");
                    break Err(failure.into());
                }
                Err(failure) => {
                    tracing::debug!(webhook, number, %failure, "could not deliver a webhook; will retry")
                }
            }
            number += 1;
            let pause = engine.state.lock().world.pace.scaled(PAUSE);
            engine.options.clock.reaches(after(engine.options.clock.now(), pause)).await;
        };
        let now = engine.options.clock.now();
        engine.state.lock().world.webhooks.done(&webhook, outcome, now);
    }
}

/// Makes one attempt. Only 200 is a success. As VBC documents, 302 is followed with GET and 307
/// with the same POST, both only to allowed targets.
async fn try_once(attempt: &Attempt, targets: &WebhookTargets, control: SocketAddr) -> Result<(), Failure> {
    let mut url = Url::parse(&attempt.url).map_err(|_| Failure::Url)?;
    let mut posts = true;
    for _ in 0..=REDIRECTS {
        let mut request = Request::builder().method(if posts { "POST" } else { "GET" });
        for (name, value) in &attempt.headers {
            request = request.header(*name, value);
        }
        let body = if posts { Bytes::from(attempt.body.clone()) } else { Bytes::new() };
        if posts {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        match exchange(&url, request, body, targets, control).await? {
            Exchange::Delivered => return Ok(()),
            Exchange::Redirected(refused, location) => {
                posts &= refused.status != StatusCode::FOUND;
                url = url.join(&location).map_err(|_| Failure::Status(refused))?;
            }
        }
    }
    Err(Failure::Redirects)
}

/// The result of one request.
enum Exchange {
    /// The receiver accepted it.
    Delivered,
    /// The receiver redirects to this location.
    Redirected(Box<FailedResponse>, String),
}

async fn exchange(
    url: &Url,
    request: http::request::Builder,
    body: Bytes,
    targets: &WebhookTargets,
    control: SocketAddr,
) -> Result<Exchange, Failure> {
    let stream = timeout(CONNECTS_WITHIN, connect(url, targets, control))
        .await
        .map_err(|_| Failure::ConnectTimeout)??;
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request = request.uri(target).header(HOST, authority).body(Full::new(body))?;
    // Dropping the driver closes the connection.
    let mut driver = JoinSet::new();
    let exchanged = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        driver.spawn(connection);
        sender.send_request(request).await
    };
    let mut response = timeout(RESPONDS_WITHIN, exchanged).await.map_err(|_| Failure::ResponseTimeout)??;
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    match (response.status(), location.map(str::to_owned)) {
        // The status decides, so the body of a success is not read.
        (StatusCode::OK, _) => Ok(Exchange::Delivered),
        (StatusCode::FOUND | StatusCode::TEMPORARY_REDIRECT, Some(location)) => {
            Ok(Exchange::Redirected(FailedResponse::new(&response, Bytes::new()), location))
        }
        _ => {
            let body = beginning(response.body_mut()).await;
            Err(Failure::Status(FailedResponse::new(&response, body)))
        }
    }
}

/// Reads the beginning of a body: about 64 KiB, for at most 2 seconds. An error ends the reading.
async fn beginning(body: &mut Incoming) -> Bytes {
    let mut read = BytesMut::new();
    let end = Instant::now() + RESPONDS_WITHIN;
    while read.len() < READ
        && let Ok(Some(Ok(frame))) = timeout_at(end, body.frame()).await
    {
        if let Ok(data) = frame.into_data() {
            read.extend_from_slice(&data);
        }
    }
    read.freeze()
}

/// A TCP or TLS stream.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn connect(
    url: &Url,
    targets: &WebhookTargets,
    control: SocketAddr,
) -> Result<Box<dyn Stream>, Failure> {
    let (host, port) = match (url.scheme(), url.host(), url.port_or_known_default()) {
        ("http" | "https", Some(host), Some(port)) => (host, port),
        _ => return Err(Failure::Url),
    };
    let addresses: Vec<SocketAddr> = match host {
        Host::Ipv4(address) => vec![(address, port).into()],
        Host::Ipv6(address) => vec![(address, port).into()],
        Host::Domain(name) => tokio::net::lookup_host((name, port)).await?.collect(),
    };
    let allowed = targets.allow(&host, addresses);
    if allowed.is_empty() {
        return Err(Failure::NotAllowed(host.to_string()));
    }
    if allowed.iter().any(|address| is_same(*address, control)) {
        return Err(Failure::Control(format!("{host}:{port}")));
    }
    let stream = TcpStream::connect(&*allowed).await?;
    if url.scheme() == "http" {
        return Ok(Box::new(stream));
    }
    let name =
        ServerName::try_from(url.host_str().unwrap_or_default().to_owned()).map_err(|_| Failure::Url)?;
    Ok(Box::new(TlsConnector::from(tls()?).connect(name, stream).await?))
}

/// The TLS configuration. It trusts only the bundled public roots, so a receiver with HTTPS needs a
/// public certificate.
fn tls() -> Result<Arc<rustls::ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
