//! After a 401: judge it, decide on a further sending, and learn from the outcome.
//!
//! A request is sent three times at most. One sending may follow a refresh that the request forced.
//! One may be a *late* sending of the same bearer, which a node of the gateway may not know yet.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use http::{HeaderName, Response};
use http_body::Body;
use tokio::time::Instant;

use super::Proxy;
use super::error::Error;
use super::request_body::RequestBody;
use super::response_body::{PrefixedBody, ResponseBody};
use super::upstream::{Head, UpstreamBody};
use super::verdict::{self, Verdict};
use crate::credential::Bearer;
use crate::credential::rejected_prefixes::{self, Decision as Memory, Kind};
use vbc_http::codec::KeptBytes;
use vbc_http::problem::{self, Param};

/// How many bytes of a 401's body are read to judge it.
const JUDGED_BYTES: usize = 16 * 1024;

/// How soon after a token was minted its 401 shows that a fresh token does not help.
const EVIDENCE: Duration = Duration::from_secs(5);

/// How often a request is sent at most.
const SENDINGS: u32 = 3;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// A 401, with as much of its body as the verdict needs.
struct UnauthorizedResponse {
    response: Response<UpstreamBody>,
    prefix: KeptBytes,
    verdict: Verdict,
}

impl UnauthorizedResponse {
    /// Reads the beginning of the body. A body that is read to its end returns its connection.
    async fn read(mut response: Response<UpstreamBody>) -> Result<Self, Error> {
        let mut prefix = KeptBytes::new(JUDGED_BYTES);
        while prefix.len() < JUDGED_BYTES {
            let body = response.body_mut();
            let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await else { break };
            if let Ok(data) = frame?.into_data() {
                prefix.push(&data);
            }
        }
        let verdict = verdict::judge(response.headers(), &prefix.sealed().concat());
        Ok(Self { response, prefix, verdict })
    }

    /// The 401 as it came, with the reason why it was not cured.
    fn pass_on(self, why: &str) -> Response<ResponseBody> {
        let Self { response, prefix, .. } = self;
        let mut response =
            response.map(|rest| ResponseBody::Prefixed(Box::new(PrefixedBody { prefix, rest })));
        let status = problem::proxy_status(&[("received-status", Param::Number(401))], why);
        response.headers_mut().append(PROXY_STATUS, status);
        response
    }
}

/// What follows a 401.
pub(super) enum Next {
    /// The request is sent again, with this bearer.
    Send(Bearer),
    /// The client gets the 401.
    PassOn(Response<ResponseBody>),
}

/// The decision on a 401.
enum Decision {
    /// The request is sent again, with this bearer.
    Send(Bearer),
    /// The 401 is passed on, for this reason.
    PassOn(&'static str),
}

/// The outcome of a request that got a 401, as metrics name it.
#[derive(Clone, Copy)]
enum Outcome {
    /// A further sending got another status.
    Cured,
    /// A further sending got a 401 too.
    RefusedAgain,
    /// The request was sent only once.
    PassedOn,
    /// The token was refused, and no newer one could be had.
    NoToken,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Cured => "cured",
            Self::RefusedAgain => "refused_again",
            Self::PassedOn => "passed_on",
            Self::NoToken => "no_token",
        }
    }
}

/// A request that has got a 401, and what has been tried for it since.
///
/// [`after_401`] is called for each 401, and [`accepted`](Self::accepted) once a sending got
/// another status.
pub(super) struct Retry<'a> {
    proxy: &'a Proxy,
    /// The verdict on the first 401.
    first: Verdict,
    /// How often the request has been sent.
    sendings: u32,
    /// Its late sending has been used.
    late: bool,
    latest: Latest<'a>,
}

/// Where the bearer of the latest sending came from.
enum Latest<'a> {
    /// It was there when the request came, or is sent once more.
    Same,
    /// It was there when an older one, of this revision, got a 401 of this kind.
    Newer(Kind, u64),
    /// It was minted because of the 401, so that its outcome is evidence about the path.
    Forced(Trial<'a>),
}

/// Judges a 401, and decides what follows. It waits for a newer bearer, or until the same one is
/// old enough. `retry` is empty for the first 401 of a request.
///
/// # Errors
/// The gateway refuses the token, and no newer one can be had.
pub(super) async fn after_401<'a>(
    retry: &mut Option<Box<Retry<'a>>>,
    proxy: &'a Proxy,
    response: Response<UpstreamBody>,
    head: &Head,
    body: &RequestBody,
) -> Result<Next, Error> {
    let response = UnauthorizedResponse::read(response).await?;
    let retry = retry.get_or_insert_with(|| Box::new(Retry::new(proxy, response.verdict)));
    let decision = retry.decide(response.verdict, head, body).await?;
    retry.sendings += 1;
    Ok(match decision {
        Decision::Send(bearer) => Next::Send(bearer),
        Decision::PassOn(why) => Next::PassOn(response.pass_on(why)),
    })
}

