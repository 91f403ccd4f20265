//! No secret leaves the process: not in a log line at any level, in a response of the proxy, or in
//! debug output.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use vbc_proxy::config::ListenAddress;
use vbc_proxy::{App, Config, Simulator};
use vbc_simulator::{Action, Effect, Fault, StatusFault};

use crate::harness::{Client, RawUpstream, World};
use crate::process::{Issued, Output, Process, Relay, configuration, get, lay_out};

const GATEWAY_401: &str = r#"{"code":"900901","message":"Invalid Credentials"}"#;

/// Secrets that clients send. They must not leave the process either.
const THEIRS: [&str; 4] =
    ["their-bearer-token", "dGhlaXI6cGFzc3dvcmQ=", "their-api-key-value", "their-query-token"];

/// Levels that an operator may set. The last includes the logs of libraries.
const LEVELS: [&str; 2] =
    ["trace", "trace,hyper=trace,hyper_util=trace,reqwest=trace,rustls=trace,tokio=trace,mio=trace"];

/// Every form in which a secret could appear.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned(), STANDARD.encode(secret)];
    // Half a token is a leak too.
    if secret.len() > 40 {
        forms.push(secret[secret.len() - 20..].to_owned());
    }
    if secret.len() == 36 {
        forms.push(secret[..18].to_owned());
    }
    forms
}

struct Watch {
    secrets: Vec<String>,
}

impl Watch {
    fn over(issued: &[Issued], more: &[&str]) -> Self {
        let tokens = issued.iter().flat_map(|issued| [&issued.access, &issued.refresh, &issued.id]);
        let mut secrets: Vec<String> =
            tokens.filter(|token| !token.is_empty()).flat_map(|t| forms(t)).collect();
        secrets.extend(more.iter().flat_map(|secret| forms(secret)));
        secrets.push(STANDARD.encode("sim-client:sim-secret"));
        secrets.push("eyJhbGciOi".to_owned());
        secrets.push("Bearer ".to_owned());
        Self { secrets }
    }

    #[track_caller]
    fn look(&self, place: &str, text: &str) {
        for secret in &self.secrets {
            let line = text.lines().find(|line| line.contains(secret.as_str()));
            assert!(line.is_none(), "{secret:?} in {place}: {line:?}");
        }
    }
}

/// An upstream that refuses the bearers in `refused`, and otherwise responds 200.
async fn upstream(refused: &Arc<Mutex<Vec<String>>>) -> RawUpstream {
    let refused = Arc::clone(refused);
    RawUpstream::scripted(move |mut connection| {
        let refused = Arc::clone(&refused);
        async move {
            while let Some(request) = connection.request().await {
                let bearer = request.header("authorization").unwrap_or_default().to_owned();
                let response = match refused.lock().contains(&bearer) {
                    true => format!(
                        "HTTP/1.1 401 Unauthorized\r\nContent-Length: {}\r\n\r\n{GATEWAY_401}",
                        GATEWAY_401.len()
                    ),
                    false if request.line.contains("/broken") => "nonsense eyJhbGciOi\r\n\r\n".to_owned(),
                    false => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(),
                };
                connection.write(response.as_bytes()).await;
            }
        }
    })
    .await
}

/// Sends bytes. Returns everything until the connection ends.
async fn raw(program: std::net::SocketAddr, bytes: &str) -> String {
    let mut client = Client::connect(program).await;
    client.write(bytes.as_bytes()).await;
    client.shutdown().await;
    String::from_utf8_lossy(&client.read_to_end().await).into_owned()
}

/// Invalid requests, each with a credential of the client.
fn wrong_requests() -> [String; 8] {
    let mine = "Authorization: Bearer their-bearer-token\r\nX-Api-Key: their-api-key-value\r\n";
    let close = "Connection: close\r\n";
    [
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{mine}Content-Length: x\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{mine}no colon their-bearer-token\r\n\r\n"),
        format!("GET / HTTP/9.9\r\nHost: localhost\r\n{mine}\r\n"),
        format!("GET / HTTP/1.1\r\n{mine}{close}\r\n"),
        format!("GET / HTTP/1.1\r\nHost: elsewhere.example\r\n{mine}{close}\r\n"),
        format!("CONNECT api.vonage.com:443 HTTP/1.1\r\nHost: localhost\r\n{mine}{close}\r\n"),
        format!("POST /a HTTP/1.1\r\nHost: localhost\r\n{mine}Content-Length: 100\r\n\r\nshort"),
        format!(
            "GET /a?access_token=their-query-token HTTP/1.1\r\nHost: localhost\r\n\
             Authorization: Basic dGhlaXI6cGFzc3dvcmQ=\r\nProxy-Authorization: Basic dGhlaXI6cGFzc3dvcmQ=\r\n{close}\r\n"
        ),
    ]
}

