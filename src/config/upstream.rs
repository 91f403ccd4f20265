//! `[upstream]` and `[oauth]`: the API and its authorization server.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::document::Table;
use super::kind::{DAY, Kind, MILLISECOND, ca_file, choice, flag, settings, span, text, url};
use super::section::{Reader, Section};
use super::urls::{self, Origin};
use vbc_base::trusted::Flaw;

settings! {
    /// The API to which the proxy forwards requests.
    pub struct Upstream ["upstream"] {
        /// Scheme and host of the API, without a path.
        url: Origin = "https://api.vonage.com", origin();
        /// Trust roots (PEM) that replace the system's roots.
        ca_file: Option<PathBuf>, ca_file(), lines [r#"# ca_file = "ca.pem""#];
        /// The HTTP version. `"auto"` uses HTTP/2 if TLS negotiates it, otherwise HTTP/1.1. `"h1"`
        /// and `"h2"` force one version.
        http: UpstreamHttp = "auto", choice(&[
            ("auto", UpstreamHttp::Auto), ("h1", UpstreamHttp::H1), ("h2", UpstreamHttp::H2),
        ]);
        /// Maximum time for name lookup, TCP and TLS together.
        connect_timeout: Duration = "5s", span(MILLISECOND, DAY);
        /// Maximum time from the end of the request to the head of the response.
        response_timeout: Duration = "60s", span(MILLISECOND, DAY);
        /// Maximum pause between two pieces of a body, in both directions. The time for a whole
        /// body is not limited.
        idle_timeout: Duration = "60s", span(MILLISECOND, DAY);
        /// Close a websocket after this long without traffic.
        tunnel_timeout: Duration = "1h", span(MILLISECOND, DAY);
        /// Makes links to the API in responses (`Location`, and URLs in JSON such as
        /// `download_url`) point to the proxy. They use `listen.public_url` or, without it, the
        /// host of the request.
        rewrite_links: bool = true, flag();
        later ["proxy"];
    }
}

settings! {
    /// The authorization server, which issues the tokens.
    pub struct OAuth ["oauth"] {
        /// The token endpoint.
        token_url: Url = "https://api.vonage.com/token", url("https://api.vonage.com/token");
        /// The login page for users.
        authorize_url: Url = "https://api.vonage.com/authorize", authorize_url();
        /// The endpoint that names the user of a token (OpenID Connect Core §5.3). If the last
        /// segment of `token_url` is `token`, the default replaces that segment with `userinfo`.
        /// Otherwise the default is `"off"`, which disables the endpoint.
        userinfo_url: Option<Url> = "https://api.vonage.com/userinfo", userinfo_url();
        /// Maximum time for one exchange with the token endpoint.
        timeout: Duration = "30s", span(MILLISECOND, DAY);
        /// Maximum time that a request waits while no token is usable.
        max_wait: Duration = "10s", span(Duration::ZERO, DAY);
        /// Trust roots (PEM) for the token endpoint. By default, `upstream.ca_file`.
        ca_file: Option<PathBuf>, ca_file(), lines [r#"# ca_file = "ca.pem""#];
        later ["revoke_url"];
    }
}

/// The HTTP version of connections to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamHttp {
    /// HTTP/2 if TLS negotiates it (ALPN), otherwise HTTP/1.1.
    Auto,
    /// Only HTTP/1.1.
    H1,
    /// Only HTTP/2; without TLS by prior knowledge (RFC 9113 §3.3).
    H2,
}

fn origin() -> Kind<Origin> {
    text("an http or https URL without a path", urls::origin, Origin::to_string)
}

fn authorize_url() -> Kind<Url> {
    let parse = |text: &str| urls::http_url(text, "https://api.vonage.com/authorize");
    text("a URL, which may have a query", parse, Url::to_string)
}

/// `None` is `off`.
fn userinfo_url() -> Kind<Option<Url>> {
    let parse = |text: &str| match text {
        "off" => Ok(None),
        text => urls::url(text, "https://api.vonage.com/userinfo").map(Some),
    };
    let show = |url: &Option<Url>| url.as_ref().map_or("off".into(), Url::to_string);
    text("a URL or `off`", parse, show)
}

impl Upstream {
    pub(super) fn read(reader: &mut Reader<'_>, root: &mut Table) -> Self {
        let mut section = reader.section(root, &Self::SHAPE);
        let upstream = Self::read_keys(&mut section);
        let host = upstream.url.authority.host();
        warn_in_the_clear(&mut section, "url", "tokens", !upstream.url.tls, host);
        upstream
    }
}

impl OAuth {
    pub(super) fn read(reader: &mut Reader<'_>, root: &mut Table) -> Self {
        let mut section = reader.section(root, &Self::SHAPE);
        let mut oauth = Self::read_keys(&mut section);
        if !section.is_given("userinfo_url") {
            oauth.userinfo_url = urls::sibling(&oauth.token_url, "token", "userinfo");
        }
        for (key, url, content) in [
            ("token_url", Some(&oauth.token_url), "passwords and secrets"),
            ("authorize_url", Some(&oauth.authorize_url), "passwords and authorization codes"),
            ("userinfo_url", oauth.userinfo_url.as_ref(), "access tokens"),
        ] {
            let Some(url) = url else { continue };
            let host = url.host_str().unwrap_or_default();
            warn_in_the_clear(&mut section, key, content, url.scheme() == "http", host);
        }
        oauth
    }
}

/// Warns if a URL is given that is neither encrypted nor on this machine.
fn warn_in_the_clear(section: &mut Section<'_, '_>, key: &str, content: &str, plain: bool, host: &str) {
    if plain && section.is_given(key) && !urls::is_loopback(host) && !section.reader.simulate {
        section.warn(key, Flaw::new(format!("{content} would be sent unencrypted"), "use https"));
    }
}
