//! The simulator over real sockets.

mod clock;
mod codes;
mod consistency;
mod control;
mod documents;
mod exports;
mod faults;
mod field;
mod gateway;
mod id_token;
mod identity;
mod in_force;
mod journal;
mod plain_http;
mod recordings;
mod service;
mod suites;
mod telephony;
mod testing;
mod token_faults;
mod traffic;
mod vis;
mod webhooks;
mod wire_faults;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use tokio::net::TcpStream;

use crate::*;
use vbc_base::clock::Clock;

/// A response, read completely.
pub(super) struct TestResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl TestResponse {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(super) fn text(&self, member: &str) -> String {
        self.json()[member].as_str().unwrap_or_else(|| panic!("no {member}: {}", self.body)).to_owned()
    }
}

/// Sends a request on its own connection. `None` if the connection ended without a response.
pub(super) async fn send(to: SocketAddr, request: Request<String>) -> Option<TestResponse> {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = request.map(|body| Full::new(Bytes::from(body)));
    let response = sender.send_request(request).await.ok();
    let response = match response {
        None => None,
        Some(response) => {
            let (head, body) = response.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            let body = String::from_utf8_lossy(&body).into_owned();
            Some(TestResponse { status: head.status, headers: head.headers, body })
        }
    };
    driver.abort();
    response
}

pub(super) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<String> {
    let mut request = Request::builder().method(method).uri(path).header("host", "sim.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.to_owned()).unwrap()
}

fn control_request(method: &str, path: &str, body: &str) -> Request<String> {
    let mut request = request(method, path, &[], body);
    request.headers_mut().insert("host", http::HeaderValue::from_static("localhost"));
    request
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const CLIENT: &str = "client_id=sim-client&client_secret=sim-secret";

impl Simulator {
    async fn of(mode: Mode) -> Self {
        Self::bind(SimulatorOptions { mode, ..SimulatorOptions::default() }).await.unwrap()
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TestResponse {
        send(self.address(), request(method, path, headers, body)).await.expect("an answer")
    }

    /// Sends a token request with the client's credentials in its body.
    async fn token(&self, form: &str) -> TestResponse {
        self.raw_token(&format!("{form}&{CLIENT}")).await
    }

    async fn raw_token(&self, form: &str) -> TestResponse {
        self.send("POST", "/token", &[FORM], form).await
    }

    async fn password(&self, user: &str, password: &str) -> TestResponse {
        self.token(&format!("grant_type=password&scope=openid&username={user}&password={password}")).await
    }

    async fn log_in(&self) -> TestResponse {
        let response = self.password("alice@vbc.prod", "sim-password").await;
        assert_eq!(response.status, 200, "{}", response.body);
        response
    }

    async fn refresh(&self, token: &str) -> TestResponse {
        self.token(&format!("grant_type=refresh_token&refresh_token={token}")).await
    }

    async fn get(&self, path: &str, token: &str) -> TestResponse {
        self.send("GET", path, &[("authorization", &format!("Bearer {token}"))], "").await
    }

    async fn control(&self, method: &str, path: &str, body: &str) -> TestResponse {
        send(self.control_address(), control_request(method, path, body)).await.expect("an answer")
    }

    async fn fault(&self, fault: Value) -> u64 {
        let response = self.control("POST", "/__sim/faults", &fault.to_string()).await;
        assert_eq!(response.status, 200, "{}", response.body);
        response.json()[0]["id"].as_u64().unwrap()
    }
}

const ACCOUNT: &str = "/t/vbc.prod/provisioning/api/accounts/12345";
const CALLS: &str = "/t/vbc.prod/telephony/v3/cc/accounts/12345/calls";

const AUTHORIZE: &str = "/authorize?response_type=code&client_id=sim-client&scope=openid&state=a%20b\
                         &redirect_uri=http%3A%2F%2Flocalhost%3A8081%2Fcallback";

fn error(code: &str, words: &str) -> String {
    format!(r#"{{"error_description":"{words}","error":"{code}"}}"#)
}

#[tokio::test]
async fn stopping_and_dropping_close_the_sockets() {
    for stop in [true, false] {
        let sim = Simulator::start().await.unwrap();
        let (address, control) = (sim.address(), sim.control_address());
        // One connection is idle, another one hangs.
        let idle = TcpStream::connect(address).await.unwrap();
        sim.inject(Fault::hang()).unwrap();
        let hanging = tokio::spawn(send(address, request("GET", ACCOUNT, &[], "")));
        while sim.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        if stop {
            sim.stop().await;
        } else {
            drop(sim);
        }
        assert!(hanging.await.unwrap().is_none());
        let _ = idle.readable().await;
        while TcpStream::connect(address).await.is_ok() || TcpStream::connect(control).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn many_simulators_live_side_by_side() {
    let mut sims = Vec::new();
    for _ in 0..50 {
        sims.push(Simulator::start().await.unwrap());
    }
    for sim in &sims {
        assert_eq!(sim.log_in().await.json()["expires_in"], 86_400);
        assert_eq!(sim.stats().logins, Outcomes { ok: 1, failed: 0 });
    }
}
