//! The content of a record file: versioned JSON, with types of its own.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::error::Category;
use zeroize::Zeroizing;

use super::error::RecordError;
use super::record::{ApplicationBlock, Issuance, Key, LoginHistory, Record, Trial, TrialOutcome};
use crate::clock::Timestamp;
use crate::oauth::{AccessToken, TokenSet};
use crate::secret::Secret;

/// The format that is written. An unknown format is refused: its fields would be lost with the next
/// write.
const FORMAT: u32 = 2;
/// The oldest format that is read. It lacks the fields that format 2 added.
const OLDEST: u32 = 1;

/// The reason for refusing a record of another key.
pub(super) const OTHER_IDENTITY: &str = "it belongs to another identity";

#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct File<'a> {
    format: u32,
    credential: Cow<'a, str>,
    identity: Cow<'a, str>,
    revision: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens: Option<Tokens<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    other_subject: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "is_false")]
    refresh_pending: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    login_needed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spent_seed: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "is_zero")]
    full_lifetime: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuance: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Brake::is_empty")]
    brake: Brake<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    application: Option<Application<'a>>,
}

#[derive(Serialize, Deserialize)]
struct Application<'a> {
    fingerprint: Cow<'a, str>,
    failures: u32,
    next_attempt: Cow<'a, str>,
    reason: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct Tokens<'a> {
    access_token: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Cow<'a, str>>,
    issued_at: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    minted_at: Option<Cow<'a, str>>,
    expires_at: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_issued_at: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<Cow<'a, str>>,
}

#[derive(Default, PartialEq, Serialize, Deserialize)]
struct Brake<'a> {
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    refused: Vec<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    locked_until: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    attempted: Vec<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    proven: Vec<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "is_zero")]
    unresolved: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_attempt: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    trials: Vec<TrialEntry<'a>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    exhausted: bool,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct TrialEntry<'a> {
    secret: Vec<Cow<'a, str>>,
    at: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<Cow<'a, str>>,
}

impl Brake<'_> {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Format 1 had one fingerprint where format 2 has a list.
fn one_or_many<'de, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Cow<'a, str>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one.into()],
        OneOrMany::Many(many) => many.into_iter().map(Cow::Owned).collect(),
    })
}

/// The content of a record's file. The memory is zeroed when dropped, because it has the tokens.
pub(super) fn encode(key: &Key, record: &Record) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    let file = File {
        format: FORMAT,
        credential: borrowed(&key.credential),
        identity: borrowed(&key.identity),
        revision: record.revision,
        tokens: record.tokens.as_ref().map(|tokens| Tokens {
            access_token: borrowed(tokens.access_token.expose()),
            refresh_token: tokens.refresh_token.as_ref().map(|token| borrowed(token.expose())),
            issued_at: time(tokens.issued_at),
            minted_at: Some(time(tokens.minted_at)),
            expires_at: time(tokens.expires_at),
            refresh_issued_at: Some(time(tokens.refresh_issued_at)),
            scope: tokens.scope.as_deref().map(borrowed),
        }),
        subject: record.subject.as_deref().map(borrowed),
        other_subject: record.other_subject.as_deref().map(borrowed),
        refresh_pending: record.refresh_pending,
        login_needed: record.login_needed,
        spent_seed: record.spent_seed.as_deref().map(borrowed),
        full_lifetime: record.full_lifetime,
        issuance: record.issuance.map(|issuance| borrowed(issuance_word(issuance))),
        brake: record.login_history.as_deref().map(brake).unwrap_or_default(),
        application: record.application.as_deref().map(|hold| Application {
            fingerprint: borrowed(&hold.fingerprint),
            failures: hold.failures,
            next_attempt: time(hold.next_attempt),
            reason: borrowed(&hold.reason),
        }),
    };
    let mut bytes = Zeroizing::new(serde_json::to_vec_pretty(&file)?);
    bytes.push(b'\n');
    Ok(bytes)
}

fn brake(record: &LoginHistory) -> Brake<'_> {
    Brake {
        refused: all_borrowed(&record.refused),
        locked_until: record.locked_until.map(time),
        attempted: all_borrowed(&record.attempted),
        proven: all_borrowed(&record.proven),
        unresolved: record.unresolved.into(),
        last_attempt: record.last_attempt.map(time),
        trials: record.trials.iter().map(tried).collect(),
        exhausted: record.exhausted,
    }
}

