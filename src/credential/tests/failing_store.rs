//! Stores that fail, and records that cannot be read.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::credential::rejected_prefixes::Kind;
use crate::credential::{CodeLogin, Credential, Login, LoginGuards, Options, login_key};
use crate::oauth::{Grant, Issued, Redeem, TokenError};
use crate::store::{Key, MemoryStore, Record, Reservation, SharedStore, StoreError, StoreFuture, TokenStore};
use vbc_base::clock::Clock;

const HOUR: Duration = Duration::from_secs(3600);

/// A token endpoint that grants everything.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Vec<&'static str>>>);

impl Server {
    fn calls(&self) -> Vec<&'static str> {
        self.0.lock().clone()
    }
}

impl Redeem for Server {
    async fn redeem(&self, grant: &Grant) -> Result<Issued, TokenError> {
        let number = {
            let mut calls = self.0.lock();
            calls.push(grant.name());
            calls.len()
        };
        Ok(Issued {
            access_token: format!("access-{number}").as_str().into(),
            refresh_token: Some(format!("refresh-{number}").into()),
            expires_in: HOUR,
            scope: None,
            subject: None,
        })
    }
}

/// Why a record of this name cannot be read.
type Why = fn(String) -> StoreError;

/// A store whose records can be made unreadable, and that can be full.
#[derive(Default)]
struct Shelf {
    inner: MemoryStore,
    unreadable: Mutex<HashMap<Key, Why>>,
    aside: Mutex<Vec<Key>>,
    full: AtomicBool,
    /// Whether only records with reserved space are stored.
    reserved_alone: AtomicBool,
}

fn damaged(what: String) -> StoreError {
    StoreError::Damaged { what, detail: "it is cut off".into() }
}

fn lost_key(what: String) -> StoreError {
    StoreError::NoKey { what, key: "0badc0de".into(), has_keys: true }
}

fn forbidden(what: String) -> StoreError {
    StoreError::Io { what, source: io::ErrorKind::PermissionDenied.into() }
}

fn no_space() -> StoreError {
    StoreError::Io { what: "writing".into(), source: io::Error::from_raw_os_error(28) }
}

impl Shelf {
    fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    fn check(&self, key: &Key) -> Result<(), StoreError> {
        let why = self.unreadable.lock().get(key).copied();
        why.map_or(Ok(()), |why| Err(why(format!("record {}", key.credential))))
    }

    fn damage(&self, key: Key, why: Why) {
        self.unreadable.lock().insert(key, why);
    }

    fn mend(&self, key: &Key) {
        self.unreadable.lock().remove(key);
    }
}

impl TokenStore for Shelf {
    fn load<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Record> {
        match self.check(key) {
            Ok(()) => self.inner.load(key),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn swap<'a>(&'a self, key: &'a Key, expected: u64, record: &'a Record) -> StoreFuture<'a, ()> {
        let takes = !self.full.load(Ordering::Relaxed) && !self.reserved_alone.load(Ordering::Relaxed);
        match self.check(key).and_then(|()| takes.then_some(()).ok_or_else(no_space)) {
            Ok(()) => self.inner.swap(key, expected, record),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn reserve<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Reservation> {
        let full = self.full.load(Ordering::Relaxed);
        let outcome = self.check(key).and_then(|()| (!full).then_some(()).ok_or_else(no_space));
        Box::pin(async { outcome.map(|()| Reservation::new("space")) })
    }

    fn swap_reserved<'a>(
        &'a self,
        key: &'a Key,
        expected: u64,
        record: &'a Record,
        reservation: &'a mut Reservation,
    ) -> StoreFuture<'a, ()> {
        match reservation.take::<&str>() {
            Some(_) => self.inner.swap(key, expected, record),
            None => self.swap(key, expected, record),
        }
    }

    fn set_aside<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<String>> {
        let was_unreadable = self.unreadable.lock().remove(key).is_some();
        if was_unreadable {
            self.aside.lock().push(key.clone());
        }
        Box::pin(async move { Ok(was_unreadable.then(|| "aside".to_owned())) })
    }
}

/// One credential over several runs. Everything but the process outlives a restart.
struct World {
    server: Server,
    shelf: Arc<Shelf>,
    clock: Clock,
    options: Options,
}

impl World {
    fn with_password() -> Self {
        let login = Login::new("alice".into(), "right".into(), "openid".into(), "id", &"secret".into());
        let options = Options { login: Some(login), ..Options::new("default", "identity") };
        Self { server: Server::default(), shelf: Arc::default(), clock: Clock::tokio(), options }
    }

