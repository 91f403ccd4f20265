use super::*;

/// Its name, and of what kind it is.
type Member = (&'static str, fn(&Value) -> bool);

/// What HAR 1.2 requires of each object: its members, and of what kind they are.
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

/// Validates an archive against the specification (version 1.2, sections log to timings).
fn assert_valid(archive: &Value) {
    let log = &archive["log"];
    assert_has(
        log,
        &[("version", Value::is_string), ("creator", Value::is_object), ("entries", Value::is_array)],
    );
    assert_eq!(log["version"], "1.2");
    assert_has(&log["creator"], &[("name", Value::is_string), ("version", Value::is_string)]);
    for entry in log["entries"].as_array().unwrap() {
        let members: &[Member] = &[
            ("startedDateTime", Value::is_string),
            ("time", Value::is_number),
            ("request", Value::is_object),
            ("response", Value::is_object),
            ("cache", Value::is_object),
            ("timings", Value::is_object),
        ];
        assert_has(entry, members);
        assert!(entry["startedDateTime"].as_str().unwrap().parse::<Timestamp>().is_ok());
        let request = &entry["request"];
        for member in ["method", "url", "httpVersion"] {
            assert!(request[member].is_string(), "{request}");
        }
        let response = &entry["response"];
        for member in ["statusText", "httpVersion", "redirectURL"] {
            assert!(response[member].is_string(), "{response}");
        }
        assert!(response["status"].is_number());
        for message in [request, response] {
            assert_pairs(&message["cookies"]);
            assert_pairs(&message["headers"]);
            assert!(message["headersSize"].is_number() && message["bodySize"].is_number());
        }
        assert_pairs(&request["queryString"]);
        if let Some(posted) = request.get("postData") {
            assert_has(
                posted,
                &[("mimeType", Value::is_string), ("params", Value::is_array), ("text", Value::is_string)],
            );
        }
        assert_has(&response["content"], &[("size", Value::is_number), ("mimeType", Value::is_string)]);
        let timings = &entry["timings"];
        let sum: u64 = ["send", "wait", "receive"].iter().map(|part| timings[part].as_u64().unwrap()).sum();
        assert_eq!(sum, entry["time"].as_u64().unwrap());
        // Whatever else there is begins with an underscore.
        let known = ["startedDateTime", "time", "request", "response", "cache", "timings"];
        for member in entry.as_object().unwrap().keys() {
            assert!(known.contains(&member.as_str()) || member.starts_with('_'), "{member}");
        }
    }
}

fn record(n: u64, target: &str, asked: Content, answered: Content) -> Record {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Record {
        n,
        at: "2026-11-24T15:06:12.5Z".parse().unwrap(),
        millis: 30,
        base: "http://127.0.0.1:8080".into(),
        request: Asked {
            method: "POST".into(),
            target: target.into(),
            version: "HTTP/1.1".into(),
            headers: vec![
                pair("cookie", "a=hidden-0123456789abcdef; b=hidden-0123456789abcdef"),
                pair("content-type", "text/x"),
            ],
            body: asked,
        },
        answer: Answered {
            status: 302,
            reason: None,
            headers: vec![
                pair("location", "/there"),
                pair("set-cookie", "a=hidden-0123456789abcdef; Path=/"),
            ],
            body: answered,
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
    assert_eq!(imported, Imported { records: 4, skipped: 0 });
    let mut expected = records();
    expected[1].answer.pieces.clear();
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
    assert_eq!(imported, Imported { records: 1, skipped: 1 });
    let text = std::fs::read_to_string(&path).unwrap();
    for secret in ["s3cret", "Jane", "15551234567", ":authority", "content-encoding"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let record = Cassette::read(&path).unwrap().records.remove(0);
    assert_eq!(
        (record.base.as_str(), record.request.version.as_str(), record.millis),
        ("https://api.vonage.com", "HTTP/2.0", 12)
    );
    let length = record.answer.body.bytes().unwrap().len().to_string();
    assert_eq!(field(&record.answer.headers, "content-length"), Some(length.as_str()));
    assert!(import("{}", &path, false, &Clock::system()).is_err());
}
