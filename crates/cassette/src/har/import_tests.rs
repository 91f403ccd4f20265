use serde_json::{Value, json};

use super::*;
use crate::format::{Content, Record, field};
use crate::{Cassette, Matching, Order, Outcome, Player, RecordedRequest, har, recorded_request, response};
use vbc_base::clock::Timestamp;

/// The cassette that is imported from an archive with these entries.
fn cassette(entries: Value) -> Cassette {
    taken_in(&json!({ "log": { "entries": entries } }).to_string(), true).1
}

fn taken_in(archive: &str, keep_personal: bool) -> (ImportCounts, Cassette) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let imported = import(archive, &path, keep_personal, &Clock::system()).unwrap();
    (imported, Cassette::read(&path).unwrap())
}

fn get(url: &str, response: Value) -> Value {
    json!({
        "startedDateTime": "2026-11-24T16:06:12Z",
        "request": { "method": "GET", "url": url, "headers": [], "bodySize": 0 },
        "response": response,
    })
}

fn request(line: &str, body: &[u8]) -> RecordedRequest {
    let (method, target) = line.split_once(' ').unwrap();
    let request = http::Request::builder().method(method).uri(target).body(()).unwrap();
    recorded_request(&request, Some(body.to_vec()))
}

/// The status that a request gets in strict replay: 501 if the record has no complete response, 404
/// without a record.
fn status(cassette: Cassette, line: &str, body: &[u8]) -> u16 {
    let player = Player::new(cassette, Matching::Strict, Order::Any);
    match player.play(&request(line, body)) {
        Outcome::Play(record) => record.response.status,
        Outcome::Unplayable(..) => 501,
        Outcome::NoMatch { .. } => 404,
    }
}

/// The response of the only record, as the replay sends it.
fn played(cassette: &Cassette) -> http::Response<crate::ReplayedBody> {
    let record = &cassette.records[0];
    response(record, &record.request, &record.base, false)
}

#[test]
fn a_body_that_the_archive_does_not_have_is_no_empty_one() {
    for content in [
        json!({ "size": -1 }),
        json!({ "size": 5, "mimeType": "text/plain" }),
        json!({ "size": 5, "text": "" }),
        json!({ "size": "5" }),
        json!({ "size": -1, "_file": "a.json" }),
        json!({ "text": "not in base64!", "encoding": "base64" }),
        json!({}),
        Value::Null,
    ] {
        let entry = get("http://h/", json!({ "status": 200, "content": content }));
        assert_eq!(status(cassette(json!([entry])), "GET /", b""), 501, "{content}");
    }
    let announced = json!({
        "status": 200, "content": { "size": 0 }, "headers": [{ "name": "Content-Length", "value": "7" }],
    });
    assert_eq!(status(cassette(json!([get("http://h/", announced)])), "GET /", b""), 501);
    let sent = json!({ "status": 200, "content": { "size": 0 }, "bodySize": 7 });
    assert_eq!(status(cassette(json!([get("http://h/", sent)])), "GET /", b""), 501);
}

#[test]
fn a_response_that_has_no_body_is_whole_without_one() {
    for (code, more) in [
        (200, json!({ "content": { "size": 0 } })),
        (200, json!({ "content": { "size": -1, "text": "" } })),
        (200, json!({ "content": { "size": -1 }, "headers": [{ "name": "content-length", "value": "0" }] })),
        (204, json!({ "content": { "size": -1 } })),
        (304, json!({ "bodySize": 0 })),
        (302, json!({ "content": { "size": -1 }, "redirectURL": "/there" })),
    ] {
        let mut response = json!({ "status": code });
        response.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(
            status(cassette(json!([get("http://h/", response.clone())])), "GET /", b""),
            code,
            "{response}"
        );
    }
    let mut entry = get("http://h/", json!({ "status": 200, "content": { "size": -1 } }));
    entry["request"]["method"] = json!("head");
    assert_eq!(status(cassette(json!([entry])), "HEAD /", b""), 200);
}

