//! Finds out what is wrong with a credential, with a remedy for each finding.
//!
//! [`Doctor::examine`] contacts the token host and the upstream, gets a token from the credential, and
//! sends each suite one harmless request with it. It runs where the token is: in the proxy, or in the
//! command while no proxy runs. The [`Report`] contains no secret. All judgements are pure: `judge`
//! (the response of a suite), `host` (an unreachable or wrong host), `skew` (clocks), `token`
//! (logins), `findings` (the configuration).

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

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, DATE, USER_AGENT};
use http::{HeaderValue, Request, Response, header};
use jiff::SignedDuration;
use rustls::ClientConfig;
use url::Url;

use crate::client::{self, ClientError, Target};
use crate::clock::{self, Clock};
use crate::config::{Config, GrantKind, Origin};
use crate::credential::rejected_prefixes::Kind;
use crate::credential::{Bearer, Credential, Snapshot};
use host::Site;
use token::LoginState;

pub use findings::{accepted, beside_a_running_proxy, refused};
use judge::TOKEN_REFUSED;
pub use judge::{Judgement, PresentedToken, judge};
pub use render::{Style, render};
pub use report::{Check, Quota, Report, Verdict};
pub use suite::{Suite, SuiteResponse, UnknownSuite};

/// The longest timeout of one request, if that of the configuration is longer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Why no suite is asked; the login check has the cause.
const NO_TOKEN: &str = "no token to ask with";

const NAME: &str = concat!("vbc-proxy/", env!("CARGO_PKG_VERSION"), " doctor");

/// Examines the credentials of one configuration.
#[derive(Clone)]
pub struct Doctor {
    token_url: Url,
    token_tls: Arc<ClientConfig>,
    token_timeout: Duration,
    upstream: Origin,
    upstream_tls: Arc<ClientConfig>,
    upstream_timeout: Duration,
    clock: Clock,
    identities: Arc<[Identity]>,
    process: Process,
}

/// The process of an examination.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Process {
    /// A proxy, which goes on.
    Proxy,
    /// A command, which ends after the examination.
    Command {
        /// Whether new tokens outlive it.
        keeps_tokens: bool,
    },
}

/// A credential and its configuration.
struct Identity {
    credential: Credential,
    grant: GrantKind,
    username: Option<Arc<str>>,
    scope: Arc<str>,
    refresh_lifetime: Duration,
    /// Age limits by path prefix, the longest prefix first.
    max_age: Vec<(String, Duration)>,
}

/// The result of one request to a host.
struct HostExamination {
    check: Check,
    reached: bool,
    /// How far this machine's clock is ahead of the host's.
    ahead: Option<SignedDuration>,
}

impl Doctor {
    /// A doctor for these credentials of `config`, with the TLS settings that they use. It runs in a
    /// proxy, unless [`in_command`](Self::in_command) says otherwise.
    pub fn new(
        config: &Config,
        token_tls: Arc<ClientConfig>,
        upstream_tls: Arc<ClientConfig>,
        credentials: &[Credential],
        clock: Clock,
    ) -> Self {
        let known: HashMap<&str, _> =
            config.credentials.iter().map(|configured| (configured.name.as_str(), configured)).collect();
        let identities = credentials.iter().filter_map(|credential| {
            let configured = known.get(credential.name())?;
            Some(Identity {
                credential: credential.clone(),
                grant: configured.grant,
                username: configured.username.clone(),
                scope: Arc::clone(&configured.scope),
                refresh_lifetime: configured.refresh_token_lifetime,
                max_age: configured.max_age.clone(),
            })
        });
        Self {
            token_url: config.oauth.token_url.clone(),
            token_tls,
            token_timeout: config.oauth.timeout.min(TIMEOUT),
            upstream: config.upstream.url.clone(),
            upstream_tls,
            upstream_timeout: (config.upstream.connect_timeout + config.upstream.response_timeout)
                .min(TIMEOUT),
            clock,
            identities: identities.collect(),
            process: Process::Proxy,
        }
    }

