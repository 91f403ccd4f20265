//! The crate as a dependency: uses only its public interface, with or without the command line.
//! `scripts/test` also compiles it without default features.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vbc_proxy::{App, Config, Simulator};
use vbc_simulator::{Expectation, User};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";
const LOGIN: &str = "grant_type=password&username=dora@vbc.prod&password=dora-password\
                     &client_id=sim-client&client_secret=sim-secret";

/// Sends a GET on its own connection. Returns the status.
async fn get(authority: &str, target: &str) -> u16 {
    let mut stream = TcpStream::connect(authority).await.unwrap();
    let head = format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    std::str::from_utf8(&response[9..12]).unwrap().parse().unwrap()
}

fn authority(url: &str) -> &str {
    url.strip_prefix("http://").unwrap()
}

/// The proxy in front of a simulator, as in the README.
async fn proxy(sim: &Simulator) -> App {
    let text = format!(
        "listen.address = \"127.0.0.1:0\"\nadmin.address = \"127.0.0.1:0\"\nstore.kind = \"memory\"\n\
         upstream.url = \"{url}\"\noauth.token_url = \"{url}/token\"\n[credentials.default]\nclient_id = \"sim-client\"\n\
         client_secret = \"sim-secret\"\nusername = \"alice\"\npassword = \"sim-password\"\n",
        url = sim.url(),
    );
    App::bind(Config::from_toml(&text).unwrap().config).await.unwrap()
}

#[tokio::test]
async fn a_proxy_and_its_simulator_run_in_a_test() {
    let sim = Simulator::start().await.unwrap();
    let app = proxy(&sim).await;
    let name = app.name();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(app.run(async { drop(stopped.await) }));

    sim.expect([Expectation::new("GET", "/**/users").status(200).times(2)]);
    assert_eq!(get(authority(&name), USERS).await, 200);
    sim.revoke_access_tokens();
    assert_eq!(get(authority(&name), USERS).await, 200, "replaced by the proxy");
    let verdict = sim.verdict();
    assert!(verdict.met, "{verdict}");
    let statuses: Vec<_> = sim.requests_to("/t/").iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(200), Some(401), Some(200)]);

    drop(stop);
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn simulators_are_independent_and_stop_when_they_are_dropped() {
    let dora = User::new("dora", "dora-password");
    let with = Simulator::builder().seed(7).user(dora).start().await.unwrap();
    let without = Simulator::builder().seed(7).start().await.unwrap();
    let log_in = || Request::post("/token").body(Bytes::from_static(LOGIN.as_bytes())).unwrap();
    assert_eq!(with.service().respond(log_in()).await.unwrap().status(), 200);
    assert_eq!(
        without.service().respond(log_in()).await.unwrap().status(),
        400,
        "dora is a user of one simulator only"
    );

    with.fail_next("/t/**", 503);
    with.advance_clock(std::time::Duration::from_secs(3600));
    assert_eq!(get(authority(&with.url()), USERS).await, 503);
    assert_eq!(get(authority(&without.url()), USERS).await, 401);
    assert!(with.service().clock().now() > without.service().clock().now());
    assert_eq!((with.stats().logins.ok, without.stats().logins.failed), (1, 1));

    let (address, other) = (with.address(), without.url());
    drop(with);
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(get(authority(&other), USERS).await, 401, "the other simulator still responds");
}