impl<'a> Retry<'a> {
    /// For a request that has been sent once.
    fn new(proxy: &'a Proxy, first: Verdict) -> Self {
        if first == Verdict::Curable(Kind::Token) {
            proxy.credential.seek_proof();
        }
        Self { proxy, first, sendings: 1, late: false, latest: Latest::Same }
    }

    async fn decide(&mut self, verdict: Verdict, head: &Head, body: &RequestBody) -> Result<Decision, Error> {
        let (credential, bearer) = (&self.proxy.credential, &head.bearer);
        let kind = match verdict {
            Verdict::Curable(kind) if self.sendings < SENDINGS => kind,
            Verdict::Curable(kind) => return Ok(self.give_up(bearer, Some(kind))),
            Verdict::Incurable(why) if self.sendings == 1 => return Ok(self.pass_on(why)),
            Verdict::Incurable(_) => return Ok(self.give_up(bearer, None)),
        };
        if !body.is_replayable() {
            return Ok(self.too_large(kind, head, body));
        }
        if let Some(newer) = credential.newer_than(bearer) {
            // The 401 is for an older bearer: no refresh is needed, and none is counted.
            self.latest = Latest::Newer(kind, bearer.revision);
            return Ok(Decision::Send(newer));
        }
        let new_for = bearer.new_for(credential.clock().now());
        if kind == Kind::Token && !new_for.is_zero() && !self.late {
            return self.send_late(kind, bearer, new_for).await;
        }
        if let Latest::Forced(_) = self.latest {
            return Ok(self.give_up(bearer, Some(kind)));
        }
        self.replace(kind, head).await
    }

    /// Sends the same bearer again once it is not new any more, or its successor if there is one.
    async fn send_late(&mut self, kind: Kind, bearer: &Bearer, new_for: Duration) -> Result<Decision, Error> {
        let credential = &self.proxy.credential;
        self.late = true;
        if kind == Kind::Token {
            credential.note_new_refused();
        }
        if !new_for.is_zero() {
            tokio::time::sleep(new_for).await;
        }
        if let Some(newer) = credential.newer_than(bearer) {
            return Ok(Decision::Send(newer));
        }
        let lives = bearer.is_alive(credential.clock().now());
        let bearer = if lives { bearer.clone() } else { credential.bearer().await? };
        Ok(Decision::Send(bearer))
    }

    /// A newer bearer by a forced refresh, if one may be forced. While refreshes are held back, the
    /// late sending comes first.
    async fn replace(&mut self, kind: Kind, head: &Head) -> Result<Decision, Error> {
        let (credential, bearer) = (&self.proxy.credential, &head.bearer);
        let prefix = rejected_prefixes::path_prefix(head.uri.path());
        let now = credential.clock().now();
        let decision = credential.rejected_prefixes().decide(prefix, bearer.revision, kind, now);
        if let Memory::PassOn(why) | Memory::Wait(why) = decision {
            return match kind {
                // The trial of another request is under way.
                Kind::Unclear if !self.late && matches!(decision, Memory::Wait(_)) => {
                    self.send_late(kind, bearer, Duration::ZERO).await
                }
                Kind::Token if !self.late => self.send_late(kind, bearer, Duration::ZERO).await,
                _ if self.sendings > 1 => Ok(self.give_up(bearer, Some(kind))),
                _ => Ok(self.pass_on(why)),
            };
        }
        let mut trial = Trial::new(self.proxy, prefix, kind, bearer.revision);
        let held = credential.forced_in();
        if !held.is_zero() && !self.late {
            drop(trial);
            return self.send_late(kind, bearer, Duration::ZERO).await;
        }
        if !held.is_zero() && (kind == Kind::Unclear || held > self.proxy.max_wait) {
            drop(trial);
            return Ok(self.give_up(bearer, Some(kind)));
        }
        match credential.replace(bearer, kind).await {
            Ok(replacement) if replacement.fresh => {
                trial.minted = Instant::now();
                self.latest = Latest::Forced(trial);
                Ok(Decision::Send(replacement.bearer))
            }
            Ok(replacement) => {
                self.latest = Latest::Newer(kind, bearer.revision);
                Ok(Decision::Send(replacement.bearer))
            }
            // The gateway says that it is the token, and we cannot cure that now.
            Err(unavailable) if kind == Kind::Token => {
                self.count(Outcome::NoToken);
                Err(unavailable.into())
            }
            Err(_) => Ok(self.pass_on("no newer token could be had")),
        }
    }

