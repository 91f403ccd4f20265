//! Interactive logins: a browser with a cookie jar, and the steps of the simulator's login.

use std::net::SocketAddr;

use url::Url;
use vbc_base::clock::Clock;
use vbc_proxy::{Config, Simulator};

use crate::harness::{Client, Response, World, WorldBuilder};

/// The callback of the simulator's demo application.
pub(crate) const REDIRECT: &str = "http://localhost:8081/callback";
/// The host of that callback. The admin listener may have another port.
pub(crate) const HOST: &str = "localhost:8081";
pub(crate) const ALICE: &str = "alice@vbc.prod";
pub(crate) const BOB: &str = "bob@vbc.prod";
pub(crate) const LOGIN: &str = "/login/default";

/// A world whose credential has an interactive login.
pub(crate) fn interactive_login() -> WorldBuilder {
    World::builder()
        .config(r#"credentials.default.grant = "authorization_code""#)
        .config(&format!("credentials.default.redirect_uri = \"{REDIRECT}\""))
}

/// Starts the world, with a clock that the test can move.
pub(crate) async fn clocked(builder: WorldBuilder) -> (World, Clock) {
    let clock = Clock::system();
    let sim = Simulator::start().await.unwrap();
    let config: Config = builder.configuration(&sim);
    (World::with_clock(config, sim, clock.clone()).await, clock)
}

/// A browser.
#[derive(Default)]
pub(crate) struct Browser {
    /// Name, value, path.
    pub(crate) cookies: Vec<(String, String, String)>,
}

impl Browser {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Sends a GET to the admin listener, as a browser does for a typed address.
    pub(crate) async fn visit(&mut self, admin: SocketAddr, target: &str) -> Response {
        self.send(admin, &format!("GET {target} HTTP/1.1\nHost: {HOST}\nSec-Fetch-Site: none"), b"").await
    }

    /// Sends a form of one of our own pages, as browsers do with `Referrer-Policy: no-referrer`.
    pub(crate) async fn submit(&mut self, admin: SocketAddr, target: &str, form: &str) -> Response {
        let head = format!(
            "POST {target} HTTP/1.1\nHost: {HOST}\nOrigin: null\nSec-Fetch-Site: same-origin\n\
             Content-Type: application/x-www-form-urlencoded"
        );
        self.send(admin, &head, form.as_bytes()).await
    }

    /// Sends a request with the cookies for its path.
    pub(crate) async fn send(&mut self, admin: SocketAddr, head: &str, body: &[u8]) -> Response {
        let target = head.split(' ').nth(1).unwrap();
        let path = target.split('?').next().unwrap();
        let belongs =
            |at: &str| path == at || path.strip_prefix(at).is_some_and(|rest| rest.starts_with('/'));
        let sent = self.cookies.iter().filter(|(_, _, at)| belongs(at));
        let sent: Vec<String> = sent.map(|(name, value, _)| format!("{name}={value}")).collect();
        let mut head = head.to_owned();
        if !sent.is_empty() {
            head.push_str(&format!("\nCookie: {}", sent.join("; ")));
        }
        let mut client = Client::connect(admin).await;
        client.request(&head, body).await;
        let response = client.response().await;
        for line in response.all("set-cookie") {
            self.keep(line);
        }
        response
    }

    fn keep(&mut self, line: &str) {
        let mut parts = line.split("; ");
        let (name, value) = parts.next().unwrap().split_once('=').unwrap();
        let attributes: Vec<&str> = parts.collect();
        assert!(attributes.contains(&"HttpOnly"), "{line}");
        assert!(attributes.iter().any(|one| one.starts_with("SameSite=")), "{line}");
        let path = attributes.iter().find_map(|one| one.strip_prefix("Path=")).expect("a path");
        self.cookies.retain(|(known, _, at)| (known.as_str(), at.as_str()) != (name, path));
        if !attributes.contains(&"Max-Age=0") {
            assert!(value.len() >= 43, "256 bits at least: {line}");
            self.cookies.push((name.to_owned(), value.to_owned(), path.to_owned()));
        }
    }

    /// Starts a login and approves it as `user`. Returns path and query of the redirect back to the
    /// proxy.
    pub(crate) async fn authorize(&mut self, world: &World, user: &str) -> String {
        let response = self.visit(world.admin, LOGIN).await;
        assert_eq!(response.status, 302, "{response:?}");
        approve(response.header("location").unwrap(), user).await
    }

    /// Completes a login as `user`. Returns the final page.
    pub(crate) async fn log_in(&mut self, world: &World, user: &str) -> Response {
        let callback = self.authorize(world, user).await;
        self.visit(world.admin, &callback).await
    }
}

/// Logs in at the simulator's `/authorize`. Returns path and query of its redirect.
pub(crate) async fn approve(url: &str, user: &str) -> String {
    let back = sent_back(url, user).await;
    assert!(back.starts_with(&format!("{REDIRECT}?")), "{back}");
    let url = Url::parse(&back).unwrap();
    format!("{}?{}", url.path(), url.query().unwrap())
}

/// Logs in at the simulator's `/authorize`. Returns the whole URL of its redirect.
pub(crate) async fn sent_back(url: &str, user: &str) -> String {
    let mut url = Url::parse(url).unwrap();
    url.query_pairs_mut().append_pair("sim_user", user);
    let address = url.socket_addrs(|| None).unwrap()[0];
    let mut client = Client::connect(address).await;
    client.request(&format!("GET {}?{} HTTP/1.1", url.path(), url.query().unwrap()), b"").await;
    let response = client.response().await;
    assert_eq!(response.status, 302, "{response:?}");
    response.header("location").unwrap().to_owned()
}

/// The value of a query parameter.
pub(crate) fn query(target: &str, name: &str) -> Option<String> {
    let url = Url::parse("http://localhost").unwrap().join(target).unwrap();
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Asserts a page of the proxy: its outcome, its headers, and that it contains no secret.
#[track_caller]
pub(crate) fn assert_page(page: &Response, status: u16, outcome: &str, words: &str) {
    let text = page.text();
    assert_eq!(page.status, status, "{text}");
    assert!(
        text.contains(&format!("<main id=\"outcome\" data-outcome=\"{outcome}\">")),
        "{outcome} in {text}"
    );
    assert!(text.contains(words), "{words:?} in {text}");
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(page.header(name), Some(value), "{name}");
    }
    let policy = page.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!text.contains("<script"), "{text}");
}

/// The state of the credential, in `/status.json`.
pub(crate) async fn status(world: &World) -> serde_json::Value {
    world.admin("/status.json?credential=default").await.json()["credentials"][0].clone()
}
