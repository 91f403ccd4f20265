//! The contract of stores. A new store runs [`every_store_rule`] in `tests/mod.rs`.

use std::sync::Arc;

use crate::oauth::{AccessToken, TokenSet};
use crate::store::{
    ApplicationBlock, Issuance, Key, LoginHistory, Record, SharedStore, StoreError, TokenStore, Trial,
    TrialOutcome,
};
use vbc_base::clock::Timestamp;
use vbc_base::secret::Secret;

pub(in crate::store) fn key(credential: &str, identity: &str) -> Key {
    Key { credential: credential.into(), identity: identity.into() }
}

/// A record with every field set, different for each revision.
pub(in crate::store) fn full_record(revision: u64) -> Record {
    let at = |seconds: i64| Timestamp::new(1_790_000_000 + seconds, 123_456_789).unwrap();
    Record {
        revision,
        tokens: Some(TokenSet {
            access_token: AccessToken::new(&format!("token-access-{revision}")),
            refresh_token: Some(Secret::new(format!("token-refresh-{revision}"))),
            issued_at: at(0),
            minted_at: at(-3),
            expires_at: at(86_400),
            refresh_issued_at: at(-86_400),
            scope: Some("openid".to_owned()),
        }),
        subject: Some("alice@vbc.prod".to_owned()),
        other_subject: Some("bob".into()),
        refresh_pending: true,
        login_needed: true,
        spent_seed: Some("5eed".to_owned()),
        full_lifetime: 86_400,
        issuance: Some(Issuance::RenewRevoke),
        login_history: LoginHistory {
            refused: vec!["0badc0de".to_owned(), "decade".to_owned()],
            locked_until: Some(at(2100)),
            attempted: vec!["attempted".into()],
            proven: vec!["proven".into()],
            unresolved: 2,
            last_attempt: Some(at(-7)),
            trials: vec![
                Trial { secret: vec!["tried".into()], at: at(-9), outcome: TrialOutcome::Open },
                Trial { secret: vec!["odd".into()], at: at(-8), outcome: TrialOutcome::Unexplained },
                Trial { secret: vec!["decade".into()], at: at(-7), outcome: TrialOutcome::Refused },
            ],
            exhausted: true,
        }
        .into_kept(),
        application: Some(Box::new(ApplicationBlock {
            fingerprint: "app1".into(),
            failures: 3,
            next_attempt: at(1200),
            reason: "invalid_client".into(),
        })),
    }
}

pub(super) async fn every_store_rule(store: SharedStore) {
    loads_what_was_swapped(&*store).await;
    refuses_a_stale_writer(&*store).await;
    keeps_identities_apart(&*store).await;
    takes_unusual_names(&*store).await;
    stores_what_was_reserved_for(&*store).await;
    lets_one_of_many_writers_win(store).await;
}

async fn stores_what_was_reserved_for(store: &dyn TokenStore) {
    let (key, other) = (key("reserved", "aaaaaaaaaaaaaaaa"), key("other", "aaaaaaaaaaaaaaaa"));
    let mut reservation = store.reserve(&key).await.unwrap();
    // A reservation blocks no writer, not even a writer of the same key.
    let unused = store.reserve(&key).await.unwrap();
    store.swap(&other, 0, &full_record(1)).await.unwrap();
    store.swap(&key, 0, &full_record(1)).await.unwrap();
    assert_eq!(store.load(&key).await.unwrap(), full_record(1));

    let is_empty = reservation.is_empty();
    let conflict = store.swap_reserved(&key, 0, &full_record(2), &mut reservation).await.unwrap_err();
    assert!(matches!(conflict, StoreError::Conflict { found: 1, .. }), "{conflict}");
    assert_eq!(reservation.is_empty(), is_empty, "a conflict uses up nothing");
    store.swap_reserved(&key, 1, &full_record(2), &mut reservation).await.unwrap();
    assert!(reservation.is_empty());
    assert_eq!(store.load(&key).await.unwrap(), full_record(2));

    // A reservation that is used up or dropped changes nothing.
    drop(unused);
    store.swap_reserved(&key, 2, &full_record(3), &mut reservation).await.unwrap();
    assert_eq!(store.load(&key).await.unwrap(), full_record(3));
    assert_eq!(store.set_aside(&key).await.unwrap(), None, "it can be read");
    assert_eq!(store.load(&key).await.unwrap(), full_record(3));
}

async fn loads_what_was_swapped(store: &dyn TokenStore) {
    let key = key("default", "aaaaaaaaaaaaaaaa");
    assert_eq!(store.load(&key).await.unwrap(), Record::default());
    store.swap(&key, 0, &full_record(1)).await.unwrap();
    assert_eq!(store.load(&key).await.unwrap(), full_record(1));

    // The login history outlives the tokens.
    let without_tokens = Record { revision: 2, tokens: None, ..full_record(2) };
    store.swap(&key, 1, &without_tokens).await.unwrap();
    assert_eq!(store.load(&key).await.unwrap(), without_tokens);
}

async fn refuses_a_stale_writer(store: &dyn TokenStore) {
    let key = key("stale", "aaaaaaaaaaaaaaaa");
    let conflict = store.swap(&key, 4, &full_record(5)).await.unwrap_err();
    assert!(matches!(conflict, StoreError::Conflict { expected: 4, found: 0 }), "{conflict}");
    store.swap(&key, 0, &full_record(3)).await.unwrap();
    for expected in [0, 2, 4] {
        let conflict = store.swap(&key, expected, &full_record(9)).await.unwrap_err();
        assert!(matches!(conflict, StoreError::Conflict { found: 3, .. }), "{conflict}");
    }
    // A revision that does not rise is always refused.
    assert!(matches!(store.swap(&key, 3, &full_record(3)).await, Err(StoreError::Io { .. })));
    assert_eq!(store.load(&key).await.unwrap(), full_record(3));
}

async fn keeps_identities_apart(store: &dyn TokenStore) {
    let (one, two) = (key("moved", "bbbbbbbb00000000"), key("moved", "cccccccc00000000"));
    store.swap(&one, 0, &full_record(1)).await.unwrap();
    assert_eq!(store.load(&two).await.unwrap(), Record::default());
    store.swap(&two, 0, &full_record(8)).await.unwrap();
    assert_eq!(store.load(&one).await.unwrap(), full_record(1));
}

async fn takes_unusual_names(store: &dyn TokenStore) {
    let long = "x".repeat(300);
    let names =
        ["", ".", "..", "../up", "a/b", "a.b", "a%2Eb", "a b\n", "Ünïcödé", ".lock", &long, &long[1..]];
    for (n, name) in (1..).zip(names) {
        store.swap(&key(name, "same identity"), 0, &full_record(n)).await.unwrap();
    }
    for (n, name) in (1..).zip(names) {
        assert_eq!(store.load(&key(name, "same identity")).await.unwrap(), full_record(n), "{name}");
    }
}

async fn lets_one_of_many_writers_win(store: SharedStore) {
    let race = key("race", "aaaaaaaaaaaaaaaa");
    let writers: Vec<_> = (1..=16)
        .map(|revision| {
            let (store, race) = (Arc::clone(&store), race.clone());
            tokio::spawn(async move { store.swap(&race, 0, &full_record(revision)).await })
        })
        .collect();
    let mut won = Vec::new();
    for (revision, writer) in (1..).zip(writers) {
        match writer.await.unwrap() {
            Ok(()) => won.push(revision),
            Err(StoreError::Conflict { expected: 0, .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(store.load(&race).await.unwrap(), full_record(won[0]));
}
