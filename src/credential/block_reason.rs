//! The reasons that keep a credential from making exchanges, and their remedies.
//!
//! A block lasts for minutes, or until something outside the process changes. The back-off in
//! `schedule` makes the shorter pauses.

use std::time::Duration;

use jiff::SignedDuration;

use super::clock_watch::earlier;
use super::login_guard::LoginDecision;
use crate::store::{ApplicationBlock, StoreError};
use vbc_base::clock::{self, Timestamp};

/// The first pause after a refused application. It doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(5 * 60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// What keeps a credential from making exchanges.
#[derive(Clone, Debug)]
pub(super) enum BlockReason {
    /// The application or the token URL was refused. A changed configuration ends the block
    /// immediately.
    Configuration {
        /// The server's error text.
        message: Box<str>,
        /// When the next exchange is tried.
        until: Timestamp,
    },
    /// The login guard allows no login. A refresh token may still be presented, unless the account
    /// is locked.
    LoginGuard(LoginDecision),
    /// Only an interactive login helps.
    LoginNeeded,
    /// The stored record cannot be read. The text has the reason and the remedy.
    Record(Box<str>),
    /// The record of earlier logins cannot be read, so no login is made. The text has the reason
    /// and the remedy.
    LoginHistory(Box<str>),
}

impl BlockReason {
    /// The stored block, if it still holds for the configuration with this fingerprint.
    ///
    /// A clock that was set back between two runs does not extend the block.
    pub(super) fn of_application(
        block: &ApplicationBlock,
        fingerprint: &str,
        now: Timestamp,
    ) -> Option<Self> {
        let until = block.next_attempt.min(clock::after(now, LONGEST_PAUSE));
        let applies = block.fingerprint == fingerprint && until > now;
        applies.then(|| Self::Configuration { message: block.reason.as_str().into(), until })
    }

    /// The text for operators, and the time until the block ends, if that is known. `name` is the
    /// credential's name.
    pub(super) fn describe(&self, name: &str, now: Timestamp) -> (String, Option<Duration>) {
        let detail = match self {
            Self::Configuration { message, until } => format!(
                "{message}; the proxy tries again at {until:.0}. Correct the credential's configuration and \
                 restart; if it is correct already, run `vbc-proxy unlock {name}`"
            ),
            Self::Record(message) | Self::LoginHistory(message) => message.to_string(),
            Self::LoginNeeded => format!(
                "login needed: the refresh token is missing or no longer valid. Run `vbc-proxy login {name}`"
            ),
            Self::LoginGuard(decision) => describe_decision(*decision, name),
        };
        (detail, self.until().map(|until| clock::until(now, until)))
    }

    pub(super) fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Configuration { until, .. } => Some(*until),
            Self::LoginGuard(decision) => decision.until(),
            Self::LoginNeeded | Self::Record(_) | Self::LoginHistory(_) => None,
        }
    }

    pub(super) fn set_back(&mut self, by: SignedDuration) {
        let until = match self {
            Self::Configuration { until, .. } => Some(until),
            Self::LoginGuard(decision) => decision.until_mut(),
            Self::LoginNeeded | Self::Record(_) | Self::LoginHistory(_) => None,
        };
        if let Some(until) = until {
            *until = earlier(*until, by);
        }
    }
}

fn describe_decision(decision: LoginDecision, name: &str) -> String {
    let unlock = format!("`vbc-proxy unlock {name}`");
    match decision {
        LoginDecision::LockedUntil(until) => format!(
            "the account is locked (17003). The proxy tries the next login at {until:.0}; an earlier login \
             would extend the lock"
        ),
        LoginDecision::SpacedUntil(until) => format!(
            "several logins got no response. To avoid locking the account, the proxy tries the next one at \
             {until:.0}. To try now, run {unlock}"
        ),
        LoginDecision::UnexplainedUntil(until) => format!(
            "VBC rejected the login without a readable reason. To avoid locking the account, the proxy tries once \
             more at {until:.0}. Check token_url, user name and password; after a change, \
             restart. To try now, run {unlock}"
        ),
        LoginDecision::CrowdedUntil(until) => format!(
            "two other passwords of this user were tried recently. To avoid locking the account, the proxy tries \
             the next login at {until:.0}. To try now, run {unlock}"
        ),
        LoginDecision::Exhausted => format!(
            "VBC rejected three passwords of this user within a day. To avoid locking the account, the proxy makes \
             no further login. Correct the password and restart, then run {unlock}"
        ),
        LoginDecision::Refused | LoginDecision::Allowed => format!(
            "VBC rejected the user name or password. To avoid locking the account, the proxy will not try again. \
             Correct the password and restart; if it is correct already, run {unlock}"
        ),
    }
}

