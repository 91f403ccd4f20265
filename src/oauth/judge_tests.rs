use super::*;

#[test]
fn only_a_statement_about_the_present_account_is_a_lock() {
    for words in [
        "account is locked",
        "Account is LOCKED.",
        "User account is locked",
        "Authentication failed: the user account is locked",
        "Your account has been locked for 30 minutes",
        "[user] is locked",
        "PRIMARY/[user]@carbon.super is locked",
        "User account locked",
        "The account is temporarily locked due to many attempts.",
    ] {
        assert!(says_locked(words), "{words}");
    }
    for words in [
        "",
        "locked",
        "the account will be locked after 2 more attempts",
        "account will be locked",
        "account is locked after 2 more attempts",
        "1 attempt left before the account is locked",
        "If your account is locked, ask your administrator",
        "the database is locked",
        "user store is locked",
        "the account is not locked",
        "the account is unlocked",
        "the request was blocked",
        "user locked not found",
        "Authentication failed for [user]",
        "the client is locked",
    ] {
        assert!(!says_locked(words), "{words}");
    }
}

#[test]
fn the_code_of_a_lock_stands_alone() {
    assert!(has_word("17003:MaxAttemptsExceeded", "17003"));
    assert!(!has_word("code 170030", "17003"));
}
