//! Judges the token and the login of a credential. Pure: it works on a snapshot of the state.

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
    "Users who sign in through single sign-on (SSO) cannot be used, because the service does not support SSO";

const NOTHING_TO_DO: &str = "nothing to do";

/// Code, finding and remedy of a check.
type Diagnosis = (&'static str, String, String);

/// A credential as configured, and its current state.
pub(super) struct LoginState<'a> {
    pub(super) name: &'a str,
    pub(super) grant: GrantKind,
    /// The requested scope.
    pub(super) scope: &'a str,
    /// The state after the request for a token.
    pub(super) snapshot: &'a Snapshot,
    /// The assumed lifetime of an unused refresh token.
    pub(super) refresh_lifetime: Duration,
    /// The number of refreshes that the request for a token caused.
    pub(super) refreshes: u64,
    /// The number of logins that the request for a token caused.
    pub(super) logins: u64,
    /// Whether this process ends after the examination. If so, unsaved tokens are reported at its
    /// end and not by the login check.
    pub(super) in_command: bool,
    pub(super) now: Timestamp,
}

impl LoginState<'_> {
    /// The scope that the response names, or the requested scope if it names none (RFC 6749 §5.1).
    pub(super) fn granted(&self) -> &str {
        self.snapshot.scope.as_deref().unwrap_or(self.scope)
    }

    pub(super) fn has_openid(&self) -> bool {
        has_openid(self.granted())
    }

    /// The login check if there is a token.
    pub(super) fn logged_in(&self) -> Check {
        let left =
            self.snapshot.expires_at.map(|at| format!(", valid for {}", self.span(at))).unwrap_or_default();
        let of_store = self.snapshot.store_trouble.is_some()
            && self.snapshot.trouble == self.snapshot.store_trouble
            && self.snapshot.unsaved;
        if (self.snapshot.brake || self.snapshot.trouble.is_some()) && !of_store {
            // The current token still works: only the next exchange is affected.
            let (code, found, remedy) =
                self.refused(self.snapshot.trouble.as_deref().unwrap_or_default(), None);
            return Check::warn("login", code, format!("there is a token{left}, but {found}"), remedy);
        }
        if self.snapshot.unsaved && !self.in_command {
            let reason =
                self.snapshot.store_trouble.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            return Check::warn(
                "login",
                "unsaved",
                format!("there is a token{left}, but it could not be stored{reason}"),
                "free space or make store.path writable",
            );
        }
        let untried = match self.grant {
            GrantKind::Password => "; the password was not tried",
            GrantKind::AuthorizationCode => "",
        };
        let found = match (self.refreshes, self.logins) {
            (0, 0) => format!("not needed: there is a token{left}{untried}"),
            (_, 0) => format!("not needed: the token was refreshed{left}{untried}"),
            (0, _) => format!("logged in once and got a token{left}"),
            (..) => format!("the refresh token was rejected; logged in once and got a token{left}"),
        };
        Check::ok("login", found)
    }

    /// The login check if there is no token.
    pub(super) fn not_logged_in(&self, why: &Unavailable) -> Check {
        let until = why.retry_after.map(|wait| clock::after(self.now, wait));
        let (code, found, remedy) = self.refused(&why.detail, until);
        Check::fail("login", code, found, remedy)
    }

    /// The login check if the gateway rejects the token and there is no new one, so that requests
    /// fail.
    pub(super) fn token_refused(&self, why: &Unavailable) -> Check {
        let mut check = self.not_logged_in(why);
        check.found.insert_str(0, "the gateway rejects the token, and there is no new one: ");
        check
    }

    /// Why a login was rejected or is not tried: code, finding and remedy.
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

    /// A login that needs a user's action, or a refresh that failed.
    fn not_needed_or_interactive(&self, detail: &str) -> Option<Diagnosis> {
        let says = |word: &str| detail.contains(word);
        Some(if self.snapshot.login_needed || says("login needed") {
            let (found, remedy) = match self.grant {
                GrantKind::AuthorizationCode => {
                    ("an interactive login is needed", format!("{}. {SSO}", self.login_remedy()))
                }
                GrantKind::Password => ("no login is tried", self.login_remedy()),
            };
            let found = format!("{found}: there is no refresh token, or it is no longer valid");
            ("login-needed", found, remedy)
        } else if says("refresh token is gone") {
            let found = "the refresh token is no longer valid; the proxy logs in when the token expires";
            ("refresh-token-gone", found.to_owned(), NOTHING_TO_DO.to_owned())
        } else if says("tokens of another user") {
            let remedy = format!(
                "look for another program that uses this application and this token store; {}",
                self.login_remedy()
            );
            ("other-user", detail.to_owned(), remedy)
        } else if says("response to a refresh was lost") {
            ("refresh-response-lost", detail.to_owned(), NOTHING_TO_DO.to_owned())
        } else if says("has not responded yet") {
            let found = "the token host has not responded yet; the exchange continues";
            ("token-endpoint-slow", found.to_owned(), "run this command again in a moment".to_owned())
        } else {
            return None;
        })
    }

    /// A login that is not tried, to avoid locking the account. `at` is the end of the wait, as
    /// text.
    fn held_back(&self, detail: &str, at: &str) -> Option<Diagnosis> {
        let unlock = format!("run `vbc-proxy unlock {}` while the proxy is running", self.name);
        let says = |word: &str| detail.contains(word);
        Some(if says("17003") || says("account is locked") {
            let remedy = format!(
                "do not log in before then: every attempt extends the lock. Look for other programs that log in as \
                 this user with an old password. If an administrator has unlocked the account, {unlock}"
            );
            ("account-locked", format!("the account is locked (17003); no login is tried{at}"), remedy)
        } else if self.snapshot.brake && says("logins got no response") {
            let found =
                format!("several logins got no response; to avoid locking the account, none is tried{at}");
            let remedy =
                format!("wait, or, if the password is correct, run `vbc-proxy unlock {}`", self.name);
            ("login-held", found, remedy)
        } else if says("without a readable reason") {
            let found = format!(
                "the login was rejected without a readable reason; to avoid locking the account, none is tried{at}"
            );
            let remedy = format!(
                "check oauth.token_url, username and password; after a change, restart; to try immediately, {unlock}. {SSO}"
            );
            ("login-unexplained", found, remedy)
        } else if says("two other passwords") {
            let found = format!(
                "two other passwords of this user were tried recently; to avoid locking the account, no login is \
                 tried{at}"
            );
            ("login-held", found, format!("wait, or, if the password is correct, {unlock}"))
        } else if says("three passwords") {
            let found = "three passwords of this user were rejected within a day; to avoid locking the account, no \
                         login is tried";
            ("login-held", found.to_owned(), format!("correct the password and restart, then {unlock}"))
        } else if self.snapshot.brake || says("rejected the user name or password") || says("invalid_grant") {
            let found = "VBC rejected the user name or password; to avoid locking the account, the proxy will not try \
                         again";
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
            let found = "the client id or client secret is wrong (invalid_client)";
            let remedy = "copy Consumer Key and Consumer Secret again from the application's Production Keys in the \
                          developer portal into client_id and client_secret, then restart; a newly generated secret \
                          invalidates the old one";
            ("client-refused", found.to_owned(), remedy.to_owned())
        } else if says("unauthorized_client") {
            let grant = match self.grant {
                GrantKind::Password => "Password",
                GrantKind::AuthorizationCode => "Code",
            };
            let found = "the application is not allowed to use this grant (unauthorized_client)";
            let remedy = format!(
                "tick {grant} and Refresh Token under the application's Production Keys in the developer portal, \
                 press Update, then restart"
            );
            ("grant-not-ticked", found.to_owned(), remedy)
        } else if says("invalid_scope") {
            let found = format!("the service does not grant the scope `{}` (invalid_scope)", self.scope);
            ("scope", found, "write scope = \"openid\" and restart".to_owned())
        } else if says("invalid_request") || says("unsupported_grant_type") {
            let remedy = "check oauth.token_url; with client_auth = \"basic\", try \"body\"";
            ("request-refused", detail.to_owned(), remedy.to_owned())
        } else if says("check token_url") {
            let remedy = "correct oauth.token_url, then restart";
            ("token-endpoint-down", detail.to_owned(), remedy.to_owned())
        } else {
            let newer = if self.snapshot.usable { "newer " } else { "" };
            let remedy = "wait: the proxy retries automatically, and nothing is lost. See the token host above; if the \
                          problem persists, check oauth.token_url";
            ("token-endpoint-down", format!("could not get a {newer}token: {detail}"), remedy.to_owned())
        }
    }

    /// The remedy if no login happens automatically.
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
        let found =
            format!("granted: {granted}, without openid; Reports rejects such tokens with a bare 401");
        let remedy = if has_openid(self.scope) {
            "ask Vonage to allow openid for the application: it was requested but not granted"
        } else {
            "add openid to the credential's scope; the next login gets a token that has it"
        };
        Check::warn("scope", "scope", found, remedy)
    }

    /// The check of the token: its user, and the effect of a second login.
    pub(super) fn token(&self) -> Check {
        let owner = match &self.snapshot.subject {
            Some(subject) => format!("belongs to {}", error_text::name(subject)),
            None => "the service has not named the token's user".to_owned(),
        };
        let issuance = match self.snapshot.issuance {
            Some(Issuance::Reuse) => "the same token again (reuse)",
            Some(Issuance::RenewRevoke) => "a new token, the old one is revoked (renew_revoke)",
            Some(Issuance::RenewKeep) => "a new token, the old one stays valid (renew_keep)",
            None => "not known yet",
        };
        Check::ok("token", format!("{owner}; effect of a second login: {issuance}"))
    }

    /// The check of the refresh token: how long no login is needed.
    pub(super) fn deadline(&self) -> Option<Check> {
        let by = self.snapshot.login_needed_by?;
        let needed = match self.grant {
            GrantKind::AuthorizationCode => "an interactive login is needed",
            GrantKind::Password => "the login (currently rejected) must succeed",
        };
        let at = format!("{} (in {})", by.strftime("%Y-%m-%d %H:%M UTC"), self.span(by));
        let mut check = if self.snapshot.expires_at == Some(by) {
            Check::ok("refresh token", format!("missing; {needed} by {at}"))
        } else {
            let since = self.refresh_lifetime.saturating_sub(clock::until(self.now, by));
            let age = rounded(SignedDuration::try_from(since).unwrap_or_default());
            Check::ok("refresh token", format!("{age} old; unless a proxy renews it, {needed} by {at}"))
        };
        if clock::until(self.now, by).as_secs() < 86_400 || self.snapshot.expires_at == Some(by) {
            check.verdict = Verdict::Warn;
            check.code = Some("login-needed-soon".into());
            check.remedy = Some(format!("start the proxy if it is not running, or {}", self.login_remedy()));
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
