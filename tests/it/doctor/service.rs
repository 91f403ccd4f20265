//! What `doctor` finds in the service: the hosts, the suites, and tokens that the gateway refuses.

use std::time::Duration;

use vbc_proxy::Simulator;
use vbc_simulator::{Action, Effect, Fault, Field, FieldReport, SimulatorOptions, StatusFault};

use super::{ADMIN, Case, before, directory, doctor, flat};
use crate::harness::closed_port;
use crate::process::Process;
use crate::tls::TlsUpstream;

#[tokio::test]
async fn a_suite_that_is_not_subscribed_is_reported() {
    let unsubscribe = |sim: &Simulator| {
        sim.inject(Action::Unsubscribe { suite: "reports".into() }).unwrap();
    };
    let sentences = [
        "FAIL reports 403 the application is not subscribed to this suite (900908)",
        "subscribe the application to Reports in the developer portal",
        "ok telephony 200 responds",
        "1 check fails.",
    ];
    Case { prepare: &unsubscribe, ..Case::default() }.diagnose(1, &sentences).await;

    let sim = Simulator::start().await.unwrap();
    unsubscribe(&sim);
    let directory = before(&sim, "", "sim-password");
    let output = doctor(directory.path(), &["--suite", "telephony,vis"], &[]).await;
    assert_eq!(output.code, Some(0), "what is not used may be left out: {output:?}");
    assert!(!output.stdout.contains("reports"), "{}", output.stdout);
}

#[tokio::test]
async fn a_missing_role_is_reported_for_each_suite() {
    let users = [
        ("erin", "provisioning 401", "the role Account Administrator"),
        ("tel", "telephony 401", "a role that can see the calls"),
        ("rita", "reports 401", "the role Account Administrator"),
        ("rec", "call_recording 403", "Company Call Recording is enabled"),
        ("vic", "vis 401", "a license for the Integration Platform"),
    ];
    for (user, line, remedy) in users {
        let lines = format!("credentials.default.username = \"{user}\"");
        let password = format!("{user}-password");
        let line = format!("FAIL {line} the token is valid, but the user lacks the role or license for");
        let sentences = [line.as_str(), remedy, "1 check fails."];
        let reported = Field::from(FieldReport::ReportsToken).with(FieldReport::MissingUserData, true);
        for field in [Field::default(), reported] {
            let options = SimulatorOptions { field, ..SimulatorOptions::default() };
            let case = Case { lines: &lines, password: &password, options, ..Case::default() };
            case.diagnose(1, &sentences).await;
        }
    }
}

#[tokio::test]
async fn a_wrong_clock_is_reported_with_direction_and_amount() {
    let two_minutes = |sim: &Simulator| sim.advance(Duration::from_secs(125));
    let sentences =
        ["WARN clock this machine's clock is 2 min", "behind the", "NTP", "It works, with 1 warning."];
    Case { prepare: &two_minutes, ..Case::default() }.diagnose(0, &sentences).await;
    let an_hour = |sim: &Simulator| sim.advance(Duration::from_secs(3700));
    let sentences =
        ["FAIL clock this machine's clock is 1 h 1 min behind the", "the service tolerates 5 min"];
    Case { prepare: &an_hour, ..Case::default() }.diagnose(1, &sentences).await;
}

#[tokio::test]
async fn an_exhausted_quota_is_reported_and_further_requests_are_avoided() {
    let options = SimulatorOptions { quota: Some(2), ..SimulatorOptions::default() };
    let sentences = [
        "WARN reports 429 throttled: the application quota is used up until",
        "(900803)",
        "By default an application has 10 requests a minute",
        "skipped vis - not checked: the application quota is used up",
        "WARN quota the application quota is used up until",
    ];
    let quota = |sim: &Simulator| {
        // The quota's window may end between two requests, so a 429 is injected.
        let throttled = Effect::Status(StatusFault { status: 429, ..StatusFault::default() });
        sim.inject(Fault::from(throttled).on("/t/vbc.prod/reports")).unwrap();
    };
    Case { prepare: &quota, options, ..Case::default() }.diagnose(0, &sentences).await;
}

#[tokio::test]
async fn a_failing_suite_and_an_html_page_in_its_place_are_reported() {
    let trouble = |sim: &Simulator| {
        sim.inject(Fault::status(503).on("/t/vbc.prod/telephony")).unwrap();
        sim.inject(Fault::html_body().on("/t/vbc.prod/vis")).unwrap();
        sim.inject(Fault::throttle_200().on("/t/vbc.prod/call_recording")).unwrap();
    };
    let sentences = [
        "FAIL telephony 503",
        "WARN call_recording 200 throttled",
        "with status 200",
        "2 checks fail, 2 warnings.",
    ];
    let case = Case { prepare: &trouble, ..Case::default() };
    // All suites share the application's quota, so the last suite gets no request.
    let sentences = [&sentences[..3], &["skipped vis", "1 check fails, 2 warnings."]].concat();
    case.diagnose(1, &sentences).await;
    let page = |sim: &Simulator| {
        sim.inject(Fault::html_body().on("/t/vbc.prod/vis")).unwrap();
    };
    let sentences = ["a web page instead of an API response", "check upstream.url; if it is correct"];
    Case { prepare: &page, ..Case::default() }.diagnose(1, &sentences).await;
}

