//! Forced refreshes, operators' refreshes, and reports of a token that the gateway refuses.

use futures_util::FutureExt;

use super::*;

fn refreshes(world: &World) -> usize {
    world.script.calls().iter().filter(|call| call.starts_with("refresh")).count()
}

#[tokio::test(start_paused = true)]
async fn forced_refreshes_are_at_most_ten_a_minute_although_each_brings_a_token() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    credential.bearer().await.unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        let bearer = credential.bearer().await.unwrap();
        let _ = credential.replace(&bearer, Kind::Token).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let refreshes = refreshes(&world);
    assert!((6..=10).contains(&refreshes), "{refreshes}");
    assert_eq!(credential.forced_refreshes(), refreshes as u64);
}

#[tokio::test(start_paused = true)]
async fn all_who_are_held_back_wait_for_the_same_next_refresh() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    let start = Instant::now();
    let second = credential.replace(&first, Kind::Token).await.unwrap().bearer;
    let asks = (0..100).map(|_| {
        let (credential, second) = (credential.clone(), second.clone());
        tokio::spawn(async move { credential.replace(&second, Kind::Token).await.unwrap() })
    });
    for ask in asks.collect::<Vec<_>>() {
        assert_eq!(value(&ask.await.unwrap().bearer), "Bearer access-3");
    }
    let waited = start.elapsed().as_millis();
    assert!((2000..2100).contains(&waited), "{waited}");
    assert_eq!(refreshes(&world), 2);
    assert!(credential.snapshot().usable);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_held_back_gets_a_token_that_came_for_another_reason_at_once() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    let second = credential.replace(&first, Kind::Token).await.unwrap().bearer;
    let start = Instant::now();
    let (third, operator) = tokio::join!(credential.replace(&second, Kind::Token), credential.refresh());
    operator.unwrap();
    assert_eq!(value(&third.unwrap().bearer), "Bearer access-3");
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_is_held_back_for_longer_than_requests_wait_is_refused_at_once() {
    let mut world = World::new(Script::default());
    world.options.max_wait = Duration::from_secs(1);
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    let second = credential.replace(&first, Kind::Token).await.unwrap().bearer;
    let start = Instant::now();
    let refused = credential.replace(&second, Kind::Token).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(refused.retry_after.unwrap() > Duration::from_secs(1), "{refused:?}");
    assert!(refused.detail.contains("the gateway refuses new tokens"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn adopting_a_set_that_somebody_else_stored_is_no_forced_refresh() {
    let world =
        World::new(Script::default().then(Step::Tokens { seconds: 1000 }).then(Step::Fail(Class::Refused)));
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    let key = Key { credential: "default".into(), identity: "identity".into() };
    let mut record = world.stored().await;
    let expected = record.revision;
    record.revision += 1;
    record.tokens.as_mut().unwrap().access_token = "theirs".into();
    world.store.swap(&key, expected, &record).await.unwrap();
    let theirs = credential.replace(&first, Kind::Token).await.unwrap().bearer;
    assert_eq!((value(&theirs), credential.forced_refreshes()), ("Bearer theirs", 0));
    // Adopting a stored set does not delay the next forced refresh.
    assert_eq!(credential.forced_in(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_bearer_of_a_refresh_is_new_for_two_seconds_and_one_of_a_login_is_not() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    assert_eq!(first.new_for(world.clock.now()), Duration::ZERO);
    let second = credential.replace(&first, Kind::Token).await.unwrap().bearer;
    assert_eq!(second.new_for(world.clock.now()), Duration::from_secs(2));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(second.new_for(world.clock.now()), Duration::from_millis(500));
    drop(credential);
    // The age of a stored set counts from its own time.
    let credential = world.start().await;
    let stored = credential.bearer().await.unwrap();
    assert_eq!(stored.new_for(world.clock.now()), Duration::from_millis(500));
    // A clock that is set back does not make the wait longer.
    world.clock.shift(SignedDuration::from_secs(-86_400));
    assert_eq!(stored.new_for(world.clock.now()), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn operators_who_wait_share_one_exchange_and_an_unlock_is_not_queued_after_them() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    credential.bearer().await.unwrap();
    let gate = world.script.gated();
    let operators: Vec<_> = (0..200)
        .map(|_| {
            let credential = credential.clone();
            tokio::spawn(async move { credential.refresh().await })
        })
        .collect();
    while refreshes(&world) == 0 {
        tokio::task::yield_now().await;
    }
    let unlock = tokio::spawn({
        let credential = credential.clone();
        async move { credential.unlock().await }
    });
    // Most operators have left before the exchange is done.
    operators[..150].iter().for_each(|operator| operator.abort());
    gate.add_permits(1);
    assert!(!unlock.await.unwrap().unwrap());
    for operator in operators.into_iter().skip(150) {
        operator.await.unwrap().unwrap();
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(refreshes(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn operators_who_have_left_are_skipped() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    credential.bearer().await.unwrap();
    for _ in 0..200 {
        assert!(credential.refresh().now_or_never().is_none());
    }
    assert!(!credential.unlock().await.unwrap());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(refreshes(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn operators_get_at_most_one_exchange_a_second() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    credential.bearer().await.unwrap();
    let start = Instant::now();
    for _ in 0..5 {
        credential.refresh().await.unwrap();
    }
    assert!((4000..4100).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert_eq!(refreshes(&world), 5);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_by_the_operators_who_wait_too() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    credential.bearer().await.unwrap();
    world.script.push(Step::FailAfter(Class::NotJudged, Duration::from_millis(100)));
    let operators = (0..50).map(|_| credential.refresh());
    let outcomes = futures_util::future::join_all(operators).await;
    assert!(outcomes.iter().all(Result::is_err));
    assert_eq!(refreshes(&world), 1);
}

/// A credential whose early refresh has failed for so long that the next one is minutes away.
async fn backing_off(world: &World) -> (Credential, Bearer) {
    (0..500).for_each(|_| world.script.push(Step::Fail(Class::NotJudged)));
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    tokio::time::sleep(Duration::from_secs(80_000)).await;
    assert!(credential.snapshot().usable);
    (credential, first)
}

#[tokio::test(start_paused = true)]
async fn a_living_token_that_is_refused_during_a_long_back_off_is_not_usable_at_once() {
    let world = World::new(Script::default().then(Step::Tokens { seconds: 86_400 }));
    let (credential, first) = backing_off(&world).await;
    let calls = world.script.calls().len();
    credential.replace(&first, Kind::Token).await.unwrap_err();
    let snapshot = credential.snapshot();
    assert!(snapshot.distrusted && !snapshot.usable);
    let trouble = snapshot.trouble.unwrap();
    assert!(trouble.contains("refuses the current token") && trouble.contains("scripted"), "{trouble}");
    assert_eq!(world.script.calls().len(), calls, "the back-off holds");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_accepted_after_all_is_usable_at_once() {
    let world = World::new(Script::default().then(Step::Tokens { seconds: 86_400 }));
    let (credential, first) = backing_off(&world).await;
    credential.replace(&first, Kind::Token).await.unwrap_err();
    assert!(credential.doubts(&first));
    credential.trust(&first);
    assert!(credential.snapshot().usable);
    // A 401 on another path says nothing about the token.
    credential.distrust(&first);
    assert!(credential.snapshot().usable);
    // A failed replacement shows that the gateway refuses the token.
    credential.replace(&first, Kind::Token).await.unwrap_err();
    assert!(!credential.snapshot().usable);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_in_vain_reports_it_while_the_exchange_goes_on() {
    let hang = Step::FailAfter(Class::Ambiguous, Duration::from_secs(30));
    let world = World::new(Script::default().then(Step::Tokens { seconds: 1000 }).then(hang));
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    let start = Instant::now();
    credential.replace(&first, Kind::Token).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(30));
    assert!(!credential.snapshot().usable);
    assert_eq!(refreshes(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_about_to_be_replaced_is_usable() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    let gate = world.script.gated();
    let replace = tokio::spawn({
        let credential = credential.clone();
        async move { credential.replace(&first, Kind::Token).await }
    });
    while refreshes(&world) == 0 {
        tokio::task::yield_now().await;
    }
    assert!(credential.snapshot().usable);
    gate.add_permits(1);
    replace.await.unwrap().unwrap();
    assert!(credential.snapshot().usable);
}
