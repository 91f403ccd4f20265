//! Many credentials in one process: each has its own user and its own token, and takes little
//! memory.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use vbc_proxy::Simulator;
use vbc_simulator::{Identity, SimulatorOptions};

use crate::harness::Client;
use crate::process::{Process, get, lay_out};

const MANY: usize = 10_000;

/// The number of credentials whose memory is measured.
const WEIGHED: usize = 2_000;

/// The most memory that a credential with its token may take, in bytes. The goal is 4 KiB,
/// including 1 KiB for a token of this simulator.
const EACH: usize = 8 * 1024;

const LISTENERS: &str = "listen.address = \"127.0.0.1:0\"\nadmin.address = \"127.0.0.1:0\"\n";

/// The names of `count` credentials: `default` and others.
fn names(count: usize) -> Vec<String> {
    let others = (1..count).map(|number| format!("c{number:04}"));
    std::iter::once("default".to_owned()).chain(others).collect()
}

/// Gets a token for every credential, eight at a time. Without this, the first logins take more
/// than a minute, because a start spreads them to spare the token endpoint.
async fn ask_for_all(admin: SocketAddr, names: &[String]) {
    let lanes = names.chunks(names.len().div_ceil(8)).map(|names| async move {
        let mut client = Client::connect(admin).await;
        for name in names {
            client.request(&format!("POST /credentials/{name}/refresh HTTP/1.1"), b"").await;
            let response = client.response().await;
            assert_eq!(response.status, 200, "{response:?}");
        }
    });
    futures_util::future::join_all(lanes).await;
}

/// The number of credentials with a usable token.
async fn usable(admin: SocketAddr) -> usize {
    let metrics = get(admin, "/metrics").await;
    let gauges = metrics.text().lines().filter(|line| line.starts_with("vbc_proxy_token_usable{"));
    gauges.filter(|line| line.ends_with(" 1")).count()
}

#[tokio::test]
async fn ten_thousand_simulated_credentials_are_ten_thousand_users() {
    let directory = tempfile::tempdir().unwrap();
    let names = names(MANY);
    let mut file = LISTENERS.to_owned();
    file.push_str("simulator.address = \"127.0.0.1:0\"\nsimulator.control = \"127.0.0.1:0\"\n");
    for name in &names {
        writeln!(file, "[credentials.{name}]").unwrap();
    }
    lay_out(directory.path(), &file, "");
    let mut serve = Process::start(directory.path(), &["serve", "--simulate"], &[]);
    let (_, control) = serve.simulating().await;
    let (_, admin) = serve.listening().await;

    ask_for_all(admin, &names).await;
    assert_eq!(usable(admin).await, MANY);
    assert_eq!(get(admin, "/ready").await.status, 200);
    let stats = get(control, "/__sim/stats").await.json();
    // If all had the same user, each login would return the first one's tokens or revoke those of
    // others.
    assert_eq!(stats["logins"]["failed"], 0, "{stats}");
    let whose = get(admin, "/status.json").await.json();
    let whose = whose["credentials"].as_array().unwrap().iter();
    let whose: std::collections::BTreeSet<_> = whose.map(|one| one["subject"].as_str().unwrap()).collect();
    assert_eq!(whose.len(), MANY);
    assert!(whose.contains("alice@vbc.prod") && whose.contains("c9999@vbc.prod"));
    assert_eq!(serve.terminate().await.code, Some(0));
}

/// Resident memory of a proxy with `count` credentials that all have a token, in bytes.
async fn resident(directory: &Path, sim: &Simulator, count: usize) -> usize {
    let names = names(count);
    let mut file = format!(
        "{LISTENERS}store.kind = \"memory\"\nupstream.url = \"{url}\"\noauth.token_url = \"{url}/token\"\n",
        url = sim.url()
    );
    for name in &names {
        let user = if name == "default" { "alice" } else { name };
        writeln!(
            file,
            "[credentials.{name}]\nclient_id = \"sim-client\"\nclient_secret = \"sim-secret\"\n\
             username = \"{user}\"\npassword = \"sim-password\""
        )
        .unwrap();
    }
    lay_out(directory, &file, "");
    let mut serve = Process::start(directory, &["serve"], &[]);
    let (_, admin) = serve.listening().await;
    ask_for_all(admin, &names).await;
    assert_eq!(usable(admin).await, count);
    let resident = serve.resident();
    assert_eq!(serve.terminate().await.code, Some(0));
    resident
}

#[tokio::test]
async fn a_credential_with_its_token_takes_little_memory() {
    let identities = names(WEIGHED).iter().map(|name| Identity::demo_user(name)).collect();
    // The simulator runs in this process, so that the child's memory is only the proxy's.
    let sim = Simulator::bind(SimulatorOptions { identities, ..SimulatorOptions::default() }).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let one = resident(directory.path(), &sim, 1).await;
    let many = resident(directory.path(), &sim, WEIGHED).await;
    let each = many.saturating_sub(one) / (WEIGHED - 1);
    assert!(each < EACH, "{each} bytes each: {one} with one, {many} with {WEIGHED}");
}
