//! One call as each suite shows it.

use super::*;

const VIS: &str = "/t/vbc.prod/vis/v1/self";
const RECORDINGS: &str = "/t/vbc.prod/call_recording/api/accounts/self/company_call_recordings";

async fn reported(sim: &Simulator, token: &str, call: &str) -> Option<Value> {
    let logs = "/t/vbc.prod/reports/accounts/self/call-logs?page_size=1000\
                &start:gte=2000-01-01%2000:00:00&start:lte=2100-01-01%2000:00:00";
    let page = sim.get(logs, token).await.json();
    page["_embedded"]["call_logs"].as_array().unwrap().iter().find(|log| log["id"] == call).cloned()
}

async fn recorded(sim: &Simulator, token: &str, call: &str) -> Option<Value> {
    let page = sim.get(&format!("{RECORDINGS}?call_id={call}"), token).await.json();
    page["_embedded"]["recordings"].as_array().unwrap().first().cloned()
}

/// Places a call with Telephony, and returns its id.
async fn dial(sim: &Simulator, token: &str, to: &str) -> String {
    let body = json!({
        "type": "click2dial", "from": { "type": "extension", "destination": "1001" },
        "to": { "type": "pstn", "destination": to },
    });
    let bearer = format!("Bearer {token}");
    sim.send("POST", CALLS, &[("authorization", &bearer)], &body.to_string()).await.body
}

#[tokio::test]
async fn a_call_placed_in_telephony_shows_everywhere_in_its_time() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let id = dial(&sim, &token, "14155550100").await;
    let active = sim.get(&format!("{VIS}/calls"), &token).await.json();
    assert_eq!((&active[0]["externalId"], &active[0]["state"]), (&json!(id), &json!("ACTIVE")));
    sim.advance(Duration::from_secs(90));
    let bearer = format!("Bearer {token}");
    sim.send("DELETE", &format!("{CALLS}/{id}"), &[("authorization", &bearer)], "").await;
    let event = sim.get(&format!("{VIS}/events?order=DESC&size=1"), &token).await.json();
    assert_eq!((&event[0]["externalId"], &event[0]["state"]), (&json!(id), &json!("ANSWERED")));
    assert_eq!(reported(&sim, &token, &id).await, None, "Reports lags");
    assert_eq!(recorded(&sim, &token, &id).await, None);
    sim.advance(Duration::from_secs(61));
    let recording = recorded(&sim, &token, &id).await.expect("the call is recorded");
    assert_eq!((&recording["dnis"], &recording["extensions"]), (&json!("14155550100"), &json!(["1001"])));
    assert!(recording["duration"].as_u64().unwrap() >= 90_000);
    assert!(reported(&sim, &token, &id).await.is_none(), "Reports lags at least five minutes");
    sim.advance(Duration::from_secs(12 * 60));
    let log = reported(&sim, &token, &id).await.expect("Reports lists a call after 13 minutes");
    assert_eq!((&log["recorded"], &log["result"]), (&json!(true), &json!("Answered")));
    assert_eq!((&log["source_user"], &log["length"]), (&json!("alice"), &json!(90)));
}

#[tokio::test]
async fn a_call_placed_in_the_integration_platform_shows_in_telephony_and_without_lag_at_once_in_reports() {
    let sim = Simulator::bind(SimulatorOptions { lag: 0.0, ..SimulatorOptions::default() }).await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let placed =
        sim.send("POST", &format!("{VIS}/calls"), &headers, r#"{"phoneNumber":"1002"}"#).await.json();
    let id = placed[0]["externalId"].as_str().unwrap();
    let call = sim.get(&format!("{CALLS}/{id}"), &token).await.json();
    assert_eq!(
        (&call["from"], &call["to"], &call["status"]),
        (&json!("1001"), &json!("1002"), &json!("on-call"))
    );
    let legs: Vec<_> = call["legs"].as_array().unwrap().iter().map(|leg| leg["leg_id"].clone()).collect();
    sim.send("DELETE", &format!("{CALLS}/{id}/legs/{}", legs[1].as_str().unwrap()), &headers, "").await;
    let log = reported(&sim, &token, id).await.expect("without lag, Reports lists the call immediately");
    assert_eq!((&log["in_network"], &log["recorded"]), (&json!(true), &json!(true)));
    assert!(log["source_user"] == "alice" && log["destination_extension"] == 1002);
    assert_eq!(recorded(&sim, &token, id).await.unwrap()["call_direction"], "INTRA_PBX");
}

#[tokio::test]
async fn what_nobody_answered_is_reported_and_not_recorded() {
    let sim = Simulator::bind(SimulatorOptions { lag: 0.0, ..SimulatorOptions::default() }).await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let id = sim.receive_call(12345, "14155550177", "1001").unwrap();
    sim.advance(Duration::from_secs(30));
    let log = reported(&sim, &token, &id).await.unwrap();
    assert_eq!(
        (&log["result"], &log["length"], &log["recorded"]),
        (&json!("Missed"), &json!(0), &json!(false))
    );
    assert_eq!(recorded(&sim, &token, &id).await, None);
}

#[tokio::test]
async fn one_seed_gives_one_world_and_one_future() {
    let service = |seed| Service::new(SimulatorOptions { seed, ..SimulatorOptions::default() });
    let future = |service: &Service| service.receive_call(12345, "14155550100", "1001").unwrap();
    let (one, two, other) = (service(7), service(7), service(8));
    let ids = [future(&one), future(&two), future(&other)];
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
}
