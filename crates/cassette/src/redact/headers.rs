//! Redacts header fields.

use super::kind::{Kind, is_digits};
use super::target::link;
use super::vocabulary::FIELD_WORDS;
use super::{Filter, Scope, is_harmless, is_hidden};
use crate::media;
use crate::text::is_hex;

/// What the value of a field consists of.
#[derive(Clone, Copy)]
enum Rule {
    /// Known HTTP words, and numbers.
    Words,
    /// A value of this kind.
    Value(Kind),
    /// A number, or a time.
    NumberOrTime,
    /// Entity tags, or a time.
    Tags,
    /// The authority under which the client reached the proxy.
    Host,
    /// A link.
    Link,
    /// An authentication scheme and its credentials.
    Credentials,
    /// `name=value` pairs, which are hidden.
    Cookies,
    /// A hidden `name=value` pair and its attributes.
    SetCookie,
    /// A fixed text, or an authentication scheme and its parameters.
    Challenge,
    /// Any text. The value is treated like the value of an unlisted field, but the field's name is
    /// kept.
    Hidden,
}

/// The fields whose names are kept.
const FIELDS: &[(&str, Rule)] = &[
    ("accept", Rule::Words),
    ("accept-charset", Rule::Words),
    ("accept-encoding", Rule::Words),
    ("accept-language", Rule::Words),
    ("accept-ranges", Rule::Words),
    ("access-control-allow-credentials", Rule::Words),
    ("access-control-allow-headers", Rule::Words),
    ("access-control-allow-methods", Rule::Words),
    ("access-control-allow-origin", Rule::Words),
    ("access-control-expose-headers", Rule::Words),
    ("access-control-max-age", Rule::Words),
    ("activityid", Rule::Value(Kind::Id)),
    ("age", Rule::Value(Kind::Number)),
    ("allow", Rule::Words),
    ("authorization", Rule::Credentials),
    ("cache-control", Rule::Words),
    ("connection", Rule::Words),
    ("content-disposition", Rule::Hidden),
    ("content-encoding", Rule::Words),
    ("content-language", Rule::Words),
    ("content-length", Rule::Value(Kind::Number)),
    ("content-location", Rule::Link),
    ("content-range", Rule::Words),
    ("content-security-policy", Rule::Words),
    ("content-type", Rule::Words),
    ("cookie", Rule::Cookies),
    ("date", Rule::Value(Kind::Time)),
    ("etag", Rule::Tags),
    ("expect", Rule::Words),
    ("expires", Rule::NumberOrTime),
    ("forwarded", Rule::Hidden),
    ("host", Rule::Host),
    ("if-match", Rule::Tags),
    ("if-modified-since", Rule::Value(Kind::Time)),
    ("if-none-match", Rule::Tags),
    ("if-range", Rule::Tags),
    ("if-unmodified-since", Rule::Value(Kind::Time)),
    ("last-modified", Rule::Value(Kind::Time)),
    ("link", Rule::Hidden),
    ("location", Rule::Link),
    ("max-forwards", Rule::Value(Kind::Number)),
    ("origin", Rule::Hidden),
    ("pragma", Rule::Words),
    ("proxy-authenticate", Rule::Challenge),
    ("proxy-authorization", Rule::Credentials),
    ("proxy-status", Rule::Words),
    ("range", Rule::Words),
    ("referer", Rule::Link),
    ("retry-after", Rule::NumberOrTime),
    ("server", Rule::Words),
    ("set-cookie", Rule::SetCookie),
    ("te", Rule::Words),
    ("trailer", Rule::Words),
    ("transfer-encoding", Rule::Words),
    ("user-agent", Rule::Hidden),
    ("vary", Rule::Words),
    ("via", Rule::Words),
    ("warning", Rule::Hidden),
    ("www-authenticate", Rule::Challenge),
    ("x-api-key", Rule::Hidden),
    ("x-content-type-options", Rule::Words),
    ("x-forwarded-for", Rule::Hidden),
    ("x-forwarded-host", Rule::Hidden),
    ("x-forwarded-proto", Rule::Hidden),
    ("x-request-id", Rule::Value(Kind::Id)),
];

