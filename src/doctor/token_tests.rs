use std::time::Duration;

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn later(seconds: u64) -> Timestamp {
    clock::after(NOW, Duration::from_secs(seconds))
}

fn state(snapshot: &Snapshot) -> LoginState<'_> {
    let (name, grant, scope) = ("default", GrantKind::Password, "openid");
    let refresh_lifetime = Duration::from_secs(7 * 86_400);
    let (refreshes, logins, in_command) = (0, 0, false);
    LoginState { name, grant, scope, refresh_lifetime, snapshot, refreshes, logins, in_command, now: NOW }
}

fn without(detail: &str, snapshot: &Snapshot) -> Check {
    let retry_after = Some(Duration::from_secs(2100));
    state(snapshot).not_logged_in(&Unavailable {
        credential: "default".into(),
        detail: detail.into(),
        retry_after,
    })
}

#[test]
fn every_refusal_has_its_name_and_its_remedy() {
    let braked = Snapshot { brake: true, ..Snapshot::default() };
    let needed = Snapshot { login_needed: true, ..Snapshot::default() };
    let none = Snapshot::default();
    let cases = [
        (
            "answered 401, invalid_client: Client credentials are invalid.",
            &none,
            "client-refused",
            "Consumer Secret",
        ),
        (
            "answered 400, unauthorized_client: …",
            &none,
            "grant-not-ticked",
            "tick Password and Refresh Token",
        ),
        ("answered 400, invalid_scope: Invalid Scope!", &none, "scope", "openid"),
        ("answered 400, invalid_request: …", &none, "request-refused", "token_url"),
        ("VBC rejected the user name or password. …", &none, "password-refused", "SSO"),
        ("the account is locked (17003). …", &braked, "account-locked", "vbc-proxy unlock default"),
        ("several logins got no response. …", &braked, "login-held", "unlock"),
        (
            "VBC rejected the login without a readable reason. …",
            &braked,
            "login-unexplained",
            "oauth.token_url",
        ),
        ("two other passwords of this user were tried recently. …", &braked, "login-held", "wait, or, if"),
        (
            "VBC rejected three passwords of this user within a day. …",
            &braked,
            "login-held",
            "unlock default",
        ),
        ("login needed: …", &needed, "login-needed", "vbc-proxy unlock default"),
        ("the token endpoint has not responded yet; …", &none, "token-endpoint-slow", "again"),
        ("Connection refused", &none, "token-endpoint-down", "token_url"),
    ];
    for (detail, snapshot, code, remedy) in cases {
        let check = without(detail, snapshot);
        assert_eq!((check.code.as_deref(), check.verdict), (Some(code), Verdict::Fail), "{detail}");
        assert!(check.remedy.as_deref().unwrap().contains(remedy), "{check:?}");
    }
}

#[test]
fn whoever_can_log_in_is_told_how() {
    let snapshot = Snapshot { login_needed: true, login_needed_by: Some(later(3600)), ..Snapshot::default() };
    let why = Unavailable { credential: "default".into(), detail: "login needed".into(), retry_after: None };
    let by_person = LoginState { grant: GrantKind::AuthorizationCode, ..state(&snapshot) };
    let remedies = |state: &LoginState<'_>| {
        [state.not_logged_in(&why), state.deadline().unwrap()].map(|check| check.remedy.unwrap())
    };
    for remedy in remedies(&by_person) {
        assert!(remedy.contains("vbc-proxy login default"), "{remedy}");
    }
    assert!(remedies(&by_person)[0].contains("SSO"));
    // `vbc-proxy login` rejects credentials that log in automatically.
    for remedy in remedies(&state(&snapshot)) {
        assert!(
            remedy.contains("vbc-proxy unlock default") && !remedy.contains("vbc-proxy login"),
            "{remedy}"
        );
    }
}

#[test]
fn a_trouble_beside_a_living_token_is_a_warning() {
    let mut snapshot = Snapshot { usable: true, expires_at: Some(later(3600)), ..Snapshot::default() };
    for (trouble, code) in [
        ("answered 401, invalid_client: …", "client-refused"),
        ("Connection refused", "token-endpoint-down"),
        ("the refresh token is gone; the proxy logs in when the token expires", "refresh-token-gone"),
        ("a refresh returned tokens of another user, which are not used; …", "other-user"),
        ("the response to a refresh was lost; the proxy uses the token …", "refresh-response-lost"),
    ] {
        snapshot.trouble = Some(trouble.into());
        let check = state(&snapshot).logged_in();
        assert_eq!((check.verdict, check.code.as_deref()), (Verdict::Warn, Some(code)), "{check:?}");
        assert!(check.found.starts_with("there is a token, valid for 1 h, but "), "{check:?}");
    }
}

