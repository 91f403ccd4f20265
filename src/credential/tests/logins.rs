//! When a login is made, and when it is not.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_refused_login_is_tried_once_over_requests_and_restarts_until_the_secret_changes() {
    let mut world = World::new(Script::default().then(Step::Fail(Class::Refused)));
    for _ in 0..5 {
        let credential = world.start().await;
        for _ in 0..100 {
            let error = credential.bearer().await.unwrap_err();
            assert!(error.detail.contains("VBC rejected the user name or password"), "{error}");
        }
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        assert!(credential.snapshot().brake);
    }
    assert_eq!(world.script.calls(), ["password right"]);
    world.with_password("changed");
    let credential = world.start().await;
    credential.bearer().await.unwrap();
    assert_eq!(world.script.calls(), ["password right", "password changed"]);
}

#[tokio::test(start_paused = true)]
async fn a_locked_account_is_left_alone_for_35_minutes_then_tried_once() {
    let world = World::new(Script::default().then(Step::Fail(Class::Locked)));
    let credential = world.start().await;
    let error = credential.bearer().await.unwrap_err();
    assert!(error.retry_after.unwrap() > Duration::from_secs(34 * 60));
    tokio::time::sleep(Duration::from_secs(34 * 60)).await;
    drop(credential);
    let credential = world.start().await;
    credential.bearer().await.unwrap_err();
    assert_eq!(world.script.calls().len(), 1);
    tokio::time::sleep(Duration::from_secs(2 * 60)).await;
    assert!(credential.snapshot().usable);
    assert_eq!(world.script.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_ends_while_a_token_lives_is_no_reason_to_do_anything() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    // A backend refuses the token, which cannot be replaced and still lives.
    world.script.push(Step::Fail(Class::Refused));
    world.script.push(Step::Fail(Class::Locked));
    assert!(credential.replace(&first, Kind::Unclear).await.is_err());
    let snapshot = credential.snapshot();
    assert!(snapshot.usable && snapshot.brake);
    // The lock ends earlier, but the refresher has nothing to do then.
    assert_eq!(snapshot.next_attempt, snapshot.expires_at);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.script.calls().len(), 3);
    assert_eq!(value(&credential.bearer().await.unwrap()), "Bearer access-1");
}

#[tokio::test(start_paused = true)]
async fn a_dead_refresh_token_alone_is_no_reason_to_log_in_before_the_token_ends() {
    let script = Script::default().then(Step::Tokens { seconds: 1000 }).then(Step::Fail(Class::Refused));
    let world = World::new(script);
    let credential = world.start().await;
    credential.bearer().await.unwrap();
    tokio::time::sleep(Duration::from_secs(900)).await;
    assert_eq!(world.script.calls(), ["password right", "refresh refresh-1"]);
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(world.script.calls()[2..], ["password right"]);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_was_ended_by_the_application_frees_it_slowly() {
    let script = Script::default().then(Step::Fail(Class::Locked)).then(Step::Fail(Class::Configuration));
    let world = World::new(script);
    let credential = world.start().await;
    credential.bearer().await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(39 * 60)).await;
    credential.bearer().await.unwrap_err();
    assert_eq!(world.script.calls().len(), 2);
    tokio::time::sleep(Duration::from_secs(2 * 60)).await;
    credential.bearer().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_code_credential_lives_on_its_seed_and_then_needs_a_login() {
    let script = Script::default().then(Step::Tokens { seconds: 1000 }).then(Step::Fail(Class::Refused));
    let mut world = World::new(script);
    world.options.login = None;
    world.options.seed = Some("seed".into());
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    let error = credential.replace(&first, Kind::Token).await.unwrap_err();
    assert!(error.detail.contains("login needed"), "{error}");
    assert!(credential.snapshot().login_needed);
    drop(credential);
    // The spent seed is not presented again after a restart; a new seed is.
    let credential = world.start().await;
    let stored = credential.bearer().await.unwrap();
    credential.replace(&stored, Kind::Token).await.unwrap_err();
    assert_eq!(world.script.calls(), ["refresh seed", "refresh refresh-1"]);
    drop(credential);
    world.options.seed = Some("new seed".into());
    let credential = world.start().await;
    let stored = credential.bearer().await.unwrap();
    credential.replace(&stored, Kind::Token).await.unwrap();
    assert_eq!(world.script.calls()[2..], ["refresh new seed"]);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_tells_of_a_lock_holds_the_login_back_and_is_not_repeated_at_once() {
    let script = Script::default().then(Step::Tokens { seconds: 1000 }).then(Step::Fail(Class::Locked));
    let world = World::new(script);
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    for _ in 0..100 {
        credential.replace(&first, Kind::Token).await.unwrap_err();
    }
    assert_eq!(world.script.calls().len(), 2);
    assert!(world.login_record().await.login_history.unwrap().locked_until.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_ended_does_not_free_the_next_failures_from_their_pause() {
    let script = Script::default().then(Step::Fail(Class::Locked));
    (0..100).for_each(|_| script.push(Step::Fail(Class::NotJudged)));
    let world = World::new(script);
    let credential = world.start().await;
    credential.bearer().await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(35 * 60)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let calls = world.script.calls().len();
    assert!((2..=12).contains(&calls), "{calls}");
}
