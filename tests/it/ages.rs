//! Suites that refuse older tokens get younger ones. Other requests do not wait for them.

use std::time::Duration;

use futures_util::future::join_all;
use jiff::SignedDuration;
use vbc_base::clock::Clock;
use vbc_proxy::Simulator;
use vbc_simulator::{Fault, Mode, OldAccess, SimulatorOptions};

use crate::harness::{Client, World, within};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";
const REPORTS: &str = "/t/vbc.prod/reports/accounts/self/call-logs?start:gte=2026-11-01%2000:00:00&start:lte=2026-11-02%2000:00:00";
const LIMIT: &str = "credentials.default.max_age = { \"/t/vbc.prod/reports\" = \"4m\" }";

async fn world(mode: Mode, old_access: OldAccess, limit: Option<&str>) -> (World, Clock) {
    let clock = Clock::system();
    let options = SimulatorOptions { clock: clock.clone(), mode, old_access, ..SimulatorOptions::default() };
    let sim = Simulator::bind(options).await.unwrap();
    let builder = limit.into_iter().fold(World::builder(), |builder, line| builder.config(line));
    let config = builder.configuration(&sim);
    let world = World::with_clock(config, sim, clock.clone()).await;
    world.ready().await;
    let five_minutes = Duration::from_secs(5 * 60);
    world.sim.inject(Fault::token_age_limit("/t/vbc.prod/reports", five_minutes)).unwrap();
    (world, clock)
}

fn later(clock: &Clock, seconds: i64) {
    clock.shift(SignedDuration::from_secs(seconds));
}

#[tokio::test]
async fn a_suite_with_an_age_limit_never_sees_an_old_token_in_any_mode() {
    for mode in [Mode::Reuse, Mode::RenewRevoke, Mode::RenewKeep] {
        for old_access in [OldAccess::Dead, OldAccess::Alive] {
            let (world, clock) = world(mode, old_access, Some(LIMIT)).await;
            for round in 1..=5 {
                later(&clock, 280);
                // Other requests do not need a younger token.
                for response in join_all((0..10).map(|_| world.get(USERS))).await {
                    assert_eq!(response.status, 200, "{mode:?} {old_access:?}");
                }
                assert_eq!(world.sim.stats().refreshes.ok, round - 1, "{mode:?} {old_access:?}");
                // Concurrent reports share one refresh. The refresh ends the old token, and still
                // no other request gets a 401.
                let mixed = (0..20).map(|n| world.get(if n % 2 == 0 { REPORTS } else { USERS }));
                for response in join_all(mixed).await {
                    assert_eq!(response.status, 200, "{mode:?} {old_access:?}: {response:?}");
                }
                assert_eq!(world.sim.stats().refreshes.ok, round, "{mode:?} {old_access:?}");
            }
            let stats = world.sim.stats();
            assert_eq!((stats.logins.ok, stats.refresh_reuse), (1, 0), "{mode:?} {old_access:?}");
            if old_access == OldAccess::Alive {
                assert_eq!(stats.by_status.keys().collect::<Vec<_>>(), [&200], "{mode:?}");
            }
        }
    }
}

#[tokio::test]
async fn without_a_limit_a_refused_age_costs_one_retry() {
    let (world, clock) = world(Mode::Reuse, OldAccess::Dead, None).await;
    later(&clock, 400);
    assert_eq!(world.get(USERS).await.status, 200);
    assert_eq!(world.get(REPORTS).await.status, 200);
    let stats = world.sim.stats();
    assert_eq!((stats.refreshes.ok, stats.by_status.get(&401)), (1, Some(&1)));
}

#[tokio::test]
async fn without_a_younger_token_the_current_one_is_sent() {
    for outage in [Fault::status(503).on("/token"), Fault::hang().on("/token")] {
        let (world, clock) = world(Mode::Reuse, OldAccess::Dead, Some(LIMIT)).await;
        world.sim.inject(outage).unwrap();
        // The token is now too old for the proxy's limit, and young enough for the service.
        later(&clock, 280);
        for _ in 0..3 {
            assert_eq!(within(world.get(REPORTS)).await.status, 200);
            assert_eq!(world.get(USERS).await.status, 200);
        }
        assert_eq!(world.sim.stats().logins.ok, 1, "a login could only give the same token");
    }
}

#[tokio::test]
async fn the_limit_applies_to_whole_segments() {
    let (world, clock) = world(
        Mode::Reuse,
        OldAccess::Dead,
        Some("credentials.default.max_age = { \"/t/vbc.prod/prov\" = \"4m\" }"),
    )
    .await;
    later(&clock, 280);
    assert_eq!(world.get(USERS).await.status, 200);
    assert_eq!(world.sim.stats().refreshes.ok, 0);
}

#[tokio::test]
async fn doctor_uses_a_token_that_is_young_enough_and_reports_where_none_is() {
    for limit in [Some(LIMIT), None] {
        let (world, clock) = world(Mode::RenewRevoke, OldAccess::Dead, limit).await;
        later(&clock, 600);
        let mut client = Client::connect(world.admin).await;
        client.request("POST /credentials/default/doctor HTTP/1.1", b"").await;
        let report = client.response().await.json();
        let expected = [None, limit.is_none().then_some("token-age")];
        for (name, code) in ["vis", "reports"].into_iter().zip(expected) {
            let suites = report["suites"].as_array().unwrap();
            let suite = suites.iter().find(|suite| suite["name"] == name).unwrap();
            assert_eq!(suite["code"].as_str(), code, "{suite}");
        }
        assert_eq!(world.sim.stats().refreshes.ok, u64::from(limit.is_some()));
    }
}