#[test]
fn a_posted_body_that_the_archive_does_not_have_may_have_been_any() {
    let parts = "multipart/form-data; boundary=b";
    for posted in [
        json!({ "bodySize": 5 }),
        json!({ "bodySize": -1 }),
        json!({}),
        json!({ "bodySize": 5, "postData": null }),
        json!({ "bodySize": 5, "postData": { "mimeType": "", "text": "" } }),
        json!({ "bodySize": 0, "headers": [{ "name": "Content-Length", "value": "5" }] }),
        json!({ "bodySize": -1, "headers": [{ "name": "Transfer-Encoding", "value": "chunked" }] }),
        json!({ "postData": { "mimeType": "", "text": "?", "encoding": "base64" } }),
    ] {
        let mut entry = get("http://h/", json!({ "status": 200, "content": { "text": "a" } }));
        entry["request"] = json!({ "method": "POST", "url": "http://h/" });
        entry["request"].as_object_mut().unwrap().extend(posted.as_object().unwrap().clone());
        assert_eq!(status(cassette(json!([entry.clone()])), "POST /", b"abcde"), 200, "{posted}");
        // The archive also lacks the body's type.
        let player = Player::new(cassette(json!([entry])), Matching::Strict, Order::Any);
        let mut typed = request("POST /", b"abcde");
        typed.headers.push(("content-type".into(), "text/plain".into()));
        assert!(matches!(player.play(&typed), Outcome::Play(_)), "{posted}");
    }
    // The archive contains only the name of a file.
    let mut entry = get("http://h/", json!({ "status": 200, "content": { "text": "a" } }));
    entry["request"]["postData"] = json!({ "mimeType": parts, "params": [{ "name": "f", "fileName": "x" }] });
    assert_eq!(cassette(json!([entry])).records[0].request.body, Content::Unread);
    // Nothing was sent.
    for nothing in [json!({ "bodySize": 0 }), json!({ "postData": { "text": "" } })] {
        let mut entry = get("http://h/", json!({ "status": 200, "content": { "text": "a" } }));
        entry["request"] = json!({ "method": "POST", "url": "http://h/" });
        entry["request"].as_object_mut().unwrap().extend(nothing.as_object().unwrap().clone());
        assert_eq!(status(cassette(json!([entry.clone()])), "POST /", b"abcde"), 404, "{nothing}");
        assert_eq!(status(cassette(json!([entry])), "POST /", b""), 200, "{nothing}");
    }
}

#[test]
fn a_known_body_is_preferred_to_one_that_may_have_been_any() {
    let entry = |text: Option<&str>, response: &str| {
        let mut entry = get("http://h/", json!({ "status": 200, "content": { "text": response } }));
        entry["request"] = json!({ "method": "POST", "url": "http://h/", "bodySize": 1 });
        if let Some(text) = text {
            entry["request"]["postData"] = json!({ "mimeType": "", "text": text });
        }
        entry
    };
    let cassette = cassette(json!([entry(None, "any"), entry(Some("b"), "known")]));
    let player = Player::new(cassette, Matching::Strict, Order::Any);
    for (body, expected) in [(b"b", "known"), (b"c", "any")] {
        let Outcome::Play(record) = player.play(&request("POST /", body)) else { panic!("{expected}") };
        assert_eq!(record.response.body, Content::Text(expected.into()));
    }
}

#[test]
fn a_redirect_leads_where_the_archive_says() {
    let entry = get("http://h/", json!({ "status": 302, "redirectURL": "https://h/ü b", "content": null }));
    let played = played(&cassette(json!([entry])));
    assert_eq!(played.headers()["location"], "https://h/%C3%BC%20b");
    let both = json!({
        "status": 302, "redirectURL": "/other", "headers": [{ "name": "LOCATION", "value": "/one" }],
    });
    let locations = cassette(json!([get("http://h/", both)])).records.remove(0).response.headers;
    assert_eq!(locations, [("location".to_owned(), "/one".to_owned())]);
}

