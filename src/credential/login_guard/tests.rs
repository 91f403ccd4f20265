//! Guards that several credentials share, over restarts.

use std::time::Duration;

use jiff::SignedDuration;

use super::permit::LoginTurn;
use super::*;
use crate::store::{FileStore, MemoryStore};
use vbc_base::clock::until;

fn login(client: &str, password: &str) -> Login {
    Login::new("alice@vbc.prod".into(), password.into(), "openid".into(), client, &"s".into())
}

async fn begin(permit: &LoginPermit) -> Result<LoginTurn<'_>, BeginError> {
    let mut turn = permit.turn().await;
    turn.begin().await.map(|()| turn)
}

async fn started(permit: &LoginPermit) -> LoginTurn<'_> {
    begin(permit).await.unwrap_or_else(|_| panic!("a login may be tried"))
}

/// A login with this outcome.
async fn failed(permit: &LoginPermit, outcome: impl FnOnce(&mut LoginHistory, &[String], Timestamp)) {
    let mut turn = started(permit).await;
    turn.recognize().await.unwrap();
    turn.note(outcome).await.unwrap();
}

async fn lock(permit: &LoginPermit) {
    started(permit).await.note(rules::locked).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_learnt_of_a_password_counts_for_every_credential_that_has_it() {
    let store: Arc<dyn TokenStore> = Arc::new(MemoryStore::new());
    for life in 0..2 {
        let guards = LoginGuards::new(Arc::clone(&store), Clock::tokio());
        let [one, same, other] = [("app-1", "wrong"), ("app-2", "wrong"), ("app-1", "right")]
            .map(|(client, password)| guards.permit(&login(client, password)));
        if life == 0 {
            started(&one).await.note(rules::refused).await.unwrap();
        }
        for permit in [&one, &same] {
            assert!(matches!(begin(permit).await, Err(BeginError::Blocked(LoginDecision::Refused))));
            assert_eq!(permit.decision(), LoginDecision::Refused);
        }
        // Another password is not refused.
        started(&other).await.note(|record, secret, _| rules::succeeded(record, secret)).await.unwrap();
        assert_eq!(
            one.decision(),
            LoginDecision::Refused,
            "a success of another password does not make it right"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_neither_grows_nor_ends_when_the_clock_is_set_back() {
    let clock = Clock::tokio();
    let guards = LoginGuards::new(Arc::new(MemoryStore::new()), clock.clone());
    let permit = guards.permit(&login("app", "right"));
    lock(&permit).await;
    clock.shift(-SignedDuration::from_hours(200));
    assert!(matches!(permit.decision(), LoginDecision::LockedUntil(_)));
    tokio::time::advance(rules::LOCK - Duration::from_secs(5)).await;
    assert!(matches!(permit.decision(), LoginDecision::LockedUntil(_)));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(permit.decision(), LoginDecision::Allowed);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_the_store_knows_is_kept_by_a_process_whose_clock_is_behind() {
    let store: Arc<dyn TokenStore> = Arc::new(MemoryStore::new());
    let ahead = Clock::tokio();
    ahead.shift(SignedDuration::from_hours(1000));
    let permit = LoginGuards::new(Arc::clone(&store), ahead).permit(&login("app", "right"));
    lock(&permit).await;
    let clock = Clock::tokio();
    let permit = LoginGuards::new(store, clock.clone()).permit(&login("app", "right"));
    let Err(BeginError::Blocked(LoginDecision::LockedUntil(at))) = begin(&permit).await else {
        panic!("it is locked")
    };
    assert_eq!(until(clock.now(), at), rules::LOCK);
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_is_known_whatever_application_comes_to_send_it() {
    let store: Arc<dyn TokenStore> = Arc::new(MemoryStore::new());
    let first = LoginGuards::new(Arc::clone(&store), Clock::tokio());
    failed(&first.permit(&login("app-1", "wrong")), rules::refused).await;
    // The first login belongs to a credential that is added later. The second is the only one, and
    // has another client secret.
    let changed = Login::new("Alice@vbc.prod".into(), "wrong".into(), "openid".into(), "app-1", &"t".into());
    for late in [login("app-2", "wrong"), changed] {
        let guards = LoginGuards::new(Arc::clone(&store), Clock::tokio());
        let permit = guards.permit(&late);
        permit.read().await.unwrap();
        assert_eq!(permit.decision(), LoginDecision::Refused, "the refusal is known before the first login");
        assert!(matches!(begin(&permit).await, Err(BeginError::Blocked(LoginDecision::Refused))));
        let right = guards.permit(&login("app-2", "right"));
        assert!(begin(&right).await.is_ok(), "another password may be tried");
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_joins_waits_for_the_end_of_a_lock_and_of_an_unexplained_refusal() {
    for outcome in [rules::locked, rules::unexplained] {
        let (store, clock): (Arc<dyn TokenStore>, _) = (Arc::new(MemoryStore::new()), Clock::tokio());
        let first = LoginGuards::new(Arc::clone(&store), clock.clone());
        failed(&first.permit(&login("app-1", "maybe")), outcome).await;
        for guards in [first, LoginGuards::new(store, clock)] {
            let late = guards.permit(&login("app-2", "maybe"));
            let Err(BeginError::Blocked(held)) = begin(&late).await else { panic!("it is held") };
            assert!(
                matches!(held, LoginDecision::LockedUntil(_) | LoginDecision::UnexplainedUntil(_)),
                "{held:?}"
            );
            assert_eq!(late.decision(), held);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_secret_is_corrected_as_often_as_it_takes_while_the_password_stays() {
    let store: Arc<dyn TokenStore> = Arc::new(MemoryStore::new());
    for secret in ["a", "b", "c", "d"] {
        let guards = LoginGuards::new(Arc::clone(&store), Clock::tokio());
        let login =
            Login::new("alice@vbc.prod".into(), "right".into(), "openid".into(), "app", &secret.into());
        let permit = guards.permit(&login);
        started(&permit).await.misconfigured().await.unwrap();
        assert_eq!(permit.decision(), LoginDecision::Allowed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_application_makes_no_unexplained_refusal_younger() {
    let (store, clock): (Arc<dyn TokenStore>, _) = (Arc::new(MemoryStore::new()), Clock::tokio());
    let permit = LoginGuards::new(store, clock).permit(&login("app", "right"));
    started(&permit).await.note(rules::unexplained).await.unwrap();
    tokio::time::advance(rules::LOCK).await;
    started(&permit).await.misconfigured().await.unwrap();
    assert_eq!(permit.decision(), LoginDecision::Allowed);
}

#[tokio::test]
async fn a_record_of_logins_that_was_deleted_or_set_back_under_us_is_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn TokenStore> = Arc::new(FileStore::open(directory.path()).unwrap());
    let guards = LoginGuards::new(Arc::clone(&store), Clock::system());
    let permit = guards.permit(&login("app", "wrong"));
    let mut turn = started(&permit).await;
    let record = || {
        let mut files = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.extension().is_some_and(|kind| kind == "json")).unwrap()
    };
    let older = std::fs::read(record()).unwrap();
    turn.note(rules::refused).await.unwrap();
    let path = record();
    for meddled in [None, Some(&older)] {
        match meddled {
            Some(older) => std::fs::write(&path, older).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        permit.read().await.unwrap();
        turn.note(|_, _, _| {}).await.unwrap();
        assert!(turn.is_saved());
        let stored = store.load(&login_key("alice@vbc.prod")).await.unwrap();
        assert!(!stored.login_history.unwrap().refused.is_empty(), "the history in memory is written again");
    }
    // These are the steps of `unlock`.
    std::fs::remove_file(&path).unwrap();
    turn.note(|record, _, _| *record = LoginHistory::default()).await.unwrap();
    drop(turn);
    assert!(begin(&permit).await.is_ok());
}

#[tokio::test]
async fn a_record_of_logins_that_was_damaged_under_us_is_moved_away_by_unlock() {
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn TokenStore> = Arc::new(FileStore::open(directory.path()).unwrap());
    let permit = LoginGuards::new(store, Clock::system()).permit(&login("app", "wrong"));
    started(&permit).await.note(rules::refused).await.unwrap();
    let mut files = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let path = files.find(|path| path.extension().is_some_and(|kind| kind == "json")).unwrap();
    std::fs::write(path, "{").unwrap();
    assert!(permit.read().await.unwrap_err().is_of_record());
    permit.set_aside("damaged").await.unwrap();
    let mut turn = permit.turn().await;
    turn.note(|record, _, _| *record = LoginHistory::default()).await.unwrap();
    assert!(turn.begin().await.is_ok() && turn.is_saved());
}

#[tokio::test(start_paused = true)]
async fn case_and_suffix_of_a_user_name_make_no_other_brake() {
    let guards = LoginGuards::new(Arc::new(MemoryStore::new()), Clock::tokio());
    let of = |user: &str, client| {
        guards.permit(&Login::new(user.into(), "wrong".into(), "openid".into(), client, &"s".into()))
    };
    started(&of("alice@vbc.prod", "app")).await.note(rules::refused).await.unwrap();
    for user in ["alice", "ALICE", "alice@VBC.PROD", "Alice@VBC.PROD@vbc.prod"] {
        assert!(
            matches!(begin(&of(user, user)).await, Err(BeginError::Blocked(LoginDecision::Refused))),
            "{user}"
        );
        assert_eq!(login_key(user), login_key("alice@vbc.prod"));
    }
    assert!(begin(&of("alice@org.com", "app")).await.is_ok());
}
