//! Which requests the admin listener answers at all: those to a host of ours, and, where something is changed, those that no
//! foreign page has made.
//!
//! The listener asks for no password, and every page that is open in a browser on this machine can send requests to it. A
//! page cannot make a browser send a `Host` of ours for a name of its own (DNS rebinding), and cannot hide where it comes
//! from (`Origin`, `Sec-Fetch-Site`).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header};

use super::problem;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Where a request comes from, as the browser says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Site {
    /// One of our own pages, a person who typed the address, or no browser at all.
    Own,
    /// Another site's page.
    Foreign,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    /// It is not for a host of ours.
    Host,
    /// It would change something, and another site's page has made it.
    Page,
}

impl Foreign {
    pub(super) fn response(self) -> Response<Body> {
        let (status, kind, title, detail) = match self {
            Self::Host => (
                StatusCode::MISDIRECTED_REQUEST,
                "foreign-host",
                "Not a host of this proxy",
                "the admin listener does not go by this Host name; use localhost, its address, or a name of listen.hosts",
            ),
            Self::Page => (
                StatusCode::FORBIDDEN,
                "cross-site-request",
                "Cross-site request refused",
                "a page of another site asked for a change; do it from the command line, or from a page of this listener",
            ),
        };
        problem(status, kind, title, detail)
    }
}

/// The rules.
pub(super) struct Gate {
    /// `None` on a unix socket: no browser gets there.
    address: Option<SocketAddr>,
    hosts: BTreeSet<String>,
}

impl Gate {
    /// A gate for the listener on `address`, which is also called by these names.
    pub(super) fn new(address: Option<SocketAddr>, hosts: BTreeSet<String>) -> Self {
        Self { address, hosts }
    }

    /// Decides whether the request may go on.
    pub(super) fn admit<B>(&self, request: &Request<B>) -> Result<(), Foreign> {
        if !self.is_ours(request) {
            return Err(Foreign::Host);
        }
        let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let foreign = changes && site(request.headers()) == Site::Foreign && !is_confirmation(request);
        if foreign { Err(Foreign::Page) } else { Ok(()) }
    }

    fn is_ours<B>(&self, request: &Request<B>) -> bool {
        let Some(address) = self.address else { return true };
        // HTTP/1.0 may come without; browsers never do.
        let host = match authority(request) {
            Ok(Some(authority)) => authority.host().to_owned(),
            Ok(None) => return true,
            Err(()) => return false,
        };
        let host = bare(&host);
        if is_local_name(&host) || self.hosts.contains(&host) {
            return true;
        }
        let Ok(asked) = host.parse::<IpAddr>() else { return false };
        // Listening on every address of the machine, it is called by any of them. Rebinding needs a name, so an address
        // is never the work of one.
        asked.is_loopback() || address.ip().is_unspecified() || asked == address.ip()
    }
}

/// Whether it may be the form of our own question, from a browser that says no more of its origin than `null` (under
/// `no-referrer`, before Fetch Metadata). It works with the token of that page and a cookie of `SameSite=Strict` alone, so
/// that another site's page which says the same gets nowhere.
fn is_confirmation<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let path = request.uri().path();
    let names_nobody = headers.get(header::ORIGIN).is_some_and(|origin| origin == "null");
    names_nobody
        && !headers.contains_key(SEC_FETCH_SITE)
        && path
            .strip_prefix("/login/")
            .and_then(|rest| rest.strip_suffix("/confirm"))
            .is_some_and(|name| !name.contains('/'))
}

/// Whom the request is for: the authority of an absolute-form target, or else the `Host` (RFC 9112 §3.2.2). `Err` when it
/// cannot be read.
pub(super) fn authority<B>(request: &Request<B>) -> Result<Option<Authority>, ()> {
    if let Some(authority) = request.uri().authority() {
        return Ok(Some(authority.clone()));
    }
    match request.headers().get(header::HOST) {
        None => Ok(None),
        Some(host) => Authority::try_from(host.as_bytes()).map(Some).map_err(|_| ()),
    }
}

/// A host in the form names are compared in.
pub(super) fn bare(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase()
}