#[test]
fn text_goes_out_in_its_charset() {
    let typed = |kind: &str| json!([{ "name": "Content-Type", "value": kind }, { "name": "Content-Length", "value": "9" }]);
    for (headers, mime, bytes) in [
        (typed("text/plain; charset=ISO-8859-1"), "text/plain", &b"jan\xe9"[..]),
        (json!([]), "text/plain; charset=\"iso-8859-1\"", b"jan\xe9"),
        (typed("text/plain; charset=utf-16le"), "", b"j\0a\0n\0\xe9\0"),
        (typed("text/plain"), "text/plain", b"jan\xc3\xa9"),
        (typed("text/plain; charset=big5"), "", b"jan\xc3\xa9"),
    ] {
        let content = json!({ "size": 9, "mimeType": mime, "text": "jané" });
        let cassette = cassette(json!([get(
            "http://h/",
            json!({ "status": 200, "headers": headers, "content": content })
        )]));
        let response = &cassette.records[0].response;
        assert_eq!(response.body.bytes().unwrap(), bytes, "{headers}");
        let length = bytes.len().to_string();
        assert!(
            field(&response.headers, "content-length").is_none_or(|announced| announced == length),
            "{headers}"
        );
        if headers.to_string().contains("big5") {
            assert_eq!(field(&response.headers, "content-type"), Some("text/plain; charset=utf-8"));
        }
    }
    // A request gets the bytes of its charset too, so that a client that sends these bytes finds
    // the record.
    let mut entry = get("http://h/", json!({ "status": 200, "content": { "text": "a" } }));
    entry["request"] = json!({ "method": "POST", "url": "http://h/", "postData": {
        "mimeType": "text/plain; charset=ISO-8859-1", "text": "jané",
    } });
    assert_eq!(cassette(json!([entry])).records[0].request.body.bytes().unwrap(), b"jan\xe9");
}

#[test]
fn base64_is_read_however_it_is_written() {
    for (text, encoding) in [("/wAB", "base64"), ("/w\r\n AB\n", "BASE64"), ("_wAB", "base64"), ("data", "")]
    {
        let content = json!({ "size": 3, "mimeType": "audio/mpeg", "text": text, "encoding": encoding });
        let body = cassette(json!([get("http://h/", json!({ "status": 200, "content": content }))]))
            .records
            .remove(0)
            .response
            .body;
        let expected: &[u8] = if encoding.is_empty() { b"data" } else { &[255, 0, 1] };
        assert_eq!(body.bytes().unwrap(), expected, "{text}");
    }
    let mut entry = get("http://h/", json!({ "status": 200, "content": { "text": "a" } }));
    entry["request"] = json!({ "method": "POST", "url": "http://h/", "postData": {
        "mimeType": "application/octet-stream", "text": "/wA=", "encoding": "base64",
    } });
    assert_eq!(cassette(json!([entry])).records[0].request.body.bytes().unwrap(), [255, 0]);
}

#[test]
fn a_coding_that_is_still_on_comes_off_and_a_compressed_file_stays_one() {
    use base64::Engine;
    let packed = crate::coding::gzip(b"plain").unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(&packed);
    let with = |kind: &str| {
        let headers = json!([
            { "name": "Content-Encoding", "value": "gzip" }, { "name": "Transfer-Encoding", "value": "chunked" },
            { "name": "Content-Length", "value": "7" }, { "name": "Content-Type", "value": kind },
        ]);
        let content = json!({ "size": packed.len(), "text": text, "encoding": "base64" });
        cassette(json!([get("http://h/", json!({ "status": 200, "headers": headers, "content": content }))]))
            .records
            .remove(0)
            .response
    };
    let response = with("audio/mpeg");
    assert_eq!(response.body.bytes().unwrap(), b"plain");
    let names: Vec<&str> = response.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["content-length", "content-type"]);
    assert_eq!(field(&response.headers, "content-length"), Some("5"));
    assert_eq!(with("application/x-gzip").body.bytes().unwrap()[..2], [0x1f, 0x8b]);
}

