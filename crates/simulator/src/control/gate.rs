//! Which requests the control plane answers at all: those to a host of ours and, where something is changed, those that
//! no foreign page has made.
//!
//! It asks for no password, and every page that is open in a browser on this machine can send requests to it. A page
//! cannot make a browser send a `Host` of ours for a name of its own (DNS rebinding), and cannot hide where it comes
//! from (`Origin`, `Sec-Fetch-Site`).

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{HOST, ORIGIN};
use http::request::Parts;

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    Host,
    Page,
}

/// Decides whether a request may go on; `hosts` are further names of ours.
pub(super) fn admit(head: &Parts, hosts: &[String]) -> Result<(), Foreign> {
    let asked = match (head.uri.host(), head.headers.get(HOST)) {
        (Some(host), _) => Some(host.to_owned()),
        (None, Some(host)) => match http::uri::Authority::try_from(host.as_bytes()) {
            Ok(authority) => Some(authority.host().to_owned()),
            Err(_) => return Err(Foreign::Host),
        },
        // HTTP/1.0 may come without; browsers never do.
        (None, None) => None,
    };
    if asked.is_some_and(|host| !is_ours(&host, hosts)) {
        return Err(Foreign::Host);
    }
    let changes = !matches!(head.method.as_str(), "GET" | "HEAD" | "OPTIONS");
    if changes && is_foreign(&head.headers) { Err(Foreign::Page) } else { Ok(()) }
}

/// Rebinding needs a name that somebody else can register: not an address, and not a name without a dot, as containers
/// and services in CI have.
fn is_ours(host: &str, hosts: &[String]) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase();
    let is_address = host.parse::<IpAddr>().is_ok();
    is_address || !host.contains('.') || host.ends_with(".localhost") || hosts.contains(&host)
}

/// Both headers are set by the browser and cannot be changed by a page.
fn is_foreign(headers: &HeaderMap) -> bool {
    let fetch = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    if !matches!(fetch, None | Some(b"same-origin" | b"none")) {
        return true;
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let origin = origin.to_str().unwrap_or_default();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let named = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    !matches!((named, host), (Some(named), Some(host)) if named.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn admitted(method: &str, headers: &[(&str, &str)]) -> Result<(), Foreign> {
        let mut request = Request::builder().method(method).uri("/__sim/reset");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        admit(&request.body(()).unwrap().into_parts().0, &["sim.example".to_owned()])
    }

    #[test]
    fn a_name_that_somebody_else_can_register_is_not_ours() {
        for host in
            ["127.0.0.1:8091", "[::1]:1", "localhost", "sim:8091", "a.localhost", "sim.example:1", "10.0.0.5"]
        {
            assert_eq!(admitted("GET", &[("host", host)]), Ok(()), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:8091", "127.0.0.1.evil.example", ""] {
            assert_eq!(admitted("GET", &[("host", host)]), Err(Foreign::Host), "{host}");
        }
        assert_eq!(admitted("GET", &[]), Ok(()));
    }

    #[test]
    fn a_change_is_not_for_foreign_pages() {
        let host = ("host", "localhost:8091");
        let with = |headers: &[(&'static str, &'static str)]| [&[host], headers].concat();
        for own in [
            &[][..],
            &[("origin", "http://localhost:8091")],
            &[("origin", "http://localhost:8091"), ("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
        ] {
            assert_eq!(admitted("POST", &with(own)), Ok(()), "{own:?}");
        }
        for foreign in [
            &[("origin", "http://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "http://localhost:8090")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
        ] {
            assert_eq!(admitted("POST", &with(foreign)), Err(Foreign::Page), "{foreign:?}");
            assert_eq!(admitted("GET", &with(foreign)), Ok(()), "{foreign:?}");
        }
    }
}
