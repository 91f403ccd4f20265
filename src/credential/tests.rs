//! The refresher against a scripted token endpoint, in paused time.

mod forced;
mod refresh;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::*;
use crate::clock::until;
use crate::oauth::{Class, Grant, Issued, RedeemError};
use crate::store::{BrakeRecord, MemoryStore, Record, StoreFuture};

/// What the endpoint answers next; when the script is at its end, a fresh token set.
#[derive(Clone, Copy)]
enum Answer {
    Tokens { seconds: u64 },
    TokensOf { seconds: u64, subject: &'static str },
    TokensAfter { seconds: u64, after: Duration },
    Fail(Class),
    FailAfter(Class, Duration),
}

#[derive(Clone, Default)]
struct Script(Arc<ScriptState>);

#[derive(Default)]
struct ScriptState {
    answers: Mutex<VecDeque<Answer>>,
    calls: Mutex<Vec<String>>,
    issued: Mutex<u32>,
    /// When given, a redeem waits for a permit before it answers.
    gate: Mutex<Option<Arc<Semaphore>>>,
}

impl Script {
    fn then(self, answer: Answer) -> Self {
        self.0.answers.lock().push_back(answer);
        self
    }

    fn push(&self, answer: Answer) {
        self.0.answers.lock().push_back(answer);
    }

    fn calls(&self) -> Vec<String> {
        self.0.calls.lock().clone()
    }

    fn gated(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.0.gate.lock() = Some(Arc::clone(&gate));
        gate
    }
}

impl Redeem for Script {
    async fn redeem(&self, grant: &Grant) -> Result<Issued, RedeemError> {
        let call = match grant {
            Grant::Password { password, .. } => format!("password {}", password.expose()),
            Grant::AuthorizationCode { code, .. } => format!("code {}", code.expose()),
            Grant::RefreshToken { refresh_token } => format!("refresh {}", refresh_token.expose()),
        };
        self.0.calls.lock().push(call);
        let gate = self.0.gate.lock().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        let answer = self.0.answers.lock().pop_front();
        let subject = match &answer {
            Some(Answer::TokensOf { subject, .. }) => Some((*subject).to_owned()),
            _ => None,
        };
        let (seconds, failure) = match answer {
            None => (86_400, None),
            Some(Answer::Tokens { seconds } | Answer::TokensOf { seconds, .. }) => (seconds, None),
            Some(Answer::TokensAfter { seconds, after }) => {
                tokio::time::sleep(after).await;
                (seconds, None)
            }
            Some(Answer::Fail(class)) => (0, Some(class)),
            Some(Answer::FailAfter(class, after)) => {
                tokio::time::sleep(after).await;
                (0, Some(class))
            }
        };
        if let Some(class) = failure {
            return Err(RedeemError { class, message: "scripted".into(), retry_after: None });
        }
        let mut issued = self.0.issued.lock();
        *issued += 1;
        Ok(Issued {
            access_token: format!("access-{issued}").as_str().into(),
            refresh_token: Some(format!("refresh-{issued}").into()),
            expires_in: Duration::from_secs(seconds),
            scope: None,
            subject,
        })
    }
}

/// A world of one credential: everything but the endpoint outlives a restart.
struct World {
    script: Script,
    store: Arc<MemoryStore>,
    clock: Clock,
    options: Options,
}

impl World {
    fn new(script: Script) -> Self {
        let login = Login::new("alice".into(), "right".into(), "openid".into(), "id", &"secret".into());
        let options = Options { login: Some(login), ..Options::new("default", "identity") };
        Self { script, store: Arc::default(), clock: Clock::tokio(), options }
    }

    fn with_password(&mut self, password: &str) {
        self.options.login =
            Some(Login::new("alice".into(), password.into(), "openid".into(), "id", &"secret".into()));
    }

    async fn start(&self) -> Credential {
        let store: Arc<dyn TokenStore> = Arc::clone(&self.store) as _;
        self.start_on(store).await
    }

