//! Failures of the token store: damaged records, no space, no descriptors, a directory that is not
//! writable.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use vbc_base::secret::fingerprint;
use vbc_proxy::Simulator;

use crate::harness::{Client, within};
use crate::operate::post;
use crate::process::{Process, Relay, configuration, get, lay_out};
use crate::restart::stored;

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";
/// Allows fewer descriptors than [`FLOOD`] opens connections.
const FEW: &str = "ulimit -n 256";
const FLOOD: usize = 300;

async fn serve(directory: &Path) -> (Process, SocketAddr, SocketAddr) {
    let mut serve = Process::start(directory, &["serve"], &[]);
    let (address, admin) = serve.listening().await;
    (serve, address, admin)
}

/// A directory with a proxy.toml for this simulator; `lines` are added to it.
fn home(sim: &Simulator, lines: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let text = configuration(&sim.url(), &format!("{}/token", sim.url()), lines);
    lay_out(home.path(), &text, "sim-password");
    home
}

/// The record of the credential.
fn record(directory: &Path) -> PathBuf {
    let entries = fs::read_dir(directory.join("tokens")).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    paths.find(|path| path.to_string_lossy().contains("/default.")).expect("a record")
}

async fn credential(admin: SocketAddr, name: &str) -> Value {
    let status = get(admin, &format!("/status.json?credential={name}")).await.json();
    let credentials = status["credentials"].as_array().unwrap();
    credentials.iter().find(|one| one["name"] == name).unwrap().clone()
}

async fn detail(address: SocketAddr) -> String {
    let response = get(address, USERS).await;
    response.assert_problem(503, "proxy_internal_error");
    response.json()["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_damaged_record_is_moved_aside_if_there_is_a_password() {
    let sim = Simulator::start().await.unwrap();
    let home = home(&sim, "");
    let directory = home.path();
    let (first, address, _) = serve(directory).await;
    assert_eq!(get(address, USERS).await.status, 200);
    assert_eq!(first.terminate().await.code, Some(0));
    let path = record(directory);
    let damaged = fs::read_to_string(&path).unwrap()[..40].to_owned();
    fs::write(&path, &damaged).unwrap();

    let check = Process::run(directory, &["check"], &[]).await;
    assert_eq!(check.code, Some(0), "{check:?}");
    assert!(check.stderr.contains("warning: credential default: ") && check.stderr.contains("is damaged"));
    assert_eq!(fs::read_to_string(&path).unwrap(), damaged, "check changes nothing");

    let (second, address, _) = serve(directory).await;
    assert_eq!(get(address, USERS).await.status, 200);
    let output = second.terminate().await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("moved out of the way"), "{}", output.stderr);
    let aside = format!("{}.damaged", path.display());
    assert_eq!(fs::read_to_string(aside).unwrap(), damaged);
    assert_eq!((sim.stats().logins.ok, sim.stats().logins.failed), (2, 0));
}

