//! `replay`, `serve --mode replay-then-record`, and `cassette`.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use vbc_cassette::{Cassette, Content};
use vbc_proxy::Simulator;

use crate::harness::{Client, RawUpstream, Response};
use crate::process::{Process, configuration, get, lay_out};

const RESPONSE: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 29\r\n\r\n\
                      {\"phone_number\":\"15551234567\"}";

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";
const CALLS: &str = "/t/vbc.prod/telephony/v3/cc/accounts/self/calls";

/// A directory for a proxy in front of `upstream`.
fn before(upstream: &str, sim: &Simulator) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let token_url = format!("{}/token", sim.url());
    lay_out(directory.path(), &configuration(upstream, &token_url, "log.access = true"), "sim-password");
    directory
}

/// An upstream that responds to every request with JSON.
async fn json() -> RawUpstream {
    let body = "{\"phone_number\":\"15551234567\"}";
    RawUpstream::responding(RESPONSE.replace("29", &body.len().to_string())).await
}

async fn record(directory: &Path, options: &[&str]) -> (Process, SocketAddr) {
    let arguments = [&["serve", "--record", "a.cassette"], options].concat();
    let mut serve = Process::start(directory, &arguments, &[]);
    let (address, _) = serve.listening().await;
    (serve, address)
}

async fn replay(directory: &Path, options: &[&str]) -> (Process, SocketAddr) {
    let arguments = [&["replay", "a.cassette", "--listen", "127.0.0.1:0"], options].concat();
    let mut replay = Process::start(directory, &arguments, &[]);
    let line = replay.line().await;
    let address = line.strip_prefix("vbc-proxy replay on http://").and_then(|rest| rest.split(' ').next());
    (replay, address.unwrap().parse().unwrap())
}

async fn post(address: SocketAddr, target: &str, body: &str) -> Response {
    let mut client = Client::connect(address).await;
    let head =
        format!("POST {target} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
    client.request(&head, body.as_bytes()).await;
    client.response().await
}

#[tokio::test]
async fn a_proxy_request_to_a_replay_does_not_suggest_a_host_name() {
    let (sim, upstream) = (Simulator::start().await.unwrap(), json().await);
    let directory = before(&upstream.url(), &sim);
    let (serve, address) = record(directory.path(), &[]).await;
    get(address, "/t/users").await;
    serve.terminate().await;
    let (replay, address) = replay(directory.path(), &[]).await;
    let refused = get(address, "http://other.example/").await;
    assert_eq!(refused.status, 421, "{refused:?}");
    assert!(refused.text().contains("no_proxy") && !refused.text().contains("--host"), "{refused:?}");
    let mut client = Client::connect(address).await;
    client.request("GET / HTTP/1.1\r\nHost: other.example", b"").await;
    let refused = client.response().await;
    assert!(refused.text().contains("--host"), "{refused:?}");
    replay.terminate().await;
}

#[tokio::test]
async fn a_request_without_a_match_gets_the_nearest_record_and_the_end_lists_unused_records() {
    let (sim, upstream) = (Simulator::start().await.unwrap(), json().await);
    let directory = before(&upstream.url(), &sim);
    let (serve, address) = record(directory.path(), &[]).await;
    get(address, &format!("{USERS}?page=1")).await;
    get(address, &format!("{CALLS}/15551234567")).await;
    serve.terminate().await;

    let (mut playing, address) = replay(directory.path(), &[]).await;
    assert_eq!(get(address, &format!("{USERS}?page=1")).await.status, 200);
    let response = get(address, &format!("{USERS}?page=2&secret=s3cret-value")).await;
    response.assert_problem(404, "proxy_internal_response");
    assert_eq!(response.header("vbc-proxy-replay"), Some("no-match"));
    let detail = response.json()["detail"].as_str().unwrap().to_owned();
    let nearest = format!("record 1, GET {USERS}?page=1: the recorded query has `page=1`");
    assert!(detail.contains(&nearest), "{detail}");
    assert!(!detail.contains("s3cret"), "{detail}");
    let logged = playing.logged("no record matches").await;
    assert!(logged.contains("page=1") && !logged.contains("s3cret"), "{logged}");
    let ended = playing.terminate().await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.contains("2 records, 1 requests replayed, 1 without a match"), "{}", ended.stdout);
    let never = format!("not requested: record 2, GET {CALLS}/");
    assert!(ended.stdout.contains(&never), "{}", ended.stdout);
    assert!(!ended.stdout.contains("15551234567"), "{}", ended.stdout);

    let (mut playing, address) = replay(directory.path(), &["--order", "recorded"]).await;
    assert_eq!(get(address, &format!("{CALLS}/15551234567")).await.status, 404);
    playing.logged("next in order is record 1").await;
    assert_eq!(get(address, &format!("{USERS}?page=1")).await.status, 200);
    assert_eq!(get(address, &format!("{CALLS}/15551234567")).await.status, 200);
    assert_eq!(playing.terminate().await.code, Some(1));
}

