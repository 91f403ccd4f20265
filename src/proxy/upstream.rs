//! The upstream: one pool a thread, and the only client of the API.
//!
//! A connection lives on one thread, in one local task; its sender is in a request, or in the pool of that thread.
//! There is no lock, and no connection is shared while it is in use. A connection goes back to the pool only after a
//! whole request has been sent on it and a whole answer has been read.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::Ipv4Addr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::gauge::Gauge;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::body::{AttemptBody, RequestBody};
use super::hold::Hold;
use super::timer::LazyTimer;
use super::wire::{Watch, Wire};
use crate::config;
use crate::headers;

/// Idle connections kept per thread.
const POOL_SIZE: usize = 512;

/// How long a connection stays in the pool: less than common servers keep theirs.
const POOL_TIME: Duration = Duration::from_secs(30);

/// A connection that has been idle longer is looked at before a request that must not be sent twice.
const FRESH: Duration = Duration::from_millis(50);

/// How long an upstream that does not answer expectations is not asked again.
const NOT_ASKED: Duration = Duration::from_secs(300);

/// Why the upstream gave no answer. `Display` is what the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum UpstreamError {
    #[error("the upstream's host name cannot be resolved; check upstream.url and DNS")]
    Dns,
    #[error("the upstream cannot be reached; check upstream.url, and whether it is up")]
    Refused,
    #[error("the upstream closed the connection before it answered; the request may have been processed")]
    Terminated,
    #[error("TLS with the upstream failed")]
    TlsProtocol,
    #[error("the upstream's certificate is not trusted; upstream.ca_file names other roots")]
    TlsCertificate,
    #[error("the upstream did not accept a connection within upstream.connect_timeout")]
    ConnectTimeout,
    #[error(
        "the upstream did not answer within upstream.response_timeout; the request may have been processed"
    )]
    ResponseTimeout,
    #[error("the upstream stopped in the middle of its answer for longer than upstream.idle_timeout")]
    ReadTimeout,
    #[error("the upstream did not take the request for longer than upstream.idle_timeout")]
    WriteTimeout,
    #[error("the upstream's answer is not valid HTTP")]
    Protocol,
    #[error("the head of the upstream's answer is too large")]
    HeadTooLarge,
}

/// What one thread needs to reach the upstream.
pub(super) struct Upstream {
    origin: config::Origin,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    connect_timeout: Duration,
    response_timeout: Duration,
    idle_timeout: Duration,
    /// How long a body waits to be asked for; zero: it does not.
    expect_timeout: Duration,
    /// Until when the upstream is not asked, since it did not answer.
    not_asked: Cell<Option<Instant>>,
    pool: Rc<Pool>,
    open: Gauge,
}

/// The idle connections of one thread, the most recently used last.
#[derive(Default)]
struct Pool(RefCell<Vec<Connection>>);

/// A connection, in use or idle.
struct Connection {
    sender: SendRequest<AttemptBody>,
    watch: Watch,
    driver: Driver,
    idle_since: Instant,
    reused: bool,
}

/// The task that drives a connection. Between exchanges it ends by itself, politely; one that is dropped in the
/// middle of an exchange is ended at once, or it would go on sending what nobody waits for.
struct Driver {
    task: AbortHandle,
    in_exchange: bool,
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.in_exchange {
            self.task.abort();
        }
    }
}

/// Counts a connection while it is open.
struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The head of a request as it goes out, kept for a second attempt.
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    /// The client has not begun to send the body: it waits for a 100.
    pub(super) client_waits: bool,
}

