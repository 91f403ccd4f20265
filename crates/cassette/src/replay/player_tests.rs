use super::*;
use crate::format::{Header, VERSION};
use vbc_base::clock::Timestamp;

const KEY: [u8; 32] = [7; 32];

fn asked(line: &str, body: &str) -> RecordedRequest {
    let (method, target) = line.split_once(' ').unwrap();
    RecordedRequest {
        method: method.into(),
        target: target.into(),
        version: "HTTP/1.1".into(),
        headers: vec![("accept".into(), "*/*".into()), ("authorization".into(), "Bearer mine".into())],
        body: Content::of(body.as_bytes().to_vec()),
        body_hash: None,
    }
}

/// A player of these requests, recorded with `unknown`. The body of each response is the record's
/// number.
fn player(lines: &[(&str, &str)], matching: Matching, order: Order) -> Player {
    let retention = Retention { unknown: true, ..Retention::default() };
    with_key(lines, matching, order, Some(KEY), retention)
}

fn with_key(
    lines: &[(&str, &str)],
    matching: Matching,
    order: Order,
    key: Option<[u8; 32]>,
    retention: Retention,
) -> Player {
    let (pseudonyms, known) = (Pseudonyms::new(&KEY), KnownSecrets::default());
    let filter = Filter { pseudonyms: &pseudonyms, known: &known, retention };
    let records = lines.iter().zip(1..).map(|((line, body), n)| {
        let response = RecordedResponse {
            status: 200,
            reason: None,
            headers: Vec::new(),
            body: Content::Text(format!("[{n}]")),
            body_hash: None,
            trailers: Vec::new(),
            complete: true,
            pieces: Vec::new(),
        };
        let request = asked(line, body);
        let record =
            Record { n, at: Timestamp::UNIX_EPOCH, millis: 0, base: "http://h".into(), request, response };
        let mut record = filter.record(record);
        // The players must consider the record playable.
        (record.response.body, record.response.body_hash) = (Content::Text(n.to_string()), None);
        record
    });
    let header = Header {
        vbc_proxy_cassette: VERSION,
        program: "test".into(),
        created: Timestamp::UNIX_EPOCH,
        personal_data: PersonalData::Hidden,
        key: String::new(),
    };
    Player::new(Cassette { header, records: records.collect(), torn: 0, key }, matching, order)
}

#[test]
fn a_method_of_no_table_is_played_as_it_was_recorded() {
    for retention in [Retention::default(), Retention { unknown: true, ..Retention::default() }] {
        let player = with_key(
            &[("PURGE /t/vbc.prod/vis/v1/self", "")],
            Matching::Strict,
            Order::Any,
            Some(KEY),
            retention,
        );
        assert_eq!(plays(&player, "PURGE /t/vbc.prod/vis/v1/self", ""), 1);
        assert_eq!(plays(&player, "UNLINK /t/vbc.prod/vis/v1/self", ""), 0);
        assert!(!nearest(&player, "UNLINK /").contains("UNLINK"));
    }
}

/// The number of the record that is played; 0 if no record is played.
fn plays(player: &Player, line: &str, body: &str) -> u64 {
    match player.play(&asked(line, body)) {
        Outcome::Play(record) => record.n,
        Outcome::Unplayable(..) | Outcome::NoMatch { .. } => 0,
    }
}