#[tokio::test]
async fn a_request_without_a_match_goes_upstream_with_its_body_and_is_recorded() {
    let (sim, upstream) = (Simulator::start().await.unwrap(), json().await);
    let directory = before(&upstream.url(), &sim);
    let (serve, address) =
        record(directory.path(), &["--mode", "replay-then-record", "--record-unknown"]).await;
    let live = post(address, "/t/calls", "{\"to\":\"15551234567\"}").await;
    assert_eq!((live.status, live.header("vbc-proxy-record")), (200, None));
    serve.terminate().await;

    let (mut serve, address) =
        record(directory.path(), &["--mode", "replay-then-record", "--record-unknown"]).await;
    let played = post(address, "/t/calls", "{\"to\":\"15551234567\"}").await;
    assert_eq!((played.status, played.header("vbc-proxy-record")), (200, Some("1")));
    let line = serve.logged("\"target\":\"access\"").await;
    let id = format!("\"id\":\"{}\"", played.header("x-request-id").unwrap());
    for part in
        ["\"source\":\"cassette\"", "\"status\":200", "\"path\":\"/t/calls\"", "\"method\":\"POST\"", &id]
    {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert_ne!(played.header("x-request-id"), live.header("x-request-id"));
    assert_eq!(upstream.requests().len(), 1);
    let large = format!("{{\"to\":\"15557654321\",\"note\":\"{}\"}}", "x".repeat(200_000));
    let live = post(address, "/t/calls", &large).await;
    assert_eq!((live.status, live.header("vbc-proxy-record")), (200, None));
    serve.logged("no record matches").await;
    assert_eq!(upstream.requests()[1].body, large.as_bytes());
    // A page of another origin gets no recorded response either.
    let mut client = Client::connect(address).await;
    client.request("GET /t/calls HTTP/1.1\r\nOrigin: https://evil.example", b"").await;
    assert_eq!(client.response().await.status, 403);
    assert_eq!(serve.terminate().await.code, Some(0));
    let cassette = Cassette::read(&directory.path().join("a.cassette")).unwrap();
    assert_eq!(cassette.records.len(), 2);
    assert!(matches!(&cassette.records[1].request.body, Content::Text(text) if text.len() == large.len()));
}

#[tokio::test]
async fn a_response_that_was_too_large_is_not_replayed_in_part() {
    let sim = Simulator::start().await.unwrap();
    let size = 17 << 20;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: {size}\r\n\r\n");
    let upstream = RawUpstream::responding([head.into_bytes(), vec![7; size]].concat()).await;
    let directory = before(&upstream.url(), &sim);
    let mut serve = Process::start(directory.path(), &["serve", "--record", "a.cassette"], &[]);
    let (address, admin) = serve.listening().await;
    assert_eq!(get(address, "/large").await.body.len(), size);
    let counted = |name: &str, metrics: &Response| metrics.metric(&format!("vbc_proxy_records_{name}_total"));
    let metrics = loop {
        let metrics = get(admin, "/metrics").await;
        if counted("written", &metrics) == Some(1.0) {
            break metrics;
        }
    };
    assert_eq!((counted("truncated", &metrics), counted("dropped", &metrics)), (Some(1.0), Some(0.0)));
    assert_eq!(get(admin, "/status.json").await.json()["recording"]["written"], 1);
    serve.terminate().await;
    assert!(directory.path().join("a.cassette").metadata().unwrap().len() < 10_000);

    let (playing, address) = replay(directory.path(), &[]).await;
    let response = get(address, "/large").await;
    response.assert_problem(501, "proxy_internal_response");
    assert_eq!(response.header("vbc-proxy-replay"), Some("incomplete"));
    assert!(response.text().contains("17825792 bytes"), "{}", response.text());
    playing.terminate().await;
}

#[tokio::test]
async fn events_replay_with_their_recorded_timing() {
    let sim = Simulator::start().await.unwrap();
    let upstream = RawUpstream::by_hand().await;
    let directory = before(&upstream.url(), &sim);
    let (serve, address) = record(directory.path(), &["--record-timing", "--record-unknown"]).await;
    let asking = tokio::spawn(async move { get(address, "/events").await });
    let mut connection = upstream.accept().await;
    connection.request().await.unwrap();
    connection
        .write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let event = "data: {\"to\":\"15551234567\"}\n\n";
    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
    connection.write(format!("{chunk}{chunk}0\r\n\r\n").as_bytes()).await;
    assert_eq!(asking.await.unwrap().text(), event.repeat(2));
    serve.terminate().await;
    let path = directory.path().join("a.cassette");
    let text = std::fs::read_to_string(&path).unwrap();
    let record: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    let pieces = record["answer"]["pieces"].to_string();
    let lengths =
        record["answer"]["pieces"].as_array().unwrap().iter().map(|piece| piece[1].as_u64().unwrap());
    assert_eq!(lengths.sum::<u64>(), 2 * event.len() as u64, "{pieces}");
    // Makes the second event come later.
    let later = format!("[[5,{length}],[305,{length}]]", length = event.len());
    std::fs::write(&path, text.replace(&pieces, &later)).unwrap();

    let (playing, address) = replay(directory.path(), &["--timing"]).await;
    let started = std::time::Instant::now();
    let played = get(address, "/events").await;
    assert!(started.elapsed().as_millis() >= 290 && played.text().len() == 2 * event.len());
    playing.terminate().await;
}

#[tokio::test]
async fn a_cassette_becomes_a_har_and_a_har_a_cassette() {
    let (sim, upstream) = (Simulator::start().await.unwrap(), json().await);
    let directory = before(&upstream.url(), &sim);
    let (serve, address) = record(directory.path(), &[]).await;
    post(address, CALLS, "{\"to\":\"15551234567\"}").await;
    serve.terminate().await;
    let export =
        Process::run(directory.path(), &["cassette", "export", "a.cassette", "--har", "-"], &[]).await;
    assert_eq!(export.code, Some(0), "{}", export.stderr);
    let archive: Value = serde_json::from_str(&export.stdout).unwrap();
    let entry = &archive["log"]["entries"][0];
    assert_eq!(entry["request"]["url"], format!("http://localhost{CALLS}"));
    assert!(!export.stdout.contains("15551234567"));

    std::fs::write(directory.path().join("a.har"), &export.stdout).unwrap();
    std::fs::remove_file(directory.path().join("a.cassette")).unwrap();
    let arguments = ["cassette", "import", "a.cassette", "--har", "a.har", "--keep-personal"];
    let import = Process::run(directory.path(), &arguments, &[]).await;
    assert_eq!(import.code, Some(0), "{}", import.stderr);
    let (playing, address) = replay(directory.path(), &[]).await;
    let posted = entry["request"]["postData"]["text"].as_str().unwrap();
    let played = post(address, CALLS, posted).await;
    assert_eq!(played.text(), entry["response"]["content"]["text"].as_str().unwrap());
    assert_eq!(playing.terminate().await.code, Some(0));

    // A file that is not a HAR, and one that is not a cassette.
    let wrong =
        Process::run(directory.path(), &["cassette", "import", "b", "--har", "proxy.toml"], &[]).await;
    assert!(wrong.code == Some(1) && wrong.stderr.contains("not a HAR"), "{wrong:?}");
    let wrong = Process::run(directory.path(), &["replay", "proxy.toml"], &[]).await;
    assert!(wrong.code == Some(78) && wrong.stderr.contains("is not a cassette"), "{wrong:?}");
    let wrong = Process::run(directory.path(), &["serve", "--record", "proxy.toml"], &[]).await;
    assert!(wrong.code == Some(78) && wrong.stderr.contains("is not a cassette"), "{wrong:?}");
    assert!(std::fs::read_to_string(directory.path().join("proxy.toml")).unwrap().starts_with("listen"));
}

/// Imports an archive with these entries into `a.cassette`.
async fn import(directory: &Path, entries: Value) {
    let archive =
        format!("\u{feff}{}", serde_json::json!({ "log": { "version": "1.2", "entries": entries } }));
    std::fs::write(directory.join("a.har"), archive).unwrap();
    let arguments = ["cassette", "import", "a.cassette", "--har", "a.har"];
    let import = Process::run(directory, &arguments, &[]).await;
    assert_eq!(import.code, Some(0), "{}", import.stderr);
}

#[tokio::test]
async fn an_archive_of_a_browser_is_replayed_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    let entry = |url: &str, response: Value| {
        serde_json::json!({
            "startedDateTime": "2026-11-24T16:06:12Z", "time": 1, "response": response,
            "request": { "method": "GET", "url": url, "headers": [], "bodySize": 0 },
        })
    };
    let latin_1 = serde_json::json!({
        "status": 200, "content": { "size": 4, "text": "jané" },
        "headers": [
            { "name": "Content-Type", "value": "text/plain; charset=ISO-8859-1" },
            { "name": "Content-Length", "value": "5" }, { "name": "X-City", "value": "Łódź" },
        ],
    });
    let entries = serde_json::json!([
        entry("https://api.vonage.com/t/a b?q={\"x\":\"ü\"}", latin_1),
        entry(
            "https://api.vonage.com/t/left-out",
            serde_json::json!({ "status": 200, "content": { "size": -1 } })
        ),
        entry(
            "https://api.vonage.com/t/old",
            serde_json::json!({ "status": 302, "redirectURL": "https://api.vonage.com/t/new" })
        ),
    ]);
    import(directory.path(), entries).await;
    let (playing, address) = replay(directory.path(), &[]).await;
    let ask = async |target: &str, accept: &str| {
        let mut client = Client::connect(address).await;
        client.request(&format!("GET {target} HTTP/1.1{accept}"), b"").await;
        client.response().await
    };
    for target in ["/t/a%20b?q=%7B%22x%22:%22%C3%BC%22%7D", "/t/a%20b?q={\"x\":\"ü\"}"] {
        for accept in ["", "\r\nAccept: */*"] {
            let played = ask(target, accept).await;
            assert_eq!((played.status, &*played.body), (200, &b"jan\xe9"[..]), "{target} {accept}");
            assert!(played.head.windows(5).any(|bytes| bytes == "Łód".as_bytes()), "{played:?}");
        }
    }
    let left_out = ask("/t/left-out", "").await;
    left_out.assert_problem(501, "proxy_internal_response");
    let moved = ask("/t/old", "").await;
    assert_eq!((moved.status, moved.header("location")), (302, Some("http://localhost/t/new")));
    assert_eq!(playing.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_web_page_gets_no_response_under_its_own_host_name() {
    let (sim, upstream) = (Simulator::start().await.unwrap(), json().await);
    let directory = before(&upstream.url(), &sim);
    let (serve, address) = record(directory.path(), &["--record-unknown"]).await;
    get(address, "/t/users").await;
    serve.terminate().await;
    let (playing, address) = replay(directory.path(), &["--host", "tests.example"]).await;
    let ask = async |line: &str, host: &str| {
        let mut client = Client::connect(address).await;
        client.write(format!("GET {line} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await;
        client.response().await
    };
    for (line, host) in [
        ("/t/users", "localhost"),
        ("/t/users", "replay:8080"),
        ("/t/users", "127.0.0.1:8080"),
        ("/t/users", "tests.example"),
        ("http://tests.example/t/users", "evil.example"),
    ] {
        assert_eq!(ask(line, host).await.status, 200, "{line} {host}");
    }
    for (line, host, advice) in [
        ("/t/users", "evil.example", "--host"),
        // A client that uses the replay as its http_proxy.
        ("http://evil.example/t/users", "localhost", "no_proxy"),
    ] {
        let refused = ask(line, host).await;
        refused.assert_problem(421, "proxy_internal_response");
        assert_eq!(refused.header("vbc-proxy-replay"), Some("refused"));
        assert!(refused.text().contains(advice), "{}", refused.text());
    }
    // Refused requests do not count as requests without a match.
    assert_eq!(playing.terminate().await.code, Some(0));
}

/// Sent headers. The cassette must not contain their secrets.
const HEADERS: [(&str, &str); 16] = [
    ("Authorization", "Bearer s3cret"),
    ("Proxy-Authorization", "Basic s3cret"),
    ("X-Vonage-Key", "s3cret"),
    ("Ocp-Apim-Subscription-Key", "s3cret"),
    ("X-Auth-Token", "s3cret"),
    ("X-Amz-Security-Token", "s3cret"),
    ("Private-Token", "s3cret"),
    ("X-Api-Key", "s3cret"),
    ("ApiKey", "s3cret"),
    ("X-Auth", "s3cret"),
    ("X-CSRF-Token", "s3cret"),
    ("Internal-Key", "s3cret"),
    ("X-Hub-Signature-256", "sha256=s3cret"),
    ("Cookie", "sid=s3cret; b=s3cret"),
    ("X-Debug", "login with password=s3cret"),
    ("Referer", "http://h/a?access_token=s3cret&x=y"),
];

#[tokio::test]
async fn credentials_are_hidden_in_every_header_and_parameter() {
    let (sim, upstream) = (Simulator::start().await.unwrap(), json().await);
    let directory = before(&upstream.url(), &sim);
    let (serve, address) = record(directory.path(), &["--record-personal"]).await;
    let lines: String = HEADERS.iter().map(|(name, value)| format!("\r\n{name}: {value}")).collect();
    let parameters =
        ["api_key", "apikey", "access_token", "sig", "signature", "code", "state", "key", "X-Amz-Signature"];
    let query: String = parameters.iter().map(|name| format!("{name}=s3cret&")).collect();
    let target = format!("{USERS}?{query}back=https://u:s3cret@h/b%3Ftoken%3Ds3cret&page=2");
    let ask = async |address| {
        let mut client = Client::connect(address).await;
        client.request(&format!("GET {target} HTTP/1.1{lines}"), b"").await;
        client.response().await
    };
    assert_eq!(ask(address).await.status, 200);
    serve.terminate().await;
    let text = std::fs::read_to_string(directory.path().join("a.cassette")).unwrap();
    assert!(text.contains("page=2") && text.contains("x-api-key"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
    let (playing, address) = replay(directory.path(), &[]).await;
    assert_eq!(ask(address).await.status, 200);
    assert_eq!(playing.terminate().await.code, Some(0));
}
