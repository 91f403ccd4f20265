//! Heads with what is to be hidden in them replaced: targets and headers. What has nothing to hide keeps its bytes.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::hide::{Depth, Digits, Hide, Kind, scan};
use super::hint::{Hint, hint};
use super::json;
use crate::headers::is_scheme;

/// Encoded in what is written anew.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Parts of paths behind `users` that are no user's name.
const NO_USERS: [&str; 4] = ["self", "me", "count", "search"];

/// Header fields of which no value is about a person; their numbers have meanings of their own.
const STRUCTURE: [&str; 22] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expires",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "range",
    "retry-after",
];

/// The bytes of a header's value as text: one character a byte, so that none is lost.
pub(super) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The bytes of such a text.
pub(super) fn from_latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

/// A request target (origin-form), or an absolute URL.
pub(super) fn target(text: &str, hide: &mut dyn Hide) -> Option<String> {
    target_at(text, Depth::default(), hide)
}

/// The same for one that stands within something else.
pub(super) fn target_at(text: &str, depth: Depth, hide: &mut dyn Hide) -> Option<String> {
    // A URL within a query makes no URL of the whole.
    let scheme = text.find("://").filter(|scheme| !text[..*scheme].contains(['/', '?', '#']));
    let path_at = match scheme {
        Some(scheme) => text[scheme + 3..].find(['/', '?', '#']).map_or(text.len(), |at| scheme + 3 + at),
        None => 0,
    };
    let (origin, rest) = text.split_at(path_at);
    let new_origin = without_userinfo(origin, hide);
    let (rest, fragment) = match rest.split_once('#') {
        Some((rest, fragment)) => (rest, Some(fragment)),
        None => (rest, None),
    };
    let (path, asked) = match rest.split_once('?') {
        Some((path, asked)) => (path, Some(asked)),
        None => (rest, None),
    };
    let new_path = path_of(path, depth, hide);
    let new_query = asked.and_then(|asked| query(asked, depth, hide));
    let new_fragment = fragment.and_then(|fragment| fragment_of(fragment, depth, hide));
    if new_origin.is_none() && new_path.is_none() && new_query.is_none() && new_fragment.is_none() {
        return None;
    }
    let mut whole =
        new_origin.unwrap_or_else(|| origin.to_owned()) + &new_path.unwrap_or_else(|| path.to_owned());
    if let Some(asked) = asked {
        whole = whole + "?" + new_query.as_deref().unwrap_or(asked);
    }
    if let Some(fragment) = fragment {
        whole = whole + "#" + new_fragment.as_deref().unwrap_or(fragment);
    }
    Some(whole)
}

/// `https://user:password@host`, with what stands before the host replaced.
fn without_userinfo(origin: &str, hide: &mut dyn Hide) -> Option<String> {
    let begin = origin.find("://")? + 3;
    let end = origin.rfind('@').filter(|end| *end > begin)?;
    let hidden = hide.hide(Kind::Credential, &origin[begin..end])?;
    Some(origin[..begin].to_owned() + &hidden + &origin[end..])
}

/// An answer to a login may be in it, or a target of a page's own.
fn fragment_of(fragment: &str, depth: Depth, hide: &mut dyn Hide) -> Option<String> {
    match (fragment.contains(['/', '?']), depth.deeper()) {
        (true, Some(deeper)) => target_at(fragment, deeper, hide),
        _ if fragment.contains('=') => query(fragment, depth, hide),
        _ => component(fragment, Hint::Nothing, depth, hide),
    }
}

fn path_of(path: &str, depth: Depth, hide: &mut dyn Hide) -> Option<String> {
    let mut before = "";
    let mut changed = false;
    let mut segments: Vec<String> = Vec::new();
    for segment in path.split('/') {
        let is_user = before == "users" && is_user_name(segment);
        let hint = if is_user { Hint::Name } else { Hint::Nothing };
        let new = component(segment, hint, depth, hide);
        changed |= new.is_some();
        segments.push(new.unwrap_or_else(|| segment.to_owned()));
        before = segment;
    }
    changed.then(|| segments.join("/"))
}

fn is_user_name(segment: &str) -> bool {
    let is_id = segment.len() == 36 && segment.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    !is_id && segment.bytes().any(|byte| byte.is_ascii_alphabetic()) && !NO_USERS.contains(&segment)
}

/// Fields by which a login is known.
const LOGIN: [&str; 4] = ["code", "response_type", "access_token", "id_token"];

/// The name in a pair; in HTML `&` is written `&amp;`.
fn name_of(pair: &str) -> &str {
    let name = pair.split('=').next().unwrap_or_default();
    name.strip_prefix("amp;").unwrap_or(name)
}

