//! Deliveries of webhooks, over the network: 3 seconds to connect, 2 to answer, and five more tries.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, LOCATION};
use http::{Request, Response, StatusCode};
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

use crate::engine::Core;
use crate::state::State;
use crate::targets::{WebhookTargets, is_same};
use crate::world::webhooks::{Attempt, Reason};
use vbc_base::clock::after;

const CONNECTS: Duration = Duration::from_secs(3);
const ANSWERS: Duration = Duration::from_secs(2);
const RETRIES: u32 = 5;
/// Between two tries, by the service's clock.
const PAUSE: Duration = Duration::from_secs(10);
/// Characters of an answer's body that are shown, and bytes of it that are read.
const SHOWN: usize = 200;
const READ: usize = 64 * 1024;
const REDIRECTS: usize = 5;

/// Why a try failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("it is not an http or https URL")]
    Url,
    #[error("{0} is not this machine; the simulator calls nobody else unless --webhooks allows it")]
    NotAllowed(String),
    #[error("{0} is this simulator's own control port, which takes no webhooks")]
    Control(String),
    #[error("no connection within 3 seconds")]
    ConnectTimeout,
    #[error("no answer within 2 seconds")]
    AnswerTimeout,
    #[error("it answered {}", .0.status.as_u16())]
    Status(Box<Refused>),
    #[error("too many redirects")]
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

/// An answer that is no success.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    /// The text after the status.
    reason: String,
    /// As far as it was read.
    body: Bytes,
}

impl Refused {
    fn new(response: &Response<Incoming>, body: Bytes) -> Box<Self> {
        let status = response.status();
        let given = response.extensions().get::<ReasonPhrase>();
        let reason = given.map_or(status.canonical_reason().unwrap_or_default().into(), |reason| {
            String::from_utf8_lossy(reason.as_bytes())
        });
        Box::new(Self { status, reason: reason.into_owned(), body })
    }

    /// `500 INTERNAL_SERVER_ERROR`.
    fn code(&self) -> String {
        let words = self.status.canonical_reason().unwrap_or_default().to_ascii_uppercase();
        let words = words.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
        format!("{} {words}", self.status.as_u16()).trim_end().to_owned()
    }

    /// The status line, and 200 characters of the body.
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
    /// Whether another try could only end the same way.
    fn is_final(&self) -> bool {
        matches!(self, Self::Url | Self::NotAllowed(_) | Self::Control(_))
    }
}

impl Core {
    /// Sees to it that what is queued gets delivered, and that what rings stops in time. Without either it starts
    /// nothing, so that a service without webhooks needs no runtime.
    pub(crate) fn follow_up(self: &Arc<Self>, state: &mut State) {
        for webhook in state.world.webhooks.idle() {
            self.delayed.lock().spawn(deliver_all(Arc::clone(self), webhook));
        }
        let Some(next) = state.world.next_ring else { return };
        if state.world.awaited_ring.replace(next) == Some(next) {
            return;
        }
        let core = Arc::clone(self);
        self.delayed.lock().spawn(async move {
            core.options.clock.reaches(next).await;
            core.state.lock().world.awaited_ring = None;
            core.settle();
        });
    }

    /// Lets happen what is due.
    pub(crate) fn settle(self: &Arc<Self>) {
        let now = self.options.clock.now();
        let mut state = self.state.lock();
        let State { world, random, .. } = &mut *state;
        world.settle(now, random);
        self.follow_up(&mut state);
    }
}

/// Delivers what is queued for a webhook, in order, until there is nothing left.
async fn deliver_all(core: Arc<Core>, webhook: String) {
    loop {
        let notice = core.state.lock().world.webhooks.next(&webhook);
        let Some(notice) = notice else { return };
        let mut number = 1;
        let outcome = loop {
            let (attempt, targets) = {
                let state = core.state.lock();
                // A scenario may have changed whom it may call.
                (state.world.webhooks.attempt(&webhook, &notice, number), state.options.webhooks.clone())
            };
            let Some(attempt) = attempt else { return };
            match try_once(&attempt, &targets, core.options.control).await {
                Ok(()) => break Ok(()),
                Err(failure) if number > RETRIES || failure.is_final() => {
                    tracing::warn!(webhook, %failure, "the simulator gave up a webhook");
                    break Err(failure.into());
                }
                Err(failure) => tracing::debug!(webhook, number, %failure, "a webhook was not delivered"),
            }
            number += 1;
            let pause = core.state.lock().world.pace.scaled(PAUSE);
            core.options.clock.reaches(after(core.options.clock.now(), pause)).await;
        };
        let now = core.options.clock.now();
        core.state.lock().world.webhooks.done(&webhook, outcome, now);
    }
}

/// One try. Only a 200 is a success; 302 is followed with GET, 307 with the same POST, as the service says it does: to
/// hosts that may be called, and no further.
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
            Outcome::Delivered => return Ok(()),
            Outcome::Elsewhere(refused, location) => {
                posts &= refused.status != StatusCode::FOUND;
                url = url.join(&location).map_err(|_| Failure::Status(refused))?;
            }
        }
    }
    Err(Failure::Redirects)
}

/// What came of one request.
enum Outcome {
    Delivered,
    /// It is to go to this location.
    Elsewhere(Box<Refused>, String),
}

async fn exchange(
    url: &Url,
    request: http::request::Builder,
    body: Bytes,
    targets: &WebhookTargets,
    control: SocketAddr,
) -> Result<Outcome, Failure> {
    let stream =
        timeout(CONNECTS, connect(url, targets, control)).await.map_err(|_| Failure::ConnectTimeout)??;
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request = request.uri(target).header(HOST, authority).body(Full::new(body))?;
    // Dropped, it ends the connection.
    let mut driver = JoinSet::new();
    let answer = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        driver.spawn(connection);
        sender.send_request(request).await
    };
    let mut response = timeout(ANSWERS, answer).await.map_err(|_| Failure::AnswerTimeout)??;
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    match (response.status(), location.map(str::to_owned)) {
        // The body of a success is not waited for.
        (StatusCode::OK, _) => Ok(Outcome::Delivered),
        (StatusCode::FOUND | StatusCode::TEMPORARY_REDIRECT, Some(location)) => {
            Ok(Outcome::Elsewhere(Refused::new(&response, Bytes::new()), location))
        }
        _ => {
            let body = beginning(response.body_mut()).await;
            Err(Failure::Status(Refused::new(&response, body)))
        }
    }
}

/// A body as far as it is read: one that breaks off or takes too long ends there.
async fn beginning(body: &mut Incoming) -> Bytes {
    let mut read = BytesMut::new();
    let end = Instant::now() + ANSWERS;
    while read.len() < READ
        && let Ok(Some(Ok(frame))) = timeout_at(end, body.frame()).await
    {
        if let Ok(data) = frame.into_data() {
            read.extend_from_slice(&data);
        }
    }
    read.freeze()
}

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

/// Trusts the bundled roots: whoever lets a simulator call out has a public receiver.
fn tls() -> Result<Arc<rustls::ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
