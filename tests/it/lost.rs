//! The response to a refresh is lost after the server has rotated the token, and there is no
//! password for a login.

use vbc_simulator::{Fault, Mode, SimulatorOptions};

use crate::harness::World;
use crate::interactive::{ALICE, Browser, assert_page, interactive_login, status};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";

async fn assert_login_needed(world: &World) {
    let response = world.get(USERS).await;
    response.assert_problem(503, "proxy_internal_error");
    assert!(response.text().contains("login needed"), "{response:?}");
    let ready = world.admin("/ready").await;
    assert_eq!(ready.status, 503);
    let reasons = ready.json()["reasons"].to_string();
    assert!(reasons.contains("login needed") && reasons.contains("vbc-proxy login default"), "{reasons}");
    let credential = status(world).await;
    assert_eq!(credential["login_needed"], true, "{credential}");
    assert!(credential["trouble"].as_str().unwrap().contains("login needed"), "{credential}");
    let metrics = world.admin("/metrics").await;
    assert_eq!(metrics.metric("vbc_proxy_login_needed{credential=\"default\"}"), Some(1.0));
    assert_eq!(metrics.metric("vbc_proxy_token_usable{credential=\"default\"}"), Some(0.0));
}

#[tokio::test]
async fn without_a_password_every_surface_asks_for_a_login_which_restores_service_without_a_restart() {
    for mode in [Mode::Reuse, Mode::RenewRevoke, Mode::RenewKeep] {
        let options = SimulatorOptions { mode, ..SimulatorOptions::default() };
        let world = interactive_login().simulator(options).start().await;
        assert_page(&Browser::new().log_in(&world, ALICE).await, 200, "logged_in", ALICE);
        assert_eq!(world.get(USERS).await.status, 200);

        let lost = Fault::lose_response_after_commit().on("/token").grant("refresh_token");
        world.sim.inject(lost).unwrap();
        world.sim.revoke_all_access();
        for _ in 0..5 {
            assert_login_needed(&world).await;
        }
        let stats = world.sim.stats();
        // After the lost response the proxy presents the token once more, and never again.
        assert_eq!((stats.refreshes.ok, stats.refreshes.failed, stats.refresh_reuse), (1, 1, 1), "{mode:?}");

        assert_page(&Browser::new().log_in(&world, ALICE).await, 200, "logged_in", ALICE);
        assert_eq!(world.get(USERS).await.status, 200, "{mode:?}");
        assert_eq!(world.admin("/ready").await.status, 200, "{mode:?}");
        let credential = status(&world).await;
        assert_eq!(credential["login_needed"], false, "{credential}");
        // From then on the proxy refreshes the tokens by itself.
        world.sim.revoke_all_access();
        assert_eq!(world.get(USERS).await.status, 200, "{mode:?}");
    }
}
