//! The head of a request to the upstream.

use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header, uri};

use crate::config::Origin;
use crate::credential::Bearer;
use vbc_http::RawTarget;

/// The head of a request to the upstream, kept for retries.
pub(in crate::proxy) struct Head {
    pub(in crate::proxy) method: Method,
    pub(in crate::proxy) uri: Uri,
    /// Path and query as the client sent them, if a URI cannot carry them.
    pub(in crate::proxy) raw_target: Option<Box<RawTarget>>,
    /// The client's fields after stripping. A `Host` or `Authorization` among them is not sent.
    pub(in crate::proxy) headers: HeaderMap,
    /// Sent as `Authorization`.
    pub(in crate::proxy) bearer: Bearer,
    /// The client's HTTP version, for the `Via` field.
    pub(in crate::proxy) version: Version,
    /// The client waits for a 100 before it sends the body.
    pub(in crate::proxy) client_waits: bool,
    /// The request asks for a websocket.
    pub(in crate::proxy) upgrade: bool,
}

impl Head {
    /// Whether only HTTP/1.1 can carry the request: a websocket, or a target that no URI can carry.
    pub(in crate::proxy) fn needs_http1(&self) -> bool {
        self.upgrade || self.raw_target.is_some()
    }

    /// Whether the method may be repeated (RFC 9110 §9.2.2). An unknown method must not: it could
    /// place a phone call.
    pub(super) fn is_idempotent(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS)
    }

    /// The head for HTTP/2: `:authority` instead of `Host`, and no framing fields.
    pub(super) fn to_http2(&self, origin: &Origin, via: &HeaderValue) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        let mut uri = uri::Parts::default();
        uri.scheme = Some(if origin.tls { uri::Scheme::HTTPS } else { uri::Scheme::HTTP });
        uri.authority = Some(origin.authority.clone());
        uri.path_and_query = self.uri.path_and_query().cloned();
        // This cannot fail, because all three parts are there.
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *request.version_mut() = Version::HTTP_2;
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        headers.remove(header::HOST);
        headers.remove(header::TRANSFER_ENCODING);
        headers.append(header::VIA, via.clone());
        headers.insert(header::AUTHORIZATION, self.bearer.value.clone());
        request
    }
}
