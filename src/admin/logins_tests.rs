//! The rules of `logins`.

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn secret(text: &str) -> Secret {
    Secret::new(text)
}

fn begin(logins: &Logins, credential: &str, name: &str) {
    let cookie = secret(&format!("cookie {name}"));
    let verifier = Some(secret("verifier"));
    logins.begin(
        NOW,
        credential,
        &secret(name),
        (Initiator::Browser, &cookie),
        "http://x/callback",
        verifier,
    );
}

fn take(logins: &Logins, name: &str, cookie: &str) -> Result<RedeemableLogin, Denial> {
    logins.redeem_by_browser(NOW, &secret(name), &[secret("another"), secret(cookie)])
}

fn denied(outcome: Result<RedeemableLogin, Denial>) -> Denial {
    outcome.err().unwrap()
}

#[test]
fn a_state_works_once_and_in_its_browser_only() {
    let logins = Logins::default();
    begin(&logins, "crm", "s");
    assert_eq!(denied(take(&logins, "unknown", "cookie s")), Denial::Unknown);
    assert_eq!(denied(take(&logins, "s", "cookie x")), Denial::OtherBrowser);
    assert_eq!(denied(logins.redeem_by_browser(NOW, &secret("s"), &[])), Denial::OtherBrowser);
    let taken = take(&logins, "s", "cookie s").unwrap();
    assert_eq!((taken.credential.as_str(), taken.verifier), ("crm", Some(secret("verifier"))));
    assert_eq!(denied(take(&logins, "s", "cookie s")), Denial::Used { well: false });
    let last = LastLogin {
        at: NOW,
        outcome: "logged_in".into(),
        subject: Some("alice".into()),
        detail: String::new(),
    };
    logins.note(&taken.key, "crm", last.clone());
    assert_eq!(denied(take(&logins, "s", "cookie s")), Denial::Used { well: true });
    assert_eq!((logins.last("crm"), logins.last("other")), (Some(last), None));
}

#[test]
fn a_login_ends_after_ten_minutes() {
    let logins = Logins::default();
    begin(&logins, "crm", "s");
    let late = after(NOW, LIFETIME);
    let outcome = logins.redeem_by_browser(late, &secret("s"), &[secret("cookie s")]);
    assert_eq!(denied(outcome), Denial::Expired);
}

#[test]
fn a_second_login_in_the_same_browser_replaces_the_first() {
    let logins = Logins::default();
    begin(&logins, "crm", "first");
    begin(&logins, "crm", "second");
    assert_eq!(denied(take(&logins, "first", "cookie second")), Denial::Replaced);
    assert!(take(&logins, "second", "cookie second").is_ok());
    // A login to another credential does not replace the first login.
    begin(&logins, "other", "third");
    assert_eq!(denied(take(&logins, "first", "cookie third")), Denial::OtherBrowser);
}

#[test]
fn a_credential_has_a_few_open_logins_and_all_together_are_bounded() {
    let logins = Logins::default();
    for name in 0..=PER_CREDENTIAL {
        begin(&logins, "crm", &name.to_string());
    }
    assert_eq!(denied(take(&logins, "0", "cookie 0")), Denial::Replaced);
    assert!(take(&logins, "1", "cookie 1").is_ok());
    for name in 0..2 * TOTAL {
        begin(&logins, &format!("credential {name}"), &format!("state {name}"));
    }
    assert_eq!(logins.inner.lock().logins.len(), TOTAL);
    assert_eq!(denied(take(&logins, "state 0", "cookie state 0")), Denial::Unknown);
    let newest = format!("state {}", 2 * TOTAL - 1);
    assert!(take(&logins, &newest, &format!("cookie {newest}")).is_ok());
}

#[test]
fn the_command_line_has_its_own_number_and_browsers_are_sent_there() {
    let logins = Logins::default();
    let number = secret("number");
    logins.begin(NOW, "crm", &secret("s"), (Initiator::CommandLine, &number), "http://x/callback", None);
    assert_eq!(denied(take(&logins, "s", "number")), Denial::CommandLine);
    let take = |credential, number, state: Option<&str>| {
        let state = state.map(secret);
        logins.redeem_by_command_line(NOW, credential, &secret(number), state.as_ref())
    };
    assert_eq!(denied(take("other", "number", Some("s"))), Denial::Unknown);
    assert_eq!(denied(take("crm", "another", Some("s"))), Denial::Unknown);
    assert_eq!(denied(take("crm", "number", Some("t"))), Denial::OtherLogin);
    assert!(take("crm", "number", Some("s")).is_ok());
    assert_eq!(denied(take("crm", "number", None)), Denial::Used { well: false });
}

#[test]
fn a_confirmation_needs_its_token_and_its_cookie_and_works_once() {
    let logins = Logins::default();
    begin(&logins, "crm", "s");
    let key = take(&logins, "s", "cookie s").unwrap().key;
    logins.wait(NOW, &key, 7, &secret("token"), &secret("confirm"));
    let confirm = |credential, token, cookie, now| {
        logins
            .confirm_by_browser(now, credential, &secret(token), &[secret(cookie)])
            .map(|(_, number)| number)
    };
    assert_eq!(confirm("other", "token", "confirm", NOW), Err(Denial::Unknown));
    assert_eq!(confirm("crm", "guess", "confirm", NOW), Err(Denial::Unknown));
    assert_eq!(confirm("crm", "token", "cookie s", NOW), Err(Denial::OtherBrowser));
    assert_eq!(confirm("crm", "token", "confirm", after(NOW, LIFETIME)), Err(Denial::Expired));
    assert_eq!(confirm("crm", "token", "confirm", NOW), Ok(7));
    assert_eq!(confirm("crm", "token", "confirm", NOW), Err(Denial::Unknown));
}

#[test]
fn the_command_line_confirms_what_it_was_asked_about() {
    let logins = Logins::default();
    let number = secret("number");
    logins.begin(NOW, "crm", &secret("s"), (Initiator::CommandLine, &number), "http://x/callback", None);
    let confirm = |confirmed| logins.confirm_by_command_line(NOW, "crm", &number, confirmed).map(|_| ());
    assert_eq!(confirm(7), Err(Denial::Unknown));
    let key = logins.redeem_by_command_line(NOW, "crm", &number, None).map(|taken| taken.key).ok().unwrap();
    logins.wait(NOW, &key, 7, &secret("token"), &secret("confirm"));
    assert_eq!(confirm(8), Err(Denial::Unknown));
    assert_eq!(confirm(7), Ok(()));
    assert_eq!(confirm(7), Err(Denial::Unknown));
}
