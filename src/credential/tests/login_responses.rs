//! How often the same password is sent after each response to a login: over time, restarts and
//! credentials.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use parking_lot::Mutex;
use url::Url;

use super::*;
use crate::oauth::{AuthorizationServer, ClientIdentity, Endpoint, Transport, TransportError};
use crate::store::{MemoryStore, Record};
use vbc_base::secret::Secret;

const TOKENS: &[u8] = br#"{"access_token":"at","refresh_token":"rt","expires_in":86400}"#;
const MINUTE: Duration = Duration::from_secs(60);

/// A token endpoint that gives every login the same response, and counts them.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    passwords: Vec<String>,
}

impl Server {
    fn says(&self, status: u16, body: &[u8]) {
        let mut state = self.0.lock();
        (state.status, state.body) = (status, body.to_vec());
    }

    fn logins(&self) -> usize {
        self.0.lock().passwords.len()
    }
}

impl Transport for Server {
    async fn exchange(&self, request: Request<String>) -> Result<Response<Vec<u8>>, TransportError> {
        let mut state = self.0.lock();
        let form = url::form_urlencoded::parse(request.body().as_bytes());
        let password = form.into_owned().find(|(name, _)| name == "password");
        state.passwords.extend(password.map(|(_, value)| value));
        let mut response = Response::new(state.body.clone());
        *response.status_mut() = StatusCode::from_u16(state.status).unwrap();
        *response.headers_mut() = state.headers.clone();
        Ok(response)
    }
}

/// A user of one or more credentials: the server, the store and the clock outlive a restart.
struct World {
    server: Server,
    store: Arc<MemoryStore>,
    clock: Clock,
    client_secret: &'static str,
    password: &'static str,
}

/// One run of the process, with one credential.
struct Life {
    credential: Credential,
    task: JoinHandle<()>,
}

impl Life {
    async fn end(self) {
        self.credential.close();
        self.task.await.unwrap();
    }
}

impl World {
    fn new(status: u16, body: &[u8]) -> Self {
        let server = Server::default();
        server.says(status, body);
        let clock = Clock::tokio();
        Self { server, store: Arc::default(), clock, client_secret: "app-secret", password: "right" }
    }

    fn guards(&self) -> Arc<LoginGuards> {
        LoginGuards::new(Arc::clone(&self.store) as _, self.clock.clone())
    }

    async fn begin(&self, name: &str, guards: &LoginGuards) -> Life {
        let secret = Secret::new(self.client_secret);
        let username: Arc<str> = "alice@vbc.prod".into();
        let login = Login::new(username, self.password.into(), "openid".into(), "app", &secret);
        let url = Url::parse("http://localhost/token").unwrap();
        let server = AuthorizationServer::new(self.server.clone(), &url, None, self.clock.clone());
        let client = ClientIdentity { client_id: "app".into(), client_secret: secret, auth: None };
        let endpoint = Endpoint::new(Arc::new(server.unwrap()), Arc::new(client), None);
        let options = Options { login: Some(login), ..Options::new(name, "identity") };
        let store = Arc::clone(&self.store) as _;
        let started = Credential::start(options, endpoint, store, guards, self.clock.clone()).await;
        let (credential, task) = started.unwrap();
        Life { credential, task }
    }

    async fn start(&self) -> Life {
        self.begin("default", &self.guards()).await
    }

    /// Runs for `time` under steady requests. Returns the outcome of the last request.
    async fn live(&self, time: Duration) -> Result<(), Unavailable> {
        let life = self.start().await;
        let end = Instant::now() + time;
        let mut outcome = Ok(());
        while Instant::now() < end {
            outcome = life.credential.bearer().await.map(drop);
            tokio::time::sleep(time / 16).await;
        }
        life.end().await;
        outcome
    }

    async fn stored(&self) -> Record {
        let key = Key { credential: "default".into(), identity: "identity".into() };
        self.store.load(&key).await.unwrap()
    }
}

