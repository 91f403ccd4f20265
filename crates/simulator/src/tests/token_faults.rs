//! Faults of the token endpoint.

use super::*;

const PROVISIONING: &str = "/t/vbc.prod/provisioning";

#[tokio::test]
async fn members_can_be_missing_while_the_tokens_are_good() {
    for field in ["expires_in", "refresh_token", "access_token", "token_type", "scope", "id_token"] {
        let sim = Simulator::start().await.unwrap();
        let whole = sim.log_in().await.json();
        sim.fault(json!({ "fault": "missing", "field": field, "count": 1 })).await;
        let mut altered = sim.log_in().await.json();
        assert_eq!(altered.get(field), None);
        altered[field] = whole[field].clone();
        for member in ["access_token", "refresh_token", "token_type", "scope"] {
            assert_eq!(altered[member], whole[member], "{field}");
        }
        assert!(sim.log_in().await.json().get(field).is_some(), "only once");
    }
}

#[tokio::test]
async fn expires_in_can_be_anything() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    for value in [json!("86400"), json!(0), json!(1), json!(-5), json!(u64::MAX), json!(1.5), Value::Null] {
        sim.fault(json!({ "fault": "expires_in_as", "value": value, "count": 1 })).await;
        assert_eq!(sim.log_in().await.json()["expires_in"], value);
    }
    assert_eq!(sim.get(ACCOUNT, &token).await.status, 200, "the token itself is unaffected");
    sim.inject(Fault::expires_in_as("soon").grant("refresh_token")).unwrap();
    assert!(sim.log_in().await.json()["expires_in"].is_u64(), "another grant");
}

#[tokio::test]
async fn edits_add_up_and_leave_refusals_and_other_requests_alone() {
    let sim = Simulator::start().await.unwrap();
    sim.inject(Fault::token_type("bearer").times(3)).unwrap();
    sim.inject(Fault::missing("expires_in")).unwrap();
    let response = sim.log_in().await;
    assert_eq!((response.text("token_type").as_str(), response.json().get("expires_in")), ("bearer", None));
    let refused = sim.password("alice@vbc.prod", "wrong").await;
    assert_eq!(refused.body, error("invalid_grant", "Authentication failed for alice@vbc.prod"));
    assert_eq!(sim.get(ACCOUNT, &response.text("access_token")).await.status, 200);
    assert_eq!(sim.log_in().await.text("token_type"), "bearer", "an API request does not count");
    assert_eq!(sim.log_in().await.text("token_type"), "Bearer");
}

#[tokio::test]
async fn an_answer_can_be_spoilt_after_the_commit() {
    let html = |response: &TestResponse| response.body.starts_with("<!DOCTYPE html>");
    let sim = Simulator::start().await.unwrap();
    let mut token = sim.log_in().await.text("refresh_token");
    for name in ["html_body", "truncated_json", "empty_body", "wrong_content_type"] {
        sim.fault(json!({ "fault": name, "path": "/token", "count": 1 })).await;
        let before = sim.stats().refreshes.ok;
        let response = sim.refresh(&token).await;
        assert_eq!((response.status.as_u16(), sim.stats().refreshes.ok), (200, before + 1), "{name}");
        let json = serde_json::from_str::<Value>(&response.body).is_ok();
        let length = response.body.len().to_string();
        assert_eq!(response.header("content-length"), Some(length.as_str()), "{name}");
        match name {
            "html_body" => assert!(html(&response) && response.header("content-type") == Some("text/html")),
            "truncated_json" => assert!(!json && response.body.starts_with('{')),
            "empty_body" => {
                assert_eq!(
                    (length.as_str(), response.header("content-type")),
                    ("0", Some("application/json"))
                );
            }
            _ => assert!(json && response.header("content-type") == Some("text/html")),
        }
        assert_eq!(sim.refresh(&token).await.status, 400, "{name}: the token was spent");
        token = sim.log_in().await.text("refresh_token");
    }
    let access = sim.log_in().await.text("access_token");
    sim.inject(Fault::empty_body().on(PROVISIONING)).unwrap();
    let response = sim.get(ACCOUNT, &access).await;
    assert_eq!((response.status.as_u16(), response.body.as_str()), (200, ""));
}

#[tokio::test]
async fn what_is_throttled_or_redirected_is_not_executed() {
    let sim = Simulator::start().await.unwrap();
    let pair = sim.log_in().await;
    let refresh = pair.text("refresh_token");
    sim.fault(json!({ "fault": "throttle_200", "count": 2 })).await;
    for response in [sim.refresh(&refresh).await, sim.get(ACCOUNT, &pair.text("access_token")).await] {
        assert_eq!((response.status.as_u16(), response.text("code").as_str()), (200, "900803"));
        assert!(response.text("nextAccessTime").ends_with("+0000 UTC"));
        assert_eq!(response.header("retry-after"), None);
    }
    sim.fault(json!({ "fault": "redirect", "location": "https://elsewhere.test/token", "count": 1 })).await;
    let response = sim.refresh(&refresh).await;
    assert_eq!(
        (response.status.as_u16(), response.header("location")),
        (302, Some("https://elsewhere.test/token"))
    );
    assert_eq!(sim.stats().refreshes, Outcomes::default());
    assert_eq!(sim.refresh(&refresh).await.status, 200);
}

