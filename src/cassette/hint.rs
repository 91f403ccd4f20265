//! What the names of fields say about their values.

/// What the name of a field says about its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    Credential,
    Phone,
    Name,
    /// A time or an identifier: its digits are no telephone number.
    Opaque,
    Nothing,
}

const CREDENTIALS: [&str; 20] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passcode",
    "passphrase",
    "apikey",
    "authorization",
    "credential",
    "cookie",
    "session",
    "signature",
    "privatekey",
    "assertion",
    "bearer",
    "accesskey",
    "codeverifier",
    "csrf",
    "sessid",
    "xsrf",
];
/// Last words of names that are too short to be looked for within others.
const SHORT: [&str; 8] = ["auth", "jwt", "otp", "pass", "pin", "pw", "pwd", "sig"];
/// Endings of names that only speak of a credential: `token_type`, `password_expires`.
const ABOUT: [&str; 9] =
    ["type", "expires", "expiresin", "expiry", "url", "uri", "enabled", "required", "status"];
const NUMBERS: [&str; 9] =
    ["phone", "mobile", "callerid", "dnis", "msisdn", "number", "destination", "source", "fax"];
/// Names in the sense of computers.
const NO_NAMES: [&str; 9] = [
    "hostname",
    "filename",
    "handsetname",
    "fieldname",
    "eventname",
    "classname",
    "typename",
    "tagname",
    "servicename",
];

/// The last word of a name, in lower case: `pin` of `voicemail_pin` and of `voicemailPin`.
fn last_word(name: &str) -> String {
    let bytes = name.as_bytes();
    let begins = |at: usize| {
        let (before, here) = (bytes[at - 1], bytes[at]);
        !before.is_ascii_alphanumeric() || (before.is_ascii_lowercase() && here.is_ascii_uppercase())
    };
    let from = (1..bytes.len()).rev().find(|at| begins(*at)).unwrap_or(0);
    name.get(from..).unwrap_or_default().to_ascii_lowercase()
}

/// What a field says that stands within another: what is in a credential is one, unless it only speaks of it.
pub(super) fn within(outer: Hint, name: &str) -> Hint {
    let plain = plain(name);
    match hint(name) {
        Hint::Nothing | Hint::Opaque | Hint::Name
            if outer == Hint::Credential && !ABOUT.iter().any(|word| plain.ends_with(word)) =>
        {
            Hint::Credential
        }
        own => own,
    }
}

/// Whether what is within is a credential with it: a session, or an authorization, may have members of all kinds.
pub(super) fn is_whole(name: &str) -> bool {
    !["session", "sessions", "authorization", "auth"].contains(&&*plain(name))
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// What a field's name says; separators and case do not count.
pub(super) fn hint(name: &str) -> Hint {
    let plain = plain(name);
    let has = |words: &[&str]| words.iter().any(|word| plain.contains(word));
    let ends = |words: &[&str]| words.iter().any(|word| plain.ends_with(word));
    let is = |words: &[&str]| words.contains(&plain.as_str());
    let is_key = ends(&["key"]) && !is(&["key"]);
    if ((has(&CREDENTIALS) || is_key) && !ends(&ABOUT)) || SHORT.contains(&&*last_word(name)) {
        Hint::Credential
    } else if ends(&["user", "login", "cnam", "owner", "agent", "customtag", "label"])
        || (ends(&["name"]) && !ends(&NO_NAMES))
    {
        Hint::Name
    } else if has(&["time", "date", "duration", "expires"])
        || is(&["start", "end", "startgte", "startlte", "endgte", "endlte", "exp", "iat"])
    {
        Hint::Opaque
    } else if has(&NUMBERS)
        || is(&["from", "to", "ani", "did", "dids", "tel", "tn", "caller", "callee", "called", "calling"])
    {
        Hint::Phone
    } else if ends(&["id", "uuid", "etag"]) {
        Hint::Opaque
    } else {
        Hint::Nothing
    }
}
