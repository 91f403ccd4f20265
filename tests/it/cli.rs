//! The command line as scripts and service managers use it: its output lines, files and exit codes.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use vbc_proxy::Simulator;
use vbc_simulator::Fault;

use crate::harness::{Client, closed_port, within};
use crate::process::{Process, configuration, get, lay_out};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";
const FREE: [(&str, &str); 2] =
    [("VBC_PROXY_LISTEN_ADDRESS", "127.0.0.1:0"), ("VBC_PROXY_ADMIN_ADDRESS", "127.0.0.1:0")];

/// A directory with the proxy.toml of a proxy in front of the simulator.
fn before(sim: &Simulator, lines: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let token_url = format!("{}/token", sim.url());
    lay_out(directory.path(), &configuration(&sim.url(), &token_url, lines), "sim-password");
    directory
}

/// A request that hangs at the simulator.
async fn hanging(sim: &Simulator, address: SocketAddr) -> Client {
    sim.inject(Fault::hang().on("/t/vbc.prod")).unwrap();
    let mut client = Client::connect(address).await;
    client.request(&format!("GET {USERS} HTTP/1.1"), b"").await;
    within(async {
        while sim.stats().api_requests == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    client
}

#[tokio::test]
async fn sigterm_and_sigint_let_the_request_in_flight_finish_and_exit_with_0() {
    for signal in ["TERM", "INT"] {
        let sim = Simulator::start().await.unwrap();
        let directory = before(&sim, "");
        let mut serve = Process::start(directory.path(), &["serve"], &[]);
        let (address, _) = serve.listening().await;
        let mut client = hanging(&sim, address).await;
        serve.signal(signal);
        serve.logged("draining").await;
        sim.clear_faults();
        let response = client.response().await;
        assert_eq!((response.status, response.complete), (200, true));
        let output = serve.end().await;
        assert_eq!(output.code, Some(0), "{signal}: {output:?}");
        assert_eq!(output.stdout.lines().count(), 1, "{output:?}");
    }
}

#[tokio::test]
async fn a_signal_a_second_after_the_first_ends_at_once_with_1() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "");
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    let (address, _) = serve.listening().await;
    let client = hanging(&sim, address).await;
    serve.signal("TERM");
    serve.logged("draining").await;
    assert_eq!(serve.signal_to_the_end("TERM").await.code, Some(1));
    drop(client);
}

#[tokio::test]
async fn a_drain_that_takes_too_long_exits_with_1() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "listen.drain_timeout = \"100ms\"");
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    let (address, _) = serve.listening().await;
    let client = hanging(&sim, address).await;
    assert_eq!(serve.terminate().await.code, Some(1));
    drop(client);
}

