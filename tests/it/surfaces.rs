//! `/ready`, `/status.json` and the metrics report the outcome that the next request gets.

use std::time::Duration;

use jiff::SignedDuration;
use vbc_base::clock::Clock;
use vbc_proxy::Simulator;
use vbc_simulator::{Action, Fault};

use crate::harness::World;
use crate::operate::post;

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";
const CALLS: &str = "/t/vbc.prod/telephony/v3/cc/accounts/self/calls";
const USER: &str = "alice@vbc.prod";

/// Whether each surface reports a usable token.
async fn surfaces(world: &World) -> [(&'static str, bool); 5] {
    let status = world.admin("/status.json").await.json();
    let metric = world.admin("/metrics").await.metric("vbc_proxy_token_usable{credential=\"default\"}");
    [
        ("/ready", world.admin("/ready").await.status == 200),
        ("/ready?credential", world.admin("/ready?credential=default").await.status == 200),
        ("status, ready", status["ready"] == true),
        ("status, usable", status["credentials"][0]["usable"] == true),
        ("token_usable", metric == Some(1.0)),
    ]
}

/// Asserts the status of the next request, and that every surface reports it. If the state is known
/// already, they report it before the request too.
async fn assert_agree(world: &World, state: &str, known: bool, expected: u16) {
    let served = expected == 200;
    if known {
        assert_eq!(surfaces(world).await.map(|(_, said)| said), [served; 5], "before: {state}");
    }
    for _ in 0..2 {
        let response = world.get(USERS).await;
        assert_eq!(response.status, expected, "{state}: {response:?}");
        let said = surfaces(world).await;
        assert!(said.iter().all(|(_, usable)| *usable == served), "{state}: {expected}, but {said:?}");
        if !served {
            let ready = world.admin("/ready").await.json();
            assert!(ready["reasons"][0].as_str().unwrap().len() > 30, "{state}: {ready}");
        }
    }
}

async fn unlock(world: &World) {
    assert_eq!(post(world.admin, "/credentials/default/unlock", "").await.status, 200);
}

#[tokio::test]
async fn through_every_state_of_a_credential_all_surfaces_agree_with_the_next_request() {
    let sim = Simulator::start().await.unwrap();
    let hang = sim.inject(Fault::hang().on("/token")).unwrap();
    let config = World::builder().config(r#"oauth.max_wait = "1s""#).configuration(&sim);
    let clock = Clock::system();
    let world = World::with_clock(config, sim, clock.clone()).await;
    assert_agree(&world, "the first exchange is under way", true, 503).await;
    world.sim.remove_fault(hang);
    world.ready().await;
    assert_agree(&world, "there is a token", true, 200).await;

    world.sim.revoke_all_access();
    assert_agree(&world, "the token is revoked", false, 200).await;

    let down = world.sim.inject(Fault::status(503).on("/token")).unwrap();
    assert_eq!(post(world.admin, "/credentials/default/refresh", "").await.status, 503);
    assert_agree(&world, "the token is valid and the token endpoint is down", true, 200).await;
    world.sim.revoke_all_access();
    assert_agree(&world, "the token is refused during the back-off", false, 503).await;
    assert_agree(&world, "the token was refused during the back-off, and that is known", true, 503).await;
    world.sim.remove_fault(down);
    unlock(&world).await;
    assert_agree(&world, "the token endpoint works again", false, 200).await;

    let down = world.sim.inject(Fault::status(503).on("/token")).unwrap();
    assert_eq!(post(world.admin, "/credentials/default/refresh", "").await.status, 503);
    world.sim.revoke_all_access();
    world.get(CALLS).await.assert_problem(503, "proxy_internal_error");
    assert_agree(&world, "the token was refused on another path", true, 503).await;
    world.sim.remove_fault(down);
    unlock(&world).await;
    assert_agree(&world, "the token endpoint works again, after a refusal on another path", false, 200).await;

    world.sim.inject(Action::LockUser { user: USER.into(), keep_tokens: false }).unwrap();
    assert_agree(&world, "the account is locked", false, 503).await;
    assert_agree(&world, "the account is locked, and that is known", true, 503).await;
    world.sim.inject(Action::UnlockUser { user: USER.into() }).unwrap();
    unlock(&world).await;
    assert_agree(&world, "the lock is over", false, 200).await;

    let down = world.sim.inject(Fault::status(503).on("/token")).unwrap();
    clock.shift(SignedDuration::try_from(Duration::from_secs(2 * 86_400)).unwrap());
    assert_agree(&world, "the token has expired and the token endpoint is down", true, 503).await;
    world.sim.remove_fault(down);
    unlock(&world).await;
    assert_agree(&world, "there is a token again", false, 200).await;

    let password = "another".into();
    world.sim.inject(Action::ChangePassword { user: USER.into(), password }).unwrap();
    world.sim.revoke_all_refresh();
    world.sim.revoke_all_access();
    assert_agree(&world, "the password is refused", false, 503).await;
    assert_agree(&world, "the password is refused, and that is known", true, 503).await;
}

#[tokio::test]
async fn a_refused_application_is_reported_as_the_next_request_finds_it() {
    let world = World::builder().config(r#"credentials.default.client_secret = "wrong""#).start().await;
    assert_agree(&world, "the application is refused", true, 503).await;
}
