//! Redaction: finds secrets by name, by form, and by known value.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::Value;

use crate::tokens::Tokens;
use crate::world::World;
use vbc_base::secret::Secret;

/// The replacement of a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// The least length of a secret that is also found within a text. A shorter secret is found only as
/// a whole value: within a text it could be an ordinary word.
const PART: usize = 8;
/// The least length of a word of letters and digits that may be random.
const LONG: usize = 20;
/// The least entropy of a random word, in bits per character. Sentences without spaces also reach
/// it, but have no digits.
const RANDOM: f64 = 3.0;

/// At most this many secrets are also found within words. All others are found only as whole words.
const FEW: usize = 64;

/// The secrets of applications and logins.
#[derive(Default)]
pub(crate) struct Secrets {
    few: Vec<Secret>,
    more: HashSet<String>,
}

impl Secrets {
    pub(crate) fn of(world: &World) -> Self {
        let apps = world.apps.values().map(|app| &app.secret);
        let logins = world.logins.values().map(|login| &login.password);
        let mut all: Vec<&Secret> = apps.chain(logins).collect();
        all.sort_unstable_by_key(|secret| secret.expose());
        let mut secrets = Self::default();
        all.into_iter().for_each(|secret| secrets.add(secret));
        secrets
    }

    /// Adds a secret. Earlier secrets of the same owner are still redacted.
    pub(crate) fn add(&mut self, secret: &Secret) {
        if secret.expose().is_empty() || self.few.contains(secret) {
            return;
        }
        if self.few.len() < FEW {
            self.few.push(secret.clone());
        } else {
            self.more.insert(secret.expose().to_owned());
        }
    }

    fn in_text(&self, text: &str) -> bool {
        let found = |secret: &Secret| {
            let secret = secret.expose();
            text.trim() == secret || (secret.len() >= PART && text.contains(secret))
        };
        self.few.iter().any(found) || (!self.more.is_empty() && self.more.contains(text.trim()))
    }
}

/// The secrets that the simulator knows: those of applications and logins, and every issued token.
pub(crate) struct KnownSecrets<'a> {
    tokens: &'a Tokens,
    secrets: &'a Secrets,
}

impl<'a> KnownSecrets<'a> {
    pub(crate) fn new(tokens: &'a Tokens, secrets: &'a Secrets) -> Self {
        Self { tokens, secrets }
    }

    pub(crate) fn tokens(&self) -> &'a Tokens {
        self.tokens
    }

    /// Whether a text contains one of these secrets.
    pub(crate) fn in_text(&self, text: &str) -> bool {
        self.secrets.in_text(text)
            || words(text).any(|word| self.tokens.knows(word) || self.secrets.more.contains(word))
    }
}

/// The words of a text, split so that a token or a UUID is one word.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).filter(|word| word.len() >= PART)
}

/// Whether a parameter, a header or a member with this name holds a secret.
pub(crate) fn is_secret_name(name: &str) -> bool {
    const PARTS: &[&str] =
        &["token", "secret", "password", "passwd", "passphrase", "apikey", "credential", "cookie"];
    const WORDS: &[&str] = &[
        "pass",
        "pwd",
        "pw",
        "pin",
        "auth",
        "authorization",
        "authentication",
        "session",
        "sessionid",
        "sid",
        "signature",
        "sig",
        "assertion",
        "jwt",
        "bearer",
        "key",
        "ticket",
        "otp",
        "verifier",
        "private",
        "hmac",
    ];
    /// Names that look secret but are not.
    const PLAIN: &[&str] =
        &["token_type", "token_type_hint", "idempotency-key", "x-idempotency-key", "sec-websocket-key"];
    let lower = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    };
    if PLAIN.contains(&lower.as_ref()) {
        return false;
    }
    let is_word = |word: &str| WORDS.iter().any(|known| word.eq_ignore_ascii_case(known));
    PARTS.iter().any(|part| lower.contains(part)) || split(name).any(is_word)
}

