//! When token sets and notes are stored, and how a credential ends.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_token_set_is_stored_before_it_is_published() {
    let world = World::new(Script::default());
    let store = witness(&world);
    let credential = world.start_on(Arc::clone(&store) as _).await;
    *store.published.lock() = Some(credential.clone());
    let mut bearer = credential.bearer().await.unwrap();
    for _ in 0..5 {
        bearer = credential.replace(&bearer, Kind::Token).await.unwrap().bearer;
        let stored = world.stored().await.tokens.unwrap();
        assert!(value(&bearer).ends_with(stored.access_token.expose()));
    }
    assert!(!store.late.load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn a_set_that_cannot_be_stored_is_used_said_to_be_unsaved_and_stored_later() {
    // The failure lasts for any time, with requests and without.
    for (minutes, asked) in [(0, false), (10, false), (10, true)] {
        let world = World::new(Script::default());
        let store = witness(&world);
        let credential = world.start_on(Arc::clone(&store) as _).await;
        let first = credential.bearer().await.unwrap();
        store.failing.store(true, Ordering::Relaxed);
        let bearer = credential.replace(&first, Kind::Token).await.unwrap().bearer;
        assert_eq!(value(&bearer), "Bearer access-2");
        assert!(credential.snapshot().unsaved);
        for _ in 0..minutes * 60 {
            if asked {
                let _ = credential.younger(Duration::from_secs(86_400)).await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        store.failing.store(false, Ordering::Relaxed);
        for _ in 0..90 {
            if asked {
                let _ = credential.younger(Duration::from_secs(86_400)).await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(!credential.snapshot().unsaved, "{minutes} {asked}");
        assert_eq!(world.stored().await.tokens.unwrap().access_token.expose(), "access-2");
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_that_cannot_be_noted_is_not_made_unless_its_secret_has_worked_before() {
    let world = World::new(Script::default());
    let store = witness(&world);
    store.failing.store(true, Ordering::Relaxed);
    let credential = world.start_on(Arc::clone(&store) as _).await;
    let error = credential.bearer().await.unwrap_err();
    assert!(error.detail.contains("cannot write to the token store (writing: disk full)"), "{error}");
    assert!(error.detail.contains("no login was attempted"), "{error}");
    assert!(world.script.calls().is_empty());
    store.failing.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let first = credential.bearer().await.unwrap();
    store.failing.store(true, Ordering::Relaxed);
    world.script.push(Step::Fail(Class::Refused));
    credential.replace(&first, Kind::Token).await.unwrap();
    assert_eq!(world.script.calls(), ["password right", "refresh refresh-1", "password right"]);
}

#[tokio::test(start_paused = true)]
async fn a_brake_that_could_not_be_stored_is_stored_later() {
    let world = World::new(Script::default().then(Step::Fail(Class::Refused)));
    let store = witness(&world);
    let gate = world.script.gated();
    let credential = world.start_on(Arc::clone(&store) as _).await;
    let ask = tokio::spawn({
        let credential = credential.clone();
        async move { credential.bearer().await }
    });
    while world.script.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    store.failing.store(true, Ordering::Relaxed);
    gate.add_permits(1);
    ask.await.unwrap().unwrap_err();
    assert!(world.login_record().await.login_history.unwrap_or_default().refused.is_empty());
    store.failing.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!world.login_record().await.login_history.unwrap().refused.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_brake_that_an_older_version_kept_with_the_credential_still_holds() {
    let world = World::new(Script::default());
    let fingerprint = world.options.login.as_ref().unwrap().fingerprint.clone();
    let key = Key { credential: "default".into(), identity: "identity".into() };
    let history = LoginHistory { refused: vec![fingerprint.to_string()], ..LoginHistory::default() };
    world
        .store
        .swap(&key, 0, &Record { revision: 1, login_history: history.into_kept(), ..Record::default() })
        .await
        .unwrap();
    for _ in 0..2 {
        let error = world.start().await.bearer().await.unwrap_err();
        assert!(error.detail.contains("VBC rejected the user name or password"), "{error}");
    }
    assert!(world.script.calls().is_empty());
    assert_eq!(world.stored().await.login_history, None);
    assert!(!world.login_record().await.login_history.unwrap().refused.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_restart_begins_with_the_stored_token_and_makes_no_exchange() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    drop(credential);
    let credential = world.start().await;
    let again = credential.bearer().await.unwrap();
    assert_eq!((value(&again), again.revision), (value(&first), first.revision));
    assert_eq!(world.script.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_set_that_somebody_else_stored_is_adopted_when_ours_is_refused() {
    let world =
        World::new(Script::default().then(Step::Tokens { seconds: 1000 }).then(Step::Fail(Class::Refused)));
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    let key = Key { credential: "default".into(), identity: "identity".into() };
    let mut record = world.stored().await;
    let expected = record.revision;
    record.revision += 1;
    let tokens = record.tokens.as_mut().unwrap();
    (tokens.access_token, tokens.refresh_token) = ("theirs".into(), Some("their refresh".into()));
    world.store.swap(&key, expected, &record).await.unwrap();
    assert_eq!(value(&credential.replace(&first, Kind::Token).await.unwrap().bearer), "Bearer theirs");
    assert_eq!(world.script.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn closing_finishes_the_exchange_and_stores_it() {
    let world = World::new(Script::default());
    let gate = world.script.gated();
    let store: Arc<dyn TokenStore> = Arc::clone(&world.store) as _;
    let guards = LoginGuards::new(Arc::clone(&world.store) as _, world.clock.clone());
    let (options, script) = (world.options.clone(), world.script.clone());
    let (credential, task) =
        Credential::start(options, script, store, &guards, world.clock.clone()).await.unwrap();
    while world.script.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    credential.close();
    gate.add_permits(1);
    task.await.unwrap();
    assert_eq!(world.stored().await.tokens.unwrap().access_token.expose(), "access-1");
}

#[tokio::test(start_paused = true)]
async fn closing_begins_no_further_exchange() {
    let world = World::new(Script::default().then(Step::Tokens { seconds: 1000 }));
    let store: Arc<dyn TokenStore> = Arc::clone(&world.store) as _;
    let guards = LoginGuards::new(Arc::clone(&world.store) as _, world.clock.clone());
    let (options, script) = (world.options.clone(), world.script.clone());
    let (credential, task) =
        Credential::start(options, script, store, &guards, world.clock.clone()).await.unwrap();
    let first = credential.bearer().await.unwrap();
    let gate = world.script.gated();
    world.script.push(Step::Fail(Class::Ambiguous));
    let ask = tokio::spawn({
        let credential = credential.clone();
        async move { credential.replace(&first, Kind::Token).await }
    });
    while world.script.calls().len() < 2 {
        tokio::task::yield_now().await;
    }
    credential.close();
    gate.add_permits(10);
    task.await.unwrap();
    ask.await.unwrap().unwrap_err();
    assert_eq!(world.script.calls(), ["password right", "refresh refresh-1"]);
}
