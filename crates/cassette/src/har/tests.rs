use super::*;
use crate::file::Appender;
use crate::format::{PersonalData, RecordedRequest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use vbc_base::clock::{Clock, Timestamp};

/// The name of a member, and a check of its type.
type Member = (&'static str, fn(&Value) -> bool);

/// Checks the members that HAR 1.2 requires of an object, and their types.
fn assert_has(value: &Value, members: &[Member]) {
    for (member, is) in members {
        assert!(value.get(member).is_some_and(is), "{member} in {value}");
    }
}

fn assert_pairs(value: &Value) {
    for pair in value.as_array().unwrap() {
        assert_has(pair, &[("name", Value::is_string), ("value", Value::is_string)]);
    }
}

/// Checks that an object has no other members, except with an underscore.
#[track_caller]
fn assert_only(value: &Value, members: &[&str]) {
    for member in value.as_object().unwrap().keys() {
        assert!(members.contains(&member.as_str()) || member.starts_with('_'), "{member} in {value}");
    }
}

fn is_size(value: &Value) -> bool {
    value.as_i64().is_some_and(|size| size >= -1)
}

/// Validates an archive against the specification (version 1.2, sections log to timings).
fn assert_valid(archive: &Value) {
    assert_only(archive, &["log"]);
    let log = &archive["log"];
    assert_only(log, &["version", "creator", "browser", "pages", "entries", "comment"]);
    assert_has(log, &[("creator", Value::is_object), ("entries", Value::is_array)]);
    assert_eq!(log["version"], "1.2");
    assert_has(&log["creator"], &[("name", Value::is_string), ("version", Value::is_string)]);
    let entries = log["entries"].as_array().unwrap();
    let mut last = Timestamp::UNIX_EPOCH;
    for entry in entries {
        let members = ["startedDateTime", "time", "request", "response", "cache", "timings"];
        assert_only(
            entry,
            &[&members[..], &["pageref", "serverIPAddress", "connection", "comment"]].concat(),
        );
        assert_has(entry, &[("request", Value::is_object), ("response", Value::is_object)]);
        let started: Timestamp = entry["startedDateTime"].as_str().unwrap().parse().unwrap();
        assert!(started >= last, "the oldest come first");
        last = started;
        assert_eq!(entry["cache"], json!({}));
        assert_request(&entry["request"]);
        assert_response(&entry["response"]);
        let timings = &entry["timings"];
        assert_only(timings, &["blocked", "dns", "connect", "send", "wait", "receive", "ssl", "comment"]);
        let sum: u64 = ["send", "wait", "receive"].iter().map(|part| timings[part].as_u64().unwrap()).sum();
        assert_eq!(sum, entry["time"].as_u64().unwrap());
    }
}

fn assert_message(message: &Value, members: &[&str]) {
    let common = ["httpVersion", "cookies", "headers", "headersSize", "bodySize", "comment"];
    assert_only(message, &[&common[..], members].concat());
    assert_has(
        message,
        &[("httpVersion", Value::is_string), ("headersSize", is_size), ("bodySize", is_size)],
    );
    assert_pairs(&message["cookies"]);
    assert_pairs(&message["headers"]);
}

fn assert_request(request: &Value) {
    assert_message(request, &["method", "url", "queryString", "postData"]);
    assert_has(request, &[("method", Value::is_string), ("url", Value::is_string)]);
    let url = url::Url::parse(request["url"].as_str().unwrap()).unwrap();
    assert!(url.has_host() && url.fragment().is_none(), "{url}");
    assert_pairs(&request["queryString"]);
    if let Some(posted) = request.get("postData") {
        assert_only(posted, &["mimeType", "params", "text", "comment"]);
        let members: &[Member] =
            &[("mimeType", Value::is_string), ("params", Value::is_array), ("text", Value::is_string)];
        assert_has(posted, members);
    }
}

fn assert_response(response: &Value) {
    assert_message(response, &["status", "statusText", "content", "redirectURL"]);
    let members: &[Member] =
        &[("status", Value::is_u64), ("statusText", Value::is_string), ("redirectURL", Value::is_string)];
    assert_has(response, members);
    let content = &response["content"];
    assert_only(content, &["size", "compression", "mimeType", "text", "encoding", "comment"]);
    assert_has(content, &[("size", Value::is_u64), ("mimeType", Value::is_string)]);
    let text = content.get("text").map(|text| text.as_str().unwrap());
    match content.get("encoding") {
        Some(encoding) => {
            assert_eq!(encoding, "base64");
            assert!(STANDARD.decode(text.unwrap()).is_ok());
        }
        None => assert!(text.is_none_or(|text| text.len() as u64 == content["size"].as_u64().unwrap())),
    }
}

fn record(n: u64, target: &str, sent: Content, received: Content) -> Record {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Record {
        n,
        at: "2026-11-24T15:06:12.5Z".parse().unwrap(),
        millis: 30,
        base: "http://127.0.0.1:8080".into(),
        request: RecordedRequest {
            method: "POST".into(),
            target: target.into(),
            version: "HTTP/1.1".into(),
            headers: vec![
                pair("cookie", "a=hidden-0123456789abcdef; b=hidden-0123456789abcdef"),
                pair("content-type", "text/x"),
            ],
            body: sent,
            body_hash: None,
        },
        response: RecordedResponse {
            status: 302,
            reason: None,
            headers: vec![
                pair("location", "/there"),
                pair("set-cookie", "a=hidden-0123456789abcdef; Path=/"),
            ],
            body: received,
            body_hash: None,
            trailers: Vec::new(),
            complete: n != 3,
            pieces: if n == 2 { vec![(10, 2)] } else { Vec::new() },
        },
    }
}

fn records() -> Vec<Record> {
    let audio = Content::of(vec![0xff, 0, 1]);
    vec![
        record(1, "/a?x=%20y&z", Content::Text("{}".into()), Content::Text("fine".into())),
        record(2, "/", Content::Empty, audio.clone()),
        record(3, "/b", audio, Content::Empty),
        record(4, "/c", Content::Empty, Content::Truncated(99)),
        record(5, "/d", Content::Truncated(98), Content::Undecodable("zstd".into())),
        record(6, "/e", Content::Unread, Content::Empty),
    ]
}

#[test]
fn an_export_has_all_that_the_specification_requires_and_is_taken_in_again() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("one"), directory.path().join("two"));
    let clock = Clock::system();
    let (mut appender, _) = Appender::open(&first, PersonalData::Kept, &clock).unwrap();
    records().into_iter().for_each(|record| appender.add(record).unwrap());
    let archive = export(&Cassette::read(&first).unwrap());
    assert_valid(&archive);
    let entries = &archive["log"]["entries"];
    assert_eq!(entries[0]["request"]["queryString"][0], json!({"name": "x", "value": " y"}));
    assert_eq!(entries[0]["request"]["cookies"].as_array().unwrap().len(), 2);
    assert_eq!(entries[1]["response"]["content"]["encoding"], "base64");
    assert_eq!(entries[1]["timings"], json!({"send": 0, "wait": 10, "receive": 20}));

    let imported = import(&archive.to_string(), &second, true, &clock).unwrap();
    assert_eq!(imported, ImportCounts { records: 6, skipped: 0 });
    let mut expected = records();
    expected[1].response.pieces.clear();
    assert_eq!(Cassette::read(&second).unwrap().records, expected);
}

