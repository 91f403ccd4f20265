//! A client's connection, and the parts that all its responses share.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::time::Instant;

use super::error::Error;
use super::response_body::ResponseBody;
use super::upstream::Switched;
use super::{BoxError, Proxy};
use crate::metrics::Source;
use vbc_base::secret;
use vbc_cassette::ResponseTap;
use vbc_http::LazyTimer;
use vbc_http::Peer;
use vbc_http::codec::block;
use vbc_http::headers::Survey;

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The handler of one connection.
pub struct Connection {
    pub(super) proxy: Rc<Proxy>,
    pub(super) peer: Peer,
    /// The scheme of the client's URLs.
    pub(super) scheme: &'static str,
    pub(super) timer: Rc<LazyTimer>,
    /// The connection to the upstream, once a request has become a websocket.
    pub(super) switched: Cell<Option<Box<Switched>>>,
}

/// The facts about a request that every response needs.
pub(super) struct Call {
    pub(super) id: HeaderValue,
    pub(super) survey: Survey,
    /// The origin of the page that sent the request, if that page may read the response.
    pub(super) origin: Option<HeaderValue>,
}

impl Call {
    pub(super) fn new<B>(proxy: &Proxy, request: &Request<B>) -> Self {
        let survey = Survey::of(request.headers());
        Self { id: request_id(proxy, request.headers(), survey), survey, origin: None }
    }
}

/// The client's own id if it is 1 to 128 visible ASCII characters, else the next id of this thread.
pub(super) fn request_id(proxy: &Proxy, headers: &HeaderMap, survey: Survey) -> HeaderValue {
    if survey.request_id
        && let Some(id) = headers.get(X_REQUEST_ID)
        && (1..=128).contains(&id.len())
        && id.as_bytes().iter().all(u8::is_ascii_graphic)
    {
        return id.clone();
    }
    let id = proxy.next_id.get();
    proxy.next_id.set(id.wrapping_add(1));
    let digits = block::keep(&secret::hex_digits(id));
    // The fallback is never used: hexadecimal digits are a legal field value.
    HeaderValue::from_maybe_shared(digits).unwrap_or(HeaderValue::from_static("0"))
}

impl Connection {
    pub(super) fn new(proxy: Rc<Proxy>, peer: Peer, scheme: &'static str) -> Self {
        Self { proxy, peer, scheme, timer: Rc::default(), switched: Cell::default() }
    }

    /// The proxy's own response to a request that is not forwarded or that failed at the upstream.
    pub(super) fn fail(&self, error: &Error, id: &HeaderValue) -> Response<Outgoing> {
        let text = id.to_str().unwrap_or_default();
        // Only upstream failures deserve a warning. Other errors are the client's mistakes, or a
        // missing token, whose reason the refresher logs.
        match error {
            Error::Upstream(_) => tracing::warn!(id = text, %error, "request failed, answered by the proxy"),
            _ => tracing::debug!(id = text, %error, "request failed, answered by the proxy"),
        }
        self.own(error.response(text), id)
    }

    /// A response that the proxy itself makes.
    pub(super) fn own(&self, response: Response<Full<Bytes>>, id: &HeaderValue) -> Response<Outgoing> {
        let mut response = response.map(ResponseBody::Own);
        response.headers_mut().insert(X_REQUEST_ID, id.clone());
        self.count(response, Source::Proxy, None)
    }

    /// Counts a response by its status and source.
    pub(super) fn count(
        &self,
        response: Response<ResponseBody>,
        source: Source,
        in_flight: Option<InFlight>,
    ) -> Response<Outgoing> {
        let status = response.status();
        let index = usize::from(status.as_u16()).saturating_sub(100).min(899);
        let mut counters = self.proxy.counters.borrow_mut();
        let slots = &mut counters[source as usize];
        if slots.len() <= index {
            slots.resize(index + 1, None);
        }
        slots[index].get_or_insert_with(|| self.proxy.metrics.requests(status.as_u16(), source)).inc();
        response.map(|body| Outgoing {
            body,
            proxy: Rc::clone(&self.proxy),
            _in_flight: in_flight,
            tap: None,
        })
    }
}

/// One line of the access log.
pub(super) struct AccessLine {
    method: Method,
    path: String,
    started: Instant,
}

impl AccessLine {
    /// Begins the line of a request, if there is an access log.
    pub(super) fn begin<B>(proxy: &Proxy, request: &Request<B>) -> Option<Self> {
        proxy.access_log.then(|| {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            Self { method, path, started: Instant::now() }
        })
    }

    /// Writes the line. `source` is `cassette` or `fault` if a cassette or a fault made the
    /// response.
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

/// The body of a response on its way to the client.
pub struct Outgoing {
    body: ResponseBody,
    proxy: Rc<Proxy>,
    _in_flight: Option<InFlight>,
    /// Records the body in a cassette. `None` if nothing is recorded.
    pub(super) tap: Option<Box<ResponseTap>>,
}

/// Counts a request from its admission until its response is sent.
pub(super) struct InFlight(Rc<Proxy>);

impl InFlight {
    /// Counts one more request. `None` if the thread has reached its limit of requests.
    pub(super) fn begin(proxy: &Rc<Proxy>) -> Option<Self> {
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
            // The head has been sent, so an error response is impossible: the connection is cut.
            this.proxy.metrics.aborted.inc();
            tracing::warn!(%error, "a response broke off after its head was sent; it stays incomplete");
        }
        if let (Some(tap), Poll::Ready(frame)) = (&mut this.tap, &frame) {
            record(tap, frame.as_ref(), this.body.is_end_stream());
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

/// Records a piece of a response, or its end.
fn record(tap: &mut ResponseTap, frame: Option<&Result<Frame<Bytes>, BoxError>>, is_end: bool) {
    let Some(frame) = frame else { return tap.end() };
    let Ok(frame) = frame else { return };
    if let Some(data) = frame.data_ref() {
        tap.data(data);
    }
    if let Some(trailers) = frame.trailers_ref() {
        tap.trailers(trailers);
    }
    if is_end {
        tap.end();
    }
}
