//! The records that stores keep.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::oauth::TokenSet;
use vbc_base::clock::Timestamp;

/// The key of a record: a credential's name, and the identity it stands for.
///
/// A credential whose user, application or scope changed has another identity and another record,
/// so an old token set is neither reused nor lost. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The credential's name in the configuration.
    pub credential: Arc<str>,
    /// Fingerprint of token URL, client id, user name and scope.
    pub identity: Arc<str>,
}

/// The stored state of one credential, or the login history of one user.
///
/// The login history has its own record, because the service locks the account of a user, not a
/// credential. Several credentials may log in as the same user, and so may several identities of
/// one credential over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Orders the versions of this record. Each write has a higher revision than the record that it
    /// replaces. 0 means that nothing has been stored yet.
    pub revision: u64,
    /// The latest token set. Its tokens may have expired.
    pub tokens: Option<TokenSet>,
    /// The user of the tokens, as the authorization server names it.
    pub subject: Option<String>,
    /// Another user whose tokens a refresh returned. Those tokens are not used.
    pub other_subject: Option<Box<str>>,
    /// Whether the refresh token was presented, with an unknown outcome, while its access token
    /// lived.
    pub refresh_pending: bool,
    /// The tokens are dead, and an interactive login is needed.
    pub login_needed: bool,
    /// Fingerprint of a seed refresh token that was spent or refused.
    pub spent_seed: Option<String>,
    /// The longest lifetime of an issued access token, in seconds; 0 before the first one.
    pub full_lifetime: u64,
    /// How the server issues a second token set; `None` until that was observed.
    pub issuance: Option<Issuance>,
    /// The user's login history, never [`LoginHistory::default`]. Boxed, because a credential's
    /// record has none.
    pub login_history: Option<Box<LoginHistory>>,
    /// A refusal of the application that still counts.
    pub application: Option<Box<ApplicationBlock>>,
}

/// A refusal of the application, or a token endpoint that does not exist.
///
/// The block holds until `next_attempt`, over restarts, for one configuration. The configuration
/// may still be right: an application can be unlocked on the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationBlock {
    /// Fingerprint of the configuration that was refused.
    pub fingerprint: String,
    /// The number of times in a row that the application was refused.
    pub failures: u32,
    /// When the application is presented again.
    pub next_attempt: Timestamp,
    /// The server's error text, without secrets and user names.
    pub reason: String,
}

/// The observed effect of a second login of the same identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Issuance {
    /// The second login returns the current pair, with the rest of its lifetime.
    Reuse,
    /// The second login returns a new access token with the old refresh token, and revokes the old
    /// access token.
    RenewRevoke,
    /// The second login returns a new pair, and the old access token stays valid.
    RenewKeep,
}

/// The login guard's memory of one user's logins. The rules are in `credential::login_guard`.
///
/// Secrets are represented by fingerprints: one for each application that sends the secret, and a
/// salted one of user name and password alone. A fact about a secret is noted under each of its
/// fingerprints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoginHistory {
    /// Fingerprints of secrets that the server refused, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub refused: Vec<String>,
    /// The account was reported locked: no login before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Timestamp>,
    /// Fingerprints of the secrets that were tried since a secret last worked. While the account is
    /// locked, none of them is tried; another secret gets one try.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub attempted: Vec<String>,
    /// Fingerprints of the secret that last worked.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub proven: Vec<String>,
    /// The number of logins that were started and have no known outcome, because of a crash or a
    /// lost response.
    #[serde(skip_serializing_if = "is_default")]
    pub unresolved: u32,
    /// When the last login was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<Timestamp>,
    /// Secrets that were tried and have not worked, oldest first. Each is kept for a day.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trials: Vec<Trial>,
    /// Several secrets were refused within a day. No untested secret is tried until an operator
    /// unlocks.
    #[serde(skip_serializing_if = "is_default")]
    pub exhausted: bool,
}

/// The last login with a secret that is not known to be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Fingerprints of the secret.
    pub secret: Vec<String>,
    /// When the login was started.
    pub at: Timestamp,
    /// The login's outcome.
    #[serde(default, skip_serializing_if = "is_default")]
    pub outcome: TrialOutcome,
}

/// The outcome of a login, as far as the next login depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialOutcome {
    /// The outcome does not show whether the secret is right.
    #[default]
    Open,
    /// A refusal without a readable reason.
    Unexplained,
    /// A refusal.
    Refused,
}

impl LoginHistory {
    /// The history in the form of [`Record::login_history`]: `None` if it is empty.
    pub fn into_kept(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// Whether a field has its default value. A record file leaves such fields out.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads a list of fingerprints, or the single one that format 1 of the record files had.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_each_credential_is_small() {
        let words = |size: usize| size / size_of::<usize>();
        assert!(words(size_of::<Key>()) <= 4, "Key: {}", size_of::<Key>());
        assert!(size_of::<Record>() <= 208, "Record: {}", size_of::<Record>());
        assert!(size_of::<TokenSet>() <= 104, "TokenSet: {}", size_of::<TokenSet>());
    }
}