#[test]
fn a_url_is_found_however_its_characters_are_written() {
    for (archived, sent) in [
        ("http://h/a b?q=ü", "/a%20b?q=%C3%BC"),
        ("http://h/a%20b?q=%c3%bc", "/a%20b?q=%C3%BC"),
        ("http://h/?q={\"x\":1}", "/?q=%7B%22x%22:1%7D"),
        ("http://h/?q=%7B%22x%22:1%7D", "/?q={%22x%22:1}"),
        ("http://h/?filter[x]=1|2", "/?filter%5Bx%5D=1%7C2"),
    ] {
        let entry = get(archived, json!({ "status": 200, "content": { "text": "a" } }));
        let cassette = cassette(json!([entry]));
        let target = &cassette.records[0].request.target;
        assert!(http::Uri::try_from(target.as_str()).is_ok(), "{target}");
        assert_eq!(status(cassette, &format!("GET {sent}"), b""), 200, "{archived}");
    }
    let mut entry = get("http://h/a", json!({ "status": 200, "content": { "text": "a" } }));
    entry["request"]["queryString"] =
        json!([{ "name": "start:gte", "value": "a b&c" }, { "name": "page", "value": 2 }]);
    assert_eq!(cassette(json!([entry])).records[0].request.target, "/a?start:gte=a%20b%26c&page=2");
}

#[test]
fn what_latin_1_does_not_have_goes_out_as_utf_8() {
    let headers = json!([{ "name": "X-Name", "value": " Łódź " }, { "name": "X-Old", "value": "jan\u{e9}" }]);
    let response =
        json!({ "status": 200, "statusText": "Łatwe", "headers": headers, "content": { "text": "a" } });
    let cassette = cassette(json!([get("http://h/", response)]));
    let played = played(&cassette);
    assert_eq!(played.headers()["x-name"].as_bytes(), "Łódź".as_bytes());
    assert_eq!(played.headers()["x-old"].as_bytes(), b"jan\xe9");
    let reason = played.extensions().get::<hyper::ext::ReasonPhrase>().unwrap();
    assert_eq!(reason.as_bytes(), "Łatwe".as_bytes());
}

#[test]
fn members_of_other_types_cost_no_entry() {
    let (counts, cassette) = taken_in(
        &json!({ "log": { "comment": "c", "entries": [
            {
                "comment": "c", "time": "12.5",
                "request": { "method": "get", "url": " HTTP://h/a ", "headers": null, "cookies": null },
                "response": {
                    "status": "200", "headers": [{ "value": "x" }, { "name": "X-N", "value": 5 }, null],
                    "content": { "size": "1", "text": "a", "comment": "c" }, "redirectURL": null,
                    "cookies": [{ "name": "c", "value": "v", "path": "/", "httpOnly": true, "secure": null }],
                },
            },
            { "startedDateTime": "2026-11-24T16:06:12.5+0100", "request": { "method": "GET", "url": "http://h/b" },
              "response": { "status": 200.0, "content": { "text": "b" } } },
            { "request": { "method": "GET", "url": "http://h/" }, "response": { "status": 0 } },
            { "request": { "method": "GET", "url": "http://h/" }, "response": { "status": 101 } },
            { "request": { "method": "GET", "url": "http://h/" }, "response": {} },
            { "request": { "method": "G T", "url": "http://h/" }, "response": { "status": 200 } },
            null,
        ] } })
        .to_string(),
        true,
    );
    assert_eq!(counts, ImportCounts { records: 2, skipped: 5 });
    let first = &cassette.records[0];
    assert_eq!((first.request.method.as_str(), first.base.as_str(), first.millis), ("GET", "http://h", 12));
    assert_eq!(first.at, Timestamp::UNIX_EPOCH);
    assert_eq!(field(&first.response.headers, "x-n"), Some("5"));
    assert!(
        field(&first.response.headers, "set-cookie").is_some_and(|line| line.ends_with("; Path=/; HttpOnly"))
    );
    assert_eq!(cassette.records[1].at, "2026-11-24T15:06:12.5Z".parse().unwrap());
}

