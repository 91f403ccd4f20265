use super::*;

const BASIC: &str = "Basic c2ltLWNsaWVudDpzaW0tc2VjcmV0"; // sim-client:sim-secret
const WRONG_BASIC: &str = "Basic c2ltLWNsaWVudDp3cm9uZw=="; // sim-client:wrong

#[tokio::test]
async fn a_login_answers_as_documented() {
    let sim = Simulator::start().await.unwrap();
    let response = sim.log_in().await;
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("pragma"), Some("no-cache"));
    assert_eq!(response.json()["expires_in"], 86_400);
    assert_eq!(response.text("token_type"), "Bearer");
    assert_eq!(response.text("scope"), "openid");
    assert_eq!(response.text("id_token").split('.').count(), 3);
    assert!((900..1200).contains(&response.text("access_token").len()));
    let plain = "grant_type=password&username=alice@vbc.prod&password=sim-password";
    let plain = sim.token(plain).await;
    assert_eq!(plain.text("scope"), "default");
    assert!(plain.json().get("id_token").is_none());
    let path = "/t/vbc.prod/oauth2/token";
    let form = format!("grant_type=refresh_token&refresh_token={}", plain.text("refresh_token"));
    let response = sim.send("POST", path, &[FORM, ("authorization", BASIC)], &form).await;
    assert_eq!(response.status, 200, "{}", response.body);
    let json = json!({
        "grant_type": "refresh_token", "refresh_token": response.text("refresh_token"),
        "client_id": "sim-client", "client_secret": "sim-secret",
    });
    let response = sim.send("POST", path, &[("content-type", "application/json")], &json.to_string()).await;
    assert_eq!(response.status, 200, "{}", response.body);
}

#[tokio::test]
async fn every_row_has_its_words_and_its_place() {
    let sim = Simulator::start().await.unwrap();
    let login = "grant_type=password&username=alice@vbc.prod&password=sim-password";
    let rows: &[(&str, Option<&str>, u16, &str, &str)] = &[
        (
            "grant_type=x&grant_type=x",
            None,
            400,
            "invalid_request",
            "Invalid request with repeated parameters.",
        ),
        ("username=u", None, 400, "invalid_request", "Missing grant_type parameter value"),
        ("grant_type=", None, 400, "invalid_request", "Missing grant_type parameter value"),
        ("grant_type=magic", None, 400, "invalid_request", "Unsupported grant_type value"),
        ("grant_type=password&username=u", None, 400, "invalid_request", "Missing parameters: password"),
        ("grant_type=password", None, 400, "invalid_request", "Missing parameters: username password"),
        ("grant_type=refresh_token", None, 400, "invalid_request", "Missing parameters: refresh_token"),
        ("grant_type=authorization_code", None, 400, "invalid_request", "Missing parameters: code"),
        (login, Some(WRONG_BASIC), 401, "invalid_client", "Client credentials are invalid."),
        (
            "grant_type=password&username=u&password=p&client_id=nobody&client_secret=s",
            None,
            401,
            "invalid_client",
            "A valid OAuth client could not be found for client_id: nobody",
        ),
        (
            "grant_type=password&username=u&password=p&client_id=sim-client&client_secret=sim-secret",
            Some(BASIC),
            400,
            "invalid_request",
            "Request body and headers contain authorization information",
        ),
        (
            "grant_type=password&username=u&password=p&client_assertion=x",
            Some(BASIC),
            400,
            "invalid_request",
            "The client MUST NOT use more than one authentication method in each",
        ),
        (login, None, 401, "invalid_client", "Unsupported Client Authentication Method!"),
        (
            "grant_type=refresh_token&refresh_token=x&client_id=limited-client&client_secret=limited-secret",
            None,
            400,
            "unauthorized_client",
            "The authenticated client is not authorized to use this authorization grant type",
        ),
        (
            "grant_type=password&username=nobody@vbc.prod&password=p",
            Some(BASIC),
            400,
            "invalid_grant",
            "Authentication failed for nobody@vbc.prod",
        ),
        (
            "grant_type=password&username=alice&password=sim-password",
            Some(BASIC),
            400,
            "invalid_grant",
            "Authentication failed for alice",
        ),
        (
            "grant_type=refresh_token&refresh_token=x",
            Some(BASIC),
            400,
            "invalid_grant",
            "Persisted access token data not found",
        ),
        (
            "grant_type=authorization_code&code=x",
            Some(BASIC),
            400,
            "invalid_grant",
            "Invalid authorization code received from token request",
        ),
        (
            "grant_type=password&username=alice@vbc.prod&password=sim-password&scope=everything",
            Some(BASIC),
            400,
            "invalid_scope",
            "Invalid Scope!",
        ),
    ];
    for (form, header, status, code, words) in rows {
        let mut headers = vec![FORM];
        headers.extend(header.map(|value| ("authorization", value)));
        let response = sim.send("POST", "/token", &headers, form).await;
        assert_eq!(
            (response.status.as_u16(), response.body.as_str()),
            (*status, error(code, words).as_str()),
            "{form}"
        );
        let challenged = *status == 401 && !words.starts_with("Unsupported");
        assert_eq!(
            response.header("www-authenticate"),
            challenged.then_some("Basic realm=sim.test"),
            "{form}"
        );
        assert!(response.header("cache-control").is_none());
    }
    assert_eq!(sim.send("GET", "/token", &[], "").await.status, 405);
    assert_eq!(sim.send("POST", "/token", &[("content-type", "text/plain")], "x").await.status, 415);
    assert_eq!(sim.stats().token_requests, rows.len() as u64 + 2);
    assert_eq!(sim.stats().logins.ok, 0);
}

