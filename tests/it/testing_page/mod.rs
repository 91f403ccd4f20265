//! The examples of docs/testing.md, run by the page's own commands with the real tools.
//! `scripts/test` installs them.

mod containers;
pub(crate) mod page;
mod shell;

use std::os::unix::fs::symlink;

use vbc_proxy::Simulator;
use vbc_simulator::Scenario;

use self::page::{root, section, sections, sections_of};
use self::shell::{Said, run};

/// Lays out a section and runs its commands; all of them must pass, and the last must say `passed`.
async fn assert_passes(title: &str, passed: &str, variables: &[(&str, &str)]) {
    let section = section(title);
    let directory = section.lay_out();
    let said = run(directory.path(), &section.commands.concat(), variables).await;
    assert_eq!(said.code, Some(0), "{title}: {}", said.text);
    assert!(said.text.contains(passed), "{title}: {}", said.text);
}

/// A new example needs a test here.
#[test]
fn every_example_of_the_page_is_run_here() {
    let shown: Vec<String> = sections()
        .iter()
        .filter(|section| !section.files.is_empty() || !section.commands.is_empty())
        .map(|section| {
            let files: Vec<&str> = section.files.iter().map(|(name, _)| name.as_str()).collect();
            format!("{}: {} ({})", section.title, files.join(" "), section.commands.len())
        })
        .collect();
    assert_eq!(
        shown,
        [
            "Five minutes to the first test: test_vbc.py (1)",
            "JUnit: VbcTest.java (1)",
            "Jest: vbc.test.js (1)",
            "Go: vbc_test.go (1)",
            "curl: smoke.sh (1)",
            "Scenarios: day.toml (0)",
            "GitHub Actions: .github/workflows/vbc.yml (1)",
            "docker compose: tests.yml (1)",
        ]
    );
}

#[tokio::test]
async fn the_pytest_example_passes() {
    assert_passes("Five minutes to the first test", "2 passed", &[]).await;
}

#[tokio::test]
async fn the_jest_example_passes() {
    let section = section("Jest");
    let directory = section.lay_out();
    // The result of `npm install --save-dev jest`, which `scripts/test` has run.
    let installed = root().join("target/jest/node_modules");
    assert!(installed.join(".bin/jest").exists(), "no {}: scripts/test installs it", installed.display());
    symlink(installed, directory.path().join("node_modules")).unwrap();
    std::fs::write(directory.path().join("package.json"), "{}").unwrap();
    let said = run(directory.path(), &section.commands.concat(), &[]).await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert!(said.text.contains("2 passed, 2 total"), "{}", said.text);
}

#[tokio::test]
async fn the_junit_example_passes() {
    let launcher = "/usr/share/java/junit-platform-console-standalone.jar";
    assert!(std::fs::exists(launcher).unwrap(), "no {launcher}: scripts/test installs it (junit5)");
    assert_passes("JUnit", "2 tests successful", &[("JUNIT", launcher)]).await;

    // A page that is not read makes the test fail.
    let section = section("JUnit");
    let directory = section.lay_out();
    let careless = section.file("VbcTest.java").replace("page <= 2", "page <= 1").replace("wait=5", "wait=0");
    std::fs::write(directory.path().join("VbcTest.java"), careless).unwrap();
    let said = run(directory.path(), &section.commands.concat(), &[("JUNIT", launcher)]).await;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(said.text.contains("1 tests failed") && said.text.contains("1 missing"), "{}", said.text);
}

#[tokio::test]
async fn the_go_example_passes() {
    assert_passes("Go", "ok  \texample.com/vbc", &[]).await;
}

#[tokio::test]
async fn the_curl_example_passes_and_fails_where_nothing_is_sent() {
    assert_passes("curl", "\"met\":true", &[]).await;

    let section = section("curl");
    let directory = section.lay_out();
    let idle =
        section.file("smoke.sh").replace("wait=5", "wait=0").replace("curl -sf \"$VBC_BASE_URL", ": \"");
    std::fs::write(directory.path().join("smoke.sh"), idle).unwrap();
    let Said { code, text } = run(directory.path(), &section.commands.concat(), &[]).await;
    assert_eq!(code, Some(22), "curl's exit code for an HTTP error: {text}");
    assert!(text.contains("1 missing"), "{text}");
}

#[tokio::test]
async fn the_replay_script_reports_failed_tests_and_requests_without_a_match() {
    const RECORD: &str = "vbc-proxy cassette import calls.cassette --har calls.har";
    const HAR: &str = r#"{"log":{"version":"1.2","creator":{"name":"t","version":"1"},"entries":[{
        "startedDateTime":"2026-12-01T00:00:00Z","time":1,"cache":{},"timings":{"send":0,"wait":1,"receive":0},
        "request":{"method":"GET","url":"https://api.vonage.com/t/a","httpVersion":"HTTP/1.1","cookies":[],
            "headers":[],"queryString":[],"headersSize":-1,"bodySize":0},
        "response":{"status":200,"statusText":"OK","httpVersion":"HTTP/1.1","cookies":[],"headers":[],
            "content":{"size":2,"mimeType":"application/json","text":"{}"},"redirectURL":"",
            "headersSize":-1,"bodySize":2}}]}}"#;
    let section = sections_of("docs/record-replay.md");
    let section = section.iter().find(|section| section.title == "In continuous integration").unwrap();
    for (tests, code, words) in [
        ("curl -sf \"$VBC_BASE_URL/t/a\"", 0, "1 requests replayed, 0 without a match"),
        ("curl -s \"$VBC_BASE_URL/t/b\"", 1, "0 requests replayed, 1 without a match"),
        ("exit 7", 7, "not requested: record 1"),
    ] {
        let directory = section.lay_out();
        std::fs::write(directory.path().join("tests.sh"), tests).unwrap();
        std::fs::write(directory.path().join("calls.har"), HAR).unwrap();
        let script = [RECORD, &section.commands.concat()].join("\n");
        let said = run(directory.path(), &script, &[]).await;
        assert_eq!(said.code, Some(code), "{tests}: {}", said.text);
        assert!(said.text.contains(words), "{tests}: {}", said.text);
    }
}

#[tokio::test]
async fn the_scenario_example_can_be_played() {
    let scenario = Scenario::parse("day.toml", section("Scenarios").file("day.toml")).unwrap();
    let sim = Simulator::builder().scenario(scenario).unwrap().start().await.unwrap();
    assert_eq!(sim.service().clock().now().to_string()[..10], *"2026-03-01");
}
