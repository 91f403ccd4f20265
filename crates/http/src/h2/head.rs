//! Converts HTTP/2 heads to the HTTP/1.1 form that handlers expect, and back.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Uri, uri};
use http_body::Body;

use crate::codec::syntax::decimal;
use crate::codec::valid_host;
use crate::{Limits, RequestRejection};

/// Rejects a head that RFC 9113 §8 leaves ambiguous. Converts any other to the form of an HTTP/1.1
/// head.
pub(super) fn normalize(
    parts: &mut http::request::Parts,
    body: &hyper::body::Incoming,
    limits: &Limits,
) -> Result<(), RequestRejection> {
    const NO_PATH: RequestRejection = RequestRejection::Malformed("the :path is not a path");
    if parts.headers.len() > limits.headers {
        return Err(RequestRejection::HeadTooLarge);
    }
    // The target of CONNECT is an authority; handlers decide by the method alone.
    if parts.method == Method::CONNECT {
        return Ok(());
    }
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > limits.target_bytes {
        return Err(RequestRejection::TargetTooLong);
    }
    if target == "*" && parts.method != Method::OPTIONS {
        return Err(RequestRejection::Malformed("only OPTIONS takes the target *"));
    }
    if !matches!(parts.uri.scheme_str(), None | Some("http" | "https")) {
        return Err(RequestRejection::Malformed("the :scheme is not http or https"));
    }
    check_values(&parts.headers)?;
    check_authority(&parts.uri, &mut parts.headers)?;
    if !body.is_end_stream() && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if parts.uri.authority().is_some() {
        let mut origin_form = uri::Parts::default();
        origin_form.path_and_query = std::mem::take(&mut parts.uri).into_parts().path_and_query;
        parts.uri = Uri::from_parts(origin_form).map_err(|_| NO_PATH)?;
    }
    // The URI type also accepts a query alone, and a fragment alone, which leaves an empty path.
    let is_path = parts.uri.path_and_query().is_some_and(|target| target.as_str().starts_with(['/', '*']));
    if !is_path || parts.uri.path().is_empty() {
        return Err(NO_PATH);
    }
    Ok(())
}

/// Rejects values that would change their meaning. HTTP/1.1 strips white space around a value (RFC
/// 9113 §8.2.1), and the library reads an empty length as 0.
fn check_values(headers: &HeaderMap) -> Result<(), RequestRejection> {
    for (name, value) in headers {
        let value = value.as_bytes();
        if matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t']) {
            return Err(RequestRejection::Malformed("white space around a value"));
        }
        if *name == header::CONTENT_LENGTH && decimal(value).is_none() {
            return Err(RequestRejection::Malformed("content-length is not one number of decimal digits"));
        }
    }
    Ok(())
}

/// Checks that `:authority` and `Host` name the same host, and leaves it in `Host` (RFC 9113
/// §8.3.1).
fn check_authority(uri: &Uri, headers: &mut HeaderMap) -> Result<(), RequestRejection> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(RequestRejection::Malformed("more than one Host"));
    }
    match (uri.authority(), host) {
        (None, None) => Err(RequestRejection::Malformed("a request needs an :authority or a Host")),
        (Some(authority), Some(host))
            if !authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()) =>
        {
            Err(RequestRejection::Malformed("the :authority and the Host differ"))
        }
        (Some(authority), None) => {
            if !valid_host(authority.as_str().as_bytes()) {
                return Err(RequestRejection::Malformed(
                    "the :authority is not a host name with an optional port",
                ));
            }
            let host = HeaderValue::from_str(authority.as_str());
            headers.insert(
                header::HOST,
                host.map_err(|_| RequestRejection::Malformed("the :authority is no host"))?,
            );
            Ok(())
        }
        (_, Some(host)) if !valid_host(host.as_bytes()) => {
            Err(RequestRejection::Malformed("the Host is not a host name with an optional port"))
        }
        _ => Ok(()),
    }
}

/// Removes the fields that describe the connection, such as `Connection`. HTTP/2 forbids them
/// (RFC 9113 §8.2.2).
pub(super) fn strip_connection(headers: &mut HeaderMap) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, KEEP_ALIVE, PROXY_CONNECTION]
    {
        headers.remove(name);
    }
}
