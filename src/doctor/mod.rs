//! Finds the problems of a credential, each with its remedy.
//!
//! [`Doctor::examine`] contacts the token host and the upstream, gets a token from the credential,
//! and sends each suite one harmless request with it. It runs in the process that has the token: in
//! the proxy or, if none is running, in the command. The [`Report`] contains no secret. Pure
//! functions judge the results: `judge` (the response of a suite), `host` (an unreachable or wrong
//! host), `skew` (clocks), `token` (logins), `findings` (the configuration).

mod error_text;
mod findings;
mod host;
mod judge;
mod quota;
mod render;
mod report;
mod skew;
mod suite;
mod token;

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::config::{Config, GrantKind};
use crate::credential::rejected_prefixes::Kind;
use crate::credential::{Bearer, Credential, Snapshot};
use host::{Host, Site};
use token::LoginState;
use vbc_base::clock::{self, Clock};

pub use findings::{accepted, beside_a_running_proxy, refused};
use judge::TOKEN_REFUSED;
pub use judge::{Judgement, PresentedToken, judge};
pub use render::{Style, render};
pub use report::{Check, Quota, Report, Verdict};
pub use suite::{Suite, UnknownSuite};

/// Why no suite is checked. The login check has the cause.
const NO_TOKEN: &str = "there is no usable token";

/// Examines the credentials of one configuration.
#[derive(Clone)]
pub struct Doctor {
    token_host: Host,
    upstream: Host,
    clock: Clock,
    identities: Arc<[Identity]>,
    process: Process,
}

/// The process that runs an examination.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Process {
    /// A proxy, which continues to run.
    Proxy,
    /// A command, which ends after the examination.
    Command {
        /// Whether new tokens outlive the command.
        keeps_tokens: bool,
    },
}

struct Identity {
    credential: Credential,
    grant: GrantKind,
    username: Option<Arc<str>>,
    scope: Arc<str>,
    refresh_lifetime: Duration,
    /// Age limits by path prefix, the longest prefix first.
    max_age: Vec<(String, Duration)>,
}

impl Doctor {
    /// A doctor in a proxy, for the credentials of `config`. `credentials` has the same order as
    /// the configuration. In a command, also call [`in_command`](Self::in_command).
    pub fn new(
        config: &Config,
        token_tls: Arc<ClientConfig>,
        upstream_tls: Arc<ClientConfig>,
        credentials: &[Credential],
        clock: Clock,
    ) -> Self {
        let identities = credentials.iter().zip(&config.credentials);
        let identities = identities.map(|(credential, configured)| Identity {
            credential: credential.clone(),
            grant: configured.grant,
            username: configured.username.clone(),
            scope: Arc::clone(&configured.scope),
            refresh_lifetime: configured.refresh_token_lifetime,
            max_age: configured.max_age.clone(),
        });
        Self {
            token_host: Host::token_endpoint(config, token_tls),
            upstream: Host::upstream(config, upstream_tls),
            clock,
            identities: identities.collect(),
            process: Process::Proxy,
        }
    }

    /// Adapts the doctor to a command, which ends after the examination. `keeps_tokens` says
    /// whether new tokens outlive the command.
    #[must_use]
    pub fn in_command(self, keeps_tokens: bool) -> Self {
        Self { process: Process::Command { keeps_tokens }, ..self }
    }

    /// Examines the credential of this name with these suites. `None` if there is no such
    /// credential.
    ///
    /// The token comes from [`Credential::bearer`], which makes no exchange while a token is
    /// usable. The suites are checked one after the other, until a quota that they share is used
    /// up.
    pub async fn examine(&self, name: &str, suites: &[Suite]) -> Option<Report> {
        let identity = self.identities.iter().find(|identity| identity.credential.name() == name)?;
        let (token_host, upstream) = tokio::join!(
            self.token_host.examine(&self.clock, host::token_host),
            self.upstream.examine(&self.clock, host::gateway),
        );
        let mut checks = vec![identity.login_name()];
        let clocks = [("token host", token_host.ahead), ("upstream", upstream.ahead)];
        let clocks: Vec<_> = clocks.into_iter().filter_map(|(whose, ahead)| Some((whose, ahead?))).collect();
        checks.push(token_host.check);
        checks.push(skew::check("clock", &clocks));
        let (mut bearer, openid) = self.ask_for_token(identity, token_host.reached, &mut checks).await;
        checks.push(upstream.check);
        let mut why_not = match &bearer {
            None => Some(NO_TOKEN),
            Some(_) if !upstream.reached => Some("the upstream cannot be reached"),
            Some(_) => None,
        };
        let mut round = Round::default();
        for suite in suites {
            if let (Some(bearer), None) = (&mut bearer, why_not) {
                self.ask_suite(*suite, identity, bearer, openid, &mut round).await;
            }
            if let Some(check) = round.no_new_token.take() {
                why_not = Some(NO_TOKEN);
                replace_login(&mut checks, check);
            }
            if let Some(why) = why_not {
                round.checks.push(Check::skipped(suite.name(), why));
            }
        }
        Some(Report {
            credential: name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: self.clock.now(),
            checks,
            quota: quota::check(round.quota.as_ref(), round.requests),
            suites: round.checks,
        })
    }

