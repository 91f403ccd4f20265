//! The content of a record file: versioned JSON. The inner types know nothing of it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use zeroize::Zeroizing;

use super::{BrakeRecord, Key, Record};
use crate::clock::Timestamp;
use crate::oauth::TokenSet;
use crate::secret::Secret;

/// The only format there is. A reader refuses what it does not know instead of dropping fields on the next write.
const FORMAT: u32 = 1;

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
    #[serde(default)]
    brake: Brake<'a>,
}

#[derive(Serialize, Deserialize)]
struct Tokens<'a> {
    access_token: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Cow<'a, str>>,
    issued_at: Cow<'a, str>,
    expires_at: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<Cow<'a, str>>,
}

#[derive(Default, Serialize, Deserialize)]
struct Brake<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spent_seed: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    locked_until: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempted: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proven: Option<Cow<'a, str>>,
    #[serde(default)]
    unresolved: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_attempt: Option<Cow<'a, str>>,
}

/// Writes `record` as the content of its file. The memory is zeroed when it is dropped: it holds the tokens.
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
            expires_at: time(tokens.expires_at),
            scope: tokens.scope.as_deref().map(borrowed),
        }),
        brake: Brake {
            refused: record.brake.refused.as_deref().map(borrowed),
            spent_seed: record.brake.spent_seed.as_deref().map(borrowed),
            locked_until: record.brake.locked_until.map(time),
            attempted: record.brake.attempted.as_deref().map(borrowed),
            proven: record.brake.proven.as_deref().map(borrowed),
            unresolved: record.brake.unresolved,
            last_attempt: record.brake.last_attempt.map(time),
        },
    };
    let mut bytes = Zeroizing::new(serde_json::to_vec_pretty(&file)?);
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads the content of the file of `key`. The error says what is wrong and quotes nothing.
pub(super) fn decode(key: &Key, bytes: &[u8]) -> Result<Record, String> {
    let Versioned { format } = serde_json::from_slice(bytes).map_err(|error| locate(&error))?;
    if format != FORMAT {
        return Err(format!("its format is {format}, this version reads {FORMAT}"));
    }
    let file: File<'_> = serde_json::from_slice(bytes).map_err(|error| locate(&error))?;
    // In full: the file's name carries only the first characters.
    if file.identity != key.identity || file.credential != key.credential {
        return Err("it belongs to another identity".to_owned());
    }
    if file.revision == 0 {
        return Err("its revision is 0".to_owned());
    }
    Ok(Record {
        revision: file.revision,
        tokens: file.tokens.map(tokens).transpose()?,
        brake: BrakeRecord {
            refused: file.brake.refused.map(Cow::into_owned),
            spent_seed: file.brake.spent_seed.map(Cow::into_owned),
            locked_until: instant("brake.locked_until", file.brake.locked_until.as_deref())?,
            attempted: file.brake.attempted.map(Cow::into_owned),
            proven: file.brake.proven.map(Cow::into_owned),
            unresolved: file.brake.unresolved,
            last_attempt: instant("brake.last_attempt", file.brake.last_attempt.as_deref())?,
        },
    })
}

fn tokens(tokens: Tokens<'_>) -> Result<TokenSet, String> {
    if tokens.access_token.is_empty() {
        return Err("tokens.access_token is empty".to_owned());
    }
    Ok(TokenSet {
        access_token: Secret::new(tokens.access_token),
        refresh_token: tokens.refresh_token.map(Secret::new),
        issued_at: required("tokens.issued_at", &tokens.issued_at)?,
        expires_at: required("tokens.expires_at", &tokens.expires_at)?,
        scope: tokens.scope.map(Cow::into_owned),
    })
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

/// Where and how the JSON is wrong. serde_json's own text is not used: it quotes the value it did not expect, and
/// the value may be a token.
fn locate(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        Category::Eof => "it is cut off",
        Category::Syntax => "it is not JSON",
        Category::Data => "a field is missing or of the wrong type",
        Category::Io => "it cannot be read",
    };
    format!("{what}, line {} column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::super::contract::{full_record, key};
    use super::*;

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let key = key("default", "0123456789abcdef");
        for record in [full_record(1), Record { revision: 7, ..Record::default() }] {
            let bytes = encode(&key, &record).unwrap();
            assert_eq!(decode(&key, &bytes).unwrap(), record);
        }
    }

    #[test]
    fn every_cut_is_noticed_and_nothing_is_quoted() {
        let key = key("default", "0123456789abcdef");
        let bytes = encode(&key, &full_record(1)).unwrap();
        for end in 0..bytes.len() - 2 {
            let detail = decode(&key, &bytes[..end]).unwrap_err();
            assert!(!detail.contains("token-"), "{detail}");
        }
    }

    #[test]
    fn a_wrong_type_is_not_quoted() {
        let key = key("default", "i");
        let content =
            br#"{"format": 1, "credential": "default", "identity": "i", "revision": "token-secret"}"#;
        let detail = decode(&key, content).unwrap_err();
        assert_eq!(detail, "a field is missing or of the wrong type, line 1 column 82");
    }

    #[test]
    fn another_format_and_another_identity_are_refused() {
        let key = key("default", "i");
        assert!(decode(&key, br#"{"format": 2, "sealed": "x"}"#).unwrap_err().contains("format is 2"));
        let other = br#"{"format": 1, "credential": "default", "identity": "j", "revision": 1}"#;
        assert_eq!(decode(&key, other).unwrap_err(), "it belongs to another identity");
    }
}
