//! The HTTP client for authorization servers. Nothing else uses reqwest.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;
use zeroize::Zeroizing;

use super::error::EndpointError;
use super::response_body::MAX_BODY;

/// The limit for connecting, even if the whole exchange may take longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Carries requests to the authorization server: [`HttpClient`], or a simulator in tests.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request once. Receives the response, but at most one byte more than 1 MiB of its
    /// body.
    fn exchange(
        &self,
        request: Request<String>,
    ) -> impl Future<Output = Result<Response<Vec<u8>>, TransportError>> + Send;
}

/// A request that got no response, or an incomplete one.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct TransportError {
    /// Whether the request may have reached the server. `None` if the request could not be built.
    pub sent: Option<bool>,
    /// The reason, for the log. It may quote the server's name, but nothing from the request.
    pub message: String,
}

/// The HTTP client of the token endpoints. Clones share one client, which serves all credentials.
#[derive(Clone, Debug)]
pub struct HttpClient {
    http: reqwest::Client,
    timeout: Duration,
}

impl HttpClient {
    /// Builds a client with the trust roots of `tls`. A whole exchange may take `timeout`.
    ///
    /// The client follows no redirect, keeps no cookie, sends no referrer and reads no proxy from
    /// the environment. It uses each connection once and sends no request twice. Otherwise an idle
    /// connection that closes would make it uncertain whether a grant was sent.
    ///
    /// # Errors
    /// [`EndpointError::Client`] if reqwest refuses the settings.
    pub fn new(mut tls: rustls::ClientConfig, timeout: Duration) -> Result<Self, EndpointError> {
        // reqwest is built without HTTP/2, and uses this list unchanged.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .pool_max_idle_per_host(0)
            .user_agent(concat!("vbc-proxy/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(connect_timeout(timeout))
            .timeout(timeout)
            .build()
            .map_err(|error| EndpointError::Client(error.without_url()))?;
        Ok(Self { http, timeout })
    }

    /// The error of a request without a complete response.
    ///
    /// The grant is certainly unspent only if no connection was made, or if the connection has not
    /// taken the body. A body that was taken may still be in a buffer. Since hyper does not report
    /// how much was written, such a request counts as sent.
    fn transport_error(&self, error: &reqwest::Error, was_taken: bool) -> TransportError {
        let timeout = self.timeout;
        let (sent, message) = match (error.is_connect(), error.is_timeout()) {
            (true, true) => (Some(false), format!("no connection within {:?}", connect_timeout(timeout))),
            (true, false) => (Some(false), format!("no connection: {}", cause(error))),
            _ if error.is_builder() => (None, format!("the request cannot be built: {}", cause(error))),
            _ if !was_taken => (Some(false), format!("not sent: {}", cause(error))),
            (false, true) => (Some(true), format!("sent, but no response within {timeout:?}")),
            (false, false) => (Some(true), format!("sent, but the response was lost: {}", cause(error))),
        };
        TransportError { sent, message }
    }
}

impl Transport for HttpClient {
    async fn exchange(&self, request: Request<String>) -> Result<Response<Vec<u8>>, TransportError> {
        let (head, body) = request.into_parts();
        let body = RequestBody::new(body);
        let taken = Arc::clone(&body.taken);
        let request = self.http.request(head.method, head.uri.to_string()).headers(head.headers);
        // A request without content gets no `Content-Length` either.
        let request = if body.is_end_stream() { request } else { request.body(reqwest::Body::wrap(body)) };
        exchange(request).await.map_err(|error| self.transport_error(&error, taken.load(Ordering::Acquire)))
    }
}

/// The limit for connecting. It is shorter than the timeout of the exchange, so a slow connection
/// fails here. Then it is certain that the grant was not sent.
fn connect_timeout(timeout: Duration) -> Duration {
    CONNECT_TIMEOUT.min(timeout / 2)
}

/// A buffer of this many bytes holds every usual response with tokens.
const USUAL_BODY: usize = 16 * 1024;

/// Sends a request and reads the response, up to one byte beyond the limit.
///
/// If the body of an error response is cut off, returns the received part, because the status is
/// still useful.
async fn exchange(request: reqwest::RequestBuilder) -> Result<Response<Vec<u8>>, reqwest::Error> {
    let mut sent = request.send().await?;
    let (status, headers) = (sent.status(), std::mem::take(sent.headers_mut()));
    // The vector has its full size from the start, because a vector that grows leaves copies of the
    // tokens behind.
    let announced = sent.content_length().and_then(|length| usize::try_from(length).ok());
    let mut body = Vec::with_capacity(announced.unwrap_or(USUAL_BODY).min(MAX_BODY + 1));
    while body.len() <= MAX_BODY {
        let chunk = match sent.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(_) if !status.is_success() => break,
            Err(error) => return Err(error),
        };
        let room = MAX_BODY + 1 - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    let mut received = Response::new(body);
    (*received.status_mut(), *received.headers_mut()) = (status, headers);
    Ok(received)
}

/// The innermost reason, such as "Connection refused". reqwest's own text only says that something
/// failed, and quotes the URL.
fn cause(error: &reqwest::Error) -> String {
    let mut reason: &dyn Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    let text = if error.source().is_none() { "unknown reason".to_owned() } else { reason.to_string() };
    if error.is_dns() { format!("name not resolved: {text}") } else { text }
}

/// A form in one piece, with a flag that shows whether the connection has taken it. A form that was
/// taken is possibly not written yet. The bytes are zeroed when the last reference is dropped.
struct RequestBody {
    bytes: Bytes,
    taken: Arc<AtomicBool>,
}

impl RequestBody {
    /// An empty body counts as taken: the head alone is the request.
    fn new(text: String) -> Self {
        let bytes = Bytes::from_owner(Zeroizing::new(text));
        let taken = Arc::new(AtomicBool::new(bytes.is_empty()));
        Self { bytes, taken }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.taken.store(true, Ordering::Release);
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_is_taken_when_its_first_piece_is() {
        let mut body = RequestBody::new("grant_type=password".to_owned());
        assert_eq!(body.size_hint().exact(), Some(19));
        assert!(!body.taken.load(Ordering::Relaxed) && !body.is_end_stream());
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame, "grant_type=password");
        assert!(body.taken.load(Ordering::Relaxed) && body.is_end_stream());
        assert!(body.frame().await.is_none());
    }
}