/// A query, or a form: `a=b&c=d`.
pub(super) fn query(text: &str, depth: Depth, hide: &mut dyn Hide) -> Option<String> {
    let mut changed = false;
    // The answer to a login, or the question: elsewhere a state is that of something.
    let is_login = text.split('&').any(|pair| LOGIN.contains(&name_of(pair)));
    let pairs: Vec<String> = text
        .split('&')
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let plain = percent_decode_str(name_of(pair)).decode_utf8_lossy();
            let hint = match &*plain {
                // An authorization code, a key of an API.
                "code" | "key" => Hint::Credential,
                "state" | "nonce" if is_login => Hint::Credential,
                name => hint(name),
            };
            let new_name = field(name, Hint::Nothing, depth, hide);
            let new_value = field(value, hint, depth, hide);
            if new_name.is_none() && new_value.is_none() {
                return pair.to_owned();
            }
            changed = true;
            let equals = if pair.len() > name.len() { "=" } else { "" };
            let (name, value) = (new_name.as_deref().unwrap_or(name), new_value.as_deref().unwrap_or(value));
            format!("{name}{equals}{value}")
        })
        .collect();
    changed.then(|| pairs.join("&"))
}

/// A name or a value of a form, in which a plus may be a blank.
fn field(text: &str, hint: Hint, depth: Depth, hide: &mut dyn Hide) -> Option<String> {
    if !text.contains('+') {
        return component(text, hint, depth, hide);
    }
    let blank = text.replace('+', " ");
    let plain = percent_decode_str(&blank).decode_utf8_lossy();
    // Not all who write a number or an address encode its plus.
    let is_plus = text.contains('@')
        || text.as_bytes().windows(2).any(|pair| pair[0] == b'+' && pair[1].is_ascii_digit());
    if is_plus && !json::is_structured(&plain) {
        return component(text, hint, depth, hide);
    }
    let new = json::string(&plain, hint, depth, hide)?;
    Some(encoded(&new, &blank).replace("%20", "+"))
}

/// One part of a target. What is written anew is encoded as the old one was.
fn component(text: &str, hint: Hint, depth: Depth, hide: &mut dyn Hide) -> Option<String> {
    let plain = percent_decode_str(text).decode_utf8_lossy();
    json::string(&plain, hint, depth, hide).map(|new| encoded(&new, text))
}

/// A text encoded as the one in whose place it comes.
fn encoded(new: &str, text: &str) -> String {
    let mut encoded = utf8_percent_encode(new, RESERVED).to_string();
    let kept = [
        ("@", "%40"),
        ("+", "%2B"),
        (":", "%3A"),
        ("(", "%28"),
        (")", "%29"),
        ("/", "%2F"),
        ("?", "%3F"),
        ("=", "%3D"),
    ];
    for (raw, escaped) in kept {
        if text.contains(raw) {
            encoded = encoded.replace(escaped, raw);
        }
    }
    encoded
}

/// The value of a header field.
pub(super) fn header(name: &str, text: &str, hide: &mut dyn Hide) -> Option<String> {
    match name {
        "authorization" | "proxy-authorization" => {
            // What is no scheme is of the credential.
            let (scheme, rest) =
                text.split_once(' ').filter(|(word, _)| is_scheme(word)).unwrap_or(("", text));
            let hidden = hide.hide(Kind::Credential, rest.trim())?;
            Some(format!("{scheme} {hidden}").trim().to_owned())
        }
        "cookie" => cookies(text, hide),
        "set-cookie" => {
            let (pair, attributes) = text.split_once(';').unwrap_or((text, ""));
            let hidden = cookies(pair, hide)?;
            Some(if attributes.is_empty() { hidden } else { format!("{hidden};{attributes}") })
        }
        "location" | "content-location" | "referer" => target(text, hide),
        "link" => scan(text, Digits::From(10), Depth::default(), hide),
        "www-authenticate" | "proxy-authenticate" | "proxy-status" => {
            scan(text, Digits::None, Depth::default(), hide)
        }
        _ if STRUCTURE.contains(&name) => None,
        "origin" | "user-agent" | "via" | "server" | "x-request-id" | "content-disposition" => {
            scan(text, Digits::From(10), Depth::default(), hide)
        }
        "internal-key" => hide.hide(Kind::Credential, text),
        _ => json::string(text, hint(name), Depth::default(), hide),
    }
}

