//! Sends requests to the token host and the upstream. Judges whether each responds and is the right
//! kind of host.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use jiff::SignedDuration;
use rustls::{CertificateError, ClientConfig};
use url::{Position, Url};

use super::report::Check;
use super::suite::Suite;
use super::{error_text, skew};
use crate::config::Config;
use crate::credential::Bearer;
use vbc_base::clock::{Clock, Timestamp};
use vbc_http::client::{self, ClientError, Target};

/// A configured host, as its checks describe it.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// The name of the host's check.
    pub(super) name: &'static str,
    /// The key of the host's URL.
    pub(super) key: &'static str,
    /// The key of the host's trusted authorities.
    pub(super) ca_key: &'static str,
    /// The host's URL, without anything secret.
    pub(super) url: String,
}

impl Site {
    /// The check for a host without a response.
    pub(super) fn unreachable(&self, error: &ClientError) -> Check {
        let Self { name, key, url, .. } = self;
        let (code, found, remedy) = match error {
            ClientError::Lookup { host, source } => (
                "name-not-found",
                format!("cannot resolve the name {host} ({source})"),
                format!("check the spelling of {key}, then the DNS settings of this machine"),
            ),
            ClientError::Refused(_) => (
                "unreachable",
                format!("{url} refuses the connection: no server is listening there"),
                format!("check {key} and its port; if they are correct, the host is down: try again later"),
            ),
            ClientError::Connect(error) => (
                "unreachable",
                format!("cannot connect to {url} ({error})"),
                format!(
                    "check {key}, then whether a firewall blocks the connection; no egress proxy is used"
                ),
            ),
            ClientError::Certificate(error) => return self.untrusted(error),
            ClientError::Tls(error) => (
                "tls",
                format!("TLS with {url} fails ({error})"),
                format!("check the scheme (http:// or https://) and the port in {key}"),
            ),
            ClientError::Timeout(patience) => (
                "timeout",
                format!("{url} did not respond within {} s", patience.as_secs()),
                "check whether a firewall drops packets; if not, the host is overloaded: try again later"
                    .to_owned(),
            ),
            ClientError::Protocol(_) | ClientError::TooLong => (
                "not-http",
                format!("the response of {url} is not HTTP ({error})"),
                format!("check the scheme (http:// or https://) and the port in {key}"),
            ),
        };
        Check::fail(name, code, found, remedy)
    }

    /// The check for a certificate that is not accepted. It explains the error of rustls.
    fn untrusted(&self, error: &rustls::Error) -> Check {
        let Self { name, key, ca_key, url } = self;
        let rustls::Error::InvalidCertificate(reason) = error else {
            let remedy = format!("check {key} and {ca_key}");
            return Check::fail(name, "certificate", format!("TLS with {url} fails ({error})"), remedy);
        };
        let (code, found, remedy) = match reason {
            // A self-signed certificate with the name of a trusted one has a bad signature.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => (
                "certificate-untrusted",
                format!("the certificate of {url} is from an authority that is not trusted"),
                format!(
                    "put the authority's certificate (PEM) into a file and name the file in {ca_key}. If the host is \
                     Vonage's, a firewall inspects the traffic: use the firewall's authority, or request an exception"
                ),
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
                "certificate-expired",
                format!("the certificate of {url} has expired"),
                "check this machine's clock; if it is correct, the host must renew its certificate"
                    .to_owned(),
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
                "certificate-not-yet-valid",
                format!("the certificate of {url} is not valid yet"),
                "set this machine's clock, which is probably slow, and keep it correct with NTP".to_owned(),
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
                "certificate-wrong-host",
                format!("the certificate of {url} is for another host"),
                format!("set {key} to the name in the certificate"),
            ),
            other => (
                "certificate",
                format!("the certificate of {url} was rejected ({other})"),
                format!("check {key} and {ca_key}"),
            ),
        };
        Check::fail(name, code, found, remedy)
    }
}

/// The longest timeout of one request. If the configured timeout is shorter, it applies instead.
const TIMEOUT: Duration = Duration::from_secs(15);

const NAME: &str = concat!("vbc-proxy/", env!("CARGO_PKG_VERSION"), " doctor");

/// A host that the doctor sends requests to.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) site: Site,
    target: Target,
    /// Path and query of the request without credentials.
    path: String,
    timeout: Duration,
}

/// The result of one request to a host.
pub(super) struct HostExamination {
    pub(super) check: Check,
    pub(super) reached: bool,
    /// How far this machine's clock is ahead of the host's.
    pub(super) ahead: Option<SignedDuration>,
}

