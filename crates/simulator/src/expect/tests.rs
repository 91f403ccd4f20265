use http::Method;

use super::*;
use vbc_base::clock::Timestamp;

fn journal(requests: &[(&str, &str, u16)]) -> Journal {
    let mut journal = Journal::new(5, 0);
    for (method, target, status) in requests {
        journal.add(|sequence| RecordedRequest {
            sequence,
            time: Timestamp::UNIX_EPOCH,
            connection: 1,
            method: Method::from_bytes(method.as_bytes()).unwrap(),
            target: (*target).to_owned(),
            head: String::new(),
            headers: vec![("accept".into(), "*/*".into())],
            body_length: 0,
            body_sha256: String::new(),
            body_json: None,
            grant: target.starts_with("/token").then(|| "password".into()),
            token: None,
            status: Some(*status),
        });
    }
    journal
}

fn verdict(journal: &Journal, list: Vec<Expectation>, in_order: bool) -> Verdict {
    let mut expectations = Expectations::default();
    expectations.declare(list, in_order, 0);
    expectations.verdict(journal)
}

const DAY: [(&str, &str, u16); 4] = [
    ("POST", "/token", 200),
    ("GET", "/t/vbc.prod/reports/accounts/1/call-logs?page=2&start%3Agte=x", 200),
    ("POST", "/t/vbc.prod/telephony/v3/cc/accounts/1/calls", 401),
    ("POST", "/t/vbc.prod/telephony/v3/cc/accounts/1/calls", 200),
];

#[test]
fn what_came_is_counted() {
    let journal = journal(&DAY);
    let calls = || Expectation::new("POST", "/**/calls");
    for (expectation, met) in [
        (calls(), true),
        (calls().times(2), true),
        (calls().times(1), false),
        (calls().status(200).times(1), true),
        (calls().at_most(1), false),
        (calls().at_most(2), true),
        (calls().at_least(3), false),
        (Expectation::new("*", "/t/**").times(3), true),
        (Expectation::new("DELETE", "/**").times(0), true),
        (Expectation::new("GET", "/**").query("page", "2").query("start:gte", "x"), true),
        (Expectation::new("GET", "/**").query("page", "3"), false),
        (Expectation::new("GET", "/**").header("Accept", "*/*"), true),
        (Expectation::new("GET", "/**").header("accept", "text/html"), false),
        (Expectation::new("POST", "/token").grant("password"), true),
        (Expectation::new("POST", "/token").grant("refresh_token"), false),
    ] {
        let shown = format!("{expectation:?}");
        assert_eq!(verdict(&journal, vec![expectation], false).met, met, "{shown}");
    }
}

#[test]
fn a_verdict_names_what_is_missing_and_what_came_nearest() {
    let journal = journal(&DAY);
    let put = Expectation::new("PUT", "/t/vbc.prod/telephony/v3/cc/accounts/1/calls").times(2);
    let verdict = verdict(&journal, vec![put, Expectation::new("GET", "/**").query("page", "3")], false);
    assert_eq!(
        verdict.to_string(),
        "PUT /t/vbc.prod/telephony/v3/cc/accounts/1/calls, exactly 2: 0 arrived, expected at least 2: 2 missing; \
         the nearest was request 3 POST /t/vbc.prod/telephony/v3/cc/accounts/1/calls: the method is POST, not PUT\n\
         GET /**, page=3, at least 1: 0 arrived, expected at least 1: 1 missing; the nearest was \
         request 2 GET /t/vbc.prod/reports/accounts/1/call-logs?page=2&start%3Agte=x: the query's page is 2, not 3"
    );
    assert_eq!(verdict.findings[0].nearest.len(), 3);
}

