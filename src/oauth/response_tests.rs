use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::super::response_body::MAX_BODY;
use super::*;
use crate::oauth::ClientAuth;
use crate::oauth::ClientIdentity;

fn now() -> Timestamp {
    "2026-09-05T15:59:18Z".parse().unwrap()
}

fn password() -> Grant {
    Grant::Password {
        username: "alice@vbc.prod".to_owned(),
        password: Secret::new("hunter2"),
        scope: "openid".to_owned(),
    }
}

fn refresh() -> Grant {
    Grant::RefreshToken { refresh_token: Secret::new("old-refresh") }
}

fn outcome_of(
    grant: &Grant,
    status: u16,
    header: Option<(HeaderName, &str)>,
    body: &[u8],
) -> Result<Issued, TokenError> {
    let client = ClientIdentity {
        client_id: "app".into(),
        client_secret: Secret::new("s3cret"),
        auth: Some(ClientAuth::Body),
    };
    let headers: HeaderMap =
        header.into_iter().map(|(name, value)| (name, HeaderValue::from_str(value).unwrap())).collect();
    let redactor = Redactor::new(grant, &client, Some("alice@vbc.prod"));
    let response = TokenResponse { status: StatusCode::from_u16(status).unwrap(), headers: &headers, body };
    read(&response, grant, &redactor, now())
}

fn class(grant: &Grant, status: u16, body: &str) -> Class {
    outcome_of(grant, status, None, body.as_bytes()).unwrap_err().class
}

fn error_body(error: &str, description: &str) -> String {
    serde_json::json!({ "error_description": description, "error": error }).to_string()
}

#[test]
fn a_token_set_is_read() {
    let body = br#"{"access_token":"at","refresh_token":"rt","scope":"openid","id_token":"x","token_type":"Bearer","expires_in":82566}"#;
    let issued = outcome_of(&password(), 200, None, body).unwrap();
    assert_eq!(issued.access_token.expose(), "at");
    assert_eq!(issued.refresh_token.unwrap().expose(), "rt");
    assert_eq!(issued.expires_in, Duration::from_secs(82_566));
    assert_eq!(issued.scope.as_deref(), Some("openid"));
}

