//! Failures of interactive logins, and attacks on them. Neither may change the tokens.

use std::time::Duration;

use vbc_base::clock::Clock;
use vbc_simulator::{Action, Fault};

use crate::harness::{Response, World};
use crate::interactive::{
    ALICE, BOB, Browser, HOST, LOGIN, approve, assert_page, clocked, interactive_login, query, status,
};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";
const UNCHANGED: &str = "Nothing was changed";

/// A world where alice has logged in.
async fn logged_in() -> (World, Clock, Browser) {
    let (world, clock) = clocked(interactive_login()).await;
    let mut browser = Browser::new();
    assert_page(&browser.log_in(&world, ALICE).await, 200, "logged_in", ALICE);
    (world, clock, browser)
}

/// Asserts a failure page that says that nothing changed, and offers another attempt.
#[track_caller]
fn assert_failed(page: &Response, status: u16, words: &str) {
    assert_page(page, status, "refused", words);
    assert!(page.text().contains(UNCHANGED), "{}", page.text());
    assert!(page.text().contains("<a href=\"/login"), "a way to try again in {}", page.text());
}

/// Asserts that the first token set is still in use.
async fn assert_unchanged(world: &World) {
    let now = status(world).await;
    assert_eq!((now["revision"].as_u64(), now["subject"].as_str()), (Some(1), Some(ALICE)), "{now}");
    assert_eq!(world.get(USERS).await.status, 200);
}

fn codes_redeemed(world: &World) -> usize {
    world.sim.requests().iter().filter(|request| request.target == "/token").count()
}

