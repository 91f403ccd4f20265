//! `[faults]` of the proxy itself: refused unless allowed, marked, counted, and reproducible with a
//! seed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vbc_proxy::Simulator;

use crate::harness::{Client, RawUpstream};
use crate::process::{Process, configuration, get, lay_out};

const RULES: &str = r#"faults.rules = ["100% GET /t/status/* status 503 retry-after 7s", "100% /t/abort abort", "100% /t/slow/** delay 60ms", "50% /t/half/** status 500"]"#;

async fn start(
    upstream: &RawUpstream,
    sim: &Simulator,
    lines: &str,
) -> (tempfile::TempDir, Process, SocketAddr, SocketAddr) {
    let directory = tempfile::tempdir().unwrap();
    let token_url = format!("{}/token", sim.url());
    lay_out(directory.path(), &configuration(&upstream.url(), &token_url, lines), "sim-password");
    let mut serve = Process::start(directory.path(), &["serve", "--allow-faults"], &[]);
    let (address, admin) = serve.listening().await;
    (directory, serve, address, admin)
}

#[tokio::test]
async fn faults_are_refused_unless_they_are_allowed() {
    let directory = tempfile::tempdir().unwrap();
    lay_out(directory.path(), &configuration("http://127.0.0.1:9", "http://127.0.0.1:9/token", RULES), "x");
    let refused = Process::run(directory.path(), &["serve"], &[]).await;
    assert_eq!(refused.code, Some(78));
    assert!(
        refused.stderr.contains("proxy.toml:10") && refused.stderr.contains("faults.rules"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("--allow-faults"), "{}", refused.stderr);
    let check = Process::run(directory.path(), &["check"], &[]).await;
    assert_eq!(check.code, Some(0), "{}", check.stderr);
    assert!(check.stderr.contains("warning") && check.stderr.contains("--allow-faults"), "{}", check.stderr);
    assert!(check.stdout.contains("100% /t/abort abort"), "{}", check.stdout);
}

#[tokio::test]
async fn a_command_of_run_gets_faults_where_they_are_allowed() {
    let (upstream, sim) = (RawUpstream::ok().await, Simulator::start().await.unwrap());
    let directory = tempfile::tempdir().unwrap();
    let lines = format!("{RULES}\nlog.level = \"error\"");
    let token_url = format!("{}/token", sim.url());
    lay_out(directory.path(), &configuration(&upstream.url(), &token_url, &lines), "sim-password");
    let script = "curl -s -D - -o /dev/null $VBC_BASE_URL/t/status/x -o /dev/null $VBC_BASE_URL/t/other | grep -i '^HTTP\\|^vbc-proxy-fault'";
    let path = [("PATH", "/usr/local/bin:/usr/bin:/bin")];
    let refused = Process::run(directory.path(), &["run", "--", "/bin/sh", "-c", script], &path).await;
    assert_eq!(refused.code, Some(78));
    assert!(refused.stderr.contains("start with --allow-faults"), "{}", refused.stderr);
    let allowed = ["run", "--allow-faults", "--", "/bin/sh", "-c", script];
    let output = Process::run(directory.path(), &allowed, &path).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let seen: Vec<&str> = output.stdout.lines().map(str::trim_end).collect();
    assert_eq!(seen, ["HTTP/1.1 503 Service Unavailable", "vbc-proxy-fault: 1", "HTTP/1.1 200 OK"]);
}

#[tokio::test]
async fn responses_with_a_fault_are_marked_and_counted_and_not_forwarded() {
    let (upstream, sim) = (RawUpstream::ok().await, Simulator::start().await.unwrap());
    let lines = format!("log.access = true\n{RULES}");
    let (_directory, mut serve, address, admin) = start(&upstream, &sim, &lines).await;
    let response = get(address, "/t/status/x").await;
    response.assert_problem(503, "proxy_internal_response");
    let line = serve.logged("\"target\":\"access\"").await;
    let id = format!("\"id\":\"{}\"", response.header("x-request-id").unwrap());
    for part in
        ["\"source\":\"fault\"", "\"status\":503", "\"path\":\"/t/status/x\"", "\"method\":\"GET\"", &id]
    {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert_eq!((response.header("vbc-proxy-fault"), response.header("retry-after")), (Some("1"), Some("7")));
    let mut client = Client::connect(address).await;
    client.request("GET /t/abort HTTP/1.1", b"").await;
    client.reset_unread().await;
    assert!(upstream.requests().is_empty());

    let started = Instant::now();
    let slow = get(address, "/t/slow/x").await;
    assert!(started.elapsed() >= Duration::from_millis(60));
    assert_eq!((slow.status, slow.header("vbc-proxy-fault")), (200, Some("3")));
    // The logged time includes the delay.
    let line = serve.logged("/t/slow/x").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(line["millis"].as_u64() >= Some(60), "{line}");
    let plain = get(address, "/t/other").await;
    assert_eq!((plain.status, plain.header("vbc-proxy-fault")), (200, None));
    let line = serve.logged("/t/other").await;
    assert!(line.contains("\"status\":200") && !line.contains("source"), "{line}");
    // Refused requests get no faults.
    let mut client = Client::connect(address).await;
    client.write(b"GET /t/status/x HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    assert_eq!(client.response().await.status, 421);

    let metrics = get(admin, "/metrics").await;
    for (rule, effect) in [(1, "status"), (2, "abort"), (3, "delay")] {
        let name = format!("vbc_proxy_faults_injected_total{{rule=\"{rule}\",effect=\"{effect}\"}}");
        assert_eq!(metrics.metric(&name), Some(1.0), "{name}");
    }
    assert_eq!(get(admin, "/status.json").await.json()["faults_injected"], 3);
    assert_eq!(serve.terminate().await.code, Some(0));
}

#[tokio::test]
async fn the_same_seed_selects_the_same_requests_with_any_number_of_threads() {
    let (upstream, sim) = (RawUpstream::ok().await, Simulator::start().await.unwrap());
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let lines = format!("faults.seed = {seed}\n{RULES}");
        let (_directory, serve, address, _) = start(&upstream, &sim, &lines).await;
        let mut statuses = Vec::new();
        for n in 0..40 {
            statuses.push(get(address, &format!("/t/half/{n}")).await.status);
        }
        serve.terminate().await;
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    assert!(runs[0].contains(&200) && runs[0].contains(&500));
}
