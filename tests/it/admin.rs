//! The admin listener, for operators and monitoring.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use vbc_proxy::app::Ended;
use vbc_proxy::{App, Simulator};
use vbc_simulator::{Action, Fault};

use crate::harness::{World, within};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";

#[tokio::test]
async fn live_reports_only_that_the_process_responds() {
    let world = World::builder().config(r#"credentials.default.client_secret = "wrong""#).start().await;
    let response = world.admin("/live").await;
    assert_eq!((response.status, response.text()), (200, "live\n"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn ready_gives_its_reasons_until_a_token_is_usable() {
    let sim = Simulator::start().await.unwrap();
    let hang = sim.inject(Fault::hang().on("/token")).unwrap();
    let config = World::builder().configuration(&sim);
    let world = World::with(config, sim).await;
    let response = world.admin("/ready").await;
    assert_eq!(response.status, 503);
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let expected = "credential default: the first token has not been issued yet";
    assert_eq!(response.json(), serde_json::json!({ "ready": false, "reasons": [expected], "degraded": [] }));
    world.sim.remove_fault(hang);
    world.ready().await;
    let ready = serde_json::json!({ "ready": true, "reasons": [], "degraded": [] });
    assert_eq!(world.admin("/ready").await.json(), ready);
}

/// A second credential that the token endpoint refuses: its client secret is wrong.
const REFUSED: [&str; 4] = [
    r#"credentials.other.client_id = "sim-client""#,
    r#"credentials.other.client_secret = "wrong""#,
    r#"credentials.other.username = "bob""#,
    r#"credentials.other.password = "sim-password""#,
];

#[tokio::test]
async fn a_proxy_is_ready_while_one_credential_is_usable_and_lists_the_others() {
    let builder = REFUSED.iter().fold(World::builder(), |builder, line| builder.config(line));
    let world = builder.start().await;
    world.ready().await;
    let other = within(async {
        loop {
            let other = world.admin("/ready?credential=other").await;
            if other.text().contains("invalid_client") {
                break other;
            }
        }
    })
    .await;
    assert_eq!((other.status, &other.json()["ready"]), (503, &Value::Bool(false)));
    let reason = other.json()["reasons"][0].clone();
    assert!(reason.as_str().unwrap().starts_with("credential other: "), "{reason}");
    let all = world.admin("/ready").await;
    let expected = serde_json::json!({ "ready": true, "reasons": [], "degraded": [reason] });
    assert_eq!((all.status, all.json()), (200, expected));
    let status = world.admin("/status.json").await.json();
    assert_eq!((&status["ready"], &status["degraded"][0]), (&Value::Bool(true), &reason));
    assert_eq!(world.admin("/ready?credential=default").await.status, 200);
    assert_eq!(world.admin("/status.json?credential=other").await.json()["ready"], false);
    let unknown = world.admin("/ready?credential=nobody").await;
    assert_eq!((unknown.status, &unknown.json()["type"]), (404, &"urn:vbc-proxy:no-such-credential".into()));
}

#[tokio::test]
async fn ready_names_the_trouble_of_the_token_endpoint() {
    let sim = Simulator::start().await.unwrap();
    sim.inject(Fault::status(503).on("/token")).unwrap();
    let config = World::builder().configuration(&sim);
    let world = World::with(config, sim).await;
    world.get(USERS).await.assert_problem(503, "proxy_internal_error");
    let response = world.admin("/ready").await;
    assert_eq!(response.status, 503);
    let reason = response.json()["reasons"][0].as_str().unwrap().to_owned();
    assert!(reason.starts_with("credential default: token endpoint http://127.0.0.1:"), "{reason}");
    assert!(reason.contains("503"), "{reason}");
}

#[tokio::test]
async fn a_draining_proxy_is_live_but_not_ready() {
    let mut world = World::start().await;
    world.ready().await;
    world.sim.inject(Fault::hang().on("/t/vbc.prod")).unwrap();
    let mut client = world.connect().await;
    client.request(&format!("GET {USERS} HTTP/1.1"), b"").await;
    within(async {
        while world.sim.stats().api_requests == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.begin_drain();
    let response = within(async {
        loop {
            let response = world.admin("/ready").await;
            if response.status != 200 {
                break response;
            }
        }
    })
    .await;
    assert_eq!(response.status, 503);
    assert_eq!(response.json()["reasons"][0], "draining: the proxy is shutting down");
    assert_eq!(world.admin("/live").await.status, 200);
    assert_eq!(world.admin("/status.json").await.json()["ready"], false);
    world.sim.clear_faults();
    assert_eq!(client.response().await.status, 200);
    assert_eq!(world.ended().await, Ended::Drained);
}

/// The value of a sample in the metrics.
fn sample(text: &str, name: &str) -> Option<f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut found = lines.filter_map(|line| line.rsplit_once(' ')).filter(|(key, _)| *key == name);
    found.next().map(|(_, value)| value.parse().unwrap())
}

#[tokio::test]
async fn metrics_count_responses_retries_and_exchanges() {
    let world = World::start().await;
    world.ready().await;
    for _ in 0..3 {
        assert_eq!(world.get(USERS).await.status, 200);
    }
    world.sim.revoke_all_access();
    assert_eq!(world.get(USERS).await.status, 200);
    assert_eq!(world.get("/t/vbc.prod/nothing").await.status, 404);
    let foreign = world.send("GET / HTTP/1.1\nHost: elsewhere.example", b"").await;
    foreign.assert_problem(421, "http_request_denied");
    world.sim.inject(Action::LockUser { user: "alice@vbc.prod".into(), keep_tokens: false }).unwrap();
    world.get(USERS).await.assert_problem(503, "proxy_internal_error");

    let response = world.admin("/metrics").await;
    assert_eq!(response.status, 200);
    let content_type = response.header("content-type").unwrap();
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = response.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    for (name, expected) in [
        (r#"vbc_proxy_requests_total{status="200",source="upstream"}"#, 4.0),
        (r#"vbc_proxy_requests_total{status="404",source="upstream"}"#, 1.0),
        (r#"vbc_proxy_requests_total{status="421",source="proxy"}"#, 1.0),
        (r#"vbc_proxy_requests_total{status="503",source="proxy"}"#, 1.0),
        (r#"vbc_proxy_retries_total{verdict="token_refused",outcome="cured"}"#, 1.0),
        (r#"vbc_proxy_retries_total{verdict="token_refused",outcome="no_token"}"#, 1.0),
        (r#"vbc_proxy_refreshes_total{credential="default",grant="password",outcome="issued"}"#, 1.0),
        (r#"vbc_proxy_refreshes_total{credential="default",grant="password",outcome="locked"}"#, 1.0),
        (r#"vbc_proxy_refreshes_total{credential="default",grant="refresh_token",outcome="issued"}"#, 1.0),
        (r#"vbc_proxy_refreshes_total{credential="default",grant="refresh_token",outcome="refused"}"#, 1.0),
        (r#"vbc_proxy_brake_engaged{credential="default"}"#, 1.0),
        (r#"vbc_proxy_token_unsaved{credential="default"}"#, 0.0),
        ("vbc_proxy_aborted_answers_total", 0.0),
    ] {
        assert_eq!(sample(text, name), Some(expected), "{name} in\n{text}");
    }
    let expiry = r#"vbc_proxy_token_expiry_timestamp_seconds{credential="default"}"#;
    let ahead = sample(text, expiry).unwrap() - vbc_base::clock::Clock::system().now().as_second() as f64;
    assert!((86_000.0..=86_400.0).contains(&ahead), "{ahead}");
    assert!(sample(text, "vbc_proxy_connections_open").is_some());
    assert!(sample(text, "vbc_proxy_upstream_connections_open").is_some());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("vbc_proxy_"), "{line}");
    }
}

/// The names of all metrics in an exposition. Counters end in `_total`.
fn names_of(exposition: &str) -> BTreeSet<String> {
    let types = exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.into() }).collect()
}

#[tokio::test]
async fn the_page_about_operations_has_every_metric() {
    let world = World::start().await;
    // A metric with labels appears with its first sample.
    world.ready().await;
    world.sim.revoke_all_access();
    assert_eq!(world.get(USERS).await.status, 200);
    let mut names = names_of(world.admin("/metrics").await.text());
    // This world has neither a recorder nor faults.
    let others = ["records_written", "records_dropped", "records_truncated", "faults_injected"];
    names.extend(others.map(|name| format!("vbc_proxy_{name}_total")));
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `vbc_proxy_")?.split_once('`'));
    let documented: BTreeSet<String> = rows.map(|(name, _)| format!("vbc_proxy_{name}")).collect();
    assert_eq!(documented, names);
}

#[tokio::test]
async fn the_expiry_is_0_without_a_token() {
    let world = World::builder().config(r#"credentials.default.client_secret = "wrong""#).start().await;
    world.get(USERS).await.assert_problem(503, "proxy_internal_error");
    let text = world.admin("/metrics").await.text().to_owned();
    let expiry = r#"vbc_proxy_token_expiry_timestamp_seconds{credential="default"}"#;
    assert_eq!(sample(&text, expiry), Some(0.0));
}

#[tokio::test]
async fn the_status_has_what_operators_look_for_first() {
    let world = World::start().await;
    world.ready().await;
    let response = world.admin("/status.json").await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/json"));
    let status = response.json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&status["ready"], &status["reasons"]), (&Value::Bool(true), &serde_json::json!([])));
    assert_eq!(status["listen"], format!("http://{}", world.address));
    assert_eq!(status["upstream"], world.sim.url());
    assert!(status["connections"].is_u64(), "{status}");
    let credentials = status["credentials"].as_array().unwrap();
    assert_eq!(credentials.len(), 1);
    let credential = &credentials[0];
    assert_eq!(credential["name"], "default");
    assert_eq!(credential["exchanges"], 1);
    for (member, expected) in
        [("usable", true), ("brake", false), ("login_needed", false), ("unsaved", false)]
    {
        assert_eq!(credential[member], expected, "{member}");
    }
    assert!(credential["revision"].as_u64().unwrap() > 0);
    assert_eq!(credential["trouble"], Value::Null);
    let times: Vec<&str> = ["issued_at", "next_attempt", "expires_at"]
        .iter()
        .map(|member| credential[member].as_str().unwrap_or_else(|| panic!("{member} in {credential}")))
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(status["started"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn an_unknown_page_is_a_problem() {
    let world = World::start().await;
    for target in ["/", "/nothing", "/metrics/x"] {
        let response = world.admin(target).await;
        assert_eq!(response.status, 404, "{target}");
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
        assert_eq!(response.json()["type"], "urn:vbc-proxy:no-such-page");
        assert_eq!(response.json()["status"], 404);
    }
}

#[tokio::test]
async fn the_admin_listener_can_be_off() {
    let sim = Simulator::start().await.unwrap();
    let config = World::builder().config(r#"admin.address = "off""#).configuration(&sim);
    let app = App::bind(config).await.unwrap();
    assert_eq!(app.admin_address(), None);
    let patience = Duration::from_secs(20);
    assert_eq!(tokio::time::timeout(patience, app.run(async {})).await.unwrap().unwrap(), Ended::Drained);
}
