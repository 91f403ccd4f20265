//! The life of a token set: the token endpoint fails, responses are lost, logins are refused,
//! processes come and go.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::SignedDuration;
use tokio::time::Instant;
use vbc_base::clock::Clock;
use vbc_proxy::Simulator;
use vbc_proxy::app::Ended;
use vbc_proxy::config::GrantKind;
use vbc_simulator::{Action, Effect, Fault, Mode, SimulatorOptions};

use crate::harness::{Client, Response, World, WorldBuilder, within};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";
const ALICE: &str = "alice@vbc.prod";
const MODES: [Mode; 3] = [Mode::Reuse, Mode::RenewRevoke, Mode::RenewKeep];

/// A world whose proxy and simulator share one clock, which the test moves.
async fn clocked(builder: WorldBuilder, mode: Mode) -> (World, Clock) {
    let clock = Clock::system();
    let options = SimulatorOptions { clock: clock.clone(), mode, ..SimulatorOptions::default() };
    let sim = Simulator::bind(options).await.unwrap();
    let config = builder.configuration(&sim);
    (World::with_clock(config, sim, clock.clone()).await, clock)
}

async fn ready() -> (World, Clock) {
    let (world, clock) = clocked(World::builder(), Mode::Reuse).await;
    world.ready().await;
    (world, clock)
}

fn later(clock: &Clock, seconds: i64) {
    clock.shift(SignedDuration::from_secs(seconds));
}