impl Host {
    pub(super) fn token_endpoint(config: &Config, tls: Arc<ClientConfig>) -> Self {
        let url = &config.oauth.token_url;
        Self {
            site: Site {
                name: "token host",
                key: "oauth.token_url",
                ca_key: "oauth.ca_file",
                url: address_of(url.as_str()),
            },
            target: Target::Origin {
                tls: (url.scheme() == "https").then_some(tls),
                host: url.host_str().unwrap_or_default().to_owned(),
                port: url.port_or_known_default().unwrap_or(443),
            },
            path: url[Position::BeforePath..Position::AfterQuery].to_owned(),
            timeout: config.oauth.timeout.min(TIMEOUT),
        }
    }

    /// The upstream. Its gateway responds to a request without a token.
    pub(super) fn upstream(config: &Config, tls: Arc<ClientConfig>) -> Self {
        let origin = &config.upstream.url;
        let timeout = config.upstream.connect_timeout + config.upstream.response_timeout;
        Self {
            site: Site {
                name: "upstream",
                key: "upstream.url",
                ca_key: "upstream.ca_file",
                url: origin.to_string(),
            },
            target: Target::Origin {
                tls: origin.tls.then_some(tls),
                host: origin.authority.host().to_owned(),
                port: origin.authority.port_u16().unwrap_or(if origin.tls { 443 } else { 80 }),
            },
            path: Suite::Provisioning.request_target(Timestamp::UNIX_EPOCH),
            timeout: timeout.min(TIMEOUT),
        }
    }

    /// Sends a GET without credentials, which counts towards no quota, and judges the response.
    pub(super) async fn examine(
        &self,
        clock: &Clock,
        judge: impl Fn(&Site, &Response<Bytes>) -> Check,
    ) -> HostExamination {
        let sent = clock.now();
        let started = tokio::time::Instant::now();
        match self.send(&self.path, None).await {
            Ok(response) => {
                let took = started.elapsed();
                let date = response.headers().get(header::DATE).and_then(|value| value.to_str().ok());
                let ahead = date.and_then(skew::http_date).map(|date| skew::ahead(date, sent, took));
                HostExamination { check: judge(&self.site, &response), reached: true, ahead }
            }
            Err(error) => {
                HostExamination { check: self.site.unreachable(&error), reached: false, ahead: None }
            }
        }
    }

    /// Sends a GET, with the bearer or without credentials.
    pub(super) async fn send(
        &self,
        path: &str,
        bearer: Option<&Bearer>,
    ) -> Result<Response<Bytes>, ClientError> {
        let mut request = Request::new(Bytes::new());
        // Paths come from this module or from a checked URL.
        *request.uri_mut() = path.parse().unwrap_or_default();
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(NAME));
        if let Some(bearer) = bearer {
            request.headers_mut().insert(header::AUTHORIZATION, bearer.value.clone());
        }
        client::send(&self.target, request, self.timeout).await
    }
}

/// Judges the response of the token host to a GET without credentials: is it a token endpoint?
pub(super) fn token_host(site: &Site, response: &Response<Bytes>) -> Check {
    let Site { name, key, url, .. } = site;
    let status = response.status();
    let code = status.as_u16();
    if status.is_redirection() {
        return redirected(site, response.headers());
    }
    let text = error_text::read(response.headers(), response.body());
    let quoted = text.quoted();
    if status.is_server_error() {
        let found = format!("{url} has a problem: it returns {code} for a GET{quoted}");
        return Check::warn(name, "in-trouble", found, "if the login below fails too, try again later");
    }
    // A token endpoint responds to a GET with 405, or an error of RFC 6749 §5.2.
    let is_endpoint = match status {
        StatusCode::METHOD_NOT_ALLOWED => true,
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => !text.is_page,
        _ => false,
    };
    if is_endpoint {
        return Check::ok(name, format!("{url} responds like a token endpoint ({code} for a GET)"));
    }
    let what = if text.is_page { "with a web page" } else { "unlike a token endpoint" };
    let found = format!("{url} responds {what} ({code} for a GET){quoted}");
    Check::warn(name, "no-token-endpoint", found, format!("check {key} and its path"))
}

/// Judges the response of the upstream to a request without a token: is it the gateway?
pub(super) fn gateway(site: &Site, response: &Response<Bytes>) -> Check {
    let Site { name, key, url, .. } = site;
    let status = response.status();
    let code = status.as_u16();
    if status.is_redirection() {
        return redirected(site, response.headers());
    }
    let text = error_text::read(response.headers(), response.body());
    let quoted = text.quoted();
    if status.is_server_error() {
        let found = format!("{url} has a problem: it returns {code}{quoted}");
        return Check::fail(
            name,
            "in-trouble",
            found,
            "try again later; your configuration is not the cause",
        );
    }
    match (status, text.code) {
        (StatusCode::UNAUTHORIZED, _) if !text.is_page => {
            Check::ok(name, format!("{url} requires a token ({code}), like the gateway"))
        }
        // The request is throttled or forbidden, but only the gateway sends such a code.
        (_, Some(wso2)) => Check::ok(name, format!("{url} responds like the gateway ({code}, {wso2})")),
        _ => {
            let what = if text.is_page { " with a web page" } else { "" };
            let found = format!("{url} returns {code}{what}, but the gateway would require a token{quoted}");
            Check::warn(
                name,
                "no-gateway",
                found,
                format!("check {key}; the service is https://api.vonage.com"),
            )
        }
    }
}