#[test]
fn a_body_is_compared_as_json_or_byte_for_byte() {
    let json = r#"{"to":"1001","tags":[1,{"a":null,"b":"ü"}]}"#;
    let long = format!("[\"{}\"]", "x".repeat(64 * 1024));
    for (sent, expected, met) in [
        (json, json!(json), true),
        (json, json!({ "tags": [1, { "b": "ü", "a": null }], "to": "1001" }), true),
        (json, json!(" {\"tags\": [1, {\"b\": \"ü\", \"a\": null}],\n \"to\": \"1001\"}"), true),
        (json, json!({ "to": "1001" }), false),
        (json, json!({ "to": "1001", "tags": [{ "a": null, "b": "ü" }, 1] }), false),
        ("a=1&b=2", json!("a=1&b=2"), true),
        ("a=1&b=2", json!("b=2&a=1"), false),
        ("", json!(""), true),
        ("", json!("{}"), false),
        (long.as_str(), json!(long), true),
        (long.as_str(), json!([" "]), false),
    ] {
        let known = journal(&[("POST", "/a", 200)]).entries().next().unwrap().clone();
        let mut journal = Journal::new(5, 0);
        journal.add(|sequence| RecordedRequest {
            sequence,
            body_length: sent.len() as u64,
            body_sha256: body::sha256(sent.as_bytes()),
            body_json: hash_of_json(sent.as_bytes()),
            ..known
        });
        let expectation =
            Expectation::from_json(&json!({ "method": "POST", "path": "/a", "body": expected })).unwrap();
        let verdict = verdict(&journal, vec![expectation], false);
        assert_eq!(verdict.met, met, "{expected} {verdict}");
        if !met {
            let problem = format!("the body of {} bytes is not the expected one", sent.len());
            assert!(verdict.to_string().ends_with(&problem), "{verdict}");
        }
    }
}

#[test]
fn order_matters_where_it_was_asked_for() {
    let journal = journal(&DAY);
    let logs = || Expectation::new("GET", "/**/call-logs");
    let call = || Expectation::new("POST", "/**/calls");
    assert!(verdict(&journal, vec![logs(), call().at_least(2)], true).met);
    assert!(verdict(&journal, vec![call(), logs()], false).met);
    let wrong = verdict(&journal, vec![call().at_least(2), logs()], true);
    assert_eq!(
        wrong.to_string(),
        "GET /**/call-logs, at least 1: 0 arrived after request 4, expected at least 1: 1 missing; the nearest was \
         request 2 GET /t/vbc.prod/reports/accounts/1/call-logs?page=2&start%3Agte=x: it arrived too early"
    );
}

#[test]
fn a_verdict_says_what_the_journal_forgot() {
    let many = [DAY, DAY].concat();
    assert_eq!(verdict(&journal(&many), vec![Expectation::new("*", "/**")], false).forgotten, 3);
}

#[test]
fn nonsense_is_refused_with_a_reason() {
    for (given, reason) in [
        (json!("x"), "expected an object with a `path`"),
        (json!({ "method": "GET" }), "an expectation needs a `path`, such as \"/t/vbc.prod/**\""),
        (json!({ "path": 1 }), "`path` must be a text"),
        (
            json!({ "path": "/", "count": 1 }),
            "`count` is not a key of an expectation; known keys: name, method, path, query, \
                                              headers, grant, body, status, times, at_least, at_most",
        ),
        (json!({ "path": "/", "times": -1 }), "`times` must be a whole number"),
        (
            json!({ "path": "/", "times": 1, "at_most": 1 }),
            "`times` is exact; leave out `at_least` and `at_most`",
        ),
        (json!({ "path": "/", "at_least": 2, "at_most": 1 }), "`at_least` is greater than `at_most`"),
        (json!({ "path": "/", "query": ["x"] }), "`query` must be an object with texts as values"),
        (json!({ "path": "/", "status": 70000 }), "`status` must be an HTTP status"),
    ] {
        assert_eq!(Expectation::from_json(&given).unwrap_err(), reason);
    }
    let read = Expectation::from_json(&json!({ "path": "/", "at_most": 3, "query": { "page": 2 } })).unwrap();
    assert_eq!((read.least(), read.at_most), (0, Some(3)));
    assert_eq!(read.query, [("page".to_owned(), "2".to_owned())]);
}
