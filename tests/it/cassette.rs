//! A recorded session of 200 mixed requests by curl replays identically, and its cassette contains
//! no secret.

mod leaks;
mod operations;
mod session;

use std::path::Path;
use std::sync::Arc;

use vbc_proxy::Simulator;

use crate::process::{Output, Process, configuration, lay_out};
use session::{Backend, PERSONAL, SECRETS, Session};

/// A recorded session: the outputs of curl, and the services and the proxy behind it.
struct Recorded {
    outputs: Vec<Vec<u8>>,
    backend: Backend,
    address: std::net::SocketAddr,
    serve: Output,
}

/// Records a session in `directory`, to `session.cassette`.
async fn record(directory: &Path, session: &Session, options: &[&str]) -> Recorded {
    let backend = Backend::start().await;
    let lines = configuration(&backend.url(), &backend.token_url(), "");
    lay_out(directory, &lines, "sim-password");
    let arguments = [&["serve", "--record", "session.cassette"], options].concat();
    let mut serve = Process::start(directory, &arguments, &[]);
    let (address, _) = serve.listening().await;
    let outputs = session.ask(address).await;
    let serve = serve.terminate().await;
    assert_eq!(serve.code, Some(0), "{}", serve.stderr);
    Recorded { outputs, backend, address, serve }
}

/// Replays the cassette for the same session at `listen`. Returns the outputs of curl, and how the
/// replay ended.
async fn replay(
    directory: &Path,
    session: &Session,
    listen: &str,
    options: &[&str],
) -> (Vec<Vec<u8>>, Output) {
    let arguments = [&["replay", "session.cassette", "--listen", listen], options].concat();
    let mut replay = Process::start(directory, &arguments, &[]);
    let line = replay.line().await;
    let address = line.strip_prefix("vbc-proxy replay on http://").and_then(|rest| rest.split(' ').next());
    let outputs = session.ask(address.unwrap().parse().unwrap()).await;
    (outputs, replay.terminate().await)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn cassette(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("session.cassette")).unwrap()
}

#[track_caller]
fn assert_without(cassette: &str, words: impl IntoIterator<Item = impl AsRef<str>>) {
    let contents = session::contents(cassette);
    let words: std::collections::BTreeSet<String> =
        words.into_iter().map(|word| word.as_ref().to_owned()).collect();
    assert!(!words.is_empty());
    for word in words {
        if let Some(text) = contents.iter().find(|text| text.contains(&word)) {
            let at = text.find(&word).unwrap();
            let from = text[..at].char_indices().rev().nth(60).map_or(0, |(at, _)| at);
            panic!("{word:?} is in the cassette: …{}…", &text[from..at + word.len()]);
        }
    }
}

/// Every issued token, whole and in parts.
fn tokens(backend: &Backend) -> Vec<String> {
    let issued = backend.issued();
    assert!(issued.len() >= 5, "only {} token sets", issued.len());
    let all = issued.iter().flat_map(|issued| [&issued.access, &issued.refresh, &issued.id]);
    let all = all.filter(|token| !token.is_empty());
    all.flat_map(|token| [token.clone(), token[token.len() - token.len() / 2..].to_owned()]).collect()
}

#[tokio::test]
async fn a_session_of_200_requests_replays_identically_to_curl() {
    let directory = tempfile::tempdir().unwrap();
    let session = Session::of_200();
    let recorded = record(directory.path(), &session, &["--record-personal", "--record-unknown"]).await;
    let kinds =
        ["text/event-stream", " 302 ", " 401 ", " 404 ", " 206 ", " 304 ", " 204 ", " 503 ", "audio/mpeg"];
    for kind in kinds {
        assert!(recorded.outputs.iter().any(|output| text(output).contains(kind)), "no {kind}");
    }
    assert!(recorded.backend.cured() >= 8, "{}", recorded.backend.cured());
    // Replays at the same address, because links point there.
    let (replayed, ended) = replay(directory.path(), &session, &recorded.address.to_string(), &[]).await;
    assert_eq!(replayed.len(), recorded.outputs.len());
    for (index, (live, played)) in recorded.outputs.iter().zip(&replayed).enumerate() {
        let (live, played) = (session.comparable(live), session.comparable(played));
        assert!(
            live == played,
            "{}\n--- live\n{}\n--- replayed\n{}",
            session.name(index),
            text(&live),
            text(&played)
        );
    }
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stdout.contains(" 0 without a match") && !ended.stdout.contains("not requested"),
        "{}",
        ended.stdout
    );
    // The options keep personal data and unknown bodies. Secrets that the proxy knows are never
    // kept.
    let cassette = cassette(directory.path());
    assert!(PERSONAL.iter().all(|word| cassette.contains(word)));
    assert_without(&cassette, ["sim-secret", "sim-password"]);
    assert_without(&cassette, tokens(&recorded.backend));
}

