//! The requests of one connection: which go on, and what their clients get.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::body::{BoxError, ResponseBody};
use super::error::{self, Error};
use super::forward::Forward;
use super::hooks::{self, Hooks};
use super::links::{self, Base, Links};
use super::timer::LazyTimer;
use super::tunnel::Tunnel;
use super::{Proxy, gate, page, to_websocket};
use crate::cassette::AnswerTap;
use crate::headers::{self, AnswerSurvey, Survey};
use crate::metrics::Source;
use crate::server::{Abort, Handler, Incoming, Peer, Refusal};

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What answers the requests of one connection.
pub struct Connection {
    pub(super) proxy: Rc<Proxy>,
    peer: Peer,
    /// What the client's URLs for us begin with.
    pub(super) scheme: &'static str,
    timer: LazyTimer,
    /// The upstream's side of what this connection is about to become.
    tunnel: Cell<Option<Tunnel>>,
}

/// A request that may go on.
struct Admitted<'a> {
    /// The web origin whose page asks.
    page: Option<HeaderValue>,
    /// What links of the response begin with, where they are rewritten.
    base: Option<(&'a Links, Base)>,
    /// A browser shows the response as a page.
    navigates: bool,
    in_flight: InFlight,
}

impl Connection {
    pub(super) fn new(proxy: Rc<Proxy>, peer: Peer, scheme: &'static str) -> Self {
        Self { proxy, peer, scheme, timer: LazyTimer::default(), tunnel: Cell::default() }
    }

    /// Whether a request may go on; else its response.
    fn admit(
        &self,
        request: &Request<Incoming>,
        survey: Survey,
        id: &HeaderValue,
    ) -> Result<Admitted<'_>, Box<Response<Outgoing>>> {
        let proxy = &*self.proxy;
        let host = request.headers().get(header::HOST);
        let admitted = match proxy.drain.has_begun() {
            true => Err(Error::Draining),
            false => proxy.gate.admit(request, host, survey),
        };
        let page = match admitted {
            Ok(Some(origin)) if gate::is_preflight(request) => {
                let response = gate::preflight(&origin, request.headers());
                return Err(Box::new(self.own(response.map(ResponseBody::own), id)));
            }
            Ok(page) => page,
            Err(error) => return Err(Box::new(self.fail(&error, id))),
        };
        let Some(in_flight) = InFlight::begin(&self.proxy) else {
            return Err(Box::new(allowing(page, self.fail(&Error::Overloaded, id))));
        };
        if survey.max_forwards
            && request.method() == Method::OPTIONS
            && headers::max_forwards(request.headers()) == Some(0)
        {
            return Err(Box::new(allowing(page, self.own(error::options(), id))));
        }
        let navigates = survey.browser && page::is_navigation(request.headers());
        let links = proxy.links.as_ref();
        let base = links.and_then(|links| Some((links, links.base(request.uri(), host, self.scheme)?)));
        Ok(Admitted { page, base, navigates, in_flight })
    }

    /// The upstream's response on its way to the client.
    fn pass(
        &self,
        mut response: Response<ResponseBody>,
        found: AnswerSurvey,
        id: &HeaderValue,
        in_flight: Option<InFlight>,
    ) -> Response<Outgoing> {
        *response.version_mut() = Version::HTTP_11;
        let headers = response.headers_mut();
        if found.strip {
            headers::strip_response(headers);
        }
        headers::keep_one_length(headers);
        if !found.request_id || found.strip && !headers.contains_key(X_REQUEST_ID) {
            headers.insert(X_REQUEST_ID, id.clone());
        }
        if response.status() == StatusCode::NOT_MODIFIED {
            let length = response.headers().get(header::CONTENT_LENGTH).and_then(headers::length);
            if let Some(length) = length {
                // Without a body it keeps the length that one would have.
                *response.body_mut() = ResponseBody::Absent(length);
            }
        }
        self.finish(response, Source::Upstream, in_flight)
    }

    fn fail(&self, error: &Error, id: &HeaderValue) -> Response<Outgoing> {
        log_failure(error, id);
        self.own(error.response(id.to_str().unwrap_or_default()), id)
    }

    /// The upstream's 101: once it has been sent, [`tunnel`](Handler::tunnel) goes on.
    fn switch(&self, mut response: Response<ResponseBody>, id: &HeaderValue) -> Response<Outgoing> {
        self.tunnel.set(response.body_mut().take_tunnel());
        let found = AnswerSurvey::of(response.headers());
        let mut response = self.pass(response, found, id, None);
        to_websocket(response.headers_mut());
        response
    }

    pub(super) fn own(&self, mut response: Response<ResponseBody>, id: &HeaderValue) -> Response<Outgoing> {
        response.headers_mut().insert(X_REQUEST_ID, id.clone());
        self.finish(response, Source::Proxy, None)
    }

    pub(super) fn finish(
        &self,
        response: Response<ResponseBody>,
        source: Source,
        in_flight: Option<InFlight>,
    ) -> Response<Outgoing> {
        self.proxy.count(response.status(), source);
        response.map(|body| Outgoing {
            body,
            proxy: Rc::clone(&self.proxy),
            _in_flight: in_flight,
            tap: None,
        })
    }
}

