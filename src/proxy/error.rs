//! The table from error to response. All our own error responses are in it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use thiserror::Error;

use super::gate::GateRejection;
use super::request_body::BodyFailure;
use super::upstream::UpstreamError;
use crate::credential::Unavailable;
use vbc_http::RequestRejection;
use vbc_http::problem::Problem;

/// How long a client should wait after a short failure.
const SOON: Duration = Duration::from_secs(1);

/// The well-known methods that are forwarded.
const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// The response to an `OPTIONS` that may not be forwarded any further (RFC 9110 §7.6.2).
pub(super) fn options() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    response.headers_mut().insert(header::ALLOW, ALLOWED);
    response
}

/// Why a response is our own and not the upstream's.
#[derive(Debug, Error)]
pub(super) enum Error {
    /// It was refused before it became a request.
    #[error("refused: {0}")]
    Refused(RequestRejection),
    /// It is not for us.
    #[error(transparent)]
    NotForUs(#[from] GateRejection),
    /// The proxy is shutting down.
    #[error("draining")]
    Draining,
    /// `listen.max_requests_in_flight` is reached.
    #[error("too many requests in flight")]
    Overloaded,
    /// The request body could not be sent to its end.
    #[error(transparent)]
    Body(BodyFailure),
    /// There is no token.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The upstream could not be reached, or gave no response.
    #[error("upstream: {0}")]
    Upstream(#[from] UpstreamError),
}

impl Error {
    /// The response that the client gets.
    pub(super) fn response(&self, request_id: &str) -> Response<Full<Bytes>> {
        let mut response = self.problem().response(request_id);
        let headers = response.headers_mut();
        match self {
            Self::NotForUs(GateRejection::Method) => {
                headers.insert(header::ALLOW, ALLOWED);
            }
            Self::Draining
            | Self::NotForUs(GateRejection::UserInfo)
            | Self::Refused(RequestRejection::TooManyConnections) => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }

    fn problem(&self) -> Problem {
        match self {
            Self::Refused(refusal) | Self::Body(BodyFailure::Refused(refusal)) => refused(*refusal),
            Self::NotForUs(rejection) => not_for_us(*rejection),
            Self::Draining => Problem {
                retry_after: Some(SOON),
                ..problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    ("draining", "Shutting down"),
                    "proxy_internal_error",
                    "the proxy is shutting down; the request was not forwarded",
                )
            },
            // Not `connection_limit_reached`, which is about the next hop (RFC 9209 §2.3.10).
            Self::Overloaded => Problem {
                retry_after: Some(SOON),
                ..denied(
                    StatusCode::SERVICE_UNAVAILABLE,
                    ("overloaded", "Too many requests at once"),
                    "as many requests as listen.max_requests_in_flight allows are being answered; \
                     this one was not forwarded",
                )
            },
            Self::Body(BodyFailure::CutShort) => problem(
                StatusCode::BAD_REQUEST,
                ("request-cut-short", "Request body cut short"),
                "http_request_error",
                "the connection ended before the announced body did",
            ),
            Self::Body(BodyFailure::CopyUnreadable) => problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                ("replay-failed", "Replay failed"),
                "proxy_internal_error",
                "the token was refused, and the request body, kept in retry.disk_path to be sent again \
                 with a new one, could not be read back; the next request has the new token",
            ),
            Self::Unavailable(unavailable) => Problem {
                // Without a time of its own an operator has to act. A minute keeps clients from
                // hammering.
                retry_after: Some(unavailable.retry_after.unwrap_or(Duration::from_secs(60))),
                ..problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    ("no-usable-token", "No usable token"),
                    "proxy_internal_error",
                    &unavailable.to_string(),
                )
            },
            Self::Upstream(error) => upstream(error),
        }
    }
}

/// A problem of this kind and title. `error` is the type of RFC 9209.
fn problem(
    status: StatusCode,
    (kind, title): (&'static str, &'static str),
    error: &'static str,
    detail: &str,
) -> Problem {
    Problem { status, kind, title, detail: detail.to_owned(), error: Some(error), retry_after: None }
}

fn denied(status: StatusCode, kind: (&'static str, &'static str), detail: &str) -> Problem {
    problem(status, kind, "http_request_denied", detail)
}

