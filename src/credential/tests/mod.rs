//! The refresher against a scripted token endpoint, in paused time.

mod failing_store;
mod forced;
mod login_responses;
mod logins;
mod refresh;
mod reset;
mod storing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::SignedDuration;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::*;
use crate::oauth::{Class, Grant, Issued, TokenError};
use crate::store::{LoginHistory, MemoryStore, StoreFuture};
use vbc_base::clock::until;

/// One step of the endpoint's script. After its end every grant gets a fresh token set.
#[derive(Clone, Copy)]
enum Step {
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
    steps: Mutex<VecDeque<Step>>,
    calls: Mutex<Vec<String>>,
    issued: Mutex<u32>,
    /// If set, each redeem waits for a permit of this semaphore.
    gate: Mutex<Option<Arc<Semaphore>>>,
}

impl Script {
    fn then(self, step: Step) -> Self {
        self.0.steps.lock().push_back(step);
        self
    }

    fn push(&self, step: Step) {
        self.0.steps.lock().push_back(step);
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
    async fn redeem(&self, grant: &Grant) -> Result<Issued, TokenError> {
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
        let step = self.0.steps.lock().pop_front();
        let subject = match &step {
            Some(Step::TokensOf { subject, .. }) => Some((*subject).to_owned()),
            _ => None,
        };
        let (seconds, failure) = match step {
            None => (86_400, None),
            Some(Step::Tokens { seconds } | Step::TokensOf { seconds, .. }) => (seconds, None),
            Some(Step::TokensAfter { seconds, after }) => {
                tokio::time::sleep(after).await;
                (seconds, None)
            }
            Some(Step::Fail(class)) => (0, Some(class)),
            Some(Step::FailAfter(class, after)) => {
                tokio::time::sleep(after).await;
                (0, Some(class))
            }
        };
        if let Some(class) = failure {
            return Err(TokenError { class, message: "scripted".into(), retry_after: None });
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

/// A world with one credential. Everything but the credential outlives a restart.
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
        let guards = LoginGuards::new(Arc::clone(&store), self.clock.clone());
        Credential::start(options, script, store, &guards, self.clock.clone()).await.unwrap().0
    }

    /// The stored login history of alice.
    async fn login_record(&self) -> Record {
        self.store.load(&login_key("alice")).await.unwrap()
    }

    async fn stored(&self) -> Record {
        let key = Key { credential: "default".into(), identity: "identity".into() };
        self.store.load(&key).await.unwrap()
    }
}

/// A store that can fail. At each write it checks that the token is not published yet.
struct Witness {
    inner: Arc<MemoryStore>,
    failing: AtomicBool,
    published: Mutex<Option<Credential>>,
    /// Whether any write found its own token published already.
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
    let world = World::new(Script::default().then(Step::Tokens { seconds: 100 }));
    let credential = world.start().await;
    let mut reader = credential.reader();
    credential.bearer().await.unwrap();
    assert!(reader.cached().is_some());
    world.clock.shift(SignedDuration::from_secs(100));
    assert!(reader.cached().is_none());
    assert_eq!(value(&credential.bearer().await.unwrap()), "Bearer access-2");
}

#[tokio::test(start_paused = true)]
async fn a_token_endpoint_that_is_down_is_asked_at_most_ten_times_a_minute() {
    let script = Script::default();
    (0..50).for_each(|_| script.push(Step::Fail(Class::NotJudged)));
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
    let script = Script::default().then(Step::Tokens { seconds: 1000 });
    (0..50).for_each(|_| script.push(Step::Fail(Class::NotJudged)));
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
async fn a_lost_response_is_followed_by_one_more_presentation_then_by_the_login() {
    let script = Script::default()
        .then(Step::Tokens { seconds: 1000 })
        .then(Step::Fail(Class::Ambiguous))
        .then(Step::Fail(Class::Refused));
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
async fn a_token_that_the_gateway_refuses_is_not_usable_and_is_replaced_unasked() {
    let script = Script::default().then(Step::Tokens { seconds: 86_400 }).then(Step::Fail(Class::NotJudged));
    let world = World::new(script);
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    credential.replace(&first, Kind::Token).await.unwrap_err();
    assert!(!credential.snapshot().usable);
    // Forced refreshes are two seconds apart, including scheduled ones.
    tokio::time::sleep(Duration::from_millis(1900)).await;
    assert!(!credential.snapshot().usable);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(credential.snapshot().usable);
    assert_eq!(world.script.calls(), ["password right", "refresh refresh-1", "refresh refresh-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_401_that_may_mean_anything_does_not_make_the_token_unusable() {
    let script = Script::default().then(Step::Tokens { seconds: 86_400 }).then(Step::Fail(Class::NotJudged));
    let world = World::new(script);
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    credential.replace(&first, Kind::Unclear).await.unwrap_err();
    assert!(credential.snapshot().usable);
}

#[tokio::test(start_paused = true)]
async fn tokens_of_a_second_are_replaced_when_asked_for_and_not_in_a_storm() {
    let script = Script::default();
    (0..100).for_each(|_| script.push(Step::Tokens { seconds: 1 }));
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
async fn only_the_first_requests_wait_for_a_token_endpoint_that_hangs_from_the_beginning() {
    let world =
        World::new(Script::default().then(Step::FailAfter(Class::Ambiguous, Duration::from_secs(30))));
    let credential = world.start().await;
    for patience in [10, 1, 1] {
        let asked = Instant::now();
        credential.bearer().await.unwrap_err();
        assert!(asked.elapsed() <= Duration::from_secs(patience));
    }
}

#[test]
fn a_credential_at_rest_is_small() {
    // There may be ten thousand credentials, so each must stay small.
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
