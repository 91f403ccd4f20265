//! Removes echoed secrets and user names from a server's error text, so that they are not logged.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded::byte_serialize;

use super::client::ClientIdentity;
use super::grant::Grant;
use vbc_base::secret::Secret;

/// The longest text that is quoted from a server.
const MAX_TEXT: usize = 200;

/// Shorter secrets are hidden only as whole words.
const SHORT: usize = 4;

/// The secrets and user names of one exchange. `Debug` shows none of them.
pub(super) struct Redactor {
    secrets: Vec<Secret>,
    /// Secrets that are short enough to occur in ordinary words, in lower case. They are hidden as
    /// whole words only: gaps in other words would reveal them.
    short: Vec<Secret>,
    users: Vec<String>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

impl Redactor {
    pub(super) fn new(grant: &Grant, client: &ClientIdentity, user: Option<&str>) -> Self {
        let mut redactor = Self { secrets: Vec::new(), short: Vec::new(), users: Vec::new() };
        redactor.hide(client.client_secret.expose());
        redactor.hide_raw(&client.basic_credentials());
        match grant {
            Grant::Password { username, password, .. } => {
                redactor.hide(password.expose());
                redactor.hide_user(username);
            }
            Grant::AuthorizationCode { code, verifier, .. } => {
                redactor.hide(code.expose());
                if let Some(verifier) = verifier {
                    redactor.hide(verifier.expose());
                }
            }
            Grant::RefreshToken { refresh_token } => redactor.hide(refresh_token.expose()),
        }
        if let Some(user) = user {
            redactor.hide_user(user);
        }
        // The longest come first, because one secret or name may contain another.
        redactor.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        redactor.users.sort_by_key(|user| std::cmp::Reverse(user.len()));
        redactor
    }

    /// Hides three forms of a secret: plain, form-encoded and base64.
    fn hide(&mut self, secret: &str) {
        self.hide_raw(secret);
        self.hide_raw(&byte_serialize(secret.as_bytes()).collect::<String>());
        self.hide_raw(&STANDARD.encode(secret));
    }

    fn hide_raw(&mut self, secret: &str) {
        match secret.len() {
            0 => {}
            1..SHORT => self.short.push(Secret::new(secret.to_lowercase())),
            _ => self.secrets.push(Secret::new(secret)),
        }
    }

    /// Hides a user name with its suffix and without. WSO2 echoes both forms.
    fn hide_user(&mut self, user: &str) {
        let bare = user.rsplit_once('@').map(|(bare, _)| bare);
        for name in [Some(user), bare].into_iter().flatten().filter(|name| !name.is_empty()) {
            self.users.push(name.to_lowercase());
        }
    }

    /// `text` without secrets and user names, on one line, of at most 200 characters.
    pub(super) fn clean(&self, text: &str) -> String {
        one_line(&self.hide_in(text))
    }

    /// `text` without secrets and user names. It may have several lines, so it is not for the log.
    pub(super) fn hide_in(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret.expose(), "[redacted]");
        }
        for secret in &self.short {
            text = replace_word(&text, secret.expose(), "[redacted]");
        }
        for user in &self.users {
            text = replace_word(&text, user, "[user]");
        }
        text
    }
}

/// Replaces every whole word that equals `word`, ignoring case. `word` must be in lower case. Only
/// whole words count, because a user called "al" must not change "invalid".
fn replace_word(text: &str, word: &str, by: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some(first) = rest.chars().next() {
        let end = match_end(rest, word);
        let free = |next: Option<char>| !next.is_some_and(char::is_alphanumeric);
        match end {
            Some(end) if free(before) && free(rest[end..].chars().next()) => {
                result.push_str(by);
                before = rest[..end].chars().next_back();
                rest = &rest[end..];
            }
            _ => {
                result.push(first);
                before = Some(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    result
}

/// The end of `word`, if `text` begins with it, ignoring case.
fn match_end(text: &str, word: &str) -> Option<usize> {
    let mut wanted = word.chars();
    for (at, c) in text.char_indices() {
        if wanted.as_str().is_empty() {
            return Some(at);
        }
        for lower in c.to_lowercase() {
            if wanted.next() != Some(lower) {
                return None;
            }
        }
    }
    wanted.as_str().is_empty().then_some(text.len())
}

/// Replaces control characters, line separators and direction marks with single spaces, so that a
/// server cannot forge a log line. Cuts the line after [`MAX_TEXT`] characters.
fn one_line(text: &str) -> String {
    let unfit = |c: char| {
        c.is_control()
            || c.is_whitespace()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let words: Vec<&str> = text.split(unfit).filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    match line.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::ClientAuth;

    fn redactor(username: &str, password: &str) -> Redactor {
        let grant = Grant::Password {
            username: username.to_owned(),
            password: Secret::new(password),
            scope: "openid".to_owned(),
        };
        let client = ClientIdentity {
            client_id: "app".into(),
            client_secret: Secret::new("s3cr&t"),
            auth: Some(ClientAuth::Body),
        };
        Redactor::new(&grant, &client, None)
    }

    #[test]
    fn users_go_with_and_without_suffix_and_in_any_case() {
        let redactor = redactor("al@Org.com@vbc.prod", "hunter2");
        assert_eq!(
            redactor.clean("Authentication failed for AL@org.com@vbc.prod."),
            "Authentication failed for [user]."
        );
        assert_eq!(
            redactor.clean("PRIMARY/al@org.com@carbon.super is locked"),
            "PRIMARY/[user]@carbon.super is locked"
        );
        assert_eq!(self::redactor("al@vbc.prod", "x!").clean("al: invalid"), "[user]: invalid");
    }

    #[test]
    fn secrets_go_in_every_form_they_may_come_back_in() {
        let redactor = redactor("alice", "pass word&");
        let echo =
            format!("a pass word& b pass+word%26 c {} d s3cr&t e s3cr%26t", STANDARD.encode("pass word&"));
        assert_eq!(redactor.clean(&echo), "a [redacted] b [redacted] c [redacted] d [redacted] e [redacted]");
        assert_eq!(redactor.clean(&STANDARD.encode("app:s3cr%26t")), "[redacted]");
    }

    #[test]
    fn text_stays_on_one_line_and_is_cut() {
        let redactor = redactor("alice", "x!");
        assert_eq!(redactor.clean("a\r\n2026 ERROR\u{202e}b\u{1b}[31m\u{2028}c"), "a 2026 ERROR b [31m c");
        assert_eq!(redactor.clean(&"é".repeat(300)).chars().count(), MAX_TEXT + 1);
        assert_eq!(format!("{redactor:?}"), "Redactor { .. }");
    }
}
