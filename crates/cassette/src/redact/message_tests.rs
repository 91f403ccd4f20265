use super::*;
use crate::redact::{KnownSecrets, Pseudonyms, Retention};
use vbc_base::clock::Timestamp;
use vbc_base::secret::Secret;

const TOKEN: &str = "22781206-c176-4cde-8110-e6fc10bbb1c5";

/// The redacted record of one exchange.
fn written(line: &str, sent: &str, kind: &str, received: &str, retention: Retention) -> Record {
    let (method, target) = line.split_once(' ').unwrap();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let record = Record {
        n: 0,
        at: Timestamp::UNIX_EPOCH,
        millis: 0,
        base: "http://127.0.0.1:8080".into(),
        request: RecordedRequest {
            method: method.into(),
            target: target.into(),
            version: "HTTP/1.1".into(),
            headers: vec![
                pair("host", "127.0.0.1:8080"),
                pair("accept", "*/*"),
                pair("user-agent", "s3cret-agent"),
                pair("x-s3cret", "s3cret-value"),
                pair("authorization", "Bearer s3cret-token"),
            ],
            body: Content::of(sent.as_bytes().to_vec()),
            body_hash: None,
        },
        response: RecordedResponse {
            status: 200,
            reason: Some("s3cret-reason".into()),
            headers: vec![
                pair("content-type", kind),
                pair("content-length", &received.len().to_string()),
                pair("date", "Tue, 01 Dec 2026 04:24:03 GMT"),
                pair("etag", "\"s3cret-tag\""),
                pair("set-cookie", "s3cret=1; Path=/"),
            ],
            body: Content::of(received.as_bytes().to_vec()),
            body_hash: None,
            trailers: vec![pair("x-trailer", "s3cret-trailer")],
            complete: true,
            pieces: Vec::new(),
        },
    };
    let mut known = KnownSecrets::default();
    known.add(Secret::new("sim-secret"));
    known.add_token(&Secret::new(TOKEN));
    let pseudonyms = Pseudonyms::new(&[1; 32]);
    Filter { pseudonyms: &pseudonyms, known: &known, retention }.record(record)
}

fn text(content: &Content) -> &str {
    match content {
        Content::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

const LOGS: &str = "GET /t/vbc.prod/reports/v1/accounts/12345/call-logs?start:gte=2026-11-01%2000:00:00&page=2&from=15551234567&sid=s3cret";

#[test]
fn what_the_table_names_is_kept_and_everything_else_is_replaced() {
    let body = r#"{ "page" : 2, "_links": {"self":{"href":"http://127.0.0.1:8080/t/vbc.prod/reports/accounts/self/call-logs?page=2"},
        "next":{"href":"https://s3cret.example/x"}}, "s3cret-name": {"page": 1, "deep": ["s3cret"]},
        "_embedded":{"call_logs":[{"id":"f9945ff3-5705-4f86-beab-7ddf78d92969","from":"15551234567","to":"1001",
        "start":"2026-11-29 08:03:31","source_user":"s3cret","source_user_full_name":"Jane S3cret","result":"s3cret",
        "direction":"Inbound","recorded":true,"charge":0.25,"length":15551234567}]}}"#;
    let record = written(LOGS, "", "application/json", body, Retention::default());
    let line = serde_json::to_string(&record).unwrap();
    assert!(!line.to_lowercase().contains("s3cret") && !line.contains("15551234567"), "{line}");
    assert!(!line.contains("Jane"), "{line}");
    assert!(record.request.target.starts_with(
        "/t/vbc.prod/reports/v1/accounts/12345/call-logs?start:gte=2026-11-01%2000:00:00&page=2&from=1"
    ));
    let response = text(&record.response.body);
    for kept in [
        "{ \"page\" : 2, ",
        r#""self":{"href":"http://127.0.0.1:8080/t/vbc.prod/reports/accounts/self/call-logs?page=2"}"#,
        r#""id":"f9945ff3-5705-4f86-beab-7ddf78d92969""#,
        r#""to":"1001""#,
        r#""start":"2026-11-29 08:03:31""#,
        r#""direction":"Inbound","recorded":true,"charge":0.25,"length":"#,
    ] {
        assert!(response.contains(kept), "{kept} in {response}");
    }
    let new: serde_json::Value = serde_json::from_str(response).unwrap();
    assert_eq!(new["_embedded"]["call_logs"][0].as_object().unwrap().len(), 11);
    assert!(new["_embedded"]["call_logs"][0]["length"].is_u64());
    // A value has the same pseudonym everywhere.
    let phone = new["_embedded"]["call_logs"][0]["from"].as_str().unwrap();
    assert!(record.request.target.contains(&format!("from={phone}&")));
    assert_eq!(field(&record.response.headers, "content-length"), Some(&*response.len().to_string()));
    assert_eq!(field(&record.response.headers, "date"), Some("Tue, 01 Dec 2026 04:24:03 GMT"));
    assert_eq!(field(&record.request.headers, "host"), Some("127.0.0.1:8080"));
}

