use super::*;

#[tokio::test]
async fn revoked_access_can_be_refreshed_and_revoked_refresh_cannot() {
    let sim = Simulator::start().await.unwrap();
    let pair = sim.log_in().await;
    sim.fault(json!({ "fault": "revoke_all_access" })).await;
    assert_eq!(sim.get(ACCOUNT, &pair.text("access_token")).await.status, 401);
    let pair = sim.refresh(&pair.text("refresh_token")).await;
    assert_eq!(sim.get(ACCOUNT, &pair.text("access_token")).await.status, 200);
    sim.fault(json!({ "fault": "revoke_all_refresh" })).await;
    assert_eq!(sim.get(ACCOUNT, &pair.text("access_token")).await.status, 200);
    let refused = sim.refresh(&pair.text("refresh_token")).await;
    assert_eq!(refused.body, error("invalid_grant", "Invalid refresh token state"));
    sim.log_in().await;
}

#[tokio::test]
async fn lifetimes_can_be_cut() {
    let sim = Simulator::start().await.unwrap();
    let old = sim.log_in().await;
    sim.fault(json!({ "fault": "expire_in", "seconds": 60 })).await;
    assert!(
        sim.log_in().await.json()["expires_in"].as_u64().unwrap() > 60,
        "the old token keeps its lifetime"
    );
    sim.fault(json!({ "fault": "expire_in", "seconds": 30, "existing": true })).await;
    assert!(sim.log_in().await.json()["expires_in"].as_u64().unwrap() <= 30);
    sim.fault(json!({ "fault": "clock_advance", "seconds": 31 })).await;
    assert_eq!(sim.get(ACCOUNT, &old.text("access_token")).await.status, 401);
    assert_eq!(sim.refresh(&old.text("refresh_token")).await.json()["expires_in"], 30);
}

#[tokio::test]
async fn modes_can_be_switched() {
    let sim = Simulator::start().await.unwrap();
    let one = sim.log_in().await;
    sim.fault(
        json!([{ "fault": "mode", "mode": "renew_keep" }, { "fault": "old_access", "state": "alive" }]),
    )
    .await;
    let two = sim.log_in().await;
    assert_ne!(one.text("access_token"), two.text("access_token"));
    sim.refresh(&two.text("refresh_token")).await;
    assert_eq!(sim.get(ACCOUNT, &two.text("access_token")).await.status, 200);
    sim.fault(json!({ "fault": "old_access", "state": "dead" })).await;
    let three = sim.log_in().await;
    sim.refresh(&three.text("refresh_token")).await;
    assert_eq!(sim.get(ACCOUNT, &three.text("access_token")).await.status, 401);
}

#[tokio::test]
async fn users_can_be_locked_unlocked_and_given_passwords() {
    let sim = Simulator::start().await.unwrap();
    let pair = sim.log_in().await;
    sim.fault(json!({ "fault": "lock_user", "user": "alice@vbc.prod", "keep_tokens": true })).await;
    assert_eq!(sim.get(ACCOUNT, &pair.text("access_token")).await.status, 200);
    sim.fault(json!({ "fault": "lock_user", "user": "alice@vbc.prod" })).await;
    assert_eq!(sim.get(ACCOUNT, &pair.text("access_token")).await.status, 401);
    assert_eq!(sim.stats().lock_events, 1);
    sim.advance(Duration::from_secs(86_400));
    let refused = sim.password("alice@vbc.prod", "sim-password").await;
    assert!(refused.text("error_description").starts_with("17003:AdminInitiated User account is locked"));
    sim.fault(json!({ "fault": "unlock_user", "user": "alice@vbc.prod" })).await;
    let pair = sim.log_in().await;
    sim.fault(json!({ "fault": "change_password", "user": "alice@vbc.prod", "password": "new-one" })).await;
    assert_eq!(sim.get(ACCOUNT, &pair.text("access_token")).await.status, 401);
    assert_eq!(sim.refresh(&pair.text("refresh_token")).await.status, 400);
    assert_eq!(sim.password("alice@vbc.prod", "sim-password").await.status, 400);
    assert_eq!(sim.password("alice@vbc.prod", "new-one").await.status, 200);
}

