//! Sends requests to the token host and the upstream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, DATE, USER_AGENT};
use http::{HeaderValue, Request, Response};
use jiff::SignedDuration;
use rustls::ClientConfig;
use url::Position;

use super::host::{Site, address_of};
use super::report::Check;
use super::skew;
use super::suite::Suite;
use crate::client::{self, ClientError, Target};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::credential::Bearer;

/// The longest timeout of one request, if that of the configuration is longer.
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

    /// Sends a GET without credentials, which costs nothing, and judges the response.
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
                let date = response.headers().get(DATE).and_then(|value| value.to_str().ok());
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
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("*/*"));
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(NAME));
        if let Some(bearer) = bearer {
            request.headers_mut().insert(AUTHORIZATION, bearer.value.clone());
        }
        client::send(&self.target, request, self.timeout).await
    }
}