#[test]
fn personal_data_stay_where_that_was_asked_for_and_secrets_do_not() {
    let body =
        r#"{"firstName":"Jane","emailAddress":"jane@x.org","contactNumber":"15551234567","pin":"s3cret"}"#;
    let retention = Retention { personal: true, ..Retention::default() };
    let record = written("GET /t/vbc.prod/vis/v1/self", "", "application/json", body, retention);
    let response = text(&record.response.body);
    assert!(
        response.starts_with(&body[..body.find("\"pin\"").unwrap()]) && !response.contains("s3cret"),
        "{response}"
    );
    let body = r#"{"events":["CALL"],"signingKey":"s3cret","url":"https://s3cret.example/"}"#;
    let record = written("POST /t/vbc.prod/vis/v1/self/webhooks", body, "application/json", body, retention);
    for content in [&record.request.body, &record.response.body] {
        let text = text(content);
        assert!(text.contains("[\"CALL\"]") && !text.contains("s3cret"), "{text}");
    }
}

#[test]
fn a_body_of_another_path_or_type_is_a_length_and_a_keyed_hash() {
    let json = r#"{"page":1}"#;
    let cases = [
        ("GET /t/vbc.prod/reports/accounts/1/other", "application/json", json),
        ("GET /token/s3cret", "application/json", json),
        ("PATCH /t/vbc.prod/vis/v1/self", "application/json", json),
        ("GET /t/vbc.prod/vis/v1/self", "image/png", json),
        ("GET /t/vbc.prod/vis/v1/self", "text/html", "<b>s3cret</b>"),
        ("GET /t/vbc.prod/vis/v1/self", "text/plain", "s3cret"),
        ("GET /t/vbc.prod/vis/v1/self", "text/plain", "804271"),
        ("GET /t/vbc.prod/vis/v1/self", "text/plain", "42d67c2a-ef71-4e1c-b45e-d1ae2ae634f4"),
        ("GET /t/vbc.prod/vis/v1/self", "application/json", "{\"page\":1} s3cret"),
        ("GET /t/vbc.prod/call_recording/api/audio/recording/1", "audio/mpeg", "s3cret"),
    ];
    for (line, kind, body) in cases {
        let record = written(line, body, kind, body, Retention::default());
        assert_eq!(record.response.body, Content::Truncated(body.len() as u64), "{line} {kind}");
        assert_eq!(record.response.body_hash.as_ref().unwrap().len(), 32);
        assert!(!serde_json::to_string(&record).unwrap().contains("s3cret"), "{line} {kind}");
    }
    let record = written("GET /token/s3cret", "", "text/plain", "", Retention::default());
    assert_eq!((record.response.body, record.response.body_hash), (Content::Empty, None));
}

#[test]
fn errors_and_ids_in_plain_text_are_kept() {
    for body in ["Missing HMAC token", "42d67c2a-ef71-4e1c-b45e-d1ae2ae634f4"] {
        let line = "POST /t/vbc.prod/telephony/v3/cc/accounts/self/calls";
        let record = written(line, "", "text/plain", body, Retention::default());
        assert_eq!(text(&record.response.body), body);
    }
    let error = r#"{"code":"900901","message":"Invalid Credentials","description":"s3cret"}"#;
    let record = written(LOGS, "", "application/json", error, Retention::default());
    let error: serde_json::Value = serde_json::from_str(text(&record.response.body)).unwrap();
    assert_eq!((&error["code"], &error["message"]), (&"900901".into(), &"Invalid Credentials".into()));
}

#[test]
fn known_secrets_are_taken_out_of_everything_always() {
    let retention = Retention { personal: true, unknown: true, unlisted: false };
    let body =
        format!("{{\"id\":\"{TOKEN}\",\"first_name\":\"sim-secret\",\"page\":\"aHR0cHM6c2ltLXNlY3JldA==\"}}");
    for line in [
        format!("GET /other/{TOKEN}?a=x{TOKEN}&{TOKEN}=1"),
        format!("GET /t/vbc.prod/provisioning/api/accounts/{TOKEN}/users/{TOKEN}?email=sim-secret"),
    ] {
        let record = written(&line, &body, "application/json", &body, retention);
        let line = serde_json::to_string(&record).unwrap();
        for secret in [TOKEN, &TOKEN[..16], "sim-secret", "c2ltLXNlY3JldA"] {
            assert!(!line.contains(secret), "{secret} in {line}");
        }
    }
}

