//! A reset of the built-in simulator also resets what the proxy has learned from it.

use std::cell::Cell;
use std::net::SocketAddr;

use futures_util::future::join;
use serde_json::{Value, json};
use vbc_proxy::Simulator;

use crate::harness::{Response, within};
use crate::process::{Process, configuration, get, lay_out};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";

const FREE: [(&str, &str); 4] = [
    ("VBC_PROXY_LISTEN_ADDRESS", "127.0.0.1:0"),
    ("VBC_PROXY_ADMIN_ADDRESS", "127.0.0.1:0"),
    ("VBC_PROXY_SIMULATOR_ADDRESS", "127.0.0.1:0"),
    ("VBC_PROXY_SIMULATOR_CONTROL", "127.0.0.1:0"),
];

/// `serve --simulate`.
struct Simulated {
    serve: Process,
    control: SocketAddr,
    proxy: SocketAddr,
    admin: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Simulated {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut serve = Process::start(directory.path(), &["serve", "--simulate", "--seed", "7"], &FREE);
        let (_, control) = serve.simulating().await;
        let (proxy, admin) = serve.listening().await;
        Self { serve, control, proxy, admin, _directory: directory }
    }

    async fn post(&self, path: &str, body: &str) {
        let response = post(self.control, path, body).await;
        assert_eq!(response.status, 200, "{path} {body}: {}", response.text());
    }

    async fn reset(&self) {
        self.post("/__sim/reset", "").await;
    }

    async fn fault(&self, fault: Value) {
        self.post("/__sim/faults", &fault.to_string()).await;
    }

    async fn users(&self) -> Response {
        get(self.proxy, USERS).await
    }

    async fn stats(&self) -> Value {
        serde_json::from_slice(&get(self.control, "/__sim/stats").await.body).unwrap()
    }

    /// The statuses of the requests to the API, in order.
    async fn statuses(&self) -> Vec<Value> {
        let journal = get(self.control, "/__sim/requests?path=/t/vbc.prod/provisioning").await;
        let journal: Vec<Value> = serde_json::from_slice(&journal.body).unwrap();
        journal.iter().map(|request| request["status"].clone()).collect()
    }
}

async fn post(to: SocketAddr, path: &str, body: &str) -> Response {
    let mut client = crate::harness::Client::connect(to).await;
    let head = format!("POST {path} HTTP/1.1\r\ncontent-length: {}", body.len());
    client.request(&head, body.as_bytes()).await;
    client.response().await
}

#[tokio::test]
async fn each_reset_costs_one_login_and_the_next_request_meets_no_401() {
    let world = Simulated::start().await;
    for n in 0..12 {
        world.reset().await;
        assert_eq!(world.users().await.status, 200, "after reset {n}");
        let stats = world.stats().await;
        assert_eq!(stats["logins"], json!({ "ok": 1, "failed": 0 }), "reset {n}: {stats}");
        assert_eq!((&stats["token_requests"], &stats["by_status"]), (&json!(1), &json!({ "200": 1 })));
    }
    let metrics = get(world.admin, "/metrics").await;
    assert_eq!(metrics.metric("vbc_proxy_forced_refreshes_total{credential=\"default\"}"), Some(0.0));
    // The totals of the proxy itself keep counting.
    let logins = "vbc_proxy_refreshes_total{credential=\"default\",grant=\"password\",outcome=\"issued\"}";
    assert!(metrics.metric(logins).is_some_and(|total| total >= 12.0), "{}", metrics.text());
}

#[tokio::test]
async fn what_keeps_the_proxy_from_logging_in_ends_with_the_reset() {
    let world = Simulated::start().await;
    for fault in [
        json!({ "fault": "lock_user", "user": "alice@vbc.prod" }),
        json!({ "fault": "change_password", "user": "alice@vbc.prod", "password": "new" }),
        json!([
            { "fault": "regenerate_secret", "client_id": "sim-client", "secret": "new" },
            { "fault": "revoke_all_access" },
        ]),
        json!([{ "fault": "status", "status": 503, "path": "/token" }, { "fault": "revoke_all_access" }]),
    ] {
        world.fault(fault.clone()).await;
        assert_eq!(world.users().await.status, 503, "{fault}");
        world.reset().await;
        assert_eq!(world.users().await.status, 200, "{fault}");
    }
    assert_eq!(get(world.admin, "/ready").await.status, 200);
}