impl Upstream {
    pub(super) fn new(
        config: &config::Upstream,
        expect_timeout: Duration,
        tls: &Arc<rustls::ClientConfig>,
        open: Gauge,
    ) -> Self {
        let tls = config.url.tls.then(|| {
            let host = config.url.authority.host().trim_matches(['[', ']']).to_owned();
            // The configuration has checked the authority; a name that is none fails the handshake.
            let name =
                ServerName::try_from(host).unwrap_or(ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into()));
            (TlsConnector::from(Arc::clone(tls)), name)
        });
        Self {
            origin: config.url.clone(),
            tls,
            connect_timeout: config.connect_timeout,
            response_timeout: config.response_timeout,
            idle_timeout: config.idle_timeout,
            expect_timeout,
            not_asked: Cell::default(),
            pool: Rc::default(),
            open,
        }
    }

    /// Sends a request and gives the head of the answer.
    ///
    /// It is sent once. The exception is the race every pool has: on a reused connection that turns out to have
    /// been closed before a byte of the answer came, the request is sent on another when it was never written, or
    /// when its method is idempotent (RFC 9110 §9.2.2) and its body can be sent again.
    pub(super) async fn send(
        &self,
        head: &Head,
        body: &RequestBody,
        timer: &LazyTimer,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let idempotent = is_idempotent(&head.method);
        let Some(mut attempt) = body.attempt() else { return Err(UpstreamError::Terminated) };
        let mut resend = true;
        loop {
            // The second time nothing is left to chance.
            let pooled = if resend { self.checkout(idempotent, timer).await } else { None };
            let mut connection = match pooled {
                Some(connection) => connection,
                None => self.connect(timer).await?,
            };
            let read_before = connection.watch.read();
            let hold = self.asks(head, body).then(Hold::default);
            body.hold(hold.clone());
            connection.watch.expect_answer(hold.clone());
            connection.driver.in_exchange = true;
            let sent = connection.sender.try_send_request(head.request(attempt, hold.is_some()));
            let outcome = self.await_head(sent, body, hold.as_ref(), timer).await?;
            let mut error = match outcome {
                Ok(response) => match self.without_expectation(&response, hold.as_ref(), body) {
                    Some(again) => {
                        attempt = again;
                        continue;
                    }
                    None => return Ok(self.answer(response, connection, body, timer)),
                },
                Err(error) => error,
            };
            if let Some(failure) = connection.watch.failure() {
                return Err(failure);
            }
            let unanswered = connection.reused && connection.watch.read() == read_before;
            let unsent = error.take_message().map(Request::into_body);
            attempt = match unsent {
                Some(unsent) if connection.reused => unsent,
                None if unanswered && idempotent && resend => match body.attempt() {
                    Some(again) => {
                        resend = false;
                        again
                    }
                    None => return Err(classify(error.error())),
                },
                _ => return Err(classify(error.error())),
            };
        }
    }

    /// Whether a request goes out with an expectation. It is for HTTP/1.1: hyper's HTTP/2 client shows no 1xx.
    fn asks(&self, head: &Head, body: &RequestBody) -> bool {
        !self.expect_timeout.is_zero()
            && body.is_worth_asking(head.client_waits)
            && self.not_asked.get().is_none_or(|until| Instant::now() >= until)
    }

    /// What a final answer does to a body that waits: one that wants no body leaves it with the client. Gives the
    /// body for one more sending where the upstream refuses only the expectation.
    fn without_expectation<B>(
        &self,
        answer: &Response<B>,
        hold: Option<&Hold>,
        body: &RequestBody,
    ) -> Option<AttemptBody> {
        let hold = hold?;
        let status = answer.status();
        if status == StatusCode::EXPECTATION_FAILED {
            self.not_asked.set(Some(Instant::now() + NOT_ASKED));
            return body.attempt();
        }
        if !status.is_client_error() && !status.is_server_error() {
            hold.release();
        }
        None
    }

    /// Waits for the head: for a moment while the body waits to be asked for, as long as the upload moves, then for
    /// the response timeout.
    async fn await_head<T>(
        &self,
        sent: impl Future<Output = T>,
        body: &RequestBody,
        hold: Option<&Hold>,
        timer: &LazyTimer,
    ) -> Result<T, UpstreamError> {
        let mut sent = pin!(sent);
        let mut start = Instant::now();
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = sent.as_mut().poll(cx) {
                return Poll::Ready(Ok(outcome));
            }
            if let Some(hold) = hold.filter(|hold| hold.is_held()) {
                ready!(timer.poll_deadline(cx, start + self.expect_timeout));
                start = Instant::now();
                self.not_asked.set(Some(start + NOT_ASKED));
                hold.release();
            }
            if body.starved() {
                return Poll::Pending;
            }
            let moved = body.progress().map_or(start, |at| at.max(start));
            let (after, error) = match body.sent() {
                true => (self.response_timeout, UpstreamError::ResponseTimeout),
                false => (self.idle_timeout, UpstreamError::WriteTimeout),
            };
            timer.poll_deadline(cx, moved + after).map(|()| Err(error))
        })
        .await
    }

    fn answer(
        &self,
        response: Response<Incoming>,
        connection: Connection,
        body: &RequestBody,
        timer: &LazyTimer,
    ) -> Response<UpstreamBody> {
        // hyper would send the next request as HTTP/1.0 too, without its body where that is chunked.
        let reusable = response.version() == Version::HTTP_11;
        response.map(|incoming| {
            let mut answer = UpstreamBody {
                incoming,
                connection: Some(connection),
                reusable,
                request: body.clone(),
                pool: Rc::clone(&self.pool),
                idle_timeout: self.idle_timeout,
                waiting_since: None,
                timer: timer.clone(),
            };
            if answer.incoming.is_end_stream() {
                answer.finish();
            }
            answer
        })
    }

    /// Takes the most recently used live connection out of the pool.
    async fn checkout(&self, idempotent: bool, timer: &LazyTimer) -> Option<Connection> {
        let mut looked = false;
        loop {
            let mut connection = self.pool.0.borrow_mut().pop()?;
            let idle = connection.idle_since.elapsed();
            if idle > POOL_TIME {
                // All others are older.
                self.pool.0.borrow_mut().clear();
                return None;
            }
            if !idempotent && idle > FRESH && !looked {
                // Lets the runtime see what has arrived on the pooled connections, a close above all, before a
                // request goes out that cannot be taken back.
                looked = true;
                tokio::task::yield_now().await;
            }
            if connection.sender.is_closed() {
                continue;
            }
            if connection.sender.is_ready() {
                return Some(connection);
            }
            // Its task has to run once more after the last answer.
            let ready = timer.within(self.connect_timeout, connection.sender.ready());
            if let Some(Ok(())) = ready.await {
                return Some(connection);
            }
        }
    }

    async fn connect(&self, timer: &LazyTimer) -> Result<Connection, UpstreamError> {
        timer.within(self.connect_timeout, self.dial()).await.unwrap_or(Err(UpstreamError::ConnectTimeout))
    }

    async fn dial(&self) -> Result<Connection, UpstreamError> {
        let host = self.origin.authority.host().trim_matches(['[', ']']);
        let port = self.origin.authority.port_u16().unwrap_or(if self.origin.tls { 443 } else { 80 });
        let addresses = tokio::net::lookup_host((host, port)).await.map_err(|_| UpstreamError::Dns)?;
        let addresses: Vec<_> = addresses.collect();
        // One address that swallows everything must not take the others' time.
        let share = self.connect_timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let mut failure = UpstreamError::Dns;
        for address in addresses {
            let connected = tokio::time::timeout(share, TcpStream::connect(address)).await;
            match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return match &self.tls {
                        None => self.handshake(stream).await,
                        Some((connector, name)) => {
                            let stream = connector
                                .connect(name.clone(), stream)
                                .await
                                .map_err(|error| tls_error(&error))?;
                            self.handshake(stream).await
                        }
                    };
                }
                Err(error) => {
                    tracing::debug!(%address, %error, "connecting to the upstream failed");
                    failure = match error.kind() {
                        io::ErrorKind::TimedOut => UpstreamError::ConnectTimeout,
                        _ => UpstreamError::Refused,
                    };
                }
            }
        }
        Err(failure)
    }

    async fn handshake<S>(&self, stream: S) -> Result<Connection, UpstreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let watch = Watch::default();
        let wire = Wire::new(stream, watch.clone());
        let (sender, driver) = http1::Builder::new()
            .writev(false)
            .handshake(TokioIo::new(wire))
            .await
            .map_err(|error| classify(&error))?;
        self.open.inc();
        let open = Open(self.open.clone());
        let task = tokio::task::spawn_local(async move {
            let _open = open;
            // Its errors reach whoever waits for an answer.
            let _ = driver.await;
        });
        let driver = Driver { task: task.abort_handle(), in_exchange: false };
        Ok(Connection { sender, watch, driver, idle_since: Instant::now(), reused: false })
    }
}

