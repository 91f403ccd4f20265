//! Authorization codes: how they are requested, and what they are valid for.

use super::*;

const BASIC: &str = "Basic c2ltLWNsaWVudDpzaW0tc2VjcmV0"; // sim-client:sim-secret
const CALLBACK: &str = "redirect_uri=http://localhost:8081/callback";

async fn code(sim: &Simulator, more: &str) -> String {
    let response = sim.send("GET", &format!("{AUTHORIZE}&sim_user=alice@vbc.prod{more}"), &[], "").await;
    assert_eq!(response.status, 302, "{}", response.body);
    let location = url::Url::parse(response.header("location").unwrap()).unwrap();
    assert!(location.as_str().starts_with("http://localhost:8081/callback?"));
    let parameters: std::collections::HashMap<_, _> = location.query_pairs().into_owned().collect();
    assert_eq!(parameters["state"], "a b");
    parameters["code"].clone()
}

#[tokio::test]
async fn a_code_works_once_and_reusing_it_revokes_what_it_got() {
    let sim = Simulator::start().await.unwrap();
    let code = code(&sim, "").await;
    let form = format!("grant_type=authorization_code&code={code}&{CALLBACK}");
    let headers = [FORM, ("authorization", BASIC)];
    let pair = sim.send("POST", "/token", &headers, &form).await;
    assert_eq!(pair.status, 200, "{}", pair.body);
    assert_eq!(sim.get(ACCOUNT, &pair.text("access_token")).await.status, 200);
    let again = sim.send("POST", "/token", &headers, &form).await;
    assert_eq!(again.body, error("invalid_grant", "Inactive authorization code received from token request"));
    assert_eq!(sim.get(ACCOUNT, &pair.text("access_token")).await.status, 401);
    assert_eq!(sim.refresh(&pair.text("refresh_token")).await.status, 400);
    assert_eq!(sim.stats().codes, Outcomes { ok: 1, failed: 1 });
}

/// The target of a redirect, and its parameters.
fn redirect(response: &TestResponse) -> (String, std::collections::HashMap<String, String>) {
    assert_eq!(response.status, 302, "{}", response.body);
    let location = url::Url::parse(response.header("location").unwrap()).unwrap();
    let parameters = location.query_pairs().into_owned().collect();
    (location.as_str().split('?').next().unwrap().to_owned(), parameters)
}

async fn redeem(sim: &Simulator, code: &str, more: &str) -> TestResponse {
    sim.token(&format!("grant_type=authorization_code&code={code}{more}")).await
}

#[tokio::test]
async fn codes_are_refused_for_their_reasons() {
    let other = Identity { client_id: "other".into(), client_secret: "s".into(), ..Identity::demo() };
    let options = SimulatorOptions { identities: vec![other], ..SimulatorOptions::default() };
    let sim = Simulator::bind(options).await.unwrap();
    let invalid = error("invalid_grant", "Invalid authorization code received from token request");
    let mismatch = error("invalid_grant", "Callback url mismatch");
    let callback = format!("&{CALLBACK}");
    let one = code(&sim, "").await;
    assert_eq!(redeem(&sim, "nonsense", &callback).await.body, invalid);
    let form = format!("grant_type=authorization_code&code={one}{callback}&client_id=other&client_secret=s");
    assert_eq!(sim.raw_token(&form).await.body, invalid, "the code of another client");
    assert_eq!(redeem(&sim, &one, "&redirect_uri=http://elsewhere").await.body, mismatch);
    assert_eq!(redeem(&sim, &one, "").await.body, mismatch, "no redirect_uri");
    assert_eq!(redeem(&sim, &one, &callback).await.status, 200, "the failed attempts did not spend the code");
    let late = code(&sim, "").await;
    sim.advance(Duration::from_secs(300));
    let words = "Expired or Revoked authorization code received from token request";
    assert_eq!(redeem(&sim, &late, &callback).await.body, error("invalid_grant", words));
}