const PERSON: &str =
    r#"{"phone_number":"15551234567","first_name":"Jane","access_token":"s3cret-0123456789"}"#;

/// A cassette with hidden personal data, and its archive.
fn exported() -> (Vec<Record>, Value) {
    let mut entry = get(
        "http://h/users/jane?phone=15551234567",
        json!({ "status": 200, "content": { "mimeType": "application/json", "text": PERSON } }),
    );
    // No table lists this value, so it is replaced too.
    entry["request"]["method"] = json!("PURGE");
    entry["request"]["headers"] = json!([{ "name": "Authorization", "value": "Bearer s3cret-0123456789" }]);
    let archive = json!({ "log": { "entries": [entry] } }).to_string();
    let (_, cassette) = taken_in(&archive, false);
    let archive = har::export(&cassette);
    assert!(!archive.to_string().contains("15551234567"), "{archive}");
    (cassette.records, archive)
}

#[test]
fn what_was_exported_is_pseudonymised_no_second_time() {
    let (records, archive) = exported();
    // Another layout and an added comment change nothing.
    let mut other = archive.clone();
    other["log"]["entries"][0]["comment"] = json!("seen");
    for text in [archive.to_string(), format!("{archive:#}"), other.to_string()] {
        assert_eq!(taken_in(&text, false).1.records, records);
        assert_eq!(taken_in(&text, true).1.records, records);
    }
}

#[test]
fn an_entry_that_was_changed_or_added_since_is_pseudonymised() {
    let (records, mut archive) = exported();
    let entries = archive["log"]["entries"].as_array_mut().unwrap();
    let mut changed = entries[0].clone();
    changed["response"]["content"]["text"] = json!(PERSON);
    let mut without = changed.clone();
    without["_vbcProxy"].as_object_mut().unwrap().remove("pseudonymised");
    let mut header = entries[0].clone();
    header["request"]["headers"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "Cookie", "value": "a=s3cret" }));
    entries.extend([changed, without, header]);
    let taken_in = taken_in(&archive.to_string(), false).1.records;
    assert_eq!(taken_in.len(), 4);
    assert_eq!(taken_in[0], records[0]);
    let text = serde_json::to_string(&taken_in).unwrap();
    for word in ["15551234567", "Jane", "s3cret"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

#[test]
fn personal_data_that_an_export_has_kept_are_hidden_unless_they_are_to_be_kept() {
    let entry = get(
        "http://h/",
        json!({ "status": 200, "content": { "mimeType": "application/json", "text": PERSON } }),
    );
    let archive = json!({ "log": { "entries": [entry] } }).to_string();
    let (_, kept) = taken_in(&archive, true);
    let archive = har::export(&kept).to_string();
    assert!(archive.contains("15551234567") && !archive.contains("s3cret"), "{archive}");
    assert_eq!(taken_in(&archive, true).1.records, kept.records);
    let hidden = serde_json::to_string(&taken_in(&archive, false).1.records).unwrap();
    assert!(!hidden.contains("15551234567") && !hidden.contains("Jane"), "{hidden}");
}

#[test]
fn half_a_character_costs_no_archive() {
    let entry = get("http://h/", json!({ "status": 200, "content": { "text": "HALF" } }));
    let archive = json!({ "log": { "entries": [entry] } }).to_string().replace("HALF", "a\\ud83d");
    let cassette = taken_in(&archive, true).1;
    assert_eq!(cassette.records[0].response.body, Content::Text("a\u{fffd}".into()));
}
