//! A reset of the simulated service.

use super::*;

#[tokio::test(start_paused = true)]
async fn everything_learned_is_forgotten_and_the_revision_rises() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    let before = credential.bearer().await.unwrap();
    credential.distrust(&before);
    credential.rejected_prefixes().decide("/a", before.revision, Kind::Token, credential.clock().now());
    credential.rejected_prefixes().rejected(
        "/a",
        before.revision,
        before.revision + 1,
        Kind::Token,
        Kind::Token,
        credential.clock().now(),
    );
    let _ = credential.replace(&before, Kind::Token).await.unwrap();
    assert!(!credential.forced_in().is_zero());
    let mut reader = credential.reader();
    assert!(reader.cached().is_some());

    world.script.push(Step::Fail(Class::NotJudged));
    credential.expect_reset().unwrap().confirm().await;
    assert!(reader.cached().is_none(), "the old bearer is withdrawn");
    assert!(credential.snapshot().expires_at.is_none());
    assert_eq!(credential.snapshot().refused_paths, 0);
    assert!(credential.forced_in().is_zero());
    assert_eq!(credential.forced_refreshes(), 1, "totals stay");

    credential.expect_reset().unwrap().confirm().await;
    let after = reader.cached().unwrap().clone();
    assert!(after.revision > before.revision);
    assert!(!credential.doubts(&after));
    assert_eq!(
        world.script.calls(),
        ["password right", "refresh refresh-1", "password right", "password right"]
    );
    assert_eq!(world.stored().await.revision, after.revision);
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_and_a_lock_are_forgotten() {
    for class in [Class::Refused, Class::Locked, Class::Configuration, Class::NotJudged] {
        let world = World::new(Script::default().then(Step::Fail(class)));
        let credential = world.start().await;
        assert!(credential.bearer().await.is_err(), "{class:?}");
        assert!(credential.bearer().await.is_err(), "{class:?}: no second login yet");
        assert_eq!(world.script.calls().len(), 1);
        credential.expect_reset().unwrap().confirm().await;
        assert!(credential.bearer().await.is_ok(), "{class:?}");
        assert_eq!(world.script.calls().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_401_for_an_old_token_gets_the_new_one() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    let before = credential.bearer().await.unwrap();
    credential.expect_reset().unwrap().confirm().await;
    let replacement = credential.replace(&before, Kind::Token).await.unwrap();
    assert!(replacement.bearer.revision > before.revision);
    assert_eq!(world.script.calls(), ["password right", "password right"], "one login, no refresh");
    assert_eq!(credential.forced_refreshes(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_exchange_is_under_way_during_a_reset() {
    let world = World::new(Script::default());
    let gate = world.script.gated();
    let credential = world.start().await;
    let soon = Duration::from_secs(1);
    tokio::time::sleep(soon).await;
    let mut reset = credential.expect_reset().unwrap();
    assert!(tokio::time::timeout(soon, reset.ready()).await.is_err(), "the first login is under way");
    gate.add_permits(2);
    reset.ready().await;
    let before = credential.bearer().await.unwrap();
    let request = tokio::spawn({
        let credential = credential.clone();
        async move { credential.replace(&before, Kind::Token).await.unwrap() }
    });
    tokio::time::sleep(soon).await;
    assert_eq!(world.script.calls(), ["password right"], "the refresh waits");
    reset.confirm().await;
    assert_eq!(value(&request.await.unwrap().bearer), "Bearer access-2");
    assert_eq!(world.script.calls(), ["password right", "password right"]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_reset_changes_nothing() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    let before = credential.bearer().await.unwrap();
    let mut reset = credential.expect_reset().unwrap();
    reset.ready().await;
    drop(reset);
    credential.refresh().await.unwrap();
    assert_eq!(world.script.calls(), ["password right", "refresh refresh-1"]);
    assert!(credential.newer_than(&before).is_some());
    credential.close();
    // A reset that comes too late waits for nothing.
    if let Ok(reset) = credential.expect_reset() {
        reset.confirm().await;
    }
}