#[tokio::test]
async fn a_code_with_a_challenge_needs_its_verifier() {
    // The example of RFC 7636, appendix B.
    let (verifier, hash) =
        ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    let sim = Simulator::start().await.unwrap();
    for (challenge, right, wrong) in [
        (format!("&code_challenge={hash}&code_challenge_method=S256"), verifier, hash),
        (format!("&code_challenge={verifier}&code_challenge_method=plain"), verifier, hash),
        (format!("&code_challenge={verifier}"), verifier, "short"),
    ] {
        let code = code(&sim, &challenge).await;
        let refused = error("invalid_grant", "PKCE validation failed");
        assert_eq!(redeem(&sim, &code, &format!("&{CALLBACK}")).await.body, refused);
        let with = |verifier: &str| format!("&{CALLBACK}&code_verifier={verifier}");
        assert_eq!(redeem(&sim, &code, &with(wrong)).await.body, refused);
        assert_eq!(redeem(&sim, &code, &with(right)).await.status, 200);
    }
    let unknown = format!("{AUTHORIZE}&sim_user=alice@vbc.prod&code_challenge=x&code_challenge_method=S512");
    let (_, parameters) = redirect(&sim.send("GET", &unknown, &[], "").await);
    assert_eq!(parameters["error"], "invalid_request");
}

#[tokio::test]
async fn a_code_is_issued_for_as_a_login_in_every_mode() {
    for (mode, same_access, same_refresh, old_lives) in [
        (Mode::Reuse, true, true, true),
        (Mode::RenewRevoke, false, true, false),
        (Mode::RenewKeep, false, false, true),
    ] {
        let sim = Simulator::of(mode).await;
        let first = sim.log_in().await;
        let one = code(&sim, "").await;
        let second = redeem(&sim, &one, &format!("&{CALLBACK}")).await;
        let same = |member: &str| first.text(member) == second.text(member);
        assert_eq!((same("access_token"), same("refresh_token")), (same_access, same_refresh), "{mode:?}");
        assert_eq!((second.text("scope").as_str(), second.json()["id_token"].is_string()), ("openid", true));
        let old = sim.get(ACCOUNT, &first.text("access_token")).await.status;
        assert_eq!(old, if old_lives { 200 } else { 401 }, "{mode:?}");
        let third = sim.refresh(&second.text("refresh_token")).await;
        assert_eq!(third.status, 200, "{mode:?}");
        assert_eq!(sim.refresh(&second.text("refresh_token")).await.status, 400, "{mode:?}: once");
        assert_eq!(sim.get(ACCOUNT, &third.text("access_token")).await.status, 200, "{mode:?}");
        // A code that is presented again revokes its tokens, including those of refreshes.
        assert_eq!(redeem(&sim, &one, &format!("&{CALLBACK}")).await.status, 400);
        assert_eq!(sim.get(ACCOUNT, &third.text("access_token")).await.status, 401, "{mode:?}");
        assert_eq!(sim.refresh(&third.text("refresh_token")).await.status, 400, "{mode:?}");
    }
}

#[tokio::test]
async fn a_code_gives_no_more_than_its_application_may_have() {
    let sim = Simulator::start().await.unwrap();
    sim.fault(json!({ "fault": "refuse_scope" })).await;
    let one = code(&sim, "").await;
    let pair = redeem(&sim, &one, &format!("&{CALLBACK}")).await;
    assert_eq!((pair.text("scope").as_str(), pair.json().get("id_token")), ("default", None));
    let limited = AUTHORIZE.replace("sim-client", "limited-client").replace("callback", "limited");
    let (to, parameters) = redirect(&sim.send("GET", &limited, &[], "").await);
    assert_eq!(to, "http://localhost:8081/limited");
    assert_eq!(parameters["error"], "unauthorized_client");
}