    fn with_codes() -> Self {
        let options = Options::new("default", "identity");
        Self { options, ..Self::with_password() }
    }

    async fn start(&self) -> Credential {
        let store: SharedStore = Arc::clone(&self.shelf) as _;
        let guards = LoginGuards::new(Arc::clone(&store), self.clock.clone());
        let (options, server) = (self.options.clone(), self.server.clone());
        Credential::start(options, server, store, &guards, self.clock.clone()).await.unwrap().0
    }

    fn calls(&self) -> Vec<&'static str> {
        self.server.calls()
    }
}

fn own() -> Key {
    Key { credential: "default".into(), identity: "identity".into() }
}

fn value(credential: &Credential) -> String {
    let bearer = credential.reader().cached().expect("a token").value.clone();
    bearer.to_str().unwrap().to_owned()
}

fn code() -> CodeLogin {
    CodeLogin { code: "code".into(), redirect_uri: "http://localhost/callback".into(), verifier: None }
}

/// The trouble in the response to a request. Checks that the snapshot reports the same.
async fn trouble(credential: &Credential) -> String {
    let error = credential.bearer().await.unwrap_err();
    let trouble = credential.snapshot().trouble.unwrap_or_default();
    assert!(
        error.detail.contains(&trouble) || trouble.contains(&error.detail),
        "{} | {trouble}",
        error.detail
    );
    error.detail
}

