//! How commands end: exit codes, standard error, and signals.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use vbc_proxy::Simulator;
use vbc_simulator::{Action, Fault};

use crate::harness::{Client, PATIENCE, World, closed_port, output, within};
use crate::process::{Output, Process, configuration, get, lay_out};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";
const ADMIN: &str = "VBC_PROXY_ADMIN_ADDRESS";

/// A directory with the proxy.toml of a proxy in front of the simulator.
fn before(sim: &Simulator, lines: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let token_url = format!("{}/token", sim.url());
    lay_out(directory.path(), &configuration(&sim.url(), &token_url, lines), "sim-password");
    directory
}

async fn run(directory: &TempDir, arguments: &[&str], admin: &str) -> Output {
    Process::run(directory.path(), arguments, &[(ADMIN, admin)]).await
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
async fn two_signals_at_once_count_as_one() {
    for signals in [["TERM", "TERM"], ["TERM", "INT"], ["INT", "INT"]] {
        let sim = Simulator::start().await.unwrap();
        let directory = before(&sim, "");
        let mut serve = Process::start(directory.path(), &["serve"], &[]);
        let (address, _) = serve.listening().await;
        let mut client = hanging(&sim, address).await;
        serve.signals(&signals);
        serve.logged("draining").await;
        sim.clear_faults();
        let response = client.response().await;
        assert_eq!((response.status, response.complete), (200, true), "{signals:?}");
        assert_eq!(serve.end().await.code, Some(0), "{signals:?}");
    }
}

#[tokio::test]
async fn two_signals_at_once_end_a_simulator_and_a_replay_cleanly() {
    let directory = tempfile::tempdir().unwrap();
    let simulate = ["simulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"];
    let mut simulate = Process::start(directory.path(), &simulate, &[]);
    simulate.simulating().await;
    simulate.signals(&["TERM", "TERM"]);
    assert_eq!(simulate.end().await.code, Some(0));

    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "");
    let mut record = Process::start(directory.path(), &["serve", "--record", "a.cassette"], &[]);
    record.listening().await;
    record.terminate().await;
    let mut replay =
        Process::start(directory.path(), &["replay", "a.cassette", "--listen", "127.0.0.1:0"], &[]);
    replay.line().await;
    replay.signals(&["TERM", "INT"]);
    let output = replay.end().await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("0 requests replayed"), "{output:?}");
}

/// Runs a command whose standard output is a full disk.
async fn on_a_full_disk(directory: &Path, arguments: &[&str], admin: &str) -> Output {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec \"$0\" \"$@\" >/dev/full", env!("CARGO_BIN_EXE_vbc-proxy")]).args(arguments);
    command.env_clear().env(ADMIN, admin).current_dir(directory).stdin(Stdio::null());
    let ended = output(command, PATIENCE).await;
    let stderr = String::from_utf8(ended.stderr).unwrap();
    Output { code: ended.status.code(), stdout: String::new(), stderr }
}

#[tokio::test]
async fn output_that_cannot_be_written_exits_with_1_and_says_so() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "");
    let mut serve = Process::start(directory.path(), &["serve", "--record", "a.cassette"], &[]);
    let (address, admin) = serve.listening().await;
    assert_eq!(get(address, USERS).await.status, 200);
    let (admin, path) = (admin.to_string(), directory.path());
    let running: [&[&str]; 7] = [
        &["--help"],
        &["--version"],
        &["check"],
        &["status"],
        &["status", "--json"],
        &["unlock"],
        &["doctor", "--json"],
    ];
    for arguments in running {
        let output = on_a_full_disk(path, arguments, &admin).await;
        assert_eq!(output.code, Some(1), "{arguments:?}: {output:?}");
        // The rest of the message comes from the system.
        let says = output.stderr.contains("cannot write to standard output: ");
        assert!(says || arguments[0].starts_with("--"), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
    serve.terminate().await;
    let alone: [&[&str]; 6] = [
        &["serve"],
        &["serve", "--simulate"],
        &["simulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"],
        &["replay", "a.cassette", "--listen", "127.0.0.1:0"],
        &["cassette", "export", "a.cassette", "--har", "-"],
        &["cassette", "export", "a.cassette", "--har", "/dev/full"],
    ];
    let simulator = "[simulator]\naddress = \"127.0.0.1:0\"\ncontrol = \"127.0.0.1:0\"\n";
    let text = fs::read_to_string(path.join("proxy.toml")).unwrap();
    fs::write(path.join("proxy.toml"), format!("{text}{simulator}")).unwrap();
    for arguments in alone {
        let output = on_a_full_disk(path, arguments, "127.0.0.1:0").await;
        assert_eq!(output.code, Some(1), "{arguments:?}: {output:?}");
        assert!(output.stderr.contains("cannot write "), "{arguments:?}: {output:?}");
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let output = on_a_full_disk(elsewhere.path(), &["init"], "127.0.0.1:0").await;
    assert_eq!(output.code, Some(1), "{output:?}");
}

#[tokio::test]
async fn a_missing_file_exits_with_78_and_not_with_69() {
    let directory = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 3] = [
        &["replay", "nosuch"],
        &["cassette", "export", "nosuch", "--har", "-"],
        &["cassette", "import", "a.cassette", "--har", "nosuch"],
    ];
    for arguments in commands {
        let output = Process::run(directory.path(), arguments, &[]).await;
        assert_eq!(output.code, Some(78), "{arguments:?}: {output:?}");
        assert!(output.stderr.contains("nosuch: No such file or directory"), "{output:?}");
    }
}

#[tokio::test]
async fn a_store_that_can_never_be_opened_exits_with_78_and_names_its_key() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "store.path = \"password/tokens\"");
    let output = Process::run(directory.path(), &["serve"], &[]).await;
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(output.stderr.contains("store.path"), "{output:?}");
}

