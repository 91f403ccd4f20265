//! `vbc-proxy doctor`: it names what is wrong and what to do about it, with a running proxy and without one, and never
//! harms the account it looks at.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use vbc_base::clock::Clock;
use vbc_proxy::Simulator;
use vbc_simulator::{Action, Effect, Fault, Field, FieldReport, SimulatorOptions, StatusFault};

use crate::harness::closed_port;
use crate::process::{Output, Process, Relay, configuration, get, lay_out};
use crate::tls::TlsUpstream;

const ADMIN: &str = "VBC_PROXY_ADMIN_ADDRESS";

/// A file for the simulator's demo identity; a line of `lines` replaces the one of its key.
fn file(upstream: &str, token_url: &str, lines: &str) -> String {
    let key_of = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let given: Vec<String> = lines.lines().map(key_of).collect();
    let usual = configuration(upstream, token_url, "");
    let kept = usual.lines().filter(|line| !given.contains(&key_of(line)));
    kept.chain(lines.lines()).collect::<Vec<_>>().join("\n")
}

fn directory(upstream: &str, token_url: &str, lines: &str, password: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    lay_out(directory.path(), &file(upstream, token_url, lines), password);
    directory
}

fn before(sim: &Simulator, lines: &str, password: &str) -> TempDir {
    directory(&sim.url(), &format!("{}/token", sim.url()), lines, password)
}

/// Runs the command and looks at what every report has to keep to.
async fn doctor(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let output = Process::run(directory, &[&["doctor"], arguments].concat(), variables).await;
    for text in [&output.stdout, &output.stderr] {
        for secret in ["sim-secret", "sim-password", "-password", "eyJ", "Bearer ", "\u{1b}"] {
            assert!(!text.contains(secret), "{secret:?} in:\n{text}");
        }
    }
    if !arguments.contains(&"--json") {
        let long = output.stdout.lines().find(|line| line.chars().count() > 100);
        assert!(long.is_none(), "{long:?}");
    }
    output
}

/// A report on one line, without its layout, to look for sentences in.
fn flat(output: &Output) -> String {
    output.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a case is made of.
struct Case<'a> {
    lines: &'a str,
    password: &'a str,
    options: SimulatorOptions,
    prepare: &'a dyn Fn(&Simulator),
}

impl Default for Case<'_> {
    fn default() -> Self {
        let options = SimulatorOptions::default();
        Self { lines: "", password: "sim-password", options, prepare: &|_| {} }
    }
}

impl Case<'_> {
    /// Diagnoses with a running proxy and without one; in either case there is at most one login.
    async fn diagnose(&self, code: i32, sentences: &[&str]) {
        for running in [false, true] {
            // A clock that one has moved is the other's, too.
            let options = SimulatorOptions { clock: Clock::system(), ..self.options.clone() };
            let sim = Simulator::bind(options).await.unwrap();
            (self.prepare)(&sim);
            let directory = before(&sim, self.lines, self.password);
            let output = match running {
                false => doctor(directory.path(), &[], &[]).await,
                true => {
                    let mut serve = Process::start(directory.path(), &["serve"], &[]);
                    let (_, admin) = serve.listening().await;
                    let output = doctor(directory.path(), &[], &[(ADMIN, &admin.to_string())]).await;
                    assert_eq!(serve.terminate().await.code, Some(0));
                    output
                }
            };
            assert_eq!(output.code, Some(code), "running: {running}\n{}{}", output.stdout, output.stderr);
            let text = flat(&output);
            assert!(text.contains("Examined by the running proxy") == running, "{}", output.stdout);
            for sentence in sentences {
                assert!(text.contains(sentence), "{sentence:?} is not in\n{}", output.stdout);
            }
            let stats = sim.stats();
            assert!(stats.logins.ok + stats.logins.failed <= 1, "{:?}", stats.logins);
            assert_eq!((stats.refreshes.failed, stats.logins_while_locked <= 1), (0, true));
        }
    }
}

