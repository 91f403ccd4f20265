//! Maps errors to responses. All error responses that the proxy itself makes are in this file.

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

/// The `Retry-After` of failures that pass quickly.
const SOON: Duration = Duration::from_secs(1);

/// The value of `Allow`: the well-known methods that are forwarded.
const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// The response to an `OPTIONS` with `Max-Forwards: 0`, which must not be forwarded (RFC 9110
/// §7.6.2).
pub(super) fn options() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    response.headers_mut().insert(header::ALLOW, ALLOWED);
    response
}

/// Why the proxy itself responds instead of the upstream.
#[derive(Debug, Error)]
pub(super) enum Error {
    /// The request was refused as malformed, too large or too slow, or its connection was one too
    /// many.
    #[error("refused: {0}")]
    Refused(RequestRejection),
    /// The gate does not accept the request.
    #[error(transparent)]
    NotForUs(#[from] GateRejection),
    /// The proxy is shutting down.
    #[error("the proxy is shutting down")]
    Draining,
    /// `listen.max_requests_in_flight` is reached.
    #[error("too many requests in flight")]
    Overloaded,
    /// The request body could not be sent to its end.
    #[error(transparent)]
    Body(BodyFailure),
    /// There is no usable token.
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
                    "the proxy is shutting down, so the request was not forwarded. Send it again in a moment",
                )
            },
            // Not `connection_limit_reached`, which is about the next hop (RFC 9209 §2.3.10).
            Self::Overloaded => Problem {
                retry_after: Some(SOON),
                ..denied(
                    StatusCode::SERVICE_UNAVAILABLE,
                    ("overloaded", "Too many requests at once"),
                    "the limit listen.max_requests_in_flight is reached, so the request was not forwarded. \
                     Send it again in a moment, or raise the limit",
                )
            },
            Self::Body(BodyFailure::CutShort) => problem(
                StatusCode::BAD_REQUEST,
                ("request-cut-short", "Request body cut short"),
                "http_request_error",
                "the client closed the connection before the request body was complete",
            ),
            Self::Body(BodyFailure::CopyUnreadable) => problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                ("replay-failed", "Replay failed"),
                "proxy_internal_error",
                "the upstream refused the token, and the copy of the request body in retry.disk_path could \
                 not be read, so the request was not retried. Send it again: it then uses a new token",
            ),
            Self::Unavailable(unavailable) => Problem {
                // If no retry time is known, an operator has to act. A minute keeps clients from
                // retrying constantly.
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

/// A problem of this kind and title. `error` is the error type for `Proxy-Status` (RFC 9209).
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
            "CONNECT and TRACE are not forwarded: the proxy cannot add a token inside a CONNECT tunnel, and \
             TRACE would echo the token. A tool that uses this proxy as its http_proxy must request http:// \
             URLs; the proxy sends them to upstream.url",
        ),
        GateRejection::ForeignAuthority => denied(
            StatusCode::MISDIRECTED_REQUEST,
            ("foreign-authority", "Host not served"),
            "unknown host name. If clients reach this proxy by that name, add it to listen.hosts. \
             Other sites are not proxied",
        ),
        GateRejection::ForeignTarget => denied(
            StatusCode::MISDIRECTED_REQUEST,
            ("foreign-authority", "Host not served"),
            "the client uses this proxy as its http_proxy and requested another site. Only requests to the \
             upstream are forwarded. Add the other site to the client's no_proxy",
        ),
        GateRejection::UserInfo => problem(
            StatusCode::BAD_REQUEST,
            ("malformed-request", "Malformed request"),
            "http_request_error",
            "the request target contains a user name, so the request was refused. Remove the user name",
        ),
        GateRejection::CrossSite => denied(
            StatusCode::FORBIDDEN,
            ("cross-site", "Cross-site request"),
            "a web page of another origin tried to use this proxy, so the request was refused. \
             If the page is yours, add its origin to listen.origins",
        ),
        GateRejection::Loop => problem(
            StatusCode::LOOP_DETECTED,
            ("loop", "Loop detected"),
            "proxy_loop_detected",
            "the request has passed through this proxy before (see Via). Change upstream.url so that it does \
             not lead back to this proxy",
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
const MALFORMED: (&str, &str) = ("upstream-malformed", "Upstream response malformed");

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
