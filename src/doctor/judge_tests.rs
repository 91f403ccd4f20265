use http::HeaderValue;

use super::super::report::Verdict;
use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn response(status: StatusCode, headers: HeaderMap, body: impl Into<Vec<u8>>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.into()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn presented(openid: bool) -> PresentedToken {
    PresentedToken { openid, age: Duration::from_secs(1) }
}

fn judged(suite: Suite, status: u16, body: &str, openid: bool) -> Judgement {
    let headers = HeaderMap::new();
    let status = StatusCode::from_u16(status).unwrap();
    judge(suite, &response(status, headers, body), presented(openid), NOW)
}

fn with_header(status: u16, name: http::HeaderName, value: &str, body: &str) -> Judgement {
    let headers = HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]);
    let status = StatusCode::from_u16(status).unwrap();
    judge(Suite::Reports, &response(status, headers, body), presented(true), NOW)
}

#[track_caller]
fn expect(judgement: &Judgement, verdict: Verdict, code: &str, remedy: &str) {
    let check = &judgement.check;
    assert_eq!((check.verdict, check.code.as_deref()), (verdict, Some(code)), "{check:?}");
    let given = check.remedy.as_deref().unwrap_or_default();
    assert!(given.contains(remedy), "{remedy:?} is not in {check:?}");
}

