use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::HeaderValue;

use super::*;

const REFUSED: &str = r#"{"error":"invalid_grant","error_description":"senha inválida"}"#;

fn headers(coding: &'static str, kind: &'static str) -> HeaderMap {
    let pairs = [(CONTENT_ENCODING, coding), (CONTENT_TYPE, kind)];
    let pairs = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    pairs.map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
}

fn body(coding: &'static str, kind: &'static str, bytes: &[u8]) -> ResponseBody {
    ResponseBody::read(&headers(coding, kind), bytes)
}

fn plain(text: &str) -> ResponseBody {
    body("", "application/json", text.as_bytes())
}

fn utf16(text: &str, big: bool) -> Vec<u8> {
    let pair = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
    text.encode_utf16().flat_map(pair).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_refusal_is_read_in_every_charset() {
    let latin: Vec<u8> = REFUSED.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let marked = |mark: &[u8], bytes: &[u8]| [mark, bytes].concat();
    let utf32: Vec<u8> = REFUSED.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
    for (what, bytes) in [
        ("UTF-8", REFUSED.as_bytes().to_vec()),
        ("UTF-8 with a mark", marked(b"\xef\xbb\xbf", REFUSED.as_bytes())),
        ("Latin-1", latin),
        ("UTF-16LE", utf16(REFUSED, false)),
        ("UTF-16BE", utf16(REFUSED, true)),
        ("UTF-16LE with a mark", marked(b"\xff\xfe", &utf16(REFUSED, false))),
        ("UTF-16BE with a mark", marked(b"\xfe\xff", &utf16(REFUSED, true))),
        ("UTF-32LE", utf32),
    ] {
        let body = body("", "application/json", &bytes);
        assert_eq!(body.error.oauth_error().as_deref(), Some("invalid_grant"), "{what}");
        if what != "UTF-32LE" {
            assert_eq!(
                body.error.find_member("error_description").as_deref(),
                Some("senha inválida"),
                "{what}"
            );
        }
    }
}

#[test]
fn a_response_is_read_in_every_coding_though_none_was_asked_for() {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(REFUSED.as_bytes()).unwrap();
    let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
    raw.write_all(REFUSED.as_bytes()).unwrap();
    let twice = gzip(&gzip(REFUSED.as_bytes()));
    let whole = gzip(REFUSED.as_bytes());
    for (coding, bytes) in [
        ("gzip", whole.clone()),
        ("x-gzip", whole.clone()),
        ("GZIP", whole.clone()),
        ("gzip, identity", whole.clone()),
        ("gzip, gzip", twice),
        ("deflate", zlib.finish().unwrap()),
        ("deflate", raw.finish().unwrap()),
        // The header is missing or wrong.
        ("", whole.clone()),
        ("br", whole.clone()),
        ("gzip", REFUSED.as_bytes().to_vec()),
        ("gzip", whole[..whole.len() - 8].to_vec()),
    ] {
        let body = body(coding, "", &bytes);
        assert_eq!(body.error.oauth_error().as_deref(), Some("invalid_grant"), "{coding} {bytes:?}");
    }
}

#[test]
fn what_unfolds_without_end_is_cut() {
    let bomb = gzip(&gzip(&vec![b' '; 64 * MAX_BODY]));
    let body = body("gzip, gzip", "", &bomb);
    assert_eq!(body.object().unwrap_err(), "more than 1 MiB");
}

#[test]
fn a_refusal_is_read_in_every_wrapping() {
    for text in [
        r#"{"error":"invalid_grant"}"#,
        r#"{"Error":"invalid_grant"}"#,
        r#"{"ERROR":" Invalid_Grant "}"#,
        r#"[{"error":"invalid_grant"}]"#,
        r#"{"fault":{"error":"invalid_grant"}}"#,
        r#"{"error":{"code":"invalid_grant","message":"no"}}"#,
        r#"{"errors":["invalid_grant"]}"#,
        r#"{"errors":[{"code":"INVALID_GRANT"}]}"#,
        r#"{"error":null,"error_code":"invalid_grant"}"#,
        r#""invalid_grant""#,
        "error=invalid_grant&error_description=no",
        "?Error=invalid_grant",
        "invalid_grant",
        "error: invalid_grant",
        "<html><p>Error: invalid_grant</p></html>",
        "<error>invalid_grant</error>",
        r#"callback({"error":"invalid_grant"})"#,
        r#"{"error":"invalid_grant","error_description":"cut o"#,
        "{\"error\":\"invalid_grant\",\"error_description\":\"a\nb\"}",
        r#"{"error":"invalid_grant",}"#,
        r#"[ERROR] {"error":"invalid_grant"}"#,
        "the client is an invalid_client, and this an invalid_grant",
    ] {
        let error = plain(text).error.oauth_error().map(|error| error.trim().to_ascii_lowercase());
        assert_eq!(error.as_deref(), Some("invalid_grant"), "{text}");
    }
}

#[test]
fn what_names_no_error_has_none() {
    for text in [
        "",
        "<html>401</html>",
        "{}",
        "[]",
        "null",
        r#"{"error":""}"#,
        r#"{"error":null}"#,
        r#"{"error":{"code":1}}"#,
        r#"{"code":"900901","message":"Invalid Credentials"}"#,
        "Bad Request",
        "not_invalid_grants",
    ] {
        assert_eq!(plain(text).error.oauth_error(), None, "{text}");
    }
    // An HTML page may mention errors. Only JSON or a form turns a 200 into an error.
    assert_eq!(plain("<p>access_denied</p>").error.structured_oauth_error(), None);
}

#[test]
fn a_token_set_needs_only_its_tokens_to_be_valid() {
    let cases: [&[u8]; 4] = [
        b"{\"access_token\":\"at\",\"name\":\"Jos\xe9\"}",
        b"{\"access_token\":\"at\",\"name\":\"a\x01\nb\"}",
        br#"{"access_token":"at","name":"\ud83d"}"#,
        b"\xef\xbb\xbf{\"access_token\":\"at\",}",
    ];
    for bytes in cases {
        let body = body("", "", bytes);
        assert_eq!(body.object().unwrap()["access_token"], "at", "{}", String::from_utf8_lossy(bytes));
    }
    for (text, why) in [
        ("", "empty"),
        ("<html>{\"access_token\":\"at\"}</html>", "HTML or XML"),
        (r#"{"access_token":"at"#, "JSON that is cut off"),
        (r#"[{"access_token":"at"}]"#, "JSON, but not an object"),
        ("\"at\"", "JSON, but not an object"),
        ("access_token=at", "not JSON"),
    ] {
        assert_eq!(plain(text).object().unwrap_err(), why, "{text}");
    }
}