#[tokio::test]
async fn a_colon_in_the_secret_breaks_basic() {
    let identity = Identity { client_id: "colon".into(), client_secret: "a:b".into(), ..Identity::demo() };
    let options = SimulatorOptions { identities: vec![identity], ..SimulatorOptions::default() };
    let sim = Simulator::bind(options).await.unwrap();
    let login = "grant_type=password&username=alice@vbc.prod&password=sim-password";
    let headers = [FORM, ("authorization", "Basic Y29sb246YTpi")];
    assert_eq!(sim.send("POST", "/token", &headers, login).await.status, 401);
    assert_eq!(sim.raw_token(&format!("{login}&client_id=colon&client_secret=a:b")).await.status, 200);
}

#[tokio::test]
async fn each_mode_answers_a_second_login_its_own_way() {
    for (mode, same_access, same_refresh, old_lives) in [
        (Mode::Reuse, true, true, true),
        (Mode::RenewRevoke, false, true, false),
        (Mode::RenewKeep, false, false, true),
    ] {
        let sim = Simulator::of(mode).await;
        let first = sim.log_in().await;
        sim.advance(Duration::from_secs(3834));
        let second = sim.log_in().await;
        let same = |member: &str| first.text(member) == second.text(member);
        assert_eq!((same("access_token"), same("refresh_token")), (same_access, same_refresh), "{mode:?}");
        let left = second.json()["expires_in"].as_u64().unwrap();
        let expected = if same_access { 82_560..=82_566 } else { 86_400..=86_400 };
        assert!(expected.contains(&left), "{mode:?} {left}");
        let old = sim.get(ACCOUNT, &first.text("access_token")).await.status;
        assert_eq!(old, if old_lives { 200 } else { 401 }, "{mode:?}");
        assert_eq!(sim.get(ACCOUNT, &second.text("access_token")).await.status, 200);
    }
}

#[tokio::test]
async fn a_refresh_rotates_and_reuse_is_noticed_in_every_mode() {
    for mode in [Mode::Reuse, Mode::RenewRevoke, Mode::RenewKeep] {
        let sim = Simulator::of(mode).await;
        let first = sim.log_in().await;
        let second = sim.refresh(&first.text("refresh_token")).await;
        assert_eq!(second.status, 200, "{}", second.body);
        assert_eq!(sim.get(ACCOUNT, &first.text("access_token")).await.status, 401);
        assert_eq!(sim.get(ACCOUNT, &second.text("access_token")).await.status, 200);
        let again = sim.refresh(&first.text("refresh_token")).await;
        assert_eq!(again.status, 400);
        assert_eq!(again.body, error("invalid_grant", "Persisted access token data not found"));
        assert_eq!(sim.stats().refresh_reuse, 1);
        assert_eq!(sim.stats().refreshes, Outcomes { ok: 1, failed: 1 });
        assert_eq!(
            sim.refresh(&second.text("refresh_token")).await.status,
            200,
            "the new refresh token still works"
        );
        assert_eq!(sim.stats().refresh_reuse, 1);
    }
}

#[tokio::test]
async fn of_two_overlapping_refreshes_one_wins() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("refresh_token");
    sim.inject(Fault::delay(Duration::from_millis(50)).on("/token")).unwrap();
    let (one, two) = tokio::join!(sim.refresh(&token), sim.refresh(&token));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
    assert_eq!(sim.stats().token_concurrency_max, 2);
}

