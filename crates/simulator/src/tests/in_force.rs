//! Faults and settings in force, and reverting them one by one.

use super::*;

impl Simulator {
    /// Names, parameters and ids of everything in force.
    async fn in_force(&self) -> Vec<(String, Value, u64)> {
        let listed = self.control("GET", "/__sim/faults", "").await.json();
        let one = |one: &Value| {
            (one["fault"].as_str().unwrap().to_owned(), one["with"].clone(), one["id"].as_u64().unwrap())
        };
        listed.as_array().unwrap().iter().map(one).collect()
    }

    async fn take_back(&self, id: u64) -> u16 {
        self.control("DELETE", &format!("/__sim/faults/{id}"), "").await.status.as_u16()
    }
}

#[tokio::test]
async fn a_quota_and_a_moved_clock_are_in_force_until_they_are_taken_back() {
    let sim = Simulator::start().await.unwrap();
    let real = Clock::system();
    let token = sim.log_in().await.text("access_token");
    sim.control("POST", "/__sim/clock", r#"{"advance":"1h"}"#).await;
    sim.fault(json!({ "fault": "quota", "per_minute": 1 })).await;
    sim.control("POST", "/__sim/clock", r#"{"advance":"30s"}"#).await;
    let in_force = sim.in_force().await;
    let shown: Vec<_> = in_force.iter().map(|(fault, with, _)| (fault.as_str(), with.clone())).collect();
    assert_eq!(
        shown,
        [("quota", json!({ "per_minute": 1 })), ("clock_advance", json!({ "seconds": 3630.0 }))]
    );
    assert_eq!(sim.get(ACCOUNT, &token).await.status, 200);
    let second = sim.get(ACCOUNT, &token).await.status;
    assert_eq!(sim.take_back(in_force[0].2).await, 204);
    for _ in 0..3 {
        assert_eq!(
            sim.get(ACCOUNT, &token).await.status,
            200,
            "the limit is removed; before, the second request got {second}"
        );
    }
    assert_eq!(sim.in_force().await.len(), 1, "only one change was reverted");
    assert_eq!(sim.take_back(in_force[1].2).await, 204);
    assert_eq!(sim.in_force().await, []);
    let apart = sim.service().clock().now().duration_since(real.now()).abs();
    assert!(apart.as_secs() < 60, "{apart:?}");
    assert_eq!(sim.take_back(in_force[1].2).await, 404);
}

#[tokio::test]
async fn every_setting_that_a_fault_changes_can_be_taken_back() {
    let (user, client) = ("alice@vbc.prod", "sim-client");
    for changes in [
        json!([{ "fault": "expire_in", "seconds": 60 }]),
        json!([{ "fault": "mode", "mode": "renew_keep" }, { "fault": "mode", "mode": "renew_revoke" }]),
        json!([{ "fault": "old_access", "state": "alive" }]),
        json!([{ "fault": "spent_refresh", "status": 500 }]),
        json!([{ "fault": "lock_user", "user": user }]),
        json!([{ "fault": "single_sign_on", "user": user }]),
        json!([{ "fault": "roles", "user": user, "suite": "vis" }]),
        json!([{ "fault": "refuse_scope" }]),
        json!([{ "fault": "refuse_scope", "client_id": client }]),
        json!([{ "fault": "quota", "per_minute": 3 }, { "fault": "quota", "per_minute": 2 }]),
        json!([{ "fault": "quota", "per_minute": 0, "client_id": client }]),
        json!([{ "fault": "unsubscribe", "suite": "vis" }]),
        json!([{ "fault": "unsubscribe", "suite": "vis", "client_id": client }]),
        json!([{ "fault": "clock_set", "time": "2030-01-01T00:00:00Z" }]),
        json!([{ "fault": "clock_advance", "seconds": -0.5 }]),
    ] {
        let sim = Simulator::start().await.unwrap();
        let response = sim.control("POST", "/__sim/faults", &changes.to_string()).await.json();
        let last = response.as_array().unwrap().last().unwrap().clone();
        let in_force = sim.in_force().await;
        assert_eq!(in_force.len(), 1, "{changes}");
        assert_eq!(
            (in_force[0].0.as_str(), in_force[0].2),
            (last["fault"].as_str().unwrap(), last["id"].as_u64().unwrap())
        );
        assert_eq!(sim.take_back(in_force[0].2).await, 204, "{changes}");
        assert_eq!(sim.in_force().await, [], "{changes}");
        // The setting is back at its start, so the same change is listed again.
        let again = sim.control("POST", "/__sim/faults", &changes.to_string()).await;
        assert_eq!((again.status.as_u16(), sim.in_force().await.len()), (200, 1), "{changes}");
    }
}

#[tokio::test]
async fn a_change_that_is_undone_by_hand_is_not_in_force() {
    let sim = Simulator::start().await.unwrap();
    for (there, back) in [
        (json!({ "fault": "quota", "per_minute": 5 }), json!({ "fault": "quota", "per_minute": 0 })),
        (
            json!({ "fault": "lock_user", "user": "alice@vbc.prod", "keep_tokens": true }),
            json!({ "fault": "unlock_user", "user": "Alice@vbc.prod" }),
        ),
        (
            json!({ "fault": "unsubscribe", "suite": "vis" }),
            json!({ "fault": "resubscribe", "suite": "vis" }),
        ),
        (
            json!({ "fault": "clock_advance", "seconds": 60 }),
            json!({ "fault": "clock_advance", "seconds": -60 }),
        ),
    ] {
        sim.fault(there.clone()).await;
        assert_eq!(sim.in_force().await.len(), 1, "{there}");
        sim.fault(back.clone()).await;
        assert_eq!(sim.in_force().await, [], "{back}");
    }
    for done in [
        json!({ "fault": "revoke_all_access" }),
        json!({ "fault": "change_password", "user": "alice@vbc.prod", "password": "hunter22" }),
    ] {
        sim.fault(done.clone()).await;
        assert_eq!(sim.in_force().await, [], "{done}");
    }
}

#[tokio::test]
async fn a_scenario_that_comes_over_the_network_lifts_no_limit() {
    let started: SimulatorOptions = SimulatorOptions {
        webhooks: "hooks.test".parse().unwrap(),
        quota: Some(10),
        quota_limit: Some(10),
        ..Default::default()
    };
    let sim = Simulator::bind(started).await.unwrap();
    for (text, place) in [
        ("seed = 3\nwebhooks = \"any\"", "scenario:2:1: webhooks: "),
        ("webhooks = [\"other.test\"]", "scenario:1:1: webhooks: "),
        ("quota = 11", "scenario:1:1: quota: "),
        ("quota = 0", "scenario:1:1: quota: "),
        ("[[faults]]\nfault = \"quota\"\nper_minute = 0", "faults.0.per_minute: "),
        ("[[timeline]]\nat = \"1s\"\nfault = \"quota\"\nper_minute = 11", "timeline.0.per_minute: "),
        (
            "[[faults]]\nfault = \"quota\"\nper_minute = 11\nclient_id = \"sim-client\"",
            "faults.0.per_minute: ",
        ),
        ("[[applications]]\nclient_id = \"x\"\nclient_secret = \"y\"\nquota = 11", "applications.quota: "),
    ] {
        let response = sim.control("POST", "/__sim/scenario", text).await;
        assert_eq!(response.status, 400, "{text}");
        let error = response.text("error");
        assert!(error.contains(place) && error.contains("was started with"), "{error}");
        assert_eq!(sim.service.engine.state().options.webhooks, "hooks.test".parse().unwrap());
        assert_eq!(sim.service.engine.state().quota, Some(10));
    }
    let narrower = "webhooks = \"loopback\"\nquota = 1";
    assert_eq!(sim.control("POST", "/__sim/scenario", narrower).await.status, 200);
    assert_eq!(sim.service.engine.state().options.webhooks, WebhookTargets::Loopback);
    // A narrowed setting can return to its start.
    assert_eq!(sim.control("POST", "/__sim/scenario", "webhooks = [\"hooks.test\"]").await.status, 200);
}

#[tokio::test]
async fn a_scenario_without_a_start_begins_at_the_real_time() {
    let sim = Simulator::start().await.unwrap();
    let real = Clock::system();
    sim.control("POST", "/__sim/scenario", "start = \"2030-01-01T00:00:00Z\"").await;
    assert_eq!(sim.control("GET", "/__sim/clock", "").await.text("now")[..16], *"2030-01-01T00:00");
    sim.control("POST", "/__sim/scenario", "seed = 4").await;
    let apart = sim.service().clock().now().duration_since(real.now()).abs();
    assert!(apart.as_secs() < 60, "{apart:?}");
}

#[tokio::test]
async fn somebody_calls_an_extension_or_its_direct_number() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let did = {
        let mut state = sim.service.engine.state();
        let account = state.world.account(12345).unwrap();
        let mut own = account.extensions.iter().filter(|one| one.number == "1001");
        own.find_map(|one| one.dids.first().cloned()).expect("a direct number")
    };
    let written = format!("+{} ({}) {}-{}", &did[..1], &did[1..4], &did[4..7], &did[7..]);
    for to in [json!("1001"), json!(1001), json!(did), json!(format!("+{did}")), json!(written)] {
        let response = sim.control("POST", "/__sim/calls", &json!({ "to": to }).to_string()).await;
        assert_eq!(response.status, 201, "{to}: {}", response.body);
        let call = sim.get(&format!("{CALLS}/{}", response.text("call_id")), &token).await;
        assert_eq!(call.status, 200, "{}", call.body);
    }
    for (body, error) in [
        (json!({}), "`to` is missing; give an extension or a direct number, such as \"1001\""),
        (json!({ "to": "14155559999" }), "no extension of account 12345 has the number 14155559999; "),
        (json!({ "to": "1001", "account": 1 }), "there is no account 1"),
        (json!({ "to": "1001", "account": "x" }), "`account`: expected an account's number"),
        (json!({ "to": true }), "`to`: expected an extension or a direct number"),
        (json!({ "to": "1001", "from": [] }), "`from`: expected a phone number"),
    ] {
        let response = sim.control("POST", "/__sim/calls", &body.to_string()).await;
        assert_eq!(response.status, 400, "{body}");
        assert!(response.text("error").starts_with(error), "{body}: {}", response.body);
    }
}

#[tokio::test]
async fn a_list_of_faults_of_which_one_cannot_be_injected_changes_nothing() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let first = [
        json!({ "fault": "quota", "per_minute": 1 }),
        json!({ "fault": "revoke_all_access" }),
        json!({ "fault": "lock_user", "user": "alice@vbc.prod" }),
        json!({ "fault": "regenerate_secret", "client_id": "sim-client", "secret": "another" }),
        json!({ "fault": "status", "status": 503 }),
        json!({ "fault": "clock_advance", "seconds": 200_000_000_000_u64 }),
    ];
    let last = [
        json!({ "fault": "lock_user", "user": "nobody" }),
        json!({ "fault": "roles", "user": "alice@vbc.prod", "suite": "nothing" }),
        json!({ "fault": "quota", "per_minute": 1, "client_id": "nobody" }),
        json!({ "fault": "unsubscribe", "suite": "nothing" }),
        json!({ "fault": "clock_advance", "seconds": 9e18 }),
        // Each move is valid alone, but both together are not.
        json!({ "fault": "clock_advance", "seconds": 200_000_000_000_u64 }),
        json!({ "fault": "nothing" }),
    ];
    for last in last {
        let list = Value::Array(first.iter().cloned().chain([last.clone()]).collect());
        let response = sim.control("POST", "/__sim/faults", &list.to_string()).await;
        assert_eq!(response.status, 400, "{last}");
        assert_eq!(sim.in_force().await, [], "{last}");
    }
    for _ in 0..3 {
        assert_eq!(sim.get(ACCOUNT, &token).await.status, 200);
    }
    assert_eq!(sim.stats().lock_events, 0);
    assert_eq!(sim.log_in().await.status, 200, "password and secret are unchanged");
    let apart = sim.service().clock().now().duration_since(Clock::system().now()).abs();
    assert!(apart.as_secs() < 60, "{apart:?}");
}