/// A code of the gateway in each of its wrappings.
fn wrapped(code: u32) -> [String; 3] {
    [
        format!(r#"{{"code":"{code}","message":"m","description":"d"}}"#),
        format!(r#"{{"fault":{{"code":{code},"message":"m","description":"d"}}}}"#),
        format!(
            "<ams:fault xmlns:ams=\"http://wso2.org/apimanager/security\"><ams:code>{code}</ams:code>\
             <ams:message>m</ams:message></ams:fault>"
        ),
    ]
}

#[test]
fn a_good_response_is_ok() {
    for (suite, body) in
        [(Suite::Provisioning, "{}"), (Suite::Telephony, "[]"), (Suite::Telephony, "text"), (Suite::Vis, "")]
    {
        let Judgement { check, quota } = judged(suite, 200, body, true);
        assert_eq!((check.verdict, check.code, check.status, quota), (Verdict::Ok, None, Some(200), None));
        assert_eq!(check.name, suite.name());
    }
}

#[test]
fn the_gateways_codes_are_judged_in_every_wrapping() {
    let codes = [
        (401, 900_901, "token-refused", "a new token"),
        (401, 900_902, "token-missing", "Authorization"),
        (401, 900_903, "token-refused", "clocks"),
        (401, 900_904, "token-refused", "Another program"),
        (401, 900_905, "token-type", "Production Keys"),
        (401, 900_907, "blocked", "Vonage"),
        (401, 900_909, "subscription-inactive", "subscription"),
        (401, 900_911, "client-certificate", "Vonage"),
        (403, 900_906, "forbidden", "subscribed"),
        (403, 900_908, "unsubscribed", "subscribe the application to Reports"),
        (403, 900_910, "scope", "scope"),
        (500, 900_900, "gateway-trouble", "again later"),
        (503, 101_503, "backend-down", "again later"),
        (504, 101_504, "backend-down", "again later"),
        (503, 700_700, "blocked", "again later"),
    ];
    for (status, code, word, remedy) in codes {
        for body in wrapped(code) {
            let judgement = judged(Suite::Reports, status, &body, true);
            expect(&judgement, Verdict::Fail, word, remedy);
            assert!(judgement.check.found.contains(&code.to_string()), "{judgement:?}");
        }
    }
}

#[test]
fn each_suites_own_refusal_is_a_missing_role_where_the_scope_is_right() {
    let cases = [
        (Suite::Provisioning, 401, "\"missing user data\"", "Account Administrator"),
        (Suite::Provisioning, 401, "missing user data", "Account Administrator"),
        (Suite::Provisioning, 401, r#"{"msg":"Unauthorized","status":401}"#, "Account Administrator"),
        (Suite::Reports, 401, r#"{"msg":"Unauthorized","status":401}"#, "Account Administrator"),
        (
            Suite::Telephony,
            401,
            r#"{"code":401,"message":"User is not permitted to make a request against this account"}"#,
            "role",
        ),
        (Suite::Reports, 401, r#"{"title":"Problem with provided token"}"#, "young tokens"),
        (Suite::Vis, 401, "\"Failed to get claims for token\"", "license"),
        (
            Suite::CallRecording,
            403,
            "User is not authorized to search CCR recordings for this account",
            "Company Call Recording",
        ),
    ];
    for (suite, status, body, remedy) in cases {
        expect(&judged(suite, status, body, true), Verdict::Fail, "role", remedy);
    }
}

#[test]
fn a_missing_openid_is_told_from_a_missing_role() {
    let refusal = r#"{"title":"Problem with provided token"}"#;
    for body in ["", refusal] {
        expect(&judged(Suite::Reports, 401, body, false), Verdict::Fail, "scope", "add openid");
    }
    // Other suites may reject the token for either reason. The Integration Platform accepts tokens
    // without openid.
    let judgement = judged(Suite::Provisioning, 401, "missing user data", false);
    expect(&judgement, Verdict::Fail, "role", "add openid");
    let judgement = judged(Suite::Vis, 401, "Failed to get claims for token", false);
    assert!(!judgement.check.remedy.unwrap().contains("openid"));
    expect(&judged(Suite::Reports, 403, &wrapped(900_910)[0], false), Verdict::Fail, "scope", "add openid");
}

#[test]
fn an_old_token_is_named_before_the_role_where_reports_refuses_it() {
    let refuse = |minutes: u64| {
        let body = r#"{"title":"Problem with provided token"}"#;
        let response = response(StatusCode::UNAUTHORIZED, HeaderMap::new(), body);
        let token = PresentedToken { openid: true, age: Duration::from_secs(minutes * 60) };
        judge(Suite::Reports, &response, token, NOW)
    };
    let judgement = refuse(10);
    expect(&judgement, Verdict::Fail, "token-age", "set max_age for /t/vbc.prod/reports");
    assert!(judgement.check.found.contains("(10 min), or the user lacks the role"), "{judgement:?}");
    expect(&refuse(1), Verdict::Fail, "role", "Account Administrator");
}

#[test]
fn a_refusal_that_nobody_can_read_is_not_said_to_be_the_role() {
    for suite in [Suite::Reports, Suite::Telephony] {
        let judgement = judged(suite, 401, r#"{"message":"no"}"#, true);
        expect(&judgement, Verdict::Fail, "refused", "a new token");
        assert!(judgement.check.found.starts_with("rejected: either the token, or the user's role"));
        expect(&judgement, Verdict::Fail, "refused", "role");
    }
    for words in ["Invalid Credentials", "Invalid JWT token"] {
        let judgement = judged(Suite::Vis, 401, &format!("{{\"message\":\"{words}\"}}"), true);
        expect(&judgement, Verdict::Fail, "token-refused", "a new token");
    }
}

#[test]
fn a_missing_subscription_is_known_without_its_code() {
    let body = r#"{"message":"Resource forbidden","description":"API Subscription validation failed."}"#;
    expect(&judged(Suite::Reports, 403, body, true), Verdict::Fail, "unsubscribed", "Applications");
}

#[test]
fn who_is_blocked_is_not_told_of_a_quota() {
    let Judgement { check, quota } = judged(Suite::Vis, 429, &wrapped(900_805)[0], true);
    let quota = quota.unwrap();
    let line = super::quota::check(Some(&quota), 1).unwrap();
    for found in [&check.found, &line.found, &super::quota::describe(&quota)] {
        assert!(found.starts_with("the service blocks the application or the user"), "{found}");
    }
    assert_eq!((line.verdict, line.code.as_deref()), (Verdict::Fail, Some("blocked")));
}

#[test]
fn indias_hmac_is_named() {
    expect(
        &judged(Suite::CallRecording, 403, "Missing HMAC token", true),
        Verdict::Fail,
        "hmac",
        "call_recording",
    );
}

#[test]
fn a_quota_is_named_with_whose_it_is_and_when_it_ends() {
    let body = r#"{"code":"900803","message":"Message throttled out","description":"You have exceeded your quota",
                   "nextAccessTime":"2026-Sep-05 16:00:00+0000 UTC"}"#;
    let judgement = judged(Suite::Vis, 429, body, true);
    expect(&judgement, Verdict::Warn, "throttled", "10 requests a minute");
    let expected =
        Quota { of: "application".into(), code: Some(900_803), until: "2026-09-05T16:00:00Z".parse().ok() };
    assert_eq!(judgement.quota, Some(expected));
    assert!(judgement.check.found.contains("application quota is used up until 16:00:00 UTC (900803)"));
    // `Retry-After` takes precedence over `nextAccessTime`.
    let judgement = with_header(429, header::RETRY_AFTER, "Sat, 05 Sep 2026 16:01:00 GMT", body);
    assert_eq!(judgement.quota.unwrap().until, "2026-09-05T16:01:00Z".parse().ok());
    let judgement = with_header(429, header::RETRY_AFTER, "30", "");
    assert_eq!(judgement.quota.unwrap().until, "1970-01-01T00:00:30Z".parse().ok());
}

#[test]
fn a_throttling_body_counts_whatever_its_status() {
    for body in wrapped(900_804) {
        let judgement = judged(Suite::Reports, 200, &body, true);
        expect(&judgement, Verdict::Warn, "throttled", "wait");
        assert_eq!(judgement.quota.unwrap().of, "subscription");
        assert!(judgement.check.found.ends_with("with status 200"), "{:?}", judgement.check);
    }
    expect(&judged(Suite::Vis, 429, "<html>", true), Verdict::Warn, "throttled", "wait a minute");
    expect(&judged(Suite::Vis, 429, &wrapped(900_805)[0], true), Verdict::Fail, "blocked", "Vonage");
    assert!(judged(Suite::Vis, 503, &wrapped(900_801)[0], true).quota.is_some());
}

#[test]
fn what_is_not_there_is_told_from_what_we_ask_wrongly() {
    let gone = r#"{"code":"404","message":"Not Found","description":"The requested resource (/t/vbc.prod/vis/v1/self) is not available."}"#;
    for body in [gone, "", "<html>not here</html>", "<fault><message>Not Found</message></fault>"] {
        let judgement = judged(Suite::Vis, 404, body, true);
        assert_eq!(judgement.check.verdict, Verdict::Fail, "{body}");
        assert!(judgement.check.remedy.unwrap().contains("upstream.url"), "{body}");
    }
    let unknown = r#"{"code":"404","message":"No matching resource found for given API Request"}"#;
    expect(&judged(Suite::Vis, 404, unknown, true), Verdict::Warn, "no-such-operation", "nothing");
    let backend = r#"{"status":404,"title":"account not found"}"#;
    expect(&judged(Suite::Vis, 404, backend, true), Verdict::Warn, "not-found", "account");
    expect(&judged(Suite::Vis, 405, "", true), Verdict::Warn, "no-such-operation", "nothing");
    expect(
        &judged(Suite::Vis, 400, r#"{"title":"bad page"}"#, true),
        Verdict::Warn,
        "question-refused",
        "nothing",
    );
}

#[test]
fn trouble_pages_and_redirects_are_named() {
    for status in [408, 500, 502, 503, 599] {
        expect(&judged(Suite::Vis, status, "", true), Verdict::Fail, "backend-down", "again later");
    }
    for status in [200, 403, 401, 503] {
        let judgement = judged(Suite::Vis, status, "<!DOCTYPE html><title>Sign in</title>", true);
        expect(&judgement, Verdict::Fail, "page", "upstream.url");
        assert!(judgement.check.found.contains("Sign in"), "{judgement:?}");
    }
    let redirect = with_header(302, header::LOCATION, "https://u:p@login.example/x?token=abc", "");
    expect(&redirect, Verdict::Fail, "redirect", "upstream.url");
    assert_eq!(redirect.check.found, "redirects to https://login.example/x");
    let challenge = with_header(401, header::WWW_AUTHENTICATE, "OAuth2 error=\"invalid_token\"", "");
    expect(&challenge, Verdict::Fail, "token-refused", "new token");
    let activity = with_header(500, http::HeaderName::from_static("activityid"), "2674853f-a215", "");
    expect(&activity, Verdict::Fail, "backend-down", "activityid 2674853f-a215");
    expect(&judged(Suite::Vis, 418, "", true), Verdict::Warn, "unexpected", "Vonage");
}

proptest::proptest! {
    #[test]
    fn every_response_has_a_judgement_and_a_remedy(
        status in 200_u16..600,
        body in proptest::collection::vec(0_u8..255, 0..100),
        openid: bool,
    ) {
        for suite in Suite::ALL {
            for body in [body.clone(), [&b"{\"code\":\"9008"[..], &body].concat()] {
                let status = StatusCode::from_u16(status).unwrap();
                let check = judge(suite, &response(status, HeaderMap::new(), body), presented(openid), NOW).check;
                assert!(!check.found.is_empty());
                assert!(check.verdict == Verdict::Ok || check.remedy.is_some(), "{check:?}");
                assert!(!check.found.contains(char::is_control), "{check:?}");
            }
        }
    }
}
