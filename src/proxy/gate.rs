//! Which requests are for us at all: method, authority, and what a browser says about who asks.
//!
//! An open proxy on loopback is reachable by every web page its user opens. A page cannot hide where it comes from
//! (`Origin`, `Sec-Fetch-Site`), and cannot make a browser send a `Host` that is ours without being ours, so both
//! are checked on every request.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::Full;

use super::error::Error;
use super::links::Target;
use crate::config::{Config, ListenAddress};
use crate::headers::Survey;
use crate::problem::NAME;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The rules, and the last `Host` that passed them.
pub(super) struct Gate {
    /// Our own names.
    hosts: BTreeSet<String>,
    /// The upstream's: tools may know us by it, or use us as their http_proxy.
    upstream: String,
    target: Target,
    any_address: bool,
    origins: BTreeSet<String>,
    /// Most requests on a thread carry the same one.
    last_host: RefCell<Option<HeaderValue>>,
}

impl Gate {
    pub(super) fn new(config: &Config, listen: &[ListenAddress]) -> Self {
        let mut hosts = config.listen.hosts.clone();
        let addresses = listen.iter().filter_map(|address| match address {
            ListenAddress::Tcp(address) => Some(address.ip()),
            ListenAddress::Unix(_) => None,
        });
        hosts.extend(addresses.clone().map(|address| address.to_string()));
        if let Some(host) = config.listen.public_url.as_ref().and_then(|url| url.host_str()) {
            hosts.insert(host.trim_matches(['[', ']']).to_ascii_lowercase());
        }
        let upstream = config.upstream.url.authority.host();
        Self {
            hosts,
            upstream: upstream.trim_matches(['[', ']']).to_ascii_lowercase(),
            target: Target::new(&config.upstream.url),
            // Listening on every address of the machine, we are called by any of them. A rebinding attack needs a
            // name, so an address is never one.
            any_address: addresses.clone().any(|address| address.is_unspecified()),
            origins: config.listen.origins.clone(),
            last_host: RefCell::new(None),
        }
    }

    /// Decides whether the request may go on; gives the web origin to be named in the response, if a page asks whose
    /// origin is allowed.
    pub(super) fn admit<B>(
        &self,
        request: &Request<B>,
        host: Option<&HeaderValue>,
        survey: Survey,
    ) -> Result<Option<HeaderValue>, Error> {
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            return Err(Error::Method);
        }
        let headers = request.headers();
        match request.uri().authority() {
            // RFC 9112 §3.2.2: the authority of an absolute-form target counts, not the Host beside it.
            Some(authority) => self.check_authority(request, authority)?,
            None => self.check_host(host)?,
        }
        if survey.via && headers.get_all(header::VIA).iter().any(names_us) {
            return Err(Error::Loop);
        }
        if survey.browser { self.check_browser(headers) } else { Ok(None) }
    }

    /// Our own authority by its host alone: behind a mapped port its number is not the one we listen on. The
    /// upstream's with its port, since another is another server.
    fn check_authority<B>(&self, request: &Request<B>, authority: &Authority) -> Result<(), Error> {
        let ours = self.is_own(&normal(authority.host()))
            || self.target.is_named_by(request.uri().scheme(), without_user(authority));
        match ours {
            // RFC 9110 §4.2.4: it hides who is really asked.
            true if authority.as_str().contains('@') => Err(Error::UserInfo),
            true => Ok(()),
            // HTTP/2 always names an authority; in HTTP/1 it shows that we are taken for an http_proxy.
            false if request.version() <= Version::HTTP_11 => Err(Error::ForeignTarget),
            false => Err(Error::ForeignAuthority),
        }
    }

    fn check_host(&self, host: Option<&HeaderValue>) -> Result<(), Error> {
        // HTTP/1.0 may come without; browsers never do.
        let Some(host) = host else { return Ok(()) };
        if self.last_host.borrow().as_ref() == Some(host) {
            return Ok(());
        }
        let name = host.to_str().map_err(|_| Error::ForeignAuthority)?;
        let name = match name.rfind(':') {
            Some(colon) if !name[colon..].contains(']') => &name[..colon],
            _ => name,
        };
        let name = normal(name);
        if !self.is_own(&name) && name != self.upstream {
            return Err(Error::ForeignAuthority);
        }
        *self.last_host.borrow_mut() = Some(host.clone());
        Ok(())
    }

    fn is_own(&self, host: &str) -> bool {
        if host == "localhost" || host.ends_with(".localhost") || self.hosts.contains(host) {
            return true;
        }
        let Ok(address) = host.parse::<IpAddr>() else { return false };
        address.is_loopback() || self.any_address
    }

    fn check_browser(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Error> {
        if let Some(origin) = headers.get(header::ORIGIN) {
            let text = origin.to_str().map_err(|_| Error::CrossSite)?.to_ascii_lowercase();
            if self.origins.contains(&text) {
                return Ok(Some(origin.clone()));
            }
            if !is_own_origin(&text, headers) {
                return Err(Error::CrossSite);
            }
        }
        match headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes) {
            // `none`: a person typed the address.
            None | Some(b"same-origin" | b"none") => Ok(None),
            Some(_) => Err(Error::CrossSite),
        }
    }
}

/// A host as it is compared.
fn normal(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase()
}

/// What follows the user's name, if there is one.
fn without_user(authority: &Authority) -> &str {
    authority.as_str().rsplit('@').next().unwrap_or_default()
}

/// Whether a browser asks for permission first (Fetch §3.2.2).
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The permission, for a page of an allowed origin.
pub(super) fn preflight(origin: &HeaderValue, asked: &HeaderMap) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    allow_page(origin, headers);
    for (question, response) in [
        (header::ACCESS_CONTROL_REQUEST_METHOD, header::ACCESS_CONTROL_ALLOW_METHODS),
        (header::ACCESS_CONTROL_REQUEST_HEADERS, header::ACCESS_CONTROL_ALLOW_HEADERS),
    ] {
        if let Some(value) = asked.get(question) {
            headers.insert(response, value.clone());
        }
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// Lets the page that asked read the response.
pub(super) fn allow_page(origin: &HeaderValue, headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}

/// Whether the page that asks was served under the very host it asks.
fn is_own_origin(origin: &str, headers: &HeaderMap) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    matches!((authority, host), (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host))
}

/// Whether a `Via` line has our name as one of its stations (RFC 9110 §7.6.3).
fn names_us(via: &HeaderValue) -> bool {
    via.as_bytes().split(|byte| *byte == b',').any(|station| {
        let mut words = station.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|name| name.eq_ignore_ascii_case(NAME.as_bytes()))
    })
}
