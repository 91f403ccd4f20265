//! The content of a record file: versioned JSON.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use zeroize::Zeroizing;

use super::error::RecordError;
use super::record::{ApplicationBlock, Issuance, Key, LoginHistory, Record, is_default};
use crate::oauth::{AccessToken, TokenSet};
use vbc_base::clock::Timestamp;
use vbc_base::secret::Secret;

/// The format that is written. An unknown format is refused, because the next write would lose its
/// fields.
const FORMAT: u32 = 2;
/// The oldest format that is read. It lacks the fields that format 2 added.
const OLDEST: u32 = 1;

/// Why a record of another key is refused.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Tokens<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other_subject: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "is_default")]
    refresh_pending: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    login_needed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    spent_seed: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "is_default")]
    full_lifetime: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuance: Option<Issuance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    brake: Option<Cow<'a, LoginHistory>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<Cow<'a, ApplicationBlock>>,
}

#[derive(Serialize, Deserialize)]
struct Tokens<'a> {
    access_token: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Cow<'a, str>>,
    issued_at: Timestamp,
    minted_at: Option<Timestamp>,
    expires_at: Timestamp,
    refresh_issued_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<Cow<'a, str>>,
}

/// The content of a record's file. The memory is zeroed on drop, because it contains the tokens.
pub(super) fn encode(key: &Key, record: &Record) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    let file = File {
        format: FORMAT,
        credential: (&*key.credential).into(),
        identity: (&*key.identity).into(),
        revision: record.revision,
        tokens: record.tokens.as_ref().map(|tokens| Tokens {
            access_token: tokens.access_token.expose().into(),
            refresh_token: tokens.refresh_token.as_ref().map(|token| token.expose().into()),
            issued_at: tokens.issued_at,
            minted_at: Some(tokens.minted_at),
            expires_at: tokens.expires_at,
            refresh_issued_at: Some(tokens.refresh_issued_at),
            scope: tokens.scope.as_deref().map(Cow::Borrowed),
        }),
        subject: record.subject.as_deref().map(Cow::Borrowed),
        other_subject: record.other_subject.as_deref().map(Cow::Borrowed),
        refresh_pending: record.refresh_pending,
        login_needed: record.login_needed,
        spent_seed: record.spent_seed.as_deref().map(Cow::Borrowed),
        full_lifetime: record.full_lifetime,
        issuance: record.issuance,
        brake: record.login_history.as_deref().map(Cow::Borrowed),
        application: record.application.as_deref().map(Cow::Borrowed),
    };
    let mut bytes = Zeroizing::new(serde_json::to_vec_pretty(&file)?);
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads the content of the file of `key`.
pub(super) fn decode(key: &Key, bytes: &[u8]) -> Result<Record, RecordError> {
    let Versioned { format } = serde_json::from_slice(bytes).map_err(|error| locate(&error))?;
    if !(OLDEST..=FORMAT).contains(&format) {
        let detail = format!("its format is {format}, this version reads {OLDEST} to {FORMAT}");
        return Err(RecordError::Foreign(detail));
    }
    let file: File<'_> = serde_json::from_slice(bytes).map_err(|error| locate(&error))?;
    // The identity is compared in full, because the file's name has only its first characters.
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
        issuance: file.issuance,
        login_history: file.brake.and_then(|history| history.into_owned().into_kept()),
        application: file.application.map(|block| Box::new(block.into_owned())),
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

fn tokens(tokens: Tokens<'_>) -> Result<TokenSet, RecordError> {
    if tokens.access_token.is_empty() {
        return Err(RecordError::Damaged("tokens.access_token is empty".to_owned()));
    }
    Ok(TokenSet {
        access_token: AccessToken::new(&tokens.access_token),
        refresh_token: tokens.refresh_token.map(Secret::new),
        issued_at: tokens.issued_at,
        minted_at: tokens.minted_at.unwrap_or(tokens.issued_at),
        refresh_issued_at: tokens.refresh_issued_at.unwrap_or(tokens.issued_at),
        expires_at: tokens.expires_at,
        scope: tokens.scope.map(Cow::into_owned),
    })
}

/// The kind and the place of an error in the JSON. The text of serde_json is not used, because it
/// quotes unexpected values, which may be tokens.
pub(super) fn locate(error: &serde_json::Error) -> RecordError {
    let what = match error.classify() {
        Category::Eof => "it is cut off",
        Category::Syntax => "it is not JSON",
        Category::Data => "a field is missing or of the wrong type",
        Category::Io => "it cannot be read",
    };
    RecordError::Damaged(format!("{what}, line {} column {}", error.line(), error.column()))
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