#[test]
fn a_token_that_the_gateway_refuses_while_no_login_is_possible_fails_with_the_cause() {
    let snapshot = Snapshot {
        brake: true,
        distrusted: true,
        expires_at: Some(later(86_340)),
        login_needed_by: Some(later(86_340)),
        ..Snapshot::default()
    };
    let detail = "VBC rejected the user name or password. …".to_owned();
    let why = Unavailable { credential: "default".into(), detail, retry_after: None };
    let check = state(&snapshot).token_refused(&why);
    assert_eq!((check.code.as_deref(), check.verdict), (Some("password-refused"), Verdict::Fail));
    assert!(check.found.starts_with("the gateway rejects the token"), "{check:?}");
    assert!(check.remedy.unwrap().contains("`vbc-proxy unlock default`"));
}

#[test]
fn a_locked_account_says_until_when() {
    let check = without("the account is locked (17003).", &Snapshot::default());
    assert_eq!(check.found, "the account is locked (17003); no login is tried until 00:35:00 UTC");
}

#[test]
fn a_token_that_lives_needs_no_login_and_says_how_long() {
    let mut snapshot = Snapshot { usable: true, expires_at: Some(later(82_800)), ..Snapshot::default() };
    assert_eq!(
        state(&snapshot).logged_in(),
        Check::ok("login", "not needed: there is a token, valid for 23 h; the password was not tried")
    );
    let got = LoginState { logins: 1, ..state(&snapshot) }.logged_in();
    assert_eq!(got.found, "logged in once and got a token, valid for 23 h");
    let got = LoginState { refreshes: 1, ..state(&snapshot) }.logged_in();
    assert_eq!(got.found, "not needed: the token was refreshed, valid for 23 h; the password was not tried");
    snapshot.unsaved = true;
    assert_eq!(state(&snapshot).logged_in().verdict, Verdict::Warn);
    snapshot.brake = true;
    snapshot.trouble = Some("VBC rejected the user name or password.".into());
    assert_eq!(state(&snapshot).logged_in().code.as_deref(), Some("password-refused"));
}

#[test]
fn the_scope_is_what_was_granted_or_else_what_was_asked_for() {
    let mut snapshot = Snapshot::default();
    assert_eq!(state(&snapshot).scope().verdict, Verdict::Ok);
    snapshot.scope = Some("default".into());
    let check = state(&snapshot).scope();
    assert_eq!(check.verdict, Verdict::Warn);
    assert!(check.remedy.unwrap().contains("not granted"));
    let check = LoginState { scope: "default", ..state(&snapshot) }.scope();
    assert!(check.remedy.unwrap().contains("add openid"));
}

#[test]
fn a_login_that_is_needed_soon_is_a_warning() {
    let snapshot = |seconds| Snapshot { login_needed_by: Some(later(seconds)), ..Snapshot::default() };
    assert_eq!(state(&Snapshot::default()).deadline(), None);
    assert_eq!(state(&snapshot(6 * 86_400)).deadline().unwrap().verdict, Verdict::Ok);
    let check = state(&snapshot(3600)).deadline().unwrap();
    assert_eq!(check.verdict, Verdict::Warn);
    assert!(check.found.starts_with("6 days old;"), "{check:?}");
    assert!(check.found.contains("1970-01-01 01:00 UTC (in 1 h)"), "{check:?}");
    let none = Snapshot { expires_at: Some(later(90_000)), ..snapshot(90_000) };
    assert_eq!(state(&none).deadline().unwrap().verdict, Verdict::Warn);
}

#[test]
fn the_token_line_tells_whose_it_is_and_how_tokens_are_issued() {
    let mut snapshot = Snapshot { subject: Some("alice".into()), ..Snapshot::default() };
    assert_eq!(state(&snapshot).token().found, "belongs to alice; effect of a second login: not known yet");
    snapshot.issuance = Some(Issuance::Reuse);
    assert!(state(&snapshot).token().found.ends_with("the same token again (reuse)"));
}