async fn until(world: &World, wanted: impl Fn(&Simulator) -> bool) {
    within(async {
        while !wanted(&world.sim) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Every way in which a token endpoint can be down.
fn outages() -> [Fault; 3] {
    [
        Fault::status(503).on("/token"),
        Fault::reset_before_headers().on("/token").times(1_000_000),
        Fault::hang().on("/token"),
    ]
}

#[track_caller]
fn assert_unavailable(response: &Response) {
    response.assert_problem(503, "proxy_internal_error");
    assert_eq!(response.json()["type"], "urn:vbc-proxy:no-usable-token");
    let wait: u64 = response.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!(wait >= 1);
}

#[tokio::test]
async fn while_a_token_is_valid_an_outage_of_the_token_endpoint_goes_unnoticed() {
    for outage in outages() {
        let (world, clock) = ready().await;
        world.sim.inject(outage.clone()).unwrap();
        // Moves the clock past the time of the early refresh.
        later(&clock, 60_000);
        for _ in 0..20 {
            assert_eq!(world.get(USERS).await.status, 200, "{outage:?}");
        }
        until(&world, |sim| sim.stats().token_requests >= 2).await;
        for response in join_all((0..20).map(|_| world.get(USERS))).await {
            assert_eq!(response.status, 200, "{outage:?}");
        }
        assert_eq!(world.admin("/ready").await.status, 200);
        assert!(world.sim.stats().token_requests <= 4, "{outage:?}");
    }
}

#[tokio::test]
async fn without_a_token_a_request_gets_503_within_a_second() {
    for outage in outages() {
        // The first request waits at most this long for an exchange that hangs.
        let builder = World::builder().config("oauth.max_wait = \"1s\"");
        let (world, clock) = clocked(builder, Mode::Reuse).await;
        world.ready().await;
        world.sim.inject(outage.clone()).unwrap();
        later(&clock, 90_000);
        let mut fastest = Duration::MAX;
        for _ in 0..3 {
            let started = Instant::now();
            assert_unavailable(&world.get(USERS).await);
            fastest = fastest.min(started.elapsed());
        }
        assert!(fastest < Duration::from_secs(1), "{fastest:?}: {outage:?}");
        for response in join_all((0..100).map(|_| world.get(USERS))).await {
            assert_unavailable(&response);
        }
        assert_eq!(world.admin("/ready").await.status, 503);
        let requests = world.sim.stats().token_requests;
        assert!(requests <= 5, "{requests} token requests: {outage:?}");
        assert_eq!(world.sim.stats().token_concurrency_max, 1);
        // No request was forwarded: not without a token, and not with an expired one.
        assert_eq!(world.sim.stats().api_requests, 0);
    }
}

#[tokio::test]
async fn a_token_endpoint_that_comes_back_is_used_again() {
    let (world, clock) = ready().await;
    world.sim.inject(Fault::status(503).on("/token")).unwrap();
    later(&clock, 90_000);
    assert_unavailable(&world.get(USERS).await);
    world.sim.clear_faults();
    // Moves the clock past the back-off.
    later(&clock, 400);
    assert_eq!(world.get(USERS).await.status, 200);
    assert_eq!(world.sim.stats().logins.ok, 1, "by its refresh token");
}

#[tokio::test]
async fn the_proxy_starts_without_a_token_endpoint_and_recovers_by_itself() {
    let sim = Simulator::start().await.unwrap();
    sim.inject(Fault::status(503).on("/token").times(1)).unwrap();
    let config = World::builder().configuration(&sim);
    let world = World::with(config, sim).await;
    // No request triggers the retry. The refresher retries by itself.
    world.ready().await;
    assert_eq!(world.get(USERS).await.status, 200);
    assert_eq!(world.sim.stats().token_requests, 2);
}

#[tokio::test]
async fn a_response_lost_after_the_rotation_is_recovered() {
    for mode in MODES {
        let (world, _) = clocked(World::builder(), mode).await;
        world.ready().await;
        let lost = Fault::lose_response_after_commit().on("/token").grant("refresh_token");
        world.sim.inject(lost).unwrap();
        world.sim.revoke_all_access();
        let responses = join_all((0..50).map(|_| world.get(USERS))).await;
        for response in responses {
            assert_eq!(response.status, 200, "{mode:?}: {response:?}");
        }
        let stats = world.sim.stats();
        assert_eq!((stats.refresh_reuse, stats.logins.ok, stats.logins.failed), (1, 2, 0), "{mode:?}");
        assert_eq!(stats.token_requests, 4, "{mode:?}");
        world.sim.revoke_all_access();
        assert_eq!(world.get(USERS).await.status, 200);
        assert_eq!(world.sim.stats().token_requests, 5, "{mode:?}: the new refresh token works");
    }
}

#[tokio::test]
async fn short_lifetimes_cost_one_refresh_each_and_no_login() {
    for mode in MODES {
        let (world, clock) = clocked(World::builder(), mode).await;
        let lifetime = Duration::from_secs(60);
        world.sim.inject(Action::ExpireIn { lifetime, existing: false }).unwrap();
        world.ready().await;
        // The first token may have been issued before the lifetime was shortened.
        later(&clock, 90_000);
        for round in 1..=20 {
            for response in join_all((0..10).map(|_| world.get(USERS))).await {
                assert_eq!(response.status, 200, "{mode:?}, round {round}: {response:?}");
            }
            let stats = world.sim.stats();
            assert_eq!((stats.logins.ok, stats.refreshes.ok), (1, round), "{mode:?}");
            later(&clock, 61);
        }
        assert_eq!(world.sim.stats().by_status.keys().copied().collect::<Vec<_>>(), [200], "{mode:?}");
    }
}

#[tokio::test]
async fn a_token_that_lives_for_a_second_is_replaced_second_by_second() {
    let world = World::start().await;
    world.ready().await;
    let lifetime = Duration::from_secs(1);
    world.sim.inject(Action::ExpireIn { lifetime, existing: true }).unwrap();
    let mut client = world.connect().await;
    within(async {
        while world.sim.stats().refreshes.ok < 3 {
            client.request(&format!("GET {USERS} HTTP/1.1"), b"").await;
            let response = client.response().await;
            assert_eq!(response.status, 200, "{response:?}");
        }
    })
    .await;
    assert_eq!(world.sim.stats().logins.ok, 1);
}

#[tokio::test]
async fn a_locked_account_is_left_alone_until_its_lock_is_over() {
    for mode in MODES {
        let (world, clock) = clocked(World::builder(), mode).await;
        world.ready().await;
        world.sim.inject(Action::LockUser { user: ALICE.into(), keep_tokens: false }).unwrap();
        for round in 0..20 {
            let response = world.get(USERS).await;
            assert_unavailable(&response);
            let wait: u64 = response.header("retry-after").unwrap().parse().unwrap();
            assert!((2000..=2100).contains(&wait), "{mode:?}, round {round}: {wait}");
            assert!(response.text().contains("17003"), "{response:?}");
        }
        assert_eq!((world.sim.stats().logins.ok, world.sim.stats().logins.failed), (1, 1), "{mode:?}");
        later(&clock, 34 * 60);
        assert_unavailable(&world.get(USERS).await);
        assert_eq!(world.sim.stats().logins.failed, 1, "{mode:?}: a login within 35 minutes");
        world.sim.inject(Action::UnlockUser { user: ALICE.into() }).unwrap();
        later(&clock, 2 * 60);
        assert_eq!(world.get(USERS).await.status, 200, "{mode:?}");
        assert_eq!((world.sim.stats().logins.ok, world.sim.stats().logins.failed), (2, 1), "{mode:?}");
    }
}

#[tokio::test]
async fn a_changed_password_costs_exactly_one_failed_login() {
    for mode in MODES {
        let (world, clock) = clocked(World::builder(), mode).await;
        world.ready().await;
        let password = "another-password".into();
        world.sim.inject(Action::ChangePassword { user: ALICE.into(), password }).unwrap();
        for response in join_all((0..30).map(|_| world.get(USERS))).await {
            assert_unavailable(&response);
        }
        // The block does not end with time.
        for _ in 0..10 {
            later(&clock, 24 * 3600);
            assert_unavailable(&world.get(USERS).await);
        }
        let stats = world.sim.stats();
        assert_eq!((stats.logins.ok, stats.logins.failed, stats.lock_events), (1, 1, 0), "{mode:?}");
        let status = world.admin("/status.json").await.json();
        assert_eq!(status["credentials"][0]["brake"], true, "{status}");
        assert!(
            world
                .admin("/metrics")
                .await
                .text()
                .contains("vbc_proxy_brake_engaged{credential=\"default\"} 1")
        );
    }
}

#[tokio::test]
async fn a_wrong_client_secret_is_tried_once() {
    let world = World::builder().config(r#"credentials.default.client_secret = "wrong""#).start().await;
    for _ in 0..20 {
        let response = world.get(USERS).await;
        assert_unavailable(&response);
        assert!(response.text().contains("invalid_client"), "{response:?}");
    }
    assert_eq!(world.sim.stats().token_requests, 1);
    let reasons = world.admin("/ready").await.json()["reasons"].to_string();
    assert!(reasons.contains("invalid_client"), "{reasons}");
}

#[tokio::test]
async fn client_credentials_may_be_sent_in_a_header() {
    let world = World::builder().config(r#"credentials.default.client_auth = "basic""#).start().await;
    world.ready().await;
    world.sim.revoke_all_access();
    assert_eq!(world.get(USERS).await.status, 200);
    let exchanges: Vec<_> = world.sim.requests().into_iter().filter(|seen| seen.target == "/token").collect();
    assert_eq!(exchanges.len(), 2);
    for exchange in exchanges {
        let authorization = exchange.headers.iter().find(|(name, _)| name == "authorization").unwrap();
        assert!(authorization.1.starts_with("Basic "), "{authorization:?}");
    }
}

fn file_store(directory: &Path) -> WorldBuilder {
    let path = directory.join("tokens");
    World::builder()
        .config("store.kind = \"file\"")
        .config(&format!("store.path = {:?}", path.to_str().unwrap()))
}

/// Stops the proxy and starts another with the same configuration and simulator.
async fn restart(mut world: World, builder: &WorldBuilder) -> World {
    world.begin_drain();
    assert_eq!(world.ended().await, Ended::Drained);
    let World { sim, .. } = world;
    World::with(builder.configuration(&sim), sim).await
}

#[tokio::test]
async fn a_restart_goes_on_with_the_stored_token() {
    for mode in MODES {
        let directory = tempfile::tempdir().unwrap();
        let builder = file_store(directory.path());
        let options = SimulatorOptions { mode, ..SimulatorOptions::default() };
        let sim = Simulator::bind(options).await.unwrap();
        let mut world = World::with(builder.configuration(&sim), sim).await;
        world.ready().await;
        for _ in 0..3 {
            world = restart(world, &builder).await;
            assert_eq!(world.get(USERS).await.status, 200);
            assert_eq!(world.sim.stats().token_requests, 1, "{mode:?}");
        }
        world.sim.revoke_all_access();
        let world = restart(world, &builder).await;
        assert_eq!(world.get(USERS).await.status, 200);
        let stats = world.sim.stats();
        assert_eq!((stats.logins.ok, stats.refreshes.ok), (1, 1), "{mode:?}");
    }
}

#[tokio::test]
async fn a_drain_waits_for_an_exchange_and_stores_what_it_brings() {
    let directory = tempfile::tempdir().unwrap();
    let builder = file_store(directory.path());
    let sim = Simulator::start().await.unwrap();
    let mut world = World::with(builder.configuration(&sim), sim).await;
    world.ready().await;
    world.sim.revoke_all_access();
    world.sim.inject(Fault::hang().on("/token")).unwrap();
    let mut client = world.connect().await;
    client.request(&format!("GET {USERS} HTTP/1.1"), b"").await;
    until(&world, |sim| sim.stats().token_requests == 2).await;
    // The drain waits even if no request waits for the exchange any more.
    client.reset();
    world.begin_drain();
    world.sim.clear_faults();
    assert_eq!(world.ended().await, Ended::Drained);
    let World { sim, .. } = world;
    let world = World::with(builder.configuration(&sim), sim).await;
    assert_eq!(world.get(USERS).await.status, 200);
    assert_eq!(world.sim.stats().token_requests, 2, "the rotated token was stored");
}

/// A refresh token, from another user's login.
async fn seed(sim: &Simulator) -> String {
    let form = "grant_type=password&client_id=sim-client&client_secret=sim-secret&scope=openid\
                &username=alice%40vbc.prod&password=sim-password";
    let request = format!(
        "POST /token HTTP/1.1\r\nHost: sim\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{form}",
        form.len()
    );
    let mut client = Client::connect(sim.address()).await;
    client.write(request.as_bytes()).await;
    let response = client.read_to_end().await;
    let text = String::from_utf8(response).unwrap();
    let (_, rest) = text.split_once("\"refresh_token\":\"").expect("a refresh token");
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn an_interactive_credential_lives_on_its_refresh_token_until_a_login_is_needed() {
    for mode in MODES {
        let directory = tempfile::tempdir().unwrap();
        let options = SimulatorOptions { mode, ..SimulatorOptions::default() };
        let sim = Simulator::bind(options).await.unwrap();
        let refresh_token = seed(&sim).await;
        let configured = |sim: &Simulator| {
            let mut config = file_store(directory.path()).configuration(sim);
            let credential = &mut config.credentials[0];
            credential.grant = GrantKind::AuthorizationCode;
            credential.password = None;
            credential.seed = Some(refresh_token.as_str().into());
            config
        };
        let mut world = World::with(configured(&sim), sim).await;
        assert_eq!(world.get(USERS).await.status, 200, "{mode:?}");
        // The configured token is used once. After that its successors are used.
        world.sim.revoke_all_access();
        assert_eq!(world.get(USERS).await.status, 200, "{mode:?}");
        world.begin_drain();
        assert_eq!(world.ended().await, Ended::Drained);
        let World { sim, .. } = world;
        let world = World::with(configured(&sim), sim).await;
        assert_eq!(world.get(USERS).await.status, 200, "{mode:?}");
        let stats = world.sim.stats();
        assert_eq!((stats.logins.ok, stats.refreshes.ok, stats.refresh_reuse), (1, 2, 0), "{mode:?}");

        world.sim.revoke_all_access();
        world.sim.revoke_all_refresh();
        for _ in 0..10 {
            let response = world.get(USERS).await;
            assert_unavailable(&response);
            assert!(response.text().contains("login needed"), "{response:?}");
        }
        let stats = world.sim.stats();
        assert_eq!((stats.logins.ok, stats.logins.failed, stats.refreshes.failed), (1, 0, 1), "{mode:?}");
        let ready = world.admin("/ready").await;
        assert_eq!(ready.status, 503, "{ready:?}");
        assert!(ready.text().contains("login needed"), "{ready:?}");
        let status = world.admin("/status.json").await.json();
        assert_eq!(status["ready"], false, "{status}");
        assert_eq!(status["credentials"][0]["login_needed"], true, "{status}");
        assert_eq!(status["credentials"][0]["usable"], false, "{status}");
    }
}

#[tokio::test]
async fn a_revoked_token_that_cannot_be_replaced_is_no_longer_reported_as_usable() {
    let (world, clock) = ready().await;
    world.sim.inject(Fault::status(503).on("/token")).unwrap();
    world.sim.revoke_all_access();
    assert_unavailable(&world.get(USERS).await);
    let response = world.admin("/ready").await;
    assert_eq!(response.status, 503, "{response:?}");
    // The token is replaced without a request as soon as the token endpoint is back: a load
    // balancer that checks /ready would send no request.
    world.sim.clear_faults();
    later(&clock, 400);
    world.ready().await;
    assert_eq!(world.get(USERS).await.status, 200);
    let stats = world.sim.stats();
    assert_eq!((stats.logins.ok, stats.refreshes.ok), (1, 1));
}

#[tokio::test]
async fn a_backend_401_says_nothing_about_readiness() {
    let (world, _) = ready().await;
    world.sim.inject(Fault::from(Effect::Backend401).on("/t/vbc.prod/provisioning")).unwrap();
    world.sim.inject(Fault::status(503).on("/token")).unwrap();
    for _ in 0..3 {
        assert_eq!(world.get(USERS).await.status, 401);
    }
    assert_eq!(world.admin("/ready").await.status, 200);
}
