//! Names that call their values credentials. A name is never a reason to keep a value.

use percent_encoding::percent_decode_str;

/// Names that contain one of these call their value a credential.
const PARTS: [&str; 14] = [
    "token",
    "secret",
    "passw",
    "passcode",
    "passphrase",
    "apikey",
    "authorization",
    "credential",
    "cookie",
    "session",
    "signature",
    "assertion",
    "bearer",
    "verifier",
];

/// Names whose last word is one of these also call their value a credential.
const LAST_WORDS: [&str; 9] = ["auth", "jwt", "otp", "pass", "pin", "pwd", "sid", "sig", "ticket"];

/// Whether the name of a field calls its value a credential.
pub(crate) fn names_secret(name: &str) -> bool {
    let plain: String = percent_decode_str(name).decode_utf8_lossy().to_ascii_lowercase();
    let bare: String = plain.chars().filter(char::is_ascii_alphanumeric).collect();
    let last = plain.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    PARTS.iter().any(|part| bare.contains(part)) || LAST_WORDS.contains(&last)
}

/// Whether the name of a parameter in a query or a form calls its value a credential. Codes, keys,
/// nonces and states are credentials there too.
pub(crate) fn parameter_names_secret(name: &str) -> bool {
    matches!(name, "code" | "key" | "nonce" | "state") || names_secret(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_told_from_others() {
        for name in ["access_token", "clientSecret", "X-Api-Key", "PASSWORD", "voicemail_pin", "pass%77ord"] {
            assert!(names_secret(name), "{name}");
        }
        for name in ["page", "code", "extension", "spin", "status", "keyword"] {
            assert!(!names_secret(name), "{name}");
        }
        assert!(parameter_names_secret("code") && !parameter_names_secret("page"));
    }
}
