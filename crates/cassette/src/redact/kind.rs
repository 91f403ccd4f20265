//! Kinds of values of the VBC API, and the forms in which a value of a kind is harmless.
//!
//! A value is kept only where the table of operations names its place and the value has a form of
//! that place's kind. [`is_harmless`] checks the form; everything else is replaced.

use crate::redact::operations::is_listed_name;
use crate::redact::vocabulary::{PHRASES, WORDS};

/// The kind of a value, which says what stands in its place where it is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Identifies a call, an account, a device: a UUID, up to ten digits, a MAC address.
    Id,
    /// An extension: up to six digits.
    Extension,
    /// A count, a size, a duration or an amount.
    Number,
    /// A time in one of the formats of the API or of HTTP.
    Time,
    /// A word of an enumeration, or several with commas.
    Word,
    /// A fixed text, such as that of an error.
    Phrase,
    /// A link to an operation, or a reference to one.
    Link,
    /// The name of a recording's file, made of identifiers and times.
    File,
    /// A telephone number. An extension in its place is kept.
    Phone,
    /// An e-mail address, or a login name.
    Email,
    /// The name of a person.
    Name,
    /// Free text that a person wrote: a label, a postal address.
    Text,
    /// Never kept: a signing key, digits that a caller typed, what no table names.
    Secret,
}

impl Kind {
    /// Whether its values are about people, and not secrets.
    pub(crate) fn is_personal(self) -> bool {
        matches!(self, Self::Phone | Self::Email | Self::Name | Self::Text)
    }
}

/// No harmless value is longer.
const LONGEST: usize = 512;

/// Whether a value of this kind is harmless as it is written. A [`Kind::Link`] is decided by its
/// parts, and never here.
pub(crate) fn is_harmless(kind: Kind, text: &str) -> bool {
    text.is_empty()
        || text.len() <= LONGEST
            && match kind {
                Kind::Id => is_id(text),
                Kind::Phone if is_date(text) => true,
                Kind::Extension | Kind::Phone => is_digits(text, 1..=6),
                Kind::Number => is_number(text),
                Kind::Time => is_time(text),
                Kind::Word => text.split(',').all(|word| is_word(word.trim())),
                Kind::Phrase => is_phrase(text),
                Kind::File => is_file(text),
                Kind::Link | Kind::Email | Kind::Name | Kind::Text | Kind::Secret => false,
            }
}

fn is_word(text: &str) -> bool {
    WORDS.contains(&text) || is_listed_name(text)
}

pub(crate) fn is_digits(text: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_id(text: &str) -> bool {
    text == "self" || is_digits(text, 1..=10) || is_uuid(text) || is_mac(text) || is_sip(text)
}

pub(crate) fn is_uuid(text: &str) -> bool {
    fits(text, "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh")
}

fn is_mac(text: &str) -> bool {
    // Twelve digits may be a telephone number.
    let is_bare = fits(text, "hhhhhhhhhhhh") && !is_digits(text, 12..=12);
    is_bare || fits(text, "hh-hh-hh-hh-hh-hh") || fits(text, "hh:hh:hh:hh:hh:hh")
}

/// `VH8823637`.
fn is_sip(text: &str) -> bool {
    text.strip_prefix("VH").is_some_and(|digits| is_digits(digits, 6..=9))
}

fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    // Ten digits may be a telephone number.
    is_digits(whole, 1..=9) && is_digits(fraction, 1..=6)
}

/// The times of the API, of its error texts and of HTTP (RFC 9110 §5.6.7).
const TIMES: [&str; 9] = [
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.fZ",
    "%Y-%m-%dT%H:%M:%S%.f%z",
    "%Y-%m-%dT%H:%M:%S%.f%:z",
    "%Y-%b-%d %H:%M:%S%z UTC",
    "%a, %d %b %Y %H:%M:%S GMT",
];

/// A written time, or epoch seconds, milliseconds or microseconds.
fn is_time(text: &str) -> bool {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Until 2033. A telephone number of such a length begins with another digit.
        return matches!(text.len(), 10 | 13 | 16) && text.starts_with('1');
    }
    // A plus that nobody encoded arrives as a blank.
    let text = match text.rsplit_once(' ') {
        Some((time, zone)) if time.contains('T') && is_digits(zone, 4..=4) => &format!("{time}+{zone}"),
        _ => text,
    };
    text.len() <= 35 && TIMES.iter().any(|format| jiff::fmt::strtime::parse(format, text).is_ok())
}