#[tokio::test]
async fn a_damaged_record_blocks_only_its_credential_and_unlock_reads_it_again() {
    let sim = Simulator::start().await.unwrap();
    let home = home(
        &sim,
        "credentials.crm.grant = \"authorization_code\"\n\
         credentials.crm.client_id = \"sim-client\"\n\
         credentials.crm.client_secret = \"sim-secret\"\n",
    );
    let directory = home.path();
    let identity = fingerprint(&[&format!("{}/token", sim.url()), "sim-client", "", "openid"]);
    let path = directory.join(format!("tokens/crm.{}.json", &identity[..8]));
    fs::create_dir(directory.join("tokens")).unwrap();
    fs::write(&path, "{").unwrap();

    let (serve, address, admin) = serve(directory).await;
    assert_eq!(get(address, USERS).await.status, 200);
    let ready = get(admin, "/ready").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    assert!(ready.text().contains("is damaged"), "{ready:?}");
    let held = get(admin, "/ready?credential=crm").await;
    assert_eq!(held.status, 503, "{held:?}");
    let trouble = credential(admin, "crm").await["trouble"].as_str().unwrap().to_owned();
    for part in ["is damaged", "tokens/crm.", "`vbc-proxy unlock crm`", "`vbc-proxy login crm`"] {
        assert!(trouble.contains(part) && held.text().contains(part), "{part}: {trouble}");
    }
    let unlock = post(admin, "/credentials/crm/unlock", "").await;
    assert_eq!(unlock.status, 503, "{unlock:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "{", "unlock must not change the record");

    fs::rename(&path, directory.join("damaged")).unwrap();
    assert_eq!(post(admin, "/credentials/crm/unlock", "").await.status, 200);
    // A refresh reports that an interactive login is needed.
    assert_eq!(post(admin, "/credentials/crm/refresh", "").await.status, 503);
    assert_eq!(credential(admin, "crm").await["login_needed"], true);
    assert_eq!(serve.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_store_that_cannot_be_written_to_is_found_at_the_start() {
    let sim = Simulator::start().await.unwrap();
    // Nobody can create files there, not even root.
    for path in ["/sys/kernel", "/sys/kernel/vbc-proxy/tokens"] {
        let home = home(&sim, &format!("store.path = \"{path}\""));
        for command in ["serve", "check"] {
            let output = Process::run(home.path(), &[command], &[]).await;
            assert_eq!(output.code, Some(78), "{command} {path}: {output:?}");
            let message = format!("store.path: cannot write to {path}");
            assert!(output.stderr.contains(&message), "{}", output.stderr);
        }
    }
    assert_eq!(sim.stats().token_requests, 0);
}

#[tokio::test]
async fn without_space_the_stored_token_serves_and_no_grant_is_spent() {
    let sim = Simulator::start().await.unwrap();
    let home = home(&sim, "");
    let (first, address, admin) = serve(home.path()).await;
    assert_eq!(get(address, USERS).await.status, 200);
    first.limit_file_size(Some(0));
    assert_eq!(get(address, USERS).await.status, 200, "the token lives");
    sim.revoke_all_access();
    for _ in 0..3 {
        let message = detail(address).await;
        assert!(
            message.contains("cannot write to the token store: ") && message.contains("file too large"),
            "{message}"
        );
    }
    assert_eq!(sim.stats().token_requests, 1, "no refresh token is spent");
    assert!(get(admin, "/ready").await.text().contains("file too large"));
    let status = credential(admin, "default").await;
    assert!(status["trouble"].as_str().unwrap().contains("file too large"), "{status}");
    assert_eq!((&status["unsaved"], &status["usable"]), (&false.into(), &false.into()), "{status}");
    let unlock = post(admin, "/credentials/default/unlock", "").await;
    assert!(unlock.text().contains("file too large"), "{unlock:?}");
    first.limit_file_size(None);
    post(admin, "/credentials/default/unlock", "").await;
    assert_eq!(get(address, USERS).await.status, 200);
    assert_eq!(credential(admin, "default").await["trouble"], Value::Null);
    assert_eq!(first.terminate().await.code, Some(0));

    let mut second = Process::start_after(home.path(), "ulimit -f 0; trap '' XFSZ", &["serve"]);
    let (address, _) = second.listening().await;
    assert_eq!(get(address, USERS).await.status, 200);
    let output = second.terminate().await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("cannot write to the token store"), "{}", output.stderr);
    let stats = sim.stats();
    assert_eq!((stats.refreshes.ok, stats.refresh_reuse, stats.logins.ok), (1, 0, 1));
}

#[tokio::test]
async fn a_stop_with_tokens_that_could_not_be_stored_exits_1_and_says_so() {
    let sim = Simulator::start().await.unwrap();
    let relay = Relay::to(sim.address()).await;
    let home = tempfile::tempdir().unwrap();
    let directory = home.path();
    lay_out(directory, &configuration(&sim.url(), &relay.token_url(), ""), "sim-password");
    let (serve, address, admin) = serve(directory).await;
    assert_eq!(get(address, USERS).await.status, 200);
    let (arrived, _) = relay.counts();
    let gate = relay.hold();
    sim.revoke_all_access();
    let asking = tokio::spawn(get(address, USERS));
    relay.arrived(arrived).await;
    // Takes the directory away, with the files that the store has reserved.
    fs::rename(directory.join("tokens"), directory.join("away")).unwrap();
    gate.add_permits(10);
    assert_eq!(asking.await.unwrap().status, 200, "a token that cannot be stored is used");
    let status = credential(admin, "default").await;
    assert_eq!(status["unsaved"], true, "{status}");
    assert!(status["trouble"].as_str().unwrap().contains("no such file or directory"), "{status}");
    let output = serve.terminate().await;
    assert_eq!(output.code, Some(1), "{output:?}");
    let message = "could not save the latest token set, so it is lost when this process ends";
    assert!(output.stderr.contains(message), "{}", output.stderr);
}

/// Opens connections that each get a response and stay open, until one gets none.
async fn flood(address: SocketAddr, target: &str, most: usize) -> Vec<Client> {
    let mut held = Vec::new();
    while held.len() < most
        && let Some(mut client) = Client::try_connect(address).await
        && let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(300), client.try_get(target)).await
    {
        held.push(client);
    }
    held
}

#[tokio::test]
async fn without_descriptors_a_kill_loses_no_refreshed_tokens() {
    let sim = Simulator::start().await.unwrap();
    let relay = Relay::to(sim.address()).await;
    let home = tempfile::tempdir().unwrap();
    let directory = home.path();
    lay_out(directory, &configuration(&sim.url(), &relay.token_url(), ""), "sim-password");
    for kill in 0..4 {
        let mut serve = Process::start_after(directory, FEW, &["serve"]);
        let (address, admin) = serve.listening().await;
        let mut client = Client::connect(address).await;
        let first = client.try_get(USERS).await.map(|response| response.status);
        assert_eq!(first, Some(200), "kill {kill}");
        let (arrived, _) = relay.counts();
        let gate = relay.hold();
        sim.revoke_all_access();
        let asking = tokio::spawn(async move { client.try_get(USERS).await });
        relay.arrived(arrived).await;
        // During the exchange, clients and operators take all descriptors.
        let operators = flood(admin, "/live", FLOOD / 4).await;
        let clients = flood(address, "http://elsewhere.example/", FLOOD).await;
        let more = flood(admin, "/live", FLOOD).await;
        assert!(clients.len() > 20 && operators.len() > 5, "{} {}", clients.len(), operators.len());
        // This also takes the descriptors that the listeners' limits keep free.
        serve.take_descriptors();
        gate.add_permits(10);
        within(async {
            while relay.issued().len() < kill + 2
                || stored(directory).as_ref() != relay.issued().last().map(|issued| &issued.refresh)
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
        serve.kill();
        let _ = asking.await;
        drop((operators, clients, more));
        relay.quiet().await;
    }
    let (serve, address, _) = serve(directory).await;
    assert_eq!(get(address, USERS).await.status, 200);
    assert_eq!(serve.terminate().await.code, Some(0));
    let stats = sim.stats();
    assert_eq!((stats.logins.ok, stats.refresh_reuse), (1, 0), "{:?}", stats.refreshes);
}
