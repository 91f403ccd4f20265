//! Refresh tokens: lost responses, refusals, another user's tokens, and clocks that are set.

use super::*;

/// A credential on the store of `world`, with its task.
async fn start_with_task(world: &World) -> (Credential, JoinHandle<()>) {
    let store: Arc<dyn TokenStore> = Arc::clone(&world.store) as _;
    let guards = LoginGuards::new(Arc::clone(&store), world.clock.clone());
    let (options, script) = (world.options.clone(), world.script.clone());
    Credential::start(options, script, store, &guards, world.clock.clone()).await.unwrap()
}

fn code() -> CodeLogin {
    CodeLogin { code: "code".into(), redirect_uri: "http://localhost/callback".into(), verifier: None }
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_an_exchange_that_takes_longer_than_the_last() {
    let mut world = World::new(Script::default().then(Step::Tokens { seconds: 10 }));
    world.options.passive = true;
    let credential = world.start().await;
    credential.bearer().await.unwrap();
    // A failed exchange does not make the next one fail sooner.
    for before in [None, Some(Class::NotJudged)] {
        tokio::time::sleep(Duration::from_secs(11)).await;
        if let Some(class) = before {
            world.script.push(Step::Fail(class));
            credential.bearer().await.unwrap_err();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        world.script.push(Step::TokensAfter { seconds: 10, after: Duration::from_secs(9) });
        let asks = (0..3).map(|_| {
            let credential = credential.clone();
            tokio::spawn(async move { credential.bearer().await })
        });
        for ask in asks.collect::<Vec<_>>() {
            ask.await.unwrap().unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_an_exchange_that_a_request_waited_for_in_vain_makes_others_fail_sooner() {
    let hang = Step::FailAfter(Class::Ambiguous, Duration::from_secs(30));
    let mut world = World::new(Script::default().then(Step::Tokens { seconds: 10 }).then(hang));
    world.script.push(Step::TokensAfter { seconds: 60, after: Duration::from_secs(9) });
    world.options.passive = true;
    let credential = world.start().await;
    credential.bearer().await.unwrap();
    tokio::time::sleep(Duration::from_secs(11)).await;
    for waits in [Duration::from_secs(10), SHORT_WAIT, SHORT_WAIT] {
        let asked = Instant::now();
        let error = credential.bearer().await.unwrap_err();
        assert!(error.retry_after.is_some());
        let took = asked.elapsed();
        assert!(took >= waits && took < waits + Duration::from_millis(10), "{took:?}");
    }
    // Requests wait for the token of the next exchange, even if they came before it began.
    tokio::time::sleep(Duration::from_millis(18_000)).await;
    assert_eq!(world.script.calls().len(), 2);
    credential.bearer().await.unwrap();
    assert_eq!(world.script.calls().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_back_makes_no_token_live_longer() {
    // One second is within the tolerance.
    for back in [SignedDuration::from_hours(1), SignedDuration::from_secs(1)] {
        let world = World::new(Script::default().then(Step::Tokens { seconds: 5 }));
        let credential = world.start().await;
        let mut reader = credential.reader();
        let first = credential.bearer().await.unwrap();
        world.clock.shift(-back);
        assert!(reader.cached().is_some());
        tokio::time::advance(Duration::from_millis(5_100)).await;
        assert!(!first.is_alive(world.clock.now()));
        assert!(reader.cached().is_none());
        assert!(!credential.snapshot().usable);
        assert_eq!(value(&credential.bearer().await.unwrap()), "Bearer access-2");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_clock_that_jumped_ahead_the_state_says_that_the_token_expired_and_asks_for_the_next() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    credential.bearer().await.unwrap();
    world.clock.shift(SignedDuration::from_hours(48));
    let snapshot = credential.snapshot();
    assert!(!snapshot.usable);
    assert_eq!(snapshot.trouble.as_deref(), Some("the token has expired; a new one is on its way"));
    // Only `/ready` has asked, and no timer has fired.
    while !credential.snapshot().usable {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.script.calls(), ["password right", "refresh refresh-1"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_response_to_an_early_refresh_the_living_token_is_used_to_its_end_over_restarts() {
    let script = Script::default().then(Step::Tokens { seconds: 1000 }).then(Step::Fail(Class::Ambiguous));
    let world = World::new(script);
    let mut credential = world.start().await;
    credential.bearer().await.unwrap();
    tokio::time::sleep(Duration::from_secs(900)).await;
    for restart in [false, true] {
        if restart {
            drop(credential);
            credential = world.start().await;
        }
        assert_eq!(world.script.calls(), ["password right", "refresh refresh-1"]);
        let snapshot = credential.snapshot();
        assert!(snapshot.usable && snapshot.trouble.unwrap().contains("was lost"));
        assert_eq!(snapshot.next_attempt, snapshot.expires_at);
        // Asking for a younger token does not risk the living one.
        credential.younger(Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(value(&credential.bearer().await.unwrap()), "Bearer access-1");
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert_eq!(world.script.calls().len(), 2);
        if restart {
            tokio::time::sleep(Duration::from_secs(30)).await;
            assert_eq!(value(&credential.bearer().await.unwrap()), "Bearer access-2");
            assert_eq!(world.script.calls()[2..], ["refresh refresh-1"]);
            assert_eq!(credential.snapshot().trouble, None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_response_to_an_early_refresh_a_401_presents_the_refresh_token_again() {
    let script = Script::default().then(Step::Tokens { seconds: 1000 }).then(Step::Fail(Class::Ambiguous));
    let world = World::new(script);
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    tokio::time::sleep(Duration::from_secs(900)).await;
    assert_eq!(world.script.calls().len(), 2);
    let second = credential.replace(&first, Kind::Token).await.unwrap();
    assert_eq!(value(&second.bearer), "Bearer access-2");
    assert_eq!(world.script.calls()[2..], ["refresh refresh-1"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_response_a_401_that_names_nothing_does_not_cost_the_token_that_nobody_could_replace() {
    let script = Script::default().then(Step::Tokens { seconds: 1000 }).then(Step::Fail(Class::Ambiguous));
    let mut world = World::new(script);
    let first = world.start().await.bearer().await.unwrap();
    world.options.login = None;
    let credential = world.start().await;
    tokio::time::sleep(Duration::from_secs(900)).await;
    assert_eq!(world.script.calls(), ["password right", "refresh refresh-1"]);
    for _ in 0..3 {
        let refused = credential.replace(&first, Kind::Unclear).await.unwrap_err();
        assert!(refused.detail.contains("was lost"), "{refused}");
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(world.script.calls().len(), 2);
    assert!(credential.snapshot().usable);
    // A 401 that names the token justifies that risk.
    credential.replace(&first, Kind::Token).await.unwrap();
    assert_eq!(world.script.calls()[2..], ["refresh refresh-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_in_the_middle_of_an_early_refresh_counts_as_a_lost_response() {
    let world = World::new(Script::default().then(Step::Tokens { seconds: 1000 }));
    let (credential, task) = start_with_task(&world).await;
    credential.bearer().await.unwrap();
    let _gate = world.script.gated();
    while world.script.calls().len() < 2 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    task.abort();
    drop((task.await, credential));
    *world.script.0.gate.lock() = None;
    let credential = world.start().await;
    assert_eq!(value(&credential.bearer().await.unwrap()), "Bearer access-1");
    let ends = credential.snapshot().expires_at.unwrap();
    tokio::time::sleep(until(world.clock.now(), ends) - Duration::from_secs(1)).await;
    assert_eq!(world.script.calls().len(), 2);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(value(&credential.bearer().await.unwrap()), "Bearer access-2");
    assert_eq!(world.script.calls()[2..], ["refresh refresh-1"]);
}

#[tokio::test(start_paused = true)]
async fn an_early_refresh_that_failed_without_being_judged_is_early_again_after_a_restart() {
    let world = World::new(Script::default().then(Step::Tokens { seconds: 1000 }));
    let (credential, task) = start_with_task(&world).await;
    credential.bearer().await.unwrap();
    (0..100).for_each(|_| world.script.push(Step::Fail(Class::NotJudged)));
    while world.script.calls().len() < 3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    credential.close();
    task.await.unwrap();
    drop(credential);
    world.script.0.steps.lock().clear();
    let credential = world.start().await;
    // The early refresh has a new jitter, and may be a hundred seconds later.
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(value(&credential.bearer().await.unwrap()), "Bearer access-2");
}

#[tokio::test(start_paused = true)]
async fn no_refresh_token_is_presented_early_while_that_cannot_be_noted() {
    let world = World::new(Script::default().then(Step::Tokens { seconds: 1000 }));
    let store = witness(&world);
    let credential = world.start_on(Arc::clone(&store) as _).await;
    credential.bearer().await.unwrap();
    store.failing.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(850)).await;
    assert_eq!(world.script.calls().len(), 1);
    assert!(credential.snapshot().usable);
    store.failing.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(value(&credential.bearer().await.unwrap()), "Bearer access-2");
    assert_eq!(world.script.calls()[1..], ["refresh refresh-1"]);
}

#[tokio::test(start_paused = true)]
async fn another_users_tokens_that_a_refresh_brings_are_never_used_nor_stored() {
    let of = |subject| Step::TokensOf { seconds: 1000, subject };
    let world = World::new(Script::default().then(of("alice@vbc.prod")).then(of("bob")).then(of("Alice")));
    let mut credential = world.start().await;
    credential.bearer().await.unwrap();
    tokio::time::sleep(Duration::from_secs(900)).await;
    for restart in [false, true] {
        if restart {
            drop(credential);
            credential = world.start().await;
        }
        let snapshot = credential.snapshot();
        assert!(snapshot.usable);
        assert_eq!(snapshot.subject.as_deref(), Some("alice@vbc.prod"));
        assert_eq!(snapshot.other_user.as_deref(), Some("bob"));
        assert!(snapshot.trouble.unwrap().contains("another user"));
        assert_eq!(value(&credential.bearer().await.unwrap()), "Bearer access-1");
        let stored = world.stored().await.tokens.unwrap();
        assert_eq!((stored.access_token.expose(), stored.refresh_token), ("access-1", None));
        assert_eq!(world.script.calls(), ["password right", "refresh refresh-1"]);
        if restart {
            // The token is used to its end. Then comes the login, as its guard allows.
            tokio::time::sleep(Duration::from_secs(101)).await;
            assert_eq!(value(&credential.bearer().await.unwrap()), "Bearer access-3");
            assert_eq!(world.script.calls()[2..], ["password right"]);
            assert_eq!(credential.snapshot().other_user, None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_names_a_sub_in_another_case_brings_another_users_tokens() {
    let of = |subject| Step::TokensOf { seconds: 1000, subject };
    let cases = [
        ("Alice@vbc.prod", true),
        ("alice@VBC.prod", true),
        ("ALICE", true),
        ("alice@vbc.prod@vbc.prod", true),
        ("alice@vbc.prod", false),
        ("alice", false),
    ];
    for (subject, is_other) in cases {
        let world = World::new(Script::default().then(of("alice@vbc.prod")).then(of(subject)));
        let credential = world.start().await;
        credential.bearer().await.unwrap();
        tokio::time::sleep(Duration::from_secs(900)).await;
        assert_eq!(world.script.calls(), ["password right", "refresh refresh-1"], "{subject}");
        assert_eq!(credential.snapshot().other_user.as_deref(), is_other.then_some(subject));
        let expected = if is_other { "Bearer access-1" } else { "Bearer access-2" };
        assert_eq!(value(&credential.bearer().await.unwrap()), expected, "{subject}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_password_another_users_tokens_make_a_login_needed_at_the_end_of_the_present_token() {
    let of = |subject| Step::TokensOf { seconds: 1000, subject };
    let mut world = World::new(Script::default().then(of("alice")).then(of("bob")));
    (world.options.login, world.options.seed) = (None, Some("seed".into()));
    let credential = world.start().await;
    credential.bearer().await.unwrap();
    tokio::time::sleep(Duration::from_secs(900)).await;
    let snapshot = credential.snapshot();
    assert!(snapshot.usable && !snapshot.login_needed);
    assert!(snapshot.trouble.unwrap().contains("vbc-proxy login default"));
    tokio::time::sleep(Duration::from_secs(101)).await;
    let error = credential.bearer().await.unwrap_err();
    for words in ["another user", "login needed"] {
        assert!(error.detail.contains(words), "{error}");
    }
    assert!(credential.snapshot().login_needed);
    assert_eq!(world.script.calls(), ["refresh seed", "refresh refresh-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_refresh_token_makes_one_login_whatever_words_said_so() {
    for class in [Class::Refused, Class::Unexplained, Class::Unsupported] {
        let script = Script::default().then(Step::Tokens { seconds: 1000 }).then(Step::Fail(class));
        let world = World::new(script);
        let credential = world.start().await;
        let first = credential.bearer().await.unwrap();
        for _ in 0..10 {
            let second = credential.replace(&first, Kind::Token).await.unwrap();
            assert_eq!(value(&second.bearer), "Bearer access-2");
        }
        assert_eq!(world.script.calls(), ["password right", "refresh refresh-1", "password right"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_refresh_token_without_a_password_makes_a_login_needed_whatever_words_said_so() {
    for class in [Class::Refused, Class::Unexplained, Class::Unsupported] {
        let script = Script::default().then(Step::Tokens { seconds: 1000 }).then(Step::Fail(class));
        let mut world = World::new(script);
        (world.options.login, world.options.seed) = (None, Some("seed".into()));
        let credential = world.start().await;
        let first = credential.bearer().await.unwrap();
        for _ in 0..10 {
            let error = credential.replace(&first, Kind::Token).await.unwrap_err();
            assert!(error.detail.contains("login needed"), "{error}");
            tokio::time::sleep(Duration::from_secs(300)).await;
        }
        assert!(credential.snapshot().login_needed);
        assert_eq!(world.script.calls(), ["refresh seed", "refresh refresh-1"], "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_server_refreshes_nothing_the_proxy_logs_in_at_the_end_of_each_token_and_says_so() {
    let script = Script::default().then(Step::Tokens { seconds: 1000 }).then(Step::Fail(Class::Unsupported));
    (0..4).for_each(|_| script.push(Step::Tokens { seconds: 1000 }));
    let world = World::new(script);
    let credential = world.start().await;
    credential.bearer().await.unwrap();
    tokio::time::sleep(Duration::from_secs(900)).await;
    for lives in 1..4 {
        let snapshot = credential.snapshot();
        assert!(snapshot.usable);
        let trouble = snapshot.trouble.unwrap();
        assert!(trouble.contains("does not refresh tokens") && trouble.contains("logs in"), "{trouble}");
        tokio::time::sleep(Duration::from_secs(1000)).await;
        assert_eq!(world.script.calls()[2..], vec!["password right"; lives]);
    }
    // The operator has allowed the grant on the server.
    credential.unlock().await.unwrap();
    assert_eq!(credential.snapshot().trouble, None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.script.calls()[5..], ["refresh refresh-4"]);
}

#[tokio::test(start_paused = true)]
async fn where_the_server_refreshes_nothing_a_login_is_needed_by_the_end_of_the_token() {
    let script = Script::default().then(Step::Tokens { seconds: 1000 });
    script.push(Step::Fail(Class::Unsupported));
    let mut world = World::new(script);
    (world.options.login, world.options.seed) = (None, Some("seed".into()));
    let credential = world.start().await;
    credential.bearer().await.unwrap();
    let before = credential.snapshot();
    assert!(before.login_needed_by > before.expires_at);
    tokio::time::sleep(Duration::from_secs(900)).await;
    let snapshot = credential.snapshot();
    assert!(snapshot.usable);
    assert!(snapshot.trouble.unwrap().contains("a login is needed before the token expires"));
    assert_eq!(snapshot.login_needed_by, snapshot.expires_at);
    assert_eq!(world.script.calls(), ["refresh seed", "refresh refresh-1"]);
}

#[tokio::test(start_paused = true)]
async fn dead_tokens_are_replaced_without_a_confirmation_by_a_login_that_names_nobody() {
    // The access token still lives by the clock, and the gateway refuses it.
    let script = || Script::default().then(Step::Tokens { seconds: 1000 });
    for (restart, username) in [(false, None), (true, None), (true, Some("alice"))] {
        let mut world = World::new(script());
        (world.options.login, world.options.seed) = (None, Some("seed".into()));
        world.options.username = username.map(Into::into);
        let mut credential = world.start().await;
        let first = credential.bearer().await.unwrap();
        // Living tokens are not replaced.
        let other = credential.redeem_code(code()).await;
        assert!(matches!(other, Err(LoginError::OtherUser { .. })), "{other:?}");
        world.script.push(Step::Fail(Class::Refused));
        credential.replace(&first, Kind::Token).await.unwrap_err();
        assert!(credential.snapshot().login_needed);
        if restart {
            drop(credential);
            credential = world.start().await;
        }
        let done = credential.redeem_code(code()).await.unwrap();
        assert_eq!(done.subject, None);
        assert!(credential.snapshot().usable);
    }
}
