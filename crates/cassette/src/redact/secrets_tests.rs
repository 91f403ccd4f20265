use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::*;
use vbc_base::secret::hex;

const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJqYW5lIn0.c2lnbmF0dXJl";

fn known() -> KnownSecrets {
    let mut known = KnownSecrets::default();
    known.add_token(&Secret::new(TOKEN));
    known.add(Secret::new("pass+w0rd/12"));
    known.add(Secret::new("4711"));
    known
}

fn every_byte_as_percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[test]
fn a_secret_is_found_in_every_encoding_at_every_offset() {
    let known = known();
    for secret in [TOKEN, &TOKEN[..20], &TOKEN[20..36], "pass+w0rd/12"] {
        let mut encoded = vec![
            secret.to_owned(),
            utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
            every_byte_as_percent(secret),
            every_byte_as_percent(&every_byte_as_percent(secret)),
            hex(secret.as_bytes()),
            hex(secret.as_bytes()).to_uppercase(),
            STANDARD.encode(STANDARD.encode(secret)),
            STANDARD.encode(hex(secret.as_bytes())),
            every_byte_as_percent(&STANDARD.encode(secret)),
        ];
        for before in ["", "a", "ab", "abc", "user:"] {
            let text = format!("{before}{secret}tail");
            encoded.extend([STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)]);
        }
        for text in encoded {
            for around in [("", ""), ("a=", "&b"), ("x", "y"), ("\"", "\""), ("xyz/", "")] {
                let text = format!("{}{text}{}", around.0, around.1);
                assert!(known.is_in(text.as_bytes()), "{text}");
                let cleaned = known.without(text.as_bytes()).unwrap();
                assert!(!known.is_in(&cleaned), "{text}");
            }
        }
    }
}

#[test]
fn a_secret_is_found_in_utf_16_in_forms_and_in_either_case() {
    let mut known = known();
    for secret in ["correct horse battery", "a b c d e"] {
        assert!(!known.is_in(secret.replace(' ', "+").as_bytes()), "{secret}");
        known.add(Secret::new(secret));
        assert!(known.is_in(secret.replace(' ', "+").as_bytes()), "{secret}");
        assert!(known.is_in(secret.replace(' ', "%2B").as_bytes()), "{secret}");
    }
    for secret in [TOKEN, "pass+w0rd/12", "4711"] {
        let wide: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(known.is_in(&wide), "{secret}");
        assert!(secret.len() < SHORTEST || known.is_in(&[b"\xff\xfe", &wide[..]].concat()), "{secret}");
        assert!(known.is_in(secret.to_uppercase().as_bytes()), "{secret}");
    }
    let text = "\0x correct+horse%20battery y\0";
    assert_eq!(known.without(text.as_bytes()).unwrap(), b"\0x hidden-bearer y\0");
    known.add(Secret::new("ein längerer Schlüssel"));
    assert!(known.is_in(latin1("ein längerer Schlüssel".as_bytes()).as_bytes()));
}

#[test]
fn many_secrets_make_no_search_slower() {
    let mut known = KnownSecrets::default();
    let values: Vec<String> = (0..20_000).map(|n| format!("s{n:06}-{}", n % 7)).collect();
    for value in &values {
        known.index(&Secret::new(value.as_str()));
    }
    // A search in a list would need 400 million comparisons.
    known.lasting.push(Secret::new("x"));
    assert!(values.iter().all(|value| known.is_in(format!("a {value} b").as_bytes())));
    assert!(!known.is_in(b"s9-is-not-one"));
}

#[test]
fn a_short_secret_is_found_as_a_whole_value_alone() {
    let known = known();
    for whole in ["4711", "%34711", "%34%37%31%31", "NDcxMQ==", "NDcxMQ", "34373131"] {
        assert!(known.is_in(whole.as_bytes()), "{whole}");
    }
    for other in ["47110", "a4711", "", "4712"] {
        assert!(!known.is_in(other.as_bytes()), "{other}");
    }
    assert_eq!(known.without(b"it is 4711"), None);
}

#[test]
fn what_is_no_secret_stays_byte_for_byte() {
    let known = known();
    let text = format!("before {} after", &TOKEN[..ROW - 1]);
    assert_eq!(known.without(text.as_bytes()), None);
    let text = format!("before {TOKEN} after");
    assert_eq!(known.without(text.as_bytes()).unwrap(), b"before hidden-bearer after");
}

#[test]
fn old_tokens_are_forgotten_and_passwords_are_not() {
    let mut known = known();
    for n in 0..TOKENS {
        known.add_token(&Secret::new(format!("another-token-of-some-length-{n}")));
    }
    assert!(!known.is_in(TOKEN.as_bytes()) && known.is_in(b"pass+w0rd/12"));
    // A row that several tokens share is forgotten with the last of these tokens.
    assert!(known.is_in(b"another-token-of-some-length-"));
    for n in 0..TOKENS {
        known.add_token(&Secret::new(format!("{n}")));
    }
    assert!(known.rows.is_empty() && !known.is_in(b"another-token-of-some-length-"));
}