#[tokio::test]
async fn the_quota_and_the_clock_of_the_start_are_shown_and_come_back() {
    let started = SimulatorOptions {
        quota: Some(5),
        start: Some("2026-03-01T09:00:00Z".parse().unwrap()),
        ..Default::default()
    };
    let sim = Simulator::bind(started).await.unwrap();
    let start = json!({ "quota": 5, "clock": "2026-03-01T09:00:00Z" });
    let shown = async || sim.control("GET", "/__sim/start", "").await.json();
    assert_eq!(shown().await, start);
    assert_eq!(sim.in_force().await, []);
    let changes = json!([
        { "fault": "quota", "per_minute": 1 },
        { "fault": "clock_set", "time": "2030-01-01T00:00:00Z" }
    ]);
    sim.control("POST", "/__sim/faults", &changes.to_string()).await;
    assert_eq!(shown().await, start, "changes do not alter the start values");
    for (_, _, id) in sim.in_force().await {
        assert_eq!(sim.take_back(id).await, 204);
    }
    assert_eq!(sim.service.engine.state().quota, Some(5));
    assert!(sim.control("GET", "/__sim/clock", "").await.text("now").starts_with("2026-03-01T09:0"));
    let narrower = "quota = 2\nstart = \"2027-01-01T00:00:00Z\"";
    sim.control("POST", "/__sim/scenario", narrower).await;
    assert_eq!(shown().await, json!({ "quota": 2, "clock": "2027-01-01T00:00:00Z" }));
    assert_eq!(
        Simulator::start().await.unwrap().control("GET", "/__sim/start", "").await.json(),
        json!({ "quota": null, "clock": null })
    );
}
