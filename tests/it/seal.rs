//! Encrypted token sets, as seen by a thief of the directory and by the operator.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use vbc_proxy::Simulator;

use crate::operate::post;
use crate::process::{Process, Relay, configuration, get, lay_out};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";
const KEY_FILE: &str = "store.key_file = \"store.key\"";

/// A key in the form of `openssl rand -base64 32`.
fn key(number: u8) -> String {
    let bytes: [u8; 32] = std::array::from_fn(|place| number.wrapping_mul(89).wrapping_add(place as u8));
    format!("{}\n", STANDARD.encode(bytes))
}

fn write_keys(directory: &Path, keys: &str) {
    let path = directory.join("store.key");
    fs::write(&path, keys).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

async fn serve(directory: &Path) -> (Process, SocketAddr) {
    let mut serve = Process::start(directory, &["serve"], &[]);
    let (address, _) = serve.listening().await;
    (serve, address)
}

/// Starts the proxy, sends one request, and stops it.
async fn live(directory: &Path) {
    let (serve, address) = serve(directory).await;
    assert_eq!(get(address, USERS).await.status, 200);
    let output = serve.terminate().await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(!output.stderr.contains("WARN"), "{}", output.stderr);
}

fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(directory.join("tokens")).unwrap();
    entries.map(|entry| entry.unwrap().path()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// The record of the credential.
fn record(directory: &Path) -> PathBuf {
    let is_record = |path: &PathBuf| path.to_string_lossy().contains("/default.");
    files(directory).into_keys().find(is_record).expect("a record")
}

/// The number of tokens that can be found in the directory: plain, in hexadecimal, or inside
/// base64.
fn readable(directory: &Path, relay: &Relay) -> usize {
    let all: Vec<u8> = files(directory).into_values().flatten().collect();
    let lower = all.to_ascii_lowercase();
    let found = |token: &str| {
        let hex: String = token.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut forms = vec![token.to_owned(), token[..token.len() / 2].to_owned(), hex];
        for pad in 0..3 {
            let encoded = STANDARD.encode(format!("{}{token}", "x".repeat(pad)));
            forms.push(encoded[4..encoded.len() - 4].to_owned());
        }
        forms.iter().any(|form| {
            memmem::find(&all, form.as_bytes()).is_some()
                || memmem::find(&lower, form.to_ascii_lowercase().as_bytes()).is_some()
        })
    };
    let issued = relay.issued();
    assert!(!issued.is_empty());
    issued.iter().flat_map(|issued| [&issued.access, &issued.refresh]).filter(|token| found(token)).count()
}

#[tokio::test]
async fn no_token_is_readable_across_refreshes_kills_restarts_and_new_keys() {
    let sim = Simulator::start().await.unwrap();
    let relay = Relay::to(sim.address()).await;
    let home = tempfile::tempdir().unwrap();
    let directory = home.path();
    let with = |lines: &str| configuration(&sim.url(), &relay.token_url(), lines);
    lay_out(directory, &with(""), "sim-password");
    live(directory).await;
    assert_eq!(readable(directory, &relay), 2, "the search finds tokens that are not encrypted");
    fs::copy(record(directory), directory.join("tokens/default.json.bak")).unwrap();

    lay_out(directory, &with(KEY_FILE), "sim-password");
    write_keys(directory, &key(1));
    for kill in 0..8_u32 {
        let (serve, address) = serve(directory).await;
        assert_eq!(readable(directory, &relay), 0, "kill {kill}");
        assert_eq!(get(address, USERS).await.status, 200);
        let (arrived, responded) = relay.counts();
        sim.revoke_all_access();
        let asking = tokio::spawn(async move {
            let Some(mut client) = crate::harness::Client::try_connect(address).await else { return };
            client.try_get(USERS).await;
        });
        match kill % 4 {
            0 => relay.arrived(arrived).await,
            1 => relay.responded(responded).await,
            2 => {
                relay.responded(responded).await;
                for _ in 0..kill * 200 {
                    tokio::task::yield_now().await;
                }
            }
            _ => assert_eq!(get(address, USERS).await.status, 200),
        }
        serve.kill();
        asking.await.unwrap();
        relay.quiet().await;
        assert_eq!(readable(directory, &relay), 0, "kill {kill}");
    }
    live(directory).await;
    let logins = sim.stats().logins.ok;
    for keys in [key(2) + &key(1), key(2), format!("# new\n{}\n# old\n{}", key(3), key(2)), key(3)] {
        write_keys(directory, &keys);
        live(directory).await;
        assert_eq!(readable(directory, &relay), 0);
    }
    assert_eq!(sim.stats().logins.ok, logins, "a new key costs no login");
    for (path, content) in files(directory) {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
        let sealed = memmem::find(&content, b"\"sealed-1\"").is_some();
        assert!(sealed || path.ends_with(".lock"), "{}", path.display());
    }
}

/// Serves with an unusable record, and asserts that no file changes. Returns the text of the
/// response.
async fn held(directory: &Path) -> String {
    let before = files(directory);
    let (serve, address) = serve(directory).await;
    let response = get(address, USERS).await;
    response.assert_problem(503, "proxy_internal_error");
    let output = serve.terminate().await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("cannot read the stored record"), "{}", output.stderr);
    assert_eq!(files(directory), before, "no file may change");
    response.json()["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_record_whose_key_is_missing_is_kept_and_the_remedy_works() {
    let sim = Simulator::start().await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let directory = home.path();
    let with = |lines: &str| configuration(&sim.url(), &format!("{}/token", sim.url()), lines);
    lay_out(directory, &with(KEY_FILE), "sim-password");
    write_keys(directory, &key(1));
    live(directory).await;
    let path = record(directory);
    let text = fs::read_to_string(&path).unwrap();
    let id = serde_json::from_str::<serde_json::Value>(&text).unwrap()["key"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 8);

    write_keys(directory, &key(2));
    let message = held(directory).await;
    let why = format!("is encrypted with key {id}, which is not in store.key_file; put that key back");
    assert!(message.contains(&why) && message.contains("/default."), "{message}");
    let check = Process::run(directory, &["check"], &[]).await;
    assert_eq!(check.code, Some(0), "{check:?}");
    assert!(check.stderr.contains(&why), "{}", check.stderr);

    lay_out(directory, &with(""), "sim-password");
    let message = held(directory).await;
    let why = format!("is encrypted with key {id}, and no key is configured; set store.key_file");
    assert!(message.contains(&why), "{message}");

    lay_out(directory, &with(KEY_FILE), "sim-password");
    write_keys(directory, &key(1));
    live(directory).await;
    assert_eq!(sim.stats().logins.ok, 1, "it was never needed again");

    // The key is lost. The operator moves the record away, and `unlock` moves the login history.
    write_keys(directory, &key(2));
    let mut serve = Process::start(directory, &["serve"], &[]);
    let (address, admin) = serve.listening().await;
    get(address, USERS).await.assert_problem(503, "proxy_internal_error");
    fs::rename(&path, directory.join("lost")).unwrap();
    let unlocked = post(admin, "/credentials/default/unlock", "").await;
    assert_eq!(unlocked.status, 200, "{unlocked:?}");
    assert_eq!(get(address, USERS).await.status, 200);
    let output = serve.terminate().await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("moved out of the way"), "{}", output.stderr);
    let aside = files(directory).into_keys().find(|path| path.to_string_lossy().ends_with(".damaged"));
    assert!(aside.is_some_and(|path| path.to_string_lossy().contains("login-")));
    assert_eq!((sim.stats().logins.ok, sim.stats().logins.failed), (2, 0));
}

#[tokio::test]
async fn a_broken_key_file_is_found_by_check_and_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let lines = configuration("http://127.0.0.1:1", "http://127.0.0.1:1/token", KEY_FILE);
    lay_out(directory.path(), &lines, "sim-password");
    write_keys(directory.path(), &format!("{}hunter2\n", key(1)));
    for command in ["check", "serve"] {
        let output = Process::run(directory.path(), &[command], &[]).await;
        assert_eq!(output.code, Some(78), "{output:?}");
        assert!(output.stderr.contains("store.key_file: line 2 of "), "{}", output.stderr);
        assert!(
            output.stderr.contains("(umask 077; openssl rand -base64 32 > store.key)"),
            "{}",
            output.stderr
        );
        assert!(!format!("{output:?}").contains("hunter2"), "{output:?}");
    }
    write_keys(directory.path(), &key(1));
    let output = Process::run(directory.path(), &["check"], &[]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("key_file = "), "{}", output.stdout);
    assert!(!output.stdout.contains(key(1).trim()), "{}", output.stdout);
}