#[tokio::test]
async fn a_fault_after_a_reset_strikes_the_next_request() {
    let world = Simulated::start().await;
    for _ in 0..3 {
        world.reset().await;
        // Without an endpoint, the fault would strike a login too.
        world.fault(json!({ "fault": "truncated_json", "count": 1 })).await;
        let response = world.users().await;
        assert_eq!(response.status, 200);
        assert!(serde_json::from_slice::<Value>(&response.body).is_err(), "{}", response.text());
        assert!(serde_json::from_slice::<Value>(&world.users().await.body).is_ok());
    }
    world.reset().await;
    world.fault(json!({ "fault": "revoke_all_access" })).await;
    assert_eq!(world.users().await.status, 200);
    assert_eq!(world.statuses().await, [401, 200], "the proxy had a token to revoke");
}

#[tokio::test]
async fn a_401_is_not_remembered_across_a_reset() {
    let world = Simulated::start().await;
    for _ in 0..3 {
        world.reset().await;
        world.fault(json!({ "fault": "backend_401", "path": "/t/vbc.prod/provisioning" })).await;
        assert_eq!(world.users().await.status, 401);
        let stats = world.stats().await;
        assert_eq!(stats["refreshes"]["ok"], 1, "the proxy tries a new token: {stats}");
        assert_eq!(world.users().await.status, 401);
        assert_eq!(world.stats().await["refreshes"]["ok"], 1, "and remembers that it did not help");
    }
}

#[tokio::test]
async fn a_new_scenario_resets_the_proxy_too() {
    let world = Simulated::start().await;
    world.post("/__sim/scenario", "seed = 8\n").await;
    assert_eq!(world.users().await.status, 200);
    let stats = world.stats().await;
    assert_eq!((&stats["logins"]["ok"], &stats["by_status"]), (&json!(1), &json!({ "200": 1 })));
    // A scenario that is wrong changes nothing.
    assert_eq!(post(world.control, "/__sim/scenario", "sede = 8\n").await.status, 400);
    assert_eq!(world.stats().await, stats);
    // The proxy finds no token at the start of this one.
    let outage = "[[faults]]\nfault = \"status\"\nstatus = 503\npath = \"/token\"\n";
    world.post("/__sim/scenario", outage).await;
    assert_eq!(world.users().await.status, 503);
    world.post("/__sim/scenario", "").await;
    assert_eq!(world.users().await.status, 200);
}

/// The two requests of the page about testing.
#[tokio::test]
async fn a_proxy_in_another_process_is_reset_by_its_admin_listener() {
    let sim = Simulator::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let token_url = format!("{}/token", sim.url());
    lay_out(directory.path(), &configuration(&sim.url(), &token_url, ""), "sim-password");
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    let (proxy, admin) = serve.listening().await;
    for _ in 0..2 {
        sim.lock_user("alice@vbc.prod").unwrap();
        assert_eq!(get(proxy, USERS).await.status, 503);
        sim.reset();
        for operation in ["unlock", "refresh"] {
            let response = post(admin, &format!("/credentials/default/{operation}"), "").await;
            assert_eq!(response.status, 200, "{operation}: {}", response.text());
        }
        assert_eq!(get(proxy, USERS).await.status, 200);
        assert!(!sim.stats().by_status.contains_key(&401));
    }
    serve.terminate().await;
}

#[tokio::test]
async fn requests_in_flight_survive_a_reset() {
    let world = Simulated::start().await;
    let (responses, is_over) = (Cell::new(0), Cell::new(false));
    let resets = async {
        for _ in 0..20 {
            world.reset().await;
            // A request is sent three times at most, so it must not meet several resets.
            let enough = responses.get() + 2;
            while responses.get() < enough {
                tokio::task::yield_now().await;
            }
        }
        is_over.set(true);
    };
    let requests = async {
        while !is_over.get() {
            assert_eq!(world.users().await.status, 200);
            responses.set(responses.get() + 1);
        }
    };
    within(join(resets, requests)).await;
    world.reset().await;
    assert_eq!(world.users().await.status, 200);
    let output = world.serve.terminate().await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
}

#[tokio::test]
async fn a_token_endpoint_that_hangs_from_the_start_does_not_hold_the_reset_up_for_long() {
    let world = Simulated::start().await;
    let hanging = "[[faults]]\nfault = \"hang\"\npath = \"/token\"\n";
    within(world.post("/__sim/scenario", hanging)).await;
    // The reset releases the login that hangs.
    world.post("/__sim/scenario", "").await;
    assert_eq!(world.users().await.status, 200);
}
