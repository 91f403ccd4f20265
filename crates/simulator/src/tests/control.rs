use super::*;

#[tokio::test]
async fn the_control_plane_shows_what_happened() {
    let sim = Simulator::start().await.unwrap();
    assert_eq!(sim.control("GET", "/__sim/health", "").await.text("status"), "ok");
    let token = sim.log_in().await.text("access_token");
    sim.get(&format!("{ACCOUNT}?a=%40&b=x+y"), &token).await;
    sim.get(ACCOUNT, &token).await;
    sim.get(ACCOUNT, "").await;
    let stats = sim.control("GET", "/__sim/stats", "").await.json();
    assert_eq!(stats["logins"], json!({ "ok": 1, "failed": 0 }));
    assert_eq!((&stats["token_requests"], &stats["token_concurrency_max"]), (&json!(1), &json!(1)));
    assert_eq!((&stats["api_requests"], &stats["by_status"]), (&json!(3), &json!({ "200": 2, "401": 1 })));
    let counted = &stats["requests_by_token"][format!("GET {ACCOUNT}")];
    assert_eq!(*counted, json!({ "access-1": 2, "none": 1 }));
    let requests = sim.control("GET", "/__sim/requests", "").await.json();
    assert_eq!(requests.as_array().unwrap().len(), 4);
    assert_eq!((&requests[0]["grant"], &requests[0]["status"]), (&json!("password"), &json!(200)));
    assert_eq!(requests[1]["target"], format!("{ACCOUNT}?a=%40&b=x+y"));
    assert_eq!(requests[1]["headers"][1], json!(["authorization", "Bearer access-1"]));
    assert_eq!((&requests[1]["token"], &requests[1]["connection"]), (&json!("access-1"), &json!(2)));
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(requests[1]["body_sha256"], empty);
    let since = sim.control("GET", "/__sim/requests?since=2&path=/t/", "").await.json();
    assert_eq!(since.as_array().unwrap().len(), 2);
    assert_eq!(sim.control("GET", "/__sim/requests?since=x", "").await.status, 400);
    assert_eq!(sim.control("GET", "/nothing", "").await.status, 404);
    assert_eq!(sim.control("POST", "/__sim/stats", "").await.status, 405);
    assert_eq!(sim.send("GET", "/__sim/stats", &[], "").await.status, 404, "not on the service's port");
}

#[tokio::test]
async fn a_reset_goes_back_to_the_start() {
    let clock = Clock::system();
    let options = SimulatorOptions { clock: clock.clone(), ..SimulatorOptions::default() };
    let sim = Simulator::bind(options).await.unwrap();
    let users = format!("{ACCOUNT}/users?page_size=100");
    let token = sim.log_in().await.text("access_token");
    let before = sim.get(&users, &token).await.json();
    let start = clock.now();
    sim.advance(Duration::from_secs(1_000_000));
    sim.fault(json!({ "fault": "mode", "mode": "renew_keep" })).await;
    sim.fault(json!({ "fault": "status", "status": 503 })).await;
    sim.fault(json!({ "fault": "change_password", "user": "alice@vbc.prod", "password": "new" })).await;
    assert_eq!(sim.control("POST", "/__sim/reset", "").await.status, 200);
    assert!(vbc_base::clock::until(start, clock.now()) < Duration::from_secs(1000));
    assert_eq!(sim.stats().token_requests, 0);
    assert!(sim.requests().is_empty());
    assert_eq!(sim.control("GET", "/__sim/faults", "").await.json(), json!([]));
    assert_eq!(sim.get(ACCOUNT, &token).await.status, 401, "a reset forgets the tokens");
    let (one, two) = (sim.log_in().await, sim.log_in().await);
    assert_eq!(one.text("access_token"), two.text("access_token"), "a reset restores the mode");
    assert_eq!(sim.get(&users, &one.text("access_token")).await.json(), before);
}

