//! Fields that are removed from messages on their way through.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::codec::syntax::lists;

/// Whether a header is hop-by-hop even if no `Connection` names it.
pub(super) fn is_hop_by_hop(name: &HeaderName) -> bool {
    match *name {
        header::CONNECTION
        | header::TE
        | header::TRANSFER_ENCODING
        | header::UPGRADE
        | header::PROXY_AUTHENTICATE
        | header::PROXY_AUTHORIZATION => true,
        _ => matches!(name.as_str(), "keep-alive" | "proxy-connection"),
    }
}

/// Whether a field carries a credential or the address of the client.
pub(super) fn is_the_clients(name: &HeaderName) -> bool {
    match *name {
        header::AUTHORIZATION | header::FORWARDED => true,
        _ => is_about_the_client(name.as_str()),
    }
}

/// Whether a field is a policy of the upstream's host for browsers. Under the proxy's host it would
/// do harm.
pub(super) fn is_policy(name: &HeaderName) -> bool {
    match *name {
        header::STRICT_TRANSPORT_SECURITY | header::ALT_SVC => true,
        _ => name.as_str().starts_with("access-control-"),
    }
}

/// Removes from a request the fields that must not reach the upstream: everything hop-by-hop (RFC
/// 9110 §7.6.1), every credential of the client, and its address.
///
/// `Host`, `Content-Length` and `Expect` stay, even if a `Connection` line names them. A `TE` that
/// lists `trailers` is reduced to `trailers`.
pub fn strip_request(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::TE).iter();
    let te_trailers = lines.any(|line| lists(line.as_bytes(), b"trailers"));
    strip(headers, is_the_clients);
    if te_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes from a response everything hop-by-hop, and the upstream's policies for browsers:
/// `Access-Control-*`, `Strict-Transport-Security` and `Alt-Svc`. Which pages may read a response
/// is the proxy's decision.
pub fn strip_response(headers: &mut HeaderMap) {
    strip(headers, is_policy);
}

/// Removes hop-by-hop fields, and the fields for which `also` returns true.
fn strip(headers: &mut HeaderMap, also: impl Fn(&HeaderName) -> bool) {
    let mut found: Vec<HeaderName> = Vec::new();
    for name in headers.keys() {
        if *name == header::CONNECTION {
            found.extend(headers.get_all(header::CONNECTION).iter().flat_map(connection_names));
        }
        if is_hop_by_hop(name) || also(name) {
            found.push(name.clone());
        }
    }
    for name in found {
        headers.remove(name);
    }
}

/// The names on a `Connection` line, except the names that decide about framing and routing.
fn connection_names(value: &HeaderValue) -> impl Iterator<Item = HeaderName> {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !matches!(*name, header::HOST | header::CONTENT_LENGTH | header::EXPECT | header::TE))
}

/// Removes trailers that affect framing, routing, authentication or how the content is read (RFC
/// 9110 §6.5.1).
pub fn strip_trailers(trailers: &mut HeaderMap) {
    strip(trailers, |name| match *name {
        header::AUTHORIZATION
        | header::HOST
        | header::CONTENT_LENGTH
        | header::CONTENT_ENCODING
        | header::CONTENT_TYPE
        | header::CONTENT_RANGE
        | header::TRAILER
        | header::SET_COOKIE
        | header::COOKIE
        | header::EXPECT
        | header::VIA
        | header::FORWARDED => true,
        _ => is_about_the_client(name.as_str()) || is_policy(name),
    });
}

/// Whether a non-standard field carries an API key or the address of the client.
fn is_about_the_client(name: &str) -> bool {
    // WSO2 accepts the first two as credentials.
    matches!(name, "apikey" | "internal-key")
        || name
            .strip_prefix("x-")
            .is_some_and(|rest| rest == "api-key" || rest == "real-ip" || rest.starts_with("forwarded-"))
}
