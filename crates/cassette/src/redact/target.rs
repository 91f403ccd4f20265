//! Redacts request targets, queries and links.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::kind::Kind;
use super::operations::{self, SegmentKind};
use super::{Endpoint, Filter, Scope, is_harmless, parameter_names_secret};
use crate::text::split_query;

/// The bytes that are percent-encoded in replacements.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The gateway's prefix of Telephony's paths, which Telephony omits in its links.
const TELEPHONY: &str = "/t/vbc.prod/telephony";

/// Hosts of the service.
const SERVICE: [&str; 3] =
    ["api.vonage.com", "api.auth.prod.vonagenetworks.net", "apimanager.auth.prod.vonagenetworks.net"];

/// Redacts a request target in origin-form.
pub(super) fn target(filter: &Filter<'_>, method: &str, text: &str) -> (String, Endpoint) {
    let (rest, fragment) =
        text.split_once('#').map_or((text, None), |(rest, fragment)| (rest, Some(fragment)));
    let (path, query) = split_query(rest);
    let found = operations::find(method, path);
    let endpoint = filter.endpoint(&found);
    let mut whole = redact_path(filter, path, &found.segments, endpoint);
    if let Some(text) = query {
        whole = whole + "?" + &redact_query(filter, text, endpoint);
    }
    if let Some(fragment) = fragment {
        let new = filter.unlisted(fragment, endpoint.keeps_unlisted);
        whole = whole + "#" + new.as_deref().unwrap_or(fragment);
    }
    (whole, endpoint)
}

fn redact_path(filter: &Filter<'_>, path: &str, kinds: &[SegmentKind], endpoint: Endpoint) -> String {
    let (slash, rest) = path.strip_prefix('/').map_or(("", path), |rest| ("/", rest));
    let segments = rest.split('/').zip(kinds).map(|(segment, kind)| {
        let plain = percent_decode_str(segment).decode_utf8_lossy();
        let new = match kind {
            SegmentKind::Literal => None,
            SegmentKind::Value(kind) => filter.value(*kind, &plain),
            SegmentKind::Unlisted => filter.unlisted(&plain, endpoint.keeps_unlisted),
        };
        new.map_or_else(|| segment.to_owned(), |new| encoded_like(segment, &new))
    });
    slash.to_owned() + &segments.collect::<Vec<_>>().join("/")
}

/// Redacts a query or a form: `a=b&c=d`.
pub(super) fn redact_query(filter: &Filter<'_>, text: &str, endpoint: Endpoint) -> String {
    let pairs = text.split('&').map(|pair| redact_pair(filter, pair, endpoint));
    pairs.collect::<Vec<_>>().join("&")
}

fn redact_pair(filter: &Filter<'_>, pair: &str, endpoint: Endpoint) -> String {
    let (name, value) = pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value)));
    let plain = percent_decode_str(name).decode_utf8_lossy();
    let keeps_unlisted = endpoint.keeps_unlisted;
    let personal = || operations::personal(&plain).filter(|_| keeps_unlisted);
    let kind = operations::parameter(endpoint.operation, &plain).or_else(personal);
    let new_name = if kind.is_some() { None } else { filter.unlisted(&plain, keeps_unlisted) };
    let new_name = new_name.map_or_else(|| name.to_owned(), |new| encoded_like(name, &new));
    let Some(value) = value else { return new_name };
    let keeps_unlisted = keeps_unlisted && !parameter_names_secret(&plain);
    let new_value = replacement(filter, kind, value, keeps_unlisted);
    new_name + "=" + new_value.as_deref().unwrap_or(value)
}

/// Replaces the value of a parameter, in which a plus may stand for a space.
fn replacement(filter: &Filter<'_>, kind: Option<Kind>, value: &str, keeps_unlisted: bool) -> Option<String> {
    let plain = percent_decode_str(value).decode_utf8_lossy();
    let Some(kind) = kind else {
        return filter.unlisted(&plain, keeps_unlisted).map(|new| encoded_like(value, &new));
    };
    let with_spaces = value.replace('+', " ");
    let spaced = percent_decode_str(&with_spaces).decode_utf8_lossy();
    let is_spaced = matches!(kind, Kind::Name | Kind::Text) || is_harmless(kind, &spaced);
    let new = filter.value(kind, if is_spaced { &spaced } else { &plain })?;
    let new = encoded_like(value, &new);
    Some(if is_spaced && value.contains('+') { new.replace("%20", "+") } else { new })
}

/// Encodes a replacement like the original: reserved characters that are literal in the original
/// stay literal.
fn encoded_like(original: &str, new: &str) -> String {
    let mut encoded = utf8_percent_encode(new, RESERVED).to_string();
    for (raw, escaped) in [("@", "%40"), ("+", "%2B"), (":", "%3A"), ("(", "%28"), (")", "%29"), ("/", "%2F")]
    {
        if original.contains(raw) {
            encoded = encoded.replace(escaped, raw);
        }
    }
    encoded
}

/// Replaces a link. `None` if it is kept.
pub(super) fn link(scope: &Scope<'_>, text: &str) -> Option<String> {
    let (origin, rest) = match text.find("://") {
        Some(scheme) => {
            let path = text[scheme + 3..].find(['/', '?', '#']).map_or(text.len(), |at| scheme + 3 + at);
            text.split_at(path)
        }
        None => ("", text),
    };
    if !origin.is_empty() && !is_harmless_origin(origin, scope.base) {
        return scope.filter.unlisted(text, scope.keeps_unlisted);
    }
    let is_relative = origin.is_empty() && (rest.starts_with("/cc/") || rest.starts_with("/registration/"));
    let prefix = if is_relative { TELEPHONY } else { "" };
    let (whole, _) = target(scope.filter, "GET", &format!("{prefix}{rest}"));
    let new = &whole[prefix.len()..];
    (new != rest).then(|| format!("{origin}{new}"))
}

/// Whether an origin is the proxy's own `base`, a host of the service, or on this machine.
fn is_harmless_origin(origin: &str, base: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, ""),
    };
    let is_port = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_loopback = matches!(host, "127.0.0.1" | "localhost" | "[::1]");
    origin == base
        || (matches!(scheme, "http" | "https") && is_port && (is_loopback || SERVICE.contains(&host)))
}
