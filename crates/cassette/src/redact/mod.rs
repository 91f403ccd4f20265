//! Decides of each value of a recording whether it is kept.

pub(crate) mod archive;
pub(crate) mod headers;
pub(crate) mod json;
pub(crate) mod kind;
pub(crate) mod operations;
pub(crate) mod pseudonyms;
pub(crate) mod secrets;
pub(crate) mod target;
mod vocabulary;

use percent_encoding::percent_decode_str;

use crate::redact::kind::{Kind, is_harmless};
use crate::redact::operations::{Operation, Shape};
use crate::redact::pseudonyms::{Pseudonyms, is_hidden};
use crate::redact::secrets::KnownSecrets;

/// What is kept of a recording besides what is harmless.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retention {
    /// Telephone numbers, names, e-mail addresses and labels where a table names their place.
    pub(crate) personal: bool,
    /// What belongs to no operation of the API, without the secrets that are known.
    pub(crate) unknown: bool,
    /// What no table names within an operation too: an archive that a person exported.
    pub(crate) unlisted: bool,
}

/// Keeps or replaces a value by the table of operations, the known secrets and [`Retention`].
#[derive(Clone, Copy)]
pub(crate) struct Filter<'f> {
    pub(crate) pseudonyms: &'f Pseudonyms,
    pub(crate) known: &'f KnownSecrets,
    pub(crate) retention: Retention,
}

/// What a request is to the table of operations: decides over its parameters and both bodies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoint {
    pub(crate) operation: Option<&'static Operation>,
    /// What no table names is kept here.
    pub(crate) keeps_unlisted: bool,
}

/// Where values of a message stand: what decides over them.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'s> {
    pub(crate) filter: &'s Filter<'s>,
    /// Scheme and authority under which the recording's client found the proxy: links to it are
    /// kept.
    pub(crate) base: &'s str,
    /// What no table names is kept here.
    pub(crate) keeps_unlisted: bool,
}

impl Scope<'_> {
    /// What stands for a value that no table names, but its field's name may call a secret.
    pub(crate) fn unlisted(&self, name: &str, text: &str) -> Option<String> {
        self.filter.unlisted(text, self.keeps_unlisted && !names_secret(name))
    }
}

impl Endpoint {
    /// What the body of the request may hold; `None` where only its length is recorded.
    pub(crate) fn request(self) -> Option<Shape> {
        self.shape(|operation| operation.request)
    }

    /// What the body of the response may hold; `None` where only its length is recorded.
    pub(crate) fn response(self) -> Option<Shape> {
        self.shape(|operation| operation.response)
    }

    /// What decides over the values of a message at this place.
    pub(crate) fn scope<'s>(self, filter: &'s Filter<'s>, base: &'s str) -> Scope<'s> {
        Scope { filter, base, keeps_unlisted: self.keeps_unlisted }
    }

    fn shape(self, of: impl Fn(&Operation) -> Shape) -> Option<Shape> {
        match self.operation {
            Some(operation) => Some(of(operation)),
            None => self.keeps_unlisted.then_some(Shape::Open),
        }
    }
}

impl Filter<'_> {
    /// The place of a request for this path.
    pub(crate) fn place(&self, found: &operations::PathMatch) -> Endpoint {
        let keeps_unlisted = self.retention.unlisted || (found.operation.is_none() && self.retention.unknown);
        Endpoint { operation: found.operation, keeps_unlisted }
    }

    /// What stands for a value at a place of this kind; `None` where the value is kept.
    pub(crate) fn value(&self, kind: Kind, text: &str) -> Option<String> {
        if is_hidden(text) {
            return None;
        }
        let is_kept = is_harmless(kind, text) || (self.retention.personal && kind.is_personal());
        match is_kept {
            false => Some(self.pseudonyms.of(kind, text)),
            true => self.known.is_in(text.as_bytes()).then(|| self.pseudonyms.opaque(text)),
        }
    }

    /// What stands for a name or a value that no table names; `None` where it is kept.
    pub(crate) fn unlisted(&self, text: &str, keeps_unlisted: bool) -> Option<String> {
        if text.is_empty() || is_hidden(text) {
            return None;
        }
        if !keeps_unlisted {
            return Some(self.pseudonyms.of(Kind::Secret, text));
        }
        if self.known.is_in(text.as_bytes()) {
            let rest = self.known.without(text.as_bytes()).and_then(|rest| String::from_utf8(rest).ok());
            return Some(rest.unwrap_or_else(|| self.pseudonyms.opaque(text)));
        }
        None
    }
}

/// Whether a field's name says that its value is a credential. Used where everything is kept, and
/// where requests are compared: the name of a field is never a reason to keep its value.
pub(crate) fn names_secret(name: &str) -> bool {
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
    const WHOLE: [&str; 9] = ["auth", "jwt", "otp", "pass", "pin", "pwd", "sid", "sig", "ticket"];
    let plain: String = percent_decode_str(name).decode_utf8_lossy().to_ascii_lowercase();
    let bare: String = plain.chars().filter(char::is_ascii_alphanumeric).collect();
    let last = plain.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    PARTS.iter().any(|part| bare.contains(part)) || WHOLE.contains(&last)
}

/// The same for a parameter of a query or a form: codes and keys are credentials there.
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
