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
    /// The API.
    pub struct Upstream ["upstream"] {
        /// Scheme and host of the API, without a path.
        url: Origin = "https://api.vonage.com", origin();
        /// Trust roots (PEM) in place of the system's.
        ca_file: Option<PathBuf>, ca_file(), lines [r#"# ca_file = "ca.pem""#];
        /// The version of HTTP: `"auto"` uses HTTP/2 if TLS negotiates it, `"h1"` and `"h2"` pin
        /// one.
        http: UpstreamHttp = "auto", choice(&[
            ("auto", UpstreamHttp::Auto), ("h1", UpstreamHttp::H1), ("h2", UpstreamHttp::H2),
        ]);
        /// Name lookup, TCP and TLS together.
        connect_timeout: Duration = "5s", span(MILLISECOND, DAY);
        /// From the end of the request to the head of the response.
        response_timeout: Duration = "60s", span(MILLISECOND, DAY);
        /// Between two pieces of a body, in both directions. A whole body has no limit.
        idle_timeout: Duration = "60s", span(MILLISECOND, DAY);
        /// How long a websocket may be silent in both directions.
        tunnel_timeout: Duration = "1h", span(MILLISECOND, DAY);
        /// Links to the API in its responses (`Location`, and URLs in JSON such as `download_url`)
        /// point to the proxy instead: to `listen.public_url`, or else to the host of the request.
        rewrite_links: bool = true, flag();
        later ["proxy"];
    }
}

settings! {
    /// The authorization server, which issues the tokens.
    pub struct OAuth ["oauth"] {
        /// The token endpoint.
        token_url: Url = "https://api.vonage.com/token", url("https://api.vonage.com/token");
        /// The page at which users log in.
        authorize_url: Url = "https://api.vonage.com/authorize", authorize_url();
        /// Tells whose login a token is (OpenID Connect Core §5.3). The default is `userinfo` next
        /// to a `token_url` that ends in `token`, else none. `"off"` is none.
        userinfo_url: Option<Url> = "https://api.vonage.com/userinfo", userinfo_url();
        /// How long one exchange may take.
        timeout: Duration = "30s", span(MILLISECOND, DAY);
        /// How long a request waits for a token if none is usable.
        max_wait: Duration = "10s", span(Duration::ZERO, DAY);
        /// Trust roots (PEM) for the token endpoint. The default is `upstream.ca_file`.
        ca_file: Option<PathBuf>, ca_file(), lines [r#"# ca_file = "ca.pem""#];
        later ["revoke_url"];
    }
}

/// The versions of HTTP towards the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamHttp {
    /// HTTP/2 if TLS negotiates it (ALPN), else HTTP/1.1.
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
        section.warn(key, Flaw::new(format!("{content} would travel in the clear"), "write https"));
    }
}