#[test]
fn a_secret_is_found_in_a_name_that_calls_its_value_one_and_in_what_is_packed() {
    let retention = Retention { personal: true, unknown: true, unlisted: false };
    for name in [format!("token {TOKEN}"), "password sim-secret".to_owned()] {
        let body = format!("{{\"{name}\":1,\"token\":2}}");
        let record = written("GET /other", "", "application/json", &body, retention);
        let response = text(&record.response.body);
        assert!(!response.contains(TOKEN) && !response.contains("sim-secret"), "{response}");
        assert!(response.contains("\"token\":"), "{response}");
    }
    let mut known = KnownSecrets::default();
    known.add(Secret::new("sim-secret"));
    let pseudonyms = Pseudonyms::new(&[1; 32]);
    let filter = Filter { pseudonyms: &pseudonyms, known: &known, retention };
    let scope = Scope { filter: &filter, base: "", keeps_unlisted: true };
    for (body, is_kept) in [("a sim-secret", false), ("another", true)] {
        let packed = coding::gzip(body.as_bytes()).unwrap();
        let new = redact_body(scope, Some("application/gzip"), &packed, Shape::Open);
        assert_eq!(new, is_kept.then_some(packed.clone()), "{body}");
        let cut = &packed[..packed.len() - 9];
        assert_eq!(redact_body(scope, Some("application/gzip"), cut, Shape::Open), None, "{body}");
    }
}

#[test]
fn what_is_unknown_is_kept_where_that_was_asked_for() {
    let retention = Retention { unknown: true, ..Retention::default() };
    let body = "<xml>whatever</xml>";
    let record = written("POST /other/path?a=b&api_key=s3cret", body, "text/xml", body, retention);
    assert!(
        record.request.target.starts_with("/other/path?a=b&api_key=hidden-"),
        "{}",
        record.request.target
    );
    assert_eq!(text(&record.request.body), body);
    assert_eq!(text(&record.response.body), body);
    assert_eq!(field(&record.response.headers, "content-type"), Some("text/xml"));
    let json = r#"{"a":[1,{"password":"s3cret","b":"c"}]}"#;
    let record = written("POST /other", json, "application/json", json, retention);
    assert!(
        text(&record.response.body).ends_with(r#"","b":"c"}]}"#)
            && !text(&record.response.body).contains("s3cret")
    );
    // `unknown` does not apply within an operation of the API. There, names and values that no
    // table lists are redacted.
    let record =
        written("GET /t/vbc.prod/vis/v1/self", "", "application/json", r#"{"zip":"s3cret"}"#, retention);
    assert!(!text(&record.response.body).contains("s3cret") && !text(&record.response.body).contains("zip"));
}

#[test]
fn pieces_keep_their_times_when_lengths_change() {
    assert_eq!(rescaled(&[(1, 10), (2, 10)], 20, 10), [(1, 5), (2, 5)]);
    assert_eq!(rescaled(&[(1, 10)], 0, 10), [(1, 10)]);
}

#[test]
fn digits_that_could_be_a_number_or_a_pin_are_kept_only_where_numbers_are() {
    let call = "6c0a3c5a-1f0e-4f7b-9d57-0a1b2c3d4e5f";
    let users = "GET /t/vbc.prod/provisioning/api/accounts/self/users";
    let calls = "POST /t/vbc.prod/telephony/v3/cc/accounts/self/calls";
    for (line, body, is_kept) in
        [(calls, call, true), (users, call, false), (users, "804271", false), (users, "4155550123", false)]
    {
        let record = written(line, "", "text/plain", body, Retention::default());
        assert_eq!(record.response.body == Content::Text(body.into()), is_kept, "{body}");
    }
    let pseudonyms = Pseudonyms::new(&[1; 32]);
    let known = KnownSecrets::default();
    let filter = Filter { pseudonyms: &pseudonyms, known: &known, retention: Retention::default() };
    let scope = Scope { filter: &filter, base: "", keeps_unlisted: false };
    for (name, value, is_kept) in [
        ("server", "4155550123", false),
        ("server", "415/555.0123", false),
        ("accept", "415-555-0123", false),
        ("accept", "application/json;q=0.8", true),
        ("accept", "application/json;q=8042", false),
        ("accept-language", "1 415 555 0123", false),
        ("accept-language", "en, 8042", false),
        ("accept-language", "en-US,en;q=0.9,de;q=0.8", true),
        ("via", "1.1 8042", false),
        ("via", "1.1 vbc-proxy", true),
        ("range", "bytes=0-415555012", true),
        ("range", "bytes=0-4155550123", false),
        ("retry-after", "4155550123", false),
        ("retry-after", "86400", true),
        ("if-none-match", "1155550123", false),
        ("if-modified-since", "4155550123", false),
        ("if-modified-since", "Tue, 01 Dec 2026 04:24:03 GMT", true),
        ("age", "4155550123", false),
        ("age", "600", true),
        ("range", "415-555-0123", false),
        ("content-range", "bytes 0-99/1234", true),
        ("access-control-max-age", "600", true),
        ("proxy-status", "vbc-proxy; error=dns_error; received-status=503", true),
        ("content-type", "application/json; charset=utf-8; v=8042", false),
        ("cache-control", "max-age=600, 8042", false),
        ("cache-control", "max-age=31536000", true),
        ("content-type", "text/plain; charset=utf-8", true),
    ] {
        assert_eq!(headers::redact_field(&scope, name, value).1 == value, is_kept, "{name}: {value}");
    }
    let kind = headers::redact_field(&scope, "content-type", "multipart/form-data; boundary=s3cret").1;
    assert_eq!(kind, "multipart/form-data");
}
