//! What is known of the token and of the login it takes. Pure, given the credential's state.

use std::borrow::Cow;
use std::time::Duration;

use jiff::SignedDuration;

use crate::clock::{self, Timestamp};
use crate::config::GrantKind;
use crate::credential::{Snapshot, Unavailable};
use crate::store::Issuance;

use super::report::{Check, Verdict};
use super::skew::rounded;

const SSO: &str =
    "A user who signs in through single sign-on (SSO) cannot be used: the service does not support it";

/// A credential, as the operator configured it and as it is now.
pub(super) struct State<'a> {
    pub(super) name: &'a str,
    pub(super) grant: GrantKind,
    /// The scope that is asked for.
    pub(super) scope: &'a str,
    /// After the question for a token.
    pub(super) snapshot: &'a Snapshot,
    /// How long a refresh token that is not used is taken to live.
    pub(super) refresh_lifetime: Duration,
    /// What the question took: refresh tokens presented, and logins.
    pub(super) refreshes: u64,
    pub(super) logins: u64,
    /// Whether this process ends after the examination; then whoever ends it says whether all is stored.
    pub(super) in_command: bool,
    pub(super) now: Timestamp,
}

impl State<'_> {
    /// The scope that the token has: what the server said, or else what was asked for (RFC 6749 §5.1).
    pub(super) fn granted(&self) -> &str {
        self.snapshot.scope.as_deref().unwrap_or(self.scope)
    }

    /// Whether `openid` is in it.
    pub(super) fn has_openid(&self) -> bool {
        self.granted().split(' ').any(|word| word == "openid")
    }

    /// There is a token.
    pub(super) fn logged_in(&self) -> Check {
        let left =
            self.snapshot.expires_at.map(|at| format!(", good for {}", self.span(at))).unwrap_or_default();
        let of_store = self.snapshot.store_trouble.is_some()
            && self.snapshot.trouble == self.snapshot.store_trouble
            && self.snapshot.unsaved;
        if (self.snapshot.brake || self.snapshot.trouble.is_some()) && !of_store {
            // Only the next exchange is in danger.
            let (code, found, remedy) =
                self.refused(self.snapshot.trouble.as_deref().unwrap_or_default(), None);
            return Check::warn("login", code, format!("a token is there{left}; but {found}"), remedy);
        }
        if self.snapshot.unsaved && !self.in_command {
            let reason =
                self.snapshot.store_trouble.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            return Check::warn(
                "login",
                "unsaved",
                format!("a token is there{left}, but could not be stored{reason}"),
                "free space or make store.path writable",
            );
        }
        let found = match (self.refreshes, self.logins) {
            (0, 0) => format!("not needed: a token is there{left}"),
            (_, 0) => format!("not needed: the refresh token gave a token{left}"),
            (0, _) => format!("logged in, once: a token came{left}"),
            (..) => format!("the refresh token is no longer good; logged in, once: a token came{left}"),
        };
        Check::ok("login", found)
    }

    /// There is none.
    pub(super) fn not_logged_in(&self, why: &Unavailable) -> Check {
        let until = why.retry_after.map(|wait| clock::after(self.now, wait));
        let (code, found, remedy) = self.refused(&why.detail, until);
        Check::fail("login", code, found, remedy)
    }

    /// There is one, the gateway refuses it, and no new one can be had: requests fail now.
    pub(super) fn token_refused(&self, why: &Unavailable) -> Check {
        let until = why.retry_after.map(|wait| clock::after(self.now, wait));
        let (code, found, remedy) = self.refused(&why.detail, until);
        let found = format!("the gateway refuses the token, and no new one can be had: {found}");
        Check::fail("login", code, found, remedy)
    }

    /// Why a login is refused, or held back: a fixed word, what was found, what to do.
    fn refused(&self, detail: &str, until: Option<Timestamp>) -> (&'static str, String, String) {
        let name = self.name;
        let says = |word: &str| detail.contains(word);
        let at = until.map(|at| format!(" until {}", at.strftime("%H:%M:%S UTC"))).unwrap_or_default();
        if let Some(trouble) = &self.snapshot.store_trouble
            && detail.contains(trouble)
        {
            let (found, remedy) = trouble.split_once("; ").unwrap_or((trouble, "see the log of the proxy"));
            return ("token-store", found.to_owned(), remedy.to_owned());
        }
        if self.snapshot.login_needed || says("login needed") {
            let (found, remedy) = match self.grant {
                GrantKind::AuthorizationCode => {
                    ("a person has to log in", format!("{}. {SSO}", self.way_in()))
                }
                GrantKind::Password => ("no login is tried", self.way_in()),
            };
            let found = format!("{found}: there is no refresh token, or it is no longer good");
            return ("login-needed", found, remedy);
        }
        if says("refresh token is gone") {
            let found =
                "the refresh token is no longer good; the proxy logs in when the token ends".to_owned();
            return ("refresh-token-gone", found, "nothing is to be done".to_owned());
        }
        if says("tokens of another user") {
            let remedy = format!(
                "look for another program that uses this application and stores its tokens here; {}",
                self.way_in()
            );
            return ("other-user", detail.to_owned(), remedy);
        }
        if says("response to a refresh was lost") {
            return ("refresh-response-lost", detail.to_owned(), "nothing is to be done".to_owned());
        }
        if says("has not answered yet") {
            let found = "the token host has not answered yet; the exchange goes on".to_owned();
            return ("token-endpoint-slow", found, "look again in a moment".to_owned());
        }
        if says("17003") || says("account is locked") {
            let remedy = format!(
                "do not try before: every attempt locks it longer. Look for other programs that log in as this user \
                 with an old password. If an administrator has unlocked it, run `vbc-proxy unlock {name}` \
                 while the proxy runs"
            );
            return (
                "account-locked",
                format!("the account is locked (17003); no login is tried{at}"),
                remedy,
            );
        }
        if self.snapshot.brake && says("without an answer") {
            let remedy = format!("wait, or if the password is right, run `vbc-proxy unlock {name}`");
            let found = format!(
                "several logins ended without an answer; none is tried{at}, so as not to lock the account"
            );
            return ("login-held", found, remedy);
        }
        if let Some(held) = self.held_back(detail, &at) {
            return held;
        }
        if self.snapshot.brake || says("password was refused") || says("invalid_grant") {
            let found =
                "user name or password was refused; it is not tried again, so as not to lock the account";
            let remedy = format!(
                "correct username and password and restart; if they are correct already, run `vbc-proxy unlock {name}` \
                 while the proxy runs. The user must be a VBC user. {SSO}"
            );
            return ("password-refused", found.to_owned(), remedy);
        }
        let (code, found, remedy): (_, Cow<'_, str>, Cow<'_, str>) = if says("invalid_client") {
            let remedy = "copy Consumer Key and Consumer Secret again from the application's Production Keys in the \
                          developer portal into client_id and client_secret, then restart; a newly generated secret \
                          ends the old one";
            ("client-refused", "client id or client secret is wrong (invalid_client)".into(), remedy.into())
        } else if says("unauthorized_client") {
            let grant = match self.grant {
                GrantKind::Password => "Password",
                GrantKind::AuthorizationCode => "Code",
            };
            let remedy = format!(
                "tick {grant} and Refresh Token under the application's Production Keys in the developer portal, \
                 press Update, then restart"
            );
            (
                "grant-not-ticked",
                "the application may not use this grant (unauthorized_client)".into(),
                remedy.into(),
            )
        } else if says("invalid_scope") {
            let found = format!("the service does not grant the scope `{}` (invalid_scope)", self.scope);
            ("scope", found.into(), "write scope = \"openid\" and restart".into())
        } else if says("invalid_request") || says("unsupported_grant_type") {
            let remedy = "is oauth.token_url right? With client_auth = \"basic\", try \"body\"";
            ("request-refused", detail.into(), remedy.into())
        } else {
            let remedy = "nothing is lost: it is tried again by itself. See the token host above; if it stays, is \
                          oauth.token_url right?";
            let newer = if self.snapshot.usable { "newer " } else { "" };
            ("token-endpoint-down", format!("no {newer}token could be had: {detail}").into(), remedy.into())
        };
        (code, found.into_owned(), remedy.into_owned())
    }

    /// A login that is held back for another reason than a refused password.
    fn held_back(&self, detail: &str, at: &str) -> Option<(&'static str, String, String)> {
        let unlock = format!("run `vbc-proxy unlock {}` while the proxy runs", self.name);
        let says = |word: &str| detail.contains(word);
        Some(if says("without a readable reason") {
            let found = format!(
                "the login was refused without a readable reason; none is tried{at}, so as not to lock the account"
            );
            let remedy =
                format!("check oauth.token_url, username and password; to try at once, {unlock}. {SSO}");
            ("login-unexplained", found, remedy)
        } else if says("two other passwords") {
            let found = format!(
                "two other passwords of this user have just been tried; no login is tried{at}, so as not to lock the \
                 account"
            );
            ("login-held", found, format!("wait; if the password is right, {unlock}"))
        } else if says("three passwords") {
            let found = "three passwords of this user were refused within a day; no login is tried, so as not to lock \
                         the account";
            ("login-held", found.to_owned(), format!("correct the password, then {unlock}"))
        } else {
            return None;
        })
    }

    /// What brings a login, where none comes by itself.
    fn way_in(&self) -> String {
        let name = self.name;
        match self.grant {
            GrantKind::AuthorizationCode => format!("run `vbc-proxy login {name}`"),
            GrantKind::Password => {
                format!(
                    "correct the password and restart; if it is correct already, run `vbc-proxy unlock {name}`"
                )
            }
        }
    }

    /// What was granted.
    pub(super) fn scope(&self) -> Check {
        let granted = self.granted();
        let shown = super::words::name(granted);
        match self.has_openid() {
            true => Check::ok("scope", format!("granted: {shown}")),
            false => Check::warn(
                "scope",
                "scope",
                format!(
                    "granted: {shown}; openid is not in it, and Reports refuses such a token with a bare 401"
                ),
                match self.scope.split(' ').any(|word| word == "openid") {
                    true => {
                        "openid was asked for and not granted: ask Vonage to allow it for the application"
                    }
                    false => "add openid to the credential's scope; the next login gets a token that has it",
                },
            ),
        }
    }

    /// Whose it is, and how the next one comes.
    pub(super) fn token(&self) -> Check {
        let whose = self
            .snapshot
            .subject
            .as_deref()
            .map_or("the service has not said whose it is".to_owned(), |subject| {
                format!("belongs to {}", super::words::name(subject))
            });
        let issuance = match self.snapshot.issuance {
            Some(Issuance::Reuse) => "the same token again (reuse)",
            Some(Issuance::RenewRevoke) => "a new token, the old one is revoked (renew_revoke)",
            Some(Issuance::RenewKeep) => "a new token, the old one stays valid (renew_keep)",
            None => "not known yet",
        };
        Check::ok("token", format!("{whose}; effect of a second login: {issuance}"))
    }

    /// How long it goes on without a person.
    pub(super) fn deadline(&self) -> Option<Check> {
        let by = self.snapshot.login_needed_by?;
        let needed = match self.grant {
            GrantKind::AuthorizationCode => "a person has to log in",
            GrantKind::Password => "the login, which is refused now, has to work",
        };
        let at = format!("{} (in {})", by.strftime("%Y-%m-%d %H:%M UTC"), self.span(by));
        let mut check = if self.snapshot.expires_at == Some(by) {
            Check::ok("refresh token", format!("none is left; {needed} by {at}"))
        } else {
            let since = self.refresh_lifetime.saturating_sub(clock::until(self.now, by));
            let age = rounded(SignedDuration::try_from(since).unwrap_or_default());
            Check::ok("refresh token", format!("{age} old; if no proxy renews it, {needed} by {at}"))
        };
        if clock::until(self.now, by).as_secs() < 86_400 || self.snapshot.expires_at == Some(by) {
            check.verdict = Verdict::Warn;
            check.code = Some("login-needed-soon".into());
            check.remedy = Some(format!("start the proxy if none runs; else {}", self.way_in()));
        }
        Some(check)
    }

    fn span(&self, at: Timestamp) -> String {
        rounded(at.duration_since(self.now))
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