/// One life of the program that uses every secret.
async fn session(format: &str, level: &str) {
    let sim = Simulator::start().await.unwrap();
    let relay = Relay::to(sim.address()).await;
    let refused: Arc<Mutex<Vec<String>>> = Arc::default();
    let upstream = upstream(&refused).await;
    let directory = tempfile::tempdir().unwrap();
    let auth = if format == "json" { "basic" } else { "body" };
    let lines = format!(
        "log.format = \"{format}\"\nlog.level = \"{level}\"\nlog.access = true\n\
         credentials.default.client_auth = \"{auth}\""
    );
    lay_out(directory.path(), &configuration(&upstream.url(), &relay.token_url(), &lines), "sim-password");
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    let (address, admin) = serve.listening().await;
    let mut responses = Vec::new();

    // A login, a 401 that a refresh cures, and a 401 that no refresh cures.
    assert_eq!(get(address, "/t/vbc.prod/reports/a").await.status, 200);
    let bearer = |issued: &Issued| format!("Bearer {}", issued.access);
    refused.lock().extend(relay.issued().iter().map(bearer));
    assert_eq!(get(address, "/t/vbc.prod/reports/a").await.status, 200);
    responses.push(get(address, "/broken").await);
    for wrong in wrong_requests() {
        let response = raw(address, &wrong).await;
        assert!(!THEIRS.iter().any(|theirs| response.contains(theirs)), "{response}");
    }
    // The token endpoint responds with nonsense. Then it rotates the token, and its response is
    // lost.
    let html = StatusFault {
        status: 200,
        body: Some("<html>sim-secret sim-password</html>".into()),
        content_type: Some("text/html".into()),
        ..StatusFault::default()
    };
    sim.inject(Fault::from(Effect::Status(html)).on("/token").times(2)).unwrap();
    refused.lock().extend(relay.issued().iter().map(bearer));
    let response = get(address, "/t/vbc.prod/reports/a").await;
    response.assert_problem(503, "proxy_internal_error");
    responses.push(response);
    sim.inject(Fault::lose_response_after_commit().on("/token")).unwrap();
    while relay.issued().len() < 3 {
        relay.arrived(relay.counts().0).await;
        relay.quiet().await;
    }
    assert_eq!(get(address, "/t/vbc.prod/reports/a").await.status, 200);
    assert_eq!((sim.stats().refresh_reuse, sim.stats().logins.ok), (1, 2));
    // The password is changed elsewhere.
    let password = "another-password".into();
    sim.inject(Action::ChangePassword { user: "alice@vbc.prod".into(), password }).unwrap();
    refused.lock().extend(relay.issued().iter().map(bearer));
    for _ in 0..3 {
        let response = get(address, "/t/vbc.prod/reports/a").await;
        response.assert_problem(503, "proxy_internal_error");
        responses.push(response);
    }
    assert_eq!(sim.stats().logins.failed, 1);
    for page in ["/live", "/ready", "/metrics", "/status.json", "/nothing"] {
        responses.push(get(admin, page).await);
    }
    let first = serve.terminate().await;
    assert_eq!(first.code, Some(0));
    let echo = StatusFault {
        status: 400,
        body: Some(r#"{"error":"invalid_client","error_description":"not also-wrong, sim-secret"}"#.into()),
        ..StatusFault::default()
    };
    sim.inject(Fault::from(Effect::Status(echo)).on("/token")).unwrap();
    let second = another_life(directory.path(), &mut responses).await;

    // The upstream saw only issued bearers, so the search below covers every bearer.
    let issued = relay.issued();
    assert!(issued.len() >= 2, "{issued:?}");
    for request in upstream.requests() {
        let bearers: Vec<String> = issued.iter().map(bearer).collect();
        assert!(bearers.iter().any(|bearer| request.all("authorization") == [bearer]), "{request:?}");
    }
    let mut more = vec!["sim-secret", "sim-password", "another-password", "also-wrong"];
    more.extend(THEIRS);
    let watch = Watch::over(&issued, &more);
    for output in [&first, &second] {
        assert!(output.stderr.lines().count() > 5, "nothing was logged: {output:?}");
        watch.look("standard error", &output.stderr);
        watch.look("standard output", &output.stdout);
    }
    let access: Vec<&str> =
        first.stderr.lines().filter(|line| line.contains("/t/vbc.prod/reports/a")).collect();
    assert!(access.len() >= 7, "log.access: {access:?}");
    for response in responses {
        watch.look("a response's head", &String::from_utf8_lossy(&response.head));
        watch.look("a response's body", &String::from_utf8_lossy(&response.body));
    }
    modes(directory.path());
}

/// A second life with a wrong password and a token endpoint that repeats secrets.
async fn another_life(directory: &Path, responses: &mut Vec<crate::harness::Response>) -> Output {
    std::fs::write(directory.join("password"), "also-wrong").unwrap();
    let mut serve = Process::start(directory, &["serve"], &[]);
    let (address, admin) = serve.listening().await;
    for _ in 0..3 {
        let response = get(address, "/t/vbc.prod/reports/a").await;
        response.assert_problem(503, "proxy_internal_error");
        assert!(response.text().contains("not [redacted], [redacted]"), "{}", response.text());
        responses.push(response);
    }
    responses.push(get(admin, "/ready").await);
    responses.push(get(admin, "/status.json").await);
    serve.terminate().await
}

/// Asserts that only the owner can read stored tokens.
fn modes(directory: &Path) {
    let tokens = directory.join("tokens");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&tokens), 0o700);
    let files: Vec<_> = std::fs::read_dir(&tokens).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn no_secret_is_in_a_json_log_at_any_level() {
    for level in LEVELS {
        session("json", level).await;
    }
}

