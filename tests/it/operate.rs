//! Operations through the admin listener, and requests that must not trigger them.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use vbc_proxy::Simulator;
use vbc_simulator::{Action, Fault};

use crate::harness::{Client, Response, World, within};
use crate::process::{Process, configuration, get, lay_out};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";

/// Sends a POST to the admin listener, as the command line does.
pub(crate) async fn post(admin: SocketAddr, target: &str, body: &str) -> Response {
    let mut client = Client::connect(admin).await;
    let head =
        format!("POST {target} HTTP/1.1\nContent-Type: application/json\nContent-Length: {}", body.len());
    client.request(&head, body.as_bytes()).await;
    client.response().await
}

#[tokio::test]
async fn an_operator_can_refresh_a_credential() {
    let world = World::start().await;
    world.ready().await;
    let before = world.sim.stats().token_requests;
    let response = post(world.admin, "/credentials/default/refresh", "").await;
    assert_eq!((response.status, response.header("cache-control")), (200, Some("no-store")), "{response:?}");
    let response = response.json();
    assert_eq!(response["credential"], "default");
    assert!(response["revision"].as_u64().unwrap() > 1, "{response}");
    assert_eq!(world.sim.stats().token_requests, before + 1);
    assert_eq!(world.get(USERS).await.status, 200);

    world.sim.inject(Fault::status(503).on("/token")).unwrap();
    let response = post(world.admin, "/credentials/default/refresh", "").await;
    assert_eq!(
        (response.status, response.json()["type"].as_str()),
        (503, Some("urn:vbc-proxy:no-usable-token"))
    );
    assert!(response.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(world.get(USERS).await.status, 200, "the token there was is still in use");
}

#[tokio::test]
async fn a_request_for_an_unknown_credential_gets_the_list_of_credentials() {
    let world = World::start().await;
    for action in ["refresh", "unlock", "login"] {
        let response = post(world.admin, &format!("/credentials/nobody/{action}"), "").await;
        assert_eq!(response.json()["type"], "urn:vbc-proxy:no-such-credential");
        let detail = response.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!(
            (response.status, detail.ends_with("the credentials are: default")),
            (404, true),
            "{detail}"
        );
    }
    assert_eq!(world.admin("/status.json?credential=nobody").await.status, 404);
    let response = post(world.admin, "/credentials/default/login", "").await;
    assert_eq!(
        (response.status, response.json()["type"].as_str()),
        (409, Some("urn:vbc-proxy:not-for-people"))
    );
}

#[tokio::test]
async fn after_unlock_a_login_is_tried_at_once() {
    let world = World::start().await;
    world.ready().await;
    world.sim.inject(Action::LockUser { user: "alice@vbc.prod".into(), keep_tokens: false }).unwrap();
    world.get(USERS).await.assert_problem(503, "proxy_internal_error");
    world.sim.inject(Action::UnlockUser { user: "alice@vbc.prod".into() }).unwrap();
    world.get(USERS).await.assert_problem(503, "proxy_internal_error");
    assert_eq!(world.admin("/status.json").await.json()["credentials"][0]["brake"], true);
    let response = post(world.admin, "/credentials/default/unlock", "").await;
    assert_eq!((response.status, response.json()), (200, json!({ "credential": "default", "was_on": true })));
    assert_eq!(world.get(USERS).await.status, 200);
    assert_eq!(world.admin("/status.json").await.json()["credentials"][0]["brake"], false);
    let response = post(world.admin, "/credentials/default/unlock", "").await;
    assert_eq!(response.json()["was_on"], false);
}

#[tokio::test]
async fn foreign_hosts_and_foreign_pages_are_refused() {
    let world = World::start().await;
    world.ready().await;
    let before = world.sim.stats().token_requests;
    for target in ["/live", "/ready", "/status.json", "/metrics", "/login", "/callback", "/nothing"] {
        let mut client = Client::connect(world.admin).await;
        client.request(&format!("GET {target} HTTP/1.1\nHost: rebound.example:8081"), b"").await;
        let response = client.response().await;
        assert_eq!(
            (response.status, response.json()["type"].as_str()),
            (421, Some("urn:vbc-proxy:foreign-host"))
        );
    }
    for target in [
        "/credentials/default/refresh",
        "/credentials/default/unlock",
        "/credentials/default/login",
        "/credentials/default/login/answer",
        "/login/default/confirm",
    ] {
        for from in [
            "Origin: http://evil.example",
            "Origin: null",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
        ] {
            // The proxy's own form may have this origin. Then its token and its cookie decide.
            if (target, from) == ("/login/default/confirm", "Origin: null") {
                continue;
            }
            let mut client = Client::connect(world.admin).await;
            client
                .request(&format!("POST {target} HTTP/1.1\nHost: localhost\n{from}\nContent-Length: 0"), b"")
                .await;
            let response = client.response().await;
            assert_eq!(
                (response.status, response.json()["type"].as_str()),
                (403, Some("urn:vbc-proxy:cross-site-request"))
            );
        }
        let response = world.admin(target).await;
        assert_eq!(
            (response.status, response.header("content-type")),
            (405, Some("application/problem+json"))
        );
    }
    assert_eq!(world.sim.stats().token_requests, before);
    // A form of another site can send `text/plain`, so the proxy does not read such a body.
    let mut client = Client::connect(world.admin).await;
    let head = "POST /credentials/default/login/answer HTTP/1.1\nContent-Type: text/plain";
    client.request(head, br#"{"login": "x", "answer": "y"}"#).await;
    assert_eq!(client.response().await.json()["type"], "urn:vbc-proxy:malformed-request");
}

/// A directory with the proxy.toml of a proxy in front of the simulator. The admin listener is on
/// a unix socket.
fn on_socket(sim: &Simulator) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let text = configuration(&sim.url(), &format!("{}/token", sim.url()), "")
        .replace("admin.address = \"127.0.0.1:0\"", "admin.address = \"unix:admin.sock\"");
    lay_out(directory.path(), &text, "sim-password");
    directory
}

#[tokio::test]
async fn the_admin_listener_can_be_a_unix_socket() {
    let sim = Simulator::start().await.unwrap();
    let directory = on_socket(&sim);
    let path = directory.path().join("admin.sock");
    // A socket file left by a crash.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    let line = serve.line().await;
    let (address, admin) =
        line.strip_prefix("vbc-proxy listening on http://").unwrap().split_once(" (admin ").unwrap();
    assert!(admin.starts_with("unix:") && admin.ends_with("admin.sock)"), "{line}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(get(address.parse().unwrap(), USERS).await.status, 200);

    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream
        .write_all(b"GET /live HTTP/1.1\r\nHost: whatever.example\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut response = String::new();
    within(stream.read_to_string(&mut response)).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("live\n"), "{response}");

    let output = Process::run(directory.path(), &["status"], &[]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("credential default\n  token      usable for"), "{output:?}");
    assert!(output.stdout.contains("\n  user       alice@vbc.prod\n"), "{output:?}");
    let output = Process::run(directory.path(), &["status", "--json"], &[]).await;
    let status: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(status["credentials"][0]["scope"], "openid");

    // A second proxy leaves the first alone.
    let output = Process::run(directory.path(), &["serve"], &[]).await;
    assert_eq!(output.code, Some(69), "{output:?}");
    assert!(output.stderr.contains("admin.sock (admin.address): another process is using it"), "{output:?}");
    assert_eq!(Process::run(directory.path(), &["status"], &[]).await.code, Some(0));

    assert_eq!(serve.terminate().await.code, Some(0));
    assert!(!path.exists());
    let output = Process::run(directory.path(), &["status"], &[]).await;
    assert_eq!(output.code, Some(69), "{output:?}");
}

#[tokio::test]
async fn unlock_on_the_command_line_unlocks_a_credential_of_a_running_proxy() {
    let sim = Simulator::start().await.unwrap();
    let directory = on_socket(&sim);
    let output = Process::run(directory.path(), &["unlock", "default"], &[]).await;
    assert_eq!(output.code, Some(69), "{output:?}");
    assert!(output.stderr.contains("No proxy is running at unix:"), "{output:?}");

    sim.inject(Action::LockUser { user: "alice@vbc.prod".into(), keep_tokens: false }).unwrap();
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    let line = serve.line().await;
    let address = line.strip_prefix("vbc-proxy listening on http://").unwrap().split(' ').next().unwrap();
    let address: SocketAddr = address.parse().unwrap();
    get(address, USERS).await.assert_problem(503, "proxy_internal_error");
    let output = Process::run(directory.path(), &["status"], &[]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains("brake      ON"), "{output:?}");
    assert!(output.stdout.contains("vbc-proxy unlock default"), "{output:?}");
    sim.inject(Action::UnlockUser { user: "alice@vbc.prod".into() }).unwrap();
    let output = Process::run(directory.path(), &["unlock", "default"], &[]).await;
    assert_eq!(
        (output.code, output.stdout.contains("logins are allowed again")),
        (Some(0), true),
        "{output:?}"
    );
    assert_eq!(get(address, USERS).await.status, 200);
    let output = Process::run(directory.path(), &["unlock", "nobody"], &[]).await;
    assert_eq!(output.code, Some(64), "{output:?}");
    assert!(output.stderr.contains("the credentials are: default"), "{output:?}");
    assert_eq!(serve.terminate().await.code, Some(0));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn threads_outside_the_data_plane_have_a_lower_priority() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = "http://127.0.0.1:1";
    lay_out(directory.path(), &configuration(nowhere, nowhere, "store.kind = \"memory\""), "sim-password");
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    let (_, admin) = serve.listening().await;
    // The control runtime responds, from its own threads.
    assert_eq!(get(admin, "/live").await.status, 200);
    // A thread sets its name and its niceness only after it has started.
    let as_it_should_be = || {
        let threads = serve.niceness();
        let of = |name: &str| -> Vec<i32> {
            threads.iter().filter(|(found, _)| found.starts_with(name)).map(|(_, nice)| *nice).collect()
        };
        let (main, others) = (of("vbc-proxy"), of("tokio-rt"));
        main.len() == 1
            && (of("worker-"), of("memory")) == (vec![main[0]; 2], vec![main[0]])
            && others.len() >= 2
            && others.iter().all(|nice| *nice == (main[0] + 10).min(19))
    };
    within(async {
        while !as_it_should_be() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