#[tokio::test]
async fn an_address_of_another_machine_is_not_reported_as_in_use() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "");
    for variable in ["VBC_PROXY_LISTEN_ADDRESS", "VBC_PROXY_SIMULATOR_CONTROL"] {
        let variables = [
            (variable, "192.0.2.1:0"),
            ("VBC_PROXY_LISTEN_ALLOW_ANONYMOUS", "true"),
            ("VBC_PROXY_SIMULATOR_ADDRESS", "127.0.0.1:0"),
        ];
        let arguments: &[&str] =
            if variable.contains("SIMULATOR") { &["serve", "--simulate"] } else { &["serve"] };
        let output = Process::run(directory.path(), arguments, &variables).await;
        assert_eq!(output.code, Some(78), "{output:?}");
        assert!(output.stderr.contains("this machine has no such address"), "{output:?}");
        assert!(!output.stderr.contains("another process"), "{output:?}");
    }
    let lines = "admin.address = \"unix:nowhere/admin.sock\"";
    let text = configuration(&sim.url(), &sim.url(), "").replace("admin.address = \"127.0.0.1:0\"", lines);
    lay_out(directory.path(), &text, "sim-password");
    let output = Process::run(directory.path(), &["serve"], &[]).await;
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(output.stderr.contains("create its directory first"), "{output:?}");
}

#[tokio::test]
async fn replay_and_simulate_listen_beyond_loopback_only_with_an_option() {
    let directory = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 3] = [
        &["replay", "nosuch", "--listen", "0.0.0.0:0"],
        &["simulate", "--listen", "0.0.0.0:0", "--control", "127.0.0.1:0"],
        &["simulate", "--listen", "127.0.0.1:0", "--control", "[::]:0"],
    ];
    for arguments in commands {
        let output = Process::run(directory.path(), arguments, &[]).await;
        assert_eq!((output.code, output.stdout.as_str()), (Some(64), ""), "{arguments:?}: {output:?}");
        assert!(output.stderr.contains("add --allow-anonymous"), "{output:?}");
    }
    let allowed = ["replay", "nosuch", "--listen", "0.0.0.0:0", "--allow-anonymous"];
    assert_eq!(Process::run(directory.path(), &allowed, &[]).await.code, Some(78));
}

#[tokio::test]
async fn a_configured_address_beyond_loopback_is_a_configuration_error() {
    let directory = tempfile::tempdir().unwrap();
    let variables =
        [("VBC_PROXY_SIMULATOR_ADDRESS", "127.0.0.1:0"), ("VBC_PROXY_SIMULATOR_CONTROL", "0.0.0.0:0")];
    let output = Process::run(directory.path(), &["serve", "--simulate"], &variables).await;
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(output.stderr.contains("(simulator.control)"), "{output:?}");
    assert!(output.stderr.contains("listen.allow_anonymous"), "{output:?}");
    let output = Process::run(directory.path(), &["simulate"], &variables).await;
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(output.stderr.contains("add --allow-anonymous"), "{output:?}");
    // An option overrides the variable, and errors name the option.
    let output = Process::run(directory.path(), &["simulate", "--control", "[::]:0"], &variables).await;
    assert_eq!(output.code, Some(64), "{output:?}");
    assert!(output.stderr.contains("(--control)"), "{output:?}");
    let file = directory.path().join("proxy.toml");
    fs::write(&file, "[simulator]\naddress = \"0.0.0.0:0\"\ncontrol = \"127.0.0.1:0\"\n").unwrap();
    for command in [&["simulate"][..], &["serve", "--simulate"]] {
        let output = Process::run(directory.path(), command, &[]).await;
        assert_eq!(output.code, Some(78), "{command:?}: {output:?}");
    }
}

