//! What is wrong with a credential: a live diagnosis, and what to do about each finding.
//!
//! [`Doctor::examine`] asks the token host and the upstream whether they are there, the credential for a token, and each
//! suite one harmless question with it. It runs where the token is, in the proxy or, where none runs, in the command; what
//! comes out is a [`Report`] without a secret. Everything that judges is pure: `judge` (a suite's answer), `host` (who does
//! not answer, or is somebody else), `skew` (clocks), `token` (logins), `findings` (the configuration).

mod findings;
mod host;
mod judge;
mod quota;
mod render;
mod report;
mod skew;
mod suite;
mod token;
mod words;

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
use token::State;

pub use findings::{accepted, beside_a_running_proxy, refused};
use judge::TOKEN_REFUSED;
pub use judge::{Answer, Judgement, Presented, judge};
pub use render::{Look, render};
pub use report::{Check, Quota, Report, Verdict};
pub use suite::{Suite, UnknownSuite};

/// How long one question may take, where the configuration is more patient.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why no suite is asked; the login line has the cause.
const NO_TOKEN: &str = "no token to ask with";

const NAME: &str = concat!("vbc-proxy/", env!("CARGO_PKG_VERSION"), " doctor");

/// Examines the credentials of one configuration.
#[derive(Clone)]
pub struct Doctor {
    token_url: Url,
    token_tls: Arc<ClientConfig>,
    token_patience: Duration,
    upstream: Origin,
    upstream_tls: Arc<ClientConfig>,
    upstream_patience: Duration,
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

/// A credential, and what is configured for it.
struct Identity {
    credential: Credential,
    grant: GrantKind,
    username: Option<Arc<str>>,
    scope: Arc<str>,
    refresh_lifetime: Duration,
    /// Age limits by the beginnings of paths, the longest first.
    max_age: Vec<(String, Duration)>,
}

/// What came of asking a host.
struct Asked {
    check: report::Check,
    reached: bool,
    /// How far our clock is ahead of its.
    ahead: Option<SignedDuration>,
}

impl Doctor {
    /// For these credentials of `config`; the two TLS configurations are those they are used with.
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
            token_patience: config.oauth.timeout.min(PATIENCE),
            upstream: config.upstream.url.clone(),
            upstream_tls,
            upstream_patience: (config.upstream.connect_timeout + config.upstream.response_timeout)
                .min(PATIENCE),
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