    /// Gets the token, and adds the login checks. Also returns whether `openid` is in the token's
    /// scope: `true` without a token.
    async fn ask_for_token(
        &self,
        identity: &Identity,
        reached: bool,
        checks: &mut Vec<Check>,
    ) -> (Option<Bearer>, bool) {
        let credential = &identity.credential;
        let refreshes = exchanges(credential, "refresh_token");
        let logins = exchanges(credential, "password");
        let lives = credential.snapshot().expires_at.is_some_and(|at| at > self.clock.now());
        if !reached && !lives {
            checks.push(Check::skipped(
                "login",
                "not tried: the token host cannot be reached, and there is no valid token",
            ));
            return (None, true);
        }
        if !lives && self.process == (Process::Command { keeps_tokens: false }) {
            checks.push(Check::skipped(
                "login",
                "not tried: with store.kind = \"memory\" the token would be lost when this command ends; start the \
                 proxy, then run doctor",
            ));
            return (None, true);
        }
        let mut outcome = credential.bearer().await;
        // A token that the gateway rejects is replaced, as for any request.
        let refused = match &outcome {
            Ok(bearer) if credential.snapshot().distrusted => Some(bearer.clone()),
            _ => None,
        };
        if let Some(refused) = &refused {
            outcome = credential.replace(refused, Kind::Token).await.map(|replacement| replacement.bearer);
        }
        let snapshot = credential.snapshot();
        let state = LoginState {
            refreshes: exchanges(credential, "refresh_token").saturating_sub(refreshes),
            logins: exchanges(credential, "password").saturating_sub(logins),
            ..self.state(identity, &snapshot)
        };
        match outcome {
            Err(why) if refused.is_some() => {
                checks.push(state.token_refused(&why));
                (None, true)
            }
            Ok(bearer) => {
                checks.extend([state.logged_in(), state.scope(), state.token()]);
                checks.extend(state.deadline());
                (Some(bearer), state.has_openid())
            }
            Err(why) => {
                checks.push(state.not_logged_in(&why));
                (None, true)
            }
        }
    }

    fn state<'a>(&self, identity: &'a Identity, snapshot: &'a Snapshot) -> LoginState<'a> {
        LoginState {
            name: identity.credential.name(),
            grant: identity.grant,
            scope: &identity.scope,
            refresh_lifetime: identity.refresh_lifetime,
            snapshot,
            refreshes: 0,
            logins: 0,
            in_command: self.process != Process::Proxy,
            now: self.clock.now(),
        }
    }

    async fn ask_suite(
        &self,
        suite: Suite,
        identity: &Identity,
        bearer: &mut Bearer,
        openid: bool,
        round: &mut Round,
    ) {
        if let Some(quota) = round.quota.as_ref().filter(|quota| quota::is_shared(quota)) {
            let why = format!("not checked: {}", quota::describe(quota));
            return round.checks.push(Check::skipped(suite.name(), why));
        }
        let path = suite.request_target(self.clock.now());
        let max_age = identity.max_age.iter().find(|(prefix, _)| path.starts_with(prefix.as_str()));
        // Like the proxy, the doctor uses a younger token if possible, otherwise the current one.
        // Once there is a younger token, the service may reject the older one.
        if let Some((_, max_age)) = max_age
            && let Ok(younger) = identity.credential.younger(*max_age).await
        {
            *bearer = younger;
        }
        let mut judgement = self.ask_and_judge(suite, &path, bearer, openid, round).await;
        if judgement.check.code.as_deref() == Some(TOKEN_REFUSED) && !round.replaced {
            round.replaced = true;
            match identity.credential.replace(bearer, Kind::Token).await {
                Ok(replacement) => {
                    *bearer = replacement.bearer;
                    judgement = self.ask_and_judge(suite, &path, bearer, openid, round).await;
                }
                Err(why) => {
                    // No further suite is checked with a rejected token: the cause is known.
                    let snapshot = identity.credential.snapshot();
                    round.no_new_token = Some(self.state(identity, &snapshot).token_refused(&why));
                    return;
                }
            }
        }
        round.checks.push(judgement.check);
        round.quota = judgement.quota.or(round.quota.take());
    }

    async fn ask_and_judge(
        &self,
        suite: Suite,
        path: &str,
        bearer: &Bearer,
        openid: bool,
        round: &mut Round,
    ) -> Judgement {
        let age = clock::until(bearer.minted_at, self.clock.now());
        let token = PresentedToken { openid, age };
        round.requests += 1;
        match self.upstream.send(path, Some(bearer)).await {
            Ok(response) => judge(suite, &response, token, self.clock.now()),
            Err(error) => {
                let site = Site { name: suite.name(), ..self.upstream.site.clone() };
                Judgement { check: site.unreachable(&error), quota: None }
            }
        }
    }
}

/// The progress of checking the suites.
#[derive(Default)]
struct Round {
    checks: Vec<Check>,
    quota: Option<Quota>,
    requests: usize,
    /// Whether the replacement of a rejected token has been tried. It is tried only once.
    replaced: bool,
    /// The new login check, if the token is rejected and there is no new one.
    no_new_token: Option<Check>,
}

fn exchanges(credential: &Credential, grant: &str) -> u64 {
    let exchanges = credential.exchanges().filter(|(exchanged, ..)| *exchanged == grant);
    exchanges.map(|(_, _, count)| count).sum()
}

/// Replaces the login check with a failure, and removes the check of the refresh token, which no
/// longer holds.
fn replace_login(checks: &mut Vec<Check>, login: Check) {
    checks.retain(|check| check.name != "refresh token");
    match checks.iter_mut().find(|check| check.name == "login") {
        Some(check) => *check = login,
        None => checks.push(login),
    }
}

impl Identity {
    /// The check of the user name, in the form that is sent.
    fn login_name(&self) -> Check {
        match (&self.username, self.grant) {
            (Some(username), GrantKind::Password) => {
                let username = error_text::name(username);
                Check::ok("user name", format!("sent as {username} (@vbc.prod is appended if it is missing)"))
            }
            _ => Check::ok("user name", "not sent: logins are interactive (grant = \"authorization_code\")"),
        }
    }
}