impl Head {
    fn request(&self, body: AttemptBody, asks: bool) -> Request<AttemptBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = self.headers.clone();
        if asks {
            request.headers_mut().insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        }
        request
    }
}

impl Pool {
    fn put(&self, mut connection: Connection) {
        connection.idle_since = Instant::now();
        connection.reused = true;
        let mut idle = self.0.borrow_mut();
        // After a burst the oldest are never taken out: they go here.
        let now = connection.idle_since;
        if idle.first().is_some_and(|oldest| now - oldest.idle_since > POOL_TIME) {
            idle.retain(|old| now - old.idle_since <= POOL_TIME);
        }
        if idle.len() < POOL_SIZE {
            idle.push(connection);
        }
    }
}

/// An answer's body. It gives its connection back when it has been read to its end.
pub(super) struct UpstreamBody {
    incoming: Incoming,
    connection: Option<Connection>,
    reusable: bool,
    request: RequestBody,
    pool: Rc<Pool>,
    idle_timeout: Duration,
    waiting_since: Option<Instant>,
    timer: LazyTimer,
}

impl UpstreamBody {
    fn finish(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        // With a request that is still being sent the connection is not between two exchanges: it ends here, and
        // with it the upload.
        connection.driver.in_exchange = !self.request.sent();
        if self.request.sent() && self.reusable && !connection.sender.is_closed() {
            self.pool.put(connection);
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) else {
            let since = *this.waiting_since.get_or_insert_with(Instant::now);
            ready!(this.timer.poll_deadline(cx, since + this.idle_timeout));
            this.connection = None;
            return Poll::Ready(Some(Err(UpstreamError::ReadTimeout)));
        };
        this.waiting_since = None;
        match frame {
            None => {
                this.finish();
                Poll::Ready(None)
            }
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    headers::strip_trailers(trailers);
                }
                if this.incoming.is_end_stream() {
                    this.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.connection = None;
                Poll::Ready(Some(Err(classify(&error))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// RFC 9110 §9.2.2, and nothing that is not registered there: an unknown method may place a call.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS)
}

fn classify(error: &hyper::Error) -> UpstreamError {
    if error.is_parse_too_large() {
        UpstreamError::HeadTooLarge
    } else if error.is_parse() {
        UpstreamError::Protocol
    } else {
        UpstreamError::Terminated
    }
}

fn tls_error(error: &io::Error) -> UpstreamError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    tracing::warn!(%error, "TLS with the upstream failed");
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => UpstreamError::TlsCertificate,
        Some(_) => UpstreamError::TlsProtocol,
        None => UpstreamError::Terminated,
    }
}