/// Whether browsers take this name for the machine itself, without asking anybody (RFC 6761 §6.3).
pub(super) fn is_local_name(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

/// Where the request comes from. Both headers are set by the browser and cannot be changed by a page.
pub(super) fn site(headers: &HeaderMap) -> Site {
    let fetch = headers.get(SEC_FETCH_SITE).map(|site| site.as_bytes());
    if !matches!(fetch, None | Some(b"same-origin" | b"none")) {
        return Site::Foreign;
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Site::Own };
    // Our own pages send no referrer, and a form of such a page says `null` (Fetch §3.2); then the other header decides.
    if origin == "null" && fetch == Some(b"same-origin") {
        return Site::Own;
    }
    let origin = origin.to_str().unwrap_or_default();
    let named = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    match (named, host) {
        (Some(named), Some(host)) if named.eq_ignore_ascii_case(host) => Site::Own,
        _ => Site::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(gate: &Gate, method: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().method(method).uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        gate.admit(&request.body(()).unwrap())
            .err()
            .map_or(200, |foreign| foreign.response().status().as_u16())
    }

    fn gate(address: &str) -> Gate {
        Gate::new(Some(address.parse().unwrap()), BTreeSet::from(["vbc.example".to_owned()]))
    }

    #[test]
    fn a_host_that_is_not_ours_is_misdirected() {
        let loopback = gate("127.0.0.1:8081");
        for host in
            ["localhost:8081", "LOCALHOST.", "127.0.0.1", "[::1]:1", "a.localhost:8081", "vbc.example"]
        {
            assert_eq!(status(&loopback, "GET", &[("host", host)]), 200, "{host}");
        }
        for host in
            ["evil.example:8081", "localhost.evil.example", "10.0.0.5:8081", "", "user@localhost:8081"]
        {
            let expected = if host.starts_with("user") { 200 } else { 421 };
            assert_eq!(status(&loopback, "GET", &[("host", host)]), expected, "{host}");
        }
        assert_eq!(status(&gate("10.0.0.5:8081"), "GET", &[("host", "10.0.0.5:8081")]), 200);
        assert_eq!(status(&gate("0.0.0.0:8081"), "GET", &[("host", "10.0.0.5:8081")]), 200);
        assert_eq!(status(&gate("0.0.0.0:8081"), "GET", &[("host", "evil.example")]), 421);
        let socket = Gate::new(None, BTreeSet::new());
        assert_eq!(status(&socket, "GET", &[("host", "anything.example")]), 200);
    }

    #[test]
    fn the_authority_of_the_target_counts_more_than_the_host() {
        let request = Request::get("http://evil.example/").header("host", "localhost").body(()).unwrap();
        assert_eq!(gate("127.0.0.1:8081").admit(&request), Err(Foreign::Host));
    }

    #[test]
    fn a_confirmation_may_come_from_a_browser_that_tells_no_site() {
        let gate = gate("127.0.0.1:8081");
        let admit = |path: &str, headers: &[(&str, &str)]| {
            let mut request = Request::post(path).header("host", "localhost:8081");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            gate.admit(&request.body(()).unwrap())
        };
        let null = ("origin", "null");
        assert_eq!(admit("/login/default/confirm", &[null]), Ok(()));
        for (path, headers) in [
            ("/login/default/confirm", &[null, ("sec-fetch-site", "cross-site")][..]),
            ("/login/default/confirm", &[("origin", "http://evil.example")]),
            ("/credentials/default/refresh", &[null]),
            ("/login/default", &[null]),
            ("/login/a/b/confirm", &[null]),
        ] {
            assert_eq!(admit(path, headers), Err(Foreign::Page), "{path} {headers:?}");
        }
    }

    #[test]
    fn a_change_is_not_for_foreign_pages() {
        let gate = gate("127.0.0.1:8081");
        let host = ("host", "localhost:8081");
        let own: [&[(&str, &str)]; 6] = [
            &[],
            &[("origin", "http://localhost:8081")],
            &[("origin", "http://localhost:8081"), ("sec-fetch-site", "same-origin")],
            &[("origin", "null"), ("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "same-origin")],
        ];
        for headers in own {
            assert_eq!(status(&gate, "POST", &[&[host], headers].concat()), 200, "{headers:?}");
        }
        let foreign: [&[(&str, &str)]; 7] = [
            &[("origin", "http://evil.example")],
            &[("origin", "http://localhost:8080")],
            &[("origin", "http://127.0.0.1:8081")],
            &[("origin", "null")],
            &[("origin", "null"), ("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
        ];
        for headers in foreign {
            for method in ["POST", "PUT", "DELETE"] {
                assert_eq!(status(&gate, method, &[&[host], headers].concat()), 403, "{headers:?}");
            }
            assert_eq!(status(&gate, "GET", &[&[host], headers].concat()), 200, "{headers:?}");
        }
    }
}