/// A date where other APIs have one: `from` and `to` are not always telephone numbers.
fn is_date(text: &str) -> bool {
    text.starts_with("20") && text.contains('-') && is_time(text)
}

/// One of the fixed texts. One that ends with `*` goes on with a time, a number or listed words.
fn is_phrase(text: &str) -> bool {
    let is_rest = |rest: &str| is_time(rest) || is_number(rest) || rest.split(", ").all(is_word);
    PHRASES.iter().any(|phrase| match phrase.strip_suffix('*') {
        Some(begin) => text.strip_prefix(begin).is_some_and(is_rest),
        None => text == *phrase,
    })
}

/// `12345.6a7639c9-133a-4057-96cb-c43edb4a5282.1796071986000.mp3`
fn is_file(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let Some((suffix, parts)) = parts.split_last() else { return false };
    matches!(*suffix, "mp3" | "wav" | "zip")
        && (1..=4).contains(&parts.len())
        && parts.iter().all(|part| is_id(part) || is_time(part))
}

/// Whether a text fits a pattern, in which `h` is a hexadecimal digit and every other byte itself.
fn fits(text: &str, pattern: &str) -> bool {
    let alike = |(byte, wanted): (u8, u8)| match wanted {
        b'h' => byte.is_ascii_hexdigit(),
        wanted => byte == wanted,
    };
    text.len() == pattern.len() && text.bytes().zip(pattern.bytes()).all(alike)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_harmless_where_it_has_a_form_of_its_kind() {
        let harmless = [
            (Kind::Id, "self"),
            (Kind::Id, "1234500078"),
            (Kind::Id, "22781206-c176-4cde-8110-e6fc10bbb1c5"),
            (Kind::Id, "0004F293C702"),
            (Kind::Id, "79-5C-7D-28-1B-B3"),
            (Kind::Id, "VH8823637"),
            (Kind::Phone, "1001"),
            (Kind::Phone, "2026-11-29"),
            (Kind::Phone, "2026-11-29T08:09:54Z"),
            (Kind::Number, "240000"),
            (Kind::Number, "-0.25"),
            (Kind::Time, "2026-11-30T20:57:06+0000"),
            (Kind::Time, "2026-11-30T20:57:06 0000"),
            (Kind::Time, "2026-12-01T04:24:03.874Z"),
            (Kind::Time, "2026-11-29 08:09:54"),
            (Kind::Time, "2026-Sep-05 16:00:00+0000 UTC"),
            (Kind::Time, "Tue, 01 Dec 2026 04:24:03 GMT"),
            (Kind::Time, "1796083161000000"),
            (Kind::Word, "INBOUND,OUTBOUND"),
            (Kind::Word, "start:DESC"),
            (Kind::Phrase, "User not found"),
            (
                Kind::Phrase,
                "You have exceeded your quota .You can access API after 2026-Sep-05 16:00:00+0000 UTC",
            ),
            (Kind::File, "12345.22781206-c176-4cde-8110-e6fc10bbb1c5.1796071986000.mp3"),
        ];
        for (kind, text) in harmless {
            assert!(is_harmless(kind, text), "{kind:?} {text}");
        }
        let harmful = [
            (Kind::Id, "12345678901"),
            (Kind::Id, "s3cret"),
            (Kind::Id, "22781206-c176-4cde-8110-e6fc10bbb1c5x"),
            (Kind::Phone, "5551234"),
            (Kind::Phone, "12ab"),
            (Kind::Phone, "2025550123"),
            (Kind::Phone, "202-555-0123"),
            (Kind::Phone, "2025-55-0123"),
            (Kind::Number, "1 555 123"),
            (Kind::Number, "2025550123"),
            (Kind::Time, "2025550123"),
            (Kind::Time, "3906123456789"),
            (Kind::Time, "15551234567"),
            (Kind::Time, "2026-11-29 08:09:54 s3cret"),
            (Kind::Time, "s3cret"),
            (Kind::Word, "INBOUND,s3cret"),
            (Kind::Word, &"INBOUND,".repeat(100)),
            (Kind::Phrase, "Authentication failed for jane"),
            (Kind::Phrase, "You have exceeded your quota .You can access API after s3cret"),
            (Kind::File, "12345.s3cret.mp3"),
            (Kind::Name, "Jane"),
            (Kind::Secret, "1"),
        ];
        for (kind, text) in harmful {
            assert!(!is_harmless(kind, text), "{kind:?} {text}");
        }
    }
}
