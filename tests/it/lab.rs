//! `run`, and scenarios on the command line.

use std::fs;

use serde_json::Value;
use vbc_proxy::Simulator;

use crate::process::{Process, configuration, get, lay_out};

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";

/// Runs `run` with a shell as its command.
async fn run(arguments: &[&str], script: &str) -> crate::process::Output {
    let directory = tempfile::tempdir().unwrap();
    let arguments = [&["run"], arguments, &["--", "/bin/sh", "-c", script]].concat();
    Process::run(directory.path(), &arguments, &[("PATH", PATH), ("VBC_PROXY_LOG_LEVEL", "warn")]).await
}

#[tokio::test]
async fn a_command_runs_with_the_proxy_beside_it_and_its_status_is_the_outcome() {
    let script = format!(
        "curl -sf -o /dev/null -w '%{{http_code}}\\n' $VBC_BASE_URL{USERS}; curl -sf $VBC_CONTROL_URL/__sim/stats; echo; \
         curl -sf $VBC_ADMIN_URL/live >/dev/null && curl -s -o /dev/null $VBC_SIMULATOR_URL/ && exit 7"
    );
    let output = run(&["--simulate"], &script).await;
    assert_eq!(output.code, Some(7), "{output:?}");
    let mut lines = output.stdout.lines();
    // Nothing of ours between the lines of the command.
    assert_eq!(lines.next(), Some("200"));
    let stats: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!((&stats["logins"]["ok"], &stats["api_requests"]), (&1.into(), &1.into()));
    assert_eq!(lines.next(), None);
    assert_eq!(output.stderr, "");
}

#[tokio::test]
async fn a_command_that_a_signal_ends_or_that_is_not_there_is_told_as_shells_do() {
    assert_eq!(run(&["--simulate"], "kill -9 $$").await.code, Some(128 + 9));
    let directory = tempfile::tempdir().unwrap();
    let none = Process::run(directory.path(), &["run", "--simulate", "--", "./no-such-command"], &[]).await;
    assert_eq!(none.code, Some(127));
    assert!(none.stderr.contains("./no-such-command cannot be run: No such file"), "{}", none.stderr);
    fs::write(directory.path().join("text"), "text").unwrap();
    let text = Process::run(directory.path(), &["run", "--simulate", "--", "./text"], &[]).await;
    assert_eq!(text.code, Some(126), "{text:?}");
    assert_eq!(Process::run(directory.path(), &["run", "--simulate"], &[]).await.code, Some(64));
}

#[tokio::test]
async fn signals_go_on_to_the_command() {
    for (signal, caught) in [("TERM", "TERM"), ("INT", "INT"), ("HUP", "HUP"), ("USR1", "USR1")] {
        let script = format!("trap 'echo caught; exit 3' {caught}; echo begun; while :; do sleep 0.05; done");
        let directory = tempfile::tempdir().unwrap();
        let arguments = ["run", "--simulate", "--", "/bin/sh", "-c", &script];
        let mut running = Process::start(directory.path(), &arguments, &[("PATH", PATH)]);
        assert_eq!(running.line().await, "begun");
        running.signal(signal);
        assert_eq!(running.line().await, "caught");
        assert_eq!(running.end().await.code, Some(3), "{signal}");
    }
}

#[tokio::test]
async fn a_command_gets_no_credential_and_its_own_configuration() {
    let sim = Simulator::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let token_url = format!("{}/token", sim.url());
    lay_out(directory.path(), &configuration(&sim.url(), &token_url, "log.level = \"warn\""), "sim-password");
    let script = format!("curl -sf -o /dev/null $VBC_BASE_URL{USERS} && env");
    let variables =
        [("PATH", PATH), ("VBC_CLIENT_SECRET", "hunter2"), ("VBC_PASSWORD", "hunter2"), ("OTHER", "kept")];
    let arguments = ["run", "--config", "proxy.toml", "--", "/bin/sh", "-c", &script];
    let output = Process::run(directory.path(), &arguments, &variables).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output.stdout.contains("OTHER=kept\n") && !output.stdout.contains("hunter2"),
        "{}",
        output.stdout
    );
    assert!(!output.stdout.contains("VBC_CONTROL_URL"), "there is no simulator of its own");
    assert_eq!(sim.stats().api_requests, 1);
}