#[tokio::test]
async fn a_token_host_that_is_down_is_reported_and_no_login_is_tried() {
    let (gone, _held) = closed_port();
    let sim = Simulator::start().await.unwrap();
    let directory = directory(&sim.url(), &format!("http://{gone}/token"), "", "sim-password");
    let sentences = [
        "FAIL token host http://",
        "refuses the connection: no server is listening there",
        "check oauth.token_url and its port",
        "skipped login not tried: the token host cannot be reached",
    ];
    let output = doctor(directory.path(), &[], &[]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    let (_, admin) = serve.listening().await;
    let there = doctor(directory.path(), &[], &[(ADMIN, &admin.to_string())]).await;
    for output in [output, there] {
        for sentence in sentences {
            assert!(flat(&output).contains(sentence), "{sentence:?} is not in\n{}", output.stdout);
        }
    }
    assert_eq!(sim.stats().token_requests, 0);
    assert_eq!(serve.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_failing_token_host_is_reported() {
    let trouble = |sim: &Simulator| {
        sim.inject(Fault::status(503).on("/token")).unwrap();
    };
    let sentences = [
        "WARN token host",
        "it returns 503 for a GET",
        "FAIL login could not get a token",
        "the proxy retries automatically",
    ];
    Case { prepare: &trouble, ..Case::default() }.diagnose(1, &sentences).await;
}

#[tokio::test]
async fn an_untrusted_certificate_is_reported_with_the_remedy() {
    let sim = Simulator::start().await.unwrap();
    let stranger = TlsUpstream::start("localhost").await;
    let other_name = TlsUpstream::start("other.example").await;
    let trusted = |upstream: &TlsUpstream| format!("oauth.ca_file = {:?}", upstream.certificate.path());
    let cases = [
        (
            &stranger,
            String::new(),
            "is from an authority that is not trusted",
            "(PEM) into a file and name the file in oauth.ca_file",
        ),
        (
            &stranger,
            trusted(&other_name),
            "is from an authority that is not trusted",
            "(PEM) into a file and name the file in oauth.ca_file",
        ),
        (&other_name, trusted(&other_name), "is for another host", "set oauth.token_url to the name"),
    ];
    for (host, lines, found, remedy) in cases {
        let directory = directory(&sim.url(), &format!("{}/token", host.url), &lines, "sim-password");
        let output = doctor(directory.path(), &[], &[]).await;
        assert_eq!(output.code, Some(1), "{output:?}");
        let text = flat(&output);
        assert!(text.contains("FAIL token host the certificate of https://localhost:"), "{}", output.stdout);
        assert!(text.contains(found) && text.contains(remedy), "{}", output.stdout);
    }
    let directory = directory(&stranger.url, &format!("{}/token", sim.url()), "", "sim-password");
    let output = doctor(directory.path(), &[], &[]).await;
    let text = flat(&output);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(text.contains("FAIL upstream the certificate of https://localhost:"), "{}", output.stdout);
    assert!(text.contains("name the file in upstream.ca_file"), "{}", output.stdout);
    assert!(text.contains("not checked, because the upstream cannot be reached"), "{}", output.stdout);
}

#[tokio::test]
async fn an_upstream_that_is_down_is_reported_and_no_suite_is_asked() {
    let (gone, _held) = closed_port();
    let sim = Simulator::start().await.unwrap();
    let directory = directory(&format!("http://{gone}"), &format!("{}/token", sim.url()), "", "sim-password");
    let output = doctor(directory.path(), &[], &[]).await;
    let text = flat(&output);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(text.contains("FAIL upstream http://"), "{}", output.stdout);
    assert!(text.contains("check upstream.url and its port"), "{}", output.stdout);
    assert!(text.contains("ok login logged in once"), "{}", output.stdout);
    assert!(
        text.contains("not checked, because the upstream cannot be reached: provisioning"),
        "{}",
        output.stdout
    );
    assert_eq!(sim.stats().logins.ok, 1);
}

#[tokio::test]
async fn a_token_that_the_gateway_refuses_is_replaced_without_a_login() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "", "sim-password");
    assert_eq!(doctor(directory.path(), &[], &[]).await.code, Some(0));
    sim.revoke_all_access();
    let output = doctor(directory.path(), &[], &[]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(flat(&output).contains("ok provisioning 200 responds"), "{}", output.stdout);
    let stats = sim.stats();
    assert_eq!((stats.logins.ok, stats.refreshes.ok), (1, 1));
}

#[tokio::test]
async fn a_token_that_stays_refused_is_reported_and_replaced_once() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "", "sim-password");
    assert_eq!(doctor(directory.path(), &[], &[]).await.code, Some(0));
    let body = Some(r#"{"code":"900901","message":"Invalid Credentials"}"#.to_owned());
    let refuse = Effect::Status(StatusFault { status: 401, body, ..StatusFault::default() });
    sim.inject(Fault::from(refuse).on("/t/vbc.prod")).unwrap();
    let output = doctor(directory.path(), &[], &[]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    let text = flat(&output);
    assert!(text.contains("FAIL provisioning 401 the gateway rejects the token"), "{}", output.stdout);
    assert!(text.contains("FAIL vis 401") && text.contains("→ as above"), "{}", output.stdout);
    assert_eq!(sim.stats().refreshes.ok, 1);
}
