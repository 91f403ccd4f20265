//! Which requests `replay` answers: those to a host that is ours.
//!
//! What is replayed may be about people, and every page that is open in a browser on this machine can send requests to it.
//! What such a page may read the browser decides by what the recorded answer says of origins. A page that has our address
//! under a name of its own (DNS rebinding) would not be asked, so such names are refused.

use std::collections::BTreeSet;
use std::net::IpAddr;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Uri};

/// Names that we go by.
#[derive(Debug, Default)]
pub(super) struct Gate(BTreeSet<String>);

impl Gate {
    /// A gate for these names.
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().map(|name| bare(&name)).collect())
    }

    /// Whether a request is for us. The authority of its target counts, or else the `Host` (RFC 9112 §3.2.2).
    pub(super) fn admits(&self, target: &Uri, headers: &HeaderMap) -> bool {
        let asked = match (target.host(), headers.get(HOST)) {
            (Some(host), _) => host.to_owned(),
            (None, Some(host)) => match Authority::try_from(host.as_bytes()) {
                Ok(authority) => authority.host().to_owned(),
                Err(_) => return false,
            },
            // HTTP/1.0 may come without; browsers never do.
            (None, None) => return true,
        };
        self.is_ours(&bare(&asked))
    }

    /// Rebinding needs a name that somebody else can register: not an address, and not a name without a dot, as containers
    /// have.
    fn is_ours(&self, host: &str) -> bool {
        let is_address = host.parse::<IpAddr>().is_ok();
        is_address || !host.contains('.') || host.ends_with(".localhost") || self.0.contains(host)
    }
}

fn bare(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase()
}

/// The host of a recording's scheme and authority.
pub(super) fn host_of(base: &str) -> Option<String> {
    let authority = base.split_once("://")?.1;
    Authority::try_from(authority).ok().map(|authority| authority.host().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_somebody_else_can_register_is_not_ours() {
        let gate = Gate::new([host_of("https://API.vonage.com:443").unwrap()]);
        let admits = |target: &str, host: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.extend(host.map(|host| (HOST, host.parse().unwrap())));
            gate.admits(&target.parse().unwrap(), &headers)
        };
        for host in [
            "127.0.0.1:8080",
            "[::1]:1",
            "localhost",
            "replay:8080",
            "a.localhost",
            "api.vonage.com",
            "10.0.0.5",
        ] {
            assert!(admits("/", Some(host)), "{host}");
            assert!(admits(&format!("http://{host}/"), Some("evil.example")), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:8080", "127.0.0.1.evil.example", ""] {
            assert!(!admits("/", Some(host)), "{host}");
        }
        assert!(admits("/", None));
        assert!(!admits("http://evil.example/", Some("localhost")));
        assert_eq!(host_of("http://"), None);
    }
}