/// Lets the page that asked read the response, where one did that may.
fn allowing(page: Option<HeaderValue>, mut response: Response<Outgoing>) -> Response<Outgoing> {
    if let Some(origin) = page {
        gate::allow_page(&origin, response.headers_mut());
    }
    response
}

impl Handler for Connection {
    type Body = Outgoing;

    // A response is passed on without a date of ours.
    const DATE: bool = false;

    fn handle(&self, request: Request<Incoming>) -> impl Future<Output = Result<Response<Outgoing>, Abort>> {
        self.respond(request, self.proxy.hooks.as_deref())
    }

    async fn tunnel(&self, client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<(), Abort> {
        let tunnel = self.tunnel.take().ok_or(Abort)?;
        tunnel.run(client, self.proxy.tunnels, &self.proxy.metrics.tunnels).await
    }

    fn rest(&self) {
        self.timer.clear();
    }

    fn refuse(&self, refusal: Refusal) -> Response<Outgoing> {
        let id = self.proxy.request_id(&HeaderMap::new(), Survey::default());
        self.fail(&Error::Refused(refusal), &id)
    }
}

impl Connection {
    /// Answers a request, and writes its line; with all that it meets where there is something `hooks`.
    pub(super) fn respond<'a>(
        &'a self,
        request: Request<Incoming>,
        hooks: Option<&'a Hooks>,
    ) -> impl Future<Output = Result<Response<Outgoing>, Abort>> + use<'a> {
        let line = (self.proxy.access_log && hooks.is_none()).then(|| AccessLine::begin(&request));
        self.respond_in(request, line, hooks)
    }

    /// The same in a line that has begun.
    ///
    /// One function for all of a request, since each that waits is moved as a whole into the one that waits for it.
    pub(super) async fn respond_in(
        &self,
        mut request: Request<Incoming>,
        line: Option<AccessLine>,
        hooks: Option<&Hooks>,
    ) -> Result<Response<Outgoing>, Abort> {
        if let Some(hooks) = hooks {
            return Box::pin(self.handle_with_hooks(request, hooks)).await;
        }
        let mut survey = Survey::of(request.headers());
        let id = self.proxy.request_id(request.headers(), survey);
        let response = match self.admit(&request, survey, &id) {
            Err(response) => *response,
            Ok(Admitted { page, base, navigates, in_flight }) => {
                let asked = links::Asked::take(&mut request, survey, base.is_some());
                // What nobody decodes need not be narrowed.
                survey.accept_encoding &= base.is_some() || self.proxy.records;
                // The connection's timer wakes one waiter; requests of HTTP/2 wait beside each other.
                let own = (request.version() == Version::HTTP_2).then(LazyTimer::default);
                let timer = own.as_ref().unwrap_or(&self.timer);
                let response = match Forward::new(&self.proxy, timer, request, survey).await {
                    Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                        drop(in_flight);
                        self.switch(response, &id)
                    }
                    Ok(mut response) => {
                        let found = AnswerSurvey::of(response.headers());
                        if let Some((links, base)) = base
                            && let Some(coding) = links.rewrite_head(&base, found, &asked, &mut response)
                        {
                            let done = coding.is_none() && links.rewrite_at_hand(&base, &mut response);
                            if !done {
                                response = Box::pin(links.rewrite_body(&base, coding, response)).await;
                            }
                        }
                        let mut response = self.pass(response, found, &id, Some(in_flight));
                        if navigates {
                            page::confine(response.status(), response.headers_mut());
                        }
                        response
                    }
                    Err(error) => self.fail(&error, &id),
                };
                allowing(page, response)
            }
        };
        if let Some(line) = line {
            line.write(self, response.status(), &id, None);
        }
        Ok(response)
    }
}

/// What the access log says of a request.
pub(super) struct AccessLine {
    method: http::Method,
    path: String,
    started: Instant,
}

impl AccessLine {
    pub(super) fn begin<B>(request: &Request<B>) -> Self {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        Self { method, path, started: Instant::now() }
    }

    /// `source` is what has answered, where that is neither the upstream nor what is always there.
    pub(super) fn write(
        self,
        connection: &Connection,
        status: StatusCode,
        id: &HeaderValue,
        source: Option<&str>,
    ) {
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

/// The body of whatever the data plane answers.
pub struct Outgoing {
    body: ResponseBody,
    proxy: Rc<Proxy>,
    _in_flight: Option<InFlight>,
    pub(super) tap: Option<Box<AnswerTap>>,
}

/// A request that is being forwarded, until its response has been sent.
pub(super) struct InFlight(Rc<Proxy>);

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
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(Some(Err(error))) = &frame {
            // The head is out, so there is nothing left to response: the connection is cut.
            this.proxy.metrics.aborted.inc();
            tracing::warn!(%error, "an answer was cut short");
        }
        if let Some(tap) = &mut this.tap {
            hooks::note(tap, &frame, this.body.is_end_stream());
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
