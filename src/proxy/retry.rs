//! After a 401: judge it, send the request again where that may help, and learn from the outcome.
//!
//! A request is sent three times at most. One of these may follow a refresh that it forced. One may
//! be a *late* sending of the same bearer, which a node of the gateway may not know yet.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use http::{HeaderName, Response};
use http_body::Body;
use tokio::time::Instant;

use super::Proxy;
use super::body::{PrefixedBody, RequestBody, ResponseBody};
use super::error::Error;
use super::upstream::{Head, UpstreamBody};
use super::verdict::{self, Verdict};
use crate::credential::Bearer;
use crate::credential::refusals::{self, Decision, Kind};
use crate::http1::KeptBytes;
use crate::problem::{self, Param};

/// How much of a 401's body is looked at to judge it.
const JUDGED_BYTES: usize = 16 * 1024;

/// How soon after a token was minted a 401 for it says that a fresh token does not help.
const EVIDENCE: Duration = Duration::from_secs(5);

/// How often a request is sent at most.
const SENDINGS: u32 = 3;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// A 401, judged, with as much of its body as that took.
pub(super) struct UnauthorizedResponse {
    response: Response<UpstreamBody>,
    prefix: KeptBytes,
    verdict: Verdict,
}

impl UnauthorizedResponse {
    /// Reads as much of the body as the verdict needs. A body read to its end gives its connection back.
    pub(super) async fn read(mut response: Response<UpstreamBody>) -> Result<Self, Error> {
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

    /// What it means.
    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The 401 as it came.
    pub(super) fn pass_on(self, why: &str) -> Response<ResponseBody> {
        let prefix = self.prefix;
        annotate(
            self.response.map(|rest| ResponseBody::PrefixedBody(Box::new(PrefixedBody { prefix, rest }))),
            why,
        )
    }
}

/// Says on a 401 that is passed on why it was not cured.
fn annotate(mut response: Response<ResponseBody>, why: &str) -> Response<ResponseBody> {
    let value = problem::proxy_status(&[("received-status", Param::Number(401))], why);
    response.headers_mut().append(PROXY_STATUS, value);
    response
}

/// What comes after a 401.
pub(super) enum Next {
    /// The request is sent again, with this bearer.
    Send(Bearer),
    /// The 401 is the response; the text says why.
    PassOn(&'static str),
}

/// A request that has got a 401, and what has been tried for it since.
pub(super) struct Retry<'a> {
    proxy: &'a Proxy,
    /// What the first 401 meant.
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
    /// It was there already when one of this kind and revision was refused.
    Newer(Kind, u64),
    /// It was minted because of the 401, so that what becomes of it is evidence about the place.
    Forced(Trial<'a>),
}

impl<'a> Retry<'a> {
    /// The request has been sent once.
    pub(super) fn new(proxy: &'a Proxy, first: Verdict) -> Self {
        if first == Verdict::Curable(Kind::Token) {
            proxy.credential.seek_proof();
        }
        Self { proxy, first, sendings: 1, late: false, latest: Latest::Same }
    }

    /// What to do about a 401 of this verdict. It waits for a newer bearer, or until the same one
    /// is old enough.
    ///
    /// # Errors
    /// The gateway refuses the token, and no newer one can be had.
    pub(super) async fn after(
        &mut self,
        verdict: Verdict,
        head: &Head,
        body: &RequestBody,
    ) -> Result<Next, Error> {
        let next = self.decide(verdict, head, body).await?;
        self.sendings += 1;
        Ok(next)
    }

    async fn decide(&mut self, verdict: Verdict, head: &Head, body: &RequestBody) -> Result<Next, Error> {
        let (credential, bearer) = (&self.proxy.credential, &head.bearer);
        let kind = match verdict {
            Verdict::Curable(kind) if self.sendings < SENDINGS => kind,
            Verdict::Curable(kind) => return Ok(self.give_up(bearer, Some(kind))),
            Verdict::Incurable(why) if self.sendings == 1 => return Ok(self.pass_on(why)),
            Verdict::Incurable(_) => return Ok(self.give_up(bearer, None)),
        };
        if !body.replayable() {
            return Ok(self.too_large(kind, head, body));
        }
        if let Some(newer) = credential.newer_than(bearer) {
            // A late 401: nothing has to be refreshed, so nothing is limited by it.
            self.latest = Latest::Newer(kind, bearer.revision);
            return Ok(Next::Send(newer));
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

    /// Sends the same bearer again once it is not new any more; or what has come in its place
    /// meanwhile.
    async fn send_late(&mut self, kind: Kind, bearer: &Bearer, new_for: Duration) -> Result<Next, Error> {
        let credential = &self.proxy.credential;
        self.late = true;
        if kind == Kind::Token {
            credential.note_new_refused();
        }
        if !new_for.is_zero() {
            tokio::time::sleep(new_for).await;
        }
        if let Some(newer) = credential.newer_than(bearer) {
            return Ok(Next::Send(newer));
        }
        let lives = bearer.is_alive(credential.clock().now());
        let bearer = if lives { bearer.clone() } else { credential.bearer().await? };
        Ok(Next::Send(bearer))
    }

    /// A newer bearer by a forced refresh, where one may be forced. The late sending comes first
    /// where refreshes are held back.
    async fn replace(&mut self, kind: Kind, head: &Head) -> Result<Next, Error> {
        let (credential, bearer) = (&self.proxy.credential, &head.bearer);
        let place = refusals::place(head.uri.path());
        let now = credential.clock().now();
        let decision = credential.refusals().decide(place, bearer.revision, kind, now);
        if let Decision::PassOn(why) | Decision::Wait(why) = decision {
            return match kind {
                // What a neighbour's trial will show is not known yet.
                Kind::Unclear if !self.late && matches!(decision, Decision::Wait(_)) => {
                    self.send_late(kind, bearer, Duration::ZERO).await
                }
                Kind::Token if !self.late => self.send_late(kind, bearer, Duration::ZERO).await,
                _ if self.sendings > 1 => Ok(self.give_up(bearer, Some(kind))),
                _ => Ok(self.pass_on(why)),
            };
        }
        let trial = Trial::new(self.proxy, place, kind, bearer.revision);
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
                self.latest = Latest::Forced(Trial { minted: Instant::now(), ..trial });
                Ok(Next::Send(replacement.bearer))
            }
            Ok(replacement) => {
                self.latest = Latest::Newer(kind, bearer.revision);
                Ok(Next::Send(replacement.bearer))
            }
            // The gateway says that it is the token: the 401 is ours to cure, and it cannot be
            // cured now.
            Err(unavailable) if kind == Kind::Token => {
                self.count("no_token");
                Err(unavailable.into())
            }
            Err(_) => Ok(self.pass_on("no newer token could be had")),
        }
    }