#[tokio::test]
async fn all_is_well_with_one_login_or_with_none_where_a_token_lives() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "", "sim-password");
    for expected in ["logged in, once: a token came, good for", "not needed: a token is there, good for"] {
        let output = doctor(directory.path(), &[], &[]).await;
        let text = flat(&output);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(text.contains("No proxy is running") && text.contains(expected), "{}", output.stdout);
        assert!(
            text.contains("sent as alice@vbc.prod") && text.contains("granted: openid"),
            "{}",
            output.stdout
        );
        assert!(text.ends_with("not exceeded by these 5 requests All is well."), "{}", output.stdout);
    }
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    let (_, admin) = serve.listening().await;
    let output = doctor(directory.path(), &["default"], &[(ADMIN, &admin.to_string())]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(flat(&output).contains("not needed: a token is there"), "{}", output.stdout);
    assert_eq!(serve.terminate().await.code, Some(0));
    let stats = sim.stats();
    assert_eq!(
        (stats.logins.ok, stats.token_requests - stats.logins.ok),
        (1, 3),
        "a GET each, and one login"
    );
}

#[tokio::test]
async fn a_scope_without_openid_is_named() {
    let lines = "credentials.default.scope = \"default\"";
    let sentences = [
        "WARN configuration proxy.toml:",
        "add openid: without it the service grants the scope `default`",
        "WARN scope granted: default; openid is not in it",
        "FAIL reports 401 Reports refuses a token whose scope lacks openid",
        "add openid to the credential's scope",
    ];
    Case { lines, ..Case::default() }.diagnose(1, &sentences).await;
    let refuse = |sim: &Simulator| {
        sim.inject(Action::Openid { client_id: None, allowed: false }).unwrap();
    };
    let sentences = ["openid was asked for and not granted: ask Vonage", "FAIL reports 401"];
    Case { prepare: &refuse, ..Case::default() }.diagnose(1, &sentences).await;
}

#[tokio::test]
async fn names_that_cannot_work_are_named_and_nothing_is_sent() {
    let cases = [
        ("acme.api", "is a developer account", "use the name and password of a VBC user"),
        ("alice@vbc.prod@vbc.prod", "it ends with @vbc.prod twice", "write @vbc.prod once"),
    ];
    for (name, found, remedy) in cases {
        let sim = Simulator::start().await.unwrap();
        let directory = before(&sim, &format!("credentials.default.username = \"{name}\""), "sim-password");
        let output = doctor(directory.path(), &[], &[]).await;
        assert_eq!(output.code, Some(78), "{output:?}");
        let text = flat(&output);
        assert!(text.contains("FAIL configuration proxy.toml:"), "{}", output.stdout);
        assert!(text.contains(found) && text.contains(remedy), "{}", output.stdout);
        assert_eq!((sim.stats().token_requests, sim.stats().api_requests), (0, 0));
    }
}

#[tokio::test]
async fn a_wrong_client_secret_is_named() {
    let sentences = [
        "FAIL login client id or client secret is wrong (invalid_client)",
        "copy Consumer Key and Consumer Secret again",
        "skipped suites not asked, no token to ask with: provisioning, telephony,",
    ];
    let lines = "credentials.default.client_secret = \"wrong\"";
    Case { lines, ..Case::default() }.diagnose(1, &sentences).await;
}

#[tokio::test]
async fn a_client_secret_that_was_changed_is_named_once_though_a_token_seems_to_live() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "", "sim-password");
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    let (address, admin) = serve.listening().await;
    assert_eq!(get(address, "/t/vbc.prod/vis/v1/self").await.status, 200);
    sim.inject(Action::RegenerateSecret { client_id: "sim-client".into(), secret: "another".into() })
        .unwrap();
    let mut client = crate::harness::Client::connect(admin).await;
    client.request("POST /credentials/default/refresh HTTP/1.1", b"").await;
    assert_eq!(client.response().await.status, 503);
    let output = doctor(directory.path(), &[], &[(ADMIN, &admin.to_string())]).await;
    let text = flat(&output);
    // A new secret ends the tokens too.
    assert!(text.contains("FAIL login the gateway refuses the token"), "{}", output.stdout);
    assert!(text.contains("client id or client secret is wrong (invalid_client)"), "{}", output.stdout);
    assert!(text.ends_with("1 check fails."), "{}", output.stdout);
    assert_eq!(serve.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_wrong_password_is_named_and_not_tried_again() {
    let sentences =
        ["FAIL login user name or password was refused", "vbc-proxy unlock default", "single sign-on (SSO)"];
    Case { password: "wrong", ..Case::default() }.diagnose(1, &sentences).await;

    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "", "wrong");
    for _ in 0..3 {
        let output = doctor(directory.path(), &[], &[]).await;
        assert!(flat(&output).contains("user name or password was refused"), "{}", output.stdout);
    }
    assert_eq!(sim.stats().logins.failed, 1);
}

