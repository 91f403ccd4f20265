//! Judges the token and the login of a credential. Pure, given the credential's state.

use std::time::Duration;

use jiff::SignedDuration;

use super::error_text;
use super::report::{Check, Verdict};
use super::skew::rounded;
use crate::config::GrantKind;
use crate::credential::{Snapshot, Unavailable};
use crate::store::Issuance;
use vbc_base::clock::{self, Timestamp};

const SSO: &str =
    "A user who signs in through single sign-on (SSO) cannot be used: the service does not support it";

const NOTHING_TO_DO: &str = "nothing is to be done";

/// Code, finding and remedy of a check.
type Diagnosis = (&'static str, String, String);

/// A credential as configured, and its current state.
pub(super) struct LoginState<'a> {
    pub(super) name: &'a str,
    pub(super) grant: GrantKind,
    /// The scope that is requested.
    pub(super) scope: &'a str,
    /// The state after the request for a token.
    pub(super) snapshot: &'a Snapshot,
    /// The assumed lifetime of an unused refresh token.
    pub(super) refresh_lifetime: Duration,
    /// The refreshes that the request for a token took.
    pub(super) refreshes: u64,
    /// The logins that the request for a token took.
    pub(super) logins: u64,
    /// Whether this process ends after the examination. Its end then reports unsaved tokens.
    pub(super) in_command: bool,
    pub(super) now: Timestamp,
}