#[tokio::test]
async fn the_cassette_of_a_session_has_no_token_no_secret_and_no_personal_data() {
    let directory = tempfile::tempdir().unwrap();
    let session = Session::of_200();
    let recorded = record(directory.path(), &session, &[]).await;
    let cassette = cassette(directory.path());
    assert!(cassette.lines().count() > 200);
    assert_without(&cassette, SECRETS);
    assert_without(&cassette, tokens(&recorded.backend));
    assert_without(&cassette, PERSONAL);
    let seen: Vec<String> = recorded.outputs.iter().flat_map(|output| session::people(output)).collect();
    assert!(seen.len() > 500, "{}", seen.len());
    assert_without(&cassette, seen);
    assert!(recorded.serve.stderr.contains("recorded"), "{}", recorded.serve.stderr);

    // With the key, requests with the real names match. Links point to the replay's address.
    let (replayed, ended) = replay(directory.path(), &session, "127.0.0.1:0", &[]).await;
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    for (index, (live, played)) in recorded.outputs.iter().zip(&replayed).enumerate() {
        let status = |output: &[u8]| {
            text(output)
                .lines()
                .filter(|line| line.starts_with("HTTP/"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        // The body of a request outside the known operations was not recorded.
        let is_left_out = text(played).contains("vbc-proxy-replay: incomplete");
        let is_operation = ["/self/users", "/self/extensions", "/self/calls", "/self/webhooks"];
        assert!(!is_left_out || !is_operation.iter().any(|path| session.name(index).contains(path)));
        assert!(is_left_out || status(live) == status(played), "{}", session.name(index));
        assert!(!text(played).contains(&recorded.address.to_string()), "{}", text(played));
    }
    // Without the key, a request matches only by its pseudonyms, or with `--match lenient`.
    std::fs::remove_file(directory.path().join("session.cassette.key")).unwrap();
    let (_, strict) = replay(directory.path(), &session, "127.0.0.1:0", &[]).await;
    assert_eq!(strict.code, Some(1));
    assert!(strict.stderr.contains("no key file next to the cassette"), "{}", strict.stderr);
    let (_, lenient) = replay(directory.path(), &session, "127.0.0.1:0", &["--match", "lenient"]).await;
    assert_eq!(lenient.code, Some(0), "{}{}", lenient.stdout, lenient.stderr);
}

#[tokio::test]
async fn a_killed_recorder_leaves_whole_records_and_the_next_run_appends() {
    let directory = tempfile::tempdir().unwrap();
    let sim = Simulator::start().await.unwrap();
    let token_url = format!("{}/token", sim.url());
    lay_out(directory.path(), &configuration(&sim.url(), &token_url, ""), "sim-password");
    let path = directory.path().join("session.cassette");
    let mut least = 0;
    for round in 0..3 {
        let mut serve = Process::start(directory.path(), &["serve", "--record", "session.cassette"], &[]);
        let (address, _) = serve.listening().await;
        let session = Session::of_users(30);
        let asking = tokio::spawn(async move { session.ask(address).await });
        crate::harness::within(async {
            while std::fs::read_to_string(&path).is_ok_and(|text| text.lines().count() <= least + 1 + round) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        serve.kill();
        let _ = asking.await;
        let cassette = vbc_cassette::Cassette::read(&path).unwrap();
        assert!(cassette.records.len() > least, "{round}");
        least = cassette.records.len();
        // A partial line, as a crash leaves it.
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"n\":99,\"at\":\"20");
        std::fs::write(&path, text).unwrap();
    }
    let mut serve = Process::start(directory.path(), &["serve", "--record", "session.cassette"], &[]);
    serve.logged("removed an incomplete record").await;
    let (address, _) = serve.listening().await;
    Session::of_users(1).ask(address).await;
    serve.terminate().await;
    let cassette = vbc_cassette::Cassette::read(&path).unwrap();
    assert_eq!((cassette.records.len(), cassette.torn), (least + 1, 0));
    let numbers: Vec<u64> = cassette.records.iter().map(|record| record.n).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    drop(Arc::new(sim));
}