#[tokio::test]
async fn a_user_behind_single_sign_on_is_told_that_it_cannot_be_used() {
    let lines = "credentials.default.username = \"sam\"";
    let sentences = ["user name or password was refused", "single sign-on (SSO) cannot be used"];
    Case { lines, password: "sam-password", ..Case::default() }.diagnose(1, &sentences).await;
}

#[tokio::test]
async fn a_locked_account_is_named_and_left_alone() {
    let lock = |sim: &Simulator| {
        sim.inject(Action::LockUser { user: "alice@vbc.prod".into(), keep_tokens: false }).unwrap();
    };
    let sentences =
        ["FAIL login the account is locked (17003); no login is tried until", "do not try before"];
    Case { prepare: &lock, ..Case::default() }.diagnose(1, &sentences).await;

    let sim = Simulator::start().await.unwrap();
    lock(&sim);
    let directory = before(&sim, "", "sim-password");
    for _ in 0..3 {
        let output = doctor(directory.path(), &[], &[]).await;
        assert!(flat(&output).contains("no login is tried until"), "{}", output.stdout);
    }
    assert_eq!(sim.stats().logins.failed, 1);
}

#[tokio::test]
async fn a_login_that_only_a_person_can_make_is_named() {
    let lines =
        "credentials.default.grant = \"authorization_code\"\ncredentials.default.password_file = \"\"";
    let sim = Simulator::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let text = file(&sim.url(), &format!("{}/token", sim.url()), lines);
    lay_out(directory.path(), &text.replace("credentials.default.password_file = \"\"", ""), "");
    let output = doctor(directory.path(), &[], &[]).await;
    let text = flat(&output);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        text.contains("a person has to log in") && text.contains("→ run `vbc-proxy login default`."),
        "{}",
        output.stdout
    );
    assert!(text.contains("(SSO)"), "{}", output.stdout);
    assert_eq!(sim.stats().logins.ok + sim.stats().logins.failed, 0);
}