fn redirected(site: &Site, headers: &HeaderMap) -> Check {
    let target = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let found = format!("{} redirects to {}", site.url, address_of(target));
    let remedy = format!(
        "set {} to the final address; redirects are not followed, so that no secret reaches another host",
        site.key
    );
    Check::fail(site.name, "redirect", found, remedy)
}

/// A URL that is safe to show: without user information, query and fragment, which may contain
/// secrets.
pub(super) fn address_of(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else {
        return error_text::quote(url.split(['?', '#', '@']).next().unwrap_or_default());
    };
    url.set_query(None);
    url.set_fragment(None);
    // Fails only without a host, and then there is no user information.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    fn token_site() -> Site {
        Site {
            name: "token host",
            key: "oauth.token_url",
            ca_key: "oauth.ca_file",
            url: "https://auth.example/token".to_owned(),
        }
    }

    fn response(status: u16, body: &'static str) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from_static(body.as_bytes()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let location = "https://u:p@other.example/x?token=1".parse().unwrap();
        response.headers_mut().insert(header::LOCATION, location);
        response
    }

    fn refused(reason: CertificateError) -> Check {
        token_site().unreachable(&ClientError::Certificate(rustls::Error::InvalidCertificate(reason)))
    }

    #[test]
    fn every_trouble_with_a_certificate_has_its_own_remedy() {
        let codes = [
            (CertificateError::UnknownIssuer, "certificate-untrusted", "oauth.ca_file"),
            (CertificateError::Expired, "certificate-expired", "clock"),
            (CertificateError::NotValidYet, "certificate-not-yet-valid", "NTP"),
            (CertificateError::NotValidForName, "certificate-wrong-host", "oauth.token_url"),
            (CertificateError::BadSignature, "certificate-untrusted", "oauth.ca_file"),
            (CertificateError::Revoked, "certificate", "oauth.ca_file"),
        ];
        for (reason, code, remedy) in codes {
            let check = refused(reason);
            assert_eq!((check.code.as_deref(), check.verdict), (Some(code), Verdict::Fail));
            assert!(check.remedy.as_deref().unwrap().contains(remedy), "{check:?}");
        }
    }

    #[test]
    fn a_host_that_does_not_respond_is_named_with_its_key() {
        let io = || std::io::Error::other("because");
        let errors = [
            ClientError::Lookup { host: "auth.example".into(), source: io() },
            ClientError::Refused(io()),
            ClientError::Connect(io()),
            ClientError::Tls(io()),
            ClientError::TooLong,
        ];
        for error in &errors {
            let check = token_site().unreachable(error);
            assert!(check.remedy.as_deref().unwrap().contains("oauth.token_url"), "{check:?}");
            assert!(check.found.contains("auth.example"), "{check:?}");
        }
        let check = token_site().unreachable(&ClientError::Timeout(Duration::from_secs(10)));
        assert!(check.found.ends_with("did not respond within 10 s"), "{check:?}");
    }

    #[test]
    fn a_token_endpoint_is_told_from_something_else() {
        let verdict = |status, body| {
            let check = token_host(&token_site(), &response(status, body));
            (check.verdict, check.code.map(|code| code.into_owned()).unwrap_or_default())
        };
        for (status, body) in [(405, ""), (400, r#"{"error":"invalid_request"}"#), (401, ""), (405, "<html>")]
        {
            assert_eq!(verdict(status, body).0, Verdict::Ok, "{status} {body}");
        }
        for (status, body) in [(200, "<html>"), (404, ""), (400, "<html>")] {
            assert_eq!(verdict(status, body), (Verdict::Warn, "no-token-endpoint".into()), "{status} {body}");
        }
        assert_eq!(verdict(503, ""), (Verdict::Warn, "in-trouble".into()));
        let check = token_host(&token_site(), &response(302, ""));
        assert_eq!(check.found, "https://auth.example/token redirects to https://other.example/x");
    }

    #[test]
    fn a_gateway_is_told_from_something_else() {
        let verdict = |status, body| gateway(&token_site(), &response(status, body)).verdict;
        assert_eq!(verdict(401, r#"{"code":"900902"}"#), Verdict::Ok);
        assert_eq!(verdict(401, ""), Verdict::Ok);
        assert_eq!(verdict(429, r#"{"code":"900807"}"#), Verdict::Ok);
        assert_eq!(verdict(200, "<html>"), Verdict::Warn);
        assert_eq!(verdict(401, "<html>"), Verdict::Warn);
        assert_eq!(verdict(404, ""), Verdict::Warn);
        assert_eq!((verdict(503, ""), verdict(301, "")), (Verdict::Fail, Verdict::Fail));
    }
}