/// The words of a name: `client_secret`, `X-Api-Key` and `signingKey` have two or three.
fn split(name: &str) -> impl Iterator<Item = &str> {
    let parts = name.split(|c: char| !c.is_ascii_alphanumeric());
    parts.flat_map(|part| {
        let mut left = Some(part);
        std::iter::from_fn(move || {
            let rest = left.take()?;
            let next = rest.as_bytes().windows(2).position(|two| {
                matches!(two, [before, letter] if before.is_ascii_lowercase() && letter.is_ascii_uppercase())
            });
            let (word, after) = next.map_or((rest, None), |at| {
                let (word, after) = rest.split_at(at + 1);
                (word, Some(after))
            });
            left = after;
            Some(word)
        })
    })
}

/// Whether a text seems to contain a secret: a token, a random word, or credentials with a scheme.
/// An unknown UUID counts as an identifier.
pub(crate) fn looks_secret(text: &str) -> bool {
    // A slash separates words only in a path or a URL: it is also a digit of Base64.
    let is_path = text.starts_with('/') || text.contains("://") || text.contains("</");
    let between = |c: char| !is_of_word(c) || (is_path && c == '/');
    has_jwt(text) || has_scheme(text) || text.split(between).any(is_random)
}

/// Whether a text contains the beginning of a JSON Web Token.
pub(crate) fn has_jwt(text: &str) -> bool {
    text.contains("eyJ")
}

/// Whether a word or a path segment of a text may be random.
pub(crate) fn has_random(text: &str) -> bool {
    text.len() >= LONG && text.split(|c: char| c == '/' || !is_of_word(c)).any(is_random)
}

/// Whether a text contains a secret with its name: `secret=…`, JSON, or the password of a URL.
pub(crate) fn names_secret(text: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "-_%".contains(c);
    let named = |at: usize| {
        let before = text[..at].trim_end_matches(['"', '\'', ' ']);
        let name = before.rsplit(|c| !is_of_name(c)).next().unwrap_or_default();
        is_secret_name(name) && !text[at + 1..].trim_start().is_empty()
    };
    let has_password = |rest: &str| {
        let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    };
    text.match_indices(['=', ':']).any(|(at, _)| named(at))
        || text.match_indices("://").any(|(at, found)| has_password(&text[at + found.len()..]))
}

fn has_scheme(text: &str) -> bool {
    const SCHEMES: &[&str] = &["bearer", "basic", "digest", "negotiate", "ntlm", "apikey", "token", "hawk"];
    let trimmed = text.trim_start();
    let Some((scheme, rest)) = trimmed.split_once([' ', ':', '=']) else { return false };
    !rest.trim().is_empty() && SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known))
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_+/".contains(c)
}

fn is_random(word: &str) -> bool {
    if word.len() < LONG || is_uuid(word) {
        return false;
    }
    let mut counts = [0_u32; 128];
    word.bytes().for_each(|byte| counts[usize::from(byte & 127)] += 1);
    let length = word.len() as f64;
    let bits = |count: u32| {
        let share = f64::from(count) / length;
        -share * share.log2()
    };
    let entropy: f64 = counts.iter().filter(|count| **count > 0).map(|count| bits(*count)).sum();
    let has = |of: fn(&u8) -> bool| word.as_bytes().iter().any(of);
    let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    let of_both_cases = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && !word.contains('-');
    entropy >= RANDOM && (mixed || (of_both_cases && word.len() >= 32))
}

fn is_uuid(word: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    word.len() == 36 && word.bytes().enumerate().all(fits)
}

/// A body as text, with secret members and texts redacted. `None` if secrets cannot be located: in
/// broken JSON, and in bytes that are not text.
pub(crate) fn shown_body(body: &[u8], known: &KnownSecrets<'_>) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        let mut shown = value.clone();
        hide(&mut shown, known);
        // If nothing is redacted, the body keeps the order of its members.
        return Some(if shown == value { text.to_owned() } else { shown.to_string() });
    }
    if text.trim_start().starts_with(['{', '[', '"']) {
        return None;
    }
    let hidden = |line: &str| looks_secret(line) || known.in_text(line);
    let lines = text.split_inclusive('\n');
    Some(lines.map(|line| if hidden(line) { format!("{REDACTED}\n") } else { line.to_owned() }).collect())
}

