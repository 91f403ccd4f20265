//! Refreshes that fail in unusual wordings or return another user's tokens, and the reports of
//! `/ready` meanwhile.

use std::time::Duration;

use jiff::SignedDuration;
use vbc_base::clock::Clock;
use vbc_proxy::Simulator;
use vbc_simulator::{Effect, Fault, StatusFault};

use crate::harness::{RawUpstream, World, within};
use crate::interactive::{ALICE, Browser, assert_page, interactive_login, status};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";

/// Responses of servers to a dead refresh token: status, type, body.
const DEAD: [(u16, &str, &str); 8] = [
    (400, "application/json", r#"{"error":"invalid_grant"}"#),
    (400, "application/json", r#"{"error":"invalid_request"}"#),
    (401, "application/json", r#"{"error":"invalid_token"}"#),
    (400, "text/plain", "Bad Request"),
    (401, "text/html", "<html>401</html>"),
    (403, "application/json", r#"{"error":"access_denied"}"#),
    (400, "application/json", r#"{"error":"unauthorized_client"}"#),
    (400, "application/json", r#"{"error":"unsupported_grant_type"}"#),
];

/// A fault that responds to refreshes with this response.
fn refused((status, content_type, body): (u16, &str, &str)) -> Fault {
    let (body, content_type) = (Some(body.to_owned()), Some(content_type.to_owned()));
    let effect = Effect::Status(StatusFault { status, body, content_type, ..StatusFault::default() });
    Fault::from(effect).on("/token").grant("refresh_token").times(1_000)
}

#[tokio::test]
async fn a_dead_refresh_token_in_any_wording_costs_one_login_and_no_request() {
    for words in DEAD {
        let world = World::start().await;
        world.ready().await;
        world.sim.inject(refused(words)).unwrap();
        world.sim.revoke_all_access();
        for _ in 0..5 {
            assert_eq!(world.get(USERS).await.status, 200, "{words:?}");
        }
        let stats = world.sim.stats();
        assert_eq!((stats.logins.ok, stats.logins.failed, stats.token_requests), (2, 0, 3), "{words:?}");
    }
}

#[tokio::test]
async fn a_dead_refresh_token_in_any_wording_needs_a_login_without_a_password() {
    for words in DEAD {
        let world = interactive_login().start().await;
        assert_page(&Browser::new().log_in(&world, ALICE).await, 200, "logged_in", ALICE);
        world.sim.inject(refused(words)).unwrap();
        world.sim.revoke_all_access();
        for _ in 0..5 {
            let response = world.get(USERS).await;
            response.assert_problem(503, "proxy_internal_error");
            assert!(response.text().contains("login needed"), "{words:?}: {response:?}");
        }
        assert_eq!(status(&world).await["login_needed"], true, "{words:?}");
        assert_eq!(world.sim.stats().token_requests, 2, "{words:?}");
        // A login restores the credential.
        assert_page(&Browser::new().log_in(&world, ALICE).await, 200, "logged_in", ALICE);
        assert_eq!(world.get(USERS).await.status, 200, "{words:?}");
    }
}

/// A response with a token set for `sub`, whose tokens contain that name.
fn issued(sub: &str) -> String {
    use base64::Engine;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"{sub}"}}"#));
    let body = format!(
        r#"{{"access_token":"{sub}-access","refresh_token":"{sub}-refresh","expires_in":1000,"id_token":"e30.{claims}.x"}}"#
    );
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_refresh_that_returns_another_users_tokens_is_not_used_and_every_surface_says_so() {
    let endpoint = RawUpstream::by_hand().await;
    let clock = Clock::system();
    let sim = Simulator::start().await.unwrap();
    let upstream = RawUpstream::ok().await;
    let config = World::builder()
        .upstream(upstream.url())
        .config(&format!("oauth.token_url = \"{}/token\"", endpoint.url()))
        .configuration(&sim);
    let world = World::with_clock(config, sim, clock.clone()).await;
    let response = async |sub: &str| {
        let mut connection = within(endpoint.accept()).await;
        within(connection.respond(&issued(sub))).await
    };
    response(ALICE).await;
    world.ready().await;
    // Moves the clock past the time of the early refresh, which a request triggers.
    clock.shift(SignedDuration::from_secs(900));
    assert_eq!(world.get("/a").await.status, 200);
    let asked = response("bob").await;
    assert!(String::from_utf8_lossy(&asked.body).contains("grant_type=refresh_token"));

    let metric = "vbc_proxy_other_user{credential=\"default\"}";
    world.metric(metric, 1.0).await;
    let ready = world.admin("/ready").await;
    assert_eq!(ready.status, 200);
    assert!(ready.json()["warnings"].to_string().contains("another user"), "{ready:?}");
    let credential = status(&world).await;
    assert_eq!(
        (credential["subject"].as_str(), credential["other_user"].as_str()),
        (Some(ALICE), Some("bob"))
    );
    assert!(credential["trouble"].as_str().unwrap().contains("another user"), "{credential}");
    assert_eq!(world.get("/b").await.status, 200);
    assert!(
        upstream.requests().iter().all(|request| !String::from_utf8_lossy(&request.head).contains("bob"))
    );

    // The proxy uses the current token until it expires. Then it logs in, because the brake allows
    // that.
    clock.shift(SignedDuration::from_secs(200));
    let (served, asked) = tokio::join!(world.get("/c"), response(ALICE));
    assert_eq!(served.status, 200);
    assert!(String::from_utf8_lossy(&asked.body).contains("grant_type=password"));
    world.metric(metric, 0.0).await;
}

#[tokio::test]
async fn after_a_clock_jump_ready_reports_the_expired_token_until_it_is_replaced() {
    let clock = Clock::system();
    let sim = Simulator::start().await.unwrap();
    let config = World::builder().configuration(&sim);
    let world = World::with_clock(config, sim, clock.clone()).await;
    world.ready().await;
    let hang = world.sim.inject(Fault::hang().on("/token")).unwrap();
    clock.shift(SignedDuration::from_secs(90_000));
    for _ in 0..3 {
        let response = world.admin("/ready").await;
        assert_eq!(response.status, 503);
        let reasons = response.json()["reasons"].to_string();
        assert!(reasons.contains("the token has expired; a new one is on its way"), "{reasons}");
    }
    // Only requests for `/ready` were sent, and still the proxy replaces the token.
    within(async {
        while world.sim.stats().token_requests < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.sim.remove_fault(hang);
}

#[tokio::test]
async fn a_request_waits_for_a_slow_exchange_although_the_last_one_was_fast() {
    let world = World::start().await;
    world.ready().await;
    let slow = Effect::Delay(Duration::from_millis(1_500));
    world.sim.inject(Fault::from(slow).on("/token").times(1)).unwrap();
    world.sim.revoke_all_access();
    assert_eq!(world.get(USERS).await.status, 200);
}