/// The prefix of a hidden field name.
const UNLISTED: &str = "x-";

/// Redacts a field, whose name must be in lower case. Returns its new name and value.
pub(super) fn redact_field(scope: &Scope<'_>, name: &str, text: &str) -> (String, String) {
    let known = FIELDS.iter().find(|(known, _)| *known == name);
    let (name, value) = match known {
        Some((_, rule)) => (name.to_owned(), value(scope, name, *rule, text)),
        None => (unlisted_name(scope, name), scope.unlisted(name, text)),
    };
    (name, value.unwrap_or_else(|| text.to_owned()))
}

/// Replaces the name of a field that no table lists.
fn unlisted_name(scope: &Scope<'_>, name: &str) -> String {
    let is_kept = name.strip_prefix(UNLISTED).is_some_and(is_hidden)
        || scope.keeps_unlisted && !scope.filter.known.is_in(name.as_bytes());
    if is_kept { name.to_owned() } else { UNLISTED.to_owned() + &scope.filter.pseudonyms.opaque(name) }
}

/// Replaces a value. `None` if it is kept.
fn value(scope: &Scope<'_>, name: &str, rule: Rule, text: &str) -> Option<String> {
    let filter = scope.filter;
    let unlisted = || scope.unlisted(name, text);
    let listed = |kind| if scope.keeps_unlisted { unlisted() } else { filter.value(kind, text) };
    let hides = matches!(rule, Rule::Credentials | Rule::Cookies | Rule::SetCookie);
    if !hides && filter.known.is_in(text.as_bytes()) {
        return filter.unlisted(text, false);
    }
    match rule {
        Rule::Words if is_words(name, text) => None,
        Rule::Words if scope.keeps_unlisted => unlisted(),
        Rule::Words => words_before_details(filter, name, text)
            .or_else(|| media::multipart(text).filter(|_| name == "content-type").map(str::to_owned))
            .or_else(unlisted),
        // Request ids of this proxy are kept.
        Rule::Value(Kind::Id) if is_hex(text, 16) => None,
        Rule::Value(kind) => listed(kind),
        Rule::NumberOrTime if is_digits(text, 1..=6) || text == "-1" => None,
        Rule::NumberOrTime => listed(Kind::Time),
        Rule::Tags if scope.keeps_unlisted => unlisted(),
        Rule::Tags => entity_tags(filter, text),
        Rule::Host if scope.base.split_once("://").is_some_and(|(_, authority)| authority == text) => None,
        Rule::Link => link(scope, text),
        Rule::Credentials => Some(after_scheme(filter, text)),
        Rule::Cookies => Some(cookies(filter, text)),
        Rule::SetCookie => Some(set_cookie(filter, text)),
        Rule::Challenge if is_harmless(Kind::Phrase, text) => None,
        Rule::Challenge => Some(after_scheme(filter, text)),
        Rule::Host | Rule::Hidden => unlisted(),
    }
}

/// Whether a value consists of known HTTP words and numbers, such as `text/plain;charset=utf-8`.
fn is_words(name: &str, text: &str) -> bool {
    if name == "access-control-max-age" {
        return is_digits(text, 1..=6);
    }
    let has_ranges = matches!(name, "range" | "content-range") && text.starts_with("bytes");
    let mut words = text.split([' ', ',', ';', '\t']).filter(|word| !word.is_empty());
    words.all(|word| match word.split_once('=') {
        None => is_word(word) || has_ranges && is_range(word),
        Some((name, value)) => {
            let value = value.trim_matches('"');
            is_word(name) && (is_word(value) || has_ranges && is_range(value) || is_number(name, value))
        }
    })
}

fn is_word(word: &str) -> bool {
    FIELD_WORDS.contains(&&*word.to_ascii_lowercase())
}