impl LoginState<'_> {
    /// The scope of the token: that of the response, or else the requested one (RFC 6749 §5.1).
    pub(super) fn granted(&self) -> &str {
        self.snapshot.scope.as_deref().unwrap_or(self.scope)
    }

    pub(super) fn has_openid(&self) -> bool {
        has_openid(self.granted())
    }

    /// The login check if there is a token.
    pub(super) fn logged_in(&self) -> Check {
        let left =
            self.snapshot.expires_at.map(|at| format!(", good for {}", self.span(at))).unwrap_or_default();
        let of_store = self.snapshot.store_trouble.is_some()
            && self.snapshot.trouble == self.snapshot.store_trouble
            && self.snapshot.unsaved;
        if (self.snapshot.brake || self.snapshot.trouble.is_some()) && !of_store {
            // Only the next exchange is affected.
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

    /// The login check if there is no token.
    pub(super) fn not_logged_in(&self, why: &Unavailable) -> Check {
        let until = why.retry_after.map(|wait| clock::after(self.now, wait));
        let (code, found, remedy) = self.refused(&why.detail, until);
        Check::fail("login", code, found, remedy)
    }

    /// The login check if the gateway refuses the token and there is no new one: requests fail now.
    pub(super) fn token_refused(&self, why: &Unavailable) -> Check {
        let mut check = self.not_logged_in(why);
        check.found.insert_str(0, "the gateway refuses the token, and no new one can be had: ");
        check
    }

    /// Why a login is refused or held back: code, finding and remedy.
    fn refused(&self, detail: &str, until: Option<Timestamp>) -> Diagnosis {
        let at = until.map(|at| format!(" until {}", at.strftime("%H:%M:%S UTC"))).unwrap_or_default();
        if let Some(trouble) = &self.snapshot.store_trouble
            && detail.contains(trouble)
        {
            let (found, remedy) = trouble.split_once("; ").unwrap_or((trouble, "see the log of the proxy"));
            return ("token-store", found.to_owned(), remedy.to_owned());
        }
        self.not_needed_or_interactive(detail)
            .or_else(|| self.held_back(detail, &at))
            .unwrap_or_else(|| self.refused_by_server(detail))
    }

    /// A login that waits for somebody, or a refresh that failed.
    fn not_needed_or_interactive(&self, detail: &str) -> Option<Diagnosis> {
        let says = |word: &str| detail.contains(word);
        Some(if self.snapshot.login_needed || says("login needed") {
            let (found, remedy) = match self.grant {
                GrantKind::AuthorizationCode => {
                    ("a person has to log in", format!("{}. {SSO}", self.login_remedy()))
                }
                GrantKind::Password => ("no login is tried", self.login_remedy()),
            };
            let found = format!("{found}: there is no refresh token, or it is no longer good");
            ("login-needed", found, remedy)
        } else if says("refresh token is gone") {
            let found = "the refresh token is no longer good; the proxy logs in when the token ends";
            ("refresh-token-gone", found.to_owned(), NOTHING_TO_DO.to_owned())
        } else if says("tokens of another user") {
            let remedy = format!(
                "look for another program that uses this application and stores its tokens here; {}",
                self.login_remedy()
            );
            ("other-user", detail.to_owned(), remedy)
        } else if says("response to a refresh was lost") {
            ("refresh-response-lost", detail.to_owned(), NOTHING_TO_DO.to_owned())
        } else if says("has not responded yet") {
            let found = "the token host has not answered yet; the exchange goes on";
            ("token-endpoint-slow", found.to_owned(), "look again in a moment".to_owned())
        } else {
            return None;
        })
    }

    /// A login that is held back, so as not to lock the account. `at` tells until when.
    fn held_back(&self, detail: &str, at: &str) -> Option<Diagnosis> {
        let unlock = format!("run `vbc-proxy unlock {}` while the proxy runs", self.name);
        let says = |word: &str| detail.contains(word);
        Some(if says("17003") || says("account is locked") {
            let remedy = format!(
                "do not try before: every attempt locks it longer. Look for other programs that log in as this user \
                 with an old password. If an administrator has unlocked it, {unlock}"
            );
            ("account-locked", format!("the account is locked (17003); no login is tried{at}"), remedy)
        } else if self.snapshot.brake && says("logins got no response") {
            let found = format!(
                "several logins ended without an answer; none is tried{at}, so as not to lock the account"
            );
            let remedy = format!("wait, or if the password is right, run `vbc-proxy unlock {}`", self.name);
            ("login-held", found, remedy)
        } else if says("without a readable reason") {
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
        } else if self.snapshot.brake || says("user name or password") || says("invalid_grant") {
            let found =
                "user name or password was refused; it is not tried again, so as not to lock the account";
            let remedy = format!(
                "correct username and password and restart; if they are correct already, {unlock}. The user must be a \
                 VBC user. {SSO}"
            );
            ("password-refused", found.to_owned(), remedy)
        } else {
            return None;
        })
    }

    /// An exchange that the authorization server refused, or that failed.
    fn refused_by_server(&self, detail: &str) -> Diagnosis {
        let says = |word: &str| detail.contains(word);
        if says("invalid_client") {
            let found = "client id or client secret is wrong (invalid_client)";
            let remedy = "copy Consumer Key and Consumer Secret again from the application's Production Keys in the \
                          developer portal into client_id and client_secret, then restart; a newly generated secret \
                          ends the old one";
            ("client-refused", found.to_owned(), remedy.to_owned())
        } else if says("unauthorized_client") {
            let grant = match self.grant {
                GrantKind::Password => "Password",
                GrantKind::AuthorizationCode => "Code",
            };
            let found = "the application may not use this grant (unauthorized_client)";
            let remedy = format!(
                "tick {grant} and Refresh Token under the application's Production Keys in the developer portal, \
                 press Update, then restart"
            );
            ("grant-not-ticked", found.to_owned(), remedy)
        } else if says("invalid_scope") {
            let found = format!("the service does not grant the scope `{}` (invalid_scope)", self.scope);
            ("scope", found, "write scope = \"openid\" and restart".to_owned())
        } else if says("invalid_request") || says("unsupported_grant_type") {
            let remedy = "is oauth.token_url right? With client_auth = \"basic\", try \"body\"";
            ("request-refused", detail.to_owned(), remedy.to_owned())
        } else {
            let newer = if self.snapshot.usable { "newer " } else { "" };
            let remedy = "nothing is lost: it is tried again by itself. See the token host above; if it stays, is \
                          oauth.token_url right?";
            ("token-endpoint-down", format!("no {newer}token could be had: {detail}"), remedy.to_owned())
        }
    }

    /// The remedy where no login happens by itself.
    fn login_remedy(&self) -> String {
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

    pub(super) fn scope(&self) -> Check {
        let granted = error_text::name(self.granted());
        if self.has_openid() {
            return Check::ok("scope", format!("granted: {granted}"));
        }
        let found = format!(
            "granted: {granted}; openid is not in it, and Reports refuses such a token with a bare 401"
        );
        let remedy = if has_openid(self.scope) {
            "openid was asked for and not granted: ask Vonage to allow it for the application"
        } else {
            "add openid to the credential's scope; the next login gets a token that has it"
        };
        Check::warn("scope", "scope", found, remedy)
    }

    /// The check of the token: its user, and the effect of a second login.
    pub(super) fn token(&self) -> Check {
        let owner = match &self.snapshot.subject {
            Some(subject) => format!("belongs to {}", error_text::name(subject)),
            None => "the service has not said whose it is".to_owned(),
        };
        let issuance = match self.snapshot.issuance {
            Some(Issuance::Reuse) => "the same token again (reuse)",
            Some(Issuance::RenewRevoke) => "a new token, the old one is revoked (renew_revoke)",
            Some(Issuance::RenewKeep) => "a new token, the old one stays valid (renew_keep)",
            None => "not known yet",
        };
        Check::ok("token", format!("{owner}; effect of a second login: {issuance}"))
    }

    /// The check of the refresh token: until when no login is needed.
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
            check.remedy = Some(format!("start the proxy if none runs; else {}", self.login_remedy()));
        }
        Some(check)
    }

    fn span(&self, at: Timestamp) -> String {
        rounded(at.duration_since(self.now))
    }
}

fn has_openid(scope: &str) -> bool {
    scope.split(' ').any(|word| word == "openid")
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