fn not_for_us(rejection: GateRejection) -> Problem {
    match rejection {
        GateRejection::Method => denied(
            StatusCode::METHOD_NOT_ALLOWED,
            ("method-not-forwarded", "Method not forwarded"),
            "CONNECT would open a tunnel, in which nothing can be added to a request: a tool that uses \
             this as its proxy has to ask for http:// URLs, which are sent on by the upstream's own \
             scheme. TRACE would echo the credential",
        ),
        GateRejection::ForeignAuthority => denied(
            StatusCode::MISDIRECTED_REQUEST,
            ("foreign-authority", "Not our host"),
            "unknown host name. If clients reach this proxy by that name, add it to listen.hosts. \
             Other sites are not proxied",
        ),
        GateRejection::ForeignTarget => denied(
            StatusCode::MISDIRECTED_REQUEST,
            ("foreign-authority", "Not our host"),
            "the client uses this proxy as its http_proxy, and asked for another site. Only requests \
             to the upstream are forwarded: name the other site in the client's no_proxy",
        ),
        GateRejection::UserInfo => problem(
            StatusCode::BAD_REQUEST,
            ("malformed-request", "Malformed request"),
            "http_request_error",
            "the request target has a user name in it",
        ),
        GateRejection::CrossSite => denied(
            StatusCode::FORBIDDEN,
            ("cross-site", "Cross-site request"),
            "a web page of another origin may not use this proxy; \
             if it is yours, add its origin to listen.origins",
        ),
        GateRejection::Loop => problem(
            StatusCode::LOOP_DETECTED,
            ("loop", "Loop detected"),
            "proxy_loop_detected",
            "the request has passed this proxy before (Via); upstream.url must not lead back here",
        ),
    }
}

fn refused(refusal: RequestRejection) -> Problem {
    let detail = refusal.to_string();
    let (status, kind) = match refusal {
        RequestRejection::Malformed(_) => {
            (StatusCode::BAD_REQUEST, ("malformed-request", "Malformed request"))
        }
        RequestRejection::TargetTooLong => {
            (StatusCode::URI_TOO_LONG, ("target-too-long", "Request target too long"))
        }
        RequestRejection::HeadTooLarge => {
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, ("head-too-large", "Request head too large"))
        }
        RequestRejection::HeadTimeout | RequestRejection::BodyTimeout => {
            (StatusCode::REQUEST_TIMEOUT, ("request-timeout", "Request not received in time"))
        }
        RequestRejection::TooManyConnections => {
            let denied = denied(StatusCode::SERVICE_UNAVAILABLE, TOO_MANY_CONNECTIONS, &detail);
            return Problem { retry_after: Some(SOON), ..denied };
        }
    };
    problem(status, kind, "http_request_error", &detail)
}

const TOO_MANY_CONNECTIONS: (&str, &str) = ("too-many-connections", "Too many connections");
const UNREACHABLE: (&str, &str) = ("upstream-unreachable", "Upstream unreachable");
const TLS: (&str, &str) = ("upstream-tls", "TLS failed");
const SILENT: (&str, &str) = ("upstream-silent", "Upstream silent");
const MALFORMED: (&str, &str) = ("upstream-malformed", "Upstream answer malformed");

fn upstream(error: &UpstreamError) -> Problem {
    let (kind, name) = match error {
        UpstreamError::Dns => (UNREACHABLE, "dns_error"),
        UpstreamError::Refused => (UNREACHABLE, "connection_refused"),
        UpstreamError::NoDescriptor => (TOO_MANY_CONNECTIONS, "connection_limit_reached"),
        UpstreamError::Terminated => (("upstream-hung-up", "Upstream hung up"), "connection_terminated"),
        UpstreamError::Refusing => (("upstream-refuses", "Upstream refuses"), "destination_unavailable"),
        UpstreamError::NoHttp2 => (("upstream-no-http2", "Upstream without HTTP/2"), "http_protocol_error"),
        UpstreamError::TlsProtocol => (TLS, "tls_protocol_error"),
        UpstreamError::TlsCertificate => (TLS, "tls_certificate_error"),
        UpstreamError::ConnectTimeout => (SILENT, "connection_timeout"),
        UpstreamError::ResponseTimeout => (SILENT, "http_response_timeout"),
        UpstreamError::ReadTimeout => (SILENT, "connection_read_timeout"),
        UpstreamError::WriteTimeout => (SILENT, "connection_write_timeout"),
        UpstreamError::Protocol => (MALFORMED, "http_protocol_error"),
        UpstreamError::HeadTooLarge => (MALFORMED, "http_response_header_section_size"),
    };
    let (status, retry_after) = match kind {
        TOO_MANY_CONNECTIONS => (StatusCode::SERVICE_UNAVAILABLE, Some(SOON)),
        SILENT => (StatusCode::GATEWAY_TIMEOUT, None),
        _ => (StatusCode::BAD_GATEWAY, None),
    };
    Problem { retry_after, ..problem(status, kind, name, &error.to_string()) }
}
