//! Decides which requests this proxy accepts: by method, authority, and the origin that a browser
//! names.
//!
//! [`host_guard`](vbc_http::host_guard) judges hosts and pages. This gate also accepts the
//! upstream's name as a host, and pages of the origins in `listen.origins`.

use std::cell::RefCell;
use std::collections::BTreeSet;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use thiserror::Error;
use vbc_http::host_guard::{HostGuard, is_from_foreign_page, normal_host};

use super::links::Target;
use crate::config::{Config, ListenAddress};
use vbc_http::headers::Survey;
use vbc_http::problem::NAME;

/// Why the proxy does not accept a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum GateRejection {
    /// The method is `CONNECT` or `TRACE`.
    #[error("the method is not forwarded")]
    Method,
    /// The request is for another host.
    #[error("the request is for another host")]
    ForeignAuthority,
    /// The target names another site: the client uses this proxy as its `http_proxy`.
    #[error("the request is for a URL on another site")]
    ForeignTarget,
    /// The authority of the target has a user name.
    #[error("the target contains a user name")]
    UserInfo,
    /// The request comes from a web page of another origin.
    #[error("a cross-site request")]
    CrossSite,
    /// The request has passed through this proxy before.
    #[error("a loop: the request has passed through this proxy before")]
    Loop,
}

/// The rules, and the last `Host` that passed them.
pub(super) struct Gate {
    guard: HostGuard,
    /// The upstream's name, which is also accepted as the `Host`. Tools send it if this proxy is
    /// their `http_proxy`, or if the name resolves to this proxy.
    upstream: String,
    target: Target,
    origins: BTreeSet<String>,
    /// The last accepted `Host`. Most requests of a thread have the same one, and need no further
    /// check.
    last_host: RefCell<Option<HeaderValue>>,
}

impl Gate {
    pub(super) fn new(config: &Config, listen: &[ListenAddress]) -> Self {
        let addresses = listen.iter().filter_map(|address| match address {
            ListenAddress::Tcp(address) => Some(address.ip()),
            ListenAddress::Unix(_) => None,
        });
        let public = config.listen.public_url.as_ref().and_then(|url| url.host_str());
        let names = config.listen.hosts.iter().cloned().chain(public.map(str::to_owned));
        Self {
            guard: HostGuard::new(names, addresses),
            upstream: normal_host(config.upstream.url.authority.host()),
            target: Target::new(&config.upstream.url),
            origins: config.listen.origins.clone(),
            last_host: RefCell::new(None),
        }
    }

    /// Checks whether the request is accepted. Returns the origin of the page that sent it, if
    /// `listen.origins` allows that origin.
    ///
    /// # Errors
    /// The reason why the request is not forwarded.
    pub(super) fn admit<B>(
        &self,
        request: &Request<B>,
        host: Option<&HeaderValue>,
        survey: Survey,
    ) -> Result<Option<HeaderValue>, GateRejection> {
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            return Err(GateRejection::Method);
        }
        let headers = request.headers();
        match request.uri().authority() {
            // RFC 9112 §3.2.2: the authority of an absolute-form target overrides the Host.
            Some(authority) => self.check_authority(request, authority)?,
            None => self.check_host(host)?,
        }
        if survey.via && headers.get_all(header::VIA).iter().any(names_us) {
            return Err(GateRejection::Loop);
        }
        if survey.browser { self.check_browser(headers) } else { Ok(None) }
    }

    /// Checks the authority of an absolute-form target. The proxy's own names match with any port,
    /// because a mapped port differs from the listener's port. The upstream's name matches only
    /// with its port, because another port is another server.
    fn check_authority<B>(&self, request: &Request<B>, authority: &Authority) -> Result<(), GateRejection> {
        let ours = self.guard.owns(authority.host())
            || self.target.is_named_by(request.uri().scheme(), without_user(authority));
        if !ours {
            // The client uses this proxy as its http_proxy: only then does a target still have an
            // authority here. The server has already turned the `:authority` of an HTTP/2 request
            // into `Host`.
            return Err(GateRejection::ForeignTarget);
        }
        // RFC 9110 §4.2.4: a user name may disguise the host.
        if authority.as_str().contains('@') { Err(GateRejection::UserInfo) } else { Ok(()) }
    }

    fn check_host(&self, host: Option<&HeaderValue>) -> Result<(), GateRejection> {
        // HTTP/1.0 requests may omit `Host`. They cannot come from a web page, because browsers
        // always send `Host`.
        let Some(host) = host else { return Ok(()) };
        if self.last_host.borrow().as_ref() == Some(host) {
            return Ok(());
        }
        let authority = Authority::try_from(host.as_bytes()).map_err(|_| GateRejection::ForeignAuthority)?;
        if !self.guard.owns(authority.host()) && normal_host(authority.host()) != self.upstream {
            return Err(GateRejection::ForeignAuthority);
        }
        *self.last_host.borrow_mut() = Some(host.clone());
        Ok(())
    }

    /// The origin of the page that sent the request, if the configuration allows it by name.
    fn check_browser(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, GateRejection> {
        if let Some(origin) = headers.get(header::ORIGIN)
            && origin.to_str().is_ok_and(|text| self.origins.contains(&text.to_ascii_lowercase()))
        {
            return Ok(Some(origin.clone()));
        }
        if is_from_foreign_page(headers) { Err(GateRejection::CrossSite) } else { Ok(None) }
    }
}

/// The authority without a user name.
fn without_user(authority: &Authority) -> &str {
    authority.as_str().rsplit('@').next().unwrap_or_default()
}

/// Whether a request is a browser's preflight (Fetch §3.2.2).
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The response to a preflight request from an allowed origin.
pub(super) fn preflight(origin: &HeaderValue, request: &HeaderMap) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    allow_page(Some(origin), headers);
    for (question, permission) in [
        (header::ACCESS_CONTROL_REQUEST_METHOD, header::ACCESS_CONTROL_ALLOW_METHODS),
        (header::ACCESS_CONTROL_REQUEST_HEADERS, header::ACCESS_CONTROL_ALLOW_HEADERS),
    ] {
        if let Some(value) = request.get(question) {
            headers.insert(permission, value.clone());
        }
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// Lets a page of this origin read the response. Without an origin, changes nothing.
pub(super) fn allow_page(origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    let Some(origin) = origin else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}

/// Whether a `Via` line names this proxy (RFC 9110 §7.6.3).
fn names_us(via: &HeaderValue) -> bool {
    via.as_bytes().split(|byte| *byte == b',').any(|entry| {
        let mut words = entry.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|name| name.eq_ignore_ascii_case(NAME.as_bytes()))
    })
}
