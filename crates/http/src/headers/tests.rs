//! Surveys and stripping.

use super::*;

#[test]
fn a_survey_sees_what_is_there_and_nothing_else() {
    assert_eq!(Survey::of(&map(&[("host", "h"), ("accept", "a")])), Survey::default());
    let headers = map(&[
        ("Via", "1"),
        ("sec-fetch-site", "none"),
        ("cookie", "a"),
        ("expect", "b"),
        ("x-request-id", "c"),
    ]);
    let of = |name| Survey::of(&map(&[(name, "1")]));
    for name in ["origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "sec-fetch-user"] {
        assert_eq!(of(name), Survey { browser: true, ..Survey::default() }, "{name}");
    }
    for name in ["if-match", "if-none-match"] {
        assert_eq!(of(name), Survey { tags: true, ..Survey::default() }, "{name}");
    }
    assert_eq!(of("max-forwards"), Survey { max_forwards: true, ..Survey::default() });
    let expected = Survey {
        via: true,
        browser: true,
        cookie: true,
        expect: true,
        request_id: true,
        ..Survey::default()
    };
    assert_eq!(Survey::of(&headers), expected);
}

#[test]
fn a_survey_tells_of_all_that_strip_takes_and_of_nothing_else() {
    let names = [
        "connection",
        "te",
        "transfer-encoding",
        "upgrade",
        "proxy-authenticate",
        "proxy-authorization",
        "keep-alive",
        "proxy-connection",
        "authorization",
        "forwarded",
        "apikey",
        "internal-key",
        "x-api-key",
        "x-real-ip",
        "x-forwarded-for",
        "access-control-allow-origin",
        "host",
        "user-agent",
        "accept",
        "content-type",
        "content-length",
        "cookie",
        "expect",
        "via",
        "origin",
        "sec-fetch-site",
        "sec-fetch-mode",
        "max-forwards",
        "if-match",
        "if-none-match",
        "strict-transport-security",
        "alt-svc",
        "accept-ranges",
        "x-request-id",
        "x-other",
        "trailer",
        "link",
        "location",
        "etag",
        "date",
        "cache-control",
        "content-encoding",
    ];
    for name in names {
        let before = map(&[(name, "1")]);
        let (mut request, mut response) = (before.clone(), before.clone());
        strip_request(&mut request);
        strip_response(&mut response);
        assert_eq!(Survey::of(&before).strip, request != before, "{name}");
        assert_eq!(ResponseSurvey::of(&before).strip, response != before, "{name}");
    }
}

#[test]
fn the_first_type_of_an_response_says_whether_it_is_json() {
    let json = |lines: &[(&str, &str)]| ResponseSurvey::of(&map(lines)).json;
    for kind in ["application/json", "Application/JSON ; charset=utf-8", "application/hal+json"] {
        assert!(json(&[("content-type", kind)]), "{kind}");
    }
    for kind in ["text/plain", "", "json", "application/jsonl", "text/plain; a=application/json"] {
        assert!(!json(&[("content-type", kind)]), "{kind}");
    }
    assert!(!json(&[("content-type", "text/plain"), ("content-type", "application/json")]));
    assert!(!json(&[("content-length", "2")]));
}

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    headers
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    headers.keys().map(HeaderName::as_str).collect()
}

#[test]
fn hop_by_hop_headers_go_and_what_any_connection_line_names_goes_with_them() {
    let mut headers = map(&[
        ("accept", "a"),
        ("connection", "close, X-One"),
        ("x-one", "1"),
        ("connection", "x-two,,x-three ,"),
        ("x-two", "2"),
        ("x-three", "3"),
        ("keep-alive", "a"),
        ("proxy-connection", "a"),
        ("proxy-authorization", "a"),
        ("te", "gzip"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("x-end-to-end", "1"),
        ("x-end-to-end", "2"),
    ]);
    strip_request(&mut headers);
    assert_eq!(names(&headers), ["accept", "x-end-to-end"]);
    let values: Vec<_> = headers.get_all("x-end-to-end").iter().collect();
    assert_eq!(values, ["1", "2"]);
}

#[test]
fn client_credentials_and_whereabouts_go() {
    let mut headers = map(&[
        ("Authorization", "Bearer theirs"),
        ("authorization", "Basic theirs"),
        ("x-api-key", "k"),
        ("forwarded", "for=1"),
        ("x-forwarded-for", "1"),
        ("x-forwarded-host", "h"),
        ("x-real-ip", "1"),
        ("x-request-id", "keep"),
    ]);
    strip_request(&mut headers);
    assert_eq!(names(&headers), ["x-request-id"]);
}

#[test]
fn a_number_of_forwards_is_one_line_of_digits() {
    let value = |lines: &[&str]| {
        max_forwards(&map(&lines.iter().map(|line| ("max-forwards", *line)).collect::<Vec<_>>()))
    };
    for (text, number) in [("0", 0), ("000", 0), ("5", 5), ("99999999999999999999", u64::MAX)] {
        assert_eq!(value(&[text]), Some(number), "{text}");
    }
    for text in ["", "-1", "+1", "1.0", "0x1", "1, 1", "a"] {
        assert_eq!(value(&[text]), None, "{text}");
    }
    assert_eq!((value(&[]), value(&["1", "2"]), value(&["1", "1", "0"])), (None, None, None));
}

#[test]
fn equal_lines_of_max_forwards_count_as_one() {
    let headers = |text| map(&[("max-forwards", text), ("max-forwards", text)]);
    assert_eq!((max_forwards(&headers("0")), max_forwards(&headers("7"))), (Some(0), Some(7)));
    assert_eq!(max_forwards(&headers("x")), None);
}

#[test]
fn a_connection_line_does_no_harm_to_framing() {
    let mut headers =
        map(&[("connection", "host, content-length, expect"), ("host", "h"), ("content-length", "3")]);
    strip_request(&mut headers);
    assert_eq!(names(&headers).len(), 2);
}

#[test]
fn te_keeps_trailers_alone() {
    let mut headers = map(&[("te", "deflate, trailers"), ("connection", "te")]);
    strip_request(&mut headers);
    assert_eq!(headers["te"], "trailers");
}

#[test]
fn responses_lose_the_upstreams_cors_policy() {
    let mut headers = map(&[
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", ""),
        ("set-cookie", "a=b"),
        ("www-authenticate", "OAuth2"),
    ]);
    strip_response(&mut headers);
    let mut names = names(&headers);
    names.sort_unstable();
    assert_eq!(names, ["set-cookie", "www-authenticate"]);
}

#[test]
fn cookies_are_joined_by_semicolons() {
    let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]);
    join_cookies(&mut headers);
    assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
}

#[test]
fn redacted_headers_show_no_unknown_value() {
    let headers = map(&[("authorization", "Bearer s3cret"), ("x-key", "s3cret"), ("content-type", "a/b")]);
    let shown = format!("{:?}", Redacted(&headers));
    assert!(!shown.contains("s3cret") && shown.contains("a/b"), "{shown}");
}

#[test]
fn a_length_is_digits_alone_and_not_too_many() {
    let read = |text: &'static str| length(&HeaderValue::from_static(text));
    assert_eq!(
        [read("0"), read("007"), read("999999999999999999")],
        [Some(0), Some(7), Some(999_999_999_999_999_999)]
    );
    for text in ["", "+1", "-1", " 1", "1,1", "0x1", "1000000000000000000"] {
        assert_eq!(read(text), None, "{text}");
    }
}
