//! Encodings of a secret.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// Names that no specification contains.
pub(super) const NAMES: [&str; 12] =
    ["sid", "ticket", "x", "zqk17", "o", "jsessionid", "assertion", "note", "n0nce", "data2", "Gruss", "t-0"];

#[derive(Clone, Copy, Debug)]
pub(super) enum Encoding {
    Raw,
    Percent,
    DoublePercent,
    /// Base64 of the secret after this many other bytes.
    Base64(usize),
    Base64Url,
    Hex,
    UpperHex,
    SwappedCase,
    /// Two pieces, which go to two places.
    Halves,
    Spaced,
    /// Escaped as in JSON and JavaScript.
    Escaped,
    Entities,
}

impl Encoding {
    pub(super) const ALL: [Self; 14] = [
        Self::Raw,
        Self::Percent,
        Self::DoublePercent,
        Self::Base64(0),
        Self::Base64(1),
        Self::Base64(2),
        Self::Base64Url,
        Self::Hex,
        Self::UpperHex,
        Self::SwappedCase,
        Self::Halves,
        Self::Spaced,
        Self::Escaped,
        Self::Entities,
    ];

    /// Whether each character becomes several.
    pub(super) fn is_lengthy(self) -> bool {
        matches!(self, Self::DoublePercent | Self::Escaped | Self::Entities)
    }

    /// The secret in this encoding, in one piece or in two.
    pub(super) fn pieces(self, secret: &str) -> Vec<String> {
        let each = |write: &dyn Fn(u8) -> String| vec![secret.bytes().map(write).collect::<String>()];
        match self {
            Self::Raw => vec![secret.to_owned()],
            Self::Percent => each(&|byte| format!("%{byte:02X}")),
            Self::DoublePercent => each(&|byte| format!("%25{byte:02x}")),
            Self::Base64(before) => vec![STANDARD.encode(format!("{}{secret}", &"xy"[..before]))],
            Self::Base64Url => vec![URL_SAFE_NO_PAD.encode(secret)],
            Self::Hex => each(&|byte| format!("{byte:02x}")),
            Self::UpperHex => each(&|byte| format!("{byte:02X}")),
            Self::SwappedCase => each(&|byte| {
                let swapped = if byte.is_ascii_lowercase() {
                    byte.to_ascii_uppercase()
                } else {
                    byte.to_ascii_lowercase()
                };
                char::from(swapped).to_string()
            }),
            Self::Halves => {
                let (one, other) = secret.split_at(secret.len() / 2);
                vec![one.to_owned(), other.to_owned()]
            }
            Self::Spaced => {
                let parts =
                    secret.as_bytes().chunks(3).map(|part| String::from_utf8_lossy(part).into_owned());
                vec![parts.collect::<Vec<_>>().join(" ")]
            }
            Self::Escaped => each(&|byte| format!("\\u{byte:04x}")),
            Self::Entities => each(&|byte| format!("&#x{byte:x};")),
        }
    }
}