    async fn start_on(&self, store: Arc<dyn TokenStore>) -> Credential {
        let (options, script) = (self.options.clone(), self.script.clone());
        let logins = Logins::new(Arc::clone(&store), self.clock.clone());
        Credential::start(options, script, store, &logins, self.clock.clone()).await.unwrap().0
    }

    /// What the store knows of logins as alice.
    async fn login_record(&self) -> Record {
        self.store.load(&login_key("alice")).await.unwrap()
    }

    async fn stored(&self) -> Record {
        let key = Key { credential: "default".into(), identity: "identity".into() };
        self.store.load(&key).await.unwrap()
    }
}

fn value(bearer: &Bearer) -> &str {
    bearer.value.to_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_first_requests_make_one_exchange() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    let asks = (0..1000).map(|_| {
        let credential = credential.clone();
        tokio::spawn(async move { credential.bearer().await.unwrap() })
    });
    for ask in asks.collect::<Vec<_>>() {
        assert_eq!(value(&ask.await.unwrap()), "Bearer access-1");
    }
    assert_eq!(world.script.calls(), ["password right"]);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_refusals_of_one_bearer_make_one_refresh_and_a_late_one_none() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    let asks = (0..1000).map(|_| {
        let (credential, first) = (credential.clone(), first.clone());
        tokio::spawn(async move { credential.replace(&first, Kind::Token).await.unwrap() })
    });
    for ask in asks.collect::<Vec<_>>() {
        assert_eq!(value(&ask.await.unwrap().bearer), "Bearer access-2");
    }
    let late = credential.replace(&first, Kind::Token).await.unwrap();
    assert!(!late.fresh);
    assert_eq!(value(&late.bearer), "Bearer access-2");
    assert_eq!(world.script.calls(), ["password right", "refresh refresh-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_does_not_lose_the_refresh() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    let gate = world.script.gated();
    let ask = tokio::spawn({
        let credential = credential.clone();
        async move { credential.replace(&first, Kind::Token).await }
    });
    while world.script.calls().len() < 2 {
        tokio::task::yield_now().await;
    }
    ask.abort();
    assert!(ask.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    while credential.snapshot().revision < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(value(&credential.bearer().await.unwrap()), "Bearer access-2");
    assert_eq!(world.stored().await.tokens.unwrap().access_token.expose(), "access-2");
}

/// A store that can be made to fail, and that notes what was published when it was written to.
struct Witness {
    inner: Arc<MemoryStore>,
    failing: AtomicBool,
    published: Mutex<Option<Credential>>,
    /// Whether any write saw its own token published already.
    late: AtomicBool,
}

impl TokenStore for Witness {
    fn load<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Record> {
        self.inner.load(key)
    }

    fn swap<'a>(&'a self, key: &'a Key, expected: u64, record: &'a Record) -> StoreFuture<'a, ()> {
        if let (Some(credential), Some(tokens)) = (&*self.published.lock(), &record.tokens) {
            let published = credential.shared.published.latest();
            let same = published.is_some_and(|b| value(&b).ends_with(tokens.access_token.expose()));
            if same && credential.shared.snapshot.lock().revision < record.revision {
                self.late.store(true, Ordering::Relaxed);
            }
        }
        if self.failing.load(Ordering::Relaxed) {
            let source = std::io::Error::other("disk full");
            return Box::pin(async { Err(StoreError::Io { what: "writing".into(), source }) });
        }
        self.inner.swap(key, expected, record)
    }
}

fn witness(world: &World) -> Arc<Witness> {
    Arc::new(Witness {
        inner: Arc::clone(&world.store),
        failing: AtomicBool::new(false),
        published: Mutex::default(),
        late: AtomicBool::new(false),
    })
}

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
    // However long the store fails, and whatever is asked meanwhile.
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
    assert!(error.detail.contains("cannot be noted"), "{error}");
    assert!(world.script.calls().is_empty());
    store.failing.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let first = credential.bearer().await.unwrap();
    store.failing.store(true, Ordering::Relaxed);
    world.script.push(Answer::Fail(Class::Refused));
    credential.replace(&first, Kind::Token).await.unwrap();
    assert_eq!(world.script.calls(), ["password right", "refresh refresh-1", "password right"]);
}

#[tokio::test(start_paused = true)]
async fn a_brake_that_could_not_be_stored_is_stored_later() {
    let world = World::new(Script::default().then(Answer::Fail(Class::Refused)));
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
    assert!(world.login_record().await.brake.unwrap_or_default().refused.is_empty());
    store.failing.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!world.login_record().await.brake.unwrap().refused.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_brake_that_an_older_version_kept_with_the_credential_still_holds() {
    let world = World::new(Script::default());
    let fingerprint = world.options.login.as_ref().unwrap().fingerprint.clone();
    let key = Key { credential: "default".into(), identity: "identity".into() };
    let brake = BrakeRecord { refused: vec![fingerprint.to_string()], ..BrakeRecord::default() };
    world
        .store
        .swap(&key, 0, &Record { revision: 1, brake: brake.into_kept(), ..Record::default() })
        .await
        .unwrap();
    for _ in 0..2 {
        let error = world.start().await.bearer().await.unwrap_err();
        assert!(error.detail.contains("refused"), "{error}");
    }
    assert!(world.script.calls().is_empty());
    assert_eq!(world.stored().await.brake, None);
    assert!(!world.login_record().await.brake.unwrap().refused.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_idle_credential_is_refreshed_early_and_never_expires() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    credential.bearer().await.unwrap();
    for _ in 0..30 * 24 {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(credential.snapshot().usable);
    }
    let calls = world.script.calls();
    assert!(calls[1..].iter().all(|call| call.starts_with("refresh")), "{calls:?}");
    assert!((54..=68).contains(&calls.len()), "{}", calls.len());
}

#[tokio::test(start_paused = true)]
async fn reading_past_the_refresh_time_asks_for_the_next_even_where_timers_slept() {
    let world = World::new(Script::default());
    let credential = world.start().await;
    credential.bearer().await.unwrap();
    let mut reader = credential.reader();
    // The machine was suspended: the wall clock moved, timers did not.
    world.clock.shift(SignedDuration::from_hours(20));
    assert!(reader.cached().is_some());
    while world.script.calls().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.script.calls()[1], "refresh refresh-1");
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_never_sent() {
    let world = World::new(Script::default().then(Answer::Tokens { seconds: 100 }));
    let credential = world.start().await;
    let mut reader = credential.reader();
    credential.bearer().await.unwrap();
    assert!(reader.cached().is_some());
    world.clock.shift(SignedDuration::from_secs(100));
    assert!(reader.cached().is_none());
    assert_eq!(value(&credential.bearer().await.unwrap()), "Bearer access-2");
}

#[tokio::test(start_paused = true)]
async fn a_refused_login_is_tried_once_over_requests_and_restarts_until_the_secret_changes() {
    let mut world = World::new(Script::default().then(Answer::Fail(Class::Refused)));
    for _ in 0..5 {
        let credential = world.start().await;
        for _ in 0..100 {
            let error = credential.bearer().await.unwrap_err();
            assert!(error.detail.contains("refused"), "{error}");
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
    let world = World::new(Script::default().then(Answer::Fail(Class::Locked)));
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
    // A backend refuses the token; it cannot be replaced, and still lives.
    world.script.push(Answer::Fail(Class::Refused));
    world.script.push(Answer::Fail(Class::Locked));
    assert!(credential.replace(&first, Kind::Unclear).await.is_err());
    let snapshot = credential.snapshot();
    assert!(snapshot.usable && snapshot.brake);
    // When it ends, and not when the lock does: the refresher would find nothing to do, without end.
    assert_eq!(snapshot.next_attempt, snapshot.expires_at);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.script.calls().len(), 3);
    assert_eq!(value(&credential.bearer().await.unwrap()), "Bearer access-1");
}

#[tokio::test(start_paused = true)]
async fn a_token_endpoint_that_is_down_is_asked_at_most_ten_times_a_minute() {
    let script = Script::default();
    (0..50).for_each(|_| script.push(Answer::Fail(Class::NotJudged)));
    let world = World::new(script);
    let credential = world.start().await;
    for _ in 0..600 {
        let asked = Instant::now();
        let error = credential.bearer().await.unwrap_err();
        assert!(asked.elapsed() < Duration::from_secs(1));
        assert!(error.retry_after.is_some());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let calls = world.script.calls().len();
    assert!((5..=10).contains(&calls), "{calls}");
}

#[tokio::test(start_paused = true)]
async fn a_living_token_is_served_while_the_token_endpoint_is_down() {
    let script = Script::default().then(Answer::Tokens { seconds: 1000 });
    (0..50).for_each(|_| script.push(Answer::Fail(Class::NotJudged)));
    let world = World::new(script);
    let credential = world.start().await;
    credential.bearer().await.unwrap();
    tokio::time::sleep(Duration::from_secs(990)).await;
    assert_eq!(value(&credential.bearer().await.unwrap()), "Bearer access-1");
    assert!(world.script.calls().len() > 2);
    assert!(credential.snapshot().trouble.is_some());
    tokio::time::sleep(Duration::from_secs(11)).await;
    credential.bearer().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_followed_by_one_more_presentation_then_by_the_login() {
    let script = Script::default()
        .then(Answer::Tokens { seconds: 1000 })
        .then(Answer::Fail(Class::Ambiguous))
        .then(Answer::Fail(Class::Refused));
    let world = World::new(script);
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    let second = credential.replace(&first, Kind::Token).await.unwrap();
    assert_eq!(value(&second.bearer), "Bearer access-2");
    assert_eq!(
        world.script.calls(),
        ["password right", "refresh refresh-1", "refresh refresh-1", "password right"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_refresh_token_alone_is_no_reason_to_log_in_before_the_token_ends() {
    let script = Script::default().then(Answer::Tokens { seconds: 1000 }).then(Answer::Fail(Class::Refused));
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
    let script = Script::default().then(Answer::Fail(Class::Locked)).then(Answer::Fail(Class::Configuration));
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
async fn a_code_credential_lives_on_its_seed_and_then_needs_a_login() {
    let script = Script::default().then(Answer::Tokens { seconds: 1000 }).then(Answer::Fail(Class::Refused));
    let mut world = World::new(script);
    world.options.login = None;
    world.options.seed = Some("seed".into());
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    let error = credential.replace(&first, Kind::Token).await.unwrap_err();
    assert!(error.detail.contains("login needed"), "{error}");
    assert!(credential.snapshot().login_needed);
    drop(credential);
    // The spent seed is not presented again after a restart; a new one is.
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
async fn a_set_that_somebody_else_stored_is_adopted_when_ours_is_refused() {
    let world = World::new(
        Script::default().then(Answer::Tokens { seconds: 1000 }).then(Answer::Fail(Class::Refused)),
    );
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
    let logins = Logins::new(Arc::clone(&world.store) as _, world.clock.clone());
    let (options, script) = (world.options.clone(), world.script.clone());
    let (credential, task) =
        Credential::start(options, script, store, &logins, world.clock.clone()).await.unwrap();
    while world.script.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    credential.close();
    gate.add_permits(1);
    task.await.unwrap();
    assert_eq!(world.stored().await.tokens.unwrap().access_token.expose(), "access-1");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_the_gateway_refuses_is_not_usable_and_is_replaced_unasked() {
    let script =
        Script::default().then(Answer::Tokens { seconds: 86_400 }).then(Answer::Fail(Class::NotJudged));
    let world = World::new(script);
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    credential.replace(&first, Kind::Token).await.unwrap_err();
    assert!(!credential.snapshot().usable);
    // Forced refreshes are two seconds apart, unasked ones too.
    tokio::time::sleep(Duration::from_millis(1900)).await;
    assert!(!credential.snapshot().usable);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(credential.snapshot().usable);
    assert_eq!(world.script.calls(), ["password right", "refresh refresh-1", "refresh refresh-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_401_that_may_mean_anything_does_not_make_the_token_unusable() {
    let script =
        Script::default().then(Answer::Tokens { seconds: 86_400 }).then(Answer::Fail(Class::NotJudged));
    let world = World::new(script);
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    credential.replace(&first, Kind::Unclear).await.unwrap_err();
    assert!(credential.snapshot().usable);
}

#[tokio::test(start_paused = true)]
async fn tokens_of_a_second_are_replaced_when_asked_for_and_not_in_a_storm() {
    let script = Script::default();
    (0..100).for_each(|_| script.push(Answer::Tokens { seconds: 1 }));
    let world = World::new(script);
    let credential = world.start().await;
    credential.bearer().await.unwrap();
    tokio::time::sleep(Duration::from_secs(100)).await;
    let idle = world.script.calls().len();
    assert!((10..=12).contains(&idle), "{idle}");
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(1100)).await;
        credential.bearer().await.unwrap();
    }
    assert!(world.script.calls().len() >= idle + 5);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_tells_of_a_lock_holds_the_login_back_and_is_not_repeated_at_once() {
    let script = Script::default().then(Answer::Tokens { seconds: 1000 }).then(Answer::Fail(Class::Locked));
    let world = World::new(script);
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    for _ in 0..100 {
        credential.replace(&first, Kind::Token).await.unwrap_err();
    }
    assert_eq!(world.script.calls().len(), 2);
    assert!(world.login_record().await.brake.unwrap().locked_until.is_some());
}

#[tokio::test(start_paused = true)]
async fn only_the_first_requests_wait_for_a_token_endpoint_that_hangs_from_the_beginning() {
    let world =
        World::new(Script::default().then(Answer::FailAfter(Class::Ambiguous, Duration::from_secs(30))));
    let credential = world.start().await;
    for patience in [10, 1, 1] {
        let asked = Instant::now();
        credential.bearer().await.unwrap_err();
        assert!(asked.elapsed() <= Duration::from_secs(patience));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_ended_does_not_free_the_next_failures_from_their_pause() {
    let script = Script::default().then(Answer::Fail(Class::Locked));
    (0..100).for_each(|_| script.push(Answer::Fail(Class::NotJudged)));
    let world = World::new(script);
    let credential = world.start().await;
    credential.bearer().await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(35 * 60)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let calls = world.script.calls().len();
    assert!((2..=12).contains(&calls), "{calls}");
}

#[tokio::test(start_paused = true)]
async fn closing_begins_no_further_exchange() {
    let world = World::new(Script::default().then(Answer::Tokens { seconds: 1000 }));
    let store: Arc<dyn TokenStore> = Arc::clone(&world.store) as _;
    let logins = Logins::new(Arc::clone(&world.store) as _, world.clock.clone());
    let (options, script) = (world.options.clone(), world.script.clone());
    let (credential, task) =
        Credential::start(options, script, store, &logins, world.clock.clone()).await.unwrap();
    let first = credential.bearer().await.unwrap();
    let gate = world.script.gated();
    world.script.push(Answer::Fail(Class::Ambiguous));
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

#[test]
fn a_credential_at_rest_is_small() {
    // There may be ten thousand of them.
    for (what, size, limit) in [
        ("Refresher", size_of::<Refresher<crate::oauth::Endpoint>>(), 880),
        ("Shared", size_of::<Shared>(), 632),
        ("Snapshot", size_of::<Snapshot>(), 272),
        ("Options", size_of::<Options>(), 216),
    ] {
        assert!(size <= limit, "{what}: {size}");
        println!("{what}: {size}");
    }
}
