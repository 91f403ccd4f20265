//! A credential without requests for a long time, in paused time. Its refresh token must never
//! expire.

use std::time::Duration;

use jiff::SignedDuration;
use vbc_proxy::testing::credential::Snapshot;
use vbc_simulator::{Action, Fault, Mode, OldAccess};

use crate::histories::world::{Setting, World};

const DAY: Duration = Duration::from_secs(86_400);
const MODES: [Mode; 3] = [Mode::Reuse, Mode::RenewRevoke, Mode::RenewKeep];

/// A credential with an interactive login that has happened once.
async fn logged_in(mode: Mode) -> World {
    let world = World::new(Setting { by_password: false, mode, old_access: OldAccess::Dead }).await;
    assert!(world.log_in().await);
    world
}

fn days_left(world: &World, snapshot: &Snapshot) -> f64 {
    let by = snapshot.login_needed_by.expect("an interactive login is needed some day");
    by.duration_since(world.clock.now()).as_secs_f64() / DAY.as_secs_f64()
}

/// Asserts that the proxy and the gateway accept the token, and that no login is needed.
async fn assert_well(world: &World, day: usize) {
    let snapshot = world.credential().snapshot();
    assert!(snapshot.usable && !snapshot.login_needed, "day {day}: {snapshot:?}");
    let mut bearer = world.credential().bearer().await.unwrap();
    let mut status = world.call(&bearer).await;
    if status == Some(401) {
        // The service ends the old token some milliseconds before a refresh publishes the new one.
        // A request in between is sent again with the new one.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let newer = world.credential().bearer().await.unwrap();
        assert!(newer.revision > bearer.revision, "day {day}: the token was refused outside a refresh");
        bearer = newer;
        status = world.call(&bearer).await;
    }
    assert_eq!(status, Some(200), "day {day}");
}

#[tokio::test(start_paused = true)]
async fn a_credential_stays_valid_over_a_thousand_idle_days_and_refreshes_on_schedule() {
    let world = logged_in(Mode::Reuse).await;
    for day in 1..=1_000 {
        tokio::time::sleep(DAY).await;
        assert_well(&world, day).await;
        assert!(days_left(&world, &world.credential().snapshot()) > 3.5, "day {day}");
    }
    let stats = world.service.stats();
    assert_eq!((stats.codes.ok, stats.logins.ok, stats.refreshes.failed, stats.refresh_reuse), (1, 0, 0, 0));
    // Each refresh happens at half of the lifetime, plus or minus a tenth of that.
    let planned = 1_819..=2_222;
    assert!(planned.contains(&stats.refreshes.ok), "{}", stats.refreshes.ok);
}

#[tokio::test(start_paused = true)]
async fn a_credential_survives_suspended_machines_and_clock_jumps() {
    for mode in MODES {
        let world = logged_in(mode).await;
        for day in 0..100 {
            match day % 5 {
                // The machine sleeps from Friday evening to Monday morning.
                0 => world.suspend(DAY * 5 / 2),
                1 => world.clock.shift(SignedDuration::from_hours(-24 * 30)),
                2 => world.clock.shift(SignedDuration::from_hours(24 * 40)),
                3 => world.suspend(DAY),
                _ => world.clock.shift(SignedDuration::from_hours(-24 * 7)),
            }
            // The refresher checks the clock every few minutes.
            tokio::time::sleep(Duration::from_secs(330)).await;
            assert_well(&world, day).await;
            tokio::time::sleep(DAY).await;
            assert_well(&world, day).await;
        }
        let stats = world.service.stats();
        assert_eq!((stats.codes.ok, stats.refreshes.failed, stats.refresh_reuse), (1, 0, 0), "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_survives_access_tokens_that_outlive_the_refresh_token() {
    let world = logged_in(Mode::Reuse).await;
    let lifetime = DAY * 365;
    world.service.inject(Action::ExpireIn { lifetime, existing: false }).unwrap();
    world.credential().refresh().await.unwrap();
    for day in 1..=60 {
        tokio::time::sleep(DAY).await;
        assert_well(&world, day).await;
    }
    let refreshes = world.service.stats().refreshes.ok;
    assert!((17..=20).contains(&refreshes), "{refreshes} refreshes in 60 days");
}

#[tokio::test(start_paused = true)]
async fn a_credential_survives_a_restart_with_a_clock_that_is_slow() {
    let mut world = logged_in(Mode::Reuse).await;
    world.clock.shift(SignedDuration::from_hours(-24 * 365));
    world.restart().await;
    for day in 1..=30 {
        tokio::time::sleep(DAY).await;
        assert_well(&world, day).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_unrenewable_credential_is_reported_days_before_a_login_is_needed() {
    let world = logged_in(Mode::Reuse).await;
    tokio::time::sleep(DAY * 2).await;
    world.service.inject(Fault::status(503).on("/token")).unwrap();
    tokio::time::sleep(DAY * 4).await;
    let snapshot = world.credential().snapshot();
    let left = days_left(&world, &snapshot);
    assert!((2.0..3.1).contains(&left), "{left} days");
    assert!(!snapshot.login_needed && snapshot.trouble.is_some(), "{snapshot:?}");
    // The refresher was still retrying: the service came back in time, so no login was needed.
    world.service.clear_faults();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_well(&world, 6).await;
    // Now the service comes back too late: a login is needed, is reported, and restores everything.
    world.service.inject(Fault::status(503).on("/token")).unwrap();
    tokio::time::sleep(DAY * 8).await;
    world.service.clear_faults();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let snapshot = world.credential().snapshot();
    assert!(snapshot.login_needed && !snapshot.usable, "{snapshot:?}");
    assert!(world.log_in().await);
    assert_well(&world, 15).await;
}