    /// A doctor for a command, which ends after the examination. `keeps_tokens` says whether new
    /// tokens outlive it.
    #[must_use]
    pub fn in_command(self, keeps_tokens: bool) -> Self {
        Self { process: Process::Command { keeps_tokens }, ..self }
    }

    /// Examines the credential of this name with these suites. `None` if there is no such credential.
    ///
    /// Getting a token takes what [`Credential::bearer`] takes, which is nothing while a token lives.
    /// The suites are asked one after the other, until a quota that they share is used up.
    pub async fn examine(&self, name: &str, suites: &[Suite]) -> Option<Report> {
        let identity = self.identities.iter().find(|identity| identity.credential.name() == name)?;
        let (token_host, upstream) = tokio::join!(self.ask_token_host(), self.ask_upstream());
        let mut checks = vec![identity.login_name()];
        let clocks = [("token host", token_host.ahead), ("upstream", upstream.ahead)];
        let clocks: Vec<_> = clocks.into_iter().filter_map(|(whose, ahead)| Some((whose, ahead?))).collect();
        checks.push(token_host.check);
        checks.push(skew::check("clock", &clocks));
        let (mut bearer, openid) = self.ask_for_token(identity, token_host.reached, &mut checks).await;
        checks.push(upstream.check);
        let mut why_not = match &bearer {
            None => Some(NO_TOKEN),
            Some(_) if !upstream.reached => Some("the upstream is not reached"),
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

    /// A GET without credentials. The response shows whether it is a token endpoint, at no cost.
    async fn ask_token_host(&self) -> HostExamination {
        let shown = address_of(self.token_url.as_str());
        let site = Site { name: "token host", key: "oauth.token_url", ca_key: "oauth.ca_file", url: &shown };
        let path = &self.token_url[url::Position::BeforePath..url::Position::AfterQuery];
        let tls = (self.token_url.scheme() == "https").then(|| Arc::clone(&self.token_tls));
        let target = Target::Origin {
            tls,
            host: self.token_url.host_str().unwrap_or_default().to_owned(),
            port: self.token_url.port_or_known_default().unwrap_or(443),
        };
        self.ask_host(&site, &target, path, self.token_timeout, host::token_host).await
    }

    /// A request to a suite without a token, to which the gateway itself responds.
    async fn ask_upstream(&self) -> HostExamination {
        let shown = self.upstream.to_string();
        let site = Site { name: "upstream", key: "upstream.url", ca_key: "upstream.ca_file", url: &shown };
        let path = Suite::Provisioning.request_target(self.clock.now());
        self.ask_host(&site, &self.upstream_target(), &path, self.upstream_timeout, host::gateway).await
    }

    async fn ask_host(
        &self,
        site: &Site<'_>,
        target: &Target,
        path: &str,
        timeout: Duration,
        judge: impl Fn(&Site<'_>, &Response<Bytes>) -> Check,
    ) -> HostExamination {
        let (sent, started) = (self.clock.now(), tokio::time::Instant::now());
        match send(target, path, None, timeout).await {
            Ok(response) => {
                let took = started.elapsed();
                let date = response.headers().get(DATE).and_then(|value| value.to_str().ok());
                let ahead = date.and_then(skew::http_date).map(|date| skew::ahead(date, sent, took));
                HostExamination { check: judge(site, &response), reached: true, ahead }
            }
            Err(error) => HostExamination { check: site.unreachable(&error), reached: false, ahead: None },
        }
    }

    /// The token, and whether `openid` is in its scope.
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
                "not tried: the token host is not reached, and no token lives",
            ));
            return (None, true);
        }
        if !lives && self.process == (Process::Command { keeps_tokens: false }) {
            checks.push(Check::skipped(
                "login",
                "not tried: with store.kind = \"memory\" it would be forgotten when this command ends; start the \
                 proxy, then run doctor",
            ));
            return (None, true);
        }
        let mut outcome = credential.bearer().await;
        // A token that the gateway refuses is replaced, as it would be for a request.
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
            let why = format!("not asked: {}", quota::describe(quota));
            return round.checks.push(Check::skipped(suite.name(), why));
        }
        let path = suite.request_target(self.clock.now());
        let max_age = identity.max_age.iter().find(|(prefix, _)| path.starts_with(prefix.as_str()));
        // As in the proxy: a younger token if possible, else the current one. The service may refuse
        // the older one from then on.
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
                    // One cause is enough: no further suite is asked with a refused token.
                    let snapshot = identity.credential.snapshot();
                    round.no_new_token = Some(self.state(identity, &snapshot).token_refused(&why));
                    return;
                }
            }
        }
        round.checks.push(judgement.check);
        round.quota = judgement.quota.or(round.quota.take());
    }

    /// Sends one request and judges its response.
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
        match send(&self.upstream_target(), path, Some(bearer), self.upstream_timeout).await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                let response = SuiteResponse { status: head.status, headers: &head.headers, body: &body };
                judge(suite, &response, token, self.clock.now())
            }
            Err(error) => {
                let shown = self.upstream.to_string();
                let site =
                    Site { name: suite.name(), key: "upstream.url", ca_key: "upstream.ca_file", url: &shown };
                Judgement { check: site.unreachable(&error), quota: None }
            }
        }
    }

    fn upstream_target(&self) -> Target {
        let authority = &self.upstream.authority;
        let tls = self.upstream.tls.then(|| Arc::clone(&self.upstream_tls));
        let port = authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        Target::Origin { tls, host: authority.host().to_owned(), port }
    }
}

