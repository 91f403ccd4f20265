//! Handles a 401: judges it, decides on a retry, and learns from the outcome.
//!
//! A request is sent three times at most. One retry may follow a refresh that the request forced.
//! The other may be a *late* retry with the same bearer, because a gateway node possibly did not
//! know that bearer at first.

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

/// At most this many bytes of a 401's body are read to judge the 401.
const JUDGED_BYTES: usize = 16 * 1024;

/// A 401 within this time after its token was minted shows that a fresh token does not help. A
/// later one is no evidence: the token may have been revoked meanwhile.
const EVIDENCE: Duration = Duration::from_secs(5);

/// How often a request is sent at most because of 401s, the first sending included.
const SENDINGS: u32 = 3;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// A 401, with as much of its body as the verdict needs.
struct UnauthorizedResponse {
    response: Response<UpstreamBody>,
    prefix: KeptBytes,
    verdict: Verdict,
}

impl UnauthorizedResponse {
    /// Reads the beginning of the body. A body that is read to its end frees its connection.
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

    /// The unchanged 401, plus a `Proxy-Status` field that says why the 401 was not cured.
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
    /// A retry got a status other than 401.
    Cured,
    /// A retry got a 401 too.
    RefusedAgain,
    /// The request was sent only once.
    PassedOn,
    /// The token was refused, and no newer one was available.
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

/// A request that got a 401, and the attempts made for it since.
///
/// Call [`after_401`] for each 401, and [`accepted`](Self::accepted) once an attempt gets another
/// status.
pub(super) struct Retry<'a> {
    proxy: &'a Proxy,
    /// The verdict on the first 401.
    first: Verdict,
    /// How often the request has been sent.
    sendings: u32,
    /// Whether the one late retry has been used.
    late: bool,
    latest: Latest<'a>,
}

/// The origin of the bearer of the latest attempt.
enum Latest<'a> {
    /// The bearer of the first attempt, perhaps sent again by a late retry.
    Same,
    /// A newer bearer that already existed when the bearer of this revision got a 401 of this kind.
    Newer(Kind, u64),
    /// A bearer that was minted because of the 401. Its outcome is evidence about the path.
    Forced(Trial<'a>),
}

/// Judges a 401 and decides what follows. May wait for a newer bearer, or until the same bearer is
/// no longer new. `retry` is `None` for the first 401 of a request.
///
/// # Errors
/// The gateway refuses the token and no newer one is available, or the body of the 401 failed.
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
    /// The state of a request that has been sent once.
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

    /// Waits until the bearer is no longer new. Then sends its successor if there is one, else the
    /// same bearer again.
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
            self.latest = Latest::Newer(kind, bearer.revision);
            return Ok(Decision::Send(newer));
        }
        let lives = bearer.is_alive(credential.clock().now());
        let bearer = if lives { bearer.clone() } else { credential.bearer().await? };
        Ok(Decision::Send(bearer))
    }

    /// Gets a newer bearer by a forced refresh, if the limits allow one. While forced refreshes are
    /// held back, tries the late retry first.
    async fn replace(&mut self, kind: Kind, head: &Head) -> Result<Decision, Error> {
        let (credential, bearer) = (&self.proxy.credential, &head.bearer);
        let prefix = rejected_prefixes::path_prefix(head.uri.path());
        let now = credential.clock().now();
        let decision = credential.rejected_prefixes().decide(prefix, bearer.revision, kind, now);
        if let Memory::PassOn(why) | Memory::Wait(why) = decision {
            return match kind {
                // Another request is trying a newer token for this prefix.
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
            // The gateway named the token, and no replacement is available now.
            Err(unavailable) if kind == Kind::Token => {
                self.count(Outcome::NoToken);
                Err(unavailable.into())
            }
            Err(_) => Ok(self.pass_on("no newer token was available")),
        }
    }

    /// The body cannot be sent again: a refresh helps only the next request, not this one.
    fn too_large(&self, kind: Kind, head: &Head, body: &RequestBody) -> Decision {
        let (credential, bearer) = (&self.proxy.credential, &head.bearer);
        let why = body.loss().why();
        if self.sendings > 1 || credential.newer_than(bearer).is_some() {
            return self.pass_on(why);
        }
        let prefix = rejected_prefixes::path_prefix(head.uri.path());
        let now = credential.clock().now();
        if kind == Kind::Token && !bearer.new_for(now).is_zero() {
            // Perhaps a node of the gateway does not know this bearer yet.
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

    /// Reports that the latest attempt got a status other than 401.
    pub(super) fn accepted(self) {
        self.count(Outcome::Cured);
        match self.latest {
            Latest::Same => {}
            Latest::Newer(kind, refused) => self.proxy.credential.rejected_prefixes().helped(kind, refused),
            Latest::Forced(trial) => trial.cured(),
        }
    }

    /// Ends the attempts after a 401. `kind` is the kind of that 401; `None` if it is incurable.
    fn give_up(&mut self, bearer: &Bearer, kind: Option<Kind>) -> Decision {
        self.count(if self.sendings > 1 { Outcome::RefusedAgain } else { Outcome::PassedOn });
        let credential = &self.proxy.credential;
        if kind == Some(Kind::Token) {
            credential.distrust(bearer);
        }
        match std::mem::replace(&mut self.latest, Latest::Same) {
            // A slow response is no evidence: the token may have been revoked meanwhile. A 401 that
            // names a new token is no evidence either: perhaps a gateway node does not know the
            // token yet.
            Latest::Forced(trial)
                if trial.minted.elapsed() < EVIDENCE
                    && (kind != Some(Kind::Token) || bearer.new_for(credential.clock().now()).is_zero()) =>
            {
                trial.refused(bearer.revision, kind.unwrap_or(Kind::Unclear));
                Decision::PassOn(
                    "a fresh token was refused too; 401s on this path are passed on for a minute",
                )
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

/// A test, with a fresh token, of a path prefix in the memory of 401s. Dropping it before an
/// outcome is reported reports the trial as abandoned.
struct Trial<'a> {
    proxy: &'a Proxy,
    prefix: String,
    kind: Kind,
    /// The revision that was refused first.
    by: u64,
    minted: Instant,
    /// Whether no outcome has been reported yet.
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

    /// Reports that the token minted for the trial also got a 401. `revision` is that token's
    /// revision, and `second` is the kind of its 401.
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