#[tokio::test]
async fn statuses_befall_what_matches_and_no_more() {
    let sim = Simulator::start().await.unwrap();
    let pair = sim.log_in().await;
    let fault =
        json!({ "fault": "status", "status": 503, "path": "/token", "grant": "refresh_token", "count": 2 });
    sim.fault(fault).await;
    sim.log_in().await;
    for _ in 0..2 {
        let response = sim.refresh(&pair.text("refresh_token")).await;
        assert_eq!((response.status.as_u16(), response.text("error").as_str()), (503, "server_error"));
    }
    assert_eq!(sim.control("GET", "/__sim/faults", "").await.json(), json!([]), "used up");
    assert_eq!(sim.refresh(&pair.text("refresh_token")).await.status, 200, "nothing was executed");
    let id = sim
        .fault(json!({
            "fault": "status", "status": 429, "path": "/t/vbc.prod/telephony", "method": "GET",
            "retry_after": "date", "seconds": 30,
        }))
        .await;
    let token = sim.log_in().await.text("access_token");
    let response = sim.get(CALLS, &token).await;
    assert_eq!((response.status.as_u16(), response.text("code").as_str()), (429, "900803"));
    assert!(response.header("retry-after").unwrap().ends_with(" GMT"));
    assert!(response.header("activityid").is_some());
    assert_eq!(sim.get(ACCOUNT, &token).await.status, 200);
    assert_eq!(sim.control("DELETE", &format!("/__sim/faults/{id}"), "").await.status, 204);
    assert_eq!(sim.control("DELETE", &format!("/__sim/faults/{id}"), "").await.status, 404);
    assert_eq!(sim.get(CALLS, &token).await.status, 200);
    let html = json!({
        "fault": "status", "status": 502, "body": "<html>", "content_type": "text/html", "retry_after": 7, "count": 1,
    });
    sim.fault(html).await;
    let response = sim.get(ACCOUNT, &token).await;
    assert_eq!((response.status.as_u16(), response.body.as_str()), (502, "<html>"));
    assert_eq!(
        (response.header("content-type"), response.header("retry-after")),
        (Some("text/html"), Some("7"))
    );
}

#[tokio::test]
async fn chance_is_seeded() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let sim = Simulator::start().await.unwrap();
        sim.inject(Fault::status(500).probability(0.5, 42)).unwrap();
        let mut statuses = Vec::new();
        for _ in 0..20 {
            statuses.push(sim.send("GET", "/nothing", &[], "").await.status.as_u16());
        }
        assert!(statuses.contains(&500) && statuses.contains(&404));
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn a_delayed_refresh_is_committed_even_if_its_client_leaves() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("refresh_token");
    sim.fault(json!({ "fault": "delay", "millis": 30, "count": 1 })).await;
    let body = format!("grant_type=refresh_token&refresh_token={token}&{CLIENT}");
    let leaving = tokio::spawn(send(sim.address(), request("POST", "/token", &[FORM], &body)));
    while sim.requests().len() < 2 || sim.requests()[1].grant.is_none() {
        tokio::task::yield_now().await;
    }
    leaving.abort();
    while sim.stats().refreshes.ok == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(sim.refresh(&token).await.status, 400);
    assert_eq!(sim.stats().refresh_reuse, 1);
}

#[tokio::test]
async fn what_hangs_is_released_by_removal() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let id = sim.fault(json!({ "fault": "hang", "path": ACCOUNT, "count": 1 })).await;
    let bearer = format!("Bearer {token}");
    let asked = request("GET", ACCOUNT, &[("authorization", &bearer)], "");
    let hanging = tokio::spawn(send(sim.address(), asked));
    while sim.requests().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(sim.get(CALLS, &token).await.status, 200, "requests to other paths are not held");
    assert!(!hanging.is_finished());
    assert_eq!(sim.requests()[1].status, None);
    assert!(sim.remove_fault(id));
    assert_eq!(hanging.await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn resets_come_before_or_after_the_commit() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("refresh_token");
    let form = format!("grant_type=refresh_token&refresh_token={token}&{CLIENT}");
    let refresh = || send(sim.address(), request("POST", "/token", &[FORM], &form));
    sim.fault(json!({ "fault": "reset_before_headers", "grant": "refresh_token" })).await;
    assert!(refresh().await.is_none());
    assert_eq!(sim.stats().refreshes, Outcomes::default());
    sim.fault(json!({ "fault": "lose_response_after_commit", "path": "/token" })).await;
    assert!(refresh().await.is_none());
    assert_eq!(sim.stats().refreshes, Outcomes { ok: 1, failed: 0 });
    let response = refresh().await.unwrap();
    assert_eq!(response.body, error("invalid_grant", "Persisted access token data not found"));
    let statuses: Vec<_> = sim.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(200), None, None, Some(400)]);
}