#[tokio::test]
async fn a_backend_may_take_young_tokens_only() {
    let sim = Simulator::of(Mode::RenewKeep).await;
    let old = sim.log_in().await.text("access_token");
    let id = sim.fault(json!({ "fault": "token_age_limit", "path": PROVISIONING, "seconds": 300 })).await;
    assert_eq!(sim.get(ACCOUNT, &old).await.status, 200);
    sim.advance(Duration::from_secs(301));
    let young = sim.log_in().await.text("access_token");
    let response = sim.get(ACCOUNT, &old).await;
    assert_eq!(
        (response.status.as_u16(), response.body.as_str()),
        (401, r#"{"title":"Problem with provided token"}"#)
    );
    assert!(response.header("www-authenticate").is_none());
    assert_eq!(sim.get(CALLS, &old).await.status, 200, "another suite");
    assert_eq!(sim.get(ACCOUNT, &young).await.status, 200);
    assert!(sim.remove_fault(id));
    assert_eq!(sim.get(ACCOUNT, &old).await.status, 200);
    sim.fault(json!({ "fault": "reports_token_age_limit", "seconds": 60 })).await;
    let listed = sim.control("GET", "/__sim/faults", "").await.json();
    assert_eq!(
        (&listed[0]["fault"], &listed[0]["path"]),
        (&json!("token_age_limit"), &json!("/t/vbc.prod/reports"))
    );
}

#[tokio::test]
async fn a_regenerated_secret_ends_the_old_one_and_the_applications_tokens() {
    let sim = Simulator::start().await.unwrap();
    let pair = sim.log_in().await;
    sim.fault(json!({ "fault": "regenerate_secret", "client_id": "sim-client", "secret": "s2" })).await;
    assert_eq!(sim.get(ACCOUNT, &pair.text("access_token")).await.status, 401);
    let refused = sim.refresh(&pair.text("refresh_token")).await;
    assert_eq!(refused.body, error("invalid_client", "Client credentials are invalid."));
    let new = "client_id=sim-client&client_secret=s2";
    let form = format!("grant_type=refresh_token&refresh_token={}&{new}", pair.text("refresh_token"));
    assert_eq!(sim.raw_token(&form).await.body, error("invalid_grant", "Invalid refresh token state"));
    let login = "grant_type=password&username=alice@vbc.prod&password=sim-password";
    assert_eq!(sim.raw_token(&format!("{login}&{new}")).await.status, 200);
    let nobody = Action::RegenerateSecret { client_id: "nobody".into(), secret: "s".into() };
    assert_eq!(sim.inject(nobody), Err(FaultError::NoSuchApplication("nobody".into())));
}

#[tokio::test]
async fn openid_can_be_refused_and_given_back() {
    let sim = Simulator::start().await.unwrap();
    let before = sim.log_in().await;
    sim.fault(json!({ "fault": "refuse_scope", "client_id": "sim-client" })).await;
    for response in [sim.refresh(&before.text("refresh_token")).await, sim.log_in().await] {
        assert_eq!((response.status.as_u16(), response.text("scope").as_str()), (200, "default"));
        assert_eq!(response.json().get("id_token"), None);
    }
    let form = "grant_type=password&scope=profile openid&username=alice@vbc.prod&password=sim-password";
    assert_eq!(sim.token(form).await.text("scope"), "profile");
    sim.fault(json!({ "fault": "refuse_scope", "allowed": true })).await;
    assert_eq!(sim.log_in().await.text("scope"), "openid");
}

#[tokio::test]
async fn a_spent_refresh_token_may_be_a_server_error() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("refresh_token");
    sim.refresh(&token).await;
    sim.fault(json!({ "fault": "spent_refresh", "status": 500 })).await;
    let response = sim.refresh(&token).await;
    assert_eq!(
        (response.status.as_u16(), response.body),
        (500, error("server_error", "Internal Server Error."))
    );
    assert_eq!(sim.refresh("unknown").await.status, 400, "never issued");
    sim.fault(json!({ "fault": "spent_refresh" })).await;
    assert_eq!(sim.refresh(&token).await.status, 400);
    assert_eq!(sim.stats().refresh_reuse, 2);
}

#[tokio::test]
async fn subscriptions_and_roles_can_be_taken_and_given_back() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    sim.fault(json!({ "fault": "unsubscribe", "suite": "provisioning" })).await;
    assert_eq!(sim.get(ACCOUNT, &token).await.text("code"), "900908");
    sim.fault(json!({ "fault": "resubscribe", "suite": "provisioning" })).await;
    assert_eq!(sim.get(ACCOUNT, &token).await.status, 200);
    let role = |allowed: bool| json!({ "fault": "roles", "user": "alice@vbc.prod", "suite": "provisioning", "allowed": allowed });
    sim.fault(role(false)).await;
    assert_eq!(sim.get(ACCOUNT, &token).await.text("msg"), "Unauthorized");
    assert_eq!(sim.get(CALLS, &token).await.status, 200);
    sim.fault(role(true)).await;
    assert_eq!(sim.get(ACCOUNT, &token).await.status, 200);
    let unknown = Action::Role { user: "alice@vbc.prod".into(), suite: "x".into(), allowed: true };
    assert_eq!(sim.inject(unknown), Err(FaultError::NoSuchSuite("x".into())));
}