    /// The body cannot be sent again: a refresh is too late for this request, but not for the next.
    fn too_large(&self, kind: Kind, head: &Head, body: &RequestBody) -> Decision {
        let (credential, bearer) = (&self.proxy.credential, &head.bearer);
        let why = body.loss().why();
        if self.sendings > 1 || credential.newer_than(bearer).is_some() {
            return self.pass_on(why);
        }
        let prefix = rejected_prefixes::path_prefix(head.uri.path());
        let now = credential.clock().now();
        if kind == Kind::Token && !bearer.new_for(now).is_zero() {
            // A node of the gateway may not know it yet.
            return self.pass_on(why);
        }
        let decision = credential.rejected_prefixes().decide(prefix, bearer.revision, kind, now);
        if let Memory::PassOn(why) | Memory::Wait(why) = decision {
            return self.pass_on(why);
        }
        let (asking, old) = (credential.clone(), bearer.clone());
        tokio::task::spawn_local(async move { asking.replace(&old, kind).await });
        credential.rejected_prefixes().unproven(prefix, kind);
        self.pass_on(why)
    }

    /// The latest sending was not refused.
    pub(super) fn accepted(self) {
        self.count(Outcome::Cured);
        match self.latest {
            Latest::Same => {}
            Latest::Newer(kind, refused) => self.proxy.credential.rejected_prefixes().helped(kind, refused),
            Latest::Forced(trial) => trial.cured(),
        }
    }

    /// The request has been sent again, and got a 401 again. `kind` is what that says of the token.
    fn give_up(&mut self, bearer: &Bearer, kind: Option<Kind>) -> Decision {
        self.count(if self.sendings > 1 { Outcome::RefusedAgain } else { Outcome::PassedOn });
        let credential = &self.proxy.credential;
        if kind == Some(Kind::Token) {
            credential.distrust(bearer);
        }
        match std::mem::replace(&mut self.latest, Latest::Same) {
            // A slow response is no evidence: the token may have been revoked meanwhile. Nor is the
            // 401 of a token that is still new.
            Latest::Forced(trial)
                if trial.minted.elapsed() < EVIDENCE
                    && (kind != Some(Kind::Token) || bearer.new_for(credential.clock().now()).is_zero()) =>
            {
                trial.refused(bearer.revision, kind.unwrap_or(Kind::Unclear));
                Decision::PassOn("a fresh token was refused too; 401s on this path pass for a minute")
            }
            Latest::Forced(_) | Latest::Newer(..) => Decision::PassOn("a newer token was refused too"),
            Latest::Same => Decision::PassOn("the token was refused again; forced refreshes are held back"),
        }
    }

    fn pass_on(&self, why: &'static str) -> Decision {
        self.count(Outcome::PassedOn);
        Decision::PassOn(why)
    }

    fn count(&self, outcome: Outcome) {
        self.proxy.metrics.retries(self.first.label(), outcome.label()).inc();
    }
}

/// A path prefix on trial in the memory of 401s. Dropping it reports that the trial was abandoned,
/// unless another outcome was reported.
struct Trial<'a> {
    proxy: &'a Proxy,
    prefix: String,
    kind: Kind,
    /// The revision that was refused first.
    by: u64,
    minted: Instant,
    /// No outcome has been reported.
    open: bool,
}

impl<'a> Trial<'a> {
    fn new(proxy: &'a Proxy, prefix: &str, kind: Kind, by: u64) -> Self {
        Self { proxy, prefix: prefix.to_owned(), kind, by, minted: Instant::now(), open: true }
    }

    fn cured(mut self) {
        self.open = false;
        self.proxy.credential.rejected_prefixes().cured(&self.prefix, self.kind, self.by);
    }

    /// The token of this revision, minted for the trial, got a 401 of kind `second` too.
    fn refused(mut self, revision: u64, second: Kind) {
        self.open = false;
        let credential = &self.proxy.credential;
        let now = credential.clock().now();
        credential.rejected_prefixes().rejected(&self.prefix, self.by, revision, self.kind, second, now);
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if self.open {
            self.proxy.credential.rejected_prefixes().abandoned(&self.prefix, self.kind);
        }
    }
}