    /// Examines the credential of this name and asks these suites; `None` when there is no such credential.
    ///
    /// Takes as much as [`Credential::bearer`] does towards a token, which is nothing while one lives; the suites are
    /// asked one after the other, and no further once a quota that they share is used up.
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
                revise(&mut checks, check);
            }
            if let Some(why) = why_not {
                round.lines.push(Check::skipped(suite.name(), why));
            }
        }
        Some(Report {
            credential: name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: self.clock.now(),
            checks,
            quota: quota::check(round.quota.as_ref(), round.requests),
            suites: round.lines,
        })
    }

    /// A GET without any credential: what a token endpoint makes of it tells what it is, and costs nothing.
    async fn ask_token_host(&self) -> Asked {
        let shown = address_of(self.token_url.as_str());
        let site = Site { name: "token host", key: "oauth.token_url", ca_key: "oauth.ca_file", url: &shown };
        let path = &self.token_url[url::Position::BeforePath..url::Position::AfterQuery];
        let tls = (self.token_url.scheme() == "https").then(|| Arc::clone(&self.token_tls));
        let target = Target::Origin {
            tls,
            host: self.token_url.host_str().unwrap_or_default().to_owned(),
            port: self.token_url.port_or_known_default().unwrap_or(443),
        };
        self.ask_host(&site, &target, path, self.token_patience, host::token_host).await
    }

    /// A question to a suite without a token: the gateway answers that itself.
    async fn ask_upstream(&self) -> Asked {
        let shown = self.upstream.to_string();
        let site = Site { name: "upstream", key: "upstream.url", ca_key: "upstream.ca_file", url: &shown };
        let path = Suite::Provisioning.question(self.clock.now());
        self.ask_host(&site, &self.upstream_target(), &path, self.upstream_patience, host::gateway).await
    }

    async fn ask_host(
        &self,
        site: &Site<'_>,
        target: &Target,
        path: &str,
        patience: Duration,
        judge: impl Fn(&Site<'_>, &Response<Bytes>) -> Check,
    ) -> Asked {
        let (asked, started) = (self.clock.now(), tokio::time::Instant::now());
        match send(target, path, None, patience).await {
            Ok(answer) => {
                let took = started.elapsed();
                let date = answer.headers().get(DATE).and_then(|value| value.to_str().ok());
                let ahead = date.and_then(skew::http_date).map(|date| skew::ahead(date, asked, took));
                Asked { check: judge(site, &answer), reached: true, ahead }
            }
            Err(error) => Asked { check: site.unreachable(&error), reached: false, ahead: None },
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
        let exchanged = |grant: &str| {
            let of_it = credential.exchanges().filter(|(given, ..)| *given == grant);
            of_it.map(|(_, _, count)| count).sum::<u64>()
        };
        let before = (exchanged("refresh_token"), exchanged("password"));
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
        // A token that the gateway refuses is replaced as a request would have it replaced.
        let refused = match &outcome {
            Ok(bearer) if credential.snapshot().distrusted => Some(bearer.clone()),
            _ => None,
        };
        if let Some(refused) = &refused {
            outcome = credential.replace(refused, Kind::Token).await.map(|replacement| replacement.bearer);
        }
        let snapshot = credential.snapshot();
        let state = State {
            refreshes: exchanged("refresh_token").saturating_sub(before.0),
            logins: exchanged("password").saturating_sub(before.1),
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

    fn state<'a>(&self, identity: &'a Identity, snapshot: &'a Snapshot) -> State<'a> {
        State {
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
            let why = format!("not asked: {}", quota::found(quota));
            return round.lines.push(Check::skipped(suite.name(), why));
        }
        let path = suite.question(self.clock.now());
        let max_age = identity.max_age.iter().find(|(prefix, _)| path.starts_with(prefix.as_str()));
        // As the proxy does it: a younger one, or else the one there is. The older one may be refused from then on.
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
                    // The cause is one: no suite is asked with a token that is refused.
                    let snapshot = identity.credential.snapshot();
                    round.no_new_token = Some(self.state(identity, &snapshot).token_refused(&why));
                    return;
                }
            }
        }
        round.lines.push(judgement.check);
        round.quota = judgement.quota.or(round.quota.take());
    }

    /// One request, and what its response means.
    async fn ask_and_judge(
        &self,
        suite: Suite,
        path: &str,
        bearer: &Bearer,
        openid: bool,
        round: &mut Round,
    ) -> Judgement {
        let age = clock::until(bearer.minted_at, self.clock.now());
        let token = Presented { openid, age };
        round.requests += 1;
        match send(&self.upstream_target(), path, Some(bearer), self.upstream_patience).await {
            Ok(answer) => {
                let (head, body) = answer.into_parts();
                let answer = Answer { status: head.status, headers: &head.headers, body: &body };
                judge(suite, &answer, token, self.clock.now())
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

/// The suites, as far as they have been asked.
#[derive(Default)]
struct Round {
    lines: Vec<Check>,
    quota: Option<Quota>,
    requests: usize,
    /// Whether a token that the gateway refused has been replaced, or could not be.
    replaced: bool,
    /// What the login line says from now on: the token is refused, and there is no new one.
    no_new_token: Option<Check>,
}

/// Puts a failure of the login in the place of what was said of it, and of what no longer holds.
fn revise(checks: &mut Vec<Check>, login: Check) {
    checks.retain(|check| check.name != "refresh token");
    match checks.iter_mut().find(|check| check.name == "login") {
        Some(said) => *said = login,
        None => checks.push(login),
    }
}

impl Identity {
    /// The user name as it is sent.
    fn login_name(&self) -> Check {
        match (&self.username, self.grant) {
            (Some(username), GrantKind::Password) => {
                let username = words::name(username);
                Check::ok(
                    "user name",
                    format!("sent as {username} (@vbc.prod is appended unless it is there)"),
                )
            }
            _ => Check::ok("user name", "none is sent: a person logs in (grant = \"authorization_code\")"),
        }
    }
}

/// One GET, with the bearer or without any credential.
async fn send(
    target: &Target,
    path: &str,
    bearer: Option<&Bearer>,
    patience: Duration,
) -> Result<Response<Bytes>, ClientError> {
    let mut request = Request::new(Bytes::new());
    // Paths come from this module or from a URL that was checked.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("*/*"));
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(NAME));
    if let Some(bearer) = bearer {
        request.headers_mut().insert(header::AUTHORIZATION, bearer.value.clone());
    }
    client::send(target, request, patience).await
}

/// A URL fit to be shown: no user information, no query, no fragment; each may carry a secret.
fn address_of(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else {
        return words::quote(url.split(['?', '#', '@']).next().unwrap_or_default());
    };
    url.set_query(None);
    url.set_fragment(None);
    // Fails only where there is no host, and then there is no user information either.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.to_string()
}

/// What a server said, as it follows a sentence of ours.
fn server_words(quote: &str) -> String {
    if quote.is_empty() { String::new() } else { format!(": \"{quote}\"") }
}
