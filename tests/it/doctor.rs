//! `vbc-proxy doctor` reports problems and their remedies, with and without a running proxy. It
//! never harms the account.

mod service;

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use vbc_base::clock::Clock;
use vbc_proxy::Simulator;
use vbc_simulator::{Action, SimulatorOptions};

use crate::process::{Output, Process, Relay, configuration, get, lay_out};

const ADMIN: &str = "VBC_PROXY_ADMIN_ADDRESS";

/// A file for the simulator's demo identity. A line of `lines` replaces the default of its key.
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

/// Runs the command and checks what holds for every report.
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

/// A report on one line, without its layout, so that sentences can be found.
fn flat(output: &Output) -> String {
    output.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A configuration and a state of the service to diagnose.
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
    /// Runs `doctor` with and without a running proxy. Each run makes at most one login.
    async fn diagnose(&self, code: i32, sentences: &[&str]) {
        for running in [false, true] {
            // Clones of the options share their clock, which `prepare` may move.
            let options = SimulatorOptions { clock: Clock::system(), ..self.options.clone() };
            let sim = Simulator::bind(options).await.unwrap();
            (self.prepare)(&sim);
            let directory = before(&sim, self.lines, self.password);
            let output = if running {
                let mut serve = Process::start(directory.path(), &["serve"], &[]);
                let (_, admin) = serve.listening().await;
                let output = doctor(directory.path(), &[], &[(ADMIN, &admin.to_string())]).await;
                assert_eq!(serve.terminate().await.code, Some(0));
                output
            } else {
                doctor(directory.path(), &[], &[]).await
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
async fn a_working_setup_is_reported_after_at_most_one_login() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "", "sim-password");
    for expected in ["logged in once and got a token, valid for", "not needed: there is a token, valid for"] {
        let output = doctor(directory.path(), &[], &[]).await;
        let text = flat(&output);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(text.contains("No proxy is running") && text.contains(expected), "{}", output.stdout);
        assert!(
            text.contains("sent as alice@vbc.prod") && text.contains("granted: openid"),
            "{}",
            output.stdout
        );
        assert!(text.ends_with("not exceeded by these 5 requests All checks pass."), "{}", output.stdout);
    }
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    let (_, admin) = serve.listening().await;
    let output = doctor(directory.path(), &["default"], &[(ADMIN, &admin.to_string())]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(flat(&output).contains("not needed: there is a token"), "{}", output.stdout);
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
        "add openid; without it the service grants the scope `default`",
        "WARN scope granted: default, without openid",
        "FAIL reports 401 Reports rejects tokens whose scope lacks openid",
        "add openid to the credential's scope",
    ];
    Case { lines, ..Case::default() }.diagnose(1, &sentences).await;
    let refuse = |sim: &Simulator| {
        sim.inject(Action::Openid { client_id: None, allowed: false }).unwrap();
    };
    let sentences = [
        "ask Vonage to allow openid for the application: it was requested but not granted",
        "FAIL reports 401",
    ];
    Case { prepare: &refuse, ..Case::default() }.diagnose(1, &sentences).await;
}

#[tokio::test]
async fn user_names_that_cannot_work_are_reported_and_nothing_is_sent() {
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
        "FAIL login the client id or client secret is wrong (invalid_client)",
        "copy Consumer Key and Consumer Secret again",
        "skipped suites not checked, because there is no usable token: provisioning, telephony,",
    ];
    let lines = "credentials.default.client_secret = \"wrong\"";
    Case { lines, ..Case::default() }.diagnose(1, &sentences).await;
}

#[tokio::test]
async fn a_changed_client_secret_is_reported_once_although_a_token_seems_valid() {
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
    // A new client secret also invalidates the tokens.
    assert!(text.contains("FAIL login the gateway rejects the token"), "{}", output.stdout);
    assert!(text.contains("client id or client secret is wrong (invalid_client)"), "{}", output.stdout);
    assert!(text.ends_with("1 check fails."), "{}", output.stdout);
    assert_eq!(serve.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_not_tried_again() {
    let sentences = [
        "FAIL login VBC rejected the user name or password",
        "vbc-proxy unlock default",
        "single sign-on (SSO)",
    ];
    Case { password: "wrong", ..Case::default() }.diagnose(1, &sentences).await;

    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "", "wrong");
    for _ in 0..3 {
        let output = doctor(directory.path(), &[], &[]).await;
        assert!(flat(&output).contains("VBC rejected the user name or password"), "{}", output.stdout);
    }
    assert_eq!(sim.stats().logins.failed, 1);
}

#[tokio::test]
async fn a_user_with_single_sign_on_is_reported_as_unusable() {
    let lines = "credentials.default.username = \"sam\"";
    let sentences = ["VBC rejected the user name or password", "single sign-on (SSO) cannot be used"];
    Case { lines, password: "sam-password", ..Case::default() }.diagnose(1, &sentences).await;
}

#[tokio::test]
async fn a_locked_account_is_reported_and_left_alone() {
    let lock = |sim: &Simulator| {
        sim.inject(Action::LockUser { user: "alice@vbc.prod".into(), keep_tokens: false }).unwrap();
    };
    let sentences =
        ["FAIL login the account is locked (17003); no login is tried until", "do not log in before then"];
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
async fn a_login_that_needs_a_browser_is_reported() {
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
        text.contains("an interactive login is needed") && text.contains("→ run `vbc-proxy login default`."),
        "{}",
        output.stdout
    );
    assert!(text.contains("(SSO)"), "{}", output.stdout);
    assert_eq!(sim.stats().logins.ok + sim.stats().logins.failed, 0);
}

#[tokio::test]
async fn a_refused_password_is_the_only_failure_and_dependent_checks_are_skipped() {
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
        // As in WSO2, a changed password revokes every token.
        sim.change_password("alice@vbc.prod", "another").unwrap();
        sim.revoke_all_access();
        sim.revoke_all_refresh();
        let output = doctor(directory.path(), &[], &[(ADMIN, &admin)]).await;
        let text = flat(&output);
        assert_eq!(output.code, Some(1), "{output:?}");
        let login = "FAIL login the gateway rejects the token, and there is no new one: VBC rejected the user name or password";
        assert!(text.contains(login), "{}", output.stdout);
        assert!(
            text.contains("skipped suites not checked, because there is no usable token: provisioning"),
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
async fn a_store_in_use_by_another_process_ends_with_69() {
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
    assert!(
        flat(&output).contains("no file in this directory; the running proxy has its own configuration"),
        "{}",
        output.stdout
    );
    assert!(output.stdout.ends_with("All checks pass.\n"), "{}", output.stdout);
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
async fn an_unknown_credential_or_suite_is_wrong_usage() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "", "sim-password");
    for (arguments, said) in [
        (&["nobody"][..], "there is no credential \"nobody\""),
        (&["--suite", "nothing"], "unknown suite; the suites are"),
    ] {
        let output = doctor(directory.path(), arguments, &[]).await;
        assert_eq!(output.code, Some(64), "{output:?}");
        assert!(output.stdout.is_empty() && output.stderr.contains(said), "{output:?}");
    }
    assert_eq!(sim.stats().token_requests, 0);
}

#[tokio::test]
async fn no_token_is_in_the_report_or_in_responses_of_the_proxy() {
    let sim = Simulator::start().await.unwrap();
    let relay = Relay::to(sim.address()).await;
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
    let response = client.response().await;
    assert_eq!(response.status, 200);
    texts.push(response.text().to_owned());
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
