//! Why no exchange is made until something outside changes, or for a long time.

use std::time::Duration;

use jiff::SignedDuration;

use super::brake::Permit;
use crate::clock::{self, Timestamp};
use crate::store::ApplicationHold;

/// How soon a refused application is presented again; each time twice as long after, up to an hour.
const APPLICATION_AGAIN: Duration = Duration::from_secs(5 * 60);
const APPLICATION_LATEST: Duration = Duration::from_secs(3600);

/// What holds exchanges back.
#[derive(Clone, Debug)]
pub(super) enum Hold {
    /// The application or the token URL is refused. Another configuration may change that at once.
    Configuration {
        /// What the server said.
        message: Box<str>,
        /// When it is tried again.
        until: Timestamp,
    },
    /// The login is refused, locked or spaced.
    Brake(Permit),
    /// A person has to log in.
    LoginNeeded,
    /// The stored record cannot be read. The text says why, and the way out.
    Record(Box<str>),
    /// No login is made: what is stored of earlier ones cannot be read. The text says why, and the way out.
    Notes(Box<str>),
}

impl Hold {
    /// What to tell people, and when it makes sense to ask again. `name` is the credential's, for commands.
    pub(super) fn describe(&self, name: &str, now: Timestamp) -> (String, Option<Duration>) {
        let detail = match self {
            Self::Configuration { message, until } => format!(
                "{message}; correct the credential's configuration and restart, or, if it is right by now, \
                 run `vbc-proxy unlock {name}`; the next try is at {until:.0}"
            ),
            Self::Record(message) | Self::Notes(message) => message.to_string(),
            Self::LoginNeeded => format!(
                "login needed: the refresh token is missing or no longer good; run `vbc-proxy login {name}`"
            ),
            Self::Brake(permit) => describe(*permit, name),
        };
        (detail, self.until().map(|until| clock::until(now, until)))
    }

    /// When it ends by itself.
    pub(super) fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Configuration { until, .. } => Some(*until),
            Self::Brake(permit) => permit.until(),
            Self::LoginNeeded | Self::Record(_) | Self::Notes(_) => None,
        }
    }

    /// Moves its end along with a clock that was set back.
    pub(super) fn set_back(&mut self, by: SignedDuration) {
        let until = match self {
            Self::Configuration { until, .. } => Some(until),
            Self::Brake(permit) => permit.until_mut(),
            Self::LoginNeeded | Self::Record(_) | Self::Notes(_) => None,
        };
        if let Some(at) = until {
            *at = at.saturating_sub(by).unwrap_or(*at);
        }
    }
}

/// Which rule of the brake holds, and what helps.
fn describe(permit: Permit, name: &str) -> String {
    let unlock = format!("`vbc-proxy unlock {name}`");
    match permit {
        Permit::LockedUntil(until) => format!(
            "the account is locked (17003); the next login is tried at {until:.0}, an earlier one would lock it \
             longer"
        ),
        Permit::SpacedUntil(until) => format!(
            "several logins ended without an answer; the next one is tried at {until:.0}, so as not to lock the \
             account; to try at once, run {unlock}"
        ),
        Permit::UnexplainedUntil(until) => format!(
            "the login was refused without a readable reason; it is tried once more at {until:.0}, so as not to \
             lock the account; check token_url, user name and password; to try at once, run {unlock}"
        ),
        Permit::CrowdedUntil(until) => format!(
            "two other passwords of this user have just been tried; the next login is tried at {until:.0}, so as \
             not to lock the account; to try at once, run {unlock}"
        ),
        Permit::Exhausted => format!(
            "three passwords of this user were refused within a day; no login is tried, so as not to lock the \
             account, until an operator allows it: correct the secret, then run {unlock}"
        ),
        Permit::Refused | Permit::Allowed => format!(
            "user name or password was refused; the proxy does not try it again, because that could lock the \
             account. Correct the secret and restart; if it is correct already, run {unlock}"
        ),
    }
}

/// What is remembered of an application that was refused at `now`, given what was before.
pub(super) fn refused_application(
    before: Option<&ApplicationHold>,
    fingerprint: String,
    reason: &str,
    now: Timestamp,
) -> ApplicationHold {
    let failures =
        before.filter(|before| before.fingerprint == fingerprint).map_or(0, |before| before.failures);
    let pause = (APPLICATION_AGAIN * (1 << failures.min(4))).min(APPLICATION_LATEST);
    ApplicationHold {
        fingerprint,
        failures: failures.saturating_add(1),
        next_attempt: clock::after(now, pause),
        reason: reason.into(),
    }
}

impl From<&ApplicationHold> for Hold {
    fn from(kept: &ApplicationHold) -> Self {
        Self::Configuration { message: kept.reason.as_str().into(), until: kept.next_attempt }
    }
}

/// What still holds of `kept` for the configuration with this fingerprint. A clock that was set back between two lives
/// must not stretch it.
pub(super) fn still_held(kept: &ApplicationHold, fingerprint: &str, now: Timestamp) -> Option<Hold> {
    let until = kept.next_attempt.min(clock::after(now, APPLICATION_LATEST));
    let held = kept.fingerprint == fingerprint && until > now;
    held.then(|| Hold::Configuration { message: kept.reason.as_str().into(), until })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_application_waits_five_minutes_then_twice_as_long_up_to_an_hour() {
        let mut now = Timestamp::UNIX_EPOCH;
        let mut before = None;
        for minutes in [5, 10, 20, 40, 60, 60] {
            let kept = refused_application(before.as_ref(), "f".to_owned(), "invalid_client", now);
            assert_eq!(kept.next_attempt, clock::after(now, Duration::from_secs(minutes * 60)));
            assert!(still_held(&kept, "f", now).is_some());
            assert!(still_held(&kept, "other", now).is_none());
            now = kept.next_attempt;
            assert!(still_held(&kept, "f", now).is_none());
            before = Some(kept);
        }
        let other = refused_application(before.as_ref(), "other".to_owned(), "", now);
        assert_eq!(other.next_attempt, clock::after(now, APPLICATION_AGAIN));
    }

    #[test]
    fn each_rule_of_the_brake_has_words_of_its_own_and_names_the_command() {
        let at = Timestamp::UNIX_EPOCH;
        let permits = [
            Permit::Refused,
            Permit::Exhausted,
            Permit::SpacedUntil(at),
            Permit::UnexplainedUntil(at),
            Permit::CrowdedUntil(at),
        ];
        let texts = permits.map(|permit| describe(permit, "crm"));
        for (i, text) in texts.iter().enumerate() {
            assert!(text.contains("vbc-proxy unlock crm"), "{text}");
            assert!(!texts[..i].contains(text), "{text}");
        }
    }
}