#[tokio::test]
async fn some_users_can_never_get_a_code() {
    let sim = Simulator::start().await.unwrap();
    sim.inject(Action::LockUser { user: "alice@vbc.prod".into(), keep_tokens: false }).unwrap();
    for (user, words) in [
        ("sam", "Single sign-on accounts are not supported by the service."),
        ("sam@vbc.prod", "Single sign-on accounts are not supported by the service."),
        ("alice@vbc.prod", "17003 User account is locked."),
        ("nobody", "User denied the consent"),
    ] {
        let response = sim.send("GET", &format!("{AUTHORIZE}&sim_user={user}"), &[], "").await;
        let (to, parameters) = redirect(&response);
        assert_eq!(to, "http://localhost:8081/callback");
        assert_eq!(
            (parameters["error"].as_str(), parameters["error_description"].as_str()),
            ("access_denied", words)
        );
        assert_eq!(parameters["state"], "a b");
    }
    let page = sim.send("POST", AUTHORIZE, &[FORM], "username=sam@vbc.prod&password=sam-password").await;
    assert!(page.status == 200 && page.body.contains("Single sign-on accounts are not supported"));
    let page = sim.send("POST", AUTHORIZE, &[FORM], "username=alice@vbc.prod&password=sim-password").await;
    assert!(page.status == 200 && page.body.contains("The account is locked."));
    assert_eq!(sim.stats().logins_while_locked, 1, "`sim_user` in the query is no login attempt");
}

#[tokio::test]
async fn the_login_page_can_be_used_by_people_and_programs() {
    let sim = Simulator::start().await.unwrap();
    let page = sim.send("GET", AUTHORIZE, &[], "").await;
    for part in [
        "simulator",
        "<strong>sim-client</strong>",
        "alice@vbc.prod",
        "sim-password",
        "<form method=\"post\">",
        "name=\"username\"",
        "name=\"password\"",
        "<button id=\"login\">",
        "<button name=\"deny\" value=\"1\"",
        "<label for=\"username\">",
    ] {
        assert!(page.body.contains(part), "{part}");
    }
    assert!(!page.body.contains("<script") && !page.body.contains("src="));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let again = sim.send("POST", AUTHORIZE, &[FORM], "username=<b>&password=hunter2").await;
    assert!(again.body.contains("value=\"&lt;b&gt;\"") && !again.body.contains("hunter2"));
    let denied = sim.send("POST", AUTHORIZE, &[FORM], "username=&password=&deny=1").await;
    let (to, parameters) = redirect(&denied);
    assert_eq!(
        (to.as_str(), parameters["error"].as_str()),
        ("http://localhost:8081/callback", "access_denied")
    );
}

#[tokio::test]
async fn authorize_redirects_only_where_it_may() {
    let sim = Simulator::start().await.unwrap();
    for target in [
        "/authorize?response_type=code",
        "/authorize?response_type=code&client_id=nobody&redirect_uri=http://evil.test",
        "/authorize?response_type=code&client_id=sim-client&redirect_uri=http://evil.test",
    ] {
        let response = sim.send("GET", target, &[], "").await;
        assert_eq!(response.status, 302);
        assert!(response.header("location").unwrap().starts_with("/authenticationendpoint/oauth2_error.do?"));
    }
    let response = sim.send("GET", &AUTHORIZE.replace("=code&", "=token&"), &[], "").await;
    let location = response.header("location").unwrap();
    assert!(location.starts_with("http://localhost:8081/callback?error=invalid_request&"), "{location}");
    assert!(location.ends_with("&state=a+b"), "{location}");
    let page = sim.send("GET", AUTHORIZE, &[], "").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let form = "username=alice@vbc.prod&password=wrong";
    let refused = sim.send("POST", AUTHORIZE, &[FORM], form).await;
    assert!(refused.status == 200 && refused.body.contains("Login failed"));
    let form = "username=alice@vbc.prod&password=sim-password";
    let response = sim.send("POST", "/t/vbc.prod/oauth2".to_owned().as_str(), &[FORM], form).await;
    assert_eq!(response.status, 404);
    let response = sim.send("POST", &format!("/t/vbc.prod/oauth2{AUTHORIZE}"), &[FORM], form).await;
    assert_eq!(response.status, 302);
    assert!(response.header("location").unwrap().contains("?code="));
}