#[tokio::test]
async fn nothing_that_is_shown_contains_a_secret() {
    let sim = Simulator::start().await.unwrap();
    let first = sim.log_in().await;
    let second = sim.refresh(&first.text("refresh_token")).await;
    let basic = [FORM, ("authorization", "Basic c2ltLWNsaWVudDpzaW0tc2VjcmV0")];
    sim.send("POST", "/token?password=sim-password", &basic, "grant_type=sim-password").await;
    sim.password("alice@vbc.prod", "wr0ng-passw0rd").await;
    let token = second.text("access_token");
    let twice =
        [("x-note", token.as_str()), ("x-api-key", "k3y"), ("cookie", "c00kie"), ("authorization", &token)];
    sim.send("GET", &format!("{ACCOUNT}?access_token={token}"), &twice, "").await;
    sim.get(ACCOUNT, &token).await;
    sim.send("POST", "/revoke", &[FORM], &format!("token={token}&{CLIENT}")).await;
    let mut shown = format!("{sim:?} {:?} {:?}", sim.stats(), sim.requests());
    for path in ["/__sim/requests", "/__sim/stats", "/__sim/faults"] {
        shown.push_str(&sim.control("GET", path, "").await.body);
    }
    let mut secrets = ["sim-password", "sim-secret", "wr0ng", "k3y", "c00kie", "c2ltLWNsaWVudDpz"]
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    for pair in [&first, &second] {
        for member in ["access_token", "refresh_token", "id_token"] {
            secrets.push(pair.text(member));
        }
    }
    for secret in secrets {
        assert!(!shown.contains(&secret), "{secret}");
    }
    assert!(
        !format!("{:?}", SimulatorOptions { identities: vec![Identity::demo()], ..Default::default() })
            .contains("sim-secret")
    );
}

#[tokio::test]
async fn the_journal_is_bounded() {
    let sim = Simulator::bind(SimulatorOptions { journal: 3, ..Default::default() }).await.unwrap();
    for n in 0..5 {
        sim.send("GET", &format!("/{n}"), &[], "").await;
    }
    let kept: Vec<_> = sim.requests().into_iter().map(|r| (r.sequence, r.target, r.status)).collect();
    assert_eq!(kept, [(3, "/2".into(), Some(404)), (4, "/3".into(), Some(404)), (5, "/4".into(), Some(404))]);
}

#[tokio::test]
async fn bodies_are_known_by_length_and_hash() {
    let sim = Simulator::start().await.unwrap();
    let body = "x".repeat(3 * 1024 * 1024);
    assert_eq!(sim.send("POST", CALLS, &[], &body).await.status, 401);
    let entry = sim.requests().remove(0);
    assert_eq!(entry.body_length, body.len() as u64);
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body.as_bytes());
    assert_eq!(entry.body_sha256, vbc_base::secret::hex(hash.as_ref()));
}

#[tokio::test]
async fn a_hook_runs_around_each_reset_of_the_control_plane() {
    use std::sync::Arc;

    let sim = Simulator::start().await.unwrap();
    let seen: Arc<parking_lot::Mutex<Vec<(&str, u64)>>> = Arc::default();
    let (service, log) = (sim.service(), Arc::clone(&seen));
    sim.on_reset(move || {
        let (service, log) = (service.clone(), Arc::clone(&log));
        async move {
            tokio::task::yield_now().await;
            log.lock().push(("before", service.stats().token_requests));
            move || async move {
                // A response that does not wait for this half would be sent meanwhile.
                for _ in 0..1_000 {
                    tokio::task::yield_now().await;
                }
                log.lock().push(("after", service.stats().token_requests));
            }
        }
    });
    for (path, body, status, expected) in [
        ("/__sim/reset", "", 200, &[("before", 1), ("after", 0)][..]),
        ("/__sim/scenario", "seed = 7", 200, &[("before", 1), ("after", 0)]),
        ("/__sim/scenario", "sede = 7", 400, &[("before", 1)]),
        ("/__sim/clock", r#"{"advance":1}"#, 200, &[]),
    ] {
        sim.reset();
        assert!(seen.lock().is_empty(), "the program's own reset runs no hook");
        sim.log_in().await;
        assert_eq!(sim.control("POST", path, body).await.status, status);
        assert_eq!(std::mem::take(&mut *seen.lock()), expected, "{path} {body}");
    }
}
