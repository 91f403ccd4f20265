//! Classifies a response that issued no token set.

use http::StatusCode;

use super::{Class, Grant};

/// The parts of a response that decide its class.
pub(super) struct Evidence<'a> {
    pub(super) status: StatusCode,
    pub(super) grant: &'a Grant,
    /// The OAuth error, as returned by [`normalized`].
    pub(super) error: Option<&'a str>,
    /// Whether the body carries WSO2's code for an exceeded quota.
    pub(super) throttled: bool,
    /// The server's error text, without secrets and user names.
    pub(super) words: &'a str,
}

impl Evidence<'_> {
    /// Judges a response that is neither a token set nor an unusable 2xx.
    pub(super) fn class(&self) -> Class {
        let unjudged = matches!(self.status.as_u16(), 300..=399 | 408 | 425 | 429);
        if unjudged || self.throttled {
            return Class::NotJudged;
        }
        if self.is_locked() {
            return Class::Locked;
        }
        match self.error {
            Some(error) if !self.is_reason(error) => self.by_error(error),
            _ => self.by_status(),
        }
    }

    /// Judges by the OAuth error (RFC 6749 §5.2 or similar). The status does not decide: servers
    /// disagree about 400, 401 and 500. A refused password must not pass for a temporary failure.
    fn by_error(&self, error: &str) -> Class {
        match error {
            "invalid_client" => Class::Configuration,
            "unauthorized_client" | "unsupported_grant_type" if self.grant.is_refresh() => Class::Unsupported,
            "unauthorized_client" | "unsupported_grant_type" => Class::Configuration,
            "invalid_scope" if !self.grant.is_refresh() => Class::Configuration,
            "server_error" | "temporarily_unavailable" | "slow_down" => Class::Ambiguous,
            _ if refuses(error) => Class::Refused,
            // An unknown error may come from a URL that is not the token endpoint: "Realm does not
            // exist".
            _ if self.is_wrong_url() => Class::WrongUrl,
            // A server that fails has not necessarily refused the refresh token, which may still be
            // valid. A password is not sent again.
            _ if self.status.is_server_error() && self.grant.is_refresh() => Class::Ambiguous,
            _ => Class::Refused,
        }
    }

    /// Judges by the status, because the body contains no OAuth error, or only the status's name.
    /// The response may come from a gateway, a load balancer, or a URL that is not a token
    /// endpoint.
    fn by_status(&self) -> Class {
        match self.status {
            _ if self.is_wrong_url() => Class::WrongUrl,
            StatusCode::SERVICE_UNAVAILABLE => Class::NotJudged,
            // A login can simply be repeated, but a refresh token may be spent.
            status if status.is_success() && !self.grant.is_refresh() => Class::NotJudged,
            status if status.is_client_error() && self.grant.is_refresh() => Class::Refused,
            status if status.is_client_error() => Class::Unexplained,
            _ => Class::Ambiguous,
        }
    }

    /// Whether the error of a 5xx is only the name of a status: `500 {"error": "Bad Gateway"}`.
    fn is_reason(&self, error: &str) -> bool {
        let error = letters(error);
        let is_reason_of = |status: u16| {
            let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
            reason.is_some_and(|reason| letters(reason) == error)
        };
        // nginx uses its own name for a 503.
        self.status.is_server_error()
            && (error == self.status.as_str()
                || error == "servicetemporarilyunavailable"
                || (500..600).any(is_reason_of))
    }

    fn is_wrong_url(&self) -> bool {
        matches!(self.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
    }

    /// WSO2's code 17003, or an `invalid_grant` that says the account is locked.
    fn is_locked(&self) -> bool {
        has_word(self.words, "17003") || (self.error == Some("invalid_grant") && says_locked(self.words))
    }
}

/// An error in the form used for comparisons: trimmed and in lower case.
pub(super) fn normalized(error: &str) -> String {
    error.trim().to_ascii_lowercase()
}

/// Whether this error refuses the grant under any status.
pub(super) fn refuses(error: &str) -> bool {
    let known = matches!(error, "access_denied" | "expired_token");
    known || error.starts_with("invalid_") || error.ends_with("_required")
}

/// The letters and digits of a text, in lower case.
fn letters(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
}

fn has_word(text: &str, wanted: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric()).any(|word| word == wanted)
}

/// Whether a clause of `text` says that the account is locked now. A future lock does not count,
/// and neither does a lock of something else.
fn says_locked(text: &str) -> bool {
    // A full stop within a word does not end a clause: "carbon.super".
    let text = text.to_lowercase().replace(". ", ";");
    let text = text.trim_end();
    let mut clauses = text.split([';', ':', ',', '!', '?', '(', ')', '"', '\n', '\r']);
    clauses.any(|clause| is_locked_clause(clause.trim_end_matches('.')))
}

/// Matches "The user account is locked" and "account has been locked for 30 minutes".
fn is_locked_clause(clause: &str) -> bool {
    let words: Vec<&str> = clause.split_whitespace().collect();
    let Some(at) = words.iter().position(|word| *word == "locked") else { return false };
    let (before, after) = (&words[..at], &words[at + 1..]);
    let verbs = before.iter().rev().take_while(|word| VERB.contains(*word)).count();
    let (leading, verb) = before.split_at(before.len() - verbs);
    let Some((subject, leading)) = leading.split_last() else { return false };
    let account = *subject == "account" || *subject == "user" || subject.contains("[user]");
    // "account locked" is a statement. "user locked" without a verb could be a name.
    account
        && (*subject == "account" || !verb.is_empty())
        && leading.iter().all(|word| LEADING.contains(word) || word.contains("[user]"))
        && !after.iter().any(|word| PENDING.contains(word))
}

/// Words between the account and "locked" in a statement about the present.
const VERB: &[&str] =
    &["is", "was", "has", "have", "been", "got", "currently", "now", "already", "temporarily", "permanently"];
/// Words before the account. Any other word, such as "if" or "until", may turn the statement into a
/// condition.
const LEADING: &[&str] =
    &["the", "this", "that", "your", "user", "user's", "sorry", "error", "because", "since", "as", "account"];
/// Words that turn the statement into one about future attempts.
const PENDING: &[&str] = &["more", "further", "another", "remaining", "next", "if"];

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
