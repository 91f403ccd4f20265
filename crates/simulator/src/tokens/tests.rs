use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn policy(mode: Mode) -> Policy {
    Policy {
        mode,
        old_access: OldAccess::Dead,
        rotation: true,
        format: TokenFormat::Jwt,
        lifetimes: Lifetimes::default(),
        openid: true,
        kid: 0,
    }
}

fn owner() -> Owner {
    Owner { client: "c".into(), user: Some("u".into()), scopes: "openid".into() }
}

/// An access token, its refresh token, and the lifetime of the access token in seconds.
type Values = (String, String, u64);

fn values(tokens: &Tokens, row: usize, now: Timestamp) -> Values {
    let pair = tokens.pair(row, now);
    let refresh = pair.refresh.map(|secret| secret.expose().to_owned()).unwrap_or_default();
    (pair.access.expose().to_owned(), refresh, pair.expires_in)
}

fn two_logins(mode: Mode, between: u64) -> (Tokens, Values, Values, Timestamp) {
    let mut tokens = Tokens::default();
    let first = tokens.issue(owner(), true, policy(mode), NOW);
    let first = values(&tokens, first, NOW);
    let later = after(NOW, Duration::from_secs(between));
    let second = tokens.issue(owner(), true, policy(mode), later);
    let second = values(&tokens, second, later);
    (tokens, first, second, later)
}

#[test]
fn reuse_returns_the_living_pair_with_what_is_left() {
    let (_, first, second, _) = two_logins(Mode::Reuse, 3834);
    assert_eq!((&first.0, &first.1), (&second.0, &second.1));
    assert_eq!((first.2, second.2), (86_400, 82_566));
    let (_, first, second, _) = two_logins(Mode::Reuse, 86_398);
    assert_eq!((&first.0, second.2), (&second.0, 2));
}

#[test]
fn reuse_mints_an_access_token_for_the_old_refresh_token_when_the_old_one_is_dying() {
    for between in [86_399, 86_400, 90_000] {
        let (tokens, first, second, now) = two_logins(Mode::Reuse, between);
        assert_ne!(first.0, second.0);
        assert_eq!(first.1, second.1);
        assert_eq!(second.2, 86_400);
        assert!(tokens.accept(&second.0, now).is_some());
    }
    let (_, first, second, _) = two_logins(Mode::Reuse, 604_800);
    assert_ne!(first.1, second.1, "both tokens had expired");
}

#[test]
fn renew_revoke_kills_the_old_access_token_and_keeps_the_refresh_token() {
    let (mut tokens, first, second, now) = two_logins(Mode::RenewRevoke, 60);
    assert_ne!(first.0, second.0);
    assert_eq!(first.1, second.1);
    assert!(tokens.accept(&first.0, now).is_none());
    assert!(tokens.accept(&second.0, now).is_some());
    assert!(tokens.redeem(&second.1, "c", None, policy(Mode::RenewRevoke), now).is_ok());
}

#[test]
fn renew_keep_makes_a_pair_beside_the_old_one() {
    let (mut tokens, first, second, now) = two_logins(Mode::RenewKeep, 60);
    assert_ne!((&first.0, &first.1), (&second.0, &second.1));
    assert!(tokens.accept(&first.0, now).is_some());
    let policy = policy(Mode::RenewKeep);
    assert_eq!(tokens.redeem(&first.1, "c", None, policy, now), Err(RefreshError::NotLatest));
    assert!(tokens.redeem(&second.1, "c", None, policy, now).is_ok());
}

#[test]
fn a_refresh_token_works_once() {
    for mode in [Mode::Reuse, Mode::RenewRevoke, Mode::RenewKeep] {
        let mut tokens = Tokens::default();
        let row = tokens.issue(owner(), true, policy(mode), NOW);
        let old = values(&tokens, row, NOW);
        let row = tokens.redeem(&old.1, "c", None, policy(mode), NOW).unwrap();
        let new = values(&tokens, row, NOW);
        assert!(old.0 != new.0 && old.1 != new.1);
        assert!(tokens.accept(&old.0, NOW).is_none());
        assert!(tokens.accept(&new.0, NOW).is_some());
        assert_eq!(tokens.redeem(&old.1, "c", None, policy(mode), NOW), Err(RefreshError::Spent));
        assert!(tokens.redeem(&new.1, "c", None, policy(mode), NOW).is_ok());
    }
}