#[tokio::test]
async fn refresh_tokens_are_refused_for_their_reasons() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("refresh_token");
    let response =
        sim.token(&format!("grant_type=refresh_token&refresh_token={token}&scope=openid profile")).await;
    assert_eq!(response.body, error("invalid_scope", "Invalid Scope!"));
    sim.advance(Duration::from_secs(604_800));
    assert_eq!(sim.refresh(&token).await.body, error("invalid_grant", "Refresh token is expired."));
    let token = sim.log_in().await.text("refresh_token");
    sim.revoke_all_refresh();
    assert_eq!(sim.refresh(&token).await.body, error("invalid_grant", "Invalid refresh token state"));
    let sim = Simulator::of(Mode::RenewKeep).await;
    let token = sim.log_in().await.text("refresh_token");
    sim.log_in().await;
    let words = "Invalid refresh token value in the request";
    assert_eq!(sim.refresh(&token).await.body, error("invalid_grant", words));
}

#[tokio::test]
async fn five_failures_lock_and_every_attempt_starts_the_half_hour_again() {
    let sim = Simulator::start().await.unwrap();
    for _ in 0..5 {
        let response = sim.password("alice@vbc.prod", "wrong").await;
        assert_eq!(response.body, error("invalid_grant", "Authentication failed for alice@vbc.prod"));
    }
    assert_eq!(sim.stats().lock_events, 1);
    for minutes in [0, 29, 29] {
        sim.fault(json!({ "fault": "clock_advance", "seconds": minutes * 60 })).await;
        let response = sim.password("alice@vbc.prod", "sim-password").await;
        assert_eq!(response.status, 400);
        assert!(response.text("error_description").starts_with("17003 User account is locked"));
    }
    sim.fault(json!({ "fault": "clock_advance", "seconds": 30 * 60 })).await;
    sim.log_in().await;
    assert_eq!(sim.stats().logins, Outcomes { ok: 1, failed: 8 });
}

#[tokio::test]
async fn revoking_either_token_kills_the_pair() {
    for which in ["access_token", "refresh_token"] {
        let sim = Simulator::start().await.unwrap();
        let pair = sim.log_in().await;
        let form = format!("token={}&{CLIENT}", pair.text(which));
        let response = sim.send("POST", "/revoke", &[FORM], &form).await;
        assert_eq!((response.status.as_u16(), response.header("content-length")), (200, Some("0")));
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(
            (response.header("cache-control"), response.header("pragma")),
            (Some("no-store"), Some("no-cache"))
        );
        assert_eq!(response.header("revokedaccesstoken").unwrap(), pair.text("access_token"));
        assert_eq!(response.header("revokedrefreshtoken").unwrap(), pair.text("refresh_token"));
        assert_eq!(response.header("authorizeduser"), Some("alice@vbc.prod"));
        assert_eq!(sim.get(ACCOUNT, &pair.text("access_token")).await.status, 401);
        let refused = sim.refresh(&pair.text("refresh_token")).await;
        assert_eq!(refused.body, error("invalid_grant", "Invalid refresh token state"));
        let again = sim.send("POST", "/t/vbc.prod/oauth2/revoke", &[FORM], &form).await;
        assert_eq!((again.status.as_u16(), again.header("revokedaccesstoken")), (200, None));
        assert_eq!(again.header("content-type"), Some("application/json"), "{}", again.body);
        assert_eq!(sim.stats().revokes, 2);
    }
    let sim = Simulator::start().await.unwrap();
    let response = sim.send("POST", "/revoke", &[FORM], CLIENT).await;
    assert_eq!(response.body, error("invalid_request", "Invalid revocation request"));
    let response = sim.send("POST", "/revoke", &[FORM], "token=x").await;
    assert_eq!(response.status, 401);
    let response = sim.send("POST", "/revoke", &[FORM], &format!("token=x&{CLIENT}")).await;
    assert_eq!(response.status, 200);
}

#[tokio::test]
async fn user_info_tells_who_a_token_speaks_for() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let response = sim.get("/userinfo", &token).await;
    assert_eq!((response.status.as_u16(), response.text("sub").as_str()), (200, "alice@vbc.prod"));
    assert_eq!(response.text("given_name"), "Alice");
    let response = sim.get("/userinfo", "nonsense").await;
    assert_eq!(response.status, 401);
    assert_eq!(response.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
    assert_eq!(response.text("error"), "invalid_token");
}
