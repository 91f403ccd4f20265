//! `vbc-proxy doctor` without a running proxy: it uses the token store itself, and must not lose
//! tokens that it gets.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::Notify;
use vbc_proxy::Simulator;

use crate::harness::{RawUpstream, within};
use crate::process::{Output, Process, configuration, lay_out};

const TOKENS: &str =
    r#"{"access_token":"access-two","refresh_token":"refresh-two","token_type":"Bearer","expires_in":3600}"#;

const SEED: [(&str, &str); 1] = [("SEED", "refresh-one")];

/// A stand-in for the whole service.
struct Service {
    upstream: RawUpstream,
    /// Notified when a refresh token is presented.
    presented: Arc<Notify>,
    /// Lets the response be sent.
    response: Arc<Notify>,
}

impl Service {
    /// A service that calls `first` with each request line. It responds to a refresh token only
    /// after `response` is notified.
    async fn start(first: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let (presented, response) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (notes, first) = ((Arc::clone(&presented), Arc::clone(&response)), Arc::new(first));
        let upstream = RawUpstream::scripted(move |mut connection| {
            let ((presented, response), first) = (notes.clone(), Arc::clone(&first));
            async move {
                while let Some(request) = connection.request().await {
                    first(&request.line);
                    let (status, body) = match request.line.split(' ').collect::<Vec<_>>()[..2] {
                        ["POST", "/token"] => {
                            presented.notify_one();
                            response.notified().await;
                            ("200 OK", TOKENS)
                        }
                        ["GET", "/token"] => ("405 Method Not Allowed", ""),
                        _ if request.header("authorization").is_none() => ("401 Unauthorized", "{}"),
                        _ => ("200 OK", "{}"),
                    };
                    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n");
                    connection
                        .write(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
                        .await;
                }
            }
        })
        .await;
        Self { upstream, presented, response }
    }

    /// A directory with a proxy.toml for a credential that has a refresh token and cannot log in.
    fn directory(&self, lines: &str) -> TempDir {
        let url = self.upstream.url();
        let text = configuration(&url, &format!("{url}/token"), lines);
        let kept = text.lines().filter(|line| !line.contains("username") && !line.contains("password_file"));
        let text = kept.collect::<Vec<_>>().join("\n")
            + "\ncredentials.default.grant = \"authorization_code\"\ncredentials.default.refresh_token_env = \"SEED\"\n";
        let directory = tempfile::tempdir().unwrap();
        lay_out(directory.path(), &text, "");
        directory
    }
}

/// A report on one line, without its layout.
fn flat(output: &Output) -> String {
    output.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Replaces the store's directory with a file, so that not even root can store anything.
fn block(store: &Path) {
    if store.is_dir() {
        std::fs::rename(store, store.with_extension("away")).unwrap();
        std::fs::write(store, "").unwrap();
    }
}

fn store_in(directory: &Path) -> PathBuf {
    directory.join("store")
}

#[tokio::test]
async fn an_interrupted_examination_keeps_the_token_it_was_getting() {
    for signal in ["INT", "TERM", "HUP"] {
        let service = Service::start(|_| {}).await;
        let directory = service.directory("store.path = \"store\"");
        let mut doctor = Process::start(directory.path(), &["doctor"], &SEED);
        within(service.presented.notified()).await;
        doctor.signal(signal);
        doctor.logged("interrupted").await;
        service.response.notify_one();
        let output = doctor.end().await;
        assert_eq!(output.code, Some(1), "{output:?}");
        let output = Process::run(directory.path(), &["doctor"], &SEED).await;
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(flat(&output).contains("not needed: there is a token"), "{}", output.stdout);
        let exchanges = service.upstream.requests().into_iter().filter(|one| one.line.starts_with("POST"));
        assert_eq!(exchanges.count(), 1);
    }
}

#[tokio::test]
async fn a_second_signal_ends_an_examination_at_once() {
    let service = Service::start(|_| {}).await;
    let directory = service.directory("store.path = \"store\"");
    let mut doctor = Process::start(directory.path(), &["doctor"], &SEED);
    within(service.presented.notified()).await;
    doctor.signal("INT");
    doctor.logged("interrupted").await;
    assert_eq!(doctor.signal_to_the_end("INT").await.code, Some(1));
}

#[tokio::test]
async fn tokens_that_could_not_be_stored_fail() {
    let store: Arc<parking_lot::Mutex<Option<PathBuf>>> = Arc::default();
    let blocked = Arc::clone(&store);
    // The store fails only after the refresh token was sent; an earlier failure would be noticed
    // before.
    let service = Service::start(move |line| {
        if let Some(store) = blocked.lock().as_deref().filter(|_| line.starts_with("POST /token")) {
            block(store);
        }
    })
    .await;
    let directory = service.directory("store.path = \"store\"");
    *store.lock() = Some(store_in(directory.path()));
    service.response.notify_one();
    let output = Process::run(directory.path(), &["doctor"], &SEED).await;
    let text = flat(&output);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        text.contains("FAIL store could not save the new tokens of credential default"),
        "{}",
        output.stdout
    );
    assert!(text.contains("free space or make store.path writable"), "{}", output.stdout);
    assert!(text.contains("ok login not needed: the token was refreshed"), "{}", output.stdout);
}

#[tokio::test]
async fn a_login_whose_tokens_could_not_be_stored_is_not_tried() {
    let sim = Simulator::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let text = configuration(&sim.url(), &format!("{}/token", sim.url()), "store.kind = \"memory\"");
    lay_out(directory.path(), &text, "wrong");
    for _ in 0..2 {
        let output = Process::run(directory.path(), &["doctor"], &SEED).await;
        let text = flat(&output);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(text.contains("skipped login not tried: with store.kind = \"memory\""), "{}", output.stdout);
        assert!(text.contains("start the proxy, then run doctor"), "{}", output.stdout);
        assert!(text.ends_with("No check fails; 5 suites were not checked."), "{}", output.stdout);
    }
    let stats = sim.stats();
    assert_eq!((stats.logins.ok, stats.logins.failed), (0, 0));
}