#[test]
fn what_a_browser_has_recorded_loses_its_secrets_when_it_is_taken_in() {
    let archive = json!({"log": {"version": "1.2", "creator": {"name": "WebInspector", "version": "537.36"}, "pages": [], "entries": [{
        "startedDateTime": "2026-11-24T16:06:12.500+01:00", "time": 12.75,
        "request": {
            "method": "GET", "url": "https://api.vonage.com/t/users?phone=15551234567#top", "httpVersion": "h2", "cookies": [],
            "headers": [{"name": ":authority", "value": "api.vonage.com"}, {"name": "Authorization", "value": "Bearer s3cret"}],
            "queryString": [], "headersSize": -1, "bodySize": 0,
        },
        "response": {
            "status": 200, "statusText": "", "httpVersion": "h2", "cookies": [], "redirectURL": "", "headersSize": -1, "bodySize": 5,
            "headers": [
                {"name": "Content-Type", "value": "application/json"}, {"name": "Content-Encoding", "value": "br"},
                {"name": "Content-Length", "value": "5"},
            ],
            "content": {"size": 40, "mimeType": "application/json", "text": "{\"access_token\":\"s3cret\",\"first_name\":\"Jane\"}"},
        },
        "cache": {}, "timings": {"send": 0, "wait": 1, "receive": 1},
    }, {
        "startedDateTime": "2026-11-24T16:06:12.500+01:00", "time": 0,
        "request": {"method": "GET", "url": "https://x/", "headers": []},
        "response": {"status": 0, "headers": [], "content": {"size": 0}},
    }]}});
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let imported = import(&archive.to_string(), &path, false, &Clock::system()).unwrap();
    assert_eq!(imported, ImportCounts { records: 1, skipped: 1 });
    let text = std::fs::read_to_string(&path).unwrap();
    for secret in ["s3cret", "Jane", "15551234567", ":authority", "content-encoding"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let record = Cassette::read(&path).unwrap().records.remove(0);
    assert_eq!(
        (record.base.as_str(), record.request.version.as_str(), record.millis),
        ("https://api.vonage.com", "HTTP/2.0", 12)
    );
    let length = record.response.body.bytes().unwrap().len().to_string();
    assert_eq!(field(&record.response.headers, "content-length"), Some(length.as_str()));
    assert!(import("{}", &path, false, &Clock::system()).is_err());
}

fn imported(entries: &Value) -> (ImportCounts, Vec<Record>, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let archive = format!("\u{feff}{}", json!({ "log": { "entries": entries } }));
    let imported = import(&archive, &path, false, &Clock::system()).unwrap();
    (imported, Cassette::read(&path).unwrap().records, std::fs::read_to_string(&path).unwrap())
}

fn posted(url: &str, posted: Value) -> Value {
    json!({
        "startedDateTime": "2026-11-24T16:06:12Z",
        "request": { "method": "POST", "url": url, "headers": [], "postData": posted },
        "response": { "status": 200, "content": { "text": "<pin>1</pin>", "mimeType": "text/xml" } },
    })
}

#[test]
fn what_a_header_does_not_say_the_archive_says_elsewhere() {
    let (counts, records, text) = imported(&json!([
        posted(
            "https://u:s3cret@h:8/a?b#c",
            json!({ "mimeType": "text/xml", "text": "<token>s3cret</token>" })
        ),
        posted(
            "http://h?a=1",
            json!({
                "mimeType": "application/x-www-form-urlencoded",
                "params": [{ "name": "a b", "value": "x&y=+" }, { "name": "password", "value": "s3cret" }],
            })
        ),
        posted(
            "http://h/",
            json!({
                "mimeType": "multipart/form-data; boundary=b", "text": null,
                "params": [
                    { "name": "pin", "value": "s3cret" },
                    { "name": "f", "fileName": "x", "contentType": "a/b", "value": "v" },
                ],
            })
        ),
    ]));
    assert_eq!(counts, ImportCounts { records: 3, skipped: 0 });
    assert!(!text.contains("u:s3cret") && !text.contains("password=s3cret"), "{text}");
    let bodies: Vec<String> = records
        .iter()
        .map(|record| String::from_utf8(record.request.body.bytes().unwrap()).unwrap())
        .collect();
    assert_eq!((records[0].base.as_str(), records[0].request.target.as_str()), ("https://h:8", "/a?b"));
    assert_eq!(field(&records[0].request.headers, "content-type"), Some("text/xml"));
    // Bodies are kept: nothing in XML and multipart tells which values are credentials.
    assert_eq!(bodies[0], "<token>s3cret</token>");
    assert_eq!(field(&records[0].response.headers, "content-type"), Some("text/xml"));
    assert_eq!(records[1].request.target, "/?a=1");
    assert!(bodies[1].starts_with("a+b=x%26y%3D%2B&password=hidden-"), "{bodies:?}");
    assert!(
        bodies[2].starts_with("--b\r\nContent-Disposition: form-data; name=\"pin\"\r\n\r\n"),
        "{bodies:?}"
    );
    let file = "Content-Disposition: form-data; name=\"f\"; filename=\"x\"\r\nContent-Type: a/b\r\n\r\nv\r\n--b--\r\n";
    assert!(bodies[2].ends_with(file), "{bodies:?}");
}

/// Archives in the style of the network panels of Chromium and Firefox.
#[test]
fn what_browsers_leave_out_or_add_is_no_obstacle() {
    let chromium = json!({
        "_initiator": { "type": "script" }, "_priority": "High", "_resourceType": "fetch", "cache": {}, "connection": "443",
        "pageref": "page_1", "serverIPAddress": "[::1]", "startedDateTime": "2026-11-24T15:06:12.500Z", "time": 12.7,
        "request": {
            "method": "GET", "url": "https://api.vonage.com/a", "httpVersion": "h3", "bodySize": 0, "headersSize": -1,
            "headers": [{ "name": ":path", "value": "/a" }, { "name": "accept", "value": "*/*" }],
            "cookies": [], "queryString": [],
        },
        "response": {
            "status": 200, "statusText": "", "httpVersion": "h3", "headersSize": -1, "bodySize": -1, "_transferSize": 9,
            "_error": null, "redirectURL": "", "cookies": [],
            "headers": [{ "name": "set-cookie", "value": "a=s3cret1; Path=/\nb=s3cret2" }],
            "content": { "size": 3, "mimeType": "x-unknown", "text": "/wAB", "encoding": "base64" },
        },
        "timings": { "blocked": 1.2, "dns": -1, "ssl": -1, "connect": -1, "send": 0, "wait": 1, "receive": 1, "_queued": 1 },
    });
    let firefox = json!({
        "startedDateTime": "2026-11-24T16:06:12.500+01:00", "time": null, "_securityState": "secure",
        "request": {
            "method": "POST", "url": "https://h/b", "httpVersion": "HTTP/2", "headersSize": 9, "bodySize": 7,
            "headers": [{ "name": "Content-Type", "value": "application/x-www-form-urlencoded" }],
            "postData": { "mimeType": "application/x-www-form-urlencoded", "params": [{ "name": "pin", "value": "7" }], "text": "pin=7" },
        },
        "response": { "status": 204, "statusText": "No Content", "headers": [], "content": null },
    });
    let odd = json!([
        { "startedDateTime": "2026-11-24T16:06:12Z", "request": { "method": "GET", "url": "data:text/plain,x" }, "response": { "status": 200 } },
        { "startedDateTime": "2026-11-24T16:06:12Z", "request": { "method": "GET", "url": "wss://h/" }, "response": { "status": 101 } },
        { "startedDateTime": "2026-11-24T16:06:12Z", "request": { "method": "GET", "url": "http://h/" }, "response": { "status": -1 } },
        { "request": { "method": "", "url": "http://h/" }, "response": { "status": 200 } },
        {},
    ]);
    let mut entries = vec![chromium, firefox];
    entries.extend(odd.as_array().unwrap().clone());
    let (counts, records, text) = imported(&Value::Array(entries));
    assert_eq!(counts, ImportCounts { records: 2, skipped: 5 });
    assert!(!text.contains("s3cret") && !text.contains("pin=7") && !text.contains("x-unknown"), "{text}");
    assert_eq!(records[0].response.headers.iter().filter(|(name, _)| name == "set-cookie").count(), 2);
    assert_eq!(records[0].response.body.bytes().unwrap(), [255, 0, 1]);
    assert_eq!((records[0].request.version.as_str(), records[0].millis), ("HTTP/3.0", 12));
    assert_eq!((records[1].response.status, records[1].at), (204, records[0].at));
}

#[test]
fn a_request_without_a_host_has_a_url_all_the_same() {
    let mut record = record(1, "/a", Content::Empty, Content::Empty);
    record.base = "http://".into();
    assert_eq!(entry_of(&record)["request"]["url"], "http://localhost/a");
}
