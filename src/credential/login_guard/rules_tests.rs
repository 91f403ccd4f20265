//! When a login may be tried again.

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn secret(fingerprint: &str) -> [String; 1] {
    [fingerprint.to_owned()]
}

fn later(minutes: u64) -> Timestamp {
    clock::after(NOW, Duration::from_secs(minutes * 60))
}

#[test]
fn a_refused_secret_is_never_tried_again_but_a_changed_one_is() {
    let mut record = LoginHistory::default();
    begin(&mut record, &secret("old"), NOW);
    refused(&mut record, &secret("old"), NOW);
    assert_eq!(decide(&record, &secret("old"), later(100_000)), LoginDecision::Refused);
    assert_eq!(decide(&record, &secret("new"), NOW), LoginDecision::Allowed);
}

#[test]
fn a_locked_account_is_left_alone_for_35_minutes_then_tried_once() {
    let mut record = LoginHistory::default();
    begin(&mut record, &secret("s"), NOW);
    locked(&mut record, &secret("s"), NOW);
    assert_eq!(decide(&record, &secret("s"), later(34)), LoginDecision::LockedUntil(later(35)));
    assert_eq!(decide(&record, &secret("s"), later(35)), LoginDecision::Allowed);
    begin(&mut record, &secret("s"), later(35));
    locked(&mut record, &secret("s"), later(35));
    assert_eq!(decide(&record, &secret("s"), later(36)), LoginDecision::LockedUntil(later(70)));
}

#[test]
fn a_changed_secret_has_one_try_in_a_lock_and_frees_no_other() {
    let mut record = LoginHistory::default();
    begin(&mut record, &secret("old"), NOW);
    locked(&mut record, &secret("old"), NOW);
    assert_eq!(decide(&record, &secret("new"), later(20)), LoginDecision::Allowed);
    begin(&mut record, &secret("new"), later(20));
    assert_eq!(decide(&record, &secret("old"), later(20)), LoginDecision::LockedUntil(later(35)));
    locked(&mut record, &secret("new"), later(20));
    for fingerprint in ["old", "new"] {
        assert_eq!(decide(&record, &secret(fingerprint), later(54)), LoginDecision::LockedUntil(later(55)));
    }
    assert_eq!(decide(&record, &secret("new"), later(55)), LoginDecision::Allowed);
    // A login with the right secret ends the lock.
    begin(&mut record, &secret("new"), later(55));
    succeeded(&mut record, &secret("new"));
    assert_eq!(decide(&record, &secret("new"), later(56)), LoginDecision::Allowed);
}

#[test]
fn attempts_without_an_answer_are_spaced_from_the_third_on() {
    let mut record = LoginHistory::default();
    for _ in 0..2 {
        begin(&mut record, &secret("s"), NOW);
        assert_eq!(decide(&record, &secret("s"), NOW), LoginDecision::Allowed);
    }
    begin(&mut record, &secret("s"), NOW);
    assert_eq!(decide(&record, &secret("s"), NOW), LoginDecision::SpacedUntil(later(5)));
    begin(&mut record, &secret("s"), later(5));
    assert_eq!(decide(&record, &secret("s"), later(5)), LoginDecision::SpacedUntil(later(15)));
}

#[test]
fn a_proven_secret_is_not_spaced() {
    let mut record = LoginHistory::default();
    begin(&mut record, &secret("s"), NOW);
    succeeded(&mut record, &secret("s"));
    for _ in 0..20 {
        begin(&mut record, &secret("s"), NOW);
    }
    assert_eq!(decide(&record, &secret("s"), NOW), LoginDecision::Allowed);
}

#[test]
fn an_attempt_that_was_not_judged_does_not_count() {
    let mut record = LoginHistory::default();
    for _ in 0..20 {
        begin(&mut record, &secret("s"), NOW);
        not_judged(&mut record);
    }
    assert_eq!(decide(&record, &secret("s"), NOW), LoginDecision::Allowed);
}

#[test]
fn an_unexplained_refusal_is_followed_by_one_more_try_after_35_minutes() {
    let mut record = LoginHistory::default();
    begin(&mut record, &secret("s"), NOW);
    unexplained(&mut record, &secret("s"), NOW);
    assert_eq!(decide(&record, &secret("s"), later(34)), LoginDecision::UnexplainedUntil(later(35)));
    assert_eq!(decide(&record, &secret("s"), later(35)), LoginDecision::Allowed);
    begin(&mut record, &secret("s"), later(35));
    unexplained(&mut record, &secret("s"), later(35));
    assert_eq!(decide(&record, &secret("s"), later(100_000)), LoginDecision::Refused);
}

#[test]
fn a_secret_that_worked_before_has_the_same_two_tries() {
    let mut record = LoginHistory::default();
    begin(&mut record, &secret("s"), NOW);
    succeeded(&mut record, &secret("s"));
    for minutes in [1000, 1035] {
        assert_eq!(decide(&record, &secret("s"), later(minutes)), LoginDecision::Allowed);
        begin(&mut record, &secret("s"), later(minutes));
        unexplained(&mut record, &secret("s"), later(minutes));
    }
    assert_eq!(decide(&record, &secret("s"), later(9999)), LoginDecision::Refused);
}

#[test]
fn two_untested_secrets_are_tried_in_35_minutes_whatever_came_of_them() {
    type Outcome = fn(&mut LoginHistory, &[String], Timestamp);
    let outcomes: [Outcome; 5] = [
        |_, _, _| {},
        |record, _, _| not_judged(record),
        |record, secret, now| refused(record, secret, now),
        unexplained,
        |record, secret, now| locked(record, secret, now),
    ];
    for outcome in outcomes {
        let mut record = LoginHistory::default();
        for (name, at) in [("a", 0), ("b", 10)] {
            assert_eq!(decide(&record, &secret(name), later(at)), LoginDecision::Allowed);
            begin(&mut record, &secret(name), later(at));
            outcome(&mut record, &secret(name), later(at));
        }
        assert_eq!(decide(&record, &secret("c"), later(34)), LoginDecision::CrowdedUntil(later(35)));
        assert_eq!(decide(&record, &secret("c"), later(35)), LoginDecision::Allowed);
    }
}

#[test]
fn a_secret_that_works_makes_room_for_itself_and_is_never_crowded_out() {
    let mut record = LoginHistory::default();
    begin(&mut record, &secret("right"), NOW);
    succeeded(&mut record, &secret("right"));
    for name in ["a", "b"] {
        begin(&mut record, &secret(name), NOW);
    }
    assert_eq!(decide(&record, &secret("right"), NOW), LoginDecision::Allowed);
    assert_eq!(decide(&record, &secret("c"), NOW), LoginDecision::CrowdedUntil(later(35)));
}

#[test]
fn after_three_refusals_in_a_day_only_an_operator_helps() {
    let mut record = LoginHistory::default();
    for (name, at) in [("a", 0), ("b", 600), ("c", 1200)] {
        assert_eq!(decide(&record, &secret(name), later(at)), LoginDecision::Allowed, "{name}");
        begin(&mut record, &secret(name), later(at));
        refused(&mut record, &secret(name), later(at));
    }
    assert_eq!(decide(&record, &secret("d"), later(100_000)), LoginDecision::Exhausted);
    // Three refusals over more than a day are allowed.
    let mut record = LoginHistory::default();
    for (name, at) in [("a", 0), ("b", 600), ("c", 1441)] {
        begin(&mut record, &secret(name), later(at));
        refused(&mut record, &secret(name), later(at));
    }
    assert_eq!(decide(&record, &secret("d"), later(1500)), LoginDecision::Allowed);
}