#[tokio::test]
async fn wrong_usage_exits_with_64_and_help_with_0() {
    let directory = tempfile::tempdir().unwrap();
    let wrong: [&[&str]; 6] = [
        &[],
        &["serv"],
        &["serve", "--nonsense"],
        &["serve", "--config"],
        &["simulate", "--listen", "somewhere"],
        &["status", "--simulator", "--json"],
    ];
    for arguments in wrong {
        let output = Process::run(directory.path(), arguments, &[]).await;
        assert_eq!(output.code, Some(64), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
    let helps: [&[&str]; 3] = [&["--help"], &["serve", "--help"], &["--version"]];
    for arguments in helps {
        let output = Process::run(directory.path(), arguments, &[]).await;
        assert_eq!(output.code, Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[tokio::test]
async fn an_address_in_use_exits_with_69_and_names_its_key() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "");
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (variable, key) in
        [("VBC_PROXY_LISTEN_ADDRESS", "listen.address"), ("VBC_PROXY_ADMIN_ADDRESS", "admin.address")]
    {
        let output = Process::run(directory.path(), &["serve"], &[(variable, &address)]).await;
        assert_eq!(output.code, Some(69), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let message = format!("vbc-proxy: cannot listen on {address} ({key}): ");
        assert!(output.stderr.contains(&message), "{output:?}");
    }
    let output =
        Process::run(directory.path(), &["simulate", "--listen", &address, "--control", "127.0.0.1:0"], &[])
            .await;
    assert_eq!(output.code, Some(69), "{output:?}");
    assert!(output.stderr.contains(&address), "{output:?}");
}

#[tokio::test]
async fn a_second_proxy_on_the_same_address_or_store_exits_with_69_and_leaves_the_first_alone() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "");
    let mut first = Process::start(directory.path(), &["serve"], &[]);
    let (address, _) = first.listening().await;
    assert_eq!(get(address, USERS).await.status, 200);

    let same = address.to_string();
    let output =
        Process::run(directory.path(), &["serve"], &[("VBC_PROXY_LISTEN_ADDRESS", same.as_str())]).await;
    assert_eq!(output.code, Some(69), "{output:?}");
    assert!(output.stderr.contains("another process is using it"), "{output:?}");

    let output = Process::run(directory.path(), &["serve"], &[]).await;
    assert_eq!(output.code, Some(69), "{output:?}");
    let message = "tokens is in use by another process; stop that process, or set another store.path";
    assert!(output.stderr.contains(message), "{output:?}");

    assert_eq!(get(address, USERS).await.status, 200);
    assert_eq!(sim.stats().token_requests, 1);
    assert_eq!(first.terminate().await.code, Some(0));
}

const MISTAKES: &str = r#"[listen]
adress = "127.0.0.1:80"
header_timeout = "10 parsecs"
[upstream]
url = "ftp://api.vonage.com"
[credentials.default]
grant = "magic"
client_id = "id"
client_secret_file = "/nowhere/secret"
"#;

#[tokio::test]
async fn five_mistakes_exit_with_78_and_each_has_its_line() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("proxy.toml"), MISTAKES).unwrap();
    fs::write(directory.path().join("other.toml"), MISTAKES).unwrap();
    let ways: [(&[&str], &str); 4] = [
        (&["serve"], "proxy.toml"),
        (&["check"], "proxy.toml"),
        (&["check", "--config", "other.toml"], "other.toml"),
        (&["serve", "-c", "other.toml"], "other.toml"),
    ];
    for (arguments, file) in ways {
        let output = Process::run(directory.path(), arguments, &[]).await;
        assert_eq!(output.code, Some(78), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let lines: Vec<&str> = output.stderr.lines().collect();
        let expected = [
            format!("{file}:2:1: listen.adress: unknown key; did you mean `address`?"),
            format!("{file}:3:18: listen.header_timeout: \"10 parsecs\" is not a duration; "),
            format!("{file}:5:7: upstream.url: the scheme of \"ftp://api.vonage.com\" is neither "),
            format!("{file}:7:9: credentials.default.grant: unknown value \"magic\"; "),
            format!("{file}:9:22: credentials.default.client_secret_file: cannot read /nowhere/secret: "),
            "vbc-proxy: the configuration cannot be used; fix the 5 problems above".to_owned(),
        ];
        assert_eq!(lines.len(), expected.len(), "{output:?}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.starts_with(&expected), "{line}\n{expected}");
        }
    }
}

#[tokio::test]
async fn without_any_configuration_serve_says_how_to_start() {
    let directory = tempfile::tempdir().unwrap();
    let output = Process::run(directory.path(), &["serve"], &[]).await;
    assert_eq!(output.code, Some(78), "{output:?}");
    for remedy in ["vbc-proxy init", "VBC_CLIENT_SECRET", "serve --simulate"] {
        assert!(output.stderr.contains(remedy), "{output:?}");
    }
    let output = Process::run(directory.path(), &["serve", "--config", "nowhere.toml"], &[]).await;
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(output.stderr.starts_with("nowhere.toml: cannot read the file"), "{output:?}");
}

#[tokio::test]
async fn init_writes_a_file_that_check_accepts_and_never_overwrites_one() {
    let directory = tempfile::tempdir().unwrap();
    let output = Process::run(directory.path(), &["init"], &[]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.starts_with("wrote proxy.toml\n"), "{output:?}");
    let path = directory.path().join("proxy.toml");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("proxy.toml");
    assert_eq!(fs::read_to_string(&path).unwrap(), fs::read_to_string(shipped).unwrap());

    let output = Process::run(directory.path(), &["check"], &[]).await;
    assert_eq!(output.code, Some(78), "the four variables are missing: {output:?}");
    let variables = [
        ("VBC_CLIENT_ID", "an-id"),
        ("VBC_CLIENT_SECRET", "s3cret-of-client"),
        ("VBC_USERNAME", "bob"),
        ("VBC_PASSWORD", "pa55-of-bob"),
    ];
    let output = Process::run(directory.path(), &["check"], &variables).await;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");

    fs::write(&path, "# mine\n").unwrap();
    let output = Process::run(directory.path(), &["init"], &[]).await;
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(output.stderr.contains("was not changed"), "{output:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "# mine\n");
}

#[tokio::test]
async fn check_prints_the_effective_settings_without_secrets() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "retry.memory = \"128KiB\"");
    let output =
        Process::run(directory.path(), &["check"], &[("VBC_PROXY_UPSTREAM_IDLE_TIMEOUT", "7s")]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    for line in [
        "# The effective configuration, from proxy.toml and VBC_PROXY_UPSTREAM_IDLE_TIMEOUT.",
        "memory = \"128KiB\"",
        "idle_timeout = \"7s\"",
        "username = \"alice@vbc.prod\"",
        "client_secret = \"[redacted]\"",
        "password = \"[redacted]\"",
    ] {
        assert!(output.stdout.lines().any(|found| found == line), "{line} in\n{}", output.stdout);
    }
    for secret in ["sim-secret", "sim-password"] {
        assert!(!output.stdout.contains(secret) && !output.stderr.contains(secret), "{output:?}");
    }
    assert_eq!(sim.stats().token_requests, 0, "nothing is sent");
}

#[tokio::test]
async fn status_exits_with_0_when_ready_with_1_when_not_and_with_69_without_a_proxy() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "");
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    let (address, admin) = serve.listening().await;
    assert_eq!(get(address, USERS).await.status, 200);
    let admin = admin.to_string();
    // `status` needs no secret.
    fs::remove_file(directory.path().join("password")).unwrap();
    let asked = [("VBC_PROXY_ADMIN_ADDRESS", admin.as_str())];

    let output = Process::run(directory.path(), &["status"], &asked).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains(&format!("on http://{address}: ready\n")), "{output:?}");
    assert!(output.stdout.contains("\ncredential default\n  token      usable for "), "{output:?}");

    let output = Process::run(directory.path(), &["status", "--json"], &asked).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let status: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(status["ready"], true);

    sim.inject(Fault::status(503).on("/token")).unwrap();
    sim.revoke_all_access();
    assert_eq!(get(address, USERS).await.status, 503);
    let output = Process::run(directory.path(), &["status"], &asked).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains(": NOT READY\n"), "{output:?}");

    assert_eq!(serve.terminate().await.code, Some(0));
    let output = Process::run(directory.path(), &["status"], &asked).await;
    assert_eq!(output.code, Some(69), "{output:?}");
    assert!(output.stderr.contains("No proxy is running at"), "{output:?}");
}

