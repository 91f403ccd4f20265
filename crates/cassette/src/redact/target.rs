//! Request targets and links: what of a path and a query is kept.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::redact::kind::{Kind, is_harmless};
use crate::redact::operations::{self, SegmentKind};
use crate::redact::{Endpoint, Filter, Scope, parameter_names_secret};

/// Encoded in what is written.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Telephony writes its links without the beginning that the gateway gives them.
const TELEPHONY: &str = "/t/vbc.prod/telephony";

/// Hosts of the service.
const SERVICE: [&str; 3] =
    ["api.vonage.com", "api.auth.prod.vonagenetworks.net", "apimanager.auth.prod.vonagenetworks.net"];

/// A request target in origin-form, with what is not kept replaced.
pub(crate) fn target(filter: &Filter<'_>, method: &str, text: &str) -> (String, Endpoint) {
    let (rest, fragment) =
        text.split_once('#').map_or((text, None), |(rest, fragment)| (rest, Some(fragment)));
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let found = operations::find(method, path);
    let place = filter.place(&found);
    let mut whole = path_of(filter, path, &found.parts, place);
    if let Some(query) = query {
        whole = whole + "?" + &query_of(filter, query, place);
    }
    if let Some(fragment) = fragment {
        whole = whole + "#" + filter.unlisted(fragment, place.keeps_unlisted).as_deref().unwrap_or(fragment);
    }
    (whole, place)
}

fn path_of(filter: &Filter<'_>, path: &str, parts: &[SegmentKind], place: Endpoint) -> String {
    let begin = if path.starts_with('/') { "/" } else { "" };
    let segments = path.strip_prefix('/').unwrap_or(path).split('/').zip(parts);
    let segments = segments.map(|(segment, part)| {
        let plain = percent_decode_str(segment).decode_utf8_lossy();
        let new = match part {
            SegmentKind::Literal => None,
            SegmentKind::Value(kind) => filter.value(*kind, &plain),
            SegmentKind::Unlisted => filter.unlisted(&plain, place.keeps_unlisted),
        };
        new.map_or_else(|| segment.to_owned(), |new| encoded(&new, segment))
    });
    begin.to_owned() + &segments.collect::<Vec<_>>().join("/")
}

/// A query or a form: `a=b&c=d`.
pub(crate) fn query_of(filter: &Filter<'_>, text: &str, place: Endpoint) -> String {
    let pairs = text.split('&').map(|pair| {
        let (name, value) = pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value)));
        let plain = percent_decode_str(name).decode_utf8_lossy();
        let open = || operations::personal(&plain).filter(|_| place.keeps_unlisted);
        let kind = operations::parameter(place.operation, &plain).or_else(open);
        let new_name = match kind {
            Some(_) => name.to_owned(),
            None => filter
                .unlisted(&plain, place.keeps_unlisted)
                .map_or_else(|| name.to_owned(), |new| encoded(&new, name)),
        };
        let Some(value) = value else { return new_name };
        let keeps_unlisted = place.keeps_unlisted && !parameter_names_secret(&plain);
        new_name + "=" + &value_of(filter, kind, value, keeps_unlisted).unwrap_or_else(|| value.to_owned())
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// What stands for a parameter's value, in which a plus may be a blank.
fn value_of(filter: &Filter<'_>, kind: Option<Kind>, value: &str, keeps_unlisted: bool) -> Option<String> {
    let plain = percent_decode_str(value).decode_utf8_lossy();
    let blank = value.replace('+', " ");
    let spaced = percent_decode_str(&blank).decode_utf8_lossy();
    let Some(kind) = kind else {
        return filter.unlisted(&plain, keeps_unlisted).map(|new| encoded(&new, value));
    };
    let is_spaced = matches!(kind, Kind::Name | Kind::Text) || is_harmless(kind, &spaced);
    let new = filter.value(kind, if is_spaced { &spaced } else { &plain })?;
    let new = encoded(&new, value);
    Some(if is_spaced && value.contains('+') { new.replace("%20", "+") } else { new })
}

/// A text encoded as the one in whose place it comes.
fn encoded(new: &str, text: &str) -> String {
    let mut encoded = utf8_percent_encode(new, RESERVED).to_string();
    for (raw, escaped) in [("@", "%40"), ("+", "%2B"), (":", "%3A"), ("(", "%28"), (")", "%29"), ("/", "%2F")]
    {
        if text.contains(raw) {
            encoded = encoded.replace(escaped, raw);
        }
    }
    encoded
}

/// What stands for a link; `None` where it is kept.
pub(crate) fn link(scope: &Scope<'_>, text: &str) -> Option<String> {
    let Scope { filter, base, keeps_unlisted } = *scope;
    let (origin, rest) = match text.find("://") {
        Some(scheme) => {
            let path = text[scheme + 3..].find(['/', '?', '#']).map_or(text.len(), |at| scheme + 3 + at);
            text.split_at(path)
        }
        None => ("", text),
    };
    if !origin.is_empty() && !is_harmless_origin(origin, base) {
        return filter.unlisted(text, keeps_unlisted);
    }
    let is_relative = origin.is_empty() && (rest.starts_with("/cc/") || rest.starts_with("/registration/"));
    let new = if is_relative {
        let (whole, _) = target(filter, "GET", &format!("{TELEPHONY}{rest}"));
        whole[TELEPHONY.len()..].to_owned()
    } else {
        target(filter, "GET", rest).0
    };
    (new != rest).then(|| origin.to_owned() + &new)
}

/// Where the client found the proxy, where the service is, or an address of this machine.
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