#[tokio::test(start_paused = true)]
async fn a_login_whose_outcome_could_not_be_stored_is_not_made() {
    let world = World::with_password();
    world.shelf.set_full(true);
    let credential = world.start().await;
    let detail = trouble(&credential).await;
    assert!(detail.contains("no space left on device"), "{detail}");
    tokio::time::sleep(HOUR).await;
    let snapshot = credential.snapshot();
    assert!(!snapshot.unsaved && !snapshot.note_unsaved, "there is nothing to be saved");
    assert!(snapshot.store_trouble.unwrap().contains("no space left on device"));
    assert!(world.calls().is_empty());
    world.shelf.set_full(false);
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!(value(&credential), "Bearer access-1");
    let snapshot = credential.snapshot();
    assert_eq!((snapshot.trouble, snapshot.store_trouble), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_is_not_spent_while_its_successor_could_not_be_stored() {
    let world = World::with_password();
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    world.shelf.set_full(true);
    // After the time of the early refresh, the living token is still used.
    tokio::time::sleep(HOUR * 3 / 4).await;
    assert_eq!(value(&credential), "Bearer access-1");
    assert!(credential.snapshot().usable);
    assert!(credential.snapshot().trouble.unwrap().contains("no space left on device"));
    let refused = credential.replace(&first, Kind::Token).await.unwrap_err();
    assert!(refused.detail.contains("no space left on device"), "{refused}");
    assert_eq!(world.calls(), ["password"]);
    world.shelf.set_full(false);
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!(world.calls(), ["password", "refresh_token"]);
    assert_eq!(value(&credential), "Bearer access-2");
}

#[tokio::test(start_paused = true)]
async fn a_code_is_not_spent_while_its_tokens_could_not_be_stored() {
    let world = World::with_codes();
    let credential = world.start().await;
    world.shelf.set_full(true);
    let refused = credential.redeem_code(code()).await.unwrap_err().to_string();
    assert!(refused.contains("no space left on device"), "{refused}");
    assert!(world.calls().is_empty());
    world.shelf.set_full(false);
    assert!(!credential.redeem_code(code()).await.unwrap().unsaved, "the same code is still good");
    assert_eq!(world.calls(), ["authorization_code"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_reserved_for_takes_the_outcome_when_nothing_else_is_taken() {
    let world = World::with_password();
    let credential = world.start().await;
    let first = credential.bearer().await.unwrap();
    world.shelf.reserved_alone.store(true, Ordering::Relaxed);
    credential.replace(&first, Kind::Token).await.unwrap();
    assert!(!credential.snapshot().unsaved);
    let stored = world.shelf.inner.load(&own()).await.unwrap().tokens.unwrap();
    assert_eq!(stored.access_token.expose(), "access-2");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_record_without_a_password_holds_its_credential_until_unlock() {
    let world = World::with_codes();
    let credential = world.start().await;
    credential.redeem_code(code()).await.unwrap();
    for why in [damaged as Why, lost_key] {
        world.shelf.damage(own(), why);
        let credential = world.start().await;
        for _ in 0..3 {
            let detail = trouble(&credential).await;
            assert!(detail.contains("record default is "), "{detail}");
            assert!(
                detail.contains("`vbc-proxy unlock default`, then `vbc-proxy login default`"),
                "{detail}"
            );
            tokio::time::sleep(Duration::from_secs(100)).await;
        }
        // No grant is spent, and the record is not overwritten.
        assert!(credential.redeem_code(code()).await.is_err());
        assert!(credential.unlock().await.unwrap_err().detail.contains("record default is "));
        assert!(credential.refresh().await.is_err());
        assert!(world.shelf.aside.lock().is_empty());
        world.shelf.mend(&own());
        assert!(credential.unlock().await.unwrap());
        assert_eq!(value(&credential), "Bearer access-1");
        assert_eq!(credential.snapshot().trouble, None);
    }
    assert_eq!(world.calls(), ["authorization_code"]);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_record_is_set_aside_where_a_password_is_there_and_a_seed_is_not_presented() {
    let mut world = World::with_password();
    world.options.seed = Some("seed".into());
    world.shelf.damage(own(), damaged);
    let credential = world.start().await;
    credential.bearer().await.unwrap();
    assert_eq!(world.calls(), ["password"]);
    assert_eq!(*world.shelf.aside.lock(), [own()]);
    assert_eq!(credential.snapshot().trouble, None);
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_key_is_lost_is_held_though_a_password_is_there_until_it_is_moved_away() {
    let world = World::with_password();
    world.shelf.damage(own(), lost_key);
    let credential = world.start().await;
    let detail = trouble(&credential).await;
    assert!(detail.contains("if the key is lost, move the record away"), "{detail}");
    assert!(detail.contains("run `vbc-proxy unlock default` (the proxy then logs in)"), "{detail}");
    tokio::time::sleep(HOUR).await;
    assert!(world.calls().is_empty() && world.shelf.aside.lock().is_empty());
    world.shelf.mend(&own());
    credential.unlock().await.unwrap();
    credential.bearer().await.unwrap();
    assert_eq!(world.calls(), ["password"]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_for_another_reason_is_read_again_by_itself() {
    let world = World::with_password();
    world.start().await.bearer().await.unwrap();
    world.shelf.damage(own(), forbidden);
    let credential = world.start().await;
    let detail = trouble(&credential).await;
    assert!(detail.contains("permission denied"), "{detail}");
    world.shelf.mend(&own());
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(value(&credential), "Bearer access-1");
    assert_eq!(credential.snapshot().trouble, None);
    assert_eq!(world.calls(), ["password"]);
}

#[tokio::test(start_paused = true)]
async fn no_login_is_made_without_the_record_of_earlier_ones_until_unlock() {
    for why in [damaged as Why, lost_key] {
        let world = World::with_password();
        world.shelf.damage(login_key("alice"), why);
        for _ in 0..3 {
            let credential = world.start().await;
            let detail = trouble(&credential).await;
            assert!(
                detail.contains("record of earlier logins") && detail.contains("unlock default"),
                "{detail}"
            );
            assert!(credential.snapshot().brake);
            tokio::time::sleep(HOUR * 30).await;
            assert!(credential.refresh().await.is_err());
        }
        assert!(world.calls().is_empty() && world.shelf.aside.lock().is_empty());
        let (credential, other) = (world.start().await, world.start().await);
        trouble(&other).await;
        assert!(credential.unlock().await.unwrap());
        assert_eq!(*world.shelf.aside.lock(), [login_key("alice")]);
        credential.bearer().await.unwrap();
        assert_eq!(world.calls(), ["password"]);
        assert_eq!(credential.snapshot().trouble, None);
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_are_refreshed_and_the_trouble_told_while_the_record_of_logins_is_damaged() {
    let world = World::with_password();
    world.start().await.bearer().await.unwrap();
    world.shelf.damage(login_key("alice"), damaged);
    let credential = world.start().await;
    for _ in 0..8 {
        tokio::time::sleep(HOUR / 2).await;
        let snapshot = credential.snapshot();
        assert!(snapshot.usable);
        assert!(snapshot.trouble.unwrap().contains("record of earlier logins"));
    }
    assert!(world.calls()[1..].iter().all(|call| *call == "refresh_token"), "{:?}", world.calls());
    assert!(world.calls().len() > 4);
}