fn nearest(player: &Player, line: &str) -> String {
    match player.play(&asked(line, "")) {
        Outcome::NoMatch { nearest, .. } => nearest,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_request_twice_gets_both_responses_and_then_the_last_again() {
    let player = player(&[("GET /a", ""), ("GET /b", ""), ("GET /a", "")], Matching::Strict, Order::Any);
    let played: Vec<_> = ["GET /a", "GET /a", "GET /a", "GET /b"].map(|line| plays(&player, line, "")).into();
    assert_eq!(played, [1, 3, 3, 2]);
}

#[test]
fn strict_is_about_target_body_and_choosing_headers_and_not_about_credentials() {
    let player = player(&[("POST /a?x=1&access_token=old", "{\"y\":1}")], Matching::Strict, Order::Any);
    assert_eq!(plays(&player, "POST /a?x=1&access_token=new", "{\"y\":1}"), 1);
    for (line, body) in [
        ("PUT /a?x=1&access_token=old", "{\"y\":1}"),
        ("POST /a?x=2&access_token=old", "{\"y\":1}"),
        ("POST /a?access_token=old&x=1", "{\"y\":1}"),
        ("POST /a?x=1&access_token=old", "{\"y\":2}"),
    ] {
        assert_eq!(plays(&player, line, body), 0, "{line} {body}");
    }
    let mut other = asked("POST /a?x=1&access_token=old", "{\"y\":1}");
    other.headers[0].1 = "text/html".into();
    assert!(matches!(player.play(&other), Outcome::NoMatch { .. }));
}

#[test]
fn a_query_matches_in_every_encoding() {
    const LOGS: &str = "GET /t/vbc.prod/reports/accounts/self/call-logs";
    let curl = format!("{LOGS}?start:gte=2026-11-29%2000:00:00&start:lte=2026-11-30 00:00:00");
    let python = format!("{LOGS}?start%3Agte=2026-11-29+00%3A00%3A00&start%3alte=2026-11-30+00%3a00%3a00");
    for (recorded, sent) in [(&curl, &python), (&python, &curl)] {
        for key in [Some(KEY), None] {
            let records = [(recorded.as_str(), "")];
            let player = with_key(&records, Matching::Strict, Order::Any, key, Retention::default());
            assert_eq!(plays(&player, sent, ""), 1, "{sent}");
        }
    }
    let both = player(&[(&curl, ""), (&python, "")], Matching::Strict, Order::Any);
    assert_eq!(plays(&both, &python, ""), 2, "the same spelling is preferred");

    let player = player(
        &[("GET /a?x=1%2B2&y=b%26c", ""), ("GET /b?x=%ff", ""), ("GET /a@b?x=1", "")],
        Matching::Strict,
        Order::Any,
    );
    assert_eq!(plays(&player, "GET /a?%78=1%2b2&y=b%26%63", ""), 1);
    for other in ["/a?x=1+2&y=b%26c", "/a?x=1%2B2&y=b&c", "/b?x=%fe", "/b?x=%EF%BF%BD"] {
        assert_eq!(plays(&player, &format!("GET {other}"), ""), 0, "{other}");
    }
    assert_eq!(plays(&player, "GET /b?x=%FF", ""), 2);
    assert_eq!(
        nearest(&player, "GET /a%40b?x=1"),
        "the nearest is record 3, GET /a@b?x=1: the recorded path is /a@b, which differs only in its percent-encoding"
    );
}

const JANE: &str =
    "GET /t/vbc.prod/provisioning/api/accounts/1/users/jane?email=jane%40x.org&first_name=Jane";

#[test]
fn people_are_recognised_by_their_names_and_by_their_pseudonyms() {
    let player = player(&[(JANE, "{\"email\":\"jane@x.org\"}")], Matching::Strict, Order::Any);
    let recorded = player.tracks[0].record.request.clone();
    assert!(!format!("{} {:?}", recorded.target, recorded.body).to_lowercase().contains("jane"));
    assert_eq!(plays(&player, JANE, "{\"email\":\"jane@x.org\"}"), 1);
    assert!(matches!(player.play(&recorded), Outcome::Play(_)));
    // One part has the name, and the other has its pseudonym.
    let (path, query) = recorded.target.split_once('?').unwrap();
    let (_, named) = JANE.split_once('?').unwrap();
    for mixed in [format!("GET {path}?{named}"), JANE.replace(named, query)] {
        assert_eq!(plays(&player, &mixed, "{\"email\":\"jane@x.org\"}"), 1, "{mixed}");
    }
    for other in [JANE.replace("jane", "joan"), JANE.replace("Jane", "Joan")] {
        assert_eq!(plays(&player, &other, "{\"email\":\"jane@x.org\"}"), 0, "{other}");
    }
    assert_eq!(plays(&player, JANE, "{\"email\":\"joan@x.org\"}"), 0);
}

#[test]
fn without_the_key_people_are_recognised_by_lenient_matching_alone() {
    let lines = [(JANE, ""), ("GET /other/path", "")];
    let strict = with_key(&lines, Matching::Strict, Order::Any, None, Retention::default());
    assert_eq!(plays(&strict, JANE, ""), 0);
    let lenient = with_key(&lines, Matching::Lenient, Order::Any, None, Retention::default());
    assert_eq!(plays(&lenient, JANE, ""), 1);
    assert_eq!(plays(&lenient, &JANE.replace("jane", "joan"), ""), 1);
    assert_eq!(plays(&lenient, "GET /other/path", ""), 2);
}

#[test]
fn a_body_that_was_not_recorded_is_known_by_its_hash_and_without_the_key_by_its_length() {
    let lines = [("POST /other", "one"), ("POST /other", "two"), ("POST /other", "three")];
    let player = with_key(&lines, Matching::Strict, Order::Any, Some(KEY), Retention::default());
    assert_eq!(plays(&player, "POST /other", "two"), 2);
    assert_eq!(plays(&player, "POST /other", "six"), 0);
    let lines = [("POST /t/vbc.prod/other", "one"), ("POST /t/vbc.prod/other", "three")];
    let mut keyless = with_key(&lines, Matching::Strict, Order::Any, None, Retention::default());
    for track in &mut keyless.tracks {
        track.record.request.target = "/t/vbc.prod/other".into();
        track.request = ComparableRequest::of_recorded(&track.record.request);
    }
    assert_eq!(plays(&keyless, "POST /t/vbc.prod/other", "seven"), 2);
    assert_eq!(plays(&keyless, "POST /t/vbc.prod/other", "seventh"), 0);
}

#[test]
fn a_record_with_a_whole_response_is_played_before_one_without() {
    for matching in [Matching::Strict, Matching::Lenient] {
        let line = "POST /t/vbc.prod/other?a=1";
        let mut player =
            with_key(&[(line, "x"), (line, "x")], matching, Order::Any, Some(KEY), Retention::default());
        player.tracks[0].record.response.body = Content::Truncated(9);
        assert_eq!((plays(&player, line, "x"), plays(&player, line, "x")), (2, 2));
        // The second record looks as if it was recorded with `unknown`.
        let open = with_key(
            &[(line, "x")],
            matching,
            Order::Any,
            Some(KEY),
            Retention { unknown: true, ..Retention::default() },
        );
        player.tracks[1].request = open.tracks[0].request.clone();
        assert_eq!(plays(&player, line, "x"), 2);
        player.tracks[1].record.response.body = Content::Truncated(9);
        assert!(matches!(player.play(&asked(line, "x")), Outcome::Unplayable(..)));
    }
}

#[test]
fn what_was_recorded_before_the_table_plays_still() {
    let lines = [(JANE, "")];
    let mut player = player(&lines, Matching::Strict, Order::Any);
    let pseudonyms = Pseudonyms::new(&KEY);
    let phone = pseudonyms.of(crate::redact::Kind::Phone, "15551234567");
    // Phone numbers and credentials were replaced everywhere, and everything else was kept.
    let request = RecordedRequest {
        target: format!("/any/{phone}?sort=up&api_key=hidden-0123456789abcdef"),
        body: Content::Text(format!(
            "{{\"call\":\"{phone}\",\"note\":\"x\",\"pin\":\"hidden-0123456789abcdef\"}}"
        )),
        ..asked("POST /", "")
    };
    player.tracks[0].request = ComparableRequest::of_recorded(&request);
    let body = format!("{{\"call\":\"{phone}\", \"note\":\"x\", \"pin\":\"1234\"}}");
    assert_eq!(plays(&player, &format!("POST /any/{phone}?sort=up&api_key=mine"), &body), 1);
    assert_eq!(plays(&player, "POST /any/15551234567?sort=up&api_key=mine", &body), 1);
    assert_eq!(plays(&player, "POST /any/15551234567?sort=down&api_key=mine", &body), 0);
    // Credentials within a value, and in plain text.
    let cases = [
        ("{\"url\":\"http://h/x?token=hidden-0123456789abcdef\"}", "{\"url\":\"http://h/x?token=abc\"}", 1),
        ("{\"url\":\"http://h/x?token=hidden-0123456789abcdef\"}", "{\"url\":\"http://i/x?token=abc\"}", 0),
        ("<a pin=\"hidden-0123456789abcdef\"/>", "<a pin=\"1\"/>", 1),
        ("<a pin=\"hidden-0123456789abcdef\"/>", "<b pin=\"1\"/>", 0),
        ("{\"to\":\"hidden-0123456789abcdef\"}", "{\"to\":\"1\"}", 0),
    ];
    for (recorded, body, number) in cases {
        let request = RecordedRequest { body: Content::Text(recorded.into()), ..asked("POST /any?to=x", "") };
        player.tracks[0].request = ComparableRequest::of_recorded(&request);
        assert_eq!(plays(&player, "POST /any?to=x", body), number, "{recorded} {body}");
    }
    let request = asked("GET /any?to=http://h/%3Ftoken=hidden-0123456789abcdef%26a", "");
    player.tracks[0].request = ComparableRequest::of_recorded(&request);
    assert_eq!(plays(&player, "GET /any?to=http://h/%3Ftoken=abc%26a", ""), 1);
    assert_eq!(plays(&player, "GET /any?to=http://h/%3Ftoken=abc%26b", ""), 0);
}

#[test]
fn lenient_takes_the_most_similar() {
    let lines =
        [("GET /a?page=1&size=10", ""), ("GET /a?page=2&size=10", ""), ("GET /b", ""), ("POST /a", "x")];
    let player = player(&lines, Matching::Lenient, Order::Any);
    assert_eq!(plays(&player, "GET /a?size=10&page=2", ""), 2);
    assert_eq!(plays(&player, "GET /a?size=10&page=1", ""), 1);
    assert_eq!(plays(&player, "GET /a?page=2&size=11", ""), 2);
    assert_eq!(plays(&player, "POST /a", "y"), 4);
    assert_eq!(plays(&player, "PUT /a", ""), 0);
    assert_eq!(plays(&player, "GET /c", ""), 0);
}

#[test]
fn in_recorded_order_nothing_is_skipped() {
    let player = player(&[("GET /a", ""), ("GET /b", "")], Matching::Strict, Order::Recorded);
    assert_eq!(nearest(&player, "GET /b"), "the next in order is record 1, GET /a: the recorded path is /a");
    assert_eq!(plays(&player, "GET /a", ""), 1);
    assert_eq!(plays(&player, "GET /b", ""), 2);
    assert_eq!(nearest(&player, "GET /a"), "all records have been played");
}

#[test]
fn it_is_said_what_was_nearest_and_in_what_it_differs() {
    let lines = [("GET /users?page=1", ""), ("POST /calls", "x"), ("GET /users?page=1&size=2", "")];
    let player = player(&lines, Matching::Strict, Order::Any);
    assert_eq!(
        nearest(&player, "GET /users?page=3"),
        "the nearest is record 1, GET /users?page=1: the recorded query has `page=1`"
    );
    assert_eq!(
        nearest(&player, "GET /calls"),
        "the nearest is record 2, POST /calls: the recorded method is POST; the recorded body differs"
    );
    assert_eq!(
        nearest(&player, "GET /users?size=2&page=1"),
        "the nearest is record 3, GET /users?page=1&size=2: the recorded query is in another order"
    );
    assert_eq!(
        nearest(&player, "GET /user?page=1"),
        "the nearest is record 1, GET /users?page=1: the recorded path is /users"
    );
}

#[test]
fn the_summary_tells_what_was_never_asked_for() {
    let player = player(&[("GET /a", ""), (JANE, "")], Matching::Strict, Order::Any);
    plays(&player, "GET /a", "");
    plays(&player, "GET /c", "");
    let summary = player.summary();
    assert_eq!((summary.records, summary.played, summary.unmatched), (2, 1, 1));
    assert_eq!(summary.never_asked.len(), 1);
    assert!(
        summary.never_asked[0].1.starts_with("GET /t/vbc.prod/")
            && !summary.never_asked[0].1.contains("jane")
    );
}

#[test]
fn credentials_in_a_body_do_not_count() {
    let lines = [("POST /a", "{\"page\":1,\"pin\":\"s3cret-1\"}"), ("POST /b", "pin=s3cret-1&page=1")];
    let player = player(&lines, Matching::Strict, Order::Any);
    assert_eq!(plays(&player, "POST /a", "{\"page\":1,\"pin\":\"another\"}"), 1);
    assert_eq!(plays(&player, "POST /a", "{\"page\":2,\"pin\":\"s3cret-1\"}"), 0);
    assert_eq!(plays(&player, "POST /a", "{\"page\":1,\"pin\":\"s3cret-1\",\"x\":1}"), 0);
}

/// Whether a request with one `Accept` matches a record with another. An empty text means no
/// `Accept`.
fn accepts(recorded: &str, asking: &str) -> bool {
    let with = |accept: &str| {
        let mut request = asked("GET /a", "");
        match accept {
            "" => drop(request.headers.remove(0)),
            accept => request.headers[0].1 = accept.into(),
        }
        request
    };
    let mut one = player(&[("GET /a", "")], Matching::Strict, Order::Any);
    one.tracks[0].request = ComparableRequest::of_recorded(&with(recorded));
    matches!(one.play(&with(asking)), Outcome::Play(_))
}

#[test]
fn no_accept_is_like_one_that_accepts_everything() {
    let axios = "application/json, text/plain, */*";
    for (one, other) in [
        ("", "*/*"),
        ("", "*/*;q=0.8"),
        ("", axios),
        ("*/*", axios),
        ("*/*", "text/html, *; q=.2, */*; q=.2"),
        (axios, axios),
    ] {
        assert!(accepts(one, other) && accepts(other, one), "{one:?} {other:?}");
    }
    for (one, other) in [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("", "application/json, */*;q=0"),
        (axios, "application/json"),
        (axios, "text/html, */*"),
        ("", "text/*"),
    ] {
        assert!(!accepts(one, other) && !accepts(other, one), "{one:?} {other:?}");
    }
}

#[test]
fn the_same_accept_is_preferred_to_one_that_is_like_it() {
    let mut two = player(&[("GET /a", ""), ("GET /a", "")], Matching::Strict, Order::Any);
    let mut other = asked("GET /a", "");
    other.headers[0].1 = "application/json, */*".into();
    two.tracks[0].request = ComparableRequest::of_recorded(&other);
    assert_eq!(plays(&two, "GET /a", ""), 2);
    assert!(matches!(two.play(&other), Outcome::Play(record) if record.n == 1));
}

#[test]
fn the_host_of_a_recording_has_no_port() {
    assert_eq!(host_of("https://API.vonage.com:443").as_deref(), Some("API.vonage.com"));
    assert_eq!(host_of("http://"), None);
}
