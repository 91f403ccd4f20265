//! Kinds of values of the VBC API, and the forms of identifiers, numbers and times.

use crate::text::is_hex;

/// The kind of a value. It decides which forms are harmless, and what replaces other values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier of a call, an account or a device: a UUID, up to ten digits, a MAC address, a
    /// SIP id, or `self`.
    Id,
    /// An extension: up to six digits.
    Extension,
    /// A count, a size, a duration or an amount.
    Number,
    /// A time in one of the formats of the API or of HTTP.
    Time,
    /// A word of an enumeration, or several words separated by commas.
    Word,
    /// A fixed text, such as an error message.
    Phrase,
    /// An absolute or relative link to an operation.
    Link,
    /// The name of a recording's file, made of identifiers and times.
    File,
    /// A telephone number. An extension in place of the number is kept.
    Phone,
    /// An e-mail address or a login name.
    Email,
    /// The name of a user or a caller.
    Name,
    /// Free text that a user entered: a label, a postal address.
    Text,
    /// Never kept: a signing key, digits that a caller typed, anything that no table lists.
    Secret,
}

impl Kind {
    /// Whether values of this kind are personal data. Secrets do not count as personal data.
    pub(crate) fn is_personal(self) -> bool {
        matches!(self, Self::Phone | Self::Email | Self::Name | Self::Text)
    }
}

pub(crate) fn is_digits(text: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

pub(crate) fn is_id(text: &str) -> bool {
    text == "self" || is_digits(text, 1..=10) || is_uuid(text) || is_mac(text) || is_sip(text)
}

pub(crate) fn is_uuid(text: &str) -> bool {
    fits(text, "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh")
}

fn is_mac(text: &str) -> bool {
    // Twelve digits could be a telephone number.
    let is_bare = is_hex(text, 12) && !is_digits(text, 12..=12);
    is_bare || fits(text, "hh-hh-hh-hh-hh-hh") || fits(text, "hh:hh:hh:hh:hh:hh")
}

/// Whether a text is a SIP id, such as `VH8823637`.
fn is_sip(text: &str) -> bool {
    text.strip_prefix("VH").is_some_and(|digits| is_digits(digits, 6..=9))
}

pub(crate) fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    // Ten digits could be a telephone number.
    is_digits(whole, 1..=9) && is_digits(fraction, 1..=6)
}

/// The time formats of the API, of its error texts and of HTTP (RFC 9110 §5.6.7).
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

/// Whether a text is a time: a formatted one, or epoch seconds, milliseconds or microseconds.
pub(crate) fn is_time(text: &str) -> bool {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Epoch times until 2033 start with 1. Telephone numbers of these lengths start with
        // another digit.
        return matches!(text.len(), 10 | 13 | 16) && text.starts_with('1');
    }
    // A plus sign that was not percent-encoded arrives as a space.
    let text = match text.rsplit_once(' ') {
        Some((time, zone)) if time.contains('T') && is_digits(zone, 4..=4) => &format!("{time}+{zone}"),
        _ => text,
    };
    text.len() <= 35 && TIMES.iter().any(|format| jiff::fmt::strtime::parse(format, text).is_ok())
}

/// Whether a text fits a pattern. `h` stands for a hexadecimal digit, every other byte for itself.
fn fits(text: &str, pattern: &str) -> bool {
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(byte, wanted)| match wanted {
            b'h' => byte.is_ascii_hexdigit(),
            _ => byte == wanted,
        })
}
