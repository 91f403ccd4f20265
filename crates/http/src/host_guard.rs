//! Protects listeners without a password from web pages.
//!
//! A listener serves only requests for its own hosts. A request that changes something must not
//! come from a page of another site.
//!
//! Every page open in a browser on this machine can send requests to such a listener. A page can
//! give its own host name the listener's address (DNS rebinding), but the browser still sends that
//! name as `Host`. No page can hide where it comes from (`Origin`, `Sec-Fetch-Site`). The proxy,
//! the admin listener, the replay and the simulator's control plane use these rules; each writes
//! its own responses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use http::uri::{Authority, InvalidUri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

/// The field that says whether a page of this site or of another site made the request. Browsers
/// set it, and pages cannot change it.
pub const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// The request is for a host that this listener does not serve.
    Host,
    /// The request would change something, and a page of another site has made it.
    Page,
}

/// The hosts that a listener serves.
///
/// These hosts always include localhost and its subdomains, loopback addresses and the given names.
#[derive(Clone, Debug)]
pub struct HostGuard {
    names: BTreeSet<String>,
    addresses: Vec<IpAddr>,
    any_address: bool,
    undotted: bool,
}

impl HostGuard {
    /// Creates the guard of a listener on these addresses that also serves these names. An
    /// unspecified address stands for every IP address. That is safe, because DNS rebinding needs a
    /// name.
    pub fn new(names: impl IntoIterator<Item = String>, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let addresses: Vec<IpAddr> = addresses.into_iter().collect();
        Self {
            names: names.into_iter().map(|name| normal_host(&name)).collect(),
            any_address: addresses.iter().any(IpAddr::is_unspecified),
            addresses,
            undotted: false,
        }
    }

    /// Creates a guard for test and development tools. It also allows every IP address and every
    /// name without a dot, such as the names of containers and CI services. Nobody can register
    /// such a name.
    pub fn lenient(names: impl IntoIterator<Item = String>) -> Self {
        Self { any_address: true, undotted: true, ..Self::new(names, []) }
    }

    /// Whether the listener serves this host. Case, brackets and a final dot do not matter; a port
    /// is not allowed.
    pub fn owns(&self, host: &str) -> bool {
        let host = normal_host(host);
        if is_local_name(&host) || self.names.contains(&host) {
            return true;
        }
        match host.parse::<IpAddr>() {
            Ok(address) => self.any_address || address.is_loopback() || self.addresses.contains(&address),
            Err(_) => self.undotted && !host.contains('.'),
        }
    }

    /// Checks that a request is for a host that the listener serves.
    ///
    /// # Errors
    /// [`Foreign::Host`] if the listener does not serve the host, or if the host cannot be parsed.
    pub fn check_host(&self, target: &Uri, headers: &HeaderMap) -> Result<(), Foreign> {
        match requested_authority(target, headers) {
            // HTTP/1.0 needs no Host; browsers always send one.
            Ok(None) => Ok(()),
            Ok(Some(authority)) if self.owns(authority.host()) => Ok(()),
            _ => Err(Foreign::Host),
        }
    }
}

/// Checks that a request which changes something does not come from a foreign page.
///
/// # Errors
/// [`Foreign::Page`] if a foreign page made such a request.
pub fn check_page(method: &Method, headers: &HeaderMap) -> Result<(), Foreign> {
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if changes && is_from_foreign_page(headers) { Err(Foreign::Page) } else { Ok(()) }
}

/// Whether a page of another site made the request. `false` if no page did: the user typed the
/// address, or the client is not a browser.
pub fn is_from_foreign_page(headers: &HeaderMap) -> bool {
    let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    // `none`: the user typed the address.
    !matches!(site, None | Some(b"same-origin" | b"none"))
        || headers.get(header::ORIGIN).is_some_and(|origin| !is_own_origin(origin, headers))
}

/// Whether an `Origin` names the host that the request is for.
fn is_own_origin(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let origin = origin.as_bytes().to_ascii_lowercase();
    let named = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    matches!((named, host), (Some(named), Some(host)) if named.eq_ignore_ascii_case(host))
}