#[test]
fn the_subject_of_an_id_token_is_read_in_either_alphabet_and_as_a_number() {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    let subject = |claims: &str, plain: bool| {
        let payload = if plain { STANDARD.encode(claims) } else { URL_SAFE.encode(claims) };
        let body = format!(r#"{{"access_token":"at","id_token":"e30.{payload}.x"}}"#);
        outcome_of(&refresh(), 200, None, body.as_bytes()).unwrap().subject
    };
    for plain in [false, true] {
        // These bytes need the two characters in which the base64 alphabets differ.
        let odd = "{\"sub\":\"\u{fb}\u{ff}\u{bf}>>>???~~~\"}";
        assert_eq!(subject(odd, plain).as_deref(), Some("\u{fb}\u{ff}\u{bf}>>>???~~~"));
        assert_eq!(subject(r#"{"sub":42}"#, plain).as_deref(), Some("42"));
        assert_eq!(subject(r#"{"sub":" bob "}"#, plain).as_deref(), Some("bob"));
        for none in [r#"{"sub":""}"#, r#"{"sub":null}"#, r#"{"sub":["bob"]}"#, "{}", "no claims"] {
            assert_eq!(subject(none, plain), None, "{none}");
        }
    }
}

#[test]
fn lifetimes_are_read_leniently() {
    let year = 365 * 86_400;
    let cases = [
        ("3600", 3600),
        ("3599.9", 3599),
        ("\"7200\"", 7200),
        ("\" 12.5 \"", 12),
        ("0", 1),
        ("-5", 1),
        ("0.2", 1),
        ("\"-1\"", 1),
        ("1e300", 10 * year),
        ("18446744073709551615", 10 * year),
        ("\"inf\"", 10 * year),
        ("\"NaN\"", 3600),
        ("\"soon\"", 3600),
        ("null", 3600),
        ("[1]", 3600),
    ];
    for (value, seconds) in cases {
        let body = format!(r#"{{"access_token":"at","expires_in":{value}}}"#);
        let issued = outcome_of(&refresh(), 200, None, body.as_bytes()).unwrap();
        assert_eq!(issued.expires_in, Duration::from_secs(seconds), "{value}");
    }
    let issued = outcome_of(&refresh(), 200, None, br#"{"access_token":"at"}"#).unwrap();
    assert_eq!(issued.expires_in, DEFAULT_LIFETIME);
}

#[test]
fn optional_fields_may_be_missing_or_odd() {
    for body in [
        "\u{feff} {\"access_token\":\"at\",\"token_type\":\"BEARER\",\"refresh_token\":\"\",\"scope\":\"\"} \n",
        r#"{"access_token":"at","token_type":null,"refresh_token":null,"scope":["openid"]}"#,
        r#"{"access_token":"at","error":""}"#,
    ] {
        let issued = outcome_of(&refresh(), 200, None, body.as_bytes()).unwrap();
        assert!(issued.refresh_token.is_none() && issued.scope.is_none(), "{body}");
    }
    outcome_of(&refresh(), 201, None, br#"{"access_token":"at"}"#).unwrap();
}

#[test]
fn an_unusable_200_loses_a_refresh_but_not_a_login() {
    let huge = format!("{{\"x\":\"{}\"}}", "y".repeat(MAX_BODY));
    for body in [
        "",
        "<html>Sign in to the hotel network</html>",
        r#"{"access_token":"a"#,
        "[]",
        "{}",
        "\"token\"",
        r#"{"access_token":""}"#,
        r#"{"access_token":7}"#,
        r#"{"access_token":"a b"}"#,
        r#"{"access_token":"a\r\nX-Evil: 1"}"#,
        r#"{"access_token":"é"}"#,
        r#"{"access_token":"at","token_type":"mac"}"#,
        &huge,
    ] {
        assert_eq!(class(&refresh(), 200, body), Class::Ambiguous, "{:.40}", body);
        assert_eq!(class(&password(), 200, body), Class::NotJudged, "{:.40}", body);
    }
}

#[test]
fn a_throttle_is_not_judged_whatever_its_status() {
    let wso2 = r#"{"code":"900803","message":"Message throttled out","description":"You have exceeded your quota .You can access API after 2026-Sep-05 16:00:00+0000 UTC","nextAccessTime":"2026-Sep-05 16:00:00+0000 UTC"}"#;
    let older = r#"{"fault":{"code":900804,"message":"Message throttled out","nextAccessTime":"2026-Sep-05 16:00:00+0000 UTC"}}"#;
    for status in [200, 400, 401, 403, 429, 500, 503] {
        for body in [wso2, older] {
            let error = outcome_of(&refresh(), status, None, body.as_bytes()).unwrap_err();
            assert_eq!(
                (error.class, error.retry_after),
                (Class::NotJudged, Some(Duration::from_secs(42))),
                "{error}"
            );
            assert!(error.message.contains("throttled: 90080"), "{error}");
        }
    }
    let xml = r#"<ams:fault xmlns:ams="http://wso2.org/apimanager/security"><ams:code>900805</ams:code><ams:message>Message throttled out</ams:message></ams:fault>"#;
    let bare = "<fault><code> 900801 </code></fault>";
    for body in [xml, bare, "900804: throttled", r#"{"error":"throttled","error_description":"900802"}"#] {
        for status in [200, 400, 401, 403, 404, 429, 500, 503] {
            for grant in [password(), refresh()] {
                let error = outcome_of(&grant, status, None, body.as_bytes()).unwrap_err();
                assert_eq!(error.class, Class::NotJudged, "{status} {body}");
                assert!(error.message.contains("throttled: 90080"), "{error}");
            }
        }
    }
    // Other numbers are not codes, and neither are numbers within a refusal.
    for body in ["9008045", "x900804", "900901", "<code>900901</code>", "invalid_grant 900804"] {
        assert_ne!(class(&password(), 403, body), Class::NotJudged, "{body}");
    }
    assert_eq!(class(&password(), 400, &error_body("invalid_grant", "user 900812")), Class::Refused);
    let date = Some((RETRY_AFTER, "Sat, 05 Sep 2026 16:00:18 GMT"));
    let error = outcome_of(&password(), 429, date, b"slow down").unwrap_err();
    assert_eq!((error.class, error.retry_after), (Class::NotJudged, Some(Duration::from_secs(60))));
    let error = outcome_of(&password(), 503, Some((RETRY_AFTER, "7")), b"").unwrap_err();
    assert_eq!((error.class, error.retry_after), (Class::NotJudged, Some(Duration::from_secs(7))));
    // 429 outweighs the error in the body.
    assert_eq!(class(&password(), 429, &error_body("invalid_grant", "")), Class::NotJudged);
}

#[test]
fn a_set_in_another_coding_or_charset_is_still_a_set() {
    use std::io::Write;
    let text = r#"{"access_token":"at","refresh_token":"rt","scope":"openid","expires_in":60}"#;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let header = Some((http::header::CONTENT_ENCODING, "gzip"));
    let issued = outcome_of(&password(), 200, header, &gzip.finish().unwrap()).unwrap();
    assert_eq!(issued.refresh_token.unwrap().expose(), "rt");
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let issued = outcome_of(&password(), 200, None, &wide).unwrap();
    assert_eq!(issued.expires_in, Duration::from_secs(60));
    let latin = b"{\"access_token\":\"at\",\"name\":\"Jos\xe9\"}";
    outcome_of(&password(), 200, None, latin).unwrap();
}

/// The service's responses, and similar ones seen elsewhere.
#[test]
fn oauth_errors_are_told_apart() {
    use Class::{Ambiguous, Configuration, Locked, NotJudged, Refused, Unsupported, WrongUrl};
    // status, error, description, class for a login, class for a refresh
    let cases = [
        (400, "invalid_request", "Missing grant_type parameter value", Refused, Refused),
        (400, "invalid_request", "Invalid 'username' or 'password' in request.", Refused, Refused),
        (400, "unsupported_grant_type", "", Configuration, Unsupported),
        (401, "invalid_client", "Client credentials are invalid.", Configuration, Configuration),
        (400, "invalid_client", "the client is locked", Configuration, Configuration),
        (400, " Invalid_Client\n", "", Configuration, Configuration),
        (400, "unauthorized_client", "", Configuration, Unsupported),
        (400, "invalid_scope", "Invalid Scope!", Configuration, Refused),
        (400, "invalid_grant", "Authentication failed for alice@vbc.prod", Refused, Refused),
        (400, "invalid_grant", "Persisted access token data not found", Refused, Refused),
        (400, "invalid_grant", "", Refused, Refused),
        (400, "INVALID_GRANT ", "", Refused, Refused),
        (401, "invalid_grant", "", Refused, Refused),
        (404, "invalid_grant", "", Refused, Refused),
        (500, "invalid_grant", "", Refused, Refused),
        (503, "invalid_grant", "", Refused, Refused),
        (200, "invalid_grant", "", Refused, Refused),
        (401, "invalid_token", "", Refused, Refused),
        (400, "invalid_grant", "17003 User account is locked", Locked, Locked),
        (
            400,
            "invalid_grant",
            "17003:MaxAttemptsExceeded Error when handling event : POST_AUTHENTICATION",
            Locked,
            Locked,
        ),
        (400, "invalid_grant", "17003:AdminInitiated", Locked, Locked),
        (400, "invalid_grant", "Account is LOCKED.", Locked, Locked),
        (500, "server_error", "17003 User account is locked", Locked, Locked),
        (400, "invalid_grant", "the account will be locked after 2 more attempts", Refused, Refused),
        (503, "server_error", "could not execute statement: database is locked", Ambiguous, Ambiguous),
        (503, "server_error", "account is locked", Ambiguous, Ambiguous),
        (400, "invalid_grant", "the request was blocked", Refused, Refused),
        (400, "invalid_grant", "code 170030", Refused, Refused),
        (500, "server_error", "Internal Server Error.", Ambiguous, Ambiguous),
        (502, "server_error", "Service Unavailable Error.", Ambiguous, Ambiguous),
        (503, "server_error", "", Ambiguous, Ambiguous),
        (400, "server_error", "", Ambiguous, Ambiguous),
        (503, "temporarily_unavailable", "", Ambiguous, Ambiguous),
        (400, "slow_down", "", Ambiguous, Ambiguous),
        (400, "account_trouble", "", Refused, Refused),
        (401, "Unauthorized", "", Refused, Refused),
        // An unknown error under a 5xx: no password is sent again, and no refresh token is dropped.
        (500, "account_trouble", "", Refused, Ambiguous),
        (500, "bad_credentials", "", Refused, Ambiguous),
        (502, "Bad-Credentials", "", Refused, Ambiguous),
        (503, "bad_credentials", "", Refused, Ambiguous),
        (500, "access_denied", "", Refused, Refused),
        (500, "expired_token", "", Refused, Refused),
        (500, "Internal Server Error", "", Ambiguous, Ambiguous),
        (500, "internal_server_error", "", Ambiguous, Ambiguous),
        (500, "500", "", Ambiguous, Ambiguous),
        (500, "Bad Gateway", "", Ambiguous, Ambiguous),
        (503, "Service Unavailable", "", NotJudged, NotJudged),
        (503, "Service Temporarily Unavailable", "", NotJudged, NotJudged),
        // An unknown error under 404 or 405 does not come from a token endpoint.
        (404, "Not Found", "", WrongUrl, WrongUrl),
        (404, "Realm does not exist", "", WrongUrl, WrongUrl),
        (405, "nope", "", WrongUrl, WrongUrl),
        (405, "invalid_grant", "", Refused, Refused),
        (404, "invalid_client", "", Configuration, Configuration),
        (404, "server_error", "", Ambiguous, Ambiguous),
    ];
    for (status, error, description, login, again) in cases {
        let body = error_body(error, description);
        assert_eq!(class(&password(), status, &body), login, "{status} {body}");
        assert_eq!(class(&refresh(), status, &body), again, "{status} {body}");
    }
}

#[test]
fn the_servers_sentence_can_be_continued() {
    let body = error_body("invalid_client", "Client credentials are invalid.");
    let error = outcome_of(&password(), 401, None, body.as_bytes()).unwrap_err();
    assert_eq!(error.message, "status 401, invalid_client: Client credentials are invalid");
}

#[test]
fn responses_that_are_not_oauths_go_by_their_status() {
    use Class::{Ambiguous, NotJudged, Refused, Unexplained, WrongUrl};
    // status, class for a login, class for a refresh
    let cases = [
        (400, Unexplained, Refused),
        (401, Unexplained, Refused),
        (403, Unexplained, Refused),
        (418, Unexplained, Refused),
        (404, WrongUrl, WrongUrl),
        (405, WrongUrl, WrongUrl),
        (408, NotJudged, NotJudged),
        (425, NotJudged, NotJudged),
        (429, NotJudged, NotJudged),
        (500, Ambiguous, Ambiguous),
        (502, Ambiguous, Ambiguous),
        (503, NotJudged, NotJudged),
        (504, Ambiguous, Ambiguous),
    ];
    for (status, login, again) in cases {
        for body in [
            "",
            "<html>",
            "{}",
            r#"{"error":{"code":1}}"#,
            r#"{"code":"900901","message":"Invalid Credentials"}"#,
            r#"{"fault":{"code":900900,"message":"Unclassified"}}"#,
        ] {
            assert_eq!(class(&password(), status, body), login, "{status} {body}");
            assert_eq!(class(&refresh(), status, body), again, "{status} {body}");
        }
    }
    let error = outcome_of(&password(), 404, None, b"").unwrap_err();
    assert_eq!(error.message, "status 404, not an OAuth response; check token_url");
    let error = outcome_of(&password(), 401, None, br#"{"code":"900901","message":"Invalid Credentials"}"#)
        .unwrap_err();
    assert_eq!(
        error.message,
        "status 401, not an OAuth response: 900901 Invalid Credentials; check token_url"
    );
}

#[test]
fn a_redirect_is_not_the_end_and_its_query_is_not_shown() {
    for (target, shown) in [
        ("https://u:p@other.example/token?code=precious#x", "https://other.example/token"),
        ("/login?sid=precious", "/login"),
        ("//u:precious@other.example/token", "other.example/token"),
    ] {
        let error = outcome_of(&refresh(), 302, Some((LOCATION, target)), b"").unwrap_err();
        assert_eq!(error.class, Class::NotJudged);
        let expected = format!(
            "status 302, a redirect to {shown}: redirects are not followed; set token_url to the final address"
        );
        assert_eq!(error.message, expected);
    }
    assert_eq!(class(&password(), 304, ""), Class::NotJudged);
}

#[test]
fn messages_carry_the_servers_words_and_no_secret() {
    let body = error_body("invalid_grant", "Authentication failed for alice@vbc.prod");
    let error = outcome_of(&password(), 400, None, body.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "status 400, invalid_grant: Authentication failed for [user]");

    let echo =
        error_body("invalid_grant hunter2", "password=hunter2\n2026 INFO all well, client s3cret, alice");
    let error = outcome_of(&password(), 400, None, echo.as_bytes()).unwrap_err();
    for hidden in ["hunter2", "s3cret", "alice", "\n"] {
        assert!(!error.message.contains(hidden), "{}", error.message);
    }
    let echo = error_body("invalid_grant", &format!("alice: old-refresh {}", "x".repeat(500)));
    let error = outcome_of(&refresh(), 400, None, echo.as_bytes()).unwrap_err();
    assert!(error.message.contains("[user]: [redacted] x") && error.message.len() < 300, "{}", error.message);
}

#[test]
fn a_secret_is_hidden_in_every_charset_it_is_echoed_in() {
    let grant = Grant::Password {
        username: "zoë@vbc.prod".to_owned(),
        password: Secret::new("pä€ss"),
        scope: String::new(),
    };
    let text = r#"{"error":"invalid_grant","error_description":"zoë, pä€ss"}"#;
    let narrow: Vec<u8> =
        text.chars().map(|c| if c == '€' { 0x80 } else { u8::try_from(u32::from(c)).unwrap() }).collect();
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for bytes in [text.as_bytes(), &narrow, &wide] {
        let error = outcome_of(&grant, 400, None, bytes).unwrap_err();
        assert_eq!(error.message, "status 400, invalid_grant: [user], [redacted]");
    }
}

#[test]
fn a_user_called_locked_is_not_locked() {
    let grant = Grant::Password {
        username: "locked@vbc.prod".to_owned(),
        password: Secret::new("hunter2"),
        scope: String::new(),
    };
    let body = error_body("invalid_grant", "Authentication failed for locked@vbc.prod");
    assert_eq!(class(&grant, 400, &body), Class::Refused);
}

proptest! {
    #[test]
    fn no_response_panics_or_leaks(
        status in 200u16..600,
        retry in "[ -~]{0,40}",
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "\\PC*".prop_map(String::into_bytes),
            ("[a-z_]{1,12}", "\\PC{0,40}", "[0-9eE.+-]{0,20}").prop_map(|(error, text, number)| format!(
                r#"{{"error":"{error}","error_description":{},"access_token":null,"code":"{number}","nextAccessTime":"{number}"}}"#,
                Value::from(format!("{text} hunter2 {text}")),
            ).into_bytes()),
        ],
    ) {
        for grant in [password(), refresh()] {
            if let Err(error) = outcome_of(&grant, status, Some((RETRY_AFTER, &retry)), &body) {
                prop_assert!(!error.message.chars().any(char::is_control));
                let is_refresh = matches!(grant, Grant::RefreshToken { .. });
                prop_assert!(is_refresh || !error.message.contains("hunter2"));
            }
        }
    }
}
