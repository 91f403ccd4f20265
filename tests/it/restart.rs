//! What the process forgets when it dies, and what it must not.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use vbc_proxy::Simulator;
use vbc_simulator::{Action, Fault};

use crate::harness::{Client, within};
use crate::process::{Process, Relay, configuration, get, lay_out};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";

/// How often the process is killed.
const KILLS: usize = 100;

async fn serve(directory: &Path) -> (Process, SocketAddr) {
    let mut serve = Process::start(directory, &["serve"], &[]);
    let (address, _) = serve.listening().await;
    (serve, address)
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_over_requests_and_restarts_until_it_is_changed() {
    let sim = Simulator::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let text = configuration(&sim.url(), &format!("{}/token", sim.url()), "");
    lay_out(directory.path(), &text, "wrong-password");
    for round in 0..6 {
        let (serve, address) = serve(directory.path()).await;
        for _ in 0..30 {
            let answer = get(address, USERS).await;
            answer.assert_problem(503, "proxy_internal_error");
            assert!(answer.header("retry-after").is_some());
            assert!(answer.text().contains("user name or password was refused"), "{answer:?}");
        }
        let output = if round % 2 == 0 { serve.terminate().await } else { serve.kill() };
        assert!(!output.stderr.contains("wrong-password"));
        let stats = sim.stats();
        assert_eq!((stats.logins.ok, stats.logins.failed, stats.token_requests), (0, 1, 1), "round {round}");
    }
    // Another wrong one is another attempt, and one only.
    fs::write(directory.path().join("password"), "also-wrong").unwrap();
    for _ in 0..2 {
        let (serve, address) = serve(directory.path()).await;
        get(address, USERS).await.assert_problem(503, "proxy_internal_error");
        serve.kill();
        assert_eq!(sim.stats().logins.failed, 2);
    }
    // A third within 35 minutes waits, unless an operator allows it.
    fs::write(directory.path().join("password"), "sim-password").unwrap();
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    let (address, admin) = serve.listening().await;
    let answer = get(address, USERS).await;
    assert!(answer.text().contains("two other passwords of this user"), "{answer:?}");
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
async fn a_lock_is_remembered_over_restarts() {
    let sim = Simulator::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let text = configuration(&sim.url(), &format!("{}/token", sim.url()), "");
    lay_out(directory.path(), &text, "sim-password");
    sim.inject(Action::LockUser { user: "alice@vbc.prod".into(), keep_tokens: false }).unwrap();
    for _ in 0..5 {
        let (serve, address) = serve(directory.path()).await;
        let answer = get(address, USERS).await;
        answer.assert_problem(503, "proxy_internal_error");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
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

/// Clients that ask without pause. When the proxy is gone they end.
struct Load {
    answered: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    fn on(address: SocketAddr) -> Self {
        let (answered, stop): (Arc<AtomicUsize>, Arc<AtomicBool>) = Default::default();
        let tasks = (0..3).map(|_| {
            let (answered, stop) = (Arc::clone(&answered), Arc::clone(&stop));
            tokio::spawn(async move {
                let Some(mut client) = Client::try_connect(address).await else { return };
                while !stop.load(Ordering::SeqCst) {
                    let Some(answer) = client.try_get(USERS).await else { return };
                    assert_eq!(answer.status, 200, "{answer:?}");
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        Self { tasks: tasks.collect(), answered, stop }
    }

    /// Waits until this many more requests have been answered.
    async fn answers(&self, count: usize) {
        let wanted = self.answered.load(Ordering::SeqCst) + count;
        within(async {
            while self.answered.load(Ordering::SeqCst) < wanted {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Waits for their end, and for what they found.
    async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            within(task).await.unwrap();
        }
    }
}

/// The refresh token that is stored.
pub(crate) fn stored(directory: &Path) -> Option<String> {
    let entries = fs::read_dir(directory.join("tokens")).unwrap();
    // Beside it is the record of the login, which holds only the brake.
    let is_ours = |name: &str| name.starts_with("default.") && name.ends_with(".json");
    let mut entries = entries.map(|entry| entry.unwrap());
    let record = entries.find(|entry| entry.file_name().to_str().is_some_and(is_ours))?;
    let record: Value = serde_json::from_slice(&fs::read(record.path()).unwrap()).expect("a whole record");
    record["tokens"]["refresh_token"].as_str().map(ToOwned::to_owned)
}

/// A small generator, so that a failure can be repeated.
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
async fn killed_at_any_moment_it_loses_no_refresh_token_that_could_be_kept() {
    let sim = Simulator::start().await.unwrap();
    // Tokens live for two seconds, and are revoked in between: refreshes all the time.
    sim.inject(Action::ExpireIn { lifetime: Duration::from_secs(2), existing: false }).unwrap();
    let relay = Relay::before(sim.address()).await;
    let directory = tempfile::tempdir().unwrap();
    lay_out(directory.path(), &configuration(&sim.url(), &relay.token_url(), ""), "sim-password");
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut lost = 0;
    for kill in 0..KILLS {
        let (serve, address) = serve(directory.path()).await;
        let first = get(address, USERS).await;
        assert_eq!(first.status, 200, "kill {kill}: {first:?}");
        let load = Load::on(address);
        load.answers(1 + random.below(20)).await;
        let (arrived, answered) = relay.counts();
        sim.revoke_all_access();
        match random.below(6) {
            // The request for the next token is on its way.
            0 => relay.arrived(arrived).await,
            // It has been rotated; the proxy does not have it, has it, or is storing it.
            1 => relay.answered(answered).await,
            2 | 3 => {
                relay.answered(answered).await;
                for _ in 0..random.below(4000) {
                    tokio::task::yield_now().await;
                }
            }
            // It is in use.
            _ => load.answers(1 + random.below(10)).await,
        }
        serve.kill();
        load.end().await;
        relay.quiet().await;
        let last = relay.issued().pop().expect("something was issued");
        if stored(directory.path()).as_ref() != Some(&last.refresh) {
            lost += 1;
        }
    }
    let (serve, address) = serve(directory.path()).await;
    assert_eq!(get(address, USERS).await.status, 200);
    assert_eq!(serve.terminate().await.code, Some(0));

    let stats = sim.stats();
    assert!(lost > 0 && lost < KILLS as u64, "{lost} of {KILLS} kills lost an answer: not the moments meant");
    assert!(stats.logins.ok <= 1 + lost, "{} logins, {lost} answers lost", stats.logins.ok);
    assert!(stats.refresh_reuse <= lost, "{} reused, {lost} answers lost", stats.refresh_reuse);
    assert_eq!(stats.logins.failed, 0);
    assert_eq!(stats.token_concurrency_max, 1);
    assert!(stats.refreshes.ok >= KILLS as u64 / 2, "{} refreshes", stats.refreshes.ok);
    // Nothing is left behind but the two records and the lock.
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