/// Reads the content of the file of `key`.
pub(super) fn decode(key: &Key, bytes: &[u8]) -> Result<Record, RecordError> {
    let Versioned { format } = serde_json::from_slice(bytes).map_err(|error| locate(&error))?;
    if !(OLDEST..=FORMAT).contains(&format) {
        let detail = format!("its format is {format}, this version reads {OLDEST} to {FORMAT}");
        return Err(RecordError::Foreign(detail));
    }
    let file: File<'_> = serde_json::from_slice(bytes).map_err(|error| locate(&error))?;
    // In full: the file's name has only the first characters.
    if *file.identity != *key.identity || *file.credential != *key.credential {
        return Err(RecordError::Foreign(OTHER_IDENTITY.to_owned()));
    }
    if file.revision == 0 {
        return Err(RecordError::Damaged("its revision is 0".to_owned()));
    }
    Ok(Record {
        revision: file.revision,
        tokens: file.tokens.map(tokens).transpose()?,
        subject: file.subject.map(Cow::into_owned),
        other_subject: file.other_subject.map(|subject| subject.into_owned().into()),
        refresh_pending: file.refresh_pending,
        login_needed: file.login_needed,
        spent_seed: file.spent_seed.map(Cow::into_owned),
        full_lifetime: file.full_lifetime,
        issuance: file.issuance.as_deref().map(issuance).transpose()?,
        login_history: LoginHistory {
            refused: all_owned(file.brake.refused),
            locked_until: instant("brake.locked_until", file.brake.locked_until.as_deref())?,
            attempted: all_owned(file.brake.attempted),
            proven: all_owned(file.brake.proven),
            unresolved: file.brake.unresolved.try_into().unwrap_or(u32::MAX),
            last_attempt: instant("brake.last_attempt", file.brake.last_attempt.as_deref())?,
            trials: file.brake.trials.into_iter().map(trial).collect::<Result<_, _>>()?,
            exhausted: file.brake.exhausted,
        }
        .into_kept(),
        application: file.application.map(application).transpose()?.map(Box::new),
    })
}

pub(super) fn owner(bytes: &[u8]) -> Option<Key> {
    #[derive(Deserialize)]
    struct Owner {
        credential: String,
        identity: String,
    }
    let Owner { credential, identity } = serde_json::from_slice(bytes).ok()?;
    Some(Key { credential: credential.into(), identity: identity.into() })
}

fn tokens(tokens: Tokens<'_>) -> Result<TokenSet, String> {
    if tokens.access_token.is_empty() {
        return Err("tokens.access_token is empty".to_owned());
    }
    let issued_at = required("tokens.issued_at", &tokens.issued_at)?;
    let refresh_issued_at = instant("tokens.refresh_issued_at", tokens.refresh_issued_at.as_deref())?;
    Ok(TokenSet {
        access_token: AccessToken::new(&tokens.access_token),
        refresh_token: tokens.refresh_token.map(Secret::new),
        issued_at,
        minted_at: instant("tokens.minted_at", tokens.minted_at.as_deref())?.unwrap_or(issued_at),
        refresh_issued_at: refresh_issued_at.unwrap_or(issued_at),
        expires_at: required("tokens.expires_at", &tokens.expires_at)?,
        scope: tokens.scope.map(Cow::into_owned),
    })
}

fn application(held: Application<'_>) -> Result<ApplicationBlock, String> {
    Ok(ApplicationBlock {
        fingerprint: held.fingerprint.into_owned(),
        failures: held.failures,
        next_attempt: required("application.next_attempt", &held.next_attempt)?,
        reason: held.reason.into_owned(),
    })
}

fn tried(trial: &Trial) -> TrialEntry<'_> {
    let outcome = match trial.outcome {
        TrialOutcome::Open => None,
        TrialOutcome::Unexplained => Some("unexplained"),
        TrialOutcome::Refused => Some("refused"),
    };
    TrialEntry { secret: all_borrowed(&trial.secret), at: time(trial.at), outcome: outcome.map(borrowed) }
}

fn trial(tried: TrialEntry<'_>) -> Result<Trial, String> {
    let outcome = match tried.outcome.as_deref() {
        None => TrialOutcome::Open,
        Some("unexplained") => TrialOutcome::Unexplained,
        Some("refused") => TrialOutcome::Refused,
        Some(_) => return Err("brake.trials.outcome is not known".to_owned()),
    };
    Ok(Trial { secret: all_owned(tried.secret), at: required("brake.trials.at", &tried.at)?, outcome })
}

fn issuance_word(issuance: Issuance) -> &'static str {
    match issuance {
        Issuance::Reuse => "reuse",
        Issuance::RenewRevoke => "renew_revoke",
        Issuance::RenewKeep => "renew_keep",
    }
}

fn issuance(word: &str) -> Result<Issuance, String> {
    let all = [Issuance::Reuse, Issuance::RenewRevoke, Issuance::RenewKeep];
    let found = all.into_iter().find(|issuance| issuance_word(*issuance) == word);
    found.ok_or_else(|| "issuance is not known".to_owned())
}

fn all_borrowed(values: &[String]) -> Vec<Cow<'_, str>> {
    values.iter().map(|value| borrowed(value)).collect()
}

fn all_owned(values: Vec<Cow<'_, str>>) -> Vec<String> {
    values.into_iter().map(Cow::into_owned).collect()
}

fn borrowed(value: &str) -> Cow<'_, str> {
    Cow::Borrowed(value)
}

/// RFC 3339, in UTC.
fn time(at: Timestamp) -> Cow<'static, str> {
    Cow::Owned(at.to_string())
}

fn instant(field: &str, value: Option<&str>) -> Result<Option<Timestamp>, String> {
    value.map(|value| required(field, value)).transpose()
}

fn required(field: &str, value: &str) -> Result<Timestamp, String> {
    value.parse().map_err(|_| format!("{field} is not an RFC 3339 time"))
}

/// Where and how the JSON is wrong. serde_json's own text is not used: it quotes unexpected values,
/// which may be tokens.
pub(super) fn locate(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        Category::Eof => "it is cut off",
        Category::Syntax => "it is not JSON",
        Category::Data => "a field is missing or of the wrong type",
        Category::Io => "it cannot be read",
    };
    format!("{what}, line {} column {}", error.line(), error.column())
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
