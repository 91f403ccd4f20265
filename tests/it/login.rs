//! Interactive logins through the browser.

use serde_json::Value;
use vbc_proxy::Simulator;

use crate::harness::World;
use crate::interactive::{
    ALICE, BOB, Browser, HOST, LOGIN, REDIRECT, approve, assert_page, interactive_login, query, sent_back,
    status,
};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";

#[tokio::test]
async fn a_login_in_the_browser_makes_the_proxy_ready() {
    let world = interactive_login().start().await;
    assert_eq!(world.get(USERS).await.status, 503);
    let mut browser = Browser::new();
    let started = browser.visit(world.admin, LOGIN).await;
    assert_eq!((started.status, started.header("cache-control")), (302, Some("no-store")));
    let location = started.header("location").unwrap();
    assert!(location.starts_with(&format!("{}/authorize?", world.sim.url())), "{location}");
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "sim-client"),
        ("redirect_uri", REDIRECT),
        ("scope", "openid"),
    ] {
        assert_eq!(query(location, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(query(location, "state").unwrap().len(), 43);
    assert_eq!(query(location, "code_challenge"), None);
    let (name, value, path) = browser.cookies[0].clone();
    assert!(name.starts_with("vbc-proxy-login-") && path == "/callback", "{name} {path}");
    assert_ne!(Some(value), query(location, "state"));

    let callback = approve(location, ALICE).await;
    let page = browser.visit(world.admin, &callback).await;
    assert_page(&page, 200, "logged_in", "You can close this window");
    assert!(page.text().contains(&format!("<strong id=\"user\">{ALICE}</strong>")), "{}", page.text());
    for secret in ["code", "state"].map(|name| query(&callback, name).unwrap()) {
        assert!(!page.text().contains(&secret), "{}", page.text());
    }
    assert!(browser.cookies.is_empty(), "{:?}", browser.cookies);
    assert_eq!(world.get(USERS).await.status, 200);
    assert_eq!(world.admin("/ready").await.status, 200);
    let credential = status(&world).await;
    assert_eq!(credential["subject"], ALICE);
    assert_eq!(credential["scope"], "openid");
    assert_eq!(credential["by_person"], true);
    assert_eq!(credential["login_needed"], false);
    assert!(credential["login_needed_by"].is_string(), "{credential}");
    assert_eq!(credential["last_login"]["outcome"], "logged_in");
    assert_eq!(credential["last_login"]["subject"], ALICE);
}

#[tokio::test]
async fn with_pkce_the_code_is_redeemed_with_its_verifier() {
    let world = interactive_login().config("credentials.default.pkce = true").start().await;
    let mut browser = Browser::new();
    let started = browser.visit(world.admin, LOGIN).await;
    let location = started.header("location").unwrap();
    assert_eq!(query(location, "code_challenge_method").as_deref(), Some("S256"));
    let callback = approve(location, ALICE).await;
    assert_page(&browser.visit(world.admin, &callback).await, 200, "logged_in", ALICE);
}

#[tokio::test]
async fn the_redirect_uri_is_that_of_the_listener_unless_another_is_given() {
    let world = World::builder().config(r#"credentials.default.grant = "authorization_code""#).start().await;
    let port = world.admin.port();
    let own = format!("http://localhost:{port}");
    // If the browser uses another name of this machine, the proxy redirects it to the host of the
    // redirect URI, because cookies are per host.
    let moved = world.admin(LOGIN).await;
    assert_eq!((moved.status, moved.header("location")), (302, Some(&*format!("{own}/login/default"))));
    assert!(moved.all("set-cookie").is_empty());
    let moved = world.admin("/login").await;
    assert_eq!((moved.status, moved.header("location")), (302, Some(&*format!("{own}/login"))));
    let head = format!("GET {LOGIN} HTTP/1.1\nHost: localhost:{port}");
    let started = Browser::new().send(world.admin, &head, b"").await;
    assert_eq!(query(started.header("location").unwrap(), "redirect_uri"), Some(format!("{own}/callback")));
    assert_eq!(status(&world).await["login_url"], format!("{own}/login/default"));
    let reasons = world.admin("/ready").await.json()["reasons"].to_string();
    assert!(reasons.contains(&format!("log in at {own}/login/default")), "{reasons}");
}

#[tokio::test]
async fn a_redirect_uri_that_leads_elsewhere_is_reported() {
    let world = interactive_login().start().await;
    let page = world.admin(LOGIN).await;
    assert_page(&page, 409, "refused", "does not point to this listener");
    assert!(page.text().contains("vbc-proxy login default --no-browser"), "{}", page.text());
    assert!(page.text().contains(REDIRECT), "{}", page.text());
    assert_eq!(status(&world).await["login_url"], Value::Null);
    let reasons = world.admin("/ready").await.json()["reasons"].to_string();
    assert!(reasons.contains("vbc-proxy login default --no-browser"), "{reasons}");
}

#[tokio::test]
async fn the_page_of_all_logins_lists_the_interactive_ones() {
    let world = interactive_login().start().await;
    for (target, status) in [("/login", 200), ("/login/", 200), ("/login/nobody%3Cb%3E", 404)] {
        let page = world.admin(target).await;
        assert_page(&page, status, "choose", "<a href=\"/login/default\">Log in to default</a>");
        assert!(!page.text().contains("nobody"), "{}", page.text());
    }
    let world = World::start().await;
    assert_page(&world.admin(LOGIN).await, 404, "choose", "logs in automatically");
    assert_page(
        &world.admin("/login").await,
        200,
        "choose",
        "No credential of this proxy needs an interactive login",
    );
}

/// The token in a page's form, and the form's action.
fn question(page: &str) -> (String, String) {
    let token = page.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let action = page.split("action=\"").nth(1).unwrap().split('"').next().unwrap();
    (token.to_owned(), action.to_owned())
}

#[tokio::test]
async fn another_user_replaces_the_first_only_after_confirmation() {
    let world = interactive_login().start().await;
    let mut browser = Browser::new();
    assert_page(&browser.log_in(&world, ALICE).await, 200, "logged_in", ALICE);
    let revision = status(&world).await["revision"].clone();

    let page = browser.log_in(&world, BOB).await;
    assert_page(&page, 409, "other_user", "Nothing has been replaced yet");
    for words in [
        "<strong id=\"user\">bob@vbc.prod</strong>",
        "id=\"confirm\" name=\"choice\" value=\"replace\">Replace alice@vbc.prod with bob@vbc.prod<",
        "Keep alice@vbc.prod",
    ] {
        assert!(page.text().contains(words), "{words} in {}", page.text());
    }
    let now = status(&world).await;
    assert_eq!((&now["revision"], now["subject"].as_str()), (&revision, Some(ALICE)));
    assert_eq!(now["last_login"]["outcome"], "other_user");
    assert_eq!(world.get(USERS).await.status, 200);

    let (token, action) = question(page.text());
    assert_eq!(action, "/login/default/confirm");
    let page = browser.submit(world.admin, &action, &format!("token={token}&choice=replace")).await;
    assert_page(&page, 200, "logged_in", BOB);
    let now = status(&world).await;
    assert_eq!(now["subject"], BOB);
    assert!(now["issuance"].is_null(), "logins of two users must not determine the issuance mode: {now}");
    assert_eq!(world.get(USERS).await.status, 200);
    // The confirmation works once.
    let page = browser.submit(world.admin, &action, &format!("token={token}&choice=replace")).await;
    assert_page(&page, 400, "refused", "unknown");
}

#[tokio::test]
async fn the_current_user_can_be_kept() {
    let world = interactive_login().start().await;
    let mut browser = Browser::new();
    browser.log_in(&world, ALICE).await;
    let page = browser.log_in(&world, BOB).await;
    let (token, action) = question(page.text());
    let page = browser.submit(world.admin, &action, &format!("token={token}&choice=keep")).await;
    assert_page(&page, 200, "kept", "The other login was discarded.");
    let now = status(&world).await;
    assert_eq!((now["subject"].as_str(), now["last_login"]["outcome"].as_str()), (Some(ALICE), Some("kept")));
}

#[tokio::test]
async fn nobody_else_can_confirm_another_user() {
    let world = interactive_login().start().await;
    let mut browser = Browser::new();
    browser.log_in(&world, ALICE).await;
    let (token, action) = question(browser.log_in(&world, BOB).await.text());
    let form = format!("token={token}&choice=replace");
    // Attempts without the cookie, with a guessed token, without a token, and from other origins.
    let page = Browser::new().submit(world.admin, &action, &form).await;
    assert_page(&page, 403, "refused", "another browser");
    let page = browser.submit(world.admin, &action, "token=guess&choice=replace").await;
    assert_page(&page, 400, "refused", "unknown");
    let page = browser.submit(world.admin, &action, "choice=replace").await;
    assert_page(&page, 400, "refused", "unknown");
    for from in [
        "Origin: http://evil.example\nSec-Fetch-Site: cross-site",
        "Origin: http://localhost:3000\nSec-Fetch-Site: same-site",
        "Origin: null\nSec-Fetch-Site: cross-site",
    ] {
        let head = format!(
            "POST {action} HTTP/1.1\nHost: {HOST}\n{from}\nContent-Type: application/x-www-form-urlencoded"
        );
        let response = browser.send(world.admin, &head, form.as_bytes()).await;
        assert_eq!(
            (response.status, response.json()["type"].as_str()),
            (403, Some("urn:vbc-proxy:cross-site-request"))
        );
    }
    assert_eq!(status(&world).await["subject"], ALICE);
    // With `Origin: null` and no `Sec-Fetch-Site`, the token and the cookie are enough.
    let head = format!(
        "POST {action} HTTP/1.1\nHost: {HOST}\nOrigin: null\nContent-Type: application/x-www-form-urlencoded"
    );
    assert_page(&browser.send(world.admin, &head, form.as_bytes()).await, 200, "logged_in", BOB);
}

#[tokio::test]
async fn logins_to_two_credentials_in_one_browser_do_not_disturb_each_other() {
    let sim = Simulator::start().await.unwrap();
    let more = [
        ("grant", "authorization_code"),
        ("client_id", "sim-client"),
        ("client_secret", "sim-secret"),
        ("scope", "openid device_second"),
        ("redirect_uri", REDIRECT),
    ];
    let builder = more.iter().fold(interactive_login(), |builder, (key, value)| {
        builder.config(&format!("credentials.second.{key} = \"{value}\""))
    });
    let world = World::with(builder.configuration(&sim), sim).await;
    let mut browser = Browser::new();
    let first = browser.authorize(&world, ALICE).await;
    let started = browser.visit(world.admin, "/login/second").await;
    let second = approve(started.header("location").unwrap(), ALICE).await;
    assert_page(&browser.visit(world.admin, &first).await, 200, "logged_in", "(credential default)");
    assert_page(&browser.visit(world.admin, &second).await, 200, "logged_in", "(credential second)");
}

#[tokio::test]
async fn a_response_to_another_login_is_reported_as_such_and_leaves_the_login_open() {
    let world = interactive_login().start().await;
    let mut browser = Browser::new();
    let post = async |browser: &mut Browser, target: &str, body: String| {
        let head = format!("POST {target} HTTP/1.1\nHost: {HOST}\nContent-Type: application/json");
        browser.send(world.admin, &head, body.as_bytes()).await
    };
    let started = post(&mut browser, "/credentials/default/login", String::new()).await.json();
    let response =
        |response: &str| serde_json::json!({ "login": started["login"], "answer": response }).to_string();
    let target = "/credentials/default/login/answer";
    let other = post(&mut browser, target, response(&format!("{REDIRECT}?code=c&state=another"))).await;
    assert_eq!((other.status, other.json()["type"].as_str()), (409, Some("urn:vbc-proxy:other-login")));
    let back = sent_back(started["url"].as_str().unwrap(), ALICE).await;
    let done = post(&mut browser, target, response(&back)).await;
    assert_eq!((done.status, done.json()["outcome"].as_str()), (200, Some("logged_in")));
}