#[tokio::test]
async fn a_suite_that_is_not_subscribed_is_named() {
    let unsubscribe = |sim: &Simulator| {
        sim.inject(Action::Unsubscribe { suite: "reports".into() }).unwrap();
    };
    let sentences = [
        "FAIL reports 403 the application is not subscribed to this suite (900908)",
        "subscribe the application to Reports in the developer portal",
        "ok telephony 200 answers",
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
async fn a_missing_role_is_named_for_each_suite() {
    let users = [
        ("erin", "provisioning 401", "the role Account Administrator"),
        ("tel", "telephony 401", "a role that may see the calls"),
        ("rita", "reports 401", "the role Account Administrator"),
        ("rec", "call_recording 403", "Company Call Recording is enabled"),
        ("vic", "vis 401", "a license for the Integration Platform"),
    ];
    for (user, line, remedy) in users {
        let lines = format!("credentials.default.username = \"{user}\"");
        let password = format!("{user}-password");
        let line = format!("FAIL {line} the token is good, but the user lacks the role or license for");
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
async fn a_clock_that_is_off_is_named_with_direction_and_amount() {
    let two_minutes = |sim: &Simulator| sim.advance(Duration::from_secs(125));
    let sentences = ["WARN clock our clock is 2 min", "behind the", "NTP", "It works, with 1 warning."];
    Case { prepare: &two_minutes, ..Case::default() }.diagnose(0, &sentences).await;
    let an_hour = |sim: &Simulator| sim.advance(Duration::from_secs(3700));
    let sentences = ["FAIL clock our clock is 1 h 1 min behind the", "it tolerates 5 min"];
    Case { prepare: &an_hour, ..Case::default() }.diagnose(1, &sentences).await;
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_named_and_not_pressed() {
    let options = SimulatorOptions { quota: Some(2), ..SimulatorOptions::default() };
    let sentences = [
        "WARN reports 429 throttled: the application quota is used up until",
        "(900803)",
        "By default an application has 10 requests a minute",
        "skipped vis - not asked: the application quota is used up",
        "WARN quota the application quota is used up until",
    ];
    let quota = |sim: &Simulator| {
        // The window may turn between two of our questions.
        let throttled = Effect::Status(StatusFault { status: 429, ..StatusFault::default() });
        sim.inject(Fault::from(throttled).on("/t/vbc.prod/reports")).unwrap();
    };
    Case { prepare: &quota, options, ..Case::default() }.diagnose(0, &sentences).await;
}

#[tokio::test]
async fn a_suite_in_trouble_and_a_page_in_its_place_are_named() {
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
    // The quota is the application's, so the last suite is not asked.
    let sentences = [&sentences[..3], &["skipped vis", "1 check fails, 2 warnings."]].concat();
    case.diagnose(1, &sentences).await;
    let page = |sim: &Simulator| {
        sim.inject(Fault::html_body().on("/t/vbc.prod/vis")).unwrap();
    };
    let sentences = ["a page for a browser instead of an answer of the API", "is upstream.url right?"];
    Case { prepare: &page, ..Case::default() }.diagnose(1, &sentences).await;
}

#[tokio::test]
async fn a_token_host_that_is_down_is_named_and_no_login_is_tried() {
    let (gone, _held) = closed_port();
    let sim = Simulator::start().await.unwrap();
    let directory = directory(&sim.url(), &format!("http://{gone}/token"), "", "sim-password");
    let sentences = [
        "FAIL token host http://",
        "refuses the connection: nobody listens there",
        "is oauth.token_url right",
        "skipped login not tried: the token host is not reached",
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
async fn a_token_host_that_is_in_trouble_is_named() {
    let trouble = |sim: &Simulator| {
        sim.inject(Fault::status(503).on("/token")).unwrap();
    };
    let sentences = [
        "WARN token host",
        "it answers 503 to a GET",
        "FAIL login no token could be had",
        "tried again by itself",
    ];
    Case { prepare: &trouble, ..Case::default() }.diagnose(1, &sentences).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_accepted_is_named_with_what_to_do() {
    let sim = Simulator::start().await.unwrap();
    let stranger = TlsUpstream::start("localhost").await;
    let other_name = TlsUpstream::start("other.example").await;
    let trusted = |upstream: &TlsUpstream| format!("oauth.ca_file = {:?}", upstream.certificate.path());
    let cases = [
        (&stranger, String::new(), "is from an authority that is not trusted", "(PEM) in oauth.ca_file"),
        (
            &stranger,
            trusted(&other_name),
            "is from an authority that is not trusted",
            "(PEM) in oauth.ca_file",
        ),
        (&other_name, trusted(&other_name), "is for another host", "into oauth.token_url"),
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
    assert!(text.contains("(PEM) in upstream.ca_file"), "{}", output.stdout);
    assert!(text.contains("not asked, the upstream is not reached"), "{}", output.stdout);
}

#[tokio::test]
async fn an_upstream_that_is_down_is_named_and_no_suite_is_asked() {
    let (gone, _held) = closed_port();
    let sim = Simulator::start().await.unwrap();
    let directory = directory(&format!("http://{gone}"), &format!("{}/token", sim.url()), "", "sim-password");
    let output = doctor(directory.path(), &[], &[]).await;
    let text = flat(&output);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(text.contains("FAIL upstream http://"), "{}", output.stdout);
    assert!(text.contains("is upstream.url right, its port too?"), "{}", output.stdout);
    assert!(text.contains("ok login logged in, once"), "{}", output.stdout);
    assert!(text.contains("not asked, the upstream is not reached: provisioning"), "{}", output.stdout);
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
    assert!(flat(&output).contains("ok provisioning 200 answers"), "{}", output.stdout);
    let stats = sim.stats();
    assert_eq!((stats.logins.ok, stats.refreshes.ok), (1, 1));
}

#[tokio::test]
async fn a_token_that_is_refused_for_ever_is_named_and_replaced_once() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "", "sim-password");
    assert_eq!(doctor(directory.path(), &[], &[]).await.code, Some(0));
    let body = Some(r#"{"code":"900901","message":"Invalid Credentials"}"#.to_owned());
    let refuse = Effect::Status(StatusFault { status: 401, body, ..StatusFault::default() });
    sim.inject(Fault::from(refuse).on("/t/vbc.prod")).unwrap();
    let output = doctor(directory.path(), &[], &[]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    let text = flat(&output);
    assert!(text.contains("FAIL provisioning 401 the gateway refuses the token"), "{}", output.stdout);
    assert!(text.contains("FAIL vis 401") && text.contains("→ as above"), "{}", output.stdout);
    assert_eq!(sim.stats().refreshes.ok, 1);
}

#[tokio::test]
async fn a_refused_password_is_the_one_failure_and_what_follows_from_it_is_skipped() {
    for running in [false, true] {
        let sim = Simulator::start().await.unwrap();
        let directory = before(&sim, "", "sim-password");
        let mut serve = None;
        let mut admin = "127.0.0.1:0".to_owned();
        if running {
            let mut process = Process::start(directory.path(), &["serve"], &[]);
            let (address, listener) = process.listening().await;
            assert_eq!(get(address, "/t/vbc.prod/vis/v1/self").await.status, 200);
            (serve, admin) = (Some(process), listener.to_string());
        } else {
            assert_eq!(doctor(directory.path(), &[], &[]).await.code, Some(0));
        }
        // As WSO2 does it: another password revokes every token there was.
        sim.change_password("alice@vbc.prod", "another").unwrap();
        sim.revoke_all_access();
        sim.revoke_all_refresh();
        let output = doctor(directory.path(), &[], &[(ADMIN, &admin)]).await;
        let text = flat(&output);
        assert_eq!(output.code, Some(1), "{output:?}");
        let login =
            "FAIL login the gateway refuses the token, and no new one can be had: user name or password";
        assert!(text.contains(login), "{}", output.stdout);
        assert!(
            text.contains("skipped suites not asked, no token to ask with: provisioning"),
            "{}",
            output.stdout
        );
        assert!(text.ends_with("1 check fails."), "{}", output.stdout);
        for wrong in ["get a new token", "refresh token", "WARN"] {
            assert!(!text.contains(wrong), "{wrong:?} in {}", output.stdout);
        }
        assert_eq!(sim.stats().logins.failed, 1);
        if let Some(serve) = serve {
            let output = Process::run(directory.path(), &["status"], &[(ADMIN, &admin)]).await;
            assert!(output.stdout.contains("login      NEEDED NOW: correct the password"), "{output:?}");
            assert!(!output.stdout.contains("23h"), "{output:?}");
            assert_eq!(serve.terminate().await.code, Some(0));
        }
    }
}

#[tokio::test]
async fn a_store_that_somebody_else_uses_ends_with_69() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "", "sim-password");
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    serve.listening().await;
    // The file says port 0, so that the proxy's admin listener is not found.
    let output = doctor(directory.path(), &[], &[]).await;
    assert_eq!(output.code, Some(69), "{output:?}");
    let text = flat(&output);
    assert!(
        text.contains("FAIL start") && text.contains("is in use by another process"),
        "{}",
        output.stdout
    );
    assert!(text.contains("(admin.address)"), "{}", output.stdout);
    assert_eq!(serve.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_simulating_proxy_is_examined_without_any_file() {
    let directory = tempfile::tempdir().unwrap();
    let free = [
        ("VBC_PROXY_LISTEN_ADDRESS", "127.0.0.1:0"),
        (ADMIN, "127.0.0.1:0"),
        ("VBC_PROXY_SIMULATOR_ADDRESS", "127.0.0.1:0"),
        ("VBC_PROXY_SIMULATOR_CONTROL", "127.0.0.1:0"),
    ];
    let nobody = doctor(directory.path(), &[], &free[..2]).await;
    assert_eq!(nobody.code, Some(78), "{nobody:?}");
    assert!(flat(&nobody).contains("vbc-proxy init"), "{}", nobody.stdout);
    let mut serve = Process::start(directory.path(), &["serve", "--simulate"], &free);
    let (_, control) = serve.simulating().await;
    let (_, admin) = serve.listening().await;
    let output = doctor(directory.path(), &[], &[(ADMIN, &admin.to_string())]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(flat(&output).contains("no file here; the running proxy has its own"), "{}", output.stdout);
    assert!(output.stdout.ends_with("All is well.\n"), "{}", output.stdout);
    let stats = get(control, "/__sim/stats").await.json();
    assert_eq!(stats["logins"]["ok"], 1);
    assert_eq!(serve.terminate().await.code, Some(0));
}

#[tokio::test]
async fn the_report_in_json_has_a_verdict_and_a_fixed_word_for_every_finding() {
    let sim = Simulator::start().await.unwrap();
    sim.inject(Action::Unsubscribe { suite: "vis".into() }).unwrap();
    let directory = before(&sim, "", "sim-password");
    let output = doctor(directory.path(), &["--json"], &[]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(report["credential"], "default");
    let vis = report["suites"].as_array().unwrap().iter().find(|suite| suite["name"] == "vis").unwrap();
    assert_eq!(
        (&vis["verdict"], &vis["code"], &vis["status"]),
        (&"fail".into(), &"unsubscribed".into(), &403.into())
    );
    assert!(report["checks"].as_array().unwrap().iter().all(|check| check["verdict"] == "ok"), "{report}");
}

#[tokio::test]
async fn a_credential_or_a_suite_that_does_not_exist_is_wrong_usage() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "", "sim-password");
    for arguments in [&["nobody"][..], &["--suite", "nothing"]] {
        let output = doctor(directory.path(), arguments, &[]).await;
        assert_eq!(output.code, Some(64), "{output:?}");
        assert!(output.stdout.is_empty() && output.stderr.contains("there is no"), "{output:?}");
    }
    assert_eq!(sim.stats().token_requests, 0);
}

#[tokio::test]
async fn no_token_is_in_the_report_nor_in_what_the_proxy_answers() {
    let sim = Simulator::start().await.unwrap();
    let relay = Relay::before(sim.address()).await;
    let directory = directory(&sim.url(), &relay.token_url(), "", "sim-password");
    let mut texts = Vec::new();
    for arguments in [&["--json"][..], &[]] {
        let output = doctor(directory.path(), arguments, &[]).await;
        assert_eq!(output.code, Some(0), "{output:?}");
        texts.extend([output.stdout, output.stderr]);
    }
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    let (_, admin) = serve.listening().await;
    let mut client = crate::harness::Client::connect(admin).await;
    client.request("POST /credentials/default/doctor HTTP/1.1", b"").await;
    let answer = client.response().await;
    assert_eq!(answer.status, 200);
    texts.push(answer.text().to_owned());
    let output = serve.terminate().await;
    texts.extend([output.stdout, output.stderr]);
    let issued = relay.issued();
    assert_eq!(issued.len(), 1, "one login for all of it");
    for secret in [&issued[0].access, &issued[0].refresh, &issued[0].id] {
        assert!(secret.len() > 30);
        let tail = &secret[secret.len() - 18..];
        assert!(!texts.iter().any(|text| text.contains(tail)), "{tail}");
    }
}

#[tokio::test]
async fn the_admin_route_knows_its_credentials_and_refuses_other_sites() {
    let world = crate::harness::World::start().await;
    let ask = async |head: &str| {
        let mut client = crate::harness::Client::connect(world.admin).await;
        client.request(head, b"").await;
        client.response().await.status
    };
    let route = "POST /credentials/default/doctor?suite=vis HTTP/1.1";
    assert_eq!(ask(route).await, 200);
    assert_eq!(ask("POST /credentials/nobody/doctor HTTP/1.1").await, 404);
    assert_eq!(ask("POST /credentials/default/doctor?suite=nothing HTTP/1.1").await, 400);
    assert_eq!(ask("GET /credentials/default/doctor HTTP/1.1").await, 405);
    assert_eq!(ask(&format!("{route}\r\nOrigin: https://evil.example")).await, 403);
}