#[tokio::test]
async fn status_reports_another_program_on_the_admin_address() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "");
    let other = sim.control_address().to_string();
    let asked = [("VBC_PROXY_ADMIN_ADDRESS", other.as_str())];
    let output = Process::run(directory.path(), &["status"], &asked).await;
    assert_eq!(output.code, Some(69), "{output:?}");
}

/// The repository's own proxy.toml, with ports that the system chooses.
fn shipped(directory: &Path) {
    let shipped = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("proxy.toml")).unwrap();
    let mut text = shipped.clone();
    for (old, new) in [
        ("address = \"127.0.0.1:8080\"", "address = \"127.0.0.1:0\""),
        ("address = \"127.0.0.1:8081\"", "address = \"127.0.0.1:0\""),
        ("# address = \"127.0.0.1:8090\"", "address = \"127.0.0.1:0\""),
        ("# control = \"127.0.0.1:8091\"", "control = \"127.0.0.1:0\""),
    ] {
        assert_eq!(text.matches(old).count(), 1, "{old}");
        text = text.replace(old, new);
    }
    fs::write(directory.join("proxy.toml"), text).unwrap();
}

#[tokio::test]
async fn serve_simulate_works_with_the_shipped_file_and_nothing_set() {
    let directory = tempfile::tempdir().unwrap();
    shipped(directory.path());
    let mut serve = Process::start(directory.path(), &["serve", "--simulate"], &[]);
    let (_, control) = serve.simulating().await;
    let (address, admin) = serve.listening().await;
    assert_eq!(get(address, USERS).await.status, 200);
    assert_eq!(get(admin, "/ready").await.status, 200);
    let stats = get(control, "/__sim/stats").await.json();
    assert_eq!(stats["logins"], json!({ "ok": 1, "failed": 0 }));
    let asked = [("VBC_PROXY_SIMULATOR_CONTROL", control.to_string())];
    let asked: Vec<(&str, &str)> = asked.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let output = Process::run(directory.path(), &["status", "--simulator"], &asked).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let output = serve.terminate().await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(!directory.path().join("tokens").exists(), "the store is in memory");
}

