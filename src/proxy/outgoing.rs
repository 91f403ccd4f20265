//! Makes the head of the upstream's request from the client's head.

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header, uri};

use super::Proxy;
use super::error::Error;
use super::upstream::Head;
use crate::credential::Bearer;
use vbc_http::headers::{self, Survey};
use vbc_http::{AsksForWebsocket, RawTarget, RequestRejection};

const NOT_FOR_HTTP2: Error = Error::Refused(RequestRejection::Malformed(
    "the request target contains a byte that HTTP/2 cannot carry, and upstream.http is h2; \
     set upstream.http = \"auto\"",
));

impl Proxy {
    /// The head of the request to the upstream, without the fields that are not meant for it.
    ///
    /// # Errors
    /// Only HTTP/1.1 can carry the target, but `upstream.http` is `h2`.
    pub(super) fn outgoing(&self, parts: Parts, survey: Survey, bearer: Bearer) -> Result<Head, Error> {
        let Parts { method, uri, version, mut headers, extensions, .. } = parts;
        if survey.strip {
            headers::strip_request(&mut headers);
        }
        if survey.accept_encoding {
            headers::narrow_accept_encoding(&mut headers);
        }
        if survey.cookie && survey.browser {
            // Cookies ignore the port, so a browser also sends the cookies of other servers on this
            // host.
            headers.remove(header::COOKIE);
        } else if survey.cookie {
            headers::join_cookies(&mut headers);
        }
        if survey.max_forwards
            && method == Method::OPTIONS
            && let Some(left) = headers::max_forwards(&headers)
        {
            headers.insert(header::MAX_FORWARDS, left.saturating_sub(1).into());
        }
        if survey.content_length {
            headers::keep_one_length(&mut headers);
        }
        // The client gets a 100 when the proxy first reads the request body. Any other expectation
        // is ignored, as in nginx (RFC 9110 §10.1.1 permits 417 but does not require it).
        let expects_continue = survey.expect
            && headers
                .remove(header::EXPECT)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        if survey.transfer_encoding {
            // Stripping removed the field, but the upstream must know that a body follows, even
            // after a GET.
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let upgrade = extensions.get::<AsksForWebsocket>().is_some() && self.upstream.has_http1();
        if upgrade {
            to_websocket(&mut headers);
        }
        let raw_target = extensions.get::<RawTarget>().map(|raw| Box::new(raw.clone()));
        if raw_target.is_some() && !self.upstream.has_http1() {
            return Err(NOT_FOR_HTTP2);
        }
        let client_waits = expects_continue && version != Version::HTTP_10;
        Ok(Head {
            method,
            uri: origin_form(uri),
            raw_target,
            headers,
            bearer,
            version,
            client_waits,
            upgrade,
        })
    }
}

/// Restores the fields of a websocket request, or of its 101, that stripping has removed.
pub(super) fn to_websocket(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// The target in origin form. Path and query stay unchanged, byte for byte.
fn origin_form(uri: Uri) -> Uri {
    if uri.authority().is_none() {
        return uri;
    }
    let mut parts = uri::Parts::default();
    parts.path_and_query = uri.into_parts().path_and_query;
    Uri::from_parts(parts).unwrap_or(Uri::from_static("/"))
}
