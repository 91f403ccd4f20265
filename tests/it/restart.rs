//! State that survives a restart: refresh tokens, refused passwords and locks.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::task::JoinHandle;
use vbc_proxy::Simulator;
use vbc_simulator::{Action, Fault};

use crate::harness::{Client, within};
use crate::process::{Process, Relay, configuration, get, lay_out};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";

/// The number of kills.
const KILLS: usize = 100;

/// One of this many lives is patient: only a 401 triggers its next refresh, and the following life
/// finds a young token.
const PATIENT_LIVES: usize = 4;

async fn serve(directory: &Path) -> (Process, SocketAddr) {
    let mut serve = Process::start(directory, &["serve"], &[]);
    let (address, _) = serve.listening().await;
    (serve, address)
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_across_requests_and_restarts_until_it_is_changed() {
    let sim = Simulator::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let text = configuration(&sim.url(), &format!("{}/token", sim.url()), "");
    lay_out(directory.path(), &text, "wrong-password");
    for round in 0..6 {
        let (serve, address) = serve(directory.path()).await;
        for _ in 0..30 {
            let response = get(address, USERS).await;
            response.assert_problem(503, "proxy_internal_error");
            assert!(response.header("retry-after").is_some());
            assert!(response.text().contains("VBC rejected the user name or password"), "{response:?}");
        }
        let output = if round % 2 == 0 { serve.terminate().await } else { serve.kill() };
        assert!(!output.stderr.contains("wrong-password"));
        let stats = sim.stats();
        assert_eq!((stats.logins.ok, stats.logins.failed, stats.token_requests), (0, 1, 1), "round {round}");
    }
    // Another wrong password is one more attempt.
    fs::write(directory.path().join("password"), "also-wrong").unwrap();
    for _ in 0..2 {
        let (serve, address) = serve(directory.path()).await;
        get(address, USERS).await.assert_problem(503, "proxy_internal_error");
        serve.kill();
        assert_eq!(sim.stats().logins.failed, 2);
    }
    // A third password within 35 minutes waits, unless an operator allows it.
    fs::write(directory.path().join("password"), "sim-password").unwrap();
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    let (address, admin) = serve.listening().await;
    let response = get(address, USERS).await;
    assert!(response.text().contains("two other passwords of this user"), "{response:?}");
    assert_eq!(sim.stats().token_requests, 2);
    let mut client = Client::connect(admin).await;
    client.request("POST /credentials/default/unlock HTTP/1.1", b"").await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(get(address, USERS).await.status, 200);
    assert_eq!(serve.terminate().await.code, Some(0));
    let stats = sim.stats();
    assert_eq!((stats.logins.ok, stats.logins.failed, stats.lock_events), (1, 2, 0));
}

#[tokio::test]
async fn a_lock_is_remembered_across_restarts() {
    let sim = Simulator::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let text = configuration(&sim.url(), &format!("{}/token", sim.url()), "");
    lay_out(directory.path(), &text, "sim-password");
    sim.inject(Action::LockUser { user: "alice@vbc.prod".into(), keep_tokens: false }).unwrap();
    for _ in 0..5 {
        let (serve, address) = serve(directory.path()).await;
        let response = get(address, USERS).await;
        response.assert_problem(503, "proxy_internal_error");
        let wait: u64 = response.header("retry-after").unwrap().parse().unwrap();
        assert!((1900..=2100).contains(&wait), "{wait}");
        serve.kill();
        assert_eq!(sim.stats().token_requests, 1);
    }
}

#[tokio::test]
async fn a_kill_during_the_first_login_costs_one_more_login() {
    let sim = Simulator::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let text = configuration(&sim.url(), &format!("{}/token", sim.url()), "");
    lay_out(directory.path(), &text, "sim-password");
    let hang = sim.inject(Fault::hang().on("/token")).unwrap();
    let (killed, _) = serve(directory.path()).await;
    within(async {
        while sim.stats().token_requests == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    killed.kill();
    sim.remove_fault(hang);
    let (serve, address) = serve(directory.path()).await;
    assert_eq!(get(address, USERS).await.status, 200);
    assert_eq!(serve.terminate().await.code, Some(0));
    assert_eq!(sim.stats().token_requests, 2);
}

/// Clients that send requests without a pause. They stop when the proxy is gone.
struct Load {
    received: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    fn on(address: SocketAddr) -> Self {
        let (received, stop): (Arc<AtomicUsize>, Arc<AtomicBool>) = Default::default();
        let tasks = (0..3).map(|_| {
            let (received, stop) = (Arc::clone(&received), Arc::clone(&stop));
            tokio::spawn(async move {
                let Some(mut client) = Client::try_connect(address).await else { return };
                while !stop.load(Ordering::SeqCst) {
                    let Some(response) = client.try_get(USERS).await else { return };
                    assert_eq!(response.status, 200, "{response:?}");
                    received.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        Self { tasks: tasks.collect(), received, stop }
    }

    /// Waits for this many more responses.
    async fn responses(&self, count: usize) {
        let wanted = self.received.load(Ordering::SeqCst) + count;
        within(async {
            while self.received.load(Ordering::SeqCst) < wanted {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Stops the clients and fails if one of them failed.
    async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            within(task).await.unwrap();
        }
    }
}

/// The stored refresh token.
pub(crate) fn stored(directory: &Path) -> Option<String> {
    let (_, record) = record(directory)?;
    record["tokens"]["refresh_token"].as_str().map(ToOwned::to_owned)
}

/// The stored record of the credential, and its file.
fn record(directory: &Path) -> Option<(PathBuf, Value)> {
    let entries = fs::read_dir(directory.join("tokens")).unwrap();
    // The other record is the login history of the user.
    let is_ours = |name: &str| name.starts_with("default.") && name.ends_with(".json");
    let mut entries = entries.map(|entry| entry.unwrap());
    let path = entries.find(|entry| entry.file_name().to_str().is_some_and(is_ours))?.path();
    let record = serde_json::from_slice(&fs::read(&path).unwrap()).expect("a whole record");
    Some((path, record))
}

/// Makes the stored token two seconds older, so that a 401 counts against it immediately.
fn age(directory: &Path) {
    let Some((path, mut record)) = record(directory) else { return };
    let Some(issued) = record["tokens"]["issued_at"].as_str() else { return };
    let issued: Timestamp = issued.parse().unwrap();
    record["tokens"]["issued_at"] = (issued - Duration::from_secs(2)).to_string().into();
    fs::write(path, record.to_string()).unwrap();
}

/// Requests a refresh as an operator does. The proxy may be killed meanwhile.
async fn refresh(admin: SocketAddr) {
    let Some(mut client) = Client::try_connect(admin).await else { return };
    client.try_request("POST", "/credentials/default/refresh").await;
}

/// A small deterministic generator, so that failures are reproducible.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[tokio::test]
async fn a_proxy_killed_at_any_moment_loses_no_refresh_token_that_could_be_kept() {
    let sim = Simulator::start().await.unwrap();
    // Tokens live for two seconds and are revoked in between, so that refreshes are frequent.
    sim.inject(Action::ExpireIn { lifetime: Duration::from_secs(2), existing: false }).unwrap();
    let relay = Relay::to(sim.address()).await;
    let directory = tempfile::tempdir().unwrap();
    lay_out(directory.path(), &configuration(&sim.url(), &relay.token_url(), ""), "sim-password");
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut lost = 0;
    for kill in 0..KILLS {
        let mut serve = Process::start(directory.path(), &["serve"], &[]);
        let (address, admin) = serve.listening().await;
        let first = get(address, USERS).await;
        assert_eq!(first.status, 200, "kill {kill}: {first:?}");
        let load = Load::on(address);
        load.responses(1 + random.below(20)).await;
        let (arrived, responded) = relay.counts();
        sim.revoke_all_access();
        // A 401 replaces a token only once the token is two seconds old. An operator's refresh does
        // not wait for that.
        let is_patient = kill % PATIENT_LIVES == 0;
        let operator = (!is_patient).then(|| tokio::spawn(refresh(admin)));
        match random.below(6) {
            // The request for the next token is on its way.
            0 => relay.arrived(arrived).await,
            // The token has been rotated. The proxy has not received it yet, has received it, or is
            // storing it.
            1 => relay.responded(responded).await,
            2 | 3 => {
                relay.responded(responded).await;
                for _ in 0..random.below(4000) {
                    tokio::task::yield_now().await;
                }
            }
            // The new token is in use.
            _ => load.responses(1 + random.below(10)).await,
        }
        serve.kill();
        load.end().await;
        if let Some(operator) = operator {
            within(operator).await.unwrap();
        }
        relay.quiet().await;
        let last = relay.issued().pop().expect("something was issued");
        if stored(directory.path()).as_ref() != Some(&last.refresh) {
            lost += 1;
        }
        if !is_patient {
            age(directory.path());
        }
    }
    let (serve, address) = serve(directory.path()).await;
    assert_eq!(get(address, USERS).await.status, 200);
    assert_eq!(serve.terminate().await.code, Some(0));

    let stats = sim.stats();
    assert!(
        lost > 0 && lost < KILLS as u64,
        "{lost} of {KILLS} kills lost a response, so the kills missed the intended moments"
    );
    assert!(stats.logins.ok <= 1 + lost, "{} logins, {lost} responses lost", stats.logins.ok);
    assert!(stats.refresh_reuse <= lost, "{} reused, {lost} responses lost", stats.refresh_reuse);
    assert_eq!(stats.logins.failed, 0);
    assert_eq!(stats.token_concurrency_max, 1);
    assert!(stats.refreshes.ok >= KILLS as u64 / 2, "{} refreshes", stats.refreshes.ok);
    // Only the two records and the lock file are left.
    let mut left: Vec<String> = fs::read_dir(directory.path().join("tokens"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left.iter().any(|name| name == ".lock"), "{left:?}");
    for record in ["%40login-", "default."] {
        let is_record = |name: &String| name.starts_with(record) && name.ends_with(".json");
        assert_eq!(left.iter().filter(|name| is_record(name)).count(), 1, "{left:?}");
    }
}