#[test]
fn an_old_access_token_may_live_on() {
    let alive = Policy { old_access: OldAccess::Alive, ..policy(Mode::Reuse) };
    let mut tokens = Tokens::default();
    let row = tokens.issue(owner(), true, alive, NOW);
    let old = values(&tokens, row, NOW);
    tokens.redeem(&old.1, "c", None, alive, NOW).unwrap();
    assert!(tokens.accept(&old.0, NOW).is_some());
    assert!(tokens.accept(&old.0, after(NOW, Duration::from_secs(86_400))).is_none());
}

#[test]
fn refusals_tell_why() {
    let (mut tokens, first, _, now) = two_logins(Mode::Reuse, 0);
    let policy = policy(Mode::Reuse);
    assert_eq!(tokens.redeem("nonsense", "c", None, policy, now), Err(RefreshError::Unknown));
    assert_eq!(tokens.redeem(&first.1, "other", None, policy, now), Err(RefreshError::Unknown));
    assert_eq!(tokens.redeem(&first.1, "c", Some("openid x"), policy, now), Err(RefreshError::Scope));
    let week = after(now, Duration::from_secs(604_800));
    assert_eq!(tokens.redeem(&first.1, "c", None, policy, week), Err(RefreshError::Expired));
    tokens.revoke_all_refresh();
    assert_eq!(tokens.redeem(&first.1, "c", None, policy, now), Err(RefreshError::Revoked));
}

#[test]
fn a_revoked_access_token_is_not_reused_but_its_refresh_token_works() {
    let (mut tokens, first, _, now) = two_logins(Mode::Reuse, 0);
    tokens.revoke_all_access();
    assert!(tokens.accept(&first.0, now).is_none());
    let row = tokens.issue(owner(), true, policy(Mode::Reuse), now);
    let second = values(&tokens, row, now);
    assert_ne!(first.0, second.0);
    assert_eq!(first.1, second.1);
    assert!(tokens.redeem(&first.1, "c", None, policy(Mode::Reuse), now).is_ok());
}

#[test]
fn tokens_look_the_part() {
    let (tokens, first, ..) = two_logins(Mode::Reuse, 0);
    assert_eq!(first.0.split('.').count(), 3);
    assert!((900..1200).contains(&first.0.len()), "{}", first.0.len());
    assert!(uuid::Uuid::parse_str(&first.1).is_ok());
    assert_eq!(tokens.name_of(&first.0), "access-1");
    let names = ["what", "else", "what"].map(|token| tokens.name_of(token));
    assert_eq!(names, ["unknown-1", "unknown-2", "unknown-1"]);
}

#[test]
fn a_refresh_token_stays_good_where_it_is_not_rotated() {
    let kept = Policy { rotation: false, ..policy(Mode::Reuse) };
    let mut tokens = Tokens::default();
    let first = tokens.issue(owner(), true, kept, NOW);
    let first = values(&tokens, first, NOW);
    let mut last = first.0.clone();
    for _ in 0..2 {
        let row = tokens.redeem(&first.1, "c", None, kept, NOW).unwrap();
        let next = values(&tokens, row, NOW);
        assert_eq!(next.1, first.1);
        assert!(tokens.accept(&last, NOW).is_none() && tokens.accept(&next.0, NOW).is_some());
        last = next.0;
    }
    let expired = after(NOW, kept.lifetimes.refresh);
    assert_eq!(
        tokens.redeem(&first.1, "c", None, kept, expired),
        Err(RefreshError::Expired),
        "a refresh does not prolong the refresh token"
    );
}
