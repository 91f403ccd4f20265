//! URLs and their parts.

use std::fmt;

use http::uri::Authority;
use url::{Host, Position, Url};
use vbc_base::trusted::Flaw;

/// A scheme and an authority: the destination of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Whether the scheme is https.
    pub tls: bool,
    /// The `Host` header: the host, and the port unless it is the scheme's default.
    pub authority: Authority,
}

impl fmt::Display for Origin {
    /// Writes the origin in the form of `upstream.url`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }
}

/// Reads the scheme and authority of a server, without path.
pub(super) fn origin(text: &str) -> Result<Origin, Flaw> {
    let url = http_url(text, "https://api.vonage.com")?;
    if url.path() != "/" || url.query().is_some() {
        let bare = url.origin().ascii_serialization();
        let remedy = format!("write {bare:?}; the path and query of each request are kept");
        return Err(Flaw::new("the URL of the upstream must have no path or query", remedy));
    }
    let authority = Authority::try_from(&url[Position::BeforeHost..Position::AfterPort]).map_err(|_| {
        Flaw::new("the host is not valid in HTTP", "write, for example, \"https://api.vonage.com\"")
    })?;
    Ok(Origin { tls: url.scheme() == "https", authority })
}

/// Reads a URL that may have a path, but no query.
pub(super) fn url(text: &str, example: &str) -> Result<Url, Flaw> {
    let url = http_url(text, example)?;
    if url.query().is_some() {
        return Err(Flaw::new(
            "the URL must have no query",
            "remove the question mark and everything after it",
        ));
    }
    Ok(url)
}

/// Reads the URL to which an authorization server sends the browser back. Returns it unchanged: the
/// server compares it byte for byte with the registered one.
pub(super) fn redirect_uri(text: &str) -> Result<String, Flaw> {
    let example = "http://localhost:8081/callback";
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let remedy = "write it exactly as it is registered with the application";
        return Err(Flaw::new("it contains white space or control characters", remedy));
    }
    http_url(text, example).map(|_| text.to_owned())
}

pub(super) fn path_prefix(text: &str) -> Result<String, Flaw> {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '?' | '#');
    if text.starts_with('/') && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    let message = format!("{} is not a path prefix", quoted_url(text));
    Err(Flaw::new(message, "start with a slash, for example \"/t/vbc.prod/reports\""))
}

/// Replaces the last segment of a URL, which must be `from`. Otherwise returns `None`.
pub(super) fn sibling(url: &Url, from: &str, to: &str) -> Option<Url> {
    let stem = url.path().strip_suffix(from).filter(|stem| stem.ends_with('/'))?;
    let mut sibling = url.clone();
    sibling.set_path(&format!("{stem}{to}"));
    Some(sibling)
}

/// Reads a web origin. Returns it as browsers send it, in lower case.
pub(super) fn web_origin(text: &str) -> Result<String, Flaw> {
    let example = "write scheme and host, for example \"https://app.example\"";
    if text == "*" {
        return Err(Flaw::new("\"*\" would let every web page use the credentials", example));
    }
    let url = http_url(text, "https://app.example")?;
    if url.path() != "/" || url.query().is_some() {
        return Err(Flaw::new("a web origin has no path", example));
    }
    Ok(url.origin().ascii_serialization())
}

/// Reads a host name or address without a port. Returns it in lower case.
pub(super) fn host_name(text: &str) -> Result<String, Flaw> {
    Host::parse(text.trim()).map(|host| host.to_string()).map_err(|_| {
        let message = format!("{} is not a host name", quoted_url(text));
        Flaw::new(message, "write it without scheme, port and path, for example \"vbc.internal\"")
    })
}

/// Reads an absolute http or https URL with a host, without user info and fragment.
pub(super) fn http_url(text: &str, example: &str) -> Result<Url, Flaw> {
    let remedy = format!("write, for example, {example:?}");
    let url = Url::parse(text.trim())
        .map_err(|_| Flaw::new(format!("{} is not a URL", quoted_url(text)), remedy.clone()))?;
    if !matches!(url.scheme(), "http" | "https") {
        let message = format!("the scheme of {} is neither https nor http", quoted_url(text));
        return Err(Flaw::new(message, remedy));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Flaw::new("the URL must have no user name or password", "write only scheme and host"));
    }
    if url.fragment().is_some() {
        return Err(Flaw::new("the URL must have no fragment", "remove the `#` and everything after it"));
    }
    Ok(url)
}

/// Quotes a URL, unless it may contain a password or a key.
fn quoted_url(text: &str) -> String {
    if text.contains(['@', '?', '#']) { "the value".into() } else { format!("{text:?}") }
}

pub(super) fn is_loopback(host: &str) -> bool {
    match Host::parse(host) {
        Ok(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Ok(Host::Ipv4(ip)) => ip.is_loopback(),
        Ok(Host::Ipv6(ip)) => ip.is_loopback(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_scheme_and_host() {
        let shown = |text| origin(text).map(|o| (o.tls, o.authority.to_string()));
        assert_eq!(shown("https://api.vonage.com/"), Ok((true, "api.vonage.com".into())));
        assert_eq!(shown("https://API.vonage.com:443"), Ok((true, "api.vonage.com".into())));
        assert_eq!(shown("http://[::1]:8090"), Ok((false, "[::1]:8090".into())));
        for wrong in
            ["api.vonage.com", "ftp://x", "https://x/t/vbc.prod", "https://x?y", "https://u:p@x", "https://"]
        {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_quoted() {
        for text in ["https://u:hunter2@x", "ftp://u:hunter2@x", "http://u:hunter2@x y", "ftp://x?k=hunter2"]
        {
            for flaw in [
                origin(text).unwrap_err(),
                url(text, "https://x").unwrap_err(),
                web_origin(text).unwrap_err(),
            ] {
                assert!(!format!("{flaw:?}").contains("hunter2"), "{flaw:?}");
            }
        }
    }

    #[test]
    fn web_origins_and_hosts_are_exact() {
        assert_eq!(web_origin("https://App.Example:443"), Ok("https://app.example".into()));
        assert_eq!(web_origin("http://localhost:3000"), Ok("http://localhost:3000".into()));
        for wrong in ["*", "null", "https://app.example/x", "app.example"] {
            assert!(web_origin(wrong).is_err(), "{wrong}");
        }
        assert_eq!(host_name("VBC.internal"), Ok("vbc.internal".into()));
        assert!(host_name("vbc.internal:80").is_err());
        assert!(host_name("http://vbc.internal").is_err());
        assert!(host_name("").is_err());
    }

    #[test]
    fn loopback_is_recognised() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "api.localhost"] {
            assert!(is_loopback(host), "{host}");
        }
        assert!(!is_loopback("api.vonage.com"));
        assert!(!is_loopback("localhost.example"));
    }
}