/// The authority that a request is for. It comes from an absolute-form target, or else from `Host`
/// (RFC 9112 §3.2.2). `None` if the request has neither.
///
/// # Errors
/// If the `Host` cannot be parsed.
pub fn requested_authority(target: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, InvalidUri> {
    if let Some(authority) = target.authority() {
        return Ok(Some(authority.clone()));
    }
    headers.get(header::HOST).map(|host| Authority::try_from(host.as_bytes())).transpose()
}

/// A host in the form in which hosts are compared: lower case, without brackets and final dot.
pub fn normal_host(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase()
}

/// Whether browsers take this name for the local machine without resolving it (RFC 6761 §6.3).
pub fn is_local_name(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    /// A guard for a listener on this address that also serves `ours.example`.
    fn listening(address: &str) -> HostGuard {
        HostGuard::new(["ours.example".to_owned()], [address.parse().unwrap()])
    }

    fn lenient() -> HostGuard {
        HostGuard::lenient(["OURS.example".to_owned()])
    }

    fn admits(guard: &HostGuard, host: &'static str) -> bool {
        guard.check_host(&Uri::from_static("/"), &headers(&[("host", host)])).is_ok()
    }

    #[test]
    fn a_name_that_somebody_else_can_register_is_not_ours() {
        // Which guards allow the host: listeners on 127.0.0.1, on 10.0.0.5 and on 0.0.0.0, and the
        // lenient guard.
        for (host, expected) in [
            ("localhost:8081", [true; 4]),
            ("LOCALHOST.", [true; 4]),
            ("a.localhost:8081", [true; 4]),
            ("127.0.0.1", [true; 4]),
            ("127.0.0.1:8080", [true; 4]),
            ("[::1]:1", [true; 4]),
            ("ours.example", [true; 4]),
            ("ours.example:1", [true; 4]),
            ("user@localhost:8081", [true; 4]),
            ("10.0.0.5:8081", [false, true, true, true]),
            ("10.0.0.6", [false, false, true, true]),
            ("[2001:db8::1]", [false, false, true, true]),
            ("replay:8080", [false, false, false, true]),
            ("evil.example:8081", [false; 4]),
            ("localhost.evil.example:8081", [false; 4]),
            ("127.0.0.1.evil.example", [false; 4]),
            ("", [false; 4]),
        ] {
            let guards = [listening("127.0.0.1"), listening("10.0.0.5"), listening("0.0.0.0"), lenient()];
            assert_eq!(guards.map(|guard| admits(&guard, host)), expected, "{host}");
        }
    }

    #[test]
    fn the_authority_of_the_target_counts_more_than_the_host() {
        for guard in [listening("127.0.0.1"), lenient()] {
            let check = |target: &str, host| guard.check_host(&target.parse().unwrap(), &headers(host));
            assert_eq!(check("http://evil.example/", &[("host", "localhost")]), Err(Foreign::Host));
            assert_eq!(check("http://ours.example/", &[("host", "evil.example")]), Ok(()));
            assert_eq!(check("/", &[]), Ok(()), "HTTP/1.0");
        }
    }

    #[test]
    fn a_change_is_not_for_foreign_pages() {
        const HOST: (&str, &str) = ("host", "localhost:8081");
        let check = |method: Method, lines: &[(&'static str, &'static str)]| {
            check_page(&method, &headers(&[&[HOST], lines].concat()))
        };
        for own in [
            &[][..],
            &[("origin", "http://localhost:8081")],
            &[("origin", "http://localhost:8081"), ("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "same-origin")],
        ] {
            assert_eq!(check(Method::POST, own), Ok(()), "{own:?}");
        }
        for foreign in [
            &[("origin", "http://evil.example")][..],
            &[("origin", "http://localhost:8080")],
            &[("origin", "http://127.0.0.1:8081")],
            &[("origin", "null")],
            &[("origin", "null"), ("sec-fetch-site", "cross-site")],
            &[("origin", "http://localhost:8081"), ("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
        ] {
            for method in [Method::POST, Method::PUT, Method::DELETE] {
                assert_eq!(check(method, foreign), Err(Foreign::Page), "{foreign:?}");
            }
            assert_eq!(check(Method::GET, foreign), Ok(()), "{foreign:?}");
        }
    }
}
