//! Interactive logins in a real browser, which tests our pages, redirects, cookies and policies as
//! no HTTP client can. `target/screenshots` has the screenshots.

use socket2::Socket;
use vbc_proxy::Simulator;
use vbc_simulator::{Identity, SimulatorOptions};

use crate::harness::{Chromium, World, reserve};
use crate::process::get;

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";
const ALICE: (&str, &str) = ("alice@vbc.prod", "sim-password");
const BOB: (&str, &str) = ("bob@vbc.prod", "bob-password");

/// A proxy with an interactive login, and a browser.
struct LoginSetup {
    world: World,
    browser: Chromium,
    _reserved: Socket,
}

impl LoginSetup {
    async fn start() -> Self {
        let (admin, _reserved) = reserve();
        let callback = format!("http://localhost:{}/callback", admin.port());
        let identities = vec![Identity { callback: callback.clone(), ..Identity::demo() }];
        let world = World::builder()
            .simulator(SimulatorOptions { identities, ..SimulatorOptions::default() })
            .config(r#"credentials.default.grant = "authorization_code""#)
            .config(&format!("credentials.default.redirect_uri = \"{callback}\""))
            .config(&format!("admin.address = \"{admin}\""))
            .start()
            .await;
        Self { world, browser: Chromium::start().await, _reserved }
    }

    /// Starts a login at our own page. Its address differs from the host of the redirect URI.
    async fn begin(&self) {
        self.browser.open(&format!("http://{}/login/default", self.world.admin)).await;
        assert!(self.browser.url().await.starts_with(&self.world.sim.url()), "not at the login page");
    }

    /// Fills in the login page and sends it.
    async fn fill_in(&self, (user, password): (&str, &str)) {
        self.browser.find("#username").await.type_in(user).await;
        self.browser.find("#password").await.type_in(password).await;
        self.browser.find("#login").await.click().await;
    }

    async fn log_in(&self, login: (&str, &str)) {
        self.begin().await;
        self.fill_in(login).await;
    }

    /// The text of our page with this outcome.
    async fn outcome(&self, outcome: &str) -> String {
        self.browser.find(&format!("#outcome[data-outcome={outcome}]")).await.text().await
    }

    async fn user(&self) -> String {
        self.browser.find("#user").await.text().await
    }

    /// The user whose tokens the proxy has.
    async fn subject(&self) -> String {
        let status = self.world.admin("/status.json").await.json();
        status["credentials"][0]["subject"].as_str().unwrap_or_default().to_owned()
    }
}

#[tokio::test]
async fn a_login_in_a_browser_makes_the_proxy_ready() {
    let setup = LoginSetup::start().await;
    assert_eq!(setup.world.admin("/ready").await.status, 503);
    setup.begin().await;
    setup.browser.screenshot("login-page").await;
    setup.fill_in(ALICE).await;
    let words = setup.outcome("logged_in").await;
    setup.browser.screenshot("logged-in").await;
    assert!(words.contains("You are logged in"), "{words}");
    assert_eq!(setup.user().await, ALICE.0);
    assert!(setup.browser.url().await.starts_with("http://localhost:"));
    assert_eq!(setup.browser.cookies().await, [] as [serde_json::Value; 0]);
    assert_eq!(setup.world.admin("/ready").await.status, 200);
    assert_eq!(setup.world.get(USERS).await.status, 200);
    assert_eq!(setup.subject().await, ALICE.0);
}

#[tokio::test]
async fn a_wrong_password_is_reported_on_the_login_page_and_can_be_corrected() {
    let setup = LoginSetup::start().await;
    setup.log_in((ALICE.0, "wrong")).await;
    let alert = setup.browser.find("[role=alert]").await.text().await;
    setup.browser.screenshot("login-page-wrong-password").await;
    assert!(alert.contains("Login failed"), "{alert}");
    // The user name is still filled in.
    setup.browser.find("#password").await.type_in(ALICE.1).await;
    setup.browser.find("#login").await.click().await;
    setup.outcome("logged_in").await;
    assert_eq!(setup.user().await, ALICE.0);
}

#[tokio::test]
async fn a_user_who_denies_sees_that_nothing_has_changed() {
    let setup = LoginSetup::start().await;
    setup.begin().await;
    setup.browser.find("button[name=deny]").await.click().await;
    let words = setup.outcome("refused").await;
    setup.browser.screenshot("denied").await;
    assert!(words.contains("The service rejected the login") && words.contains("access_denied"), "{words}");
    assert_eq!(setup.world.admin("/ready").await.status, 503);
    // The page links to another attempt.
    setup.browser.find("#outcome a").await.click().await;
    setup.fill_in(ALICE).await;
    setup.outcome("logged_in").await;
    assert_eq!(setup.world.admin("/ready").await.status, 200);
}

#[tokio::test]
async fn another_user_takes_over_only_after_confirmation() {
    let setup = LoginSetup::start().await;
    setup.log_in(ALICE).await;
    setup.outcome("logged_in").await;

    setup.log_in(BOB).await;
    let words = setup.outcome("other_user").await;
    setup.browser.screenshot("other-user").await;
    assert!(words.contains("Nothing has been replaced yet"), "{words}");
    assert_eq!(setup.user().await, BOB.0);
    setup.browser.find("#keep").await.click().await;
    setup.outcome("kept").await;
    setup.browser.screenshot("kept").await;
    assert_eq!(setup.subject().await, ALICE.0);
    assert_eq!(setup.world.get(USERS).await.status, 200);

    setup.log_in(BOB).await;
    setup.outcome("other_user").await;
    setup.browser.find("#confirm").await.click().await;
    setup.outcome("logged_in").await;
    setup.browser.screenshot("replaced").await;
    assert_eq!(setup.user().await, BOB.0);
    assert_eq!(setup.subject().await, BOB.0);
    assert_eq!(setup.world.get(USERS).await.status, 200);
}

#[tokio::test]
async fn an_authorization_response_that_is_opened_again_does_nothing() {
    let setup = LoginSetup::start().await;
    setup.log_in(ALICE).await;
    setup.outcome("logged_in").await;
    let callback = setup.browser.url().await;
    assert!(callback.contains("/callback?code="), "{callback}");
    for _ in 0..2 {
        setup.browser.open(&callback).await;
        let words = setup.outcome("refused").await;
        assert!(words.contains("You are already logged in; nothing was changed."), "{words}");
    }
    setup.browser.screenshot("opened-again").await;
    assert_eq!(setup.world.get(USERS).await.status, 200);
    assert_eq!(setup.world.sim.stats().codes.ok, 1);
}

#[tokio::test]
async fn a_login_in_a_second_tab_replaces_the_one_in_the_first() {
    let setup = LoginSetup::start().await;
    let first = setup.browser.tab().await;
    setup.begin().await;
    let second = setup.browser.new_tab().await;
    setup.begin().await;

    setup.browser.go_to_tab(&first).await;
    setup.fill_in(ALICE).await;
    let words = setup.outcome("refused").await;
    setup.browser.screenshot("first-tab").await;
    assert!(words.contains("A newer login replaced this one"), "{words}");
    assert_eq!(setup.world.admin("/ready").await.status, 503);

    setup.browser.go_to_tab(&second).await;
    setup.fill_in(ALICE).await;
    setup.outcome("logged_in").await;
    assert_eq!(setup.world.admin("/ready").await.status, 200);
}

/// Waits until the text at `selector` contains `text`.
async fn reads(browser: &Chromium, selector: &str, text: &str) {
    let mut seen = String::new();
    let waiting = async {
        loop {
            seen = browser.text_at(selector).await;
            if seen.contains(text) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let done = tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await.is_ok();
    assert!(done, "{selector} reads {seen:?}, not {text:?}");
}

#[tokio::test]
async fn the_simulators_page_shows_responses_and_fits_a_phone() {
    let sim = Simulator::start().await.unwrap();
    let token = {
        let form = "grant_type=password&username=alice@vbc.prod&password=sim-password&scope=openid\
                    &client_id=sim-client&client_secret=sim-secret";
        let request =
            http::Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
        let response = sim.service().respond(request.body(form.into()).unwrap()).await.unwrap();
        let pair: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        pair["access_token"].as_str().unwrap().to_owned()
    };
    let long = format!("{USERS}?first_name={}&last_name=x", "A".repeat(300));
    for (path, bearer) in [(USERS, true), (USERS, false), (&long, true)] {
        let mut request = http::Request::get(path);
        if bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        sim.service().respond(request.body(Default::default()).unwrap()).await.unwrap();
    }
    sim.set_quota(Some(10));
    let browser = Chromium::start().await;
    browser.open(&sim.control_url()).await;
    reads(&browser, "#requests tr:first-child td.type", "application/json, ").await;
    for row in 1..=4 {
        browser.find(&format!("#requests tr:nth-child({row}) summary")).await.click().await;
    }
    reads(&browser, "#requests tr:nth-child(2) pre.response", "900902").await;
    reads(&browser, "#requests tr:last-child pre.response", "\"access_token\":\"[redacted]\"").await;
    for width in [390, 320, 1280] {
        assert!(browser.width_at(width).await <= width, "it has to be scrolled at {width}");
        browser.screenshot(&format!("simulator-{width}")).await;
    }
}

#[tokio::test]
async fn the_simulators_page_shows_requests_and_injects_faults() {
    let sim = Simulator::start().await.unwrap();
    let browser = Chromium::start().await;
    browser.open(&sim.control_url()).await;
    reads(&browser, "#state", "live").await;
    assert_eq!(get(sim.address(), USERS).await.status, 401);
    reads(&browser, "#requests", &format!("GET {USERS}")).await;
    reads(&browser, "#requests tr td.bad", "401").await;
    browser.find("#requests summary").await.click().await;
    reads(&browser, "#requests pre", "HTTP/1.1").await;

    // A button's fault is listed until it has been applied.
    browser.find("button[data-fault*='\"status\":500']").await.click().await;
    reads(&browser, "#faults", "status 500, endpoint api, once").await;
    browser.screenshot("simulator").await;
    assert_eq!(get(sim.address(), USERS).await.status, 500);
    reads(&browser, "#requests tr:first-child td.bad", "500").await;
    reads(&browser, "#faults", "none").await;
    browser.screenshot("simulator-after").await;

    // A fault typed by the user is injected and removed. An invalid one is rejected.
    browser.find("#inject").await.click().await;
    reads(&browser, "#faults", "drip 100 bytes/s, once").await;
    browser.find("#faults li button").await.click().await;
    reads(&browser, "#faults", "none").await;
    browser.find("#own").await.type_in("x").await;
    browser.find("#inject").await.click().await;
    reads(&browser, "#said", "expected a JSON object").await;

    // Changed settings are listed too, and each can be reverted.
    reads(&browser, "#clock", "simulator's time: ").await;
    browser.find("button[data-fault*='lock_user']").await.click().await;
    reads(&browser, "#faults", "lock_user alice@vbc.prod").await;
    browser.find("#faults li button").await.click().await;
    reads(&browser, "#faults", "none").await;
    browser.find("button[data-fault*='expire_in']").await.click().await;
    reads(&browser, "#faults", "expire_in 10 s").await;
    browser.find("#faults li button").await.click().await;
    reads(&browser, "#faults", "none").await;
    browser.find("button[data-fault*='delay']").await.click().await;
    reads(&browser, "#faults", "delay 2000 ms, endpoint api, until ").await;
    browser.find("#clear").await.click().await;
    reads(&browser, "#faults", "none").await;
    browser.find("button[data-fault*='\"per_minute\":10']").await.click().await;
    browser.find("button[data-fault*='\"seconds\":86400']").await.click().await;
    reads(&browser, "#faults li:first-child", "quota 10 per minute").await;
    reads(&browser, "#faults li:last-child", "clock 1 d ahead").await;
    browser.find("#faults li:first-child button").await.click().await;
    reads(&browser, "#faults li:first-child", "clock 1 d ahead").await;
    browser.find("#faults li:first-child button").await.click().await;
    reads(&browser, "#faults", "none").await;

    browser.find("#call button").await.click().await;
    reads(&browser, "#said", "done").await;

    browser.find("#reset").await.click().await;
    reads(&browser, "#requests", "No requests yet").await;
    assert_eq!(sim.requests().len(), 0);
}