#[tokio::test]
async fn a_state_that_is_unknown_or_missing_redeems_nothing() {
    let (world, _, mut browser) = logged_in().await;
    let callback = browser.authorize(&world, ALICE).await;
    let code = query(&callback, "code").unwrap();
    let before = codes_redeemed(&world);
    for target in [
        format!("/callback?code={code}&state=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        format!("/callback?code={code}"),
        format!("/callback?code={code}&state="),
        "/callback".to_owned(),
    ] {
        assert_failed(&browser.visit(world.admin, &target).await, 400, "This login is unknown");
    }
    assert_eq!(codes_redeemed(&world), before);
    assert_unchanged(&world).await;
    // The callback with the real state still completes the login.
    assert_page(&browser.visit(world.admin, &callback).await, 200, "logged_in", ALICE);
}

#[tokio::test]
async fn a_state_works_once() {
    let (world, _, mut browser) = logged_in().await;
    let callback = browser.authorize(&world, ALICE).await;
    let cookies = browser.cookies.clone();
    assert_page(&browser.visit(world.admin, &callback).await, 200, "logged_in", ALICE);
    let (revision, redeemed) = (status(&world).await["revision"].clone(), codes_redeemed(&world));
    browser.cookies = cookies;
    let page = browser.visit(world.admin, &callback).await;
    assert_page(&page, 409, "refused", "You are already logged in; nothing was changed.");
    // A second redemption of the code would have revoked its tokens.
    assert_eq!(codes_redeemed(&world), redeemed);
    assert_eq!(status(&world).await["revision"], revision);
    assert_eq!(world.get(USERS).await.status, 200);
}

#[tokio::test]
async fn a_login_takes_ten_minutes_at_most() {
    let (world, clock, mut browser) = logged_in().await;
    let callback = browser.authorize(&world, ALICE).await;
    clock.shift(Duration::from_secs(601).try_into().unwrap());
    assert_failed(&browser.visit(world.admin, &callback).await, 400, "took too long");
    assert_unchanged(&world).await;
}

#[tokio::test]
async fn a_second_login_in_the_same_browser_replaces_the_first() {
    let (world, _, mut browser) = logged_in().await;
    let first = browser.authorize(&world, ALICE).await;
    let second = browser.authorize(&world, ALICE).await;
    let page = browser.visit(world.admin, &first).await;
    assert_failed(&page, 400, "A newer login replaced this one");
    assert_unchanged(&world).await;
    assert_page(&browser.visit(world.admin, &second).await, 200, "logged_in", ALICE);
}

#[tokio::test]
async fn a_response_in_another_browser_is_refused_and_the_first_can_still_finish() {
    let (world, _, mut browser) = logged_in().await;
    let callback = browser.authorize(&world, ALICE).await;
    // A browser without cookies, one with its own login, and one with a forged cookie.
    let mut none = Browser::new();
    let mut other = Browser::new();
    other.authorize(&world, ALICE).await;
    let mut made_up = Browser::new();
    let (name, _, path) = browser.cookies[0].clone();
    made_up.cookies.push((name, "A".repeat(43), path));
    let redeemed = codes_redeemed(&world);
    assert_failed(&none.visit(world.admin, &callback).await, 403, "started in another browser");
    assert_failed(&made_up.visit(world.admin, &callback).await, 403, "started in another browser");
    let page = other.visit(world.admin, &callback).await;
    assert!([400, 403].contains(&page.status), "{}", page.text());
    assert_eq!(codes_redeemed(&world), redeemed);
    assert_unchanged(&world).await;
    assert_page(&browser.visit(world.admin, &callback).await, 200, "logged_in", ALICE);
}

#[tokio::test]
async fn an_attacker_cannot_log_a_victim_in_to_another_account() {
    // The attacker starts a login and sends the victim's browser to the authorization response
    // (login CSRF).
    let (world, _) = clocked(interactive_login()).await;
    let response = Browser::new().authorize(&world, BOB).await;
    let attack = format!("GET {response} HTTP/1.1\nHost: {HOST}\nSec-Fetch-Site: cross-site");
    let mut victim = Browser::new();
    assert_failed(&victim.send(world.admin, &attack, b"").await, 403, "started in another browser");
    // The attack also fails while the victim has a login in progress.
    let callback = victim.authorize(&world, ALICE).await;
    let page = victim.send(world.admin, &attack, b"").await;
    assert!([400, 403].contains(&page.status), "{}", page.text());
    // For a code of the attacker under the victim's state, the attacker would have to know that
    // state.
    assert_eq!(codes_redeemed(&world), 0);
    assert_page(&victim.visit(world.admin, &callback).await, 200, "logged_in", ALICE);
}

#[tokio::test]
async fn a_foreign_page_does_not_start_a_login() {
    let (world, _) = clocked(interactive_login()).await;
    for site in ["cross-site", "same-site"] {
        let mut browser = Browser::new();
        let head = format!("GET {LOGIN} HTTP/1.1\nHost: {HOST}\nSec-Fetch-Site: {site}");
        let page = browser.send(world.admin, &head, b"").await;
        assert_page(&page, 403, "choose", "<a href=\"/login/default\">Log in to default</a>");
        assert!(browser.cookies.is_empty() && page.header("location").is_none(), "{page:?}");
        // A click on that link starts the login.
        let head = format!("GET {LOGIN} HTTP/1.1\nHost: {HOST}\nSec-Fetch-Site: same-origin");
        assert_eq!(browser.send(world.admin, &head, b"").await.status, 302);
    }
    // A HEAD request of a program starts nothing either.
    let mut client = crate::harness::Client::connect(world.admin).await;
    client.request(&format!("HEAD {LOGIN} HTTP/1.1\nHost: {HOST}"), b"").await;
    let response = client.response_to("HEAD").await;
    assert_eq!((response.status, response.header("set-cookie")), (403, None));
}

#[tokio::test]
async fn a_refusal_of_the_service_is_shown_in_its_words_and_as_text() {
    let (world, _, mut browser) = logged_in().await;
    let callback = browser.authorize(&world, "nobody@vbc.prod").await;
    let page = browser.visit(world.admin, &callback).await;
    assert_failed(&page, 400, "access_denied");
    assert!(page.text().contains("single sign-on"), "{}", page.text());
    assert_unchanged(&world).await;
    assert_eq!(status(&world).await["last_login"]["outcome"], "refused");

    let callback = browser.authorize(&world, ALICE).await;
    let state = query(&callback, "state").unwrap();
    let target = format!(
        "/callback?error=%3Cscript%3E&error_description=%3Cimg+src%3Dx+onerror%3Dalert(1)%3E%22%27&state={state}"
    );
    let page = browser.visit(world.admin, &target).await;
    assert_failed(&page, 400, "&lt;img src=x onerror=alert(1)&gt;&quot;&#39;");
    assert!(!page.text().contains("<img"), "{}", page.text());
    // The state has been used, so its code comes too late.
    assert_failed(&browser.visit(world.admin, &callback).await, 409, "already used");
    assert_unchanged(&world).await;
}

#[tokio::test]
async fn a_response_without_a_code_is_reported_as_such() {
    let (world, _, mut browser) = logged_in().await;
    let callback = browser.authorize(&world, ALICE).await;
    let state = query(&callback, "state").unwrap();
    let page = browser.visit(world.admin, &format!("/callback?state={state}")).await;
    assert_failed(&page, 400, "contains no code");
}

#[tokio::test]
async fn a_refused_code_leaves_the_tokens_unchanged() {
    let (world, _, mut browser) = logged_in().await;
    let callback = browser.authorize(&world, ALICE).await;
    let state = query(&callback, "state").unwrap();
    let page = browser.visit(world.admin, &format!("/callback?code=made-up-code&state={state}")).await;
    assert_failed(&page, 502, "The login was not accepted");
    assert!(page.text().contains("single sign-on"), "{}", page.text());
    assert!(!page.text().contains("made-up-code") && !page.text().contains(&state), "{}", page.text());
    assert_unchanged(&world).await;
    let now = status(&world).await;
    assert_eq!(now["last_login"]["outcome"], "refused");
}

#[tokio::test]
async fn a_token_endpoint_that_is_down_leaves_the_tokens_unchanged() {
    let (world, _, mut browser) = logged_in().await;
    let callback = browser.authorize(&world, ALICE).await;
    world.sim.inject(Fault::status(503).on("/token")).unwrap();
    let page = browser.visit(world.admin, &callback).await;
    assert!([502, 503].contains(&page.status), "{}", page.text());
    assert_failed(&page, page.status, UNCHANGED);
    assert_unchanged(&world).await;
}

#[tokio::test]
async fn a_locked_account_is_reported_as_locked() {
    let (world, _, mut browser) = logged_in().await;
    world.sim.inject(Action::LockUser { user: ALICE.into(), keep_tokens: true }).unwrap();
    let callback = browser.authorize(&world, ALICE).await;
    assert_failed(&browser.visit(world.admin, &callback).await, 400, "locked");
    assert_unchanged(&world).await;
}

#[tokio::test]
async fn the_old_tokens_serve_while_the_new_ones_are_on_their_way() {
    let (world, _, mut browser) = logged_in().await;
    let callback = browser.authorize(&world, ALICE).await;
    let hang = world.sim.inject(Fault::hang().on("/token")).unwrap();
    let admin = world.admin;
    let before = codes_redeemed(&world);
    let waiting = tokio::spawn(async move { browser.visit(admin, &callback).await });
    crate::harness::within(async {
        while codes_redeemed(&world) == before {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_unchanged(&world).await;
    world.sim.remove_fault(hang);
    assert_page(&waiting.await.unwrap(), 200, "logged_in", ALICE);
    assert_eq!(world.get(USERS).await.status, 200);
}

#[tokio::test]
async fn a_browser_does_not_consume_a_login_of_the_command_line() {
    let (world, _) = clocked(interactive_login()).await;
    let started = crate::operate::post(world.admin, "/credentials/default/login", "").await.json();
    let callback = approve(started["url"].as_str().unwrap(), ALICE).await;
    let page = Browser::new().visit(world.admin, &callback).await;
    assert_page(&page, 400, "refused", "The command line waits for this login");
    let pasted = format!("http://localhost:8081{callback}");
    let given = serde_json::json!({ "login": started["login"], "answer": pasted }).to_string();
    let response = crate::operate::post(world.admin, "/credentials/default/login/answer", &given).await;
    assert_eq!(
        (response.status, response.json()["outcome"].as_str()),
        (200, Some("logged_in")),
        "{response:?}"
    );
    assert_eq!(response.json()["subject"], ALICE);
}
