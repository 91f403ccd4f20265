//! The one table from error to response.

use std::error::Error as StdError;
use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use http_body_util::Full;
use thiserror::Error;

use super::body::ResponseBody;
use super::upstream::UpstreamError;
use crate::credential::Unavailable;
use crate::problem::Problem;
use crate::server::Refusal;

/// How long a client should wait after a failure that has no time of its own.
const SOON: Duration = Duration::from_secs(1);

/// What is forwarded, of the methods that everybody knows.
const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// The response to an `OPTIONS` that may not be forwarded any further (RFC 9110 §7.6.2).
pub(super) fn options() -> http::Response<ResponseBody> {
    let mut response = http::Response::new(ResponseBody::own(Full::default()));
    response.headers_mut().insert(header::ALLOW, ALLOWED);
    response
}

/// Why a request is answered in our own name.
#[derive(Debug, Error)]
pub(super) enum Error {
    /// It was refused before it became one, or its body broke the framing.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// `CONNECT` and `TRACE`.
    #[error("the method is not forwarded")]
    Method,
    /// The request is for another host.
    #[error("the request is for another host")]
    ForeignAuthority,
    /// The target names another site, as a client of an `http_proxy` writes it.
    #[error("the target is on another site")]
    ForeignTarget,
    /// A user's name in a target's authority.
    #[error("a user name in the target")]
    UserInfo,
    /// A web page of another origin asks.
    #[error("a cross-site request")]
    CrossSite,
    /// It has been here before.
    #[error("a loop")]
    Loop,
    /// We are shutting down.
    #[error("draining")]
    Draining,
    /// As many requests as may be are being forwarded.
    #[error("too many requests in flight")]
    Overloaded,
    /// The client's body ended early. Nobody is left to read the response, usually.
    #[error("the request body was cut short")]
    RequestCutShort,
    /// What was kept of the body for its second sending is lost.
    #[error("the copy of the request body could not be read")]
    CopyUnreadable,
    /// There is no token to send.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The upstream could not be asked, or did not response.
    #[error("upstream: {0}")]
    Upstream(#[from] UpstreamError),
}

impl Error {
    /// What the client sees.
    pub(super) fn response(&self, request_id: &str) -> http::Response<ResponseBody> {
        let mut response = self.problem().response(request_id).map(ResponseBody::own);
        let headers = response.headers_mut();
        match self {
            Self::Method => {
                headers.insert(header::ALLOW, ALLOWED);
            }
            Self::Draining | Self::UserInfo | Self::Refused(Refusal::TooManyConnections) => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }

    fn problem(&self) -> Problem {
        match self {
            Self::Refused(refusal) => refused(*refusal),
            Self::Method => Problem {
                status: StatusCode::METHOD_NOT_ALLOWED,
                kind: "method-not-forwarded",
                title: "Method not forwarded",
                detail:
                    "CONNECT would open a tunnel, in which nothing can be added to a request: a tool that uses \
                     this as its proxy has to ask for http:// URLs, which are sent on by the upstream's own \
                     scheme. TRACE would echo the credential"
                        .into(),
                error: Some("http_request_denied"),
                retry_after: None,
            },
            Self::ForeignAuthority => Problem {
                status: StatusCode::MISDIRECTED_REQUEST,
                kind: "foreign-authority",
                title: "Not our host",
                detail: "unknown host name. If clients reach this proxy by that name, add it to listen.hosts. \
                         Other sites are not proxied"
                    .into(),
                error: Some("http_request_denied"),
                retry_after: None,
            },
            Self::ForeignTarget => Problem {
                status: StatusCode::MISDIRECTED_REQUEST,
                kind: "foreign-authority",
                title: "Not our host",
                detail: "the client uses this proxy as its http_proxy, and asked for another site. Only requests \
                         to the upstream are forwarded: name the other site in the client's no_proxy"
                    .into(),
                error: Some("http_request_denied"),
                retry_after: None,
            },
            Self::UserInfo => Problem {
                status: StatusCode::BAD_REQUEST,
                kind: "malformed-request",
                title: "Malformed request",
                detail: "the request target has a user name in it".into(),
                error: Some("http_request_error"),
                retry_after: None,
            },
            Self::CrossSite => Problem {
                status: StatusCode::FORBIDDEN,
                kind: "cross-site",
                title: "Cross-site request",
                detail: "a web page of another origin may not use this proxy; \
                         if it is yours, add its origin to listen.origins"
                    .into(),
                error: Some("http_request_denied"),
                retry_after: None,
            },
            Self::Loop => Problem {
                status: StatusCode::LOOP_DETECTED,
                kind: "loop",
                title: "Loop detected",
                detail:
                    "the request has passed this proxy before (Via); upstream.url must not lead back here"
                        .into(),
                error: Some("proxy_loop_detected"),
                retry_after: None,
            },
            Self::Draining => Problem {
                status: StatusCode::SERVICE_UNAVAILABLE,
                kind: "draining",
                title: "Shutting down",
                detail: "the proxy is shutting down; the request was not forwarded".into(),
                error: Some("proxy_internal_error"),
                retry_after: Some(SOON),
            },
            // Not `connection_limit_reached`, which is about the next hop (RFC 9209 §2.3.10): it is our own policy.
            Self::Overloaded => Problem {
                status: StatusCode::SERVICE_UNAVAILABLE,
                kind: "overloaded",
                title: "Too many requests at once",
                detail: "as many requests as listen.max_requests_in_flight allows are being answered; \
                         this one was not forwarded"
                    .into(),
                error: Some("http_request_denied"),
                retry_after: Some(SOON),
            },
            Self::RequestCutShort => Problem {
                status: StatusCode::BAD_REQUEST,
                kind: "request-cut-short",
                title: "Request body cut short",
                detail: "the connection ended before the announced body did".into(),
                error: Some("http_request_error"),
                retry_after: None,
            },
            Self::CopyUnreadable => Problem {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                kind: "replay-failed",
                title: "Replay failed",
                detail: "the token was refused, and the request body, kept in retry.disk_path to be sent again \
                         with a new one, could not be read back; the next request has the new token"
                    .into(),
                error: Some("proxy_internal_error"),
                retry_after: None,
            },
            Self::Unavailable(unavailable) => Problem {
                status: StatusCode::SERVICE_UNAVAILABLE,
                kind: "no-usable-token",
                title: "No usable token",
                detail: unavailable.to_string(),
                error: Some("proxy_internal_error"),
                // Without a time of its own somebody has to act; a minute keeps callers from hammering.
                retry_after: Some(unavailable.retry_after.unwrap_or(Duration::from_secs(60))),
            },
            Self::Upstream(error) => upstream(error),
        }
    }
}

fn refused(refusal: Refusal) -> Problem {
    let (status, kind, title) = match refusal {
        Refusal::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed-request", "Malformed request"),
        Refusal::TargetTooLong => (StatusCode::URI_TOO_LONG, "target-too-long", "Request target too long"),
        Refusal::HeadTooLarge => {
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", "Request head too large")
        }
        Refusal::HeadTimeout | Refusal::BodyTimeout => {
            (StatusCode::REQUEST_TIMEOUT, "request-timeout", "Request not received in time")
        }
        Refusal::TooManyConnections => {
            (StatusCode::SERVICE_UNAVAILABLE, "too-many-connections", "Too many connections")
        }
    };
    let denied = refusal == Refusal::TooManyConnections;
    Problem {
        status,
        kind,
        title,
        detail: refusal.to_string(),
        error: Some(if denied { "http_request_denied" } else { "http_request_error" }),
        retry_after: denied.then_some(SOON),
    }
}

fn upstream(error: &UpstreamError) -> Problem {
    let (status, kind, title, name) = match error {
        UpstreamError::Dns => {
            (StatusCode::BAD_GATEWAY, "upstream-unreachable", "Upstream unreachable", "dns_error")
        }
        UpstreamError::Refused => {
            (StatusCode::BAD_GATEWAY, "upstream-unreachable", "Upstream unreachable", "connection_refused")
        }
        UpstreamError::NoDescriptor => (
            StatusCode::SERVICE_UNAVAILABLE,
            "too-many-connections",
            "Too many connections",
            "connection_limit_reached",
        ),
        UpstreamError::Terminated => {
            (StatusCode::BAD_GATEWAY, "upstream-hung-up", "Upstream hung up", "connection_terminated")
        }
        UpstreamError::Refusing => {
            (StatusCode::BAD_GATEWAY, "upstream-refuses", "Upstream refuses", "destination_unavailable")
        }
        UpstreamError::NoHttp2 => {
            (StatusCode::BAD_GATEWAY, "upstream-no-http2", "Upstream without HTTP/2", "http_protocol_error")
        }
        UpstreamError::TlsProtocol => {
            (StatusCode::BAD_GATEWAY, "upstream-tls", "TLS failed", "tls_protocol_error")
        }
        UpstreamError::TlsCertificate => {
            (StatusCode::BAD_GATEWAY, "upstream-tls", "TLS failed", "tls_certificate_error")
        }
        UpstreamError::ConnectTimeout => {
            (StatusCode::GATEWAY_TIMEOUT, "upstream-silent", "Upstream silent", "connection_timeout")
        }
        UpstreamError::ResponseTimeout => {
            (StatusCode::GATEWAY_TIMEOUT, "upstream-silent", "Upstream silent", "http_response_timeout")
        }
        UpstreamError::ReadTimeout => {
            (StatusCode::GATEWAY_TIMEOUT, "upstream-silent", "Upstream silent", "connection_read_timeout")
        }
        UpstreamError::WriteTimeout => {
            (StatusCode::GATEWAY_TIMEOUT, "upstream-silent", "Upstream silent", "connection_write_timeout")
        }
        UpstreamError::Protocol => (
            StatusCode::BAD_GATEWAY,
            "upstream-malformed",
            "Upstream answer malformed",
            "http_protocol_error",
        ),
        UpstreamError::HeadTooLarge => (
            StatusCode::BAD_GATEWAY,
            "upstream-malformed",
            "Upstream answer malformed",
            "http_response_header_section_size",
        ),
    };
    let retry_after = (*error == UpstreamError::NoDescriptor).then_some(SOON);
    Problem { status, kind, title, detail: error.to_string(), error: Some(name), retry_after }
}

/// What a failed request body means: a refusal if there is one among the causes, else the client cut it short.
pub(super) fn request_body_error(error: &(dyn StdError + 'static)) -> Error {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        let refusal = inner.and_then(|inner| inner.downcast_ref::<Refusal>());
        if let Some(refusal) = refusal.or_else(|| error.downcast_ref::<Refusal>()) {
            return Error::Refused(*refusal);
        }
        cause = error.source();
    }
    Error::RequestCutShort
}
