//! The format of record files.

use super::super::tests::contract::{full_record, key};
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
fn a_record_is_written_to_the_letter() {
    let bytes = encode(&key("default", "i"), &full_record(1)).unwrap();
    let at = |seconds: i64| Timestamp::new(1_790_000_000 + seconds, 123_456_789).unwrap();
    let expected = format!(
        r#"{{
  "format": 2,
  "credential": "default",
  "identity": "i",
  "revision": 1,
  "tokens": {{
    "access_token": "token-access-1",
    "refresh_token": "token-refresh-1",
    "issued_at": "{}",
    "minted_at": "{}",
    "expires_at": "{}",
    "refresh_issued_at": "{}",
    "scope": "openid"
  }},
  "subject": "alice@vbc.prod",
  "other_subject": "bob",
  "refresh_pending": true,
  "login_needed": true,
  "spent_seed": "5eed",
  "full_lifetime": 86400,
  "issuance": "renew_revoke",
  "brake": {{
    "refused": [
      "0badc0de",
      "decade"
    ],
    "locked_until": "{}",
    "attempted": [
      "attempted"
    ],
    "proven": [
      "proven"
    ],
    "unresolved": 2,
    "last_attempt": "{}",
    "trials": [
      {{
        "secret": [
          "tried"
        ],
        "at": "{}"
      }},
      {{
        "secret": [
          "odd"
        ],
        "at": "{}",
        "outcome": "unexplained"
      }},
      {{
        "secret": [
          "decade"
        ],
        "at": "{}",
        "outcome": "refused"
      }}
    ],
    "exhausted": true
  }},
  "application": {{
    "fingerprint": "app1",
    "failures": 3,
    "next_attempt": "{}",
    "reason": "invalid_client"
  }}
}}
"#,
        at(0),
        at(-3),
        at(86_400),
        at(-86_400),
        at(2100),
        at(-7),
        at(-9),
        at(-8),
        at(-7),
        at(1200)
    );
    assert_eq!(std::str::from_utf8(&bytes).unwrap(), expected);
    let empty = encode(&key("default", "i"), &Record { revision: 7, ..Record::default() }).unwrap();
    let expected =
        "{\n  \"format\": 2,\n  \"credential\": \"default\",\n  \"identity\": \"i\",\n  \"revision\": 7\n}\n";
    assert_eq!(std::str::from_utf8(&empty).unwrap(), expected);
}

#[test]
fn every_cut_is_noticed_and_nothing_is_quoted() {
    let key = key("default", "0123456789abcdef");
    let bytes = encode(&key, &full_record(1)).unwrap();
    for end in 0..bytes.len() - 2 {
        let Err(RecordError::Damaged(detail)) = decode(&key, &bytes[..end]) else { panic!("cut at {end}") };
        assert!(!detail.contains("token-"), "{detail}");
    }
}

#[test]
fn a_wrong_type_is_not_quoted() {
    let key = key("default", "i");
    let content = br#"{"format": 1, "credential": "default", "identity": "i", "revision": "token-secret"}"#;
    let detail = decode(&key, content).unwrap_err();
    let expected = "a field is missing or of the wrong type, line 1 column 82";
    assert_eq!(detail, RecordError::Damaged(expected.to_owned()));
}

#[test]
fn the_format_before_is_read() {
    let key = key("default", "i");
    let content = br#"{"format": 1, "credential": "default", "identity": "i", "revision": 4, "tokens":
        {"access_token": "a", "refresh_token": "r", "issued_at": "2026-11-01T00:00:00Z",
         "expires_at": "2026-11-02T00:00:00Z"},
        "brake": {"refused": "f1", "attempted": "f2", "unresolved": 2}}"#;
    let record = decode(&key, content).unwrap();
    let tokens = record.tokens.unwrap();
    assert_eq!(tokens.refresh_issued_at, tokens.issued_at);
    let brake = record.login_history.unwrap();
    assert_eq!((brake.refused, brake.attempted), (vec!["f1".into()], vec!["f2".into()]));
    assert_eq!(brake.unresolved, 2);
}

#[test]
fn another_format_and_another_identity_are_refused() {
    let key = key("default", "i");
    let newer = decode(&key, br#"{"format": 3, "sealed": "x"}"#).unwrap_err();
    assert!(matches!(newer, RecordError::Foreign(detail) if detail.contains("format is 3")));
    let other = br#"{"format": 1, "credential": "default", "identity": "j", "revision": 1}"#;
    assert_eq!(decode(&key, other).unwrap_err(), RecordError::Foreign(OTHER_IDENTITY.to_owned()));
}
