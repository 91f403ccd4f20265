//! `run`, and scenarios on the command line.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use vbc_proxy::Simulator;

use crate::process::{Process, configuration, get, lay_out};

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
const CALLS: &str = "/t/vbc.prod/telephony/v3/cc/accounts/self/calls";
const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";

/// Runs `run` with a shell as its command.
async fn run(arguments: &[&str], script: &str) -> crate::process::Output {
    let directory = tempfile::tempdir().unwrap();
    let arguments = [&["run"], arguments, &["--", "/bin/sh", "-c", script]].concat();
    let [path, temporary] = variables(&directory);
    Process::run(directory.path(), &arguments, &[path, temporary, ("VBC_PROXY_LOG_LEVEL", "warn")]).await
}

/// Variables for `run`; `TMPDIR` is where logs of failed commands are kept.
fn variables(directory: &tempfile::TempDir) -> [(&'static str, &str); 2] {
    [("PATH", PATH), ("TMPDIR", directory.path().to_str().unwrap())]
}

#[tokio::test]
async fn a_command_runs_with_a_proxy_and_its_status_is_the_outcome() {
    let script = format!(
        "curl -sf -o /dev/null -w '%{{http_code}}\\n' $VBC_BASE_URL{USERS}; curl -sf $VBC_CONTROL_URL/__sim/stats; echo; \
         curl -sf $VBC_ADMIN_URL/live >/dev/null && curl -s -o /dev/null $VBC_SIMULATOR_URL/ && exit 7"
    );
    let output = run(&["--simulate"], &script).await;
    assert_eq!(output.code, Some(7), "{output:?}");
    let mut lines = output.stdout.lines();
    // The proxy prints nothing between the lines of the command.
    assert_eq!(lines.next(), Some("200"));
    let stats: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!((&stats["logins"]["ok"], &stats["api_requests"]), (&1.into(), &1.into()));
    assert_eq!(lines.next(), None);
    assert_eq!(output.stderr, "");
}

#[tokio::test]
async fn a_command_that_a_signal_ended_or_that_is_missing_has_the_status_that_shells_give() {
    assert_eq!(run(&["--simulate"], "kill -9 $$").await.code, Some(128 + 9));
    let directory = tempfile::tempdir().unwrap();
    let none = Process::run(
        directory.path(),
        &["run", "--simulate", "--", "./no-such-command"],
        &variables(&directory),
    )
    .await;
    assert_eq!(none.code, Some(127));
    assert!(none.stderr.contains("cannot run ./no-such-command: No such file"), "{}", none.stderr);
    fs::write(directory.path().join("text"), "text").unwrap();
    let text =
        Process::run(directory.path(), &["run", "--simulate", "--", "./text"], &variables(&directory)).await;
    assert_eq!(text.code, Some(126), "{text:?}");
    assert_eq!(Process::run(directory.path(), &["run", "--simulate"], &[]).await.code, Some(64));
}

#[tokio::test]
async fn an_unknown_option_is_wrong_usage_and_not_the_command() {
    let directory = tempfile::tempdir().unwrap();
    for unknown in ["--record", "-x"] {
        let arguments = ["run", "--simulate", unknown, "x.cassette", "--", "true"];
        let output = Process::run(directory.path(), &arguments, &variables(&directory)).await;
        assert_eq!(output.code, Some(64), "{output:?}");
        let hint = format!(
            "`{unknown}` is not an option of `run`; a command that begins with `-` goes after `--`\n"
        );
        assert!(output.stderr.contains(&hint), "{}", output.stderr);
    }
    // After `--`, or after the name of the command, everything belongs to the command.
    for (command, code) in [(&["--", "--record"][..], 127), (&["sh", "-c", "exit 7"], 7)] {
        let arguments = [&["run", "--simulate"], command].concat();
        let output = Process::run(directory.path(), &arguments, &variables(&directory)).await;
        assert_eq!(output.code, Some(code), "{output:?}");
    }
}

#[tokio::test]
async fn a_shell_command_given_as_one_word_gets_advice() {
    let directory = tempfile::tempdir().unwrap();
    for (word, hint) in [
        ("npm test", "To run a shell command line: vbc-proxy run --simulate -- sh -c 'npm test'\n"),
        ("echo 'a b'|wc", "vbc-proxy run --simulate -- sh -c 'echo '\\''a b'\\''|wc'\n"),
    ] {
        let output =
            Process::run(directory.path(), &["run", "--simulate", "--", word], &variables(&directory)).await;
        assert_eq!((output.code, output.stderr.contains(hint)), (Some(127), true), "{output:?}");
    }
    // The last advised command works as printed.
    let advised = ["run", "--simulate", "--", "sh", "-c", "echo 'a b'|wc -w"];
    let output = Process::run(directory.path(), &advised, &variables(&directory)).await;
    assert_eq!((output.code, output.stdout.trim()), (Some(0), "2"), "{output:?}");
    for words in [&["./none"][..], &["no such", "program"]] {
        let arguments = [&["run", "--simulate", "--"], words].concat();
        let output = Process::run(directory.path(), &arguments, &variables(&directory)).await;
        assert_eq!((output.code, output.stderr.contains("sh -c")), (Some(127), false), "{output:?}");
    }
    // A program's name may contain spaces.
    let program = directory.path().join("a program");
    fs::write(&program, "#!/bin/sh\nexit 3\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let output =
        Process::run(directory.path(), &["run", "--simulate", "--", "./a program"], &variables(&directory))
            .await;
    assert_eq!(output.code, Some(3), "{output:?}");
}

#[tokio::test]
async fn a_run_is_quiet_and_names_its_log_where_the_command_fails() {
    let directory = tempfile::tempdir().unwrap();
    let temporary = directory.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let variables = [("PATH", PATH), ("TMPDIR", temporary.to_str().unwrap())];
    let run = async |options: &[&str], status: i32| {
        let script = format!("curl -sf -o /dev/null $VBC_BASE_URL{USERS}; echo mine >&2; exit {status}");
        let arguments = [&["run", "--simulate"], options, &["--", "/bin/sh", "-c", &script]].concat();
        let output = Process::run(directory.path(), &arguments, &variables).await;
        assert_eq!(output.code, Some(status), "{output:?}");
        output.stderr
    };
    assert_eq!(run(&[], 0).await, "mine\n");
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "the log of a successful command is removed");

    let said = run(&[], 7).await;
    let named =
        said.strip_prefix("mine\nvbc-proxy: the command failed; the log of the proxy is in ").unwrap();
    let log = std::path::Path::new(named.split(" (").next().unwrap());
    assert_eq!((log.parent().unwrap(), said.lines().count()), (temporary.as_path(), 2));
    assert_eq!(fs::metadata(log).unwrap().permissions().mode() & 0o777, 0o600);
    let logged = fs::read_to_string(log).unwrap();
    assert!(
        logged.contains("INFO") && !logged.contains("sim-password") && !logged.contains("eyJ"),
        "{logged}"
    );
    fs::remove_file(log).unwrap();

    let said = run(&["--verbose"], 7).await;
    assert!(said.contains("\"level\":\"INFO\"") && said.contains("mine\n"), "{said}");
    assert!(!said.contains("the log of the proxy"), "{said}");
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}

#[tokio::test]
async fn a_log_that_cannot_be_a_file_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let variables = [("PATH", PATH), ("TMPDIR", "/nowhere")];
    let output = Process::run(directory.path(), &["run", "--simulate", "--", "true"], &variables).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output.stderr.starts_with("vbc-proxy: cannot create a log file in /nowhere: "),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn a_limit_of_file_sizes_does_not_end_the_run() {
    assert_eq!(run(&["--simulate"], "kill -XFSZ $PPID; exit 7").await.code, Some(7));
}

#[tokio::test]
async fn signals_are_passed_on_to_the_command() {
    for (signal, caught) in [("TERM", "TERM"), ("INT", "INT"), ("HUP", "HUP"), ("USR1", "USR1")] {
        let script =
            format!("trap 'echo caught; exit 3' {caught}; echo started; while :; do sleep 0.05; done");
        let directory = tempfile::tempdir().unwrap();
        let arguments = ["run", "--simulate", "--", "/bin/sh", "-c", &script];
        let mut running = Process::start(directory.path(), &arguments, &variables(&directory));
        assert_eq!(running.line().await, "started");
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
async fn a_scenario_is_played_by_the_simulator_of_run() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("day.toml"), SCENARIO).unwrap();
    let arguments = ["serve", "--simulate", "--scenario", "day.toml", "--seed", "7"];
    let mut serve = Process::start(directory.path(), &arguments, &FREE);
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
async fn a_scenario_at_the_start_does_not_raise_the_quota_of_the_command_line() {
    let directory = tempfile::tempdir().unwrap();
    let at_once = "quota = 50\n";
    let later = "[[timeline]]\nat = \"30s\"\nfault = \"quota\"\nper_minute = 50\n";
    fs::write(directory.path().join("day.toml"), later).unwrap();
    let run =
        |quota: &'static str| ["run", "--simulate", "--scenario", "day.toml", "--quota", quota, "--", "true"];
    let output = Process::run(directory.path(), &run("10"), &variables(&directory)).await;
    assert_eq!(output.code, Some(78), "{output:?}");
    let said = "day.toml:1:1: timeline.0.per_minute: the simulator was started with a lower quota: 10; write a number from 1 to 10";
    assert!(output.stderr.contains(said), "{}", output.stderr);
    assert_eq!(Process::run(directory.path(), &run("50"), &variables(&directory)).await.code, Some(0));
    // The command line overrides settings from the start of the scenario.
    fs::write(directory.path().join("day.toml"), at_once).unwrap();
    assert_eq!(Process::run(directory.path(), &run("10"), &variables(&directory)).await.code, Some(0));
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
        let wanted = "day.toml:1:1: timeline.0: `at` is missing; write the time after the start, such as at = \"30s\"\n";
        assert!(output.stderr.contains(wanted), "{}", output.stderr);
    }
    let output = Process::run(directory.path(), &["simulate", "--scenario", "none.toml"], &[]).await;
    assert!(output.stderr.starts_with("none.toml: no such file; "), "{}", output.stderr);
    let targets = ["simulate", "--webhooks", "http://hooks.test"];
    let output = Process::run(directory.path(), &targets, &[]).await;
    assert_eq!(output.code, Some(64));
    assert!(
        output.stderr.contains("write `loopback`, `any`, or a comma-separated list of hosts"),
        "{}",
        output.stderr
    );
    let output = Process::run(directory.path(), &["serve", "--webhooks", "any"], &[]).await;
    assert_eq!(output.code, Some(64));
    assert!(output.stderr.contains("add --simulate"), "{}", output.stderr);
    let output = Process::run(directory.path(), &["serve", "--seed", "7"], &[]).await;
    assert_eq!(output.code, Some(64));
    assert!(output.stderr.contains("add --simulate"), "{}", output.stderr);
}

const FREE: [(&str, &str); 4] = [
    ("VBC_PROXY_LISTEN_ADDRESS", "127.0.0.1:0"),
    ("VBC_PROXY_ADMIN_ADDRESS", "127.0.0.1:0"),
    ("VBC_PROXY_SIMULATOR_ADDRESS", "127.0.0.1:0"),
    ("VBC_PROXY_SIMULATOR_CONTROL", "127.0.0.1:0"),
];

/// A day with many faults.
const TROUBLED: &str = r#"start = "2026-03-01T09:00:00Z"
[[faults]]
fault = "status"
status = 503
endpoint = "telephony"
probability = 0.3
[[faults]]
fault = "close_after_n_requests"
requests = 3
[[timeline]]
at = "1h"
fault = "revoke_all_access"
[[timeline]]
at = "2h"
fault = "reset_mid_body"
endpoint = "provisioning"
"#;

/// Sends a request on its own connection. A response may be cut short.
async fn ask(address: SocketAddr, line: &str, headers: &str, body: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    let _ = crate::harness::within(stream.read_to_end(&mut response)).await;
    String::from_utf8(response).unwrap()
}

/// Logs in at the simulator itself. Returns the header with the token.
async fn log_in(simulator: SocketAddr) -> String {
    let form = "grant_type=password&username=alice@vbc.prod&password=sim-password&scope=openid&client_id=sim-client\
                &client_secret=sim-secret";
    let response =
        ask(simulator, "POST /token", "Content-Type: application/x-www-form-urlencoded\r\n", form).await;
    let token = response.split("\"access_token\":\"").nth(1).unwrap().split('"').next().unwrap();
    format!("Authorization: Bearer {token}\r\n")
}

/// Makes the requests of one day, through a proxy or directly. Returns the journal in its
/// comparable form, and in the full form without times and port.
async fn journal_of_a_day(
    proxy: Option<SocketAddr>,
    simulator: SocketAddr,
    control: SocketAddr,
) -> (String, String) {
    let place = r#"{"type":"click2dial","from":{"type":"extension","destination":"1001"},"to":{"type":"pstn","destination":"15551234567"}}"#;
    let address = proxy.unwrap_or(simulator);
    let mut bearer = String::new();
    for hour in 0..4 {
        // A proxy replaces revoked tokens itself. A client without one logs in again, except in the
        // third hour.
        if proxy.is_none() && hour != 2 {
            bearer = log_in(simulator).await;
        }
        for _ in 0..4 {
            let response = ask(address, &format!("POST {CALLS}"), &bearer, place).await;
            // The next target contains the id of the call.
            let call = response.lines().find(|line| line.len() == 36 && line.contains('-')).unwrap_or("none");
            ask(address, &format!("GET {CALLS}/{call}"), &bearer, "").await;
            ask(address, &format!("GET {USERS}?page={hour}"), &bearer, "").await;
        }
        ask(control, "POST /__sim/clock", "", r#"{"advance":"40m"}"#).await;
    }
    let comparable = get(control, "/__sim/requests?comparable=true").await.body;
    let mut plain: Value = serde_json::from_slice(&get(control, "/__sim/requests").await.body).unwrap();
    for request in plain.as_array_mut().unwrap() {
        assert!(request.as_object_mut().unwrap().remove("time").is_some());
    }
    let plain = plain.to_string().replace(&simulator.to_string(), "simulator");
    (String::from_utf8(comparable).unwrap(), plain)
}

#[tokio::test]
async fn two_runs_of_a_scenario_with_one_seed_have_the_same_journal_with_and_without_the_proxy() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("day.toml"), TROUBLED).unwrap();
    for command in [&["serve", "--simulate"][..], &["simulate"]] {
        let mut runs = Vec::new();
        for seed in ["7", "7", "8"] {
            let arguments = [command, &["--scenario", "day.toml", "--seed", seed]].concat();
            let mut process = Process::start(directory.path(), &arguments, &FREE);
            let (simulator, control) = process.simulating().await;
            let proxy = match command.len() {
                1 => None,
                _ => Some(process.listening().await.0),
            };
            runs.push(journal_of_a_day(proxy, simulator, control).await);
            process.terminate().await;
        }
        let [(first, plain), (second, again), (other, _)] = &runs[..] else { panic!("three runs") };
        assert_eq!(first, second, "{command:?}");
        assert_eq!(plain, again, "{command:?}: the full journals differ in more than times and the port");
        assert_ne!(first, other, "{command:?}: random choices and call ids must depend on the seed");
        let journal: Value = serde_json::from_str(first).unwrap();
        let journal = journal.as_array().unwrap();
        let count = |status: u64| journal.iter().filter(|request| request["status"] == status).count();
        assert!(journal.len() > 48 && count(200) > 0 && count(503) > 0, "{first}");
        assert!(count(401) > 0, "{command:?}: no request noticed that its token was revoked");
    }
}

/// A thousand simulators in one process, each with its own world.
#[tokio::test]
async fn a_thousand_simulators_live_in_one_process() {
    vbc_http::descriptors::raise();
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
    // Dropped simulators stop listening, but the remaining one does not.
    let last = sims.pop().unwrap();
    let first = sims[0].address();
    drop(sims);
    while tokio::net::TcpStream::connect(first).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(get(last.address(), USERS).await.status, 401);
}