fn is_range(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit() || b"-/*".contains(&byte))
        && word.split(['-', '/']).all(|digits| digits.len() <= 9)
}

/// Whether a parameter is a harmless number. Any other number could be a telephone number or a PIN.
fn is_number(name: &str, number: &str) -> bool {
    match name {
        "q" => number.parse::<f32>().is_ok_and(|weight| (0.0..=1.0).contains(&weight)) && number.len() <= 5,
        "max-age" | "s-maxage" | "max-stale" | "min-fresh" | "stale-while-revalidate" | "stale-if-error" => {
            is_digits(number, 1..=8)
        }
        "timeout" | "max" | "received-status" => is_digits(number, 1..=3),
        _ => false,
    }
}

/// Hides the details of a `Proxy-Status`, which are free text.
fn words_before_details(filter: &Filter<'_>, name: &str, text: &str) -> Option<String> {
    let (words, details) = text.split_once("; details=\"")?;
    let details = filter.pseudonyms.opaque(details.trim_end_matches('"'));
    is_words(name, words).then(|| format!("{words}; details=\"{details}\""))
}

/// Replaces entity tags (RFC 9110 §8.8.3) with other entity tags.
fn entity_tags(filter: &Filter<'_>, text: &str) -> Option<String> {
    if text == "*" || text.contains(':') && is_harmless(Kind::Time, text) {
        return None;
    }
    let tags = text.split(',').map(|tag| {
        let (weak, tag) = tag.trim().strip_prefix("W/").map_or(("", tag.trim()), |tag| ("W/", tag));
        format!("{weak}\"{}\"", filter.pseudonyms.opaque(tag.trim_matches('"')))
    });
    Some(tags.collect::<Vec<_>>().join(", "))
}

/// Hides everything after a known authentication scheme.
fn after_scheme(filter: &Filter<'_>, text: &str) -> String {
    const SCHEMES: [&str; 5] = ["Bearer", "Basic", "Digest", "OAuth", "OAuth2"];
    let split = text.split_once(' ').and_then(|(scheme, rest)| {
        let known = SCHEMES.into_iter().find(|known| known.eq_ignore_ascii_case(scheme))?;
        Some((known, rest.trim()))
    });
    match split {
        Some((scheme, rest)) => format!("{scheme} {}", filter.pseudonyms.opaque(rest)),
        None => filter.pseudonyms.opaque(text),
    }
}

/// Hides the names and values of a `Cookie`.
fn cookies(filter: &Filter<'_>, text: &str) -> String {
    let pairs = text.split(';').filter(|pair| !pair.trim().is_empty()).map(|pair| cookie(filter, pair));
    pairs.collect::<Vec<_>>().join("; ")
}

fn cookie(filter: &Filter<'_>, pair: &str) -> String {
    let hidden = |text: &str| filter.pseudonyms.opaque(text.trim());
    match pair.split_once('=') {
        Some((name, value)) if value.trim().is_empty() => format!("{}=", hidden(name)),
        Some((name, value)) => format!("{}={}", hidden(name), hidden(value)),
        None => hidden(pair),
    }
}

/// Hides a `Set-Cookie` except for harmless attributes (RFC 6265 §4.1.2).
fn set_cookie(filter: &Filter<'_>, text: &str) -> String {
    let mut parts = text.split(';');
    let pair = cookie(filter, parts.next().unwrap_or_default());
    let is_kept = |attribute: &&str| {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        match &*name.trim().to_ascii_lowercase() {
            "secure" | "httponly" | "partitioned" => value.is_empty(),
            "path" => value == "/",
            "samesite" => matches!(&*value.to_ascii_lowercase(), "lax" | "strict" | "none"),
            "max-age" => is_harmless(Kind::Number, value),
            "expires" => is_harmless(Kind::Time, value),
            _ => false,
        }
    };
    let kept = parts.filter(is_kept).map(|attribute| format!("; {}", attribute.trim()));
    pair + &kept.collect::<String>()
}