const SCENARIO: &str = "[[timeline]]\nat = \"30s\"\nfault = \"revoke_all_access\"\n\n\
                        [[timeline]]\nat = \"60s\"\nfault = \"status\"\nstatus = 418\nendpoint = \"api\"\nlasts = \"20s\"\n";

#[tokio::test]
async fn a_scenario_is_played_behind_the_proxy() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("day.toml"), SCENARIO).unwrap();
    let free = [
        ("VBC_PROXY_LISTEN_ADDRESS", "127.0.0.1:0"),
        ("VBC_PROXY_ADMIN_ADDRESS", "127.0.0.1:0"),
        ("VBC_PROXY_SIMULATOR_ADDRESS", "127.0.0.1:0"),
        ("VBC_PROXY_SIMULATOR_CONTROL", "127.0.0.1:0"),
    ];
    let arguments = ["serve", "--simulate", "--scenario", "day.toml", "--seed", "7"];
    let mut serve = Process::start(directory.path(), &arguments, &free);
    let (_, control) = serve.simulating().await;
    let (address, _) = serve.listening().await;
    assert_eq!(get(address, USERS).await.status, 200);
    for (seconds, status) in [(31, 200), (30, 418), (30, 200)] {
        let mut client = crate::harness::Client::connect(control).await;
        let body = format!("{{\"advance\":{seconds}}}");
        let head = format!("POST /__sim/clock HTTP/1.1\r\ncontent-length: {}", body.len());
        client.request(&head, body.as_bytes()).await;
        assert_eq!(client.response().await.status, 200);
        assert_eq!(get(address, USERS).await.status, status, "after {seconds} more");
    }
    let stats: Value = serde_json::from_slice(&get(control, "/__sim/stats").await.body).unwrap();
    assert_eq!(stats["refreshes"]["ok"], 1, "{stats}");
    serve.terminate().await;
}

#[tokio::test]
async fn a_bad_scenario_is_refused_with_line_and_remedy() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("day.toml"), SCENARIO.replace("at = \"30s\"", "att = \"30s\"")).unwrap();
    for arguments in [
        &["simulate", "--scenario", "day.toml"][..],
        &["serve", "--simulate", "--scenario", "day.toml"],
        &["run", "--simulate", "--scenario", "day.toml", "--", "true"],
    ] {
        let output = Process::run(directory.path(), arguments, &[("PATH", PATH)]).await;
        assert_eq!(output.code, Some(78), "{output:?}");
        let wanted = "day.toml:1:1: timeline.0: there is no `at`; write the time after the start, such as at = \"30s\"\n";
        assert!(output.stderr.contains(wanted), "{}", output.stderr);
    }
    let output = Process::run(directory.path(), &["simulate", "--scenario", "none.toml"], &[]).await;
    assert!(
        output.stderr.starts_with("none.toml: it cannot be read: entity not found; "),
        "{}",
        output.stderr
    );
    let output = Process::run(directory.path(), &["serve", "--seed", "7"], &[]).await;
    assert_eq!(output.code, Some(64));
    assert!(output.stderr.contains("add --simulate"), "{}", output.stderr);
}

/// A thousand in one process, each a world of its own.
#[tokio::test]
async fn a_thousand_simulators_live_in_one_process() {
    vbc_proxy::server::descriptors::raise();
    let mut sims = Vec::new();
    for number in 0..1000_u64 {
        let sim = Simulator::builder().seed(number).start().await.unwrap();
        if number % 2 == 1 {
            sim.fail_next("/**", 418);
        }
        sims.push(sim);
    }
    for (number, sim) in sims.iter().enumerate() {
        let status = get(sim.address(), USERS).await.status;
        assert_eq!(status, if number % 2 == 1 { 418 } else { 401 }, "{number}");
        assert_eq!(sim.requests().len(), 1);
    }
    // Dropped, they are gone; the one that is left is not.
    let last = sims.pop().unwrap();
    let first = sims[0].address();
    drop(sims);
    while tokio::net::TcpStream::connect(first).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(get(last.address(), USERS).await.status, 401);
}