fn hide(value: &mut Value, known: &KnownSecrets<'_>) {
    match value {
        Value::Object(members) => members.iter_mut().for_each(|(name, value)| {
            if is_secret_name(name) {
                *value = REDACTED.into();
            } else {
                hide(value, known);
            }
        }),
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, known)),
        Value::String(text) if looks_secret(text) || known.in_text(text) => *value = REDACTED.into(),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_secrets_are_known_by_their_words() {
        for name in [
            "access_token",
            "X-Auth-Token",
            "client_secret",
            "Api-Key",
            "apikey",
            "X-Api-Key",
            "signingKey",
            "sid",
            "PASSWORD",
            "userPassword",
            "session",
            "X-Amz-Signature",
            "ticket",
            "X-Vonage-Credential",
            "Set-Cookie",
            "code_verifier",
            "client_assertion",
            "otp",
            "X-Private-Key",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "accept",
            "user-agent",
            "page_size",
            "start:gte",
            "token_type",
            "Idempotency-Key",
            "keyword",
            "monkey",
            "passenger",
            "author",
            "postal_code",
            "sidebar",
            "host",
            "code_challenge",
            "x-request-id",
            "expires_in",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn secrets_are_known_by_their_looks_and_identifiers_are_not_taken_for_them() {
        for text in [
            "Bearer abc",
            "basic czNjcmV0",
            "eyJhbGciOi",
            "token=abc",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "x 9f86d081884c7d659a2feaa0c55ad015 y",
            "dGhpcyBpcyBhIHNlY3JldCBrZXkh",
            "https://sim.test/a/ghp_16C7e42F292c6912E7710c838347Ae178B4a?b=1",
            "QWxhZGRpbjpvcGVuIHNlc2FtZSBhbmQgbW9yZQ==",
        ] {
            assert!(looks_secret(text), "{text}");
        }
        for text in [
            "",
            "application/json",
            "3f0c2d1e-5a6b-4c7d-8e9f-001122334455",
            "Wed, 01 Apr 2026 09:00:00 GMT",
            "2026-03-01T09:00:00.000000+0000",
            "a sentence of words that is quite long and has 20 numbers",
            "http://127.0.0.1:8090/t/vbc.prod/reports",
            "http://127.0.0.1:8090/t/vbc.prod/provisioning/v1/api/accounts/12345/extensions?page=1&page_size=3",
            "/t/vbc.prod/call_recording/api/accounts/12345/company_call_recordings/1234500078",
            "18446744073709551615",
            "aaaaaaaaaaaaaaaaaaaaaaaa1",
        ] {
            assert!(!looks_secret(text), "{text}");
        }
    }

    #[test]
    fn a_secret_with_its_name_is_found_within_a_text() {
        for text in [
            "for=192.0.2.1;secret=x",
            "/a?b=1&access_token=x",
            r#"{"user":"a","password": "x"}"#,
            "'apiKey': 'x'",
            "https://user:x@sim.test/",
            "sid = x",
        ] {
            assert!(names_secret(text), "{text}");
        }
        for text in ["", "secret=", "a=b;c:d", "https://sim.test:80/a@b:c", "09:00", "no secret here"] {
            assert!(!names_secret(text), "{text}");
        }
        // The check takes a single pass.
        for part in ["=", "= ", "a:", "://", "\"", "://:"] {
            let began = std::time::Instant::now();
            names_secret(&(part.repeat(20_000) + &" ".repeat(20_000)));
            assert!(began.elapsed() < std::time::Duration::from_secs(2), "{part}");
        }
    }

    #[test]
    fn a_shown_body_keeps_its_members_and_loses_its_secrets() {
        let state =
            crate::state::State::seeded(std::sync::Arc::default(), vbc_base::clock::Timestamp::UNIX_EPOCH, 0);
        let known = state.known_secrets();
        let shown = |body: &str| shown_body(body.as_bytes(), &known);
        let body =
            json!({ "a": [{ "signingKey": { "x": "s3cret" }, "b": 1 }], "note": "it is sim-password" });
        let hidden = json!({ "a": [{ "signingKey": "[redacted]", "b": 1 }], "note": "[redacted]" });
        assert_eq!(shown(&body.to_string()), Some(hidden.to_string()));
        assert_eq!(
            shown("{\"z\": 1, \"a\": 2}").as_deref(),
            Some("{\"z\": 1, \"a\": 2}"),
            "the members keep their order"
        );
        assert_eq!(shown("{\"access_token\":\"s3c"), None, "broken off");
        assert_eq!(shown("one\ntwo sim-secret\n"), Some("one\n[redacted]\n".into()));
        assert_eq!(shown_body(b"\xff", &known), None);
    }
}
