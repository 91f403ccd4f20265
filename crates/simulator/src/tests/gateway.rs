use super::*;

const MISSING: &str = r#"{"code":"900902","message":"Missing Credentials","description":"Invalid Credentials. Make sure your API invocation call has a header: 'Authorization : Bearer ACCESS_TOKEN' or 'Authorization : Basic ACCESS_TOKEN' or 'ApiKey : API_KEY'"}"#;
const CHALLENGE: &str = r#"OAuth2 realm="WSO2 API Manager", error="invalid_token", error_description="The provided token is invalid""#;

#[tokio::test]
async fn what_does_not_exist_is_said_before_who_asks() {
    let sim = Simulator::start().await.unwrap();
    let nowhere = |path: &str| {
        format!(
            r#"{{"code":"404","message":"Not Found","description":"The requested resource ({path}) is not available."}}"#
        )
    };
    for path in [
        "/",
        "/nothing",
        "/t/vbc.prod/nothing/api",
        "/t/other/provisioning/api/accounts/12345",
        "/t/vbc.prod/messages/x",
    ] {
        let response = sim.send("GET", path, &[], "").await;
        assert_eq!((response.status.as_u16(), response.body), (404, nowhere(path)));
    }
    let response = sim.send("GET", "/t/vbc.prod/provisioning/api/nothing", &[], "").await;
    let words = r#"{"code":"404","message":"Not Found","description":"No matching resource found for given API Request"}"#;
    assert_eq!((response.status.as_u16(), response.body.as_str()), (404, words));
    let response = sim.send("POST", ACCOUNT, &[], "").await;
    let words = r#"{"code":"405","message":"Method Not Allowed","description":"Method not allowed for given API resource"}"#;
    assert_eq!((response.status.as_u16(), response.body.as_str()), (405, words));
    let response = sim.send("OPTIONS", CALLS, &[], "").await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("access-control-allow-methods"), Some("GET,POST"));
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn credentials_are_missing_or_invalid() {
    let sim = Simulator::start().await.unwrap();
    for headers in [
        &[][..],
        &[("authorization", "")],
        &[("authorization", "Basic eA==")],
        &[("authorization", "Bearer ")],
    ] {
        let response = sim.send("GET", ACCOUNT, headers, "").await;
        assert_eq!((response.status.as_u16(), response.body.as_str()), (401, MISSING));
        assert_eq!(response.header("www-authenticate"), Some(CHALLENGE));
    }
    let invalid = |what: &str| {
        format!(
            r#"{{"code":"900901","message":"Invalid Credentials","description":"{what}. Make sure you have provided the correct security credentials"}}"#
        )
    };
    let response = sim.get(ACCOUNT, "nonsense").await;
    assert_eq!((response.status.as_u16(), response.body), (401, invalid("Invalid Credentials")));
    let token = sim.log_in().await.text("access_token");
    assert_eq!(sim.get(ACCOUNT, &token).await.status, 200);
    sim.advance(Duration::from_secs(86_400));
    let response = sim.get(ACCOUNT, &token).await;
    assert_eq!((response.status.as_u16(), response.body.clone()), (401, invalid("Invalid JWT token")));
    assert_eq!(response.header("www-authenticate"), Some(CHALLENGE));
}

#[tokio::test]
async fn every_answer_looks_like_the_gateways() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let mut ids = Vec::new();
    for response in [sim.get(ACCOUNT, &token).await, sim.get("/nothing", &token).await] {
        assert_eq!(response.header("server"), Some("WSO2-PassThrough-HTTP"));
        assert_eq!(response.header("transfer-encoding"), Some("chunked"));
        assert_eq!(response.header("content-length"), None);
        ids.push(uuid::Uuid::parse_str(response.header("activityid").unwrap()).unwrap());
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn an_application_needs_a_subscription() {
    let sim = Simulator::start().await.unwrap();
    let form = "grant_type=password&username=alice@vbc.prod&password=sim-password\
                &client_id=limited-client&client_secret=limited-secret";
    let pair = sim.raw_token(form).await;
    assert!(pair.json().get("refresh_token").is_none(), "the application may not refresh tokens");
    let response = sim.get(ACCOUNT, &pair.text("access_token")).await;
    let words = r#"{"code":"900908","message":"Resource forbidden ","description":"User is NOT authorized to access the Resource. API Subscription validation failed."}"#;
    assert_eq!((response.status.as_u16(), response.body.as_str()), (403, words));
    assert_eq!(sim.get(CALLS, &pair.text("access_token")).await.status, 200);
    sim.fault(json!({ "fault": "unsubscribe", "suite": "telephony" })).await;
    assert_eq!(sim.get(CALLS, &pair.text("access_token")).await.status, 403);
}

#[tokio::test]
async fn the_quota_is_a_minute_of_the_clock_for_all_tokens_of_a_user() {
    let sim = Simulator::of(Mode::RenewKeep).await;
    let (one, two) = (sim.log_in().await.text("access_token"), sim.log_in().await.text("access_token"));
    sim.fault(json!({ "fault": "quota", "per_minute": 2 })).await;
    // Move to the beginning of a minute, so that the window cannot end meanwhile.
    let now = sim.service.clock().now().as_second();
    sim.advance(Duration::from_secs(u64::try_from(60 - now.rem_euclid(60)).unwrap()));
    assert_eq!(sim.get(ACCOUNT, &one).await.status, 200);
    assert_eq!(sim.get(CALLS, &two).await.status, 200);
    let response = sim.get(ACCOUNT, &two).await;
    assert_eq!(response.status, 429);
    let at = response.text("nextAccessTime");
    let words = format!(
        r#"{{"code":"900803","message":"Message throttled out","description":"You have exceeded your quota .You can access API after {at}","nextAccessTime":"{at}"}}"#
    );
    assert_eq!(response.body, words);
    assert!(at.ends_with(":00+0000 UTC"), "{at}");
    let retry = response.header("retry-after").unwrap();
    assert!(retry.ends_with(":00 GMT") && retry.len() == 29, "{retry}");
    let other = sim.password("bob@vbc.prod", "bob-password").await.text("access_token");
    assert_eq!(sim.get("/t/vbc.prod/provisioning/api/accounts/self", &other).await.status, 200);
    sim.advance(Duration::from_secs(60));
    assert_eq!(sim.get(ACCOUNT, &two).await.status, 200);
    sim.fault(json!({ "fault": "quota", "per_minute": null })).await;
    for _ in 0..5 {
        assert_eq!(sim.get(ACCOUNT, &two).await.status, 200);
    }
}

#[tokio::test]
async fn backends_refuse_in_words_of_their_own() {
    let options =
        SimulatorOptions { field: FieldReport::MissingUserData.into(), ..SimulatorOptions::default() };
    let sim = Simulator::bind(options).await.unwrap();
    let erin = sim.password("erin@vbc.prod", "erin-password").await.text("access_token");
    let response = sim.get(ACCOUNT, &erin).await;
    assert_eq!((response.status.as_u16(), response.text("msg").as_str()), (401, "missing user data"));
    assert!(response.header("www-authenticate").is_none());
    let bob = sim.password("bob@vbc.prod", "bob-password").await.text("access_token");
    let response = sim.get(CALLS, &bob).await;
    let words = "User is not permitted to make a request against this account";
    assert_eq!((response.status.as_u16(), response.json()), (401, json!({ "code": 401, "message": words })));
    let own = sim.token("grant_type=client_credentials").await;
    assert!(own.json().get("refresh_token").is_none());
    assert_eq!(sim.get(CALLS, &own.text("access_token")).await.status, 401);
}