#[tokio::test]
async fn a_backend_refuses_a_token_the_gateway_takes() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    sim.fault(json!({ "fault": "backend_401", "path": "/t/vbc.prod/provisioning", "count": 1 })).await;
    assert_eq!(
        sim.get(ACCOUNT, "nonsense").await.text("code"),
        "900901",
        "the gateway checks the token first"
    );
    let response = sim.get(ACCOUNT, &token).await;
    assert_eq!((response.status.as_u16(), response.text("msg").as_str()), (401, "missing user data"));
    assert_eq!(sim.get(ACCOUNT, &token).await.status, 200);
}

#[tokio::test]
async fn faults_that_make_no_sense_are_refused_with_what_may_have_been_meant() {
    let sim = Simulator::start().await.unwrap();
    for (fault, error, known) in [
        (
            r#"{"fault":"expire_inn"}"#,
            "unknown fault `expire_inn`; did you mean `expire_in`?",
            &["expire_in"][..],
        ),
        (r#"{"fault":"status"}"#, "`status` of `status`: expected a whole number", &["status"]),
        (
            r#"{"fault":"quota","colour":"red"}"#,
            "`quota` takes no parameter `colour`; it takes: per_minute, client_id",
            &["quota"],
        ),
        (
            r#"{"fault":"quota","per_minut":1}"#,
            "`quota` takes no parameter `per_minut`; it takes: per_minute, client_id; did you mean the parameter `per_minute`?",
            &["quota"],
        ),
        (
            r#"{"fault":"status","sttus":3}"#,
            "`status` takes no parameter `sttus`; it takes: status, retry_after, seconds, body, content_type, path, \
             endpoint, method, grant, after, count, lasts, probability, seed; did you mean the parameter `status`?",
            &["status"],
        ),
        (r#"{"fault":"lock_user","user":"Alice"}"#, "no user `Alice`; did you mean `alice@vbc.prod`?", &[]),
        (
            r#"{"fault":"lock_user","user":"alic@vbc.prod"}"#,
            "no user `alic@vbc.prod`; did you mean `alice@vbc.prod`?",
            &[],
        ),
        (r#"{"fault":"unsubscribe","suite":"report"}"#, "no suite `report`; did you mean `reports`?", &[]),
        (
            r#"{"fault":"regenerate_secret","client_id":"crm","secret":"x"}"#,
            "no application `crm`; known: limited-client, sim-client",
            &[],
        ),
    ] {
        let response = sim.control("POST", "/__sim/faults", fault).await;
        assert_eq!((response.status.as_u16(), response.text("error").as_str()), (400, error));
        let named = response.json()["known"]
            .as_object()
            .map_or_else(Vec::new, |known| known.keys().cloned().collect());
        assert_eq!(named, known, "{fault}");
    }
    // If no name is near, the error lists all faults. No fault of the list is injected.
    let far = sim.control("POST", "/__sim/faults", r#"[{"fault":"hang"},{"fault":"flood"}]"#).await;
    assert!(
        far.text("error").starts_with("unknown fault `flood`; known: revoke_all_access, "),
        "{}",
        far.body
    );
    assert_eq!(far.json()["known"]["expire_in"], "seconds, existing");
    assert_eq!(sim.control("POST", "/__sim/faults", "{").await.status, 400);
    assert_eq!(sim.control("GET", "/__sim/faults", "").await.json(), json!([]));
}

#[tokio::test]
async fn a_reset_is_a_reset_and_not_an_end() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let sim = Simulator::start().await.unwrap();
    for fault in [Fault::reset_before_headers(), Fault::lose_response_after_commit()] {
        sim.inject(fault).unwrap();
        let mut stream = TcpStream::connect(sim.address()).await.unwrap();
        stream.write_all(b"GET /nothing HTTP/1.1\r\nhost: sim.test\r\n\r\n").await.unwrap();
        let ended = stream.read(&mut [0; 16]).await;
        assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }
}