/// The progress of asking the suites.
#[derive(Default)]
struct Round {
    checks: Vec<Check>,
    quota: Option<Quota>,
    requests: usize,
    /// Whether replacing a refused token has been tried. It is tried once.
    replaced: bool,
    /// The new login check: the token is refused, and there is no new one.
    no_new_token: Option<Check>,
}

/// The number of exchanges with this grant so far.
fn exchanges(credential: &Credential, grant: &str) -> u64 {
    let exchanges = credential.exchanges().filter(|(exchanged, ..)| *exchanged == grant);
    exchanges.map(|(_, _, count)| count).sum()
}

/// Replaces the login check by a failure, and drops the check that no longer holds.
fn replace_login(checks: &mut Vec<Check>, login: Check) {
    checks.retain(|check| check.name != "refresh token");
    match checks.iter_mut().find(|check| check.name == "login") {
        Some(check) => *check = login,
        None => checks.push(login),
    }
}

impl Identity {
    /// The user name as it is sent.
    fn login_name(&self) -> Check {
        match (&self.username, self.grant) {
            (Some(username), GrantKind::Password) => {
                let username = error_text::name(username);
                Check::ok(
                    "user name",
                    format!("sent as {username} (@vbc.prod is appended unless it is there)"),
                )
            }
            _ => Check::ok("user name", "none is sent: a person logs in (grant = \"authorization_code\")"),
        }
    }
}

/// Sends a GET, with the bearer or without credentials.
async fn send(
    target: &Target,
    path: &str,
    bearer: Option<&Bearer>,
    timeout: Duration,
) -> Result<Response<Bytes>, ClientError> {
    let mut request = Request::new(Bytes::new());
    // Paths come from this module or from a checked URL.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("*/*"));
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(NAME));
    if let Some(bearer) = bearer {
        request.headers_mut().insert(header::AUTHORIZATION, bearer.value.clone());
    }
    client::send(target, request, timeout).await
}

/// A URL that is safe to show: without user information, query and fragment, which may have secrets.
fn address_of(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else {
        return error_text::quote(url.split(['?', '#', '@']).next().unwrap_or_default());
    };
    url.set_query(None);
    url.set_fragment(None);
    // Fails only without a host, and then there is no user information.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.to_string()
}