    /// Too late for this request, in time for the next.
    fn too_large(&self, kind: Kind, head: &Head, body: &RequestBody) -> Next {
        let (credential, bearer) = (&self.proxy.credential, &head.bearer);
        let why = body.lost().why();
        if self.sendings > 1 || credential.newer_than(bearer).is_some() {
            return self.pass_on(why);
        }
        let place = refusals::place(head.uri.path());
        let now = credential.clock().now();
        if kind == Kind::Token && !bearer.new_for(now).is_zero() {
            // It may only not be known there yet.
            return self.pass_on(why);
        }
        let decision = credential.refusals().decide(place, bearer.revision, kind, now);
        if let Decision::PassOn(why) | Decision::Wait(why) = decision {
            return self.pass_on(why);
        }
        let (asking, old) = (credential.clone(), bearer.clone());
        tokio::task::spawn_local(async move { asking.replace(&old, kind).await });
        credential.refusals().unproven(place, kind);
        self.pass_on(why)
    }

    /// The latest sending was not refused.
    pub(super) fn accepted(self) {
        self.count("cured");
        match self.latest {
            Latest::Same => {}
            Latest::Newer(kind, refused) => self.proxy.credential.refusals().helped(kind, refused),
            Latest::Forced(trial) => trial.cured(),
        }
    }

    /// The request has been sent again, and was refused again; `kind` is what the last 401 says of
    /// the token, if anything.
    fn give_up(&mut self, bearer: &Bearer, kind: Option<Kind>) -> Next {
        self.count(if self.sendings > 1 { "refused_again" } else { "passed_on" });
        let credential = &self.proxy.credential;
        if kind == Some(Kind::Token) {
            credential.distrust(bearer);
        }
        match std::mem::replace(&mut self.latest, Latest::Same) {
            // A slow response says little about a token that may have been revoked while it was
            // under way; nor does a refusal of one that is new.
            Latest::Forced(trial)
                if trial.minted.elapsed() < EVIDENCE
                    && (kind != Some(Kind::Token) || bearer.new_for(credential.clock().now()).is_zero()) =>
            {
                trial.refused(bearer.revision, kind.unwrap_or(Kind::Unclear));
                Next::PassOn("a fresh token was refused too; 401s on this path pass for a minute")
            }
            Latest::Forced(_) | Latest::Newer(..) => Next::PassOn("a newer token was refused too"),
            Latest::Same => Next::PassOn("the token was refused again; forced refreshes are held back"),
        }
    }

    fn pass_on(&self, why: &'static str) -> Next {
        self.count("passed_on");
        Next::PassOn(why)
    }

    fn count(&self, outcome: &'static str) {
        self.proxy.metrics.retries(self.first.label(), outcome).inc();
    }
}

/// A place on trial in the memory of 401s, which learns how it ended, whatever becomes of the request.
struct Trial<'a> {
    place: PathPrefix<'a>,
    minted: Instant,
}

/// Tells the memory that nothing was learnt, unless something was.
struct PathPrefix<'a> {
    proxy: &'a Proxy,
    name: String,
    kind: Kind,
    /// The revision that was refused first.
    by: u64,
    open: bool,
}

impl<'a> Trial<'a> {
    fn new(proxy: &'a Proxy, place: &str, kind: Kind, by: u64) -> Self {
        let place = PathPrefix { proxy, name: place.to_owned(), kind, by, open: true };
        Self { place, minted: Instant::now() }
    }

    fn cured(mut self) {
        let place = &mut self.place;
        place.open = false;
        place.proxy.credential.refusals().cured(&place.name, place.kind, place.by);
    }

    /// The token of this revision, minted for the place, was refused as well, by a 401 of kind
    /// `second`.
    fn refused(mut self, revision: u64, second: Kind) {
        let place = &mut self.place;
        place.open = false;
        let now = place.proxy.credential.clock().now();
        place.proxy.credential.refusals().refused(&place.name, place.by, revision, place.kind, second, now);
    }
}

impl Drop for PathPrefix<'_> {
    fn drop(&mut self) {
        if self.open {
            self.proxy.credential.refusals().abandoned(&self.name, self.kind);
        }
    }
}