#[tokio::test]
async fn no_secret_is_in_a_text_log_at_any_level() {
    for level in LEVELS {
        session("text", level).await;
    }
}

#[tokio::test]
async fn the_simulator_logs_no_secret_either() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["simulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"];
    let mut simulate = Process::start(directory.path(), &arguments, &[("VBC_PROXY_LOG_LEVEL", LEVELS[1])]);
    let (service, control) = simulate.simulating().await;
    let relay = Relay::to(service).await;
    let home = tempfile::tempdir().unwrap();
    lay_out(
        home.path(),
        &configuration(&format!("http://{service}"), &relay.token_url(), ""),
        "sim-password",
    );
    let mut serve = Process::start(home.path(), &["serve"], &[]);
    let (address, _) = serve.listening().await;
    assert_eq!(get(address, "/t/vbc.prod/provisioning/api/accounts/self/users").await.status, 200);
    let journal = get(control, "/__sim/requests").await;
    serve.terminate().await;
    let watch = Watch::over(&relay.issued(), &["sim-secret", "sim-password"]);
    let output = simulate.terminate().await;
    watch.look("standard error", &output.stderr);
    watch.look("standard output", &output.stdout);
    for secret in watch.secrets.iter().filter(|secret| *secret != "Bearer ") {
        assert!(!journal.text().contains(secret.as_str()), "{secret}");
    }
}

#[tokio::test]
async fn debug_prints_show_no_secret() {
    let sim = Simulator::start().await.unwrap();
    let mut config = World::builder().configuration(&sim);
    config.credentials[0].seed = Some("seed-refresh-token".into());
    let watch = Watch::over(&[], &["sim-secret", "sim-password", "seed-refresh-token"]);
    watch.look("Config", &format!("{config:?} {config:#?}"));
    watch.look("redacted", &config.redacted());
    watch.look("Credential", &format!("{:?}", config.credentials));

    // A start-up error with all of its causes.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    config.listen.addresses = vec![ListenAddress::Tcp(taken.local_addr().unwrap())];
    let error = App::bind(config).await.err().unwrap();
    watch.look("StartError", &format!("{error:?} {error}"));

    let world = World::start().await;
    world.ready().await;
    let findings = Config::from_toml(
        "[credentials.default]\nclient_id = \"id\"\nclient_secret = \"sim-secret\"\nusername = \"sim-password.api\"\n\
         password = sim-password\n",
    );
    let findings = findings.unwrap_err();
    assert!(!findings.to_string().contains("sim-secret"), "{findings}");
    assert!(!format!("{findings:?}").contains("sim-secret"));
}