/// Refusals in different words and wrappings.
const REFUSALS: &[(u16, &[u8])] = &[
    (400, br#"{"error":"invalid_grant"}"#),
    (400, b"{\"error\":\"invalid_grant\",\"error_description\":\"senha inv\xe1lida\"}"),
    (400, br#"{"Error":"invalid_grant"}"#),
    (400, br#"[{"error":"invalid_grant"}]"#),
    (401, br#"{"fault":{"error":"Invalid_Grant"}}"#),
    (400, b"error=invalid_grant&error_description=no"),
    (400, b"{\0\"\0e\0r\0r\0o\0r\0\"\0:\0\"\0i\0n\0v\0a\0l\0i\0d\0_\0g\0r\0a\0n\0t\0\"\0}\0"),
    (400, br#"{"error":"invalid_request","error_description":"Invalid 'username' or 'password' in request."}"#),
    (400, br#"{"error":"invalid_grant","error_description":"the account will be locked after 2 more attempts"}"#),
    (403, br#"{"error":"account_disabled"}"#),
    (200, br#"{"error":"invalid_grant"}"#),
    (500, br#"{"error":"invalid_grant"}"#),
    (503, br#"{"error":"access_denied"}"#),
];

/// Refusals without a readable reason.
const UNEXPLAINED: &[(u16, &[u8])] = &[
    (401, b"<html>401</html>"),
    (401, br#"{"code":"900901"}"#),
    (400, b"Bad Request"),
    (403, b""),
    (418, b"{}"),
];

#[tokio::test(start_paused = true)]
async fn a_refused_secret_is_sent_once_however_the_refusal_is_wrapped() {
    for (status, body) in REFUSALS {
        let world = World::new(*status, body);
        for _ in 0..4 {
            let refusal = world.live(Duration::from_secs(8)).await.unwrap_err();
            assert!(refusal.detail.contains("VBC rejected the user name or password"), "{refusal}");
            assert!(refusal.detail.contains("vbc-proxy unlock default"), "{refusal}");
        }
        world.live(48 * 60 * MINUTE).await.unwrap_err();
        assert_eq!(world.server.logins(), 1, "{status} {}", String::from_utf8_lossy(body));
    }
}

#[tokio::test(start_paused = true)]
async fn an_unexplained_refusal_is_tried_once_more_after_35_minutes_and_never_again() {
    for (status, body) in UNEXPLAINED {
        let world = World::new(*status, body);
        for _ in 0..4 {
            let refusal = world.live(Duration::from_secs(8)).await.unwrap_err();
            assert!(refusal.detail.contains("without a readable reason"), "{refusal}");
            assert!(refusal.retry_after.unwrap() > 34 * MINUTE, "{refusal:?}");
        }
        world.live(34 * MINUTE).await.unwrap_err();
        assert_eq!(world.server.logins(), 1, "{status}");
        world.live(2 * MINUTE).await.unwrap_err();
        assert_eq!(world.server.logins(), 2, "{status}");
        world.live(48 * 60 * MINUTE).await.unwrap_err();
        assert_eq!(world.server.logins(), 2, "{status} {}", String::from_utf8_lossy(body));
    }
}

#[tokio::test(start_paused = true)]
async fn three_credentials_of_one_user_send_a_refused_password_once() {
    let (status, body) = REFUSALS[7];
    let world = World::new(status, body);
    for _ in 0..4 {
        let guards = world.guards();
        let mut lives = Vec::new();
        for name in ["one", "two", "three"] {
            lives.push(world.begin(name, &guards).await);
        }
        tokio::time::sleep(Duration::from_secs(8)).await;
        for life in lives {
            life.credential.bearer().await.unwrap_err();
            life.end().await;
        }
    }
    assert_eq!(world.server.logins(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_untested_passwords_are_tried_in_35_minutes_and_three_refused_in_a_day() {
    let mut world = World::new(400, br#"{"error":"invalid_grant"}"#);
    for password in ["first", "second"] {
        world.password = password;
        world.live(Duration::from_secs(8)).await.unwrap_err();
    }
    world.password = "third";
    let crowded = world.live(Duration::from_secs(8)).await.unwrap_err();
    assert!(crowded.detail.contains("two other passwords"), "{crowded}");
    assert!(crowded.detail.contains("vbc-proxy unlock default"), "{crowded}");
    assert_eq!(world.server.logins(), 2);
    world.live(36 * MINUTE).await.unwrap_err();
    assert_eq!(world.server.logins(), 3);
    world.password = "fourth";
    let exhausted = world.live(72 * 60 * MINUTE).await.unwrap_err();
    assert!(exhausted.detail.contains("three passwords"), "{exhausted}");
    assert_eq!(world.server.logins(), 3);

    let life = world.start().await;
    world.server.says(200, TOKENS);
    assert!(life.credential.unlock().await.unwrap());
    life.credential.bearer().await.unwrap();
    assert_eq!(world.server.logins(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_server_in_trouble_that_speaks_of_locks_is_no_locked_account() {
    let body = br#"{"error":"server_error","error_description":"could not commit: database is locked"}"#;
    let world = World::new(503, body);
    let life = world.start().await;
    let trouble = life.credential.bearer().await.unwrap_err();
    assert!(trouble.retry_after.unwrap() < MINUTE, "{trouble:?}");
    world.server.says(200, TOKENS);
    tokio::time::sleep(MINUTE).await;
    life.credential.bearer().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_ambiguous_login_is_spaced_from_the_third_on() {
    for (status, body) in [
        (500, &b""[..]),
        (502, b"<html>"),
        (400, br#"{"error":"slow_down"}"#),
        (503, br#"{"error":"server_error"}"#),
    ] {
        let world = World::new(status, body);
        world.live(4 * MINUTE).await.unwrap_err();
        assert_eq!(world.server.logins(), 3, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_judged_is_tried_again_and_again() {
    for (status, body) in [
        (429, &b""[..]),
        (408, b""),
        (425, b""),
        (503, b"<html>"),
        (302, b""),
        (403, br#"{"code":"900803"}"#),
        (200, b"<html>"),
        (200, b"{}"),
    ] {
        let world = World::new(status, body);
        world.live(10 * MINUTE).await.unwrap_err();
        assert!(world.server.logins() > 4, "{status}: {}", world.server.logins());
        world.server.says(200, TOKENS);
        world.live(10 * MINUTE).await.unwrap();
    }
}

/// Responses about the application or the URL.
const CONFIGURATION: &[(u16, &[u8])] = &[
    (401, br#"{"error":"invalid_client"}"#),
    (400, br#"{"error":"unauthorized_client"}"#),
    (400, br#"{"error":"unsupported_grant_type"}"#),
    (400, br#"{"error":"invalid_scope"}"#),
    (404, b"<html>"),
    (404, br#"{"error":"Not Found"}"#),
    (405, b""),
];

#[tokio::test(start_paused = true)]
async fn a_refused_application_is_tried_again_slowly_and_a_restart_does_not_shorten_it() {
    for (status, body) in CONFIGURATION {
        let world = World::new(*status, body);
        // Attempts come after 5, 10, 20 and 40 minutes, then each hour.
        for (minutes, logins) in [(1, 1), (3, 1), (2, 2), (8, 2), (3, 3), (18, 3), (3, 4), (600, 14)] {
            let refusal = world.live(minutes * MINUTE).await.unwrap_err();
            assert!(refusal.retry_after.is_some(), "{refusal:?}");
            assert!(refusal.detail.contains("vbc-proxy unlock default"), "{refusal}");
            let made = world.server.logins();
            assert!(made.abs_diff(logins) <= usize::from(minutes > 99), "{status} {minutes}: {made}");
        }
        world.server.says(200, TOKENS);
        world.live(61 * MINUTE).await.unwrap();
        assert_eq!(world.stored().await.application, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_application_is_tried_at_once_after_unlock_or_a_changed_configuration() {
    let mut world = World::new(401, br#"{"error":"invalid_client"}"#);
    world.live(MINUTE).await.unwrap_err();
    world.client_secret = "corrected";
    world.live(MINUTE).await.unwrap_err();
    assert_eq!(world.server.logins(), 2);
    let life = world.start().await;
    world.server.says(200, TOKENS);
    life.credential.bearer().await.unwrap_err();
    assert!(life.credential.unlock().await.unwrap());
    life.credential.bearer().await.unwrap();
    assert_eq!(world.server.logins(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_set_under_a_coding_that_nobody_asked_for_takes_one_login() {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(TOKENS).unwrap();
    let world = World::new(200, &gzip.finish().unwrap());
    world.server.0.lock().headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    world.live(MINUTE).await.unwrap();
    assert_eq!(world.server.logins(), 1);
}