/// The block to store for an application that was refused at `now`. `before` is the block stored so
/// far.
pub(super) fn block_application(
    before: Option<&ApplicationBlock>,
    fingerprint: String,
    reason: &str,
    now: Timestamp,
) -> ApplicationBlock {
    let before = before.filter(|before| before.fingerprint == fingerprint);
    let failures = before.map_or(0, |before| before.failures);
    let pause = (FIRST_PAUSE * (1 << failures.min(4))).min(LONGEST_PAUSE);
    ApplicationBlock {
        fingerprint,
        failures: failures.saturating_add(1),
        next_attempt: clock::after(now, pause),
        reason: reason.into(),
    }
}

/// Why the stored record blocks its credential, and the remedy.
pub(super) fn unusable_record(error: &StoreError, name: &str, has_login: bool) -> String {
    let then = if has_login {
        format!("run `vbc-proxy unlock {name}` (the proxy then logs in)")
    } else {
        format!("run `vbc-proxy unlock {name}`, then `vbc-proxy login {name}`")
    };
    let remedy = match error {
        StoreError::NoKey { has_keys: true, .. } => format!(
            "put that key back, in a line below the key that encrypts, and restart; if the key is lost, move the \
             record away, then {then}"
        ),
        StoreError::NoKey { .. } => format!(
            "set store.key_file to the file with that key and restart; if the key is lost, move the record \
             away, then {then}"
        ),
        StoreError::Damaged { .. } | StoreError::Foreign { .. } => {
            format!(
                "the proxy leaves the record unchanged; replace it with a good copy, or move it away, \
                 then {then}"
            )
        }
        _ => "the proxy retries by itself".to_owned(),
    };
    format!("cannot use the stored record: {}; {remedy}", error.describe())
}

/// The finding of `check` about a record that cannot be read. No proxy has started with the record
/// yet.
pub fn record_finding(error: &StoreError, name: &str, has_login: bool) -> String {
    match error {
        StoreError::Damaged { .. } if has_login => format!(
            "{}; when the proxy starts, it moves the record out of the way (nothing is deleted) and logs in",
            error.describe()
        ),
        _ => unusable_record(error, name, has_login),
    }
}

/// Why no login is made while the record of earlier logins cannot be read, and the remedy.
pub fn unusable_login_history(reason: &str, name: &str) -> String {
    format!(
        "cannot use the record of earlier logins ({reason}), so no login was attempted: unrecorded attempts could lock \
         the account; if the account is not locked, run `vbc-proxy unlock {name}`, which moves that record out of the way"
    )
}

/// Why no record can be stored, and the remedy. The doctor splits the text at the first `; `.
pub(super) fn unwritable_store(reason: &str) -> String {
    format!(
        "cannot write to the token store: {reason}; free space or make store.path writable, the proxy then retries by \
         itself"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_application_waits_five_minutes_then_twice_as_long_up_to_an_hour() {
        let mut now = Timestamp::UNIX_EPOCH;
        let mut before = None;
        for minutes in [5, 10, 20, 40, 60, 60] {
            let block = block_application(before.as_ref(), "f".to_owned(), "invalid_client", now);
            assert_eq!(block.next_attempt, clock::after(now, Duration::from_secs(minutes * 60)));
            assert!(BlockReason::of_application(&block, "f", now).is_some());
            assert!(BlockReason::of_application(&block, "other", now).is_none());
            now = block.next_attempt;
            assert!(BlockReason::of_application(&block, "f", now).is_none());
            before = Some(block);
        }
        let other = block_application(before.as_ref(), "other".to_owned(), "", now);
        assert_eq!(other.next_attempt, clock::after(now, FIRST_PAUSE));
    }

    #[test]
    fn each_rule_of_the_brake_has_words_of_its_own_and_names_the_command() {
        let at = Timestamp::UNIX_EPOCH;
        let decisions = [
            LoginDecision::Refused,
            LoginDecision::Exhausted,
            LoginDecision::SpacedUntil(at),
            LoginDecision::UnexplainedUntil(at),
            LoginDecision::CrowdedUntil(at),
        ];
        let texts = decisions.map(|decision| describe_decision(decision, "crm"));
        for (i, text) in texts.iter().enumerate() {
            assert!(text.contains("vbc-proxy unlock crm"), "{text}");
            assert!(!texts[..i].contains(text), "{text}");
        }
    }
}