#[tokio::test]
async fn serve_simulate_needs_no_file_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let mut variables = FREE.to_vec();
    variables.extend([
        ("VBC_PROXY_SIMULATOR_ADDRESS", "127.0.0.1:0"),
        ("VBC_PROXY_SIMULATOR_CONTROL", "127.0.0.1:0"),
    ]);
    let mut serve = Process::start(directory.path(), &["serve", "--simulate"], &variables);
    serve.simulating().await;
    let (address, _) = serve.listening().await;
    assert_eq!(get(address, USERS).await.status, 200);
    assert_eq!(serve.terminate().await.code, Some(0));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing was left behind");
}

#[tokio::test]
async fn the_four_variables_alone_make_a_credential_in_front_of_a_separate_simulator() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["simulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"];
    let mut simulate = Process::start(directory.path(), &arguments, &[]);
    let (service, control) = simulate.simulating().await;
    let (upstream, token_url) = (format!("http://{service}"), format!("http://{service}/token"));
    let mut variables = FREE.to_vec();
    variables.extend([
        ("VBC_CLIENT_ID", "sim-client"),
        ("VBC_CLIENT_SECRET", "sim-secret"),
        ("VBC_USERNAME", "alice@vbc.prod"),
        ("VBC_PASSWORD", "sim-password"),
        ("VBC_PROXY_UPSTREAM_URL", &upstream),
        ("VBC_PROXY_OAUTH_TOKEN_URL", &token_url),
    ]);
    for _ in 0..2 {
        let mut serve = Process::start(directory.path(), &["serve"], &variables);
        let (address, admin) = serve.listening().await;
        assert_eq!(get(address, USERS).await.status, 200);
        assert_eq!(get(admin, "/status.json").await.json()["credentials"][0]["name"], "default");
        assert_eq!(serve.terminate().await.code, Some(0));
    }
    let stats = get(control, "/__sim/stats").await.json();
    assert_eq!(stats["token_requests"], 1, "the second began with the stored token");
    assert_eq!(simulate.terminate().await.code, Some(0));
}

#[tokio::test]
async fn serve_starts_while_the_token_endpoint_is_down() {
    let directory = tempfile::tempdir().unwrap();
    let (gone, _held) = closed_port();
    let (url, token_url) = (format!("http://{gone}"), format!("http://{gone}/token"));
    lay_out(directory.path(), &configuration(&url, &token_url, ""), "sim-password");
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    let (address, admin) = serve.listening().await;
    get(address, USERS).await.assert_problem(503, "proxy_internal_error");
    assert_eq!(get(admin, "/ready").await.status, 503);
    assert_eq!(serve.terminate().await.code, Some(0));
}
