//! Where a simulator may deliver webhooks.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use url::Host;

/// Where a simulator may deliver webhooks. Any target can be registered, but delivery to a
/// forbidden one fails.
///
/// As text: `loopback`, `any`, or comma-separated host names and addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WebhookTargets {
    /// Only this machine.
    #[default]
    Loopback,
    /// Every host. The simulator then connects to other machines.
    Anywhere,
    /// This machine and these hosts, as names or addresses in a URL: lower case, without ports. A
    /// name allows every address that it resolves to.
    Hosts(BTreeSet<String>),
}

/// The text is not a valid [`WebhookTargets`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not a host; write `loopback`, `any`, or a comma-separated list of hosts, without scheme or port"
)]
pub struct NoTarget {
    given: String,
}

impl FromStr for WebhookTargets {
    type Err = NoTarget;

    fn from_str(text: &str) -> Result<Self, NoTarget> {
        match text.trim() {
            "loopback" => Ok(Self::Loopback),
            "any" => Ok(Self::Anywhere),
            hosts => Ok(Self::Hosts(hosts.split(',').map(host).collect::<Result<_, _>>()?)),
        }
    }
}

/// Writes the text that [`FromStr`] parses.
impl fmt::Display for WebhookTargets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("loopback"),
            Self::Anywhere => f.write_str("any"),
            Self::Hosts(hosts) => {
                let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
                f.write_str(&hosts.join(","))
            }
        }
    }
}

/// Normalizes a host so that it can be compared with the host of a URL.
fn host(text: &str) -> Result<String, NoTarget> {
    let given = text.trim();
    // An IPv6 address may lack its brackets.
    let bracketed =
        if given.contains(':') && !given.starts_with('[') { format!("[{given}]") } else { given.into() };
    let plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let read = match Host::parse(&bracketed) {
        Ok(Host::Domain(name)) if plain(&name) => Some(name.trim_end_matches('.').to_owned()),
        Ok(Host::Domain(_)) | Err(_) => None,
        Ok(address) => Some(address.to_string()),
    };
    // Both words are reserved, so they cannot be host names.
    let read = read.filter(|host| !matches!(host.as_str(), "any" | "loopback"));
    read.ok_or_else(|| NoTarget { given: given.to_owned() })
}

impl WebhookTargets {
    /// Whether `other` allows every target that `self` allows.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Loopback, _) | (_, Self::Anywhere) => true,
            (Self::Hosts(these), Self::Hosts(others)) => these.is_subset(others),
            (Self::Anywhere | Self::Hosts(_), _) => false,
        }
    }

    /// Those of `addresses`, the addresses of `host`, to which webhooks may be delivered.
    pub(crate) fn allow(&self, host: &Host<&str>, mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let named = match self {
            Self::Anywhere => true,
            Self::Loopback => false,
            Self::Hosts(hosts) => hosts.contains(host.to_string().trim_end_matches('.')),
        };
        if !named {
            addresses.retain(|address| address.ip().to_canonical().is_loopback());
        }
        addresses
    }
}

/// Whether a connection to `target` reaches the listener at `own`.
pub(crate) fn is_same(target: SocketAddr, own: SocketAddr) -> bool {
    let to = target.ip().to_canonical();
    let at = own.ip().to_canonical();
    let is_here = to == at || to.is_unspecified() || (at.is_unspecified() && to.is_loopback());
    is_here && target.port() == own.port()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(targets: &str, url: &str, address: &str) -> bool {
        let url = url::Url::parse(url).unwrap();
        let targets: WebhookTargets = targets.parse().unwrap();
        !targets.allow(&url.host().unwrap(), vec![address.parse().unwrap()]).is_empty()
    }

    #[test]
    fn loopback_is_always_allowed_and_others_where_it_is_said() {
        for (targets, url, address, allow) in [
            ("loopback", "http://localhost/", "127.0.0.1:80", true),
            ("loopback", "http://hooks.test/", "10.0.0.1:80", false),
            ("loopback", "http://[::1]/", "[::1]:80", true),
            ("any", "http://hooks.test/", "10.0.0.1:80", true),
            ("hooks.test", "http://HOOKS.test:9000/", "10.0.0.1:9000", true),
            ("hooks.test", "http://hooks.test./", "10.0.0.1:9000", true),
            ("Hooks.Test , 10.0.0.1", "http://hooks.test/", "10.0.0.2:80", true),
            ("hooks.test,10.0.0.1", "http://10.0.0.1/", "10.0.0.1:80", true),
            ("hooks.test,10.0.0.1", "http://10.0.0.2/", "10.0.0.2:80", false),
            ("hooks.test", "http://not.hooks.test/", "10.0.0.1:80", false),
            ("hooks.test", "http://127.0.0.1/", "127.0.0.1:80", true),
            ("fd00::1", "http://[fd00::1]/", "[fd00::1]:80", true),
            ("[fd00::1]", "http://[fd00::2]/", "[fd00::2]:80", false),
        ] {
            assert_eq!(allowed(targets, url, address), allow, "{targets} {url}");
        }
    }

    #[test]
    fn targets_are_compared_and_written_as_they_are_read() {
        let read = |text: &str| text.parse::<WebhookTargets>().unwrap();
        let all = ["loopback", "a.test", "a.test,b.test", "any"].map(read);
        for (n, narrow) in all.iter().enumerate() {
            for (m, wide) in all.iter().enumerate() {
                assert_eq!(narrow.is_within(wide), n <= m, "{narrow} {wide}");
            }
            assert_eq!(read(&narrow.to_string()), *narrow);
        }
        assert!(!read("a.test").is_within(&read("b.test,c.test")));
    }

    #[test]
    fn our_own_address_is_known_however_it_is_written() {
        for (target, own, same) in [
            ("127.0.0.1:8091", "127.0.0.1:8091", true),
            ("127.0.0.1:8092", "127.0.0.1:8091", false),
            ("127.0.0.2:8091", "127.0.0.1:8091", false),
            ("[::ffff:127.0.0.1]:8091", "127.0.0.1:8091", true),
            ("0.0.0.0:8091", "127.0.0.1:8091", true),
            ("127.0.0.1:8091", "0.0.0.0:8091", true),
            ("[::1]:8091", "[::]:8091", true),
            ("10.0.0.1:8091", "0.0.0.0:8091", false),
        ] {
            assert_eq!(is_same(target.parse().unwrap(), own.parse().unwrap()), same, "{target} {own}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in
            ["", "a.test,", "http://a.test", "a.test:80", "*", "a test", "any,a.test", "a.test,loopback"]
        {
            let refused = text.parse::<WebhookTargets>().unwrap_err().to_string();
            assert!(
                refused
                    .contains("is not a host; write `loopback`, `any`, or a comma-separated list of hosts"),
                "{text}: {refused}"
            );
        }
    }
}