#[tokio::test]
async fn refresh_and_unlock_mean_the_only_credential_or_the_default() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "");
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    let (address, admin) = serve.listening().await;
    assert_eq!(get(address, USERS).await.status, 200);
    let admin = admin.to_string();
    let before = sim.stats().token_requests;
    let output = run(&directory, &["refresh"], &admin).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.starts_with("credential default: refreshed (revision "), "{output:?}");
    assert_eq!(sim.stats().token_requests, before + 1);
    let output = run(&directory, &["unlock"], &admin).await;
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(0), "credential default: logins were not blocked\n")
    );
    for command in ["refresh", "unlock"] {
        let output = run(&directory, &[command, "nobody"], &admin).await;
        assert_eq!(output.code, Some(64), "{output:?}");
        assert!(output.stderr.contains("the credentials are: default"), "{output:?}");
    }
    sim.inject(Fault::status(503).on("/token")).unwrap();
    let output = run(&directory, &["refresh", "default"], &admin).await;
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{output:?}");
    assert!(output.stderr.contains("503"), "{output:?}");
    assert_eq!(serve.terminate().await.code, Some(0));
}

#[tokio::test]
async fn commands_without_a_running_proxy_say_how_to_name_another_file() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "");
    let (gone, _held) = closed_port();
    for command in ["status", "unlock", "refresh"] {
        let output = run(&directory, &[command], &gone.to_string()).await;
        assert_eq!(output.code, Some(69), "{output:?}");
        let message = format!("vbc-proxy: No proxy is running at http://{gone}");
        assert!(output.stderr.starts_with(&message) && output.stderr.contains("--config"), "{output:?}");
        let output = run(&directory, &[command], "off").await;
        assert_eq!(output.code, Some(78), "{output:?}");
        assert!(output.stderr.contains("admin.address"), "{output:?}");
    }
}

#[tokio::test]
async fn check_ends_with_a_line_that_says_whether_the_configuration_is_valid() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "");
    let output = Process::run(directory.path(), &["check"], &[]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.ends_with("\n# The configuration is valid.\n"), "{output:?}");
    let open = [("VBC_PROXY_LISTEN_ADDRESS", "0.0.0.0:0"), ("VBC_PROXY_LISTEN_ALLOW_ANONYMOUS", "true")];
    let output = Process::run(directory.path(), &["check"], &open).await;
    assert!(
        output.stdout.ends_with("\n# The configuration is valid, with 1 warning (see standard error).\n"),
        "{output:?}"
    );
    let wrong = [("VBC_PROXY_LISTEN_ADDRESS", "nowhere")];
    let output = Process::run(directory.path(), &["check"], &wrong).await;
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(
        output.stderr.ends_with("vbc-proxy: the configuration cannot be used; fix the problem above\n"),
        "{output:?}"
    );
}

#[tokio::test]
async fn a_configuration_in_another_encoding_is_reported_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let utf_16: Vec<u8> = "\u{feff}[log]\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, said) in [
        (utf_16.as_slice(), "proxy.toml: the file is UTF-16, not UTF-8; save it as UTF-8"),
        (b"# caf\xe9\n", "proxy.toml: line 1 is not UTF-8; the file may be Latin-1"),
    ] {
        fs::write(directory.path().join("proxy.toml"), bytes).unwrap();
        let output = Process::run(directory.path(), &["check"], &[]).await;
        assert_eq!(output.code, Some(78), "{output:?}");
        assert!(output.stderr.starts_with(said), "{output:?}");
    }
}

#[tokio::test]
async fn a_proxy_request_for_another_site_does_not_suggest_listen_hosts() {
    let world = World::start().await;
    let detail = |response: crate::harness::Response| {
        response.assert_problem(421, "http_request_denied");
        response.json()["detail"].as_str().unwrap().to_owned()
    };
    let message = detail(world.get("http://other.example/x").await);
    assert!(message.contains("no_proxy") && !message.contains("listen.hosts"), "{message}");
    let mut client = world.connect().await;
    client.request("GET /x HTTP/1.1\nHost: other.example", b"").await;
    let message = detail(client.response().await);
    assert!(message.contains("listen.hosts") && !message.contains("no_proxy"), "{message}");
}

#[tokio::test]
async fn help_follows_columns() {
    let directory = tempfile::tempdir().unwrap();
    for (columns, most) in [("60", 60), ("200", 100)] {
        for arguments in [&["--help"][..], &["status", "--help"], &["serve", "-h"]] {
            let output = Process::run(directory.path(), arguments, &[("COLUMNS", columns)]).await;
            let widest = output.stdout.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= most && widest > most - 12, "{columns} {arguments:?}: {widest}");
        }
    }
}

#[tokio::test]
async fn unlock_without_a_name_unlocks_the_only_credential() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "");
    sim.inject(Action::LockUser { user: "alice@vbc.prod".into(), keep_tokens: false }).unwrap();
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    let (address, admin) = serve.listening().await;
    get(address, USERS).await.assert_problem(503, "proxy_internal_error");
    sim.inject(Action::UnlockUser { user: "alice@vbc.prod".into() }).unwrap();
    let output = run(&directory, &["unlock"], &admin.to_string()).await;
    assert!(output.stdout.contains("credential default: logins are allowed again"), "{output:?}");
    assert_eq!(get(address, USERS).await.status, 200);
    assert_eq!(serve.terminate().await.code, Some(0));
}