fn cookies(text: &str, hide: &mut dyn Hide) -> Option<String> {
    let mut changed = false;
    let pairs: Vec<String> = text
        .split(';')
        .map(|pair| {
            let (name, value) = pair.split_once('=').map_or(("", pair), |(name, value)| (name, value));
            let blank = &pair[..pair.len() - pair.trim_start().len()];
            match hide.hide(Kind::Credential, value.trim()).filter(|_| !value.trim().is_empty()) {
                Some(hidden) if name.is_empty() => {
                    changed = true;
                    format!("{blank}{hidden}")
                }
                Some(hidden) => {
                    changed = true;
                    format!("{name}={hidden}")
                }
                None => pair.to_owned(),
            }
        })
        .collect();
    changed.then(|| pairs.join(";"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cassette::pseudonyms::Shapes;

    #[test]
    fn targets_keep_their_form() {
        let shown = |text: &str| target(text, &mut Shapes).unwrap_or_else(|| text.to_owned());
        assert_eq!(shown("/users/jane?email=jane%40x.org&page=1"), "/users/name?email=email&page=1");
        assert_eq!(
            shown("/users/self/calls?start:gte=2026-09-05%2016:00:00"),
            "/users/self/calls?start:gte=2026-09-05%2016:00:00"
        );
        assert_eq!(shown("/a?access_token=x&b"), "/a?access_token=credential&b");
        assert_eq!(shown("/a/%2B15551234567/b?to=15551234567"), "/a/phone/b?to=phone");
        assert_eq!(shown("http://h:1/users/7/x?phone=5551234#top"), "http://h:1/users/7/x?phone=phone#top");
        assert_eq!(
            shown("https://app/cb#access_token=x&id_token=y&state=z&a=1"),
            "https://app/cb#access_token=credential&id_token=credential&state=credential&a=1"
        );
        assert_eq!(shown("/a#/login?code=x&b=1"), "/a#/login?code=credential&b=1");
        assert_eq!(shown("/a?b=1#15551234567"), "/a?b=1#phone");
        assert_eq!(shown("/#a=/?b=".repeat(50_000).as_str()).len(), 400_000);
        assert_eq!(shown("http://jane.example.org"), "http://jane.example.org");
        assert_eq!(shown("http://u:pw@h:1/a"), "http://credential@h:1/a");
        assert_eq!(shown("https://u:pw@h"), "https://credential@h");
        assert_eq!(shown("/oauth?code=abc&state=x"), "/oauth?code=credential&state=credential");
        assert_eq!(shown("/calls?15551234567&j@x.org=1"), "/calls?phone&email=1");
        assert_eq!(shown("/calls?state=active"), "/calls?state=active");
        assert_eq!(
            shown("/a?password=x&back=http://h/b?token=y"),
            "/a?password=credential&back=http://h/b?token=credential"
        );
        assert_eq!(
            shown("/a?f=%7B%22pin%22%3A+%22s+x%22%2C+%22a%22%3A+1%7D&b=x+y"),
            "/a?f=%7B%22pin%22%3A+%22credential%22%2C+%22a%22%3A+1%7D&b=x+y"
        );
        assert_eq!(
            shown("/a?note=my+api+key:+S3+y&to=+15551234567"),
            "/a?note=my+api+key:+credential+y&to=phone"
        );
        assert_eq!(shown("/a?e=j+1@x.org&f=password%2Bx%3A+y"), "/a?e=email&f=password%2Bx%3A+y");
        assert_eq!(shown("/a?f={%22pin%22:%22x%22}"), "/a?f=%7B%22pin%22:%22credential%22%7D");
        let deep = "/?token=x&a=".repeat(100_000);
        assert!(target(&deep, &mut Shapes).is_some_and(|text| !text.contains("=x")));
    }

    #[test]
    fn an_address_is_encoded_as_it_was() {
        struct Other;
        impl Hide for Other {
            fn hide(&mut self, _: Kind, _: &str) -> Option<String> {
                Some("x+y@example.com".into())
            }
        }
        assert_eq!(target("/a?e=j@x.org", &mut Other).unwrap(), "/a?e=x%2By@example.com");
        assert_eq!(target("/a?e=j%40x.org", &mut Other).unwrap(), "/a?e=x%2By%40example.com");
    }

    #[test]
    fn headers_lose_their_credentials_and_keep_their_form() {
        let shown =
            |name: &str, text: &str| header(name, text, &mut Shapes).unwrap_or_else(|| text.to_owned());
        assert_eq!(shown("authorization", "Bearer abc"), "Bearer credential");
        assert_eq!(shown("authorization", "abc"), "credential");
        assert_eq!(
            shown("authorization", "AWS4-HMAC-SHA256 Credential=x, Signature=y"),
            "AWS4-HMAC-SHA256 credential"
        );
        for other in ["Credential=x, Signature=y", "token=s3cret; realm=x", "s3cret x"] {
            assert_eq!(shown("authorization", other), "credential");
        }
        assert_eq!(shown("cookie", "a=1; b=2"), "a=credential; b=credential");
        assert_eq!(shown("set-cookie", "a=1; Path=/; HttpOnly"), "a=credential; Path=/; HttpOnly");
        assert_eq!(shown("x-api-key", "abc"), "credential");
        assert_eq!(shown("revokedaccesstoken", "abc"), "credential");
        assert_eq!(shown("etag", "\"1234567890\""), "\"1234567890\"");
        assert_eq!(shown("location", "/users/jane"), "/users/name");
        assert_eq!(shown("x-caller", "+15551234567"), "phone");
        assert_eq!(
            shown("content-disposition", "attachment; filename=\"15551234567.mp3\""),
            "attachment; filename=\"phone.mp3\""
        );
    }

    #[test]
    fn no_byte_of_a_header_is_lost() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(from_latin1(&latin1(&all)), all);
    }
}
